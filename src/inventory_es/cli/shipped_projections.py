"""The projections that the command line runs: those that ship and need no settings."""

from collections.abc import Callable, Mapping

from inventory_es.application.projection import Projection
from inventory_es.application.projections import ledger, open_reservations, orders, stock_levels

SHIPPED: Mapping[str, Callable[[int], Projection]] = {
    "stock_levels": lambda version: stock_levels(version=version),
    "open_reservations": lambda version: open_reservations(version=version),
    "ledger": lambda version: ledger(version=version),
    "orders": lambda version: orders(version=version),
}
"""By name: makes any version of it."""
