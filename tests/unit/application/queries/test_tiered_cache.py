"""Two caches as one: who is asked, what is kept near, and what a race leaves behind."""

from datetime import timedelta
from functools import partial
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from inventory_es.adapters.memory import MemoryCache
from inventory_es.application.queries.tiered_cache import TieredCache
from inventory_es.errors import CacheUnavailableError
from inventory_es.ports import CacheEntry
from inventory_es.testing import Faults, FaultyCache, ManualClock

MINUTE = timedelta(minutes=1)


class Watched(MemoryCache):
    """Counts what it is asked, and holds up a ``get`` after it has looked."""

    def __init__(self, clock: ManualClock, **bounds: int) -> None:
        super().__init__(clock=clock, **bounds)
        self.gets = 0
        self.gate: anyio.Event | None = None
        self.is_closed = False

    async def get(self, key: str, /) -> CacheEntry | None:
        self.gets += 1
        entry = await super().get(key)
        if self.gate is not None:
            await self.gate.wait()
        return entry

    async def aclose(self) -> None:
        self.is_closed = True
        await super().aclose()


def test_the_far_one_is_asked_for_what_the_near_one_lacks_and_then_no_more(backend: str) -> None:
    async def body() -> None:
        clock = ManualClock()
        near, far = Watched(clock, max_entries=1), Watched(clock)
        tiers = TieredCache(near, far, clock=clock)
        await tiers.set("k", b"v", version=1, ttl=MINUTE)
        await tiers.set("l", b"w", version=1, ttl=MINUTE)
        far.gets = 0
        for _ in range(3):
            assert await tiers.get("k") == CacheEntry(b"v", 1)
        assert far.gets == 1

    anyio.run(body, backend=backend)


def test_what_is_kept_near_ends_when_it_ends_in_the_far_one(backend: str) -> None:
    async def body() -> None:
        clock = ManualClock()
        far = MemoryCache(clock=clock)
        await TieredCache(MemoryCache(clock=clock), far, clock=clock).set("k", b"v", version=1, ttl=MINUTE)
        clock.advance(MINUTE - timedelta(seconds=1))
        late = TieredCache(MemoryCache(clock=clock), far, clock=clock)
        assert await late.get("k") == CacheEntry(b"v", 1)
        clock.advance(timedelta(seconds=1))
        assert await late.get("k") is None

    anyio.run(body, backend=backend)


def test_the_near_one_keeps_what_the_far_one_decided(backend: str) -> None:
    async def body() -> None:
        clock = ManualClock()
        far = MemoryCache(clock=clock)
        ours, theirs = (TieredCache(MemoryCache(clock=clock), far, clock=clock) for _ in range(2))
        await theirs.set("k", b"new", version=5, ttl=MINUTE)
        await ours.set("k", b"old", version=4, ttl=MINUTE)
        assert await ours.get("k") == CacheEntry(b"new", 5)

    anyio.run(body, backend=backend)


@pytest.mark.parametrize("forget", ["invalidate", "clear"])
def test_what_was_fetched_while_it_was_forgotten_is_not_kept_near(backend: str, forget: str) -> None:
    async def body() -> None:
        clock = ManualClock()
        far = Watched(clock)
        await TieredCache(MemoryCache(clock=clock), far, clock=clock).set("k", b"v", version=1, ttl=MINUTE)
        tiers = TieredCache(MemoryCache(clock=clock), far, clock=clock)
        far.gate = anyio.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(tiers.get, "k")
            await anyio.wait_all_tasks_blocked()
            await (tiers.invalidate("k") if forget == "invalidate" else tiers.clear())
            far.gate.set()
        assert await tiers.get("k") is None

    anyio.run(body, backend=backend)


def test_what_was_forgotten_while_it_was_put_near_is_taken_away_again(backend: str) -> None:
    class SlowToKeep(MemoryCache):
        gate: anyio.Event | None = None

        async def set(self, key: str, value: bytes, /, *, version: int, ttl: timedelta) -> None:
            if self.gate is not None:
                await self.gate.wait()
            await super().set(key, value, version=version, ttl=ttl)

    async def body() -> None:
        clock = ManualClock()
        near = SlowToKeep(clock=clock)
        far = MemoryCache(clock=clock)
        await TieredCache(MemoryCache(clock=clock), far, clock=clock).set("k", b"v", version=1, ttl=MINUTE)
        tiers = TieredCache(near, far, clock=clock)
        near.gate = anyio.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(tiers.get, "k")
            await anyio.wait_all_tasks_blocked()
            await tiers.invalidate("k")
            near.gate.set()
        assert await tiers.get("k") is None

    anyio.run(body, backend=backend)


def test_near_is_forgotten_whatever_becomes_of_the_far_one(backend: str) -> None:
    async def body() -> None:
        clock = ManualClock()
        near = MemoryCache(clock=clock)
        failing = FaultyCache(MemoryCache(clock=clock), Faults.by_plan({"invalidate": {1: "fail_before"}, "clear": {1: "fail_before"}}))
        tiers = TieredCache(near, failing, clock=clock)
        for forget in (partial(tiers.invalidate, "k"), tiers.clear):
            await tiers.set("k", b"v", version=1, ttl=MINUTE)
            with pytest.raises(CacheUnavailableError):
                await forget()
            assert await near.get("k") is None

    anyio.run(body, backend=backend)


def test_a_cancelled_invalidation_leaves_nothing_near(backend: str) -> None:
    async def body() -> None:
        clock = ManualClock()
        near = MemoryCache(clock=clock)
        tiers = TieredCache(near, MemoryCache(clock=clock), clock=clock)
        await tiers.set("k", b"v", version=1, ttl=MINUTE)
        with anyio.CancelScope() as scope:
            scope.cancel()
            await tiers.invalidate("k")
        assert await near.get("k") is None

    anyio.run(body, backend=backend)


def test_a_near_hit_needs_no_far_one_and_a_near_miss_tells_that_it_is_away(backend: str) -> None:
    async def body() -> None:
        clock = ManualClock()
        faults = Faults.by_plan({"get": dict.fromkeys(range(2, 9), "fail_before")})
        tiers = TieredCache(MemoryCache(clock=clock), FaultyCache(MemoryCache(clock=clock), faults), clock=clock)
        await tiers.set("k", b"v", version=1, ttl=MINUTE)
        assert await tiers.get("k") == CacheEntry(b"v", 1)
        with pytest.raises(CacheUnavailableError):
            await tiers.get("l")

    anyio.run(body, backend=backend)


@pytest.mark.parametrize("foreign", [b"", b"short", b"\xff" * 7 + b"\x7f", b"\x00" * 8 + b"ended", b"\x00" * 7 + b"\x80"])
def test_an_entry_that_it_did_not_write_is_a_miss(backend: str, foreign: bytes) -> None:
    async def body() -> None:
        clock = ManualClock()
        near, far = MemoryCache(clock=clock), MemoryCache(clock=clock)
        tiers = TieredCache(near, far, clock=clock)
        for tier in (near, far):
            await tier.set("k", foreign, version=1, ttl=MINUTE)
        assert await tiers.get("k") is None

    anyio.run(body, backend=backend)


def test_closing_closes_both(backend: str) -> None:
    async def body() -> None:
        clock = ManualClock()
        near, far = Watched(clock), Watched(clock)
        await TieredCache(near, far, clock=clock).aclose()
        assert near.is_closed
        assert far.is_closed
        await checkpoint()

    anyio.run(body, backend=backend)


def test_misuse_is_told_before_anything_is_kept(backend: str) -> None:
    async def body() -> None:
        clock = ManualClock()
        tiers = TieredCache(MemoryCache(clock=clock), MemoryCache(clock=clock), clock=clock)
        text: Any = "text"
        with pytest.raises(ValueError, match="a cache value is bytes"):
            await tiers.set("k", text, version=1, ttl=MINUTE)

    anyio.run(body, backend=backend)
