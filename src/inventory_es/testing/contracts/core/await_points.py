"""One await point of a call: cancel the call there, or hold it there while another one runs."""

from collections.abc import Awaitable, Callable
from typing import TypeAlias

import anyio
from anyio.lowlevel import checkpoint

from inventory_es.testing.contracts.core.schedule import AtSuspension

MOST_POINTS = 60
_TURNS_HELD = 60

Call: TypeAlias = Callable[[AtSuspension], Awaitable[object]]
"""A call of an adapter that tells where it is suspended."""


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


async def hold_at(point: int, call: Call, meanwhile: Callable[[], Awaitable[object]]) -> bool:
    """Hold a call at its ``point``-th suspension while another one runs, wait for both, and return whether there is such a point.

    The other call has a bounded number of turns of the event loop to end before the first goes on, because it may wait for the first.
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
