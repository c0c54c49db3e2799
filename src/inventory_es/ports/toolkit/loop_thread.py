"""A thread with an event loop of asyncio, for a driver that is of asyncio alone, whatever loop the host runs."""

from collections.abc import Awaitable, Callable
from concurrent.futures import Future, wait
from contextlib import suppress
from contextvars import Context
from functools import partial
from typing import Any, TypeVar

from anyio import CancelScope, CapacityLimiter, Event, get_cancelled_exc_class
from anyio.from_thread import start_blocking_portal
from anyio.lowlevel import checkpoint_if_cancelled, current_token

from inventory_es.ports.toolkit.blocking_calls import BlockingCalls, Call, WithdrawnError
from inventory_es.ports.toolkit.waiting import blocks, look_again

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
        return self.submit(function, *arguments).result()

    def submit(self, function: Callable[..., Awaitable[T]], *arguments: object) -> Future[T]:
        """Begin to run a coroutine function; return its outcome. For any thread but this one. See :meth:`run`."""
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
        result.add_done_callback(self._unanswered.discard)
        Context().run(self._running.call_soon_threadsafe, lambda: tasks.append(self._running.create_task(call())))
        return result

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


class LoopCalls(BlockingCalls):
    """Calls of coroutine functions in a thread, under the rules of :class:`BlockingCalls`. No worker thread waits for them.

    Args:
        thread: runs them.
        limiter: how many callers without an event loop call at once.
        name: of the resource, for errors.
    """

    def __init__(self, thread: LoopThread, limiter: CapacityLimiter, *, name: str) -> None:
        super().__init__(limiter, name=name)
        self._thread = thread

    async def outcome(self, function: Callable[..., Awaitable[T]], *arguments: object) -> Future[T]:
        """Call a coroutine function, and return the future once it is done.

        Raises:
            StoreClosedError: closing began before the call did, or a fork inherited this object.
        """
        if blocks():
            return self._run(partial(self._done, function, *arguments))
        await checkpoint_if_cancelled()
        call = Call(partial(function, *arguments))
        has_ended = Event()
        token: Any = current_token().native_token  # trio's own, or asyncio's loop
        wake: Callable[[Callable[[], None]], object] = getattr(token, "run_sync_soon", None) or token.call_soon_threadsafe

        def end(_future: object) -> None:
            call.has_ended = True
            with self._lock:
                self._running -= 1
            if call.is_left or self._is_closing:
                look_again()
            with suppress(RuntimeError):  # the caller's event loop is gone
                wake(has_ended.set)

        async def do() -> T:
            call.has_begun = True
            if call.is_left:
                raise WithdrawnError
            return await call.function()

        with self._lock:
            if not self.is_open:
                raise self._closed()
            self._running += 1
        try:
            future = self._thread.submit(do)
        except BaseException:
            with self._lock:
                self._running -= 1
            raise
        future.add_done_callback(end)
        try:
            with CancelScope(shield=True):
                await has_ended.wait()
        except BaseException as cancelled:
            self._leave(call, cancelled)
            raise
        return future

    def _done(self, function: Callable[..., Awaitable[T]], *arguments: object) -> Future[T]:
        future = self._thread.submit(function, *arguments)
        wait((future,))
        return future
