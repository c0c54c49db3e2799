"""The data of a memory event store: streams, and one order of positions over them. Synchronous, so that each call is atomic."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from operator import attrgetter
from uuid import UUID

import anyio
import attrs

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports.records import AppendResult, NewEvent, RecordedEvent, StreamHead, StreamsPage, StreamWrite
from inventory_es.ports.toolkit.append_rules import check_versions, find_earlier_append

_text = attrgetter("text")


@attrs.define(eq=False)
class _Stream:
    events: list[RecordedEvent] = attrs.field(factory=list)
    versions: dict[UUID, int] = attrs.field(factory=dict)


class MemoryEventLog:
    """What several :class:`MemoryEventStore` instances share, as several handles share one folder or one database.

    It outlives the stores that were opened over it. Use it from one event loop at a time.
    """

    def __init__(self) -> None:
        self._feed: list[RecordedEvent] = []
        self._streams: dict[StreamId, _Stream] = {}
        self._sorted_streams: list[StreamId] = []
        self._new_streams: list[StreamId] = []
        self._waiters: dict[anyio.Event, int] = {}

    @property
    def head(self) -> int:
        """The position of the newest event, 0 for none."""
        return len(self._feed)

    def append(self, writes: Sequence[StreamWrite]) -> AppendResult:
        """Write what that :func:`~inventory_es.ports.toolkit.append_rules.check_append` accepts, or raise and write nothing."""
        earlier = find_earlier_append(writes, self.find)
        if earlier is not None:
            return earlier
        check_versions(writes, self.version_of)
        versions = {write.stream: self._extend(write.stream, write.events) for write in writes}
        if self._waiters:
            self._wake()
        return AppendResult(len(self._feed), versions)

    def version_of(self, stream: StreamId) -> int:
        """The stream's version, 0 for a stream that is not there."""
        known = self._streams.get(stream)
        return 0 if known is None else len(known.events)

    def find(self, stream: StreamId, event_ids: Sequence[UUID]) -> list[RecordedEvent]:
        """Those of ``event_ids`` that the stream holds, by version."""
        known = self._streams.get(stream)
        if known is None:
            return []
        versions = {known.versions[each] for each in event_ids if each in known.versions}
        return [known.events[version - 1] for version in sorted(versions)] if versions else []

    def read(self, stream: StreamId, start: int, stop: int) -> list[RecordedEvent]:
        """The stream's events with ``start`` < version ≤ ``stop``, oldest first."""
        known = self._streams.get(stream)
        return [] if known is None else known.events[start:stop]

    def read_feed(self, start: int, stop: int) -> list[RecordedEvent]:
        """Events with ``start`` < position ≤ ``stop``, in order."""
        return self._feed[start:stop]

    def list_streams(self, prefix: str, after: StreamId | None, limit: int) -> StreamsPage:
        """A page of the catalogue, as :meth:`~inventory_es.ports.StreamCatalogue.streams` promises it."""
        if self._new_streams:
            self._sorted_streams = sorted(self._sorted_streams + self._new_streams, key=_text)
            self._new_streams = []
        streams = self._sorted_streams
        start = bisect_left(streams, prefix, key=_text)
        if after is not None:
            start = max(start, bisect_right(streams, after.text, key=_text))
        matching = [stream for stream in streams[start : start + limit + 1] if stream.text.startswith(prefix)]
        heads = [StreamHead(stream, self.version_of(stream)) for stream in matching[:limit]]
        return StreamsPage(heads, is_end=len(matching) <= limit)

    def expect(self, position: int) -> anyio.Event:
        """An event that is set once the head is at ``position``; give it back with :meth:`forget`."""
        arrival = anyio.Event()
        self._waiters[arrival] = position
        return arrival

    def forget(self, arrival: anyio.Event) -> None:
        """Stop expecting."""
        self._waiters.pop(arrival, None)

    def _extend(self, stream: StreamId, events: Sequence[NewEvent]) -> int:
        known = self._streams.get(stream)
        if known is None:
            known = self._streams[stream] = _Stream()
            self._new_streams.append(stream)
        version, position = len(known.events), len(self._feed)
        for new in events:
            version += 1
            position += 1
            recorded = RecordedEvent(
                stream, version, position, new.event_id, new.event_type, new.schema_version, new.recorded_at, new.data, new.metadata
            )
            known.events.append(recorded)
            known.versions[new.event_id] = version
            self._feed.append(recorded)
        return version

    def _wake(self) -> None:
        head = self.head
        for arrival in [waiter for waiter, position in self._waiters.items() if position <= head]:
            del self._waiters[arrival]
            arrival.set()
