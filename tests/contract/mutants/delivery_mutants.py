"""Event buses with one mistake about deliveries, answers or names."""

from collections import Counter
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import anyio
import attrs
from anyio.lowlevel import checkpoint

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import Delivery, RecordedEvent
from tests.contract.mutants.mutant import breaks
from tests.contract.stores.plain_bus import Group, Item, PlainBus, PlainDelivery, PlainSubscription


class DeliversBy(PlainBus):
    """A bus with deliveries of another class."""

    delivery: type[PlainDelivery] = PlainDelivery

    @asynccontextmanager
    async def subscribe(
        self, name: str, /, *, types: Collection[str] | None = None, streams: Collection[StreamId] | None = None
    ) -> AsyncIterator[PlainSubscription]:
        async with super().subscribe(name, types=types, streams=streams) as consumer:
            made = _Other(self, consumer.group)
            made.unanswered = consumer.unanswered
            yield made


class _Other(PlainSubscription):
    async def __anext__(self) -> Delivery:
        assert isinstance(self.bus, DeliversBy)
        delivery = await super().__anext__()
        assert isinstance(delivery, PlainDelivery)
        return self.bus.delivery(self, delivery.item, delivery.attempt)


@breaks("EB-01", "Keeps the first 64 characters of an event type.")
class CutsTypes(PlainBus):
    async def enqueue(self, group: Group, event: RecordedEvent) -> None:
        await super().enqueue(group, attrs.evolve(event, event_type=event.event_type[:64]))


@breaks("EB-01", "Says schema version 1 of every event.")
class FirstSchemaVersion(PlainBus):
    async def enqueue(self, group: Group, event: RecordedEvent) -> None:
        await super().enqueue(group, attrs.evolve(event, schema_version=1))


@breaks("EB-01", "Keeps milliseconds.")
class KeepsMilliseconds(PlainBus):
    async def enqueue(self, group: Group, event: RecordedEvent) -> None:
        at = event.recorded_at
        await super().enqueue(group, attrs.evolve(event, recorded_at=at.replace(microsecond=at.microsecond // 1000 * 1000)))


@breaks("EB-01", "Carries positions as floating-point numbers.")
class FloatingPositions(PlainBus):
    async def enqueue(self, group: Group, event: RecordedEvent) -> None:
        await super().enqueue(group, attrs.evolve(event, position=int(float(event.position))))


@breaks("EB-13", "Loses a slot with every failure, of which it has twelve.")
class LosesSlots(PlainBus):
    failures = 0

    def refuse(self, group: Group, item: Item, reason: str) -> None:
        super().refuse(group, item, reason)
        self.failures += 1

    def next_item(self, group: Group) -> Item | None:
        return super().next_item(group) if self.failures < 12 else None


@breaks("EB-15", "Gives what a consumer left unanswered to nobody who waits already.")
class WakesNobody(PlainBus):
    quiet = False

    def leave(self, name: str, group: Group, consumer: PlainSubscription) -> None:
        self.quiet = True
        super().leave(name, group, consumer)
        self.quiet = False

    def wake(self) -> None:
        if not self.quiet:
            super().wake()


@breaks("EB-16", "A late group gets the last event that came before it.")
class LateGroupGetsTheLast(PlainBus):
    last: RecordedEvent | None = None

    async def publish(self, events: Sequence[RecordedEvent], /) -> None:
        await super().publish(events)
        self.last = events[-1] if events else self.last

    def join(self, name: str, types: Collection[str] | None, streams: Collection[StreamId] | None) -> Group:
        is_new = name not in self.groups
        group = super().join(name, types, streams)
        if is_new and self.last is not None and self.takes(group, self.last) and len(self.groups) > 3:
            group.waiting.append(Item(self.last))
        return group


@breaks("EB-23", "Delivers all events of a stream at once.")
class AllOfAStream(PlainBus):
    def next_item(self, group: Group) -> Item | None:
        return next(iter(group.waiting), None)


@breaks("EB-23", "Two streams that fall into one of four partitions wait for each other.")
class Partitions(PlainBus):
    def next_item(self, group: Group) -> Item | None:
        busy = {partition(item) for item in group.handled_now}
        return next((item for item in group.waiting if partition(item) not in busy), None)


def partition(item: Item) -> int:
    return sum(item.event.stream.text.encode()) % 4


@breaks("EB-24", "Puts a failed event behind the next one of its stream, if another stream has failed too.")
class TwoFailuresChangePlaces(PlainBus):
    def put_back(self, group: Group, item: Item) -> None:
        failed = [each for each in group.waiting if each.attempts]
        super().put_back(group, item)
        if failed:
            group.waiting.remove(item)
            group.waiting.append(item)


@breaks("EB-24", "A consumer that leaves takes the deliveries of the others back.")
class TakesBackAll(PlainBus):
    def leave(self, name: str, group: Group, consumer: PlainSubscription) -> None:
        super().leave(name, group, consumer)
        for item in tuple(group.handled_now):
            self.put_back(group, item)

    def acknowledge(self, group: Group, item: Item) -> None:
        if item in group.handled_now:
            super().acknowledge(group, item)

    def refuse(self, group: Group, item: Item, reason: str) -> None:
        if item in group.handled_now:
            super().refuse(group, item, reason)


@breaks("EB-24", "Counts the attempts of an event over all groups.")
class AttemptsOfAllGroups(PlainBus):
    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[RecordedEvent] = Counter()

    def hand_out(self, group: Group, item: Item) -> None:
        super().hand_out(group, item)
        self.counts[item.event] += 1
        item.attempts = self.counts[item.event]


class _AcksAll(PlainDelivery):
    async def ack(self) -> None:
        for item in tuple(self.consumer.unanswered):
            await PlainDelivery(self.consumer, item, item.attempts).ack()


@breaks("EB-25", "An acknowledgement settles all that the consumer has, as with basic.ack and multiple=True.")
class AcksMultiple(DeliversBy):
    delivery: type[PlainDelivery] = _AcksAll


class _AcksEarlier(PlainDelivery):
    async def ack(self) -> None:
        group = self.consumer.group
        upto = next((number for number, item in enumerate(group.handled_now) if item is self.item), -1)
        for item in group.handled_now[:upto]:
            for_all = [one for one in self.consumer.bus.consumers if item in one.unanswered]  # type: ignore[attr-defined]
            for consumer in for_all:
                await PlainDelivery(consumer, item, item.attempts).ack()
        await super().ack()


@breaks("EB-25", "Commits an offset: with an event, everything that was delivered before it is done.")
class CommitsOffsets(DeliversBy):
    delivery: type[PlainDelivery] = _AcksEarlier

    def __init__(self) -> None:
        super().__init__()
        self.consumers: list[PlainSubscription] = []

    @asynccontextmanager
    async def subscribe(self, *args: Any, **kwargs: Any) -> AsyncIterator[PlainSubscription]:
        async with super().subscribe(*args, **kwargs) as consumer:
            self.consumers.append(consumer)
            yield consumer


class _AnswersTheItem(PlainDelivery):
    def answer(self) -> bool:
        if self.item not in self.consumer.unanswered:
            return False
        self.consumer.unanswered.remove(self.item)
        return True


@breaks("EB-25", "An answer to an earlier delivery counts for the one that is out.")
class AnswersTheItem(DeliversBy):
    delivery: type[PlainDelivery] = _AnswersTheItem


class _AnswersWhereverItIs(PlainDelivery):
    async def ack(self) -> None:
        await checkpoint()
        group = self.consumer.group
        for items in (group.waiting, group.handled_now):
            if self.item in items:
                items.remove(self.item)
        if self.item in self.consumer.unanswered:
            self.consumer.unanswered.remove(self.item)
        self.consumer.bus.wake()


@breaks("EB-25", "An acknowledgement after a refusal deletes what was refused.")
class AcksWhatWasRefused(DeliversBy):
    delivery: type[PlainDelivery] = _AnswersWhereverItIs

    def refuse(self, group: Group, item: Item, reason: str) -> None:
        if item in group.handled_now:
            super().refuse(group, item, reason)


class _RefusesTwice(PlainDelivery):
    async def nack(self, reason: str, /) -> None:
        await checkpoint()
        if self.item not in self.consumer.group.waiting:
            self.answer()
            if self.item in self.consumer.group.handled_now:
                self.consumer.group.handled_now.remove(self.item)
            self.consumer.group.waiting.insert(0, self.item)
            self.consumer.bus.wake()


@breaks("EB-25", "A refusal after an acknowledgement brings the event back.")
class RefusesWhatIsDone(DeliversBy):
    delivery: type[PlainDelivery] = _RefusesTwice

    def acknowledge(self, group: Group, item: Item) -> None:
        if item in group.handled_now:
            super().acknowledge(group, item)

    def refuse(self, group: Group, item: Item, reason: str) -> None:
        if item in group.handled_now:
            super().refuse(group, item, reason)


@breaks("EB-29", "Folds the case of group names.")
class FoldsGroups(PlainBus):
    def join(self, name: str, types: Collection[str] | None, streams: Collection[StreamId] | None) -> Group:
        return super().join(name.lower(), types, streams)


@breaks("EB-29", "Keeps the first 64 characters of a group's name.")
class CutsGroups(PlainBus):
    def join(self, name: str, types: Collection[str] | None, streams: Collection[StreamId] | None) -> Group:
        return super().join(name[:64], types, streams)


@breaks("EB-29", "Strips the names of groups.")
class StripsGroups(PlainBus):
    def join(self, name: str, types: Collection[str] | None, streams: Collection[StreamId] | None) -> Group:
        return super().join(name.strip(), types, streams)


@breaks("EB-29", "Takes an empty filter for none.")
class EmptyIsAll(PlainBus):
    def join(self, name: str, types: Collection[str] | None, streams: Collection[StreamId] | None) -> Group:
        return super().join(name, types or None, streams or None)


@breaks("EB-29", "Filters types by their beginning.")
class FiltersByBeginning(PlainBus):
    def takes(self, group: Group, event: RecordedEvent) -> bool:
        is_one = group.types is None or any(event.event_type.startswith(kind) for kind in group.types)
        return is_one and (group.streams is None or event.stream in group.streams)


@breaks("EB-29", "Filters types in any case.")
class FiltersInAnyCase(PlainBus):
    def takes(self, group: Group, event: RecordedEvent) -> bool:
        is_one = group.types is None or event.event_type.lower() in {kind.lower() for kind in group.types}
        return is_one and (group.streams is None or event.stream in group.streams)


@breaks("EB-29", "Filters streams by their parts and not by their category.")
class FiltersParts(PlainBus):
    def takes(self, group: Group, event: RecordedEvent) -> bool:
        is_one = group.streams is None or event.stream.parts in {stream.parts for stream in group.streams}
        return is_one and (group.types is None or event.event_type in group.types)


@breaks("EB-29", "Takes an asterisk in a filter for a pattern.")
class FiltersByPattern(PlainBus):
    def takes(self, group: Group, event: RecordedEvent) -> bool:
        return (group.types is not None and "*" in group.types and group.streams is None) or super().takes(group, event)


@breaks("EB-29", "Counts what the filter does not take as pending.")
class CountsWhatIsFiltered(PlainBus):
    filtered = 0

    async def publish(self, events: Sequence[RecordedEvent], /) -> None:
        for event in events:
            self.filtered += any(not self.takes(group, event) for group in self.groups.values())
            while self.filtered > self.capabilities.max_pending:
                await self.wait()
        await super().publish(events)


@breaks("EB-30", "Leaves out an id that it has published within five minutes, in whatever stream.")
class DeduplicatesIds(PlainBus):
    def __init__(self) -> None:
        super().__init__()
        self.streams: dict[UUID, StreamId] = {}

    async def publish(self, events: Sequence[RecordedEvent], /) -> None:
        await super().publish([event for event in events if self.streams.setdefault(event.event_id, event.stream) == event.stream])


@breaks("EB-30", "Delivers one dead letter again for each id.")
class OneLetterForAnId(PlainBus):
    async def redeliver(self, name: str, event_ids: Collection[UUID], /) -> int:
        group = self.groups.get(name)
        again = {letter.event.event_id: letter for letter in group.dead if letter.event.event_id in event_ids} if group else {}
        count = await super().redeliver(name, event_ids)
        if group is not None:
            chosen = [item for item in group.waiting[:count] if item.event is again[item.event.event_id].event]
            group.waiting[:count] = chosen
        return count


@breaks("EB-33", "Takes ten events of a call.")
class TenOfACall(PlainBus):
    async def publish(self, events: Sequence[RecordedEvent], /) -> None:
        await super().publish(events[:10])


@breaks("EB-33", "Waits for room for a whole batch.")
class RoomForAll(PlainBus):
    async def publish(self, events: Sequence[RecordedEvent], /) -> None:
        for group in self.groups.values():
            while group.waiting and len(events) + len(group.waiting) > self.capabilities.max_pending:
                await self.wait()
            while len(events) > self.capabilities.max_pending:
                await self.wait()
        await super().publish(events)


@breaks("EB-33", "Serves sixteen publishers at once, and forgets the others.")
class ForgetsPublishers(PlainBus):
    publishing = 0

    async def publish(self, events: Sequence[RecordedEvent], /) -> None:
        self.publishing += 1
        try:
            if self.publishing > 16:
                await anyio.sleep_forever()
            await checkpoint()
            await super().publish(events)
        finally:
            self.publishing -= 1


class _EndsWithItsIteration(PlainSubscription):
    has_begun = False

    def __aiter__(self) -> AsyncIterator[Delivery]:
        if self.has_begun:
            self.unanswered.clear()
        self.has_begun = True
        return self


@breaks("EB-35", "An iteration that begins again forgets what is unanswered.")
class ForgetsWhenIteratedAgain(PlainBus):
    @asynccontextmanager
    async def subscribe(self, *args: Any, **kwargs: Any) -> AsyncIterator[PlainSubscription]:
        async with super().subscribe(*args, **kwargs) as consumer:
            made = _EndsWithItsIteration(self, consumer.group)
            made.unanswered = consumer.unanswered
            yield made
