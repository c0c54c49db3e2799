"""Callers as tasks of the running event loop."""

import time
from collections.abc import Awaitable, Callable
from itertools import count

import anyio

from benchmarks.measure import Measure, of_calls


async def in_tasks(callers: int, calls: int, call: Callable[[int], Awaitable[object]], *, patience: float) -> Measure:
    """Make up to ``calls`` calls in ``callers`` tasks, for at most ``patience`` seconds."""
    numbers = count()
    waits: list[float] = []
    started = time.perf_counter()
    deadline = started + patience

    async def caller() -> None:
        while (number := next(numbers)) < calls and (before := time.perf_counter()) < deadline:
            await call(number)
            waits.append(time.perf_counter() - before)

    async with anyio.create_task_group() as group:
        for _ in range(callers):
            group.start_soon(caller)
    return of_calls(waits, time.perf_counter() - started)
