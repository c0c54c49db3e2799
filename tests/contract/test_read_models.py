"""The read models under the contract of their port."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing

from inventory_es.adapters.memory import MemoryReadModel
from inventory_es.adapters.sqlite import open_sqlite_event_store, open_sqlite_read_model
from inventory_es.ports import ReadModel
from inventory_es.testing import ReadModelContract, Site
from tests.contract.mutants.mutant import ReadModelMutants


class TestMemoryReadModel(ReadModelContract):
    @asynccontextmanager
    async def open_read_model(self, site: Site) -> AsyncIterator[ReadModel]:
        yield MemoryReadModel()


class TestSqliteReadModel(ReadModelContract):
    is_durable = True
    multi_process = True
    survives_fork = True

    @asynccontextmanager
    async def open_read_model(self, site: Site) -> AsyncIterator[ReadModel]:
        async with open_sqlite_read_model(site.path / "read.db") as read_model:
            yield read_model

    async def kill(self, site: Site) -> bool:
        with closing(sqlite3.connect(site.path / "read.db")) as connection:
            connection.execute("ALTER TABLE projections RENAME TO gone")
        return True


class TestSqliteReadModelInTheStoresFile(TestSqliteReadModel):
    @asynccontextmanager
    async def open_read_model(self, site: Site) -> AsyncIterator[ReadModel]:
        async with open_sqlite_event_store(site.path / "read.db"), open_sqlite_read_model(site.path / "read.db") as read_model:
            yield read_model


class TestPlainReadModel(ReadModelMutants):
    """The one that the mutants break keeps every promise: the kit rejects nothing good."""
