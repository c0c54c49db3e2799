"""Event buses with one mistake when a call is cancelled, or the bus is closed or opened again."""

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from typing import Any, ClassVar
from uuid import UUID
from weakref import WeakKeyDictionary

import anyio
from anyio.lowlevel import checkpoint

from inventory_es.ports import BusCapabilities, Delivery, EventBus, RecordedEvent
from inventory_es.ports.errors import EventBusUnavailableError
from inventory_es.testing import Site
from tests.contract.mutants.mutant import BusMutants, breaks
from tests.contract.stores.plain_bus import Group, Item, PlainBus, PlainDelivery, PlainSubscription


class SubscribesBy(PlainBus):
    """A bus with subscriptions of another class."""

    subscription: type[PlainSubscription] = PlainSubscription

    @asynccontextmanager
    async def subscribe(self, *args: Any, **kwargs: Any) -> AsyncIterator[PlainSubscription]:
        async with super().subscribe(*args, **kwargs) as consumer:
            made = self.subscription(self, consumer.group)
            made.unanswered = consumer.unanswered
            yield made


class _TakesThenPauses(PlainSubscription):
    async def __anext__(self) -> Delivery:
        delivery = await super().__anext__()
        await checkpoint()
        return delivery


@breaks("EB-31", "A receive that is cancelled after it took an event keeps it.")
class KeepsWhatWasTaken(SubscribesBy):
    subscription: type[PlainSubscription] = _TakesThenPauses


class _Buffers(PlainSubscription):
    buffer: Delivery | None = None

    async def __anext__(self) -> Delivery:
        if self.buffer is None:
            self.buffer = await super().__anext__()
        await checkpoint()
        found, self.buffer = self.buffer, None
        return found


@breaks("EB-31", "An event that a cancelled receive took waits for that consumer alone.")
class WaitsForItsConsumer(SubscribesBy):
    subscription: type[PlainSubscription] = _Buffers


class _DoneWhenTaken(PlainSubscription):
    async def __anext__(self) -> Delivery:
        await self.bus.begin()
        while (item := self.bus.next_item(self.group)) is None:
            await self.bus.wait()
        self.bus.hand_out(self.group, item)
        try:
            await checkpoint()
        except BaseException:
            self.group.handled_now.remove(item)
            raise
        self.unanswered.append(item)
        return PlainDelivery(self, item, item.attempts)


@breaks("EB-31", "An event that a cancelled receive took is lost.")
class LosesWhatWasTaken(SubscribesBy):
    subscription: type[PlainSubscription] = _DoneWhenTaken


class _ForgetsFirst(PlainDelivery):
    async def ack(self) -> None:
        if self.answer():
            await checkpoint()
            self.consumer.bus.acknowledge(self.consumer.group, self.item)
            self.consumer.bus.wake()


class _AnswersIn(PlainSubscription):
    async def __anext__(self) -> Delivery:
        delivery = await super().__anext__()
        assert isinstance(delivery, PlainDelivery)
        return _ForgetsFirst(self, delivery.item, delivery.attempt)


@breaks("EB-31", "An acknowledgement that is cancelled half-way holds its stream for ever.")
class HalfAnswers(SubscribesBy):
    subscription: type[PlainSubscription] = _AnswersIn


@breaks("EB-31", "A redelivery that is cancelled half-way loses the dead letter.")
class HalfRedelivers(PlainBus):
    async def redeliver(self, name: str, event_ids: Collection[UUID], /) -> int:
        group = self.groups.get(name)
        again = [letter for letter in group.dead if letter.event.event_id in event_ids] if group else []
        if group is not None:
            group.dead = [letter for letter in group.dead if letter not in again]
            await checkpoint()
            group.waiting[:0] = [Item(letter.event) for letter in again]
            self.wake()
        return len(again)


@breaks("EB-31", "A join that is cancelled leaves a consumer, which gets the next event.")
class LeavesAGhost(PlainBus):
    def __init__(self) -> None:
        super().__init__()
        self.ghosts: list[str] = []

    @asynccontextmanager
    async def subscribe(self, name: str, /, **kwargs: Any) -> AsyncIterator[PlainSubscription]:
        self.ghosts.append(name)
        await checkpoint()
        async with super().subscribe(name, **kwargs) as consumer:
            self.ghosts.remove(name)
            yield consumer

    async def enqueue(self, group: Group, event: RecordedEvent) -> None:
        if self.ghosts and self.groups.get(self.ghosts[0]) is group:
            self.ghosts.clear()
            return
        await super().enqueue(group, event)


@breaks("EB-31", "A leave behind a shield, which asyncio's own cancellation passes: the consumer keeps its event.")
class LeavesBehindAShield(PlainBus):
    @asynccontextmanager
    async def subscribe(self, name: str, /, **kwargs: Any) -> AsyncIterator[PlainSubscription]:
        async with super().subscribe(name, **kwargs) as consumer:
            try:
                yield consumer
            finally:
                with anyio.CancelScope(shield=True):
                    await checkpoint()
                    super().leave(name, consumer.group, consumer)

    def leave(self, name: str, group: Group, consumer: PlainSubscription) -> None:
        """Nothing: it has left already."""


@breaks("EB-32", "A publisher that waits is not told that the bus was closed.")
class LeavesPublishersWaiting(PlainBus):
    async def enqueue(self, group: Group, event: RecordedEvent) -> None:
        while len(group.waiting) + len(group.handled_now) >= self.capabilities.max_pending:
            await self.changed.wait()
            if self.closed:
                await anyio.sleep_forever()
        group.waiting.append(Item(event))
        self.wake()


@breaks("EB-32", "Says to a publisher that waits while the bus is closed that it shall try again.")
class TryAgainWhenClosed(PlainBus):
    async def publish(self, events: Sequence[RecordedEvent], /) -> None:
        was_open = not self.closed
        try:
            await super().publish(events)
        except Exception as error:
            if was_open and self.closed:
                raise EventBusUnavailableError(bus="TryAgainWhenClosed", reason="it is away") from error
            raise


@breaks("EB-32", "A publisher that is cancelled while it waits keeps its lock.")
class KeepsItsLock(PlainBus):
    is_locked = False

    async def publish(self, events: Sequence[RecordedEvent], /) -> None:
        while self.is_locked:
            await self.wait()
        self.is_locked = True
        await super().publish(events)
        self.is_locked = False
        self.wake()


@breaks("EB-32", "A dead letter makes no room.")
class DeadLettersTakeRoom(PlainBus):
    async def enqueue(self, group: Group, event: RecordedEvent) -> None:
        while len(group.waiting) + len(group.handled_now) + len(group.dead) >= self.capabilities.max_pending:
            await self.wait()
        group.waiting.append(Item(event))
        self.wake()


@breaks("EB-20", "An answer after the close is an error of the driver.")
class DriverErrorsAfterClose(PlainBus):
    async def aclose(self) -> None:
        await super().aclose()
        for group in self.groups.values():
            group.handled_now.clear()


class Durable(PlainBus):
    """A bus that keeps everything at its site."""

    capabilities = BusCapabilities(max_deliveries=3, max_pending=64, max_event_bytes=200_000, durable=True)

    def __init__(self, kept: dict[str, Group]) -> None:
        super().__init__()
        self.groups = kept


class DurableMutants(BusMutants):
    kept: ClassVar[WeakKeyDictionary[Site, dict[str, Group]]] = WeakKeyDictionary()

    @asynccontextmanager
    async def open_bus(self, site: Site) -> AsyncIterator[EventBus]:
        bus: Durable = self.adapter(self.kept.setdefault(site, {}))  # type: ignore[call-arg, assignment]  # one of those below
        yield bus
        await bus.aclose()


@breaks("EB-34", "Forgets the attempts when it is closed.", contract=DurableMutants)
class ForgetsAttempts(Durable):
    def __init__(self, kept: dict[str, Group]) -> None:
        super().__init__(kept)
        for group in kept.values():
            for item in group.waiting:
                item.attempts = 0


@breaks("EB-34", "Forgets dead letters when it is closed.", contract=DurableMutants)
class ForgetsLetters(Durable):
    def __init__(self, kept: dict[str, Group]) -> None:
        super().__init__(kept)
        for group in kept.values():
            group.dead.clear()


@breaks("EB-34", "Forgets acknowledgements when it is closed.", contract=DurableMutants)
class ForgetsAnswers(Durable):
    def __init__(self, kept: dict[str, Group]) -> None:
        super().__init__(kept)
        for group in kept.values():
            group.waiting[:0] = [Item(item.event) for item in _done.get(id(group), ())]

    def acknowledge(self, group: Group, item: Item) -> None:
        super().acknowledge(group, item)
        _done.setdefault(id(group), []).append(item)


_done: dict[int, list[Item]] = {}


@breaks("EB-34", "Forgets groups that have nothing to do when it is closed.", contract=DurableMutants)
class ForgetsIdleGroups(Durable):
    async def aclose(self) -> None:
        await super().aclose()
        for name in [name for name, group in self.groups.items() if not group.waiting and not group.dead]:
            del self.groups[name]


@breaks("EB-34", "Delivers again after it was closed what was to be delivered again, from the dead letters.", contract=DurableMutants)
class LosesRedeliveries(Durable):
    def __init__(self, kept: dict[str, Group]) -> None:
        super().__init__(kept)
        for group in kept.values():
            group.waiting = [item for item in group.waiting if item.event.event_id not in _again]
        _again.clear()

    async def redeliver(self, name: str, event_ids: Collection[UUID], /) -> int:
        _again.update(event_ids)
        return await super().redeliver(name, event_ids)


_again: set[UUID] = set()
