"""A cache of the tests' own keeps every promise: the kit rejects nothing good."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from inventory_es.ports import Cache
from inventory_es.testing import CacheContract, ManualClock, Site
from tests.contract.stores.plain_cache import PlainCache


class TestPlainCache(CacheContract):
    capacity: int | None = 4

    @asynccontextmanager
    async def open_cache(self, site: Site, *, clock: ManualClock) -> AsyncIterator[Cache]:
        yield PlainCache(clock, capacity=4)
