"""Event stores whose feed stops, hides events, or keeps its readers waiting."""

from collections.abc import Sequence
from itertools import pairwise
from typing import ClassVar
from uuid import UUID

import anyio
import attrs
from anyio.lowlevel import checkpoint

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import AppendResult, FeedPage, RecordedEvent, StreamWrite
from tests.contract.mutants.mutant import breaks
from tests.contract.stores.plain_store import PlainStore, Shelf


class _Sequence(PlainStore):
    """A correct store that takes positions from a sequence, which failed appends use up too."""

    used: ClassVar[dict[int, int]] = {}

    async def append_locked(self, writes: Sequence[StreamWrite]) -> AppendResult:
        self.used[id(self.shelf)] = max(self.used.get(id(self.shelf), 0), self.head_now()) + 1
        return await super().append_locked(writes)

    def position(self, behind: int) -> int:
        return max(self.used[id(self.shelf)], self.head_now() + 1) + behind


@breaks("ES-73", "Asks for a range of positions as long as the limit, and takes a gap for the end.")
class GapEndsTheFeed(_Sequence):
    async def read_all(self, *, after: int, limit: int) -> FeedPage:
        page = await super().read_all(after=after, limit=limit)
        events = [event for event in page.events if event.position <= after + limit]
        return FeedPage(events, events[-1].position if events else after, is_end=not events or events[-1].position >= self.head_now())


@breaks("ES-73", "Waits at a gap for an append that was refused, and shows nothing behind it.")
class WaitsAtAGap(_Sequence):
    async def read_all(self, *, after: int, limit: int) -> FeedPage:
        page = await super().read_all(after=after, limit=limit)
        events = list(page.events)
        places = [after, *(event.position for event in events)]
        gap = next((at for at, (one, other) in enumerate(pairwise(places)) if other - one > 3), len(events))
        return FeedPage(events[:gap], places[gap], is_end=page.is_end or gap < len(events))


@breaks("ES-73", "A cancelled append stays in flight for ever: the feed shows nothing behind it.")
class CancelledStaysInFlight(PlainStore):
    in_flight: ClassVar[dict[int, int]] = {}

    async def append_locked(self, writes: Sequence[StreamWrite]) -> AppendResult:
        try:
            return await super().append_locked(writes)
        except anyio.get_cancelled_exc_class():
            self.in_flight.setdefault(id(self.shelf), self.head_now())
            raise

    async def read_all(self, *, after: int, limit: int) -> FeedPage:
        page = await super().read_all(after=after, limit=limit)
        least = self.in_flight.get(id(self.shelf))
        if least is None or not page.events or page.events[-1].position <= least:
            return page
        events = [event for event in page.events if event.position <= least]
        return FeedPage(events, events[-1].position if events else after, is_end=True)


@breaks("ES-73", "A full page is never the end of the feed.")
class FullPageIsNotTheEnd(PlainStore):
    async def read_all(self, *, after: int, limit: int) -> FeedPage:
        page = await super().read_all(after=after, limit=limit)
        return attrs.evolve(page, is_end=page.is_end and len(page.events) < limit)


@breaks("ES-73", "Counts events where positions are meant: behind a gap, a place within the feed is another one.")
class CountsEvents(_Sequence):
    async def read_all(self, *, after: int, limit: int) -> FeedPage:
        places = [event.position for event in self.shelf.feed]
        at = places.index(after) + 1 if after in places else min(after, len(places))
        behind = self.shelf.feed[at - 1].position if at else 0
        return await super().read_all(after=behind, limit=limit)


@breaks("ES-73", "The head is the number of events.")
class HeadIsACount(_Sequence):
    async def head(self) -> int:
        self.check_open()
        await checkpoint()
        return len(self.shelf.feed)


@breaks("ES-73", "The head is the last position that was given out, also to an append that was refused.")
class HeadIsTheSequence(_Sequence):
    async def head(self) -> int:
        head = await super().head()
        return max(head, self.used.get(id(self.shelf), 0)) if head else 0


@breaks("ES-73", "Whoever has reached the end is sent to the place behind the next event.")
class SkipsAtTheEnd(PlainStore):
    async def read_all(self, *, after: int, limit: int) -> FeedPage:
        page = await super().read_all(after=after, limit=limit)
        return attrs.evolve(page, next_after=page.next_after + 1) if page.is_end and len(page.events) == limit == 1 else page


@breaks("ES-75", "An id that two streams hold stands in the feed once.")
class FeedHasAnIdOnce(PlainStore):
    async def read_all(self, *, after: int, limit: int) -> FeedPage:
        page = await super().read_all(after=after, limit=limit)
        first: dict[UUID, int] = {}
        for event in self.shelf.feed:
            first.setdefault(event.event_id, event.position)
        return attrs.evolve(page, events=[event for event in page.events if first[event.event_id] == event.position])


class _LeavesOut(PlainStore):
    def is_left_out(self, stream: StreamId) -> bool:
        raise NotImplementedError

    async def read_all(self, *, after: int, limit: int) -> FeedPage:
        page = await super().read_all(after=after, limit=limit)
        return attrs.evolve(page, events=[event for event in page.events if not self.is_left_out(event.stream)])


@breaks("ES-75", "The feed leaves out a category that has the name of a table of its own.")
class LeavesOutItsOwnNames(_LeavesOut):
    def is_left_out(self, stream: StreamId) -> bool:
        return stream.category == "streams"


@breaks("ES-75", "The feed leaves out streams whose name begins with a dot or a dollar sign, as names of the system.")
class LeavesOutSystemNames(_LeavesOut):
    def is_left_out(self, stream: StreamId) -> bool:
        return stream.parts[0][0] in "$."


@breaks("ES-75", "The feed leaves out streams whose name is longer than 1,024 bytes, as a key may be.")
class LeavesOutLongNames(_LeavesOut):
    def is_left_out(self, stream: StreamId) -> bool:
        return len(stream.text.encode()) > 1_024


class _RenamesInTheFeed(PlainStore):
    def renamed(self, stream: StreamId) -> StreamId:
        raise NotImplementedError

    async def read_all(self, *, after: int, limit: int) -> FeedPage:
        page = await super().read_all(after=after, limit=limit)
        return attrs.evolve(page, events=[attrs.evolve(event, stream=self.renamed(event.stream)) for event in page.events])


@breaks("ES-75", "The feed cuts the category of a stream at 32 characters.")
class CutsTheCategory(_RenamesInTheFeed):
    def renamed(self, stream: StreamId) -> StreamId:
        return StreamId(stream.category[:32], *stream.parts)


@breaks("ES-75", "The feed gives the same stream id to two names that differ by a blank at the end.")
class TrimsTheName(_RenamesInTheFeed):
    def renamed(self, stream: StreamId) -> StreamId:
        return StreamId(stream.category, *stream.parts[:-1], stream.parts[-1].rstrip(" ") or " ")


@breaks("ES-75", "The feed reads stream ids back through another code page: what is not in the first plane is lost.")
class LosesOtherPlanes(_RenamesInTheFeed):
    def renamed(self, stream: StreamId) -> StreamId:
        return StreamId(stream.category, *("".join(one if ord(one) < 0x10000 else "\ufffd" for one in part) for part in stream.parts))


@breaks("ES-74", "A wait has no end where nothing comes.")
class WaitsForEver(PlainStore):
    async def wait_for_position(self, position: int, /, *, timeout: float) -> bool:
        return await super().wait_for_position(position, timeout=float("inf"))


@breaks("ES-74", "A timeout of 0 is none.")
class ZeroIsNoTimeout(PlainStore):
    async def wait_for_position(self, position: int, /, *, timeout: float) -> bool:
        return await super().wait_for_position(position, timeout=timeout or float("inf"))


@breaks("ES-74", "Takes seconds for minutes.")
class WaitsForMinutes(PlainStore):
    async def wait_for_position(self, position: int, /, *, timeout: float) -> bool:
        return await super().wait_for_position(position, timeout=60 * timeout)


@breaks("ES-74", "Looks at the head before it waits and after it, and sleeps through what comes meanwhile.")
class SleepsThroughAppends(PlainStore):
    async def wait_for_position(self, position: int, /, *, timeout: float) -> bool:
        if await self.head() < position:
            await anyio.sleep(timeout)
        return await self.head() >= position


@breaks("ES-74", "Is woken by its own appends, and by those of no other instance.")
class HearsItselfAlone(PlainStore):
    def __init__(self, shelf: Shelf) -> None:
        super().__init__(shelf)
        self.heard = self.head_now()

    async def make_visible(self, new: list[RecordedEvent]) -> None:
        await super().make_visible(new)
        self.heard = self.head_now()

    async def wait_for_position(self, position: int, /, *, timeout: float) -> bool:
        with anyio.move_on_after(timeout):
            while self.heard < position:
                await checkpoint()
        return self.head_now() >= position


@breaks("ES-74", "Says how far the head is instead of whether the position was seen.")
class AnswersWithANumber(PlainStore):
    async def wait_for_position(self, position: int, /, *, timeout: float) -> bool:
        seen = await super().wait_for_position(position, timeout=timeout)
        return self.head_now() if seen else 0  # type: ignore[return-value]  # that is what is wrong with it
