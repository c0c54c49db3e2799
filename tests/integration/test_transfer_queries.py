"""Queries of transfers over both read models: what they answer equals the transfers themselves, whatever became of them."""

from collections import Counter
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import anyio
import pytest

from inventory_es import open_inventory
from inventory_es.application.projections import transfers
from inventory_es.domain.processes.transfer.events import Movement
from inventory_es.errors import ReadModelBehindError, RejectionError
from inventory_es.processes import Transfer, TransferRow, Transfers, TransferStatus, open_transfer_queries
from inventory_es.testing import ManualClock
from tests.integration.read_side import runner
from tests.integration.test_projections import kind, stores

__all__ = ["kind"]
STORES = ("s1", "s2", "s3")


async def move(of: Transfers, inventory: Any, clock: ManualClock, seed: int) -> list[str]:
    """Transfers of every fate; their ids."""
    chance = Random(seed)
    for product in range(3):
        for store in STORES:
            await inventory.add_stock(f"p{product}", store, 40)
    names = [f"T{number}" for number in range(20)]
    for name in names:
        clock.advance(timedelta(seconds=chance.randint(0, 200)))
        source, destination = chance.sample(STORES, 2)
        goods = [(f"p{product}", chance.randint(1, 12)) for product in chance.sample(range(3), chance.randint(1, 3))]
        await of.draft(name, goods, source=source, destination=destination)
    for number in range(90):
        clock.advance(timedelta(seconds=chance.randint(0, 600)))
        name = chance.choice(names)
        transfer = await of.transfer(name)
        line = chance.choice(transfer.lines)
        part = chance.choice([None, [(line.product_id, chance.randint(1, line.quantity))]])
        try:
            match chance.randint(0, 6):
                case 0 | 1 | 2:
                    due = clock.now() + timedelta(seconds=chance.randint(-600, 6_000))
                    await of.dispatch(name, expected_at=chance.choice([due, None]))
                case 3 | 4:
                    await of.receive(name, f"r{number}", part)
                case 5:
                    await chance.choice([of.take_back, of.write_off])(name, f"m{number}", part)
                case _:
                    await of.cancel(name)
        except RejectionError:
            continue
    return names


def told(row: TransferRow) -> tuple[object, ...]:
    where = (row.source_store_id, row.destination_store_id)
    return row.status, *where, row.lines, row.units, row.in_transit, row.lost, row.drafted_at, row.dispatched_at, row.due_at, row.version


def figures(transfer: Transfer) -> tuple[object, ...]:
    where = (transfer.source_store_id, transfer.destination_store_id)
    units = sum(line.quantity for line in transfer.lines)
    under_way, lost = transfer.units_in_transit, transfer.units(Movement.LOSS)
    times = (transfer.drafted_at, transfer.dispatched_at, transfer.expected_at)
    return transfer.status, *where, len(transfer.lines), units, under_way, lost, *times, transfer.version


@pytest.mark.parametrize("seed", range(4))
def test_rows_equal_the_transfers(backend: str, kind: str, tmp_path: Path, seed: int) -> None:
    async def body() -> None:
        clock = ManualClock()
        async with stores(kind, tmp_path) as (store, model), open_inventory(store, clock=clock) as inventory:
            of = Transfers(inventory)
            names = await move(of, inventory, clock, seed)
            await runner(transfers(), store, model, clock).catch_up()
            queries = await open_transfer_queries(model, patience=0)
            all_of_them = {name: await of.transfer(name) for name in names}
            for name, transfer in all_of_them.items():
                row = await queries.transfer(name)
                assert row is not None
                assert told(row) == figures(transfer)
                assert row.recorded_at == transfer.last_time
            by_status: list[str] = []
            for status in TransferStatus:
                page = await queries.transfers(status, limit=3)
                rows = list(page.rows)
                while page.next_after is not None:
                    page = await queries.transfers(status.value, limit=3, after=page.next_after)
                    rows += page.rows
                assert [row.since for row in rows] == sorted(row.since for row in rows)
                assert {row.status for row in rows} <= {status}
                by_status += [row.transfer_id for row in rows]
            assert sorted(by_status) == sorted(names)
            under_way = [one for one in all_of_them.values() if one.status is TransferStatus.DISPATCHED]
            for at in (clock.now(), clock.now() - timedelta(hours=1), clock.now() + timedelta(days=1)):
                late = [one for one in under_way if one.expected_at is not None and one.expected_at <= at]
                page = await queries.overdue(at, limit=2)
                found = list(page.rows)
                while page.next_after is not None:
                    page = await queries.overdue(at, limit=2, after=page.next_after)
                    found += page.rows
                assert sorted(row.transfer_id for row in found) == sorted(one.transfer_id for one in late)
                assert [row.due_at for row in found] == sorted(row.due_at for row in found if row.due_at is not None)
            for store_id in STORES:
                expected = Counter[str]()
                for one in under_way:
                    for number, units in one.in_transit.items():
                        expected[one.lines[number - 1].product_id] += units if one.destination_store_id == store_id else 0
                for product, units in expected.items():
                    rows_of = (await queries.incoming(store_id, product)).rows
                    assert sum(row.in_transit for row in rows_of) == units
                assert sum(row.in_transit for row in (await queries.incoming(store_id)).rows) == expected.total()
            assert await queries.transfer("T99") is None
            with pytest.raises(ReadModelBehindError):
                await queries.transfer("T1", wait_for_position=10**6)
            with pytest.raises(ValueError, match="at must be an aware datetime"):
                await queries.overdue(clock.now().replace(tzinfo=None))

    anyio.run(body, backend=backend)
