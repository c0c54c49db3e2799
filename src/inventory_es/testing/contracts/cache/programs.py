"""CA-21, CA-25: every answer of a program follows the rules of the port; versions of every size."""

from datetime import datetime, timedelta
from random import Random

import attrs

from inventory_es.ports import CacheEntry
from inventory_es.testing.contracts.cache.harness import CacheHarness, TestedCache
from inventory_es.testing.promise import promise

_STEPS = 60
_KEYS = ("k", "k:1", "K")
_LIFETIMES = tuple(timedelta(seconds=seconds) for seconds in (5, 15, 25, 86_405))
_PASSING = timedelta(seconds=10)  # entries end between two readings of the clock, so that no answer depends on a fraction of a second
_VERSIONS = (0, 1, 9, 10, 99, 100, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**53 - 1, 2**53, 2**53 + 1, 2**62, 2**63 - 2, 2**63 - 1)


@attrs.define
class _Model:
    """The content of a cache, by the plainest reading of its port."""

    kept: dict[str, tuple[CacheEntry, datetime]] = attrs.field(factory=dict[str, tuple[CacheEntry, datetime]])

    def entry(self, key: str, now: datetime) -> CacheEntry | None:
        entry, end = self.kept.get(key, (None, now))
        return entry if now < end else None

    def set(self, key: str, entry: CacheEntry, now: datetime, ttl: timedelta) -> None:
        there = self.entry(key, now)
        if there is None or entry.version >= there.version:
            self.kept[key] = entry, now + ttl


class ProgramCases:
    """Cases that compare a cache with a model."""

    @promise(
        "CA-21",
        "In any program of sets, gets, invalidations and passing time, every answer is the newest live value, and else a miss.",
        seeds=8,
    )
    async def test_ca_21_any_program(self, harness: CacheHarness) -> None:
        chance, model = harness.run.schedule.chance, _Model()
        async with harness.open() as cache:
            now = harness.clock.now()
            for step in range(_STEPS):
                match chance.randrange(12):
                    case 0:
                        gone = [chance.choice(_KEYS) for _ in range(chance.randint(1, 2))]
                        await cache.invalidate(*gone)
                        for key in gone:
                            model.kept.pop(key, None)
                    case 1 if chance.random() < 0.3:
                        await cache.clear()
                        model.kept.clear()
                    case 2 | 3:
                        by = chance.randint(1, 2) * _PASSING
                        await harness.pass_time(by)
                        now += by
                    case _:
                        await _set(cache, model, step, now, chance)
                for key in _KEYS:
                    meaning = "another answer than the rules give: set, unless a newer version lives; live until its time is over"
                    cache.is_one_of(await cache.get(key), model.entry(key, now), meaning=meaning)

    @promise("CA-21", "A value of the version that is there replaces it, with a time to live of its own.")
    async def test_ca_21_the_same_version(self, harness: CacheHarness) -> None:
        async with harness.open() as cache:
            await cache.set("k", "one", version=4, ttl=_PASSING)
            await cache.set("k", "two", version=4, ttl=_PASSING * 3)
            await cache.holds("k", "two", version=4, meaning="an equal version is not older: the value that was set last counts")
            await harness.pass_time(_PASSING * 2)
            await cache.holds("k", "two", version=4, meaning="the time to live is that of the value that was set last")
            await cache.set("k", "three", version=4, ttl=_PASSING)
            await harness.pass_time(_PASSING * 2)
            await cache.holds("k", None, meaning="the longer time to live of the value before it stayed")

    @promise("CA-25", "A version is a whole number up to 2^63 - 1, given back exactly, and compared as a number.", seeds=0)
    async def test_ca_25_versions_of_every_size(self, harness: CacheHarness) -> None:
        async with harness.open() as cache:
            for older, version in zip((0, *_VERSIONS), _VERSIONS, strict=False):
                await cache.set("k", f"v{version}", version=version)
                await cache.holds("k", f"v{version}", version=version, meaning=f"version {version} is newer than {older}")
                if older < version:
                    await cache.set("k", "older", version=older)
                    await cache.holds("k", f"v{version}", version=version, meaning=f"version {older} is older than {version}")
                await cache.set("l", "alone", version=version)
                await cache.holds("l", "alone", version=version, meaning="a version does not come back as it was")
                await cache.invalidate("l")


async def _set(cache: TestedCache, model: _Model, step: int, now: datetime, chance: Random) -> None:
    key, ttl = chance.choice(_KEYS), chance.choice(_LIFETIMES)
    entry = CacheEntry(chance.choice((b"", b"%d" % step, b"\x00" * 3)), chance.randint(7, 12))
    await cache.set(key, entry.value, version=entry.version, ttl=ttl)
    model.set(key, entry, now, ttl)
