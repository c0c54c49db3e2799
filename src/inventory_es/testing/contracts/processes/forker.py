"""The process that forks: ``python -m inventory_es.testing.contracts.processes.forker ADDRESS JSON``.

The adapter is opened in the event loop of a second thread, as in a synchronous host, and the main thread forks. No thread of a test
runner is carried over. Parent and child print each step on a line of its own, as it happens.
"""

import json
import os
import select
import signal
import sys
import traceback
import warnings
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import anyio
import attrs
from anyio.from_thread import BlockingPortal, start_blocking_portal

from inventory_es.ports.errors import StoreClosedError
from inventory_es.testing.clock import ManualClock
from inventory_es.testing.contracts.cache import CacheContract
from inventory_es.testing.contracts.cache import forks as cache_forks
from inventory_es.testing.contracts.core.contract import Contract
from inventory_es.testing.contracts.event_bus import EventBusContract
from inventory_es.testing.contracts.event_bus import forks as event_bus_forks
from inventory_es.testing.contracts.event_store import EventStoreContract
from inventory_es.testing.contracts.event_store import writer as event_store_writer
from inventory_es.testing.contracts.factory import contract_at
from inventory_es.testing.contracts.processes.other_process import Step
from inventory_es.testing.contracts.read_model import ReadModelContract
from inventory_es.testing.contracts.read_model import forks as read_model_forks
from inventory_es.testing.contracts.snapshot_store import SnapshotStoreContract
from inventory_es.testing.contracts.snapshot_store import forks as snapshot_store_forks
from inventory_es.testing.site import Site

_PATIENCE = 20.0
_CHILDREN = 3
_WRITERS = 4


class Mark:
    """A signal from one process to another, through a pipe that both have."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()

    def make(self) -> None:
        """Send the signal."""
        os.write(self._write, b".")

    def wait(self) -> None:
        """Wait for the signal; end the process if its partner died or hangs."""
        os.close(self._write)
        if not select.select([self._read], [], [], _PATIENCE)[0] or not os.read(self._read, 1):
            os._exit(1)


@attrs.frozen
class Subject:
    """The adapter under test: functions that open it, write rounds with it, and use it in every way."""

    backend: str
    open: Callable[[], AbstractAsyncContextManager[Any]]
    write_rounds: Callable[..., Any]
    uses: Callable[[Any], Mapping[str, Callable[[], Awaitable[object]]]]

    def work(self, name: str, rounds: int) -> None:
        """Open the site in this thread, write, and close."""

        async def write() -> None:
            async with self.open() as adapter:
                await self.write_rounds(adapter, name, rounds, _tell)

        anyio.run(write, backend=self.backend)

    def refuses(self, inherited: Any) -> None:
        """Print each use of an inherited adapter that is not refused as closed; then close it, which must not touch the parent's."""

        async def use() -> None:
            for name, call in self.uses(inherited).items():
                try:
                    await call()
                except StoreClosedError:
                    continue
                _tell({"inherited": name})
            with suppress(StoreClosedError):
                await inherited.aclose()

        anyio.run(use, backend=self.backend)


def parent_closes_first(subject: Subject, portal: BlockingPortal) -> None:
    """Fork, close in the parent while the child has the site open, and go on in the child."""
    child_wrote, parent_closed = Mark(), Mark()
    with portal.wrap_async_context_manager(subject.open()) as adapter:
        _begin()
        portal.call(subject.write_rounds, adapter, "parent", 2, _tell)

        def child() -> None:
            subject.refuses(adapter)

            async def write() -> None:
                async with subject.open() as own:
                    await subject.write_rounds(own, "child", 1, _tell)
                    child_wrote.make()
                    await anyio.to_thread.run_sync(parent_closed.wait)
                    await subject.write_rounds(own, "child-later", 3, _tell)

            anyio.run(write, backend=subject.backend)

        forked = _fork(child)
        child_wrote.wait()
    parent_closed.make()
    os.waitpid(forked, 0)


def parent_goes_on(subject: Subject, portal: BlockingPortal) -> None:
    """Fork while the parent is idle, and again while it writes. The children open the site, write and end; the parent writes on."""
    with portal.wrap_async_context_manager(subject.open()) as adapter:
        _begin()
        portal.call(subject.write_rounds, adapter, "parent", 2, _tell)
        os.waitpid(_fork(lambda: subject.work("child", 2)), 0)
        portal.call(subject.write_rounds, adapter, "parent-later", 2, _tell)
        writers = [portal.start_task_soon(subject.write_rounds, adapter, f"task{n}", 10, _tell) for n in range(_WRITERS)]
        children = [_fork(partial(subject.work, f"beside{n}", 2)) for n in range(_CHILDREN)]
        for writer in writers:
            writer.result()
        for forked in children:
            os.waitpid(forked, 0)
        portal.call(subject.write_rounds, adapter, "parent-last", 2, _tell)


def parent_ends(subject: Subject, portal: BlockingPortal) -> None:
    """Become a daemon: fork twice, end the parent without closing, and write in the grandchild."""
    alive, alive_end = os.pipe()
    with portal.wrap_async_context_manager(subject.open()) as adapter:
        _begin()
        portal.call(subject.write_rounds, adapter, "parent", 2, _tell)

        def daemon() -> None:
            os.close(alive_end)
            os.read(alive, 1)  # ends when parent and child have ended

            async def write() -> None:
                async with subject.open() as own:
                    await subject.write_rounds(own, "daemon", 1, _tell)
                    _tell({"written": True})
                    await anyio.to_thread.run_sync(sys.stdin.readline)
                    await subject.write_rounds(own, "daemon-later", 3, _tell)

            anyio.run(write, backend=subject.backend)
            _tell({"done": True})

        def child() -> None:
            os.setsid()
            _fork(daemon)

        os.waitpid(_fork(child), 0)
        os._exit(0)


_PLANS = {plan.__name__: plan for plan in (parent_closes_first, parent_goes_on, parent_ends)}


def main(arguments: list[str]) -> None:
    """Run the plan that the task names."""
    # Python warns about forks in processes with threads, which this program tries on purpose.
    warnings.filterwarnings("ignore", message=".*use of fork", category=DeprecationWarning)
    task = json.loads(arguments[1])
    subject = _subject(contract_at(arguments[0]), Site(task["site"], Path(task["path"])), task["backend"])
    with start_blocking_portal(task["backend"]) as portal:
        _PLANS[task["plan"]](subject, portal)
    _tell({"done": True})


def _subject(contract: Contract, site: Site, backend: str) -> Subject:
    opened: Callable[[], AbstractAsyncContextManager[Any]]
    room: ModuleType
    match contract:
        case EventStoreContract():
            opened, room = partial(contract.open_store, site), event_store_writer
        case ReadModelContract():
            opened, room = partial(contract.open_read_model, site), read_model_forks
        case SnapshotStoreContract():
            opened, room = partial(contract.open_snapshots, site), snapshot_store_forks
        case CacheContract():
            opened, room = partial(contract.open_cache, site, clock=ManualClock()), cache_forks
        case EventBusContract():
            opened, room = partial(contract.open_bus, site), event_bus_forks
        case _:
            msg = f"{contract.address} is a contract without cases about forks"
            raise TypeError(msg)
    return Subject(backend, opened, room.write_rounds, room.uses)


def _fork(work: Callable[[], None]) -> int:
    """Run the work in a child process, which ends with it or after a minute, and return the id of the child."""
    if forked := os.fork():
        return forked
    signal.alarm(int(3 * _PATIENCE))  # an adapter that hangs in a child must not leave a process behind
    try:
        work()
    except BaseException:  # noqa: BLE001  # the error is printed, and a child must never go on as the parent
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def _begin() -> None:
    _tell({"ready": True})
    sys.stdin.readline()


def _tell(step: Step) -> None:
    os.write(1, json.dumps(step).encode() + b"\n")  # one write, so that lines of several processes never mix


if __name__ == "__main__":
    main(sys.argv[1:])
