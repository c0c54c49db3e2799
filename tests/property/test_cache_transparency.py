"""Cache transparency: under any cache, every answer was true within its time to live, no answer is older than the last, no query fails."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import anyio
import attrs
from hypothesis import given, settings
from hypothesis import strategies as st

from inventory_es import InventoryService, open_inventory
from inventory_es.adapters.memory import MemoryCache, MemoryReadModel
from inventory_es.application.queries.cached_answers import DEFAULT_TTL
from inventory_es.application.queries.tiered_cache import TieredCache
from inventory_es.errors import CacheUnavailableError, StoreClosedError
from inventory_es.ports import Cache, CacheEntry
from inventory_es.testing import ManualClock

PRODUCTS, STORES = ("tea",), ("s", "t")
LIES = ("truth", "truth", "other key", "long ago", "flipped", "cut", "version", "nothing", "away", "leak", "closed")
_AWAY = CacheUnavailableError(cache="Liar", reason="down")


class Liar:
    """A cache that treats each call as a plan says: it mixes up, damages, keeps too long, forgets, fails."""

    def __init__(self, lies: Sequence[str]) -> None:
        self._lies = list(lies)
        self._ever: list[tuple[str, CacheEntry]] = []
        self._now: dict[str, CacheEntry] = {}

    async def get(self, key: str, /) -> CacheEntry | None:
        lie = self._next()
        entry = self._now.get(key)
        match lie:
            case "other key" if self._ever:
                return self._ever[-1][1]
            case "long ago":
                return next((one for name, one in self._ever if name == key), None)
            case "flipped" if entry is not None:
                return CacheEntry(entry.value.replace(b'"on_hand":1', b'"on_hand":7'), entry.version)
            case "cut" if entry is not None:
                return CacheEntry(entry.value[:-3], entry.version)
            case "version" if entry is not None:
                return CacheEntry(entry.value, entry.version + 1_000)
            case "nothing":
                return None
            case _:
                return entry

    async def set(self, key: str, value: bytes, /, *, version: int, ttl: timedelta) -> None:
        if self._next() != "nothing":
            self._now[key] = CacheEntry(value, version)
            self._ever.append((key, self._now[key]))

    async def invalidate(self, *keys: str) -> None:
        if self._next() == "truth":
            for key in keys:
                self._now.pop(key, None)

    async def clear(self) -> None:
        self._next()

    async def aclose(self) -> None: ...

    def _next(self) -> str:
        lie = self._lies.pop() if self._lies else "truth"
        match lie:
            case "away":
                raise _AWAY
            case "leak":
                raise ConnectionResetError
            case "closed":
                raise StoreClosedError(store="Liar")
            case _:
                return lie


@attrs.define
class Truth:
    """The answer that each query would have without a cache, from one instant on."""

    since: datetime
    position: int
    answers: dict[tuple[str, ...], Any]


WHERE = st.tuples(st.sampled_from(PRODUCTS), st.sampled_from(STORES))
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), WHERE),
        st.tuples(st.just("add and tell"), WHERE),
        st.tuples(st.just("add in silence"), WHERE),
        st.tuples(st.just("stock"), WHERE),
        st.tuples(st.just("stock"), WHERE),
        st.tuples(st.just("stock"), WHERE),
        st.tuples(st.just("product"), WHERE),
        st.tuples(st.just("own write"), WHERE),
        st.tuples(st.just("pass"), st.integers(1, 40)),
    ),
    min_size=20,
    max_size=60,
)
KINDS = st.sampled_from(["liar", "liar", "liar", "memory", "tiers", "tiny"])


@settings(max_examples=120)
@given(
    steps=STEPS, lies=st.lists(st.sampled_from(LIES), min_size=40, max_size=80), kind=KINDS, backend=st.sampled_from(["asyncio", "trio"])
)
def test_every_answer_was_true_within_its_time_to_live(steps: list[tuple[str, Any]], lies: list[str], kind: str, backend: str) -> None:
    anyio.run(partial(_compare, steps, lies, kind), backend=backend)


def _cache(kind: str, lies: Sequence[str], clock: ManualClock) -> Cache:
    match kind:
        case "memory":
            return MemoryCache(clock=clock)
        case "tiny":
            return MemoryCache(clock=clock, max_entries=1)
        case "tiers":
            return TieredCache(MemoryCache(clock=clock, max_entries=2), MemoryCache(clock=clock), clock=clock)
        case _:
            return Liar(lies)


async def _compare(steps: list[tuple[str, Any]], lies: Sequence[str], kind: str) -> None:
    clock, model = ManualClock(), MemoryReadModel()
    async with (
        open_inventory("memory:", clock=clock, read_models=model, cache=_cache(kind, lies, clock)) as cached,
        open_inventory(cached.store, clock=clock, read_models=model) as plain,
    ):
        truths = [await _truth(plain, clock)]
        floors: dict[tuple[str, ...], int] = {}
        for step, what in steps:
            match step:
                case "add" | "add and tell" | "add in silence":
                    await cached.add_stock(what[0], what[1], 1)
                    if step != "add":
                        await (cached if step == "add and tell" else plain).followers.catch_up(on_failure="stop")
                        truths.append(await _truth(plain, clock))
                case "pass":
                    clock.advance(timedelta(seconds=what))
                case "own write":
                    done = await cached.add_stock(what[0], what[1], 1)
                    await plain.followers.catch_up(on_failure="stop")
                    truths.append(await _truth(plain, clock))
                    got = await cached.queries.stock(what[0], what[1], wait_for_position=done.position)
                    assert got == truths[-1].answers[what]
                    floors[what] = done.position
                case "stock":
                    _judge(await cached.queries.stock(what[0], what[1]), what, truths, floors, clock.now())
                case _:
                    page = await cached.queries.product_inventory(what[0])
                    _judge(page.rows, what[:1], truths, floors, clock.now())


async def _truth(plain: InventoryService, clock: ManualClock) -> Truth:
    answers: dict[tuple[str, ...], Any] = {}
    position = 0
    for product in PRODUCTS:
        page = await plain.queries.product_inventory(product)
        answers[product,] = page.rows
        position = page.checkpoint.position
        for shop in STORES:
            answers[product, shop] = await plain.queries.stock(product, shop)
    return Truth(clock.now(), position, answers)


def _judge(got: Any, asked: tuple[str, ...], truths: Sequence[Truth], floors: dict[tuple[str, ...], int], now: datetime) -> None:
    ends = [*(truth.since for truth in truths[1:]), None]
    may = [
        truth.position
        for truth, end in zip(truths, ends, strict=True)
        if truth.answers[asked] == got and (end is None or end > now - DEFAULT_TTL)
    ]
    assert may, f"{got} was not true for {asked} within {DEFAULT_TTL}"
    assert max(may) >= floors.get(asked, 0), f"{got} is older than what was answered before"
    floors[asked] = max(min(may), floors.get(asked, 0))
