"""Movements of an inventory, from its stream or from the rows of the projection ``ledger``: the same either way."""

from collections.abc import AsyncGenerator

from inventory_es.application.following.projection import EventEnvelope
from inventory_es.application.projections.ledger import MOVEMENTS, MovementRow, ledger
from inventory_es.application.queries.stock_queries import StockQueries
from inventory_es.cli.reading import open_rows_to_read, open_to_read
from inventory_es.domain.identifiers import InventoryId
from inventory_es.ports import Put
from inventory_es.ports.toolkit.page_rules import read_stream_page_backwards

_PAGE = 1_000


async def movements_in_stream(url: str, inventory_id: InventoryId, last: int | None) -> AsyncGenerator[MovementRow, None]:
    """Oldest first.

    Args:
        url: of the store.
        inventory_id: whose.
        last: how many at most, those at the end; ``None`` for all.
    """
    apply = ledger().apply
    async with open_to_read(url) as inventory:
        stream = inventory_id.stream
        version = (await read_stream_page_backwards(inventory.store, stream, limit=1)).version
        after = 0 if last is None else max(0, version - last)
        async for entry in inventory.history(inventory_id.product_id, inventory_id.store_id, after=after):
            for change in apply(entry.event, EventEnvelope(stream, entry.version, entry.position, entry.recorded_at)):
                if isinstance(change, Put):
                    (row,) = MOVEMENTS.read([change.row])
                    yield row


async def movements_in_rows(path: str, inventory_id: InventoryId, last: int | None) -> AsyncGenerator[MovementRow, None]:
    """Oldest first, as far as the projection is.

    Args:
        path: of the read model.
        inventory_id: whose.
        last: how many at most, those at the end; ``None`` for all.
    """
    async with open_rows_to_read(path, "ledger") as reader:
        queries = StockQueries({"ledger": reader})
        named = (inventory_id.product_id, inventory_id.store_id)
        if last is not None:
            page = await queries.ledger(*named, newest_first=True, limit=last)
            for row in reversed(page.rows):
                yield row
            return
        page = await queries.ledger(*named, limit=_PAGE)
        while True:
            for row in page.rows:
                yield row
            if page.next_after is None:
                return
            page = await queries.ledger(*named, after=page.next_after, limit=_PAGE)
