"""Event buses and the cache on servers, beside the bare drivers: ``python -m benchmarks.buses [SECONDS]``.

Needs the dependency group ``test``, and RabbitMQ for its lines.

Each server syncs every write, on the disk of the folder for temporary files. The candidates take turns, five times, and the medians are
printed. Events have 400 bytes. "publish" is in batches of 100; "deliver" receives and acknowledges one event after the other, of a backlog
on one shard. The bare drivers publish 100 at a time, and receive 100 at a time and acknowledge each of them, with a confirmation of the
server, which an acknowledgement of the buses has too. That of RabbitMQ is the answer to a call behind it. The cache keeps 400 bytes, for
one caller, beside ``SET`` with ``PX`` and ``HMGET``.
"""

import os
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from itertools import count
from typing import Any

import aiormq
import anyio
import nats
import redis
from pamqp.commands import Basic

from inventory_es.adapters.nats import open_nats_event_bus
from inventory_es.adapters.rabbitmq import open_rabbitmq_event_bus
from inventory_es.adapters.redis import RedisCache, open_redis_cache, open_redis_event_bus
from inventory_es.adapters.system import SystemClock
from inventory_es.ports import EventBus, RecordedEvent
from inventory_es.testing.contracts.core.event_labels import EventLabels, recorded, stream_id
from tests.servers import valkey
from tests.servers.nats import running_nats
from tests.servers.rabbitmq import HAS_RABBITMQ, HOW_TO_GET_IT, running_rabbitmq

BATCH = 100
BODY = os.urandom(150).hex().encode() + b"x" * 100
ROUNDS = 5

Candidate = tuple[Callable[[], Awaitable[None]], Callable[[int], Awaitable[None]]]
"""Publishes a batch; receives and acknowledges so many events."""


def batches() -> Iterator[list[RecordedEvent]]:
    """Yield batches of events of a hundred streams."""
    labels = EventLabels()
    streams = [stream_id(f"s{n}") for n in range(BATCH)]
    for version in count(1):
        found = [recorded(stream, version, version, labels.event(f"{stream}{version}")) for stream in streams]
        yield [
            RecordedEvent(e.stream, e.version, e.position, e.event_id, e.event_type, e.schema_version, e.recorded_at, BODY, e.metadata)
            for e in found
        ]


@asynccontextmanager
async def of_bus(bus: EventBus) -> AsyncIterator[Candidate]:
    made = batches()
    async with bus.subscribe("g") as deliveries:
        iterator = aiter(deliveries)

        async def publish() -> None:
            await bus.publish(next(made))

        async def receive(number: int) -> None:
            for _ in range(number):
                await (await anext(iterator)).ack()

        yield publish, receive


@asynccontextmanager
async def of_nats(url: str) -> AsyncIterator[Candidate]:
    client = await nats.connect(url)
    stream: Any = client.jetstream()
    await stream.add_stream(name="bare", subjects=["bare.>"])
    subscription = await stream.pull_subscribe("bare.>", durable="g", stream="bare")

    async def publish() -> None:
        async with anyio.create_task_group() as tasks:
            for number in range(BATCH):
                tasks.start_soon(stream.publish, f"bare.{number % 16}", BODY)

    async def receive(number: int) -> None:
        for _ in range(0, number, BATCH):
            for message in await subscription.fetch(BATCH):
                await message.ack_sync()

    yield publish, receive
    await client.close()


@asynccontextmanager
async def of_redis(url: str) -> AsyncIterator[Candidate]:
    client: Any = redis.Redis.from_url(url)
    client.xgroup_create("bare", "g", id="0", mkstream=True)

    async def publish() -> None:
        pipeline = client.pipeline(transaction=True)
        for _ in range(BATCH):
            pipeline.xadd("bare", {"e": BODY})
        pipeline.execute()

    async def receive(number: int) -> None:
        for _ in range(0, number, BATCH):
            for place, _ in client.xreadgroup("g", "c", {"bare": ">"}, count=BATCH)[0][1]:
                client.xack("bare", "g", place)

    yield publish, receive
    client.close()


@asynccontextmanager
async def of_rabbitmq(url: str) -> AsyncIterator[Candidate]:
    client = await aiormq.connect(url)
    channel = await client.channel()
    await channel.queue_declare("bare", durable=True, arguments={"x-queue-type": "quorum"})
    await channel.basic_qos(prefetch_count=BATCH)
    sender, receiver = anyio.create_memory_object_stream[Any](BATCH)
    await channel.basic_consume("bare", sender.send)

    async def publish() -> None:
        async with anyio.create_task_group() as tasks:
            for _ in range(BATCH):
                tasks.start_soon(_publish)

    async def _publish() -> None:
        await channel.basic_publish(BODY, routing_key="bare", properties=Basic.Properties(delivery_mode=2))

    async def receive(number: int) -> None:
        for _ in range(number):
            await channel.basic_ack((await receiver.receive()).delivery_tag)
            await channel.basic_qos(prefetch_count=BATCH)

    with sender, receiver:
        yield publish, receive
        await client.close()


def of_plain_commands(url: str) -> Candidate:
    client: Any = redis.Redis.from_url(url)
    for each in range(BATCH):
        client.hset(f"hash{each}", mapping={"v": 1, "d": BODY})

    async def write() -> None:
        for number in range(BATCH):
            client.set(f"bare{number}", BODY, px=60_000)

    async def read(number: int) -> None:
        for each in range(number):
            client.hmget(f"hash{each % BATCH}", "v", "d")

    return write, read


def of_cache(cache: RedisCache) -> Candidate:
    async def write() -> None:
        for number in range(BATCH):
            await cache.set(f"k{number}", BODY, version=1, ttl=timedelta(minutes=1))

    async def read(number: int) -> None:
        for each in range(number):
            await cache.get(f"k{each % BATCH}")

    return write, read


async def rates(candidate: Candidate, seconds: float) -> tuple[float, float]:
    """Return events per second: published, and received."""
    publish, receive = candidate
    start, number = time.perf_counter(), 0
    while time.perf_counter() < start + seconds:
        await publish()
        number += BATCH
    published = number / (time.perf_counter() - start)
    start, got = time.perf_counter(), 0
    while got < number and time.perf_counter() < start + seconds:
        await receive(BATCH)
        got += BATCH
    return published, got / (time.perf_counter() - start)


async def compare(name: str, bare: Candidate, bus: Candidate, seconds: float, *, works: Sequence[str] = ("publish", "deliver")) -> None:
    found = [(await rates(bare, seconds), await rates(bus, seconds)) for _ in range(ROUNDS)]
    for index, work in enumerate(works):
        theirs, ours = (statistics.median(one[which][index] for one in found) for which in (0, 1))
        ratio = statistics.median(one[1][index] / one[0][index] for one in found)
        print(f"{name:8} {work:8} bare {theirs:8,.0f}/s  ours {ours:8,.0f}/s  ratio {ratio:.2f}", flush=True)


async def main(seconds: float) -> None:
    async with AsyncExitStack() as stack:
        server = stack.enter_context(running_nats(in_memory=False))
        bare = await stack.enter_async_context(of_nats(server.url))
        bus = await stack.enter_async_context(open_nats_event_bus(f"{server.url}?shards=1&sync=always", clock=SystemClock()))
        await compare("NATS", bare, await stack.enter_async_context(of_bus(bus)), seconds)
    async with AsyncExitStack() as stack:
        other = stack.enter_context(valkey.running_valkey(valkey.DURABLE, in_memory=False))
        bare = await stack.enter_async_context(of_redis(other.url))
        second = await stack.enter_async_context(open_redis_event_bus(f"{other.url}?shards=1", clock=SystemClock()))
        await compare("Valkey", bare, await stack.enter_async_context(of_bus(second)), seconds)
    with valkey.running_valkey({}) as plain:
        async with open_redis_cache(plain.url, timeout=5) as cache:
            await compare("Valkey", of_plain_commands(plain.url), of_cache(cache), seconds, works=("set", "get"))
    if not HAS_RABBITMQ:
        print(f"no RabbitMQ: {HOW_TO_GET_IT}")
        return
    async with AsyncExitStack() as stack:
        rabbit = stack.enter_context(running_rabbitmq(in_memory=False))
        bare = await stack.enter_async_context(of_rabbitmq(rabbit.url))
        third = await stack.enter_async_context(open_rabbitmq_event_bus(f"{rabbit.url}?shards=1", clock=SystemClock()))
        await compare("RabbitMQ", bare, await stack.enter_async_context(of_bus(third)), seconds)


if __name__ == "__main__":
    anyio.run(main, float(sys.argv[1]) if len(sys.argv) > 1 else 1.0)
