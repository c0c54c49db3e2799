"""A page's events, made one by one."""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any, Generic, TypeVar, overload

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports.records import RecordedEvent

T = TypeVar("T")


class EventRun(Sequence[RecordedEvent], Generic[T]):
    """Recorded events, each made when it is asked for: whoever goes through a page never holds all of them, nor makes the collector look.

    What decoding and folding want to know comes field by field, for all events at once, and no event is made for it.

    Args:
        make: the event of what a store has read for it.
        read: that, in order. It has the fields of an event under their names, or a subclass tells where they are.
    """

    __slots__ = ("_make", "_read")

    def __init__(self, make: Callable[[T], RecordedEvent], read: Sequence[T]) -> None:
        self._make = make
        self._read: Sequence[Any] = read

    def __len__(self) -> int:
        return len(self._read)

    def __iter__(self) -> Iterator[RecordedEvent]:
        return map(self._make, self._read)

    def kinds(self) -> list[tuple[str, int]]:
        """Of each event, the wire name and the schema version of the payload."""
        return [(one.event_type, one.schema_version) for one in self._read]

    def streams(self) -> list[StreamId]:
        """Of each event, the stream that it belongs to."""
        return [one.stream for one in self._read]

    def versions(self) -> list[int]:
        """Of each event, its place in the stream."""
        return [one.version for one in self._read]

    def positions(self) -> list[int]:
        """Of each event, its place in the store."""
        return [one.position for one in self._read]

    def instants(self) -> list[datetime]:
        """Of each event, when it happened."""
        return [one.recorded_at for one in self._read]

    def payloads(self) -> list[bytes]:
        """Of each event, the payload."""
        return [one.data for one in self._read]

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


def run_of(events: Sequence[RecordedEvent]) -> EventRun[Any]:
    """A page's events as a run."""
    return events if isinstance(events, EventRun) else EventRun(_as_it_is, events)


def _as_it_is(event: RecordedEvent) -> RecordedEvent:
    return event
