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
    """A command was accepted, or had nothing to do.

    Attributes:
        inventory_id: the inventory.
        command_id: id of the command, minted if the caller gave none.
        changed: True if it has events; False for a no-op.
        version: of the stream after the command; for a no-op, the version that it read.
        position: of the append that carried it, or of the last event read. A reader at or past it has seen the command.
        at: time of the command.
        on_hand: units on hand after it.
        reserved: units promised after it.
        replayed: True if it had been accepted earlier: this is the first outcome again, and nothing was appended now.
        state: state of a replayed command's reservation now; ``None`` for a command decided now, or about no reservation.
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
    """A promise, as it was given. Pass it, or its ``ref``, to extend, confirm, release or commit.

    The reservation of a replayed command may have ended since, and others may have its units: see ``state`` and ``remaining``.

    Attributes:
        product_id: the product.
        store_id: the store.
        reservation_id: id of the reservation.
        quantity: units promised.
        purpose: purpose of the reservation.
        owner_id: an opaque id of the owner.
        reserved_at: time of the reservation.
        expires_at: valid before this instant; ``None``: firm.
        version: of the stream after it.
        position: of the append that carried it. A reader at or past it has seen the reservation.
        replayed: True if the same command had made it earlier; nothing was appended now.
        state: the state now. An ended one is ``COMMITTED``, ``RELEASED`` or ``EXPIRED`` (its time is up, swept or not). It is ``CLOSED``
            where more than 10,000 others of its inventory ended after it.
        remaining: units that it holds now; fewer than ``quantity`` after a partial commit or release, 0 unless ``OPEN``.
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
        """The address of the reservation, which round-trips through one text."""
        return ReservationRef(self.product_id, self.store_id, self.reservation_id)

    @property
    def inventory_id(self) -> InventoryId:
        """The inventory that holds it."""
        return inventory_id(self.product_id, self.store_id)


@attrs.frozen(kw_only=True)
class StockLevel(Result):
    """The stock of one inventory at one instant.

    Attributes:
        product_id: the product.
        store_id: the store.
        on_hand: units on hand.
        reserved: units promised by open reservations, due ones included.
        due: units of reservations that are due for expiry: free for the next caller.
        available: on_hand − reserved + due: the most that a reserve could get now.
        version: of the stream; 0 if nothing ever happened.
        position: a reader of the feed at or past it has seen this version.
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
        status: ``OPEN``, ``DUE`` (open, its time is up, not closed yet), ``COMMITTED``, ``RELEASED`` or ``EXPIRED``.
        remaining: units still promised.
        committed: units that have left.
        released: units given back.
        expires_at: time when it is due; ``None``: firm.
        purpose: purpose of the reservation; ``None`` once closed.
        owner_id: an opaque id of the owner; ``None`` once closed.
        version: of the stream that was read.
        position: a reader of the feed at or past it has seen this version.
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
    """One event of an inventory with its envelope.

    Attributes:
        event: the decoded event.
        event_id: its id, as text.
        version: version of the stream at the event, from 1.
        position: position of the event in the store.
        recorded_at: time of the event.
        metadata: command id, actor, correlation and the like.
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
        remaining: units promised.
        purpose: purpose of the reservation.
        owner_id: an opaque id of the owner.
        reserved_at: time of the reservation.
        expires_at: time when it is due; ``None``: firm.
        waits_for: the command or event that frees its units, in words.
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
    """The reasons of the available figure.

    Attributes:
        level: the figures.
        holds: open reservations, oldest first, up to the limit.
        holds_left_out: number of further open reservations.
        movements: the last events, newest first.
        last_count: event of the last count, also of one that confirmed the books; ``None``: never counted.
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
