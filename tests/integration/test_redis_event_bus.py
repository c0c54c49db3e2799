"""The event bus on Valkey in trouble: dead processes, killed, full and evicting servers, trimming, the relay over it."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
import redis

from inventory_es.adapters.redis import RedisEventBus, open_redis_event_bus
from inventory_es.adapters.redis.connection import Connection, RedisPlace
from inventory_es.adapters.redis.event_bus import RedisBroker
from inventory_es.adapters.system import SystemClock
from inventory_es.ports.errors import EventBusUnavailableError, IncompatibleStoreError
from tests.integration.bus_events import events, take
from tests.servers.valkey import DURABLE, Server, running_valkey, shared_cluster


@pytest.fixture
def server() -> Iterator[Server]:
    with running_valkey(DURABLE) as running:
        yield running


@asynccontextmanager
async def bus_on(server: Server, options: str = "shards=2", **settings: Any) -> AsyncIterator[RedisEventBus]:
    async with open_redis_event_bus(f"{server.url}?{options}", clock=SystemClock(), **settings) as bus:
        yield bus


def test_what_a_durable_server_took_is_delivered_after_it_was_killed(server: Server, backend: str) -> None:
    published = events("a", 3)

    async def play() -> None:
        async with bus_on(server, "shards=2&lease=0.2", max_deliveries=1) as bus:  # a delivery is not counted ahead then
            assert bus.capabilities.durable
            async with bus.subscribe("g") as deliveries:
                await bus.publish(published)
                assert await take(deliveries, 1) == published[:1]
                server.kill()
                with pytest.raises(EventBusUnavailableError):
                    await bus.publish(events("b", 1))
                with pytest.raises(EventBusUnavailableError):
                    await anext(aiter(deliveries))
                server.start()
                assert await take(deliveries, 2) == published[1:]

    anyio.run(play, backend=backend)


def test_only_a_server_that_syncs_each_write_is_durable(backend: str) -> None:
    async def play(server: Server) -> None:
        async with bus_on(server) as bus:
            assert not bus.capabilities.durable

    with running_valkey({"appendonly": "yes", "appendfsync": "everysec"}) as server:
        anyio.run(play, server, backend=backend)


def test_a_server_that_evicts_is_refused(backend: str) -> None:
    async def play(server: Server) -> None:
        with pytest.raises(IncompatibleStoreError, match="noeviction"):
            async with bus_on(server):
                pytest.fail("its events would vanish")

    with running_valkey({"maxmemory": "10mb", "maxmemory-policy": "allkeys-lru"}) as server:
        anyio.run(play, server, backend=backend)


def test_a_full_server_takes_no_event_and_says_why(backend: str) -> None:
    async def play(server: Server) -> None:
        async with bus_on(server) as bus, bus.subscribe("g") as deliveries:
            await bus.publish(events("a", 1))
            with redis.Redis.from_url(server.url) as raw:
                raw.config_set("maxmemory", "1mb")
                with pytest.raises(EventBusUnavailableError, match="maxmemory") as refused:
                    await bus.publish(events("a", 1, first=2))
                assert not refused.value.retryable
                raw.config_set("maxmemory", "0")
            await bus.publish(events("a", 1, first=2))
            assert [event.version for event in await take(deliveries, 2)] == [1, 2]

    with running_valkey({"maxmemory-policy": "noeviction"}) as server:
        anyio.run(play, server, backend=backend)


def test_trimming_keeps_what_any_group_has_not_settled(server: Server, backend: str) -> None:
    published = events("a", 6)

    async def play() -> None:
        async with bus_on(server, "shards=1") as bus:
            await bus.publish(published)
            assert await bus.trim() == 0, "a group that does not exist yet gets everything"
            async with bus.subscribe("slow") as deliveries:
                assert await take(deliveries, 2) == published[:2]
            async with bus.subscribe("fast") as deliveries:
                assert await take(deliveries, 6) == published
            assert await bus.trim() == 1, "the last settled event of the slowest group marks its place"
            async with bus.subscribe("slow") as deliveries:
                assert await take(deliveries, 4) == published[2:]
            async with bus.subscribe("late") as deliveries:
                assert await take(deliveries, 5) == published[1:]

    anyio.run(play, backend=backend)


@pytest.mark.parametrize("option", ["no", "yes"])
def test_a_cluster_serves_it(option: str, backend: str) -> None:
    async def play() -> None:
        options = f"shards=4&cluster={option}&prefix={option}_{backend}"
        async with bus_on(shared_cluster(), options, max_deliveries=1) as bus, bus.subscribe("g") as deliveries:
            for stream in "abcd":
                await bus.publish(events(stream, 1))
            assert len(await take(deliveries, 3)) == 3
            delivery = await anext(aiter(deliveries))
            await delivery.nack("no")
            assert [letter.event for letter in await bus.dead_letters("g")] == [delivery.event]
            assert await bus.redeliver("g", [delivery.event.event_id]) == 1
            assert await take(deliveries, 1) == [delivery.event]
            await bus.trim()

    anyio.run(play, backend=backend)


@asynccontextmanager
async def broker_on(server: Server) -> AsyncIterator[RedisBroker]:
    place = RedisPlace.parse(server.url, timeout=5)
    broker = RedisBroker(place, "bus", Connection(place.connect), shards=2, lease=600)
    try:
        yield broker
    finally:
        await broker.aclose()


@pytest.mark.parametrize("steps", range(0, 40, 2))
@pytest.mark.parametrize("is_same", [True, False])
def test_a_receive_that_asyncio_interrupts_keeps_no_shard(server: Server, steps: int, *, is_same: bool) -> None:
    async def consume(bus: RedisEventBus) -> None:
        async with bus.subscribe("g") as deliveries:
            await anext(aiter(deliveries))

    async def play() -> None:
        async with bus_on(server, "shards=2&lease=600") as bus, bus_on(server, "lease=600") as other:
            await bus.publish(events("a", 1))
            task = asyncio.create_task(consume(bus))
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            async with (bus if is_same else other).subscribe("g") as deliveries:
                assert len(await take(deliveries, 1)) == 1

    anyio.run(play, backend="asyncio")


def test_a_claim_counts_a_token_and_names_its_group_only_if_a_lease_is_free(server: Server, backend: str) -> None:
    async def play() -> None:
        async with broker_on(server) as broker, broker_on(server) as other:
            with redis.Redis.from_url(server.url) as raw:
                assert len(await broker.claim("g", [0])) == 1
                raw.delete("{inventory_es:b}:groups")  # as a failover may, after which trimming would pass the group over
                assert await other.claim("g", [0]) == []
                assert raw.smembers("{inventory_es:b}:groups") == set()
                assert len(await other.claim("g", [0, 1])) == 1
                assert raw.smembers("{inventory_es:b}:groups") == {b"g"}
                assert raw.hget("{inventory_es:b}:meta", "tokens") == b"2"

    anyio.run(play, backend=backend)


def test_a_bus_that_is_refused_leaves_no_connection(backend: str) -> None:
    async def play(server: Server) -> None:
        with pytest.raises(IncompatibleStoreError):
            async with bus_on(server):
                pytest.fail("it evicts")
        with redis.Redis.from_url(server.url) as raw:
            with anyio.fail_after(20):
                while len(raw.client_list()) > 1:
                    await anyio.lowlevel.checkpoint()

    with running_valkey({"maxmemory": "10mb", "maxmemory-policy": "allkeys-lru"}) as server:
        anyio.run(play, server, backend=backend)


def test_leases_are_renewed_soon_after_a_failure(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that restarts must not cost every lease."""
    pauses: list[float] = []

    class Over:
        def wait(self, pause: float) -> bool:
            pauses.append(pause)
            if len(pauses) == 2:
                server.kill()
            if len(pauses) == 3:
                server.start()
            return len(pauses) == 5

    async def play() -> None:
        async with broker_on(server) as broker:
            await broker.claim("g", [0])
            with monkeypatch.context() as patch:
                patch.setattr(broker, "_is_over", Over())
                await anyio.to_thread.run_sync(broker._renew)

    anyio.run(play)
    assert pauses == [200.0, 200.0, 20.0, 200.0, 200.0]
