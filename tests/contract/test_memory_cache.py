"""The memory cache under the contract of its port."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from inventory_es.adapters.memory import MemoryCache
from inventory_es.testing import CacheContract, Site
from inventory_es.testing.clock import ManualClock


class TestMemoryCache(CacheContract):
    capacity: int | None = 4

    @asynccontextmanager
    async def open_cache(self, site: Site, *, clock: ManualClock) -> AsyncIterator[MemoryCache]:
        async with MemoryCache(clock=clock, max_entries=4) as cache:
            yield cache
