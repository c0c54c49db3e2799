"""Event stores that confuse one append with another."""

import json
from collections.abc import Sequence
from uuid import UUID

import anyio
import attrs
from anyio.lowlevel import checkpoint

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import AppendResult, NewEvent, RecordedEvent, StreamWrite
from tests.contract.mutants.mutant import breaks
from tests.contract.stores.plain_store import PlainStore, PlainStreams, Shelf, WindowStore


@breaks("ES-71", "An event of another type under a stored id is a replay.")
class IgnoresTheType(PlainStore):
    def same(self, stored: RecordedEvent, event: NewEvent, stream: StreamId) -> bool:
        return super().same(stored, attrs.evolve(event, event_type=stored.event_type), stream)


@breaks("ES-71", "Types are compared as a collation without case does.")
class FoldsTheType(PlainStreams):
    def same(self, stored: RecordedEvent, event: NewEvent, stream: StreamId) -> bool:
        is_alike = stored.event_type.casefold() == event.event_type.casefold()
        return super().same(stored, attrs.evolve(event, event_type=stored.event_type) if is_alike else event, stream)


@breaks("ES-71", "An event of another schema version under a stored id is a replay.")
class IgnoresTheSchemaVersion(PlainStore):
    def same(self, stored: RecordedEvent, event: NewEvent, stream: StreamId) -> bool:
        return super().same(stored, attrs.evolve(event, schema_version=stored.schema_version), stream)


@breaks("ES-71", "Payloads are compared as JSON, not as bytes.")
class ComparesParsedPayloads(PlainStore):
    def same(self, stored: RecordedEvent, event: NewEvent, stream: StreamId) -> bool:
        is_alike = json.loads(stored.data) == json.loads(event.data)
        return super().same(stored, attrs.evolve(event, data=stored.data) if is_alike else event, stream)


@breaks("ES-71", "Other metadata under a stored id is a collision.")
class ComparesTheMetadata(PlainStore):
    def same(self, stored: RecordedEvent, event: NewEvent, stream: StreamId) -> bool:
        return super().same(stored, event, stream) and stored.metadata == event.metadata


@breaks("ES-71", "Another time under a stored id is a collision.")
class ComparesTheTime(WindowStore):
    def same(self, stored: RecordedEvent, event: NewEvent, stream: StreamId) -> bool:
        return super().same(stored, event, stream) and stored.recorded_at == event.recorded_at


class _ComparesOne(PlainStore):
    at = 0

    def place(self, write: StreamWrite) -> int | None:
        stored = self.known(write.stream)
        if all(event.event_id in stored for event in write.events):
            first, last = stored[write.events[0].event_id], stored[write.events[-1].event_id]
            one = write.events[self.at]
            if last.version - first.version == len(write.events) - 1 and self.same(stored[one.event_id], one, write.stream):
                return first.version - 1
        return super().place(write)


@breaks("ES-71", "Of an append with stored ids only the first event is compared.")
class ComparesTheFirst(_ComparesOne): ...


@breaks("ES-71", "Of an append with stored ids only the last event is compared.")
class ComparesTheLast(_ComparesOne):
    at = -1


@breaks("ES-71", "A replay writes its metadata over what is stored, as an upsert does.")
class ReplayWritesMetadata(PlainStore):
    def find_replay(self, writes: Sequence[StreamWrite]) -> AppendResult | None:
        replay = super().find_replay(writes)
        if replay is not None:
            sent = {(write.stream, event.event_id): event.metadata for write in writes for event in write.events}
            self.shelf.feed = [
                attrs.evolve(event, metadata=sent.get((event.stream, event.event_id), event.metadata)) for event in self.shelf.feed
            ]
        return replay


@breaks("ES-71", "A replay writes its time over what is stored.")
class ReplayWritesTime(PlainStreams):
    def find_replay(self, writes: Sequence[StreamWrite]) -> AppendResult | None:
        replay = super().find_replay(writes)
        if replay is not None:
            sent = {(write.stream, event.event_id): event.recorded_at for write in writes for event in write.events}
            self.shelf.feed = [
                attrs.evolve(event, recorded_at=sent.get((event.stream, event.event_id), event.recorded_at)) for event in self.shelf.feed
            ]
        return replay


@breaks("ES-71", "An append of which one stream is stored is a replay.")
class ReplaysWhatOneStreamHolds(PlainStore):
    def find_replay(self, writes: Sequence[StreamWrite]) -> AppendResult | None:
        stored = [write for write in writes if self.place(write) is not None]
        return super().find_replay(stored) if stored else None


@breaks("ES-71", "An append of which some streams are stored is written to the others.")
class WritesTheOtherStreams(PlainStore):
    async def append_locked(self, writes: Sequence[StreamWrite]) -> AppendResult:
        left = [write for write in writes if self.place(write) is None]
        return await super().append_locked(left or writes)


class _KnowsAppends(PlainStore):
    def __init__(self, shelf: Shelf) -> None:
        super().__init__(shelf)
        self.appends: list[list[UUID]] = []

    async def make_visible(self, new: list[RecordedEvent]) -> None:
        self.appends.append([event.event_id for event in new])
        await super().make_visible(new)


@breaks("ES-71", "A part of an append that is sent again is a collision.")
class PartsCollide(_KnowsAppends):
    def place(self, write: StreamWrite) -> int | None:
        place, ids = super().place(write), {event.event_id for event in write.events}
        if place is not None and any(ids < set(append) for append in self.appends):
            self.collide(write, write.events[0])
        return place


@breaks("ES-71", "Events that were appended one by one and are sent again together are a collision.")
class JoinedAppendsCollide(_KnowsAppends):
    def place(self, write: StreamWrite) -> int | None:
        place, ids = super().place(write), {event.event_id for event in write.events}
        if place is not None and any(set(append) < ids for append in self.appends):
            self.collide(write, write.events[0])
        return place


@breaks("ES-71", "A part of an append that is sent again gets the answer of the whole.")
class PartsGetTheWholeAnswer(_KnowsAppends):
    def find_replay(self, writes: Sequence[StreamWrite]) -> AppendResult | None:
        replay = super().find_replay(writes)
        if replay is None or len(writes) > 1:
            return replay
        whole = next((append for append in self.appends if writes[0].events[-1].event_id in append), [])
        last = next((event for event in self.of(writes[0].stream) if whole and event.event_id == whole[-1]), None)
        return replay if last is None else AppendResult(last.position, {writes[0].stream: last.version}, replayed=True)


@breaks("ES-71", "After it was opened again, it knows the ids, and no more of what was stored under them.")
class KnowsIdsAloneAfterReopening(PlainStore):
    def __init__(self, shelf: Shelf) -> None:
        super().__init__(shelf)
        self.old = {(event.stream, event.event_id) for event in shelf.feed}

    def same(self, stored: RecordedEvent, event: NewEvent, stream: StreamId) -> bool:
        if (stream, event.event_id) in self.old and stored.data == event.data:
            return True
        return super().same(stored, event, stream)


@breaks("ES-71", "A group commit takes stored ids for replays, whatever stands under them.")
class GroupsCompareIdsAlone(PlainStore):
    in_group = False

    async def append_group(self, groups: Sequence[Sequence[StreamWrite]], /) -> Sequence[AppendResult | Exception]:
        self.in_group = True
        try:
            return await super().append_group(groups)
        finally:
            self.in_group = False

    def same(self, stored: RecordedEvent, event: NewEvent, stream: StreamId) -> bool:
        return (self.in_group and stored.data == event.data) or super().same(stored, event, stream)


@breaks("ES-72", "Looks up 900 ids of an append, as an IN list may have.")
class LooksUp900Ids(PlainStreams):
    def place(self, write: StreamWrite) -> int | None:
        stored = self.known(write.stream)
        found = [event for event in write.events[:900] if event.event_id in stored]
        if found and len(write.events) > 900:
            self.collide(write, write.events[900])
        return super().place(write)


@breaks("ES-72", "Compares the first hundred events of an append with what is stored.", patience=20.0)
class ComparesAHundred(PlainStreams):
    def place(self, write: StreamWrite) -> int | None:
        first = super().place(attrs.evolve(write, events=write.events[:100]))
        return super().place(write) if first is None else first


@breaks("ES-72", "Forgets the ids of a stream behind its last 5,000 events.", patience=20.0)
class Knows5000Ids(PlainStreams):
    def known(self, stream: StreamId) -> dict[UUID, RecordedEvent]:
        return {event.event_id: event for event in self.of(stream)[-5_000:]}


@breaks("ES-72", "Finds an id among the newest 4,096 events of its stream.", patience=20.0)
class FindsAmongTheNewest(PlainStreams):
    async def find_events(self, stream: StreamId, event_ids: Sequence[UUID], /) -> Sequence[RecordedEvent]:
        found = await super().find_events(stream, event_ids)
        return [event for event in found if event.version > self.version(stream) - 4_096]


@breaks("ES-79", "Looks the ids up before it waits for the lock, and not again behind it.")
class LooksUpBeforeTheLock(PlainStore):
    async def append(self, writes: Sequence[StreamWrite], /) -> AppendResult:
        self.check_open()
        self.check_misuse(writes)
        if (replay := self.find_replay(writes)) is not None:
            return replay
        return await super().append(writes)

    async def append_locked(self, writes: Sequence[StreamWrite]) -> AppendResult:
        self.check_versions(writes)
        return await super().append_locked(writes)


@breaks("ES-79", "Looks the ids up before it waits for the lock, with the versions that it saw there.")
class WritesTwiceAtOnce(PlainStreams):
    async def append(self, writes: Sequence[StreamWrite], /) -> AppendResult:
        self.check_open()
        writes = self.materialise(writes)
        self.check_misuse(writes)
        self.check_sizes(writes)
        if (replay := self.find_replay(writes)) is not None:
            return replay
        self.check_versions(writes)
        for _ in range(2):
            await checkpoint()
        async with self.shelf.lock:
            new = self.prepare(writes)
            await self.make_visible(new)
        return AppendResult(new[-1].position, {write.stream: self.version(write.stream) for write in writes})


@breaks("ES-79", "Answers callers who wait for the same ids with what the first of them got, whatever they sent.")
class AnswersAllAlike(PlainStore):
    def __init__(self, shelf: Shelf) -> None:
        super().__init__(shelf)
        self.running: dict[UUID, anyio.Event] = {}
        self.answers: dict[UUID, AppendResult] = {}

    async def append(self, writes: Sequence[StreamWrite], /) -> AppendResult:
        self.check_open()
        self.check_misuse(writes)
        first = writes[0].events[0].event_id
        if first in self.running:
            await self.running[first].wait()
            if first in self.answers:
                return attrs.evolve(self.answers[first], replayed=True)
        self.running[first] = anyio.Event()
        try:
            self.answers[first] = await super().append(writes)
            return self.answers[first]
        finally:
            self.running.pop(first).set()
