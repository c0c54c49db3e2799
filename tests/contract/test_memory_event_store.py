"""The memory event store under the contract of its port."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import ClassVar
from weakref import WeakKeyDictionary

from inventory_es.adapters.memory import MemoryEventLog, MemoryEventStore
from inventory_es.testing import EventStoreContract, Site


class TestMemoryEventStore(EventStoreContract):
    logs: ClassVar[WeakKeyDictionary[Site, MemoryEventLog]] = WeakKeyDictionary()

    @asynccontextmanager
    async def open_store(self, site: Site) -> AsyncIterator[MemoryEventStore]:
        async with MemoryEventStore(self.logs.setdefault(site, MemoryEventLog())) as store:
            yield store


class TestMemoryEventStoreWithSmallPages(TestMemoryEventStore):
    backends: Sequence[str] = ("trio",)  # a variation: what it varies is the same on every event loop

    @asynccontextmanager
    async def open_store(self, site: Site) -> AsyncIterator[MemoryEventStore]:
        async with MemoryEventStore(self.logs.setdefault(site, MemoryEventLog()), page_size=3) as store:
            yield store
