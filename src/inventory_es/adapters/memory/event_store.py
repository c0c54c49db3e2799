"""The reference event store: everything that the ports promise, in memory, as strict as the durable ones."""

from collections.abc import Sequence
from types import TracebackType
from typing import Self
from uuid import UUID

import anyio
from anyio.lowlevel import checkpoint

from inventory_es.adapters.memory.event_log import MemoryEventLog
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports.capabilities import StoreCapabilities
from inventory_es.ports.errors import StoreClosedError
from inventory_es.ports.records import AppendResult, FeedPage, RecordedEvent, StreamPage, StreamsPage, StreamWrite
from inventory_es.ports.toolkit.append_rules import check_append, check_page, check_stream
from inventory_es.ports.toolkit.polling import check_timeout

_NAME = "MemoryEventStore"


class MemoryEventStore:
    """An EventStore, EventFeed, GroupCommit, StreamCatalogue and VersionGlance in memory.

    **The reference**: where another adapter differs from this one, one of the two is wrong. Every call lets other tasks
    run once and then does its work in one synchronous step. So an append whose caller is cancelled was never begun, and no
    reader sees half of one. Nothing survives the process.

    Args:
        log: the data to open, shared with other instances over the same log; a fresh one if not given.
        page_size: the most events or streams on one page, 1 or more, whatever limit was asked for.
        max_event_bytes: the largest event that it takes, in bytes.
        max_append_events: the most events in one append.
        max_append_bytes: the most bytes in one append.
    """

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
        self._appends_in_flight = 0
        self._waiters: set[anyio.Event] = set()

    @property
    def capabilities(self) -> StoreCapabilities:
        """What this store promises, constant for its lifetime."""
        return self._capabilities

    async def append(self, writes: Sequence[StreamWrite], /) -> AppendResult:
        """Append all writes or none of them. See :meth:`inventory_es.ports.EventStore.append`."""
        self._check_open()
        self._appends_in_flight += 1
        try:
            await checkpoint()
            return self._append(writes)
        finally:
            self._appends_in_flight -= 1

    async def append_group(self, groups: Sequence[Sequence[StreamWrite]], /) -> Sequence[AppendResult | Exception]:
        """Run each group as one atomic append, in order. See :meth:`inventory_es.ports.GroupCommit.append_group`."""
        self._check_open()
        self._appends_in_flight += 1
        try:
            await checkpoint()
            return [self._attempt(writes) for writes in groups]
        finally:
            self._appends_in_flight -= 1

    async def read_stream(self, stream: StreamId, /, *, after: int = 0, limit: int) -> StreamPage:
        """Events with versions after ``after``, oldest first. See :meth:`inventory_es.ports.EventStore.read_stream`."""
        await self._begin_read()
        check_stream(stream)
        check_page(after=after, limit=limit)
        version = self._log.version_of(stream)
        events = self._log.read(stream, after, after + min(limit, self._page_size))
        return StreamPage(events, version, is_end=after + len(events) >= version)

    async def read_stream_backwards(self, stream: StreamId, /, *, before: int | None = None, limit: int) -> StreamPage:
        """Events with versions before ``before``, newest first. See :meth:`inventory_es.ports.EventStore.read_stream_backwards`."""
        await self._begin_read()
        check_stream(stream)
        check_page(before=before, limit=limit)
        version = self._log.version_of(stream)
        stop = version if before is None else min(version, before - 1)
        start = max(0, stop - min(limit, self._page_size))
        return StreamPage(self._log.read(stream, start, stop)[::-1], version, is_end=start == 0)

    async def find_events(self, stream: StreamId, event_ids: Sequence[UUID], /) -> Sequence[RecordedEvent]:
        """Those of ``event_ids`` that this stream holds, by version."""
        await self._begin_read()
        check_stream(stream)
        return self._log.find(stream, event_ids)

    async def read_all(self, *, after: int, limit: int) -> FeedPage:
        """Events with positions after ``after``, in order. See :meth:`inventory_es.ports.EventFeed.read_all`."""
        await self._begin_read()
        check_page(after=after, limit=limit)
        events = self._log.read_feed(after, after + min(limit, self._page_size))
        next_after = after + len(events)
        return FeedPage(events, next_after, is_end=next_after >= self._log.head)

    async def head(self) -> int:
        """The position of the newest event; 0 for an empty store."""
        await self._begin_read()
        return self._log.head

    async def wait_for_position(self, position: int, /, *, timeout: float) -> bool:
        """Wait for the head, at most ``timeout`` seconds. See :meth:`inventory_es.ports.EventFeed.wait_for_position`.

        Raises:
            ValueError: ``timeout`` is negative or not a number.
        """
        await self._begin_read()
        check_timeout(timeout)
        if self._log.head < position:
            await self._wait(position, timeout)
        return self._log.head >= position

    def glance_version(self, stream: StreamId, /) -> int | None:
        """The stream's version now. See :meth:`inventory_es.ports.VersionGlance.glance_version`."""
        return None if self._is_closed else self._log.version_of(stream)

    async def streams(self, prefix: str = "", /, *, after: StreamId | None = None, limit: int) -> StreamsPage:
        """Streams whose text starts with ``prefix``, ordered by their text. See :meth:`inventory_es.ports.StreamCatalogue.streams`."""
        await self._begin_read()
        check_page(limit=limit)
        return self._log.list_streams(prefix, after, min(limit, self._page_size))

    async def aclose(self) -> None:
        """Finish the appends in flight, then refuse every call. Closing twice is fine; the log stays as it is."""
        self._is_closed = True
        for arrival in self._waiters:
            arrival.set()
        await checkpoint()
        while self._appends_in_flight:  # each is one step of the event loop from its end
            await checkpoint()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.aclose()

    def _append(self, writes: Sequence[StreamWrite]) -> AppendResult:
        check_append(writes, self._capabilities, store=_NAME)
        return self._log.append(writes)

    def _attempt(self, writes: Sequence[StreamWrite]) -> AppendResult | Exception:
        try:
            return self._append(writes)
        except Exception as error:  # noqa: BLE001 - it is the group's outcome and must not sink its neighbours
            return error

    async def _begin_read(self) -> None:
        self._check_open()
        await checkpoint()

    async def _wait(self, position: int, timeout: float) -> None:
        self._check_open()  # a close since the caller's checkpoint has woken those who waited then, and wakes nobody later
        arrival = self._log.expect(position)
        self._waiters.add(arrival)
        try:
            with anyio.move_on_after(timeout):
                await arrival.wait()
        finally:
            self._log.forget(arrival)
            self._waiters.discard(arrival)
        self._check_open()

    def _check_open(self) -> None:
        if self._is_closed:
            raise StoreClosedError(store=_NAME)
