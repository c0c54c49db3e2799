"""Waits of a task: for another task of its event loop, or for a position by polling."""

import math
from collections.abc import Awaitable, Callable, Generator
from typing import Any

import anyio
from anyio.lowlevel import current_token


class Wakeup:
    """What one task waits for, once, by awaiting it. The futures of an event loop are wake-ups too, and cost a third of an event.

    Args:
        event: what is behind it. Others may wait for it too, and be woken without this one.
    """

    __slots__ = ("_event", "_is_set")

    def __init__(self, event: anyio.Event) -> None:
        self._event = event
        self._is_set = False

    def done(self) -> bool:
        """Whether it is set, or its task was cancelled."""
        return self._is_set

    def set_result(self, _result: None, /) -> None:
        """Let the task go on; not if it is done."""
        self._is_set = True
        self._event.set()

    def __await__(self) -> Generator[Any, Any, object]:
        yield from self._event.wait().__await__()
        while not self._is_set:  # others were woken
            self._event = anyio.Event()
            yield from self._event.wait().__await__()
        return None


def futures() -> Callable[[], Wakeup | None]:
    """What makes futures of the running event loop; ``None`` where it has none."""
    loop: Any = current_token().native_token
    make: Callable[[], Wakeup | None] = getattr(loop, "create_future", _none)
    return make


def _none() -> None:
    return None


async def poll_for_position(
    head: Callable[[], Awaitable[int]],
    position: int,
    /,
    *,
    timeout: float,
    interval: float = 0.1,
) -> bool:
    """What an adapter without notification answers to :meth:`inventory_es.ports.EventFeed.wait_for_position`.

    Args:
        head: the store's own ``head``.
        position: what to wait for.
        timeout: the longest wait, in seconds, 0 or more; with 0 it asks once.
        interval: between two questions, in seconds, above 0.

    Returns:
        Whether the position was seen before the timeout.

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
    """Refuse a wait that no caller can mean.

    Raises:
        ValueError: ``timeout`` is negative or not a number.
    """
    if math.isnan(timeout) or timeout < 0:
        msg = "timeout must be 0 or more seconds"
        raise ValueError(msg)
