"""Records that cross the storage ports: events and their metadata, appends, and pages."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from operator import attrgetter
from types import NoneType
from typing import Any, NoReturn
from uuid import UUID

import attrs
import msgspec

from inventory_es.domain.stream_id import StreamId

_check_syntax = msgspec.json.Decoder(msgspec.Raw).decode
_ZERO = timedelta(0)
_TEXTS = {str, NoneType}
_BOOLEANS = {bool}

MAX_SCHEMA_VERSION = 2_147_483_647
"""The largest schema version of a payload, so that it fits into a column of 32 bits."""


@attrs.frozen(init=False)
class NewEvent:
    """An event to be appended. The store keeps every field verbatim, and adds nothing but version and position.

    A value of a subclass, such as an enumeration member or a driver's UUID, is kept as a value of its base class.

    Args:
        event_id: unique within its stream, and never used again.
        event_type: the wire name, 1 to 128 printable ASCII characters.
        schema_version: of the payload, 1 to 2,147,483,647.
        recorded_at: the time of the event, in UTC, to the microsecond, in the years 1 to 9999. The writer gives it, never the store.
        data: the payload, one JSON object in UTF-8, from brace to brace, without line breaks.
        metadata: the envelope's open part, in the same form.

    Raises:
        ValueError: a field that breaks these rules; the message names the field.
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
        """Make an event of fields that are known to follow these rules, without checking them."""
        event = cls.__new__(cls)
        event.__attrs_init__(event_id, event_type, schema_version, recorded_at, data, metadata)
        return event

    @property
    def size(self) -> int:
        """The bytes of payload and metadata, which ``max_event_bytes`` and ``max_append_bytes`` bound."""
        return len(self.data) + len(self.metadata)


@attrs.frozen(eq=False)
class RecordedEvent:
    """An event as read back: the writer's fields, and the event's place.

    An adapter may return a subclass that builds costly fields on first use. Equality is by value across subclasses.

    Attributes:
        stream: the stream of the event.
        version: the place in the stream, starting at 1, without gaps.
        position: the place in the store, 1 or more, strictly increasing, perhaps with gaps. 0 if the store has no feed.
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
        """The bytes of payload and metadata."""
        return len(self.data) + len(self.metadata)

    def has_identity_of(self, event: NewEvent, stream: StreamId) -> bool:
        """Return True if this is ``event``, stored earlier: id, stream, type, schema version and data are equal; the rest may differ."""
        return (
            self.event_id == event.event_id
            and self.event_type == event.event_type
            and self.schema_version == event.schema_version
            and self.data == event.data
            and self.stream == stream
        )

    def _values(self) -> tuple[Any, ...]:
        return _values_of(self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RecordedEvent) and self._values() == other._values()

    def __hash__(self) -> int:
        return hash((self.stream, self.version, self.event_id))


_values_of: Callable[[RecordedEvent], tuple[Any, ...]] = attrgetter(*(field.name for field in attrs.fields(RecordedEvent)))


@attrs.frozen
class StreamWrite:
    """New events for one stream, and the version that it must have.

    Attributes:
        stream: the stream to append to.
        expected_version: the stream's version before this write; 0 for a stream that must not exist yet.
        events: one or more, in order.
    """

    stream: StreamId
    expected_version: int
    events: Sequence[NewEvent]


@attrs.frozen
class AppendResult:
    """The result of an append.

    Attributes:
        position: of the append's last event; 0 if the store has no feed.
        versions: the version of each written stream right after the append's own events.
        replayed: True if an earlier append had stored these events; nothing was written now.
        is_contested: a hint of a store with turns by stream: True if others wait for turns over these streams. The next append had better
            have one too, or it makes those in their turns lose. Results are equal with and without it.
    """

    position: int
    versions: Mapping[StreamId, int]
    replayed: bool = False
    is_contested: bool = attrs.field(default=False, eq=False)


@attrs.frozen
class StreamPage:
    """Consecutive events of one stream.

    Attributes:
        events: in the requested order. A page may have fewer than the limit, and none only if ``is_end``.
        version: the stream's version, from the same snapshot as the events; 0 for a missing stream.
        is_end: True if the page reached the end of the requested range when it was read. A full page may reach it too.
    """

    events: Sequence[RecordedEvent]
    version: int
    is_end: bool


@attrs.frozen
class FeedPage:
    """Consecutive events of the store-wide feed, in position order.

    Attributes:
        events: every event after the requested position up to ``next_after``; may be fewer than the limit. A page before the end has no
            events only if ``next_after`` passes over positions without events. There are at most 1,000 such pages in a row.
        next_after: the position to pass as ``after`` of the next page.
        is_end: True if the page reached the end of the feed when it was read. A full page may reach it too.
    """

    events: Sequence[RecordedEvent]
    next_after: int
    is_end: bool


@attrs.frozen
class StreamHead:
    """A stream of a catalogue, and its version."""

    stream: StreamId
    version: int


@attrs.frozen
class StreamsPage:
    """Consecutive streams of a catalogue, ordered by their text.

    Attributes:
        heads: the streams; may be fewer than the limit.
        is_end: True if the page reached the end when it was read.
    """

    heads: Sequence[StreamHead]
    is_end: bool


@attrs.frozen(kw_only=True)
class EventMetadata:
    """The context of an event: its command, its sender and its causes.

    Metadata holds no personal data. Every id is opaque, and the person behind it is recorded elsewhere, where the record can be deleted.

    Attributes:
        command_id: of the command that was decided to this event.
        fingerprint: of that command's payload. It distinguishes a repeated command from another command with the same id.
        correlation_id: of the whole conversation.
        causation_id: of the direct cause, a command or an event.
        actor_id: the opaque id of the sender.
        reference: the reason, as a URI-like text: an order, a purchase order, a count sheet.
        more: True if the next event of the stream belongs to the same instant: to the same command, or to the same ``execute_all``
            and time. The last event of an instant has no mark, so a single event has none.
        extra: a host's own keys with JSON values. They are kept unchanged, also those of a version of the host that is no longer used.

    Raises:
        ValueError: a field that is no text, ``more`` that is no boolean, or an invalid extra key. An extra key is invalid if it is empty or
            no text. The name of a text field above is invalid too, and so is ``more`` with the value True.
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
"""The text keys with a meaning in this package, in the order in which they are written."""


def is_own(key: str, value: object) -> bool:
    """Return True if the key has a meaning in this package. ``more`` has one only with the value True."""
    return key in OWN_FIELDS or (key == "more" and value is True)


def _plain_time(at: datetime) -> datetime:
    return datetime(at.year, at.month, at.day, at.hour, at.minute, at.second, at.microsecond, tzinfo=at.tzinfo, fold=at.fold)


def _check_object(name: str, value: object) -> None:
    if not isinstance(value, bytes) or not is_json_object(value):
        _refuse(name, "must be UTF-8 bytes of one JSON object, from brace to brace, without line breaks")


def is_json_object(value: bytes) -> bool:
    """Return True for one JSON object in UTF-8, from brace to brace, without line breaks."""
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
