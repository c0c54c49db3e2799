"""The projections that every query side has, and those of a host."""

from collections.abc import Iterable

from inventory_es.application.following.projection import Projection
from inventory_es.application.projections.ledger import ledger
from inventory_es.application.projections.low_stock import low_stock
from inventory_es.application.projections.open_reservations import open_reservations
from inventory_es.application.projections.stock_levels import stock_levels


def with_shipped(projections: Iterable[Projection]) -> dict[str, Projection]:
    """Return the shipped projections and these, by name; one of these replaces the shipped one of its name.

    Without thresholds of the host's own, an inventory is low when nothing is available.
    """
    shipped = (stock_levels(), open_reservations(), ledger(), low_stock(lambda _product_id: 0))
    return {projection.projection_id.name: projection for projection in (*shipped, *projections)}
