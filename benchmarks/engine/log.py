"""W2 and W4: one long stream read, decoded and folded; the feed of many products, counted and projected."""

import json
import time
from collections import Counter
from pathlib import Path

from benchmarks.engine.history import CODEC, additions, write, write_streams
from benchmarks.engine.store_url import url_of
from benchmarks.measure import Measure, Measures
from benchmarks.sizes import Sizes
from inventory_es import InventoryId, InventoryService, open_inventory
from inventory_es.adapters.memory import MemoryEventLog, MemoryEventStore, MemoryReadModel
from inventory_es.adapters.system import SystemClock
from inventory_es.application.following.runner import ProjectionRunner
from inventory_es.application.projections import stock_levels
from inventory_es.domain.events import StockAddedEvent
from inventory_es.ports import EventFeed, EventStore

LONG = InventoryId("long", "main")


class Logs:
    """The stores that the log cases read, written once. A store in memory is kept, because nothing else holds it.

    Args:
        store: the kind of the store.
    """

    def __init__(self, store: str) -> None:
        self._store = store
        self._in_memory: dict[str, MemoryEventLog] = {}

    async def prepare(self, folder: Path, sizes: Sizes) -> Measures:
        """Write the stores."""
        for name in ("long", "feed"):
            (folder / name).mkdir()
            async with self._open(folder, name) as inventory:
                if name == "long":
                    await write(inventory.store, LONG, additions(LONG), number=sizes["long_stream"])
                else:
                    await write_streams(inventory.store, first=0, streams=sizes["feed"] // 100, events_each=100)
        return {}

    async def read(self, folder: Path, sizes: Sizes) -> Measures:
        """Measure W2 on a service that has just been opened, decoding alone, and then W4."""
        async with self._open(folder, "long") as inventory:
            started = time.perf_counter()
            level = await inventory.stock("long", "main")
            folded = level.version / (time.perf_counter() - started)
            alone = await _decoding(inventory.store, sizes["long_stream"])
        async with self._open(folder, "feed") as inventory:
            counted = await _count(inventory.store)
            projected = await _project(inventory.store)
        if level.on_hand != sizes["long_stream"] or counted["events"] != sizes["feed"]:
            msg = f"{level} and {counted} are not all of it"
            raise RuntimeError(msg)
        return {"W2": {"per_second": folded}, "W4": counted, "W4 projection": projected} | alone

    def _open(self, folder: Path, name: str) -> InventoryService:
        if self._store == "memory":
            return open_inventory(MemoryEventStore(self._in_memory.setdefault(name, MemoryEventLog())))
        return open_inventory(url_of(self._store, folder / name))


async def _count(store: EventStore) -> Measure:
    feed = _feed_of(store)
    counts: Counter[str] = Counter()
    after, is_end = 0, False
    started = time.perf_counter()
    while not is_end:
        page = await feed.read_all(after=after, limit=2_000)
        counts.update(event.product_id for event in CODEC.decode_many(page.events))
        after, is_end = page.next_after, page.is_end
    events = sum(counts.values())
    return {"per_second": events / (time.perf_counter() - started), "events": events}


async def _project(store: EventStore) -> Measure:
    feed = _feed_of(store)
    events = await feed.head()
    runner = ProjectionRunner(
        stock_levels(), feed=feed, read_model=MemoryReadModel(), codec=CODEC, clock=SystemClock(), owner="benchmark", on_failure="stop"
    )
    started = time.perf_counter()
    await runner.catch_up()
    return {"per_second": events / (time.perf_counter() - started)}


async def _decoding(store: EventStore, events: int) -> Measures:
    """Measure decoding alone: the standard library's ``json`` with the class's constructor, and our codec over the same events.

    Each event of the long stream is decoded once, and read before the clock starts.
    """
    encoded = CODEC.encode(next(additions(LONG)))
    started = time.perf_counter()
    for _ in range(events):
        StockAddedEvent(**json.loads(encoded.data))
    plain = time.perf_counter() - started
    ours, version = 0.0, 0
    while version < events:
        page = list((await store.read_stream(LONG.stream, after=version, limit=2_000)).events)
        version += len(page)
        started = time.perf_counter()
        for recorded in page:
            CODEC.decode(recorded)
        ours += time.perf_counter() - started
    return {"limit json + constructor": {"per_second": events / plain}, "limit codec alone": {"per_second": events / ours}}


def _feed_of(store: EventStore) -> EventFeed:
    assert isinstance(store, EventFeed)
    return store
