"""Keys of open reservations in order, with lazy deletion.

A reservation that ends or changes leaves its old key behind as dead; the owner says which keys are live. Dead keys are
dropped when they reach the top or a reading comes across them, and all at once when they outnumber the live ones. Each key
is dropped once, so the cost stays O(log n) amortised. Which live keys there are, no reading changes.
"""

import heapq
from array import array
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

Key = tuple[Any, ...]

_SLACK = 64

_NEAR = 32_768
"""The most keys of a :class:`DueQueue` that are kept as tuples, but for as many that come first and those that are due."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


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
        if len(heap) < _NEAR or (key < heap[0] and len(heap) < 2 * _NEAR):
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
        self._fetch(first, limit)
        return super().up_to(first, limit)

    def walk(self) -> Iterator[Key]:
        """Live keys in order, each once. Costs O(n log n), since all become tuples. The queue must not change meanwhile."""
        self._fetch(datetime.max.replace(tzinfo=UTC), None)
        return super().walk()

    def _fetch(self, first: datetime, limit: int | None) -> None:
        """Make tuples of the first ``limit`` far keys that are live and not after ``first``."""
        if not self._ids:
            return
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
