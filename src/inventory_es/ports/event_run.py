"""A page's events, made one by one."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Generic, Protocol, TypeVar, overload

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports.records import RecordedEvent

T = TypeVar("T")


class EventFields(Protocol):
    """What decoding and folding want to know of an event: a :class:`RecordedEvent`, or what a store has read for one."""

    @property
    def stream(self) -> StreamId:
        """The stream that it belongs to."""
        ...

    @property
    def version(self) -> int:
        """Its place in the stream."""
        ...

    @property
    def event_type(self) -> str:
        """The wire name."""
        ...

    @property
    def schema_version(self) -> int:
        """Of the payload."""
        ...

    @property
    def recorded_at(self) -> datetime:
        """When it happened."""
        ...

    @property
    def data(self) -> bytes:
        """The payload."""
        ...


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

    def fields(self) -> Iterable[EventFields]:
        """The same events for who wants no more of them: an adapter may spare itself making them."""
        return self

    @overload
    def __getitem__(self, at: int) -> RecordedEvent: ...

    @overload
    def __getitem__(self, at: slice) -> "EventRun[T]": ...

    def __getitem__(self, at: int | slice) -> "RecordedEvent | EventRun[T]":
        return type(self)(self._make, self._read[at]) if isinstance(at, slice) else self._make(self._read[at])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    def __hash__(self) -> int:
        return hash(tuple(self))


def fields_of(events: Sequence[RecordedEvent]) -> Iterable[EventFields]:
    """What a page tells of its events, without making those that nobody asked for."""
    return events.fields() if isinstance(events, EventRun) else events
