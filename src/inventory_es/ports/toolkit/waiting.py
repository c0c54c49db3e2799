"""Waits, for callers of both kinds: tasks of an event loop, and threads.

The code of this package is written once, as coroutines. A thread runs such a coroutine by :func:`run_to_end`: each wait in it blocks the
thread, so the coroutine ends without being suspended. Whatever waits, in the engine or in an adapter, does so through this module.
"""

import math
import os
import queue
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from contextvars import ContextVar, copy_context
from functools import partial
from sys import get_asyncgen_hooks, set_asyncgen_hooks
from traceback import clear_frames
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

import anyio
from anyio.lowlevel import checkpoint, current_token

T = TypeVar("T")


# Not of threads: greenlets have contexts of their own, also where a host patched threading after this import.
_is_driven: ContextVar[bool] = ContextVar("inventory_es_is_driven", default=False)
_scopes: ContextVar["_ThreadScope | None"] = ContextVar("inventory_es_scopes", default=None)
_must_finish: ContextVar[bool] = ContextVar("inventory_es_must_finish", default=False)

STATE_LOCK = threading.RLock()
"""Guards short changes of objects in memory that threads share. One lock for all of them: a fork can wait for it."""

_LONGEST_WAIT = 1.0
"""Seconds after which a thread that waits looks by itself: a signal may end the change that it waits for before it is woken."""


_waiting: set[queue.SimpleQueue[None]] = set()
"""One queue per thread that waits. There is no condition: that is Python code, which a signal can leave half done."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=STATE_LOCK.acquire, after_in_parent=STATE_LOCK.release, after_in_child=STATE_LOCK.release)
    os.register_at_fork(after_in_child=_waiting.clear)


def run_to_end(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in this thread, whose waits block the thread, and return its result.

    An event loop that runs in this thread stands still meanwhile. What is called in here and runs an event loop of its own is not
    affected.

    Raises:
        RuntimeError: it was suspended, so something in it waits for an event loop.
    """
    hooks, was_driven = get_asyncgen_hooks(), _is_driven.get()
    try:
        _is_driven.set(True)
        if hooks.firstiter is not None:  # of the loop around it, which must not take the generators in here for its own
            set_asyncgen_hooks(None, None)
        coroutine.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    except BaseException as interrupted:
        if not isinstance(interrupted, Exception):  # its traceback may live on, and with it blocks that were left and hold locks
            clear_frames(interrupted.__traceback__)
        raise
    finally:
        _is_driven.set(was_driven)
        if hooks.firstiter is not None:
            set_asyncgen_hooks(*hooks)
    coroutine.close()
    msg = f"{getattr(coroutine, '__qualname__', coroutine)} waits for an event loop: give the service a store without one"
    raise RuntimeError(msg)


def blocks() -> bool:
    """Return True if a wait of the caller blocks its thread: inside :func:`run_to_end`, and in no task of an event loop in there."""
    return _is_driven.get() and get_asyncgen_hooks().firstiter is None  # a running loop has hooks


def each_to_end(iterator: AsyncIterator[T]) -> Iterator[T]:
    """Iterate in this thread over an asynchronous generator, which is closed with the iteration."""
    generator: Any = iterator

    async def step() -> T:  # a call of a method of the generator would tell the hooks of a loop around this
        item: T = await generator.__anext__()
        return item

    async def close() -> None:
        await generator.aclose()

    try:
        while True:
            try:
                item = run_to_end(step())
            except StopAsyncIteration:
                return
            yield item
    finally:
        run_to_end(close())


async def give_way() -> None:
    """Let other tasks run for one step, or deliver a cancellation. Threads take turns without it."""
    if not (_is_driven.get() and get_asyncgen_hooks().firstiter is None):
        await checkpoint()


async def pause(seconds: float) -> None:
    """Wait for so many seconds."""
    if blocks():
        wait_until(lambda: False, seconds)
    else:
        await anyio.sleep(seconds)


def now() -> float:
    """Return the seconds of a clock that never goes back: the event loop's, or the system's."""
    return time.monotonic() if blocks() else anyio.current_time()


class Scope(Protocol):
    """A block whose waits can be ended from outside, and end at its deadline; execution goes on after the block."""

    @property
    def cancelled_caught(self) -> bool:
        """True if its waits were ended."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /) -> bool: ...

    def cancel(self) -> None:
        """End the waits in the block. For any task of the same event loop, or for any thread."""


def scope(seconds: float = math.inf, *, shield: bool = False) -> Scope:
    """Return a scope of at most so many seconds.

    Args:
        seconds: bound of the waits in it, 0 or more.
        shield: delay a cancellation from outside until the block has ended. A thread is not cancelled from outside.
    """
    if blocks():
        return _ThreadScope(seconds)
    return anyio.CancelScope(deadline=anyio.current_time() + seconds, shield=shield)


class Event(Protocol):
    """A mark that callers wait for. Once set, it stays so."""

    def set(self) -> None:
        """Set the mark, and wake every caller that waits for it."""

    def is_set(self) -> bool:
        """Return True once the mark is set."""
        ...

    async def wait(self) -> None:
        """Wait until the mark is set."""


def new_event() -> Event:
    """Return an event for tasks of the running event loop, or for threads."""
    if blocks():
        return _ThreadEvent()
    event: Event = anyio.Event()
    return event


class Exclusive:
    """A lock whose holders are tasks of one event loop, or threads. Not reentrant."""

    def __init__(self) -> None:
        self._tasks: anyio.Lock | None = None
        self._holder: int | None = None

    async def __aenter__(self) -> None:
        if blocks():
            caller = threading.get_ident()

            def take() -> bool:
                with STATE_LOCK:
                    self._holder = self._holder or caller
                return self._holder == caller

            try:
                wait_until(take)
            except BaseException:
                self.let_go()
                raise
        else:
            self._tasks = self._tasks or anyio.Lock()
            await self._tasks.acquire()

    def let_go(self) -> None:
        """Undo what a signal left of a block of this thread. Idempotent."""
        if self._holder == threading.get_ident():
            self._holder = None
            look_again()

    async def __aexit__(self, *_: object) -> None:
        if self._holder is not None:
            self._holder = None
            look_again()
        elif self._tasks is not None:
            self._tasks.release()


class Tasks(Protocol):
    """Work that goes on at the same time, until the block around it ends."""

    def start_soon(self, function: Callable[..., Awaitable[Any]], /, *args: Any) -> None:
        """Begin to work."""


def together() -> AbstractAsyncContextManager[Tasks]:
    """Return a group of works that end with its block: tasks, or threads. A work that raises ends the others."""
    if blocks():
        return _Threads()
    tasks: Any = anyio.create_task_group()
    group: AbstractAsyncContextManager[Tasks] = tasks
    return group


async def do_all(works: Iterable[Callable[[], Awaitable[object]]], *, at_once: int) -> None:
    """Do short works in any order: so many at once in an event loop, one after the other in a thread."""
    if blocks():
        for work in works:
            await work()
        return
    limiter = anyio.CapacityLimiter(at_once)

    async def do(work: Callable[[], Awaitable[object]]) -> None:
        async with limiter:
            await work()

    async with anyio.create_task_group() as tasks:
        for work in works:
            tasks.start_soon(do, work)


class _ScopeEnded(BaseException):  # no error, and nothing in between catches it
    def __init__(self, ended: "_ThreadScope") -> None:
        self.scope = ended


class _ThreadScope:
    """A :class:`Scope` of a thread."""

    def __init__(self, seconds: float) -> None:
        self.deadline = time.monotonic() + seconds
        self.outer: _ThreadScope | None = None
        self.is_cancelled = False
        self.cancelled_caught: bool = False

    def __enter__(self) -> Self:
        self.outer = _scopes.get()
        _scopes.set(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> bool:
        _scopes.set(self.outer)
        self.cancelled_caught = isinstance(error, _ScopeEnded) and error.scope is self
        return self.cancelled_caught

    def cancel(self) -> None:
        self.is_cancelled = True
        look_again()


class _ThreadEvent:
    """An :class:`Event` for threads."""

    def __init__(self) -> None:
        self._is_set = False

    def set(self) -> None:
        self._is_set = True
        look_again()

    def is_set(self) -> bool:
        return self._is_set

    async def wait(self) -> None:
        wait_until(self.is_set)


class _Threads(AbstractAsyncContextManager["_Threads"]):
    """A group of works in threads. They end with the caller's: an error, or an interruption, ends the waits of all the others."""

    def __init__(self) -> None:
        self._scope = _ThreadScope(math.inf)
        self._threads: list[threading.Thread] = []
        self._problems: list[BaseException] = []
        self._is_given_up = False

    async def __aenter__(self) -> Self:
        self._scope.__enter__()
        return self

    def start_soon(self, function: Callable[..., Awaitable[Any]], /, *args: Any) -> None:
        work = partial(copy_context().run, self._work, function, args)
        thread = threading.Thread(target=work, name=f"inventory_es {getattr(function, '__qualname__', 'work')}", daemon=True)
        self._threads.append(thread)
        try:
            thread.start()
        except RuntimeError:  # the system has no more of them
            self._threads.remove(thread)
            raise

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> bool:
        try:
            if error is not None:
                self._give_up()
            while self._threads:
                self._threads[-1].join()
                self._threads.pop()
        except BaseException:
            self._give_up()
            for thread in self._threads:
                thread.join()
            raise
        finally:
            is_ours = self._scope.__exit__(kind, error, trace)
        if self._problems and (error is None or is_ours):
            raise self._problems[0]
        return is_ours

    def _give_up(self) -> None:
        """Cancel the works. One whose thread was interrupted before it started never begins, and nobody can join it."""
        self._is_given_up = True
        self._scope.cancel()
        self._threads = [thread for thread in self._threads if thread.ident is not None]

    def _work(self, function: Callable[..., Awaitable[Any]], args: tuple[Any, ...]) -> None:
        if self._is_given_up:
            return
        _scopes.set(self._scope)

        async def work() -> None:
            await function(*args)

        try:
            run_to_end(work())
        except _ScopeEnded:
            pass
        except BaseException as problem:  # noqa: BLE001  # raised by the thread that waits for all of them
            self._problems.append(problem)
            self._scope.cancel()


def wait_until(is_over: Callable[[], bool], seconds: float = math.inf) -> None:
    """Block this thread until ``is_over()``, for at most so many seconds, or until a scope around it ends."""
    if is_over():
        return
    until = time.monotonic() + seconds
    news: queue.SimpleQueue[None] = queue.SimpleQueue()  # of the class that gevent may have put there since the import
    try:
        _waiting.add(news)
        while not is_over():
            left = min(until, _deadline()) - time.monotonic()
            if left <= 0:
                return
            with suppress(queue.Empty):
                news.get(timeout=min(left, _LONGEST_WAIT))
    finally:
        _waiting.discard(news)


def look_again() -> None:
    """Wake every thread in :func:`wait_until`, after a change that it may wait for."""
    for news in tuple(_waiting):
        news.put(None)


def _deadline() -> float:
    """Return the earliest deadline of the scopes around this thread, or raise if one of them has ended: the outermost of these."""
    at, ended, one = math.inf, None, _scopes.get()
    while one is not None:
        if one.is_cancelled or one.deadline <= time.monotonic():
            ended = one
        at = min(at, one.deadline)
        one = one.outer
    if ended is not None:
        raise _ScopeEnded(ended)
    return at


def time_left() -> float | None:
    """Return the seconds until the scopes around this thread end, for a wait of another kind; ``None`` if they don't."""
    if not blocks() or (at := _deadline()) == math.inf:
        return None
    return max(0.0, at - time.monotonic())


@contextmanager
def finishing() -> Generator[None, None, None]:
    """Let calls that begin in the block be answered even if their caller is cancelled, because others wait for the answer too."""
    token = _must_finish.set(True)
    try:
        yield
    finally:
        _must_finish.reset(token)


def must_finish() -> bool:
    """Return True inside :func:`finishing`."""
    return _must_finish.get()


def serves_threads(port: object) -> bool:
    """Return True if a port's coroutines run to their end in any thread, as those of all shipped adapters do.

    The adapter says so itself by its attribute ``serves_threads``. A subclass that does not say so again may wait for its event loop.
    """
    return "serves_threads" in vars(type(port)) and bool(getattr(port, "serves_threads", False))


class Wakeup:
    """A signal that one task awaits once. The futures of an event loop are wake-ups too, at a third of the cost of an event.

    Args:
        event: the event behind the signal. Other tasks may wait for the same event, and be woken without this one.
    """

    __slots__ = ("_event", "_is_set")

    def __init__(self, event: anyio.Event) -> None:
        self._event = event
        self._is_set = False

    def done(self) -> bool:
        """Return True if the wake-up is set, or its task was cancelled."""
        return self._is_set

    def set_result(self, _result: None, /) -> None:
        """Let the task go on. Must not be called once :meth:`done` is True."""
        self._is_set = True
        self._event.set()

    def __await__(self) -> Generator[Any, Any, object]:
        yield from self._event.wait().__await__()
        while not self._is_set:  # others were woken
            self._event = anyio.Event()
            yield from self._event.wait().__await__()
        return None


def futures() -> Callable[[], Wakeup | None]:
    """Return a factory of the running event loop's futures. The factory returns ``None`` where the loop has none."""
    loop: Any = current_token().native_token
    make: Callable[[], Wakeup | None] = getattr(loop, "create_future", lambda: None)
    return make


async def poll_for_position(head: Callable[[], Awaitable[int]], position: int, /, *, timeout: float, interval: float = 0.1) -> bool:
    """Poll for a position: :meth:`inventory_es.ports.EventFeed.wait_for_position` of an adapter without notification.

    Args:
        head: the store's own ``head``.
        position: the position to wait for.
        timeout: the longest wait, in seconds, 0 or more; 0 polls once.
        interval: between two polls, in seconds, above 0.

    Returns:
        True if the position was seen before the timeout.

    Raises:
        ValueError: ``timeout`` or ``interval`` out of range.
    """
    check_timeout(timeout)
    if not interval > 0:
        msg = "interval must be above 0 seconds"
        raise ValueError(msg)
    if await head() >= position:
        return True
    with scope(timeout):
        while True:
            await pause(interval)
            if await head() >= position:
                return True
    return False


def check_timeout(timeout: float) -> None:
    """Refuse a timeout that is out of range.

    Raises:
        ValueError: ``timeout`` is negative or not a number.
    """
    if math.isnan(timeout) or timeout < 0:
        msg = "timeout must be 0 or more seconds"
        raise ValueError(msg)
