"""Processes over many inventories: orders that are held, paid, shipped and taken back as a whole."""

from inventory_es.application.processes.order_queries import OrderQueries, OrderRow, ShortageRow, open_order_queries
from inventory_es.application.processes.orders import OrderOutcome, Orders
from inventory_es.application.processes.process_runner import Processes, ProcessRunner, Touch
from inventory_es.domain.processes.orders.commands import (
    AuthorisePayment,
    CancelOrder,
    LapseOrder,
    OrderCommand,
    PlaceOrder,
    ResolveOrder,
    ShipOrder,
)
from inventory_es.domain.processes.orders.events import (
    OrderCompletedEvent,
    OrderConfirmedEvent,
    OrderEvent,
    OrderHeldEvent,
    OrderNeedsAttentionEvent,
    OrderPaymentAuthorisedEvent,
    OrderPlacedEvent,
    OrderReleasedEvent,
    OrderRenewedEvent,
    OrderShipmentCommittedEvent,
    OrderShippedEvent,
    OrderWithdrawnEvent,
)
from inventory_es.domain.processes.orders.lines import LineQuantity, LineShortage, OrderItem, OrderLine
from inventory_es.domain.processes.orders.reservation import OrderReservation, Shipment
from inventory_es.domain.processes.orders.status import OrderStatus, OrderStep

__all__ = [
    "AuthorisePayment",
    "CancelOrder",
    "LapseOrder",
    "LineQuantity",
    "LineShortage",
    "OrderCommand",
    "OrderCompletedEvent",
    "OrderConfirmedEvent",
    "OrderEvent",
    "OrderHeldEvent",
    "OrderItem",
    "OrderLine",
    "OrderNeedsAttentionEvent",
    "OrderOutcome",
    "OrderPaymentAuthorisedEvent",
    "OrderPlacedEvent",
    "OrderQueries",
    "OrderReleasedEvent",
    "OrderRenewedEvent",
    "OrderReservation",
    "OrderRow",
    "OrderShipmentCommittedEvent",
    "OrderShippedEvent",
    "OrderStatus",
    "OrderStep",
    "OrderWithdrawnEvent",
    "Orders",
    "PlaceOrder",
    "ProcessRunner",
    "Processes",
    "ResolveOrder",
    "ShipOrder",
    "Shipment",
    "ShortageRow",
    "Touch",
    "open_order_queries",
]
