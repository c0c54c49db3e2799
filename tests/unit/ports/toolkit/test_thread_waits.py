"""Waits of threads: they end in time, at a deadline, with a scope, and with the others of a group."""

import threading
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from inventory_es.ports.toolkit.waiting import (
    Event,
    Exclusive,
    Scope,
    Tasks,
    blocks,
    do_all,
    each_to_end,
    give_way,
    new_event,
    now,
    pause,
    run_to_end,
    scope,
    time_left,
    together,
)


def in_a_thread(work: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    results: list[Any] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as problem:  # noqa: BLE001  # the case looks at it
            results.append(problem)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, results


def test_a_thread_blocks_and_a_task_does_not(backend: str) -> None:
    async def ask() -> bool:
        await give_way()
        return blocks()

    async def nested() -> tuple[bool, bool, bool]:
        return await ask(), run_to_end(ask()), await ask()

    assert not blocks()
    assert run_to_end(ask())
    assert anyio.run(nested, backend=backend) == (False, True, False)

    async def with_a_loop_inside() -> tuple[bool, bool]:
        return anyio.run(ask, backend=backend), blocks()

    assert run_to_end(with_a_loop_inside()) == (False, True)


def test_a_scope_ends_a_wait_at_its_deadline_and_from_another_thread() -> None:
    begun: list[tuple[Scope, Event]] = []
    ready = threading.Event()

    async def wait() -> tuple[bool, bool]:
        with scope(0.01) as short:
            await new_event().wait()
        with scope() as long:
            begun.append((long, new_event()))
            ready.set()
            await pause(60)
        return short.cancelled_caught, long.cancelled_caught

    thread, results = in_a_thread(lambda: run_to_end(wait()))
    assert ready.wait(30)
    begun[0][0].cancel()
    thread.join(30)
    assert results == [(True, True)]


def test_the_outermost_scope_that_is_over_ends() -> None:
    async def wait() -> tuple[bool, bool, float | None]:
        with scope(0.01) as outer:
            assert time_left() is not None
            with scope(0.01) as inner:
                await pause(0.02)
        return outer.cancelled_caught, inner.cancelled_caught, time_left()

    assert run_to_end(wait()) == (True, False, None)


def test_an_event_wakes_threads_and_stays_set() -> None:
    events: list[Event] = []
    ready = threading.Barrier(2)

    async def wait() -> bool:
        event = new_event()
        events.append(event)
        ready.wait(30)
        await event.wait()
        await event.wait()
        return event.is_set()

    thread, results = in_a_thread(lambda: run_to_end(wait()))
    ready.wait(30)
    events[0].set()
    thread.join(30)
    assert results == [True]


def test_a_lock_has_one_holder_at_a_time() -> None:
    lock, inside, most = Exclusive(), list[int](), list[int]()

    async def hold(number: int) -> None:
        for _ in range(20):
            async with lock:
                inside.append(number)
                most.append(len(inside))
                await pause(0)
                inside.remove(number)

    threads = [in_a_thread(lambda number=number: run_to_end(hold(number))) for number in range(6)]  # type: ignore[misc]
    for thread, results in threads:
        thread.join(30)
        assert results == [None]
    assert (max(most), len(most)) == (1, 120)


def test_a_group_ends_with_its_works_and_raises_what_one_raised() -> None:
    ended: list[str] = []

    async def wait_for_ever() -> None:
        try:
            await new_event().wait()
        finally:
            ended.append("others")

    async def fail() -> None:
        msg = "one failed"
        raise ValueError(msg)

    async def run() -> None:
        async with together() as tasks:
            tasks.start_soon(wait_for_ever)
            tasks.start_soon(fail)
            await pause(60)

    with pytest.raises(ValueError, match="one failed"):
        run_to_end(run())
    assert ended == ["others"]


def test_an_interruption_of_a_group_ends_its_works() -> None:
    ended: list[int] = []

    async def wait_for_ever(number: int) -> None:
        try:
            await pause(60)
        finally:
            ended.append(number)

    async def run(tasks: Tasks) -> None:
        for number in range(3):
            tasks.start_soon(wait_for_ever, number)
        raise KeyboardInterrupt

    async def group() -> None:
        async with together() as tasks:
            await run(tasks)

    with pytest.raises(KeyboardInterrupt):
        run_to_end(group())
    assert len(ended) <= 3, "one that had not begun to wait may have ended before"
    assert not [one for one in threading.enumerate() if "wait_for_ever" in one.name]


def test_short_works_are_done_one_after_the_other_in_a_thread() -> None:
    done: list[tuple[int, str]] = []

    def work(number: int) -> Callable[[], Any]:
        async def do() -> None:
            done.append((number, threading.current_thread().name))

        return do

    run_to_end(do_all([work(number) for number in range(3)], at_once=16))
    assert done == [(number, threading.current_thread().name) for number in range(3)]


def test_a_generator_is_closed_with_its_iteration() -> None:
    closed: list[bool] = []

    async def numbers() -> Any:
        try:
            for number in range(10):
                await pause(0)
                yield number
        finally:
            closed.append(blocks())

    iteration = each_to_end(numbers())
    assert [next(iteration), next(iteration)] == [0, 1]
    del iteration
    assert closed == [True]
    assert list(each_to_end(numbers())) == list(range(10))


def test_the_clock_of_threads_never_goes_back() -> None:
    async def read() -> list[float]:
        first = now()
        await pause(0.001)
        return [first, now()]

    first, second = run_to_end(read())
    assert second >= first + 0.001
