"""Stores that don't notice that their data was moved away, or that a part of it is missing: ES-58, ES-59."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing

from inventory_es.adapters.threads import in_threads
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import EventStore
from inventory_es.testing import EventStoreContract, Site
from tests.contract.mutants.mutant import breaks
from tests.contract.stores.sqlite_store import SqliteStore


class PlaceMutants(EventStoreContract):
    adapter: type[SqliteStore]

    @asynccontextmanager
    async def open_store(self, site: Site) -> AsyncIterator[EventStore]:
        store = in_threads(self.adapter(str(site.path / "stock.db")))
        try:
            yield store
        finally:
            await store.aclose()

    async def take_away(self, site: Site) -> bool:
        for file in tuple(site.path.glob("stock.db*")):
            file.rename(site.path / f"elsewhere-{file.name}")
        return True

    async def lose(self, site: Site, stream: StreamId) -> bool:
        with closing(sqlite3.connect(site.path / "stock.db")) as db, db:
            db.execute("DELETE FROM events WHERE stream = ? AND version = 3", (str(stream),))
        return True


@breaks("ES-58", "Writes through the handle that it has open, wherever its file is now.", contract=PlaceMutants)
class WritesThroughItsHandle(SqliteStore):
    """A store that is right as long as nobody touches its file."""


@breaks("ES-59", "Gives the events that it finds, whether or not one of them is missing.", contract=PlaceMutants)
class CountsNothing(SqliteStore):
    """A store that reads no further than the rows of a page."""
