"""Event stores that write wrongly."""

from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

import anyio
import attrs
from anyio.lowlevel import checkpoint

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import AppendResult, NewEvent, RecordedEvent, StreamWrite
from inventory_es.ports.errors import ConcurrencyError
from tests.contract.mutants.mutant import breaks
from tests.contract.stores.plain_store import PlainStore, PlainStreams, Shelf, WindowStore


@breaks("ES-02", "Takes every append to a stream that exists, whatever version it expects.")
class IgnoresExpected(PlainStore):
    def check_version(self, write: StreamWrite) -> None:
        if not self.version(write.stream):
            super().check_version(write)


@breaks("ES-03", "Lets a stream begin at any expected version.")
class BeginsAnywhere(PlainStore):
    def check_version(self, write: StreamWrite) -> None:
        if self.version(write.stream):
            super().check_version(write)


@breaks("ES-04", "Compares with < instead of !=: a writer from the future is let through.")
class ComparesWithLess(PlainStore):
    def check_version(self, write: StreamWrite) -> None:
        if write.expected_version < self.version(write.stream) or not self.version(write.stream):
            super().check_version(write)


@breaks("ES-04", "Off by one: a writer that missed the last event is let through.")
class OffByOne(PlainStore):
    def check_version(self, write: StreamWrite) -> None:
        if write.expected_version + 1 != self.version(write.stream) or not write.expected_version:
            super().check_version(write)


@breaks("ES-05", "Stamps events with the time of the store.")
class StampsItsTime(PlainStore):
    def record(self, stream: StreamId, version: int, position: int, event: NewEvent) -> RecordedEvent:
        return super().record(stream, version, position, attrs.evolve(event, recorded_at=datetime(2026, 6, 1, tzinfo=UTC)))


@breaks("ES-06", "Its conflicts don't know the actual version.")
class ConflictWithoutActual(PlainStore):
    def check_version(self, write: StreamWrite) -> None:
        try:
            super().check_version(write)
        except ConcurrencyError as error:
            raise ConcurrencyError(stream=error.stream, expected=error.expected, actual=error.expected + 1) from None


@breaks("ES-07", "Takes two writes to one stream in one append, and keeps the last.")
class TakesTwoWritesToOneStream(PlainStore):
    def check_misuse(self, writes: Sequence[StreamWrite]) -> None:
        super().check_misuse(list({write.stream: write for write in writes}.values()))


@breaks("ES-07", "Reads any expected version as a number.")
class CoercesExpected(PlainStore):
    def materialise(self, writes: Sequence[StreamWrite]) -> Sequence[StreamWrite]:
        writes = super().materialise(writes)
        return [attrs.evolve(write, expected_version=max(0, int(write.expected_version or 0))) for write in writes]


@breaks("ES-08", "A refused append uses up versions.")
class BurnsVersions(PlainStore):
    burnt = 0

    def check_version(self, write: StreamWrite) -> None:
        try:
            super().check_version(write)
        except ConcurrencyError:
            self.burnt += 1
            raise

    def record(self, stream: StreamId, version: int, position: int, event: NewEvent) -> RecordedEvent:
        return super().record(stream, version + self.burnt, position, event)


@breaks("ES-09", "The feed keeps what the stream refused.")
class FeedKeepsRefused(PlainStore):
    def check_version(self, write: StreamWrite) -> None:
        try:
            super().check_version(write)
        except ConcurrencyError:
            ghost = StreamId("ghost", str(len(self.shelf.feed)))
            self.shelf.feed += [self.record(ghost, 1, self.position(0), event) for event in write.events[:1]]
            raise


@breaks("ES-10", "Writes the first event of a batch before it looks at the version.")
class HalfABatch(PlainStore):
    def check_versions(self, writes: Sequence[StreamWrite]) -> None:
        if len(writes[0].events) > 1 and writes[0].expected_version < self.version(writes[0].stream):
            self.shelf.feed += self.prepare([attrs.evolve(writes[0], events=writes[0].events[:1])])
        super().check_versions(writes)


@breaks("ES-11", "Writes events as it reads them from the caller.")
class WritesAsItReads(PlainStore):
    def materialise(self, writes: Sequence[StreamWrite]) -> Sequence[StreamWrite]:
        return writes

    def check_sizes(self, writes: Sequence[StreamWrite]) -> None: ...

    def check_twice(self, writes: Sequence[StreamWrite]) -> None: ...

    def find_replay(self, writes: Sequence[StreamWrite]) -> AppendResult | None:
        return None

    async def append_locked(self, writes: Sequence[StreamWrite]) -> AppendResult:
        self.check_versions(writes)
        for write in writes:
            for event in write.events:
                self.shelf.feed.append(self.record(write.stream, self.version(write.stream) + 1, self.position(0), event))
        return AppendResult(self.head_now(), {write.stream: self.version(write.stream) for write in writes})


@breaks("ES-12", "Answers the position of the first event of a batch.")
class PositionOfTheFirst(PlainStore):
    async def append_locked(self, writes: Sequence[StreamWrite]) -> AppendResult:
        result = await super().append_locked(writes)
        return attrs.evolve(result, position=result.position - len(writes[-1].events) + 1)


@breaks("ES-12", "Writes a batch behind its first event back to front.")
class ReordersBatches(PlainStore):
    async def make_visible(self, new: list[RecordedEvent]) -> None:
        new[1:] = reversed(new[1:])
        await super().make_visible([attrs.evolve(event, position=self.position(number)) for number, event in enumerate(new)])


@breaks("ES-13", "Keeps a stream that a refused append would have created.")
class CreatesOnFailure(PlainStore):
    def __init__(self, shelf: Shelf) -> None:
        super().__init__(shelf)
        self.created: set[StreamId] = set()

    def check_version(self, write: StreamWrite) -> None:
        if write.stream in self.created and not self.version(write.stream):
            raise ConcurrencyError(stream=write.stream, expected=write.expected_version, actual=1)
        self.created.add(write.stream)
        super().check_version(write)


@breaks("ES-14", "Cuts a large batch in silence.")
class CutsLargeBatches(PlainStore):
    def materialise(self, writes: Sequence[StreamWrite]) -> Sequence[StreamWrite]:
        return [StreamWrite(write.stream, write.expected_version, tuple(write.events)[:500]) for write in writes]


@breaks("ES-14", "Does not hold the maximum that it declares.")
class HoldsNoMaximum(PlainStore):
    def check_size(self, name: str, actual: int, limit: int) -> None:
        if name != "events":
            super().check_size(name, actual, limit)


@breaks("ES-14", "Counts events and forgets to count bytes.")
class CountsNoBytes(PlainStore):
    def check_size(self, name: str, actual: int, limit: int) -> None:
        if name != "bytes":
            super().check_size(name, actual, limit)


@breaks("ES-15", "Writes several streams one after the other, and stops at the first conflict.")
class StreamByStream(PlainStore):
    async def append_locked(self, writes: Sequence[StreamWrite]) -> AppendResult:
        results = [await super(StreamByStream, self).append_locked([write]) for write in writes]
        versions = {stream: version for result in results for stream, version in result.versions.items()}
        return AppendResult(results[-1].position, versions, replayed=results[-1].replayed)


@breaks("ES-15", "Takes several streams, although it declares that it can't.")
class UndeclaredMultiStream(PlainStore):
    capabilities = attrs.evolve(PlainStore.capabilities, multi_stream=False)

    def check_misuse(self, writes: Sequence[StreamWrite]) -> None:
        super().check_misuse(writes[:1])


@breaks("ES-16", "Does not recognise its own events: the same append again is a conflict.")
class NeverReplays(PlainStore):
    def find_replay(self, writes: Sequence[StreamWrite]) -> AppendResult | None:
        return None


@breaks("ES-16", "Answers the same append again as if it were new.")
class HidesReplays(PlainStore):
    def find_replay(self, writes: Sequence[StreamWrite]) -> AppendResult | None:
        result = super().find_replay(writes)
        return None if result is None else attrs.evolve(result, replayed=False)


@breaks("ES-16", "Answers the same append again with today's version.")
class ReplaysWithTheNewestVersion(PlainStore):
    def find_replay(self, writes: Sequence[StreamWrite]) -> AppendResult | None:
        result = super().find_replay(writes)
        return None if result is None else attrs.evolve(result, position=result.position + 1)


@breaks("ES-17", "Declares ids for ever and knows the last five.")
class DeclaresIdsForEver(WindowStore):
    capabilities = PlainStreams.capabilities


@breaks("ES-18", "Ignores duplicates: a known id is answered, whatever the payload.")
class IgnoresDuplicates(PlainStore):
    def same(self, stored: RecordedEvent, event: NewEvent, stream: StreamId) -> bool:
        return stored.event_id == event.event_id


@breaks("ES-18", "A collision names another event than the one that collides.")
class NamesTheWrongEvent(PlainStore):
    def collide(self, write: StreamWrite, event: NewEvent) -> None:
        super().collide(write, write.events[-1])


@breaks("ES-19", "Inserts what it does not know and ignores the rest.")
class InsertsTheRest(PlainStore):
    def find_replay(self, writes: Sequence[StreamWrite]) -> AppendResult | None:
        known = self.known(writes[0].stream)
        if any(event.event_id not in known for event in writes[0].events):
            return None
        return super().find_replay(writes)

    def prepare(self, writes: Sequence[StreamWrite]) -> list[RecordedEvent]:
        known = self.known(writes[0].stream)
        fresh = [event for event in writes[0].events if event.event_id not in known]
        return super().prepare([attrs.evolve(writes[0], events=fresh), *writes[1:]])


@breaks("ES-20", "Takes one id twice in an append.")
class TakesAnIdTwice(PlainStore):
    def check_twice(self, writes: Sequence[StreamWrite]) -> None: ...


@breaks("ES-21", "Forgets ids when it is opened again.")
class ForgetsIdsOnReopen(PlainStore):
    def __init__(self, shelf: Shelf) -> None:
        super().__init__(shelf)
        self.forgotten = len(shelf.feed)

    def known(self, stream: StreamId) -> dict[UUID, RecordedEvent]:
        return {event.event_id: event for event in self.shelf.feed[self.forgotten :] if event.stream == stream}


@breaks("ES-31", "Checks the version of the whole store.")
class OneVersionForAll(PlainStore):
    def check_version(self, write: StreamWrite) -> None:
        if len(self.shelf.feed) != write.expected_version:
            super().check_version(write)


@breaks("ES-41", "Looks at the version, lets others run, and then writes.")
class ChecksThenActs(PlainStore):
    async def append(self, writes: Sequence[StreamWrite], /) -> AppendResult:
        self.check_open()
        writes = self.materialise(writes)
        self.check_misuse(writes)
        self.check_sizes(writes)
        await checkpoint()
        return await self.append_locked(writes)


@breaks("ES-42", "Locks within one instance only.")
class LocksItselfOnly(PlainStore):
    def __init__(self, shelf: Shelf) -> None:
        super().__init__(shelf)
        self.shelf = _OwnLock(shelf)  # type: ignore[assignment]  # looks like a shelf, with a lock of its own


class _OwnLock:
    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self.lock = anyio.Lock()

    @property
    def feed(self) -> list[RecordedEvent]:
        return self._shelf.feed

    @feed.setter
    def feed(self, events: list[RecordedEvent]) -> None:
        self._shelf.feed = events


@breaks("ES-44", "A cancelled append keeps the lock.")
class KeepsTheLockWhenCancelled(PlainStore):
    async def append(self, writes: Sequence[StreamWrite], /) -> AppendResult:
        self.check_open()
        writes = self.materialise(writes)
        self.check_misuse(writes)
        await self.shelf.lock.acquire()
        try:
            result = await self.append_locked(writes)
        except Exception:
            self.shelf.lock.release()
            raise
        self.shelf.lock.release()
        return result


@breaks("ES-44", "A cancelled append leaves the events that were written before.")
class HalfWhenCancelled(PlainStore):
    async def make_visible(self, new: list[RecordedEvent]) -> None:
        for event in new:
            self.shelf.feed.append(event)
            await checkpoint()


@breaks("ES-45", "Loses the last append when it is opened again.")
class LosesTheLast(PlainStore):
    def __init__(self, shelf: Shelf) -> None:
        super().__init__(shelf)
        del shelf.feed[-1:]


@breaks("ES-46", "Works on after it was closed.")
class WorksAfterClose(PlainStore):
    def check_open(self) -> None: ...


@breaks("ES-46", "Says that it is closed with an error of its own.")
class ClosesInItsOwnWords(PlainStore):
    def check_open(self) -> None:
        if self.closed:
            msg = "connection is closed"
            raise ConnectionError(msg)


@breaks("ES-46", "An append that is closed under fails with whatever the driver says.")
class FailsWhenClosedUnder(PlainStore):
    async def make_visible(self, new: list[RecordedEvent]) -> None:
        await checkpoint()
        if self.closed:
            msg = "connection is closed"
            raise ConnectionError(msg)
        await super().make_visible(new)


@breaks("ES-46", "Fails when it is closed twice.")
class ClosesOnce(PlainStore):
    async def aclose(self) -> None:
        if self.closed:
            msg = "closed already"
            raise RuntimeError(msg)
        await super().aclose()


@breaks("ES-46", "Closing throws away the append in flight, which is answered as done.")
class CloseDropsAppends(PlainStore):
    async def make_visible(self, new: list[RecordedEvent]) -> None:
        await checkpoint()
        if not self.closed:
            await super().make_visible(new)

    async def append_locked(self, writes: Sequence[StreamWrite]) -> AppendResult:
        result = await super().append_locked(writes)
        return attrs.evolve(result, versions={write.stream: write.expected_version + len(write.events) for write in writes})

    async def aclose(self) -> None:
        self.closed = True


@breaks("ES-47", "One conflict in a group sinks the appends after it.")
class OneSinksTheGroup(PlainStore):
    async def append_group(self, groups: Sequence[Sequence[StreamWrite]], /) -> Sequence[AppendResult | Exception]:
        outcomes: list[AppendResult | Exception] = []
        for writes in groups:
            failed = next((outcome for outcome in outcomes if isinstance(outcome, Exception)), None)
            outcomes += [failed] if failed is not None else await super().append_group([writes])
        return outcomes


@breaks("ES-47", "Answers a group in the order in which its appends ended.")
class AnswersOutOfOrder(PlainStore):
    async def append_group(self, groups: Sequence[Sequence[StreamWrite]], /) -> Sequence[AppendResult | Exception]:
        return sorted(await super().append_group(groups), key=lambda outcome: isinstance(outcome, Exception))


@breaks("ES-47", "Has a group commit and does not declare it.")
class UndeclaredGroupCommit(PlainStore):
    capabilities = attrs.evolve(PlainStore.capabilities, group_commit=False)
