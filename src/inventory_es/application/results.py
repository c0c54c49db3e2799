"""What the service answers: frozen values of plain ints, texts and datetimes, each with ``to_dict()``."""

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
"""How a reservation stands: ``OPEN`` holds units, and its time is not up; ``CLOSED`` ended so long ago that nobody remembers how."""


class Result:
    """An answer of the service."""

    __slots__ = ()

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form: datetimes in ISO 8601, identities as text."""
        values = plain(self)
        return dict(values)


@attrs.frozen(kw_only=True)
class CommandResult(Result):
    """A command was accepted, or had nothing to do.

    Attributes:
        inventory_id: where.
        command_id: of the command, minted if the caller gave none.
        changed: whether it has events; ``False`` for a no-op.
        version: of the stream after the command; for a no-op, the version that it read.
        position: of the append that carried it, or of the last event read: a reader at or past it has seen the command.
        at: the time of the command.
        on_hand: units there after it.
        reserved: units promised after it.
        replayed: whether it had been accepted earlier: this is the first outcome again, nothing was appended now.
        state: how the reservation of a replayed command stands now; ``None`` for a command decided now, or about no reservation.
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

    A replayed one may have ended since, and others may have its units: ``state`` and ``remaining`` say how it stands now.

    Attributes:
        product_id: what.
        store_id: where.
        reservation_id: its identity.
        quantity: units promised.
        purpose: what for.
        owner_id: for whom, opaque.
        reserved_at: since when.
        expires_at: valid before this instant; ``None``: firm.
        version: of the stream after it.
        position: of the append that carried it: a reader at or past it has seen the reservation.
        replayed: whether it had been made earlier, by the same command; nothing was appended now.
        state: how it stands now: ``OPEN``, or ended as ``COMMITTED``, ``RELEASED``, ``EXPIRED`` (its time is up, swept or not), or
            ``CLOSED`` where more than 10,000 others of its inventory ended after it.
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
        """Its address, which round-trips through one text."""
        return ReservationRef(self.product_id, self.store_id, self.reservation_id)

    @property
    def inventory_id(self) -> InventoryId:
        """The inventory that holds it."""
        return inventory_id(self.product_id, self.store_id)


@attrs.frozen(kw_only=True)
class StockLevel(Result):
    """The stock of one inventory at one instant.

    Attributes:
        product_id: what.
        store_id: where.
        on_hand: units there.
        reserved: units promised by open reservations, due ones included.
        due: units of those that are due for expiry: free for whoever asks now.
        available: on_hand − reserved + due: what a reserve now could get.
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
    """A reservation as it stands.

    Attributes:
        product_id: what.
        store_id: where.
        reservation_id: its identity.
        status: ``OPEN``, ``DUE`` (open, its time is up, nobody closed it yet), ``COMMITTED``, ``RELEASED`` or ``EXPIRED``.
        remaining: units still promised.
        committed: units that have left.
        released: units given back.
        expires_at: ``None``: firm.
        purpose: what for; ``None`` once closed.
        owner_id: for whom; ``None`` once closed.
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
        version: its place in the stream, from 1.
        position: its place in the store.
        recorded_at: when it happened.
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
        reservation_id: its identity.
        remaining: units promised.
        purpose: what for.
        owner_id: for whom.
        reserved_at: since when.
        expires_at: ``None``: firm.
        waits_for: what frees its units, in words.
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
    """Why the available figure is what it is.

    Attributes:
        level: the figures.
        holds: the open reservations, oldest first, up to the asked limit.
        holds_left_out: how many more there are.
        movements: the last events, newest first.
        last_count: the event of the last count, one that confirmed the books included; ``None``: never counted.
    """

    level: StockLevel
    holds: tuple[Hold, ...]
    holds_left_out: int
    movements: tuple[HistoryEntry, ...]
    last_count: HistoryEntry | None = None


def plain(value: object) -> Any:
    """``value`` as JSON-ready plain data."""
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
