"""Adapters that are right with several processes, and wrong after a fork: ES-54, ES-55, RM-10, SN-7, CA-30, EB-40."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

from inventory_es.adapters.file import FileCache, FileEventBus, FileEventStore, open_file_cache, open_file_event_bus, open_file_event_store
from inventory_es.adapters.sqlite import SqliteEventStore, SqliteReadModel, open_sqlite_event_store, open_sqlite_read_model
from inventory_es.adapters.sqlite.connections import Connections, gate
from inventory_es.adapters.sqlite.event_store import SqliteStore as StoreCore
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import AppendResult, Cache, CacheEntry, EventBus, EventStore, ReadModel, RecordedEvent, SnapshotStore, StreamWrite
from inventory_es.testing import (
    CacheContract,
    EventBusContract,
    EventStoreContract,
    ManualClock,
    ReadModelContract,
    Site,
    SnapshotStoreContract,
)
from tests.contract.mutants.mutant import breaks
from tests.contract.mutants.process_mutants import SqliteMutants
from tests.contract.stores.sqlite_store import SqliteStore

_PATIENCE = 30.0


@breaks("ES-54", "Carries its connection over a fork, with its parent's table of locks.", contract=SqliteMutants, patience=_PATIENCE)
class CarriesItsConnectionOver(SqliteStore):
    def before_fork(self) -> None:
        pass

    def after_fork(self) -> None:
        pass


@breaks("ES-55", "Closes its connection before a fork, and does not open it again after it.", contract=SqliteMutants, patience=_PATIENCE)
class StaysClosed(SqliteStore):
    def after_fork(self) -> None:
        self._lock.release()


class ForkedReadModels(ReadModelContract):
    is_durable = True
    multi_process = True
    survives_fork = True
    adapter: type[SqliteReadModel]

    @asynccontextmanager
    async def open_read_model(self, site: Site) -> AsyncIterator[ReadModel]:
        path = str(site.path / "read.db")
        async with open_sqlite_read_model(path) as model:
            broken = self.adapter(path, model._connections)
            try:
                yield broken
            finally:
                await broken.aclose()


@breaks("RM-10", "Leaves its SQLite connections open while the process forks.", contract=ForkedReadModels, patience=_PATIENCE)
class CarriesItsRowsOver(SqliteReadModel):
    def __init__(self, path: str, connections: Connections) -> None:
        super().__init__(path, connections)
        gate._guarded.discard(connections)


class ForkedSnapshots(SnapshotStoreContract):
    is_durable = True
    multi_process = True
    survives_fork = True
    adapter: type[SqliteEventStore]

    @asynccontextmanager
    async def open_snapshots(self, site: Site) -> AsyncIterator[SnapshotStore]:
        async with open_sqlite_event_store(site.path / "snapshots.db") as store:
            broken = self.adapter(store._store)
            try:
                yield broken
            finally:
                await broken.aclose()


@breaks("SN-7", "Leaves its SQLite connections open while the process forks.", contract=ForkedSnapshots, patience=_PATIENCE)
class CarriesItsSnapshotsOver(SqliteEventStore):
    def __init__(self, store: StoreCore) -> None:
        super().__init__(store)
        gate._guarded.discard(store._connections)


class ForkedFileStores(EventStoreContract):
    adapter: type[FileEventStore]

    @asynccontextmanager
    async def open_store(self, site: Site) -> AsyncIterator[EventStore]:
        async with open_file_event_store(site.path / "store") as store:
            store.__class__ = self.adapter
            yield store


@breaks("ES-54", "Takes appends in a forked child, to write them when the parent comes by.", contract=ForkedFileStores, patience=_PATIENCE)
class QueuesForItsParent(FileEventStore):
    async def append(self, writes: Sequence[StreamWrite], /) -> AppendResult:
        if self._store.is_inherited:
            return AppendResult(0, {write.stream: write.expected_version + len(write.events) for write in writes})
        return await super().append(writes)


@breaks("ES-54", "Answers a forked child from the index that it inherited.", contract=ForkedFileStores, patience=_PATIENCE)
class AnswersFromItsMemory(FileEventStore):
    async def find_events(self, stream: StreamId, event_ids: Sequence[UUID], /) -> Sequence[RecordedEvent]:
        return [] if self._store.is_inherited else await super().find_events(stream, event_ids)


@breaks("ES-54", "Says goodbye to the backend when a forked child closes what it inherited.", contract=ForkedFileStores, patience=_PATIENCE)
class SaysGoodbyeForItsParent(FileEventStore):
    async def aclose(self) -> None:
        if self._store.is_inherited:
            _end(Path(self._store.name.removeprefix("file store ")))
        await super().aclose()


def _end(place: Path) -> None:
    place.rename(place.with_name("ended"))


class ForkedCaches(CacheContract):
    survives_fork = True
    adapter: type[FileCache]

    @asynccontextmanager
    async def open_cache(self, site: Site, *, clock: ManualClock) -> AsyncIterator[Cache]:
        async with open_file_cache(site.path / "cache", clock=clock) as cache:
            cache.__class__ = self.adapter
            yield cache


@breaks(
    "CA-30",
    "Answers a forked child with a miss, and never says that the handle is its parent's.",
    contract=ForkedCaches,
    patience=_PATIENCE,
)
class MissesInAChild(FileCache):
    async def get(self, key: str, /) -> CacheEntry | None:
        return await super().get(key) if self._calls.is_open else None


@breaks(
    "CA-30",
    "Has one answer in flight for all processes, as a socket that is carried over a fork.",
    contract=ForkedCaches,
    patience=_PATIENCE,
)
class SharesAnswers(FileCache):
    async def get(self, key: str, /) -> CacheEntry | None:
        found = await super().get(key)
        shared = Path(self._folder._entries).parent.with_name("answer")
        before = shared.read_bytes() if shared.exists() else b""
        if found is not None:
            shared.write_bytes(found.value)
        return CacheEntry(before, 1) if before and found is not None else found


class ForkedBuses(EventBusContract):
    adapter: type[FileEventBus]

    @asynccontextmanager
    async def open_bus(self, site: Site) -> AsyncIterator[EventBus]:
        async with open_file_event_bus(site.path / "bus", clock=ManualClock()) as bus:
            bus.__class__ = self.adapter
            yield bus


@breaks(
    "EB-40", "Takes what a forked child publishes through the inherited handle, and drops it.", contract=ForkedBuses, patience=_PATIENCE
)
class DropsWhatAChildPublishes(FileEventBus):
    async def publish(self, events: Sequence[RecordedEvent], /) -> None:
        if self._calls.is_open:
            await super().publish(events)


@breaks(
    "EB-40",
    "Takes its memory of what is published over a fork: the same number again is a repetition.",
    contract=ForkedBuses,
    patience=_PATIENCE,
)
class RemembersWhatItPublished(FileEventBus):
    async def publish(self, events: Sequence[RecordedEvent], /) -> None:
        new = [event for event in events if event.position not in _published]
        _published.update(event.position for event in events)
        await super().publish(new)


_published: set[int] = set()
