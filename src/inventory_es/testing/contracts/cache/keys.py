"""CA-22, CA-23: keys are plain texts, and many keys are invalidated at once."""

from inventory_es.ports import CacheEntry
from inventory_es.testing.contracts.cache.harness import CacheHarness, TestedCache
from inventory_es.testing.promise import promise

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
_MANY = 1_100
_COUNTS = (2, 10, 11, 25, 26, 100, 101, 150, 256, 257, 500, 501, 999, 1_000, 1_001)


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
