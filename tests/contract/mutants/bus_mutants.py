"""Event buses with one mistake each."""

from collections import Counter
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from uuid import UUID, uuid5

import attrs
from anyio.lowlevel import checkpoint

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import BusCapabilities, DeadLetter, RecordedEvent
from tests.contract.mutants.mutant import breaks
from tests.contract.stores.plain_bus import Group, Item, PlainBus, PlainSubscription


@breaks("EB-01", "Counts attempts from 0.")
class CountsFromZero(PlainBus):
    def hand_out(self, group: Group, item: Item) -> None:
        super().hand_out(group, item)
        item.attempts -= 1


@breaks("EB-02", "Knows no group that never was.")
class FailsOnUnknownGroups(PlainBus):
    async def dead_letters(self, name: str, /, *, limit: int = 100) -> Sequence[DeadLetter]:
        return self.groups[name].dead[:limit]


@breaks("EB-03", "The last event comes first.")
class LastComesFirst(PlainBus):
    def next_item(self, group: Group) -> Item | None:
        return group.waiting[-1] if group.waiting else None


@breaks("EB-04", "Delivers a batch from its end.")
class BatchFromItsEnd(PlainBus):
    async def publish(self, events: Sequence[RecordedEvent], /) -> None:
        await super().publish(list(reversed(events)))


@breaks("EB-22", "Leaves out a version of a stream that it has published already: 'it was there'.")
class RemembersPlaces(PlainBus):
    async def publish(self, events: Sequence[RecordedEvent], /) -> None:
        known: dict[StreamId, dict[int, UUID]] = self.__dict__.setdefault("known", {})
        fresh = [one for one in events if known.setdefault(one.stream, {}).setdefault(one.version, one.event_id) == one.event_id]
        await super().publish(fresh)


@breaks("EB-05", "An event goes to the first group that takes it.")
class FirstGroupTakes(PlainBus):
    async def publish(self, events: Sequence[RecordedEvent], /) -> None:
        await self.begin()
        for event in events:
            group = next((group for group in self.groups.values() if self.takes(group, event)), None)
            if group is not None:
                await self.enqueue(group, event)


@breaks("EB-06", "Every consumer of a group gets everything.")
class EveryConsumerGetsAll(PlainBus):
    def join(self, name: str, types: Collection[str] | None, streams: Collection[StreamId] | None) -> Group:
        return self.groups.setdefault(f"{name}/{len(self.groups)}", Group(types, streams))


@breaks("EB-06", "Two consumers of a group work on one stream at once.")
class TwoConsumersOnOneStream(PlainBus):
    def next_item(self, group: Group) -> Item | None:
        if not group.waiting:
            return None
        return group.waiting[len(group.handled_now) % 2 * (len(group.waiting) - 1)]


@breaks("EB-07", "Ignores the streams of a filter.")
class IgnoresStreams(PlainBus):
    def takes(self, group: Group, event: RecordedEvent) -> bool:
        return group.types is None or event.event_type in group.types


@breaks("EB-07", "Takes what fits the type or the stream.")
class TakesEither(PlainBus):
    def takes(self, group: Group, event: RecordedEvent) -> bool:
        if group.types is None or group.streams is None:
            return super().takes(group, event)
        return event.event_type in group.types or event.stream in group.streams


@breaks("EB-08", "Loses what failed.")
class LosesFailures(PlainBus):
    def refuse(self, group: Group, item: Item, reason: str) -> None:
        group.handled_now.remove(item)


@breaks("EB-08", "Puts what failed behind everything else.")
class FailuresGoToTheEnd(PlainBus):
    def refuse(self, group: Group, item: Item, reason: str) -> None:
        super().refuse(group, item, reason)
        if item in group.waiting:
            group.waiting.remove(item)
            group.waiting.append(item)


@breaks("EB-09", "Delivers for ever what fails for ever.")
class DeliversForEver(PlainBus):
    def refuse(self, group: Group, item: Item, reason: str) -> None:
        self.put_back(group, item)


@breaks("EB-09", "Drops what fails too often.")
class DropsDeadLetters(PlainBus):
    def bury(self, group: Group, item: Item, reason: str) -> None: ...


@breaks("EB-09", "Keeps no reason with a dead letter.")
class ForgetsReasons(PlainBus):
    def bury(self, group: Group, item: Item, reason: str) -> None:
        super().bury(group, item, "failed")


@breaks("EB-09", "A dead letter can be delivered again, and stays a dead letter.")
class DeadLettersStay(PlainBus):
    async def redeliver(self, name: str, event_ids: Collection[UUID], /) -> int:
        kept = list(self.groups[name].dead)
        count = await super().redeliver(name, event_ids)
        self.groups[name].dead = kept
        return count


@breaks("EB-09", "Counts what it was asked to deliver again, not what it did.")
class CountsWhatWasAsked(PlainBus):
    async def redeliver(self, name: str, event_ids: Collection[UUID], /) -> int:
        await super().redeliver(name, event_ids)
        return len(event_ids)


@breaks("EB-10", "A redelivery gets an id of its own.")
class NewIdForEachDelivery(PlainBus):
    def put_back(self, group: Group, item: Item) -> None:
        super().put_back(group, item)
        item.event = attrs.evolve(item.event, event_id=uuid5(item.event.event_id, "again"))


@breaks("EB-11", "An event is done when it is handed out.")
class DoneWhenHandedOut(PlainBus):
    def leave(self, name: str, group: Group, consumer: PlainSubscription) -> None:
        for item in consumer.unanswered:
            group.handled_now.remove(item)
        consumer.unanswered.clear()


@breaks("EB-11", "What an unsubscribed consumer held is held for ever.")
class HeldForEver(PlainBus):
    def leave(self, name: str, group: Group, consumer: PlainSubscription) -> None: ...


@breaks("EB-12", "Has no bound.")
class BusHasNoBound(PlainBus):
    async def enqueue(self, group: Group, event: RecordedEvent) -> None:
        group.waiting.append(Item(event))
        self.wake()


@breaks("EB-12", "Drops the oldest event of a slow consumer.")
class DropsTheOldest(PlainBus):
    async def enqueue(self, group: Group, event: RecordedEvent) -> None:
        del group.waiting[: max(0, len(group.waiting) - self.capabilities.max_pending + 1)]
        group.waiting.append(Item(event))
        self.wake()


@breaks("EB-13", "Holds every other stream back behind one that fails.")
class OneFailureHoldsAll(PlainBus):
    def next_item(self, group: Group) -> Item | None:
        return group.waiting[0] if group.waiting and not group.handled_now else None

    def refuse(self, group: Group, item: Item, reason: str) -> None:
        self.put_back(group, item)


@breaks("EB-14", "A cancelled handler takes its event with it.")
class CancelledHandlersTakeEvents(PlainBus):
    @asynccontextmanager
    async def subscribe(
        self, name: str, /, *, types: Collection[str] | None = None, streams: Collection[StreamId] | None = None
    ) -> AsyncIterator[PlainSubscription]:
        async with super().subscribe(name, types=types, streams=streams) as consumer:
            try:
                yield consumer
            except BaseException:
                consumer.unanswered.clear()
                raise


@breaks("EB-15", "Assigns events to a consumer that has left.")
class AssignsToTheDeparted(PlainBus):
    def __init__(self) -> None:
        super().__init__()
        self.departed = 0

    def leave(self, name: str, group: Group, consumer: PlainSubscription) -> None:
        super().leave(name, group, consumer)
        self.departed += 1

    async def enqueue(self, group: Group, event: RecordedEvent) -> None:
        if self.departed:
            self.departed -= 1
            return
        await super().enqueue(group, event)


@breaks("EB-16", "A late group sees what came before it, although declared otherwise.")
class ReplaysUndeclared(PlainBus):
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
            group.waiting += [Item(event) for event in self.kept]
        return group


@breaks("EB-16", "Declares a replay and has none.")
class DeclaresReplay(PlainBus):
    capabilities = BusCapabilities(max_deliveries=3, max_pending=16, max_event_bytes=200_000, late_subscribers="replay")


@breaks("EB-17", "A group without consumers is forgotten.")
class ForgetsAbsentGroups(PlainBus):
    def leave(self, name: str, group: Group, consumer: PlainSubscription) -> None:
        super().leave(name, group, consumer)
        self.groups.pop(name, None)


@breaks("EB-18", "Notes an event as published before it is.")
class NotesBeforePublishing(PlainBus):
    def __init__(self) -> None:
        super().__init__()
        self.noted: set[UUID] = set()

    async def publish(self, events: Sequence[RecordedEvent], /) -> None:
        fresh = [event for event in events if event.event_id not in self.noted]
        self.noted |= {event.event_id for event in fresh}
        await checkpoint()
        await super().publish(fresh)


@breaks("EB-19", "Prints payloads again.")
class PrintsAgain(PlainBus):
    async def enqueue(self, group: Group, event: RecordedEvent) -> None:
        await super().enqueue(group, attrs.evolve(event, data=b"".join(event.data.split())))


@breaks("EB-19", "Publishes the events before the one that is too large.")
class PublishesUpToTheLarge(PlainBus):
    async def enqueue(self, group: Group, event: RecordedEvent) -> None:
        super().check_size(event)
        await super().enqueue(group, event)

    def check_size(self, event: RecordedEvent) -> None: ...


@breaks("EB-19", "Does not hold the size that it declares.")
class HoldsNoSize(PlainBus):
    def check_size(self, event: RecordedEvent) -> None: ...


@breaks("EB-20", "A consumer that waits is not told that the bus was closed.")
class LeavesConsumersWaiting(PlainBus):
    async def aclose(self) -> None:
        self.closed = True


@breaks("EB-20", "Takes events after it was closed.")
class BusWorksAfterClose(PlainBus):
    async def begin(self) -> None:
        await checkpoint()


def moved(event: RecordedEvent, version: int) -> RecordedEvent:
    """Return the same event at another version of its stream."""
    return attrs.evolve(event, version=version)


@breaks("EB-21", "Numbers the events of a stream by its own count.")
class NumbersByItself(PlainBus):
    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[StreamId] = Counter()

    async def publish(self, events: Sequence[RecordedEvent], /) -> None:
        await super().publish([self.numbered(event) for event in events])

    def numbered(self, event: RecordedEvent) -> RecordedEvent:
        self.counts[event.stream] += 1
        return moved(event, self.counts[event.stream])


@breaks("EB-21", "Holds a stream back until the event that is missing comes.")
class WaitsForWhatIsMissing(PlainBus):
    def __init__(self) -> None:
        super().__init__()
        self.delivered: Counter[StreamId] = Counter()

    def next_item(self, group: Group) -> Item | None:
        item = super().next_item(group)
        return None if item is None or item.event.version > self.delivered[item.event.stream] + 1 else item

    def hand_out(self, group: Group, item: Item) -> None:
        super().hand_out(group, item)
        self.delivered[item.event.stream] = max(item.event.version, self.delivered[item.event.stream])


@breaks("EB-21", "Makes up the event that is missing from the one before it.")
class MakesUpWhatIsMissing(PlainBus):
    def __init__(self) -> None:
        super().__init__()
        self.last: dict[StreamId, RecordedEvent] = {}

    def hand_out(self, group: Group, item: Item) -> None:
        super().hand_out(group, item)
        last = self.last.get(item.event.stream)
        if last is not None and item.event.version > last.version + 1:
            item.event = moved(last, last.version + 1)
        self.last[item.event.stream] = item.event


@breaks("EB-21", "An event that comes twice is the end of its stream.")
class EndsAtADuplicate(PlainBus):
    def __init__(self) -> None:
        super().__init__()
        self.seen: set[UUID] = set()

    def hand_out(self, group: Group, item: Item) -> None:
        super().hand_out(group, item)
        self.seen.add(item.event.event_id)

    def next_item(self, group: Group) -> Item | None:
        busy = {item.event.stream for item in group.handled_now}
        busy |= {item.event.stream for item in group.waiting if item.event.event_id in self.seen}
        return next((item for item in group.waiting if item.event.stream not in busy), None)


@breaks("EB-12", "Says that a disk keeps what is behind, and keeps it in memory.")
class KeepsAllInMemory(PlainBus):
    capabilities = BusCapabilities(max_deliveries=3, max_pending=1 << 40, max_in_memory=8)
