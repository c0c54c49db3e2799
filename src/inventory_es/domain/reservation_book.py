"""The reservations of one inventory: those that are open, in their orders, and how the last ones ended.

Two orders are kept beside the open ones: by expiry, and by who is bumped first. Each is a heap of keys with lazy deletion. A reservation
that ends or changes leaves its key behind as dead; dead keys are dropped when they reach the top or a reading meets them, and all at
once when they outnumber the live ones. Each key is dropped once, so the cost stays O(log n) amortised.

An open reservation as an object, with its owner's text, its instants and its keys, takes some 500 bytes. Beyond the first tens of
thousands of one inventory they are packed: 270 bytes.
"""

import heapq
from array import array
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import chain
from struct import Struct
from typing import Any

import attrs

from inventory_es.domain.identifiers import InventoryId
from inventory_es.domain.reasons import Outcome, Purpose

STATE_SCHEMA_VERSION = 1
"""Raised whenever a fold of the same events gives another state: older snapshots are then ignored."""

CLOSED_KEPT = 10_000
"""How many closed reservations are remembered, by count, so that every replay gives the same answer."""

OBJECTS_KEPT = 32_768
"""How many open reservations are kept as objects, and how many keys of the order by expiry as tuples."""

Key = tuple[Any, ...]

_SLACK = 64
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_FIRM = -(1 << 63)
_FIELDS = Struct("<qqqqqqbb")
_EXPIRES_AT = Struct("<32xq")
_PURPOSES = tuple(Purpose)
_PURPOSE_NUMBERS = {purpose: number for number, purpose in enumerate(_PURPOSES)}


@attrs.frozen
class OpenReservation:
    """A promise that still holds units: original = remaining + committed + released, remaining ≥ 1.

    Attributes:
        reservation_id: chosen by the caller.
        original: units promised at first.
        remaining: units still promised, 1 or more.
        committed: units that have left.
        purpose: what for.
        owner_id: for whom, opaque.
        reserved_at: since when.
        expires_at: valid before this instant, due from it on; ``None``: firm.
        version: of its StockReservedEvent in the stream.
    """

    reservation_id: str
    original: int
    remaining: int
    committed: int
    purpose: Purpose
    owner_id: str | None
    reserved_at: datetime
    expires_at: datetime | None
    version: int

    @property
    def released(self) -> int:
        """Units given back so far."""
        return self.original - self.remaining - self.committed

    @property
    def is_firm(self) -> bool:
        """Whether it never expires."""
        return self.expires_at is None

    def is_due(self, at: datetime) -> bool:
        """Whether it is due for expiry at ``at``: valid on [reserved_at, expires_at)."""
        return self.expires_at is not None and self.expires_at <= at


@attrs.frozen
class ClosedReservation:
    """How a reservation ended.

    Attributes:
        outcome: of the event that brought its remaining units to 0.
        committed: units that have left.
        released: units given back, by whatever reason.
        expires_at: its last ``expires_at``; ``None`` if it was firm.
    """

    outcome: Outcome
    committed: int
    released: int
    expires_at: datetime | None


@attrs.frozen(kw_only=True)
class InventorySnapshot:
    """State after ``version`` events.

    Attributes:
        inventory_id: of which inventory.
        version: events folded; 0 for none yet.
        on_hand: units there.
        reserved: units promised by open reservations.
        last_time: time of the last event, ``None`` before the first.
        last_count_version: version of the last count's StockAdjustedEvent; 0 for none.
        open: open reservations, by the version of their StockReservedEvent.
        closed: the most recent closed ones with their ids, oldest first.
    """

    inventory_id: InventoryId
    version: int
    on_hand: int
    reserved: int
    last_time: datetime | None
    last_count_version: int
    open: tuple[OpenReservation, ...]
    closed: tuple[tuple[str, ClosedReservation], ...]


class ReservationBook:
    """The reservations of one inventory.

    Attributes:
        objects: open ones by id, but for those that are packed; to be read alone.
        closed: how the last ones ended, by id, oldest first; to be read alone.
    """

    __slots__ = ("_bump_order", "_by_owner", "_due", "_packed", "_unordered", "closed", "objects")

    def __init__(self) -> None:
        self.objects: dict[str, OpenReservation] = {}
        self.closed: OrderedDict[str, ClosedReservation] = OrderedDict()
        self._packed: PackedReservations | None = None
        self._by_owner: dict[str, int] | None = None
        self._due = DueQueue(self._is_due_key)
        self._bump_order = HoldQueue(self._is_bump_key)
        self._unordered: list[str] = []

    def get(self, reservation_id: str) -> OpenReservation | None:
        """Return the open reservation of this id, due or not."""
        hold = self.objects.get(reservation_id)
        return self._packed.get(reservation_id) if hold is None and self._packed is not None else hold

    def knows(self, reservation_id: str) -> bool:
        """Return whether this id was used: its reservation is open, or among those whose end is remembered."""
        if self._packed is not None and reservation_id in self._packed:
            return True
        return reservation_id in self.objects or reservation_id in self.closed

    def __iter__(self) -> Iterator[OpenReservation]:
        return iter(self.objects.values()) if self._packed is None else chain(self._packed, self.objects.values())

    def __len__(self) -> int:
        return len(self.objects) + (0 if self._packed is None else len(self._packed))

    def put(self, reservation_id: str, before: OpenReservation | None, hold: OpenReservation | None) -> None:
        """Have ``hold`` open under this id in place of ``before``; ``None``: none is."""
        if hold is None:
            self.objects.pop(reservation_id, None)
            if self._packed is not None:
                self._packed.discard(reservation_id)
        elif self._packed is None and len(self.objects) < OBJECTS_KEPT:
            self.objects[reservation_id] = hold
        else:
            self._put_among_many(hold)
        expires_at = None if hold is None else hold.expires_at
        if before is None or hold is None or before.expires_at != expires_at:
            if hold is not None:
                self._unordered.append(reservation_id)
                if expires_at is not None:
                    self._due.push((expires_at, reservation_id))
            if before is not None:
                self._trim()
        if self._by_owner is not None and (holder := hold or before) is not None and holder.owner_id is not None:
            units = self._by_owner.pop(holder.owner_id, 0) + (hold.remaining if hold else 0) - (before.remaining if before else 0)
            if units:
                self._by_owner[holder.owner_id] = units

    def close(self, reservation_id: str, ending: ClosedReservation) -> tuple[str, ClosedReservation] | None:
        """Remember how a reservation ended. Return the oldest one, with its id, if it is forgotten for it."""
        self.closed[reservation_id] = ending
        return self.closed.popitem(last=False) if len(self.closed) > CLOSED_KEPT else None

    def reopen(self, reservation_id: str, forgotten: tuple[str, ClosedReservation] | None) -> None:
        """Undo :meth:`close`, given what it returned."""
        del self.closed[reservation_id]
        if forgotten is not None:
            self.closed[forgotten[0]] = forgotten[1]
            self.closed.move_to_end(forgotten[0], last=False)

    def reserved_for(self, owner_id: str) -> int:
        """Return the units that open reservations hold for one owner, due ones included.

        The first question adds up all open reservations; from then on the sums are kept.
        """
        if self._by_owner is None:
            self._by_owner = {}
            for hold in self:
                if hold.owner_id is not None:
                    self._by_owner[hold.owner_id] = self._by_owner.get(hold.owner_id, 0) + hold.remaining
        return self._by_owner.get(owner_id, 0)

    def due(self, at: datetime, limit: int | None) -> tuple[OpenReservation, ...]:
        """Return the open reservations that are due at ``at``, by (expires_at, reservation_id): the first ``limit``, or all."""
        keys = self._due.up_to(at, limit)
        return tuple([hold for key in keys if (hold := self.get(key[1])) is not None]) if keys else ()

    def bump_candidates(self) -> Iterator[OpenReservation]:
        """Return open reservations in the order in which a shortfall bumps them: dated before firm, newest first.

        Those that opened or changed since the last time are put in order now: each once, so what it costs was earned by opening them.
        """
        unordered, self._unordered = self._unordered, []
        for reservation_id in unordered:
            hold = self.get(reservation_id)
            if hold is not None:
                self._bump_order.push((hold.expires_at is None, -hold.version, reservation_id))
        return (hold for key in self._bump_order.walk() if (hold := self.get(key[2])) is not None)

    def _put_among_many(self, hold: OpenReservation) -> None:
        packed = self._packed
        if packed is None:
            packed = self._packed = PackedReservations()
        packed.discard(hold.reservation_id)
        if len(self.objects) < OBJECTS_KEPT or hold.reservation_id in self.objects:
            self.objects[hold.reservation_id] = hold
        else:
            packed.put(hold)

    def _trim(self) -> None:
        """Drop keys of reservations that are closed or changed, before they are more than the open ones."""
        live = len(self.objects) if self._packed is None else len(self)
        self._due.trim(live)
        self._bump_order.trim(live)
        if len(self._unordered) > 2 * live + _SLACK:
            self._unordered = [one for one in dict.fromkeys(self._unordered) if self.get(one) is not None]

    def _is_due_key(self, key: Key) -> bool:
        hold = self.objects.get(key[1])
        if hold is None and self._packed is not None:
            return self._packed.is_due_from(key[1], key[0])
        return hold is not None and hold.expires_at == key[0]

    def _is_bump_key(self, key: Key) -> bool:
        hold = self.get(key[2])
        return hold is not None and (hold.expires_at is None, -hold.version) == key[:2]


class HoldQueue:
    """An ordered bag of keys, smallest first.

    Args:
        is_live: whether a key still stands for an open reservation.
    """

    __slots__ = ("_heap", "_is_live")

    def __init__(self, is_live: Callable[[Key], bool]) -> None:
        self._heap: list[Key] = []
        self._is_live = is_live

    def __len__(self) -> int:
        return len(self._heap)

    def push(self, key: Key) -> None:
        """Add a live key. Adding one that is there already is fine."""
        heapq.heappush(self._heap, key)

    def trim(self, live: int) -> None:
        """Drop dead keys from the top, and everywhere once they outnumber the ``live`` ones."""
        heap = self._heap
        while heap and not self._is_live(heap[0]):
            heapq.heappop(heap)
        if len(heap) > 2 * live + _SLACK:
            self._heap = sorted({key for key in heap if self._is_live(key)})

    def up_to(self, first: Any, limit: int | None = None) -> Sequence[Key]:
        """Live keys whose first element is at most ``first``, in order, each once, at most ``limit`` of them.

        Costs O(k log n) for k keys given.
        """
        heap = self._heap
        if not heap or heap[0][0] > first:
            return ()
        found: list[Key] = []
        while heap and heap[0][0] <= first and len(found) != limit:
            key = heapq.heappop(heap)
            if self._is_live(key) and not (found and found[-1] == key):
                found.append(key)
        for key in found:
            heapq.heappush(heap, key)
        return found

    def walk(self) -> Iterator[Key]:
        """Live keys in order, each once. Costs O(k log k) for the k keys taken. The queue must not change meanwhile."""
        heap = self._heap
        frontier: list[tuple[Key, int]] = [(heap[0], 0)] if heap else []
        last: Key | None = None
        while frontier:
            key, at = heapq.heappop(frontier)
            if key != last and self._is_live(key):
                yield key
                last = key
            for child in (2 * at + 1, 2 * at + 2):
                if child < len(heap):
                    heapq.heappush(frontier, (heap[child], child))


class DueQueue(HoldQueue):
    """A queue of (instant, reservation id) that keeps all but the first tens of thousands in two arrays, as a heap of its own.

    A key takes 16 bytes there, in place of 120 for a tuple and its instant. The smallest key of all is the smaller of the two heaps' first.
    """

    __slots__ = ("_ids", "_instants")

    def __init__(self, is_live: Callable[[Key], bool]) -> None:
        super().__init__(is_live)
        self._instants = array("q")
        self._ids: list[str] = []

    def __len__(self) -> int:
        return len(self._heap) + len(self._ids)

    def push(self, key: Key) -> None:
        """Add a live key. Adding one that is there already is fine."""
        heap = self._heap
        if len(heap) < OBJECTS_KEPT or (key < heap[0] and len(heap) < 2 * OBJECTS_KEPT):
            heapq.heappush(heap, key)
        else:
            self._push_far((key[0] - _EPOCH) // _MICROSECOND, key[1])

    def trim(self, live: int) -> None:
        """Drop dead keys from the top, and everywhere once they outnumber the ``live`` ones."""
        HoldQueue.trim(self, live)  # super() would cost as much as what it calls
        if self._ids:
            self._trim_far(live)

    def up_to(self, first: datetime, limit: int | None = None) -> Sequence[Key]:
        """Live keys whose instant is at most ``first``, in order, each once, at most ``limit`` of them.

        Costs O(k log n) for k keys given. They stay among the tuples, since whoever asks is about to expire them.
        """
        if self._ids:
            self._fetch(first, limit)
        return HoldQueue.up_to(self, first, limit)

    def walk(self) -> Iterator[Key]:
        """Live keys in order, each once. Costs O(n log n), since all become tuples. The queue must not change meanwhile."""
        self._fetch(datetime.max.replace(tzinfo=UTC), None)
        return super().walk()

    def _fetch(self, first: datetime, limit: int | None) -> None:
        """Make tuples of the first ``limit`` far keys that are live and not after ``first``."""
        most = (first - _EPOCH) // _MICROSECOND
        moved, last = 0, None
        while self._ids and self._instants[0] <= most and moved != limit:
            key = self._pop_far()
            if key != last and self._is_live(key):
                heapq.heappush(self._heap, key)
                moved += 1
                last = key

    def _trim_far(self, live: int) -> None:
        while self._ids and not self._is_live(self._far_key(0)):
            self._pop_far()
        if len(self._ids) > 2 * live + _SLACK:
            far = sorted({key for key in map(self._far_key, range(len(self._ids))) if self._is_live(key)})
            self._instants = array("q", [(key[0] - _EPOCH) // _MICROSECOND for key in far])
            self._ids = [key[1] for key in far]

    def _far_key(self, at: int) -> Key:
        return _EPOCH + timedelta(microseconds=self._instants[at]), self._ids[at]

    def _push_far(self, instant: int, name: str) -> None:
        instants, ids = self._instants, self._ids
        at = len(ids)
        instants.append(instant)
        ids.append(name)
        while at:
            above = (at - 1) >> 1
            if instants[above] < instant or (instants[above] == instant and ids[above] <= name):
                break
            instants[at], ids[at] = instants[above], ids[above]
            at = above
        instants[at], ids[at] = instant, name

    def _pop_far(self) -> Key:
        """Take the smallest key: the hole sinks to the bottom along the smaller children, and the last key rises from there."""
        key = self._far_key(0)
        instants, ids = self._instants, self._ids
        instant, name = instants.pop(), ids.pop()
        size = len(ids)
        if not size:
            return key
        at, child = 0, 1
        while child < size:
            other = child + 1
            if other < size and (instants[other] < instants[child] or (instants[other] == instants[child] and ids[other] < ids[child])):
                child = other
            instants[at], ids[at] = instants[child], ids[child]
            at, child = child, 2 * child + 1
        while at:
            above = (at - 1) >> 1
            if instants[above] < instant or (instants[above] == instant and ids[above] <= name):
                break
            instants[at], ids[at] = instants[above], ids[above]
            at = above
        instants[at], ids[at] = instant, name
        return key


class PackedReservations:
    """Open reservations by id, in no particular order; each is made anew when it is asked for."""

    __slots__ = ("_packed",)

    def __init__(self) -> None:
        self._packed: dict[str, bytes] = {}

    def get(self, reservation_id: str) -> OpenReservation | None:
        """Return the reservation of this id, or ``None``."""
        packed = self._packed.get(reservation_id)
        return None if packed is None else _unpack(reservation_id, packed)

    def is_due_from(self, reservation_id: str, instant: datetime) -> bool:
        """Return whether the reservation of this id is here, and due from ``instant`` on."""
        packed = self._packed.get(reservation_id)
        return packed is not None and _instant(_EXPIRES_AT.unpack_from(packed)[0]) == instant

    def put(self, hold: OpenReservation) -> None:
        """Add ``hold``, or replace the one of its id."""
        self._packed[hold.reservation_id] = _pack(hold)

    def discard(self, reservation_id: str) -> None:
        """Drop the reservation of this id, if it is here."""
        self._packed.pop(reservation_id, None)

    def __contains__(self, reservation_id: object) -> bool:
        return reservation_id in self._packed

    def __len__(self) -> int:
        return len(self._packed)

    def __iter__(self) -> Iterator[OpenReservation]:
        return (_unpack(reservation_id, packed) for reservation_id, packed in self._packed.items())


def _pack(hold: OpenReservation) -> bytes:
    owner = hold.owner_id
    return _FIELDS.pack(
        hold.original,
        hold.remaining,
        hold.committed,
        (hold.reserved_at - _EPOCH) // _MICROSECOND,
        _FIRM if hold.expires_at is None else (hold.expires_at - _EPOCH) // _MICROSECOND,
        hold.version,
        _PURPOSE_NUMBERS[hold.purpose],
        owner is not None,
    ) + ("" if owner is None else owner).encode("utf-8", "surrogatepass")


def _unpack(reservation_id: str, packed: bytes) -> OpenReservation:
    original, remaining, committed, reserved_at, expires_at, version, purpose, has_owner = _FIELDS.unpack_from(packed)
    return OpenReservation(
        reservation_id,
        original,
        remaining,
        committed,
        _PURPOSES[purpose],
        packed[_FIELDS.size :].decode("utf-8", "surrogatepass") if has_owner else None,
        _EPOCH + timedelta(microseconds=reserved_at),
        _instant(expires_at),
        version,
    )


def _instant(microseconds: int) -> datetime | None:
    return None if microseconds == _FIRM else _EPOCH + timedelta(microseconds=microseconds)
