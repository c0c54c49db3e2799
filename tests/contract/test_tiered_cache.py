"""A tiered cache under the contract of its port: one tier over another, over a third."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import ClassVar
from weakref import WeakKeyDictionary

from inventory_es.adapters.memory import MemoryCache
from inventory_es.application.queries.tiered_cache import TieredCache
from inventory_es.testing import CacheContract, ManualClock, Site
from tests.contract.stores.cell_cache import CellCache, Cells
from tests.contract.stores.plain_cache import PlainCache


class TestTieredCache(CacheContract):
    @asynccontextmanager
    async def open_cache(self, site: Site, *, clock: ManualClock) -> AsyncIterator[TieredCache]:
        far = TieredCache(PlainCache(clock, capacity=100), MemoryCache(clock=clock, max_entries=200), clock=clock)
        yield TieredCache(MemoryCache(clock=clock, max_entries=2), far, clock=clock)


class TestTieredCacheOverADurableOne(CacheContract):
    backends: Sequence[str] = ("trio",)  # a variation: what it varies is the same on every event loop
    is_durable = True
    cells: ClassVar[WeakKeyDictionary[Site, Cells]] = WeakKeyDictionary()

    @asynccontextmanager
    async def open_cache(self, site: Site, *, clock: ManualClock) -> AsyncIterator[TieredCache]:
        far = CellCache(clock, capacity=100, cells=self.cells.setdefault(site, Cells()))
        yield TieredCache(MemoryCache(clock=clock), far, clock=clock)
