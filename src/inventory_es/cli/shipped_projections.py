"""The projections that the command line runs: those that ship and need no settings."""

from collections.abc import Callable, Mapping

from inventory_es.application.following.projection import Projection
from inventory_es.application.projections import daily_summary, ledger, open_reservations, orders, stock_levels, stock_totals
from inventory_es.ports import ReadModel
from inventory_es.ports.errors import IncompatibleStoreError

SHIPPED: Mapping[str, Callable[[int], Projection]] = {
    "stock_levels": lambda version: stock_levels(version=version),
    "open_reservations": lambda version: open_reservations(version=version),
    "ledger": lambda version: ledger(version=version),
    "stock_totals": lambda version: stock_totals(version=version),
    "daily_summary": lambda version: daily_summary(version=version),
    "orders": lambda version: orders(version=version),
}
"""By name: makes any version of it."""


async def active_projection(read_model: ReadModel, name: str) -> Projection | None:
    """The version of a projection that readers ask; ``None`` where the read model has none.

    Raises:
        IncompatibleStoreError: another version of this package has shaped its rows.
    """
    for one in await read_model.versions(name):
        if one.is_active:
            projection = SHIPPED[name](one.projection_id.version)
            if one.tables != projection.all_tables:
                problem = f"this package shapes its rows in another way: 'inventory-es rebuild {name}' builds them anew"
                raise IncompatibleStoreError(store="projection", place=str(one.projection_id), problem=problem)
            return projection
    return None
