"""The reference store keeps every promise of its port."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from inventory_es.adapters.memory import MemoryEventStore
from inventory_es.ports import EventStore
from inventory_es.testing import EventStoreContract, Site


class TestMemoryEventStore(EventStoreContract):
    @asynccontextmanager
    async def open_store(self, site: Site) -> AsyncIterator[EventStore]:
        async with MemoryEventStore() as store:
            yield store
