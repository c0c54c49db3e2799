"""The sharded bus over a broker in memory under the contract of its port."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from random import Random
from typing import ClassVar
from weakref import WeakKeyDictionary

import anyio
import pytest

from inventory_es.ports import RecordedEvent
from inventory_es.ports.errors import EventBusUnavailableError
from inventory_es.ports.toolkit.sharded_bus import ShardedBus
from inventory_es.testing import EventBusContract, ManualClock, Site
from inventory_es.testing.contracts.core.event_labels import EventLabels, recorded, stream_id
from tests.contract.stores.memory_broker import BrokerState, MemoryBroker


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
