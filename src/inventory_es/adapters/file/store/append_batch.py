"""Deciding appends that share one commit, each on what the ones before it left, as if they ran in order."""

from collections.abc import Callable, Sequence
from uuid import UUID
from zlib import crc32

import attrs

from inventory_es.adapters.file.index.hash_slots import event_key, stream_key
from inventory_es.adapters.file.index.store_index import EventPlaces, StoreIndex
from inventory_es.adapters.file.index.table import IndexedEvent
from inventory_es.adapters.file.stored_event import StoredEvent, encode_event, encode_name
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports.errors import AppendTooLargeError, ConcurrencyError, EventIdCollisionError
from inventory_es.ports.event_store import StoreCapabilities
from inventory_es.ports.records import AppendResult, NewEvent, RecordedEvent, StreamWrite
from inventory_es.ports.toolkit.append_rules import check_append, check_versions, find_earlier_append

CAPABILITIES = StoreCapabilities(
    durability="power",
    feed="total",
    multi_process=True,
    multi_stream=True,
    group_commit=True,
    unique_event_ids=True,
    withdraws=True,
    settles_within=0.0,
    survives_fork=True,
    max_append_events=10_000,
    max_append_bytes=32 << 20,
)


@attrs.define
class _Stream:
    """A stream as this batch leaves it.

    Attributes:
        version: with the batch's events.
        key: of its text.
        own: the batch's events, with their version and position, by the number of their id.
    """

    version: int
    key: int
    own: dict[int, tuple[NewEvent, int, int]] = attrs.field(factory=dict)


class AppendBatch:
    """Appends that one line of the journal will hold.

    The caller holds the journal's lock and the index's mutex, and has the index at the journal's end.

    Args:
        index: of everything that is durable.
        read: the events at some places.
        store: its name, for errors.

    Attributes:
        position: of the last event, durable or of this batch.
        stored: the stored forms that this batch adds, in order.
        indexed: the same for the index.
    """

    def __init__(self, index: StoreIndex, read: Callable[[Sequence[EventPlaces]], Sequence[StoredEvent]], *, store: str) -> None:
        self._store = store
        self._index = index
        self._read = read
        self._streams: dict[str, _Stream] = {}
        self.position: int = index.end.position
        self.stored: list[bytes] = []
        self.indexed: list[IndexedEvent] = []

    def decide(self, writes: Sequence[StreamWrite]) -> AppendResult | Exception:
        """The outcome of one append, if the commit succeeds. What it writes is added to the batch."""
        try:
            check_append(writes, CAPABILITIES, store=self._store)
            earlier = find_earlier_append(writes, self.find)
            if earlier is not None:
                return earlier
            check_versions(writes, self._version)
        except (ValueError, AppendTooLargeError, EventIdCollisionError, ConcurrencyError) as refusal:
            return refusal
        versions = {write.stream: self._take_in(write) for write in writes}
        return AppendResult(self.position, versions)

    def find(self, stream: StreamId, event_ids: Sequence[UUID]) -> Sequence[RecordedEvent]:
        """Those of these ids that the stream holds, by version; of this batch too."""
        known = self._streams.get(stream.text) or self._look_up(stream.text)
        if known.version == 0:
            return ()
        own = known.own
        found = [_recorded(stream, *own[event_id.int]) for event_id in event_ids if event_id.int in own] if own else []
        places = self._index.candidates([event_key(event_id, known.key) for event_id in event_ids])
        if places:
            wanted = set(event_ids)
            found += [event for event in self._read(places) if event.event_id in wanted and event.stream == stream]
        return sorted(found, key=_version_of) if len(found) > 1 else found

    def _version(self, stream: StreamId) -> int:
        """Of a stream that :meth:`find` was asked for."""
        return self._streams[stream.text].version

    def _look_up(self, name: str) -> _Stream:
        key = stream_key(name)
        stream = self._streams[name] = _Stream(self._index.version(name, key), key)
        return stream

    def _take_in(self, write: StreamWrite) -> int:
        """Gives the stream's version after it."""
        text = write.stream.text
        stream = self._streams[text]
        key, version, position = stream.key, stream.version, self.position
        name = encode_name(write.stream)
        for event in write.events:
            version += 1
            position += 1
            stored = encode_event(event, name, version, position)
            self.stored.append(stored)
            self.indexed.append(IndexedEvent(text, version, event_key(event.event_id, key), crc32(stored), len(stored)))
            stream.own[event.event_id.int] = event, version, position
        stream.version, self.position = version, position
        return version


def _recorded(stream: StreamId, event: NewEvent, version: int, position: int) -> RecordedEvent:
    return RecordedEvent(
        stream, version, position, event.event_id, event.event_type, event.schema_version, event.recorded_at, event.data, event.metadata
    )


def _version_of(event: RecordedEvent) -> int:
    return event.version
