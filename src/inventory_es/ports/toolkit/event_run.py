"""The events of a page, built lazily."""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any, Generic, TypeVar, overload

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports.records import RecordedEvent

T = TypeVar("T")


class EventRun(Sequence[RecordedEvent], Generic[T]):
    """Recorded events of a page, built lazily, so that iterating allocates one event at a time.

    Decoding and folding read the fields of all events at once, field by field, and no event is built for that.

    Args:
        make: builds the event of one row, record or line of a store.
        read: these rows, in order. They have the fields of an event under their names, or a subclass says where the fields are.
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
        """Return the wire name and the schema version of each event."""
        return [(one.event_type, one.schema_version) for one in self._read]

    def streams(self) -> list[StreamId]:
        """Return the stream of each event."""
        return [one.stream for one in self._read]

    def versions(self) -> list[int]:
        """Return the version of each event."""
        return [one.version for one in self._read]

    def positions(self) -> list[int]:
        """Return the position of each event."""
        return [one.position for one in self._read]

    def instants(self) -> list[datetime]:
        """Return the time of each event."""
        return [one.recorded_at for one in self._read]

    def payloads(self) -> list[bytes]:
        """Return the payload of each event."""
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
    """Return a page's events as an :class:`EventRun`."""
    return events if isinstance(events, EventRun) else EventRun(lambda event: event, events)
