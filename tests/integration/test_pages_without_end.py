"""A store whose pages never end, in every place that reads pages: an error that names the place, never a loop, and closing returns."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Any

import anyio
import attrs
import pytest

from inventory_es import HandlerSettings, InventoryId, StreamId, open_inventory
from inventory_es.adapters.memory import MemoryEventStore, MemoryReadModel
from inventory_es.application.commands.states import StreamReader
from inventory_es.application.commands.stream_heads import stream_heads
from inventory_es.application.following.subscription import Subscription
from inventory_es.application.processes.orders import OrderHandler
from inventory_es.application.projections import stock_levels
from inventory_es.application.queries.history import HistoryPages
from inventory_es.application.queries.stock_queries import open_queries
from inventory_es.application.service import InventoryService
from inventory_es.application.store_copy import copy_store
from inventory_es.cli.replay.audit import _StreamFold
from inventory_es.cli.watching import Watching
from inventory_es.ports import FeedPage, ProjectionId, Row, RowsPage, StreamPage, StreamsPage
from inventory_es.ports.errors import CorruptStoreError
from inventory_es.ports.read_model import Value
from inventory_es.sync import open_inventory as open_sync_inventory
from inventory_es.testing import ManualClock
from tests.integration.read_side import CODEC, runner

TEA = InventoryId("tea", "berlin")
_ENOUGH = 50


class EndlessStore(MemoryEventStore):
    """Says of every stream one version more than it has, and of no page of the feed or of the catalogue that it is the last."""

    is_endless = False
    reads = 0

    def _count(self) -> None:
        self.reads += 1
        assert self.reads < _ENOUGH, "pages are read without end"

    async def read_stream(self, stream: StreamId, /, *, after: int = 0, limit: int) -> StreamPage:
        self._count()
        page = await super().read_stream(stream, after=after, limit=limit)
        return attrs.evolve(page, version=page.version + 1, is_end=False) if self.is_endless else page

    async def read_stream_backwards(self, stream: StreamId, /, *, before: int | None = None, limit: int) -> StreamPage:
        self._count()
        page = await super().read_stream_backwards(stream, before=before, limit=limit)
        return attrs.evolve(page, version=page.version + 1, is_end=False) if self.is_endless else page

    async def read_all(self, *, after: int, limit: int) -> FeedPage:
        self._count()
        page = await super().read_all(after=after, limit=limit)
        return attrs.evolve(page, is_end=False) if self.is_endless else page

    async def streams(self, prefix: str = "", /, *, after: StreamId | None = None, limit: int) -> StreamsPage:
        self._count()
        page = await super().streams(prefix, after=after, limit=limit)
        return attrs.evolve(page, is_end=False) if self.is_endless else page

    def glance_version(self, stream: StreamId, /) -> int | None:
        """Tells nothing, so that every answer is read."""
        return None


async def whole(items: AsyncIterator[Any]) -> None:
    async for _ in items:
        pass


async def copy(_: InventoryService, store: EndlessStore) -> None:
    await copy_store(store, store)


async def heads(_: InventoryService, store: EndlessStore) -> None:
    async with aclosing(stream_heads(store)) as found:
        await whole(found)


async def subscribe(_: InventoryService, store: EndlessStore) -> None:
    async with Subscription(store, after=0) as subscription:
        await whole(subscription)


async def project(_: InventoryService, store: EndlessStore) -> None:
    await runner(stock_levels(), store, MemoryReadModel(), ManualClock()).catch_up()


async def page_backwards(_: InventoryService, store: EndlessStore) -> None:
    await HistoryPages(store, StreamReader(store, CODEC)).page(TEA, newest_first=True, after=None, limit=5)


async def page_forward(_: InventoryService, store: EndlessStore) -> None:
    await HistoryPages(store, StreamReader(store, CODEC)).page(TEA, newest_first=False, after=(2,), limit=5)


async def process(inventory: InventoryService, _: EndlessStore) -> None:
    await OrderHandler(inventory).load("o1")


async def audit(_: InventoryService, store: EndlessStore) -> None:
    await _StreamFold(TEA, "replay").read(store)


async def watch(_: InventoryService, store: EndlessStore) -> None:
    await Watching("memory:", store, None, window=100).catch_up()


READS = [
    pytest.param(lambda inventory, _: inventory.stock("tea", "berlin"), id="stock"),
    pytest.param(lambda inventory, _: inventory.add_stock("tea", "berlin", 1), id="command"),
    pytest.param(lambda inventory, _: inventory.as_of("tea", "berlin", version=3), id="as of"),
    pytest.param(lambda inventory, _: whole(inventory.history("tea", "berlin")), id="history"),
    pytest.param(lambda inventory, _: whole(inventory.feed()), id="feed"),
    copy,
    heads,
    subscribe,
    project,
    page_backwards,
    page_forward,
    process,
    audit,
    watch,
]


@pytest.mark.parametrize("read", READS)
def test_a_store_without_an_end_is_refused(read: Callable[[InventoryService, EndlessStore], Awaitable[object]], backend: str) -> None:
    async def body() -> None:
        async with EndlessStore() as store, open_inventory(store, settings=HandlerSettings(warm_inventories=0)) as inventory:
            await inventory.add_stock("tea", "berlin", 3)
            await inventory.add_stock("tea", "berlin", 1)
            store.is_endless = True
            with pytest.raises(CorruptStoreError) as refusal:
                await read(inventory, store)
            assert refusal.value.store == "EndlessStore"
            assert "version" in refusal.value.place or "feed" in refusal.value.place or "catalogue" in refusal.value.place

    anyio.run(body, backend=backend)


class EndlessRows(MemoryReadModel):
    """Never gives the last page of its rows."""

    reads = 0

    async def select(
        self,
        projection: ProjectionId,
        table: str,
        /,
        *,
        where: Row | None = None,
        order: Sequence[str] = (),
        after: Sequence[Value] | None = None,
        descending: bool = False,
        limit: int,
    ) -> RowsPage:
        self.reads += 1
        assert self.reads < _ENOUGH, "pages are read without end"
        page = await super().select(projection, table, where=where, order=order, after=after, descending=descending, limit=limit)
        return attrs.evolve(page, is_end=False)


def test_rows_without_an_end_are_refused(backend: str) -> None:
    async def body() -> None:
        model, projection = EndlessRows(), stock_levels()
        queries = await open_queries(MemoryReadModel())
        assert (await queries.product_inventory("tea")).rows == ()
        with pytest.raises(CorruptStoreError, match="table parked"):
            async with MemoryEventStore() as store:
                await runner(projection, store, model, ManualClock()).catch_up()
        with pytest.raises(CorruptStoreError, match="table levels"):
            await (await open_queries(EndlessRows())).product_inventory("tea")

    anyio.run(body, backend=backend)


def test_a_store_that_never_waits_can_be_cancelled_between_two_pages(backend: str) -> None:
    class Growing(MemoryEventStore):
        """Has always one page more, and no await in it."""

        async def read_all(self, *, after: int, limit: int) -> FeedPage:
            return FeedPage((), after + 1, is_end=False)

    async def body() -> None:
        async with Growing() as store, open_inventory(store) as inventory:
            with anyio.move_on_after(0) as scope:
                await whole(inventory.feed())
            assert scope.cancelled_caught

    anyio.run(body, backend=backend)


def test_the_service_without_async_refuses_it_and_closes() -> None:
    store = EndlessStore()
    with open_sync_inventory(store) as inventory:
        inventory.add_stock("tea", "berlin", 3)
        store.is_endless = True
        with pytest.raises(CorruptStoreError):
            list(inventory.history("tea", "berlin"))
