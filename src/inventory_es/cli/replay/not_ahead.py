"""Time never runs backwards in a stream, so orders can't be brought in behind what happened later."""

from collections.abc import Mapping
from datetime import datetime

from inventory_es.cli.replay.sources import OrdersError, OrderSource
from inventory_es.cli.replay.steps import steps
from inventory_es.cli.replay.survey import Survey
from inventory_es.domain.identifiers import InventoryId
from inventory_es.ports import EventFeed, EventStore
from inventory_es.ports.toolkit.page_rules import read_stream_page_backwards


async def is_empty(store: EventStore) -> bool:
    """Whether nothing was ever stored; ``False`` where there is no quick way to know."""
    return isinstance(store, EventFeed) and await store.head() == 0


async def check_not_ahead(store: EventStore, source: OrderSource, survey: Survey) -> None:
    """Check that no inventory has events from after the time at which these orders first move it.

    Orders that are in already move nothing.

    Raises:
        OrdersError: one has; it says which, and what to do.
    """
    for inventory_id, at in _first_moves(source, survey).items():
        page = await read_stream_page_backwards(store, inventory_id.stream, limit=1)
        if page.events and page.events[0].recorded_at > at:
            msg = (
                f"{source.name} moves {inventory_id} at {at:%Y-%m-%d %H:%M:%S}, and the store has events of it up to "
                f"{page.events[0].recorded_at:%Y-%m-%d %H:%M:%S}: bring files in by date, or use a store of its own; nothing was written"
            )
            raise OrdersError(msg)


def _first_moves(source: OrderSource, survey: Survey) -> Mapping[InventoryId, datetime]:
    if not any(invoice.is_in for invoice in survey.invoices):
        return survey.first_moved
    moves: dict[InventoryId, datetime] = {}
    for step in steps(source, survey.invoices):
        for inventory_id in step.inventory_ids():
            moves.setdefault(inventory_id, step.at)
    return moves
