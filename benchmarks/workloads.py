"""How fast the engine is under the loads that hurt, over each store, in one run.

    python benchmarks/workloads.py [--stores memory file sqlite] [--backends asyncio trio] [--rounds 5] [--json]

    W1   one caller, reservations over 1,000 inventories, one after the other
    W1c  64 callers, reservations over 1,000 inventories
    W2   decode and fold one stream of 100,000 events
    W3   64 (and 512) callers reserve one unit each of ONE product, again and again
    W3s  1,000 callers want the last 1,000 units of one product, ten times over: answers a second, sold exactly once
    W4   the whole feed, decoded, into a count per product

Everything is the real path: validated, idempotent, durable before it is acknowledged (but for memory, which is not durable at
all). Medians; figures of one run are comparable with one another, those of different runs are not.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import anyio

from inventory_es import InsufficientStockError, InventoryId, InventoryService, StreamWrite, open_inventory
from inventory_es.adapters.serialization import JsonEventCodec
from inventory_es.adapters.system import SystemClock
from inventory_es.application.stream_reader import StreamReader
from inventory_es.domain.events import StockAddedEvent
from inventory_es.domain.reasons import AddReason
from inventory_es.ports import EventFeed, NewEvent

TTL = timedelta(minutes=5)
INVENTORIES = 1_000
PLENTY = 10**9
LONG_STREAM = 100_000
CODEC = JsonEventCodec()

Measured = dict[str, float]


async def in_turn(callers: int, calls: int, call: Callable[[int], Awaitable[object]]) -> tuple[float, list[float]]:
    """``calls`` calls, shared by ``callers`` tasks; calls a second, and the seconds that each took."""
    waits: list[float] = []
    left = iter(range(calls))

    async def caller() -> None:
        for number in left:
            started = time.perf_counter()
            await call(number)
            waits.append(time.perf_counter() - started)

    started = time.perf_counter()
    async with anyio.create_task_group() as group:
        for _ in range(callers):
            group.start_soon(caller)
    return calls / (time.perf_counter() - started), waits


async def stocked(inventory: InventoryService) -> None:
    for start in range(0, INVENTORIES, 100):
        async with anyio.create_task_group() as group:
            for at in range(start, start + 100):
                group.start_soon(inventory.add_stock, f"p{at}", "main", PLENTY)


def spread(name: str, callers: int, calls: int) -> Callable[[InventoryService], Awaitable[Measured]]:
    async def measure(inventory: InventoryService) -> Measured:
        await stocked(inventory)
        rate, waits = await in_turn(callers, calls, lambda n: inventory.reserve(f"p{n % INVENTORIES}", "main", 1, ttl=TTL))
        return {f"{name} commands/s": rate, f"{name} p50 µs": statistics.median(waits) * 1e6}

    return measure


def hot(callers: int, calls: int) -> Callable[[InventoryService], Awaitable[Measured]]:
    async def measure(inventory: InventoryService) -> Measured:
        await inventory.add_stock("hot", "main", PLENTY)
        rate, waits = await in_turn(callers, calls, lambda _: inventory.reserve("hot", "main", 1, ttl=TTL))
        p99 = statistics.quantiles(waits, n=100)[98]
        return {f"W3 {callers} callers reservations/s": rate, f"W3 {callers} callers p99 ms": p99 * 1e3}

    return measure


async def sold_out(inventory: InventoryService) -> Measured:
    await inventory.add_stock("hot", "main", 1_000)
    sold: list[int] = []

    async def buy(number: int) -> None:
        try:
            await inventory.reserve("hot", "main", 1, ttl=TTL)
        except InsufficientStockError:
            return
        sold.append(number)

    rate, _ = await in_turn(1_000, 10_000, buy)
    if len(sold) != 1_000:
        msg = f"oversold or undersold: {len(sold)} of 1000"
        raise RuntimeError(msg)
    return {"W3s answers/s": rate}


async def long_stream(inventory: InventoryService) -> Measured:
    inventory_id = InventoryId("long", "main")
    for start in range(0, LONG_STREAM, 1_000):
        events: list[NewEvent] = []
        for at in range(start + 1, start + 1_001):
            encoded = CODEC.encode(StockAddedEvent("long", "main", 1, AddReason.RECEIVED, at, 0))
            ids = f"{at:032x}"
            events.append(NewEvent(UUID(ids), encoded.event_type, encoded.schema_version, SystemClock().now(), encoded.data))
        await inventory.store.append([StreamWrite(inventory_id.stream, start, events)])
    started = time.perf_counter()
    await StreamReader(inventory.store, CODEC).load(inventory_id)
    folded = LONG_STREAM / (time.perf_counter() - started)
    store, counts, after, is_end = inventory.store, Counter[str](), 0, False
    if not isinstance(store, EventFeed):
        return {"W2 events/s": folded}
    started = time.perf_counter()
    while not is_end:
        page = await store.read_all(after=after, limit=2_000)
        for recorded in page.events:
            counts[CODEC.decode(recorded).product_id] += 1
        after, is_end = page.next_after, page.is_end
    return {"W2 events/s": folded, "W4 events/s": sum(counts.values()) / (time.perf_counter() - started)}


WORKLOADS: tuple[Callable[[InventoryService], Awaitable[Measured]], ...] = (
    spread("W1", 1, 1_000),
    spread("W1c", 64, 10_000),
    long_stream,
    hot(64, 20_000),
    hot(512, 20_000),
    sold_out,
)


def measure_store(store: str, backend: str, rounds: int) -> Measured:
    """The medians of every workload over fresh stores."""
    seen: dict[str, list[float]] = {}
    for _ in range(rounds):
        for workload in WORKLOADS:
            with tempfile.TemporaryDirectory() as folder:
                url = {"memory": "memory:", "file": f"file:{Path(folder) / 'stock'}", "sqlite": f"sqlite:{Path(folder) / 'stock.db'}"}[
                    store
                ]
                for name, value in anyio.run(run, url, workload, backend=backend).items():
                    seen.setdefault(name, []).append(value)
    return {name: statistics.median(values) for name, values in seen.items()}


async def run(url: str, workload: Callable[[InventoryService], Awaitable[Measured]]) -> Measured:
    async with open_inventory(url) as inventory:
        return await workload(inventory)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stores", nargs="+", choices=["memory", "file", "sqlite"], default=["memory", "file", "sqlite"])
    parser.add_argument("--backends", nargs="+", choices=["asyncio", "trio"], default=["asyncio", "trio"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    columns = {
        f"{store} {backend}": measure_store(store, backend, arguments.rounds)
        for store in arguments.stores
        for backend in arguments.backends
    }
    if arguments.json:
        print(json.dumps(columns))
        return
    print(" " * 30, *(f"{column:>15}" for column in columns))
    for name in next(iter(columns.values())):
        print(f"{name:30}", *(f"{column[name]:15,.0f}" for column in columns.values()))


if __name__ == "__main__":
    main()
