"""The port through which the command side waits: for other callers, and for the end of what was begun.

Callers are tasks of one event loop, or threads; nothing else in this package knows which.
"""

import threading
import time
from collections.abc import Callable, Coroutine, Generator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol, Self, cast

import anyio
import attrs
from anyio.lowlevel import cancel_shielded_checkpoint, checkpoint, checkpoint_if_cancelled

from inventory_es.ports.toolkit.waiting import Wakeup, blocks, finishing, futures


class Scope(AbstractContextManager["Scope"], Protocol):
    """A block whose waits can be cancelled from outside."""

    def __enter__(self) -> Self: ...

    def cancel(self) -> None:
        """Cancel the waits in the block."""


class Waiting(Protocol):
    """The waiting of one caller for others.

    Attributes:
        is_one_thread: True if all callers run in one thread, so that a step without ``await`` is atomic.
    """

    is_one_thread: bool

    def wakeup(self) -> Wakeup:
        """Return what the calling task awaits until another caller sets it."""
        ...

    def scope(self, *, shield: bool) -> Scope:
        """Return a scope. A shield delays the cancellation of the caller until the block has ended."""
        ...

    def cancellation(self) -> type[BaseException]:
        """Return the class of the exception that cancels a caller."""
        ...

    def finishing(self) -> AbstractContextManager[None]:
        """Return a block whose calls of the store are answered even if the caller is cancelled, because others wait for the answer too."""
        ...

    async def give_way(self) -> None:
        """Let other callers run for one step. A cancellation is not delivered here."""

    async def pass_by(self) -> None:
        """Let other callers run for one step, or deliver a cancellation."""

    async def check_cancelled(self) -> None:
        """Deliver a cancellation if there is one, at once."""


class TaskWaiting:
    """The waiting of tasks of one event loop."""

    is_one_thread = True

    def __init__(self) -> None:
        self._future: Callable[[], Wakeup | None] | None = None

    def wakeup(self) -> Wakeup:
        """Return a future where the event loop has them, and an event elsewhere."""
        if self._future is None:
            self._future = futures()
        return self._future() or Wakeup(anyio.Event())

    def cancellation(self) -> type[BaseException]:
        """Return the cancellation class of the running event loop."""
        return anyio.get_cancelled_exc_class()

    scope: "staticmethod[..., anyio.CancelScope]" = staticmethod(anyio.CancelScope)
    finishing: "staticmethod[[], AbstractContextManager[None]]" = staticmethod(finishing)
    give_way: "staticmethod[[], Coroutine[Any, Any, None]]" = staticmethod(cancel_shielded_checkpoint)
    pass_by: "staticmethod[[], Coroutine[Any, Any, None]]" = staticmethod(checkpoint)
    check_cancelled: "staticmethod[[], Coroutine[Any, Any, None]]" = staticmethod(checkpoint_if_cancelled)


class _ThreadWakeup(Wakeup):
    """An awaitable that blocks its thread until it is set. A lock is what a thread waits for at the least cost.

    The class of the lock is looked up here, because gevent may have patched it since this module was imported.
    """

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()
        self._is_set = False

    def set_result(self, _result: None, /) -> None:
        self._is_set = True
        self._lock.release()

    def __await__(self) -> Generator[Any, Any, object]:
        self._lock.acquire()
        return cast("Generator[Any, Any, object]", iter(()))


@attrs.frozen(kw_only=True)
class _ThreadScope(AbstractContextManager["_ThreadScope"]):
    """A block of a thread, which nobody cancels."""

    shield: bool

    def __exit__(self, *_: object) -> None:
        pass

    def cancel(self) -> None:
        """Do nothing: a thread finishes what it began."""


class ThreadWaiting:
    """The waiting of threads. An interruption, such as ``KeyboardInterrupt``, ends a wait as a cancellation does."""

    is_one_thread = False

    def wakeup(self) -> Wakeup:
        """Return an awaitable that blocks its thread."""
        return _ThreadWakeup()

    def cancellation(self) -> type[BaseException]:
        """Return the class of all interruptions: ``KeyboardInterrupt``, and those of a host."""
        return BaseException

    scope: "staticmethod[..., _ThreadScope]" = staticmethod(_ThreadScope)
    finishing: "staticmethod[[], AbstractContextManager[None]]" = staticmethod(nullcontext)

    async def give_way(self) -> None:
        """Let other threads run."""
        time.sleep(0)  # noqa: ASYNC251, TID251  # among threads, each wait blocks; gevent may have patched it since the import

    async def pass_by(self) -> None:
        """Let other threads run."""
        time.sleep(0)  # noqa: ASYNC251, TID251  # among threads, each wait blocks; gevent may have patched it since the import

    async def check_cancelled(self) -> None:
        """Do nothing."""


def waiting_here() -> Waiting:
    """Return the waiting of the caller's kind."""
    return ThreadWaiting() if blocks() else TaskWaiting()
