"""CA-17, CA-18, CA-20, CA-34, CA-35: broken entries, a backend that is away, closing, several instances, change marks."""

import pickle
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from datetime import timedelta
from functools import partial
from typing import Any

import anyio

from inventory_es.ports.cache import ChangeMarks
from inventory_es.ports.errors import CacheUnavailableError, StoreClosedError
from inventory_es.testing.contracts.cache.harness import CacheHarness, TestedCache
from inventory_es.testing.contracts.core.tested_port import refused
from inventory_es.testing.promise import MismatchError, promise

_ran: list[str] = []


def mark(reason: str) -> None:
    """Leave the mark of a pickle that was executed."""
    _ran.append(reason)


class _Hostile:
    def __reduce__(self) -> tuple[Any, ...]:
        return mark, ("unpickled",)


class TroubleCases:
    """Cases of broken entries, an absent backend, and closing."""

    @promise("CA-17", "A foreign or broken entry is a miss, can be overwritten, and is never unpickled.")
    async def test_ca_17_a_broken_entry_is_a_miss(self, harness: CacheHarness) -> None:
        site = harness.run.site
        junk = (b"", b"\x00" * 64, b"\xff" * 7, b"{}", b"not an entry", pickle.dumps("foreign"), pickle.dumps(_Hostile()), b"9" * 10_000)
        async with harness.open() as cache:
            for number, planted in enumerate(junk):
                await cache.set("k", "mine", version=number)
                if not await harness.contract.raw(site, "k", planted):
                    harness.run.not_declared("raw: the hook that plants a broken entry")
                _ran.clear()
                await self._is_miss(cache, planted)
                await cache.set("k", "mine again", version=number)
                await cache.holds("k", "mine again", version=number, meaning="a broken entry can't be replaced")
                await cache.clear()

    async def _is_miss(self, cache: TestedCache, planted: bytes) -> None:
        await cache.holds("k", None, meaning=f"bytes that no cache wrote were given as a value: {planted[:24]!r}")
        if _ran:
            raise MismatchError(expected="bytes that are only read", got="code in them ran", meaning="a cache must never unpickle")

    @promise("CA-18", "While the backend is away, the cache does what it declares: raise CacheUnavailableError, or miss.")
    async def test_ca_18_the_backend_is_away(self, harness: CacheHarness) -> None:
        async with harness.open() as cache:
            await cache.set("k", "one")
            if not await harness.contract.kill(harness.run.site):
                harness.run.not_declared("kill: the hook that takes the backend away")
            if harness.contract.when_down == "miss":
                await cache.holds("k", None, meaning="declared: a miss while the backend is away")
                await cache.set("k", "two", version=2)
                await cache.invalidate("k")
                return
            for call in _every_use(cache):
                await refused(CacheUnavailableError, call, meaning="declared: CacheUnavailableError while the backend is away")

    @promise("CA-20", "Closing twice is fine; use after close is StoreClosedError; entries survive as declared.")
    async def test_ca_20_closing(self, harness: CacheHarness) -> None:
        async with harness.open() as cache:
            await cache.set("k", "kept", version=3)
            await cache.aclose()
            await cache.aclose()
            for call in _every_use(cache):
                await refused(StoreClosedError, call, meaning="a closed cache must say that it is closed")
        if harness.contract.is_durable:
            async with harness.open() as cache:
                await cache.holds("k", "kept", version=3, meaning="declared: entries survive opening the site again")
                await cache.set("k", "old", version=2)
                await cache.holds("k", "kept", version=3, meaning="after reopening, an older version overwrote a newer one")

    @promise("CA-20", "Entries that survive are the same as before: value, version and the end of their time.")
    async def test_ca_20_what_survives(self, harness: CacheHarness) -> None:
        if not harness.contract.is_durable:
            harness.run.not_declared("is_durable")
        ten = timedelta(seconds=10)
        async with harness.open() as cache:
            await cache.set("long", bytes(range(256)), version=2**53 + 1)
            await cache.set("short", "v", version=1, ttl=ten)
            await cache.set("gone", "v", version=9)
            await cache.invalidate("gone")
        async with harness.open() as cache:
            await cache.holds("gone", None, meaning="an invalidated entry came back when the cache was opened again")
            await cache.set("gone", "v")
        async with harness.open() as cache:
            await cache.invalidate("gone")
            await cache.holds("gone", None, meaning="an entry from before the cache was opened can't be invalidated")
        await harness.pass_time(ten / 2)
        async with harness.open() as cache:
            await cache.holds("long", bytes(range(256)), version=2**53 + 1, meaning="an entry changed while the cache was closed")
            await cache.holds("short", "v", meaning="an entry ended before its time while the cache was closed")
            await cache.holds("gone", None, meaning="an invalidated entry came back when the cache was opened again")
        await harness.pass_time(ten)
        async with harness.open() as cache:
            await cache.holds("short", None, meaning="an entry lives longer because the cache was closed meanwhile")
            await cache.clear()
        async with harness.open() as cache:
            await cache.holds("long", None, meaning="an entry survived clear, and opening the site again")

    @promise("CA-20", "Entries that survive count towards the bound.")
    async def test_ca_20_the_bound_survives(self, harness: CacheHarness) -> None:
        capacity = harness.contract.capacity
        if not harness.contract.is_durable or capacity is None:
            harness.run.not_declared("is_durable and capacity")
        keys = [f"k{number}" for number in range(3 * capacity)]
        for first in range(3):
            async with harness.open() as cache:
                for key in keys[first * capacity : (first + 1) * capacity]:
                    await cache.set(key, "v")
        async with harness.open() as cache:
            await cache.set("last", "v")
            left = [key for key in keys if await cache.get(key) is not None]
        if len(left) >= capacity:
            meaning = "the bound does not hold over what was set before the cache was opened"
            raise MismatchError(expected=f"{capacity - 1} entries beside the last one at most", got=f"{len(left)}", meaning=meaning)

    @promise(
        "CA-34", "Several instances of one site are one cache: what one sets or forgets the others see, and closing one closes no other."
    )
    async def test_ca_34_two_instances(self, harness: CacheHarness) -> None:
        if not harness.contract.multi_process:
            harness.run.not_declared("multi_process")
        async with harness.open() as one, harness.open() as two:
            await one.set("k", "first", version=1)
            await two.holds("k", "first", version=1, meaning="an instance does not see what another one set")
            await two.set("k", "second", version=2)
            await one.holds("k", "second", version=2, meaning="an instance gives what it set itself, and not the newer value of another")
            await two.set("k", "third", version=3)
            await one.holds("k", "third", version=3, meaning="an instance gives what it got before, and not the newer value of another")
            await one.set("k", "old", version=2)
            for cache in (one, two):
                await cache.holds("k", "third", version=3, meaning="an older version of one instance overwrote the newer one of another")
            await two.invalidate("k")
            await one.holds("k", None, meaning="an instance gives what another one invalidated")
            await one.set("k", "again", version=1)
            await two.holds("k", "again", version=1, meaning="what another instance invalidated is still newer than anything")
            await one.clear()
            await two.holds("k", None, meaning="an instance gives what another one cleared")
            async with anyio.create_task_group() as tasks:
                for version in range(20):
                    tasks.start_soon(partial((one, two)[version % 2].set, "k", f"v{version}", version=version))
            for cache in (one, two):
                await cache.holds("k", "v19", version=19, meaning="of versions that two instances set at once, the newest must win")
            await one.aclose()
            await two.holds("k", "v19", version=19, meaning="closing one instance took another's entry")
            await two.set("k", "v20", version=20)
            await two.holds("k", "v20", version=20, meaning="closing one instance keeps another from working")

    @promise("CA-35", "Each change of an entry, by any instance, ends the change mark of its key; a mark is from 0 to 2^63 - 1.")
    async def test_ca_35_change_marks(self, harness: CacheHarness) -> None:
        async with AsyncExitStack() as stack:
            one = await stack.enter_async_context(harness.open())
            if not isinstance(marks := one.raw, ChangeMarks):
                harness.run.not_declared("change_mark: the protocol ChangeMarks")
            is_shared = harness.contract.multi_process
            other = await stack.enter_async_context(harness.open()) if is_shared else one
            for cache, by in ((one, "the same instance"), (other, "another instance"))[: 1 + is_shared]:
                for change, call in (
                    ("set of a new entry", partial(cache.set, "k", "first", version=1)),
                    ("set of a newer version", partial(cache.set, "k", "second", version=2)),
                    ("set of the same version", partial(cache.set, "k", "third", version=2)),
                    ("invalidation", partial(cache.invalidate, "other", "k")),
                    ("set after an invalidation", partial(cache.set, "k", "first", version=1)),
                    ("clear", cache.clear),
                ):
                    before = await self._mark(harness, marks, None, meaning="there must be a mark of a cache whose backend is there")
                    await call()
                    await self._mark(harness, marks, before, meaning=f"a {change} by {by} must end the mark")

    async def _mark(self, harness: CacheHarness, marks: ChangeMarks, before: int | None, *, meaning: str) -> int:
        """Wait for a mark other than the one before."""
        mark: int | None = None
        with anyio.move_on_after(harness.contract.patience_for_marks):
            while (mark := marks.change_mark("k")) is None or mark == before:  # noqa: ASYNC110  # a mark is only asked for
                await anyio.sleep(0.005)
        if mark is None or mark == before:
            expected = f"another mark than {before} within {harness.contract.patience_for_marks:g} s"
            raise MismatchError(expected=expected, got=f"{mark}", meaning=meaning)
        if type(mark) is not int or not 0 <= mark < 1 << 63:
            raise MismatchError(expected="a mark from 0 to 2^63 - 1", got=repr(mark), meaning="a reader keeps marks as whole numbers")
        return mark


def _every_use(cache: TestedCache) -> list[Callable[[], Coroutine[Any, Any, object]]]:
    return [partial(cache.get, "k"), partial(cache.set, "k", "two", version=9), partial(cache.invalidate, "k"), cache.clear]
