"""The SQLite event store: a synchronous core, and the handle on it of an event loop, or of threads."""

import logging
import os
import sqlite3
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from functools import partial
from uuid import UUID

import anyio

from inventory_es.adapters.sqlite.append_batch import AppendBatch, KnownHeads, find_rows
from inventory_es.adapters.sqlite.connections import (
    READ_ONLY,
    READ_ONLY_REMEDY,
    Connections,
    ReadOnlyConnections,
    WriteTurn,
    may_only_be_read,
)
from inventory_es.adapters.sqlite.database import Synchronous, check_readable, open_database, translated
from inventory_es.adapters.sqlite.rows import (
    FEED_COLUMNS,
    STREAM_COLUMNS,
    check_feed_rows,
    check_stream_rows,
    clear_snapshots,
    discard_snapshots,
    fetch_page,
    find_head,
    list_heads,
    load_snapshot,
    save_snapshot,
)
from inventory_es.domain.stream_id import MAX_PART_LENGTH, StreamId
from inventory_es.ports.errors import (
    AppendOutcomeUnknownError,
    AppendTooLargeError,
    CorruptStoreError,
    StoreClosedError,
    StoreUnavailableError,
    UnavailableError,
)
from inventory_es.ports.event_store import EventFeed, EventStore, GroupCommit, StoreCapabilities, StreamCatalogue, TurnTaking, VersionGlance
from inventory_es.ports.records import AppendResult, FeedPage, RecordedEvent, StreamPage, StreamsPage, StreamWrite
from inventory_es.ports.snapshot_store import Snapshot, SnapshotStore
from inventory_es.ports.toolkit.append_rules import check_append, check_page, check_stream
from inventory_es.ports.toolkit.blocking_calls import BlockingCalls, run_in_thread
from inventory_es.ports.toolkit.event_rows import FeedRows, RowEvent, StreamRows
from inventory_es.ports.toolkit.page_rules import check_stream_page, check_stream_page_backwards
from inventory_es.ports.toolkit.paths import AnyPath, absolute_path
from inventory_es.ports.toolkit.waiting import Event, Exclusive, new_event, scope

_AFTER_ANY_TEXT = "\U0010ffff" * (MAX_PART_LENGTH + 1)
"""A text that sorts after every continuation of a prefix: a part may consist of the last code point alone."""
_FEED = f"SELECT {FEED_COLUMNS} FROM events LEFT JOIN streams ON id = stream_id WHERE position > ? ORDER BY position LIMIT ?"  # noqa: S608  # a constant
_LARGEST = (1 << 63) - 1
"""The largest number in a column. Nothing stored is larger, so a bound above it means the same."""
_NOT_COMMITTED = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY}
"""Codes of a commit that did not happen, because its last page is not in the log. It is rolled back."""


class SqliteStore:
    """The synchronous core: one open handle on the database file. Any number of threads may read; one at a time commits or closes.

    Args:
        path: of the file; its folder exists.
        synchronous: ``FULL`` syncs every commit; ``EXTRA`` the folder too; ``NORMAL`` may lose the last commits in a power cut.

    Raises:
        IncompatibleStoreError, CorruptStoreError, StoreUnavailableError: as :func:`open_database`.
    """

    def __init__(self, path: str, *, synchronous: Synchronous) -> None:
        self._path = absolute_path(path)
        self.name: str = f"sqlite store {self._path}"
        self._connections = self._connect(synchronous)
        self._turn = WriteTurn(self._connections)
        self._heads = KnownHeads(store=self.name)
        self.capabilities: StoreCapabilities = StoreCapabilities(
            durability="os" if synchronous == "NORMAL" else "power",
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

    def _connect(self, synchronous: Synchronous) -> Connections:
        path = os.path.realpath(self._path)
        try:
            return Connections(
                self._path, name=self.name, synchronous=synchronous, open_writer=partial(open_database, path, synchronous=synchronous)
            )
        except StoreUnavailableError as refused:
            if not may_only_be_read(path, refused):
                raise
        connections = ReadOnlyConnections(path, StoreUnavailableError(store=self.name, reason=READ_ONLY, remedy=READ_ONLY_REMEDY))
        with translated(path), connections.lend(read_only=True) as connection:
            check_readable(connection, path)
        return connections

    def commit(self, groups: Sequence[Sequence[StreamWrite]]) -> list[AppendResult | Exception]:
        """Run appends in order, in one transaction, each with its own outcome.

        Raises:
            AppendOutcomeUnknownError: perhaps all appends without a refusal are written, perhaps none.
            StoreUnavailableError: no append is written.
        """
        refused: list[Exception | None] = []
        for writes in groups:
            try:
                check_append(writes, self.capabilities, store=self.name)
                refused.append(None)
            except (ValueError, AppendTooLargeError) as refusal:
                refused.append(refusal)
        with translated(self._path):
            try:
                return self._commit(groups, refused, look_up=False)
            except sqlite3.IntegrityError:  # an id is stored already: a replay or a collision, to be told apart
                return self._commit(groups, refused, look_up=True)

    def glance_version(self, stream: StreamId) -> int | None:
        """See ``VersionGlance``. Known while no commit runs here, and nobody else has written since the last one."""
        try:
            with self._turn.idle() as connection:
                return None if connection is None else self._heads.glance(connection, stream.text)
        except sqlite3.Error:
            return None

    def take_turn(self) -> None:
        """Wait for the write lock, and hold it until the next commit, until :meth:`give_turn_back`, or for 200 ms.

        Raises:
            StoreUnavailableError: the lock did not come in time.
        """
        with translated(self._path):
            self._turn.take()

    def give_turn_back(self) -> None:
        """Release the write lock, unless it was released already."""
        with translated(self._path):
            self._turn.give_back()

    def read_stream(self, stream: StreamId, *, after: int, limit: int) -> StreamPage:
        """See ``EventStore``."""
        check_stream(stream)
        check_page(limit=limit, after=after)
        with self._snapshot() as connection:
            stream_id, version = find_head(connection, stream.text, store=self.name)
            query = f"SELECT {STREAM_COLUMNS} FROM events WHERE stream_id = ? AND version > ? ORDER BY version LIMIT ?"  # noqa: S608  # a constant
            events = self._events(connection, stream, query, (stream_id, min(after, _LARGEST), min(limit, _LARGEST)))
        page = StreamPage(events, version, is_end=after + len(events) >= version)
        check_stream_page(page, stream, after=after, limit=limit, store=self.name)
        return page

    def read_stream_backwards(self, stream: StreamId, *, before: int | None, limit: int) -> StreamPage:
        """See ``EventStore``."""
        check_stream(stream)
        check_page(limit=limit, before=before)
        with self._snapshot() as connection:
            stream_id, version = find_head(connection, stream.text, store=self.name)
            last = version if before is None else min(version, before - 1)
            query = f"SELECT {STREAM_COLUMNS} FROM events WHERE stream_id = ? AND version <= ? ORDER BY version DESC LIMIT ?"  # noqa: S608  # a constant
            events = self._events(connection, stream, query, (stream_id, last, min(limit, _LARGEST)))
        page = StreamPage(events, version, is_end=last - len(events) <= 0)
        check_stream_page_backwards(page, stream, before=before, limit=limit, store=self.name)
        return page

    def find_events(self, stream: StreamId, event_ids: Sequence[UUID]) -> Sequence[RecordedEvent]:
        """See ``EventStore``."""
        check_stream(stream)
        with self._snapshot() as connection:
            stream_id, _ = find_head(connection, stream.text, store=self.name)
            ids = [event_id.bytes for event_id in set(event_ids)]
            found = find_rows(connection, stream, stream_id, ids, store=self.name)
        return sorted(found, key=lambda event: event.version)

    def read_all(self, *, after: int, limit: int) -> FeedPage:
        """See ``EventFeed``."""
        check_page(limit=limit, after=after)
        with self._snapshot() as connection:
            head = _head_position(connection)
            rows = fetch_page(connection.execute(_FEED, (min(after, _LARGEST), min(limit, _LARGEST))))
            check_feed_rows(connection, rows, store=self.name)
        next_after = after + len(rows)
        if [row[1] for row in rows] != list(range(after + 1, next_after + 1)) or (not rows and after < head):
            missing = next((number for number, row in enumerate(rows, after + 1) if row[1] != number), next_after + 1)
            raise CorruptStoreError(store=self.name, place=f"position {missing} of its feed", problem="the event is missing")
        return FeedPage(FeedRows(RowEvent.named, rows), next_after, is_end=next_after >= head)

    def head(self) -> int:
        """See ``EventFeed``."""
        with self._snapshot() as connection:
            return _head_position(connection)

    def streams(self, prefix: str, *, after: StreamId | None, limit: int) -> StreamsPage:
        """See ``StreamCatalogue``."""
        check_page(limit=limit)
        last = "" if after is None else after.text
        with self._snapshot() as connection:
            bounds = prefix, prefix + _AFTER_ANY_TEXT, last
            heads = list_heads(connection, bounds, min(limit, _LARGEST - 1) + 1, store=self.name)
        return StreamsPage(heads[:limit], is_end=len(heads) <= limit)

    def load_snapshot(self, stream: StreamId, *, schema_version: int, at_most: int | None) -> Snapshot | None:
        """See ``SnapshotStore``."""
        with self._snapshot() as connection:
            return load_snapshot(connection, stream, schema_version, at_most)

    def save_snapshot(self, snapshot: Snapshot) -> None:
        """See ``SnapshotStore``."""
        with self._transaction() as connection:
            save_snapshot(connection, snapshot)

    def discard_snapshots(self, streams: Sequence[StreamId]) -> None:
        """See ``SnapshotStore``."""
        with self._transaction() as connection:
            discard_snapshots(connection, streams)

    def clear_snapshots(self) -> None:
        """See ``SnapshotStore``."""
        with self._transaction() as connection:
            clear_snapshots(connection)

    def close(self) -> None:
        """Release every connection. Idempotent."""
        with translated(self._path):
            self._turn.give_back()
            self._connections.close()

    def _commit(
        self, groups: Sequence[Sequence[StreamWrite]], refused: Sequence[Exception | None], *, look_up: bool
    ) -> list[AppendResult | Exception]:
        outcomes: list[AppendResult | Exception] = []
        try:
            with self._turn.transaction() as connection:
                connection.text_factory = bytes
                self._heads.refresh(connection)
                batch = AppendBatch(connection, self._heads, look_up=look_up)
                for writes, refusal in zip(groups, refused, strict=True):
                    outcomes.append(batch.decide(writes) if refusal is None else refusal)  # decided in order, in one frame
                if batch.write():
                    try:
                        connection.execute("COMMIT")
                    except sqlite3.Error as problem:
                        if getattr(problem, "sqlite_errorcode", 0) & 0xFF in _NOT_COMMITTED:
                            raise
                        reason = getattr(problem, "sqlite_errorname", "") or "the commit failed"
                        raise AppendOutcomeUnknownError(store=self.name, reason=reason) from problem
                    batch.settle()
        except BaseException:  # of a signal too, which may come after the commit
            self._heads.forget()
            raise
        return outcomes

    def _events(self, connection: sqlite3.Connection, stream: StreamId, query: str, parameters: tuple[int, ...]) -> StreamRows:
        rows = fetch_page(connection.execute(query, parameters))
        check_stream_rows(connection, rows, stream.text, store=self.name)
        return StreamRows(partial(RowEvent, stream), rows)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Lend the writing connection in a transaction that the end of the block commits."""
        with translated(self._path), self._turn.transaction() as connection:
            yield connection
            connection.execute("COMMIT")

    @contextmanager
    def _snapshot(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection in a read transaction: the block sees one state of the file."""
        with translated(self._path), self._connections.lend(read_only=True) as connection:
            try:
                connection.text_factory = bytes
                connection.execute("BEGIN")
                yield connection
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")


def _head_position(connection: sqlite3.Connection) -> int:
    (position,) = connection.execute("SELECT coalesce(max(position), 0) FROM events").fetchone()
    return int(position)


_logger = logging.getLogger(__name__)
_MAX_READS = 8
_POLL = 0.05


class SqliteEventStore(EventStore, EventFeed, GroupCommit, StreamCatalogue, SnapshotStore, TurnTaking, VersionGlance):
    """An event store in one SQLite file, and a snapshot store. Opened by :func:`open_sqlite_event_store`.

    Every acknowledged append survives a power cut if the drive honours a sync. Several processes on one machine may open one file; they
    write one after the other. A store belongs to the event loop in which it was opened, or to threads. It needs SQLite 3.37 or newer.

    A fork closes the connections, and each process opens its own again. The child needs a store of its own. When the file is moved,
    removed or replaced while it is open, each use raises ``StoreClosedError``, and nothing is written.
    """

    serves_threads: bool = True

    def __init__(self, store: SqliteStore) -> None:
        self._store = store
        self._writes = BlockingCalls(None, name=store.name)
        self._reads = BlockingCalls(anyio.CapacityLimiter(_MAX_READS), name=store.name)
        self._turns = Exclusive()
        self._committed: Event | None = None  # made by whoever waits for it

    @property
    def capabilities(self) -> StoreCapabilities:
        return self._store.capabilities

    async def append(self, writes: Sequence[StreamWrite], /) -> AppendResult:
        (outcome,) = await self.append_group([writes])
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def append_group(self, groups: Sequence[Sequence[StreamWrite]], /) -> Sequence[AppendResult | Exception]:
        outcomes = await self._writes.run(self._store.commit, groups)
        committed, self._committed = self._committed, None
        if committed is not None:
            committed.set()
        return outcomes

    async def read_stream(self, stream: StreamId, /, *, after: int = 0, limit: int) -> StreamPage:
        await self._writes.settle()
        return await self._reads.run(self._store.read_stream, stream, after=after, limit=limit)

    async def read_stream_backwards(self, stream: StreamId, /, *, before: int | None = None, limit: int) -> StreamPage:
        await self._writes.settle()
        return await self._reads.run(self._store.read_stream_backwards, stream, before=before, limit=limit)

    async def find_events(self, stream: StreamId, event_ids: Sequence[UUID], /) -> Sequence[RecordedEvent]:
        await self._writes.settle()
        return await self._reads.run(self._store.find_events, stream, event_ids)

    async def read_all(self, *, after: int, limit: int) -> FeedPage:
        return await self._reads.run(self._store.read_all, after=after, limit=limit)

    async def head(self) -> int:
        return await self._reads.run(self._store.head)

    async def wait_for_position(self, position: int, /, *, timeout: float) -> bool:
        """Wait for the head. Commits of this handle wake at once, those of other handles within 50 ms."""
        if await self.head() >= position:  # beyond the timeout, which may be 0
            return True
        with scope(timeout):
            while True:
                committed = self._committed = self._committed or new_event()
                if await self.head() >= position:
                    return True
                with scope(_POLL):
                    await committed.wait()
        return False

    async def streams(self, prefix: str = "", /, *, after: StreamId | None = None, limit: int) -> StreamsPage:
        return await self._reads.run(self._store.streams, prefix, after=after, limit=limit)

    def glance_version(self, stream: StreamId, /) -> int | None:
        """Return the version of a stream that this handle has appended to, while no other handle has written."""
        return self._store.glance_version(stream) if self._writes.is_open else None

    @asynccontextmanager
    async def turn(self, *_: StreamId) -> AsyncIterator[None]:
        """Take a turn, which ends with its first append, or after 200 ms."""
        try:
            async with self._turns:
                try:
                    await self._writes.run(self._store.take_turn)
                except UnavailableError:
                    _logger.debug("store_turn_not_given")
                try:
                    yield
                finally:
                    with scope(shield=True), suppress(StoreClosedError):
                        await self._writes.run(self._store.give_turn_back)
        except BaseException:  # of a signal too
            self._turns.let_go()
            raise

    async def load_snapshot(self, stream: StreamId, /, *, schema_version: int, at_most: int | None = None) -> Snapshot | None:
        return await self._reads.run(self._store.load_snapshot, stream, schema_version=schema_version, at_most=at_most)

    async def save_snapshot(self, snapshot: Snapshot, /) -> None:
        await self._writes.run(self._store.save_snapshot, snapshot)

    async def discard_snapshots(self, *streams: StreamId) -> None:
        await self._writes.run(self._store.discard_snapshots, streams)

    async def clear_snapshots(self) -> None:
        """Forget every snapshot. The events stay."""
        await self._writes.run(self._store.clear_snapshots)

    async def aclose(self) -> None:
        """Finish the calls in flight and release every connection. Idempotent."""
        self._writes.refuse()
        await self._reads.close(lambda: None)
        await self._writes.close(self._store.close)


def open_sqlite_event_store(path: AnyPath, *, synchronous: Synchronous = "FULL") -> AbstractAsyncContextManager[SqliteEventStore]:
    """Open the store in a file, or create the file in an existing folder. The store closes with the block.

    Args:
        path: of the file. This call resolves a relative path.
        synchronous: ``FULL`` syncs every commit; ``EXTRA`` the folder too; ``NORMAL`` may lose the last commits in a power cut.

    Raises:
        IncompatibleStoreError: the file holds something else, or a newer version. Nothing was changed.
        CorruptStoreError: the file is damaged.
        StoreUnavailableError: the file can't be opened now.
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
    """Open the store of the URL ``sqlite:PLACE``. The caller closes it.

    Args:
        place: path of the file, relative to the working directory or absolute.

    Raises:
        IncompatibleStoreError, CorruptStoreError, StoreUnavailableError: as :func:`open_sqlite_event_store`.
    """
    return await _open(absolute_path(place), "FULL")


async def _open(path: str, synchronous: Synchronous) -> SqliteEventStore:
    store = await run_in_thread(partial(SqliteStore, path, synchronous=synchronous))
    return SqliteEventStore(store)
