"""Event buses with one mistake about the owner of a list, room, numbers, or sites."""

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from typing import ClassVar
from uuid import UUID

import anyio
from anyio.lowlevel import checkpoint

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import DeadLetter, Delivery, RecordedEvent
from inventory_es.ports.errors import AppendTooLargeError
from tests.contract.mutants.mutant import breaks
from tests.contract.stores.plain_bus import Group, Item, PlainBus, PlainSubscription


@breaks("EB-36", "Empties the list of events that it was given.")
class ConsumesItsArgument(PlainBus):
    async def publish(self, events: Sequence[RecordedEvent], /) -> None:
        await super().publish(tuple(events))
        if isinstance(events, list):
            events.clear()


@breaks("EB-36", "Keeps the collections of a filter, which the caller may change.")
class KeepsTheFilterOfTheCaller(PlainBus):
    def join(self, name: str, types: Collection[str] | None, streams: Collection[StreamId] | None) -> Group:
        return self.groups.setdefault(name, Group(types, streams))


@breaks("EB-36", "Hands out its own list of dead letters, which goes on changing.")
class HandsOutItsList(PlainBus):
    async def dead_letters(self, name: str, /, *, limit: int = 100) -> Sequence[DeadLetter]:
        letters = await super().dead_letters(name, limit=limit)
        return self.groups[name].dead if name in self.groups and len(letters) < limit else letters


class _Locked(PlainBus):
    """A bus that publishes under a lock."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = anyio.Lock()

    async def publish(self, events: Sequence[RecordedEvent], /) -> None:
        async with self.lock:
            await super().publish(events)


@breaks("EB-37", "Reads dead letters after the publish that waits for room.")
class ReadsBehindThePublish(_Locked):
    async def dead_letters(self, name: str, /, *, limit: int = 100) -> Sequence[DeadLetter]:
        async with self.lock:
            return await super().dead_letters(name, limit=limit)


@breaks("EB-37", "Delivers dead letters again after the publish that waits for room.")
class RedeliversBehindThePublish(_Locked):
    async def redeliver(self, name: str, event_ids: Collection[UUID], /) -> int:
        async with self.lock:
            return await super().redeliver(name, event_ids)


@breaks("EB-37", "Lets nobody join while a publish waits for room, not even who would make it.")
class JoinsBehindThePublish(_Locked):
    @asynccontextmanager
    async def subscribe(
        self, name: str, /, *, types: Collection[str] | None = None, streams: Collection[StreamId] | None = None
    ) -> AsyncIterator[PlainSubscription]:
        async with self.lock:
            pass
        async with super().subscribe(name, types=types, streams=streams) as consumer:
            yield consumer


class _StopsAt256(PlainSubscription):
    number = 0

    async def __anext__(self) -> Delivery:
        self.number += 1
        if self.number > 255:
            await anyio.sleep_forever()
        return await super().__anext__()


@breaks("EB-38", "Numbers the deliveries of a consumer in one byte.", patience=5.0)
class NumbersInOneByte(PlainBus):
    @asynccontextmanager
    async def subscribe(
        self, name: str, /, *, types: Collection[str] | None = None, streams: Collection[StreamId] | None = None
    ) -> AsyncIterator[PlainSubscription]:
        await self.begin()
        group = self.join(name, types, streams)
        consumer = _StopsAt256(self, group)
        try:
            yield consumer
        finally:
            self.leave(name, group, consumer)


@breaks("EB-38", "Reads one page of fifty dead letters, whatever the limit.", patience=5.0)
class ReadsOnePage(PlainBus):
    async def dead_letters(self, name: str, /, *, limit: int = 100) -> Sequence[DeadLetter]:
        return await super().dead_letters(name, limit=min(limit, 50))


@breaks("EB-38", "Keeps the last twenty dead letters.", patience=5.0)
class KeepsTheLastDeadLetters(PlainBus):
    def bury(self, group: Group, item: Item, reason: str) -> None:
        super().bury(group, item, reason)
        del group.dead[:-20]


@breaks("EB-38", "Delivers ten dead letters again in one call, as many as a batch of its queue holds.", patience=5.0)
class RedeliversTen(PlainBus):
    async def redeliver(self, name: str, event_ids: Collection[UUID], /) -> int:
        return await super().redeliver(name, list(event_ids)[:10])


@breaks("EB-39", "Keeps its groups in the class: every instance has them.")
class SharesItsGroups(PlainBus):
    shared: ClassVar[dict[str, Group]] = {}

    def __init__(self) -> None:
        super().__init__()
        self.groups = self.shared

    async def aclose(self) -> None:
        await super().aclose()
        self.shared.clear()


@breaks("EB-12", "Does not count what is out with a consumer.")
class CountsWhatWaits(PlainBus):
    async def enqueue(self, group: Group, event: RecordedEvent) -> None:
        while len(group.waiting) >= self.capabilities.max_pending:
            await self.wait()
        group.waiting.append(Item(event))
        self.wake()


@breaks("EB-32", "Wakes nobody when an event becomes a dead letter.")
class DeathWakesNobody(PlainBus):
    is_quiet = False

    def bury(self, group: Group, item: Item, reason: str) -> None:
        super().bury(group, item, reason)
        self.is_quiet = True

    def wake(self) -> None:
        if not self.is_quiet:
            super().wake()
        self.is_quiet = False


@breaks("EB-28", "Wakes no consumer for a dead letter that is delivered again.")
class RedeliversInSilence(PlainBus):
    is_quiet = False

    async def redeliver(self, name: str, event_ids: Collection[UUID], /) -> int:
        self.is_quiet = True
        try:
            return await super().redeliver(name, event_ids)
        finally:
            self.is_quiet = False

    def wake(self) -> None:
        if not self.is_quiet:
            super().wake()


@breaks("EB-28", "Lets two calls deliver one dead letter again.")
class RedeliversTwice(PlainBus):
    async def redeliver(self, name: str, event_ids: Collection[UUID], /) -> int:
        await self.begin()
        if name not in self.groups:
            return 0
        group = self.groups[name]
        again = [letter for letter in group.dead if letter.event.event_id in event_ids]
        await checkpoint()
        group.dead = [letter for letter in group.dead if letter not in again]
        group.waiting[:0] = [Item(letter.event) for letter in again]
        self.wake()
        return len(again)


@breaks("EB-11", "Ends the block of a failed handler as if nothing had happened.")
class SwallowsTheFailure(PlainBus):
    @asynccontextmanager
    async def subscribe(
        self, name: str, /, *, types: Collection[str] | None = None, streams: Collection[StreamId] | None = None
    ) -> AsyncIterator[PlainSubscription]:
        await self.begin()
        group = self.join(name, types, streams)
        consumer = PlainSubscription(self, group)
        try:
            yield consumer
        except Exception:  # noqa: BLE001  # what this mutant is about
            pass
        finally:
            self.leave(name, group, consumer)


@breaks("EB-19", "Measures an event in characters.")
class MeasuresCharacters(PlainBus):
    def check_size(self, event: RecordedEvent) -> None:
        if len(event.data.decode()) + len(event.metadata.decode()) > self.capabilities.max_event_bytes:
            super().check_size(event)


@breaks("EB-19", "Measures a whole call, not each event.")
class MeasuresTheCall(PlainBus):
    async def publish(self, events: Sequence[RecordedEvent], /) -> None:
        total, limit = sum(event.size for event in events), self.capabilities.max_event_bytes
        if total > limit:
            raise AppendTooLargeError(limit_name="event bytes", limit=limit, actual=total)
        await super().publish(events)
