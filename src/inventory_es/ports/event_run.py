"""A page's events, made one by one."""

from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar, overload

from inventory_es.ports.records import RecordedEvent

T = TypeVar("T")


class EventRun(Sequence[RecordedEvent], Generic[T]):
    """Recorded events, each made when it is asked for: whoever goes through a page never holds all of them, nor makes the collector look.

    Args:
        make: the event of what a store has read for it.
        read: that, in order.
    """

    __slots__ = ("_make", "_read")

    def __init__(self, make: Callable[[T], RecordedEvent], read: Sequence[T]) -> None:
        self._make = make
        self._read = read

    def __len__(self) -> int:
        return len(self._read)

    def __iter__(self) -> Iterator[RecordedEvent]:
        return map(self._make, self._read)

    @overload
    def __getitem__(self, at: int) -> RecordedEvent: ...

    @overload
    def __getitem__(self, at: slice) -> "EventRun[T]": ...

    def __getitem__(self, at: int | slice) -> "RecordedEvent | EventRun[T]":
        return EventRun(self._make, self._read[at]) if isinstance(at, slice) else self._make(self._read[at])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    def __hash__(self) -> int:
        return hash(tuple(self))
