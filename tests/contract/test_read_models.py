"""The read models under the contract of their port."""

import sqlite3
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from typing import Any

import anyio

from inventory_es.adapters.memory import MemoryReadModel
from inventory_es.adapters.sqlite import open_sqlite_event_store, open_sqlite_read_model
from inventory_es.ports import Change, Checkpoint, ProjectionId, ReadModel, RowsPage
from inventory_es.ports.errors import ReadModelUnavailableError, StoreClosedError
from inventory_es.ports.toolkit.row_rules import check_select, table_of
from inventory_es.testing import ReadModelContract, Site
from tests.contract.mutants.mutant import ReadModelMutants
from tests.contract.mutants.row_mutants import ReadModelsOfOneSite
from tests.contract.share import ShareOfRuns
from tests.contract.stores.plain_read_model import Built, Disk, PlainReadModel


class TestMemoryReadModel(ReadModelContract):
    @asynccontextmanager
    async def open_read_model(self, site: Site) -> AsyncIterator[ReadModel]:
        yield MemoryReadModel()


class TestSqliteReadModel(ShareOfRuns, ReadModelContract):
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
    backends: Sequence[str] = ("trio",)  # a variation: what it varies is the same on every event loop
    seeds: Sequence[int] | None = (0,)  # the plain schedule: the others are run over the adapters as they ship

    @asynccontextmanager
    async def open_read_model(self, site: Site) -> AsyncIterator[ReadModel]:
        async with open_sqlite_event_store(site.path / "read.db"), open_sqlite_read_model(site.path / "read.db") as read_model:
            yield read_model


class TestPlainReadModel(ReadModelMutants):
    """The store that the mutants break keeps every promise: the kit rejects nothing good."""


class FinishesCommits(PlainReadModel):
    """A read model that finishes a commit under a lock after a cancellation. A commit that meets the close finds the backend away."""

    def __init__(self, disk: Disk) -> None:
        super().__init__(disk)
        self.lock = anyio.Lock()

    async def commit(self, projection: ProjectionId, changes: Sequence[Change], /, *, before: Checkpoint, after: Checkpoint) -> None:
        async with self.lock:
            with anyio.CancelScope(shield=True):
                await super().commit(projection, changes, before=before, after=after)

    async def write(self, known: Built, changes: Sequence[Change], after: Checkpoint) -> None:
        await anyio.lowlevel.checkpoint()
        if self.is_closed:
            raise ReadModelUnavailableError(read_model="FinishesCommits", reason="its connection is gone")
        await super().write(known, changes, after)


class ShortPages(PlainReadModel):
    """A read model that gives half of the rows that it may, 200 at most, without letting other tasks run."""

    async def begin(self) -> None:
        if self.is_closed:
            raise StoreClosedError(store="ShortPages")

    async def select(self, projection: ProjectionId, table: str, /, *, limit: int, **how: Any) -> RowsPage:
        known = self.known(projection)
        check_select(table_of(known.tables, table), how.get("where") or {}, how.get("order", ()), how.get("after"), limit)
        return await super().select(projection, table, limit=max(1, min(limit // 2, 200)), **how)


class TestShortPages(ReadModelMutants):
    backends: Sequence[str] = ("asyncio",)  # a variation: what it varies is the same on every event loop
    adapter: type[PlainReadModel] = ShortPages


class TestFinishesCommits(ReadModelMutants):
    backends: Sequence[str] = ("trio",)  # a variation: what it varies is the same on every event loop
    adapter: type[PlainReadModel] = FinishesCommits


class TestPlainReadModelsOfOneSite(ReadModelsOfOneSite):
    backends: Sequence[str] = ("asyncio",)  # a variation: what it varies is the same on every event loop
    known_failures: Mapping[str, str] = {"RM-10": "its rows live in one process"}
