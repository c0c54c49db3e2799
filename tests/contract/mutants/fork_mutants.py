"""Adapters that are right with several processes, and wrong after a fork: ES-54, ES-55, RM-10, SN-7."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from inventory_es.adapters.sqlite import SqliteEventStore, SqliteReadModel, open_sqlite_event_store, open_sqlite_read_model
from inventory_es.adapters.sqlite.connections import Connections
from inventory_es.adapters.sqlite.engine import SqliteEngine
from inventory_es.adapters.sqlite.forks import gate
from inventory_es.ports import ReadModel, SnapshotStore
from inventory_es.testing import ReadModelContract, Site, SnapshotStoreContract
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
    adapter: type[SqliteEventStore]

    @asynccontextmanager
    async def open_snapshots(self, site: Site) -> AsyncIterator[SnapshotStore]:
        async with open_sqlite_event_store(site.path / "snapshots.db") as store:
            broken = self.adapter(store._engine)
            try:
                yield broken
            finally:
                await broken.aclose()


@breaks("SN-7", "Leaves its SQLite connections open while the process forks.", contract=ForkedSnapshots, patience=_PATIENCE)
class CarriesItsSnapshotsOver(SqliteEventStore):
    def __init__(self, engine: SqliteEngine) -> None:
        super().__init__(engine)
        gate._guarded.discard(engine._connections)
