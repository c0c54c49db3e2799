"""Event stores over synchronous drivers, whose calls run in worker threads: :func:`in_threads`."""

from collections.abc import Sequence
from functools import cache
from types import TracebackType
from typing import Protocol, Self, cast, runtime_checkable
from uuid import UUID

import anyio

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports.event_store import EventStore, StoreCapabilities
from inventory_es.ports.records import AppendResult, FeedPage, RecordedEvent, StreamPage, StreamsPage, StreamWrite
from inventory_es.ports.toolkit.blocking_calls import BlockingCalls
from inventory_es.ports.toolkit.waiting import poll_for_position


class SyncEventStore(Protocol):
    """:class:`~inventory_es.ports.EventStore` for a driver that blocks. Every method promises and raises what its namesake does."""

    @property
    def capabilities(self) -> StoreCapabilities:
        """What this store promises, constant for its lifetime. Asked in the event loop: it must not block."""
        ...

    def append(self, writes: Sequence[StreamWrite], /) -> AppendResult:
        """Append all writes or none of them."""
        ...

    def read_stream(self, stream: StreamId, /, *, after: int = 0, limit: int) -> StreamPage:
        """Events with versions after ``after``, oldest first."""
        ...

    def read_stream_backwards(self, stream: StreamId, /, *, before: int | None = None, limit: int) -> StreamPage:
        """Events with versions before ``before``, newest first."""
        ...

    def find_events(self, stream: StreamId, event_ids: Sequence[UUID], /) -> Sequence[RecordedEvent]:
        """Those of ``event_ids`` that this stream holds, by version."""
        ...

    def close(self) -> None:
        """Release every resource. Called once, when no other call runs any more."""
        ...


@runtime_checkable
class SyncEventFeed(Protocol):
    """:class:`~inventory_es.ports.EventFeed` for a driver that blocks; it is asked again and again instead of waiting."""

    def read_all(self, *, after: int, limit: int) -> FeedPage:
        """Events with positions after ``after``, in position order, never skipping one."""
        ...

    def head(self) -> int:
        """The position of the newest event that readers may see; 0 for an empty store."""
        ...


@runtime_checkable
class SyncGroupCommit(Protocol):
    """:class:`~inventory_es.ports.GroupCommit` for a driver that blocks."""

    def append_group(self, groups: Sequence[Sequence[StreamWrite]], /) -> Sequence[AppendResult | Exception]:
        """Run each group as one atomic append, in order, and commit all of them once."""
        ...


@runtime_checkable
class SyncStreamCatalogue(Protocol):
    """:class:`~inventory_es.ports.StreamCatalogue` for a driver that blocks."""

    def streams(self, prefix: str = "", /, *, after: StreamId | None = None, limit: int) -> StreamsPage:
        """Streams whose text starts with ``prefix``, ordered by their text."""
        ...


class ThreadedEventStore:
    """An EventStore over a :class:`SyncEventStore`. Made by :func:`in_threads`, which adds the optional ports."""

    def __init__(self, store: SyncEventStore, *, limiter: anyio.CapacityLimiter | None, poll_interval: float) -> None:
        self.__wrapped__ = self._store = store
        self._calls = BlockingCalls(limiter, name=type(store).__name__)
        self._poll_interval = poll_interval

    @property
    def capabilities(self) -> StoreCapabilities:
        """As the synchronous store declares them."""
        return self._store.capabilities

    async def append(self, writes: Sequence[StreamWrite], /) -> AppendResult:
        """See :meth:`inventory_es.ports.EventStore.append`."""
        return await self._calls.run(self._store.append, writes)

    async def read_stream(self, stream: StreamId, /, *, after: int = 0, limit: int) -> StreamPage:
        """See :meth:`inventory_es.ports.EventStore.read_stream`."""
        await self._calls.settle()
        return await self._calls.run(self._store.read_stream, stream, after=after, limit=limit)

    async def read_stream_backwards(self, stream: StreamId, /, *, before: int | None = None, limit: int) -> StreamPage:
        """See :meth:`inventory_es.ports.EventStore.read_stream_backwards`."""
        await self._calls.settle()
        return await self._calls.run(self._store.read_stream_backwards, stream, before=before, limit=limit)

    async def find_events(self, stream: StreamId, event_ids: Sequence[UUID], /) -> Sequence[RecordedEvent]:
        """See :meth:`inventory_es.ports.EventStore.find_events`."""
        await self._calls.settle()
        return await self._calls.run(self._store.find_events, stream, event_ids)

    async def aclose(self) -> None:
        """Wait for the calls that run, refuse further ones, close the synchronous store. Closing twice is fine."""
        await self._calls.close(self._store.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.aclose()


class _Feed(ThreadedEventStore):
    async def read_all(self, *, after: int, limit: int) -> FeedPage:
        """See :meth:`inventory_es.ports.EventFeed.read_all`."""
        return await self._calls.run(cast("SyncEventFeed", self._store).read_all, after=after, limit=limit)

    async def head(self) -> int:
        """See :meth:`inventory_es.ports.EventFeed.head`."""
        return await self._calls.run(cast("SyncEventFeed", self._store).head)

    async def wait_for_position(self, position: int, /, *, timeout: float) -> bool:
        """See :meth:`inventory_es.ports.EventFeed.wait_for_position`."""
        return await poll_for_position(self.head, position, timeout=timeout, interval=self._poll_interval)


class _GroupCommit(ThreadedEventStore):
    async def append_group(self, groups: Sequence[Sequence[StreamWrite]], /) -> Sequence[AppendResult | Exception]:
        """See :meth:`inventory_es.ports.GroupCommit.append_group`."""
        return await self._calls.run(cast("SyncGroupCommit", self._store).append_group, groups)


class _StreamCatalogue(ThreadedEventStore):
    async def streams(self, prefix: str = "", /, *, after: StreamId | None = None, limit: int) -> StreamsPage:
        """See :meth:`inventory_es.ports.StreamCatalogue.streams`."""
        return await self._calls.run(cast("SyncStreamCatalogue", self._store).streams, prefix, after=after, limit=limit)


_PARTS: dict[type, type[ThreadedEventStore]] = {
    SyncEventFeed: _Feed,
    SyncGroupCommit: _GroupCommit,
    SyncStreamCatalogue: _StreamCatalogue,
}


def in_threads(store: SyncEventStore, /, *, limiter: anyio.CapacityLimiter | None = None, poll_interval: float = 0.1) -> EventStore:
    """Make an event store of a synchronous one. It has the optional ports whose synchronous twins ``store`` has.

    A call that began is always finished, also when its caller is cancelled.

    Args:
        store: a synchronous store; closed with the one that this returns.
        limiter: how many calls run at once, for a ``store`` that allows several; not given: one at a time, from any thread.
        poll_interval: between two looks at the head while waiting for a position, in seconds, above 0.
    """
    parts = tuple(part for protocol, part in _PARTS.items() if isinstance(store, protocol))
    return _class_of(parts)(store, limiter=limiter, poll_interval=poll_interval)


@cache
def _class_of(parts: tuple[type[ThreadedEventStore], ...]) -> type[ThreadedEventStore]:
    return type("ThreadedEventStore", parts, {"__doc__": ThreadedEventStore.__doc__}) if parts else ThreadedEventStore


__all__ = ["SyncEventFeed", "SyncEventStore", "SyncGroupCommit", "SyncStreamCatalogue", "ThreadedEventStore", "in_threads"]
