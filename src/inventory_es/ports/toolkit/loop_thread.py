"""A thread with an event loop of asyncio, for a driver that is of asyncio alone, whatever loop the host runs."""

import asyncio  # noqa: TID251  # the loop of this thread is asyncio's
from collections.abc import Awaitable, Callable
from contextvars import Context
from functools import partial
from typing import TypeVar

from anyio.from_thread import start_blocking_portal

T = TypeVar("T")


class LoopThread:
    """A thread that runs coroutine functions until its end.

    Args:
        name: of the thread.
    """

    def __init__(self, name: str) -> None:
        self._loop = start_blocking_portal("asyncio", name=name)
        self._portal = self._loop.__enter__()
        self._running = self._portal.call(asyncio.get_running_loop)

    def run(self, function: Callable[..., Awaitable[T]], *arguments: object) -> T:
        """Run a coroutine function to its end. For any thread but this one."""

        async def call() -> T:
            return await function(*arguments)

        # In a context of its own: the loop's timers keep theirs for a while after their end, and the caller's has the caller's arguments.
        # Not the portal's call, which wakes the calling thread twice.
        return Context().run(asyncio.run_coroutine_threadsafe, call(), self._running).result()

    def start(self, function: Callable[[], Awaitable[None]]) -> None:
        """Run a coroutine function until the end of the thread."""
        self._portal.start_task_soon(function)

    def end(self, close: Callable[[], Awaitable[None]]) -> None:
        """Run a last coroutine function, and end whatever else runs in the thread. No coroutine runs after it."""
        try:
            self._portal.call(close)
        finally:
            self._portal.call(partial(self._portal.stop, cancel_remaining=True))
            self._loop.__exit__(None, None, None)
