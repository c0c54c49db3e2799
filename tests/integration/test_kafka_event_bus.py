"""The event bus on Kafka in trouble: rebalances in the middle of handling, former owners, killed and frozen servers, foreign topics."""

import logging
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.streams.buffered import BufferedByteReceiveStream
from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from inventory_es.adapters.kafka import KafkaEventBus, open_kafka_event_bus
from inventory_es.adapters.kafka.broker import KafkaBroker
from inventory_es.adapters.kafka.member import Member
from inventory_es.adapters.kafka.place import KafkaPlace, prepare
from inventory_es.adapters.system import SystemClock
from inventory_es.ports import BusSubscription, Delivery, RecordedEvent
from inventory_es.ports.errors import EventBusUnavailableError, IncompatibleStoreError
from inventory_es.ports.toolkit.broker import Claim, OwnershipLostError
from inventory_es.ports.toolkit.waiting import wait_until
from tests.integration.bus_events import events, on_one_loop, take
from tests.servers.kafka import Server, running_kafka

ROOT = Path(__file__).parents[2]
_ILLEGAL_GENERATION = 22


@pytest.fixture
def server() -> Iterator[Server]:
    with running_kafka() as running:
        yield running


@asynccontextmanager
async def bus_on(server: Server, options: str = "shards=2&lease=6", **settings: Any) -> AsyncIterator[KafkaEventBus]:
    async with open_kafka_event_bus(f"{server.url}?{options}", clock=SystemClock(), **settings) as bus:
        yield bus


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a thread of the driver. The bound is needed, because no scope ends the wait of a thread."""
    await anyio.to_thread.run_sync(wait_until, condition, 30)
    assert condition()


async def receive(deliveries: BusSubscription, count: int) -> list[Delivery]:
    iterator = aiter(deliveries)
    with anyio.fail_after(20):
        return [await anext(iterator) for _ in range(count)]


@on_one_loop
def test_finished_work_is_not_thrown_away_by_a_rebalance(backend: str) -> None:
    """A second process joins while four events are in handling. Their answers count, and each event comes once.

    The driver's own mock is the cluster, since it lets members finish as Kafka's coordinator does.
    """
    published = [event for number in range(32) for event in events(f"s{number}", 1)]
    taken: list[RecordedEvent] = []
    owners: set[str] = set()

    async def consume(bus: KafkaEventBus, name: str, go_on: anyio.Event) -> None:
        async with bus.subscribe("g") as deliveries:
            async for delivery in deliveries:
                owners.add(name)
                await go_on.wait()
                await delivery.ack()
                assert delivery.attempt == 1
                taken.append(delivery.event)

    async def play() -> None:
        with anyio.fail_after(50):
            async with mocked(bootstrap) as one, mocked(bootstrap) as other:
                await one.publish(published)
                async with anyio.create_task_group() as tasks:
                    go_on = anyio.Event()
                    for _ in range(4):
                        tasks.start_soon(consume, one, "one", go_on)
                    await until(lambda: bool(owners))
                    tasks.start_soon(consume, other, "other", go_on)
                    await until(lambda: bool(one._kafka._members["g"].ending))
                    assert not taken
                    go_on.set()
                    await until(lambda: len(taken) == 32)
                    tasks.cancel_scope.cancel()
        assert sorted(str(event.stream) for event in taken) == sorted(str(event.stream) for event in published)

    mock = Producer({"bootstrap.servers": "mock", "test.mock.num.brokers": 1, "logger": logging.getLogger("inventory_es.kafka")})
    bootstrap = ",".join(f"{one.host}:{one.port}" for one in mock.list_topics(timeout=5).brokers.values())
    anyio.run(play, backend=backend)


DYING = """
import anyio, sys
from tests.integration.test_kafka_event_bus import mocked

async def main():
    async with mocked(sys.argv[1]) as bus, bus.subscribe("g") as deliveries:
        async for delivery in deliveries:
            print(delivery.event.version, delivery.attempt, flush=True)
            if delivery.event.version > 1:
                await anyio.sleep_forever()
            await delivery.ack()

anyio.run(main)
"""


@on_one_loop
def test_a_member_that_is_killed_between_handling_and_commit_is_replaced(backend: str) -> None:
    """Its pending event comes again as attempt 2; what it had acknowledged and what it had not received yet lose nothing."""
    published = events("a", 4)

    async def play() -> None:
        async with mocked(bootstrap) as bus:
            await bus.publish(published)
            async with await anyio.open_process([sys.executable, "-c", DYING, bootstrap], stderr=None, cwd=ROOT) as process:
                assert process.stdout is not None
                said = BufferedByteReceiveStream(process.stdout)
                assert [await said.receive_until(b"\n", 100) for _ in range(2)] == [b"1 1", b"2 1"]
                process.kill()
            async with bus.subscribe("g") as deliveries:
                with anyio.fail_after(40):
                    delivery = await anext(aiter(deliveries))
                assert (delivery.event, delivery.attempt) == (published[1], 2)
                await delivery.ack()
                assert await take(deliveries, 2) == published[2:]

    mock = Producer({"bootstrap.servers": "mock", "test.mock.num.brokers": 1, "logger": logging.getLogger("inventory_es.kafka")})
    bootstrap = ",".join(f"{one.host}:{one.port}" for one in mock.list_topics(timeout=5).brokers.values())
    anyio.run(play, backend=backend)


@asynccontextmanager
async def mocked(bootstrap: str) -> AsyncIterator[KafkaEventBus]:
    """Open a bus on the driver's mock, which makes topics of four partitions and has no settings.

    The mock ends each rebalance a second before the lease, and answers no commit of a member meanwhile. So the lease is far below the
    longest wait for an answer, and long enough for answers of consumers on a busy machine.
    """
    place = KafkaPlace.parse(f"kafka://{bootstrap}", timeout=20)
    admin = AdminClient(place.settings())
    for topic in (place.log, place.letters):
        admin.list_topics(topic, timeout=5)
    bus = KafkaEventBus(KafkaBroker(place, "bus", admin, shards=4, lease=6), clock=SystemClock(), durable=False, max_event_bytes=1_000)
    try:
        yield bus
    finally:
        await bus.aclose()


def test_a_refused_event_of_a_shard_that_moves_is_delivered_by_its_new_owner(server: Server, backend: str) -> None:
    async def play() -> None:
        async with bus_on(server, "shards=1&lease=6") as one, bus_on(server, "lease=6") as other:
            await one.publish(events("a", 2))
            async with one.subscribe("g") as deliveries:
                (delivery,) = await receive(deliveries, 1)
                await delivery.nack("no")
            async with other.subscribe("g") as deliveries:
                (again,) = await receive(deliveries, 1)
                assert (again.event, again.attempt) == (events("a", 1)[0], 2), "attempts are in the metadata of the commit"

    anyio.run(play, backend=backend)


@asynccontextmanager
async def broker_on(server: Server, *, timeout: float = 5) -> AsyncIterator[KafkaBroker]:
    place = KafkaPlace.parse(f"{server.url}?shards=1", timeout=timeout, own={"shards"})
    admin = AdminClient(place.settings())
    found = await anyio.to_thread.run_sync(prepare, place, "bus", admin)
    broker = KafkaBroker(place, "bus", admin, shards=found.shards, lease=6)
    try:
        yield broker
    finally:
        await broker.aclose()


async def claimed(broker: KafkaBroker) -> Claim:
    with anyio.fail_after(20):
        while True:
            if claims := await broker.claim("g", [0]):
                return claims[0]


@on_one_loop
def test_a_former_generation_commits_nothing(server: Server, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A member that the servers have given up, and that does not know it, changes nothing.

    The test server compares no generation in a transaction, as Kafka does. So only commits are tried.
    """

    async def play() -> None:
        async with broker_on(server, timeout=2) as former, broker_on(server) as later:
            await former.publish({0: [b"a", b"b"]})
            lost = await claimed(former)
            await former.record(lost, 1, 2)
            member = former._members["g"]
            monkeypatch.setattr(Member, "_forget", lambda *_: None)  # it does not notice
            member.ending.clear()
            await anyio.to_thread.run_sync(member._call, member._consumer.unsubscribe)
            claim = await claimed(later)
            assert (claim.low, claim.deliveries) == (0, {1: 2})
            member._lease = 0.1  # for which it tries again, behind the longest wait for an answer
            with pytest.raises(EventBusUnavailableError):
                await former.settle(lost, [1], low=1)
            await later.settle(claim, [1], low=1)
            await later.release([claim])
            again = await claimed(later)
            assert (again.low, again.deliveries) == (1, {})

    anyio.run(play, backend=backend)


def test_a_transaction_of_a_former_generation_keeps_no_letter(server: Server, backend: str) -> None:
    """A refusal of the offsets, as Kafka answers a former generation, ends the transaction. Nothing of it is ever read.

    The test server compares no generation in a transaction, so the proxy gives that answer.
    """
    taken: list[bytes] = []

    async def play() -> None:
        async with broker_on(server) as former, broker_on(server) as later:
            await former.publish({0: [b"a", b"b"]})
            claim = await claimed(former)
            await former.record(claim, 1, 1)
            member = former._members["g"]

            def refuse(answer: bytes) -> bytes:
                taken.append(answer[-5:])
                member._forget([0])  # the member hears of it next
                return answer[:-5] + _ILLEGAL_GENERATION.to_bytes(2) + bytes(3)

            server.proxy.change = refuse
            with pytest.raises(OwnershipLostError):
                await former.bury(claim, 1, "id", b"letter", low=1)
            assert taken == [bytes(5)], "no error for the one partition, and no tagged fields"
            server.proxy.change = None
            assert await later.dead_letters("g", limit=10) == []
            await former.aclose()
            again = await claimed(later)
            await later.bury(again, 1, "id", b"letter", low=1)
            assert await later.dead_letters("g", limit=10) == [b"letter"]

    anyio.run(play, backend=backend)


def test_a_claim_that_was_given_up_changes_nothing(server: Server, backend: str) -> None:
    async def play() -> None:
        async with broker_on(server) as broker:
            former = await claimed(broker)  # whose answer never reached the bus
            claim = await claimed(broker)
            await broker.record(claim, 1, 1)
            for call in (broker.record(former, 1, 9), broker.settle(former, [1], low=1), broker.bury(former, 1, "id", b"letter", low=1)):
                with pytest.raises(OwnershipLostError):
                    await call
            assert await broker.read([(former, 0, 10)]) == [None]

    anyio.run(play, backend=backend)


def test_a_transaction_without_an_answer_is_ended_and_keeps_one_letter(
    server: Server, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = Producer.commit_transaction
    lost: list[bool] = []

    class Forgetful(Producer):
        def commit_transaction(self, timeout: float = 5) -> None:
            commit(self, timeout)
            if lost:
                lost.pop()
                raise KafkaException(_error())

    monkeypatch.setattr("inventory_es.adapters.kafka.transactions.Producer", Forgetful)

    async def play() -> None:
        async with broker_on(server) as broker:
            await broker.publish({0: [b"a", b"b"]})
            claim = await claimed(broker)
            await broker.record(claim, 1, 1)
            lost.append(True)
            with pytest.raises(EventBusUnavailableError):
                await broker.bury(claim, 1, "id", b"letter", low=1)
            await broker.bury(claim, 1, "id", b"letter", low=1)
            assert await broker.dead_letters("g", limit=10) == [b"letter"]
            assert await broker.revive("g", ["id"]) == 1
            assert await broker.revive("g", ["id"]) == 0

    anyio.run(play, backend=backend)


def _error() -> Any:
    try:
        AdminClient(KafkaPlace.parse("kafka://127.0.0.1:1", timeout=0.01).settings()).list_topics(timeout=0.01)
    except KafkaException as problem:
        return problem.args[0]
    raise AssertionError


@on_one_loop
def test_groups_go_on_after_the_server_was_stopped_and_started(server: Server, backend: str) -> None:
    published = events("a", 3)

    async def play() -> None:
        async with bus_on(server, "shards=2&lease=6&timeout=2") as bus, bus.subscribe("g") as deliveries:
            await bus.publish(published)
            assert await take(deliveries, 1) == published[:1]
            await anyio.to_thread.run_sync(server.stop)
            with pytest.raises(EventBusUnavailableError):
                await bus.publish(events("b", 1))
            with pytest.raises(EventBusUnavailableError), anyio.fail_after(20):
                await take(deliveries, 4)
            await anyio.to_thread.run_sync(server.start)
            found: set[RecordedEvent] = set()
            with anyio.fail_after(30):
                while published[2] not in found:
                    with suppress(EventBusUnavailableError):
                        found.update(await take(deliveries, 1))
            await bus.publish(events("b", 1))

    anyio.run(play, backend=backend)


@on_one_loop
def test_every_call_on_a_frozen_server_ends(server: Server, backend: str) -> None:
    async def play() -> None:
        async with bus_on(server, "shards=2&lease=6&timeout=2") as bus, bus.subscribe("g") as deliveries:
            await bus.publish(events("a", 1))
            (delivery,) = await receive(deliveries, 1)
            server.freeze()
            for call in (
                lambda: bus.publish(events("b", 1)),
                delivery.ack,
                lambda: bus.dead_letters("g"),
                lambda: bus.redeliver("g", [events("a", 1)[0].event_id]),
                bus.trim,
            ):
                with anyio.fail_after(20), pytest.raises(EventBusUnavailableError):
                    await call()
            server.thaw()

    anyio.run(play, backend=backend)


def test_an_absent_server_is_unavailable_and_prints_nothing(server: Server, backend: str, capfd: pytest.CaptureFixture[str]) -> None:
    server.stop()

    async def play() -> None:
        with anyio.fail_after(10), pytest.raises(EventBusUnavailableError, match="is unavailable"):
            async with bus_on(server, "timeout=0.5"):
                pytest.fail("nobody listens")

    anyio.run(play, backend=backend)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "config,problem",
    [
        ({"cleanup.policy": "compact", "retention.ms": "-1"}, "is compacted"),
        ({"retention.ms": "604800000"}, "removes events by itself"),
        ({"retention.ms": "-1", "retention.bytes": "1000000"}, "removes events by itself"),
    ],
)
def test_a_topic_that_could_lose_events_is_refused(config: Mapping[str, str], problem: str, server: Server, backend: str) -> None:
    async def play() -> None:
        admin = AdminClient({"bootstrap.servers": server.url.removeprefix("kafka://")})
        for future in admin.create_topics([NewTopic("inventory_es.log", 2, 1, config=dict(config))]).values():
            future.result(5)
        with pytest.raises(IncompatibleStoreError, match=problem):
            async with bus_on(server):
                pytest.fail("its events would vanish")

    anyio.run(play, backend=backend)


def test_trimming_keeps_what_any_group_has_not_settled(server: Server, backend: str) -> None:
    published = events("a", 6)

    async def play() -> None:
        async with bus_on(server, "shards=1&lease=6") as bus:
            await bus.publish(published)
            assert await bus.trim() == 0, "a group that does not exist yet gets everything"
            async with bus.subscribe("slow") as deliveries:
                assert await take(deliveries, 2) == published[:2]
            async with bus.subscribe("fast") as deliveries:
                assert await take(deliveries, 6) == published
            assert await bus.trim() == 2
            async with bus.subscribe("slow") as deliveries:
                assert await take(deliveries, 4) == published[2:]
            async with bus.subscribe("late") as deliveries:
                assert await take(deliveries, 4) == published[2:]

    anyio.run(play, backend=backend)


@on_one_loop
def test_large_events_are_fetched_as_there_is_room(server: Server, backend: str) -> None:
    published = [event for n in range(1, 25) for event in events("a", 1, first=n, data=bytes([n]) * 500_000)]

    async def play() -> None:
        async with bus_on(server) as bus, bus.subscribe("g") as deliveries:
            await bus.publish(published)
            assert await take(deliveries, 24) == published

    anyio.run(play, backend=backend)
