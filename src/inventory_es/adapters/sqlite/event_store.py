"""The SQLite event store for an event loop: a thin layer over :class:`~inventory_es.adapters.sqlite.engine.SqliteEngine`."""

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from functools import partial
from uuid import UUID

import anyio

from inventory_es.adapters.sqlite.database import Synchronous
from inventory_es.adapters.sqlite.engine import SqliteEngine
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports.capabilities import StoreCapabilities
from inventory_es.ports.errors import StoreClosedError, UnavailableError
from inventory_es.ports.event_store import EventFeed, EventStore, GroupCommit, StreamCatalogue, TurnTaking, VersionGlance
from inventory_es.ports.records import AppendResult, FeedPage, RecordedEvent, StreamPage, StreamsPage, StreamWrite
from inventory_es.ports.snapshot_store import Snapshot, SnapshotStore
from inventory_es.ports.toolkit.blocking_calls import BlockingCalls, run_in_thread
from inventory_es.ports.toolkit.paths import AnyPath, absolute_path

_logger = logging.getLogger(__name__)
_MAX_READS = 8
_POLL = 0.05


class SqliteEventStore(EventStore, EventFeed, GroupCommit, StreamCatalogue, SnapshotStore, TurnTaking, VersionGlance):
    """An event store in one SQLite file, and a snapshot store. Opened by :func:`open_sqlite_event_store`.

    Every acknowledged append survives a power cut, as far as the drive tells the truth. Several processes on one machine may open
    one file; they write one after the other. Belongs to the event loop in which it was opened. Needs SQLite 3.37 or newer.

    A fork closes its connections, and each process opens its own again; the child needs a store of its own. When the file is moved,
    removed or replaced while it is open, each use raises ``StoreClosedError``, and nothing is written.
    """

    def __init__(self, engine: SqliteEngine) -> None:
        self._engine = engine
        self._writes = BlockingCalls(None, name=engine.name)
        self._reads = BlockingCalls(anyio.CapacityLimiter(_MAX_READS), name=engine.name)
        self._turns = anyio.Lock()
        self._committed = anyio.Event()

    @property
    def capabilities(self) -> StoreCapabilities:
        """What this store promises."""
        return self._engine.capabilities

    async def append(self, writes: Sequence[StreamWrite], /) -> AppendResult:
        """See :meth:`EventStore.append`."""
        (outcome,) = await self.append_group([writes])
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def append_group(self, groups: Sequence[Sequence[StreamWrite]], /) -> Sequence[AppendResult | Exception]:
        """See :meth:`GroupCommit.append_group`."""
        outcomes = await self._writes.run(self._engine.commit, groups)
        self._committed.set()
        self._committed = anyio.Event()
        return outcomes

    async def read_stream(self, stream: StreamId, /, *, after: int = 0, limit: int) -> StreamPage:
        """See :meth:`EventStore.read_stream`."""
        await self._writes.settle()
        return await self._reads.run(self._engine.read_stream, stream, after=after, limit=limit)

    async def read_stream_backwards(self, stream: StreamId, /, *, before: int | None = None, limit: int) -> StreamPage:
        """See :meth:`EventStore.read_stream_backwards`."""
        await self._writes.settle()
        return await self._reads.run(self._engine.read_stream_backwards, stream, before=before, limit=limit)

    async def find_events(self, stream: StreamId, event_ids: Sequence[UUID], /) -> Sequence[RecordedEvent]:
        """See :meth:`EventStore.find_events`."""
        await self._writes.settle()
        return await self._reads.run(self._engine.find_events, stream, event_ids)

    async def read_all(self, *, after: int, limit: int) -> FeedPage:
        """See :meth:`EventFeed.read_all`."""
        return await self._reads.run(self._engine.read_all, after=after, limit=limit)

    async def head(self) -> int:
        """See :meth:`EventFeed.head`."""
        return await self._reads.run(self._engine.head)

    async def wait_for_position(self, position: int, /, *, timeout: float) -> bool:
        """See :meth:`EventFeed.wait_for_position`. Commits of this handle wake at once, those of others within 50 ms."""
        if await self.head() >= position:  # beyond the timeout, which may be 0
            return True
        with anyio.move_on_after(timeout):
            while True:
                committed = self._committed
                if await self.head() >= position:
                    return True
                with anyio.move_on_after(_POLL):
                    await committed.wait()
        return False

    async def streams(self, prefix: str = "", /, *, after: StreamId | None = None, limit: int) -> StreamsPage:
        """See :meth:`StreamCatalogue.streams`."""
        return await self._reads.run(self._engine.streams, prefix, after=after, limit=limit)

    def glance_version(self, stream: StreamId, /) -> int | None:
        """See :meth:`VersionGlance.glance_version`. Known are streams that this handle wrote to, while no other has written."""
        return self._engine.glance_version(stream) if self._writes.is_open else None

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """See :meth:`TurnTaking.turn`. Over with the first append in it, or after 200 ms."""
        async with self._turns:
            try:
                await self._writes.run(self._engine.take_turn)
            except UnavailableError:
                _logger.debug("store_turn_not_given")
            try:
                yield
            finally:
                with anyio.CancelScope(shield=True), suppress(StoreClosedError):
                    await self._writes.run(self._engine.give_turn_back)

    async def load_snapshot(self, stream: StreamId, /, *, schema_version: int, at_most: int | None = None) -> Snapshot | None:
        """See :meth:`SnapshotStore.load_snapshot`."""
        return await self._reads.run(self._engine.load_snapshot, stream, schema_version=schema_version, at_most=at_most)

    async def save_snapshot(self, snapshot: Snapshot, /) -> None:
        """See :meth:`SnapshotStore.save_snapshot`."""
        await self._writes.run(self._engine.save_snapshot, snapshot)

    async def discard_snapshots(self, *streams: StreamId) -> None:
        """See :meth:`SnapshotStore.discard_snapshots`."""
        await self._writes.run(self._engine.discard_snapshots, streams)

    async def clear_snapshots(self) -> None:
        """See :meth:`SnapshotStore.clear_snapshots`. Its events stay."""
        await self._writes.run(self._engine.clear_snapshots)

    async def aclose(self) -> None:
        """Finish what is in flight and release every connection. Closing twice is fine."""
        self._writes.refuse()
        await self._reads.close(lambda: None)
        await self._writes.close(self._engine.close)


def open_sqlite_event_store(path: AnyPath, *, synchronous: Synchronous = "FULL") -> AbstractAsyncContextManager[SqliteEventStore]:
    """Open the store in a file, or make it in an existing folder; it closes with the block.

    Args:
        path: of the file. A relative path is resolved by this call.
        synchronous: ``FULL`` syncs every commit; ``EXTRA`` the folder too; ``NORMAL`` may lose the last commits in a power cut.

    Raises:
        IncompatibleStoreError: the file holds something else, or a newer version. Nothing was changed.
        CorruptStoreError: the file is damaged.
        StoreUnavailableError: it can't be opened now.
    """
    return _opened(absolute_path(path), synchronous)


@asynccontextmanager
async def _opened(path: str, synchronous: Synchronous) -> AsyncIterator[SqliteEventStore]:
    store = await _open(path, synchronous)
    try:
        yield store
    finally:
        await store.aclose()


async def open_sqlite(place: str, /) -> SqliteEventStore:
    """Open what the URL ``sqlite:PLACE`` means. The caller closes the store.

    Args:
        place: path of the file, relative to the working directory or absolute.

    Raises:
        IncompatibleStoreError, CorruptStoreError, StoreUnavailableError: as :func:`open_sqlite_event_store`.
    """
    return await _open(absolute_path(place), "FULL")


async def _open(path: str, synchronous: Synchronous) -> SqliteEventStore:
    engine = await run_in_thread(partial(SqliteEngine, path, synchronous=synchronous))
    return SqliteEventStore(engine)
