"""What the memory cache does beyond the contract of its port."""

from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import pytest

from inventory_es.adapters.memory import MemoryCache
from inventory_es.domain.errors import InvalidTtlError
from inventory_es.ports import Cache, CacheEntry
from inventory_es.ports.errors import StoreClosedError

T0 = datetime(2026, 1, 5, 9, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


class HandClock:
    def __init__(self) -> None:
        self.time = T0

    def now(self) -> datetime:
        return self.time


def test_it_is_a_cache() -> None:
    assert isinstance(MemoryCache(clock=HandClock()), Cache)


def test_an_entry_ends_at_exactly_its_time(backend: str) -> None:
    async def scenario() -> None:
        clock = HandClock()
        cache = MemoryCache(clock=clock)
        await cache.set("k", b"v", version=1, ttl=MINUTE)
        clock.time = T0 + MINUTE - timedelta(microseconds=1)
        assert await cache.get("k") == CacheEntry(b"v", 1)
        clock.time = T0 + MINUTE

        assert await cache.get("k") is None

    anyio.run(scenario, backend=backend)


def test_a_clock_that_is_set_back_makes_a_miss_and_no_older_version(backend: str) -> None:
    async def scenario() -> None:
        clock = HandClock()
        cache = MemoryCache(clock=clock)
        await cache.set("k", b"new", version=5, ttl=MINUTE)
        clock.time = T0 - timedelta(hours=1)
        assert await cache.get("k") is None
        await cache.set("k", b"old", version=4, ttl=MINUTE)
        assert await cache.get("k") is None
        clock.time = T0

        assert await cache.get("k") == CacheEntry(b"new", 5)

    anyio.run(scenario, backend=backend)


def test_the_same_version_again_renews_value_and_time(backend: str) -> None:
    async def scenario() -> None:
        clock = HandClock()
        cache = MemoryCache(clock=clock)
        await cache.set("k", b"one", version=5, ttl=MINUTE)
        clock.time += MINUTE / 2
        await cache.set("k", b"two", version=5, ttl=MINUTE)
        clock.time += MINUTE / 2

        assert await cache.get("k") == CacheEntry(b"two", 5)

    anyio.run(scenario, backend=backend)


@pytest.mark.parametrize(
    "key, value, version, problem",
    [
        ("", b"", 0, "1 to 1,024"),
        (7, b"", 0, "1 to 1,024"),
        ("\ud800", b"", 0, "surrogate"),
        ("k", bytearray(b"v"), 0, "bytes"),
        ("k", b"12345", 0, "takes 4"),
        ("k", b"", -1, "version"),
        ("k", b"", True, "version"),
    ],
)
def test_misuse_is_refused_and_nothing_is_kept(backend: str, key: Any, value: Any, version: Any, problem: str) -> None:
    async def scenario() -> None:
        cache = MemoryCache(clock=HandClock(), max_value_bytes=4)
        with pytest.raises(ValueError, match=problem):
            await cache.set(key, value, version=version, ttl=MINUTE)

        assert await cache.get("k") is None

    anyio.run(scenario, backend=backend)


def test_a_key_that_is_none_stops_an_invalidation_as_a_whole(backend: str) -> None:
    async def scenario() -> None:
        cache = MemoryCache(clock=HandClock())
        await cache.set("k", b"v", version=1, ttl=MINUTE)
        with pytest.raises(ValueError, match="cache key"):
            await cache.invalidate("k", "")

        assert await cache.get("k") is not None

    anyio.run(scenario, backend=backend)


@pytest.mark.parametrize("ttl", [timedelta(0), timedelta.max])
def test_a_time_to_live_is_above_zero_and_within_the_calendar(backend: str, ttl: timedelta) -> None:
    async def scenario() -> None:
        with pytest.raises(InvalidTtlError):
            await MemoryCache(clock=HandClock()).set("k", b"", version=0, ttl=ttl)

    anyio.run(scenario, backend=backend)


@pytest.mark.parametrize("bounds", [{"max_entries": 0}, {"max_value_bytes": 0}])
def test_a_cache_that_holds_nothing_is_refused(bounds: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="1 or more"):
        MemoryCache(clock=HandClock(), **bounds)


def test_a_call_that_close_overtook_is_refused(backend: str) -> None:
    async def scenario() -> None:
        cache = MemoryCache(clock=HandClock())
        refused: list[bool] = []

        async def use() -> None:
            with pytest.raises(StoreClosedError):
                await cache.set("k", b"v", version=1, ttl=MINUTE)
            refused.append(True)

        async with anyio.create_task_group() as tasks, cache:
            tasks.start_soon(use)
        assert refused == [True]
        assert not cache._kept

    anyio.run(scenario, backend=backend)
