"""A store that was replaced by a backup, or by another one: whoever reads its feed finds out, stops, and says how to go on."""

import shutil
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import UUID

import anyio
import attrs
import pytest

from inventory_es import open_inventory
from inventory_es.adapters.memory import MemoryCache, MemoryEventBus, MemoryEventStore, MemoryReadModel
from inventory_es.adapters.sqlite import open_sqlite_read_model
from inventory_es.application.following.follower import ProjectionFollower
from inventory_es.application.following.projection import DEAD_LETTERS
from inventory_es.application.following.relay import Relay
from inventory_es.application.following.subscription import EventFilter, Pace, Subscription, check_feed, mark_of
from inventory_es.application.projections import stock_levels
from inventory_es.application.queries.stock_queries import open_queries
from inventory_es.cli.app import run
from inventory_es.errors import FaultError, FeedRewoundError, InsufficientStockError, StoreUnavailableError
from inventory_es.ports import EventMark, FeedPage, ProjectionId, ReadModel, RecordedEvent
from inventory_es.processes import Orders, ProcessRunner
from inventory_es.testing import ManualClock
from tests.integration.read_side import runner, whole_feed
from tests.integration.test_projections import kind, stores

__all__ = ["kind"]
LEVELS = stock_levels()


async def filled(*products: str, store: MemoryEventStore | None = None) -> MemoryEventStore:
    """A store with one event of each of these products; equal products are other events each time."""
    store = store or MemoryEventStore()
    async with open_inventory(store) as inventory:
        for product in products:
            await inventory.add_stock(product, "berlin", 5)
    return store


async def stopped(model: ReadModel, feed: Any, clock: ManualClock) -> None:
    """Every look and every run says that the feed is another one."""
    runs = runner(LEVELS, feed, model, clock)
    status = await runs.status()
    assert (status.state, (status.error or "").partition(":")[0]) == ("stopped", "FeedRewoundError")
    for _ in range(2):
        with pytest.raises(FeedRewoundError, match=r"stock_levels v1 .* rebuild"):
            await runner(LEVELS, feed, model, clock).catch_up()
        with pytest.raises(FeedRewoundError):
            await runner(LEVELS, feed, model, clock).run()
    seen = await model.checkpoint(LEVELS.projection_id)
    assert seen.owner is None
    assert (seen.error or "").startswith("FeedRewoundError")


@pytest.mark.parametrize("after", [(), ("b",), ("b", "c")])
def test_rows_of_a_lost_future_stop_and_a_rebuild_mends_them(after: Sequence[str], backend: str, kind: str, tmp_path: Path) -> None:
    async def body() -> None:
        clock = ManualClock()
        async with stores(kind, tmp_path) as (_, model):
            async with await filled("a", "lost") as lost:
                await runner(LEVELS, lost, model, clock).catch_up()
            async with await filled("a", *after) as store:
                await stopped(model, store, clock)
                await runner(stock_levels(version=2), store, model, clock).catch_up()
                rows = (await (await open_queries(model)).store_inventory("berlin")).rows
                assert [row.product_id for row in rows] == ["a", *after]
                await model.drop(LEVELS.projection_id)

    anyio.run(body, backend=backend)


def test_a_rebuild_takes_over_from_rows_that_are_further_than_the_store(backend: str, kind: str, tmp_path: Path) -> None:
    async def body() -> None:
        clock = ManualClock()
        async with stores(kind, tmp_path) as (_, model), await filled("a", "b", "c") as lost, await filled("a") as store:
            await runner(LEVELS, lost, model, clock).catch_up()
            with anyio.fail_after(30):
                await runner(stock_levels(version=2), store, model, clock).catch_up()
            (status,) = await ProjectionFollower(
                LEVELS, lambda one: runner(one, store, model, clock), feed=store, read_model=model, clock=clock
            ).status()
            assert (status.projection_id.version, status.position, status.error) == (2, 1, None)
            rows = (await (await open_queries(model)).store_inventory("berlin")).rows
            assert [row.product_id for row in rows] == ["a"]

    anyio.run(body, backend=backend)


@pytest.mark.parametrize("version", [2, 3])
def test_a_host_rebuilds_by_raising_the_version(version: int, backend: str) -> None:
    async def body() -> None:
        clock, model = ManualClock(), MemoryReadModel()
        newer = stock_levels(version=version)

        def follower(projection: Any, feed: Any) -> ProjectionFollower:
            return ProjectionFollower(
                projection, lambda one: runner(one, feed, model, clock), feed=feed, read_model=model, clock=clock, interval=0.01
            )

        async with await filled("a", "b", "c") as lost, await filled("a", "d") as store:
            await follower(LEVELS, lost).catch_up()
            await model.prepare(ProjectionId("stock_levels", 2), (*LEVELS.tables, DEAD_LETTERS))
            with anyio.fail_after(30), pytest.raises(FeedRewoundError, match="stock_levels v1"):
                await follower(LEVELS, store).run()
            with anyio.fail_after(30):
                await follower(newer, store).catch_up()
            (status,) = await follower(LEVELS, store).status()
            assert (status.projection_id.version, status.state, status.lag_events) == (version, "idle", 0)
            rows = (await (await open_queries(model)).store_inventory("berlin")).rows
            assert [row.product_id for row in rows] == ["a", "d"]

    anyio.run(body, backend=backend)


def test_the_right_store_brought_back_is_followed_after_resume(backend: str, kind: str, tmp_path: Path) -> None:
    async def body() -> None:
        clock = ManualClock()
        async with stores(kind, tmp_path) as (_, model), await filled("a", "b") as right, await filled("a", "b") as wrong:
            await runner(LEVELS, right, model, clock).catch_up()
            await stopped(model, wrong, clock)
            await filled("c", store=right)
            runs = runner(LEVELS, right, model, clock)
            await runs.resume()
            await runs.catch_up()
            assert (await runs.status()).position == 3

    anyio.run(body, backend=backend)


def test_a_checkpoint_without_a_mark_is_read_and_gets_one(backend: str, kind: str, tmp_path: Path) -> None:
    async def body() -> None:
        clock = ManualClock()
        async with stores(kind, tmp_path) as (_, model), await filled("a", "b") as store:
            await runner(LEVELS, store, model, clock).catch_up()
            seen = await model.checkpoint(LEVELS.projection_id)
            assert seen.mark == mark_of((await whole_feed(store))[-1])
            await model.commit(LEVELS.projection_id, (), before=seen, after=attrs.evolve(seen, mark=None))
            async with await filled("a") as shorter:
                with pytest.raises(FeedRewoundError, match="its checkpoint is at position 2, the feed ends at 1"):
                    await runner(LEVELS, shorter, model, clock).catch_up()
            await runner(LEVELS, store, model, clock).resume()
            await filled("c", store=store)
            await runner(LEVELS, store, model, clock).catch_up()
            assert (await model.checkpoint(LEVELS.projection_id)).mark == mark_of((await whole_feed(store))[-1])

    anyio.run(body, backend=backend)


def test_a_read_model_from_before_marks_is_opened_and_goes_on(tmp_path: Path) -> None:
    async def body(*products: str) -> None:
        async with open_inventory(f"sqlite:{tmp_path / 'stock.db'}", read_models=f"sqlite:{tmp_path / 'rows.db'}") as inventory:
            for product in products:
                await inventory.add_stock(product, "berlin", 1)
            await inventory.followers.catch_up(on_failure="stop")
            assert len((await inventory.queries.store_inventory("berlin")).rows) >= len(products)

    anyio.run(lambda: body("a", "b"))
    with closing(sqlite3.connect(tmp_path / "rows.db")) as connection:
        for column in ("mark_position", "mark_event_id"):
            connection.execute(f"ALTER TABLE projections DROP COLUMN {column}")
    anyio.run(lambda: body("c"))
    with closing(sqlite3.connect(tmp_path / "rows.db")) as connection:
        marks = connection.execute("SELECT DISTINCT position, mark_position, length(mark_event_id) FROM projections").fetchall()
        connection.execute("UPDATE projections SET mark_event_id = 'no id'")
        connection.commit()
    assert marks == [(3, 3, 36)]


@attrs.define
class Sparse:
    """A feed whose positions have gaps, given page by page, some without an event; and that may be replaced."""

    positions: Sequence[int]
    seed: int = 0
    away: int = 0
    reads: int = 0

    def events(self, template: RecordedEvent) -> list[RecordedEvent]:
        return [
            attrs.evolve(template, position=at, version=number, event_id=UUID(int=1_000 * self.seed + at))
            for number, at in enumerate(self.positions, 1)
        ]

    async def read_all(self, *, after: int, limit: int) -> FeedPage:
        await anyio.lowlevel.checkpoint()
        self.reads += 1
        if self.away:
            self.away -= 1
            raise StoreUnavailableError(store="sparse", reason="away")
        end = max(self.positions, default=0)
        if after + 10 < min((at for at in self.positions if at > after), default=after):
            return FeedPage((), after + 10, is_end=False)
        page = [one for one in self.events(TEMPLATE) if one.position > after][:limit]
        return FeedPage(page, page[-1].position if page else max(after, end), is_end=not page or page[-1].position == end)

    async def head(self) -> int:
        return max(self.positions, default=0)

    async def wait_for_position(self, position: int, *, timeout: float) -> bool:
        await anyio.lowlevel.checkpoint()
        return await self.head() >= position


async def _template() -> RecordedEvent:
    async with await filled("a") as store:
        return (await whole_feed(store))[0]


TEMPLATE = anyio.run(_template)


def test_gaps_between_positions_are_no_other_history(backend: str) -> None:
    async def body() -> None:
        feed, model, clock = Sparse([3, 7, 50, 90]), MemoryReadModel(), ManualClock()
        every = attrs.evolve(LEVELS, wanted=EventFilter(types={"Nothing"}), newest_only=False)
        for projection in (LEVELS, attrs.evolve(every, projection_id=ProjectionId("none", 1))):
            await runner(projection, feed, model, clock, pace=Pace(batch_size=1)).catch_up()
            seen = await model.checkpoint(projection.projection_id)
            assert (seen.position, seen.mark) == (90, EventMark(90, UUID(int=90)))
            assert (await runner(projection, feed, model, clock).status()).error is None
            await runner(projection, feed, model, clock).catch_up()
        for mark in (EventMark(50, UUID(int=50)), EventMark(90, UUID(int=90))):
            await check_feed(feed, "anybody", 90, mark)
        for mark in (EventMark(49, UUID(int=49)), EventMark(51, UUID(int=50)), EventMark(90, UUID(int=7)), EventMark(91, UUID(int=91))):
            with pytest.raises(FeedRewoundError):
                await check_feed(feed, "anybody", 91, mark)

    anyio.run(body, backend=backend)


@pytest.mark.parametrize("is_away", [True, False])
def test_a_store_that_is_replaced_under_a_subscription_is_noticed(is_away: bool, backend: str) -> None:
    async def body() -> None:
        feed = Sparse([1, 2, 3])
        pace = Pace(longest_wait=0.01, first_pause=0.01)
        async with Subscription(feed, pace=pace, name="a host's") as subscription:
            batch = await anext(subscription)
            assert (batch.position, batch.mark) == (3, EventMark(3, UUID(int=3)))
            feed.seed, feed.away = 1, 1 if is_away else 0
            with anyio.fail_after(10), pytest.raises(FeedRewoundError, match="a host's"):
                await anext(subscription)
        with pytest.raises(FeedRewoundError):
            await anext(Subscription(feed, after=3, mark=batch.mark))
        with pytest.raises(FeedRewoundError, match="the feed ends at 3"):
            await anext(Subscription(feed, after=4))

    anyio.run(body, backend=backend)


def test_a_relay_publishes_nothing_behind_a_lost_future(backend: str, kind: str, tmp_path: Path) -> None:
    async def body() -> None:
        clock = ManualClock()
        async with stores(kind, tmp_path) as (_, model), await filled("a", "lost") as lost, await filled("a", "b", "c") as store:

            def relay(feed: Any) -> Relay:
                pace = Pace(longest_wait=0.01)
                return Relay("to_bus", feed=feed, bus=MemoryEventBus(clock=clock), read_model=model, clock=clock, owner="one", pace=pace)

            async with anyio.create_task_group() as tasks:
                first = relay(lost)
                tasks.start_soon(first.run)
                while (await first.checkpoint()).position < 2:
                    await anyio.lowlevel.checkpoint()
                first.stop()
            with anyio.fail_after(10), pytest.raises(FeedRewoundError, match="to_bus v1"):
                await relay(store).run()
            assert (await relay(store).checkpoint()).position == 2

    anyio.run(body, backend=backend)


def test_a_process_runner_stops_before_another_history(backend: str) -> None:
    async def body() -> None:
        clock, model = ManualClock(), MemoryReadModel()
        async with await filled("a", "lost") as lost, await filled("a", "b") as store:
            for feed in (lost, store):
                async with open_inventory(feed, clock=clock) as inventory:
                    runs = ProcessRunner(Orders(inventory), feed=feed, read_model=model, clock=clock, owner="one")
                    if feed is lost:
                        await runs.catch_up()
                    else:
                        with anyio.fail_after(10), pytest.raises(FeedRewoundError):
                            await runs.catch_up()

    anyio.run(body, backend=backend)


@pytest.mark.parametrize("scheme", ["file", "sqlite"])
def test_a_backup_that_was_moved_back_is_told_by_every_command_and_rebuilt(
    scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    url = f"{scheme}:stock"
    target = ["--url", url, "--read-model", "rows.db"]

    async def receive(*products: str) -> None:
        async with open_inventory(url) as inventory:
            for product in products:
                await inventory.add_stock(product, "berlin", 1)

    anyio.run(lambda: receive("a"))
    if scheme == "file":
        shutil.copytree("stock", "backup")
    else:
        shutil.copy("stock", "backup")
    anyio.run(lambda: receive("lost"))
    assert run(["project", *target, "--once"]) == 0
    if scheme == "file":
        shutil.rmtree("stock")
    else:
        for path in tmp_path.glob("stock*"):
            path.unlink()
    shutil.move("backup", "stock")
    anyio.run(lambda: receive("b", "c"))
    capsys.readouterr()
    assert run(["project", *target, "--once"]) == 3
    assert "does not belong to this feed" in capsys.readouterr().err
    assert run(["rebuild", "stock_levels", *target]) == 0
    assert run(["project", "stock_levels", *target, "--once"]) == 0

    async def products() -> list[str]:
        async with open_sqlite_read_model("rows.db") as model:
            return [row.product_id for row in (await (await open_queries(model)).store_inventory("berlin")).rows]

    assert anyio.run(products) == ["a", "b", "c"]


def test_parked_events_of_another_history_are_not_applied(backend: str) -> None:
    async def body() -> None:
        clock, model = ManualClock(), MemoryReadModel()

        def fail(_event: Any, _envelope: Any) -> Any:
            raise LookupError

        broken = attrs.evolve(LEVELS, apply=fail, newest_only=False)
        async with await filled("a", "b") as lost, await filled("c", "d") as store:
            await runner(broken, lost, model, clock, on_failure="park").catch_up()
            (stream, *_) = [event.stream for event in await whole_feed(lost)]
            with pytest.raises(FeedRewoundError):
                await runner(LEVELS, store, model, clock).parked.retry(stream)
            seen = await model.checkpoint(LEVELS.projection_id)
            await model.commit(LEVELS.projection_id, (), before=seen, after=attrs.evolve(seen, mark=None))
            with pytest.raises(FeedRewoundError):
                await runner(LEVELS, store, model, clock).parked.retry(stream)
            assert len(await runner(LEVELS, lost, model, clock).parked.list()) == 2

    anyio.run(body, backend=backend)


class Swappable:
    """A store whose contents are replaced while it is open, as behind a connection to a server."""

    def __init__(self, inner: MemoryEventStore) -> None:
        self.inner = inner
        self.capabilities = attrs.evolve(inner.capabilities, group_commit=False)

    async def append(self, writes: Any, /) -> Any:
        return await self.inner.append(writes)

    async def read_stream(self, stream: Any, /, *, after: int = 0, limit: int) -> Any:
        return await self.inner.read_stream(stream, after=after, limit=limit)

    async def read_stream_backwards(self, stream: Any, /, *, before: int | None = None, limit: int) -> Any:
        return await self.inner.read_stream_backwards(stream, before=before, limit=limit)

    async def find_events(self, stream: Any, event_ids: Any, /) -> Any:
        return await self.inner.find_events(stream, event_ids)

    async def read_all(self, *, after: int, limit: int) -> FeedPage:
        return await self.inner.read_all(after=after, limit=limit)

    async def head(self) -> int:
        return await self.inner.head()

    async def wait_for_position(self, position: int, /, *, timeout: float) -> bool:
        return await self.inner.wait_for_position(position, timeout=timeout)

    async def aclose(self) -> None:
        """The stores are their makers'."""


@pytest.mark.parametrize("after", [("a",), ("a", "a", "a", "a")])
def test_a_state_that_was_kept_is_given_up_where_the_store_was_replaced(after: Sequence[str], backend: str) -> None:
    async def body() -> None:
        async with await filled() as lost, await filled() as restored:
            store = Swappable(lost)
            async with open_inventory(store) as inventory:
                for units in (100, 20):
                    await inventory.add_stock("a", "berlin", units)
                store.inner = await filled(*after, store=restored)
                with pytest.raises(FaultError):
                    await inventory.reserve("a", "berlin", 50, ttl=None)
                assert (await inventory.stock("a", "berlin")).on_hand == 5 * len(after)
                with pytest.raises(InsufficientStockError):
                    await inventory.reserve("a", "berlin", 50, ttl=None)

    anyio.run(body, backend=backend)


def test_an_answer_from_a_lost_future_is_not_given(backend: str) -> None:
    async def body() -> None:
        clock = ManualClock()
        cache, model = MemoryCache(clock=clock), MemoryReadModel()
        async with await filled("a", "a", "a") as lost, await filled("a") as store:
            async with open_inventory(lost, read_models=model, cache=cache, clock=clock) as inventory:
                await inventory.followers.catch_up(on_failure="stop")
                row = await inventory.queries.stock("a", "berlin")
                assert row is not None
                assert row.on_hand == 15
            async with open_inventory(store, read_models=MemoryReadModel(), cache=cache, clock=clock) as inventory:
                await inventory.followers.catch_up(on_failure="stop")
                for _ in range(2):
                    row = await inventory.queries.stock("a", "berlin")
                    assert row is not None
                    assert row.on_hand == 5

    anyio.run(body, backend=backend)
