"""Orders, transfers and what runs in threads of the host, without ``await``."""

import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from inventory_es.adapters.memory import MemoryCache, MemoryEventBus, MemoryEventStore
from inventory_es.adapters.system import SystemClock
from inventory_es.application.following.subscription import Pace
from inventory_es.errors import ProcessNotFoundError, StoreClosedError, UnsupportedCapabilityError
from inventory_es.processes import OrderStatus, PlaceOrder, TransferStatus
from inventory_es.sync import InventoryService, Orders, ProcessRunner, ReservationSweeper, Transfers, open_inventory

TTL = timedelta(minutes=15)


class Foreign(MemoryEventStore):
    """An asynchronous store that does not say that it serves threads."""


@pytest.fixture(params=["memory", "file", "sqlite", "foreign"])
def inventory(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[InventoryService]:
    stores: dict[str, Any] = {
        "memory": "memory:",
        "file": f"file:{tmp_path / 'stock'}",
        "sqlite": f"sqlite:{tmp_path / 'stock.db'}",
        "foreign": Foreign(),
    }
    rows = "memory:" if request.param == "memory" else f"sqlite:{tmp_path / 'rows.db'}"
    with open_inventory(stores[request.param], read_models=rows) as service:
        yield service


@contextmanager
def in_a_thread(run: Callable[[], object], stop: Callable[[], object]) -> Iterator[threading.Thread]:
    """Run until the block ends. It ends in time, and raises nothing."""
    problems: list[BaseException] = []

    def work() -> None:
        try:
            run()
        except BaseException as problem:  # noqa: BLE001  # raised below
            problems.append(problem)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield thread
    finally:
        stop()
        thread.join(30)
    assert not thread.is_alive()
    assert problems == []


def test_an_order_goes_its_way(inventory: InventoryService) -> None:
    inventory.add_stock("tea", "berlin", 5)
    inventory.add_stock("mug", "berlin", 1)
    orders = Orders(inventory)
    assert orders.order("O1").status is OrderStatus.NEW
    assert orders.reserve("O1", [("tea", "berlin", 2), ("mug", "berlin", 1)], ttl=TTL).status is OrderStatus.HELD
    assert orders.reserve("O2", [("mug", "berlin", 1)], ttl=TTL).status is OrderStatus.REJECTED
    assert orders.authorise_payment("O1", "P1").status is OrderStatus.FIRM
    assert orders.ship("O1", "S1").status is OrderStatus.DONE
    assert inventory.stock("tea", "berlin").on_hand == 3
    placed = [PlaceOrder(order_id=f"B{number}", lines=[("tea", "berlin", 1)], ttl=TTL) for number in range(5)]
    outcomes = list(orders.reserve_orders(placed, concurrency=2))
    assert [one.order_id for one in outcomes] == [f"B{number}" for number in range(5)]
    held = [one.order.status for one in outcomes if one.order is not None]
    assert sorted(one.value for one in held) == ["HELD"] * 3 + ["REJECTED"] * 2
    assert orders.cancel("B0").status is OrderStatus.CANCELLED
    with pytest.raises(ProcessNotFoundError):
        orders.advance("never placed")


def test_a_transfer_accounts_for_every_unit(inventory: InventoryService) -> None:
    inventory.add_stock("tea", "berlin", 5)
    transfers = Transfers(inventory)
    assert transfers.draft("T1", [("tea", 3)], source="berlin", destination="hamburg").status is TransferStatus.RESERVED
    assert transfers.dispatch("T1").status is TransferStatus.DISPATCHED
    transfers.receive("T1", "R1", [("tea", 1)])
    transfers.take_back("T1", "B1", [("tea", 1)])
    assert transfers.write_off("T1", "L1").status is TransferStatus.CLOSED
    assert transfers.transfer("T1").status is TransferStatus.CLOSED
    assert (inventory.stock("tea", "berlin").on_hand, inventory.stock("tea", "hamburg").on_hand) == (3, 1)


def test_what_follows_runs_in_threads_of_the_host_until_it_is_stopped(inventory: InventoryService) -> None:
    inventory.add_stock("tea", "berlin", 5)
    orders = Orders(inventory)
    runner = ProcessRunner(orders, owner="runner", patience=timedelta(0))
    sweeper = ReservationSweeper(inventory, owner="sweeper", pace=Pace(longest_wait=0.05))
    followers = inventory.followers
    with (
        in_a_thread(lambda: followers.run(on_failure="stop"), followers.stop),
        in_a_thread(runner.run, runner.stop),
        in_a_thread(sweeper.run, sweeper.stop),
    ):
        orders.reserve("O1", [("tea", "berlin", 2)], ttl=timedelta(milliseconds=30))
        held = inventory.reserve("tea", "berlin", 1, ttl=timedelta(milliseconds=30))
        rows = inventory.queries.stock("tea", "berlin", wait_for_position=held.position)
        assert rows is not None
        give_up = threading.Event()
        timer = threading.Timer(30, give_up.set)
        timer.start()
        while (orders.order("O1").status, inventory.reservation(held).status) != (OrderStatus.EXPIRED, "EXPIRED") and not give_up.is_set():
            give_up.wait(0.01)
        timer.cancel()
        assert orders.order("O1").status is OrderStatus.EXPIRED
        assert inventory.reservation(held).status == "EXPIRED"
        assert {one.state for one in followers.status()} == {"running"}
    assert sweeper.status.state == "stopped"
    runner.catch_up()
    assert not any(thread.name.startswith("inventory_es Followers") for thread in threading.enumerate())


def test_closing_ends_what_follows(inventory: InventoryService) -> None:
    inventory.add_stock("tea", "berlin", 5)
    with in_a_thread(lambda: inventory.followers.run(on_failure="stop"), inventory.close):
        assert inventory.queries.stock("tea", "berlin", wait_for_position=1) is not None
    with pytest.raises(StoreClosedError):
        inventory.stock("tea", "berlin")


def test_an_event_bus_and_a_cache_serve_threads() -> None:
    clock = SystemClock()
    bus, cache = MemoryEventBus(clock=clock), MemoryCache(clock=clock)
    with closing(open_inventory("memory:", read_models="memory:", bus=bus, cache=cache)) as inventory:
        followers = inventory.followers
        with in_a_thread(lambda: followers.run(on_failure="stop"), followers.stop):
            for number in range(20):
                done = inventory.add_stock("tea", "berlin", 1)
                row = inventory.queries.stock("tea", "berlin", wait_for_position=done.position)
                assert row is not None
                assert row.on_hand == number + 1
                assert inventory.queries.stock("tea", "berlin", wait_for_position=done.position) == row
        assert not any(thread.name == "inventory_es" for thread in threading.enumerate()), "no event loop"


def test_a_service_without_read_models_has_nothing_to_run() -> None:
    with open_inventory("memory:") as inventory, pytest.raises(UnsupportedCapabilityError, match="query side"):
        ReservationSweeper(inventory, owner="sweeper").run()
