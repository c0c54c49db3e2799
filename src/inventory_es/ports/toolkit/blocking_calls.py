"""Blocking calls in worker threads, and a close that waits for the last of them. A thread without an event loop makes them itself.

A function that waits for another process calls :func:`check_wanted` from time to time, so that its wait ends with its caller.
"""

import os
import threading
import warnings
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any, Generic, ParamSpec, TypeVar

import anyio
import anyio.from_thread
import anyio.to_thread
import attrs

from inventory_es.ports.errors import StoreClosedError
from inventory_es.ports.toolkit.waiting import blocks, look_again, wait_until

P = ParamSpec("P")
T = TypeVar("T")

_MOST_SLOTS = 1_000

_is_wanted: ContextVar[Callable[[], bool] | None] = ContextVar("inventory_es_is_wanted", default=None)


class WithdrawnError(Exception):
    """A call was given up before it had an effect.

    This error is the cause of the cancellation that the caller gets. A cancellation without this cause may have come during the call.
    """


def was_withdrawn(problem: BaseException) -> bool:
    """Return True if the call that ended in this cancellation had no effect."""
    return isinstance(problem.__cause__, WithdrawnError)


@contextmanager
def wanted_while(is_wanted: Callable[[], bool]) -> Generator[None, None, None]:
    """Let :func:`check_wanted` call ``is_wanted`` inside the block, in this thread."""
    token = _is_wanted.set(is_wanted)
    try:
        yield
    finally:
        _is_wanted.reset(token)


def check_wanted() -> None:
    """Raise if no caller waits any more for the work of this thread.

    Raises:
        WithdrawnError: the caller has gone.
        BaseException: the cancellation of the task that waits for this worker thread, with ``WithdrawnError`` as its cause.
    """
    is_wanted = _is_wanted.get()
    if is_wanted is not None and not is_wanted():
        raise WithdrawnError
    try:
        anyio.from_thread.check_cancelled()
    except RuntimeError:
        return  # this is no worker thread of an event loop
    except BaseException as cancelled:
        raise cancelled from WithdrawnError()


@attrs.define(eq=False)
class Call(Generic[T]):
    """One call of a function, shared by its caller and its thread.

    Attributes:
        has_begun: set by the thread before it looks at ``is_left``.
        is_left: set by the caller before it looks at ``has_begun``. So at least one of them sees the other's mark.
        has_ended: True after the function has returned or raised, or will never be called.
    """

    function: Callable[[], T]
    has_begun: bool = False
    is_left: bool = False
    has_ended: bool = False

    def run(self) -> T:
        """Call the function in this thread, unless the caller was told that it had not begun."""
        self.has_begun = True
        _is_wanted.set(lambda: not self.is_left)  # in the thread's own copy of the context
        if self.is_left:
            raise WithdrawnError
        return self.function()

    def leave(self, cancelled: BaseException) -> None:
        """Leave the call because of a cancellation, and mark the cancellation if the function has not begun."""
        self.is_left = True
        if not self.has_begun:
            cancelled.__cause__ = WithdrawnError()


async def run_in_thread(function: Callable[[], T], *, limiter: anyio.CapacityLimiter | None = None) -> T:
    """Call a blocking function in a worker thread, and wait for it once it began. Its own waits end if the caller is cancelled.

    A native cancellation of asyncio interrupts this call while the function goes on. Then the function's waits end too.
    """
    if blocks():
        return function()
    call = Call(function)
    try:
        return await anyio.to_thread.run_sync(call.run, limiter=limiter)
    except Exception:
        raise
    except BaseException as cancelled:
        call.leave(cancelled)
        raise


async def to_its_end(call: Callable[[], Awaitable[None]]) -> None:
    """Await a call that may be repeated, once more if asyncio's own cancellation interrupts it, which no shield stops."""
    try:
        await call()
    except Exception:
        raise
    except BaseException:
        await call()
        raise


class BlockingCalls:
    """Blocking calls on one resource, each in a worker thread.

    The lock that keeps calls apart, and the count of running calls, live in the threads and not in the event loop. A task that asyncio
    cancels leaves its thread running, and the next call must not meet it.

    An object that is dropped before it was closed warns, because its owner has forgotten to close the resource.

    Args:
        limiter: how many calls run at once, 1,000 at most; ``None`` for one at a time.
        name: of the resource, for errors.
    """

    _is_closing = True

    def __init__(self, limiter: anyio.CapacityLimiter | None, *, name: str) -> None:
        self._limiter = limiter
        at_once = 1 if limiter is None else limiter.total_tokens
        # Locks, and no semaphore: that is Python code, which a signal can leave half done.
        self._slots = tuple(threading.Lock() for _ in range(int(min(max(at_once, 1), _MOST_SLOTS))))
        self._name = name
        self._process = os.getpid()
        self._lock = threading.RLock()
        self._running = 0
        self._left: list[Call[Any]] = []
        self._is_closing = False
        self._is_closed = False

    def __del__(self) -> None:
        if self.is_open:
            warnings.warn(f"{self._name} was dropped and not closed", ResourceWarning, stacklevel=2, source=self)

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call the function in a worker thread; see :func:`run_in_thread`.

        Raises:
            StoreClosedError: closing began before the call did, or a fork inherited this object.
        """
        if blocks():
            return self._run(partial(function, *args, **kwargs))
        if self._is_closing or os.getpid() != self._process:
            raise self._closed()
        self._limiter = self._limiter or anyio.CapacityLimiter(1)
        call = Call(partial(function, *args, **kwargs))
        try:
            return await anyio.to_thread.run_sync(self._run, call.run, call, limiter=self._limiter)
        except Exception:
            raise
        except BaseException as cancelled:
            self._leave(call, cancelled)
            raise

    async def settle(self) -> None:
        """Wait for functions that still run although asyncio interrupted their callers."""
        if self._left:
            await anyio.to_thread.run_sync(self._wait_for_left, limiter=anyio.CapacityLimiter(1), abandon_on_cancel=True)

    @property
    def is_open(self) -> bool:
        """True if calls are accepted: closing has not begun, and the current process made this object."""
        return not self._is_closing and os.getpid() == self._process

    def refuse(self) -> None:
        """Let no further call begin. Running calls go on."""
        self._is_closing = True

    async def close(self, function: Callable[[], None]) -> None:
        """Let no further call begin, wait for the running ones, then call the function. A second close is a no-op.

        A close after a fork is a no-op too: the resource belongs to the parent, and its threads are not here.
        """
        if os.getpid() != self._process:
            return
        self.refuse()
        if blocks():
            self._close(function)
            return
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self._close, function, limiter=anyio.CapacityLimiter(1))

    def _run(self, function: Callable[[], T], call: Call[T] | None = None) -> T:
        is_refused = True
        try:
            with self._lock:
                if self._is_closing or os.getpid() != self._process:
                    raise self._closed()
                self._running += 1
                is_refused = False
            slot = self._slots[0]
            if slot.locked():
                slot = next((one for one in self._slots if not one.locked()), self._slots[self._running % len(self._slots)])
            with slot:
                return function()
        finally:
            with self._lock:
                self._running -= not is_refused
            if call is not None:
                call.has_ended = True
            if call is not None or self._is_closing:
                look_again()

    def _leave(self, call: Call[Any], cancelled: BaseException) -> None:
        call.leave(cancelled)
        if not was_withdrawn(cancelled):
            with self._lock:
                self._left.append(call)

    def _wait_for_left(self) -> None:
        wait_until(lambda: all(call.has_ended for call in self._left))
        self._left = []

    def _close(self, function: Callable[[], None]) -> None:
        def is_idle() -> bool:
            with self._lock:
                return self._running == 0

        wait_until(is_idle)
        with self._lock:
            if not self._is_closed:
                self._is_closed = True
                function()

    def _closed(self) -> StoreClosedError:
        if os.getpid() != self._process:
            return StoreClosedError(store=self._name, reason="it was inherited by fork")
        return StoreClosedError(store=self._name)
