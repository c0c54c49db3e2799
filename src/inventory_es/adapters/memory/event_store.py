"""The reference event store: all promises of the ports, in memory, as strict as the durable stores."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from operator import attrgetter
from uuid import UUID

import attrs
from anyio.abc import AsyncResource

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports.errors import StoreClosedError
from inventory_es.ports.event_store import EventFeed, EventStore, GroupCommit, StoreCapabilities, StreamCatalogue, VersionGlance
from inventory_es.ports.records import AppendResult, FeedPage, NewEvent, RecordedEvent, StreamHead, StreamPage, StreamsPage, StreamWrite
from inventory_es.ports.toolkit.append_rules import check_append, check_page, check_stream, check_versions, find_earlier_append
from inventory_es.ports.toolkit.waiting import STATE_LOCK, Event, blocks, check_timeout, give_way, new_event, scope

_NAME = "MemoryEventStore"
_text = attrgetter("text")


@attrs.define(eq=False)
class _Stream:
    events: list[RecordedEvent] = attrs.field(factory=list)
    versions: dict[UUID, int] = attrs.field(factory=dict)


class MemoryEventLog:
    """The data that several :class:`MemoryEventStore` instances share, as several handles share one folder or one database.

    A log is synchronous, and each call is atomic, also among threads. It outlives the stores that were opened over it. Use it from one
    event loop at a time, or from the threads of synchronous services.
    """

    def __init__(self) -> None:
        self._feed: list[RecordedEvent] = []
        self._streams: dict[StreamId, _Stream] = {}
        self._sorted_streams: list[StreamId] = []
        self._new_streams: list[StreamId] = []
        self._waiters: dict[Event, int] = {}

    @property
    def head(self) -> int:
        """The position of the newest event, 0 for none."""
        return len(self._feed)

    def append(self, writes: Sequence[StreamWrite]) -> AppendResult:
        """Write an append that :func:`~inventory_es.ports.toolkit.append_rules.check_append` accepts, or raise and write nothing."""
        with STATE_LOCK:
            earlier = find_earlier_append(writes, self.find)
            if earlier is not None:
                return earlier
            check_versions(writes, self.version_of)
            versions: dict[StreamId, int] = {}
            head = len(self._feed)
            try:
                for write in writes:
                    versions[write.stream] = self._extend(write.stream, write.events)
            except BaseException:  # of a signal: all or nothing
                self._undo(head)
                raise
            if self._waiters:
                self._wake()
            return AppendResult(len(self._feed), versions)

    def version_of(self, stream: StreamId) -> int:
        """Return the stream's version, 0 for a missing stream."""
        known = self._streams.get(stream)
        return 0 if known is None else len(known.events)

    def find(self, stream: StreamId, event_ids: Sequence[UUID]) -> list[RecordedEvent]:
        """Return the events of the stream that have one of ``event_ids``, by version."""
        known = self._streams.get(stream)
        if known is None or known.versions.keys().isdisjoint(event_ids):
            return []
        versions = {known.versions[each] for each in event_ids if each in known.versions}
        return [known.events[version - 1] for version in sorted(versions)]

    def read(self, stream: StreamId, start: int, stop: int) -> list[RecordedEvent]:
        """Return the stream's events with ``start`` < version ≤ ``stop``, oldest first."""
        known = self._streams.get(stream)
        return [] if known is None else known.events[start:stop]

    def read_feed(self, start: int, stop: int) -> list[RecordedEvent]:
        """Return the events with ``start`` < position ≤ ``stop``, in order."""
        return self._feed[start:stop]

    def list_streams(self, prefix: str, after: StreamId | None, limit: int) -> StreamsPage:
        """Return a page of the catalogue, as :meth:`~inventory_es.ports.StreamCatalogue.streams` promises it."""
        with STATE_LOCK:
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

    def expect(self, position: int) -> Event:
        """Return an event that is set once the head is at ``position``. Give it back with :meth:`forget`."""
        arrival = new_event()
        with STATE_LOCK:
            if position <= self.head:
                arrival.set()
            else:
                self._waiters[arrival] = position
        return arrival

    def forget(self, arrival: Event) -> None:
        """Stop expecting a position."""
        with STATE_LOCK:
            self._waiters.pop(arrival, None)

    def _extend(self, stream: StreamId, events: Sequence[NewEvent]) -> int:
        known = self._streams.get(stream)
        if known is None:
            added = _Stream()
            self._streams[stream] = known = added
            self._new_streams += [stream]
        version, position = len(known.events), len(self._feed)
        recorded: list[RecordedEvent] = []
        versions: dict[UUID, int] = {}
        for new in events:
            version += 1
            position += 1
            versions[new.event_id] = version
            recorded.append(
                RecordedEvent(
                    stream, version, position, new.event_id, new.event_type, new.schema_version, new.recorded_at, new.data, new.metadata
                )
            )
        known.events += recorded  # from here on without a call, so that no signal comes between
        known.versions |= versions
        self._feed += recorded
        return version

    def _undo(self, head: int) -> None:
        for event in self._feed[head:]:
            known = self._streams[event.stream]
            del known.versions[event.event_id], known.events[-1]
        del self._feed[head:]
        for stream in [stream for stream in self._new_streams if not self._streams[stream].events]:
            self._new_streams.remove(stream)
            del self._streams[stream]

    def _wake(self) -> None:
        head = self.head
        for arrival in [waiter for waiter, position in self._waiters.items() if position <= head]:
            arrival.set()
            del self._waiters[arrival]


class MemoryEventStore(EventStore, EventFeed, GroupCommit, StreamCatalogue, VersionGlance, AsyncResource):
    """An event store in memory: **the reference** of its port. Where another adapter differs, one of the two is wrong.

    In an event loop, every call lets other tasks run once. Then it does its work in one synchronous step. So an append whose caller is
    cancelled was never begun, and no reader sees half of one. Nothing survives the process.

    Args:
        log: the data to open, shared with other instances over the same log; a fresh one by default.
        page_size: the most events or streams on one page, 1 or more, for any limit.
        max_event_bytes: the largest event that the store takes, in bytes.
        max_append_events: the most events in one append.
        max_append_bytes: the most bytes in one append.
    """

    serves_threads: bool = True

    def __init__(
        self,
        log: MemoryEventLog | None = None,
        *,
        page_size: int = 1_000,
        max_event_bytes: int = 1 << 20,
        max_append_events: int = 10_000,
        max_append_bytes: int = 32 << 20,
    ) -> None:
        check_page(limit=page_size)
        self._log = MemoryEventLog() if log is None else log
        self._page_size = page_size
        self._capabilities = StoreCapabilities(
            durability="none",
            feed="total",
            multi_stream=True,
            group_commit=True,
            unique_event_ids=True,
            settles_within=0.0,
            max_event_bytes=max_event_bytes,
            max_append_events=max_append_events,
            max_append_bytes=max_append_bytes,
        )
        self._is_closed = False
        self._appends_in_flight: list[None] = []
        self._waiters: set[Event] = set()

    @property
    def capabilities(self) -> StoreCapabilities:
        return self._capabilities

    async def append(self, writes: Sequence[StreamWrite], /) -> AppendResult:
        self._check_open()
        self._appends_in_flight.append(None)
        try:
            await give_way()
            check_append(writes, self._capabilities, store=_NAME)
            return self._log.append(writes)
        finally:
            self._appends_in_flight.pop()

    async def append_group(self, groups: Sequence[Sequence[StreamWrite]], /) -> Sequence[AppendResult | Exception]:
        self._check_open()
        self._appends_in_flight.append(None)
        try:
            await give_way()
            return [self._attempt(writes) for writes in groups]
        finally:
            self._appends_in_flight.pop()

    async def read_stream(self, stream: StreamId, /, *, after: int = 0, limit: int) -> StreamPage:
        await self._begin_read()
        check_stream(stream)
        check_page(after=after, limit=limit)
        with STATE_LOCK:
            version = self._log.version_of(stream)
            events = self._log.read(stream, after, after + min(limit, self._page_size))
        return StreamPage(events, version, is_end=after + len(events) >= version)

    async def read_stream_backwards(self, stream: StreamId, /, *, before: int | None = None, limit: int) -> StreamPage:
        await self._begin_read()
        check_stream(stream)
        check_page(before=before, limit=limit)
        with STATE_LOCK:
            version = self._log.version_of(stream)
            stop = version if before is None else min(version, before - 1)
            start = max(0, stop - min(limit, self._page_size))
            return StreamPage(self._log.read(stream, start, stop)[::-1], version, is_end=start == 0)

    async def find_events(self, stream: StreamId, event_ids: Sequence[UUID], /) -> Sequence[RecordedEvent]:
        await self._begin_read()
        check_stream(stream)
        with STATE_LOCK:
            return self._log.find(stream, event_ids)

    async def read_all(self, *, after: int, limit: int) -> FeedPage:
        await self._begin_read()
        check_page(after=after, limit=limit)
        with STATE_LOCK:
            events = self._log.read_feed(after, after + min(limit, self._page_size))
            next_after = after + len(events)
            return FeedPage(events, next_after, is_end=next_after >= self._log.head)

    async def head(self) -> int:
        await self._begin_read()
        return self._log.head

    async def wait_for_position(self, position: int, /, *, timeout: float) -> bool:
        """Wait for the head. Raises ``ValueError`` for a timeout that is negative or not a number."""
        await self._begin_read()
        check_timeout(timeout)
        if self._log.head < position:
            await self._wait(position, timeout)
        return self._log.head >= position

    def glance_version(self, stream: StreamId, /) -> int | None:
        return None if self._is_closed else self._log.version_of(stream)

    async def streams(self, prefix: str = "", /, *, after: StreamId | None = None, limit: int) -> StreamsPage:
        await self._begin_read()
        check_page(limit=limit)
        return self._log.list_streams(prefix, after, min(limit, self._page_size))

    async def aclose(self) -> None:
        """Finish the appends in flight, then refuse every call. Idempotent. The log stays as it is."""
        self._is_closed = True
        for arrival in tuple(self._waiters):
            arrival.set()
        await give_way()
        while self._appends_in_flight and not blocks():  # each is one step of the event loop from its end; threads append under a lock
            await give_way()

    def _attempt(self, writes: Sequence[StreamWrite]) -> AppendResult | Exception:
        try:
            check_append(writes, self._capabilities, store=_NAME)
            return self._log.append(writes)
        except Exception as error:  # noqa: BLE001 - it is the group's outcome and must not sink its neighbours
            return error

    async def _begin_read(self) -> None:
        self._check_open()
        await give_way()

    async def _wait(self, position: int, timeout: float) -> None:
        self._check_open()  # a close since the caller's checkpoint has woken those who waited then, and wakes nobody later
        arrival = self._log.expect(position)
        self._waiters.add(arrival)
        try:
            with scope(timeout):
                await arrival.wait()
        finally:
            self._log.forget(arrival)
            self._waiters.discard(arrival)
        self._check_open()

    def _check_open(self) -> None:
        if self._is_closed:
            raise StoreClosedError(store=_NAME)


async def open_memory(place: str, /) -> MemoryEventStore:
    """Open a fresh, private store: the meaning of the URL ``memory:``. Stores that share data are opened over a ``MemoryEventLog``.

    Args:
        place: the URL's text after the scheme; empty.

    Raises:
        ValueError: ``place`` is not empty.
    """
    if place:
        msg = "a memory store has no place: write the URL as 'memory:'"
        raise ValueError(msg)
    return MemoryEventStore()
