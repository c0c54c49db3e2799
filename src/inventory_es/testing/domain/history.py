"""The properties that a log alone shows, and the books that they look at.

A host can check its own log: ``check_history(events)``. The books add up a history event by event, without the aggregate, and go on
where a history is wrong.
"""

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any, Protocol

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
from inventory_es.domain.reasons import ReleaseReason
from inventory_es.testing.domain.formatting import describe
from inventory_es.testing.domain.model import LogModel, event_facts

__tracebackhide__ = True
"""For pytest: a failure shows the line of the test that asked, not ours."""


class HistoryEntry(Protocol):
    """One event of a stream with its version and time: a ``Recorded``, or an entry of a service's history."""

    @property
    def event(self) -> Event:
        """The event."""
        ...

    @property
    def version(self) -> int:
        """The version of the stream after the event, starting at 1."""
        ...

    @property
    def recorded_at(self) -> datetime:
        """The time of the event."""
        ...


@attrs.frozen
class Hold:
    """A reservation in the books.

    Attributes:
        reservation_id: the id.
        original: units reserved at first.
        remaining: units still reserved, by the newest event of the reservation.
        committed: sum of the committed units.
        released: sum of the released units.
        expires_at: the time of expiry; ``None`` if firm.
    """

    reservation_id: str
    original: int
    remaining: int
    committed: int
    released: int
    expires_at: datetime | None

    @property
    def is_open(self) -> bool:
        """True if the reservation still holds units."""
        return self.remaining > 0


@attrs.frozen
class Sums:
    """The units moved since the first event, by kind."""

    added: int = 0
    reserved: int = 0
    released: int = 0
    committed: int = 0
    adjusted: int = 0


@attrs.frozen
class AuditedEvent:
    """One event, and the books right after it.

    Attributes:
        number: number of the event, starting at 1.
        entry: the event with its version and time.
        on_hand_before: units on hand by the previous event; 0 before the first.
        reserved_before: units reserved by the previous event; 0 before the first.
        time_before: time of the previous event.
        sums: units moved so far, this event included.
        held: units that all open reservations hold together.
        hold_before: the event's reservation before the event; ``None`` if unknown, or if the event has none.
        hold: the event's reservation after the event.
        left_due: an open reservation that is due by now; ``None`` if there is none.
        does_not_fold: why the aggregate refuses the event; ``None`` if it takes the event, or refused an earlier one.
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
    """Yield each event of a history with the books right after it. Costs O(log n) per event.

    Args:
        history: the events of one inventory from the first one, in stream order.
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


_SHOWN = 10


@attrs.frozen
class HistoryProperty:
    """A property that holds after every event of every history.

    Attributes:
        id: the id in the list of properties (``P9``).
        sentence: the property in one sentence.
        problem: returns what is wrong in the books after one event; ``None`` if nothing is.
    """

    id: str
    sentence: str
    problem: Callable[[AuditedEvent], str | None] = attrs.field(repr=False)

    def violations(self, history: Iterable[HistoryEntry]) -> list["Violation"]:
        """Return the places where a history breaks this property."""
        return list(violations(history, only=[self.id]))


@attrs.frozen
class Violation:
    """A place where a history breaks a property.

    Attributes:
        id: the id of the property.
        sentence: the property in one sentence.
        version: the version after which the property does not hold.
        event: the event of that version.
        problem: what is wrong.
    """

    id: str
    sentence: str
    version: int
    event: Event
    problem: str

    def __str__(self) -> str:
        return f"{self.id}  {self.sentence}\n  at        version {self.version}: {describe(self.event)}\n  problem   {self.problem}"


class PropertyError(AssertionError):
    """A property that does not hold. The text is the whole report.

    Attributes:
        broken: the ids of the broken properties.
    """

    def __init__(self, report: str, broken: frozenset[str]) -> None:
        super().__init__(report)
        self.broken = broken


def check_history(history: Iterable[HistoryEntry], *, only: Iterable[str] | None = None) -> int:
    """Check the properties that a log alone shows.

    Args:
        history: the events of one inventory from the first one, in stream order: ``Recorded``, or anything that has ``event``,
            ``version`` and ``recorded_at``.
        only: ids of the properties to check; all by default.

    Returns:
        The number of events that were checked.

    Raises:
        PropertyError: a property does not hold. The text names the property, the event, and the problem.
    """
    entries = list(history)
    found = list(violations(entries, only=only))
    if found:
        shown = [str(violation) for violation in found[:_SHOWN]]
        more = [f"and {len(found) - _SHOWN} more"] if len(found) > _SHOWN else []
        raise PropertyError("\n".join([*shown, *more]), frozenset(violation.id for violation in found))
    return len(entries)


def violations(history: Iterable[HistoryEntry], *, only: Iterable[str] | None = None) -> Iterator[Violation]:
    """Yield every place where a history breaks a property, in stream order.

    Args:
        history: as for :func:`check_history`.
        only: ids of the properties to check; all by default.

    Raises:
        KeyError: an id names no property of a log.
    """
    chosen = list(HISTORY_PROPERTIES.values()) if only is None else [HISTORY_PROPERTIES[property_id] for property_id in only]
    for audited in audit(history):
        for one in chosen:
            problem = one.problem(audited)
            if problem is not None:
                yield Violation(one.id, one.sentence, audited.entry.version, audited.event, problem)


def _balance_in_bounds(audited: AuditedEvent) -> str | None:
    on_hand, reserved = audited.event.on_hand, audited.event.reserved
    return None if on_hand >= reserved >= 0 else f"on hand {on_hand}, reserved {reserved}"


def _reserved_is_what_is_held(audited: AuditedEvent) -> str | None:
    return _differs("reserved", audited.event.reserved, "the open reservations hold", audited.held)


def _hold_adds_up(audited: AuditedEvent) -> str | None:
    hold = audited.hold
    if hold is None or (hold.remaining >= 0 and hold.original == hold.remaining + hold.committed + hold.released):
        return None
    return f"original {hold.original}, remaining {hold.remaining}, committed {hold.committed}, released {hold.released}"


def _on_hand_adds_up(audited: AuditedEvent) -> str | None:
    sums = audited.sums
    return _differs("on hand", audited.event.on_hand, "added − committed + adjusted is", sums.added - sums.committed + sums.adjusted)


def _reserved_adds_up(audited: AuditedEvent) -> str | None:
    sums = audited.sums
    return _differs(
        "reserved", audited.event.reserved, "reserved − released − committed is", sums.reserved - sums.released - sums.committed
    )


def _versions_count(audited: AuditedEvent) -> str | None:
    return _differs("version", audited.entry.version, "its place is", audited.number)


def _time_goes_on(audited: AuditedEvent) -> str | None:
    at, before = audited.entry.recorded_at, audited.time_before
    return None if before is None or at >= before else f"{at.isoformat()} after {before.isoformat()}"


def _nothing_due_is_left(audited: AuditedEvent) -> str | None:
    due = audited.left_due
    if due is None or _is_expiry(audited.event):
        return None
    return f"reservation {due.reservation_id!r} is still open, due since {due.expires_at}"


def _moves(kind: type[Any], on_hand: int, reserved: int) -> Callable[[AuditedEvent], str | None]:
    """Return a check that events of a kind move the two figures by this many times their quantity."""

    def problem(audited: AuditedEvent) -> str | None:
        event: Any = audited.event
        if not isinstance(event, kind):
            return None
        moved = (event.on_hand - audited.on_hand_before, event.reserved - audited.reserved_before)
        expected = (on_hand * event.quantity, reserved * event.quantity)
        return None if moved == expected else f"on hand moved by {moved[0]:+}, reserved by {moved[1]:+}"

    return problem


def _never_more_than_promised(audited: AuditedEvent) -> str | None:
    before, after = audited.hold_before, audited.hold
    if after is None or isinstance(audited.event, StockReservedEvent):
        return None
    if after.committed + after.released > after.original:
        return f"committed {after.committed} + released {after.released} of {after.original}"
    if before is not None and (after.committed < before.committed or after.released < before.released):
        return f"committed {before.committed} → {after.committed}, released {before.released} → {after.released}"
    return None


def _expiry_frees_the_rest_alone(audited: AuditedEvent) -> str | None:
    event, before = audited.event, audited.hold_before
    if not isinstance(event, StockReleasedEvent) or not _is_expiry(event) or before is None:
        return None
    if event.on_hand != audited.on_hand_before:
        return f"on hand {audited.on_hand_before} → {event.on_hand}"
    return None if (event.quantity, event.remaining) == (before.remaining, 0) else f"{event.quantity} of {before.remaining} left"


def _closed_stays_closed(audited: AuditedEvent) -> str | None:
    reservation_id = getattr(audited.event, "reservation_id", None)
    if reservation_id is None:
        return None
    before = audited.hold_before
    if isinstance(audited.event, StockReservedEvent):
        return None if before is None else f"reservation id {reservation_id!r} was used before"
    return None if before is not None and before.is_open else f"reservation {reservation_id!r} is not open"


def _expires_in_time(audited: AuditedEvent) -> str | None:
    before = audited.hold_before
    if not _is_expiry(audited.event) or before is None:
        return None
    if before.expires_at is None:
        return f"reservation {before.reservation_id!r} was firm"
    return None if before.expires_at <= audited.entry.recorded_at else f"it was valid until {before.expires_at.isoformat()}"


def _extends(audited: AuditedEvent) -> str | None:
    event, before = audited.event, audited.hold_before
    if not isinstance(event, ReservationExtendedEvent) or before is None:
        return None
    if before.expires_at != event.previous_expires_at:
        return f"it was valid until {before.expires_at}, not until {event.previous_expires_at}"
    return None if event.expires_at is None or event.expires_at > event.previous_expires_at else f"{before.expires_at} → {event.expires_at}"


def _is_expiry(event: Event) -> bool:
    return isinstance(event, StockReleasedEvent) and event.reason is ReleaseReason.EXPIRED


def _differs(name: str, got: int, other: str, expected: int) -> str | None:
    return None if got == expected else f"{name} {got}, but {other} {expected}"


_ALL = (
    HistoryProperty("P1", "On hand ≥ reserved ≥ 0.", _balance_in_bounds),
    HistoryProperty("P2", "Reserved is the sum of what the open reservations still hold.", _reserved_is_what_is_held),
    HistoryProperty("P3", "Of every reservation: original = remaining + committed + released, remaining ≥ 1 while open.", _hold_adds_up),
    HistoryProperty("P4", "On hand is what was added − what was committed + what was adjusted.", _on_hand_adds_up),
    HistoryProperty("P5", "Reserved is what was reserved − what was released − what was committed.", _reserved_adds_up),
    HistoryProperty("P6", "The balance that an event carries is the folded one.", lambda audited: audited.does_not_fold),
    HistoryProperty("P7", "Versions are 1 to n.", _versions_count),
    HistoryProperty("P8", "Time never runs backwards.", _time_goes_on),
    HistoryProperty("P9", "Whenever anything but an expiry is appended, nothing due by then is left open.", _nothing_due_is_left),
    HistoryProperty(
        "P10", "A commit lowers on hand and reserved by its quantity: what is free stays.", _moves(StockCommittedEvent, -1, -1)
    ),
    HistoryProperty("P11", "A release lowers reserved by its quantity, on hand stays.", _moves(StockReleasedEvent, 0, -1)),
    HistoryProperty("P12", "A reserve raises reserved by its quantity, on hand stays.", _moves(StockReservedEvent, 0, 1)),
    HistoryProperty("P13", "An addition raises on hand by its quantity, reserved stays.", _moves(StockAddedEvent, 1, 0)),
    HistoryProperty("P15", "Committed + released never exceed the original, and neither ever falls.", _never_more_than_promised),
    HistoryProperty("P16", "An expiry frees all that remains, and never what was committed.", _expiry_frees_the_rest_alone),
    HistoryProperty("P17", "A reservation id is used once, and a closed reservation is never touched again.", _closed_stays_closed),
    HistoryProperty("P18", "No reservation expires before its time, and a confirmed one never.", _expires_in_time),
    HistoryProperty("P19", "An extension never moves the time of expiry to an earlier one.", _extends),
    HistoryProperty(
        "P34", "Every event is one that some command gives by the rules, as the naive model has them.", lambda audited: audited.unexplained
    ),
)

HISTORY_PROPERTIES: Mapping[str, HistoryProperty] = MappingProxyType({one.id: one for one in _ALL})
"""The properties that a log alone shows, by id. The others need the commands: ``PROGRAM_PROPERTIES``."""
