"""The reference for a store: a dictionary of streams, a list of all events, and the rules of an append.

It follows the port's docstrings alone. It shares no code with an adapter, nor with the rules that adapters share.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

import attrs

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import NewEvent, RecordedEvent, StreamWrite

_FIELD_TYPES: Mapping[str, type] = {
    "event_id": UUID,
    "event_type": str,
    "schema_version": int,
    "recorded_at": datetime,
    "data": bytes,
    "metadata": bytes,
}


@attrs.frozen
class Place:
    """One event of the reference, in its stream."""

    stream: StreamId
    version: int
    event: NewEvent


@attrs.frozen
class Accepted:
    """An append that has to succeed.

    Attributes:
        last: its last event, whose position is the answer's. Streams that were written apart may be sent again together. Then both the
            newest event and the last event of the last write are right.
    """

    versions: Mapping[StreamId, int]
    last: Sequence[Place]
    replayed: bool


@attrs.frozen
class Conflict:
    """An append that has to raise ConcurrencyError, which names one of these streams with its expected and actual version."""

    wrong: Sequence[tuple[StreamId, int, int]]


@attrs.frozen
class Collision:
    """An append that has to raise EventIdCollisionError, which names one of its ids."""

    ids: Sequence[UUID]


Answer = Accepted | Conflict | Collision


@attrs.define
class ReferenceModel:
    """The content that a store must have.

    Attributes:
        streams: the events of each stream, by version.
        feed: every event, in the order of the appends.
        positions: the position of each event, by stream and version, as it was seen first; the store chooses it, and keeps it.
    """

    streams: dict[StreamId, list[NewEvent]] = attrs.field(factory=dict[StreamId, list[NewEvent]])
    feed: list[Place] = attrs.field(factory=list[Place])
    positions: dict[tuple[StreamId, int], int] = attrs.field(factory=dict[tuple[StreamId, int], int])
    _by_id: dict[tuple[StreamId, UUID], int] = attrs.field(factory=dict[tuple[StreamId, UUID], int])

    def version(self, stream: StreamId) -> int:
        """Return the version of a stream."""
        return len(self.streams.get(stream, ()))

    def places(self, stream: StreamId) -> list[Place]:
        """Return a stream's events with their versions."""
        return [Place(stream, number, event) for number, event in enumerate(self.streams.get(stream, ()), 1)]

    def append(self, writes: Sequence[StreamWrite]) -> Answer:
        """Return the required answer of an append, and keep its events if they are new."""
        stored = [[self._by_id.get((write.stream, event.event_id)) for event in write.events] for write in writes]
        if all(version is None for versions in stored for version in versions):
            return self._write(writes)
        collision = Collision([event.event_id for write in writes for event in write.events])
        ends: dict[StreamId, int] = {}
        for write, versions in zip(writes, stored, strict=True):
            first = versions[0]
            if first is None or versions != list(range(first, first + len(versions))):
                return collision
            earlier = self.streams[write.stream][first - 1 : first - 1 + len(versions)]
            if not all(map(_same_identity, earlier, write.events)):
                return collision
            ends[write.stream] = first + len(versions) - 1
        newest = next(place for place in reversed(self.feed) if ends.get(place.stream) == place.version)
        return Accepted(ends, [newest, self._place(writes[-1].stream, ends[writes[-1].stream])], replayed=True)

    def _write(self, writes: Sequence[StreamWrite]) -> Answer:
        wrong = [
            (write.stream, write.expected_version, self.version(write.stream))
            for write in writes
            if self.version(write.stream) != write.expected_version
        ]
        if wrong:
            return Conflict(wrong)
        for write in writes:
            events = self.streams.setdefault(write.stream, [])
            for event in write.events:
                events.append(event)
                self._by_id[write.stream, event.event_id] = len(events)
                self.feed.append(Place(write.stream, len(events), event))
        return Accepted({write.stream: self.version(write.stream) for write in writes}, [self.feed[-1]], replayed=False)

    def _place(self, stream: StreamId, version: int) -> Place:
        return Place(stream, version, self.streams[stream][version - 1])


def record_difference(place: Place, found: object, *, position: int | None) -> str | None:
    """Return the field of a record that differs from the reference, with both values; ``None`` if the record is right.

    Args:
        place: the event as it was appended, and its place.
        found: the record of the store.
        position: the position of the event; ``None`` if it is not known yet.
    """
    if not isinstance(found, RecordedEvent):
        return f"a {type(found).__name__} where a RecordedEvent belongs"
    written = place.event
    for name, kind in _FIELD_TYPES.items():
        one, other = getattr(written, name), getattr(found, name)
        if one != other:
            return f"{name} was {shortened(one)} and is {shortened(other)}"
        if type(other) not in {kind, type(one)}:
            return f"{name} was a {type(one).__name__} and is a {type(other).__name__}"
    if found.recorded_at.utcoffset() != timedelta(0):
        return f"recorded_at was in UTC and is {found.recorded_at.isoformat()}"
    if found.stream != place.stream or (found.stream.category, found.stream.parts) != (place.stream.category, place.stream.parts):
        return f"stream was {place.stream!r} and is {found.stream!r}"
    for name, expected in (("version", place.version), ("position", position), ("size", len(written.data) + len(written.metadata))):
        value = getattr(found, name)
        if type(value) is not int or expected not in {None, value}:
            return f"{name} has to be {'an int' if expected is None else expected} and is {value!r}"
    same = RecordedEvent(
        place.stream,
        place.version,
        found.position,
        written.event_id,
        written.event_type,
        written.schema_version,
        written.recorded_at,
        written.data,
        written.metadata,
    )
    if not (same == found and found == same and hash(same) == hash(found)):
        return "every field agrees, and the record is not equal to one with the same fields, or has another hash"
    return None


def _same_identity(one: NewEvent, other: NewEvent) -> bool:
    identity = (one.event_id, one.event_type, one.schema_version, one.data)
    return identity == (other.event_id, other.event_type, other.schema_version, other.data)


def shortened(value: object) -> str:
    """Return a value as a message shows it: of a long one, the beginning and the end."""
    text = value.isoformat() if isinstance(value, datetime) else repr(value)
    return text if len(text) <= 160 else f"{text[:100]}…{text[-40:]} ({len(text)} characters)"
