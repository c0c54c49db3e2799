"""A recorded event as a row of the table, with what is costly built on first use."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any
from uuid import UUID

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports.records import RecordedEvent
from inventory_es.ports.toolkit.event_run import EventRun

_COLUMNS = "events.version, position, event_id, event_type, schema_version, recorded_at, data, metadata"

STREAM_COLUMNS = f"{_COLUMNS}, events.checksum"
"""What a row of a stream is read from, in the order of :data:`EventRow`.

The connection gives texts as bytes (``text_factory``): a damaged text can't be decoded.
"""

FEED_COLUMNS = f"{_COLUMNS}, name, events.checksum"
"""The same of a row of any stream."""

EventRow = tuple[int, int, bytes, bytes, int, int, bytes, bytes]
"""Further columns may follow."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@lru_cache(maxsize=8_192)
def parse_stream(name: bytes) -> StreamId:
    """Return the stream of a name that is known to be good."""
    return StreamId.parse(name.decode())


_text: Callable[[bytes], str] = lru_cache(maxsize=1_024)(bytes.decode)


class RowEvent(RecordedEvent):
    """A :class:`RecordedEvent` over its row. Equal to any other with the same values."""

    __slots__ = ("_row",)

    _row: EventRow

    def __init__(self, stream: StreamId, row: EventRow) -> None:
        _keep_stream(self, stream)
        _keep_row(self, row)

    @property
    def version(self) -> int:
        """Its place in the stream."""
        return self._row[0]

    @property
    def position(self) -> int:
        """Its place in the store."""
        return self._row[1]

    @property
    def event_id(self) -> UUID:
        """Its id."""
        return UUID(bytes=self._row[2])

    @property
    def event_type(self) -> str:
        """Its wire name."""
        return _text(self._row[3])

    @property
    def schema_version(self) -> int:
        """Of its payload."""
        return self._row[4]

    @property
    def recorded_at(self) -> datetime:
        """When it happened."""
        return from_microseconds(self._row[5])

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
    """Events of one stream, over their rows."""

    __slots__ = ()

    def kinds(self) -> list[tuple[str, int]]:
        """Of each event, the wire name and the schema version of the payload."""
        return [(_text(row[3]), row[4]) for row in self._read]

    def streams(self) -> list[StreamId]:
        """Of each event, the stream that it belongs to."""
        return [event.stream for event in self[:1]] * len(self)

    def versions(self) -> list[int]:
        """Of each event, its place in the stream."""
        return [row[0] for row in self._read]

    def positions(self) -> list[int]:
        """Of each event, its place in the store."""
        return [row[1] for row in self._read]

    def instants(self) -> list[datetime]:
        """Of each event, when it happened."""
        first = self._read[0][5] if self._read else 0
        start = from_microseconds(first)
        return [start + _MICROSECOND * (row[5] - first) for row in self._read]

    def payloads(self) -> list[bytes]:
        """Of each event, the payload."""
        return [row[6] for row in self._read]


class FeedRows(StreamRows):
    """Events of any streams, over rows that have the stream's name behind their columns."""

    __slots__ = ()

    def streams(self) -> list[StreamId]:
        """Of each event, the stream that it belongs to."""
        return [parse_stream(row[8]) for row in self._read]


def named_event(row: Any) -> RowEvent:
    """The event of such a row."""
    return RowEvent(parse_stream(row[8]), row)


_keep_row = RowEvent.__dict__["_row"].__set__
_keep_stream = RecordedEvent.__dict__["stream"].__set__


def to_microseconds(time: datetime) -> int:
    """Since 1970 in UTC."""
    return (time - _EPOCH) // _MICROSECOND


def from_microseconds(microseconds: int) -> datetime:
    """The instant, in UTC."""
    return _EPOCH + _MICROSECOND * microseconds
