"""A correct store behind a network that loses answers and holds requests back, and a server with a clock of its own.

The client waits for an answer until its deadline; the server refuses what reaches it too late. Mutants override one step each.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, ClassVar, NoReturn, TypeVar, cast
from uuid import UUID
from weakref import WeakKeyDictionary

import attrs
from anyio.lowlevel import checkpoint

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import AppendResult, EventStore, FeedPage, RecordedEvent, StreamPage, StreamsPage, StreamWrite
from inventory_es.ports.errors import AppendOutcomeUnknownError, ConcurrencyError, EventIdCollisionError, StoreUnavailableError
from inventory_es.testing import EventStoreContract, Site
from inventory_es.testing.contracts.event_store.harness import INTERFERENCES, Interference
from tests.contract.stores.plain_store import PlainStore, Shelf, shelf_of

T = TypeVar("T")
_GIVE_UP_AFTER = 4.0


@attrs.define(eq=False)
class Network:
    """The network between the clients of one site and their server.

    Attributes:
        next: the interference with the next append.
        now: the server's clock, in seconds.
        held: a request that is on its way.
    """

    next: Interference | None = None
    now: float = 0.0
    held: Callable[[], Awaitable[object]] | None = None

    def take(self) -> Interference | None:
        taken, self.next = self.next, None
        return taken

    async def let_arrive(self) -> None:
        held, self.held = self.held, None
        if held is not None:
            try:
                await held()
            except (ConcurrencyError, EventIdCollisionError, StoreUnavailableError):
                return  # nobody hears what the server says


class RemoteStore(PlainStore):
    """A store whose appends carry the time at which the server gives them up, one second before the client does."""

    capabilities = attrs.evolve(PlainStore.capabilities, settles_within=5.0)

    def __init__(self, shelf: Shelf, network: Network) -> None:
        super().__init__(shelf)
        self.network = network

    async def append(self, writes: Sequence[StreamWrite], /) -> AppendResult:
        self.check_open()
        writes = self.materialise(writes)
        self.check_misuse(writes)
        self.check_sizes(writes)
        request = self.request(writes)
        match self.network.take():
            case "lose the connection before the commit":
                await checkpoint()
                return self.lost(writes)
            case "lose the connection after the commit":
                return self.lost_after(await request())
            case "shut down after the commit":
                return self.shut_down_after(await request())
            case "warn that the replica was not waited for":
                return self.warned(await request())
            case "hold the next append back":
                self.network.held = request
                await checkpoint()
                return self.no_answer(writes)
            case _:
                return await request()

    async def read(self, answer: Callable[[], Awaitable[T]]) -> T:
        """Ask the server."""
        if self.network.next == "lose the connection in the next read":
            self.network.take()
            await checkpoint()
            return cast(T, self.lost_read())
        return await answer()

    def lost_read(self) -> Any:
        raise StoreUnavailableError(store="RemoteStore", reason="the connection broke")

    async def read_stream(self, stream: StreamId, /, *, after: int = 0, limit: int) -> StreamPage:
        return await self.read(partial(super().read_stream, stream, after=after, limit=limit))

    async def read_stream_backwards(self, stream: StreamId, /, *, before: int | None = None, limit: int) -> StreamPage:
        return await self.read(partial(super().read_stream_backwards, stream, before=before, limit=limit))

    async def find_events(self, stream: StreamId, event_ids: Sequence[UUID], /) -> Sequence[RecordedEvent]:
        return await self.read(partial(super().find_events, stream, event_ids))

    async def read_all(self, *, after: int, limit: int) -> FeedPage:
        return await self.read(partial(super().read_all, after=after, limit=limit))

    async def head(self) -> int:
        return await self.read(super().head)

    async def streams(self, prefix: str = "", /, *, after: StreamId | None = None, limit: int) -> StreamsPage:
        return await self.read(partial(super().streams, prefix, after=after, limit=limit))

    def request(self, writes: Sequence[StreamWrite]) -> Callable[[], Awaitable[AppendResult]]:
        """Return the request to the server."""
        return partial(self.arrive, writes, give_up_at=self.network.now + _GIVE_UP_AFTER)

    async def arrive(self, writes: Sequence[StreamWrite], *, give_up_at: float) -> AppendResult:
        """Handle a request on the server."""
        await self.shelf.lock.acquire()
        try:
            if self.network.now > give_up_at:
                raise StoreUnavailableError(store="RemoteStore", reason="it came too late")
            await checkpoint()
            return await self.append_locked(writes)
        finally:
            self.shelf.lock.release()

    def lost(self, writes: Sequence[StreamWrite]) -> AppendResult:
        self.unknown("the connection broke")

    def lost_after(self, result: AppendResult) -> AppendResult:
        self.unknown("the connection broke")

    def shut_down_after(self, result: AppendResult) -> AppendResult:
        self.unknown("the server said goodbye")

    def warned(self, result: AppendResult) -> AppendResult:
        self.unknown("the commit is local")

    def no_answer(self, writes: Sequence[StreamWrite]) -> AppendResult:
        self.unknown("no answer in time")

    def unknown(self, reason: str) -> NoReturn:
        raise AppendOutcomeUnknownError(store="RemoteStore", reason=reason)


class LookingStore(RemoteStore):
    """A store that connects again after a lost answer, and looks its events up before it answers. It knows when nothing was sent."""

    def lost(self, writes: Sequence[StreamWrite]) -> AppendResult:
        raise StoreUnavailableError(store="RemoteStore", reason="the connection broke before the request was sent")

    def lost_after(self, result: AppendResult) -> AppendResult:
        return attrs.evolve(result, replayed=True)

    async def read(self, answer: Callable[[], Awaitable[T]]) -> T:
        self.network.next = None if self.network.next == "lose the connection in the next read" else self.network.next
        return await answer()


class RemoteStores(EventStoreContract):
    adapter: type[RemoteStore] = RemoteStore
    networks: ClassVar[WeakKeyDictionary[Site, Network]] = WeakKeyDictionary()

    @asynccontextmanager
    async def open_store(self, site: Site) -> AsyncIterator[EventStore]:
        with shelf_of(site.name) as shelf:
            yield self.adapter(shelf, self.networks.setdefault(site, Network()))

    def spawn(self, *_: object) -> None:
        """Return nothing, because the data lives in this process."""

    async def interfere(self, site: Site, what: Interference, /) -> bool:
        network = self.networks[site]
        match what:
            case "let the held append arrive":
                await network.let_arrive()
            case "let settles_within pass":
                network.now += 5.0
            case _:
                network.next = what
        return what in INTERFERENCES
