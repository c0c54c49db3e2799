"""The file event store for an event loop: a thin layer over :class:`~inventory_es.adapters.file.store.file_store.FileStore`."""

import warnings
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import ParamSpec, TypeVar
from uuid import UUID

import anyio

from inventory_es.adapters.file.folder import opened
from inventory_es.adapters.file.locks import LOCK_TIMEOUT, check_lock_timeout
from inventory_es.adapters.file.operating_system import new_creation_id
from inventory_es.adapters.file.store.append_batch import CAPABILITIES
from inventory_es.adapters.file.store.file_store import SEGMENT_BYTES, FileStore
from inventory_es.adapters.file.store.writer import CallersCommits, CommitWriter
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports.errors import StoreClosedError
from inventory_es.ports.event_store import EventFeed, EventStore, GroupCommit, StoreCapabilities, StreamCatalogue, TurnTaking, VersionGlance
from inventory_es.ports.file_system import FileSystem
from inventory_es.ports.records import AppendResult, FeedPage, RecordedEvent, StreamPage, StreamsPage, StreamWrite
from inventory_es.ports.toolkit.blocking_calls import run_in_thread
from inventory_es.ports.toolkit.paths import AnyPath, absolute_path
from inventory_es.ports.toolkit.waiting import Exclusive, blocks, new_event, scope

_P = ParamSpec("_P")
_R = TypeVar("_R")
_MAX_READS = 8
_POLL = 0.05


class FileEventStore(EventStore, EventFeed, GroupCommit, StreamCatalogue, TurnTaking, VersionGlance):
    """An event store in a folder, for Linux and macOS. Opened by :func:`open_file_event_store`.

    Every acknowledged append survives a power cut, as far as the drive tells the truth: its line was synced before. Linux syncs with
    ``fdatasync``, macOS with ``F_FULLFSYNC``. Any number of processes on one machine may open one folder. Tasks whose appends meet
    while a commit is in flight share the next one.

    Belongs to the event loop in which it was opened, or to threads without one. A handle that a fork inherited raises
    ``StoreClosedError``.

    Attributes:
        serves_threads: True if it was opened outside an event loop, by a synchronous service: then its callers commit themselves.
    """

    serves_threads: bool = False
    _is_closing = True

    def __init__(self, store: FileStore) -> None:
        self._store = store
        self.serves_threads = blocks()
        self._writer = CallersCommits(store) if self.serves_threads else CommitWriter(store)
        self._limiter = None if self.serves_threads else anyio.CapacityLimiter(_MAX_READS)
        self._reads: set[object] = set()
        self._turns = Exclusive()
        self._is_closing = False
        self._read_ended = new_event()
        self._closed = new_event()

    def __del__(self) -> None:
        if not (self._is_closing or self._store.is_inherited):
            self._writer.let_go()
            warnings.warn(f"{self._store.name} was dropped and not closed", ResourceWarning, stacklevel=2, source=self)

    @property
    def capabilities(self) -> StoreCapabilities:
        """The promises of this store."""
        return CAPABILITIES

    async def append(self, writes: Sequence[StreamWrite], /) -> AppendResult:
        """See :meth:`EventStore.append`."""
        self._check_open()
        (outcome,) = await self._writer.commit([writes])
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def append_group(self, groups: Sequence[Sequence[StreamWrite]], /) -> Sequence[AppendResult | Exception]:
        """See :meth:`GroupCommit.append_group`."""
        self._check_open()
        return await self._writer.commit(groups)

    async def read_stream(self, stream: StreamId, /, *, after: int = 0, limit: int) -> StreamPage:
        """See :meth:`EventStore.read_stream`."""
        await self._writer.settle()
        return await self._read(self._store.read_stream, stream, after=after, limit=limit)

    async def read_stream_backwards(self, stream: StreamId, /, *, before: int | None = None, limit: int) -> StreamPage:
        """See :meth:`EventStore.read_stream_backwards`."""
        await self._writer.settle()
        return await self._read(self._store.read_stream_backwards, stream, before=before, limit=limit)

    async def find_events(self, stream: StreamId, event_ids: Sequence[UUID], /) -> Sequence[RecordedEvent]:
        """See :meth:`EventStore.find_events`."""
        await self._writer.settle()
        return await self._read(self._store.find_events, stream, event_ids)

    async def read_all(self, *, after: int, limit: int) -> FeedPage:
        """See :meth:`EventFeed.read_all`."""
        return await self._read(self._store.read_all, after=after, limit=limit)

    async def head(self) -> int:
        """See :meth:`EventFeed.head`."""
        return await self._read(self._store.head)

    async def wait_for_position(self, position: int, /, *, timeout: float) -> bool:
        """See :meth:`EventFeed.wait_for_position`. Commits of this handle wake at once, those of others within 50 ms."""
        if await self.head() >= position:  # beyond the timeout, which may be 0
            return True
        with scope(timeout):
            while True:
                committed = self._writer.next_delivery()
                if await self.head() >= position:
                    return True
                with scope(_POLL):
                    await committed.wait()
        return False

    async def streams(self, prefix: str = "", /, *, after: StreamId | None = None, limit: int) -> StreamsPage:
        """See :meth:`StreamCatalogue.streams`."""
        return await self._read(self._store.streams, prefix, after=after, limit=limit)

    def glance_version(self, stream: StreamId, /) -> int | None:
        """See :meth:`VersionGlance.glance_version`."""
        return None if self._is_closing else self._store.glance_version(stream)

    @asynccontextmanager
    async def turn(self, *_: StreamId) -> AsyncGenerator[None, None]:
        """See :meth:`TurnTaking.turn`. Over after 200 ms in which nothing is appended."""
        try:
            async with self._turns:
                self._check_open()
                async with self._writer.turn():
                    yield
        except BaseException:  # of a signal too
            self._turns.let_go()
            raise

    async def aclose(self) -> None:
        """Finish the calls in flight, write the readable copies to the end, and release every resource. Idempotent."""
        if self._is_closing:
            await self._closed.wait()
            return
        try:
            self._is_closing = True
            with scope(shield=True):
                if not self._store.is_inherited:
                    await self._writer.stop()
                while self._reads:
                    self._read_ended = new_event()
                    if self._reads:  # the last one may have ended before
                        await self._read_ended.wait()
                await run_in_thread(self._store.close)
        finally:
            self._closed.set()

    async def _read(self, read: Callable[_P, _R], *args: _P.args, **kwargs: _P.kwargs) -> _R:
        """Run a whole read in one hop to a worker thread."""
        this = object()
        try:
            self._reads.add(this)  # before the check: whoever closes counts it, or it is refused
            self._check_open()
            return await run_in_thread(partial(read, *args, **kwargs), limiter=self._limiter)
        except BaseException:
            if self.serves_threads:
                self._store.repair()
            raise
        finally:
            self._reads.discard(this)
            if self._is_closing:
                self._read_ended.set()

    def _check_open(self) -> None:
        if self._is_closing:
            raise StoreClosedError(store=self._store.name)
        self._store.check_usable()


def open_file_event_store(
    path: AnyPath,
    *,
    file_system: FileSystem | None = None,
    segment_bytes: int = SEGMENT_BYTES,
    lock_timeout: float = LOCK_TIMEOUT,
) -> AbstractAsyncContextManager[FileEventStore]:
    """Open the store in a folder, or make one in an empty or missing folder; it closes with the block.

    Args:
        path: of the folder; its parent exists. A relative path is resolved by this call.
        file_system: the operating system's, unless given.
        segment_bytes: a new segment of the journal is begun when the current one has reached this size.
        lock_timeout: the longest wait for a lock that another process holds, in seconds, 0 or more.

    Raises:
        ValueError: ``lock_timeout`` out of range.
        IncompatibleStoreError: the folder holds something else, or a newer format. Nothing was changed.
        StoreUnavailableError: the file system refused something, or another process kept a lock.
        CorruptStoreError: the stored data contradicts itself.
    """
    check_lock_timeout(lock_timeout)
    open_store = partial(
        FileStore.open,
        absolute_path(path),
        creation_id=new_creation_id(),
        file_system=file_system,
        segment_bytes=segment_bytes,
        lock_timeout=lock_timeout,
    )
    return opened(open_store, FileEventStore)


async def open_file(place: str, /) -> FileEventStore:
    """Open the store that the URL ``file:PLACE`` names. The caller closes it.

    Args:
        place: path of the folder, relative to the working directory or absolute.

    Raises:
        IncompatibleStoreError, StoreUnavailableError, CorruptStoreError: as :func:`open_file_event_store`.
    """
    return FileEventStore(await run_in_thread(partial(FileStore.open, absolute_path(place), creation_id=new_creation_id())))
