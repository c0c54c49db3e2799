"""A correct bus of the tests' own, built in steps that can be broken one at a time."""

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from uuid import UUID

import anyio
import attrs
from anyio.lowlevel import checkpoint

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import BusCapabilities, DeadLetter, Delivery, RecordedEvent
from inventory_es.ports.errors import AppendTooLargeError, StoreClosedError

_SINCE = datetime(2026, 1, 5, tzinfo=UTC)


@attrs.define(eq=False)
class Item:
    """An event on its way to a group."""

    event: RecordedEvent
    attempts: int = 0


@attrs.define(eq=False)
class Group:
    """The deliveries that one group still has to get."""

    types: Collection[str] | None
    streams: Collection[StreamId] | None
    waiting: list[Item] = attrs.field(factory=list[Item])
    handled_now: list[Item] = attrs.field(factory=list[Item])
    dead: list[DeadLetter] = attrs.field(factory=list[DeadLetter])


class PlainBus:
    """The bus itself."""

    capabilities = BusCapabilities(max_deliveries=3, max_pending=16, max_event_bytes=200_000)

    def __init__(self) -> None:
        self.groups: dict[str, Group] = {}
        self.closed = False
        self.changed = anyio.Event()

    async def publish(self, events: Sequence[RecordedEvent], /) -> None:
        await self.begin()
        for event in events:
            self.check_size(event)
        for event in events:
            for group in list(self.groups.values()):
                if self.takes(group, event):
                    await self.enqueue(group, event)

    @asynccontextmanager
    async def subscribe(
        self, name: str, /, *, types: Collection[str] | None = None, streams: Collection[StreamId] | None = None
    ) -> AsyncIterator["PlainSubscription"]:
        await self.begin()
        group = self.join(name, types, streams)
        consumer = PlainSubscription(self, group)
        try:
            yield consumer
        finally:
            self.leave(name, group, consumer)

    async def dead_letters(self, name: str, /, *, limit: int = 100) -> Sequence[DeadLetter]:
        await self.begin()
        return self.groups[name].dead[:limit] if name in self.groups else []

    async def redeliver(self, name: str, event_ids: Collection[UUID], /) -> int:
        await self.begin()
        if name not in self.groups:
            return 0
        group = self.groups[name]
        again = [letter for letter in group.dead if letter.event.event_id in event_ids]
        group.dead = [letter for letter in group.dead if letter not in again]
        group.waiting[:0] = [Item(letter.event) for letter in again]
        self.wake()
        return len(again)

    async def aclose(self) -> None:
        self.closed = True
        self.wake()

    # ── step by step ─────────────────────────────────────────────────────────────────────────────────────────────────

    async def begin(self) -> None:
        await checkpoint()
        self.check_open()

    def check_open(self) -> None:
        if self.closed:
            raise StoreClosedError(store="PlainBus")

    def check_size(self, event: RecordedEvent) -> None:
        if event.size > self.capabilities.max_event_bytes:
            raise AppendTooLargeError(limit_name="event bytes", limit=self.capabilities.max_event_bytes, actual=event.size)

    def takes(self, group: Group, event: RecordedEvent) -> bool:
        return (group.types is None or event.event_type in group.types) and (group.streams is None or event.stream in group.streams)

    async def enqueue(self, group: Group, event: RecordedEvent) -> None:
        while len(group.waiting) + len(group.handled_now) >= self.capabilities.max_pending:
            await self.wait()
        group.waiting.append(Item(event))
        self.wake()

    def join(self, name: str, types: Collection[str] | None, streams: Collection[StreamId] | None) -> Group:
        kept = (None if types is None else frozenset(types), None if streams is None else frozenset(streams))
        return self.groups.setdefault(name, Group(*kept))

    def leave(self, name: str, group: Group, consumer: "PlainSubscription") -> None:
        for item in reversed(consumer.unanswered):
            self.refuse(group, item, "its consumer left without an answer")
        consumer.unanswered.clear()
        self.wake()

    def put_back(self, group: Group, item: Item) -> None:
        group.handled_now.remove(item)
        group.waiting.insert(0, item)

    def next_item(self, group: Group) -> Item | None:
        busy = {item.event.stream for item in group.handled_now}
        return next((item for item in group.waiting if item.event.stream not in busy), None)

    def hand_out(self, group: Group, item: Item) -> None:
        group.waiting.remove(item)
        group.handled_now.append(item)
        item.attempts += 1

    def acknowledge(self, group: Group, item: Item) -> None:
        group.handled_now.remove(item)

    def refuse(self, group: Group, item: Item, reason: str) -> None:
        if item.attempts < self.capabilities.max_deliveries:
            self.put_back(group, item)
        else:
            group.handled_now.remove(item)
            self.bury(group, item, reason)

    def bury(self, group: Group, item: Item, reason: str) -> None:
        group.dead.append(DeadLetter(item.event, reason, item.attempts, _SINCE))

    async def wait(self) -> None:
        await self.changed.wait()
        self.check_open()

    def wake(self) -> None:
        self.changed.set()
        self.changed = anyio.Event()


class PlainSubscription:
    """One consumer."""

    def __init__(self, bus: PlainBus, group: Group) -> None:
        self.bus = bus
        self.group = group
        self.unanswered: list[Item] = []

    def __aiter__(self) -> AsyncIterator[Delivery]:
        return self

    async def __anext__(self) -> Delivery:
        await self.bus.begin()
        while (item := self.bus.next_item(self.group)) is None:
            await self.bus.wait()
        self.bus.hand_out(self.group, item)
        self.unanswered.append(item)
        return PlainDelivery(self, item, item.attempts)


@attrs.define(eq=False)
class PlainDelivery:
    """One event that is out at a consumer."""

    consumer: PlainSubscription
    item: Item
    attempt: int

    @property
    def event(self) -> RecordedEvent:
        return self.item.event

    async def ack(self) -> None:
        await checkpoint()
        if self.answer():
            self.consumer.bus.acknowledge(self.consumer.group, self.item)
            self.consumer.bus.wake()

    async def nack(self, reason: str, /) -> None:
        await checkpoint()
        if self.answer():
            self.consumer.bus.refuse(self.consumer.group, self.item, reason)
            self.consumer.bus.wake()

    def answer(self) -> bool:
        if self.item not in self.consumer.unanswered or self.item.attempts != self.attempt:
            return False
        self.consumer.unanswered.remove(self.item)
        return True
