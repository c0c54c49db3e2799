"""Decisions of an order: what each command does to it. Pure: they return events or raise a rejection."""

from datetime import datetime, timedelta
from typing import NoReturn, assert_never

from inventory_es.domain.errors import ProcessIdReusedError, ProcessNotFoundError, ProcessStateError, QuantityExceedsProcessError
from inventory_es.domain.processes.decider import Decider
from inventory_es.domain.processes.lines import LineQuantity, OrderLine
from inventory_es.domain.processes.order import commands, events, steps
from inventory_es.domain.processes.order.commands import OrderCommand
from inventory_es.domain.processes.order.events import ORDER_CATEGORY, OrderEvent, OrderStatus
from inventory_es.domain.processes.order.order import OrderReservation, evolve

_MICROSECOND = timedelta(microseconds=1)
_PAYABLE = {OrderStatus.PENDING, OrderStatus.HELD, OrderStatus.EXPIRED, OrderStatus.REJECTED, OrderStatus.CANCELLED}
_ENDED = {OrderStatus.REJECTED, OrderStatus.CANCELLED, OrderStatus.NEEDS_REFUND}


def decide(order: OrderReservation, command: OrderCommand, at: datetime) -> tuple[OrderEvent, ...]:
    """Return the events of ``command`` at ``at``: none for a no-op, or for a command that was accepted before.

    Raises:
        ProcessNotFoundError: nothing was placed under this id.
        ProcessStateError: the order's state does not allow the command.
        ProcessIdReusedError: the order, shipment or payment id was used for something else.
        QuantityExceedsProcessError: more units than are left to ship.
    """
    if isinstance(command, commands.PlaceOrder):
        return _place(order, command)
    if order.status is OrderStatus.NEW:
        raise ProcessNotFoundError(process=order.stream)
    match command:
        case commands.AuthorisePayment():
            return _pay(order, command)
        case commands.ShipOrder():
            return _ship(order, command)
        case commands.CancelOrder():
            return _cancel(order, command)
        case commands.LapseOrder():
            is_over = order.expires_at is not None and order.expires_at <= at
            waits = order.status is OrderStatus.HELD and order.step is None
            return (events.OrderWithdrawnEvent(order.order_id, OrderStatus.EXPIRED, ()),) if is_over and waits else ()
        case commands.ResolveOrder():
            return _resolve(order)
        case _:
            assert_never(command)


def _place(order: OrderReservation, command: commands.PlaceOrder) -> tuple[OrderEvent, ...]:
    if order.status is OrderStatus.NEW:
        return (events.OrderPlacedEvent(order.order_id, command.lines, command.ttl // _MICROSECOND, command.owner_id),)
    if (order.lines, order.ttl, order.owner_id) != (command.lines, command.ttl, command.owner_id):
        raise ProcessIdReusedError(process=order.stream, reused_id=order.order_id)
    return ()


def _pay(order: OrderReservation, command: commands.AuthorisePayment) -> tuple[OrderEvent, ...]:
    if order.payment_id == command.payment_id:
        return ()
    if order.payment_id is not None or order.status not in _PAYABLE:
        _refuse(order, command)
    paid = events.OrderPaymentAuthorisedEvent(order.order_id, command.payment_id)
    has_ended = order.status in _ENDED and order.withdrawn is None
    return (paid, events.OrderReleasedEvent(order.order_id, OrderStatus.NEEDS_REFUND)) if has_ended else (paid,)


def _ship(order: OrderReservation, command: commands.ShipOrder) -> tuple[OrderEvent, ...]:
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
    return (events.OrderShippedEvent(order.order_id, command.shipment_id, lines),)


def _cancel(order: OrderReservation, command: commands.CancelOrder) -> tuple[OrderEvent, ...]:
    if order.status in _ENDED or order.withdrawn not in {None, OrderStatus.EXPIRED}:
        return ()
    if order.status in {OrderStatus.DONE, OrderStatus.NEEDS_ATTENTION}:
        _refuse(order, command)
    return (events.OrderWithdrawnEvent(order.order_id, OrderStatus.CANCELLED, ()),)


def _resolve(order: OrderReservation) -> tuple[OrderEvent, ...]:
    if order.status is OrderStatus.NEEDS_REFUND:
        return (events.OrderReleasedEvent(order.order_id, OrderStatus.CANCELLED),)
    if order.status is OrderStatus.NEEDS_ATTENTION and order.withdrawn is None:
        return (events.OrderWithdrawnEvent(order.order_id, OrderStatus.CANCELLED, ()),)
    return ()


def _quantities(order: OrderReservation, lines: tuple[OrderLine, ...]) -> tuple[LineQuantity, ...]:
    numbers = {line.inventory_id: line.line for line in order.lines}
    unknown = next((line for line in lines if line.inventory_id not in numbers), None)
    if unknown is not None:
        raise QuantityExceedsProcessError(
            process=order.stream, inventory=unknown.inventory_id.stream, requested=unknown.quantity, remaining=0
        )
    return tuple(LineQuantity(numbers[line.inventory_id], line.quantity) for line in lines)


def _refuse(order: OrderReservation, command: OrderCommand) -> NoReturn:
    raise ProcessStateError(process=order.stream, status=order.status.value, command=type(command).__name__)


ORDERS = Decider[OrderReservation, OrderEvent](
    category=ORDER_CATEGORY,
    start=OrderReservation,
    decide=decide,
    evolve=evolve,
    plan=steps.plan,
    refuse=steps.refused,
    release=steps.released,
    close=steps.completed,
    source=lambda _order, line: line.inventory_id,
)
"""Orders as a process."""
