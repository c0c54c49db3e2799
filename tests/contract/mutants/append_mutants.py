"""Event stores whose appends, groups and turns are right until somebody refuses, races, cancels or asks for a fact."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import cast
from uuid import UUID

import anyio
import attrs
from anyio.lowlevel import checkpoint

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import AppendResult, NewEvent, RecordedEvent, StreamWrite
from inventory_es.ports.errors import (
    AppendTooLargeError,
    ConcurrencyError,
    EventIdCollisionError,
    UnsupportedCapabilityError,
)
from inventory_es.ports.toolkit.blocking_calls import WithdrawnError
from tests.contract.mutants.mutant import breaks
from tests.contract.stores.plain_store import PlainStore, PlainStreams, Shelf
from tests.contract.stores.remote_store import RemoteStore, RemoteStores
from tests.contract.stores.turn_store import TurnStore

Outcomes = Sequence[AppendResult | Exception]
Groups = Sequence[Sequence[StreamWrite]]


# ── facts ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@breaks("ES-68", "A conflict tells the expected version as a decimal text.")
class ExpectsAText(PlainStore):
    def check_version(self, write: StreamWrite) -> None:
        actual = self.version(write.stream)
        if actual != write.expected_version:
            raise ConcurrencyError(stream=write.stream, expected=cast("int", str(write.expected_version)), actual=actual)


@breaks("ES-68", "A conflict over several streams names the first of them.")
class NamesTheFirstStream(PlainStore):
    def check_versions(self, writes: Sequence[StreamWrite]) -> None:
        try:
            super().check_versions(writes)
        except ConcurrencyError as error:
            raise ConcurrencyError(stream=writes[0].stream, expected=error.expected, actual=error.actual) from None


@breaks("ES-68", "A collision names its stream by the text of a row.")
class CollidesInAText(PlainStore):
    def collide(self, write: StreamWrite, event: NewEvent) -> None:
        raise EventIdCollisionError(stream=cast("StreamId", write.stream.text), event_id=event.event_id, problem="is stored already")


@breaks("ES-68", "A collision names the first stream of the append, whichever holds the id.")
class CollidesInTheFirstStream(PlainStore):
    def find_replay(self, writes: Sequence[StreamWrite]) -> AppendResult | None:
        try:
            return super().find_replay(writes)
        except EventIdCollisionError as error:
            other = next((write.stream for write in writes if write.stream != error.stream), error.stream)
            raise EventIdCollisionError(stream=other, event_id=error.event_id, problem=error.problem) from None


@breaks("ES-68", "What is too large tells limit and actual the wrong way round.")
class LimitForActual(PlainStore):
    def check_size(self, name: str, actual: int, limit: int) -> None:
        if actual > limit:
            raise AppendTooLargeError(limit_name=name, limit=actual, actual=limit)


@breaks("ES-68", "What is too large tells the maximum as a float.")
class LimitAsAFloat(PlainStore):
    def check_size(self, name: str, actual: int, limit: int) -> None:
        if actual > limit:
            raise AppendTooLargeError(limit_name=name, limit=cast("int", float(limit)), actual=actual)


@breaks("ES-68", "The versions of an answer hold every stream of the transaction's session.")
class VersionsOfTheSession(PlainStore):
    async def append_locked(self, writes: Sequence[StreamWrite]) -> AppendResult:
        result = await super().append_locked(writes)
        first = self.shelf.feed[0].stream
        return attrs.evolve(result, versions={first: self.version(first), **result.versions})


@breaks("ES-68", "Replayed is the number of rows that were found.")
class ReplayedIsACount(PlainStore):
    def find_replay(self, writes: Sequence[StreamWrite]) -> AppendResult | None:
        result = super().find_replay(writes)
        return result and attrs.evolve(result, replayed=cast("bool", len(writes)))


# ── what a refusal leaves ────────────────────────────────────────────────────────────────────────────────────────────


class _Pooled(PlainStore):
    """A store that takes one of few connections per append, and returns it unless the append ends in a forgotten way."""

    forgotten: type[Exception] = Exception

    async def append(self, writes: Sequence[StreamWrite], /) -> AppendResult:
        self.check_open()
        pool = vars(self.shelf).setdefault("pool", anyio.Semaphore(20))
        await pool.acquire()
        try:
            result = await super().append(writes)
        except self.forgotten:
            raise
        except BaseException:
            pool.release()
            raise
        pool.release()
        return result


@breaks("ES-85", "A collision does not give its connection back.")
class KeepsAConnectionOnCollision(_Pooled):
    forgotten: type[Exception] = EventIdCollisionError


@breaks("ES-85", "Misuse does not give its connection back.")
class KeepsAConnectionOnMisuse(_Pooled):
    forgotten: type[Exception] = ValueError


@breaks("ES-85", "An append that is too large does not give its connection back.")
class KeepsAConnectionOnTooMuch(_Pooled):
    forgotten: type[Exception] = AppendTooLargeError


@breaks("ES-85", "A conflict does not give its connection back.")
class KeepsAConnectionOnConflict(_Pooled):
    forgotten: type[Exception] = ConcurrencyError


@breaks("ES-85", "The ids of an append that was too large are marked as seen before its size is looked at.")
class MarksIdsOfTooMuch(PlainStore):
    def check_sizes(self, writes: Sequence[StreamWrite]) -> None:
        seen = vars(self.shelf).setdefault("seen", set())
        try:
            super().check_sizes(writes)
        except AppendTooLargeError:
            seen |= {event.event_id for write in writes for event in write.events}
            raise
        for write in writes:
            for event in write.events:
                if event.event_id in seen:
                    self.collide(write, event)


@breaks("ES-85", "The ids of an append to several streams are marked as seen although it is refused.")
class MarksIdsOfSeveralStreams(PlainStreams):
    def check_misuse(self, writes: Sequence[StreamWrite]) -> None:
        seen = vars(self.shelf).setdefault("seen", set())
        try:
            super().check_misuse(writes)
        except UnsupportedCapabilityError:
            seen |= {event.event_id for write in writes for event in write.events}
            raise
        if writes and writes[0].events[0].event_id in seen:
            self.collide(writes[0], writes[0].events[0])


# ── misuse, and what is none ─────────────────────────────────────────────────────────────────────────────────────────


class _Narrow(PlainStore):
    """A store that passes the expected version to a driver with numbers of so many bits."""

    bits: int = 0

    def check_version(self, write: StreamWrite) -> None:
        if write.expected_version >= 2 ** (self.bits - 1):
            msg = "Python int too large to convert"
            raise OverflowError(msg)
        super().check_version(write)


@breaks("ES-86", "An expected version beyond 32 bits is an error of the driver.")
class VersionsOf32Bits(_Narrow):
    bits = 32


@breaks("ES-86", "An expected version beyond 64 bits is an error of the driver.")
class VersionsOf64Bits(_Narrow):
    bits = 64


@breaks("ES-86", "An expected version is cut to 32 bits.")
class VersionsAreCut(PlainStore):
    def check_version(self, write: StreamWrite) -> None:
        super().check_version(attrs.evolve(write, expected_version=write.expected_version & 0xFFFFFFFF))


@breaks("ES-86", "A negative version means any version, behind the first write.")
class AnyVersionBehindTheFirst(PlainStore):
    def check_misuse(self, writes: Sequence[StreamWrite]) -> None:
        behind = [attrs.evolve(write, expected_version=0) if write.expected_version == -1 else write for write in writes[1:]]
        super().check_misuse([*writes[:1], *behind])

    def check_version(self, write: StreamWrite) -> None:
        if write.expected_version != -1:
            super().check_version(write)


@breaks("ES-86", "Writes are taken in a list alone.")
class TakesLists(PlainStore):
    async def append(self, writes: Sequence[StreamWrite], /) -> AppendResult:
        if not isinstance(writes, list):
            msg = "writes must be a list"
            raise ValueError(msg)  # what the broken adapter raises
        return await super().append(writes)


@breaks("ES-86", "Two writes to one stream are compared by object.")
class ComparesObjects(PlainStore):
    def check_misuse(self, writes: Sequence[StreamWrite]) -> None:
        distinct = len({id(write.stream) for write in writes}) == len(writes)
        if len(writes) > 1 and distinct and len({write.stream for write in writes}) < len(writes):
            return
        super().check_misuse(writes)


@breaks("ES-86", "One id twice is looked for among 100 neighbours.")
class LooksAtNeighbours(PlainStore):
    def check_twice(self, writes: Sequence[StreamWrite]) -> None:
        for write in writes:
            for start in range(0, len(write.events), 100):
                super().check_twice([attrs.evolve(write, events=write.events[start : start + 100])])


# ── groups ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@breaks("ES-69", "A group is cut to the 100 actions that the backend takes at once.")
class GroupsOfAHundred(PlainStore):
    async def append_group(self, groups: Groups, /) -> Outcomes:
        done = await super().append_group(groups[:100])
        return [*done, *list(done[-1:]) * (len(groups) - len(done))]


@breaks("ES-69", "The maximum of events is that of the whole group.")
class MaximumOfTheGroup(PlainStore):
    async def append_group(self, groups: Groups, /) -> Outcomes:
        self.check_open()
        self.check_size("events", sum(len(write.events) for group in groups for write in group), self.capabilities.max_append_events)
        return await super().append_group(groups)


@breaks("ES-69", "An append of a group that is too large is raised for all of them.")
class RaisesForTheGroup(PlainStore):
    async def append_group(self, groups: Groups, /) -> Outcomes:
        outcomes = await super().append_group(groups)
        for outcome in outcomes:
            if isinstance(outcome, AppendTooLargeError):
                raise outcome
        return outcomes


@breaks("ES-69", "An append of a group to several streams is one transaction for each of them.")
class StreamByStreamInAGroup(PlainStore):
    async def append_group(self, groups: Groups, /) -> Outcomes:
        outcomes: list[AppendResult | Exception] = []
        for group in groups:
            if len(group) < 2:  # several streams
                outcomes += await super().append_group([group])
                continue
            parts = await super().append_group([[write] for write in group])
            results = [part for part in parts if isinstance(part, AppendResult)]
            errors = [part for part in parts if isinstance(part, Exception)]
            versions = {stream: version for result in results for stream, version in result.versions.items()}
            outcomes.append(
                errors[0] if errors else AppendResult(results[-1].position, versions, all(result.replayed for result in results))
            )
        return outcomes


@breaks("ES-87", "A group does not take the lock that appends take.")
class GroupsWithoutALock(PlainStore):
    async def append_group(self, groups: Groups, /) -> Outcomes:
        self.check_open()
        outcomes: list[AppendResult | Exception] = []
        for group in groups:
            try:
                writes = self.materialise(group)
                self.check_misuse(writes)
                self.check_sizes(writes)
                outcomes.append(await self.append_locked(writes))
            except Exception as error:  # noqa: BLE001  # it is this append's outcome
                outcomes.append(error)
        return outcomes


@breaks("ES-87", "A group looks its ids up before it has the lock.")
class GroupsLookUpFirst(PlainStore):
    async def append_group(self, groups: Groups, /) -> Outcomes:
        outcomes: list[AppendResult | Exception] = []
        for group in groups:
            earlier = bool(group) and any(event.event_id in self.known(group[0].stream) for event in group[0].events)
            await checkpoint()
            (outcome,) = await super().append_group([group])
            if isinstance(outcome, AppendResult) and outcome.replayed and not earlier:
                write = group[0]
                outcome = ConcurrencyError(stream=write.stream, expected=write.expected_version, actual=self.version(write.stream))
            outcomes.append(outcome)
        return outcomes


@breaks("ES-87", "Groups that come together are sent as one, and each caller gets the outcomes from its beginning on.")
class OutcomesFromTheBeginning(PlainStore):
    def __init__(self, shelf: Shelf) -> None:
        super().__init__(shelf)
        self.waiting: list[Groups] = []
        self.done: dict[int, Outcomes] = {}

    async def append_group(self, groups: Groups, /) -> Outcomes:
        self.check_open()
        if len(groups) < 2:  # nothing to send together
            return await super().append_group(groups)
        self.waiting.append(groups)
        await checkpoint()
        if self.waiting:
            sent, self.waiting = self.waiting, []
            outcomes = await super().append_group([group for one in sent for group in one])
            for one in sent:
                self.done[id(one)] = outcomes[: len(one)]
        while id(groups) not in self.done:
            await checkpoint()
        return self.done.pop(id(groups))


@breaks("ES-57", "A group takes its own cancellation for the outcome of an append.")
class CancellationIsAnOutcome(PlainStore):
    async def append_group(self, groups: Groups, /) -> Outcomes:
        self.check_open()
        outcomes: list[AppendResult | Exception] = []
        for group in groups:
            try:
                outcomes.append(await self.append(group))
            except BaseException as error:  # noqa: BLE001  # what is broken
                outcomes.append(cast("Exception", error))
        return outcomes


# ── turns and cancellation ───────────────────────────────────────────────────────────────────────────────────────────


@breaks("ES-52", "A group of another instance writes inside a turn.")
class GroupsHaveNoTurns(TurnStore):
    async def append_group(self, groups: Groups, /) -> Outcomes:
        self.check_open()
        outcomes: list[AppendResult | Exception] = []
        for group in groups:
            try:
                outcomes.append(await PlainStore.append(self, group))
            except Exception as error:  # noqa: BLE001  # it is this append's outcome
                outcomes.append(error)
        return outcomes


@breaks("ES-53", "A group waits for the turn of its own instance.")
class GroupsWaitForThemselves(TurnStore):
    async def append_group(self, groups: Groups, /) -> Outcomes:
        while (turn := self.current.get(self.shelf)) is not None:
            await turn.over.wait()
        return await super().append_group(groups)


@breaks("ES-53", "A conflict in a turn is taken for the end of the turn.")
class SwallowsConflictsInATurn(TurnStore):
    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        try:
            async with super().turn():
                yield
        except ConcurrencyError:
            pass


@breaks("ES-53", "Who waits for the turn of an instance that was closed in it waits for ever.")
class WaitsForAClosedOwner(TurnStore):
    async def wait_politely(self) -> None:
        await anyio.sleep_forever()

    async def append(self, writes: Sequence[StreamWrite], /) -> AppendResult:
        turn = self.turn_of_another()
        if turn is not None and turn.owner.closed:
            await self.wait_politely()
        return await super().append(writes)


@breaks("ES-89", "Who came last has the next turn.")
class LastComeFirstServed(TurnStore):
    def __init__(self, shelf: Shelf) -> None:
        super().__init__(shelf)
        self.queue: list[anyio.Event] = []
        self.is_taken = False

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        self.check_open()
        while self.is_taken:
            self.queue.append(called := anyio.Event())
            await called.wait()
        self.is_taken = True
        try:
            async with self.given():
                yield
        finally:
            self.is_taken = False
            if self.queue:
                self.queue.pop().set()


class _Unshielded(TurnStore):
    """A store whose appends a cancellation reaches."""

    async def append(self, writes: Sequence[StreamWrite], /) -> AppendResult:
        self.check_open()
        try:
            while (turn := self.turn_of_another()) is not None:
                await self.let_go_first(turn)
        except BaseException as cancelled:
            raise cancelled from WithdrawnError()
        return await self.begin(writes)

    async def begin(self, writes: Sequence[StreamWrite]) -> AppendResult:
        return await PlainStore.append(self, writes)


@breaks("ES-88", "An append that has begun is cut off although others wait for its outcome.")
class CutsOff(_Unshielded):
    pass


@breaks("ES-88", "An append that was cancelled behind its commit says that it was withdrawn.")
class WithdrawnAfterItsCommit(_Unshielded):
    async def begin(self, writes: Sequence[StreamWrite]) -> AppendResult:
        try:
            result = await super().begin(writes)
            await checkpoint()
        except Exception:
            raise
        except BaseException as cancelled:
            raise cancelled from WithdrawnError()
        return result


# ── sizes and identity ───────────────────────────────────────────────────────────────────────────────────────────────


@breaks("ES-15", "An append to more than 25 streams is several transactions, of which each checks its own streams.")
class TransactionsOf25Streams(PlainStore):
    async def append_locked(self, writes: Sequence[StreamWrite]) -> AppendResult:
        if self.find_replay(writes) is None:
            for start in range(0, len(writes), 25):
                try:
                    self.check_versions(writes[start : start + 25])
                except ConcurrencyError:
                    await self.make_visible(self.prepare(writes[:start]))
                    raise
        return await super().append_locked(writes)


@breaks("ES-71", "Types are compared without blanks at their ends, as columns of fixed length are.")
class TypesArePadded(PlainStore):
    def same(self, stored: RecordedEvent, event: NewEvent, stream: StreamId) -> bool:
        return super().same(
            attrs.evolve(stored, event_type=stored.event_type.rstrip()), attrs.evolve(event, event_type=event.event_type.rstrip()), stream
        )


@breaks("ES-78", "Payloads are compared by their first 1,000 bytes, as an index holds them.")
class ComparesBeginnings(PlainStore):
    def same(self, stored: RecordedEvent, event: NewEvent, stream: StreamId) -> bool:
        begins_alike = stored.data[:1_000] == event.data[:1_000]
        return super().same(attrs.evolve(stored, data=event.data) if begins_alike else stored, event, stream)


@breaks("ES-72", "Ids are known among the last 100 events once the store was opened again.")
class KnowsFewAfterReopening(PlainStore):
    def __init__(self, shelf: Shelf) -> None:
        super().__init__(shelf)
        self.forgotten = len(shelf.feed) - 100

    def known(self, stream: StreamId) -> dict[UUID, RecordedEvent]:
        return {id_: event for id_, event in super().known(stream).items() if event.position > self.forgotten}


# ── closing ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@breaks("ES-46", "A close does not wait for appends.")
class ClosesAtOnce(PlainStore):
    async def aclose(self) -> None:
        self.closed = True
        await checkpoint()


@breaks("ES-46", "A second close ends before the first one has waited.")
class ClosesTwiceAtOnce(PlainStore):
    async def aclose(self) -> None:
        if not self.closed:
            await super().aclose()


# ── what the backend says ────────────────────────────────────────────────────────────────────────────────────────────


class RemoteMutants(RemoteStores):
    adapter: type[RemoteStore]


@breaks("ES-80", "An append to several streams whose answer was lost is sent again at once, and meets itself.", contract=RemoteMutants)
class MeetsItself(RemoteStore):
    def lost_after(self, result: AppendResult) -> AppendResult:
        if len(result.versions) > 1:
            stream, version = next(iter(result.versions.items()))
            raise ConcurrencyError(stream=stream, expected=version - 1, actual=version)
        return super().lost_after(result)


@breaks("ES-80", "The warning of a commit over several streams is not looked at.", contract=RemoteMutants)
class WarnedOverOneStreamAlone(RemoteStore):
    def warned(self, result: AppendResult) -> AppendResult:
        return result if len(result.versions) > 1 else super().warned(result)
