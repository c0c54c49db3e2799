"""The event bus on Kafka: the toolkit's sharded bus over its broker."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import anyio
from confluent_kafka.admin import AdminClient

from inventory_es.adapters.kafka.broker import KafkaBroker
from inventory_es.adapters.kafka.place import KafkaPlace, prepare, translated
from inventory_es.ports.clock import Clock
from inventory_es.ports.toolkit.sharded_bus import ShardedBus
from inventory_es.ports.toolkit.urls import masked

_TIMEOUT = 5.0
_LEASE = 10.0
_MOST_WINDOW = 100
_OPTIONS = ("lease", "replicas", "shards")


class KafkaEventBus(ShardedBus):
    """An event bus on Kafka. Opened by :func:`open_kafka_event_bus`.

    Events are kept until :meth:`trim`, and a new group gets all of them. ``publish`` never waits for a slow group, whose backlog stands on
    the servers. Several processes share the shards of a group. When one joins, others finish what they handle, and give shards to it.

    The bus is durable if the cluster says that each acknowledged event is on two servers and survives the loss of one. So its topics have
    more replicas than ``min.insync.replicas``, which is 2 or more, and no unclean election. A group that is away for longer than the
    servers' ``offsets.retention.minutes`` gets every kept event again.
    """

    def __init__(
        self, broker: KafkaBroker, *, clock: Clock, durable: bool, max_event_bytes: int, max_deliveries: int = 5, window: int = _MOST_WINDOW
    ) -> None:
        super().__init__(
            broker, clock=clock, durable=durable, max_deliveries=max_deliveries, window=window, max_event_bytes=max_event_bytes
        )
        self._kafka = broker

    async def trim(self) -> int:
        """Remove the events that every group has settled; return their number. A group that is away keeps all from its place on."""
        return await self._kafka.trim()


def bus_at(url: str, clock: Clock, /, *, max_deliveries: int = 5, window: int = _MOST_WINDOW) -> Callable[[], Awaitable[KafkaEventBus]]:
    """Return a function that opens the bus of a URL, as :func:`open_kafka_event_bus`; the caller closes it.

    Raises:
        ValueError: as :func:`open_kafka_event_bus`.
    """
    place = KafkaPlace.parse(url, timeout=_TIMEOUT, own=_OPTIONS)
    shards, replicas, lease = place.options.get("shards"), place.options.get("replicas", "1"), place.options.get("lease", f"{_LEASE}")
    try:
        is_right = (shards is None or 1 <= int(shards) <= 1_024) and 1 <= float(lease) <= 600 and 1 <= int(replicas) <= 9
    except ValueError:
        is_right = False
    if not is_right or max_deliveries < 1 or not 1 <= window <= _MOST_WINDOW:
        msg = (
            f"{masked(url)!r}: shards are 1 to 1024, lease is 1 to 600 seconds, replicas are 1 to 9, window is 1 to {_MOST_WINDOW}, "
            "and max_deliveries is 1 or more"
        )
        raise ValueError(msg)

    async def open_bus() -> KafkaEventBus:
        name = f"Kafka event bus {place}"
        broker, durable, size = await anyio.to_thread.run_sync(translated, name, partial(_open, place, name, float(lease)))
        return KafkaEventBus(broker, clock=clock, durable=durable, max_event_bytes=size, max_deliveries=max_deliveries, window=window)

    return open_bus


@asynccontextmanager
async def open_kafka_event_bus(
    url: str, /, *, clock: Clock, max_deliveries: int = 5, window: int = _MOST_WINDOW
) -> AsyncIterator[KafkaEventBus]:
    """Open the bus on the cluster of a URL, or make one; it closes with the block.

    Args:
        url: ``kafka://[user:password@]host[:9092][,host…][?option=value&…]``. The options ``shards``, 16 by default, and ``replicas``
            count when the topics are made. The option ``lease`` has the seconds after which the shards of a process that died are taken
            over, 10 by default. The servers bound it. ``prefix`` names the bus, and ``timeout`` is the longest wait for an answer in
            seconds, 5 by default. ``tls=yes`` and ``ca=FILE`` are for TLS. ``sasl`` is the mechanism for user and password.
        clock: the time at which an event becomes a dead letter.
        max_deliveries: after so many an event is a dead letter, 1 or more.
        window: how many unanswered events of a shard are in memory, 1 to 100.

    Raises:
        ValueError: no such URL, an unknown option, or a bound out of range. The message has no password.
        EventBusUnavailableError: the cluster is away or refuses.
        IncompatibleStoreError: the bus has another number of shards, or its topics could lose events.
    """
    bus = await bus_at(url, clock, max_deliveries=max_deliveries, window=window)()
    try:
        yield bus
    finally:
        await bus.aclose()


def _open(place: KafkaPlace, name: str, lease: float) -> tuple[KafkaBroker, bool, int]:
    admin = AdminClient(place.settings())
    found = prepare(place, name, admin)
    return KafkaBroker(place, name, admin, shards=found.shards, lease=lease), found.is_durable, found.max_event_bytes
