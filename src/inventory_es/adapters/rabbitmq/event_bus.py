"""The event bus on RabbitMQ: the toolkit's sharded bus over its broker."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from inventory_es.adapters.rabbitmq.broker import RabbitBroker
from inventory_es.adapters.rabbitmq.connection import RabbitPlace
from inventory_es.ports.clock import Clock
from inventory_es.ports.toolkit.sharded_bus import ShardedBus
from inventory_es.ports.toolkit.urls import masked

_TIMEOUT = 5.0
_HEARTBEAT = 10
_SHARDS = 4
_OPTIONS = ("heartbeat", "shards")


class RabbitEventBus(ShardedBus):
    """An event bus on a RabbitMQ server, 3.10 or newer. Opened by :func:`open_rabbitmq_event_bus`.

    Each group has quorum queues of its own, which get events from its first subscription on. A queue keeps an event until it is settled.
    ``publish`` never waits for a slow group, whose backlog stands on the server. Only the first events of a failed call may be there.

    It is durable: the server syncs each event, attempt and dead letter before its answer. An acknowledgement of the last moment before a
    server dies may be lost; then its event comes again.
    """


def bus_at(url: str, clock: Clock, /, *, max_deliveries: int = 5, window: int = 100) -> Callable[[], Awaitable[RabbitEventBus]]:
    """Return a function that opens the bus of a URL, as :func:`open_rabbitmq_event_bus`; the caller closes it.

    Raises:
        ValueError: as :func:`open_rabbitmq_event_bus`.
    """
    place = RabbitPlace.parse(url, timeout=_TIMEOUT, own=_OPTIONS)
    shards, heartbeat = place.options.get("shards"), place.options.get("heartbeat", f"{_HEARTBEAT}")
    try:
        is_right = (shards is None or 1 <= int(shards) <= 1_024) and 1 <= int(heartbeat) <= 600
    except ValueError:
        is_right = False
    if not is_right or max_deliveries < 1 or not 1 <= window <= 65_535:
        msg = (
            f"{masked(url)!r}: shards are 1 to 1024, heartbeat is 1 to 600 whole seconds, a window is 1 to 65535, "
            "and max_deliveries is 1 or more"
        )
        raise ValueError(msg)

    async def open_bus() -> RabbitEventBus:
        wanted = None if shards is None else int(shards)
        broker = RabbitBroker(place, f"RabbitMQ event bus {place}", shards=wanted, window=window, heartbeat=int(heartbeat))
        try:
            await broker.open(_SHARDS)
        except BaseException:
            await broker.aclose()
            raise
        return RabbitEventBus(
            broker,
            clock=clock,
            durable=True,
            late_subscribers="live",
            max_deliveries=max_deliveries,
            window=window,
            survives_fork=True,
            source=place.prefix,
        )

    return open_bus


@asynccontextmanager
async def open_rabbitmq_event_bus(
    url: str, /, *, clock: Clock, max_deliveries: int = 5, window: int = 100
) -> AsyncIterator[RabbitEventBus]:
    """Open the bus on the server of a URL, or make one; it closes with the block.

    Args:
        url: ``amqp://[user:password@]host[:5672][/vhost][?option=value&…]``, or ``amqps://…`` for TLS. The option ``shards``, 4 by
            default, counts when the bus is made. ``heartbeat`` has the seconds, 10 by default, after which each side looks for a sign of
            life: after two of them the shards of a machine that vanished are taken over. ``prefix`` names the bus, ``timeout`` is the
            longest wait for an answer in seconds, 5 by default; ``ca=FILE`` is for TLS.
        clock: the time at which an event becomes a dead letter.
        max_deliveries: after so many an event is a dead letter, 1 or more.
        window: how many unanswered events of a shard are in memory, 1 to 65,535.

    Raises:
        ValueError: no such URL, an unknown option, or a bound out of range. The message has no password.
        EventBusUnavailableError: the server is away or refuses.
        IncompatibleStoreError: the bus has another number of shards, its queues are of another kind, or the server is too old.
    """
    bus = await bus_at(url, clock, max_deliveries=max_deliveries, window=window)()
    try:
        yield bus
    finally:
        await bus.aclose()
