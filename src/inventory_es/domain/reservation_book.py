"""The reservations of one inventory: open ones, ordered by expiry and by bump order, and the endings of the last closed ones.

Each order is a heap of keys with lazy deletion. A reservation that ends or changes leaves a dead key behind. Dead keys are dropped when
they reach the top or are read, and all at once when they outnumber the live keys. Each key is dropped once, so the amortised cost is
O(log n).

An open reservation as an object, with its owner's text, its instants and its keys, takes about 500 bytes. Beyond the first tens of
thousands of one inventory, reservations are packed into 270 bytes each.
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
from inventory_es.domain.reasons import Ending, Purpose

STATE_SCHEMA_VERSION = 1
"""The version of the state. It rises whenever a fold of the same events gives another state; older snapshots are then ignored."""

CLOSED_KEPT = 10_000
"""The number of closed reservations that are remembered. A count makes every replay give the same answer."""

OBJECTS_KEPT = 32_768
"""The most open reservations that are kept as objects, and the most keys of the order by expiry that are kept as tuples."""

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
    """A reservation that still holds units: original = remaining + committed + released, remaining ≥ 1.

    Attributes:
        reservation_id: the id chosen by the caller.
        original: the units reserved at first.
        remaining: the units still reserved, 1 or more.
        committed: the units that have left.
        purpose: the purpose.
        owner_id: an opaque id of the owner.
        reserved_at: the time of the reservation.
        expires_at: the instant from which it is due; ``None``: firm.
        version: the version of its StockReservedEvent in the stream.
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
        """The units released so far."""
        return self.original - self.remaining - self.committed

    @property
    def is_firm(self) -> bool:
        """True if it never expires."""
        return self.expires_at is None

    def is_due(self, at: datetime) -> bool:
        """Return True if it is due for expiry at ``at``: it is valid on [reserved_at, expires_at)."""
        return self.expires_at is not None and self.expires_at <= at


@attrs.frozen
class ClosedReservation:
    """A reservation that ended.

    Attributes:
        outcome: the ending, by the event that brought its remaining units to 0.
        committed: the units that have left.
        released: the units that were released, for any reason.
        expires_at: its last ``expires_at``; ``None`` if it was firm.
    """

    outcome: Ending
    committed: int
    released: int
    expires_at: datetime | None


@attrs.frozen(kw_only=True)
class InventorySnapshot:
    """State of an inventory after ``version`` events.

    Attributes:
        inventory_id: the inventory.
        version: the number of events folded; 0 for none.
        on_hand: the units on hand.
        reserved: the units that open reservations hold.
        last_time: the time of the last event; ``None`` before the first.
        last_count_version: the version of the last count's StockAdjustedEvent; 0 for none.
        open: the open reservations, by the version of their StockReservedEvent.
        closed: the most recent closed reservations with their ids, oldest first.
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
        objects: the open reservations that are not packed, by id; read-only.
        closed: the last closed reservations by id, oldest first; read-only.
        closed_count: the number of closed reservations that are remembered; read-only.
        open_count: the number of open reservations; read-only.
    """

    __slots__ = ("_bump_order", "_by_owner", "_due", "_packed", "_unordered", "closed", "closed_count", "objects", "open_count")

    def __init__(self) -> None:
        self.open_count: int = 0
        self.closed_count: int = 0
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
        """Return True if this id was used: its reservation is open, or among the remembered closed ones."""
        if self._packed is not None and reservation_id in self._packed:
            return True
        return reservation_id in self.objects or reservation_id in self.closed

    def __iter__(self) -> Iterator[OpenReservation]:
        return iter(self.objects.values()) if self._packed is None else chain(self._packed, self.objects.values())

    def put(self, reservation_id: str, before: OpenReservation | None, hold: OpenReservation | None) -> None:
        """Replace the open reservation ``before`` by ``hold``. ``None`` means that none is open before or after."""
        self.open_count += (hold is not None) - (before is not None)
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
        """Remember the ending of a reservation, and return the oldest one with its id if it is forgotten in exchange."""
        self.closed[reservation_id] = ending
        forgotten = self.closed.popitem(last=False) if len(self.closed) > CLOSED_KEPT else None
        self.closed_count = len(self.closed)
        return forgotten

    def reopen(self, reservation_id: str, forgotten: tuple[str, ClosedReservation] | None) -> None:
        """Undo :meth:`close`, given its result."""
        del self.closed[reservation_id]
        if forgotten is not None:
            self.closed[forgotten[0]] = forgotten[1]
            self.closed.move_to_end(forgotten[0], last=False)
        self.closed_count = len(self.closed)

    def reserved_for(self, owner_id: str) -> int:
        """Return the units that open reservations hold for one owner, due ones included.

        The first call adds up all open reservations; from then on the sums are kept.
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

        Reservations that opened or changed since the last call are put in order now, each once.
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
        """Drop the keys of closed or changed reservations once they outnumber the open ones."""
        live = self.open_count
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
    """A priority queue of keys, smallest first.

    Args:
        is_live: returns True if a key still belongs to an open reservation.
    """

    __slots__ = ("_heap", "_is_live")

    def __init__(self, is_live: Callable[[Key], bool]) -> None:
        self._heap: list[Key] = []
        self._is_live = is_live

    def __len__(self) -> int:
        return len(self._heap)

    def push(self, key: Key) -> None:
        """Add a live key. A key that is added twice is read once."""
        heapq.heappush(self._heap, key)

    def trim(self, live: int) -> None:
        """Drop dead keys from the top, and everywhere once they outnumber the ``live`` ones."""
        heap = self._heap
        while heap and not self._is_live(heap[0]):
            heapq.heappop(heap)
        if len(heap) > 2 * live + _SLACK:
            self._heap = sorted({key for key in heap if self._is_live(key)})

    def walk(self) -> Iterator[Key]:
        """Yield the live keys in order, each once. The cost is O(k log k) for k keys. The queue must not change meanwhile."""
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
    """A queue of (instant, reservation id). All keys but the first tens of thousands are in a second heap of two arrays.

    A key takes 16 bytes there, instead of 120 for a tuple and its instant. The smallest key is the first of one of the two heaps.
    """

    __slots__ = ("_ids", "_instants")

    def __init__(self, is_live: Callable[[Key], bool]) -> None:
        super().__init__(is_live)
        self._instants = array("q")
        self._ids: list[str] = []

    def __len__(self) -> int:
        return len(self._heap) + len(self._ids)

    def push(self, key: Key) -> None:
        """Add a live key. A key that is added twice is read once."""
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
        """Return the live keys whose instant is at most ``first``, in order, each once, at most ``limit`` keys.

        The cost is O(k log n) for k keys. They become tuples, since the caller is about to expire them.
        """
        if self._ids:
            self._fetch(first, limit)
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
        """Yield the live keys in order, each once. The cost is O(n log n), since all become tuples. The queue must not change meanwhile."""
        self._fetch(datetime.max.replace(tzinfo=UTC), None)
        return super().walk()

    def _fetch(self, first: datetime, limit: int | None) -> None:
        """Move the first ``limit`` live keys up to ``first`` from the arrays to the tuples."""
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
        """Remove the smallest key: the hole sinks along the smaller children, and the last key rises from there."""
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
    """Open reservations by id, packed as bytes and unpacked on each read, in no particular order."""

    __slots__ = ("_packed",)

    def __init__(self) -> None:
        self._packed: dict[str, bytes] = {}

    def get(self, reservation_id: str) -> OpenReservation | None:
        """Return the reservation of this id, or ``None``."""
        packed = self._packed.get(reservation_id)
        return None if packed is None else _unpack(reservation_id, packed)

    def is_due_from(self, reservation_id: str, instant: datetime) -> bool:
        """Return True if the reservation of this id is here, and due from ``instant`` on."""
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
