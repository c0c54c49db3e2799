"""Which ports ``in_threads`` gives, and where the limiter and the arguments go."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import anyio
import pytest

from inventory_es.adapters.threads import in_threads
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import (
    AppendResult,
    EventFeed,
    EventStore,
    FeedPage,
    GroupCommit,
    RecordedEvent,
    StoreCapabilities,
    StreamCatalogue,
    StreamPage,
    StreamsPage,
    StreamWrite,
)
from inventory_es.ports.errors import StoreClosedError

STREAM = StreamId("inventory", "a", "b")


class Streams:
    """Remembers how it was called."""

    capabilities = StoreCapabilities()

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def append(self, writes: Sequence[StreamWrite], /) -> AppendResult:
        self.calls.append(("append", writes))
        return AppendResult(1, {})

    def read_stream(self, stream: StreamId, /, *, after: int = 0, limit: int) -> StreamPage:
        self.calls.append(("read_stream", stream, after, limit))
        return StreamPage([], 0, is_end=True)

    def read_stream_backwards(self, stream: StreamId, /, *, before: int | None = None, limit: int) -> StreamPage:
        self.calls.append(("read_stream_backwards", stream, before, limit))
        return StreamPage([], 0, is_end=True)

    def find_events(self, stream: StreamId, event_ids: Sequence[UUID], /) -> Sequence[RecordedEvent]:
        self.calls.append(("find_events", stream, event_ids))
        return []

    def close(self) -> None:
        self.calls.append(("close",))


class Everything(Streams):
    at = 0

    def read_all(self, *, after: int, limit: int) -> FeedPage:
        self.calls.append(("read_all", after, limit))
        return FeedPage([], after, is_end=True)

    def head(self) -> int:
        self.at += 1
        return self.at

    def append_group(self, groups: Sequence[Sequence[StreamWrite]], /) -> Sequence[AppendResult | Exception]:
        self.calls.append(("append_group", groups))
        return []

    def streams(self, prefix: str = "", /, *, after: StreamId | None = None, limit: int) -> StreamsPage:
        self.calls.append(("streams", prefix, after, limit))
        return StreamsPage([], is_end=True)


def test_a_store_has_the_ports_whose_twins_it_was_given(backend: str) -> None:
    async def scenario() -> None:
        plain, full, other = in_threads(Streams()), in_threads(Everything()), in_threads(Everything())

        assert isinstance(plain, EventStore)
        assert not isinstance(plain, EventFeed | GroupCommit | StreamCatalogue)
        assert isinstance(full, EventStore)
        assert all(isinstance(full, port) for port in (EventFeed, GroupCommit, StreamCatalogue))
        assert type(full) is type(other)
        for store in (plain, full, other):
            await store.aclose()

    anyio.run(scenario, backend=backend)


def test_every_call_reaches_the_synchronous_store_as_it_was_made(backend: str) -> None:
    async def scenario() -> None:
        sync = Everything()
        store: Any = in_threads(sync, poll_interval=0.001)
        async with store:
            assert await store.append([]) == AppendResult(1, {})
            await store.append_group([[]])
            await store.read_stream(STREAM, after=2, limit=3)
            await store.read_stream_backwards(STREAM, before=4, limit=5)
            await store.find_events(STREAM, [])
            await store.read_all(after=6, limit=7)
            await store.streams("x", after=STREAM, limit=8)
            assert await store.wait_for_position(3, timeout=30)
        await store.aclose()

        assert sync.at == 3
        assert store.capabilities is sync.capabilities
        assert sync.calls == [
            ("append", []),
            ("append_group", [[]]),
            ("read_stream", STREAM, 2, 3),
            ("read_stream_backwards", STREAM, 4, 5),
            ("find_events", STREAM, []),
            ("read_all", 6, 7),
            ("streams", "x", STREAM, 8),
            ("close",),
        ]
        with pytest.raises(StoreClosedError, match="Everything"):
            await store.head()

    anyio.run(scenario, backend=backend)
