"""The scheduler: one task at a time, virtual time, the same order everywhere, and no run that hangs."""

import time

import anyio
import pytest
from anyio.lowlevel import checkpoint

from inventory_es.testing.simulation.breach import BreachError
from inventory_es.testing.simulation.scheduler import Scheduler, StoppedError


class Life:
    is_stopped = False


def scheduler_of(seed: int = 0, most: int = 10_000) -> Scheduler:
    return Scheduler(seed, most=most, before_each=lambda: None)


def order(seed: int, backend: str) -> list[str]:
    scheduler, seen = scheduler_of(seed), list[str]()
    gate: list[anyio.Event] = []

    async def walk(name: str) -> None:
        for step in range(3):
            seen.append(f"{name}{step}")
            await checkpoint()
        await gate[0].wait()
        seen.append(f"{name} through")

    async def script() -> None:
        gate.append(anyio.Event())
        for name in "abcd":
            scheduler.start(name, walk(name))
        await scheduler.sleep(5)
        seen.append("open")
        gate[0].set()

    anyio.run(scheduler.run, "script", script(), backend=backend)
    return seen


def test_the_seed_alone_decides_the_order() -> None:
    for seed in range(20):
        assert order(seed, "asyncio") == order(seed, "trio")
    assert len({tuple(order(seed, "asyncio")) for seed in range(20)}) == 20


def test_time_is_virtual(backend: str) -> None:
    scheduler, woken = scheduler_of(), list[tuple[str, float]]()

    async def nap(name: str, seconds: float) -> None:
        await scheduler.sleep(seconds)
        woken.append((name, scheduler.monotonic()))

    async def script() -> None:
        scheduler.start("long", nap("long", 86_400.0))
        scheduler.start("short", nap("short", 1.5))
        await scheduler.sleep(-3.0)

    started = time.monotonic()
    anyio.run(scheduler.run, "script", script(), backend=backend)
    assert woken == [("short", 1.5), ("long", 86_400.0)]
    assert time.monotonic() - started < 3_600


def test_what_runs_in_a_stopped_process_ends_where_it_is(backend: str) -> None:
    scheduler, life, seen = scheduler_of(), Life(), list[str]()

    async def work() -> None:
        try:
            for _ in range(100):
                await scheduler.sleep(1.0)
            seen.append("went on")
        except StoppedError:
            seen.append("stopped")
            raise

    async def script() -> None:
        scheduler.start("work", work(), life)
        await scheduler.sleep(10.5)
        life.is_stopped = True

    anyio.run(scheduler.run, "script", script(), backend=backend)
    assert seen == ["stopped"]
    assert scheduler.now < 13


def test_a_wake_up_that_never_comes_is_told(backend: str) -> None:
    scheduler = scheduler_of()

    async def wait() -> None:
        await anyio.Event().wait()

    with pytest.raises(BreachError, match="these wait for ever: the forgotten one"):
        anyio.run(scheduler.run, "the forgotten one", wait(), backend=backend)


def test_a_lost_wake_up_hangs_nobody_who_is_shielded(backend: str) -> None:
    scheduler, seen = scheduler_of(), list[str]()
    gate: list[anyio.Event] = []

    async def wait() -> None:
        try:
            await anyio.Event().wait()
        finally:
            gate[0].set()

    async def follow() -> None:
        with anyio.CancelScope(shield=True):
            await gate[0].wait()
            seen.append("woken")
            await scheduler.sleep(1)

    async def script() -> None:
        gate.append(anyio.Event())
        scheduler.start("leader", wait())
        scheduler.start("follower", follow())
        await scheduler.sleep(1)

    with pytest.raises(BreachError, match="these wait for ever: follower, leader"):
        anyio.run(scheduler.run, "script", script(), backend=backend)
    assert seen == []


def test_a_run_without_end_is_told(backend: str) -> None:
    scheduler = scheduler_of(most=50)

    async def poll() -> None:
        while True:
            await scheduler.sleep(1)

    with pytest.raises(BreachError, match=r"SIM-5.*the eager one goes on"):
        anyio.run(scheduler.run, "the eager one", poll(), backend=backend)


def test_the_first_failure_ends_everybody(backend: str) -> None:
    scheduler, seen = scheduler_of(), list[str]()

    async def sleep() -> None:
        try:
            await scheduler.sleep(1e9)
        finally:
            seen.append("ended")

    async def script() -> None:
        scheduler.start("sleeper", sleep())
        await scheduler.sleep(1)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        anyio.run(scheduler.run, "script", script(), backend=backend)
    assert seen == ["ended"]
    assert scheduler.now < 1e9


def test_a_hook_that_fails_ends_the_run(backend: str) -> None:
    def hook() -> None:
        raise ZeroDivisionError

    scheduler = Scheduler(0, most=10, before_each=hook)

    async def script() -> None:
        await scheduler.sleep(1)

    with pytest.raises(ZeroDivisionError):
        anyio.run(scheduler.run, "script", script(), backend=backend)
