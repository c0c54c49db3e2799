"""W6: the cost of one command, one page of the feed and one opening, as a store grows from a thousand to a million.

One of three things grows: the events of one stream, the streams of a store, or the open reservations of one product. The same store grows
from step to step, so a run costs little more than its last step.
"""

import gc
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from benchmarks.engine.commands import PLENTY, TTL
from benchmarks.engine.history import additions, reservations, write, write_streams
from benchmarks.engine.store_url import url_of
from benchmarks.measure import Measure, Measures
from benchmarks.sizes import Sizes
from inventory_es import InventoryId, InventoryService, open_inventory
from inventory_es.adapters.memory import MemoryEventLog, MemoryEventStore
from inventory_es.ports import EventFeed, EventStore

HOT = InventoryId("hot", "main")
OPENINGS = 5

WHAT = ("events", "streams", "open reservations")


async def growth(store: str, folder: Path, sizes: Sizes) -> Measures:
    """Measure every figure at every size, under names such as ``W6 events 1000``."""
    measures: Measures = {}
    for what in WHAT:
        place = folder / what.replace(" ", "-")
        place.mkdir()
        log, before = MemoryEventLog(), 0
        events = reservations(HOT) if what == "open reservations" else additions(HOT)
        for size in sizes["growth"]:
            async with _opened(store, place, log) as (inventory, _):
                if what == "streams":
                    await write_streams(inventory.store, first=before, streams=size - before, events_each=1)
                else:
                    await write(inventory.store, HOT, events, number=size - before)
            measures[f"W6 {what} {size}"] = await _measure(store, place, log, what, sizes)
            before = size
    return measures


async def _measure(store: str, place: Path, log: MemoryEventLog, what: str, sizes: Sizes) -> Measure:
    """Measure commands to a new product if streams grow, to the grown one otherwise. Its balances stay as they were."""
    gc.collect()
    product = "one" if what == "streams" else "hot"
    openings = [await _opening(store, place, log) for _ in range(OPENINGS)]
    async with _opened(store, place, log) as (inventory, _):
        if what == "streams":
            await inventory.add_stock(product, "main", PLENTY)
        started = time.perf_counter()
        hold = await inventory.reserve(product, "main", 1, ttl=TTL)
        first = time.perf_counter() - started
        await inventory.release(hold)
        waits: list[float] = []
        busy = time.process_time()
        for _ in range(sizes["steady"]):
            started = time.perf_counter()
            hold = await inventory.reserve(product, "main", 1, ttl=TTL)
            waits.append(time.perf_counter() - started)
            await inventory.release(hold)
        busy = time.process_time() - busy
        page = await _page_of_the_feed(inventory.store)
    return {
        "opening_us": statistics.median(openings) * 1e6,
        "first_command_us": first * 1e6,
        "command_us": statistics.median(waits) * 1e6,
        "command_busy_us": busy / len(waits) / 2 * 1e6,
        "feed_page_us": page * 1e6,
    }


async def _opening(store: str, place: Path, log: MemoryEventLog) -> float:
    async with _opened(store, place, log) as (_, seconds):
        return seconds


async def _page_of_the_feed(store: EventStore) -> float:
    """Read the newest hundred events as a subscriber does."""
    assert isinstance(store, EventFeed)
    head = await store.head()
    waits: list[float] = []
    for _ in range(20):
        started = time.perf_counter()
        await store.read_all(after=max(0, head - 100), limit=100)
        waits.append(time.perf_counter() - started)
    return statistics.median(waits)


@asynccontextmanager
async def _opened(store: str, place: Path, log: MemoryEventLog) -> AsyncIterator[tuple[InventoryService, float]]:
    """Return an opened service, and the seconds that opening took."""
    started = time.perf_counter()
    async with open_inventory(MemoryEventStore(log) if store == "memory" else url_of(store, place)) as inventory:
        yield inventory, time.perf_counter() - started
