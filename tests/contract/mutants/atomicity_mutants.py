"""Event stores in which a part of an append is visible, or stays."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from uuid import UUID

import anyio
import attrs
from anyio.lowlevel import checkpoint

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import AppendResult, EventStore, FeedPage, RecordedEvent, StreamHead, StreamPage, StreamsPage, StreamWrite
from inventory_es.testing import Site
from tests.contract.mutants.mutant import StoreMutants, breaks
from tests.contract.stores.plain_store import PlainStore, Shelf, shelf_of


class SmallMutants(StoreMutants):
    """The contract of stores that declare small appends."""

    @asynccontextmanager
    async def open_store(self, site: Site) -> AsyncIterator[EventStore]:
        with shelf_of(site.name) as shelf:
            store = self.adapter(shelf)
            store.capabilities = attrs.evolve(store.capabilities, max_append_events=5, max_append_bytes=16 << 10)
            yield store


@breaks("ES-57", "Commits an append stream by stream: where it is cancelled, the streams after the first are missing.")
class CancelledBetweenStreams(PlainStore):
    async def make_visible(self, new: list[RecordedEvent]) -> None:
        for stream in dict.fromkeys(event.stream for event in new):
            self.shelf.feed += [event for event in new if event.stream == stream]
            await checkpoint()


@breaks("ES-57", "Remembers the ids of an append before it is written, so that a cancelled one is answered and never written.")
class RemembersIdsOfCancelled(PlainStore):
    async def make_visible(self, new: list[RecordedEvent]) -> None:
        seen = self.shelf.__dict__.setdefault("promised", {}) if len({event.stream for event in new}) > 1 else {}
        seen[new[0].event_id] = AppendResult(new[-1].position, {event.stream: event.version for event in new}, replayed=True)
        await checkpoint()
        await super().make_visible(new)

    def find_replay(self, writes: Sequence[StreamWrite]) -> AppendResult | None:
        known: dict[UUID, AppendResult] = self.shelf.__dict__.get("promised", {})
        return known.get(writes[0].events[0].event_id) or super().find_replay(writes)


@breaks("ES-57", "Claims the versions of all streams of an append, and gives back those of the first when it is cancelled.")
class KeepsTheClaimOnTheSecond(PlainStore):
    async def append_locked(self, writes: Sequence[StreamWrite]) -> AppendResult:
        claims: set[StreamId] = self.shelf.__dict__.setdefault("claims", set())
        while any(write.stream in claims for write in writes):
            await checkpoint()
        claims |= {write.stream for write in writes}
        try:
            result = await super().append_locked(writes)
        except BaseException as problem:
            claims -= {write.stream for write in (writes if isinstance(problem, Exception) else writes[:1])}
            raise
        claims -= {write.stream for write in writes}
        return result


@breaks("ES-57", "Undoes a cancelled append in its first stream only.")
class UndoesTheFirstStream(PlainStore):
    async def make_visible(self, new: list[RecordedEvent]) -> None:
        await super().make_visible(new)
        try:
            await checkpoint()
        except BaseException:
            if len({event.stream for event in new}) > 1:
                self.shelf.feed[:] = [event for event in self.shelf.feed if event not in new or event.stream != new[0].stream]
            raise


@breaks("ES-57", "Its lock belongs to the instance, which may take it again: a cancelled append keeps all other instances out.")
class KeepsTheSessionLock(PlainStore):
    async def append_locked(self, writes: Sequence[StreamWrite]) -> AppendResult:
        while self.shelf.__dict__.get("session", self) is not self:
            self.shelf.lock.release()
            try:
                await checkpoint()
            finally:
                with anyio.CancelScope(shield=True):
                    await self.shelf.lock.acquire()
        self.shelf.__dict__["session"] = self
        try:
            result = await super().append_locked(writes)
        except Exception:
            del self.shelf.__dict__["session"]
            raise
        del self.shelf.__dict__["session"]
        return result


@breaks("ES-57", "A group that is cancelled leaves its last append without its last event.")
class CancelledGroupIsCut(PlainStore):
    async def append_group(self, groups: Sequence[Sequence[StreamWrite]], /) -> Sequence[AppendResult | Exception]:
        outcomes = await super().append_group(groups)
        try:
            await checkpoint()
        except BaseException:
            if any(len(write.events) > 1 for write in groups[0]):
                self.shelf.feed[:] = [event for event in self.shelf.feed if event.event_id != groups[0][-1].events[-1].event_id]
            raise
        return outcomes


@breaks("ES-61", "Shows an append stream by stream, and finishes it whatever happens.")
class ShowsStreamByStream(PlainStore):
    async def make_visible(self, new: list[RecordedEvent]) -> None:
        done: list[RecordedEvent] = []
        try:
            for stream in dict.fromkeys(event.stream for event in new):
                done += [event for event in new if event.stream == stream]
                self.shelf.feed += [event for event in new if event.stream == stream]
                await checkpoint()
        finally:
            self.shelf.feed += new[len(done) :]


@breaks("ES-61", "Moves the head before the events are there.")
class HeadRunsAhead(PlainStore):
    ahead = 0

    async def make_visible(self, new: list[RecordedEvent]) -> None:
        self.ahead = len(new) - 1
        try:
            await checkpoint()
        finally:
            self.ahead = 0
        await super().make_visible(new)

    async def head(self) -> int:
        return await super().head() + self.ahead


class _Stages(PlainStore):
    """A store that keeps new events for one step, in which some of its methods show them already, or not yet."""

    staged: list[RecordedEvent]

    def __init__(self, shelf: Shelf) -> None:
        super().__init__(shelf)
        self.staged = []

    async def make_visible(self, new: list[RecordedEvent]) -> None:
        self.staged = new
        try:
            await checkpoint()
            await checkpoint()
            await super().make_visible(new)
        finally:
            self.staged = []


@breaks("ES-61", "Finds events by id that no stream shows yet.")
class FindsStaged(_Stages):
    async def find_events(self, stream: StreamId, event_ids: Sequence[UUID], /) -> Sequence[RecordedEvent]:
        found = [*await super().find_events(stream, event_ids)]
        return found + [event for event in self.staged if event.stream == stream and event.event_id in event_ids]


@breaks("ES-61", "Lists a stream before its events are there.")
class ListsStaged(_Stages):
    async def streams(self, prefix: str = "", /, *, after: StreamId | None = None, limit: int) -> StreamsPage:
        page = await super().streams(prefix, after=after, limit=limit)
        new = [StreamHead(event.stream, event.version) for event in self.staged[-1:] if event.stream.text.startswith(prefix)]
        listed = {head.stream: head for head in (*page.heads, *new)}
        return StreamsPage([listed[stream] for stream in sorted(listed, key=str)][:limit], is_end=page.is_end)


@breaks("ES-61", "Takes the version and the events of a page at two moments.")
class VersionBeforeEvents(_Stages):
    async def read_stream(self, stream: StreamId, /, *, after: int = 0, limit: int) -> StreamPage:
        page = await super().read_stream(stream, after=after, limit=limit)
        return attrs.evolve(page, version=page.version + sum(event.stream == stream for event in self.staged))


@breaks("ES-61", "Reads backwards from a table that is written first.")
class BackwardsShowsStaged(_Stages):
    async def read_stream_backwards(self, stream: StreamId, /, *, before: int | None = None, limit: int) -> StreamPage:
        page = await super().read_stream_backwards(stream, before=before, limit=limit)
        staged = [event for event in self.staged if event.stream == stream]
        if not staged or before is not None:
            return page
        return StreamPage([*staged[::-1], *page.events][:limit], page.version + len(staged), is_end=page.is_end and len(staged) <= limit)


@breaks("ES-61", "The feed is written after the streams.")
class FeedComesLater(PlainStore):
    def __init__(self, shelf: Shelf) -> None:
        super().__init__(shelf)
        self.fed = len(shelf.feed)

    async def make_visible(self, new: list[RecordedEvent]) -> None:
        await super().make_visible(new)
        try:
            await checkpoint()
        finally:
            self.fed = len(self.shelf.feed)

    async def head(self) -> int:
        await super().head()
        return self.shelf.feed[self.fed - 1].position if self.fed else 0

    async def read_all(self, *, after: int, limit: int) -> FeedPage:
        page = await super().read_all(after=after, limit=limit)
        head = self.shelf.feed[self.fed - 1].position if self.fed else 0
        events = [event for event in page.events if event.position <= head]
        return FeedPage(events, events[-1].position if events else after, is_end=page.is_end or len(events) < len(page.events))


@breaks("ES-61", "A glance tells the version that an append is about to give.")
class GlancesAhead(_Stages):
    def glance_version(self, stream: StreamId, /) -> int | None:
        version = super().glance_version(stream)
        return None if version is None else version + sum(event.stream == stream for event in self.staged)


@breaks("ES-61", "Shows an append of five events in pieces of four.", contract=SmallMutants)
class PiecesOfFour(PlainStore):
    async def make_visible(self, new: list[RecordedEvent]) -> None:
        self.shelf.feed += new[:4]
        try:
            await checkpoint()
        finally:
            self.shelf.feed += new[4:]


@breaks("ES-62", "Writes more than 500 events in pieces of 500, which readers see.")
class PiecesOfFiveHundred(PlainStore):
    async def make_visible(self, new: list[RecordedEvent]) -> None:
        start = 0
        try:
            for start in range(0, len(new), 500):
                self.shelf.feed += new[start : start + 500]
                await checkpoint()
        finally:
            self.shelf.feed += new[start + 500 :]


@breaks("ES-62", "Writes more than 900 events in two transactions, and the first stays where the second is cancelled.")
class TwoTransactions(PlainStore):
    async def make_visible(self, new: list[RecordedEvent]) -> None:
        if len(new) <= 900:
            return await super().make_visible(new)
        try:
            await checkpoint()
        except BaseException:
            self.shelf.feed += new[:900]
            raise
        return await super().make_visible(new)
