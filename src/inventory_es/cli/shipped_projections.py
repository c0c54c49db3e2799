"""The projections that the command line runs: those that ship and need no settings."""

from collections.abc import Callable, Mapping

from inventory_es.application.projection import Projection
from inventory_es.application.projections import daily_summary, ledger, open_reservations, orders, stock_levels, stock_totals

SHIPPED: Mapping[str, Callable[[int], Projection]] = {
    "stock_levels": lambda version: stock_levels(version=version),
    "open_reservations": lambda version: open_reservations(version=version),
    "ledger": lambda version: ledger(version=version),
    "stock_totals": lambda version: stock_totals(version=version),
    "daily_summary": lambda version: daily_summary(version=version),
    "orders": lambda version: orders(version=version),
}
"""By name: makes any version of it."""
