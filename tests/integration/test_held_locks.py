"""Another process holds a lock and does not let go: every wait ends, by its bound or with its caller, and nothing is written later."""

import sqlite3
import subprocess
import sys
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import anyio
import pytest

from inventory_es import open_inventory
from inventory_es.adapters.file import open_file_cache, open_file_event_bus, open_file_event_store
from inventory_es.adapters.sqlite import open_sqlite_event_store, open_sqlite_read_model
from inventory_es.adapters.system import SystemClock
from inventory_es.domain.commands import AddStock
from inventory_es.domain.identifiers import InventoryId
from inventory_es.domain.reasons import AddReason
from inventory_es.ports import EventFeed, EventStore, ProjectionId, Table
from inventory_es.ports.errors import CacheUnavailableError, EventBusUnavailableError, StoreUnavailableError
from inventory_es.ports.toolkit.blocking_calls import WithdrawnError
from tests.integration.held_lock import held
from tests.unit.adapters.file.test_file_bus import event as published

LONG = 600.0
SHORT = 0.01


def add(product: str, command_id: str) -> AddStock:
    return AddStock(inventory_id=InventoryId(product, "berlin"), command_id=command_id, quantity=1, reason=AddReason.RECEIVED)


def test_an_append_that_can_not_have_the_lock_says_so_and_the_next_one_serves(tmp_path: Path, backend: str) -> None:
    async def body() -> None:
        async with open_file_event_store(tmp_path / "s", lock_timeout=SHORT) as store, open_inventory(store) as inventory:
            with held(tmp_path / "s" / ".lock"):
                with pytest.raises(StoreUnavailableError, match=r"nothing was written: another process.*/s/\.lock for 0\.01 s; try again"):
                    await inventory.add_stock("tea", "berlin", 5)
                with pytest.raises(StoreUnavailableError, match=r"/s/\.lock"):
                    await inventory.execute_all([add("tea", "a"), add("mug", "b")])
                assert (await inventory.stock("tea", "berlin")).on_hand == 0
            assert await store.head() == 0
            assert (await inventory.add_stock("tea", "berlin", 2)).version == 1

    anyio.run(body, backend=backend)


def test_all_who_wait_meet_the_bound_together(tmp_path: Path, backend: str) -> None:
    async def body() -> None:
        refused: list[str] = []
        async with open_file_event_store(tmp_path / "s", lock_timeout=SHORT) as store, open_inventory(store) as inventory:

            async def add(product: str) -> None:
                with pytest.raises(StoreUnavailableError):
                    await inventory.add_stock(product, "berlin", 1)
                refused.append(product)

            with held(tmp_path / "s" / ".lock"):
                async with anyio.create_task_group() as tasks:
                    for product in ("tea", "tea", "mug", "cup"):
                        tasks.start_soon(add, product)
            assert sorted(refused) == ["cup", "mug", "tea", "tea"]
            assert await store.head() == 0

    anyio.run(body, backend=backend)


def test_a_question_that_meets_commands_without_the_lock_is_answered(tmp_path: Path, backend: str) -> None:
    async def body() -> None:
        async with open_file_event_store(tmp_path / "s", lock_timeout=SHORT) as store, open_inventory(store) as inventory:
            await inventory.add_stock("tea", "berlin", 5)
            answers: list[int] = []

            async def add() -> None:
                with pytest.raises(StoreUnavailableError):
                    await inventory.add_stock("tea", "berlin", 1)

            async def ask() -> None:
                answers.append((await inventory.stock("tea", "berlin")).on_hand)

            with held(tmp_path / "s" / ".lock"):
                async with anyio.create_task_group() as tasks:
                    for use in (add, add, ask, add, ask, ask):
                        tasks.start_soon(use)
            assert answers == [5, 5, 5]

    anyio.run(body, backend=backend)


def test_opening_and_closing_end_while_another_process_has_the_lock(tmp_path: Path, backend: str) -> None:
    async def body() -> None:
        async with open_file_event_store(tmp_path / "s", lock_timeout=SHORT) as store, open_inventory(store) as inventory:
            await inventory.add_stock("tea", "berlin", 5)
            with held(tmp_path / "s" / ".lock"):
                with pytest.raises(StoreUnavailableError, match=r"the lock .*/s/\.lock"):
                    async with open_file_event_store(tmp_path / "s", lock_timeout=SHORT):
                        pytest.fail("it was opened without its lock")
                await store.aclose()

    anyio.run(body, backend=backend)


def test_making_a_folder_waits_no_longer_than_it_may(tmp_path: Path, backend: str) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / ".lock").touch()

    async def body() -> None:
        with held(tmp_path / "s" / ".lock"), pytest.raises(StoreUnavailableError, match=r"the lock .*/s/\.lock"):
            async with open_file_event_store(tmp_path / "s", lock_timeout=SHORT):
                pytest.fail("it was made without its lock")

    anyio.run(body, backend=backend)


def test_the_people_s_files_are_waited_for_no_longer_either(tmp_path: Path, backend: str) -> None:
    async def body() -> None:
        async with open_file_event_store(tmp_path / "s"):
            pass
        with held(tmp_path / "s" / "events" / ".lock"):
            async with open_file_event_store(tmp_path / "s", lock_timeout=SHORT) as store, open_inventory(store) as inventory:
                assert (await inventory.add_stock("tea", "berlin", 5)).version == 1

    anyio.run(body, backend=backend)


def test_a_bus_and_a_cache_meet_their_bound_too(tmp_path: Path, backend: str) -> None:
    async def body() -> None:
        clock = SystemClock()
        async with open_file_event_store(tmp_path / "s") as store, open_inventory(store) as inventory:
            await inventory.add_stock("tea", "berlin", 1)
            events = (await store.read_all(after=0, limit=1)).events
        async with open_file_event_bus(tmp_path / "b", clock=clock, lock_timeout=SHORT) as bus:
            with held(tmp_path / "b" / ".lock"):
                with pytest.raises(EventBusUnavailableError, match=r"the lock .*/b/\.lock"):
                    await bus.publish(events)
                with pytest.raises(EventBusUnavailableError, match=r"the lock .*/b/\.lock"):
                    async with open_file_event_bus(tmp_path / "b", clock=clock, lock_timeout=SHORT):
                        pytest.fail("it was opened without its lock")
            await bus.publish(events)
        async with open_file_cache(tmp_path / "c", clock=clock, lock_timeout=SHORT) as cache:
            with held(tmp_path / "c" / ".lock"), pytest.raises(CacheUnavailableError, match=r"the lock .*/c/\.lock"):
                await cache.invalidate("k")
            await cache.invalidate("k")

    anyio.run(body, backend=backend)


def test_publishers_meet_the_bound_together(tmp_path: Path, backend: str) -> None:
    async def body() -> None:
        async with open_file_event_bus(tmp_path / "b", clock=SystemClock(), lock_timeout=1.0) as bus:

            async def publish(number: int) -> None:
                with pytest.raises(EventBusUnavailableError):
                    await bus.publish([published("a", number)])

            with held(tmp_path / "b" / ".lock"), anyio.fail_after(60):
                async with anyio.create_task_group() as tasks:
                    for number in range(1, 201):
                        tasks.start_soon(publish, number)
            await bus.publish([published("a", 1)])

    anyio.run(body, backend=backend)


def test_who_waits_for_a_group_can_be_cancelled_and_keeps_no_other_group_waiting(tmp_path: Path, backend: str) -> None:
    async def body() -> None:
        async with open_file_event_bus(tmp_path / "b", clock=SystemClock(), lock_timeout=LONG) as bus:
            async with bus.subscribe("kept"):
                pass
            (lock,) = (tmp_path / "b" / "groups").glob("*/dead/.lock")
            uses: list[Callable[[], Coroutine[Any, Any, object]]] = [
                lambda: bus.dead_letters("kept"),
                lambda: bus.redeliver("kept", []),
                lambda: bus.dead_letters("kept"),
            ]
            with held(lock), anyio.fail_after(60):
                async with anyio.create_task_group() as tasks:
                    for use in uses:
                        tasks.start_soon(use)
                    await anyio.wait_all_tasks_blocked()
                    async with bus.subscribe("another"):
                        assert await bus.dead_letters("another") == []
                    tasks.cancel_scope.cancel()
            assert await bus.dead_letters("kept") == []

    anyio.run(body, backend=backend)


def test_callers_of_one_process_are_no_reason_to_refuse_each_other(tmp_path: Path, backend: str) -> None:
    async def body() -> None:
        async with open_file_cache(tmp_path / "c", clock=SystemClock(), lock_timeout=0) as cache, anyio.create_task_group() as tasks:
            for _ in range(100):
                tasks.start_soon(cache.invalidate, "k")

    anyio.run(body, backend=backend)


@pytest.mark.parametrize("timeout", [-1.0, float("inf"), float("nan")])
def test_a_bound_that_is_none_is_refused(tmp_path: Path, backend: str, timeout: float) -> None:
    async def body() -> None:
        with pytest.raises(ValueError, match="lock_timeout must be 0 or more seconds, and finite"):
            async with open_file_event_store(tmp_path / "s", lock_timeout=timeout):
                pass
        with pytest.raises(ValueError, match="lock_timeout"):
            async with open_file_event_bus(tmp_path / "b", clock=SystemClock(), lock_timeout=timeout):
                pass
        with pytest.raises(ValueError, match="lock_timeout"):
            async with open_file_cache(tmp_path / "c", clock=SystemClock(), lock_timeout=timeout):
                pass

    anyio.run(body, backend=backend)


async def _assert_withdrawn(store: EventStore, lock: Path, use: Callable[[], Awaitable[object]]) -> None:
    """Cancelled while it waits, ``use`` ends, and nothing is written, not even when the lock is free again."""
    assert isinstance(store, EventFeed)
    with held(lock), anyio.move_on_after(0.2) as scope:
        await use()
    assert scope.cancelled_caught
    assert await store.head() == 0


@pytest.mark.parametrize("what", ["command", "basket", "append"])
def test_a_waiting_caller_can_be_cancelled_and_nothing_is_written_later(tmp_path: Path, backend: str, what: str) -> None:
    async def body() -> None:
        async with open_file_event_store(tmp_path / "s", lock_timeout=LONG) as store, open_inventory(store) as inventory:
            uses: dict[str, Callable[[], Awaitable[object]]] = {
                "command": lambda: inventory.add_stock("tea", "berlin", 5, command_id="c1"),
                "basket": lambda: inventory.execute_all([add("tea", "a"), add("mug", "b")]),
                "append": lambda: inventory.add_stock("mug", "berlin", 5),
            }
            await _assert_withdrawn(store, tmp_path / "s" / ".lock", uses[what])
            assert (await inventory.add_stock("tea", "berlin", 2, command_id="c1")).version == 1
            assert await store.head() == 1

    anyio.run(body, backend=backend)


def test_those_who_shared_the_wait_of_one_who_is_cancelled_are_served(tmp_path: Path, backend: str) -> None:
    async def body() -> None:
        async with open_file_event_store(tmp_path / "s", lock_timeout=LONG) as store, open_inventory(store) as inventory:
            added: list[str] = []

            async def add(product: str, scope: anyio.CancelScope) -> None:
                with scope:
                    await inventory.add_stock(product, "berlin", 1, command_id=f"{product} {len(scopes)}")
                    added.append(product)

            scopes: list[anyio.CancelScope] = []
            async with anyio.create_task_group() as tasks:
                with held(tmp_path / "s" / ".lock"):
                    for product in ("tea", "tea", "mug", "cup", "mug", "tea"):
                        scopes.append(anyio.CancelScope())
                        tasks.start_soon(add, product, scopes[-1])
                        await anyio.wait_all_tasks_blocked()
                    for victim in (0, 3, 2):  # who leads; who follows in another lane; who leads a lane and follows
                        scopes[victim].cancel()
                        await anyio.wait_all_tasks_blocked()
            assert sorted(added) == ["mug", "tea", "tea"], added
            assert await store.head() == 3

    anyio.run(body, backend=backend)


@pytest.mark.parametrize("seconds", [0.2])
def test_opening_can_be_cancelled(tmp_path: Path, backend: str, seconds: float) -> None:
    async def body() -> None:
        async with open_file_event_store(tmp_path / "s"):
            pass
        with held(tmp_path / "s" / ".lock"), anyio.move_on_after(seconds) as scope:
            async with open_file_event_store(tmp_path / "s", lock_timeout=LONG):
                pytest.fail("it was opened without its lock")
        assert scope.cancelled_caught

    anyio.run(body, backend=backend)


def test_a_caller_who_waits_for_a_database_can_be_cancelled(tmp_path: Path, backend: str) -> None:
    async def body() -> None:
        async with (
            open_sqlite_event_store(tmp_path / "s.db") as store,
            open_sqlite_read_model(tmp_path / "s.db") as model,
        ):
            other = sqlite3.connect(tmp_path / "s.db", isolation_level=None)
            other.execute("BEGIN IMMEDIATE")
            with anyio.move_on_after(0.2) as scope:
                try:
                    async with open_inventory(store) as inventory:
                        await inventory.add_stock("tea", "berlin", 5)
                finally:
                    assert scope.cancel_called, "the wait ended before its caller did"
            with anyio.move_on_after(0.2) as scope:
                try:
                    await model.prepare(ProjectionId("p", 1), [Table("t", {"k": str}, ("k",))])
                finally:
                    assert scope.cancel_called, "the wait ended before its caller did"
            other.execute("ROLLBACK")
            other.close()
            assert await store.head() == 0

    anyio.run(body, backend=backend)


def test_a_cancelled_append_says_that_it_was_withdrawn(tmp_path: Path, backend: str) -> None:
    async def body() -> None:
        cancelled: list[BaseException] = []
        async with open_file_event_store(tmp_path / "s", lock_timeout=LONG) as store, open_inventory(store) as inventory:
            with held(tmp_path / "s" / ".lock"), anyio.move_on_after(0.2):
                try:
                    await inventory.add_stock("tea", "berlin", 5)
                except BaseException as problem:
                    cancelled.append(problem)
                    raise
        assert [type(problem.__cause__) for problem in cancelled] == [WithdrawnError]

    anyio.run(body, backend=backend)


_SYNC = """
import signal, sys
from inventory_es.sync import open_inventory
signal.signal(signal.SIGALRM, signal.default_int_handler)
inventory = open_inventory("file:" + sys.argv[1])
if sys.argv[2] == "append":
    inventory.stock("tea", "berlin")
print("ready", flush=True)
sys.stdin.readline()
try:
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    if sys.argv[2] == "append":
        inventory.add_stock("tea", "berlin", 5)
    else:
        inventory.stock("tea", "berlin")
except KeyboardInterrupt:
    if sys.argv[2] == "append":
        inventory.close()
    print("interrupted", flush=True)
"""
_ASYNC = """
import asyncio, signal, sys
from inventory_es import open_inventory

async def main():
    if sys.argv[2] == "open":
        signal.setitimer(signal.ITIMER_REAL, 0.2)
    async with open_inventory("file:" + sys.argv[1]) as inventory:
        print("ready", flush=True)
        sys.stdin.readline()
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        await inventory.add_stock("tea", "berlin", 5)

if sys.argv[2] == "open":
    print("ready", flush=True)
    sys.stdin.readline()
signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))
try:
    asyncio.run(main())
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


@pytest.mark.parametrize("program", [_SYNC, _ASYNC], ids=["sync", "async"])
@pytest.mark.parametrize("what", ["append", "open"])
def test_ctrl_c_ends_a_wait_and_the_process(tmp_path: Path, program: str, what: str) -> None:
    async def make() -> None:
        async with open_file_event_store(tmp_path / "s"):
            pass

    anyio.run(make)
    command = [sys.executable, "-c", program, str(tmp_path / "s"), what]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            with held(tmp_path / "s" / ".lock"):
                said, _ = process.communicate("go\n", timeout=60)
            assert (said, process.returncode) == ("interrupted\n", 0)
        finally:
            process.kill()
