"""Deciders: what each command does to an order, and what comes of a step. Pure: they read, and return events or raise a rejection."""

from datetime import datetime, timedelta
from typing import assert_never

from inventory_es.domain.processes.decider import Decider
from inventory_es.domain.processes.lines import LineQuantity, OrderLine
from inventory_es.domain.processes.order.commands import (
    AuthorisePayment,
    CancelOrder,
    LapseOrder,
    OrderCommand,
    PlaceOrder,
    ResolveOrder,
    ShipOrder,
)
from inventory_es.domain.processes.order.events import (
    ORDER_CATEGORY,
    OrderCompletedEvent,
    OrderEvent,
    OrderPaymentAuthorisedEvent,
    OrderPlacedEvent,
    OrderReleasedEvent,
    OrderShipmentCommittedEvent,
    OrderShippedEvent,
    OrderWithdrawnEvent,
)
from inventory_es.domain.processes.order.evolve import evolve
from inventory_es.domain.processes.order.order import OrderReservation
from inventory_es.domain.processes.order.status import OrderStatus
from inventory_es.domain.processes.rejections import (
    ProcessIdReusedError,
    ProcessNotFoundError,
    ProcessStateError,
    QuantityExceedsProcessError,
)

_MICROSECOND = timedelta(microseconds=1)
_PAYABLE = {OrderStatus.PENDING, OrderStatus.HELD, OrderStatus.EXPIRED, OrderStatus.REJECTED, OrderStatus.CANCELLED}
_ENDED = {OrderStatus.REJECTED, OrderStatus.CANCELLED, OrderStatus.NEEDS_REFUND}


def decide(order: OrderReservation, command: OrderCommand, at: datetime) -> tuple[OrderEvent, ...]:
    """What ``command`` does to ``order`` at ``at``: events to append, none for a no-op or for what was done before.

    Raises:
        ProcessNotFoundError: nothing was placed under this id.
        ProcessStateError: the order is past it, or not there yet.
        ProcessIdReusedError: the order, shipment or payment id was used for something else.
        QuantityExceedsProcessError: a shipment of more than is left.
    """
    if isinstance(command, PlaceOrder):
        return _place(order, command)
    if order.status is OrderStatus.NEW:
        raise ProcessNotFoundError(process=order.stream)
    match command:
        case AuthorisePayment():
            return _pay(order, command)
        case ShipOrder():
            return _ship(order, command)
        case CancelOrder():
            return _cancel(order, command)
        case LapseOrder():
            is_over = order.expires_at is not None and order.expires_at <= at
            waits = order.status is OrderStatus.HELD and order.step is None
            return (OrderWithdrawnEvent(order.order_id, OrderStatus.EXPIRED, ()),) if is_over and waits else ()
        case ResolveOrder():
            return _resolve(order)
        case _:
            assert_never(command)


def conclude(order: OrderReservation, outcome: OrderEvent) -> tuple[OrderEvent, ...]:
    """The events that an outcome of the order's step comes to: the outcome, and what follows from it at once."""
    if isinstance(outcome, OrderShipmentCommittedEvent) and not order.unshipped and _is_last(order, outcome):
        return (outcome, OrderCompletedEvent(order.order_id))
    return (outcome,)


def _is_last(order: OrderReservation, outcome: OrderShipmentCommittedEvent) -> bool:
    return all(one.is_committed or one.shipment_id == outcome.shipment_id for one in order.shipments)


def _place(order: OrderReservation, command: PlaceOrder) -> tuple[OrderEvent, ...]:
    if order.status is OrderStatus.NEW:
        return (OrderPlacedEvent(order.order_id, command.lines, command.ttl // _MICROSECOND, command.owner_id),)
    if (order.lines, order.ttl, order.owner_id) != (command.lines, command.ttl, command.owner_id):
        raise ProcessIdReusedError(process=order.stream, reused_id=order.order_id)
    return ()


def _pay(order: OrderReservation, command: AuthorisePayment) -> tuple[OrderEvent, ...]:
    if order.payment_id == command.payment_id:
        return ()
    if order.payment_id is not None or order.status not in _PAYABLE:
        _refuse(order, command)
    paid = OrderPaymentAuthorisedEvent(order.order_id, command.payment_id)
    has_ended = order.status in _ENDED and order.withdrawn is None
    return (paid, OrderReleasedEvent(order.order_id, OrderStatus.NEEDS_REFUND)) if has_ended else (paid,)


def _ship(order: OrderReservation, command: ShipOrder) -> tuple[OrderEvent, ...]:
    known = order.shipment(command.shipment_id)
    if known is not None:
        if command.lines is not None and _quantities(order, command.lines) != known.lines:
            raise ProcessIdReusedError(process=order.stream, reused_id=command.shipment_id)
        return ()
    if order.status is not OrderStatus.FIRM or order.withdrawn is not None:
        _refuse(order, command)
    left = {one.line: one.quantity for one in order.unshipped}
    lines = order.unshipped if command.lines is None else _quantities(order, command.lines)
    for asked, units in zip(command.lines or (), lines, strict=False):
        if units.quantity > left.get(units.line, 0):
            raise QuantityExceedsProcessError(
                process=order.stream,
                inventory=asked.inventory_id.stream,
                requested=units.quantity,
                remaining=left.get(units.line, 0),
            )
    if not lines:
        _refuse(order, command)
    return (OrderShippedEvent(order.order_id, command.shipment_id, lines),)


def _cancel(order: OrderReservation, command: CancelOrder) -> tuple[OrderEvent, ...]:
    if order.status in _ENDED or order.withdrawn not in {None, OrderStatus.EXPIRED}:
        return ()
    if order.status in {OrderStatus.DONE, OrderStatus.NEEDS_ATTENTION}:
        _refuse(order, command)
    return (OrderWithdrawnEvent(order.order_id, OrderStatus.CANCELLED, ()),)


def _resolve(order: OrderReservation) -> tuple[OrderEvent, ...]:
    if order.status is OrderStatus.NEEDS_REFUND:
        return (OrderReleasedEvent(order.order_id, OrderStatus.CANCELLED),)
    if order.status is OrderStatus.NEEDS_ATTENTION and order.withdrawn is None:
        return (OrderWithdrawnEvent(order.order_id, OrderStatus.CANCELLED, ()),)
    return ()


def _quantities(order: OrderReservation, lines: tuple[OrderLine, ...]) -> tuple[LineQuantity, ...]:
    numbers = {line.inventory_id: line.line for line in order.lines}
    unknown = next((line for line in lines if line.inventory_id not in numbers), None)
    if unknown is not None:
        raise QuantityExceedsProcessError(
            process=order.stream, inventory=unknown.inventory_id.stream, requested=unknown.quantity, remaining=0
        )
    return tuple(LineQuantity(numbers[line.inventory_id], line.quantity) for line in lines)


def _refuse(order: OrderReservation, command: OrderCommand) -> None:
    raise ProcessStateError(process=order.stream, status=order.status.value, command=type(command).__name__)


ORDERS = Decider[OrderReservation, OrderEvent](ORDER_CATEGORY, OrderReservation, decide, evolve)
"""Orders as a process."""
