"""The waiting of threads. Each wait blocks its thread, so no coroutine of the command side is ever suspended."""

import time
from collections.abc import Coroutine, Generator
from contextlib import nullcontext
from threading import Lock
from typing import Any, Self, TypeVar, cast

from inventory_es.application.commands.waiting import Scope
from inventory_es.ports.toolkit.waiting import Wakeup

T = TypeVar("T")


class _Wakeup(Wakeup):
    """An awaitable that blocks its thread until it is set. A lock is what a thread waits for at the least cost."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = Lock()
        self._lock.acquire()
        self._is_set = False

    def set_result(self, _result: None, /) -> None:
        self._is_set = True
        self._lock.release()

    def __await__(self) -> Generator[Any, Any, object]:
        self._lock.acquire()
        return cast("Generator[Any, Any, object]", iter(()))


class _Scope(nullcontext["_Scope"]):
    """A block of a thread, which nobody cancels."""

    def __enter__(self) -> Self:
        return self

    def cancel(self) -> None:
        """Do nothing: a thread finishes what it began."""


class ThreadWaiting:
    """The waiting of threads. An interruption, such as ``KeyboardInterrupt``, ends a wait as a cancellation does."""

    is_one_thread = False

    def wakeup(self) -> Wakeup:
        """Return an awaitable that blocks its thread."""
        return _Wakeup()

    def scope(self, *, shield: bool) -> Scope:  # noqa: ARG002  # nothing is to be shielded
        """Return a block that nobody cancels."""
        return _Scope()

    def cancellation(self) -> type[BaseException]:
        """Return the class of all interruptions: ``KeyboardInterrupt``, and those of a host."""
        return BaseException

    async def give_way(self) -> None:
        """Let other threads run."""
        time.sleep(0)  # noqa: ASYNC251, TID251  # among threads, each wait blocks

    async def pass_by(self) -> None:
        """Let other threads run."""
        time.sleep(0)  # noqa: ASYNC251, TID251  # among threads, each wait blocks

    async def check_cancelled(self) -> None:
        """Do nothing."""


def run_to_end(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in this thread and return its result.

    Raises:
        RuntimeError: it was suspended, so something in it waits for an event loop.
    """
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    coroutine.close()
    msg = f"{getattr(coroutine, '__qualname__', coroutine)} waits for an event loop: give the service a store without one"
    raise RuntimeError(msg)
