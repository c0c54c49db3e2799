"""Decide appends that share one commit, each on the state that the ones before it left, as if they ran in order."""

from collections.abc import Callable, Sequence
from operator import attrgetter
from uuid import UUID
from zlib import crc32

import attrs

from inventory_es.adapters.file.index.store_index import EventPlaces, StoreIndex
from inventory_es.adapters.file.index.table import IndexedEvent, event_key, stream_key
from inventory_es.adapters.file.stored_event import StoredEvent, encode_event, encode_text
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


@attrs.define(eq=False)
class AppendBatch:
    """The appends of one line of the journal.

    The caller holds the journal's lock and the index's mutex, and has the index at the journal's end.

    Args:
        index: of everything that is durable.
        read: returns the events at some places.
        store: its name, for errors.
        position: of the last durable event.

    Attributes:
        position: of the last event, durable or of this batch.
        stored: the stored forms that this batch adds, in order.
        indexed: the same for the index.
    """

    _index: StoreIndex
    _read: Callable[[Sequence[EventPlaces]], Sequence[StoredEvent]]
    _store: str
    position: int
    stored: list[bytes] = attrs.field(factory=list, init=False)
    indexed: list[IndexedEvent] = attrs.field(factory=list, init=False)
    _streams: dict[str, _Stream] = attrs.field(factory=dict, init=False)

    def decide(self, writes: Sequence[StreamWrite]) -> AppendResult | Exception:
        """Return the outcome of one append, if the commit succeeds. Its events are added to the batch."""
        try:
            check_append(writes, CAPABILITIES, store=self._store)
            earlier = find_earlier_append(writes, self.find)
            if earlier is not None:
                return earlier
            check_versions(writes, self._version)
        except (ValueError, AppendTooLargeError, EventIdCollisionError, ConcurrencyError) as refusal:
            return refusal
        versions: dict[StreamId, int] = {}
        for write in writes:
            versions[write.stream] = self._add(write)
        return AppendResult(self.position, versions)

    def find(self, stream: StreamId, event_ids: Sequence[UUID]) -> Sequence[RecordedEvent]:
        """Return the events with these ids that the stream holds, those of this batch included, by version."""
        known = self._streams.get(stream.text)
        if known is None:
            key = stream_key(stream.text)
            known = self._streams[stream.text] = _Stream(self._index.version(stream.text, key), key)
        if known.version == 0:
            return ()
        own = known.own
        found = [_recorded(stream, *own[event_id.int]) for event_id in event_ids if event_id.int in own] if own else []
        places = self._index.candidates(event_ids, known.key)
        if places:
            wanted = set(event_ids)
            found += [event for event in self._read(places) if event.event_id in wanted and event.stream == stream]
        return sorted(found, key=attrgetter("version")) if len(found) > 1 else found

    def _version(self, stream: StreamId) -> int:
        """Return the version of a stream that :meth:`find` was called for."""
        return self._streams[stream.text].version

    def _add(self, write: StreamWrite) -> int:
        """Add a write, and return the stream's version after it."""
        text = write.stream.text
        stream = self._streams[text]
        key, version, position, name = stream.key, stream.version, self.position, encode_text(text)
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
