"""Event stores that read wrongly, or show a wrong feed."""

import re
import unicodedata
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import accumulate
from uuid import UUID

import attrs
from anyio.lowlevel import checkpoint

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import AppendResult, EventStore, FeedPage, NewEvent, RecordedEvent, StreamPage, StreamWrite
from inventory_es.ports.errors import ConcurrencyError
from inventory_es.testing import Site
from tests.contract.mutants.mutant import StoreMutants, breaks
from tests.contract.stores.plain_store import PlainStore, PlainStreams, Shelf


@breaks("ES-22", "Reading a missing stream creates it.")
class ReadingCreates(PlainStore):
    def __init__(self, shelf: Shelf) -> None:
        super().__init__(shelf)
        self.touched: set[StreamId] = set()

    async def read_stream(self, stream: StreamId, /, *, after: int = 0, limit: int) -> StreamPage:
        if limit > 1:
            self.touched.add(stream)
        return await super().read_stream(stream, after=after, limit=limit)

    def check_version(self, write: StreamWrite) -> None:
        if write.stream in self.touched and not self.version(write.stream):
            raise ConcurrencyError(stream=write.stream, expected=write.expected_version, actual=1)
        super().check_version(write)


@breaks("ES-23", "Reads one event more than the limit.")
class OneMoreThanTheLimit(PlainStore):
    async def read_stream(self, stream: StreamId, /, *, after: int = 0, limit: int) -> StreamPage:
        self.check_page(limit=limit, after=after)
        return await super().read_stream(stream, after=after, limit=limit + 1)


@breaks("ES-23", "Says that the end is reached whenever a page is not full.")
class EndsWhenNotFull(PlainStore):
    async def read_stream(self, stream: StreamId, /, *, after: int = 0, limit: int) -> StreamPage:
        page = await super().read_stream(stream, after=after, limit=limit)
        return attrs.evolve(page, is_end=len(page.events) < limit)


@breaks("ES-24", "Reading backwards includes the version that it should begin before.")
class BackwardsOffByOne(PlainStore):
    async def read_stream_backwards(self, stream: StreamId, /, *, before: int | None = None, limit: int) -> StreamPage:
        self.check_page(limit=limit, before=before)
        return await super().read_stream_backwards(stream, before=None if before is None else before + 1, limit=limit)


@breaks("ES-25", "A limit of 0 means no limit.")
class ZeroMeansAll(PlainStore):
    def check_page(self, *, limit: int, after: int = 0, before: int | None = None) -> None:
        if limit:
            super().check_page(limit=limit, after=after, before=before)


@breaks("ES-26", "A page is cut at seven events, and says that it is the last.")
class CutPageSaysEnd(PlainStore):
    async def read_stream(self, stream: StreamId, /, *, after: int = 0, limit: int) -> StreamPage:
        page = await super().read_stream(stream, after=after, limit=limit)
        return attrs.evolve(page, events=page.events[:7])


@breaks("ES-27", "Reads the version, lets others write, and then reads the events.")
class TornRead(PlainStore):
    async def read_stream(self, stream: StreamId, /, *, after: int = 0, limit: int) -> StreamPage:
        version = self.version(stream)
        await checkpoint()
        await checkpoint()
        page = await super().read_stream(stream, after=after, limit=limit)
        return attrs.evolve(page, version=version)


class _Reprints(PlainStore):
    def reprint(self, data: bytes) -> bytes:
        raise NotImplementedError

    def record(self, stream: StreamId, version: int, position: int, event: NewEvent) -> RecordedEvent:
        return super().record(stream, version, position, attrs.evolve(event, data=self.reprint(event.data)))

    def same(self, stored: RecordedEvent, event: NewEvent, stream: StreamId) -> bool:
        return super().same(stored, attrs.evolve(event, data=self.reprint(event.data)), stream)


@breaks("ES-28", "Whole numbers go through floats.")
class IntsThroughFloats(_Reprints):
    def reprint(self, data: bytes) -> bytes:
        return re.sub(rb"(?<=[:\[,])-?\d+(?=[],}])", lambda match: repr(float(match[0])).encode(), data)


@breaks("ES-28", "Lines are split by splitlines(), which splits at more than line breaks.")
class SplitsLines(_Reprints):
    def reprint(self, data: bytes) -> bytes:
        return "".join(data.decode().splitlines()).encode()


@breaks("ES-28", "Text is brought into Unicode normal form.")
class NormalisesText(_Reprints):
    def reprint(self, data: bytes) -> bytes:
        return unicodedata.normalize("NFC", data.decode()).encode()


@breaks("ES-28", "NUL ends a text.")
class EndsAtNul(_Reprints):
    def reprint(self, data: bytes) -> bytes:
        return data.replace(rb"\u0000", b"")


@breaks("ES-29", "Refuses events that are smaller than the maximum that it declares.")
class RefusesLargeEvents(PlainStore):
    def check_size(self, name: str, actual: int, limit: int) -> None:
        super().check_size(name, actual, min(limit, 65_536) if name == "event bytes" else limit)


@breaks("ES-30", "Stream ids are folded to lower case, as some file systems do.")
class FoldsCase(PlainStore):
    def is_of(self, event: RecordedEvent, stream: StreamId) -> bool:
        return str(event.stream).lower() == str(stream).lower()


@breaks("ES-30", "Stream ids are brought into Unicode normal form, as some file systems do.")
class NormalisesIds(PlainStore):
    def is_of(self, event: RecordedEvent, stream: StreamId) -> bool:
        return unicodedata.normalize("NFC", str(event.stream)) == unicodedata.normalize("NFC", str(stream))


@breaks("ES-30", "Stream ids are cut at 120 characters.")
class CutsLongIds(PlainStore):
    def is_of(self, event: RecordedEvent, stream: StreamId) -> bool:
        return str(event.stream)[:120] == str(stream)[:120]


@breaks("ES-30", "The parts of a stream id are joined by dashes, unescaped.")
class JoinsWithDashes(PlainStore):
    def is_of(self, event: RecordedEvent, stream: StreamId) -> bool:
        return "-".join((event.stream.category, *event.stream.parts)) == "-".join((stream.category, *stream.parts))


@breaks("ES-31", "Finds the events of a stream by the beginning of its name.")
class FindsByPrefix(PlainStore):
    def is_of(self, event: RecordedEvent, stream: StreamId) -> bool:
        return str(event.stream).startswith(str(stream))


@breaks("ES-32", "find_events looks into every stream.")
class FindsElsewhere(PlainStore):
    async def find_events(self, stream: StreamId, event_ids: Sequence[UUID], /) -> Sequence[RecordedEvent]:
        await checkpoint()
        self.check_open()
        return [event for event in self.shelf.feed if event.event_id in event_ids]


@breaks("ES-32", "find_events gives events in the order of the question.")
class FindsInTheOrderAsked(PlainStore):
    async def find_events(self, stream: StreamId, event_ids: Sequence[UUID], /) -> Sequence[RecordedEvent]:
        found = {event.event_id: event for event in await super().find_events(stream, event_ids)}
        return [found[event_id] for event_id in event_ids if event_id in found]


@breaks("ES-33", "The feed repeats the event that it should begin after.")
class FeedRepeats(PlainStore):
    async def read_all(self, *, after: int, limit: int) -> FeedPage:
        self.check_page(limit=limit, after=after)
        return await super().read_all(after=max(0, after - 1), limit=limit)


@breaks("ES-33", "The feed drops the first event of every page but the first.")
class FeedDrops(PlainStore):
    async def read_all(self, *, after: int, limit: int) -> FeedPage:
        page = await super().read_all(after=after, limit=limit)
        return page if not after else attrs.evolve(page, events=page.events[1:])


@breaks("ES-33", "The feed takes a limit of 0 for no limit.")
class FeedTakesZero(PlainStore):
    async def read_all(self, *, after: int, limit: int) -> FeedPage:
        return await super().read_all(after=after, limit=limit or 1_000)


@breaks("ES-33", "Declares a feed that it does not have.")
class DeclaresAFeed(PlainStreams):
    capabilities = attrs.evolve(PlainStreams.capabilities, feed="total")


@breaks("ES-34", "Hands out positions before the commit, so a later one can show first.")
class PositionBeforeCommit(PlainStore):
    handed_out = 0

    async def append(self, writes: Sequence[StreamWrite], /) -> AppendResult:
        self.check_open()
        writes = self.materialise(writes)
        self.check_versions(writes)
        new = self.prepare(writes)
        for _ in range(len(str(writes[0].stream)) + writes[0].stream.parts[0].__hash__() % 3):
            await checkpoint()
        self.shelf.feed = sorted([*self.shelf.feed, *new], key=lambda event: event.position)
        return AppendResult(new[-1].position, {write.stream: self.version(write.stream) for write in writes})

    def position(self, behind: int) -> int:
        if not behind:
            self.handed_out += 10
        return self.handed_out + behind


@breaks("ES-35", "The feed orders by the time of the event, not by the stream.")
class FeedByTime(PlainStore):
    async def make_visible(self, new: list[RecordedEvent]) -> None:
        turned = [attrs.evolve(event, position=other.position) for event, other in zip(new, reversed(new), strict=True)]
        self.shelf.feed += turned

    def of(self, stream: StreamId) -> list[RecordedEvent]:
        return sorted(super().of(stream), key=lambda event: event.version)

    async def read_all(self, *, after: int, limit: int) -> FeedPage:
        self.shelf.feed.sort(key=lambda event: event.position)
        return await super().read_all(after=after, limit=limit)


@breaks("ES-36", "Numbers positions anew when it is opened again.")
class RenumbersOnReopen(PlainStore):
    def __init__(self, shelf: Shelf) -> None:
        super().__init__(shelf)
        shelf.feed = [attrs.evolve(event, position=10 * number) for number, event in enumerate(shelf.feed, 1)]


_BYTES_AN_EVENT = 4_096


def _within_budget(events: Sequence[RecordedEvent], limit: int) -> list[RecordedEvent]:
    """Return as many events as fit into a page; the first one may be larger than the page."""
    room = limit * _BYTES_AN_EVENT
    return [event for event, size in zip(events, accumulate(event.size for event in events), strict=True) if size <= room]


@breaks("ES-56", "An event that is larger than a page has room for never comes: its page is empty, and not the end.")
class PagesByBytes(PlainStore):
    async def read_stream(self, stream: StreamId, /, *, after: int = 0, limit: int) -> StreamPage:
        page = await super().read_stream(stream, after=after, limit=limit)
        events = _within_budget(page.events, limit)
        return attrs.evolve(page, events=events, is_end=after + len(events) >= page.version)


@breaks("ES-56", "Backwards, a page with a large event begins again at the end.")
class PagesBackwardsBeginAgain(PlainStore):
    async def read_stream_backwards(self, stream: StreamId, /, *, before: int | None = None, limit: int) -> StreamPage:
        page = await super().read_stream_backwards(stream, before=before, limit=limit)
        if len(_within_budget(page.events, limit)) == len(page.events):
            return page
        newest = await super().read_stream_backwards(stream, limit=limit)
        return attrs.evolve(newest, is_end=False)


@breaks("ES-56", "The feed stands still before an event that is larger than a page has room for.")
class FeedByBytes(PlainStore):
    async def read_all(self, *, after: int, limit: int) -> FeedPage:
        page = await super().read_all(after=after, limit=limit)
        events = _within_budget(page.events, limit)
        if len(events) == len(page.events):
            return page
        return FeedPage(events, events[-1].position if events else after, is_end=False)


class OneSiteForAll(StoreMutants):
    @asynccontextmanager
    async def open_store(self, site: Site) -> AsyncIterator[EventStore]:
        async with super().open_store(attrs.evolve(site, name="the only one")) as store:
            yield store


@breaks("ES-01", "Keeps all sites in one place.", contract=OneSiteForAll)
class MixesSites(PlainStore): ...
