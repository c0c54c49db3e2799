"""The event bus on NATS in trouble: dead processes, killed, frozen and full servers, lost answers, trimming, a cluster, the relay."""

import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import anyio
import pytest

from inventory_es.adapters.nats import NatsEventBus, open_nats_event_bus
from inventory_es.adapters.nats.broker import NatsBroker
from inventory_es.adapters.nats.connection import Connection, NatsError, NatsPlace
from inventory_es.adapters.nats.streams import Streams, prepare
from inventory_es.adapters.system import SystemClock
from inventory_es.ports import RecordedEvent
from inventory_es.ports.errors import EventBusUnavailableError, IncompatibleStoreError
from inventory_es.ports.toolkit.broker import OwnershipLostError
from inventory_es.testing.contracts.core.event_labels import stream_id
from tests.integration.bus_events import events, on_one_loop, take
from tests.servers.nats import Server, ask, running_cluster, running_nats


@pytest.fixture
def server() -> Iterator[Server]:
    with running_nats() as running:
        yield running


@asynccontextmanager
async def bus_on(server: Server, options: str = "shards=2", **settings: Any) -> AsyncIterator[NatsEventBus]:
    async with open_nats_event_bus(f"{server.url}?{options}", clock=SystemClock(), **settings) as bus:
        yield bus


def test_what_a_server_took_is_delivered_after_it_was_killed(server: Server, backend: str) -> None:
    published = events("a", 3)

    async def play() -> None:
        async with (
            bus_on(server, "shards=2&lease=0.2", max_deliveries=1) as bus,  # a delivery is not counted ahead then
            bus.subscribe("g") as deliveries,
        ):
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


@on_one_loop
def test_what_publish_acknowledged_is_delivered_although_the_server_is_killed_in_the_middle(server: Server, backend: str) -> None:
    """Events of each batch arrive in order and whole, and no batch arrives in part."""
    acknowledged: list[RecordedEvent] = []
    problems: list[EventBusUnavailableError] = []
    size = 50

    def restart() -> None:
        server.kill()
        server.start()

    async def publish(bus: NatsEventBus, batch: Sequence[RecordedEvent]) -> None:
        while True:
            try:
                await bus.publish(batch)
            except EventBusUnavailableError as problem:
                problems.append(problem)
            else:
                acknowledged.extend(batch)
                return

    async def play() -> None:
        async with bus_on(server, "shards=1&timeout=2") as bus:
            async with anyio.create_task_group() as tasks:
                for number in range(60):
                    if number in {10, 30, 50}:
                        tasks.start_soon(anyio.to_thread.run_sync, restart)
                    await publish(bus, events("a", size, first=number * size + 1))
            async with bus.subscribe("g") as deliveries:
                await bus.publish(events("end", 1))
                taken: list[int] = []
                with anyio.fail_after(60):
                    async for delivery in deliveries:
                        await delivery.ack()
                        if delivery.event.stream == stream_id("end"):
                            break
                        taken.append(delivery.event.version)
        assert problems
        assert all(problem.retryable for problem in problems)
        batches = [taken[start : start + size] for start in range(0, len(taken), size)]
        assert all(batch == list(range(batch[0], batch[0] + size)) for batch in batches), "a batch arrives whole"
        assert list(dict.fromkeys(taken)) == [event.version for event in acknowledged]

    anyio.run(play, backend=backend)


@pytest.mark.parametrize("options,durable", [("shards=1", False), ("shards=1&sync=always", True)])
def test_one_replica_is_durable_only_if_the_host_says_that_its_server_syncs(
    options: str, durable: bool, server: Server, backend: str
) -> None:
    async def play() -> None:
        async with bus_on(server, options) as bus:
            assert bus.capabilities.durable is durable

    anyio.run(play, backend=backend)


@pytest.mark.parametrize(
    "setting,problem",
    [
        ({"storage": "memory"}, "not written to a file"),
        ({"persist_mode": "async"}, "not written to a file"),
        ({"max_age": 3_600_000_000_000}, "removes messages"),
        ({"max_msgs": 10, "discard": "old"}, "removes messages above a limit"),
        ({"max_msgs_per_subject": 10}, "max_msgs_per_subject"),
        ({"metadata": {}}, "of something else"),
        ({"allow_direct": False}, "2.12 or newer"),
    ],
)
def test_a_stream_that_could_lose_events_is_refused(setting: Mapping[str, Any], problem: str, server: Server, backend: str) -> None:
    log = {"name": "inventory_es-log", "subjects": ["inventory_es.log.*"], "num_replicas": 1, "allow_direct": True}
    rest = {"allow_atomic": "persist_mode" not in setting, "metadata": {"inventory_es_shards": "2"}}

    async def play() -> None:
        made = await ask(server.url, "STREAM.CREATE.inventory_es-log", **{**log, **rest, **setting})
        assert "error" not in made
        with pytest.raises(IncompatibleStoreError, match=problem if "persist_mode" not in setting else "allow_atomic"):
            async with bus_on(server):
                pytest.fail("its events would vanish")

    anyio.run(play, backend=backend)


async def fill(bus: NatsEventBus) -> int:
    """Publish large events of the stream ``b`` until they are refused; return the number of those that were taken."""
    taken: list[RecordedEvent] = []

    async def publish() -> None:
        for number in range(1, 100):
            event = events("b", 1, first=number, data=b"x" * 400_000)
            await bus.publish(event)
            taken.extend(event)

    with pytest.raises(EventBusUnavailableError, match="raise the limits of JetStream, or trim the bus") as refused:
        await publish()
    assert not refused.value.retryable
    return len(taken)


def test_a_full_log_takes_no_event_and_is_emptied_by_its_groups(server: Server, backend: str) -> None:
    async def play() -> None:
        async with bus_on(server, "shards=1") as bus, bus.subscribe("g") as deliveries:
            config = (await ask(server.url, "STREAM.INFO.inventory_es-log"))["config"]
            await ask(server.url, "STREAM.UPDATE.inventory_es-log", **{**config, "max_bytes": 2_000_000})
            taken = await fill(bus)
            assert [event.version for event in await take(deliveries, taken)] == list(range(1, taken + 1))
            assert await bus.trim() == taken
            await bus.publish(events("a", 1))
            assert await take(deliveries, 1) == events("a", 1)
        async with bus_on(server, "shards=1"):
            pass

    anyio.run(play, backend=backend)


def test_a_full_server_says_why_and_loses_nothing(backend: str) -> None:
    async def play(server: Server) -> None:
        async with bus_on(server, "shards=1") as bus, bus.subscribe("g") as deliveries:
            taken = await fill(bus)
            server.stop()
            server.settings = {"max_file": "40MB"}
            server.start()
            assert [event.version for event in await take(deliveries, taken)] == list(range(1, taken + 1))

    with running_nats({"max_file": "4MB"}) as server:
        anyio.run(play, server, backend=backend)


def test_a_window_of_large_events_is_read_a_part_at_a_time(server: Server, backend: str) -> None:
    published = [event for n in range(1, 9) for event in events("a", 1, first=n, data=bytes([n]) * 500_000)]

    async def play() -> None:
        async with bus_on(server) as bus, bus.subscribe("g") as deliveries:
            await bus.publish(published)
            assert await take(deliveries, 8) == published

    anyio.run(play, backend=backend)


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
            assert await bus.trim() == 2
            async with bus.subscribe("slow") as deliveries:
                assert await take(deliveries, 4) == published[2:]
            async with bus.subscribe("late") as deliveries:
                assert await take(deliveries, 4) == published[2:]

    anyio.run(play, backend=backend)


def test_more_replicas_than_the_server_has_are_refused(server: Server, backend: str) -> None:
    async def play() -> None:
        with pytest.raises(EventBusUnavailableError, match="replicas > 1 not supported"):
            async with bus_on(server, "replicas=3"):
                pytest.fail("there is one server")

    anyio.run(play, backend=backend)


def test_names_of_groups_are_any_texts(server: Server, backend: str) -> None:
    names = ["a.b", "a b", "*", ">", "ä€\U0001f600", "~%2E", "x" * 128, "\U0001f600" * 128]

    async def play() -> None:
        async with bus_on(server) as bus:
            await bus.publish(events("a", 2))
            for name in names:
                async with bus.subscribe(name) as deliveries:
                    assert await take(deliveries, 1) == events("a", 2)[:1]
            for name in names:
                async with bus.subscribe(name) as deliveries:
                    assert await take(deliveries, 1) == events("a", 2)[1:]
            assert await bus.trim() == 2

    anyio.run(play, backend=backend)


def test_no_consumer_of_jetstream_can_get_stuck_and_attempts_are_our_own(server: Server, backend: str) -> None:
    """After the last attempt an event is in our own dead letters and no longer in its place, and comes back once when it is asked for."""
    published = events("a", 2)

    async def play() -> None:
        async with bus_on(server, "shards=1", max_deliveries=3) as bus, bus.subscribe("g") as deliveries:
            await bus.publish(published)
            iterator = aiter(deliveries)
            for attempt in (1, 2, 3):
                delivery = await anext(iterator)
                assert (delivery.event, delivery.attempt) == (published[0], attempt)
                await delivery.nack("no")
            assert await take(deliveries, 1) == published[1:]
            for stream in ("log", "groups"):
                assert (await ask(server.url, f"STREAM.INFO.inventory_es-{stream}"))["state"]["consumer_count"] == 0
            assert [letter.event for letter in await bus.dead_letters("g")] == published[:1]
            assert await bus.redeliver("g", [published[0].event_id]) == 1
            assert await bus.redeliver("g", [published[0].event_id]) == 0
            assert await take(deliveries, 1) == published[:1]
            assert await bus.dead_letters("g") == []
        async with bus_on(server, "prefix=inventory_es") as bus, bus.subscribe("g") as deliveries:
            await bus.publish(events("b", 1))
            assert await take(deliveries, 1) == events("b", 1), "the letter is settled for every process"

    anyio.run(play, backend=backend)


def test_a_log_that_lost_its_end_keeps_no_place_settled(server: Server, backend: str) -> None:
    """After a power cut the log may be shorter than the answers say. The places of new events are not taken for settled ones."""

    async def play() -> None:
        async with bus_on(server, "shards=1") as bus, bus.subscribe("g") as deliveries:
            await bus.publish(events("a", 3))
            assert len(await take(deliveries, 3)) == 3
        await ask(server.url, "STREAM.DELETE.inventory_es-log")
        async with bus_on(server, "shards=1") as bus, bus.subscribe("g") as deliveries:
            await bus.publish(events("b", 2))
            assert await take(deliveries, 2) == events("b", 2)

    anyio.run(play, backend=backend)


@asynccontextmanager
async def broker_on(server: Server, *, shards: int = 1, lease: float = 600) -> AsyncIterator[NatsBroker]:
    place = NatsPlace.parse(f"{server.url}?shards={shards}", timeout=5, own={"shards"})
    connection = Connection(place, "test")
    found = await anyio.to_thread.run_sync(connection.run, prepare, place, "bus", connection)
    broker = NatsBroker("bus", connection, found.streams, shards=found.shards, lease=lease)
    try:
        yield broker
    finally:
        await broker.aclose()


def test_a_former_owner_changes_nothing(server: Server, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def forget_to_renew(_self: NatsBroker) -> None:
        await anyio.sleep_forever()

    monkeypatch.setattr(NatsBroker, "_renew", forget_to_renew)

    async def play() -> None:
        async with broker_on(server, lease=0.2) as former, broker_on(server) as later:
            await former.publish({0: [b"a", b"b"]})
            await former.join("g")
            (lost,) = await former.claim("g", [0])
            await former.record(lost, 1, 2)
            assert await later.claim("g", [0]) == [], "it waits for the lease"
            await anyio.sleep(0.2)
            (claim,) = await later.claim("g", [0])
            assert (claim.low, claim.deliveries) == (0, {1: 2})
            assert await former.claim("g", [0]) == [], "a living owner is not robbed"
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
            assert (again.low, again.deliveries) == (1, {})

    anyio.run(play, backend=backend)


def test_a_write_without_an_answer_is_found_and_not_taken_for_a_takeover(
    server: Server, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish = Streams.publish
    lost: list[bool] = []

    async def lose_the_answer(self: Streams, messages: Any) -> int:
        done = await publish(self, messages)
        if lost:
            lost.pop()
            msg = "no answer"
            raise NatsError(msg)
        return done

    monkeypatch.setattr(Streams, "publish", lose_the_answer)

    async def play() -> None:
        async with broker_on(server) as broker:
            await broker.publish({0: [b"a", b"b"]})
            await broker.join("g")
            (claim,) = await broker.claim("g", [0])
            calls: Sequence[Callable[[], Awaitable[None]]] = (
                partial(broker.record, claim, 1, 5),
                partial(broker.bury, claim, 1, "id", b"letter", low=1),
                partial(broker.record, claim, 2, 1),
                partial(broker.settle, claim, [2], low=2),
            )
            for call in calls:
                lost.append(True)
                with pytest.raises(EventBusUnavailableError):
                    await call()
                await call()
            assert await broker.dead_letters("g", limit=10) == [b"letter"]
            assert await broker.revive("g", ["id"]) == 1
            await broker.bury(claim, 1, "id", b"letter", low=2)
            assert await broker.dead_letters("g", limit=10) == [], "a burial that is repeated late keeps no second letter"
            ((again,),) = [found for found in await broker.read([(claim, 2, 10)]) if found]
            assert (again.place < 0, again.data) == (True, b"letter")
            await broker.release([claim])
            (later,) = await broker.claim("g", [0])
            assert (later.low, later.deliveries) == (2, {})

    anyio.run(play, backend=backend)


def test_shards_that_a_cancelled_call_owned_are_given_to_the_next_one(server: Server, backend: str) -> None:
    async def play() -> None:
        async with broker_on(server) as broker:
            await broker.join("g")
            (former,) = await broker.claim("g", [0])  # whose answer never reached the bus
            (claim,) = await broker.claim("g", [0])
            await broker.record(claim, 1, 1)
            with pytest.raises(OwnershipLostError):
                await broker.record(former, 1, 9)

    anyio.run(play, backend=backend)


def test_a_letter_is_settled_once_whatever_is_claimed_meanwhile(server: Server, backend: str) -> None:
    async def play() -> None:
        async with broker_on(server, shards=2) as broker:
            await broker.publish({0: [b"a"]})
            await broker.join("g")
            (claim,) = await broker.claim("g", [0])
            await broker.record(claim, 1, 1)
            await broker.bury(claim, 1, "id", b"letter", low=1)
            assert await broker.revive("g", ["id"]) == 1
            ((again,),) = [found for found in await broker.read([(claim, 1, 10)]) if found]
            (other,) = await broker.claim("g", [1])
            await broker.settle(claim, [again.place], low=1)
            assert await broker.read([(claim, 1, 10), (other, 0, 10)]) == [[], []]
        async with broker_on(server, shards=2) as broker:
            claims = await broker.claim("g", [0, 1])
            assert await broker.read([(one, one.low, 10) for one in claims]) == [[], []]

    anyio.run(play, backend=backend)


@on_one_loop
def test_the_most_shards_are_owned_and_read(server: Server, backend: str) -> None:
    async def play() -> None:
        async with bus_on(server, "shards=1024") as bus, bus.subscribe("g") as deliveries:
            published = [event for n in range(100) for event in events(f"s{n}", 1)]
            await bus.publish(published)
            taken = await take(deliveries, 100)
            assert sorted(str(event.stream) for event in taken) == sorted(str(event.stream) for event in published)

    anyio.run(play, backend=backend)


async def publish_for_ever(bus: NatsEventBus) -> None:
    while True:
        await bus.publish(events("a", 1))


@on_one_loop
def test_every_call_on_a_frozen_server_ends(server: Server, backend: str) -> None:
    async def play() -> None:
        async with bus_on(server, "shards=2&timeout=0.2") as bus, bus.subscribe("g") as deliveries:
            server.freeze()
            with pytest.raises(EventBusUnavailableError), anyio.fail_after(10):
                await publish_for_ever(bus)  # a signal takes a moment
            for call in (
                lambda: bus.publish(events("a", 1)),
                lambda: anext(aiter(deliveries)),
                lambda: bus.dead_letters("g"),
                lambda: bus.redeliver("g", [events("a", 1)[0].event_id]),
                bus.trim,
            ):
                with anyio.fail_after(10), pytest.raises(EventBusUnavailableError, match=r"no answer in 0\.2 s"):
                    await call()
            server.thaw()
            await bus.publish(events("b", 1))
            while await take(deliveries, 1) != events("b", 1):
                pass

    anyio.run(play, backend=backend)


@pytest.mark.parametrize(
    "general,right,wrong",
    [
        ('authorization { user: "shop", password: "s3cret right" }', "shop:s3cret%20right@", "shop:s3cret%20wrong@"),
        ('authorization { token: "s3cret-right" }', "s3cret-right@", "s3cret-wrong@"),
        ('authorization { token: "s3cret-right" }', "s3cret-right@", ""),
    ],
)
def test_credentials_are_of_the_url_and_in_no_message(general: str, right: str, wrong: str, backend: str) -> None:
    async def play(server: Server) -> None:
        url = f"nats://{{}}127.0.0.1:{server.port}?shards=1"
        async with open_nats_event_bus(url.format(right), clock=SystemClock()) as bus:
            await bus.publish(events("a", 1))
        with pytest.raises(EventBusUnavailableError, match="correct the user and the password, or the token") as refused:
            async with open_nats_event_bus(url.format(wrong), clock=SystemClock()):
                pytest.fail("it has no right")
        assert not refused.value.retryable
        assert "s3cret" not in str(refused.value)

    with running_nats(general=[general]) as server:
        anyio.run(play, server, backend=backend)


@pytest.mark.parametrize("publish,is_right", [('"shop.>", "$JS.API.>"', True), ('"shop.>"', False), ('"$JS.API.>"', False)])
def test_a_user_needs_permission_for_the_prefix_and_for_jetstream(publish: str, is_right: bool, backend: str) -> None:
    rights = f'permissions: {{ publish: [{publish}], subscribe: ["_INBOX.>"] }}'

    async def play(server: Server) -> None:
        async with (
            open_nats_event_bus(f"nats://u:p@127.0.0.1:{server.port}?prefix=shop&shards=1", clock=SystemClock()) as bus,
            bus.subscribe("g") as deliveries,
        ):
            await bus.publish(events("a", 1))
            assert await take(deliveries, 1) == events("a", 1)
            assert await bus.trim() == 1

    with running_nats(general=[f'authorization {{ users: [ {{ user: "u", password: "p", {rights} }} ] }}']) as server:
        if is_right:
            anyio.run(play, server, backend=backend)
        else:
            with pytest.raises(EventBusUnavailableError, match="give this user permission"):
                anyio.run(play, server, backend=backend)


def test_a_server_without_tls_gets_no_password_where_tls_is_demanded(backend: str) -> None:
    got: list[bytes] = []

    def pretend(listener: socket.socket) -> None:
        with listener.accept()[0] as client:
            client.sendall(b'INFO {"server_id":"x","version":"2.12.0","headers":true,"max_payload":1048576,"auth_required":true}\r\n')
            got.append(client.recv(1_000))

    async def play(port: int) -> None:
        with pytest.raises(EventBusUnavailableError, match="no TLS; leave tls=yes out") as refused:
            async with open_nats_event_bus(f"nats://u:s3cret@127.0.0.1:{port}?tls=yes", clock=SystemClock()):
                pytest.fail("it is not encrypted")
        assert not refused.value.retryable

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=pretend, args=(listener,))
        thread.start()
        anyio.run(play, listener.getsockname()[1], backend=backend)
        thread.join()
    assert got == [b""]


def test_a_missing_file_of_an_authority_is_named(server: Server, backend: str) -> None:
    async def play() -> None:
        with pytest.raises(EventBusUnavailableError, match=r"/nowhere\.pem: No such file or directory; correct the option ca"):
            async with bus_on(server, "ca=/nowhere.pem"):
                pytest.fail("it can't be verified")

    anyio.run(play, backend=backend)


def test_a_server_without_jetstream_is_told_so(backend: str) -> None:
    accounts = 'accounts { A { users: [ { user: "u", password: "p" } ] } }'

    async def play(server: Server) -> None:
        with pytest.raises(EventBusUnavailableError, match=r"JetStream"):
            async with open_nats_event_bus(f"nats://u:p@127.0.0.1:{server.port}", clock=SystemClock()):
                pytest.fail("it keeps nothing")

    with running_nats(general=[accounts]) as server:
        anyio.run(play, server, backend=backend)


def test_an_absent_server_is_unavailable_at_once(server: Server, backend: str) -> None:
    server.stop()

    async def play() -> None:
        with pytest.raises(EventBusUnavailableError, match="is unavailable"):
            async with bus_on(server, "timeout=600"):
                pytest.fail("nobody listens")

    anyio.run(play, backend=backend)


@on_one_loop
def test_three_replicas_lose_nothing_when_a_node_is_killed_under_load(backend: str) -> None:
    """Each of the three nodes is killed once, and comes back, while events are published, consumed and refused over the other two."""
    published: list[RecordedEvent] = []
    taken: list[RecordedEvent] = []

    def restart(node: Server) -> None:
        node.kill()
        node.start()

    async def publish(bus: NatsEventBus, nodes: Sequence[Server]) -> None:
        async with anyio.create_task_group() as tasks:
            for number in range(31):
                if number % 10 == 5:
                    tasks.start_soon(anyio.to_thread.run_sync, restart, nodes[number // 10])
                batch = events("a", 10, first=number * 10 + 1)
                while True:
                    with suppress(EventBusUnavailableError):
                        await bus.publish(batch)
                        break
                published.extend(batch)

    async def consume(bus: NatsEventBus) -> None:
        while len(set(taken)) < 310:
            with suppress(EventBusUnavailableError):
                async with bus.subscribe("g") as deliveries:
                    async for delivery in deliveries:
                        taken.append(delivery.event)  # an answer that fails may have settled it all the same
                        if delivery.event.version % 100:
                            await delivery.ack()
                        else:
                            await delivery.nack("no")
                        if len(set(taken)) == 310:
                            break

    async def play(nodes: Sequence[Server]) -> None:
        hosts = ",".join(node.url.removeprefix("nats://") for node in nodes)
        async with open_nats_event_bus(
            f"nats://{hosts}?shards=2&replicas=3&timeout=2&lease=1", clock=SystemClock(), max_deliveries=20
        ) as bus:
            assert bus.capabilities.durable, "three replicas are"
            with anyio.fail_after(120):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(publish, bus, nodes)
                    tasks.start_soon(consume, bus)
            letters = await bus.dead_letters("g")
            assert {letter.event.version for letter in letters} == {100, 200, 300}
            assert await bus.redeliver("g", [letter.event.event_id for letter in letters]) == len(letters)
            async with bus.subscribe("g") as deliveries:
                again = await take(deliveries, len(letters))
            assert {event.version for event in again} == {100, 200, 300}
            assert await bus.dead_letters("g") == []
        assert set(taken) == set(published)
        firsts = list(dict.fromkeys(event.version for event in taken))
        assert firsts == list(range(1, 311))

    with running_cluster() as nodes:
        anyio.run(play, nodes, backend=backend)
