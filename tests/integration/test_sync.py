"""``inventory_es.sync`` where its users are: threads, forked workers, a notebook's running loop."""

import os
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import anyio
import pytest

from inventory_es import HandlerSettings, InsufficientStockError, StockView, command_context
from inventory_es.commands import Command
from inventory_es.errors import StoreClosedError
from inventory_es.sync import InventoryService, open_inventory

THREADS = 32


def in_a_child(check: Callable[[], object]) -> None:
    """Run ``check`` in a forked child and fail with what it raised."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        problem = ""
        try:
            check()
        except BaseException as error:  # noqa: BLE001  # whatever it is, the parent reports it
            problem = repr(error)
        os.write(writing, problem.encode())
        os._exit(0)
    os.close(writing)
    _, status = os.waitpid(child, 0)
    with os.fdopen(reading) as told:
        problem = told.read()
    assert status == 0
    assert problem == ""


def sell_out(inventory: InventoryService, buyers: int) -> tuple[int, int]:
    def buy(_buyer: int) -> bool:
        try:
            inventory.reserve("hot", "berlin", 1, ttl=timedelta(minutes=5))
        except InsufficientStockError:
            return False
        return True

    with ThreadPoolExecutor(THREADS) as pool:
        bought = list(pool.map(buy, range(buyers)))
    return bought.count(True), bought.count(False)


def test_thirty_two_threads_share_one_service_and_never_oversell(tmp_path: Path) -> None:
    with open_inventory(f"file:{tmp_path / 'stock'}") as inventory:
        inventory.add_stock("hot", "berlin", 100)
        assert sell_out(inventory, 400) == (100, 300)
        level = inventory.stock("hot", "berlin")
        assert (level.on_hand, level.reserved, level.available, level.version) == (100, 100, 0, 101)


def test_nothing_is_opened_before_the_first_call(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    inventory = open_inventory(f"file:{tmp_path / 'stock'}")
    assert set(threading.enumerate()) <= before
    assert not (tmp_path / "stock").exists()
    inventory.close()


def test_a_service_from_before_the_fork_works_in_the_child_and_in_the_parent(tmp_path: Path) -> None:
    inventory = open_inventory(f"file:{tmp_path / 'stock'}")
    inventory.add_stock("tea", "berlin", 5)

    def sell_one() -> None:
        inventory.commit(inventory.reserve("tea", "berlin", 1, ttl=None))
        inventory.close()

    in_a_child(sell_one)
    assert inventory.stock("tea", "berlin").on_hand == 4
    inventory.close()


def test_a_memory_store_does_not_come_through_a_fork_as_an_empty_one() -> None:
    inventory = open_inventory("memory:")
    inventory.add_stock("tea", "berlin", 5)

    def look() -> None:
        with pytest.raises(StoreClosedError, match="before the fork"):
            inventory.stock("tea", "berlin")

    in_a_child(look)
    assert inventory.stock("tea", "berlin").on_hand == 5
    inventory.close()


def test_it_works_inside_a_running_event_loop(backend: str) -> None:
    async def notebook() -> int:
        with open_inventory("memory:") as inventory:
            inventory.add_stock("tea", "berlin", 5)
            return inventory.stock("tea", "berlin").on_hand

    assert anyio.run(notebook, backend=backend) == 5


def test_iteration_and_context_reach_through() -> None:
    with open_inventory("memory:") as inventory, command_context(actor_id="agent-7", correlation_id="cart-9"):
        for _ in range(1_203):
            inventory.add_stock("tea", "berlin", 1)
        history = list(inventory.history("tea", "berlin"))
        assert [entry.version for entry in history] == list(range(1, 1_204))
        assert {(entry.metadata.actor_id, entry.metadata.correlation_id) for entry in history} == {("agent-7", "cart-9")}
        assert [event.position for event in inventory.feed(after=1_200)] == [1_201, 1_202, 1_203]


def test_a_policy_that_calls_back_is_told_that_it_would_wait_for_itself() -> None:
    def nosy(view: StockView, _command: Command, _at: datetime) -> None:
        inventory.stock(view.inventory_id.product_id, view.inventory_id.store_id)

    with open_inventory("memory:", policies=[nosy]) as inventory, pytest.raises(RuntimeError, match="wait for itself"):
        inventory.add_stock("tea", "berlin", 1)


def test_closed_means_closed() -> None:
    inventory = open_inventory("memory:")
    inventory.add_stock("tea", "berlin", 1)
    inventory.close()
    inventory.close()
    with pytest.raises(StoreClosedError):
        inventory.stock("tea", "berlin")


def test_a_wrong_url_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="'file:stock'"):
        open_inventory("file://stock")


def test_snapshots_are_kept_without_await(tmp_path: Path) -> None:
    settings = HandlerSettings(warm_inventories=0, snapshot_after=2)
    snapshots = f"sqlite:{tmp_path / 'snapshots.db'}"
    for opening in (1, 2):
        with open_inventory(tmp_path / "stock", snapshots=snapshots, settings=settings) as inventory:
            for _ in range(4):
                inventory.add_stock("tea", "berlin", 1)
            assert inventory.stock("tea", "berlin").on_hand == 4 * opening
    with closing(sqlite3.connect(tmp_path / "snapshots.db")) as kept:
        assert kept.execute("SELECT stream, version FROM snapshots").fetchall() == [("inventory-tea-berlin", 6)]
