"""Waits of a task: for another task of its event loop, or for a position by polling."""

import math
from collections.abc import Awaitable, Callable, Generator
from typing import Any

import anyio
from anyio.lowlevel import current_token


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
    with anyio.move_on_after(timeout):
        while True:
            await anyio.sleep(interval)
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
