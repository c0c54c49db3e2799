"""Event buses with one mistake about dead letters."""

from collections.abc import Collection, Sequence
from datetime import timedelta
from uuid import UUID

import attrs

from inventory_es.ports import DeadLetter
from tests.contract.mutants.mutant import breaks
from tests.contract.stores.plain_bus import Group, Item, PlainBus, PlainSubscription


@breaks("EB-26", "A delivery that its consumer leaves unanswered counts for nothing.")
class LeavingCountsNothing(PlainBus):
    def leave(self, name: str, group: Group, consumer: PlainSubscription) -> None:
        for item in reversed(consumer.unanswered):
            item.attempts -= 1
            self.put_back(group, item)
        consumer.unanswered.clear()
        self.wake()


@breaks("EB-26", "Gives up nothing whose consumers leave.")
class LeavingGivesUpNothing(PlainBus):
    def leave(self, name: str, group: Group, consumer: PlainSubscription) -> None:
        for item in reversed(consumer.unanswered):
            self.put_back(group, item)
        consumer.unanswered.clear()
        self.wake()


@breaks("EB-26", "Gives up what a consumer leaves unanswered at once.")
class LeavingGivesUpAtOnce(PlainBus):
    def leave(self, name: str, group: Group, consumer: PlainSubscription) -> None:
        for item in consumer.unanswered:
            item.attempts = max(item.attempts, 2)
        super().leave(name, group, consumer)


@breaks("EB-27", "Keeps 255 characters of a reason.")
class CutsReasons(PlainBus):
    def bury(self, group: Group, item: Item, reason: str) -> None:
        super().bury(group, item, reason[:255])


@breaks("EB-27", "Reads dead letters from the newest on.")
class NewestFirst(PlainBus):
    async def dead_letters(self, name: str, /, *, limit: int = 100) -> Sequence[DeadLetter]:
        return list(reversed(await super().dead_letters(name, limit=1_000)))[:limit]


@breaks("EB-27", "Reads the newest dead letters, in order.")
class LastOnes(PlainBus):
    async def dead_letters(self, name: str, /, *, limit: int = 100) -> Sequence[DeadLetter]:
        return list(await super().dead_letters(name, limit=1_000))[-limit:]


@breaks("EB-27", "Reads dead letters by the time of their events.")
class ByTheTimeOfTheEvent(PlainBus):
    async def dead_letters(self, name: str, /, *, limit: int = 100) -> Sequence[DeadLetter]:
        letters = await super().dead_letters(name, limit=1_000)
        return sorted(letters, key=lambda letter: letter.event.recorded_at)[:limit]


@breaks("EB-27", "Reads every dead letter, whatever the limit.")
class NoLimit(PlainBus):
    async def dead_letters(self, name: str, /, *, limit: int = 100) -> Sequence[DeadLetter]:
        return await super().dead_letters(name, limit=1_000)


@breaks("EB-27", "Says of every dead letter that it was delivered max_deliveries times and once more.")
class CountsOneMore(PlainBus):
    def bury(self, group: Group, item: Item, reason: str) -> None:
        item.attempts += 1
        super().bury(group, item, reason)


@breaks("EB-27", "Keeps a dead letter without its metadata.")
class DropsMetadata(PlainBus):
    def bury(self, group: Group, item: Item, reason: str) -> None:
        item.event = attrs.evolve(item.event, metadata=b"{}")
        super().bury(group, item, reason)


@breaks("EB-27", "Has a time without a zone in a dead letter.")
class TimesWithoutZone(PlainBus):
    def bury(self, group: Group, item: Item, reason: str) -> None:
        super().bury(group, item, reason)
        group.dead[-1] = attrs.evolve(group.dead[-1], since=group.dead[-1].since.replace(tzinfo=None))


@breaks("EB-27", "Says of a dead letter that it became one when it was read.")
class SinceItWasRead(PlainBus):
    reads = 0

    async def dead_letters(self, name: str, /, *, limit: int = 100) -> Sequence[DeadLetter]:
        self.reads += 1
        letters = await super().dead_letters(name, limit=limit)
        return [attrs.evolve(letter, since=letter.since + timedelta(seconds=self.reads)) for letter in letters]


@breaks("EB-27", "Forgets dead letters that were read.")
class ReadOnce(PlainBus):
    async def dead_letters(self, name: str, /, *, limit: int = 100) -> Sequence[DeadLetter]:
        letters = await super().dead_letters(name, limit=limit)
        if name in self.groups:
            del self.groups[name].dead[:limit]
        return letters


@breaks("EB-27", "Keeps the dead letters of all groups in one place.")
class OnePlaceForAll(PlainBus):
    async def dead_letters(self, name: str, /, *, limit: int = 100) -> Sequence[DeadLetter]:
        await self.begin()
        return [letter for group in self.groups.values() for letter in group.dead][:limit]


@breaks("EB-28", "Delivers a dead letter again to every group.")
class AgainToAll(PlainBus):
    async def redeliver(self, name: str, event_ids: Collection[UUID], /) -> int:
        again = [letter.event for letter in await self.dead_letters(name, limit=1_000) if letter.event.event_id in event_ids]
        count = await super().redeliver(name, event_ids)
        for event in again:
            for other, group in self.groups.items():
                if other != name and self.takes(group, event):
                    group.waiting.append(Item(event))
        return count


@breaks("EB-28", "Gives up what is delivered again never more.")
class NeverGivesUpAgain(PlainBus):
    def __init__(self) -> None:
        super().__init__()
        self.once: set[UUID] = set()

    def bury(self, group: Group, item: Item, reason: str) -> None:
        super().bury(group, item, reason)
        self.once.add(item.event.event_id)

    def refuse(self, group: Group, item: Item, reason: str) -> None:
        if item.event.event_id in self.once:
            self.put_back(group, item)
        else:
            super().refuse(group, item, reason)


@breaks("EB-28", "Drops what is delivered again and fails again.")
class DropsTheSecondTime(PlainBus):
    def __init__(self) -> None:
        super().__init__()
        self.once: set[tuple[int, UUID]] = set()

    def bury(self, group: Group, item: Item, reason: str) -> None:
        if (id(group), item.event.event_id) not in self.once:
            super().bury(group, item, reason)
        self.once.add((id(group), item.event.event_id))


@breaks("EB-28", "Keeps the first reason of what fails again.")
class KeepsTheFirstReason(PlainBus):
    def __init__(self) -> None:
        super().__init__()
        self.reasons: dict[tuple[int, UUID], str] = {}

    def bury(self, group: Group, item: Item, reason: str) -> None:
        super().bury(group, item, self.reasons.setdefault((id(group), item.event.event_id), reason))


@breaks("EB-28", "Clears all dead letters of a group with each redelivery.")
class ClearsAll(PlainBus):
    async def redeliver(self, name: str, event_ids: Collection[UUID], /) -> int:
        count = await super().redeliver(name, event_ids)
        if count:
            self.groups[name].dead.clear()
        return count


@breaks("EB-28", "Delivers what is redelivered twice two times, as it stays a dead letter until it is acknowledged.")
class AgainForEachAsking(PlainBus):
    def __init__(self) -> None:
        super().__init__()
        self.again: dict[str, list[DeadLetter]] = {}

    async def redeliver(self, name: str, event_ids: Collection[UUID], /) -> int:
        asked = self.again.setdefault(name, [])
        group = self.groups.get(name)
        if group is not None:
            busy = {item.event.event_id for item in (*group.waiting, *group.handled_now)}
            group.dead += [letter for letter in asked if letter.event.event_id in busy and letter.event.event_id in event_ids]
            asked += [letter for letter in group.dead if letter.event.event_id in event_ids]
        return await super().redeliver(name, event_ids)


@breaks("EB-28", "Delivers nothing again while the group has no consumer.")
class AgainToNobody(PlainBus):
    consumers = 0

    def join(self, name: str, types: Collection[str] | None, streams: object) -> Group:
        self.consumers += 1
        return super().join(name, types, streams)  # type: ignore[arg-type]  # as it came

    def leave(self, name: str, group: Group, consumer: PlainSubscription) -> None:
        self.consumers -= 1
        super().leave(name, group, consumer)

    async def redeliver(self, name: str, event_ids: Collection[UUID], /) -> int:
        count = await super().redeliver(name, event_ids)
        if name in self.groups and not self.consumers:
            del self.groups[name].waiting[:count]
        return count
