"""What the steps of an order come to, as events: pure, from what became of their commands."""

from datetime import datetime
from typing import assert_never

from inventory_es.domain.commands import Command
from inventory_es.domain.errors import InsufficientStockError, RejectionError
from inventory_es.domain.processes.lines import LineShortage, OrderLine
from inventory_es.domain.processes.order import steps
from inventory_es.domain.processes.order.events import (
    OrderConfirmedEvent,
    OrderEvent,
    OrderHeldEvent,
    OrderReleasedEvent,
    OrderShipmentCommittedEvent,
    OrderWithdrawnEvent,
)
from inventory_es.domain.processes.order.order import OrderReservation
from inventory_es.domain.processes.order.status import OrderStatus, OrderStep


def plan(order: OrderReservation, step: OrderStep, at: datetime) -> tuple[list[Command], OrderEvent] | None:
    """All commands of a step, and what comes of it if each is accepted; ``None`` where one depends on what became of another."""
    match step:
        case OrderStep.RESERVE:
            held = OrderHeldEvent(order.order_id, at + order.ttl)
            return [steps.reserve(order, line, 1) for line in order.lines], held
        case OrderStep.CONFIRM:
            if order.status is not OrderStatus.HELD or order.generation > 1:
                return None
            confirmed = OrderConfirmedEvent(order.order_id, (1,) * len(order.lines))
            return [steps.confirm(order, line, 1) for line in order.lines], confirmed
        case OrderStep.SHIP:
            shipment = order.open_shipment
            assert shipment is not None  # noqa: S101  # the order has this step because of it
            committed = OrderShipmentCommittedEvent(order.order_id, shipment.shipment_id)
            return [steps.commit(order, shipment, units) for units in shipment.lines], committed
        case OrderStep.RELEASE:
            return None if order.shipped else ([command for _, command in steps.releases(order)], released(order))
        case _:
            assert_never(step)


def refused(order: OrderReservation, shortages: tuple[LineShortage, ...]) -> OrderEvent:
    """The lines can't be had: everything is given back."""
    ends_as = OrderStatus.REJECTED if order.payment_id is None else OrderStatus.NEEDS_REFUND
    return OrderWithdrawnEvent(order.order_id, ends_as, shortages)


def too_late(order: OrderReservation) -> OrderEvent:
    """The order's time was over before its lines were held."""
    return OrderWithdrawnEvent(order.order_id, OrderStatus.EXPIRED, ())


def released(order: OrderReservation) -> OrderEvent:
    """Everything is given back."""
    assert order.withdrawn is not None  # noqa: S101  # the order has this step because of it
    return OrderReleasedEvent(order.order_id, order.withdrawn)


def shortage(line: OrderLine, why: RejectionError) -> LineShortage:
    """What the error says about a line that was refused."""
    available = why.available if isinstance(why, InsufficientStockError) else None
    return short(line, available, why.code)


def short(line: OrderLine, available: int | None, code: str) -> LineShortage:
    """A line that could not be had."""
    return LineShortage(line.line, line.product_id, line.store_id, line.quantity, available, code)
