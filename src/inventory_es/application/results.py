"""Results of the service: frozen values of plain ints, texts and datetimes, each with ``to_dict()``."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, Literal, cast

import attrs

from inventory_es.domain.events import Event
from inventory_es.domain.identifiers import InventoryId, ReservationRef, inventory_id
from inventory_es.domain.reasons import Purpose
from inventory_es.ports.records import EventMetadata

HoldState = Literal["OPEN", "COMMITTED", "RELEASED", "EXPIRED", "CLOSED"]
"""State of a reservation: ``OPEN`` holds units, and its time is not up; ``CLOSED`` ended so long ago that its end is unknown."""


class Result:
    """A result of the service."""

    __slots__ = ()

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready form: datetimes in ISO 8601, identities as text."""
        return dict(plain(self))


@attrs.frozen(kw_only=True)
class CommandResult(Result):
    """The result of a command that was accepted, or had nothing to do.

    Attributes:
        inventory_id: the inventory.
        command_id: the id of the command, generated if the caller gave none.
        changed: True if the command has events; False for a no-op.
        version: the stream's version after the command; for a no-op, the version that the command read.
        position: the position of its append, or of the last event read. A reader at this position or later has seen the command.
        at: the time of the command.
        on_hand: the units on hand after the command.
        reserved: the units reserved after the command.
        replayed: True if the command was accepted earlier. This is its first outcome again, and nothing was appended now.
        state: the state of a replayed command's reservation now; ``None`` for a command decided now, or without a reservation.
    """

    inventory_id: InventoryId
    command_id: str
    changed: bool
    version: int
    position: int
    at: datetime
    on_hand: int
    reserved: int
    replayed: bool = False
    state: HoldState | None = None


@attrs.frozen(kw_only=True)
class Reservation(Result):
    """A reservation, as it was made. Pass it, or its ``ref``, to extend, confirm, release or commit.

    The reservation of a replayed command may have ended since then: see ``state`` and ``remaining``.

    Attributes:
        product_id: the product.
        store_id: the store.
        reservation_id: id of the reservation.
        quantity: the units reserved at first.
        purpose: purpose of the reservation.
        owner_id: an opaque id of the owner.
        reserved_at: the time of the reservation.
        expires_at: the instant from which it is due; ``None`` if it is firm.
        version: the stream's version after the reservation.
        position: the position of its append. A reader at this position or later has seen the reservation.
        replayed: True if the same command made the reservation earlier; nothing was appended now.
        state: ``OPEN``, ``COMMITTED``, ``RELEASED`` or ``EXPIRED`` (its time is up, even if no event recorded that). ``CLOSED`` means that
            it ended, and that more than 10,000 others of its inventory ended after it.
        remaining: the units that it holds now: fewer than ``quantity`` after a partial commit or release, 0 unless ``OPEN``.
    """

    product_id: str
    store_id: str
    reservation_id: str
    quantity: int
    purpose: Purpose
    owner_id: str | None
    reserved_at: datetime
    expires_at: datetime | None
    version: int
    position: int
    replayed: bool = False
    state: HoldState = "OPEN"
    remaining: int = attrs.field()

    @remaining.default
    def _remaining(self) -> int:
        return self.quantity

    @property
    def ref(self) -> ReservationRef:
        """The address of the reservation; ``str(ref)`` is one text that can be parsed again."""
        return ReservationRef(self.product_id, self.store_id, self.reservation_id)

    @property
    def inventory_id(self) -> InventoryId:
        """The inventory of the reservation."""
        return inventory_id(self.product_id, self.store_id)


@attrs.frozen(kw_only=True)
class StockLevel(Result):
    """The stock of one inventory at one instant.

    Attributes:
        product_id: the product.
        store_id: the store.
        on_hand: units on hand.
        reserved: the units that open reservations hold, due ones included.
        due: the units of due reservations, which the next reserve can get.
        available: the most units that a reserve could get now: on_hand − reserved + due.
        version: the stream's version; 0 if it has no events.
        position: a position of the feed. A reader at this position or later has seen this version.
        at: the instant.
    """

    product_id: str
    store_id: str
    on_hand: int
    reserved: int
    due: int
    available: int
    version: int
    position: int
    at: datetime

    def __str__(self) -> str:
        return f"on hand {self.on_hand}, reserved {self.reserved}, available {self.available}"


@attrs.frozen(kw_only=True)
class ReservationState(Result):
    """The state of a reservation.

    Attributes:
        product_id: the product.
        store_id: the store.
        reservation_id: id of the reservation.
        status: ``OPEN``, ``DUE`` (its time is up, but no event closed it yet), ``COMMITTED``, ``RELEASED`` or ``EXPIRED``.
        remaining: the units that it still holds.
        committed: the units that have left.
        released: the units that were released.
        expires_at: time when it is due; ``None``: firm.
        purpose: purpose of the reservation; ``None`` once closed.
        owner_id: an opaque id of the owner; ``None`` once closed.
        version: the version of the stream that was read.
        position: a position of the feed. A reader at this position or later has seen this version.
        at: the instant.
    """

    product_id: str
    store_id: str
    reservation_id: str
    status: str
    remaining: int
    committed: int
    released: int
    expires_at: datetime | None
    purpose: Purpose | None
    owner_id: str | None
    version: int
    position: int
    at: datetime


@attrs.frozen(kw_only=True)
class HistoryEntry(Result):
    """One event of an inventory, with its place and its metadata.

    Attributes:
        event: the decoded event.
        event_id: its id, as text.
        version: the version of the stream at the event, from 1.
        position: position of the event in the store.
        recorded_at: time of the event.
        metadata: the ids of the command, the actor and the business transaction, and further keys.
    """

    event: Event
    event_id: str
    version: int
    position: int
    recorded_at: datetime
    metadata: EventMetadata


@attrs.frozen(kw_only=True)
class Hold(Result):
    """An open reservation in an explanation.

    Attributes:
        reservation_id: id of the reservation.
        remaining: the units that it still holds.
        purpose: purpose of the reservation.
        owner_id: an opaque id of the owner.
        reserved_at: time of the reservation.
        expires_at: time when it is due; ``None``: firm.
        waits_for: a text that names the command or event that will free its units.
    """

    reservation_id: str
    remaining: int
    purpose: Purpose
    owner_id: str | None
    reserved_at: datetime
    expires_at: datetime | None
    waits_for: str


@attrs.frozen(kw_only=True)
class Explanation(Result):
    """The reasons for the available figure.

    Attributes:
        level: the figures.
        holds: open reservations, oldest first, up to the limit.
        holds_left_out: the number of open reservations beyond the limit.
        movements: the last events, newest first.
        last_count: the event of the last count, even if it confirmed the books; ``None`` if there was no count.
    """

    level: StockLevel
    holds: tuple[Hold, ...]
    holds_left_out: int
    movements: tuple[HistoryEntry, ...]
    last_count: HistoryEntry | None = None


def plain(value: object) -> Any:
    """Return ``value`` as JSON-ready plain data."""
    match value:
        case Enum():
            return value.value
        case datetime():
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case InventoryId():
            return {"product_id": value.product_id, "store_id": value.store_id}
        case None | bool() | int() | float() | str():
            return value
        case Mapping():
            return {str(key): plain(item) for key, item in value.items()}
        case tuple() | list() | set() | frozenset():
            return [plain(item) for item in value]
        case _ if attrs.has(type(value)):
            return {field.name: plain(getattr(value, field.name)) for field in attrs.fields(cast(Any, type(value)))}
        case _:
            return str(value)
