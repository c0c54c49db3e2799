"""The event bus on NATS JetStream: the toolkit's sharded bus over its broker."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import anyio

from inventory_es.adapters.nats.broker import NatsBroker, translated
from inventory_es.adapters.nats.connection import Connection, NatsPlace
from inventory_es.adapters.nats.streams import Found, prepare
from inventory_es.ports.clock import Clock
from inventory_es.ports.event_bus import GroupLag
from inventory_es.ports.toolkit.append_rules import check_page
from inventory_es.ports.toolkit.delivery_rules import check_group
from inventory_es.ports.toolkit.sharded_bus import ShardedBus
from inventory_es.ports.toolkit.urls import masked

_TIMEOUT = 5.0
_LEASE = 10.0
_OPTIONS = ("lease", "replicas", "shards", "sync")


class NatsEventBus(ShardedBus, GroupLag):
    """An event bus on a NATS server with JetStream, 2.12 or newer. Opened by :func:`open_nats_event_bus`.

    Events are kept until :meth:`trim`, and a new group gets all of them. ``publish`` never waits for a slow group, whose backlog stands on
    the server. A publish of up to a thousand events and a megabyte happens whole or not at all.

    JetStream acknowledges an event before it syncs it, up to two minutes before by default. So the bus is durable with 3 replicas or more,
    or if the host declares by ``sync=always`` that the server has ``sync_interval: always``. No client can read that setting. The feed has
    all events: let the relay publish those again that a power cut took. With replicas, a list of dead letters may lack those of the last
    moment.
    """

    def __init__(
        self, broker: NatsBroker, *, clock: Clock, durable: bool, max_event_bytes: int, max_deliveries: int = 5, window: int = 100
    ) -> None:
        super().__init__(
            broker,
            clock=clock,
            durable=durable,
            max_deliveries=max_deliveries,
            window=window,
            max_event_bytes=max_event_bytes,
            survives_fork=True,
            source=broker.prefix,
        )
        self._nats = broker

    async def trim(self) -> int:
        """Remove the events that every group has settled; return their number. A group that is away keeps all from its place on."""
        return await self._nats.trim()

    async def lag(self, group: str, /, *, most: int = 10_000) -> int:
        """Return how far a group is behind. See :class:`~inventory_es.ports.event_bus.GroupLag`."""
        check_group(group)
        check_page(limit=most)
        return min(most, await self._nats.lag(group))


def bus_at(url: str, clock: Clock, /, *, max_deliveries: int = 5, window: int = 100) -> Callable[[], Awaitable[NatsEventBus]]:
    """Return a function that opens the bus of a URL, as :func:`open_nats_event_bus`; the caller closes it.

    Raises:
        ValueError: as :func:`open_nats_event_bus`.
    """
    place = NatsPlace.parse(url, timeout=_TIMEOUT, own=_OPTIONS)
    shards, replicas, lease = place.options.get("shards"), place.options.get("replicas"), place.options.get("lease", f"{_LEASE}")
    try:
        is_right = (shards is None or 1 <= int(shards) <= 1_024) and 0.01 <= float(lease) <= 600
    except ValueError:
        is_right = False
    if not is_right or min(max_deliveries, window) < 1 or replicas not in {None, "1", "3", "5"}:
        msg = (
            f"{masked(url)!r}: shards are 1 to 1024, lease is 0.01 to 600 seconds, replicas are 1, 3 or 5, "
            "and every other bound is 1 or more"
        )
        raise ValueError(msg)
    if place.options.get("sync", "always") != "always":
        msg = f"{masked(url)!r}: write sync=always if the server has sync_interval: always, or leave it out"
        raise ValueError(msg)

    async def open_bus() -> NatsEventBus:
        name = f"NATS event bus {place}"
        connection, found = await anyio.to_thread.run_sync(translated, name, partial(_open, place, name))
        broker = NatsBroker(name, connection, found.streams, shards=found.shards, lease=float(lease))
        is_durable = found.replicas >= 3 or "sync" in place.options
        return NatsEventBus(
            broker,
            clock=clock,
            durable=is_durable,
            max_event_bytes=found.max_event_bytes,
            max_deliveries=max_deliveries,
            window=window,
        )

    return open_bus


@asynccontextmanager
async def open_nats_event_bus(url: str, /, *, clock: Clock, max_deliveries: int = 5, window: int = 100) -> AsyncIterator[NatsEventBus]:
    """Open the bus on the server of a URL, or make one; it closes with the block.

    Args:
        url: ``nats://[user:password@|token@]host[:4222][,host…][?option=value&…]``. The options ``shards``, 16 by default, and
            ``replicas``, 1, 3 or 5, 1 by default, count when the bus is made. ``lease`` has the seconds after which the shards of a process
            that died are taken over, 10 by default. ``sync=always`` declares that the server syncs each write. ``prefix`` names the bus,
            ``timeout`` is the longest wait for an answer in seconds, 5 by default; ``tls=yes`` and ``ca=FILE`` are for TLS.
        clock: the time at which an event becomes a dead letter.
        max_deliveries: after so many an event is a dead letter, 1 or more.
        window: how many unanswered events of a shard are in memory, 1 or more.

    Raises:
        ValueError: no such URL, an unknown option, or a bound out of range. The message has no password.
        EventBusUnavailableError: the server is away or refuses.
        IncompatibleStoreError: the bus has another number of shards or of replicas, its streams could lose messages, or the server is
            too old.
    """
    bus = await bus_at(url, clock, max_deliveries=max_deliveries, window=window)()
    try:
        yield bus
    finally:
        await bus.aclose()


def _open(place: NatsPlace, name: str) -> tuple[Connection, Found]:
    connection = Connection(place, name)
    try:
        return connection, connection.run(prepare, place, name, connection)
    except BaseException:
        connection.end(connection.close)
        raise
