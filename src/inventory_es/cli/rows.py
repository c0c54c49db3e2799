"""Rows of projections: opening a read model that exists, and reading rows from streams or from rows, the same both ways."""

from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing
from pathlib import Path
from typing import NamedTuple, TypeVar

from inventory_es.adapters.serialization import JsonEventCodec
from inventory_es.adapters.sqlite import open_sqlite_read_model
from inventory_es.application.commands.stream_heads import stream_heads
from inventory_es.application.following.projection import EventEnvelope, Projection
from inventory_es.application.projections import daily_summary, ledger, open_reservations, orders, stock_levels, stock_totals
from inventory_es.application.projections.ledger import MOVEMENTS, MovementRow
from inventory_es.application.projections.rows import RowTable
from inventory_es.application.projections.stock_levels import LEVELS, StockRow
from inventory_es.application.queries.projection_reader import open_reader
from inventory_es.cli.reading import open_to_read
from inventory_es.domain.identifiers import INVENTORY_CATEGORY, InventoryId
from inventory_es.ports import Change, Put, ReadModel, Row
from inventory_es.ports.errors import IncompatibleStoreError
from inventory_es.ports.toolkit.page_rules import read_stream_page_backwards
from inventory_es.ports.toolkit.paths import absolute_path

T = TypeVar("T")

_PAGE = 1_000

SHIPPED: Mapping[str, Callable[[int], Projection]] = {
    "stock_levels": lambda version: stock_levels(version=version),
    "open_reservations": lambda version: open_reservations(version=version),
    "ledger": lambda version: ledger(version=version),
    "stock_totals": lambda version: stock_totals(version=version),
    "daily_summary": lambda version: daily_summary(version=version),
    "orders": lambda version: orders(version=version),
}
"""The shipped projections that need no settings: the maker of any version, by name."""


def open_rows_to_read(path: str) -> AbstractAsyncContextManager[ReadModel]:
    """Open a read model that exists, while the block runs.

    Raises:
        IncompatibleStoreError: there is no such file. Opening it would create one.
    """
    if not Path(absolute_path(path)).exists():
        problem = "there is no such file; 'inventory-es project' makes it"
        raise IncompatibleStoreError(store="read model", place=path, problem=problem)
    return open_sqlite_read_model(path)


async def active_projection(read_model: ReadModel, name: str) -> Projection | None:
    """Return the active version of a projection; ``None`` if the read model has none.

    Raises:
        IncompatibleStoreError: the rows were written by a version of this package with other tables.
    """
    for one in await read_model.versions(name):
        if one.is_active:
            projection = SHIPPED[name](one.projection_id.version)
            if one.tables != projection.all_tables:
                problem = f"this package shapes its rows in another way: 'inventory-es rebuild {name}' builds them anew"
                raise IncompatibleStoreError(store="projection", place=str(one.projection_id), problem=problem)
            return projection
    return None


# ── rows, from streams or from projections ───────────────────────────────────────────────────────────────────────────────


class Source(NamedTuple):
    """The source of rows: the streams of a store, or the rows of projections as far as these are.

    Attributes:
        place: the URL of the store, or the path of the read model.
        is_read_model: True for a read model.
    """

    place: str
    is_read_model: bool

    @property
    def urls(self) -> tuple[str, ...]:
        """The URL of the store, if it is read."""
        return () if self.is_read_model else (self.place,)

    async def levels(self, store_id: str | None) -> AsyncGenerator[StockRow, None]:
        """Yield the balance of every inventory, in one store or in all."""
        if self.is_read_model:
            where: Row = {} if store_id is None else {"store_id": store_id}
            async for row in _select(self.place, "stock_levels", LEVELS, where):
                yield row
            return
        codec, apply = JsonEventCodec(), stock_levels().apply
        async with open_to_read(self.place) as inventory, aclosing(stream_heads(inventory.store, f"{INVENTORY_CATEGORY}-")) as heads:
            async for head in heads:
                if store_id in {None, head.stream.parts[1]}:
                    (last,) = (await read_stream_page_backwards(inventory.store, head.stream, limit=1)).events
                    envelope = EventEnvelope(last.stream, last.version, last.position, last.recorded_at)
                    for row in _rows(LEVELS, apply(codec.decode(last), envelope)):
                        yield row

    async def movements(self, inventory_id: InventoryId, last: int | None) -> AsyncGenerator[MovementRow, None]:
        """Yield the movements of an inventory, oldest first: the last ones, or all."""
        if self.is_read_model:
            where: Row = {"product_id": inventory_id.product_id, "store_id": inventory_id.store_id}
            async for row in _select(self.place, "ledger", MOVEMENTS, where, last=last):
                yield row
            return
        apply, stream = ledger().apply, inventory_id.stream
        async with open_to_read(self.place) as inventory:
            version = (await read_stream_page_backwards(inventory.store, stream, limit=1)).version
            after = 0 if last is None else max(0, version - last)
            async for entry in inventory.history(inventory_id.product_id, inventory_id.store_id, after=after):
                for row in _rows(MOVEMENTS, apply(entry.event, EventEnvelope(stream, entry.version, entry.position, entry.recorded_at))):
                    yield row


async def _select(path: str, name: str, table: RowTable[T], where: Row, *, last: int | None = None) -> AsyncGenerator[T, None]:
    """Yield the rows of the active version of a projection, in the order of their keys: the last ones, or all."""
    async with open_rows_to_read(path) as model:
        projection = await active_projection(model, name)
        if projection is None:
            problem = f"it has no {name}: 'inventory-es project' fills it"
            raise IncompatibleStoreError(store="read model", place=path, problem=problem)
        reader = await open_reader(model, projection, patience=0, interval=1)
        if last is not None:
            for row in reversed((await reader.select(table, where=where, limit=last, descending=True)).rows):
                yield row
            return
        page = await reader.select(table, where=where, limit=_PAGE)
        while True:
            for row in page.rows:
                yield row
            if page.next_after is None:
                return
            page = await reader.select(table, where=where, limit=_PAGE, after=page.next_after)


def _rows(table: RowTable[T], changes: Iterable[Change]) -> Iterable[T]:
    """Return the rows that a projection puts, as a read model would return them."""
    return table.read([change.row for change in changes if isinstance(change, Put)])
