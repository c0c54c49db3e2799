"""Records that cross the storage ports: events and their metadata, appends, and pages."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from types import NoneType
from typing import Any, NoReturn
from uuid import UUID

import attrs
import msgspec

from inventory_es.domain.stream_id import StreamId

_check_syntax = msgspec.json.Decoder(msgspec.Raw).decode
_ZERO = timedelta(0)

MAX_SCHEMA_VERSION = 2_147_483_647
"""The largest schema version of a payload: it fits into a column of 32 bits."""


@attrs.frozen(init=False)
class NewEvent:
    """An event to be appended. The store keeps every field verbatim and stamps nothing but version and position.

    A value of a subclass (a member of an enumeration, a UUID of a driver, a time of a test) is kept as one of its base class.

    Args:
        event_id: unique within its stream, for ever.
        event_type: the wire name, 1 to 128 printable ASCII characters.
        schema_version: of the payload, 1 to 2,147,483,647.
        recorded_at: when it happened, in UTC, to the microsecond, in the years 1 to 9999; given by the writer, never by the store.
        data: the payload, one JSON object in UTF-8, from brace to brace, without line breaks.
        metadata: the envelope's open part, likewise.

    Raises:
        ValueError: a field that breaks these rules; it names the field.
    """

    event_id: UUID
    event_type: str
    schema_version: int
    recorded_at: datetime
    data: bytes
    metadata: bytes

    def __init__(
        self,
        event_id: UUID,
        event_type: str,
        schema_version: int,
        recorded_at: datetime,
        data: bytes,
        metadata: bytes = b"{}",
    ) -> None:
        if not isinstance(event_id, UUID):
            _refuse("event_id", "must be a uuid.UUID")
        if not (isinstance(event_type, str) and 1 <= len(event_type) <= 128 and event_type.isascii() and event_type.isprintable()):
            _refuse("event_type", "must be 1 to 128 printable ASCII characters")
        if type(schema_version) is not int or not 1 <= schema_version <= MAX_SCHEMA_VERSION:
            _refuse("schema_version", f"must be an int of 1 to {MAX_SCHEMA_VERSION}")
        if not isinstance(recorded_at, datetime) or recorded_at.utcoffset() != _ZERO:
            _refuse("recorded_at", "must be an aware datetime in UTC")
        _check_object("data", data)
        _check_object("metadata", metadata)
        if not (type(event_type) is str and type(data) is bytes and type(metadata) is bytes and type(recorded_at) is datetime):
            event_type, data, metadata, recorded_at = "".join(event_type), bytes(data), bytes(metadata), _plain_time(recorded_at)
        if type(event_id) is not UUID:
            event_id = UUID(int=event_id.int)
        self.__attrs_init__(event_id, event_type, schema_version, recorded_at, data, metadata)

    @classmethod
    def unchecked(
        cls, event_id: UUID, event_type: str, schema_version: int, recorded_at: datetime, data: bytes, metadata: bytes
    ) -> "NewEvent":
        """The same, of fields that are known to keep these rules: nothing is looked at again."""
        event = cls.__new__(cls)
        event.__attrs_init__(event_id, event_type, schema_version, recorded_at, data, metadata)
        return event

    @property
    def size(self) -> int:
        """Bytes of payload and metadata: what ``max_event_bytes`` and ``max_append_bytes`` bound."""
        return len(self.data) + len(self.metadata)


@attrs.frozen(eq=False)
class RecordedEvent:
    """An event as read back: the writer's fields, and its place.

    An adapter may return a subclass that builds costly fields on first use; equality is by value across subclasses.

    Attributes:
        stream: the stream that it belongs to.
        version: its place in the stream, starting at 1, without gaps.
        position: its place in the store, 1 or more, strictly increasing, perhaps with gaps. 0 where the store has no feed.
    """

    stream: StreamId
    version: int
    position: int
    event_id: UUID
    event_type: str
    schema_version: int
    recorded_at: datetime
    data: bytes
    metadata: bytes

    @property
    def size(self) -> int:
        """Bytes of payload and metadata."""
        return len(self.data) + len(self.metadata)

    def has_identity_of(self, event: NewEvent, stream: StreamId) -> bool:
        """Whether this is ``event`` stored earlier: same id, stream, type, schema version and data (time and metadata may differ)."""
        return (
            self.event_id == event.event_id
            and self.event_type == event.event_type
            and self.schema_version == event.schema_version
            and self.data == event.data
            and self.stream == stream
        )

    def _values(self) -> tuple[Any, ...]:
        return (
            self.stream,
            self.version,
            self.position,
            self.event_id,
            self.event_type,
            self.schema_version,
            self.recorded_at,
            self.data,
            self.metadata,
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RecordedEvent) and self._values() == other._values()

    def __hash__(self) -> int:
        return hash((self.stream, self.version, self.event_id))


@attrs.frozen
class StreamWrite:
    """New events for one stream, and the version that it must have.

    Attributes:
        stream: where to.
        expected_version: the stream's version before this write, 0 for a stream that must not exist yet.
        events: one or more, in order.
    """

    stream: StreamId
    expected_version: int
    events: Sequence[NewEvent]


@attrs.frozen
class AppendResult:
    """What an append answers.

    Attributes:
        position: of the append's last event; 0 where the store has no feed.
        versions: the version of each written stream right after the append's own events.
        replayed: whether these events had been stored by an earlier append; nothing was written now.
    """

    position: int
    versions: Mapping[StreamId, int]
    replayed: bool = False


@attrs.frozen
class StreamPage:
    """A run of one stream's events.

    Attributes:
        events: in the order asked for; may be fewer than the limit, and empty only where ``is_end``.
        version: the stream's version, from the same snapshot as the events; 0 for a stream that is not there.
        is_end: whether the page reaches the end of what was asked for, as of its reading; True also for a full page that does.
    """

    events: Sequence[RecordedEvent]
    version: int
    is_end: bool


@attrs.frozen
class FeedPage:
    """A run of the store-wide feed, in position order.

    Attributes:
        events: every event after the asked position up to ``next_after``; may be fewer than the limit. None, in a page that is not the end,
            only where ``next_after`` goes on over positions without events, and in at most 1,000 such pages in a row.
        next_after: what to ask for next.
        is_end: whether the page reaches the end of the feed, as of its reading; True also for a full page that does.
    """

    events: Sequence[RecordedEvent]
    next_after: int
    is_end: bool


@attrs.frozen
class StreamHead:
    """One stream of a catalogue: its name and its version."""

    stream: StreamId
    version: int


@attrs.frozen
class StreamsPage:
    """A run of a catalogue of streams, ordered by their text.

    Attributes:
        heads: the streams; may be fewer than the limit.
        is_end: whether the page reaches the end, as of its reading.
    """

    heads: Sequence[StreamHead]
    is_end: bool


def _plain_time(at: datetime) -> datetime:
    return datetime(at.year, at.month, at.day, at.hour, at.minute, at.second, at.microsecond, tzinfo=at.tzinfo, fold=at.fold)


def _check_object(name: str, value: object) -> None:
    if not isinstance(value, bytes) or not _is_one_line_object(value):
        _refuse(name, "must be UTF-8 bytes of one JSON object, from brace to brace, without line breaks")


def _is_one_line_object(value: bytes) -> bool:
    if value[:1] != b"{" or value[-1:] != b"}" or b"\n" in value or b"\r" in value:
        return False
    try:
        _check_syntax(value)
        return value.isascii() or bool(value.decode("utf-8"))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False


def _refuse(name: str, rule: str) -> NoReturn:
    msg = f"{name} of a new event {rule}"
    raise ValueError(msg)


_TEXTS = {str, NoneType}
_BOOLEANS = {bool}


@attrs.frozen(kw_only=True)
class EventMetadata:
    """What is known about an event beside what happened.

    No personal data: every id is opaque, and whom it means stands elsewhere, where it can be forgotten.

    Attributes:
        command_id: of the command that was decided to this event.
        fingerprint: of that command's payload; tells a repeated command from another one under the same id.
        correlation_id: of the whole conversation that it belongs to.
        causation_id: of what it is a direct answer to: a command or an event.
        actor_id: who asked, opaque.
        reference: why, URI-like text: an order, a purchase order, a count sheet.
        more: True if the next event of the stream belongs to the same instant: to the same command, or to the same ``execute_all``
            and time. The last event of an instant has no mark, and so has one that is an instant alone.
        extra: a host's own keys, values of JSON. Kept as they are, also those of a version of the host that nobody runs any more.

    Raises:
        ValueError: a field that is no text, ``more`` that is no boolean, or an extra key that is empty, no text, the name of a text field
            above, or ``more`` with the value True.
    """

    command_id: str | None = None
    fingerprint: str | None = None
    correlation_id: str | None = None
    causation_id: str | None = None
    actor_id: str | None = None
    reference: str | None = None
    more: bool = False
    extra: Mapping[str, Any] = attrs.field(factory=dict, hash=False)

    def __attrs_post_init__(self) -> None:
        if not (
            type(self.command_id) in _TEXTS
            and type(self.fingerprint) in _TEXTS
            and type(self.correlation_id) in _TEXTS
            and type(self.causation_id) in _TEXTS
            and type(self.actor_id) in _TEXTS
            and type(self.reference) in _TEXTS
        ):
            msg = "every field of an event's metadata is a text or None"
            raise ValueError(msg)
        if type(self.more) not in _BOOLEANS:
            msg = "more of an event's metadata is a boolean"
            raise ValueError(msg)
        if self.extra and not all(type(key) is str and key and not is_own(key, value) for key, value in self.extra.items()):
            msg = f"an extra key of an event's metadata is a text other than {', '.join(OWN_FIELDS)}"
            raise ValueError(msg)


OWN_FIELDS = tuple(field.name for field in attrs.fields(EventMetadata) if field.name not in {"more", "extra"})
"""The keys of texts that this package gives a meaning, in the order in which they are written."""


def is_own(key: str, value: object) -> bool:
    """Return whether this package gives the key a meaning; ``more`` has one with the value True alone."""
    return key in OWN_FIELDS or (key == "more" and value is True)
