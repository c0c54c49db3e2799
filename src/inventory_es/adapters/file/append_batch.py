"""Deciding appends that share one commit, each on what the ones before it left, as if they ran in order."""

from collections.abc import Callable, Sequence
from datetime import datetime
from uuid import UUID
from zlib import crc32

import attrs

from inventory_es.adapters.file.hash_slots import event_key, stream_key
from inventory_es.adapters.file.index import EventPlace, IndexedEvent, StoreIndex
from inventory_es.adapters.file.stored_form import StoredEvent, encode_event, encode_name, encode_time
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports.append_rules import check_append, check_versions, find_earlier_append
from inventory_es.ports.capabilities import StoreCapabilities
from inventory_es.ports.errors import AppendTooLargeError, ConcurrencyError, EventIdCollisionError
from inventory_es.ports.records import AppendResult, NewEvent, RecordedEvent, StreamWrite

CAPABILITIES = StoreCapabilities(
    durability="power",
    feed="total",
    multi_process=True,
    multi_stream=True,
    group_commit=True,
    unique_event_ids=True,
    max_append_events=10_000,
    max_append_bytes=32 << 20,
)


@attrs.define
class _Stream:
    version: int
    key: int
    name: bytes | None = None


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

    def __init__(self, index: StoreIndex, read: Callable[[Sequence[EventPlace]], Sequence[StoredEvent]], *, store: str) -> None:
        self._store = store
        self._index = index
        self._read = read
        self._streams: dict[str, _Stream] = {}
        self._own: dict[tuple[str, int], tuple[NewEvent, StreamId, int, int]] = {}
        self._time: datetime | None = None
        self._encoded_time = b""
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
        for write in writes:
            self._take_in(write, self._stream(write.stream.text))
        return AppendResult(self.position, {write.stream: self._version(write.stream) for write in writes})

    def find(self, stream: StreamId, event_ids: Sequence[UUID]) -> Sequence[RecordedEvent]:
        """Those of these ids that the stream holds, by version; of this batch too."""
        name = stream.text
        known = self._stream(name)
        if known.version == 0:
            return ()
        found: list[RecordedEvent] = []
        for event_id in event_ids:
            own = self._own.get((name, event_id.int))
            if own is not None:
                found.append(_recorded(*own))
            elif places := self._index.candidates(event_key(event_id, known.key)):
                found += [event for event in self._read(places) if event.event_id == event_id and event.stream == stream]
        return sorted(found, key=_version_of) if len(found) > 1 else found

    def _version(self, stream: StreamId) -> int:
        return self._stream(stream.text).version

    def _stream(self, name: str) -> _Stream:
        stream = self._streams.get(name)
        if stream is None:
            key = stream_key(name)
            stream = self._streams[name] = _Stream(self._index.version(name, key), key)
        return stream

    def _take_in(self, write: StreamWrite, stream: _Stream) -> None:
        text = write.stream.text
        if stream.name is None:
            stream.name = encode_name(write.stream)
        for event in write.events:
            stream.version += 1
            self.position += 1
            if event.recorded_at is not self._time:
                self._time, self._encoded_time = event.recorded_at, encode_time(event.recorded_at)
            stored = encode_event(event, stream.name, stream.version, self.position, self._encoded_time)
            self.stored.append(stored)
            self.indexed.append(IndexedEvent(text, stream.version, event_key(event.event_id, stream.key), crc32(stored), len(stored)))
            self._own[text, event.event_id.int] = (event, write.stream, stream.version, self.position)


def _recorded(event: NewEvent, stream: StreamId, version: int, position: int) -> RecordedEvent:
    return RecordedEvent(
        stream, version, position, event.event_id, event.event_type, event.schema_version, event.recorded_at, event.data, event.metadata
    )


def _version_of(event: RecordedEvent) -> int:
    return event.version
