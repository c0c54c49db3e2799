"""The cost of a stock query in process: from the stream, from the read model, and from the cache.

Each kind takes its turn over the same hundred inventories. The medians are of one process, on one event loop, with nothing else running.
"""

import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from benchmarks.measure import Measures, of_calls
from benchmarks.sizes import Sizes
from inventory_es import open_inventory
from inventory_es.adapters.memory import MemoryCache
from inventory_es.adapters.system import SystemClock

INVENTORIES = 100
EVENTS = 20
ROUND = 500


async def queries(_folder: Path, sizes: Sizes) -> Measures:
    """Measure the queries, under ``query of stock, …``."""
    return {f"query of {kind}": of_calls(taken, sum(taken)) for kind, taken in (await _ask(sizes["queries"])).items()}


async def _ask(repeats: int) -> dict[str, list[float]]:
    cache = MemoryCache(clock=SystemClock())
    async with (
        open_inventory("memory:") as writer,
        open_inventory(writer.store, read_models="memory:") as plain,
        open_inventory(writer.store, read_models="memory:", cache=cache) as cached,
    ):
        products = [f"product-{number}" for number in range(INVENTORIES)]
        for product in products:
            for _ in range(EVENTS):
                await writer.add_stock(product, "berlin", 1)
        for inventory in (plain, cached):
            await inventory.followers.catch_up(on_failure="stop")
        kinds: dict[str, Callable[[str, str], Awaitable[object]]] = {
            "stock, from the stream": writer.stock,
            "stock, from the read model": plain.queries.stock,
            "stock, from the cache": cached.queries.stock,
        }
        taken: dict[str, list[float]] = {kind: [] for kind in kinds}
        for _ in range(max(1, repeats // ROUND)):
            for kind, ask in kinds.items():
                for number in range(ROUND):
                    product = products[number % INVENTORIES]
                    began = time.perf_counter()
                    await ask(product, "berlin")
                    taken[kind].append(time.perf_counter() - began)
        return taken
