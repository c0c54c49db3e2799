"""Followers keep up the version that readers ask: after a rebuild, during one, and beside a version that is being built."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import attrs
import pytest

import inventory_es.sync
from inventory_es import InventoryService, open_inventory
from inventory_es.adapters.memory import MemoryEventStore, MemoryReadModel
from inventory_es.application.following.follower import ProjectionFollower
from inventory_es.application.following.projection import DEAD_LETTERS, Projection, ProjectionStatus
from inventory_es.application.projections import low_stock, orders, stock_levels, transfers
from inventory_es.application.queries.stock_queries import open_queries
from inventory_es.errors import IncompatibleStoreError
from inventory_es.ports import ProjectionId, ReadModel, Table
from inventory_es.processes import Orders, OrderStatus, open_order_queries
from inventory_es.testing import ManualClock
from tests.integration.read_side import runner, trade
from tests.integration.test_projections import kind, stores

__all__ = ["kind"]


async def rebuild(store: Any, model: ReadModel, projection: Projection, *, drop: int | None = 1) -> None:
    """As another process does it: the rows of a version beside the old ones, changed over to, the old ones dropped."""
    await runner(projection, store, model, ManualClock(), owner="another process").catch_up()
    if drop is not None:
        await model.drop(ProjectionId(projection.projection_id.name, drop))


async def versions_of(model: ReadModel, name: str) -> list[tuple[int, bool]]:
    return [(one.projection_id.version, one.is_active) for one in await model.versions(name)]


async def status_of(inventory: InventoryService, name: str) -> list[ProjectionStatus]:
    return [one for one in await inventory.followers.status() if one.projection_id.name == name]


async def until(condition: Callable[[], Awaitable[object]]) -> None:
    with anyio.fail_after(30):
        while not await condition():
            await anyio.lowlevel.checkpoint()


def follower(projection: Projection, store: Any, model: ReadModel) -> ProjectionFollower:
    clock = ManualClock()
    owners = count()

    def make(one: Projection) -> Any:
        return runner(one, store, model, clock, owner=f"{id(clock)}-{next(owners)}")

    return ProjectionFollower(projection, make, feed=store, read_model=model, clock=clock, interval=0.01)


def test_a_host_that_starts_again_after_a_rebuild_follows_the_rebuilt_version(backend: str, kind: str, tmp_path: Path) -> None:
    async def body() -> None:
        async with stores(kind, tmp_path) as (store, model):
            async with open_inventory(store, read_models=model) as inventory:
                await inventory.add_stock("tea", "berlin", 5)
                await inventory.followers.catch_up(on_failure="stop")
            await rebuild(store, model, stock_levels(version=2))
            async with open_inventory(store, read_models=model) as inventory:
                done = await inventory.add_stock("tea", "berlin", 7)
                (behind,) = await status_of(inventory, "stock_levels")
                assert (behind.projection_id.version, behind.is_active, behind.lag_events) == (2, True, 1)
                await inventory.followers.catch_up(on_failure="stop")
                row = await inventory.queries.stock("tea", "berlin", wait_for_position=done.position)
                assert row is not None
                assert row.on_hand == 12
                (status,) = await status_of(inventory, "stock_levels")
                assert (status.projection_id.version, status.position, status.lag_events) == (2, done.position, 0)
            assert await versions_of(model, "stock_levels") == [(2, True)]

    anyio.run(body, backend=backend)


@pytest.mark.parametrize("is_dropped", [True, False])
def test_followers_that_run_notice_a_changeover(is_dropped: bool, backend: str, kind: str, tmp_path: Path) -> None:
    async def body() -> None:
        async with stores(kind, tmp_path) as (store, model), open_inventory(store) as inventory:
            await inventory.add_stock("tea", "berlin", 5)
            follows = follower(stock_levels(), store, model)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(follows.run)
                queries = await open_queries(model)
                await queries.stock("tea", "berlin", wait_for_position=1)
                for version in (2, 3):
                    await rebuild(store, model, stock_levels(version=version), drop=version - 1 if is_dropped else None)
                    done = await inventory.add_stock("tea", "berlin", 7)
                    row = await queries.stock("tea", "berlin", wait_for_position=done.position)
                    assert row is not None
                    assert row.on_hand == 5 + 7 * (version - 1)
                    (status,) = await follows.status()
                    assert (status.projection_id.version, status.is_active) == (version, True)
                follows.stop()
            unfollowed = [] if is_dropped else [(1, False), (2, False)]
            assert await versions_of(model, "stock_levels") == [*unfollowed, (3, True)]

    anyio.run(body, backend=backend)


def test_the_active_version_is_kept_up_while_a_newer_one_is_built_beside_it(backend: str) -> None:
    async def body() -> None:
        model = MemoryReadModel()
        async with MemoryEventStore() as store, open_inventory(store) as inventory:
            await inventory.add_stock("tea", "berlin", 5)
            await follower(stock_levels(), store, model).catch_up()
            await inventory.add_stock("tea", "berlin", 7)
            newer = follower(stock_levels(version=2), store, model)
            found = [(one.projection_id.version, one.is_active, one.lag_events) for one in await newer.status()]
            assert found == [(1, True, 1), (2, False, 2)]
            await newer.catch_up()
            (status,) = await newer.status()
            assert (status.projection_id.version, status.is_active, status.lag_events) == (2, True, 0)
            assert status.unfollowed == (ProjectionId("stock_levels", 1),)
            assert (await follower(stock_levels(), store, model).status()) == [status]

    anyio.run(body, backend=backend)


def test_processes_of_different_versions_end_at_the_newest_one(backend: str, kind: str, tmp_path: Path) -> None:
    async def body() -> None:
        clock = ManualClock()
        async with stores(kind, tmp_path) as (store, model):
            await trade(store, clock, steps=30)
            processes = [follower(stock_levels(version=version), store, model) for version in (1, 3, 2)]
            async with anyio.create_task_group() as tasks:
                for one in processes:
                    tasks.start_soon(one.run)

                async def is_followed_at_the_end() -> bool:
                    return [(one.projection_id.version, one.state, one.lag_events) for one in await processes[0].status()] == [
                        (3, "running", 0)
                    ]

                await until(is_followed_at_the_end)
                await trade(store, clock, seed=2, steps=10)
                await until(is_followed_at_the_end)
                for one in processes:
                    one.stop()

    anyio.run(body, backend=backend)


def test_a_version_whose_code_is_its_own_is_not_run_by_other_code_and_not_brought_back(backend: str, kind: str, tmp_path: Path) -> None:
    async def body() -> None:
        mine, newer = low_stock(lambda _: 5), low_stock(lambda _: 20, version=2)
        async with stores(kind, tmp_path) as (store, model):
            async with open_inventory(store, read_models=model, projections=[mine]) as inventory:
                await inventory.add_stock("tea", "berlin", 5)
                await inventory.followers.catch_up(on_failure="stop")
                await rebuild(store, model, newer, drop=None)
                await inventory.add_stock("tea", "berlin", 5)
                await inventory.followers.catch_up(on_failure="stop")
                found = [(one.projection_id.version, one.is_active, one.lag_events) for one in await status_of(inventory, "low_stock")]
                assert found == [(2, True, 1), (1, False, 0)]  # both may be asked, by code of either version
            await model.drop(mine.projection_id)
            async with open_inventory(store, read_models=model, projections=[mine]) as inventory:
                await inventory.followers.catch_up(on_failure="stop")
                (status,) = await status_of(inventory, "low_stock")
                assert (status.projection_id.version, status.state, status.lag_events) == (2, "idle", 1)
            assert await versions_of(model, "low_stock") == [(2, True)]

    anyio.run(body, backend=backend)


def test_code_that_knows_older_tables_goes_on_with_its_own_version(backend: str) -> None:
    async def body() -> None:
        (levels,) = stock_levels().tables
        changed = attrs.evolve(stock_levels(version=2), tables=(Table(levels.name, levels.columns, levels.key),))
        model = MemoryReadModel()
        async with MemoryEventStore() as store, open_inventory(store) as inventory:
            await inventory.add_stock("tea", "berlin", 5)
            await follower(stock_levels(), store, model).catch_up()
            await follower(changed, store, model).catch_up()
            await inventory.add_stock("tea", "berlin", 7)
            old = follower(stock_levels(), store, model)
            await old.catch_up()
            row = await (await open_queries(model)).stock("tea", "berlin", wait_for_position=2)
            assert row is not None
            assert row.on_hand == 12
            assert [(one.projection_id.version, one.lag_events) for one in await old.status()] == [(2, 1), (1, 0)]
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(old.run)
                await model.drop(ProjectionId("stock_levels", 1))
                for _ in range(50):
                    await anyio.lowlevel.checkpoint()
                assert await versions_of(model, "stock_levels") == [(2, True)]
                old.stop()
            with pytest.raises(IncompatibleStoreError):
                await follower(attrs.evolve(stock_levels(), projection_id=ProjectionId("stock_levels", 2)), store, model).run()

    anyio.run(body, backend=backend)


def test_a_rebuild_that_was_given_up_half_way_is_told_and_harms_nobody(backend: str, kind: str, tmp_path: Path) -> None:
    async def body() -> None:
        async with stores(kind, tmp_path) as (store, model), open_inventory(store, read_models=model) as inventory:
            await inventory.add_stock("tea", "berlin", 5)
            await inventory.followers.catch_up(on_failure="stop")
            await model.prepare(ProjectionId("stock_levels", 2), (*stock_levels().tables, DEAD_LETTERS))
            done = await inventory.add_stock("tea", "berlin", 7)
            await inventory.followers.catch_up(on_failure="stop")
            row = await inventory.queries.stock("tea", "berlin", wait_for_position=done.position)
            assert row is not None
            assert row.on_hand == 12
            (status,) = await status_of(inventory, "stock_levels")
            assert (status.projection_id.version, status.unfollowed) == (1, (ProjectionId("stock_levels", 2),))

    anyio.run(body, backend=backend)


def test_orders_and_transfers_are_followed_after_a_rebuild(backend: str, kind: str, tmp_path: Path) -> None:
    async def body() -> None:
        both = [orders(), transfers()]
        async with stores(kind, tmp_path) as (store, model), open_inventory(store, read_models=model, projections=both) as inventory:
            await inventory.followers.catch_up(on_failure="stop")
            await rebuild(store, model, orders(version=2))
            await rebuild(store, model, transfers(version=2))
            await Orders(inventory).reserve("order-1", [("tea", "berlin", 1)], ttl=timedelta(minutes=15))
            await inventory.followers.catch_up(on_failure="stop")
            row = await (await open_order_queries(model)).order("order-1")
            assert row is not None
            assert row.status is OrderStatus.REJECTED
            found = [(str(one.projection_id), one.lag_events) for one in await inventory.followers.status()]
            assert {("orders v2", 0), ("transfers v2", 0)} < set(found)

    anyio.run(body, backend=backend)


def test_looking_and_asking_do_not_bring_a_dropped_version_back(backend: str, kind: str, tmp_path: Path) -> None:
    async def body() -> None:
        async with stores(kind, tmp_path) as (store, model):
            await rebuild(store, model, stock_levels(version=2), drop=None)
            async with open_inventory(store, read_models=model) as inventory:
                assert await inventory.queries.stock("tea", "berlin") is None
                await inventory.followers.status()
                await inventory.followers.resume()
            assert await versions_of(model, "stock_levels") == [(2, True)]

    anyio.run(body, backend=backend)


def test_the_synchronous_followers_follow_the_rebuilt_version(tmp_path: Path) -> None:
    url = f"sqlite:{tmp_path / 'stock.db'}"

    async def rebuild_elsewhere() -> None:
        async with stores("sqlite", tmp_path) as (store, model):
            await rebuild(store, model, stock_levels(version=2))

    with inventory_es.sync.open_inventory(url, read_models=url) as inventory:
        inventory.add_stock("tea", "berlin", 5)
        inventory.followers.catch_up(on_failure="stop")
    anyio.run(rebuild_elsewhere)
    with inventory_es.sync.open_inventory(url, read_models=url) as inventory:
        inventory.add_stock("tea", "berlin", 7)
        inventory.followers.catch_up(on_failure="stop")
        row = inventory.queries.stock("tea", "berlin")
        assert row is not None
        assert row.on_hand == 12
