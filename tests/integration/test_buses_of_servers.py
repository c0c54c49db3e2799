"""What every event bus on a server does: a process that dies or leaves, another number of shards, the relay by URL."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

import anyio
import pytest
from anyio.streams.buffered import BufferedByteReceiveStream

from inventory_es import open_inventory
from inventory_es.adapters.kafka import open_kafka_event_bus
from inventory_es.adapters.nats import open_nats_event_bus
from inventory_es.adapters.rabbitmq import open_rabbitmq_event_bus
from inventory_es.adapters.redis import open_redis_event_bus
from inventory_es.adapters.system import SystemClock
from inventory_es.ports import EventBus, RecordedEvent
from inventory_es.ports.errors import IncompatibleStoreError
from tests.integration.bus_events import events, on_one_loop, take
from tests.servers.kafka import running_kafka
from tests.servers.nats import running_nats
from tests.servers.rabbitmq import needs_rabbitmq, own_prefix
from tests.servers.valkey import DURABLE, running_valkey

ROOT = Path(__file__).parents[2]


@contextmanager
def redis_url() -> Iterator[str]:
    with running_valkey(DURABLE) as server:
        yield f"{server.url}?prefix=inventory_es"


@contextmanager
def nats_url() -> Iterator[str]:
    with running_nats() as server:
        yield f"{server.url}?prefix=inventory_es"


@contextmanager
def kafka_url() -> Iterator[str]:
    with running_kafka() as server:
        yield f"{server.url}?prefix=inventory_es"


SERVERS: Mapping[str, Callable[[], AbstractContextManager[str]]] = {
    "redis": redis_url,
    "nats": nats_url,
    "rabbitmq": own_prefix,
    "kafka": kafka_url,
}
OPENING = {
    "redis": open_redis_event_bus,
    "nats": open_nats_event_bus,
    "amqp": open_rabbitmq_event_bus,
    "kafka": open_kafka_event_bus,
}


@pytest.fixture(params=["redis", "nats", pytest.param("rabbitmq", marks=needs_rabbitmq), "kafka"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    with SERVERS[request.param]() as found:
        yield found


def lease(url: str, seconds: float) -> str:
    """Return the option for it: a broker of queues sees at once that the connection of a process has gone."""
    return "" if url.startswith("amqp") else f"&lease={seconds}"


def bus_at(url: str) -> AbstractAsyncContextManager[EventBus]:
    return OPENING[url.partition(":")[0]](url, clock=SystemClock())


DYING = """
import anyio, sys
from contextlib import aclosing
from inventory_es.adapters.system import SystemClock
from inventory_es.wiring import bus_opener

async def main():
    async with aclosing(await bus_opener(sys.argv[1], SystemClock())()) as bus, bus.subscribe("g") as deliveries:
        async for delivery in deliveries:
            print(delivery.event.version, delivery.attempt, flush=True)
            if delivery.event.version > 1:
                await anyio.sleep_forever()
            await delivery.ack()

anyio.run(main)
"""


@on_one_loop
@pytest.mark.parametrize("url", ["redis", "nats"], indirect=True)  # Kafka's is with the driver's mock, whose groups lose a dead member
def test_a_process_that_dies_is_replaced_and_what_it_had_comes_again(url: str, backend: str) -> None:
    """Its pending event comes again as attempt 2; what it had acknowledged and what it had not received yet lose nothing."""
    published = events("a", 4)

    async def play() -> None:
        async with bus_at(f"{url}&shards=2{lease(url, 0.3)}") as bus:
            async with bus.subscribe("g"):
                pass
            await bus.publish(published)
            command = [sys.executable, "-c", DYING, f"{url}{lease(url, 0.3)}"]
            async with await anyio.open_process(command, stderr=None, cwd=ROOT) as process:
                assert process.stdout is not None
                said = BufferedByteReceiveStream(process.stdout)
                assert [await said.receive_until(b"\n", 100) for _ in range(2)] == [b"1 1", b"2 1"]
                async with bus.subscribe("g") as deliveries:
                    iterator = aiter(deliveries)
                    with anyio.move_on_after(1):  # three leases, which the living process renews
                        pytest.fail(f"a living owner lost {(await anext(iterator)).event}")
                    process.kill()
                    with anyio.fail_after(20):
                        delivery = await anext(iterator)
                    assert (delivery.event, delivery.attempt) == (published[1], 2)
                    await delivery.ack()
                    assert await take(deliveries, 2) == published[2:]

    anyio.run(play, backend=backend)


def test_a_process_that_leaves_is_replaced_at_once(url: str, backend: str) -> None:
    async def play() -> None:
        async with bus_at(f"{url}&shards=2{lease(url, 600)}") as one, bus_at(f"{url}{lease(url, 600)}") as other:
            async with one.subscribe("g") as deliveries:
                await one.publish(events("a", 2))
                assert len(await take(deliveries, 1)) == 1
            async with other.subscribe("g") as deliveries:
                assert await take(deliveries, 1) == events("a", 2)[1:]

    anyio.run(play, backend=backend)


def test_another_number_of_shards_is_refused(url: str, backend: str) -> None:
    async def play() -> None:
        async with bus_at(f"{url}&shards=3"):
            pass
        async with bus_at(url) as bus:
            assert bus.capabilities.max_in_memory == 300
        with pytest.raises(IncompatibleStoreError, match="it has 3 shards, not 4"):
            async with bus_at(f"{url}&shards=4"):
                pytest.fail("its events would be looked for in other shards")

    anyio.run(play, backend=backend)


def test_the_relay_feeds_it_by_url(url: str, backend: str) -> None:
    async def play() -> None:
        async with open_inventory("memory:", read_models="memory:", bus=f"{url}&shards=2") as inventory:
            await inventory.add_stock("tea", "berlin", 3)
            await inventory.add_stock("tea", "berlin", 4)
            async with bus_at(f"{url}&shards=2") as bus, bus.subscribe("g") as deliveries, anyio.create_task_group() as tasks:
                tasks.start_soon(partial(inventory.followers.run, on_failure="stop"))
                got: Sequence[RecordedEvent] = await take(deliveries, 2)
                inventory.followers.stop()
            assert [(str(event.stream), event.version) for event in got] == [("inventory-tea-berlin", 1), ("inventory-tea-berlin", 2)]

    anyio.run(play, backend=backend)
