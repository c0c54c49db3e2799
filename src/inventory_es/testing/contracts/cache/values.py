"""CA-01 … CA-09, CA-14, CA-22, CA-23: keys, values and versions."""

from datetime import timedelta
from functools import partial
from typing import Any

import anyio

from inventory_es.domain.errors import InvalidTtlError
from inventory_es.ports import CacheEntry
from inventory_es.testing.contracts.cache.harness import LONG, CacheHarness, TestedCache
from inventory_es.testing.contracts.core.hostile_bytes import HOSTILE_BYTES
from inventory_es.testing.contracts.core.tested_port import refused
from inventory_es.testing.promise import MismatchError, promise

_KEYS = (
    "a", "A", "ä", "a\u0308", "a b", " a", "a ", "a:b", "a%3ab", "%", "../a", "a/b", "a\\b", "con", "*", "?", "~", "🜁", "\u2028",
    "\x00", "\n", "stock:85123A:berlin", "x" * 1_023 + "y", "x" * 1_024, "🜁" * 1_024, "'; DROP TABLE cache; --",
    "a\x00", "a\x00b", "a\n", "\ta", "\ufb00", "ff", "\u00df", "ss", "\u017f", "s", "\u0130", "i\u0307", "\u212b", "\u00c5", "1", "01",
    "1.0", "\uff11",
)  # fmt: skip
_MANY = 1_100
_MOST_AT_ONCE = 26  # the capacity of a cache that declares none is unknown
_PATTERNS = (
    "*", "**", "?", "??", "k*", "k?", "k[1]", "[a-z]*", "[^x]1", "%", "%%", "_", "__", "k%", "k_", ".*", "k.", "^k", "k$", ".", "(k1)",
    "{k1}", "{k}1", "\\k1", "k\\1", "k1\\", "k|k1", "k1,k2", "k1 k2", "k1;k2", "'k1'", '"k1"', "#k1", "k1#", "$k1", "-k1", "--", "k1/..",
    "./k1", "~k1", "k", "k1:", "k1:*", "k1.", "K1", "k1 ", " k1", "k1\x00", "k1\n", "\nk1", "k1\r\n", "\tk1", "k01", "k1.0", "\u212a1",
    "k\uff11", "k1\u0301", "k1\ufe0f", "k1\u200b", "\ufeffk1",
)  # fmt: skip
_OF_AN_ADAPTER = (
    "version", "versions", "keys", "key", "index", "lru", "order", "used", "size", "count", "total", "lock", "draft", "entries", "cache",
    "meta", "value", "ttl", "expires", "None", "null", "__version__", "v:k1", "version:k1", "ttl:k1", "k1:v", "k1:version", "k1.version",
    "k1_version", "k1/version", "k1#version", "k1@1", "k1:1", "k1:ttl", "k1:expires", "k1:value", "k1:data", "k1:lock", "k1.lock",
    "k1.tmp", "k1.entry", "k1\x00version", "\x00k1", "\xff", "\U0010ffff",
)  # fmt: skip
_PATHS = ("k//1", "/k/1", "k/1/", "k/./1", "./k/1", "k/x/../1", "k\\1", "k%2f1", "k%2F1", "K/1", "k/01", "k", "k/", "k/*", "k/1?", "k/1#x")
_LENGTHS = (32, 64, 128, 250, 255, 256, 512, 768, 1_000, 1_024)
_SCRIPTS = ("x", "é", "ꙮ", "🜁")  # of one to four bytes
_COUNTS = (2, 10, 11, 25, 26, 100, 101, 150, 256, 257, 500, 501, 999, 1_000, 1_001)


class ValueCases:
    """Cases of values: the cache returns the value that was set."""

    @promise("CA-01", "What was never set is a miss.")
    async def test_ca_01_a_miss(self, harness: CacheHarness) -> None:
        async with harness.open() as cache:
            await cache.holds("k", None, meaning="nothing was set")
            await cache.holds("k", None, meaning="asking for an entry made one")

    @promise("CA-02", "What is set can be got, with its version.")
    async def test_ca_02_set_and_get(self, harness: CacheHarness) -> None:
        async with harness.open() as cache:
            await cache.set("k", "one", version=7)
            await cache.holds("k", "one", version=7, meaning="the entry is not what was set")
            await cache.holds("k", "one", version=7, meaning="getting an entry changed it")

    @promise("CA-03", "A newer version overwrites.")
    async def test_ca_03_overwrite(self, harness: CacheHarness) -> None:
        async with harness.open() as cache:
            await cache.set("k", "one", version=0)
            await cache.set("k", "two", version=1)
            await cache.set("k", "three", version=9)
            await cache.holds("k", "three", version=9, meaning="a newer value did not replace the old one")

    @promise("CA-04", "Invalidated keys are misses; a missing one is fine; the others stay.")
    async def test_ca_04_invalidate(self, harness: CacheHarness) -> None:
        async with harness.open() as cache:
            for key in ("k", "l", "m"):
                await cache.set(key, key, version=5)
            await cache.invalidate("k", "not there", "l")
            await cache.invalidate()
            await cache.invalidate("k")
            await cache.holds("k", None, meaning="an invalidated entry is still given")
            await cache.holds("l", None, meaning="only the first of several invalidated keys was forgotten")
            await cache.holds("m", "m", version=5, meaning="a key that was not named was forgotten")
            await cache.set("k", "again", version=5)
            await cache.holds("k", "again", version=5, meaning="after an invalidation, a value can be set again")

    @promise("CA-05", "Empty bytes are a value, not a miss.")
    async def test_ca_05_empty_bytes(self, harness: CacheHarness) -> None:
        async with harness.open() as cache:
            await cache.set("k", b"")
            await cache.holds("k", b"", meaning="an empty value was taken for a miss: it will be computed again for ever")

    @promise("CA-06", "Keys are independent of each other.")
    async def test_ca_06_several_keys(self, harness: CacheHarness) -> None:
        async with harness.open() as cache:
            await cache.set("k", "one", version=1)
            await cache.set("kk", "two", version=2)
            await cache.set("k1", "three", version=3)
            await cache.set("kk", "four", version=4)
            for key, value, version in (("k", "one", 1), ("kk", "four", 4), ("k1", "three", 3)):
                await cache.holds(key, value, version=version, meaning="an entry was changed through another key")

    @promise("CA-07", "Bytes come back as they were; anything else is ValueError.")
    async def test_ca_07_bytes_come_back(self, harness: CacheHarness) -> None:
        async with harness.open() as cache:
            for version, value in enumerate(HOSTILE_BYTES):
                await cache.set("k", value, version=version)
                await cache.holds("k", value, version=version, meaning="the value is not byte for byte what was set")
            text: Any = "text"
            call = partial(cache.raw.set, "k", text, version=99, ttl=LONG)
            await refused(ValueError, call, meaning="a value that is no bytes was taken")

    @promise("CA-07", "A value of 1 MiB comes back whole, or is refused or not kept; a buffer is refused or copied.", seeds=0)
    async def test_ca_07_large_values_and_buffers(self, harness: CacheHarness) -> None:
        large = bytes(range(256)) * 4_096
        small, whole = CacheEntry(b"small", 1), CacheEntry(large, 2)
        async with harness.open() as cache:
            await cache.set("k", "small", version=1)
            try:
                await cache.set("k", large, version=2)
            except ValueError:
                await cache.holds("k", "small", version=1, meaning="a refused value changed the entry")
            else:
                meaning = (
                    "a large value is neither whole nor a miss" if await cache.get("k") != small else "an old value outlived a newer one"
                )
                cache.is_one_of(await cache.get("k"), whole, None, meaning=meaning)
            buffer: Any = bytearray(b"buffer")
            await cache.invalidate("k")
            try:
                await cache.raw.set("k", buffer, version=3, ttl=LONG)
            except ValueError:
                await cache.holds("k", None, meaning="a refused value was kept")
            else:
                buffer[:] = b"reused"
                await cache.holds("k", b"buffer", version=3, meaning="what the caller writes into its buffer later changes the entry")

    @promise(
        "CA-32",
        "A set that is misuse is refused whatever is there, and changes nothing: value, version, time to live or key of a wrong kind.",
        seeds=0,
    )
    async def test_ca_32_misuse_changes_nothing(self, harness: CacheHarness) -> None:
        wrong: dict[str, tuple[type[Exception], dict[str, Any]]] = {
            "value": (ValueError, {"value": "text"}),
            "version": (ValueError, {"version": -1}),
            "time to live": (InvalidTtlError, {"ttl": timedelta(0)}),
            "negative time to live": (InvalidTtlError, {"ttl": -LONG}),
        }
        async with harness.open() as cache:
            for there in (None, 0, 5, 2**62):
                await cache.clear()
                await cache.set("l", "other", version=3)
                if there is not None:
                    await cache.set("k", "there", version=there)
                left = None if there is None else "there"
                for name, (kind, change) in wrong.items():
                    given: dict[str, Any] = {"value": b"new", "version": 4, "ttl": LONG} | change
                    call = partial(cache.raw.set, "k", given["value"], version=given["version"], ttl=given["ttl"])
                    over = "where there is nothing" if there is None else f"over version {there}"
                    await refused(kind, call, meaning=f"a {name} that can't be was taken, {over}")
                    await cache.holds("k", left, version=there or 0, meaning=f"a set with a {name} that can't be changed the entry")
                    await cache.holds("l", "other", version=3, meaning=f"a set with a {name} that can't be changed another entry")
                for key in ("", "x" * 1_025):
                    await refused(ValueError, partial(cache.set, key, "v"), meaning="no such key can be: 1 to 1,024 characters")
                await cache.holds("k", left, version=there or 0, meaning="a set of a key that can't be changed another entry")

    @promise("CA-08", "Hostile and long keys are distinct; a key of 0 or above 1,024 characters is ValueError.", seeds=0)
    async def test_ca_08_hostile_keys(self, harness: CacheHarness) -> None:
        async with harness.open() as cache:
            group = min(_MOST_AT_ONCE, harness.contract.capacity or _MOST_AT_ONCE)
            for start in range(0, len(_KEYS), group):
                await self._distinct(cache, _KEYS[start : start + group])
            for first in _KEYS:
                await cache.clear()
                await cache.set(first, "there")
                await self._all_missing(cache, first)
            for key in ("", "x" * 1_025):
                await refused(ValueError, partial(cache.set, key, "v"), meaning="no such key can be: 1 to 1,024 characters")
                await refused(ValueError, partial(cache.get, key), meaning="no such key can be: 1 to 1,024 characters")

    @promise("CA-09", "After clear, everything is a miss, and the cache works on.")
    async def test_ca_09_clear(self, harness: CacheHarness) -> None:
        async with harness.open() as cache:
            await cache.set("k", "one", version=8)
            await cache.set("l", "two", version=8)
            await cache.clear()
            await cache.clear()
            await cache.holds("k", None, meaning="an entry survived clear")
            await cache.holds("l", None, meaning="an entry survived clear")
            await cache.set("k", "three", version=1)
            await cache.holds("k", "three", version=1, meaning="after clear, a value of any version can be set")

    @promise("CA-09", "However many entries there are, clear forgets them all.", seeds=0)
    async def test_ca_09_clearing_many(self, harness: CacheHarness) -> None:
        keys = [f"k{number}" for number in range(_MANY)]
        async with harness.open() as cache:
            for key in keys:
                await cache.set(key, "v")
            await cache.clear()
            for key in keys:
                await cache.holds(key, None, meaning=f"of {_MANY} entries that were set, one survived clear")

    @promise("CA-14", "An older version never overwrites a newer one, in any order of arrival; a version below 0 is ValueError.", seeds=8)
    async def test_ca_14_an_older_version_never_wins(self, harness: CacheHarness) -> None:
        async with harness.open() as cache:
            await cache.set("k", "new", version=5)
            await cache.set("k", "old", version=4)
            await cache.holds("k", "new", version=5, meaning="a slow writer put an old answer over a new one")
            await refused(ValueError, partial(cache.set, "k", "odd", version=-1), meaning="a version is a count")
            versions = list(range(6, 18))
            harness.run.schedule.chance.shuffle(versions)
            async with anyio.create_task_group() as tasks:
                for version in versions:
                    tasks.start_soon(_set, cache, version)
            await cache.holds("k", "v17", version=17, meaning=f"of the versions {versions}, set at once, the newest must win")
            await cache.invalidate("k")
            await cache.set("k", "again", version=2)
            await cache.holds("k", "again", version=2, meaning="what was invalidated is no longer newer than anything")

    async def _distinct(self, cache: TestedCache, keys: tuple[str, ...]) -> None:
        await cache.clear()
        for number, key in enumerate(keys):
            await cache.set(key, str(number))
        for number, key in enumerate(keys):
            await cache.holds(key, str(number), meaning="two keys share an entry, or a key did not take one")

    async def _all_missing(self, cache: TestedCache, first: str) -> None:
        for key in _KEYS:
            entry = await cache.get(key) if key != first else None
            if entry is not None:
                raise MismatchError(expected="a miss", got=repr(entry), meaning=f"the keys {first!r} and {key!r} share an entry")


class KeyCases:
    """Cases of keys."""

    @promise(
        "CA-22",
        "A key is a text and nothing more: no pattern, no prefix, no name of the adapter's own; what is done to one is done to no other.",
        seeds=0,
    )
    async def test_ca_22_a_key_is_no_pattern(self, harness: CacheHarness) -> None:
        async with harness.open() as cache:
            for key in (*_PATTERNS, *_OF_AN_ADAPTER):
                await _is_independent(cache, key, ("k1", "k:2"))
            for key in _PATHS:
                await _is_independent(cache, key, ("k/1", "k/1/2"))

    @promise("CA-31", "Keys of any length and script that differ in one character, at any place, are distinct.", seeds=0)
    async def test_ca_31_long_keys(self, harness: CacheHarness) -> None:
        async with harness.open() as cache:
            for length in _LENGTHS:
                for letter in _SCRIPTS:
                    for place in (0, length // 2, length - 1):
                        one, other = ([letter] * length for _ in range(2))
                        one[place], other[place] = "a", "b"
                        keys = "".join(one), "".join(other)
                        meaning = f"keys of {length} times {letter} that differ at place {place} are one"
                        for number, key in enumerate(keys):
                            await cache.set(key, str(number))
                        for number, key in enumerate(keys):
                            await cache.holds(key, str(number), meaning=meaning)
                        await cache.invalidate(keys[0])
                        await cache.holds(keys[1], "1", meaning=meaning)
                        await cache.invalidate(keys[1])

    @promise("CA-31", "However many keys there are, none is given what another one holds.", seeds=0)
    async def test_ca_31_many_keys(self, harness: CacheHarness) -> None:
        async with harness.open() as cache:
            for number in range(_MANY):
                await cache.set(_spread(number), f"of {number}", version=number)
            for number in range(_MANY):
                own = CacheEntry(b"of %d" % number, number)
                cache.is_one_of(await cache.get(_spread(number)), own, None, meaning=f"of {_MANY} keys, one is given what another holds")

    @promise("CA-23", "Any number of keys is invalidated at once, the same one twice too; the others stay.", seeds=0)
    async def test_ca_23_many_keys_at_once(self, harness: CacheHarness) -> None:
        live = min(8, harness.contract.capacity or 8) - 1
        async with harness.open() as cache:
            for count in _COUNTS:
                names = [f"n{number}" for number in range(count)]
                places = sorted({round(place * (count - 1) / max(1, live - 1)) for place in range(live)})
                for place in places:
                    await cache.set(names[place], "v")
                await cache.set("stays", "v")
                await cache.invalidate(*names)
                for place in places:
                    meaning = f"of {count} keys that were invalidated at once, number {place + 1} is still given"
                    await cache.holds(names[place], None, meaning=meaning)
                await cache.holds("stays", "v", meaning="a key that was not named was forgotten")
            await cache.set("k", "v")
            await cache.invalidate("k", "k", "missing", "missing", "k")
            await cache.holds("k", None, meaning="a key that was named twice is still given")
            await cache.set("k", "again")
            await cache.holds("k", "again", meaning="after an invalidation, a value can be set again")
            await cache.invalidate()
            await cache.holds("k", "again", meaning="to invalidate no key forgets nothing")


async def _set(cache: TestedCache, version: int) -> None:
    await cache.set("k", f"v{version}", version=version)


async def _is_independent(cache: TestedCache, key: str, others: tuple[str, ...]) -> None:
    async def all_there(meaning: str) -> None:
        for number, other in enumerate(others):
            await cache.holds(other, f"of {other}", version=number, meaning=f"{meaning}: {key!r} and {other!r} are not independent")

    await cache.clear()
    for number, other in enumerate(others):
        await cache.set(other, f"of {other}", version=number)
    await cache.holds(key, None, meaning=f"{key!r} was never set, and is given what another key holds")
    await cache.invalidate(key)
    await all_there("invalidating a key that is not there took another")
    await cache.set(key, "own", version=5)
    await cache.holds(key, "own", version=5, meaning=f"{key!r} does not hold what was set")
    await all_there("setting a key changed another")
    await cache.invalidate(key)
    await cache.holds(key, None, meaning=f"{key!r} was invalidated")
    await all_there("invalidating a key took another")
    await cache.set(key, "own", version=5)
    await cache.invalidate(*others)
    await cache.holds(key, "own", version=5, meaning=f"invalidating {others} took {key!r}")


def _spread(number: int) -> str:
    """Return a key that has little in common with that of the next number."""
    return f"{number * 2_654_435_761 % 2**32:x}"
