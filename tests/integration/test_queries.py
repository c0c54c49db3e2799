"""Queries over both read models: what they answer equals the strong reads, page by page, and one's own writes are waited for."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from inventory_es import open_inventory
from inventory_es.adapters.memory import MemoryReadModel
from inventory_es.application.projections import low_stock, stock_levels
from inventory_es.application.queries.stock_queries import open_queries
from inventory_es.errors import ReadModelBehindError
from inventory_es.testing import ManualClock
from tests.integration.read_side import runner, trade, whole_feed
from tests.integration.test_projections import SHIPPED, kind, stores

__all__ = ["kind"]


async def pages(ask: Any, *given: str, **question: Any) -> list[Any]:
    """All rows, two at a time."""
    rows: list[Any] = []
    page = await ask(*given, limit=2, **question)
    while page.next_after is not None:
        rows += page.rows
        page = await ask(*given, limit=2, after=page.next_after, **question)
    return rows + list(page.rows)


def test_queries_agree_with_strong_reads_page_by_page(backend: str, kind: str, tmp_path: Path) -> None:
    async def body() -> None:
        clock = ManualClock()
        async with stores(kind, tmp_path) as (store, model):
            await trade(store, clock)
            for projection in SHIPPED:
                await runner(projection, store, model, clock).catch_up()
            queries = await open_queries(model)
            events = await whole_feed(store)
            rows = await pages(queries.store_inventory, "s0") + await pages(queries.store_inventory, "s1")
            assert sorted((row.product_id, row.store_id) for row in rows) == sorted({event.stream.parts for event in events})
            by_product = [row for product in ("p0", "p1", "p2") for row in await pages(queries.product_inventory, product)]
            assert sorted(by_product, key=str) == sorted(rows, key=str)
            reserved: dict[Any, int] = {}
            held = await pages(queries.open_reservations)
            assert [row.reserved_at for row in held] == sorted(row.reserved_at for row in held)
            assert [row for row in held if row.store_id == "s1"] == await pages(queries.open_reservations, store_id="s1")
            for row in held:
                reserved[row.product_id, row.store_id] = reserved.get((row.product_id, row.store_id), 0) + row.remaining
            async with open_inventory(store, clock=clock) as inventory:
                for row in rows:
                    assert await queries.stock(row.product_id, row.store_id) == row
                    level = await inventory.stock(row.product_id, row.store_id)
                    assert (row.on_hand, row.reserved, row.version) == (level.on_hand, level.reserved, level.version)
                    assert row.available == row.on_hand - row.reserved
                    assert row.reserved == reserved.get((row.product_id, row.store_id), 0)
                    movements = await pages(queries.ledger, row.product_id, row.store_id)
                    assert [one.version for one in movements] == list(range(1, row.version + 1))
                    assert (movements[-1].on_hand, movements[-1].recorded_at) == (row.on_hand, row.recorded_at)
                    backwards = await pages(queries.ledger, row.product_id, row.store_id, newest_first=True)
                    assert backwards == movements[::-1]
            low = await pages(queries.low_stock)
            assert {(one.product_id, one.store_id) for one in low} == {
                (row.product_id, row.store_id) for row in rows if row.available <= int(row.product_id[1]) * 60
            }
            assert [one for one in low if one.store_id == "s0"] == await pages(queries.low_stock, store_id="s0")
            assert await queries.stock("none", "none") is None

    anyio.run(body, backend=backend)


def test_ones_own_write_is_waited_for(backend: str, kind: str, tmp_path: Path) -> None:
    async def body() -> None:
        clock = ManualClock()
        async with stores(kind, tmp_path) as (store, model), open_inventory(store, clock=clock) as inventory:
            queries = await open_queries(model)
            runs = runner(stock_levels(), store, model, clock)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(runs.run)
                for number in range(1, 6):
                    done = await inventory.add_stock("p", "s", 1)
                    row = await queries.stock("p", "s", wait_for_position=done.position)
                    assert row is not None
                    assert (row.on_hand, row.version, row.position, row.recorded_at) == (number, number, done.position, clock.now())
                runs.stop()

    anyio.run(body, backend=backend)


def test_a_position_that_does_not_come_is_told(backend: str) -> None:
    async def body() -> None:
        queries = await open_queries(MemoryReadModel(), patience=0)
        with pytest.raises(ReadModelBehindError) as behind:
            await queries.stock("p", "s", wait_for_position=3)
        assert (behind.value.position, behind.value.actual_position) == (3, 0)
        for patience, interval in ((-1, 1), (1, 0)):
            with pytest.raises(ValueError, match="patience"):
                await open_queries(MemoryReadModel(), patience=patience, interval=interval)

    anyio.run(body, backend=backend)


def test_the_only_version_there_is_is_asked(backend: str, tmp_path: Path) -> None:
    async def body() -> None:
        clock = ManualClock()
        async with stores("memory", tmp_path) as (store, model), open_inventory(store, clock=clock) as inventory:
            await inventory.add_stock("p", "s", 5)
            await inventory.reserve("p", "s", 1, ttl=timedelta(minutes=1))
            await runner(low_stock(lambda _: 4, version=2), store, model, clock).catch_up()
            page = await (await open_queries(model)).low_stock()
            assert [(row.available, row.threshold, row.since) for row in page.rows] == [(4, 4, clock.now())]
            assert page.checkpoint.position == 2

    anyio.run(body, backend=backend)
