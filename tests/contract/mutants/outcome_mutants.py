"""Stores that are right while their backend answers, and report a wrong outcome otherwise: ES-80, ES-84."""

from collections.abc import Sequence
from typing import Any, NoReturn
from uuid import UUID

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import AppendResult, FeedPage, RecordedEvent, StreamPage, StreamsPage, StreamWrite
from inventory_es.ports.errors import AppendOutcomeUnknownError, StoreUnavailableError
from tests.contract.mutants.mutant import breaks
from tests.contract.stores.remote_store import RemoteStore, RemoteStores


def _away(reason: str) -> StoreUnavailableError:
    return StoreUnavailableError(store="RemoteStore", reason=reason)


def _refuse(reason: str) -> NoReturn:
    raise _away(reason)


def _as_if_done(writes: Sequence[StreamWrite]) -> AppendResult:
    return AppendResult(1, {write.stream: write.expected_version + len(write.events) for write in writes})


@breaks("ES-80", "A connection that breaks in the middle of a commit is a store that is away: nothing was written.", contract=RemoteStores)
class CallsALostAnswerARefusal(RemoteStore):
    def lost_after(self, result: AppendResult) -> AppendResult:
        _refuse("the connection broke")


@breaks("ES-80", "Sends without waiting for the answer: a connection that breaks is not noticed.", contract=RemoteStores)
class AcknowledgesWhatItSent(RemoteStore):
    def lost(self, writes: Sequence[StreamWrite]) -> AppendResult:
        return _as_if_done(writes)


@breaks("ES-80", "Ignores the warning that the replica was not waited for.", contract=RemoteStores)
class IgnoresTheWarning(RemoteStore):
    def warned(self, result: AppendResult) -> AppendResult:
        return result


@breaks("ES-80", "Raises a warning as an error after which nothing is written, as it is for others.", contract=RemoteStores)
class CallsAWarningARefusal(RemoteStore):
    def warned(self, result: AppendResult) -> AppendResult:
        _refuse("WARNING: canceling wait for synchronous replication")


@breaks("ES-80", "Looks its events up after the warning, and finds them: on one machine.", contract=RemoteStores)
class FindsWhatIsLocal(RemoteStore):
    def warned(self, result: AppendResult) -> AppendResult:
        return AppendResult(result.position, result.versions, replayed=True)


@breaks("ES-80", "A server that says goodbye has done nothing.", contract=RemoteStores)
class CallsAShutdownARefusal(RemoteStore):
    def shut_down_after(self, result: AppendResult) -> AppendResult:
        _refuse("terminating connection due to administrator command")


@breaks("ES-80", "Lets the error of its driver through when the connection breaks.", contract=RemoteStores)
class LeaksItsDriver(RemoteStore):
    def lost_after(self, result: AppendResult) -> AppendResult:
        msg = "connection reset by peer"
        raise ConnectionResetError(msg)


@breaks("ES-80", "Lets the error of its driver through when the connection breaks before anything was committed.", contract=RemoteStores)
class LeaksItsDriverEarly(RemoteStore):
    def lost(self, writes: Sequence[StreamWrite]) -> AppendResult:
        msg = "broken pipe"
        raise BrokenPipeError(msg)


@breaks("ES-80", "Answers a group whose commit is unknown as if nothing of it was written.", contract=RemoteStores)
class RefusesTheGroup(RemoteStore):
    async def append_group(self, groups: Sequence[Sequence[StreamWrite]], /) -> Sequence[AppendResult | Exception]:
        outcomes = await super().append_group(groups)
        return [_away("rolled back") if isinstance(one, AppendOutcomeUnknownError) else one for one in outcomes]


@breaks("ES-80", "Acknowledges the group although the commit was answered with a warning.", contract=RemoteStores)
class AcknowledgesTheGroup(RemoteStore):
    async def append_group(self, groups: Sequence[Sequence[StreamWrite]], /) -> Sequence[AppendResult | Exception]:
        outcomes = await super().append_group(groups)
        answers = zip(groups, outcomes, strict=True)
        return [_as_if_done(group) if isinstance(one, AppendOutcomeUnknownError) else one for group, one in answers]


@breaks("ES-80", "Gives the connection that broke to the next caller, and to the one after.", contract=RemoteStores)
class KeepsABrokenConnection(RemoteStore):
    is_broken = False

    def lost_after(self, result: AppendResult) -> AppendResult:
        self.is_broken = True
        self.unknown("the connection broke")

    async def append_locked(self, writes: Sequence[StreamWrite]) -> AppendResult:
        if self.is_broken:
            _refuse("the connection is closed")
        return await super().append_locked(writes)


@breaks("ES-80", "Sends an append whose answer got lost again by itself, after whatever is there by now.", contract=RemoteStores)
class SendsAgainBlindly(RemoteStore):
    def lost_after(self, result: AppendResult) -> AppendResult:
        (stream, version), *_ = result.versions.items()
        again = [one for one in self.of(stream) if one.version == version]
        self.shelf.feed += [
            RecordedEvent(
                one.stream,
                one.version + 1,
                self.head_now() + 1,
                one.event_id,
                one.event_type,
                one.schema_version,
                one.recorded_at,
                one.data,
                one.metadata,
            )
            for one in again
        ]
        return result


@breaks(
    "ES-80", "Sent again, finds its events on one machine and acknowledges them, although the replica is away still.", contract=RemoteStores
)
class FindsItOnTheSecondTry(RemoteStore):
    def warned(self, result: AppendResult) -> AppendResult:
        return result if result.replayed else super().warned(result)


@breaks("ES-80", "Forgets that an append whose answer got lost was stored: sent again, it is answered as new.", contract=RemoteStores)
class AnswersAReplayAsNew(RemoteStore):
    lost_some = False

    def lost_after(self, result: AppendResult) -> AppendResult:
        self.lost_some = True
        self.unknown("the connection broke")

    def find_replay(self, writes: Sequence[StreamWrite]) -> AppendResult | None:
        found = super().find_replay(writes)
        return AppendResult(found.position, found.versions) if found is not None and self.lost_some else found


@breaks("ES-84", "Lets the error of its driver through when the connection of a read breaks.", contract=RemoteStores)
class LeaksItsDriverInARead(RemoteStore):
    def lost_read(self) -> Any:
        msg = "connection reset by peer"
        raise ConnectionResetError(msg)


@breaks("ES-84", "Calls a read that got no answer an append with an unknown outcome.", contract=RemoteStores)
class DoesNotKnowWhatItRead(RemoteStore):
    def lost_read(self) -> Any:
        self.unknown("the connection broke")


@breaks("ES-84", "Takes a broken connection for an empty stream.", contract=RemoteStores)
class ReadsNothing(RemoteStore):
    async def read_stream(self, stream: StreamId, /, *, after: int = 0, limit: int) -> StreamPage:
        if self.network.take() is not None:
            return StreamPage([], 0, is_end=True)
        return await super().read_stream(stream, after=after, limit=limit)


@breaks("ES-84", "Takes a broken connection for ids that are not stored: whoever asked decides again.", contract=RemoteStores)
class FindsNothing(RemoteStore):
    async def find_events(self, stream: StreamId, event_ids: Sequence[UUID], /) -> Sequence[RecordedEvent]:
        return [] if self.network.take() is not None else await super().find_events(stream, event_ids)


@breaks("ES-84", "Takes a broken connection for the end of the feed.", contract=RemoteStores)
class EndsTheFeed(RemoteStore):
    async def read_all(self, *, after: int, limit: int) -> FeedPage:
        if self.network.take() is not None:
            return FeedPage([], after, is_end=True)
        return await super().read_all(after=after, limit=limit)


@breaks("ES-84", "Gives the head that it knew last when the connection breaks.", contract=RemoteStores)
class GivesAnOldHead(RemoteStore):
    async def head(self) -> int:
        return 0 if self.network.take() is not None else await super().head()


@breaks("ES-84", "Lists no streams when the connection breaks.", contract=RemoteStores)
class ListsNothing(RemoteStore):
    async def streams(self, prefix: str = "", /, *, after: StreamId | None = None, limit: int) -> StreamsPage:
        if self.network.take() is not None:
            return StreamsPage([], is_end=True)
        return await super().streams(prefix, after=after, limit=limit)


@breaks("ES-84", "Leaves the connection that broke in a read to the reads after it.", contract=RemoteStores, patience=10)
class ReadsFromABrokenConnection(RemoteStore):
    is_broken = False

    def lost_read(self) -> Any:
        self.is_broken = True
        _refuse("the connection broke")

    def check_open(self) -> None:
        super().check_open()
        if self.is_broken:
            _refuse("the connection is closed")
