"""Balances of all inventories, from their streams or from the rows of the projection ``stock_levels``: the same either way."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from inventory_es.adapters.serialization import JsonEventCodec
from inventory_es.application.commands.stream_heads import stream_heads
from inventory_es.application.projections.stock_levels import LEVELS, StockRow
from inventory_es.cli.reading import open_rows_to_read, open_to_read
from inventory_es.domain.events import Event
from inventory_es.domain.identifiers import INVENTORY_CATEGORY
from inventory_es.ports import RecordedEvent, Row
from inventory_es.ports.toolkit.page_rules import read_stream_page_backwards

_PAGE = 1_000


async def levels_in_streams(url: str, store_id: str | None) -> AsyncGenerator[StockRow, None]:
    """The balance that the last event of each stream carries.

    Args:
        url: of the store.
        store_id: in this store alone; ``None``: in all.
    """
    codec = JsonEventCodec()
    async with open_to_read(url) as inventory, aclosing(stream_heads(inventory.store, f"{INVENTORY_CATEGORY}-")) as heads:
        async for head in heads:
            if store_id in {None, head.stream.parts[1]}:
                page = await read_stream_page_backwards(inventory.store, head.stream, limit=1)
                yield _level(codec.decode(page.events[0]), page.events[0])


async def levels_in_rows(path: str, store_id: str | None) -> AsyncGenerator[StockRow, None]:
    """The rows, as far as the projection is.

    Args:
        path: of the read model.
        store_id: in this store alone; ``None``: in all.
    """
    where: Row = {} if store_id is None else {"store_id": store_id}
    async with open_rows_to_read(path, "stock_levels") as reader:
        page = await reader.select(LEVELS, where=where, limit=_PAGE)
        while True:
            for row in page.rows:
                yield row
            if page.next_after is None:
                return
            page = await reader.select(LEVELS, where=where, after=page.next_after, limit=_PAGE)


def _level(event: Event, recorded: RecordedEvent) -> StockRow:
    return StockRow(
        product_id=event.product_id,
        store_id=event.store_id,
        on_hand=event.on_hand,
        reserved=event.reserved,
        available=event.on_hand - event.reserved,
        version=recorded.version,
        position=recorded.position,
        recorded_at=recorded.recorded_at,
    )
