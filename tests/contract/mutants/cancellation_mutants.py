"""Event stores that cancelled calls, or a close during a call, leave in disorder, and stores that are slow to end."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import anyio
from anyio.lowlevel import checkpoint

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import AppendResult, FeedPage, RecordedEvent, StreamPage, StreamsPage, StreamWrite
from tests.contract.mutants.mutant import breaks
from tests.contract.stores.plain_store import PlainStore, Shelf
from tests.contract.stores.turn_store import TurnStore


class _Pooled(PlainStore):
    """A store that takes a connection of a pool for each call of some kinds."""

    size = 20

    def __init__(self, shelf: Shelf) -> None:
        super().__init__(shelf)
        self.free = anyio.Semaphore(self.size)

    @asynccontextmanager
    async def connection(self) -> AsyncGenerator[None, None]:
        """Yield a connection, and return it unless the caller is cancelled."""
        await self.free.acquire()
        try:
            yield
        except Exception:
            self.free.release()
            raise
        else:
            self.free.release()


@breaks("ES-65", "A read that is cancelled keeps its connection.")
class ReadKeepsConnection(_Pooled):
    async def read_stream(self, stream: StreamId, /, *, after: int = 0, limit: int) -> StreamPage:
        async with self.connection():
            return await super().read_stream(stream, after=after, limit=limit)


@breaks("ES-65", "A read backwards that is cancelled keeps its connection.")
class BackwardsKeepsConnection(_Pooled):
    async def read_stream_backwards(self, stream: StreamId, /, *, before: int | None = None, limit: int) -> StreamPage:
        async with self.connection():
            return await super().read_stream_backwards(stream, before=before, limit=limit)


@breaks("ES-65", "A search that is cancelled keeps its connection.")
class FindKeepsConnection(_Pooled):
    async def find_events(self, stream: StreamId, event_ids: Sequence[UUID], /) -> Sequence[RecordedEvent]:
        async with self.connection():
            return await super().find_events(stream, event_ids)


@breaks("ES-65", "An append that is cancelled keeps its connection.")
class AppendKeepsConnection(_Pooled):
    async def append(self, writes: Sequence[StreamWrite], /) -> AppendResult:
        async with self.connection():
            return await super().append(writes)


@breaks("ES-65", "A group that is cancelled keeps its connection.")
class GroupKeepsConnection(_Pooled):
    async def append_group(self, groups: Sequence[Sequence[StreamWrite]], /) -> Sequence[AppendResult | Exception]:
        async with self.connection():
            return await super().append_group(groups)


@breaks("ES-65", "A page of the feed that is cancelled keeps its connection.")
class FeedKeepsConnection(_Pooled):
    async def read_all(self, *, after: int, limit: int) -> FeedPage:
        async with self.connection():
            return await super().read_all(after=after, limit=limit)


@breaks("ES-65", "A head that is cancelled keeps its connection.")
class HeadKeepsConnection(_Pooled):
    async def head(self) -> int:
        async with self.connection():
            return await super().head()


@breaks("ES-65", "A page of the catalogue that is cancelled keeps its connection.")
class CatalogueKeepsConnection(_Pooled):
    async def streams(self, prefix: str = "", /, *, after: StreamId | None = None, limit: int) -> StreamsPage:
        async with self.connection():
            return await super().streams(prefix, after=after, limit=limit)


@breaks("ES-65", "A wait that is cancelled keeps its connection, on which nobody listens any more.")
class WaitKeepsConnection(_Pooled):
    async def wait_for_position(self, position: int, /, *, timeout: float) -> bool:
        async with self.connection():
            return await super().wait_for_position(position, timeout=timeout)


@breaks("ES-65", "Counts the calls in flight, and forgets to count down where one is cancelled before it begins.")
class CountsTheCancelled(PlainStore):
    calls = 0

    async def head(self) -> int:
        if self.calls > 30:
            msg = "too many calls in flight"
            raise RuntimeError(msg)
        self.calls += 1
        await checkpoint()
        try:
            return await super().head()
        finally:
            self.calls -= 1


class _Pipelined(PlainStore):
    """A store whose answers come over one connection, in the order of the requests."""

    def __init__(self, shelf: Shelf) -> None:
        super().__init__(shelf)
        self.answers: list[Any] = []

    async def over_the_wire(self, answer: Any) -> Any:
        self.answers.append(answer)
        await checkpoint()
        return self.answers.pop(0)


@breaks("ES-65", "The page of a read that was cancelled is what the next one gets.")
class PageOfTheCancelled(_Pipelined):
    async def read_stream(self, stream: StreamId, /, *, after: int = 0, limit: int) -> StreamPage:
        page: StreamPage = await self.over_the_wire(await super().read_stream(stream, after=after, limit=limit))
        return page


@breaks("ES-65", "The events that a cancelled search found are what the next one finds.")
class FoundForTheCancelled(_Pipelined):
    async def find_events(self, stream: StreamId, event_ids: Sequence[UUID], /) -> Sequence[RecordedEvent]:
        found: Sequence[RecordedEvent] = await self.over_the_wire(await super().find_events(stream, event_ids))
        return found


@breaks("ES-65", "The answer of a cancelled append is what the next one gets.")
class ResultOfTheCancelled(_Pipelined):
    async def append(self, writes: Sequence[StreamWrite], /) -> AppendResult:
        result: AppendResult = await self.over_the_wire(await super().append(writes))
        return result


@breaks("ES-65", "The page of the feed of a cancelled call is what the next one gets.")
class FeedOfTheCancelled(_Pipelined):
    async def read_all(self, *, after: int, limit: int) -> FeedPage:
        page: FeedPage = await self.over_the_wire(await super().read_all(after=after, limit=limit))
        return page


@breaks("ES-65", "A read that is cancelled leaves its transaction open, in which the instance reads for ever.")
class ReadsInAnOldSnapshot(PlainStore):
    frozen: list[RecordedEvent] | None = None

    async def read_all(self, *, after: int, limit: int) -> FeedPage:
        if self.frozen is not None:
            events = [event for event in self.frozen if event.position > after]
            page = events[:limit]
            return FeedPage(page, page[-1].position if page else after, is_end=len(page) == len(events))
        self.frozen = list(self.shelf.feed)
        page_ = await super().read_all(after=after, limit=limit)
        self.frozen = None
        return page_


@breaks("ES-65", "A turn that is cancelled while it begins is never over.")
class TurnOfTheCancelled(TurnStore):
    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        lock: anyio.Lock = self.shelf.__dict__.setdefault("turns", anyio.Lock())
        await lock.acquire()
        await checkpoint()
        try:
            yield
        finally:
            lock.release()


@breaks("ES-65", "The caller behind one that is cancelled in the queue for the lock is never woken.")
class LosesTheWakeUp(PlainStore):
    def __init__(self, shelf: Shelf) -> None:
        super().__init__(shelf)
        self.queue: list[anyio.Event] = []
        self.busy = False

    async def find_events(self, stream: StreamId, event_ids: Sequence[UUID], /) -> Sequence[RecordedEvent]:
        if self.busy:
            turn = anyio.Event()
            self.queue.append(turn)
            await turn.wait()
        self.busy = True
        try:
            return await super().find_events(stream, event_ids)
        finally:
            self.busy = False
            if self.queue:
                self.busy = True
                self.queue.pop(0).set()


@breaks("ES-66", "A read that is closed under fails with whatever the driver says.")
class ReadFailsWhenClosedUnder(PlainStore):
    async def read_stream(self, stream: StreamId, /, *, after: int = 0, limit: int) -> StreamPage:
        page = await super().read_stream(stream, after=after, limit=limit)
        self.check_connection()
        return page

    def check_connection(self) -> None:
        if self.closed:
            msg = "connection was closed in the middle of operation"
            raise ConnectionError(msg)


@breaks("ES-66", "A search that is closed under finds nothing.")
class FindsNothingWhenClosedUnder(PlainStore):
    async def find_events(self, stream: StreamId, event_ids: Sequence[UUID], /) -> Sequence[RecordedEvent]:
        found = await super().find_events(stream, event_ids)
        return [] if self.closed else found


@breaks("ES-66", "A read that is closed under sees an empty stream.")
class ReadsNothingWhenClosedUnder(PlainStore):
    async def read_stream_backwards(self, stream: StreamId, /, *, before: int | None = None, limit: int) -> StreamPage:
        page = await super().read_stream_backwards(stream, before=before, limit=limit)
        return StreamPage([], 0, is_end=True) if self.closed else page


@breaks("ES-66", "A page of the feed that is closed under fails with an attribute of nothing.")
class FeedFailsWhenClosedUnder(PlainStore):
    async def read_all(self, *, after: int, limit: int) -> FeedPage:
        page: Any = await super().read_all(after=after, limit=limit)
        page = None if self.closed else page
        return FeedPage(page.events, page.next_after, is_end=page.is_end)


@breaks("ES-66", "A wait goes on after the store was closed.")
class WaitOutlivesTheStore(PlainStore):
    async def wait_for_position(self, position: int, /, *, timeout: float) -> bool:
        self.check_open()
        with anyio.move_on_after(timeout):
            while self.head_now() < position:
                await checkpoint()
        return self.head_now() >= position


@breaks("ES-66", "A wait that is closed under is cancelled with the error of its driver.")
class WaitFailsWhenClosed(PlainStore):
    async def wait_for_position(self, position: int, /, *, timeout: float) -> bool:
        self.check_open()
        with anyio.move_on_after(timeout):
            while self.head_now() < position:
                await checkpoint()
                if self.closed:
                    raise anyio.ClosedResourceError
        return self.head_now() >= position


@breaks("ES-66", "Closing waits for those who wait for a position.")
class CloseWaitsForWaiters(PlainStore):
    waiting = 0

    async def wait_for_position(self, position: int, /, *, timeout: float) -> bool:
        self.check_open()
        self.waiting += 1
        try:
            with anyio.move_on_after(timeout):
                while self.head_now() < position:
                    await checkpoint()
        finally:
            self.waiting -= 1
        return self.head_now() >= position

    async def aclose(self) -> None:
        await super().aclose()
        while self.waiting:
            await checkpoint()


@breaks("ES-66", "Two closes at once: the second finds its connection gone.")
class ClosesOnceAtOnce(PlainStore):
    connection: str | None = "open"
    is_closing = False

    async def aclose(self) -> None:
        if self.closed and self.connection is None and not self.is_closing:
            return
        if self.is_closing:
            msg = "already closing"
            raise RuntimeError(msg)
        self.is_closing = True
        await super().aclose()
        await checkpoint()
        self.connection, self.is_closing = None, False


@breaks("ES-66", "A close that is cancelled keeps the lock, for which the next one waits.")
class CancelledCloseKeepsTheLock(PlainStore):
    async def aclose(self) -> None:
        lock: anyio.Lock = self.__dict__.setdefault("closing", anyio.Lock())
        await self.__dict__.setdefault("turnstile", anyio.Semaphore(1)).acquire()
        async with lock:
            await super().aclose()
            await checkpoint()
        self.__dict__["turnstile"].release()


@breaks("ES-66", "Closing one instance closes the connections that all instances share.")
class ClosesThePoolOfAll(PlainStore):
    async def aclose(self) -> None:
        await super().aclose()
        self.shelf.__dict__["is_closed"] = True

    async def read_all(self, *, after: int, limit: int) -> FeedPage:
        if not self.closed and self.shelf.__dict__.get("is_closed"):
            msg = "pool is closed"
            raise RuntimeError(msg)
        return await super().read_all(after=after, limit=limit)


@breaks("ES-66", "A page of the catalogue that is closed under never ends.")
class CatalogueHangsWhenClosed(PlainStore):
    async def streams(self, prefix: str = "", /, *, after: StreamId | None = None, limit: int) -> StreamsPage:
        page = await super().streams(prefix, after=after, limit=limit)
        if self.closed:
            await anyio.sleep_forever()
        return page


@breaks("ES-67", "The end of the feed is a page without events that always goes one position further.")
class NeverAtTheEnd(PlainStore):
    async def read_all(self, *, after: int, limit: int) -> FeedPage:
        page = await super().read_all(after=after, limit=limit)
        return page if page.events else FeedPage([], after + 1, is_end=False)


@breaks("ES-67", "A cancelled append uses up positions, and the head counts them.")
class HeadCountsTheCancelled(PlainStore):
    burnt = 0

    async def make_visible(self, new: list[RecordedEvent]) -> None:
        try:
            await checkpoint()
        except BaseException:
            self.burnt = new[-1].position
            raise
        await super().make_visible(new)

    async def head(self) -> int:
        return max(self.burnt, await super().head())


@breaks("ES-67", "An answered append uses up positions once more, and the head counts them.")
class HeadCountsReplays(PlainStore):
    burnt = 0

    def find_replay(self, writes: Sequence[StreamWrite]) -> AppendResult | None:
        result = super().find_replay(writes)
        self.burnt += result is not None
        return result

    async def head(self) -> int:
        return self.burnt + await super().head()


@breaks("ES-67", "A wait without a timeout waits for ever.")
class ZeroIsForEver(PlainStore):
    async def wait_for_position(self, position: int, /, *, timeout: float) -> bool:
        return await super().wait_for_position(position, timeout=timeout or 1e6)


@breaks("ES-67", "A wait looks once, and then waits for a note of its own instance.")
class HearsItsOwnAppendsOnly(PlainStore):
    def __init__(self, shelf: Shelf) -> None:
        super().__init__(shelf)
        self.note = anyio.Event()

    async def make_visible(self, new: list[RecordedEvent]) -> None:
        await super().make_visible(new)
        self.note.set()
        self.note = anyio.Event()

    async def wait_for_position(self, position: int, /, *, timeout: float) -> bool:
        with anyio.move_on_after(timeout):
            while await self.head() < position:
                await self.note.wait()
        return await self.head() >= position


@breaks("ES-67", "Wakes one of those who wait for a position.")
class WakesOneWaiter(PlainStore):
    def __init__(self, shelf: Shelf) -> None:
        super().__init__(shelf)
        self.waiters: list[anyio.Event] = []

    async def make_visible(self, new: list[RecordedEvent]) -> None:
        await super().make_visible(new)
        if self.waiters:
            self.waiters.pop(0).set()

    async def wait_for_position(self, position: int, /, *, timeout: float) -> bool:
        if await self.head() >= position:
            return True
        waiter = anyio.Event()
        self.waiters.append(waiter)
        with anyio.move_on_after(timeout):
            await waiter.wait()
        return await self.head() >= position
