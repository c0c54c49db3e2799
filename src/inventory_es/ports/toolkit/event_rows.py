"""The events of a page, built lazily over the rows of a database."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, ClassVar, Self
from uuid import UUID

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports.records import RecordedEvent
from inventory_es.ports.toolkit.event_run import EventRun

EventRow = tuple[int, int, bytes, bytes, int, int, bytes, bytes]
"""The row of an event: version, position, id, type, schema version, microseconds, payload, metadata. Further columns may follow."""

_MICROSECOND = timedelta(microseconds=1)


@lru_cache(maxsize=8_192)
def parse_stream(name: bytes) -> StreamId:
    """Return the stream with a name that is known to be valid."""
    return StreamId.parse(name.decode())


_text: Callable[[bytes], str] = lru_cache(maxsize=1_024)(bytes.decode)


class RowEvent(RecordedEvent):
    """A :class:`RecordedEvent` over its row, whose costly fields are built on first use. Equal to any event with the same values."""

    epoch: ClassVar[datetime] = datetime(1970, 1, 1, tzinfo=UTC)
    """The instant from which the rows count their microseconds."""

    __slots__ = ("_row",)

    _row: EventRow

    def __init__(self, stream: StreamId, row: EventRow) -> None:
        _keep_stream(self, stream)
        _keep_row(self, row)

    @classmethod
    def named(cls, row: Any) -> Self:
        """Return the event of a row with the stream's name after the columns of the event."""
        return cls(parse_stream(row[8]), row)

    @property
    def version(self) -> int:
        """The place in the stream."""
        return self._row[0]

    @property
    def position(self) -> int:
        """The place in the store."""
        return self._row[1]

    @property
    def event_id(self) -> UUID:
        """The event id."""
        return UUID(bytes=self._row[2])

    @property
    def event_type(self) -> str:
        """The wire name."""
        return _text(self._row[3])

    @property
    def schema_version(self) -> int:
        """The schema version of the payload."""
        return self._row[4]

    @property
    def recorded_at(self) -> datetime:
        """The time of the event."""
        return self.epoch + _MICROSECOND * self._row[5]

    @property
    def data(self) -> bytes:
        """The payload."""
        return self._row[6]

    @property
    def metadata(self) -> bytes:
        """The envelope's open part."""
        return self._row[7]

    def __reduce__(self) -> tuple[type[RecordedEvent], tuple[Any, ...]]:
        return RecordedEvent, self._values()


class StreamRows(EventRun[Any]):
    """The events of one stream, over their rows."""

    __slots__ = ()

    def kinds(self) -> list[tuple[str, int]]:
        return [(_text(row[3]), row[4]) for row in self._read]

    def streams(self) -> list[StreamId]:
        return [event.stream for event in self[:1]] * len(self)

    def versions(self) -> list[int]:
        return [row[0] for row in self._read]

    def positions(self) -> list[int]:
        return [row[1] for row in self._read]

    def instants(self) -> list[datetime]:
        if not self._read:
            return []
        first, start = self._read[0][5], self[0].recorded_at
        return [start + _MICROSECOND * (row[5] - first) for row in self._read]

    def payloads(self) -> list[bytes]:
        return [row[6] for row in self._read]


class FeedRows(StreamRows):
    """The events of any streams, over rows with the stream's name after the columns of the event."""

    __slots__ = ()

    def streams(self) -> list[StreamId]:
        return [parse_stream(row[8]) for row in self._read]


_keep_row = RowEvent.__dict__["_row"].__set__
_keep_stream = RecordedEvent.__dict__["stream"].__set__
