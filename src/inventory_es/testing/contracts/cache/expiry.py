"""CA-10 … CA-13, CA-24: time to live, and the eviction order of a full cache."""

from datetime import timedelta
from functools import partial

import anyio

from inventory_es.domain.errors import InvalidTtlError
from inventory_es.testing.contracts.cache.harness import CacheHarness, TestedCache
from inventory_es.testing.contracts.core.tested_port import refused
from inventory_es.testing.promise import MismatchError, promise

_SECOND = timedelta(seconds=1)
_TEN = timedelta(seconds=10)
_DAY = timedelta(days=1)
_MILLISECOND = timedelta(milliseconds=1)
_LIFETIMES = (
    *(_SECOND, 60 * _SECOND, _DAY + _SECOND, 25 * _DAY, 30 * _DAY + _SECOND, 31 * _DAY, 50 * _DAY, 400 * _DAY),
    *(number * _MILLISECOND for number in (2, 3, 250, 900, 999, 1_001, 1_500, 59_999, 60_001)),
)  # whole seconds first: while the clock has no fraction either, their end is exact in every arithmetic


class ExpiryCases:
    """Cases of the end of entries."""

    @promise("CA-10", "An entry is there until its time is over, and a miss from then on; its version is forgotten with it.")
    async def test_ca_10_expiry(self, harness: CacheHarness) -> None:
        async with harness.open() as cache:
            await cache.set("k", "short", version=5, ttl=_TEN)
            await cache.set("l", "long", ttl=_TEN * 2)
            await harness.pass_time(_TEN - _SECOND)
            await cache.holds("k", "short", version=5, meaning="an entry ended before its time")
            await harness.pass_time(2 * _SECOND)
            await cache.holds("k", None, meaning="an entry is given after its time: an answer older than promised")
            await cache.holds("l", "long", meaning="an entry ended with another's time")
            await cache.set("k", "old", version=2, ttl=_TEN)
            await cache.holds("k", "old", version=2, meaning="an expired entry is not newer than anything")

    @promise("CA-11", "A time to live of zero or below is InvalidTtlError, and changes nothing.")
    async def test_ca_11_no_time_to_live(self, harness: CacheHarness) -> None:
        async with harness.open() as cache:
            await cache.set("k", "one")
            for ttl in (timedelta(0), -_SECOND, timedelta(microseconds=-1)):
                await refused(
                    InvalidTtlError, partial(cache.set, "k", "two", version=2, ttl=ttl), meaning=f"a time to live of {ttl} was taken"
                )
            await cache.holds("k", "one", meaning="a refused set changed the entry")

    @promise("CA-12", "Overwriting gives the new time to live; getting does not.")
    async def test_ca_12_overwriting_renews(self, harness: CacheHarness) -> None:
        async with harness.open() as cache:
            await cache.set("k", "one", version=1, ttl=_TEN)
            await cache.set("l", "one", version=1, ttl=_TEN)
            await cache.set("m", "one", version=1, ttl=_TEN * 9)
            await harness.pass_time(_TEN - _SECOND)
            await cache.set("k", "two", version=2, ttl=_TEN)
            await cache.set("m", "two", version=2, ttl=_TEN)
            await cache.holds("l", "one", meaning="an entry ended before its time")
            await harness.pass_time(2 * _SECOND)
            await cache.holds("k", "two", version=2, meaning="the old time to live stayed with the new value")
            await cache.holds("l", None, meaning="getting an entry made it live longer: a busy key would never be fresh")
            await harness.pass_time(_TEN)
            await cache.holds("m", None, meaning="the old, longer time to live stayed with the new value")

    @promise(
        "CA-24",
        "A time to live is kept to the millisecond, below a second as well as over years: there before its end, a miss from then on.",
        seeds=0,
    )
    async def test_ca_24_lifetimes_of_every_length(self, harness: CacheHarness) -> None:
        is_exact = not harness.contract.keeps_own_time
        before = _MILLISECOND if is_exact else _SECOND * 0.4
        async with harness.open() as cache:
            for ttl in _LIFETIMES:
                if ttl < 2 * before:
                    continue
                await cache.set("k", "v", version=3, ttl=ttl)
                await cache.holds("k", "v", version=3, meaning=f"an entry that lives for {ttl} is not there at once")
                await harness.pass_time(ttl - before)
                await cache.holds("k", "v", version=3, meaning=f"an entry that lives for {ttl} ended {before} before its time, or earlier")
                after = timedelta(0) if is_exact and not ttl.microseconds else before / 4 if not is_exact else _MILLISECOND
                await harness.pass_time(before + after)
                meaning = f"an entry that lives for {ttl} is given {after} after its end: the end is the first miss"
                await cache.holds("k", None, meaning=meaning)
            await cache.set("k", "v", ttl=timedelta(microseconds=1))
            await harness.pass_time(2 * _MILLISECOND if is_exact else _SECOND)
            await cache.holds("k", None, meaning="a microsecond is above zero, and over soon")
            await cache.set("k", "v", ttl=20 * 365 * _DAY)
            await harness.pass_time(_DAY)
            await cache.holds("k", "v", meaning="an entry that lives for 20 years is gone after a day")

    @promise("CA-13", "Only a set of a key that is not there lets another entry go, and only where the cache is full.", seeds=0)
    async def test_ca_13_only_a_full_cache_forgets(self, harness: CacheHarness) -> None:
        capacity = harness.contract.capacity
        if capacity is None:
            harness.run.not_declared("capacity")
        keys = [f"k{number}" for number in range(capacity)]
        async with harness.open() as cache:
            for key in keys:
                await cache.set(key, "v", version=6)
            for gone in (keys[:2], keys[-2:], keys[:1]):
                await cache.invalidate(*gone)
                for key in gone:
                    await cache.set(key, "v", version=6)
                await self._all_there(cache, keys, "what was invalidated still takes room")
            await cache.clear()
            for key in keys:
                await cache.set(key, "v", version=6)
            await self._all_there(cache, keys, "what was cleared still takes room")
            for _ in range(2 * capacity):
                await cache.set(keys[0], "older", version=4)
                await cache.get("missing")
                await cache.invalidate("missing")
                call = partial(cache.set, "new", "v", version=6, ttl=timedelta(0))
                await refused(InvalidTtlError, call, meaning="a time to live of zero was taken")
                await cache.set(keys[1], "v", version=6)
            await self._all_there(cache, keys, "a set that changed nothing, or a get of a missing key, let an entry go")
            for number in range(capacity):
                await cache.set(f"new{number}", "v")
            await cache.set(keys[0], "old", version=1)
            await cache.holds(keys[0], "old", version=1, meaning="an entry that had to go is not newer than anything")

    @promise("CA-13", "A full cache holds no more than its bound, also where many set at once.")
    async def test_ca_13_the_bound_under_many_callers(self, harness: CacheHarness) -> None:
        capacity = harness.contract.capacity
        if capacity is None:
            harness.run.not_declared("capacity")
        keys = [f"k{number}" for number in range(max(64, 2 * capacity))]
        async with harness.open() as cache:
            async with anyio.create_task_group() as tasks:
                for key in keys:
                    tasks.start_soon(cache.set, key, "v")
            left = [key for key in keys if await cache.get(key) is not None]
            if len(left) > capacity:
                meaning = f"{len(keys)} entries were set at once: the bound does not hold"
                raise MismatchError(expected=f"{capacity} entries at most", got=f"{len(left)}", meaning=meaning)

    async def _all_there(self, cache: TestedCache, keys: list[str], meaning: str) -> None:
        for key in keys:
            await cache.holds(key, "v", version=6, meaning=f"the cache holds less than it declares: {meaning}")

    @promise("CA-13", "A full cache lets the least recently used entry go first, and holds no more than its bound.", seeds=0)
    async def test_ca_13_least_recently_used_goes_first(self, harness: CacheHarness) -> None:
        capacity = harness.contract.capacity
        if capacity is None:
            harness.run.not_declared("capacity")
        async with harness.open() as cache:
            for number in range(capacity):
                await cache.set(f"k{number}", "v")
            await cache.holds("k0", "v", meaning="the cache holds less than it declares")
            await cache.set("k1", "w", version=2)
            await cache.set("new", "v")
            await cache.holds("k2", None, meaning="the least recently used entry must go: k0 was read and k1 overwritten after it")
            await cache.holds("k0", "v", meaning="an entry that was read just now went before an unused one")
            await cache.holds("k1", "w", version=2, meaning="an entry that was overwritten just now went before an unused one")
            await cache.holds("new", "v", meaning="the newest entry went first")
            for number in range(3 * capacity):
                await cache.set(f"n{number}", "v")
            left = [key for key in self._keys(capacity) if await cache.get(key) is not None]
            expected = [f"n{number}" for number in range(2 * capacity, 3 * capacity)]
            if left != expected:
                raise MismatchError(expected=str(expected), got=str(left), meaning="the bound, or the order of going, does not hold")

    def _keys(self, capacity: int) -> list[str]:
        return [*(f"k{number}" for number in range(capacity)), "new", *(f"n{number}" for number in range(3 * capacity))]
