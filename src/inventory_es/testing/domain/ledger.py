"""A plain bookkeeper: adds up a history event by event, knowing nothing of the aggregate, and keeps going where a history is wrong."""

import heapq
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Protocol

import attrs

from inventory_es.domain.errors import CorruptStreamError
from inventory_es.domain.events import (
    Event,
    Recorded,
    ReservationExtendedEvent,
    StockAddedEvent,
    StockAdjustedEvent,
    StockCommittedEvent,
    StockReleasedEvent,
    StockReservedEvent,
)
from inventory_es.domain.identifiers import InventoryId
from inventory_es.domain.inventory import Inventory
from inventory_es.testing.domain.log_model import LogModel
from inventory_es.testing.domain.model import event_facts


class HistoryEntry(Protocol):
    """One event of a stream with its place: a ``Recorded``, or an entry of a service's history."""

    @property
    def event(self) -> Event:
        """What happened."""
        ...

    @property
    def version(self) -> int:
        """Its place in the stream."""
        ...

    @property
    def recorded_at(self) -> datetime:
        """When it happened."""
        ...


@attrs.frozen
class Hold:
    """A reservation in the books.

    Attributes:
        reservation_id: its id.
        original: units promised at first.
        remaining: units still promised, as its newest event says.
        committed: sum of what was committed.
        released: sum of what was released.
        expires_at: its time; ``None``: firm.
    """

    reservation_id: str
    original: int
    remaining: int
    committed: int
    released: int
    expires_at: datetime | None

    @property
    def is_open(self) -> bool:
        """Whether it still holds units."""
        return self.remaining > 0


@attrs.frozen
class Sums:
    """Units moved since the first event, by kind."""

    added: int = 0
    reserved: int = 0
    released: int = 0
    committed: int = 0
    adjusted: int = 0


@attrs.frozen
class AuditedEvent:
    """What the books show right after one event.

    Attributes:
        number: which event it is, counted from 1.
        entry: the event with its place.
        on_hand_before: units on hand that the event before it carried; 0 before the first.
        reserved_before: likewise, units reserved.
        time_before: time of the event before it.
        sums: units moved so far, this event included.
        held: what all open reservations hold together.
        hold_before: the event's reservation before it; ``None`` if it was unknown, or if the event has none.
        hold: the event's reservation after it.
        left_due: an open reservation that is due by now; ``None`` if there is none.
        does_not_fold: why the aggregate refuses the event; ``None`` if it takes it, or has refused an earlier one.
        unexplained: why no command gives the event by the rules; ``None`` if one does, or if an earlier event does not fold.
    """

    number: int
    entry: HistoryEntry
    on_hand_before: int
    reserved_before: int
    time_before: datetime | None
    sums: Sums
    held: int
    hold_before: Hold | None
    hold: Hold | None
    left_due: Hold | None
    does_not_fold: str | None
    unexplained: str | None

    @property
    def event(self) -> Event:
        """The event."""
        return self.entry.event


def audit(history: Iterable[HistoryEntry]) -> Iterator[AuditedEvent]:
    """Keep the books over a history from its first event. Costs O(log n) for each event.

    Args:
        history: the events of one inventory, in stream order.
    """
    books = _Books()
    return (books.enter(entry) for entry in history)


class _Books:
    def __init__(self) -> None:
        self.number = 0
        self.on_hand = 0
        self.reserved = 0
        self.time: datetime | None = None
        self.sums = Sums()
        self.held = 0
        self.holds: dict[str, Hold] = {}
        self.due: list[tuple[datetime, str]] = []
        self.aggregate: Inventory | None = None
        self.model: LogModel
        self.is_folding = True

    def enter(self, entry: HistoryEntry) -> AuditedEvent:
        event = entry.event
        reservation_id: str = getattr(event, "reservation_id", "")
        before = self.holds.get(reservation_id)
        after = _after(event, before)
        if after is not None:
            self.holds[reservation_id] = after
            self.held += after.remaining - (before.remaining if before is not None else 0)
            if after.is_open and after.expires_at is not None:
                heapq.heappush(self.due, (after.expires_at, reservation_id))
        self.sums = _summed(self.sums, event)
        self.number += 1
        audited = AuditedEvent(
            self.number, entry, self.on_hand, self.reserved, self.time, self.sums, self.held,
            before, after, self._left_due(entry.recorded_at), *self._fold(entry),
        )  # fmt: skip
        self.on_hand, self.reserved, self.time = event.on_hand, event.reserved, entry.recorded_at
        return audited

    def _left_due(self, at: datetime) -> Hold | None:
        while self.due:
            expires_at, reservation_id = self.due[0]
            hold = self.holds[reservation_id]
            if hold.is_open and hold.expires_at == expires_at:
                return hold if expires_at <= at else None
            heapq.heappop(self.due)
        return None

    def _fold(self, entry: HistoryEntry) -> tuple[str | None, str | None]:
        if not self.is_folding:
            return None, None
        if self.aggregate is None:
            where = InventoryId(entry.event.product_id, entry.event.store_id)
            self.aggregate, self.model = Inventory(where), LogModel(where)
        try:
            self.aggregate.apply(Recorded(entry.event, entry.version, entry.recorded_at))
        except CorruptStreamError as error:
            self.is_folding = False
            return error.problem, None
        return None, self.model.unexplained(event_facts(entry.event, entry.version, entry.recorded_at))


def _after(event: Event, before: Hold | None) -> Hold | None:
    match event:
        case StockReservedEvent():
            return Hold(event.reservation_id, event.quantity, event.quantity, 0, 0, event.expires_at)
        case ReservationExtendedEvent() if before is not None:
            return attrs.evolve(before, expires_at=event.expires_at)
        case StockReleasedEvent() if before is not None:
            return attrs.evolve(before, remaining=event.remaining, released=before.released + event.quantity)
        case StockCommittedEvent() if before is not None:
            return attrs.evolve(before, remaining=event.remaining, committed=before.committed + event.quantity)
        case _:
            return None


def _summed(sums: Sums, event: Event) -> Sums:
    match event:
        case StockAddedEvent():
            return attrs.evolve(sums, added=sums.added + event.quantity)
        case StockReservedEvent():
            return attrs.evolve(sums, reserved=sums.reserved + event.quantity)
        case StockReleasedEvent():
            return attrs.evolve(sums, released=sums.released + event.quantity)
        case StockCommittedEvent():
            return attrs.evolve(sums, committed=sums.committed + event.quantity)
        case StockAdjustedEvent():
            return attrs.evolve(sums, adjusted=sums.adjusted + event.delta)
        case ReservationExtendedEvent():
            return sums
