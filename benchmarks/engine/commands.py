"""W1 and W1c: reservations over many inventories, by one caller and by 64."""

import time
from datetime import timedelta
from pathlib import Path

import anyio

from benchmarks.engine.callers import in_tasks
from benchmarks.engine.limits import limits_of
from benchmarks.engine.store_url import url_of
from benchmarks.measure import Measures, of_calls
from benchmarks.sizes import Sizes
from inventory_es import InventoryService, open_inventory

TTL = timedelta(minutes=5)
PLENTY = 10**9


async def commands(store: str, folder: Path, sizes: Sizes) -> Measures:
    """Measure W1 with the limits of the machine, then W1c."""
    async with open_inventory(url_of(store, folder)) as inventory:
        async with anyio.create_task_group() as group:
            for at in range(sizes["inventories"]):
                group.start_soon(inventory.add_stock, f"p{at}", "main", PLENTY)
        measures = await _one_caller(inventory, store, folder, sizes)
        many = await in_tasks(
            64,
            sizes["many_callers"],
            lambda number: inventory.reserve(f"p{number % sizes['inventories']}", "main", 1, ttl=TTL),
            patience=sizes["patience"],
        )
    return measures | {"W1c": many}


async def _one_caller(inventory: InventoryService, store: str, folder: Path, sizes: Sizes) -> Measures:
    """Measure a command and each limit in turn, so that no rate of W1 includes the time of a limit."""
    with limits_of(store, folder) as limits:
        waits: dict[str, list[float]] = {"W1": [], **{f"limit {name}": [] for name in limits}}
        deadline = time.perf_counter() + sizes["patience"] * (1 + len(limits))
        for number in range(sizes["one_caller"]):
            before = time.perf_counter()
            await inventory.reserve(f"p{number % sizes['inventories']}", "main", 1, ttl=TTL)
            after = time.perf_counter()
            waits["W1"].append(after - before)
            for name, limit in limits.items():
                before = time.perf_counter()
                await limit()
                after = time.perf_counter()
                waits[f"limit {name}"].append(after - before)
            if after > deadline:
                break
    return {name: of_calls(one, sum(one)) for name, one in waits.items()}
