"""Event stores over synchronous drivers, whose calls run in worker threads: :func:`in_threads`."""

from collections.abc import Sequence
from functools import cache
from typing import Protocol, cast, runtime_checkable
from uuid import UUID

import anyio
from anyio.abc import AsyncResource

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports.event_store import EventFeed, EventStore, GroupCommit, StoreCapabilities, StreamCatalogue
from inventory_es.ports.records import AppendResult, FeedPage, RecordedEvent, StreamPage, StreamsPage, StreamWrite
from inventory_es.ports.toolkit.blocking_calls import BlockingCalls
from inventory_es.ports.toolkit.waiting import poll_for_position

__all__ = ["SyncEventFeed", "SyncEventStore", "SyncGroupCommit", "SyncStreamCatalogue", "ThreadedEventStore", "in_threads"]


@runtime_checkable
class SyncEventStore(Protocol):
    """:class:`~inventory_es.ports.EventStore` for a driver that blocks. Every method has the promises and errors of its namesake."""

    @property
    def capabilities(self) -> StoreCapabilities:
        """The promises of this store, constant for its lifetime. It may be read in an event loop, so it must not block."""
        ...

    def append(self, writes: Sequence[StreamWrite], /) -> AppendResult:
        """Append all writes or none of them."""
        ...

    def read_stream(self, stream: StreamId, /, *, after: int = 0, limit: int) -> StreamPage:
        """Return the events with versions after ``after``, oldest first."""
        ...

    def read_stream_backwards(self, stream: StreamId, /, *, before: int | None = None, limit: int) -> StreamPage:
        """Return the events with versions before ``before``, newest first."""
        ...

    def find_events(self, stream: StreamId, event_ids: Sequence[UUID], /) -> Sequence[RecordedEvent]:
        """Return the events of this stream that have one of ``event_ids``, by version."""
        ...

    def close(self) -> None:
        """Release every resource. Called once, after all other calls have ended."""
        ...


@runtime_checkable
class SyncEventFeed(Protocol):
    """:class:`~inventory_es.ports.EventFeed` for a driver that blocks. It is polled while a caller waits for a position."""

    def read_all(self, *, after: int, limit: int) -> FeedPage:
        """Return the events with positions after ``after``, in position order, without skipping one."""
        ...

    def head(self) -> int:
        """Return the position of the newest event that readers may see; 0 for an empty store."""
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
        """List streams whose text starts with ``prefix``, ordered by their text."""
        ...


class ThreadedEventStore(EventStore, AsyncResource):
    """An EventStore over a :class:`SyncEventStore`. :func:`in_threads` makes it, and adds the optional ports."""

    serves_threads: bool = True

    def __init__(self, store: SyncEventStore, calls: BlockingCalls, *, poll_interval: float) -> None:
        self.__wrapped__ = self._store = store
        self._calls = calls
        self._poll_interval = poll_interval

    @property
    def capabilities(self) -> StoreCapabilities:
        return self._store.capabilities

    async def append(self, writes: Sequence[StreamWrite], /) -> AppendResult:
        return await self._calls.run(self._store.append, writes)

    async def read_stream(self, stream: StreamId, /, *, after: int = 0, limit: int) -> StreamPage:
        await self._calls.settle()
        return await self._calls.run(self._store.read_stream, stream, after=after, limit=limit)

    async def read_stream_backwards(self, stream: StreamId, /, *, before: int | None = None, limit: int) -> StreamPage:
        await self._calls.settle()
        return await self._calls.run(self._store.read_stream_backwards, stream, before=before, limit=limit)

    async def find_events(self, stream: StreamId, event_ids: Sequence[UUID], /) -> Sequence[RecordedEvent]:
        await self._calls.settle()
        return await self._calls.run(self._store.find_events, stream, event_ids)

    async def aclose(self) -> None:
        """Wait for the running calls, refuse further calls, and close the synchronous store. Idempotent."""
        await self._calls.close(self._store.close)


class _Feed(ThreadedEventStore, EventFeed):
    async def read_all(self, *, after: int, limit: int) -> FeedPage:
        return await self._calls.run(cast("SyncEventFeed", self._store).read_all, after=after, limit=limit)

    async def head(self) -> int:
        return await self._calls.run(cast("SyncEventFeed", self._store).head)

    async def wait_for_position(self, position: int, /, *, timeout: float) -> bool:
        return await poll_for_position(self.head, position, timeout=timeout, interval=self._poll_interval)


class _GroupCommit(ThreadedEventStore, GroupCommit):
    async def append_group(self, groups: Sequence[Sequence[StreamWrite]], /) -> Sequence[AppendResult | Exception]:
        return await self._calls.run(cast("SyncGroupCommit", self._store).append_group, groups)


class _StreamCatalogue(ThreadedEventStore, StreamCatalogue):
    async def streams(self, prefix: str = "", /, *, after: StreamId | None = None, limit: int) -> StreamsPage:
        return await self._calls.run(cast("SyncStreamCatalogue", self._store).streams, prefix, after=after, limit=limit)


_POLL = 0.1
_PARTS: dict[type, type[ThreadedEventStore]] = {
    SyncEventFeed: _Feed,
    SyncGroupCommit: _GroupCommit,
    SyncStreamCatalogue: _StreamCatalogue,
}


def in_threads(store: SyncEventStore, /, *, limiter: anyio.CapacityLimiter | None = None, poll_interval: float = _POLL) -> EventStore:
    """Make an event store of a synchronous one. The result has the optional ports whose synchronous twins ``store`` has.

    A call that began is always finished, also when its caller is cancelled.

    Args:
        store: a synchronous store; closed with the returned one.
        limiter: how many calls run at once, for a ``store`` that allows several; by default one at a time, from any thread.
        poll_interval: between two reads of the head while waiting for a position, in seconds, above 0.
    """
    return _class_of(_parts_of(store))(store, BlockingCalls(limiter, name=type(store).__name__), poll_interval=poll_interval)


class _BorrowedCalls(BlockingCalls):
    """Calls on a resource of somebody else, who closes it."""

    def __del__(self) -> None: ...


def borrowed(store: SyncEventStore, /) -> EventStore:
    """Make an event store of a synchronous one, which stays its owner's to close. The result needs no closing."""
    return _class_of(_parts_of(store))(store, _BorrowedCalls(None, name=type(store).__name__), poll_interval=_POLL)


def _parts_of(store: SyncEventStore) -> tuple[type[ThreadedEventStore], ...]:
    return tuple(part for protocol, part in _PARTS.items() if isinstance(store, protocol))


@cache
def _class_of(parts: tuple[type[ThreadedEventStore], ...]) -> type[ThreadedEventStore]:
    own = {"__doc__": ThreadedEventStore.__doc__, "serves_threads": True}
    return type("ThreadedEventStore", parts, own) if parts else ThreadedEventStore
