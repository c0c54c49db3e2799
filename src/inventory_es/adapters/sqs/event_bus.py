"""The opening of the event bus on Amazon SQS, by URL."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio

from inventory_es.adapters.sqs.broker import SqsEventBus, opened
from inventory_es.adapters.sqs.place import SqsPlace
from inventory_es.ports.clock import Clock
from inventory_es.ports.toolkit.urls import masked

_TIMEOUT = 5.0
_LEASE = 30
_POLL = 0.5
_MAX_EVENT_BYTES = 256 << 10
"""The service takes 1 MiB. In the worst form, with Base64 twice, an event grows to three times its size."""


def bus_at(url: str, clock: Clock, /, *, max_deliveries: int = 5, window: int = 100) -> Callable[[], Awaitable[SqsEventBus]]:
    """Return a function that opens the bus of a URL, as :func:`open_sqs_event_bus`; the caller closes it.

    Raises:
        ValueError: as :func:`open_sqs_event_bus`.
    """
    place = SqsPlace.parse(url, timeout=_TIMEOUT, lease=_LEASE, poll=_POLL)
    if min(max_deliveries, window) < 1:
        msg = f"{masked(url)!r}: max_deliveries and window are 1 or more"
        raise ValueError(msg)

    async def open_bus() -> SqsEventBus:
        broker = await anyio.to_thread.run_sync(opened, place)
        return SqsEventBus(
            broker,
            clock=clock,
            durable=True,
            late_subscribers="live",
            max_deliveries=max_deliveries,
            window=window,
            max_event_bytes=_MAX_EVENT_BYTES,
            poll_interval=place.poll,
            survives_fork=True,
            source=place.prefix,
        )

    return open_bus


@asynccontextmanager
async def open_sqs_event_bus(url: str, /, *, clock: Clock, max_deliveries: int = 5, window: int = 100) -> AsyncIterator[SqsEventBus]:
    """Open the bus in the region of a URL; it closes with the block.

    Args:
        url: ``sqs://REGION[?option=value&…]``. The option ``lease``, 30 by default, has the whole seconds after which an event of a
            process that died comes again. ``poll`` has the seconds between two looks for events, 0.5 by default: each look of each group
            is a request. ``prefix`` names the bus. ``endpoint`` is the URL of another server. ``timeout`` is the longest wait for an
            answer in seconds, 5 by default; a request without one is sent again once. Credentials are found by the driver.
        clock: the time at which an event becomes a dead letter.
        max_deliveries: after so many an event is a dead letter, 1 or more.
        window: how many unanswered events consumers of this process hold per shard, of which it has 16; 1 or more.

    Raises:
        ValueError: no such URL, credentials in it, an unknown option, or a bound out of range. The message has no credentials.
        EventBusUnavailableError: the service is away or refuses, or the driver finds no credentials.
    """
    bus = await bus_at(url, clock, max_deliveries=max_deliveries, window=window)()
    try:
        yield bus
    finally:
        await bus.aclose()
