"""The event bus on SQS in trouble: expired handles, dead processes, refused sends, foreign settings, frozen and absent servers."""

import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio
import botocore.session
import pytest
from anyio.streams.buffered import BufferedByteReceiveStream

from inventory_es import open_inventory
from inventory_es.adapters.sqs import SqsEventBus, open_sqs_event_bus
from inventory_es.adapters.sqs.broker import SqsBroker, opened
from inventory_es.adapters.sqs.place import SqsPlace
from inventory_es.adapters.system import SystemClock
from inventory_es.ports import BusSubscription, Delivery, RecordedEvent
from inventory_es.ports.errors import EventBusUnavailableError, IncompatibleStoreError
from inventory_es.ports.toolkit.broker import Claim, Entry, OwnershipLostError, encode_entry
from tests.integration.bus_events import events, on_one_loop, take
from tests.servers.sqs import Server, shared_sqs

ROOT = Path(__file__).parents[2]


@pytest.fixture
def server() -> Server:
    return shared_sqs()


@pytest.fixture
def url(server: Server) -> str:
    return f"{server.url}&prefix=t{uuid4().hex[:20]}"


@asynccontextmanager
async def bus_on(url: str, options: str = "poll=0.05", **settings: Any) -> AsyncIterator[SqsEventBus]:
    async with open_sqs_event_bus(f"{url}&{options}", clock=SystemClock(), **settings) as bus:
        yield bus


@asynccontextmanager
async def broker_on(url: str, *, lease: int = 30, poll: float = 0.05) -> AsyncIterator[SqsBroker]:
    broker = opened(SqsPlace.parse(url, timeout=5, lease=lease, poll=poll))
    try:
        yield broker
    finally:
        await broker.aclose()


async def held_entry(broker: SqsBroker) -> tuple[Claim, Entry] | None:
    """Claim every shard for the group ``g``, and receive one entry, if there is one now."""
    claims = await broker.claim("g", range(broker.shards))
    found = await broker.read([(claim, 0, 10) for claim in claims])
    return next(((claim, entries[0]) for claim, entries in zip(claims, found, strict=True) if entries), None)


async def the_entry(broker: SqsBroker) -> tuple[Claim, Entry]:
    """Return the one entry that is there, with its claim."""
    found = await held_entry(broker)
    assert found is not None
    return found


async def next_of(deliveries: BusSubscription) -> Delivery:
    with anyio.fail_after(20):
        return await anext(aiter(deliveries))


def raw(url: str) -> Any:
    """Return a client of the server beside the bus."""
    endpoint = url.partition("endpoint=")[2].partition("&")[0]
    return botocore.session.get_session().create_client("sqs", region_name="us-east-1", endpoint_url=endpoint)


def queue(url: str, kind: str) -> str:
    return f"{url.partition('prefix=')[2]}-{kind}-g.fifo"


@on_one_loop
def test_a_deletion_with_an_expired_handle_settles_nothing(url: str, backend: str) -> None:
    """Renewals end, as they do while a process is stopped. Another process gets the event; the first one can't settle it any more."""

    async def play() -> None:
        async with broker_on(url, lease=1) as stopped, broker_on(url) as other:
            await stopped.join("g")
            await stopped.publish({0: [encode_entry(events("a", 1)[0], source="s")]})
            claim, entry = await the_entry(stopped)
            stopped._is_over.set()  # nothing else stops the renewal of one broker of a process
            taken = None
            with anyio.fail_after(20):
                while taken is None:
                    taken = await held_entry(other)
            owner, entry_there = taken
            for call in (
                stopped.settle(claim, [entry.place], low=entry.place),
                stopped.refuse(claim, entry.place),
                stopped.bury(claim, entry.place, "id", b"letter", low=entry.place),
                stopped.record(claim, entry.place, 1),
            ):
                with pytest.raises(OwnershipLostError):
                    await call
            assert await stopped.read([(claim, 0, 10)]) == [None]
            assert await stopped.dead_letters("g", limit=10) == []
            await other.refuse(owner, entry_there.place)
            _, again = await the_entry(other)
            assert again.data == entry.data, "it was deleted by the process that had lost it"

    anyio.run(play, backend=backend)


def test_a_handle_that_the_service_refuses_loses_the_shard(url: str, backend: str) -> None:
    """The queue is made anew beside the bus, so that the service does not know the handle, as after its end."""

    async def play() -> None:
        async with broker_on(url) as broker:
            await broker.join("g")
            await broker.publish({0: [encode_entry(events("a", 1)[0], source="s")]})
            claim, entry = await the_entry(broker)
            client = raw(url)
            client.delete_queue(QueueUrl=client.get_queue_url(QueueName=queue(url, "log"))["QueueUrl"])
            client.create_queue(QueueName=queue(url, "log"), Attributes={"FifoQueue": "true"})
            with pytest.raises(OwnershipLostError):
                await broker.settle(claim, [entry.place], low=entry.place)
            assert await broker.read([(claim, 0, 10)]) == [None]
            (again,) = await broker.claim("g", [claim.shard])
            assert await broker.read([(again, 0, 10)]) == [[]]

    anyio.run(play, backend=backend)


@on_one_loop
def test_a_living_process_keeps_its_event_and_a_late_answer_changes_nothing(url: str, server: Server, backend: str) -> None:
    """The server is stopped for longer than the lease. Then the event is with another process, and only its answer counts."""
    published = events("a", 2)

    async def play() -> None:
        options = "poll=0.05&lease=1&timeout=0.7"
        async with bus_on(url, options) as one, bus_on(url, options) as other, one.subscribe("g") as deliveries:
            await one.publish(published)
            late = await next_of(deliveries)
            async with other.subscribe("g") as others:
                with anyio.move_on_after(2):  # two leases, which the living process renews
                    pytest.fail(f"a living owner lost {(await anext(aiter(others))).event}")
            server.freeze()
            with anyio.fail_after(10), pytest.raises(EventBusUnavailableError, match="timeout"):
                await one.dead_letters("g")  # for longer than the lease
            server.thaw()
            async with other.subscribe("g") as others:
                again = await next_of(others)
                assert (again.event, again.attempt) == (published[0], 2)
                await late.ack()
                await late.nack("it is not mine any more")
                await again.ack()
                assert await take(others, 1) == published[1:]
            assert await one.dead_letters("g") == []

    anyio.run(play, backend=backend)


DYING = """
import anyio, sys
from inventory_es.adapters.sqs import open_sqs_event_bus
from inventory_es.adapters.system import SystemClock

async def main():
    async with open_sqs_event_bus(sys.argv[1], clock=SystemClock()) as bus, bus.subscribe("g") as deliveries:
        async for delivery in deliveries:
            print(delivery.event.version, delivery.attempt, flush=True)
            if delivery.event.version > 1:
                await anyio.sleep_forever()
            await delivery.ack()

anyio.run(main)
"""


@on_one_loop
def test_a_process_that_dies_spends_a_delivery_of_its_event_alone(url: str, backend: str) -> None:
    published = [*events("a", 3), *events("b", 2)]

    async def play() -> None:
        async with bus_on(url, "poll=0.05&lease=1") as bus:
            async with bus.subscribe("g"):
                pass
            await bus.publish(published[:2])
            command = [sys.executable, "-c", DYING, f"{url}&poll=0.05&lease=1"]
            async with await anyio.open_process(command, stderr=None, cwd=ROOT) as process:
                assert process.stdout is not None
                said = BufferedByteReceiveStream(process.stdout)
                with anyio.fail_after(30):
                    assert [await said.receive_until(b"\n", 100) for _ in range(2)] == [b"1 1", b"2 1"]
                await bus.publish(published[2:])
                process.kill()
                async with bus.subscribe("g") as deliveries:
                    attempts: dict[RecordedEvent, int] = {}
                    while len(attempts) < 4:
                        delivery = await next_of(deliveries)
                        attempts[delivery.event] = delivery.attempt
                        await delivery.ack()
        assert attempts == {published[1]: 2, published[2]: 1, published[3]: 1, published[4]: 1}
        assert [event for event in attempts if event.stream == published[0].stream] == published[1:3]

    anyio.run(play, backend=backend)


def test_a_process_that_leaves_is_replaced_at_once_and_its_attempts_count(url: str, backend: str) -> None:
    async def play() -> None:
        async with bus_on(url, "lease=600&poll=0.05") as one, bus_on(url, "lease=600&poll=0.05") as other:
            async with one.subscribe("g") as deliveries:
                await one.publish(events("a", 2))
                for attempt in (1, 2, 3):
                    delivery = await next_of(deliveries)
                    assert delivery.attempt == attempt
                    await delivery.nack("no")
            async with other.subscribe("g") as deliveries:
                delivery = await next_of(deliveries)
                assert (delivery.event, delivery.attempt) == (events("a", 1)[0], 4)
                await delivery.ack()
                assert await take(deliveries, 1) == events("a", 2)[1:]

    anyio.run(play, backend=backend)


class Failing:
    """A client whose calls of one method fail at some times, or in part."""

    def __init__(self, client: Any, method: str, failures: Mapping[int, Callable[[Any], Any]]) -> None:
        self._client = client
        self._method = method
        self._failures = failures
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        return self._fail if name == self._method else getattr(self._client, name)

    def _fail(self, **arguments: Any) -> Any:
        self.calls += 1
        return self._failures.get(self.calls, lambda call: call())(partial(getattr(self._client, self._method), **arguments))


def refused(_call: Any) -> Any:
    """Return the service's answer about an entry that it did not take."""
    return {"Failed": [{"Id": "0", "Code": "InternalError", "Message": "try again", "SenderFault": False}]}


@pytest.mark.parametrize("failing_call", [1, 2, 3, 4])
@on_one_loop
def test_a_publish_that_fails_in_the_middle_is_repeated_whole(failing_call: int, url: str, backend: str) -> None:
    """Of two groups, and two events of a stream, any send may fail. After the repeat each group has all, and the last copies in order."""
    published = events("a", 2)

    async def play() -> None:
        async with bus_on(url) as bus, bus.subscribe("g") as deliveries, bus.subscribe("h") as others:
            broker: Any = bus._broker  # the service fails in part when it likes, so the client is made to
            broker._client = Failing(broker._client, "send_message_batch", {failing_call: refused})
            with pytest.raises(EventBusUnavailableError, match="InternalError: try again"):
                await bus.publish(published)
            await bus.publish(published)
            await bus.publish(events("a", 1, first=3))
            for consumer in (deliveries, others):
                got: list[RecordedEvent] = []
                while not got or got[-1].version < 3:
                    got += await take(consumer, 1)
                versions = [event.version for event in got]
                assert versions[-3:] == [1, 2, 3]
                assert versions[:-3] in ([], [1], [1, 2]), "an event came before the one that it follows"

    anyio.run(play, backend=backend)


def test_an_acknowledgement_that_was_refused_in_part_is_no_acknowledgement(url: str, backend: str) -> None:
    async def play() -> None:
        async with bus_on(url) as bus, bus.subscribe("g") as deliveries:
            await bus.publish(events("a", 1))
            delivery = await next_of(deliveries)
            broker: Any = bus._broker  # as above
            broker._client = Failing(broker._client, "delete_message_batch", {1: refused})
            with pytest.raises(EventBusUnavailableError, match="InternalError: try again"):
                await delivery.ack()
            await delivery.ack()
            assert broker._client.calls == 2

    anyio.run(play, backend=backend)


def test_an_answer_of_one_group_lets_no_other_group_ask_again(url: str, backend: str) -> None:
    """A group that was told that nothing is there asks again after a publication, or later. Each request costs time and money."""

    async def play() -> None:
        async with broker_on(url, poll=60) as broker:
            await broker.join("g")
            await broker.join("h")
            await broker.publish({0: [encode_entry(events("a", 1)[0], source="s")]})
            claim, entry = await the_entry(broker)
            others = await broker.claim("h", range(broker.shards))
            wanted = [(other, 0, 10) for other in others]
            (of_others,) = [found for found in await broker.read(wanted) if found]
            owner = next(other for other in others if other.shard == claim.shard)
            await broker.settle(owner, [of_others[0].place], low=0)
            client = broker._client = Failing(broker._client, "receive_message", {})
            assert not any(await broker.read(wanted))
            await broker.settle(claim, [entry.place], low=0)
            assert not any(await broker.read(wanted))
            assert client.calls == 1
            await broker.publish({0: [encode_entry(events("a", 2)[1], source="s")]})
            assert any(await broker.read(wanted))

    anyio.run(play, backend=backend)


def test_the_same_events_published_again_within_five_minutes_come_again(url: str, backend: str) -> None:
    """The service drops what has an id of the last five minutes. Otherwise a relay that was set back would refill nothing."""

    async def play() -> None:
        async with bus_on(url) as bus, bus.subscribe("g") as deliveries:
            await bus.publish(events("a", 2))
            await bus.publish(events("a", 2))
            assert await take(deliveries, 4) == [*events("a", 2), *events("a", 2)]

    anyio.run(play, backend=backend)


def test_a_text_that_the_service_would_refuse_comes_as_it_was(url: str, backend: str) -> None:
    texts = {"a": '{"name":"\uffff"}'.encode(), "b": b"\x00\xff", "c": b'{"n":"\xc3\xbc"}'}
    published = [event for stream, data in texts.items() for event in events(stream, 1, data=data)]

    async def play() -> None:
        async with bus_on(url) as bus, bus.subscribe("g") as deliveries:
            await bus.publish(published)
            assert sorted(await take(deliveries, 3), key=lambda event: str(event.stream)) == published

    anyio.run(play, backend=backend)


def test_a_queue_with_a_redrive_policy_is_refused(url: str, backend: str) -> None:
    async def play() -> None:
        async with bus_on(url) as bus, bus.subscribe("g"):
            pass
        client = raw(url)
        dead, log = (client.get_queue_url(QueueName=queue(url, kind))["QueueUrl"] for kind in ("dead", "log"))
        arn = client.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        policy = f'{{"deadLetterTargetArn":"{arn}","maxReceiveCount":"2"}}'
        client.set_queue_attributes(QueueUrl=log, Attributes={"RedrivePolicy": policy})
        async with bus_on(url) as bus:
            with pytest.raises(IncompatibleStoreError, match="has a redrive policy"):
                async with bus.subscribe("g"):
                    pytest.fail("the service would take its events away")

    anyio.run(play, backend=backend)


def test_a_queue_whose_owner_has_changed_it_is_used(url: str, backend: str) -> None:
    async def play() -> None:
        async with bus_on(url) as bus, bus.subscribe("g"):
            pass
        client = raw(url)
        log = client.get_queue_url(QueueName=queue(url, "log"))["QueueUrl"]
        client.set_queue_attributes(QueueUrl=log, Attributes={"MessageRetentionPeriod": "86400"})
        async with bus_on(url) as bus, bus.subscribe("g") as deliveries:
            await bus.publish(events("a", 1))
            assert await take(deliveries, 1) == events("a", 1)

    anyio.run(play, backend=backend)


@on_one_loop
def test_calls_of_one_process_that_read_dead_letters_take_turns(url: str, backend: str) -> None:
    """Each takes the letters in flight, and waits for those that another one has."""
    published = [event for number in range(21) for event in events(f"s{number}", 1)]
    found: list[int] = []

    async def read(bus: SqsEventBus) -> None:
        found.append(len(await bus.dead_letters("g")))

    async def play() -> None:
        async with bus_on(url, "poll=0.05&timeout=2", max_deliveries=1) as bus, bus.subscribe("g") as deliveries:
            await bus.publish(published)
            for _ in published:
                await (await next_of(deliveries)).nack("no")
            async with anyio.create_task_group() as tasks:
                for _ in range(4):
                    tasks.start_soon(read, bus)
        assert found == [21] * 4

    anyio.run(play, backend=backend)


@on_one_loop
def test_dead_letters_that_somebody_else_reads_are_not_left_out(url: str, backend: str) -> None:
    """Letters in flight elsewhere can't be listed. The answer is then an error, and never a part of the letters."""

    async def play() -> None:
        async with bus_on(url, "poll=0.05&timeout=0.5", max_deliveries=1) as bus, bus.subscribe("g") as deliveries:
            await bus.publish([*events("a", 1), *events("b", 1)])
            for _ in range(2):
                await (await next_of(deliveries)).nack("no")
            client = raw(url)
            dead = client.get_queue_url(QueueName=queue(url, "dead"))["QueueUrl"]
            (taken,) = client.receive_message(QueueUrl=dead, VisibilityTimeout=60)["Messages"]
            with pytest.raises(EventBusUnavailableError, match="another process reads the dead letters"):
                await bus.dead_letters("g")
            client.change_message_visibility(QueueUrl=dead, ReceiptHandle=taken["ReceiptHandle"], VisibilityTimeout=0)
            assert len(await bus.dead_letters("g")) == 2
            assert await bus.redeliver("g", [events("a", 1)[0].event_id]) == 1
            assert [letter.event for letter in await bus.dead_letters("g")] == events("b", 1)
            assert await take(deliveries, 1) == events("a", 1)

    anyio.run(play, backend=backend)


@on_one_loop
def test_every_call_on_a_frozen_server_ends(url: str, server: Server, backend: str) -> None:
    async def play() -> None:
        async with bus_on(url, "poll=0.05&timeout=0.3") as bus, bus.subscribe("g") as deliveries:
            await bus.publish(events("a", 1))
            delivery = await next_of(deliveries)
            server.freeze()
            try:
                for call in (
                    partial(bus.publish, events("b", 1)),
                    delivery.ack,
                    partial(bus.dead_letters, "g"),
                    partial(bus.redeliver, "g", [events("a", 1)[0].event_id]),
                    partial(next_of, deliveries),
                ):
                    with anyio.fail_after(10), pytest.raises(EventBusUnavailableError):
                        await call()
            finally:
                server.thaw()

    anyio.run(play, backend=backend)


def test_an_absent_server_is_unavailable(backend: str, url: str) -> None:
    async def play() -> None:
        absent = f"sqs://us-east-1?endpoint=http://127.0.0.1:1&timeout=0.5&prefix={url[-8:]}"
        with anyio.fail_after(10), pytest.raises(EventBusUnavailableError, match=r"SQS event bus http://127.0.0.1:1, .* is unavailable"):
            async with bus_on(absent):
                pytest.fail("nobody listens")

    anyio.run(play, backend=backend)


def test_missing_credentials_are_told_and_given_ones_are_not(
    url: str, backend: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")

    async def play() -> None:
        with pytest.raises(EventBusUnavailableError, match="give the driver credentials") as refusal:
            async with bus_on(url):
                pytest.fail("it has no credentials")
        assert not refusal.value.retryable

    anyio.run(play, backend=backend)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAOFATEST")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret")

    async def show() -> None:
        async with broker_on(url) as broker:
            assert "s3cret" not in f"{broker!r} {broker.name} {broker._place!r}"
            assert "AKIA" not in f"{broker!r} {broker.name} {broker._place!r}"

    anyio.run(show, backend=backend)


def test_the_relay_feeds_it_by_url(url: str, backend: str) -> None:
    async def play() -> None:
        async with bus_on(url) as bus, bus.subscribe("g") as deliveries:
            async with open_inventory("memory:", read_models="memory:", bus=url) as inventory, anyio.create_task_group() as tasks:
                await inventory.add_stock("tea", "berlin", 3)
                await inventory.add_stock("tea", "berlin", 4)
                tasks.start_soon(partial(inventory.followers.run, on_failure="stop"))
                got = await take(deliveries, 2)
                inventory.followers.stop()
            assert [(str(event.stream), event.version) for event in got] == [("inventory-tea-berlin", 1), ("inventory-tea-berlin", 2)]

    anyio.run(play, backend=backend)
