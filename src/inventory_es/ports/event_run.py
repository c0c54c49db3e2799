"""A page's events, made one by one."""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from operator import attrgetter
from typing import Any, Generic, TypeVar, overload

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports.records import RecordedEvent

T = TypeVar("T")


_kind_of = attrgetter("event_type", "schema_version")
_stream_of = attrgetter("stream")
_version_of = attrgetter("version")
_instant_of = attrgetter("recorded_at")
_payload_of = attrgetter("data")


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
        self._read = read

    def __len__(self) -> int:
        return len(self._read)

    def __iter__(self) -> Iterator[RecordedEvent]:
        return map(self._make, self._read)

    def kinds(self) -> list[tuple[str, int]]:
        """Of each event, the wire name and the schema version of the payload."""
        return list(map(_kind_of, self._read))

    def streams(self) -> list[StreamId]:
        """Of each event, the stream that it belongs to."""
        return list(map(_stream_of, self._read))

    def versions(self) -> list[int]:
        """Of each event, its place in the stream."""
        return list(map(_version_of, self._read))

    def instants(self) -> list[datetime]:
        """Of each event, when it happened."""
        return list(map(_instant_of, self._read))

    def payloads(self) -> list[bytes]:
        """Of each event, the payload."""
        return list(map(_payload_of, self._read))

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
