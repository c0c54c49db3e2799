"""The snapshot stores under the contract of their port."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from inventory_es.adapters.memory import MemorySnapshotStore
from inventory_es.adapters.sqlite import open_sqlite_event_store
from inventory_es.ports import SnapshotStore
from inventory_es.testing import Site, SnapshotStoreContract
from tests.contract.mutants.mutant import SnapshotMutants


class TestMemorySnapshotStore(SnapshotStoreContract):
    @asynccontextmanager
    async def open_snapshots(self, site: Site) -> AsyncIterator[SnapshotStore]:
        yield MemorySnapshotStore()


class TestSqliteSnapshotStore(SnapshotStoreContract):
    is_durable = True
    multi_process = True
    survives_fork = True

    @asynccontextmanager
    async def open_snapshots(self, site: Site) -> AsyncIterator[SnapshotStore]:
        async with open_sqlite_event_store(site.path / "stock.db") as store:
            yield store


class TestPlainSnapshots(SnapshotMutants):
    """The one that the mutants break keeps every promise: the kit rejects nothing good."""
