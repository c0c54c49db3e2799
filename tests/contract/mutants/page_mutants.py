"""Event stores that keep answers, rows or requests for too long, and give wrong ones."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, ClassVar
from uuid import UUID
from weakref import WeakKeyDictionary

import anyio
import attrs
from anyio.lowlevel import checkpoint

from inventory_es.adapters.threads import in_threads
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import AppendResult, EventStore, FeedPage, RecordedEvent, StreamHead, StreamPage, StreamsPage, StreamWrite
from inventory_es.ports.errors import StoreClosedError, StoreUnavailableError
from inventory_es.testing import EventStoreContract, Site
from tests.contract.mutants.mutant import breaks
from tests.contract.stores.plain_store import PlainStore, PlainStreams, Shelf
from tests.contract.stores.sqlite_store import SqliteStore


class KeepingStore(PlainStore):
    """A store that keeps answers by their requests, and forgets them when it appends itself."""

    def __init__(self, shelf: Shelf) -> None:
        super().__init__(shelf)
        self.kept: dict[Any, Any] = {}

    async def append(self, writes: Sequence[StreamWrite], /) -> AppendResult:
        try:
            return await super().append(writes)
        finally:
            self.kept.clear()

    async def keep(self, question: object, ask: Callable[[], Awaitable[Any]]) -> Any:
        self.check_open()
        if question not in self.kept:
            self.kept[question] = await ask()
        return self.kept[question]


@breaks("ES-90", "A stream that was missing stays missing for this instance, backwards, until it appends itself.")
class MissingIsRemembered(KeepingStore):
    async def read_stream_backwards(self, stream: StreamId, /, *, before: int | None = None, limit: int) -> StreamPage:
        ask = super().read_stream_backwards
        self.check_page(limit=limit, before=before)
        if stream in self.kept:
            return StreamPage((), 0, is_end=True)
        page = await ask(stream, before=before, limit=limit)
        if not page.version:
            self.kept[stream] = page
        return page


@breaks("ES-90", "Ids that were not found are not looked up again, until the instance appends itself.")
class UnknownIdsAreRemembered(KeepingStore):
    async def find_events(self, stream: StreamId, event_ids: Sequence[UUID], /) -> Sequence[RecordedEvent]:
        found = await super().find_events(stream, [one for one in event_ids if (stream, one) not in self.kept])
        self.kept |= dict.fromkeys({(stream, one) for one in event_ids} - {(stream, event.event_id) for event in found})
        return found


@breaks("ES-90", "The catalogue is kept until the instance appends itself.")
class CatalogueIsKept(KeepingStore):
    async def streams(self, prefix: str = "", /, *, after: StreamId | None = None, limit: int) -> StreamsPage:
        ask = super().streams
        page: StreamsPage = await self.keep((prefix, after, limit), lambda: ask(prefix, after=after, limit=limit))
        return page


@breaks("ES-90", "The events found by the same ids are one list, which its caller may change.")
class FoundListIsShared(KeepingStore):
    async def find_events(self, stream: StreamId, event_ids: Sequence[UUID], /) -> Sequence[RecordedEvent]:
        ask = super().find_events
        found: Sequence[RecordedEvent] = await self.keep((stream, *event_ids), lambda: ask(stream, event_ids))
        return found


@breaks("ES-90", "The heads of equal pages are one list, which its caller may change.")
class HeadsAreShared(PlainStore):
    def __init__(self, shelf: Shelf) -> None:
        super().__init__(shelf)
        self.pages: dict[tuple[StreamHead, ...], Sequence[StreamHead]] = {}

    async def streams(self, prefix: str = "", /, *, after: StreamId | None = None, limit: int) -> StreamsPage:
        page = await super().streams(prefix, after=after, limit=limit)
        return attrs.evolve(page, heads=self.pages.setdefault(tuple(page.heads), page.heads))


@breaks("ES-90", "The next page comes from the cursor of the page before it: what was appended since is missing.")
class CursorIsOpen(PlainStore):
    def __init__(self, shelf: Shelf) -> None:
        super().__init__(shelf)
        self.rows: dict[tuple[StreamId, int], StreamPage] = {}

    async def read_stream(self, stream: StreamId, /, *, after: int = 0, limit: int) -> StreamPage:
        self.check_page(limit=limit, after=after)
        page = self.rows.pop((stream, after), None) or await super().read_stream(stream, after=after, limit=1_000)
        rest = page.events[limit:]
        if rest:
            self.rows[stream, after + limit] = attrs.evolve(page, events=rest)
        return StreamPage(page.events[:limit], page.version, page.is_end and not rest)


@breaks("ES-90", "The next page backwards comes from the cursor of the page before it, with the version of then.")
class BackwardsCursorIsOpen(PlainStore):
    def __init__(self, shelf: Shelf) -> None:
        super().__init__(shelf)
        self.rows: dict[tuple[StreamId, int], StreamPage] = {}

    async def read_stream_backwards(self, stream: StreamId, /, *, before: int | None = None, limit: int) -> StreamPage:
        self.check_page(limit=limit, before=before)
        kept = None if before is None else self.rows.pop((stream, before), None)
        page = kept or await super().read_stream_backwards(stream, before=before, limit=1_000)
        rest = page.events[limit:]
        if rest:
            self.rows[stream, rest[0].version + 1] = attrs.evolve(page, events=rest)
        return StreamPage(page.events[:limit], page.version, page.is_end and not rest)


class ProcessStore(SqliteStore):
    """A store that keeps answers for the whole process, and forgets them when one of its instances appends."""

    kept: ClassVar[dict[str, dict[object, Any]]] = {}

    def append(self, writes: Sequence[StreamWrite], /) -> AppendResult:
        try:
            return super().append(writes)
        finally:
            self.kept.pop(self._path, None)

    def keep(self, question: object, ask: Callable[[], Any]) -> Any:
        self._refuse_closed()
        answers = self.kept.setdefault(self._path, {})
        if question not in answers:
            answers[question] = ask()
        return answers[question]


class ProcessStores(EventStoreContract):
    adapter: type[SqliteStore]

    @asynccontextmanager
    async def open_store(self, site: Site) -> AsyncIterator[EventStore]:
        store = in_threads(self.adapter(str(site.path / "events.db")), poll_interval=0.001)
        try:
            yield store
        finally:
            await store.aclose()


@breaks("ES-91", "The head is kept for the process.", contract=ProcessStores, patience=10.0)
class HeadOfProcess(ProcessStore):
    def head(self) -> int:
        ask = super().head
        head: int = self.keep("head", ask)
        return head


@breaks("ES-91", "The newest events are kept for the process.", contract=ProcessStores, patience=10.0)
class TailOfProcess(ProcessStore):
    def read_stream_backwards(self, stream: StreamId, /, *, before: int | None = None, limit: int) -> StreamPage:
        ask = super().read_stream_backwards
        page: StreamPage = self.keep((stream, before, limit), lambda: ask(stream, before=before, limit=limit))
        return page


@breaks("ES-91", "Pages of the feed are kept for the process.", contract=ProcessStores, patience=10.0)
class FeedOfProcess(ProcessStore):
    def read_all(self, *, after: int, limit: int) -> FeedPage:
        ask = super().read_all
        page: FeedPage = self.keep((after, limit), lambda: ask(after=after, limit=limit))
        return page


@breaks("ES-91", "What ids find is kept for the process.", contract=ProcessStores, patience=10.0)
class FoundOfProcess(ProcessStore):
    def find_events(self, stream: StreamId, event_ids: Sequence[UUID], /) -> Sequence[RecordedEvent]:
        ask = super().find_events
        found: Sequence[RecordedEvent] = self.keep((stream, *event_ids), lambda: ask(stream, event_ids))
        return found


class SharingStore(PlainStore):
    """A store that lets simultaneous equal requests share one answer."""

    def __init__(self, shelf: Shelf) -> None:
        super().__init__(shelf)
        self.flights: dict[Any, tuple[anyio.Event, list[Any]]] = {}

    async def share(self, question: object, ask: Callable[[], Awaitable[Any]]) -> Any:
        self.check_open()
        while question in self.flights:
            landed, answers = self.flights[question]
            await landed.wait()
            if answers:
                return answers[0]
        flight = self.flights[question] = anyio.Event(), list[Any]()
        try:
            flight[1].append(await ask())
            await checkpoint()
            return flight[1][0]
        finally:
            del self.flights[question]
            flight[0].set()


@breaks("ES-92", "A read joins one that began before the last append.", patience=5.0)
class JoinsAnOlderRead(SharingStore):
    async def read_stream(self, stream: StreamId, /, *, after: int = 0, limit: int) -> StreamPage:
        ask = super().read_stream
        self.check_page(limit=limit, after=after)
        page: StreamPage = await self.share((stream, after, limit), lambda: ask(stream, after=after, limit=limit))
        return page


@breaks("ES-92", "Reads of the feed at one place share an answer, whatever their limits are.", patience=5.0)
class LimitIsNotAsked(PlainStore):
    def __init__(self, shelf: Shelf) -> None:
        super().__init__(shelf)
        self.flights: dict[int, tuple[anyio.Event, list[FeedPage]]] = {}

    async def read_all(self, *, after: int, limit: int) -> FeedPage:
        self.check_page(limit=limit, after=after)
        if after in self.flights:
            landed, pages = self.flights[after]
            await landed.wait()
            return pages[0] if pages else await super().read_all(after=after, limit=limit)
        flight = self.flights[after] = anyio.Event(), list[FeedPage]()
        try:
            flight[1].append(await super().read_all(after=after, limit=limit))
            return flight[1][0]
        finally:
            del self.flights[after]
            flight[0].set()


@breaks("ES-92", "Who shares the question of a cancelled caller finds nothing.", patience=5.0)
class FollowersOfTheCancelled(PlainStore):
    def __init__(self, shelf: Shelf) -> None:
        super().__init__(shelf)
        self.flights: dict[Any, tuple[anyio.Event, list[RecordedEvent]]] = {}

    async def find_events(self, stream: StreamId, event_ids: Sequence[UUID], /) -> Sequence[RecordedEvent]:
        question = (stream, *event_ids)
        if question in self.flights:
            landed, found = self.flights[question]
            await landed.wait()
            return list(found)
        flight = self.flights[question] = anyio.Event(), list[RecordedEvent]()
        try:
            flight[1].extend(await super().find_events(stream, event_ids))
            return list(flight[1])
        finally:
            del self.flights[question]
            flight[0].set()


@breaks("ES-92", "More than 20 reads at once find no connection.", patience=5.0)
class PoolIsExhausted(PlainStore):
    busy = 0

    async def read_stream(self, stream: StreamId, /, *, after: int = 0, limit: int) -> StreamPage:
        self.busy += 1
        try:
            if self.busy > 20:
                raise StoreUnavailableError(store="PlainStore", reason="no connection is free")
            return await super().read_stream(stream, after=after, limit=limit)
        finally:
            self.busy -= 1


@breaks("ES-92", "The catalogue asks for the versions one by one: it shows a part of an append.", patience=5.0)
class CatalogueIsTorn(PlainStore):
    async def streams(self, prefix: str = "", /, *, after: StreamId | None = None, limit: int) -> StreamsPage:
        page = await super().streams(prefix, after=after, limit=limit)
        heads: list[StreamHead] = []
        for head in page.heads:
            heads.append(StreamHead(head.stream, self.version(head.stream)))
            await checkpoint()
        return attrs.evolve(page, heads=heads)


@breaks("ES-93", "What ids find ends after 4 MiB.")
class FoundIsCut(PlainStore):
    async def find_events(self, stream: StreamId, event_ids: Sequence[UUID], /) -> Sequence[RecordedEvent]:
        found = await super().find_events(stream, event_ids)
        return _of_four_mebibytes(found)


@breaks("ES-93", "A page backwards is cut after 4 MiB, and taken for the end.")
class LargePageIsTheEnd(PlainStore):
    async def read_stream_backwards(self, stream: StreamId, /, *, before: int | None = None, limit: int) -> StreamPage:
        page = await super().read_stream_backwards(stream, before=before, limit=limit)
        return attrs.evolve(page, events=_of_four_mebibytes(page.events))


@breaks("ES-94", "A wait of 0 seconds does not look.")
class NoTimeToLook(PlainStore):
    async def wait_for_position(self, position: int, /, *, timeout: float) -> bool:
        with anyio.move_on_after(timeout):
            while await self.head() < position:
                await checkpoint()
            return True
        return False


@breaks("ES-94", "An append between the look and the wait wakes nobody.")
class WakeUpIsLost(PlainStore):
    waiting: ClassVar[WeakKeyDictionary[Shelf, list[anyio.Event]]] = WeakKeyDictionary()

    async def make_visible(self, new: list[RecordedEvent]) -> None:
        await super().make_visible(new)
        for event in self.waiting.pop(self.shelf, []):
            event.set()

    async def wait_for_position(self, position: int, /, *, timeout: float) -> bool:
        if await self.head() >= position:
            return True
        await checkpoint()
        event = anyio.Event()
        self.waiting.setdefault(self.shelf, []).append(event)
        with anyio.move_on_after(timeout):
            await event.wait()
        return await self.head() >= position


@breaks("ES-94", "A wait without an end is an error of the driver.")
class TimeoutOverflows(PlainStore):
    async def wait_for_position(self, position: int, /, *, timeout: float) -> bool:
        seconds = int(timeout)
        return await super().wait_for_position(position, timeout=max(timeout, seconds))


@breaks("ES-95", "A page gets its events from the store when it is looked at.")
class PageIsLazy(PlainStore):
    async def read_all(self, *, after: int, limit: int) -> FeedPage:
        page = await super().read_all(after=after, limit=limit)
        return attrs.evolve(page, events=_Lazy(self, page.events))


class _Lazy(Sequence[RecordedEvent]):
    def __init__(self, store: PlainStreams, events: Sequence[RecordedEvent]) -> None:
        self._store = store
        self._events = events

    def __len__(self) -> int:
        return len(self._events)

    def __getitem__(self, at: Any) -> Any:
        self._store.check_open()
        return self._events[at]


@breaks("ES-95", "A close ends the waits of every instance.")
class ClosesTheWaitsOfOthers(PlainStore):
    closes: ClassVar[WeakKeyDictionary[Shelf, int]] = WeakKeyDictionary()

    async def aclose(self) -> None:
        self.closes[self.shelf] = self.closes.get(self.shelf, 0) + 1
        await super().aclose()

    async def wait_for_position(self, position: int, /, *, timeout: float) -> bool:
        closes = self.closes.get(self.shelf, 0)
        with anyio.move_on_after(timeout):
            while await self.head() < position:
                if self.closes.get(self.shelf, 0) > closes:
                    raise StoreClosedError(store="PlainStore")
                await checkpoint()
        return await self.head() >= position


@breaks("ES-46", "A closed store finds none of no ids.")
class FindsNothingWhenClosed(PlainStore):
    async def find_events(self, stream: StreamId, event_ids: Sequence[UUID], /) -> Sequence[RecordedEvent]:
        return await super().find_events(stream, event_ids) if event_ids else []


@breaks("ES-66", "A read of the feed that is under way at the close is an empty end.")
class ClosedFeedIsEmpty(PlainStore):
    async def read_all(self, *, after: int, limit: int) -> FeedPage:
        page = await super().read_all(after=after, limit=limit)
        return FeedPage((), after, is_end=True) if self.closed else page


@breaks("ES-65", "A cancelled read is answered with an empty page.")
class CancelledIsEmpty(PlainStore):
    async def read_stream_backwards(self, stream: StreamId, /, *, before: int | None = None, limit: int) -> StreamPage:
        try:
            return await super().read_stream_backwards(stream, before=before, limit=limit)
        except anyio.get_cancelled_exc_class():
            return StreamPage((), 0, is_end=True)


@breaks("ES-77", "A limit of 2**63 - 1 overflows when one more row is asked for.", patience=10.0)
class LimitOverflows(PlainStore):
    async def read_all(self, *, after: int, limit: int) -> FeedPage:
        (limit + 1).to_bytes(8, signed=True)
        return await super().read_all(after=after, limit=limit)


@breaks("ES-77", "A full page of the backend is never the end, backwards.", patience=10.0)
class FullPageGoesOn(PlainStore):
    async def read_stream_backwards(self, stream: StreamId, /, *, before: int | None = None, limit: int) -> StreamPage:
        page = await super().read_stream_backwards(stream, before=before, limit=limit)
        return attrs.evolve(page, is_end=len(page.events) < min(limit, 100) or (page.is_end and limit <= 100))


@breaks("ES-77", "A page of the feed that fills the backend's page is never the end.", patience=10.0)
class FullFeedPageGoesOn(PlainStore):
    async def read_all(self, *, after: int, limit: int) -> FeedPage:
        page = await super().read_all(after=after, limit=limit)
        return attrs.evolve(page, is_end=page.is_end and len(page.events) != 64)


@breaks("ES-27", "A read is consistent among the appends of its own instance alone: the version is read after the events.")
class TornByOtherInstances(PlainStore):
    def __init__(self, shelf: Shelf) -> None:
        super().__init__(shelf)
        self.turn = anyio.Semaphore(1)

    async def append(self, writes: Sequence[StreamWrite], /) -> AppendResult:
        async with self.turn:
            return await super().append(writes)

    async def read_stream(self, stream: StreamId, /, *, after: int = 0, limit: int) -> StreamPage:
        async with self.turn:
            page = await super().read_stream(stream, after=after, limit=limit)
            await checkpoint()
            return attrs.evolve(page, version=self.version(stream))


@breaks("ES-25", "Misuse of a missing stream is no misuse.")
class MissingComesFirst(PlainStore):
    async def read_stream(self, stream: StreamId, /, *, after: int = 0, limit: int) -> StreamPage:
        self.check_open()
        if not self.version(stream):
            return StreamPage((), 0, is_end=True)
        return await super().read_stream(stream, after=after, limit=limit)


@breaks("ES-51", "Names that agree in 2,700 bytes are one in the catalogue.")
class LongNamesAreCut(PlainStore):
    async def streams(self, prefix: str = "", /, *, after: StreamId | None = None, limit: int) -> StreamsPage:
        page = await super().streams(prefix, after=after, limit=limit)
        return attrs.evolve(page, heads=list({head.stream.text.encode()[:2_700]: head for head in page.heads}.values()))


def _of_four_mebibytes(events: Sequence[RecordedEvent]) -> Sequence[RecordedEvent]:
    size = 0
    for number, event in enumerate(events):
        size += event.size
        if number and size > 4 << 20:
            return events[:number]
    return events
