"""A recorded event as a row of the table, with what is costly built on first use."""

from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports.records import RecordedEvent

COLUMNS = "version, position, event_id, event_type, schema_version, recorded_at, data, metadata"
"""What a row of :class:`EventRow` is read from, in order."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class EventRow(NamedTuple):
    """The columns of one event."""

    version: int
    position: int
    event_id: bytes
    event_type: str
    schema_version: int
    recorded_at: int
    data: str
    metadata: str


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
        return self._row.version

    @property
    def position(self) -> int:
        """Its place in the store."""
        return self._row.position

    @property
    def event_id(self) -> UUID:
        """Its id."""
        return UUID(bytes=self._row.event_id)

    @property
    def event_type(self) -> str:
        """Its wire name."""
        return self._row.event_type

    @property
    def schema_version(self) -> int:
        """Of its payload."""
        return self._row.schema_version

    @property
    def recorded_at(self) -> datetime:
        """When it happened."""
        return from_microseconds(self._row.recorded_at)

    @property
    def data(self) -> bytes:
        """The payload."""
        return self._row.data.encode()

    @property
    def metadata(self) -> bytes:
        """The envelope's open part."""
        return self._row.metadata.encode()

    def __reduce__(self) -> tuple[type[RecordedEvent], tuple[Any, ...]]:
        return RecordedEvent, self._values()


_keep_row = RowEvent.__dict__["_row"].__set__
_keep_stream = RecordedEvent.__dict__["stream"].__set__


def to_microseconds(time: datetime) -> int:
    """Since 1970 in UTC."""
    return (time - _EPOCH) // _MICROSECOND


def from_microseconds(microseconds: int) -> datetime:
    """The instant, in UTC."""
    return _EPOCH + timedelta(microseconds=microseconds)
