"""Caches of the tests' own keep every promise: the kit rejects nothing good."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import ClassVar, Literal
from weakref import WeakKeyDictionary

import anyio
from anyio.lowlevel import checkpoint

from inventory_es.ports import Cache, CacheEntry, Clock
from inventory_es.ports.errors import CacheUnavailableError, StoreClosedError
from inventory_es.testing import CacheContract, ManualClock, Site
from tests.contract.stores.cell_cache import CellCache, Cells, MissingWhenAway
from tests.contract.stores.plain_cache import Kept, PlainCache


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


class TestCachesOfOneSite(TestCellCache):
    backends: Sequence[str] = ("trio",)  # a variation: what it varies is the same on every event loop
    multi_process = True


class TestCacheThatMissesWhenAway(TestCellCache):
    backends: Sequence[str] = ("asyncio",)  # a variation: what it varies is the same on every event loop
    when_down: Literal["raise", "miss"] = "miss"
    adapter: type[CellCache] = MissingWhenAway


_MILLISECOND = timedelta(milliseconds=1)


class WholeMilliseconds(PlainCache):
    """A cache with ends in milliseconds, rounded down to one at least, as of a server that takes milliseconds."""

    def until(self, kept: Kept | None, ttl: timedelta) -> datetime:
        now = self.clock.now()
        return now.replace(microsecond=now.microsecond // 1_000 * 1_000) + max(ttl // _MILLISECOND, 1) * _MILLISECOND


class TakesLittle(PlainCache):
    """A cache that refuses values above 200,000 bytes, and copies a buffer."""

    async def set(self, key: str, value: bytes, /, *, version: int, ttl: timedelta) -> None:
        if len(value) > 200_000:
            msg = "a value has at most 200,000 bytes"
            raise ValueError(msg)
        given: object = value
        await super().set(key, bytes(given) if isinstance(given, bytearray) else value, version=version, ttl=ttl)


class NeverYields(PlainCache):
    """A cache that answers without letting other tasks run."""

    async def begin(self) -> None:
        if self.closed:
            raise StoreClosedError(store="NeverYields")


class YieldsOften(PlainCache):
    """A cache that lets other tasks run many times in each call."""

    async def begin(self) -> None:
        for _ in range(12):
            await super().begin()


class DropsLarge(PlainCache):
    """A cache that drops values above 200,000 bytes, with the entry before them."""

    def put(self, name: str, kept: Kept) -> None:
        if len(kept.value) > 200_000:
            self.entries.pop(name, None)
        else:
            super().put(name, kept)


class OneCallAtATime(PlainCache):
    """A cache with one connection under a lock. A call that meets the close finds the connection gone; closing waits for the lock."""

    def __init__(self, clock: Clock, *, capacity: int) -> None:
        super().__init__(clock, capacity=capacity)
        self.lock = anyio.Lock()

    async def get(self, key: str, /) -> CacheEntry | None:
        async with self.lock:
            entry = await super().get(key)
            await checkpoint()
            if self.closed:
                raise CacheUnavailableError(cache="OneCallAtATime", reason="its connection is gone")
            return entry

    async def set(self, key: str, value: bytes, /, *, version: int, ttl: timedelta) -> None:
        async with self.lock:
            await super().set(key, value, version=version, ttl=ttl)

    async def invalidate(self, *keys: str) -> None:
        async with self.lock:
            for key in keys:
                await super().invalidate(key)


class OfItsOwnTime(PlainCache):
    """A cache that ages entries by a time of its own."""

    class _Time:
        def __init__(self, clock: Clock) -> None:
            self.start = clock.now()
            self.passed = timedelta(0)

        def now(self) -> datetime:
            return self.start + self.passed

    def __init__(self, clock: Clock, *, capacity: int) -> None:
        self.time = self._Time(clock)
        super().__init__(self.time, capacity=capacity)


class TestWholeMilliseconds(CacheContract):
    adapter: type[PlainCache] = WholeMilliseconds

    @asynccontextmanager
    async def open_cache(self, site: Site, *, clock: ManualClock) -> AsyncIterator[Cache]:
        yield self.adapter(clock, capacity=30)


class TestTakesLittle(TestWholeMilliseconds):
    backends: Sequence[str] = ("asyncio",)  # a variation: what it varies is the same on every event loop
    adapter: type[PlainCache] = TakesLittle


class TestNeverYields(TestWholeMilliseconds):
    backends: Sequence[str] = ("trio",)  # a variation: what it varies is the same on every event loop
    adapter: type[PlainCache] = NeverYields


class TestYieldsOften(TestWholeMilliseconds):
    backends: Sequence[str] = ("asyncio",)  # a variation: what it varies is the same on every event loop
    adapter: type[PlainCache] = YieldsOften


class TestDropsLarge(TestWholeMilliseconds):
    backends: Sequence[str] = ("trio",)  # a variation: what it varies is the same on every event loop
    adapter: type[PlainCache] = DropsLarge


class TestOneCallAtATime(TestWholeMilliseconds):
    backends: Sequence[str] = ("asyncio",)  # a variation: what it varies is the same on every event loop
    adapter: type[PlainCache] = OneCallAtATime


class TestOfItsOwnTime(CacheContract):
    capacity: int | None = 3
    opened: OfItsOwnTime

    @asynccontextmanager
    async def open_cache(self, site: Site, *, clock: ManualClock) -> AsyncIterator[Cache]:
        type(self).opened = OfItsOwnTime(clock, capacity=3)
        yield self.opened

    async def let_time_pass(self, clock: ManualClock, by: timedelta) -> None:
        clock.advance(by)
        self.opened.time.passed += by + timedelta(milliseconds=3)
