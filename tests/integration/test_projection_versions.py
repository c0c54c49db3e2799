"""Versions of a projection: built beside the running one while events arrive, changed over to in one step, dropped."""

from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import attrs
import pytest

from inventory_es.adapters.memory import MemoryEventStore, MemoryReadModel
from inventory_es.application.following.projection import Projection
from inventory_es.application.projections import stock_levels
from inventory_es.application.queries.stock_queries import open_queries
from inventory_es.errors import FeedRewoundError, IncompatibleStoreError, ProjectionNotFoundError
from inventory_es.ports import Table
from inventory_es.testing import ManualClock
from tests.integration.read_side import LEASE, balances, figures, rows_of, runner, trade, whole_feed
from tests.integration.test_projections import kind, stores

__all__ = ["kind"]

FIRST, SECOND = stock_levels(), stock_levels(version=2)
COUNTS = ("product_id", "store_id", "on_hand", "reserved", "version")


def other_tables(version: int) -> Projection:
    (levels,) = FIRST.tables
    wider = Table(levels.name, levels.columns, levels.key)
    return attrs.evolve(stock_levels(version=version), tables=(wider,))


def test_a_rebuild_while_events_arrive_loses_none_and_readers_change_over_once_and_never_go_back(
    backend: str, kind: str, tmp_path: Path
) -> None:
    seen: list[tuple[int, int]] = []

    async def read_on(model: Any, queries: Any, is_over: anyio.Event) -> None:
        while not is_over.is_set():
            page = await queries.store_inventory("s0")
            active = next(one.projection_id.version for one in await model.versions("stock_levels") if one.is_active)
            seen.append((active, page.checkpoint.position))
            await anyio.lowlevel.checkpoint()

    async def body() -> None:
        clock = ManualClock()
        async with stores(kind, tmp_path) as (store, model):
            await trade(store, clock, steps=60)
            old, new = runner(FIRST, store, model, clock), runner(SECOND, store, model, clock, owner="two")
            await old.catch_up()
            queries = await open_queries(model)
            old = runner(FIRST, store, model, clock)
            is_over = anyio.Event()
            with anyio.fail_after(30):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(read_on, model, queries, is_over)
                    tasks.start_soon(old.run)
                    assert (await new.status()).active == FIRST.projection_id
                    tasks.start_soon(new.run)
                    await trade(store, clock, seed=2, steps=60)
                    while (await new.status()).active != SECOND.projection_id:
                        await anyio.lowlevel.checkpoint()
                    old.stop()
                    await trade(store, clock, seed=3, steps=20)
                    head = (await whole_feed(store))[-1].position
                    assert (await queries.store_inventory("s0", wait_for_position=head)).checkpoint.position == head
                    await model.drop(FIRST.projection_id)
                    assert (await queries.store_inventory("s0")).checkpoint.position == head
                    is_over.set()
                    new.stop()
            assert seen == sorted(seen)
            assert {version for version, _ in seen} == {1, 2}
            events = await whole_feed(store)
            assert figures(await rows_of(model, SECOND, "levels"), *COUNTS) == balances(events, head)

    anyio.run(body, backend=backend)


def test_a_runner_of_a_dropped_version_ends_and_does_not_bring_it_back(backend: str, kind: str, tmp_path: Path) -> None:
    async def body() -> None:
        clock = ManualClock()
        async with stores(kind, tmp_path) as (store, model):
            await trade(store, clock, steps=10)
            old = runner(FIRST, store, model, clock)
            await runner(SECOND, store, model, clock).catch_up()
            with anyio.fail_after(10):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(old.run)
                    while (await old.status()).lag_events:
                        await anyio.lowlevel.checkpoint()
                    await model.drop(FIRST.projection_id)
                    clock.advance(LEASE)
            with pytest.raises(ProjectionNotFoundError):
                await old.status()
            assert [one.projection_id for one in await model.versions("stock_levels")] == [SECOND.projection_id]

    anyio.run(body, backend=backend)


def test_readers_sent_back_to_an_older_version_stay_there(backend: str, kind: str, tmp_path: Path) -> None:
    async def body() -> None:
        clock = ManualClock()
        async with stores(kind, tmp_path) as (store, model):
            await trade(store, clock, steps=10)
            new = runner(SECOND, store, model, clock)
            for runs in (runner(FIRST, store, model, clock), new):
                await runs.catch_up()
            assert (await new.status()).active == SECOND.projection_id
            before = await model.checkpoint(FIRST.projection_id)
            assert await model.activate(FIRST.projection_id, before=before)
            await trade(store, clock, seed=2, steps=10)
            await new.catch_up()
            assert (await new.status()).active == FIRST.projection_id

    anyio.run(body, backend=backend)


def test_a_reader_that_knows_other_tables_goes_on_with_its_own_version(backend: str, kind: str, tmp_path: Path) -> None:
    async def body() -> None:
        clock = ManualClock()
        changed = other_tables(2)
        async with stores(kind, tmp_path) as (store, model):
            await trade(store, clock, steps=10)
            await runner(FIRST, store, model, clock).catch_up()
            old = await open_queries(model)
            position = (await old.store_inventory("s0")).checkpoint.position
            with pytest.raises(IncompatibleStoreError, match="still being built"):
                await open_queries(model, projections=[changed])
            await runner(changed, store, model, clock).catch_up()
            new = await open_queries(model, projections=[changed])
            await trade(store, clock, seed=2, steps=10)
            await runner(changed, store, model, clock).catch_up()
            for _ in range(2):
                assert (await old.store_inventory("s0")).checkpoint.position == position
                assert (await new.store_inventory("s0")).checkpoint.position > position
            await model.drop(FIRST.projection_id)
            with pytest.raises(ProjectionNotFoundError):
                await old.store_inventory("s0")
            await model.drop(changed.projection_id)
            with pytest.raises(ProjectionNotFoundError):
                await new.store_inventory("s0")

    anyio.run(body, backend=backend)


def test_rows_of_another_store_are_told(backend: str) -> None:
    async def body() -> None:
        clock, model = ManualClock(), MemoryReadModel()
        async with MemoryEventStore() as store, MemoryEventStore() as other:
            await trade(store, clock, steps=10)
            await runner(FIRST, store, model, clock).catch_up()
            with pytest.raises(FeedRewoundError, match="another event store"):
                await runner(FIRST, other, model, clock).run()

    anyio.run(body, backend=backend)
