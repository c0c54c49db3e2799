"""Correct stores that are built differently keep every promise without a known failure: the kit rejects nothing good.

The memory store, the file store, and a synchronous store over SQLite behind ``in_threads`` have files of their own.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from weakref import WeakKeyDictionary

import attrs
from anyio.lowlevel import checkpoint

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import EventStore, FeedPage, StreamPage, StreamsPage, StreamWrite
from inventory_es.ports.errors import ConcurrencyError
from inventory_es.testing import EventStoreContract, Site
from tests.contract.stores.plain_store import PlainStore, PlainStreams, Shelf, WindowStore, shelf_of
from tests.contract.stores.turn_store import LoneTurnStore, StreamTurnStore, TurnStore


class TestPlainStore(EventStoreContract):
    seeds: Sequence[int] | None = (0,)  # the plain schedule: the others are run over the adapters as they ship

    @asynccontextmanager
    async def open_store(self, site: Site) -> AsyncIterator[EventStore]:
        with shelf_of(site.name) as shelf:
            yield PlainStore(shelf)

    def spawn(self, *_: object) -> None:
        """Return nothing, because the data lives in this process."""


class TestStoreWithoutFeed(TestPlainStore):
    backends: Sequence[str] = ("asyncio",)  # a variation: what it varies is the same on every event loop

    @asynccontextmanager
    async def open_store(self, site: Site) -> AsyncIterator[EventStore]:
        with shelf_of(site.name) as shelf:
            yield PlainStreams(shelf)


class TestStoreWithWindowOfIds(TestPlainStore):
    backends: Sequence[str] = ("trio",)  # a variation: what it varies is the same on every event loop

    @asynccontextmanager
    async def open_store(self, site: Site) -> AsyncIterator[EventStore]:
        with shelf_of(site.name) as shelf:
            yield WindowStore(shelf)


class TestStoreWithTurns(TestPlainStore):
    backends: Sequence[str] = ("asyncio",)  # a variation: what it varies is the same on every event loop

    @asynccontextmanager
    async def open_store(self, site: Site) -> AsyncIterator[EventStore]:
        with shelf_of(site.name) as shelf:
            yield TurnStore(shelf)


class TestStoreWithTurnsByStream(TestPlainStore):
    @asynccontextmanager
    async def open_store(self, site: Site) -> AsyncIterator[EventStore]:
        with shelf_of(site.name) as shelf:
            yield StreamTurnStore(shelf)


class TestLoneStoreWithTurns(TestPlainStore):
    backends: Sequence[str] = ("trio",)  # a variation: what it varies is the same on every event loop

    @asynccontextmanager
    async def open_store(self, site: Site) -> AsyncIterator[EventStore]:
        with shelf_of(site.name) as shelf:
            yield LoneTurnStore(shelf)


class SmallAppends(PlainStore):
    """A store that takes five events per append, and 16 KiB."""

    capabilities = attrs.evolve(PlainStore.capabilities, max_append_events=5, max_append_bytes=16 << 10)


class OneAtATime(PlainStore):
    """A store that takes one event per append, as without transactions."""

    capabilities = attrs.evolve(PlainStore.capabilities, max_append_events=1, multi_stream=False)


class SmallBytes(PlainStore):
    """A store that takes 16 KiB per append, in any number of events."""

    capabilities = attrs.evolve(PlainStore.capabilities, max_append_bytes=16 << 10)

    def check_sizes(self, writes: Sequence[StreamWrite]) -> None:
        """Check the bytes first."""
        events = [event for write in writes for event in write.events]
        self.check_size("bytes", sum(event.size for event in events), self.capabilities.max_append_bytes)
        super().check_sizes(writes)


class SmallEvents(PlainStore):
    """A store that takes events of 256 bytes."""

    capabilities = attrs.evolve(PlainStore.capabilities, max_event_bytes=256)


class SparsePositions(PlainStore):
    """A store with gaps between positions, wider after a refused append, as of a database sequence."""

    def position(self, behind: int) -> int:
        return (self.head_now() // 1_000 + 1) * 1_000 + 7 * (behind + len(_refusals(self)))

    def check_version(self, write: StreamWrite) -> None:
        try:
            super().check_version(write)
        except ConcurrencyError:
            _refusals(self).append(1)
            raise


class ShortPages(PlainStore):
    """A store with pages shorter than their limit: one or two events, or one stream."""

    async def read_stream(self, stream: StreamId, /, *, after: int = 0, limit: int) -> StreamPage:
        self.check_page(limit=limit, after=after)
        return await super().read_stream(stream, after=after, limit=min(limit, 1 + after % 2))

    async def read_stream_backwards(self, stream: StreamId, /, *, before: int | None = None, limit: int) -> StreamPage:
        self.check_page(limit=limit, before=before)
        return await super().read_stream_backwards(stream, before=before, limit=min(limit, 2))

    async def read_all(self, *, after: int, limit: int) -> FeedPage:
        self.check_page(limit=limit, after=after)
        return await super().read_all(after=after, limit=min(limit, 1 + after % 2))

    async def streams(self, prefix: str = "", /, *, after: StreamId | None = None, limit: int) -> StreamsPage:
        self.check_page(limit=limit)
        return await super().streams(prefix, after=after, limit=min(limit, 20))


class EagerlyFalse(PlainStore):
    """A store that wakes its waiters at any event, and answers by the state at that time."""

    async def wait_for_position(self, position: int, /, *, timeout: float) -> bool:
        await checkpoint()
        return await self.head() >= position


class EagerlyTrue(PlainStore):
    """A store that wakes its waiters at any event, and lets them look."""

    async def wait_for_position(self, position: int, /, *, timeout: float) -> bool:
        self.check_open()
        await checkpoint()
        return True


class LeastStore(WindowStore):
    """A store without optional protocols, which forgets ids, and survives nothing."""

    capabilities = attrs.evolve(WindowStore.capabilities, durability="none", multi_process=False)


class TestSmallAppends(TestPlainStore):
    backends: Sequence[str] = ("asyncio",)  # what is tried here is the same on every event loop
    adapter: type[PlainStreams] = SmallAppends

    @asynccontextmanager
    async def open_store(self, site: Site) -> AsyncIterator[EventStore]:
        with shelf_of(site.name) as shelf:
            yield self.adapter(shelf)


class TestOneAtATime(TestSmallAppends):
    adapter: type[PlainStreams] = OneAtATime


class TestSmallBytes(TestSmallAppends):
    adapter: type[PlainStreams] = SmallBytes


class TestSmallEvents(TestSmallAppends):
    adapter: type[PlainStreams] = SmallEvents


class TestSparsePositions(TestSmallAppends):
    adapter: type[PlainStreams] = SparsePositions


class TestShortPages(TestSmallAppends):
    adapter: type[PlainStreams] = ShortPages


class TestEagerlyFalse(TestSmallAppends):
    adapter: type[PlainStreams] = EagerlyFalse


class TestEagerlyTrue(TestSmallAppends):
    adapter: type[PlainStreams] = EagerlyTrue


class TestLeastStore(TestSmallAppends):
    adapter: type[PlainStreams] = LeastStore


def _refusals(store: PlainStreams) -> list[int]:
    return _REFUSALS.setdefault(store.shelf, [])


_REFUSALS: WeakKeyDictionary[Shelf, list[int]] = WeakKeyDictionary()
