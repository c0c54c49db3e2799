"""Waiting for a position by asking again and again: the feed hint of a store that can't notify."""

import math
from collections.abc import Awaitable, Callable

import anyio


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
