"""CA-26 … CA-29: calls that are cancelled, that meet at an await point, and during which the cache is closed."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial

import anyio
from anyio.lowlevel import checkpoint

from inventory_es.ports import CacheEntry
from inventory_es.ports.errors import CacheUnavailableError, StoreClosedError
from inventory_es.testing.contracts.cache.harness import CacheHarness, TestedCache
from inventory_es.testing.contracts.core.await_points import CALLERS, MOST_POINTS, Call, cancel_at, cancel_some, close_again, hold_at
from inventory_es.testing.contracts.core.tested_port import ends_well, refused
from inventory_es.testing.promise import promise

_TEN = timedelta(seconds=10)
_TIMES = 40
_LOOKS = 3
_POOL = 20  # a connection that a cancelled call spoiled may come up again after all others
_KEYS = ("a", "b", "c")


class InterruptionCases:
    """Cases of callers that give up or meet, and of closing during a call."""

    @promise(
        "CA-26",
        "A call that is cancelled at any await point, often, takes nothing from the next caller: no connection, no lock, no answer.",
        seeds=0,
    )
    async def test_ca_26_cancelled_often(self, harness: CacheHarness) -> None:
        async with harness.open() as cache:
            version = 0
            for name, call in _calls(cache, "a", "late").items():
                for point in range(MOST_POINTS):
                    reached = True
                    where = f"after a {name} of another key was cancelled at await point {point}"
                    for _ in range(_LOOKS):
                        await cache.set("b", "mine", version=version)
                        reached = await cancel_at(point, call)
                        if name != "clear":
                            await cache.holds("b", "mine", version=version, meaning=f"{where}, a get has another answer")
                        version += 1
                        await cache.set("b", "next", version=version)
                        await cache.holds("b", "next", version=version, meaning=f"{where}, a set is lost, or a get has another answer")
                    if not reached:
                        break
                    for _ in range(_TIMES):
                        await cancel_at(point, call)
                    version += 1
                    await cache.set("b", "last", version=version)
                    for _ in range(_POOL):
                        meaning = f"{where} {_TIMES} times, a set is lost, or a get has another answer"
                        await cache.holds("b", "last", version=version, meaning=meaning)

    @promise(
        "CA-26",
        "While some of many callers are cancelled, each of the others gets its own answer, and 64 callers at once all end.",
        seeds=2,
    )
    async def test_ca_26_cancelled_among_others(self, harness: CacheHarness) -> None:
        async with harness.open() as cache:

            async def hold(number: int) -> None:
                key = _KEYS[number % 3]
                await cache.holds(key, f"of {key}", meaning="a caller got what another one asked for")

            async def give_up(number: int, point: int) -> None:
                await cancel_at(point, lambda at: cache.get(_KEYS[number % 3], at_suspension=at))

            for key in _KEYS:
                await cache.set(key, f"of {key}")
            await cancel_some(hold, give_up, points=4)

    @promise(
        "CA-27",
        "A set cancelled at any await point leaves the entry before it, the new one or none, and what it leaves ends at its time.",
        seeds=1,
    )
    async def test_ca_27_a_cancelled_set(self, harness: CacheHarness) -> None:
        async with harness.open() as cache:
            for is_new in (True, False):
                for point in range(MOST_POINTS):
                    old, new = CacheEntry(b"old", point), CacheEntry(b"new", point + 1)
                    if not is_new:
                        await cache.set("k", "old", version=point, ttl=_TEN)
                    call = partial(cache.set, "k", "new", version=point + 1, ttl=_TEN)
                    reached = await cancel_at(point, lambda at: call(at_suspension=at))  # noqa: B023  # called at once
                    where = f"a set cancelled at await point {point}"
                    allowed = (new, None) if is_new else (old, new, None)
                    cache.is_one_of(await cache.get("k"), *allowed, meaning=f"{where} left something else")
                    await harness.pass_time(_TEN + timedelta(seconds=1))
                    await cache.holds("k", None, meaning=f"{where} left an entry that does not end")
                    await cache.set("k", "oldest", version=0, ttl=_TEN)
                    await cache.holds("k", "oldest", version=0, meaning=f"{where} left a version that does not end")
                    await cache.clear()
                    await cancel_at(point, lambda at: call(at_suspension=at))  # noqa: B023  # called at once
                    await call()
                    await cache.holds("k", "new", version=point + 1, meaning=f"after {where}, the same one can't be made")
                    await cache.clear()
                    if not reached:
                        break

    @promise(
        "CA-28",
        "Calls that meet at any await point leave what they leave one after the other: what was overwritten or forgotten stays so.",
        seeds=1,
    )
    async def test_ca_28_calls_that_meet(self, harness: CacheHarness) -> None:
        old, new, newer = CacheEntry(b"old", 4), CacheEntry(b"new", 5), CacheEntry(b"newer", 6)
        async with harness.open() as cache:
            set_new, set_newer = partial(cache.set, "k", "new", version=5), partial(cache.set, "k", "newer", version=6)
            forget, get = partial(cache.invalidate, "k"), partial(cache.get, "k")
            meetings: list[tuple[str, Callable[..., Awaitable[object]], Callable[[], Awaitable[object]], tuple[CacheEntry | None, ...]]] = [
                ("get, and set meanwhile", get, set_new, (new,)),
                ("get, and invalidate meanwhile", get, forget, (None,)),
                ("get, and clear meanwhile", get, cache.clear, (None,)),
                ("set, and set of a newer version meanwhile", set_new, set_newer, (newer,)),
                ("set, and set of an older version meanwhile", set_newer, set_new, (newer,)),
                ("set, and invalidate meanwhile", set_new, forget, (new, None)),
                ("set, and clear meanwhile", set_new, cache.clear, (new, None)),
                ("set, and get meanwhile", set_new, get, (new,)),
                ("invalidate, and get meanwhile", forget, get, (None,)),
                ("invalidate, and set meanwhile", forget, set_new, (new, None)),
                ("clear, and get meanwhile", cache.clear, get, (None,)),
                ("clear, and set meanwhile", cache.clear, set_new, (new, None)),
            ]
            for name, call, other, allowed in meetings:
                for point in range(1, MOST_POINTS):
                    await cache.clear()
                    await cache.set("k", "old", version=4)
                    await cache.set("l", "other", version=1)
                    met = await hold_at(point, lambda at: call(at_suspension=at), other)  # noqa: B023  # called at once
                    if not met:
                        break
                    meaning = f"{name}, at await point {point}: the entry {old.value.decode()!r} was there before"
                    cache.is_one_of(await cache.get("k"), *allowed, meaning=meaning)
                    if "clear" not in name:
                        await cache.holds("l", "other", meaning=f"{name}, at await point {point}: another key changed")
            for name, call in _calls(cache, "k", "new").items():
                for point in range(1, MOST_POINTS):
                    await cache.clear()
                    await cache.set("l", "before", version=1)
                    met = await hold_at(point, call, partial(cache.set, "l", "after", version=2))
                    if not met:
                        break
                    if name != "clear":
                        meaning = f"{name}, and a set of another key meanwhile, at await point {point}: the set is lost"
                        await cache.holds("l", "after", version=2, meaning=meaning)

    @promise("CA-28", "A caller never gets an older version after a newer one, whoever sets meanwhile.", seeds=6)
    async def test_ca_28_answers_never_go_back(self, harness: CacheHarness) -> None:
        async with harness.open() as cache:
            await cache.set("k", "v0", version=0)
            known, most, is_over = 0, 24, False

            async def write(versions: list[int]) -> None:
                nonlocal known
                for version in versions:
                    await cache.set("k", f"v{version}", version=version)
                    known = max(known, version)

            async def read() -> None:
                while not is_over:
                    await checkpoint()  # a cache may answer without letting others run
                    least = known
                    entry = await cache.get("k")
                    allowed = [CacheEntry(b"v%d" % version, version) for version in range(least, most + 1)]
                    cache.is_one_of(entry, *allowed, meaning=f"version {least} had been set, or read, before this call began")

            async with anyio.create_task_group() as readers:
                for _ in range(3):
                    readers.start_soon(read)
                async with anyio.create_task_group() as writers:
                    for first in range(1, 4):
                        writers.start_soon(write, list(range(first, most + 1, 3)))
                is_over = True

    @promise("CA-33", "Callers that invalidate the same keys in different orders all end, wherever they meet.", seeds=2)
    async def test_ca_33_orders_of_keys(self, harness: CacheHarness) -> None:
        async with harness.open() as cache:
            forget = partial(cache.invalidate, *_KEYS)
            for point in range(1, MOST_POINTS):
                met = await hold_at(point, lambda at: forget(at_suspension=at), partial(cache.invalidate, *reversed(_KEYS)))
                if not met:
                    break
            for key in _KEYS:
                await cache.set(key, "v")
            async with anyio.create_task_group() as tasks:
                for number in range(CALLERS):
                    tasks.start_soon(cache.invalidate, *(_KEYS[number % 3 :] + _KEYS[: number % 3]))
            for key in _KEYS:
                await cache.holds(key, None, meaning="many callers invalidated these keys at once, and one is still given")

    @promise(
        "CA-29",
        "Closing during a call ends it with an answer or with StoreClosedError; a close that was cancelled can be made again.",
        seeds=1,
    )
    async def test_ca_29_closing_during_a_call(self, harness: CacheHarness) -> None:
        for name in ("get", "set", "invalidate", "clear"):
            for point in range(1, MOST_POINTS):
                async with harness.open() as cache:
                    await cache.set("a", "there", version=1)
                    call = partial(_ends_well, harness, cache, name)
                    met = await hold_at(point, call, cache.aclose)
                    await cache.aclose()
                    await refused(StoreClosedError, partial(cache.get, "a"), meaning=f"the cache works on after it was closed in a {name}")
                if not met:
                    break

    @promise("CA-29", "Closing that is cancelled at any await point, or begun twice at once, can be made again, and then is done.", seeds=1)
    async def test_ca_29_closing_again(self, harness: CacheHarness) -> None:
        for point in range(MOST_POINTS):
            async with harness.open() as cache:
                await cache.set("a", "there", version=1)
                reached = await close_again(point, cache.aclose)
                meaning = f"after a close that was cancelled at await point {point}, and was made again, the cache works on"
                await refused(StoreClosedError, partial(cache.get, "a"), meaning=meaning)
            if not reached:
                break


def _calls(cache: TestedCache, key: str, value: str) -> dict[str, Call]:
    return {
        "get": lambda at: cache.get(key, at_suspension=at),
        "set": lambda at: cache.set(key, value, version=1, at_suspension=at),
        "invalidate": lambda at: cache.invalidate(key, at_suspension=at),
        "clear": lambda at: cache.clear(at_suspension=at),
    }


async def _ends_well(harness: CacheHarness, cache: TestedCache, name: str, at_suspension: Callable[[], int | None]) -> None:
    """Expect a call to answer, or to say that the cache is closed."""
    allowed: tuple[type[Exception], ...] = (StoreClosedError,)
    if harness.contract.when_down == "raise":
        allowed = (StoreClosedError, CacheUnavailableError)
    answer = await ends_well(_calls(cache, "a", "new")[name](at_suspension), "cache", *allowed, answer=f"an answer of {name}")
    if name == "get" and answer is not None:
        cache.is_one_of(
            answer[0] if isinstance(answer[0], CacheEntry) else None,
            CacheEntry(b"there", 1),
            None,
            meaning="a get that the cache was closed under has an answer that was never set",
        )
