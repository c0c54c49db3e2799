"""The SQLite event store under the contract of its port."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from inventory_es.adapters.sqlite import SqliteEventStore, open_sqlite_event_store
from inventory_es.testing import EventStoreContract, Site
from tests.contract.share import ShareOfRuns


class TestSqliteEventStore(ShareOfRuns, EventStoreContract):
    @asynccontextmanager
    async def open_store(self, site: Site) -> AsyncIterator[SqliteEventStore]:
        async with open_sqlite_event_store(site.path / "stock.db") as store:
            yield store

    async def take_away(self, site: Site) -> bool:
        for file in tuple(site.path.glob("stock.db*")):
            file.rename(site.path / f"elsewhere-{file.name}")
        return True
