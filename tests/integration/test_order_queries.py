"""Queries of orders over both read models: what they answer equals the orders themselves, whatever became of them."""

from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import anyio
import pytest

from inventory_es import open_inventory
from inventory_es.application.projections import orders
from inventory_es.errors import ReadModelBehindError, RejectionError
from inventory_es.processes import OrderQueries, OrderReservation, Orders, OrderStatus, open_order_queries
from inventory_es.testing import ManualClock
from tests.integration.read_side import runner
from tests.integration.test_projections import kind, stores

__all__ = ["kind"]
TTL = timedelta(minutes=15)


async def trade(orders_of: Orders, inventory: Any, clock: ManualClock, seed: int) -> list[str]:
    """Orders of every fate; their ids."""
    chance = Random(seed)
    for product in range(4):
        await inventory.add_stock(f"p{product}", "s", 30)
    names = [f"O{number}" for number in range(25)]
    for name in names:
        clock.advance(timedelta(seconds=chance.randint(0, 200)))
        items = [(f"p{product}", "s", chance.randint(1, 9)) for product in chance.sample(range(4), chance.randint(1, 3))]
        await orders_of.reserve(name, items, ttl=TTL, owner_id=f"c{chance.randint(1, 3)}")
    for number in range(120):
        clock.advance(timedelta(seconds=chance.randint(0, 60)))
        name = chance.choice(names)
        try:
            match chance.randint(0, 7):
                case 0 | 1 | 2:
                    await orders_of.authorise_payment(name, f"pay-{name}")
                case 3 | 4:
                    order = await orders_of.order(name)
                    line = chance.choice(order.lines)
                    part = [(line.product_id, line.store_id, chance.randint(1, line.quantity))]
                    await orders_of.ship(name, f"x{number}", chance.choice([part, None]))
                case 5:
                    await orders_of.cancel(name)
                case 6:
                    await orders_of.advance(name)
                case _:
                    await orders_of.resolve(name)
        except RejectionError:
            continue
    return names


async def all_rows(queries: OrderQueries) -> dict[str, Any]:
    """Every order, asked by state, three at a time."""
    rows: dict[str, Any] = {}
    for status in OrderStatus:
        page = await queries.orders(status, limit=3)
        of_it = list(page.rows)
        while page.next_after is not None:
            page = await queries.orders(status.value, limit=3, after=page.next_after)
            of_it += page.rows
        assert [row.since for row in of_it] == sorted(row.since for row in of_it)
        assert {row.status for row in of_it} <= {status}
        rows |= {row.order_id: row for row in of_it}
    return rows


def figures(order: OrderReservation) -> tuple[object, ...]:
    units = sum(line.quantity for line in order.lines)
    return order.status, order.owner_id, len(order.lines), units, order.placed_at, order.expires_at, order.payment_id, order.version


@pytest.mark.parametrize("seed", range(4))
def test_rows_equal_the_orders(backend: str, kind: str, tmp_path: Path, seed: int) -> None:
    async def body() -> None:
        clock = ManualClock()
        async with stores(kind, tmp_path) as (store, model), open_inventory(store, clock=clock) as inventory:
            orders_of = Orders(inventory)
            names = await trade(orders_of, inventory, clock, seed)
            await runner(orders(), store, model, clock).catch_up()
            queries = await open_order_queries(model, patience=0)
            rows = await all_rows(queries)
            assert sorted(rows) == sorted(names)
            for name in names:
                order, row = await orders_of.order(name), rows[name]
                told = (row.status, row.owner_id, row.lines, row.units, row.placed_at, row.expires_at, row.payment_id, row.version)
                assert told == figures(order)
                assert row.recorded_at == order.last_time
                assert row == await queries.order(name)
                short = await queries.shortages(name)
                assert [(one.line, one.product_id, one.requested, one.available, one.code) for one in short.rows] == [
                    (one.line, one.product_id, one.requested, one.available, one.code) for one in order.shortages
                ]
            assert len({row.status for row in rows.values()}) >= 4
            assert await queries.order("O99") is None
            with pytest.raises(ReadModelBehindError):
                await queries.order("O1", wait_for_position=10**6)

    anyio.run(body, backend=backend)
