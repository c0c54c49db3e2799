"""The job of every peer, and the cases that measure it. Uses only the standard library."""

import threading
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Protocol

from benchmarks.contender_process import serve
from benchmarks.measure import Measure, Measures, of_calls
from benchmarks.sizes import Sizes

PLENTY = 10**9
MOST_CALLERS = 64


class SoldOutError(Exception):
    """Too few units available."""


class GaveUpError(Exception):
    """The end of a case before a conflict was resolved. The call does not count."""


class Shop(Protocol):
    """A host's code around a library, over one store. Calls return their result, or an awaitable."""

    deadline: float
    """Of the monotonic clock: when to give up trying again."""

    def open_stock(self, product_id: str, units: int, *, reservations: int = 0) -> None:
        """Write a new stream in one save: its first units, and a number of reservations of one unit each."""

    def reserve(self, product_id: str) -> Any:
        """Load, decide and append. Start again on a conflict."""

    def reserve_and_commit(self, product_id: str) -> Any:
        """Reserve, then commit."""

    def run_callers(self, callers: int, calls: int, call: Callable[[int], Any], *, patience: float) -> tuple[Measure, int]:
        """Make up to ``calls`` calls with a number of callers, for at most ``patience`` seconds. Return also how many were not sold out."""

    def write(self, product_id: str, events: int) -> None:
        """Write a stream of a number of events."""

    def fold(self, product_id: str) -> int:
        """Load a stream from the store alone, and return the number of its events."""

    def products_of_the_feed(self) -> Iterable[str]:
        """Yield the product of every event of the store, decoded, in order."""


def in_threads(shop: Shop, callers: int, calls: int, call: Callable[[int], Any], *, patience: float) -> tuple[Measure, int]:
    """Run callers in threads: :meth:`Shop.run_callers` for libraries without an event loop."""
    numbers = count()
    waits: list[float] = []
    refused: list[int] = []
    problems: list[Exception] = []
    started = time.perf_counter()
    shop.deadline = started + patience

    def caller() -> None:
        while (number := next(numbers)) < calls and (before := time.perf_counter()) < shop.deadline and not problems:
            try:
                call(number)
            except SoldOutError:
                refused.append(number)
            except GaveUpError:
                return
            except Exception as problem:  # noqa: BLE001  # raised below, in the thread that asked
                problems.append(problem)
            waits.append(time.perf_counter() - before)

    threads = [threading.Thread(target=caller) for _ in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if problems:
        raise problems[0]
    return of_calls(waits, time.perf_counter() - started), len(waits) - len(refused)


def _reserve(shop: Shop, product_id: str, _: int) -> Any:
    return shop.reserve(product_id)


class Contender:
    """A server of the tasks of one peer.

    Args:
        open_shop: opens the peer's store in a folder.
    """

    def __init__(self, open_shop: Callable[[Path], AbstractContextManager[Shop]]) -> None:
        self._open_shop = open_shop
        self._open = ExitStack()
        self._kept: dict[str, Shop] = {}

    def serve(self) -> None:
        """Serve until the other side closes."""
        with self._open:
            serve({"commands": self.commands, "hot": self.hot, "prepare_log": self.prepare_log, "log": self.log})

    def commands(self, folder: Path, sizes: Sizes) -> Measures:
        """Measure W1 and W1c."""
        with self._open_shop(folder) as shop:
            for at in range(sizes["inventories"]):
                shop.open_stock(f"p{at}", PLENTY)

            def reserve(number: int) -> Any:
                return shop.reserve(f"p{number % sizes['inventories']}")

            one, _ = shop.run_callers(1, sizes["one_caller"], reserve, patience=sizes["patience"])
            many, _ = shop.run_callers(MOST_CALLERS, sizes["many_callers"], reserve, patience=sizes["patience"])
        return {"W1": one, "W1c": many}

    def hot(self, folder: Path, sizes: Sizes) -> Measures:
        """Measure W3: one product."""
        with self._open_shop(folder) as shop:
            measures: Measures = {}
            for callers in [one for one in sizes["callers"] if one <= MOST_CALLERS]:
                product = f"hot-{callers}"
                shop.open_stock(product, PLENTY, reservations=sizes["history"])
                measures[f"W3 {callers}"], _ = shop.run_callers(
                    callers, sizes["hot"], partial(_reserve, shop, product), patience=sizes["patience"]
                )
            shop.open_stock("pairs", PLENTY, reservations=sizes["history"])
            measures["W3 pairs"], _ = shop.run_callers(
                MOST_CALLERS, sizes["hot"], lambda _: shop.reserve_and_commit("pairs"), patience=sizes["patience"]
            )
            units = max(1, sizes["sale"] // 50)
            shop.open_stock("sale", units)
            measures["W3 sold out"], sold = shop.run_callers(MOST_CALLERS, units * 10, lambda _: shop.reserve("sale"), patience=60)
            if sold != units:
                msg = f"{sold} of {units} were sold"
                raise RuntimeError(msg)
        return measures

    def prepare_log(self, folder: Path, sizes: Sizes) -> Measures:
        """Write the stores that :meth:`log` reads."""
        for name in ("long", "feed"):
            (folder / name).mkdir()
            self._kept[name] = self._open.enter_context(self._open_shop(folder / name))
        self._kept["long"].write("long", sizes["long_stream"])
        for at in range(sizes["feed"] // 100):
            self._kept["feed"].write(f"p{at}", 100)
        return {}

    def log(self, _: Path, sizes: Sizes) -> Measures:
        """Measure W2 and W4."""
        started = time.perf_counter()
        folded = self._kept["long"].fold("long")
        of_fold = {"per_second": folded / (time.perf_counter() - started)}
        started = time.perf_counter()
        counts: dict[str, int] = {}
        for product_id in self._kept["feed"].products_of_the_feed():
            counts[product_id] = counts.get(product_id, 0) + 1
        of_feed = {"per_second": sum(counts.values()) / (time.perf_counter() - started)}
        if folded != sizes["long_stream"] or sum(counts.values()) != sizes["feed"]:
            msg = f"{folded} events were folded and {sum(counts.values())} counted"
            raise RuntimeError(msg)
        return {"W2": of_fold, "W4": of_feed}
