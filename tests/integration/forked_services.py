"""Programs that fork while SQLite files are open: ``python -m tests.integration.forked_services NAME PATH [ROUNDS]``.

Each is run in a process of its own, adds single units of one product, and prints a line with how many were acknowledged, in parent and
children together.
"""

import json
import multiprocessing
import os
import sqlite3
import sys
import threading
import traceback
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any
from weakref import WeakSet

import anyio
import pytest

from inventory_es import open_inventory as open_async
from inventory_es.adapters.sqlite import connections
from inventory_es.adapters.sqlite.event_store import SqliteStore
from inventory_es.errors import UnsupportedCapabilityError
from inventory_es.sync import InventoryService, open_inventory

ROUNDS = 5
_service: InventoryService


def add(inventory: InventoryService, units: int) -> int:
    for _ in range(units):
        inventory.add_stock("tea", "berlin", 1)
    return units


def in_child(work: Callable[[], int]) -> Callable[[], int]:
    """Fork, do the work in the child, and return what waits for it and returns how much it acknowledged."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        done = 255
        try:
            done = work()
        except BaseException:  # noqa: BLE001  # whatever it is, the parent ends with it
            traceback.print_exc()
        os.write(writing, bytes([done]))
        os._exit(0)
    os.close(writing)

    def wait() -> int:
        os.waitpid(child, 0)
        with os.fdopen(reading, "rb") as told:
            (done,) = told.read()
        assert done < 255, "the child failed"
        return int(done)

    return wait


def the_parent_closes_first(path: str) -> int:
    inventory = open_inventory(f"sqlite:{path}", read_models=f"sqlite:{path}", snapshots=f"sqlite:{path}")
    done = add(inventory, 1)
    wrote, closed = os.pipe(), os.pipe()

    def work() -> int:
        added = add(inventory, 1)
        os.write(wrote[1], b".")
        os.read(closed[0], 1)
        return added + add(inventory, 10)

    wait = in_child(work)
    os.read(wrote[0], 1)
    inventory.close()
    os.write(closed[1], b".")
    return done + wait()


def the_child_ends_normally(path: str) -> int:
    inventory = open_inventory(f"sqlite:{path}")
    done = add(inventory, 2)
    child = os.fork()
    if child == 0:
        add(inventory, 3)
        inventory.close()
        sys.exit()  # with ``atexit``, and with a collection of all that was inherited
    assert os.waitpid(child, 0)[1] == 0
    done += 3 + add(inventory, 3)
    look_from_elsewhere(path)
    done += add(inventory, 3)
    inventory.close()
    return done


def a_child_of_a_child(path: str) -> int:
    inventory = open_inventory(f"sqlite:{path}")
    done = add(inventory, 2)

    def work() -> int:
        added = add(inventory, 1)
        wait = in_child(lambda: add(inventory, 2))
        return added + add(inventory, 2) + wait() + add(inventory, 1)

    wait = in_child(work)
    done += add(inventory, 2) + wait() + add(inventory, 1)
    inventory.close()
    return done


def threads_write_while_it_forks(path: str) -> int:
    inventory = open_inventory(f"sqlite:{path}")
    done = add(inventory, 1)
    is_over = threading.Event()
    counts: list[int] = []

    def write() -> None:
        count = 0
        while not is_over.is_set():
            count += add(inventory, 1)
        counts.append(count)

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    waits = [in_child(lambda: add(inventory, 3)) for _ in range(ROUNDS)]
    done += sum(wait() for wait in waits)
    is_over.set()
    for thread in threads:
        thread.join()
    inventory.close()
    return done + sum(counts)


def several_services_on_one_file(path: str) -> int:
    one, two = open_inventory(f"sqlite:{path}"), open_inventory(f"sqlite:{path}", read_models=f"sqlite:{path}")
    done = add(one, 1) + add(two, 1)
    wait = in_child(lambda: add(two, 2) + add(one, 2))
    one.close()
    done += add(two, 2) + wait()
    look_from_elsewhere(path)
    done += add(two, 2)
    two.close()
    return done


def multiprocessing_forks(path: str) -> int:
    global _service  # noqa: PLW0603  # as a preloaded application has it
    _service = open_inventory(f"sqlite:{path}")
    done = add(_service, 1)
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        done += sum(pool.map(_add_to_service, [3, 3, 3]))
    with context.Pool(2) as workers:
        done += sum(workers.map(_add_to_service, [3, 3]))
    done += add(_service, 2)
    _service.close()
    return done


def _add_to_service(units: int) -> int:
    return add(_service, units)


def inside_an_event_loop(path: str) -> int:
    async def own(units: int) -> int:
        async with open_async(f"sqlite:{path}") as inventory:
            for _ in range(units):
                await inventory.add_stock("tea", "berlin", 1)
        return units

    def work() -> int:
        added: list[int] = []
        thread = threading.Thread(target=lambda: added.append(anyio.run(own, 3)))
        thread.start()
        thread.join()
        return sum(added)

    async def parent() -> int:
        async with open_async(f"sqlite:{path}", read_models=f"sqlite:{path}.rows") as inventory:
            await inventory.add_stock("tea", "berlin", 1)
            wait = in_child(work)
            done = 1 + await anyio.to_thread.run_sync(wait)
            await inventory.add_stock("tea", "berlin", 1)
            return done + 1

    return anyio.run(parent)


def while_a_turn_is_taken(path: str) -> int:
    inventory = open_inventory(f"sqlite:{path}")
    engine = SqliteStore(path, synchronous="FULL")
    done = add(inventory, 1)
    engine.take_turn()
    wait = in_child(lambda: add(inventory, 2))
    done += wait() + add(inventory, 1)
    engine.close()
    inventory.close()
    return done


def a_statement_does_not_end(path: str) -> int:
    """The fork waits for no statement here, so the child is refused, and its child too; another file is not."""
    connections.FORK_SECONDS = 0
    engine = SqliteStore(path, synchronous="FULL")
    inventory = open_inventory(f"sqlite:{path}")
    done = add(inventory, 1)
    with engine._connections.lend(read_only=True):
        wait = in_child(lambda: _is_refused(path) + in_child(lambda: _is_refused(path))() + _is_refused(path))
    assert wait() == 0
    done += add(inventory, 2)
    engine.close()
    inventory.close()
    return done


def somebody_else_has_it_open(path: str) -> int:
    inventory = open_inventory(f"sqlite:{path}")
    done = add(inventory, 1)
    with closing(sqlite3.connect(path)) as other:
        other.execute("SELECT count(*) FROM events").fetchall()
        assert in_child(lambda: _is_refused(path))() == 0
    done += in_child(lambda: add(inventory, 2))() + add(inventory, 2)
    inventory.close()
    return done


def a_fork_that_asks_nobody_before(path: str) -> int:
    """As a server in C makes it, which tells Python in the child alone: the connections are open in it."""
    inventory = open_inventory(f"sqlite:{path}")
    done = add(inventory, 1)
    guarded, connections.gate._guarded = connections.gate._guarded, WeakSet()
    wait = in_child(lambda: _is_refused(path))
    connections.gate._guarded = guarded
    assert wait() == 0
    done += add(inventory, 2)
    inventory.close()
    return done


def _is_refused(path: str) -> int:
    with pytest.raises(UnsupportedCapabilityError, match="by exec"):
        SqliteStore(path, synchronous="FULL")
    SqliteStore(f"{path}-{os.getpid()}", synchronous="FULL").close()
    return 0


def look_from_elsewhere(path: str) -> None:
    """Open and close the file in another process, which empties the log if it thinks that it is the last."""
    assert os.spawnv(os.P_WAIT, sys.executable, [sys.executable, "-m", __spec__.name, "look", path]) == 0


def look(path: str) -> int:
    with open_inventory(f"sqlite:{path}") as inventory:
        return inventory.stock("tea", "berlin").on_hand


PROGRAMS: dict[str, Any] = {
    program.__name__: program
    for program in (
        the_parent_closes_first,
        the_child_ends_normally,
        a_child_of_a_child,
        threads_write_while_it_forks,
        several_services_on_one_file,
        multiprocessing_forks,
        inside_an_event_loop,
        while_a_turn_is_taken,
        a_statement_does_not_end,
        somebody_else_has_it_open,
        a_fork_that_asks_nobody_before,
    )
}


if __name__ == "__main__":
    # Python warns that threads and forks do not go together: that they do is what is tried here.
    warnings.filterwarnings("ignore", message=".*use of fork", category=DeprecationWarning)
    name, place = sys.argv[1:3]
    if name == "look":
        look(place)
    else:
        for number in range(int(sys.argv[3]) if len(sys.argv) > 3 else 1):
            file = Path(f"{place}{number or ''}")
            acknowledged = PROGRAMS[name](str(file))
            print(json.dumps({"acknowledged": acknowledged, "stored": look(str(file))}), flush=True)
