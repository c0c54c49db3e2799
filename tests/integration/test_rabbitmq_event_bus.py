"""The event bus on RabbitMQ in trouble: no requeue, no limit, lost ownership, killed and frozen servers, queues of another kind."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from aiormq import Connection, connect
from aiormq.abc import AbstractChannel

from inventory_es.adapters.rabbitmq import RabbitEventBus, open_rabbitmq_event_bus
from inventory_es.adapters.rabbitmq.broker import RabbitBroker
from inventory_es.adapters.rabbitmq.connection import RabbitPlace
from inventory_es.adapters.system import SystemClock
from inventory_es.ports import RecordedEvent
from inventory_es.ports.errors import EventBusUnavailableError, IncompatibleStoreError
from inventory_es.ports.toolkit.broker import OwnershipLostError
from inventory_es.testing.contracts.core.event_labels import stream_id
from tests.integration.bus_events import events, on_one_loop, take
from tests.servers.rabbitmq import needs_rabbitmq, own_prefix, shared_rabbitmq

pytestmark = needs_rabbitmq


@pytest.fixture
def url() -> Iterator[str]:
    with own_prefix() as found:
        yield found


@asynccontextmanager
async def bus_on(url: str, options: str = "shards=1", **settings: Any) -> AsyncIterator[RabbitEventBus]:
    async with open_rabbitmq_event_bus(f"{url}&{options}", clock=SystemClock(), **settings) as bus:
        yield bus


@asynccontextmanager
async def broker_on(url: str) -> AsyncIterator[RabbitBroker]:
    broker = RabbitBroker(RabbitPlace.parse(url, timeout=5), "bus", shards=1, window=100, heartbeat=10)
    try:
        await broker.open(1)
        yield broker
    finally:
        await broker.aclose()


async def beside(url: str, work: Callable[[AbstractChannel], Awaitable[Any]]) -> Any:
    """Do something on the server beside the bus."""

    async def do() -> Any:
        client = await connect(url.partition("?")[0])
        try:
            return await work(await client.channel())
        finally:
            await client.close()

    return await anyio.to_thread.run_sync(anyio.run, do)  # the driver is of asyncio alone


def queue(url: str, name: str) -> str:
    return f"{url.partition('prefix=')[2]}.{name}"


async def count_of(url: str, name: str) -> int:
    """Return the number of messages that wait in a queue."""
    found = await beside(url, partial(_declare, queue(url, name)))
    number: int = found.message_count
    return number


async def _declare(name: str, channel: AbstractChannel) -> Any:
    return await channel.queue_declare(name, passive=True)


async def cut_connections(broker: RabbitBroker) -> None:
    """Lose the connection with which a broker consumes, as a network does."""

    async def cut() -> None:
        client: Connection = await broker._consuming.connected()  # nothing else loses one connection of a server
        client._reader_task.cancel()  # as above

    await anyio.to_thread.run_sync(broker._thread.run, cut)  # as above


def test_an_event_that_fails_is_never_requeued_and_its_attempts_are_our_own(url: str, backend: str) -> None:
    """After the last attempt it is in our dead letters, comes back once when it is asked for, and no neighbour spends a delivery."""
    published = events("a", 3)

    async def play() -> None:
        async with bus_on(url, "shards=1", max_deliveries=3) as bus, bus.subscribe("g") as deliveries:
            await bus.publish(published)
            iterator = aiter(deliveries)
            for attempt in (1, 2, 3):
                delivery = await anext(iterator)
                assert (delivery.event, delivery.attempt) == (published[0], attempt)
                await delivery.nack("no")
            delivery = await anext(iterator)
            assert (delivery.event, delivery.attempt) == (published[1], 1)
            await delivery.ack()
            assert [letter.event for letter in await bus.dead_letters("g")] == published[:1]
            assert [letter.event for letter in await bus.dead_letters("g", limit=1)] == published[:1]
            assert await bus.redeliver("g", [published[0].event_id]) == 1
            assert await bus.redeliver("g", [published[0].event_id]) == 0
            assert await take(deliveries, 2) == [published[2], published[0]]
            assert await bus.dead_letters("g") == []
        async with bus_on(url) as bus, bus.subscribe("g") as deliveries:
            await bus.publish(events("b", 1))
            assert await take(deliveries, 1) == events("b", 1), "the letter is settled for every process"

    anyio.run(play, backend=backend)


@on_one_loop
def test_the_server_never_drops_an_event_that_came_back_often(url: str, backend: str) -> None:
    """From 4.0 on a server drops an event that came back 20 times. Our own count goes by deliveries, and not by what was in memory."""
    published = events("a", 2)

    async def play() -> None:
        for attempt in range(1, 24):
            async with bus_on(url, "shards=1", max_deliveries=100) as bus, bus.subscribe("g") as deliveries:
                if attempt == 1:
                    await bus.publish(published)
                delivery = await anext(aiter(deliveries))
                assert (delivery.event, delivery.attempt) == (published[0], attempt)
        async with bus_on(url, max_deliveries=100) as bus, bus.subscribe("g") as deliveries:
            iterator = aiter(deliveries)
            for event, attempt in zip(published, (24, 1), strict=True):
                delivery = await anext(iterator)
                assert (delivery.event, delivery.attempt) == (event, attempt)
                await delivery.ack()

        async def redeclare(arguments: Mapping[str, Any], channel: AbstractChannel) -> Any:
            return await channel.queue_declare(queue(url, "log.0.g"), durable=True, arguments=dict(arguments))

        right = {"x-queue-type": "quorum", "x-single-active-consumer": True, "x-delivery-limit": 2**31 - 1}
        await beside(url, partial(redeclare, right))

    anyio.run(play, backend=backend)


def test_a_consumer_that_loses_its_connection_in_the_middle_settles_nothing(url: str, backend: str) -> None:
    """Another process has the shard then: it gets the event as attempt 2, and what came behind it as attempt 1, in order."""
    published = events("a", 3)

    async def play() -> None:
        async with bus_on(url) as one, bus_on(url) as other, one.subscribe("g") as former, other.subscribe("g") as later:
            await one.publish(published)
            lost = await anext(aiter(former))
            assert (lost.event, lost.attempt) == (published[0], 1)
            with anyio.move_on_after(0.3):
                pytest.fail(f"a shard has two owners: {(await anext(aiter(later))).event}")
            await cut_connections(one._broker)  # type: ignore[arg-type]  # see there
            with anyio.fail_after(20):
                again = await anext(aiter(later))
            assert (again.event, again.attempt) == (published[0], 2)
            await lost.ack()
            await again.ack()
            for event in published[1:]:
                delivery = await anext(aiter(later))
                assert (delivery.event, delivery.attempt) == (event, 1)
                await delivery.ack()

    anyio.run(play, backend=backend)


def test_a_former_owner_changes_nothing(url: str, backend: str) -> None:
    async def play() -> None:
        async with broker_on(url) as former, broker_on(url) as later:
            await former.join("g")
            await former.publish({0: [b"a", b"b"]})
            (lost,) = await former.claim("g", [0])
            (claim,) = await later.claim("g", [0])
            await entries_of(former, lost, 2)
            await former.record(lost, 1, 2)
            assert await later.read([(claim, 0, 10)]) == [[]], "it stands by"
            await cut_connections(former)
            assert [entry.data for entry in await entries_of(later, claim, 2)] == [b"a", b"b"]
            assert claim.deliveries == {1: 2}
            with pytest.raises(OwnershipLostError):
                await former.settle(lost, [1], low=1)
            with pytest.raises(OwnershipLostError):
                await former.record(lost, 1, 3)
            with pytest.raises(OwnershipLostError):
                await former.bury(lost, 1, "id", b"letter", low=1)
            assert await former.read([(lost, 0, 10)]) == [None]
            assert await later.dead_letters("g", limit=10) == []
            await former.release([lost])
            await later.settle(claim, [1], low=1)
            await later.release([claim])
            (again,) = await later.claim("g", [0])
            assert [entry.data for entry in await entries_of(later, again, 1)] == [b"b"]
            assert again.deliveries == {}

    anyio.run(play, backend=backend)


async def entries_of(broker: RabbitBroker, claim: Any, count: int) -> Sequence[Any]:
    with anyio.fail_after(20):
        while True:
            (found,) = await broker.read([(claim, 0, 10)])
            if found is not None and len(found) == count:
                return found
            await anyio.sleep(0.01)


def test_a_letter_without_its_settlement_is_one_letter(url: str, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that dies between the two leaves the event in both places. The next burial makes no second letter of it."""

    async def play() -> None:
        async with broker_on(url) as broker:
            await broker.join("g")
            await broker.publish({0: [b"a"]})
            (claim,) = await broker.claim("g", [0])
            await entries_of(broker, claim, 1)
            with monkeypatch.context() as patch:
                patch.setattr(RabbitBroker, "_settle", lambda *_: anyio.lowlevel.checkpoint())
                await broker.bury(claim, 1, "id", b"letter", low=1)
            await broker.bury(claim, 1, "id", b"letter", low=1)
            await broker.bury(claim, 1, "id", b"letter", low=1)
            for _ in range(2):
                assert await broker.dead_letters("g", limit=10) == [b"letter"]
            assert await broker.revive("g", ["id"]) == 1
            assert await broker.dead_letters("g", limit=10) == []
            assert await broker.revive("g", ["id"]) == 0
            await broker.release([claim])
            (again,) = await broker.claim("g", [0])
            assert [entry.data for entry in await entries_of(broker, again, 1)] == [b"letter"]

    anyio.run(play, backend=backend)


def test_letters_are_listed_oldest_first_however_often_and_by_many(url: str, backend: str) -> None:
    async def play() -> None:
        async with broker_on(url) as broker:
            await broker.join("g")
            await broker.publish({0: [b"%d" % number for number in range(10)]})
            (claim,) = await broker.claim("g", [0])
            await entries_of(broker, claim, 10)
            for number in range(1, 11):
                await broker.bury(claim, number, f"id{number}", b"letter %d" % number, low=number)
            every = [b"letter %d" % number for number in range(1, 11)]
            async with broker_on(url) as other, anyio.create_task_group() as tasks:

                async def look(one: RabbitBroker) -> None:
                    for limit in (3, 10, 20):
                        assert await one.dead_letters("g", limit=limit) == every[:limit]

                tasks.start_soon(look, broker)
                tasks.start_soon(look, other)
            assert await broker.revive("g", ["id4", "id1"]) == 2
            assert await broker.dead_letters("g", limit=10) == [*every[1:3], *every[4:]]

    anyio.run(play, backend=backend)


@on_one_loop
def test_what_publish_acknowledged_is_delivered_although_the_server_is_killed_in_the_middle(url: str, backend: str) -> None:
    """Its settled events may come again, and nothing is missing or out of order."""
    acknowledged: list[RecordedEvent] = []
    problems: list[EventBusUnavailableError] = []
    taken: list[int] = []
    size = 20

    def restart() -> None:
        server = shared_rabbitmq()
        server.kill()
        server.start()

    async def publish(bus: RabbitEventBus, batch: Sequence[RecordedEvent]) -> None:
        while True:
            try:
                await bus.publish(batch)
            except EventBusUnavailableError as problem:
                problems.append(problem)
                await anyio.sleep(0.05)
            else:
                acknowledged.extend(batch)
                return

    async def consume(bus: RabbitEventBus, is_ready: anyio.Event) -> None:
        while True:
            with suppress(EventBusUnavailableError):
                async with bus.subscribe("g") as deliveries:
                    is_ready.set()
                    async for delivery in deliveries:
                        await delivery.ack()
                        if delivery.event.stream == stream_id("end"):
                            return
                        taken.append(delivery.event.version)
            await anyio.sleep(0.05)

    async def play() -> None:
        is_ready = anyio.Event()
        async with bus_on(url, "shards=1") as bus, anyio.create_task_group() as tasks:
            tasks.start_soon(consume, bus, is_ready)
            await is_ready.wait()
            with anyio.fail_after(120):
                for number in range(20):
                    if number == 8:
                        tasks.start_soon(anyio.to_thread.run_sync, restart)
                    await publish(bus, events("a", size, first=number * size + 1))
                    await anyio.sleep(0.01)
                while not problems:  # the server dies at last
                    await publish(bus, events("a", 1))
                await publish(bus, events("end", 1))
        assert problems
        assert all(problem.retryable for problem in problems)
        assert list(dict.fromkeys(taken)) == [event.version for event in dict.fromkeys(acknowledged) if event.stream != stream_id("end")]

    anyio.run(play, backend=backend)


@on_one_loop
def test_a_frozen_server_is_not_waited_for(url: str, backend: str) -> None:
    async def play() -> None:
        async with bus_on(url, "shards=1&timeout=0.5") as bus, bus.subscribe("g") as deliveries:
            await bus.publish(events("a", 2))
            assert await take(deliveries, 1) == events("a", 2)[:1]
            delivery = await anext(aiter(deliveries))
            shared_rabbitmq().freeze()
            try:
                with anyio.fail_after(20):
                    with pytest.raises(EventBusUnavailableError, match=r"no answer in 0\.5 s"):
                        await bus.publish(events("b", 1))
                    with pytest.raises(EventBusUnavailableError, match="no answer"):
                        await bus.dead_letters("g")
                    await delivery.ack()  # its connection is given up: the event comes again, or not
            finally:
                shared_rabbitmq().thaw()
            got: list[RecordedEvent] = []
            with anyio.fail_after(60):
                while events("end", 1)[0] not in got:
                    with suppress(EventBusUnavailableError):  # until the server has seen that the former connection is gone
                        await bus.publish(events("end", 1))
                        got += await take(deliveries, 1)
            may_come = {events("a", 2)[1], *events("b", 1), *events("end", 1)}
            assert set(got) <= may_come, "the calls without an answer may have had their effects"

    anyio.run(play, backend=backend)


@on_one_loop
def test_names_of_groups_are_any_texts(url: str, backend: str) -> None:
    names = ["a.b", "a b", "*", "ä€\U0001f600", "~", "x" * 128, "\U0001f600" * 128, "0" * 40]

    async def play() -> None:
        async with bus_on(url, "shards=1") as bus:
            for name in names:
                async with bus.subscribe(name):
                    pass
            await bus.publish(events("a", 1))
            for name in names:
                async with bus.subscribe(name) as deliveries:
                    assert await take(deliveries, 1) == events("a", 1)

    anyio.run(play, backend=backend)


def test_what_is_published_before_a_group_exists_is_not_for_it(url: str, backend: str) -> None:
    async def play() -> None:
        async with bus_on(url, "shards=1") as bus:
            assert (bus.capabilities.late_subscribers, bus.capabilities.durable) == ("live", True)
            await bus.publish(events("a", 1))
            async with bus.subscribe("g") as deliveries:
                await bus.publish(events("b", 1))
                assert await take(deliveries, 1) == events("b", 1)

    anyio.run(play, backend=backend)


@pytest.mark.parametrize("name", ["log.0.g", "dead.g"])
def test_a_queue_of_another_kind_is_refused(name: str, url: str, backend: str) -> None:
    async def declare(channel: AbstractChannel) -> None:
        await channel.queue_declare(queue(url, name), durable=True)

    async def play() -> None:
        await beside(url, declare)
        async with bus_on(url) as bus:
            with pytest.raises(IncompatibleStoreError, match="inequivalent arg"):
                async with bus.subscribe("g"):
                    pytest.fail("its events would be lost with a node")

    anyio.run(play, backend=backend)


def test_a_queue_that_was_deleted_is_named(url: str, backend: str) -> None:
    async def delete(channel: AbstractChannel) -> None:
        await channel.queue_delete(queue(url, "log.0.g"))

    async def play() -> None:
        async with bus_on(url, "shards=1") as bus, bus.subscribe("g") as deliveries:
            await bus.publish(events("a", 1))
            assert await take(deliveries, 1) == events("a", 1)
            await beside(url, delete)
            with anyio.fail_after(20):
                with pytest.raises(EventBusUnavailableError, match="NOT_FOUND - no queue"):
                    await anext(aiter(deliveries))

    anyio.run(play, backend=backend)


def test_a_leaving_consumer_gives_its_events_back_in_their_order(url: str, backend: str) -> None:
    published = events("a", 30)

    async def play() -> None:
        for start in range(0, 30, 10):
            async with bus_on(url, "shards=1") as bus, bus.subscribe("g") as deliveries:
                if not start:
                    await bus.publish(published)
                assert await take(deliveries, 10) == published[start : start + 10]
        assert await count_of(url, "log.0.g") == 0

    anyio.run(play, backend=backend)


@pytest.mark.parametrize(
    "change,reason,remedy",
    [
        (("guest:guest", "guest:s3cret"), "refused", "correct the user and the password"),
        (("/?prefix", "/nowhere?prefix"), "the virtual host is not there", "make the virtual host"),
    ],
)
def test_a_refusal_says_what_to_do_and_no_password(change: tuple[str, str], reason: str, remedy: str, url: str, backend: str) -> None:
    async def play() -> None:
        with pytest.raises(EventBusUnavailableError, match=reason) as refused:
            async with bus_on(url.replace(*change)):
                pytest.fail("it was let in")
        assert remedy in str(refused.value)
        assert not refused.value.retryable
        assert "s3cret" not in str(refused.value)

    anyio.run(play, backend=backend)
