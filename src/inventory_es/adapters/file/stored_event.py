"""The stored form of an event: one JSON object, the same bytes in the journal and in the readable copy of its stream.

    {"event_id":…,"event_type":…,"schema_version":…,"stream":…,"version":…,"position":…,"recorded_at":…,"data":{…},"metadata":{…}}

Data and metadata stand in it as the writer gave them. A line of the journal is ``{"events":[…]`` and the journal's trailer.
"""

# Frozen fields can only be read, as properties can.
# pyright: reportIncompatibleVariableOverride=false

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

import msgspec

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports.records import NewEvent, RecordedEvent
from inventory_es.ports.toolkit.event_run import EventRun

LINE_START = b'{"events":['
LINE_END = b"]"

encode_text: Callable[[object], bytes] = msgspec.json.encode
"""Return a text, an id or a time as it stands in the stored form, quotes included."""


class StoredFields(msgspec.Struct, gc=False):
    """The fields of one stored event. Id, data and metadata are raw JSON; see :func:`read_id`."""

    event_id: msgspec.Raw
    event_type: str
    schema_version: int
    stream_name: str = msgspec.field(name="stream")
    version: int
    position: int
    recorded_at: datetime
    payload: msgspec.Raw = msgspec.field(name="data")
    metadata: msgspec.Raw


class StoredPage(EventRun[StoredFields]):
    """A page of events over their decoded fields."""

    __slots__ = ()

    def streams(self) -> list[StreamId]:
        """Return the stream of each event. A page of one stream costs one look-up, not one per event."""
        names = [one.stream_name for one in self._read]
        if names and names.count(names[0]) == len(names):
            return [parse_stream(names[0])] * len(names)
        return list(map(parse_stream, names))

    def payloads(self) -> list[bytes]:
        """Return the payload of each event."""
        return [b"" + one.payload for one in self._read]


class _StoredLine(msgspec.Struct, gc=False):
    events: list[msgspec.Raw]


class _StoredPlace(msgspec.Struct, gc=False):
    position: int


class _PlacedLine(msgspec.Struct, gc=False):
    events: list[_StoredPlace]


_decode_event = msgspec.json.Decoder(StoredFields).decode
_decode_line = msgspec.json.Decoder(_StoredLine).decode
_decode_placed = msgspec.json.Decoder(_PlacedLine).decode
read_id: Callable[[msgspec.Raw], UUID] = msgspec.json.Decoder(UUID).decode
parse_stream: Callable[[str], StreamId] = lru_cache(maxsize=8_192)(StreamId.parse)


class StoredEvent(RecordedEvent):
    """A recorded event over its decoded fields. Stream id, event id, data and metadata are built on access."""

    __slots__ = ("_stored",)

    _stored: StoredFields

    def __init__(self, stored: StoredFields) -> None:
        _keep(self, stored)

    @property
    def stream(self) -> StreamId:
        """The stream of the event."""
        return parse_stream(self._stored.stream_name)

    @property
    def version(self) -> int:
        """The place in the stream."""
        return self._stored.version

    @property
    def position(self) -> int:
        """The place in the store."""
        return self._stored.position

    @property
    def event_id(self) -> UUID:
        """The id, unique within its stream."""
        return read_id(self._stored.event_id)

    @property
    def event_type(self) -> str:
        """The wire name."""
        return self._stored.event_type

    @property
    def schema_version(self) -> int:
        """The schema version of the payload."""
        return self._stored.schema_version

    @property
    def recorded_at(self) -> datetime:
        """The time at which it happened."""
        return self._stored.recorded_at

    @property
    def data(self) -> bytes:
        """The payload."""
        return b"" + self._stored.payload

    @property
    def metadata(self) -> bytes:
        """The envelope's open part."""
        return bytes(self._stored.metadata)

    def __reduce__(self) -> tuple[type[RecordedEvent], tuple[Any, ...]]:
        return RecordedEvent, self._values()


_keep = StoredEvent.__dict__["_stored"].__set__


def encode_event(event: NewEvent | RecordedEvent, name: bytes, version: int, position: int) -> bytes:
    """Return the stored form of an event.

    Args:
        event: its fields as the writer gave them.
        name: the text of its stream, from ``encode_text``.
        version: in the stream.
        position: in the store.
    """
    time = event.recorded_at
    if time.microsecond and type(time) is datetime:
        recorded_at = encode_text(time)
    else:  # msgspec would leave six zeros out, and refuses subclasses
        recorded_at = b'"%bZ"' % time.isoformat(timespec="microseconds")[:26].encode()
    return (
        b'{"event_id":%b,"event_type":%b,"schema_version":%d,"stream":%b,"version":%d,"position":%d,"recorded_at":%b,"data":%b,"metadata":%b}'
        % (
            encode_text(event.event_id),
            encode_text(event.event_type),
            event.schema_version,
            name,
            version,
            position,
            recorded_at,
            event.data,
            event.metadata,
        )
    )


def encode_line(stored: Iterable[bytes]) -> bytes:
    """Return the journal's line of these events, without its trailer."""
    return b"%b%b%b" % (LINE_START, b",".join(stored), LINE_END)


def split_line(line: bytes) -> list[tuple[int, StoredFields]]:
    """Return the events of a good line, each with its length in bytes.

    The stored forms stand one after the other from ``len(LINE_START)``, with one comma between two.

    Raises:
        ValueError: not a line of events.
    """
    stored = [bytes(raw) for raw in _decode_line(line).events]
    return [(len(one), event) for one, event in zip(stored, check_events(stored), strict=True)]


def last_position(line: bytes) -> int:
    """Return the position of a good line's last event.

    Raises:
        ValueError: not a line of events.
    """
    events = _decode_placed(line).events
    if not events:
        msg = "a line without events"
        raise ValueError(msg)
    return events[-1].position


def decode_events(stored: Sequence[bytes]) -> list[StoredFields]:
    """Return the fields of each stored form, which is known to be good.

    Raises:
        ValueError: one of them is none.
    """
    return list(map(_decode_event, stored))


def check_events(stored: Sequence[bytes]) -> list[StoredFields]:
    """Return the fields of each stored form, of which nothing is known: stream and id, which :func:`decode_events` leaves raw, are checked.

    Raises:
        ValueError: one of them is none.
    """
    events = decode_events(stored)
    for event in events:
        parse_stream(event.stream_name)
        read_id(event.event_id)
    return events
