"""The cases of the peers, held by a shop made by hand."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest

from benchmarks.measure import Measure
from benchmarks.peers.shop import PLENTY, Contender, GaveUpError, SoldOutError, in_threads
from benchmarks.sizes import TINY


class PlainShop:
    deadline = 0.0

    def __init__(self, *, spoils: int = 0) -> None:
        self.free: dict[str, int] = {}
        self.feed: list[str] = []
        self.lock = threading.Lock()
        self.spoils = spoils

    def open_stock(self, product_id: str, units: int, *, reservations: int = 0) -> None:
        self.free[product_id] = units - reservations

    def reserve(self, product_id: str) -> None:
        with self.lock:
            if self.free[product_id] == 0:
                raise SoldOutError
            self.free[product_id] -= 1 + self.spoils

    def reserve_and_commit(self, product_id: str) -> None:
        self.reserve(product_id)

    def run_callers(self, callers: int, calls: int, call: Callable[[int], Any], *, patience: float) -> tuple[Measure, int]:
        return in_threads(self, callers, calls, call, patience=patience)

    def write(self, product_id: str, events: int) -> None:
        self.feed += [product_id] * events

    def fold(self, product_id: str) -> int:
        return self.feed.count(product_id)

    def products_of_the_feed(self) -> Iterable[str]:
        return self.feed


@contextmanager
def plain(_: Path) -> Iterator[PlainShop]:
    yield PlainShop()


def test_every_case_runs(tmp_path: Path) -> None:
    contender = Contender(plain)
    assert set(contender.commands(tmp_path, TINY)) == {"W1", "W1c"}
    assert set(contender.hot(tmp_path, TINY)) == {"W3 1", "W3 64", "W3 pairs", "W3 sold out"}
    contender.prepare_log(tmp_path, TINY)
    assert set(contender.log(tmp_path, TINY)) == {"W2", "W4"}


def test_only_the_hot_product_has_been_reserved_before(tmp_path: Path) -> None:
    shop = PlainShop()
    Contender(lambda _: nullcontext(shop)).hot(tmp_path, TINY)
    reserved = TINY["history"] + TINY["hot"]
    assert {product: PLENTY - free for product, free in shop.free.items() if product != "sale"} == dict.fromkeys(
        ("hot-1", "hot-64", "pairs"), reserved
    )
    assert shop.free["sale"] == 0


def test_a_sale_that_sells_the_wrong_number_has_no_figure(tmp_path: Path) -> None:
    @contextmanager
    def spoilt(_: Path) -> Iterator[PlainShop]:
        shop = PlainShop(spoils=-1)
        yield shop

    with pytest.raises(RuntimeError, match="10 of 1 were sold"):
        Contender(spoilt).hot(tmp_path, TINY)


def test_a_failing_call_ends_the_case() -> None:
    shop = PlainShop()
    with pytest.raises(KeyError):
        in_threads(shop, 4, 100, lambda _: shop.reserve("unknown"), patience=60)


def test_a_call_that_gave_up_does_not_count() -> None:
    def give_up(number: int) -> None:
        if number >= 10:
            raise GaveUpError

    measure, sold = in_threads(PlainShop(), 1, 100, give_up, patience=60)
    assert (measure["calls"], sold) == (10, 10)


def test_a_case_ends_when_patience_does() -> None:
    shop = PlainShop()

    def late(number: int) -> None:
        if number == 3:
            shop.deadline = time.perf_counter()

    measure, _ = in_threads(shop, 1, 100, late, patience=60)
    assert measure["calls"] == 4
