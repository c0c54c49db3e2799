"""Keys of open reservations in order, with lazy deletion.

A reservation that ends or changes leaves its old key behind as dead; the owner says which keys are live. Dead keys are
dropped when they reach the top or a reading comes across them, and all at once when they outnumber the live ones. Each key
is dropped once, so the cost stays O(log n) amortised. Which live keys there are, no reading changes.
"""

import heapq
from collections.abc import Callable, Iterator, Sequence
from typing import Any

Key = tuple[Any, ...]

_SLACK = 64


class HoldQueue:
    """An ordered bag of keys, smallest first.

    Args:
        is_live: whether a key still stands for an open reservation.
    """

    __slots__ = ("_heap", "_is_live")

    def __init__(self, is_live: Callable[[Key], bool]) -> None:
        self._heap: list[Key] = []
        self._is_live = is_live

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
