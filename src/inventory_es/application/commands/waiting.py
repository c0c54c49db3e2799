"""The port through which the command side waits: for other callers, and for the end of what was begun.

Callers are tasks of one event loop, or threads; nothing else in this package knows which.
"""

from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager
from typing import Any, Protocol, Self

import anyio
from anyio.lowlevel import cancel_shielded_checkpoint, checkpoint, checkpoint_if_cancelled

from inventory_es.ports.toolkit.waiting import Wakeup, futures


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
    give_way: "staticmethod[[], Coroutine[Any, Any, None]]" = staticmethod(cancel_shielded_checkpoint)
    pass_by: "staticmethod[[], Coroutine[Any, Any, None]]" = staticmethod(checkpoint)
    check_cancelled: "staticmethod[[], Coroutine[Any, Any, None]]" = staticmethod(checkpoint_if_cancelled)
