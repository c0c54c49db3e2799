"""A recorded event as a row of the table, with what is costly built on first use."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache, partial
from typing import Any, NamedTuple
from uuid import UUID

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports.event_run import EventRun
from inventory_es.ports.records import RecordedEvent

COLUMNS = "events.version, position, event_id, event_type, schema_version, recorded_at, CAST(data AS BLOB), CAST(metadata AS BLOB)"
"""What a row is read from; the name of its stream follows."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

parse_stream: Callable[[str], StreamId] = lru_cache(maxsize=8_192)(StreamId.parse)


class StoredRow(NamedTuple):
    """A row of an event, in the order of :data:`COLUMNS`."""

    version: int
    position: int
    id_bytes: bytes
    event_type: str
    schema_version: int
    microseconds: int
    data: bytes
    metadata: bytes
    stream_name: str

    @property
    def stream(self) -> StreamId:
        """The stream that it belongs to."""
        return parse_stream(self.stream_name)

    @property
    def recorded_at(self) -> datetime:
        """When it happened."""
        return _EPOCH + _MICROSECOND * self.microseconds


class RowEvent(RecordedEvent):
    """A :class:`RecordedEvent` over its row. Equal to any other with the same values."""

    __slots__ = ("_row",)

    _row: StoredRow

    def __init__(self, row: StoredRow) -> None:
        _keep(self, row)

    @property
    def stream(self) -> StreamId:
        """The stream that it belongs to."""
        return parse_stream(self._row.stream_name)

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
        return UUID(bytes=self._row.id_bytes)

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
        return _EPOCH + _MICROSECOND * self._row.microseconds

    @property
    def data(self) -> bytes:
        """The payload."""
        return self._row.data

    @property
    def metadata(self) -> bytes:
        """The envelope's open part."""
        return self._row.metadata

    def __reduce__(self) -> tuple[type[RecordedEvent], tuple[Any, ...]]:
        return RecordedEvent, self._values()


class RowRun(EventRun[StoredRow]):
    """Events of a page, over their rows."""

    __slots__ = ()

    def fields(self) -> Sequence[StoredRow]:
        """The rows."""
        return self._read


_keep = RowEvent.__dict__["_row"].__set__
stored_row: Callable[[tuple[Any, ...]], StoredRow] = partial(tuple.__new__, StoredRow)
"""What a row is, given what the database gave."""


def to_microseconds(time: datetime) -> int:
    """Since 1970 in UTC."""
    return (time - _EPOCH) // _MICROSECOND
