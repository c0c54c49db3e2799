"""Blocking calls in threads: kept apart, never abandoned, and waited for by close."""

from collections.abc import Callable
from threading import Event, Lock, get_ident
from typing import Any, cast

import anyio
import anyio.from_thread
import anyio.lowlevel
import pytest

from inventory_es.ports.errors import StoreClosedError
from inventory_es.ports.toolkit import waiting
from inventory_es.ports.toolkit.blocking_calls import BlockingCalls

PATIENCE = 30


class Meeting:
    """A blocking function that says when it began and goes on when it is let."""

    def __init__(self) -> None:
        self.began = Event()
        self.may_end = Event()
        self.running = 0
        self.most_at_once = 0
        self.ended: list[str] = []

    def __call__(self, name: str) -> str:
        self.running += 1
        self.most_at_once = max(self.most_at_once, self.running)
        self.began.set()
        assert self.may_end.wait(PATIENCE)
        self.running -= 1
        self.ended.append(name)
        return name


class CountingLock:
    """A lock that counts who came to it."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.came = 0

    def locked(self) -> bool:
        return self.lock.locked()

    def __enter__(self) -> None:
        self.came += 1
        self.lock.acquire()

    def __exit__(self, *_: object) -> None:
        self.lock.release()


async def until(condition: Callable[[], bool]) -> None:
    with anyio.fail_after(PATIENCE):
        while not condition():
            await anyio.lowlevel.checkpoint()


def test_a_call_runs_in_another_thread_and_its_result_and_error_come_back(backend: str) -> None:
    def divide(one: int, *, by: int) -> tuple[float, int]:
        return one / by, get_ident()

    async def scenario() -> None:
        calls = BlockingCalls(None, name="driver")
        quotient, thread = await calls.run(divide, 6, by=3)

        assert quotient == 2
        assert thread != get_ident()
        with pytest.raises(ZeroDivisionError):
            await calls.run(divide, 1, by=0)
        assert await calls.run(len, "free again") == 10
        await calls.close(lambda: None)

    anyio.run(scenario, backend=backend)


def test_without_a_limiter_calls_run_one_at_a_time(backend: str) -> None:
    async def scenario() -> None:
        calls, meeting = BlockingCalls(None, name="driver"), Meeting()
        meeting.may_end.set()
        async with anyio.create_task_group() as tasks:
            for number in range(20):
                tasks.start_soon(calls.run, meeting, str(number))

        assert len(meeting.ended) == 20
        assert meeting.most_at_once == 1
        await calls.close(lambda: None)

    anyio.run(scenario, backend=backend)


def test_a_limiter_lets_as_many_run_as_it_has_tokens(backend: str) -> None:
    async def scenario() -> None:
        calls, meeting = BlockingCalls(anyio.CapacityLimiter(2), name="driver"), Meeting()
        async with anyio.create_task_group() as tasks:
            for number in range(3):
                tasks.start_soon(calls.run, meeting, str(number))
            await until(lambda: meeting.running == 2)
            meeting.may_end.set()

        assert meeting.most_at_once == 2
        assert len(meeting.ended) == 3
        await calls.close(lambda: None)

    anyio.run(scenario, backend=backend)


def test_a_cancelled_caller_waits_for_the_call_that_it_began(backend: str) -> None:
    async def scenario() -> None:
        calls, meeting = BlockingCalls(None, name="driver"), Meeting()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(calls.run, meeting, "begun")
            await until(meeting.began.is_set)
            tasks.cancel_scope.cancel()
            meeting.may_end.set()

        assert meeting.ended == ["begun"]
        await calls.close(lambda: None)

    anyio.run(scenario, backend=backend)


def test_a_task_that_asyncio_cancels_leaves_its_call_running_and_the_next_one_does_not_meet_it() -> None:
    import asyncio

    async def scenario() -> None:
        calls, meeting = BlockingCalls(None, name="driver"), Meeting()
        lock = CountingLock()
        calls._slots = (cast("Any", lock),)
        abandoned = asyncio.create_task(calls.run(meeting, "abandoned"))
        await until(meeting.began.is_set)
        abandoned.cancel()
        await until(abandoned.done)
        assert abandoned.cancelled()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(calls.run, meeting, "next")
            await until(lambda: lock.came == 2)
            assert meeting.ended == []
            meeting.may_end.set()
        assert meeting.ended == ["abandoned", "next"]
        assert meeting.most_at_once == 1
        await calls.close(lambda: None)

    anyio.run(scenario, backend="asyncio")


def test_settling_waits_for_calls_that_asyncio_left_behind_and_for_no_others() -> None:
    import asyncio

    async def scenario() -> None:
        calls, meeting = BlockingCalls(anyio.CapacityLimiter(4), name="driver"), Meeting()
        running = asyncio.create_task(calls.run(meeting, "running"))
        await until(meeting.began.is_set)
        await calls.settle()
        running.cancel()
        await until(running.done)
        settled: list[list[str]] = []

        async def settle() -> None:
            await calls.settle()
            settled.append([*meeting.ended])

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(settle)
            tasks.start_soon(settle)
            with anyio.move_on_after(0.02):
                await calls.settle()
            assert settled == []
            meeting.may_end.set()
        assert settled == [["running"]] * 2
        await calls.settle()
        await calls.close(lambda: None)

    anyio.run(scenario, backend="asyncio")


def test_close_waits_for_what_runs_refuses_what_comes_and_closes_once(backend: str) -> None:
    async def scenario() -> None:
        calls, meeting, log = BlockingCalls(None, name="driver"), Meeting(), list[str]()

        def close() -> None:
            log.append(f"closed after {meeting.ended}")

        def closed() -> bool:
            return any(each.startswith("closed") for each in log)

        async def refused() -> None:
            with pytest.raises(StoreClosedError, match="driver"):
                await calls.run(meeting, "queued")
            log.append("refused")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(calls.run, meeting, "begun")
            await until(meeting.began.is_set)
            tasks.start_soon(refused)
            tasks.start_soon(calls.close, close)
            await until(lambda: not calls.is_open and bool(waiting._waiting or closed()))
            with pytest.raises(StoreClosedError):
                await calls.run(len, "late")
            assert not closed()
            meeting.may_end.set()
        await calls.close(close)

        assert sorted(log) == ["closed after ['begun']", "refused"]

    anyio.run(scenario, backend=backend)
