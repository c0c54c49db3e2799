"""What a type checker says about the ports: an adapter that fits is accepted, one that does not is refused where it is used.

Never run; ``test_types.py`` has mypy read it. An unused ``type: ignore`` is an error, so each of them is a test of its own.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import assert_type
from uuid import UUID

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import (
    AppendResult,
    Cache,
    CacheEntry,
    Clock,
    EventFeed,
    EventStore,
    GroupCommit,
    NewEvent,
    RecordedEvent,
    StoreCapabilities,
    StreamPage,
    StreamWrite,
)


class FittingStore:
    """All that a store needs, and nothing of ours to inherit."""

    capabilities = StoreCapabilities(durability="os")

    async def append(self, writes: Sequence[StreamWrite], /) -> AppendResult:
        return AppendResult(0, {write.stream: write.expected_version for write in writes})

    async def read_stream(self, stream: StreamId, /, *, after: int = 0, limit: int) -> StreamPage:
        return StreamPage((), 0, is_end=True)

    async def read_stream_backwards(self, stream: StreamId, /, *, before: int | None = None, limit: int) -> StreamPage:
        return StreamPage((), 0, is_end=True)

    async def find_events(self, stream: StreamId, event_ids: Sequence[UUID], /) -> Sequence[RecordedEvent]:
        return ()

    async def aclose(self) -> None:
        return None


class StoreWithoutFinding:
    """Lacks ``find_events``."""

    capabilities = StoreCapabilities()
    append = FittingStore.append
    read_stream = FittingStore.read_stream
    read_stream_backwards = FittingStore.read_stream_backwards
    aclose = FittingStore.aclose


class FixedClock:
    """A clock is one method."""

    def now(self) -> datetime:
        return datetime(2026, 1, 5, tzinfo=UTC)


class TextClock:
    """Time is no text."""

    def now(self) -> str:
        return "2026-01-05"


def accepts() -> None:
    store: EventStore = FittingStore()
    clock: Clock = FixedClock()
    assert_type(store.capabilities, StoreCapabilities)
    assert_type(clock.now(), datetime)


def refuses() -> None:
    store: EventStore = StoreWithoutFinding()  # type: ignore[assignment]
    clock: Clock = TextClock()  # type: ignore[assignment]
    StoreCapabilities(durability="forever")  # type: ignore[arg-type]
    StreamWrite(StreamId("inventory", "a", "b"), None, ())  # type: ignore[arg-type]
    assert_type(store.capabilities, StoreCapabilities)
    assert_type(clock.now(), datetime)


async def answers(store: EventStore, event: NewEvent, stream: StreamId) -> None:
    result = await store.append([StreamWrite(stream, 0, [event])])
    assert_type(result, AppendResult)
    assert_type(result.versions, Mapping[StreamId, int])
    page = await store.read_stream(stream, limit=10)
    assert_type(page.events, Sequence[RecordedEvent])
    assert_type(page.events[0].recorded_at, datetime)
    await store.append(writes=[])  # type: ignore[call-arg]
    await store.read_stream(stream)  # type: ignore[call-arg]
    result.position = 3  # type: ignore[misc]


async def finds_optional_protocols(store: EventStore) -> None:
    if isinstance(store, EventFeed):
        assert_type((await store.read_all(after=0, limit=10)).next_after, int)
    if isinstance(store, GroupCommit):
        assert_type(await store.append_group([]), Sequence[AppendResult | Exception])


async def caches(cache: Cache) -> None:
    assert_type(await cache.get("stock:85123A:berlin"), CacheEntry | None)
    await cache.set("stock:85123A:berlin", b"{}", version=3, ttl=timedelta(seconds=30))
    await cache.set("stock:85123A:berlin", b"{}")  # type: ignore[call-arg]
