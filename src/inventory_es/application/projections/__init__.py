"""Projections that ship."""

from inventory_es.application.projections.daily_summary import daily_summary
from inventory_es.application.projections.ledger import Movement, ledger, movement_of
from inventory_es.application.projections.low_stock import low_stock
from inventory_es.application.projections.open_reservations import open_reservations
from inventory_es.application.projections.orders import orders
from inventory_es.application.projections.stock_levels import stock_levels
from inventory_es.application.projections.stock_totals import stock_totals
from inventory_es.application.projections.transfers import transfers

__all__ = [
    "Movement",
    "daily_summary",
    "ledger",
    "low_stock",
    "movement_of",
    "open_reservations",
    "orders",
    "stock_levels",
    "stock_totals",
    "transfers",
]
