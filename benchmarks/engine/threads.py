"""W1, W1c and W3 through the synchronous service: callers are threads, as in a host without an event loop."""

import threading
import time
from collections.abc import Callable, Coroutine
from itertools import count
from pathlib import Path
from typing import Any, cast

from benchmarks.engine.commands import PLENTY, TTL
from benchmarks.engine.history import reservations, write
from benchmarks.engine.limits import limits_of
from benchmarks.engine.store_url import url_of
from benchmarks.measure import Measure, Measures, of_calls
from benchmarks.sizes import Sizes
from inventory_es import InsufficientStockError, InventoryId
from inventory_es.ports.toolkit.waiting import run_to_end
from inventory_es.sync import InventoryService, open_inventory


def commands(store: str, folder: Path, sizes: Sizes) -> Measures:
    """Measure W1 with the limits of the machine, then W1c with 32 and 64 threads."""
    with open_inventory(url_of(store, folder)) as inventory:
        for at in range(sizes["inventories"]):
            inventory.add_stock(f"p{at}", "main", PLENTY)

        def reserve(number: int) -> None:
            inventory.reserve(f"p{number % sizes['inventories']}", "main", 1, ttl=TTL)

        measures = _one_caller(reserve, store, folder, sizes)
        for case, threads in (("W1c 32", 32), ("W1c", 64)):
            measures[case] = in_threads(threads, sizes["many_callers"], reserve, patience=sizes["patience"])
    return measures


def hot(store: str, folder: Path, sizes: Sizes) -> Measures:
    """Measure W3 with more and more threads, the same followed by a commit, and a sale that sells out."""
    measures: Measures = {}
    with open_inventory(url_of(store, folder)) as inventory:
        for threads in sizes["threads"]:
            product = f"hot-{threads}"
            _reserved_before(inventory, product, sizes)

            def reserve(_: int, product: str = product) -> None:
                inventory.reserve(product, "main", 1, ttl=TTL)

            measures[f"W3 {threads}"] = in_threads(threads, sizes["hot"], reserve, patience=sizes["patience"])
        _reserved_before(inventory, "pairs", sizes)
        measures["W3 pairs"] = in_threads(
            64,
            sizes["hot"] // 2,
            lambda _: inventory.commit(inventory.reserve("pairs", "main", 1, ttl=TTL)),
            patience=sizes["patience"],
        )
        measures["W3 sold out"] = _sold_out(inventory, sizes)
    return measures


def in_threads(callers: int, calls: int, call: Callable[[int], object], *, patience: float) -> Measure:
    """Make up to ``calls`` calls in ``callers`` threads, for at most ``patience`` seconds."""
    numbers = count()
    waits: list[float] = []
    problems: list[Exception] = []
    started = time.perf_counter()
    deadline = started + patience

    def caller() -> None:
        try:
            while (number := next(numbers)) < calls and (before := time.perf_counter()) < deadline and not problems:
                call(number)
                waits.append(time.perf_counter() - before)
        except Exception as problem:  # noqa: BLE001  # raised below, in the thread that asked
            problems.append(problem)

    threads = [threading.Thread(target=caller) for _ in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if problems:
        raise problems[0]
    return of_calls(waits, time.perf_counter() - started)


def _one_caller(reserve: Callable[[int], None], store: str, folder: Path, sizes: Sizes) -> Measures:
    """Measure a command and each limit in turn, as the asynchronous contenders do. A thread hop is no limit here."""
    with limits_of(store, folder) as limits:
        here = {name: limit for name, limit in limits.items() if "thread hop" not in name}
        waits: dict[str, list[float]] = {"W1": [], **{f"limit {name}": [] for name in here}}
        deadline = time.perf_counter() + sizes["patience"] * (1 + len(here))
        for number in range(sizes["one_caller"]):
            before = time.perf_counter()
            reserve(number)
            after = time.perf_counter()
            waits["W1"].append(after - before)
            for name, limit in here.items():
                before = time.perf_counter()
                run_to_end(cast("Coroutine[Any, Any, object]", limit()))
                after = time.perf_counter()
                waits[f"limit {name}"].append(after - before)
            if after > deadline:
                break
    return {name: of_calls(one, sum(one)) for name, one in waits.items()}


def _reserved_before(inventory: InventoryService, product: str, sizes: Sizes) -> None:
    """Write the history past the service, so that the first command of the case loads it."""
    inventory_id = InventoryId(product, "main")
    number = 1 + sizes["history"]
    inventory._call(lambda service: write(service.store, inventory_id, reservations(inventory_id), number=number))  # noqa: SLF001  # past it


def _sold_out(inventory: InventoryService, sizes: Sizes) -> Measure:
    """Sell out with 64 threads, and ten commands per unit: 90 % are refused, and exactly the stock is sold."""
    units = sizes["sale"]
    inventory.add_stock("sale", "main", units)
    sold: list[int] = []

    def buy(number: int) -> None:
        try:
            inventory.reserve("sale", "main", 1, ttl=TTL)
        except InsufficientStockError:
            return
        sold.append(number)

    measure = in_threads(64, units * 10, buy, patience=60)
    if len(sold) != units or inventory.stock("sale", "main").available:
        msg = f"{len(sold)} of {units} were sold"
        raise RuntimeError(msg)
    return measure
