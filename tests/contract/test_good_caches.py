"""Caches of the tests' own keep every promise: the kit rejects nothing good."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import ClassVar, Literal
from weakref import WeakKeyDictionary

from inventory_es.ports import Cache
from inventory_es.testing import CacheContract, ManualClock, Site
from tests.contract.stores.cell_cache import CellCache, Cells, MissingWhenAway
from tests.contract.stores.plain_cache import PlainCache


class TestPlainCache(CacheContract):
    capacity: int | None = 4

    @asynccontextmanager
    async def open_cache(self, site: Site, *, clock: ManualClock) -> AsyncIterator[Cache]:
        yield PlainCache(clock, capacity=4)


class TestCellCache(CacheContract):
    capacity: int | None = 4
    is_durable = True
    adapter: type[CellCache] = CellCache
    cells: ClassVar[WeakKeyDictionary[Site, Cells]] = WeakKeyDictionary()

    @asynccontextmanager
    async def open_cache(self, site: Site, *, clock: ManualClock) -> AsyncIterator[Cache]:
        yield self.adapter(clock, capacity=4, cells=self.cells.setdefault(site, Cells()))

    async def raw(self, site: Site, key: str, junk: bytes) -> bool:
        self.cells[site].content[key] = junk
        return True

    async def kill(self, site: Site) -> bool:
        self.cells[site].is_away = True
        return True


class TestCacheThatMissesWhenAway(TestCellCache):
    when_down: Literal["raise", "miss"] = "miss"
    adapter: type[CellCache] = MissingWhenAway
