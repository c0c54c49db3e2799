"""A guarded event store."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Protocol, cast
from uuid import UUID

from inventory_es.application.guards.guard import Guard, GuardChain, GuardedPort
from inventory_es.application.guards.snapshot_store import GuardedSnapshots
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import (
    AppendResult,
    EventFeed,
    EventStore,
    FeedPage,
    GroupCommit,
    RecordedEvent,
    SnapshotStore,
    StoreCapabilities,
    StreamCatalogue,
    StreamPage,
    StreamsPage,
    StreamWrite,
    TurnTaking,
    VersionGlance,
)
from inventory_es.ports.errors import StoreUnavailableError


def guarded_event_store(store: EventStore, guards: Sequence[Guard]) -> EventStore:
    """The store with its calls guarded. It implements the optional protocols that the store implements.

    Sending an append again is safe: the ids of its events make it idempotent. ``wait_for_position`` is a hint that waits on purpose,
    and says nothing about the store; ``glance_version`` does not wait at all; a turn is a courtesy. They pass by the guards, as closing
    does.
    """
    name = type(store).__name__
    port = GuardedPort(name, lambda reason, after: StoreUnavailableError(store=name, reason=reason, retry_after=after))
    optional = (
        (EventFeed, _GuardedFeed),
        (GroupCommit, _GuardedGroupCommit),
        (StreamCatalogue, _GuardedCatalogue),
        (SnapshotStore, GuardedSnapshots),
        (VersionGlance, _GuardedGlance),
        (TurnTaking, _GuardedTurns),
    )
    bases = [mixin for protocol, mixin in optional if isinstance(store, protocol)]
    kind = type("GuardedEventStore", (*bases, _GuardedEventStore), {})
    return cast("EventStore", kind(store, GuardChain(port, guards)))


class _GuardedEventStore:
    def __init__(self, store: EventStore, chain: GuardChain) -> None:
        self.store = store
        self.chain = chain

    @property
    def capabilities(self) -> StoreCapabilities:
        return self.store.capabilities

    async def append(self, writes: Sequence[StreamWrite], /) -> AppendResult:
        return await self.chain.run("append", partial(self.store.append, writes))

    async def read_stream(self, stream: StreamId, /, *, after: int = 0, limit: int) -> StreamPage:
        return await self.chain.run("read_stream", partial(self.store.read_stream, stream, after=after, limit=limit))

    async def read_stream_backwards(self, stream: StreamId, /, *, before: int | None = None, limit: int) -> StreamPage:
        call = partial(self.store.read_stream_backwards, stream, before=before, limit=limit)
        return await self.chain.run("read_stream_backwards", call)

    async def find_events(self, stream: StreamId, event_ids: Sequence[UUID], /) -> Sequence[RecordedEvent]:
        return await self.chain.run("find_events", partial(self.store.find_events, stream, event_ids))

    async def aclose(self) -> None:
        await self.store.aclose()


class _OverFeed(Protocol):
    store: EventFeed
    chain: GuardChain


class _OverGroupCommit(Protocol):
    store: GroupCommit
    chain: GuardChain


class _OverCatalogue(Protocol):
    store: StreamCatalogue
    chain: GuardChain


class _OverGlance(Protocol):
    store: VersionGlance


class _OverTurns(Protocol):
    store: TurnTaking


class _GuardedFeed:
    async def read_all(self: _OverFeed, *, after: int, limit: int) -> FeedPage:
        return await self.chain.run("read_all", partial(self.store.read_all, after=after, limit=limit))

    async def head(self: _OverFeed) -> int:
        return await self.chain.run("head", self.store.head)

    async def wait_for_position(self: _OverFeed, position: int, /, *, timeout: float) -> bool:
        return await self.store.wait_for_position(position, timeout=timeout)


class _GuardedGroupCommit:
    async def append_group(self: _OverGroupCommit, groups: Sequence[Sequence[StreamWrite]], /) -> Sequence[AppendResult | Exception]:
        return await self.chain.run("append_group", partial(self.store.append_group, groups))


class _GuardedCatalogue:
    async def streams(self: _OverCatalogue, prefix: str = "", /, *, after: StreamId | None = None, limit: int) -> StreamsPage:
        return await self.chain.run("streams", partial(self.store.streams, prefix, after=after, limit=limit))


class _GuardedGlance:
    def glance_version(self: _OverGlance, stream: StreamId, /) -> int | None:
        return self.store.glance_version(stream)


class _GuardedTurns:
    def turn(self: _OverTurns) -> AbstractAsyncContextManager[None]:
        return self.store.turn()
