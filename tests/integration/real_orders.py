"""A file of real orders through the whole read side, held against a count of the file.

Deep run, such as a month into PostgreSQL: ``python -m tests.integration.real_orders FILE postgresql``. The store is ``sqlite`` by default.
"""

import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
import attrs

from inventory_es import open_inventory
from inventory_es.adapters.postgresql import PostgresqlEventStore, open_postgresql_event_store, open_postgresql_read_model
from inventory_es.adapters.serialization import JsonEventCodec
from inventory_es.adapters.sqlite import SqliteEventStore, open_sqlite_event_store, open_sqlite_read_model
from inventory_es.adapters.system import SystemClock
from inventory_es.application.following.projection import Projection
from inventory_es.application.following.runner import ProjectionRunner
from inventory_es.application.projections import daily_summary, ledger, low_stock, open_reservations, stock_levels, stock_totals
from inventory_es.application.projections.stock_levels import StockRow
from inventory_es.application.queries.stock_queries import open_queries
from inventory_es.application.results import HistoryEntry
from inventory_es.domain.events import StockAddedEvent, StockAdjustedEvent, StockCommittedEvent, StockReleasedEvent, StockReservedEvent
from inventory_es.ports import EventFeed, ReadModel, Row
from inventory_es.ports.read_model import place_of
from tests.integration.independent_count import shelves, times
from tests.integration.replaying import replay, store_url

PROJECTIONS = (stock_levels(), stock_totals(), open_reservations(), ledger(), daily_summary(), low_stock(lambda _: 5))


@attrs.define
class Figures:
    """What was compared.

    Attributes:
        events: in the store.
        balances: of the read model, equal to a fold of the events by the domain, and to the count of the file.
        dates: at which every balance of the past was compared to the count of the file, by the ledger and from the stream.
        past_balances: compared at these dates.
        seconds: of the catch-up, by projection.
    """

    events: int = 0
    balances: int = 0
    dates: list[datetime] = attrs.field(factory=list[datetime])
    past_balances: int = 0
    seconds: dict[str, float] = attrs.field(factory=dict[str, float])


async def check(path: Path, url: str, *, past: int) -> Figures:
    """Replay the file into SQLite or PostgreSQL, catch up, compare.

    Args:
        path: of the orders.
        url: of an empty store, which keeps the read model too.
        past: how many products to compare at each of three dates.

    Raises:
        AssertionError: something differs.
    """
    figures = Figures()
    async with AsyncExitStack() as opened:
        store: PostgresqlEventStore | SqliteEventStore
        read_model: ReadModel
        if url.startswith("postgresql:"):
            store = await opened.enter_async_context(open_postgresql_event_store(url))
            read_model = await opened.enter_async_context(open_postgresql_read_model(url))
        else:
            place = url.removeprefix("sqlite:")
            store = await opened.enter_async_context(open_sqlite_event_store(place))
            read_model = await opened.enter_async_context(open_sqlite_read_model(place))
        figures.events = (await replay(path, store)).totals.events
        for projection in PROJECTIONS:
            begun = time.perf_counter()
            await _catch_up(projection, store, read_model)
            figures.seconds[projection.projection_id.name] = time.perf_counter() - begun
        levels = {str(row["product_id"]): row for row in [row async for row in _rows(read_model, PROJECTIONS[0], "levels")]}
        assert {product: row["on_hand"] for product, row in levels.items() if row["on_hand"]} == _some(shelves(path))
        async with open_inventory(store) as inventory:
            queries = await open_queries(read_model)
            for product, row in levels.items():
                entries = [entry async for entry in inventory.history(product, "main")]
                assert (row["on_hand"], row["reserved"], row["version"]) == _folded(entries)
                figures.balances += 1
            moments = sorted(set(times(path)))
            figures.dates = [moments[len(moments) * part // 4] for part in (1, 2, 3)]
            for at in figures.dates:
                then = shelves(path, until=at)
                for product in sorted(levels)[:past]:
                    from_rows = await queries.as_of(product, "main", time=at)
                    from_stream = await inventory.as_of(product, "main", time=at)
                    assert (_on_hand(from_rows), from_stream.on_hand) == (then.get(product, 0),) * 2, (product, at)
                    figures.past_balances += 1
    return figures


async def _catch_up(projection: Projection, feed: EventFeed, read_model: ReadModel) -> None:
    runner = ProjectionRunner(
        projection, feed=feed, read_model=read_model, codec=JsonEventCodec(), clock=SystemClock(), owner="check", on_failure="stop"
    )
    await runner.catch_up()
    status = await runner.status()
    assert (status.state, status.lag_events) == ("idle", 0)


async def _rows(read_model: ReadModel, projection: Projection, table: str) -> AsyncIterator[Row]:
    (shape,) = [one for one in projection.tables if one.name == table]
    after = None
    is_end = False
    while not is_end:
        page = await read_model.select(projection.projection_id, table, after=after, limit=1_000)
        for row in page.rows:
            yield row
        is_end = page.is_end
        after = None if is_end else place_of(shape, (), page.rows[-1])


def _folded(entries: list[HistoryEntry]) -> tuple[int, int, int]:
    """On hand, reserved and version, by adding up what each event says that it moved."""
    on_hand = reserved = 0
    for entry in entries:
        match entry.event:
            case StockAddedEvent():
                on_hand += entry.event.quantity
            case StockAdjustedEvent():
                on_hand += entry.event.delta
            case StockReservedEvent():
                reserved += entry.event.quantity
            case StockReleasedEvent():
                reserved -= entry.event.quantity
            case StockCommittedEvent():
                on_hand -= entry.event.quantity
                reserved -= entry.event.quantity
            case _:
                pass
    return on_hand, reserved, len(entries)


def _some(shelf: dict[str, int]) -> dict[str, int]:
    return {product: units for product, units in shelf.items() if units}


def _on_hand(row: StockRow | None) -> int:
    return 0 if row is None else row.on_hand


def main(path: str, scheme: str = "sqlite") -> None:
    """Check a file and print the figures."""
    with TemporaryDirectory() as folder, store_url(scheme, Path(folder)) as url:
        figures = anyio.run(partial(check, Path(path), url, past=10_000))
    for name, value in attrs.asdict(figures).items():
        print(f"{name}: {value}")


if __name__ == "__main__":
    main(*sys.argv[1:])
