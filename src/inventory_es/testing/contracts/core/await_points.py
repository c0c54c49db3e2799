"""The await points of a call: cancel a call at one of them, or hold it there while another call runs."""

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeAlias

import anyio
from anyio.lowlevel import checkpoint, current_token

from inventory_es.testing.contracts.core.schedule import AtSuspension

MOST_POINTS = 60
CALLERS = 64
_TURNS_HELD = 60

Call: TypeAlias = Callable[[AtSuspension], Awaitable[object]]
"""A call of an adapter, which takes a callback for its suspensions."""


async def cancel_at(point: int, call: Call, *, delay: int = 0) -> bool:
    """Cancel a call at one of its suspensions, and return whether the call has so many.

    Args:
        point: the number of the suspension; 0 for before the call begins.
        call: the call.
        delay: the turns of the event loop between the suspension and the cancellation.
    """
    suspensions = 0
    reached = anyio.Event()
    with anyio.CancelScope() as scope:

        def count() -> None:
            nonlocal suspensions
            suspensions += 1
            if suspensions == point:
                reached.set()
                if not delay:
                    scope.cancel()

        async def cancel() -> None:
            await reached.wait()
            for _ in range(delay):
                await checkpoint()
            scope.cancel()

        if point == 0:
            scope.cancel()
        if not delay:
            await call(count)
        else:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(cancel)
                await call(count)
                tasks.cancel_scope.cancel()
    return point == 0 or suspensions >= point


async def cut_off(turns: int, call: Callable[[], Coroutine[Any, Any, None]], begin: Callable[[], Awaitable[object]]) -> None:
    """Cancel a call so many turns of the event loop after ``begin`` returned, and wait for its end.

    On asyncio this is the cancellation of its task, as ``asyncio.timeout`` makes it. No shield stops that one.
    """

    async def cancel(what: Any) -> None:
        await begin()
        for _ in range(turns):
            await checkpoint()
        what.cancel()

    loop: Any = current_token().native_token  # trio's own, or asyncio's loop
    if not hasattr(loop, "create_task"):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call)
            await cancel(tasks.cancel_scope)
        return
    is_over = anyio.Event()
    task = loop.create_task(call())
    task.add_done_callback(lambda _: is_over.set())
    await cancel(task)
    await is_over.wait()
    if not task.cancelled():
        task.result()  # raises its failure


async def hold_at(point: int, call: Call, meanwhile: Callable[[], Awaitable[object]]) -> bool:
    """Hold a call at a suspension while another one runs, wait for both, and return whether the call has so many suspensions.

    The other call may wait for the first one. So the first one goes on after a bounded number of turns of the event loop.

    Args:
        point: the number of the suspension, starting at 1.
        call: the call that is held.
        meanwhile: makes the other call.
    """
    reached = anyio.Event()
    suspensions = 0

    def count() -> int | None:
        nonlocal suspensions
        suspensions += 1
        if suspensions != point:
            return None
        reached.set()
        return _TURNS_HELD

    async def other() -> None:
        await reached.wait()
        await meanwhile()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(other)
        await call(count)
        if not reached.is_set():
            tasks.cancel_scope.cancel()
    return reached.is_set()


async def close_again(point: int, close: Callable[..., Coroutine[Any, Any, object]]) -> bool:
    """Cancel a close at a suspension, close twice at once, and return whether the first close has so many suspensions."""
    is_reached = await cancel_at(point, lambda at: close(at_suspension=at))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(close)
        tasks.start_soon(close)
    return is_reached


async def cancel_some(
    ask: Callable[[int], Coroutine[Any, Any, object]], give_up: Callable[[int, int], Coroutine[Any, Any, object]], *, points: int
) -> None:
    """Let many callers ask while others give up, then let 64 ask at once.

    Args:
        ask: asks as the caller of this number, and judges the answer.
        give_up: asks as the caller of a number, and is cancelled at a suspension.
        points: the suspensions at which callers give up: 0 to one less.
    """
    for point in range(points):
        async with anyio.create_task_group() as tasks:
            for number in range(CALLERS // 2):
                tasks.start_soon(give_up, number + 1, point)
                tasks.start_soon(ask, number)
    async with anyio.create_task_group() as tasks:
        for number in range(CALLERS):
            tasks.start_soon(ask, number)
