"""What nobody closes: a warning, and neither threads nor descriptors that stay."""

import subprocess
import sys
from pathlib import Path

import pytest

COUNTED = """
import gc, os, sys, threading, warnings
from inventory_es.sync import open_inventory

def threads():
    return [one for one in threading.enumerate() if one is not threading.main_thread()]

def descriptors():
    return sorted(os.listdir("/proc/self/fd" if os.path.exists("/proc/self/fd") else "/dev/fd"))

def settle_workers():
    for one in threads():
        if one.name.startswith("AnyIO worker"):  # until it has ended, it refers to the task of the loop, which has the result
            one.join(60)

def settle():
    gc.collect()
    for one in threads():
        one.join(60)
    return len(threads())
"""


def run(script: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-c", COUNTED + script, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done


SERVICES = """
open_inventory("memory:").close()
before = descriptors()
kept = []
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    for number in range(6):
        rows, kept_states = f"sqlite:rows{number}", f"sqlite:kept{number}"
        service = open_inventory(f"{sys.argv[1]}{number}", read_models=rows, snapshots=kept_states)
        service.add_stock("tea", "berlin", 1)
        if number % 2:
            kept.append(service)
    del service
    gc.collect()
print(sorted({str(one.message).partition(":")[0] for one in told if one.category is ResourceWarning}), len(told))
for service in kept:
    assert service.stock("tea", "berlin").on_hand == 1
    service.close()
print(settle(), descriptors() == before)
"""


@pytest.mark.parametrize("url", ["file:stock", "sqlite:stock"])
def test_a_dropped_service_warns_and_lets_go_of_its_thread_and_descriptors(url: str, tmp_path: Path) -> None:
    done = run(SERVICES, tmp_path, url)
    assert done.stdout.splitlines() == ["['an inventory service was dropped and not closed'] 3", "0 True"]
    assert done.stderr == ""


USED = """
service = open_inventory("file:stock")
for _ in range(1_203):
    service.add_stock("tea", "berlin", 1)
history, queries = service.history("tea", "berlin"), open_inventory("memory:", read_models="memory:").followers
del service
gc.collect()
print(sum(1 for _ in history), len(queries.status()))
"""


def test_what_is_still_in_use_is_not_dropped(tmp_path: Path) -> None:
    assert run(USED, tmp_path).stdout.split() == ["1203", "4"]


OWN_THREAD = """
import weakref
from datetime import timedelta
from inventory_es.adapters.memory import MemoryEventStore

class Foreign(MemoryEventStore):
    pass

class Observer:
    def command_finished(self, record):
        service.pop().count = 0
        gc.collect()

class Holder(list):
    pass

service = Holder([open_inventory(Foreign(), observers=[Observer()])])
held = service[0]
call = held.add_stock
thread = held._running()._thread
loop = weakref.ref(held)
del held
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    call("tea", "berlin", 1)
    del call
    thread.join(60)
print(loop() is None, thread.is_alive(), settle())
"""


def test_a_service_may_be_dropped_by_its_own_thread(tmp_path: Path) -> None:
    done = run(OWN_THREAD, tmp_path)
    assert (done.stdout.split(), done.stderr) == (["True", "False", "0"], "")


AT_EXIT = """
import logging
from inventory_es.adapters.file import FileStore
from inventory_es.adapters.sqlite import SqliteReadModel


def tell(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())

logging.basicConfig(format="%(message)s")
close = FileStore.close
FileStore.close = lambda engine: (close(engine), tell("closed", os.getpid() == parent, engine.name.rpartition("/")[2]))
parent = os.getpid()
services = [open_inventory(f"file:stock{number}") for number in range(3)]
for service in services[:2]:
    service.add_stock("tea", "berlin", 1)
"""


def test_open_services_are_closed_when_the_interpreter_ends(tmp_path: Path) -> None:
    done = run(AT_EXIT, tmp_path)
    assert sorted(done.stdout.splitlines()) == ["closed True stock0", "closed True stock1"]
    assert done.stderr == ""


FORK = """
child = os.fork()
if child:
    os.waitpid(child, 0)
    services[0].add_stock("tea", "berlin", 1)
else:
    services[1].add_stock("tea", "berlin", 1)
    services[2].add_stock("tea", "berlin", 1)
"""


def test_a_forked_child_closes_its_own_services_when_it_ends_and_not_those_of_its_parent(tmp_path: Path) -> None:
    done = run(AT_EXIT + FORK, tmp_path)
    told = sorted(done.stdout.splitlines())
    assert told == ["closed False stock1", "closed False stock2", "closed True stock0", "closed True stock1"]
    assert done.stderr == ""


STUCK = """
import logging
from inventory_es import engine_thread
from inventory_es.adapters.memory import MemoryEventStore
from inventory_es.adapters.sqlite.event_store import SqliteStore
from inventory_es.sync import engine

logging.basicConfig(format="%(message)s")
engine_thread._SECONDS_AT_EXIT = engine._SECONDS_AT_EXIT = 0.1
entered = threading.Event()

def wait(*_args):
    entered.set()
    threading.Event().wait()

class Foreign(MemoryEventStore):
    pass

if sys.argv[1] == "direct":
    SqliteStore.commit = wait
    service = open_inventory("sqlite:stock")
else:
    service = open_inventory(Foreign(), policies=[wait])
threading.Thread(target=service.add_stock, args=("tea", "berlin", 1), daemon=True).start()
entered.wait(60)
"""


@pytest.mark.parametrize("engine", ["direct", "thread"])
def test_a_service_that_does_not_close_delays_the_end_for_a_bounded_time(engine: str, tmp_path: Path) -> None:
    assert run(STUCK, tmp_path, engine).stderr == "service_not_closed_at_exit\n"


ADAPTERS = """
import anyio
from datetime import timedelta
from inventory_es import open_inventory as open_async
from inventory_es.adapters.file import open_file, open_file_cache, open_file_event_bus, open_file_event_store
from inventory_es.adapters.sqlite import open_read_model, open_sqlite
from inventory_es.adapters.system import SystemClock

async def cache():
    opening = open_file_cache("cache", clock=SystemClock())
    opened = await opening.__aenter__()
    await opened.set("key", b"value", version=1, ttl=timedelta(1))
    return opening, opened

async def bus():
    opening = open_file_event_bus("bus", clock=SystemClock())
    return opening, await opening.__aenter__()

async def service():
    opened = open_async("file:served", read_models="sqlite:rows", snapshots="sqlite:kept")
    await opened.__aenter__()
    await opened.add_stock("tea", "berlin", 1)
    return opened

WAYS = {
    "store": lambda: open_file("stock"),
    "sqlite": lambda: open_sqlite("stock.db"),
    "rows": lambda: open_read_model("rows.db"),
    "cache": cache,
    "bus": bus,
    "service": service,
}

name, backend, in_time = sys.argv[1], sys.argv[2], sys.argv[3] == "True"
if backend == "trio":
    from trio._core import _thread_cache
    _thread_cache.IDLE_TIMEOUT = 0.1  # of trio's threads, for which this test waits; ten seconds as it ships

async def main():
    await anyio.sleep(0)
    before = descriptors()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        opened = await WAYS[name]()
        if in_time:
            del opened
            gc.collect()
    return before, told, None if in_time else opened

before, told, opened = anyio.run(main, backend=backend)
settle_workers()
with warnings.catch_warnings(record=True) as later:
    warnings.simplefilter("always")
    del opened
    gc.collect()
kinds = {str(one.message).partition(" /")[0] for one in [*told, *later] if "was dropped and not closed" in str(one.message)}
print(", ".join(sorted(kinds)))
print(settle(), len(set(descriptors()) - set(before)))
"""


@pytest.mark.parametrize("in_time", [True, False], ids=["in its loop", "after its loop"])
@pytest.mark.parametrize(
    "name,told",
    [
        ("store", "file store"),
        ("sqlite", "sqlite store"),
        ("rows", "sqlite read model"),
        ("service", "file store, sqlite read model, sqlite store"),
    ],
)
def test_a_dropped_adapter_warns_and_lets_go(name: str, told: str, in_time: bool, tmp_path: Path, backend: str) -> None:
    done = run(ADAPTERS, tmp_path, name, backend, str(in_time))
    assert done.stdout.splitlines() == [told, "0 0"]
    assert done.stderr == ""
