"""A thread with an event loop of asyncio, for a driver that is of asyncio alone, whatever loop the host runs."""

from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextvars import Context
from functools import partial
from typing import Any, TypeVar

from anyio import get_cancelled_exc_class
from anyio.from_thread import start_blocking_portal
from anyio.lowlevel import current_token

T = TypeVar("T")


class LoopThread:
    """A thread that runs coroutine functions until its end.

    Args:
        name: of the thread.
    """

    def __init__(self, name: str) -> None:
        self._loop = start_blocking_portal("asyncio", name=name)
        self._portal = self._loop.__enter__()
        self._running: Any = self._portal.call(current_token).native_token  # asyncio's own loop
        self._unanswered: set[Future[Any]] = set()

    def run(self, function: Callable[..., Awaitable[T]], *arguments: object) -> T:
        """Run a coroutine function to its end. For any thread but this one. What the end of this thread meets is cancelled."""
        result = Future[T]()
        tasks: list[object] = []  # the loop itself keeps none

        async def call() -> None:
            try:
                result.set_result(await function(*arguments))
            except get_cancelled_exc_class():
                result.cancel()
                raise
            except BaseException as problem:  # noqa: BLE001  # the caller raises it
                result.set_exception(problem)

        # In a context of its own: the loop's timers keep theirs for a while after their end, and the caller's has the caller's arguments.
        # Not by the portal, which wakes the calling thread twice.
        self._unanswered.add(result)
        try:
            Context().run(self._running.call_soon_threadsafe, lambda: tasks.append(self._running.create_task(call())))
            return result.result()
        finally:
            self._unanswered.discard(result)

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
            for result in tuple(self._unanswered):  # a task that the loop did not begin any more
                result.cancel()
