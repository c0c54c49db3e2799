"""The thread of a driver's event loop answers every call, at its end too, and tasks of another event loop wait for it."""

import asyncio
import threading
from collections.abc import AsyncIterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial

import anyio
import anyio.lowlevel
import pytest

from inventory_es.ports.errors import StoreClosedError
from inventory_es.ports.toolkit.blocking_calls import was_withdrawn
from inventory_es.ports.toolkit.loop_thread import LoopCalls, LoopThread
from inventory_es.ports.toolkit.waiting import run_to_end

SECONDS = 10.0


async def nothing() -> None:
    pass


async def twice(number: int) -> int:
    await anyio.lowlevel.checkpoint()
    return 2 * number


async def refuse() -> None:
    msg = "no"
    raise ValueError(msg)


def test_a_call_gets_its_result_or_its_error() -> None:
    thread = LoopThread("driver")
    try:
        assert thread.run(twice, 4) == 8
        with pytest.raises(ValueError, match="no"):
            thread.run(refuse)
    finally:
        thread.end(nothing)


def test_a_call_in_flight_is_cancelled_by_the_end() -> None:
    thread, has_begun = LoopThread("driver"), threading.Event()

    async def wait() -> None:
        has_begun.set()
        await anyio.sleep_forever()

    with ThreadPoolExecutor(1) as caller:
        call = caller.submit(thread.run, wait)
        assert has_begun.wait(SECONDS)
        thread.end(nothing)
        assert isinstance(call.exception(SECONDS), CancelledError)


def test_a_call_after_the_end_is_refused() -> None:
    thread = LoopThread("driver")
    thread.end(nothing)
    with pytest.raises(RuntimeError, match="closed"):
        thread.run(nothing)


class Meeting:
    """A coroutine function of the driver's loop that says when it began, and goes on when it is let."""

    def __init__(self) -> None:
        self.began = threading.Event()
        self.may_end = threading.Event()
        self.ended: list[str] = []

    async def __call__(self, name: str) -> None:
        self.began.set()
        while not self.may_end.is_set():
            await anyio.lowlevel.checkpoint()
        self.ended.append(name)


async def began(meeting: Meeting) -> None:
    with anyio.fail_after(SECONDS):
        while not meeting.began.is_set():
            await anyio.lowlevel.checkpoint()


@asynccontextmanager
async def driver() -> AsyncIterator[tuple[LoopCalls, LoopThread]]:
    thread = LoopThread("driver")
    calls = LoopCalls(thread, anyio.CapacityLimiter(1), name="driver")
    try:
        yield calls, thread
    finally:
        await calls.close(partial(thread.end, nothing))


def test_a_task_gets_the_outcome_of_the_other_loop(backend: str) -> None:
    async def play() -> None:
        async with driver() as (calls, _):
            assert (await calls.outcome(twice, 4)).result() == 8
            with pytest.raises(ValueError, match="no"):
                (await calls.outcome(refuse)).result()
            assert calls._running == 0

    anyio.run(play, backend=backend)


def test_a_thread_without_a_loop_gets_it_too() -> None:
    thread = LoopThread("driver")
    calls = LoopCalls(thread, anyio.CapacityLimiter(1), name="driver")
    try:
        assert run_to_end(calls.outcome(twice, 4)).result() == 8
    finally:
        run_to_end(calls.close(partial(thread.end, nothing)))


def test_a_cancelled_task_waits_for_what_it_began(backend: str) -> None:
    async def play() -> None:
        meeting = Meeting()
        async with driver() as (calls, _):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(calls.outcome, meeting, "begun")
                await began(meeting)
                tasks.cancel_scope.cancel()
                meeting.may_end.set()
            assert meeting.ended == ["begun"]
            with anyio.CancelScope() as scope:
                scope.cancel()
                await calls.outcome(meeting, "not begun")
            assert scope.cancelled_caught
            assert meeting.ended == ["begun"]

    anyio.run(play, backend=backend)


def test_what_a_task_that_asyncio_cancels_began_is_waited_for_by_the_next_one_and_by_the_close() -> None:
    async def play() -> None:
        meeting = Meeting()
        async with driver() as (calls, _):
            abandoned = asyncio.create_task(calls.outcome(meeting, "abandoned"))
            await began(meeting)
            abandoned.cancel()
            with pytest.raises(asyncio.CancelledError) as cancelled:
                await abandoned
            assert not was_withdrawn(cancelled.value)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(calls.settle)
                await anyio.lowlevel.checkpoint()
                assert meeting.ended == []
                meeting.may_end.set()
            assert meeting.ended == ["abandoned"]

    asyncio.run(play())


def test_a_call_after_the_close_is_refused_and_one_in_flight_ends_before_it(backend: str) -> None:
    async def play() -> None:
        meeting = Meeting()
        async with driver() as (calls, thread):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(calls.outcome, meeting, "in flight")
                await began(meeting)
                tasks.start_soon(calls.close, partial(meeting.ended.append, "closed"))
                await anyio.wait_all_tasks_blocked()
                with pytest.raises(StoreClosedError):
                    await calls.outcome(twice, 1)
                meeting.may_end.set()
            assert meeting.ended == ["in flight", "closed"]
            thread.end(nothing)

    anyio.run(play, backend=backend)


def test_a_call_of_a_thread_without_a_loop_ends_before_the_close() -> None:
    meeting, thread = Meeting(), LoopThread("driver")
    calls = LoopCalls(thread, anyio.CapacityLimiter(1), name="driver")
    with ThreadPoolExecutor(2) as threads:
        call = threads.submit(lambda: run_to_end(calls.outcome(meeting, "in flight")))
        assert meeting.began.wait(SECONDS)
        running = calls._running  # what a close waits for
        closing = threads.submit(lambda: run_to_end(calls.close(partial(meeting.ended.append, "closed"))))
        meeting.may_end.set()
        assert call.result(SECONDS).exception() is None
        closing.result(SECONDS)
    thread.end(nothing)
    assert running == 1
    assert meeting.ended == ["in flight", "closed"]


def test_a_call_that_does_not_begin_is_not_counted(backend: str) -> None:
    thread = LoopThread("driver")
    calls = LoopCalls(thread, anyio.CapacityLimiter(1), name="driver")
    thread.end(nothing)

    async def play() -> None:
        with pytest.raises(RuntimeError, match="closed"):
            await calls.outcome(twice, 1)
        with anyio.fail_after(SECONDS):
            await calls.close(lambda: None)

    anyio.run(play, backend=backend)
