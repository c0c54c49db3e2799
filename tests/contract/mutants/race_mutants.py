"""Event stores that are right for one caller, and wrong for many: in one instance, in two, and in two processes."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import anyio
from anyio.lowlevel import checkpoint

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import AppendResult, RecordedEvent, StreamPage, StreamWrite
from inventory_es.ports.errors import ConcurrencyError
from tests.contract.mutants.mutant import breaks
from tests.contract.mutants.process_mutants import SqliteMutants
from tests.contract.stores.plain_store import PlainStore, Shelf
from tests.contract.stores.sqlite_store import SqliteStore


@breaks("ES-63", "Looks only at the version of the first stream while it has the lock.")
class LocksTheFirstStream(PlainStore):
    async def append(self, writes: Sequence[StreamWrite], /) -> AppendResult:
        if len(writes) > 1:
            writes = self.materialise(writes)
            for write in writes[1:]:
                if self.find_replay(writes) is None:
                    self.check_version(write)
            await checkpoint()
        return await super().append(writes)

    def check_versions(self, writes: Sequence[StreamWrite]) -> None:
        super().check_versions(writes[:1])


@breaks("ES-63", "Locks the streams of an append in the order of its writes: two that share streams in other orders wait for each other.")
class LocksInOrderOfWrites(PlainStore):
    async def append(self, writes: Sequence[StreamWrite], /) -> AppendResult:
        locks: dict[StreamId, anyio.Lock] = self.shelf.__dict__.setdefault("locks", {})
        taken: list[anyio.Lock] = []
        try:
            for write in writes if len({write.stream for write in writes}) == len(writes) else ():
                lock = locks.setdefault(write.stream, anyio.Lock())
                await lock.acquire()
                taken.append(lock)
                await checkpoint()
            return await super().append(writes)
        finally:
            for lock in taken:
                lock.release()


@breaks("ES-63", "Is told of a deadlock by its backend, and passes that on.")
class PassesDeadlocksOn(PlainStore):
    async def append(self, writes: Sequence[StreamWrite], /) -> AppendResult:
        waiting: list[list[StreamId]] = self.shelf.__dict__.setdefault("waiting", [])
        streams = [write.stream for write in writes]
        if len(streams) == 2 and streams[::-1] in waiting:
            msg = "deadlock detected"
            raise RuntimeError(msg)
        waiting.append(streams)
        try:
            return await super().append(writes)
        finally:
            waiting.remove(streams)


@breaks("ES-63", "Loses the race in its second stream and keeps what it wrote to the first.")
class KeepsTheFirstStream(PlainStore):
    async def append_locked(self, writes: Sequence[StreamWrite]) -> AppendResult:
        try:
            return await super().append_locked(writes)
        except ConcurrencyError as error:
            races = self.shelf.lock.statistics().tasks_waiting
            if (
                races
                and len(writes) > 1
                and error.stream == writes[1].stream
                and writes[0].expected_version == self.version(writes[0].stream)
            ):
                self.shelf.feed += self.prepare(writes[:1])
            raise


@breaks("ES-63", "Refuses an append for any other that is under way.")
class RefusesWhileBusy(PlainStore):
    async def append(self, writes: Sequence[StreamWrite], /) -> AppendResult:
        if self.shelf.lock.statistics().tasks_waiting > 1 and len(writes) > 1:
            raise ConcurrencyError(
                stream=writes[0].stream, expected=writes[0].expected_version, actual=self.version(writes[0].stream) + len(writes[0].events)
            )
        return await super().append(writes)


class _Narrow(PlainStore):
    """A pool of a few connections."""

    size = 10

    def __init__(self, shelf: Shelf) -> None:
        super().__init__(shelf)
        self.free = anyio.Semaphore(self.size)


@breaks("ES-64", "Takes a second connection while it has one: many callers at once have the first each and wait for ever.")
class TakesTwoConnections(_Narrow):
    async def read_stream(self, stream: StreamId, /, *, after: int = 0, limit: int) -> StreamPage:
        async with self.free:
            await checkpoint()
            async with self.free:
                return await super().read_stream(stream, after=after, limit=limit)


@breaks("ES-64", "Fails where its pool has no connection left.")
class FailsWithoutConnection(_Narrow):
    async def find_events(self, stream: StreamId, event_ids: Sequence[UUID], /) -> Sequence[RecordedEvent]:
        self.free.acquire_nowait()
        try:
            return await super().find_events(stream, event_ids)
        finally:
            self.free.release()


@breaks("ES-64", "Each wait for a position has a connection to itself, and a pool has fewer than there are waiters.")
class WaitersHoldConnections(_Narrow):
    async def wait_for_position(self, position: int, /, *, timeout: float) -> bool:
        async with self.free:
            return await super().wait_for_position(position, timeout=timeout)

    async def append(self, writes: Sequence[StreamWrite], /) -> AppendResult:
        async with self.free:
            return await super().append(writes)


@breaks("ES-64", "Has one cursor, which callers at once overwrite.")
class SharesItsCursor(PlainStore):
    cursor: Any = None

    async def read_stream_backwards(self, stream: StreamId, /, *, before: int | None = None, limit: int) -> StreamPage:
        self.cursor = await super().read_stream_backwards(stream, before=before, limit=limit)
        await checkpoint()
        page: StreamPage = self.cursor
        return page


@breaks("ES-64", "Wakes one of many who wait for its lock, and no other.")
class WakesOne(PlainStore):
    def __init__(self, shelf: Shelf) -> None:
        super().__init__(shelf)
        self.is_busy = False
        self.turn: anyio.Event | None = None

    async def head(self) -> int:
        while self.is_busy:
            self.turn = anyio.Event()
            await self.turn.wait()
        self.is_busy = True
        try:
            return await super().head()
        finally:
            self.is_busy = False
            if self.turn is not None:
                self.turn.set()


@breaks("ES-43", "Commits each insert separately: another process sees a part of a batch.", contract=SqliteMutants, patience=20.0)
class CommitsEachInsert(SqliteStore):
    begin = "BEGIN"

    def _insert(self, write: StreamWrite) -> None:
        self._db.execute("COMMIT")
        for number, event in enumerate(write.events):
            self._db.execute("BEGIN IMMEDIATE")
            if self._version(write.stream) != write.expected_version + number:
                self._db.execute("ROLLBACK")
                raise ConcurrencyError(stream=write.stream, expected=write.expected_version, actual=self._version(write.stream))
            super()._insert(StreamWrite(write.stream, write.expected_version + number, [event]))
            self._db.execute("COMMIT")
        self._db.execute("BEGIN")


@breaks(
    "ES-45", "Commits each insert separately: a process that is killed leaves a part of its batch.", contract=SqliteMutants, patience=20.0
)
class LeavesAPartWhenKilled(SqliteStore):
    def _insert(self, write: StreamWrite) -> None:
        for number, event in enumerate(write.events):
            super()._insert(StreamWrite(write.stream, write.expected_version + number, [event]))
            self._db.execute("COMMIT")
            self._db.execute("BEGIN IMMEDIATE")


@breaks("ES-43", "Looks at the version before its transaction begins.", contract=SqliteMutants, patience=20.0)
class LooksBeforeItLocks(SqliteStore):
    begin = "SELECT 1"

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock:
            self._refuse_closed()
            yield

    def _insert(self, write: StreamWrite) -> None:
        self._db.execute("BEGIN IMMEDIATE")
        next_ = self._version(write.stream)
        super()._insert(StreamWrite(write.stream, next_, write.events))
        self._db.execute("COMMIT")


@breaks("ES-43", "Tells who lost the race to another process in the words of its driver.", contract=SqliteMutants, patience=20.0)
class PassesTheRaceOn(SqliteStore):
    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock:
            self._refuse_closed()
            yield

    def _insert(self, write: StreamWrite) -> None:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            super()._insert(write)
        finally:
            self._db.execute("COMMIT")


@breaks("ES-42", "Looks at the version before its transaction begins.", contract=SqliteMutants, patience=20.0)
class InstancesLookBeforeTheyLock(LooksBeforeItLocks): ...
