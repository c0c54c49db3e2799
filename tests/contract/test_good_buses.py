"""Buses of the tests' own keep every promise, also in odd ways: the kit rejects nothing good."""

from collections.abc import AsyncGenerator, AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from typing import Any, ClassVar
from uuid import UUID

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import BusCapabilities, Delivery, EventBus, RecordedEvent
from inventory_es.testing import EventBusContract, Site
from tests.contract.stores.plain_bus import Group, Item, PlainBus, PlainSubscription


class TestPlainBus(EventBusContract):
    seeds: Sequence[int] | None = (0,)  # the plain schedule: the others are run over the adapters as they ship

    adapter: ClassVar[type[PlainBus]] = PlainBus

    @asynccontextmanager
    async def open_bus(self, site: Site) -> AsyncIterator[EventBus]:
        bus = self.adapter()
        yield bus
        await bus.aclose()


class OneDelivery(PlainBus):
    """A bus on which an event that fails once is a dead letter."""

    capabilities = BusCapabilities(max_deliveries=1, max_pending=16, max_event_bytes=200_000)


class TestBusOfOneDelivery(TestPlainBus):
    backends: Sequence[str] = ("asyncio",)  # a variation: what it varies is the same on every event loop
    adapter: ClassVar[type[PlainBus]] = OneDelivery


class Small(PlainBus):
    """A bus that holds eight events at most."""

    capabilities = BusCapabilities(max_deliveries=2, max_pending=8, max_event_bytes=20_000)


class TestSmallBus(TestPlainBus):
    backends: Sequence[str] = ("trio",)  # a variation: what it varies is the same on every event loop
    adapter: ClassVar[type[PlainBus]] = Small


class PublishesTwice(PlainBus):
    """A bus that delivers every event twice, as after a publisher that lost its first answer."""

    async def enqueue(self, group: Group, event: RecordedEvent) -> None:
        await super().enqueue(group, event)
        await super().enqueue(group, event)


class TestBusThatPublishesTwice(TestPlainBus):
    backends: Sequence[str] = ("asyncio",)  # a variation: what it varies is the same on every event loop
    adapter: ClassVar[type[PlainBus]] = PublishesTwice


class BatchesTwice(PlainBus):
    """A bus that delivers every second batch twice."""

    count = 0

    async def publish(self, events: Sequence[RecordedEvent], /) -> None:
        self.count += 1
        await super().publish(events)
        if self.count % 2:
            await super().publish(events)


class TestBusThatPublishesBatchesTwice(TestPlainBus):
    backends: Sequence[str] = ("trio",)  # a variation: what it varies is the same on every event loop
    adapter: ClassVar[type[PlainBus]] = BatchesTwice


class LosesAnswers(PlainBus):
    """A bus that delivers an event once more after its first acknowledgement, as a broker that lost it in a failover."""

    def __init__(self) -> None:
        super().__init__()
        self.lost: set[int] = set()
        self.kept: list[Item] = []

    def acknowledge(self, group: Group, item: Item) -> None:
        if id(item) in self.lost or len(self.kept) % 3:
            super().acknowledge(group, item)
        else:
            self.put_back(group, item)
        self.lost.add(id(item))
        self.kept.append(item)


class TestBusThatLosesAnswers(TestPlainBus):
    backends: Sequence[str] = ("asyncio",)  # a variation: what it varies is the same on every event loop
    adapter: ClassVar[type[PlainBus]] = LosesAnswers


class LeavesOutDuplicates(PlainBus):
    """A bus that skips an event that it has published as a whole before."""

    def __init__(self) -> None:
        super().__init__()
        self.published: set[tuple[StreamId, UUID]] = set()

    async def publish(self, events: Sequence[RecordedEvent], /) -> None:
        fresh = [event for event in events if (event.stream, event.event_id) not in self.published]
        await super().publish(fresh)
        self.published |= {(event.stream, event.event_id) for event in fresh}


class TestBusThatLeavesOutDuplicates(TestPlainBus):
    backends: Sequence[str] = ("trio",)  # a variation: what it varies is the same on every event loop
    adapter: ClassVar[type[PlainBus]] = LeavesOutDuplicates


class Serial(PlainBus):
    """A bus with one unanswered delivery per group."""

    def next_item(self, group: Group) -> Item | None:
        return None if group.handled_now else super().next_item(group)


class TestSerialBus(TestPlainBus):
    backends: Sequence[str] = ("asyncio",)  # a variation: what it varies is the same on every event loop
    adapter: ClassVar[type[PlainBus]] = Serial


class FailuresLast(PlainBus):
    """A bus that puts a failing stream behind all waiting events, and a redelivery behind its own stream."""

    def put_back(self, group: Group, item: Item) -> None:
        super().put_back(group, item)
        mine = [each for each in group.waiting if each.event.stream == item.event.stream]
        group.waiting = [each for each in group.waiting if each not in mine] + mine

    async def redeliver(self, name: str, event_ids: Collection[UUID], /) -> int:
        count = await super().redeliver(name, event_ids)
        if name in self.groups:
            waiting = self.groups[name].waiting
            waiting[:] = [*waiting[count:], *waiting[:count]]
        return count


class TestBusWithFailuresLast(TestPlainBus):
    backends: Sequence[str] = ("trio",)  # a variation: what it varies is the same on every event loop
    adapter: ClassVar[type[PlainBus]] = FailuresLast


class _Generated(PlainSubscription):
    async def _deliveries(self) -> AsyncGenerator[Delivery, None]:
        while True:
            yield await super().__anext__()

    def __aiter__(self) -> AsyncIterator[Delivery]:
        return self._deliveries()


class Generates(PlainBus):
    """A bus that iterates by an asynchronous generator, which ends when it is cancelled."""

    @asynccontextmanager
    async def subscribe(self, *args: Any, **kwargs: Any) -> AsyncIterator[PlainSubscription]:
        async with super().subscribe(*args, **kwargs) as consumer:
            generated = _Generated(self, consumer.group)
            generated.unanswered = consumer.unanswered
            yield generated


class TestBusThatGenerates(TestPlainBus):
    backends: Sequence[str] = ("asyncio",)  # a variation: what it varies is the same on every event loop
    adapter: ClassVar[type[PlainBus]] = Generates


class Replays(PlainBus):
    """A bus that gives a late group all events."""

    capabilities = BusCapabilities(max_deliveries=3, max_pending=16, max_event_bytes=200_000, late_subscribers="replay")

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[RecordedEvent] = []

    async def publish(self, events: Sequence[RecordedEvent], /) -> None:
        await super().publish(events)
        self.kept += events

    def join(self, name: str, types: Collection[str] | None, streams: Collection[StreamId] | None) -> Group:
        is_new = name not in self.groups
        group = super().join(name, types, streams)
        if is_new:
            group.waiting += [Item(event) for event in self.kept if self.takes(group, event)]
        return group


class TestBusThatReplays(TestPlainBus):
    backends: Sequence[str] = ("trio",)  # a variation: what it varies is the same on every event loop
    adapter: ClassVar[type[PlainBus]] = Replays
