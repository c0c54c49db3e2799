"""The synchronous service in its hosts: a store of their own, a notebook, forks, gevent."""

import gc
import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import anyio
import pytest

from inventory_es import InsufficientStockError, StockView
from inventory_es import open_inventory as open_async
from inventory_es.adapters.memory import MemoryEventLog
from inventory_es.commands import Command
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import AppendResult, RecordedEvent, StoreCapabilities, StreamPage, StreamWrite
from inventory_es.ports.toolkit.append_rules import check_append
from inventory_es.sync import open_inventory
from inventory_es.sync.engine import close_all
from tests.integration.test_lanes_of_threads import together
from tests.integration.test_sync import in_a_child

TTL = timedelta(minutes=15)


class Shelf:
    """A synchronous store of a host, with nothing but the plain methods."""

    capabilities = StoreCapabilities(settles_within=0.0, multi_stream=True)

    def __init__(self) -> None:
        self._log = MemoryEventLog()
        self.is_closed = False
        self.at_once = 0

    def append(self, writes: Sequence[StreamWrite], /) -> AppendResult:
        self.at_once += 1
        assert self.at_once == 1, "one call at a time"
        check_append(writes, self.capabilities, store="Shelf")
        result = self._log.append(writes)
        self.at_once -= 1
        return result

    def read_stream(self, stream: StreamId, /, *, after: int = 0, limit: int) -> StreamPage:
        version = self._log.version_of(stream)
        events = self._log.read(stream, after, after + limit)
        return StreamPage(events, version, is_end=after + len(events) >= version)

    def read_stream_backwards(self, stream: StreamId, /, *, before: int | None = None, limit: int) -> StreamPage:
        version = self._log.version_of(stream)
        last = version if before is None else min(version, before - 1)
        start = max(0, last - limit)
        return StreamPage(self._log.read(stream, start, last)[::-1], version, is_end=start == 0)

    def find_events(self, stream: StreamId, event_ids: Sequence[UUID], /) -> Sequence[RecordedEvent]:
        return self._log.find(stream, event_ids)

    def close(self) -> None:
        self.is_closed = True


def test_a_synchronous_store_of_a_host_is_taken_as_it_is() -> None:
    shelf = Shelf()
    before = set(threading.enumerate())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with open_inventory(shelf) as inventory:
            inventory.add_stock("tea", "berlin", 50)
            refused: list[int] = []

            def buy(number: int) -> None:
                for _ in range(10):
                    try:
                        inventory.reserve("tea", "berlin", 1, ttl=TTL)
                    except InsufficientStockError:
                        refused.append(number)

            together(8, buy)
            level = inventory.stock("tea", "berlin")
            assert (level.reserved, level.available, len(refused)) == (50, 0, 30)
            assert len(list(inventory.history("tea", "berlin"))) == 51
            assert set(threading.enumerate()) <= before
        gc.collect()
    assert not shelf.is_closed, "it stays the host's"
    with open_inventory(shelf) as again:
        assert again.stock("tea", "berlin").reserved == 50


def test_no_thread_stands_behind_a_service(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    for number, url in enumerate(("memory:", f"file:{tmp_path / 'stock'}", f"sqlite:{tmp_path / 'stock.db'}")):
        with open_inventory(url, read_models=f"sqlite:{tmp_path / f'rows{number}.db'}") as inventory:
            inventory.add_stock("tea", "berlin", 1)
            inventory.followers.catch_up(on_failure="stop")
            assert inventory.queries.stock("tea", "berlin") is not None
            assert set(threading.enumerate()) - before <= {one for one in threading.enumerate() if "end of main thread" in one.name}


def test_caches_and_buses_in_memory_need_no_thread() -> None:
    before = set(threading.enumerate())
    with open_inventory("memory:", read_models="memory:", cache="memory:", bus="memory:") as inventory:
        inventory.add_stock("tea", "berlin", 1)
        inventory.followers.catch_up(on_failure="stop")
        for _ in range(2):
            row = inventory.queries.stock("tea", "berlin")
            assert row is not None
            assert row.on_hand == 1
        assert {one.name for one in set(threading.enumerate()) - before} <= {"inventory_es end of main thread"}


def test_a_store_of_a_host_may_be_given_before_the_fork() -> None:
    inventory = open_inventory(Shelf())

    def sell() -> None:
        inventory.add_stock("tea", "berlin", 5)
        assert inventory.stock("tea", "berlin").on_hand == 5
        inventory.close()

    in_a_child(sell)
    assert inventory.stock("tea", "berlin").on_hand == 0
    inventory.close()


def test_a_service_that_does_not_close_keeps_no_other_one_from_closing(caplog: pytest.LogCaptureFixture) -> None:
    services = [open_inventory("memory:") for _ in range(3)]
    for one in services:
        one.add_stock("tea", "berlin", 1)
    engines: list[Any] = [one._engine for one in services]

    async def fail() -> None:
        raise OSError(5, "the disk is gone")

    engines[1]._service.aclose = fail
    close_all()
    assert [engine._service._opening._engine is None for engine in engines] == [True, False, True]
    assert [record.getMessage() for record in caplog.records] == ["service_not_closed_at_exit"]


def test_an_iteration_outlives_the_event_loop_in_which_it_began(backend: str) -> None:
    with open_inventory("memory:") as inventory:
        for _ in range(5):
            inventory.add_stock("tea", "berlin", 1)
        history = inventory.history("tea", "berlin")

        async def cell() -> int:
            return next(history).version

        assert anyio.run(cell, backend=backend) == 1
        assert [entry.version for entry in history] == [2, 3, 4, 5]


def test_a_policy_may_run_an_event_loop_of_its_own(backend: str) -> None:
    """In it, tasks wait for each other, and do not block its thread."""
    sold: list[int] = []

    async def sell() -> None:
        async with open_async("memory:") as other:
            await other.add_stock("mug", "berlin", 10)

            async def buy() -> None:
                await other.reserve("mug", "berlin", 1, ttl=TTL)

            async with anyio.create_task_group() as tasks:
                for _ in range(10):
                    tasks.start_soon(buy)
            sold.append((await other.stock("mug", "berlin")).reserved)

    def policy(_view: StockView, _command: Command, _at: datetime) -> None:
        anyio.run(sell, backend=backend)

    with open_inventory("memory:", policies=[policy]) as inventory:
        inventory.add_stock("tea", "berlin", 1)
        assert inventory.stock("tea", "berlin").on_hand == 1
    assert sold == [10]


def test_a_policy_may_call_another_service() -> None:
    with open_inventory("memory:") as other:

        def policy(_view: StockView, _command: Command, _at: datetime) -> None:
            other.add_stock("log", "berlin", 1)

        with open_inventory("memory:", policies=[policy]) as inventory:
            inventory.add_stock("tea", "berlin", 1)
            inventory.add_stock("tea", "berlin", 1)
        assert other.stock("log", "berlin").on_hand == 2


@pytest.mark.parametrize("scheme", ["file", "sqlite"])
def test_processes_that_are_forked_while_threads_write_go_on(scheme: str, tmp_path: Path) -> None:
    inventory = open_inventory(f"{scheme}:{tmp_path / 'stock'}")
    inventory.add_stock("tea", "berlin", 1)
    is_over = threading.Event()
    added = [0, 0, 0]

    def write(at: int) -> None:
        while not is_over.is_set():
            inventory.add_stock("tea", "berlin", 1)
            added[at] += 1

    writers = [threading.Thread(target=write, args=(at,), daemon=True) for at in range(len(added))]
    for thread in writers:
        thread.start()
    statuses: list[int] = []
    for _ in range(6):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                inventory.add_stock("tea", "berlin", 1)
                inventory.close()
                status = 0
            finally:
                os._exit(status)
        statuses.append(os.waitpid(child, 0)[1])
    is_over.set()
    for thread in writers:
        thread.join(60)
    assert statuses == [0] * 6
    assert inventory.stock("tea", "berlin").on_hand == 1 + sum(added) + 6
    inventory.close()


GEVENT = """
import sys
{early}
from datetime import timedelta
from inventory_es import InsufficientStockError
from inventory_es.sync import open_inventory
{late}
import gevent

def policy(*_):
    gevent.sleep(0.001)  # as a call of another service does: others run meanwhile

ttl = timedelta(minutes=15)
outcomes = []

def buy(inventory, number):
    try:
        with gevent.Timeout(0.02 if number % 5 == 0 else 60):
            inventory.reserve("tea", "berlin", 1, ttl=ttl, reservation_id=f"R{{number}}")
            outcomes.append("bought")
    except InsufficientStockError:
        outcomes.append("refused")
    except gevent.Timeout:
        outcomes.append("timeout")

with open_inventory(sys.argv[1], policies=[policy], read_models=sys.argv[2]) as inventory:
    inventory.add_stock("tea", "berlin", 20)
    followers = gevent.spawn(inventory.followers.run, on_failure="stop")
    buyers = [gevent.spawn(buy, inventory, number) for number in range(60)]
    gevent.joinall(buyers, timeout=60, raise_error=True)
    assert all(one.dead for one in buyers), "nobody is left waiting"
    level = inventory.stock("tea", "berlin")
    assert outcomes.count("bought") <= level.reserved == 20, (outcomes, level)
    assert len(outcomes) == 60, len(outcomes)
    row = inventory.queries.stock("tea", "berlin", wait_for_position=level.position)
    assert row.reserved == 20, row
    inventory.followers.stop()
    followers.join(60)
    assert followers.successful(), followers
    print("timeouts" if "timeout" in outcomes else "no timeouts")
"""


@pytest.mark.parametrize("is_late", [False, True], ids=["patched before", "patched after"])
@pytest.mark.parametrize("scheme", ["memory", "file", "sqlite"])
def test_greenlets_share_a_service_and_may_time_out(scheme: str, is_late: bool, tmp_path: Path) -> None:
    """A host that preloads its application patches threading after the import, as gunicorn's gevent worker does."""
    patch: Any = "from gevent import monkey; monkey.patch_all()"
    script = GEVENT.format(early="" if is_late else patch, late=patch if is_late else "")
    urls = ["memory:", "memory:"] if scheme == "memory" else [f"{scheme}:{tmp_path / 'stock'}", f"sqlite:{tmp_path / 'rows.db'}"]
    done = subprocess.run([sys.executable, "-c", script, *urls], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (0, "timeouts\n"), done.stderr
