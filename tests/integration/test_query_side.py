"""The query side of a service: opened with it, kept up by whoever the host lets do it, closed with it."""

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

import inventory_es.sync
from inventory_es import InventoryService, command_context, open_inventory
from inventory_es.adapters.memory import MemoryCache, MemoryEventBus, MemoryEventStore, MemoryReadModel
from inventory_es.adapters.serialization import JsonEventCodec
from inventory_es.application.commands.states import StreamReader
from inventory_es.application.following.projection import Projection
from inventory_es.application.projections import low_stock, stock_levels
from inventory_es.application.queries.history import HistoryPages
from inventory_es.application.queries.stock_queries import open_queries
from inventory_es.errors import (
    CorruptStoreError,
    FeedRewoundError,
    InvalidIdentifierError,
    ReadModelBehindError,
    ReadModelUnavailableError,
    StoreClosedError,
    UnsupportedCapabilityError,
)
from inventory_es.ports import EventStore, FeedPage
from inventory_es.testing import ManualClock
from tests.contract.stores.plain_store import PlainStreams, Shelf
from tests.integration.read_side import trade

MINUTE = timedelta(minutes=1)


@pytest.fixture(params=["memory", "sqlite"])
def urls(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, str]:
    """Where the events are, and where the rows are."""
    return ("memory:", "memory:") if request.param == "memory" else (f"sqlite:{tmp_path / 'stock.db'}", f"sqlite:{tmp_path / 'rows.db'}")


@asynccontextmanager
async def followed(inventory: InventoryService) -> AsyncIterator[None]:
    """As a host does it: the followers in a task of its own."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: inventory.followers.run(on_failure="stop"))
        yield
        inventory.followers.stop()


def test_a_host_runs_the_followers_and_reads_its_own_writes(backend: str, urls: tuple[str, str]) -> None:
    async def body() -> None:
        thresholds = low_stock(lambda _: 5)
        async with (
            open_inventory(urls[0], read_models=urls[1], projections=[thresholds]) as inventory,
            followed(inventory),
        ):
            await inventory.add_stock("tea", "berlin", 6)
            with command_context(actor_id="clerk-7"):
                hold = await inventory.reserve("tea", "berlin", 2, ttl=MINUTE, reservation_id="r1")
            seen: dict[str, Any] = {"wait_for_position": hold.position}
            queries = inventory.queries
            row = await queries.stock("tea", "berlin", **seen)
            assert row is not None
            assert (row.on_hand, row.reserved, row.available, row.version, row.position) == (6, 2, 4, 2, hold.position)
            assert row.to_dict()["recorded_at"] == row.recorded_at.isoformat()
            assert [one.store_id for one in (await queries.product_inventory("tea", **seen)).rows] == ["berlin"]
            assert [one.product_id for one in (await queries.store_inventory("berlin", **seen)).rows] == ["tea"]
            assert [(one.available, one.threshold) for one in (await queries.low_stock(**seen)).rows] == [(4, 5)]
            assert [one.reservation_id for one in (await queries.open_reservations(store_id="berlin", **seen)).rows] == ["r1"]
            assert [one.reserved for one in (await queries.ledger("tea", "berlin", **seen)).rows] == [0, 2]
            history = await queries.history("tea", "berlin", **seen)
            assert [one.metadata.actor_id for one in history.rows] == [None, "clerk-7"]
            assert history.checkpoint.position == hold.position
            before = await queries.as_of("tea", "berlin", version=1, **seen)
            assert before is not None
            assert (before.on_hand, before.available) == (6, 6)
            assert {(one.state, one.position, one.lag_events) for one in await inventory.followers.status()} == {("running", 2, 0)}

    anyio.run(body, backend=backend)


def test_as_of_and_history_agree_with_the_streams(backend: str, urls: tuple[str, str]) -> None:
    async def body() -> None:
        clock = ManualClock()
        async with open_inventory(urls[0], read_models=urls[1], clock=clock) as inventory:
            await trade(inventory.store, clock, steps=80)
            await inventory.followers.catch_up(on_failure="stop")
            queries = inventory.queries
            for product, shop in [(f"p{number}", f"s{place}") for number in range(3) for place in range(2)]:
                entries = [entry async for entry in inventory.history(product, shop)]
                forwards, backwards = (
                    await pages(queries.history, product, shop),
                    await pages(queries.history, product, shop, newest_first=True),
                )
                assert forwards == entries == backwards[::-1]
                for entry in entries:
                    strong = await inventory.as_of(product, shop, version=entry.version)
                    row = await queries.as_of(product, shop, version=entry.version)
                    assert row is not None
                    assert (row.on_hand, row.reserved, row.version, row.recorded_at) == (
                        strong.on_hand,
                        strong.reserved,
                        entry.version,
                        strong.at,
                    )
                    for time in (
                        entry.recorded_at,
                        entry.recorded_at + timedelta(seconds=1),
                        entry.recorded_at - timedelta(microseconds=1),
                    ):
                        strong = await inventory.as_of(product, shop, time=time)
                        row = await queries.as_of(product, shop, time=time)
                        found = (0, 0, 0) if row is None else (row.version, row.on_hand, row.reserved)
                        assert found == (strong.version, strong.on_hand, strong.reserved)
                assert await queries.as_of(product, shop, version=len(entries) + 1) is None
            assert await queries.as_of("none", "none", time=clock.now()) is None

    anyio.run(body, backend=backend)


async def pages(ask: Any, *given: str, **question: Any) -> list[Any]:
    """All rows, three at a time."""
    rows: list[Any] = []
    page = await ask(*given, limit=3, **question)
    while page.next_after is not None:
        rows += page.rows
        page = await ask(*given, limit=3, after=page.next_after, **question)
    return rows + list(page.rows)


def test_what_is_no_moment_no_place_and_no_identifier_is_refused(backend: str) -> None:
    async def body() -> None:
        async with open_inventory("memory:", read_models="memory:") as inventory:
            queries, now = inventory.queries, ManualClock().now()
            for wrong in ({}, {"time": now, "version": 1}, {"time": now.replace(tzinfo=None)}, {"version": 0}):
                with pytest.raises(ValueError, match=r"time|version"):
                    await queries.as_of("tea", "berlin", **wrong)
            for place in ((), ("tea",), (0,), (1, 2)):
                with pytest.raises(ValueError, match="next_after"):
                    await queries.history("tea", "berlin", after=place)
            for ask in (queries.product_inventory, queries.store_inventory):
                with pytest.raises(InvalidIdentifierError):
                    await ask("")
            with pytest.raises(InvalidIdentifierError, match="store_id"):
                await queries.low_stock(store_id="\n")
            with pytest.raises(InvalidIdentifierError, match="product_id"):
                await queries.stock(7, "berlin")  # type: ignore[arg-type]  # the point of the test

    anyio.run(body, backend=backend)


def test_without_a_read_model_it_says_what_to_give(backend: str) -> None:
    async def body() -> None:
        async with open_inventory("memory:") as inventory:
            for part in ("queries", "followers"):
                with pytest.raises(UnsupportedCapabilityError, match="read_models=MemoryReadModel"):
                    getattr(inventory, part)
        with pytest.raises(StoreClosedError, match="async with"):
            _ = inventory.queries
        alone = await open_queries(MemoryReadModel())
        with pytest.raises(UnsupportedCapabilityError, match="HistoryPages"):
            await alone.history("tea", "berlin")

    anyio.run(body, backend=backend)


@pytest.mark.parametrize("wrong", ["", "sqlite", "sqlite:", "memory:here", "mysql:x", "sqlite://x", "sqlite:x?y", "SQLITE:x"])
def test_a_wrong_url_is_told_the_right_ones(wrong: str) -> None:
    with pytest.raises(ValueError, match=r"'sqlite:queries\.db'"):
        open_inventory("memory:", read_models=wrong)


def test_what_is_no_read_model_or_needs_one_is_refused() -> None:
    with pytest.raises(TypeError, match="a dict is no read model"):
        open_inventory("memory:", read_models={})  # type: ignore[arg-type]  # the point of the test
    clock = ManualClock()
    for parts in ({"cache": MemoryCache(clock=clock)}, {"bus": MemoryEventBus(clock=clock)}, {"projections": [stock_levels()]}):
        with pytest.raises(ValueError, match="needs read models"):
            open_inventory("memory:", **parts)


def test_what_the_service_opened_it_closes_and_what_it_was_given_it_leaves(backend: str) -> None:
    async def body() -> None:
        model = MemoryReadModel()
        async with open_inventory("memory:", read_models=model) as inventory:
            await inventory.followers.catch_up(on_failure="stop")
        await model.versions("stock_levels")
        async with open_inventory("memory:", read_models="memory:") as inventory:
            await inventory.queries.prepare()
            queries = inventory.queries
        with pytest.raises(StoreClosedError):
            await queries.stock("tea", "berlin")

    anyio.run(body, backend=backend)


def test_a_read_model_that_cant_be_opened_leaves_no_open_store(backend: str, tmp_path: Path) -> None:
    async def body() -> None:
        store = f"sqlite:{tmp_path / 'stock.db'}"
        with pytest.raises(ReadModelUnavailableError):
            async with open_inventory(store, read_models=f"sqlite:{tmp_path / 'nowhere' / 'rows.db'}"):
                pytest.fail("it can't be opened")
        async with open_inventory(store) as inventory:
            assert (await inventory.stock("tea", "berlin")).version == 0

    anyio.run(body, backend=backend)


def test_closing_ends_the_followers_that_a_host_left_running(backend: str) -> None:
    async def body() -> None:
        async with anyio.create_task_group() as tasks, open_inventory("memory:", read_models="memory:") as inventory:
            followers = inventory.followers
            tasks.start_soon(lambda: followers.run(on_failure="stop"))
            done = await inventory.add_stock("tea", "berlin", 1)
            assert await inventory.queries.stock("tea", "berlin", wait_for_position=done.position)
        await followers.run(on_failure="stop")
        followers.stop()
        await followers.aclose()

    anyio.run(body, backend=backend)


def test_cancelled_followers_leave_everything_right(backend: str, urls: tuple[str, str]) -> None:
    async def body() -> None:
        async with open_inventory(urls[0], read_models=urls[1]) as inventory:
            for number in range(1, 4):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(lambda: inventory.followers.run(on_failure="stop"))
                    done = await inventory.add_stock("tea", "berlin", 1)
                    row = await inventory.queries.stock("tea", "berlin", wait_for_position=done.position)
                    assert row is not None
                    assert row.on_hand == number
                    tasks.cancel_scope.cancel()

    anyio.run(body, backend=backend)


def test_a_worker_of_its_own_keeps_the_rows_that_others_ask(backend: str, tmp_path: Path) -> None:
    store, rows = f"sqlite:{tmp_path / 'stock.db'}", f"sqlite:{tmp_path / 'rows.db'}"

    async def body() -> None:
        async with (
            open_inventory(store, read_models=rows) as worker,
            followed(worker),
            open_inventory(store, read_models=rows) as web,
        ):
            done = await web.add_stock("tea", "berlin", 3)
            row = await web.queries.stock("tea", "berlin", wait_for_position=done.position)
            assert row is not None
            assert row.on_hand == 3

    anyio.run(body, backend=backend)


def test_a_projection_that_fails_stops_alone_and_resumes(backend: str) -> None:
    is_mended: list[bool] = []

    def apply(event: Any, envelope: Any) -> Any:
        if not is_mended:
            raise ValueError
        return stock_levels().apply(event, envelope)

    broken = Projection(projection_id=stock_levels().projection_id, tables=stock_levels().tables, apply=apply)

    async def body() -> None:
        model = MemoryReadModel()
        async with open_inventory("memory:", read_models=model, projections=[broken]) as inventory:
            await inventory.add_stock("tea", "berlin", 3)
            await inventory.followers.catch_up(on_failure="stop")
            assert await inventory.queries.stock("tea", "berlin") is None
            assert len((await inventory.queries.ledger("tea", "berlin")).rows) == 1
            states = {one.projection_id.name: one.state for one in await inventory.followers.status()}
            assert states == {"stock_levels": "stopped", "ledger": "idle", "low_stock": "idle", "open_reservations": "idle"}
            with pytest.raises(ReadModelBehindError, match=r"it stands still: .*ValueError"):
                await (await open_queries(model, patience=0)).stock("tea", "berlin", wait_for_position=1)
            is_mended.append(True)
            await inventory.followers.resume()
            await inventory.followers.catch_up(on_failure="stop")
            assert await inventory.queries.stock("tea", "berlin") is not None

    anyio.run(body, backend=backend)


def test_the_status_of_the_relay_is_told_with_those_of_the_projections(backend: str) -> None:
    async def relay(inventory: InventoryService) -> tuple[str, bool, int, int, float]:
        found = (await inventory.followers.status())[-1]
        return (str(found.projection_id), found.owner is not None, found.position, found.lag_events, found.lag_seconds)

    async def body() -> None:
        clock = ManualClock()
        async with open_inventory("memory:", read_models="memory:", bus=MemoryEventBus(clock=clock), clock=clock) as inventory:
            first = await inventory.add_stock("tea", "berlin", 3)
            clock.advance(MINUTE)
            assert await relay(inventory) == ("relay v1", False, 0, 1, 60.0)
            async with followed(inventory):
                await inventory.queries.stock("tea", "berlin", wait_for_position=first.position)
                with anyio.fail_after(10):
                    while await relay(inventory) != ("relay v1", True, first.position, 0, 0.0):
                        await anyio.lowlevel.checkpoint()
            await inventory.followers.aclose()
            assert await relay(inventory) == ("relay v1", False, first.position, 0, 0.0)
            assert {one.state for one in await inventory.followers.status()} == {"idle"}

    anyio.run(body, backend=backend)


class Torn(MemoryEventStore):
    """A store whose feed is corrupt."""

    async def read_all(self, *, after: int, limit: int) -> FeedPage:
        raise CorruptStoreError(store="Torn", place="here", problem="is torn")


def test_a_store_that_is_corrupt_ends_all_followers_with_its_error(backend: str) -> None:
    async def body() -> None:
        async with open_inventory(Torn(), read_models="memory:", cache=MemoryCache(clock=ManualClock())) as inventory:
            await inventory.add_stock("tea", "berlin", 3)
            with pytest.raises(CorruptStoreError):
                await inventory.followers.run(on_failure="stop")

    anyio.run(body, backend=backend)


def test_a_store_without_a_feed_has_no_followers_and_no_order_to_wait_in(backend: str) -> None:
    async def body() -> None:
        store: EventStore = PlainStreams(Shelf())
        async with open_inventory(store, read_models="memory:") as inventory:
            await inventory.add_stock("tea", "berlin", 3)
            assert [entry.version for entry in (await inventory.queries.history("tea", "berlin")).rows] == [1]
            for call in (
                lambda: inventory.followers.run(on_failure="stop"),
                lambda: inventory.queries.history("tea", "berlin", wait_for_position=1),
            ):
                with pytest.raises(UnsupportedCapabilityError, match="no feed"):
                    await call()

    anyio.run(body, backend=backend)


def test_a_history_waits_for_a_store_that_shows_late(backend: str) -> None:
    class Late(MemoryEventStore):
        asked = 0

        async def head(self) -> int:
            self.asked += 1
            return 0 if self.asked < 3 else await super().head()

    async def body() -> None:
        store = Late()
        pages_of = HistoryPages(store, StreamReader(store, JsonEventCodec()))
        queries = await open_queries(MemoryReadModel(), history=pages_of)
        async with open_inventory(store) as inventory:
            done = await inventory.add_stock("tea", "berlin", 1)
        page = await queries.history("tea", "berlin", wait_for_position=done.position)
        assert (len(page.rows), store.asked) == (1, 3)
        with pytest.raises(ReadModelBehindError, match="history is at position 1, not yet at 9"):
            await (await open_queries(MemoryReadModel(), history=pages_of, patience=0)).history("tea", "berlin", wait_for_position=9)

    anyio.run(body, backend=backend)


def test_rows_of_another_store_are_refused(backend: str) -> None:
    async def body() -> None:
        model = MemoryReadModel()
        async with open_inventory("memory:", read_models=model) as inventory:
            await inventory.add_stock("tea", "berlin", 1)
            await inventory.followers.catch_up(on_failure="stop")
        async with open_inventory("memory:", read_models=model) as inventory:
            with pytest.raises(FeedRewoundError, match="it is of another event store"):
                await inventory.followers.run(on_failure="stop")

    anyio.run(body, backend=backend)


def test_the_bus_gets_every_event(backend: str) -> None:
    async def body() -> None:
        bus = MemoryEventBus(clock=ManualClock())
        async with open_inventory("memory:", read_models="memory:", bus=bus) as inventory:
            await inventory.add_stock("tea", "berlin", 1)
            async with bus.subscribe("mail") as deliveries, followed(inventory):
                await inventory.add_stock("tea", "berlin", 2)
                versions = []
                async for delivery in deliveries:
                    versions.append(delivery.event.version)
                    await delivery.ack()
                    if len(versions) == 2:
                        break
        assert versions == [1, 2]
        await bus.aclose()

    anyio.run(body, backend=backend)


def test_the_same_without_await(tmp_path: Path) -> None:
    with inventory_es.sync.open_inventory(
        f"sqlite:{tmp_path / 'stock.db'}", read_models=f"sqlite:{tmp_path / 'rows.db'}", cache=MemoryCache(clock=ManualClock())
    ) as inventory:
        inventory.add_stock("tea", "berlin", 6)
        inventory.followers.catch_up(on_failure="stop")
        queries = inventory.queries
        row = queries.stock("tea", "berlin")
        assert row is not None
        assert row.on_hand == 6
        follower = threading.Thread(target=inventory.followers.run, kwargs={"on_failure": "stop"})
        follower.start()
        hold = inventory.reserve("tea", "berlin", 6, ttl=MINUTE)
        row = queries.stock("tea", "berlin", wait_for_position=hold.position)
        assert row is not None
        assert row.available == 0
        seen = hold.position
        assert [one.version for one in queries.product_inventory("tea", wait_for_position=seen).rows] == [2]
        assert [one.version for one in queries.store_inventory("berlin", wait_for_position=seen).rows] == [2]
        assert [one.threshold for one in queries.low_stock(wait_for_position=seen).rows] == [0]
        assert [one.version for one in queries.ledger("tea", "berlin", newest_first=True, wait_for_position=seen).rows] == [2, 1]
        assert [one.quantity for one in queries.open_reservations(wait_for_position=seen).rows] == [6]
        assert [one.version for one in queries.history("tea", "berlin", wait_for_position=seen).rows] == [1, 2]
        assert queries.as_of("tea", "berlin", version=1, wait_for_position=seen) is not None
        queries.prepare()
        inventory.followers.resume()
        assert len(inventory.followers.status()) == 4
        inventory.followers.stop()
        follower.join(5)
        assert not follower.is_alive()


def test_closing_the_synchronous_service_ends_its_followers(tmp_path: Path) -> None:
    inventory = inventory_es.sync.open_inventory(f"sqlite:{tmp_path / 'stock.db'}", read_models="memory:")
    inventory.add_stock("tea", "berlin", 6)
    follower = threading.Thread(target=inventory.followers.run, kwargs={"on_failure": "stop"})
    follower.start()
    inventory.queries.stock("tea", "berlin", wait_for_position=1)
    inventory.close()
    follower.join(5)
    assert not follower.is_alive()
