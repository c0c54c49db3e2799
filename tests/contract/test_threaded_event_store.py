"""A synchronous store behind ``in_threads`` under the contract of the event store."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from inventory_es.adapters.threads import in_threads
from inventory_es.ports import EventStore
from inventory_es.testing import EventStoreContract, Site
from tests.contract.share import ShareOfRuns
from tests.contract.stores.sqlite_store import SqliteStore


class TestThreadedEventStore(ShareOfRuns, EventStoreContract):
    @asynccontextmanager
    async def open_store(self, site: Site) -> AsyncIterator[EventStore]:
        store = in_threads(SqliteStore(str(site.path / "events.db")), poll_interval=0.001)
        try:
            yield store
        finally:
            await store.aclose()
