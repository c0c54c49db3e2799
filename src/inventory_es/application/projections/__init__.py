"""The shipped projections, and the rows that queries of stock return."""

from inventory_es.application.projections.daily_summary import daily_summary
from inventory_es.application.projections.ledger import Movement, MovementRow, ledger, movement_of
from inventory_es.application.projections.low_stock import LowStockRow, low_stock
from inventory_es.application.projections.open_reservations import ReservationRow, open_reservations
from inventory_es.application.projections.orders import orders
from inventory_es.application.projections.stock_levels import StockRow, stock_levels
from inventory_es.application.projections.stock_totals import stock_totals
from inventory_es.application.projections.transfers import transfers

__all__ = [
    "LowStockRow",
    "Movement",
    "MovementRow",
    "ReservationRow",
    "StockRow",
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
