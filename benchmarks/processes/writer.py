"""A measured process, one of several that write to one store. It starts on a line of input, ends by itself, and prints its figures.

python -m benchmarks.processes.writer URL '{"callers": 8, "products": 1000, "hot": 0.2, "seconds": 1.0, …}'
"""

import json
import sys
import time
from contextlib import AsyncExitStack
from datetime import timedelta
from random import Random
from typing import Any, TypedDict

import anyio

from benchmarks.measure import quantile
from benchmarks.processes.routing import owner_of
from inventory_es import ConcurrencyError, HandlerSettings, InventoryService, open_inventory
from inventory_es.adapters.postgresql import open_postgresql_event_store
from inventory_es.application.observers import CommandFinished
from inventory_es.ports.toolkit.forwarding import forward

TTL = timedelta(minutes=5)


class Plan(TypedDict):
    """The plan of a process.

    Keys:
        process: number of the process, starting at 0.
        processes: number of processes.
        way: ``free``, ``lanes``, ``racing`` or ``routed``; see ``Way``. A routed process sends only commands for its own products.
        callers: number of callers of this process.
        products: number of products.
        hot: share of the commands for the first product.
        seconds: duration.
    """

    process: int
    processes: int
    way: str
    callers: int
    products: int
    hot: float
    seconds: float


class Watch:
    """An observer that counts how often commands were decided."""

    def __init__(self) -> None:
        self.decided = 0

    def command_finished(self, record: CommandFinished) -> None:
        """Count the decisions of a command."""
        self.decided += record.attempts


async def write(url: str, plan: Plan) -> None:
    """Open the store, wait for the start, write, and print the figures."""
    watch = Watch()
    settings = HandlerSettings(lanes=plan["way"] != "free")
    async with AsyncExitStack() as opened:
        place: Any = url
        if plan["way"] == "racing":
            place = without_turns(await opened.enter_async_context(open_postgresql_event_store(url)))
        inventory = await opened.enter_async_context(open_inventory(place, observers=[watch], settings=settings))
        print("ready", flush=True)
        sys.stdin.readline()
        waits, failed, busy = await _reserve(inventory, plan)
    told = {"accepted": len(waits), "failed": failed, "decided": watch.decided, "busy": busy}
    print(json.dumps(told | {"p50_us": quantile(waits, 50), "p99_us": quantile(waits, 99)}), flush=True)


def without_turns(store: object) -> Any:
    """Return the store without its turns."""
    racing = forward(store, lambda _, call: call(), name="RacingStore")
    del type(racing).turn
    return racing


async def _reserve(inventory: InventoryService, plan: Plan) -> tuple[list[float], int, float]:
    names = [f"process-{number}" for number in range(plan["processes"])]
    own = range(plan["products"])
    if plan["way"] == "routed":
        own_name = names[plan["process"]]
        products = [number for number in own if owner_of(str(number), names) == own_name]
    else:
        products = list(own)
    waits: list[float] = []
    failed = 0
    deadline = time.perf_counter() + plan["seconds"]

    async def caller(number: int) -> None:
        nonlocal failed
        chance = Random(plan["process"] * 1_000 + number)
        while (before := time.perf_counter()) < deadline:
            product = 0 if chance.random() < plan["hot"] else chance.choice(products)
            try:
                await inventory.reserve(f"p{product}", "main", 1, ttl=TTL)
            except ConcurrencyError:
                failed += 1
            else:
                waits.append(time.perf_counter() - before)

    busy = time.process_time()
    async with anyio.create_task_group() as group:
        for number in range(plan["callers"]):
            group.start_soon(caller, number)
    return waits, failed, time.process_time() - busy


if __name__ == "__main__":
    anyio.run(write, sys.argv[1], json.loads(sys.argv[2]))
