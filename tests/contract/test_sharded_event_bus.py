"""The sharded bus over a broker in memory under the contract of its port."""

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager, suppress
from random import Random
from typing import ClassVar
from weakref import WeakKeyDictionary

import anyio
import pytest
from anyio.lowlevel import checkpoint

from inventory_es.ports import BusSubscription, RecordedEvent
from inventory_es.ports.errors import CorruptStoreError, EventBusUnavailableError
from inventory_es.ports.toolkit.broker import Claim, Entry, encode_letter
from inventory_es.ports.toolkit.sharded_bus import ShardedBus
from inventory_es.testing import EventBusContract, ManualClock, Site
from inventory_es.testing.contracts.core.event_labels import EventLabels, recorded, stream_id
from tests.contract.stores.memory_broker import BrokerState, GroupShard, MemoryBroker

EVENT = recorded(stream_id("a"), 1, 1, EventLabels().event("e"))


class TestShardedBus(EventBusContract):
    shards: ClassVar[int] = 4
    window: ClassVar[int] = 4
    states: ClassVar[WeakKeyDictionary[Site, BrokerState]] = WeakKeyDictionary()

    @asynccontextmanager
    async def open_bus(self, site: Site) -> AsyncIterator[ShardedBus]:
        if site not in self.states:
            self.states[site] = BrokerState(self.shards, file=(site.path / "log").open("w+b"))
        bus = ShardedBus(MemoryBroker(self.states[site]), clock=ManualClock(), durable=True, window=self.window)
        try:
            yield bus
        finally:
            await bus.aclose()

    async def drop(self, site: Site) -> None:
        if (state := self.states.pop(site, None)) is not None:
            state.file.close()


class TestShardedBusOfOneShard(TestShardedBus):
    backends: Sequence[str] = ("trio",)  # a variation: what it varies is the same on every event loop
    seeds: Sequence[int] | None = (0,)  # the plain schedule: the others are run over more shards
    shards = 1
    window = 8


async def publish_all(bus: ShardedBus, events: Sequence[RecordedEvent]) -> None:
    """Publish until no answer was lost."""
    while True:
        with suppress(EventBusUnavailableError):
            return await bus.publish(events)


@pytest.mark.parametrize("seed", range(6))
def test_every_group_handles_every_event_in_order_whatever_the_broker_does(seed: int, backend: str) -> None:
    """The broker loses answers, hands out twice, and ends leases in the middle; consumers refuse, die and leave; handles are replaced."""
    chance = Random(seed)
    state = BrokerState(shards=3)
    labels = EventLabels()
    streams = [stream_id(name) for name in "abcdefg"]
    published = [recorded(streams[n % 7], n // 7 + 1, n + 1, labels.event(f"e{n}")) for n in range(70)]
    handled: dict[str, list[RecordedEvent]] = {"g": [], "h": []}

    async def consume(group: str) -> None:
        while len(set(handled[group])) < len(published):
            bus = open_bus()
            try:
                with suppress(EventBusUnavailableError):
                    async with bus.subscribe(group) as deliveries:
                        async for delivery in deliveries:
                            if chance.random() < 0.1:
                                await delivery.nack("again")
                                continue
                            handled[group].append(delivery.event)
                            if len(set(handled[group])) == len(published) or chance.random() < 0.05:
                                break
                            await delivery.ack()
            finally:
                if chance.random() < 0.5:
                    await bus.aclose()
                else:  # as a process that dies: its claims end with their leases
                    for one in state.groups.values():
                        one.owner = ""

    def open_bus() -> ShardedBus:
        broker = MemoryBroker(state, trouble=chance, rate=0.05)
        return ShardedBus(broker, clock=ManualClock(), durable=True, window=4, max_deliveries=1_000, poll_interval=0.001)

    async def play() -> None:
        publishing = open_bus()
        with anyio.fail_after(20):
            async with anyio.create_task_group() as tasks:
                for group in handled:
                    tasks.start_soon(consume, group)
                for start in range(0, 70, 10):
                    await publish_all(publishing, published[start : start + 10])

    anyio.run(play, backend=backend)
    for group, events in handled.items():
        assert set(events) == set(published), group
        for stream in streams:
            firsts = list(dict.fromkeys(event.version for event in events if event.stream == stream))
            assert firsts == list(range(1, 11)), f"{group} of {stream}"


def test_a_shard_that_was_taken_over_is_not_answered_by_its_former_owner(backend: str) -> None:
    state = BrokerState(shards=1)
    labels = EventLabels()
    event = recorded(stream_id("a"), 1, 1, labels.event("e"))

    async def play() -> None:
        first, second = (ShardedBus(MemoryBroker(state), clock=ManualClock(), durable=True, poll_interval=0.001) for _ in range(2))
        async with first.subscribe("g") as former, second.subscribe("g") as later:
            await first.publish([event])
            lost = await anext(former)
            state.groups["g", 0].owner = ""
            again = await anext(later)
            assert (again.event, again.attempt) == (event, 2)
            await lost.ack()
            assert state.groups["g", 0].low == 0
            await again.ack()
            assert state.groups["g", 0].low == 1
        await first.aclose()
        await second.aclose()

    anyio.run(play, backend=backend)


def test_an_event_whose_consumers_die_with_it_becomes_a_dead_letter(backend: str) -> None:
    state = BrokerState(shards=1)
    labels = EventLabels()
    poison, other = (recorded(stream_id(name), 1, 1, labels.event(name)) for name in ("a", "b"))

    async def play() -> None:
        for attempt in range(1, 4):
            bus = ShardedBus(MemoryBroker(state), clock=ManualClock(), durable=True, max_deliveries=3)
            subscription = bus.subscribe("g")
            deliveries = await subscription.__aenter__()
            if attempt == 1:
                await bus.publish([poison, other])
            delivery = await anext(aiter(deliveries))
            assert (delivery.event, delivery.attempt) == (poison, attempt)
            state.groups["g", 0].owner = ""  # the process dies
            await subscription.__aexit__(None, None, None)
        bus = ShardedBus(MemoryBroker(state), clock=ManualClock(), durable=True, max_deliveries=3)
        async with bus.subscribe("g") as deliveries:
            delivery = await anext(aiter(deliveries))
            assert (delivery.event, delivery.attempt) == (other, 1), "a poison event spends no neighbour's deliveries"
            await delivery.ack()
        (letter,) = await bus.dead_letters("g")
        assert (letter.event, letter.deliveries) == (poison, 3)
        await bus.aclose()

    anyio.run(play, backend=backend)


@pytest.mark.parametrize("maximum, counted, again", [(1, {}, 1), (2, {2: 1}, 2), (5, {2: 1}, 2)])
def test_an_answer_records_the_next_delivery_too_but_never_the_last_one(
    maximum: int, counted: dict[int, int], again: int, backend: str
) -> None:
    """A process that dies between an answer and the next delivery has counted it; one that leaves takes the count back."""
    state = BrokerState(shards=1)
    published = [recorded(stream_id(name), 1, number, EventLabels().event(name)) for number, name in enumerate("ab", 1)]

    def open_bus() -> ShardedBus:
        return ShardedBus(MemoryBroker(state), clock=ManualClock(), durable=True, max_deliveries=maximum, poll_interval=0.001)

    async def play() -> None:
        first, second = open_bus(), open_bus()
        await first.publish(published)
        async with first.subscribe("g") as deliveries, first.subscribe("h") as others:
            assert await take_all(deliveries, 1) == await take_all(others, 1) == published[:1]
            assert state.groups["g", 0].deliveries == counted
            state.groups["g", 0].owner = ""  # the process dies, for one group
        assert state.groups["h", 0].deliveries == dict.fromkeys(counted, 0)
        for group, attempt in (("g", again), ("h", 1)):
            async with second.subscribe(group) as deliveries:
                delivery = await anext(aiter(deliveries))
                assert (delivery.event, delivery.attempt) == (published[1], attempt)
                await delivery.ack()
        await first.aclose()
        await second.aclose()

    anyio.run(play, backend=backend)


class LosesARecord(MemoryBroker):
    """A broker that records a delivery and loses its answer, once."""

    has_lost = False

    async def record(self, claim: Claim, place: int, deliveries: int, /) -> None:
        await super().record(claim, place, deliveries)
        if not self.has_lost:
            self.has_lost = True
            raise EventBusUnavailableError(bus=self.name, reason="the answer was lost")


def test_an_event_whose_only_delivery_was_recorded_without_an_answer_comes_if_its_process_lives(backend: str) -> None:
    """After a takeover nobody knows whether a consumer had it. It becomes a dead letter, which can be delivered again."""
    state = BrokerState(shards=1)

    async def play(dies: bool) -> None:
        first, second = (
            ShardedBus(broker(state), clock=ManualClock(), durable=True, max_deliveries=1, poll_interval=0.001)
            for broker in (LosesARecord, MemoryBroker)
        )
        await first.publish([EVENT])
        async with first.subscribe("g") as deliveries, second.subscribe("g") as others:
            with pytest.raises(EventBusUnavailableError):
                await anext(deliveries)
            if dies:
                state.groups["g", 0].owner = ""
                with anyio.move_on_after(0.05):
                    pytest.fail(f"{(await anext(others)).event} was delivered more often than once, for all that is known")
                (letter,) = await second.dead_letters("g")
                assert (letter.event, letter.deliveries) == (EVENT, 1)
                assert await second.redeliver("g", [EVENT.event_id]) == 1
            taken = await anext(others if dies else deliveries)
            assert (taken.event, taken.attempt) == (EVENT, 1)
            await taken.ack()
        await first.aclose()
        await second.aclose()

    for dies in (False, True):
        anyio.run(play, dies, backend=backend)


class Watched(MemoryBroker):
    """A broker that notes the most entries of a group's shard that were read and are not settled, and its reads."""

    most_apart = 0
    reads = 0

    async def read(self, wanted: Sequence[tuple[Claim, int, int]], /) -> Sequence[Sequence[Entry] | None]:
        self.reads += 1
        return await super().read(wanted)

    def _settle(self, of: GroupShard, places: Collection[int], low: int) -> None:
        super()._settle(of, places, low)
        self.most_apart = max(self.most_apart, len(of.settled))


def test_few_events_are_handled_before_one_that_has_no_answer(backend: str) -> None:
    """The places of those that were handled are kept one by one, until the unanswered one is settled too."""
    labels = EventLabels()
    stuck = recorded(stream_id("stuck"), 1, 1, labels.event("stuck"))
    others = [recorded(stream_id("other"), n + 1, n + 2, labels.event(f"e{n}")) for n in range(450)]

    async def play() -> None:
        broker = Watched(BrokerState(shards=1))
        bus = ShardedBus(broker, clock=ManualClock(), durable=True, window=2, poll_interval=0.001)
        async with bus.subscribe("g") as deliveries:
            iterator = aiter(deliveries)
            await bus.publish([stuck, *others])
            unanswered = await anext(iterator)
            for expected in others[:199]:
                delivery = await anext(iterator)
                assert (unanswered.event, delivery.event) == (stuck, expected)
                await delivery.ack()
            with anyio.move_on_after(0.05):
                pytest.fail(
                    f"{(await anext(iterator)).event} is too far from the unanswered one"
                )  # the list of settled places would grow without a bound
            await unanswered.ack()
            for expected in others[199:]:
                delivery = await anext(iterator)
                assert delivery.event == expected
                await delivery.ack()
        assert broker.most_apart == 199
        assert broker.state.groups["g", 0].settled == set()
        await bus.aclose()

    anyio.run(play, backend=backend)


@pytest.mark.parametrize("streams", [2, 9])
def test_dead_letters_that_come_again_fill_no_more_than_the_window(streams: int, backend: str) -> None:
    """Those of a stream keep their order, and all of them come."""
    state = BrokerState(shards=1)
    labels = EventLabels()
    published = [recorded(stream_id(f"s{n % streams}"), n // streams + 1, n + 1, labels.event(f"e{n}")) for n in range(9)]

    async def play() -> None:
        bus = ShardedBus(MemoryBroker(state), clock=ManualClock(), durable=True, window=3, max_deliveries=1, poll_interval=0.001)
        async with bus.subscribe("g") as deliveries:
            iterator = aiter(deliveries)
            await bus.publish(published)
            for _ in published:
                await (await anext(iterator)).nack("no")
            assert await bus.redeliver("g", [event.event_id for event in published]) == 9
            held = [await anext(iterator) for _ in range(min(streams, 3))]
            with anyio.move_on_after(0.02):
                pytest.fail(f"{(await anext(iterator)).event} is one more than the window, or overtakes its stream")
            for one in held:
                await one.ack()
            got = [one.event for one in held] + await take_all(deliveries, 9 - len(held))
            assert got == published
        assert state.groups["g", 0].again == {}
        await bus.aclose()

    anyio.run(play, backend=backend)


def test_a_group_with_a_filter_does_not_sleep_after_each_page(backend: str) -> None:
    labels = EventLabels()
    streams = [stream_id(name) for name in ("noise", "wanted")]
    noise = [recorded(streams[0], n + 1, n + 1, labels.event(f"e{n}")) for n in range(40)]
    wanted = recorded(streams[1], 1, 99, labels.event("wanted"))

    async def play() -> None:
        broker = Watched(BrokerState(shards=1))
        bus = ShardedBus(broker, clock=ManualClock(), durable=True, window=4, poll_interval=600)
        await bus.publish([*noise, wanted])
        async with bus.subscribe("g", streams=[streams[1]]) as deliveries:
            with anyio.fail_after(20):
                delivery = await anext(aiter(deliveries))
            assert delivery.event == wanted
            assert broker.reads == 11
            await delivery.ack()
        assert broker.state.groups["g", 0].low == 41
        await bus.aclose()

    anyio.run(play, backend=backend)


@pytest.mark.parametrize("at", range(12))
def test_a_consumer_that_is_interrupted_twice_keeps_nothing(at: int) -> None:
    """asyncio interrupts the leaving too: the other consumer of the process, and another process, still get everything."""
    state = BrokerState(shards=1)
    labels = EventLabels()
    published = [recorded(stream_id("a"), n, n, labels.event(f"e{n}")) for n in (1, 2)]

    async def consume(bus: ShardedBus) -> None:
        async with bus.subscribe("g") as deliveries:
            await anext(aiter(deliveries))
            await anyio.sleep_forever()

    async def play() -> None:
        bus = ShardedBus(MemoryBroker(state), clock=ManualClock(), durable=True, poll_interval=0.001, max_deliveries=99)
        await bus.publish(published)
        async with bus.subscribe("g") as others:
            task = asyncio.create_task(consume(bus))
            for _ in range(at):
                await checkpoint()
            task.cancel()
            for _ in range(at % 3):
                await checkpoint()
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            with anyio.fail_after(20):
                assert await take_all(others, 1) == published[:1]
        other = ShardedBus(MemoryBroker(state), clock=ManualClock(), durable=True, poll_interval=0.001)
        async with other.subscribe("g") as deliveries:
            with anyio.fail_after(20):
                assert await take_all(deliveries, 1) == published[1:]
        await other.aclose()
        await bus.aclose()

    anyio.run(play, backend="asyncio")


class Left(MemoryBroker):
    """A broker that notes the groups that were left."""

    def __init__(self, state: BrokerState) -> None:
        super().__init__(state)
        self.groups_left: list[str] = []

    async def leave(self, group: str, /) -> None:
        await checkpoint()
        self.groups_left.append(group)


@pytest.mark.parametrize("at", range(20))
def test_the_last_consumer_of_a_process_gives_up_its_shards_although_it_is_interrupted(at: int) -> None:
    """asyncio's own cancellation may come while it leaves. No shield stops it, and no later call of the process would release them."""
    state = BrokerState(shards=1)

    async def consume(bus: ShardedBus) -> None:
        async with bus.subscribe("g") as deliveries:
            await anext(aiter(deliveries))

    async def play() -> None:
        broker = Left(state)
        bus = ShardedBus(broker, clock=ManualClock(), durable=True, poll_interval=0.001)
        other = ShardedBus(MemoryBroker(state), clock=ManualClock(), durable=True, poll_interval=0.001)
        await bus.publish([EVENT])
        task = asyncio.create_task(consume(bus))
        for _ in range(at):
            await checkpoint()
        task.cancel()
        await asyncio.wait([task])
        async with other.subscribe("g") as deliveries:
            with anyio.fail_after(20):
                assert await take_all(deliveries, 1) == [EVENT]
        assert broker.groups_left == ["g"] or at == 0, "it has not joined before its first step"
        await other.aclose()
        await bus.aclose()

    anyio.run(play, backend="asyncio")


async def take_all(deliveries: BusSubscription, count: int) -> list[RecordedEvent]:
    """Receive and acknowledge so many events."""
    taken = []
    async for delivery in deliveries:
        await delivery.ack()
        taken.append(delivery.event)
        if len(taken) == count:
            break
    return taken


@pytest.mark.parametrize(
    "data", [b"", b"\xc1", b"no event", encode_letter(EVENT).replace(b"contract-a", b"contract a"), encode_letter(EVENT, since=None)]
)
def test_damaged_entries_and_letters_are_named(data: bytes, backend: str) -> None:
    state = BrokerState(shards=1)

    async def play() -> None:
        bus = ShardedBus(MemoryBroker(state), clock=ManualClock(), durable=True)
        state.dead["g"][0, 1] = ("id", data)
        with pytest.raises(CorruptStoreError, match="a dead letter of group 'g'"):
            await bus.dead_letters("g")
        if data == encode_letter(EVENT):
            return  # an event, which has no time as a letter
        state.append(0, data)
        async with bus.subscribe("g") as deliveries:
            with pytest.raises(CorruptStoreError, match="entry 1 of shard 0"):
                await anext(aiter(deliveries))
        await bus.aclose()

    anyio.run(play, backend=backend)
