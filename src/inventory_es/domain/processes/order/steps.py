"""The steps of an order: commands to its inventories, and the events that end them.

Pure, and the same for the same order, however often a step is made.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import assert_never

from inventory_es.domain.commands import Command, CommitStock, ConfirmReservation, ExpireReservations, ReleaseStock, ReserveStock
from inventory_es.domain.processes.lines import LineQuantity, LineShortage, OrderLine
from inventory_es.domain.processes.order import events
from inventory_es.domain.processes.order.events import OrderEvent, OrderStatus
from inventory_es.domain.processes.order.order import OrderReservation, OrderStep, Shipment
from inventory_es.domain.processes.step_ids import encoded, step_id
from inventory_es.domain.reasons import ReleaseReason


def plan(order: OrderReservation, at: datetime) -> tuple[list[Command], OrderEvent] | None:
    """Return the commands of the order's step and the event that ends it if all are accepted.

    Returns:
        ``None`` where no step is due, or a command depends on the result of another.
    """
    match order.step:
        case None:
            return None
        case OrderStep.RESERVE:
            return [reserve(order, line, 1) for line in order.lines], events.OrderHeldEvent(order.order_id, at + order.ttl)
        case OrderStep.CONFIRM:
            if order.status is not OrderStatus.HELD or order.generation > 1:
                return None
            confirmed = events.OrderConfirmedEvent(order.order_id, (1,) * len(order.lines))
            return [confirm(order, line, 1) for line in order.lines], confirmed
        case OrderStep.SHIP:
            shipment = order.open_shipment
            assert shipment is not None  # noqa: S101  # the order has this step because of it
            committed = events.OrderShipmentCommittedEvent(order.order_id, shipment.shipment_id)
            return [commit(order, shipment, units) for units in shipment.lines], committed
        case OrderStep.RELEASE:
            return None if order.shipped else ([command for _, command in releases(order)], released(order))
        case _:
            assert_never(order.step)


def refused(order: OrderReservation, shortages: tuple[LineShortage, ...]) -> OrderEvent:
    """Return the event that withdraws an order whose lines can't be had."""
    ends_as = OrderStatus.REJECTED if order.payment_id is None else OrderStatus.NEEDS_REFUND
    return events.OrderWithdrawnEvent(order.order_id, ends_as, shortages)


def released(order: OrderReservation) -> OrderEvent:
    """Return the event that ends a withdrawn order once everything is released."""
    assert order.withdrawn is not None  # noqa: S101  # the order has this step because of it
    return events.OrderReleasedEvent(order.order_id, order.withdrawn)


def completed(order: OrderReservation) -> tuple[OrderEvent, ...]:
    """Return the event that completes an order of which everything has left; none for another order."""
    is_over = order.status is OrderStatus.FIRM and not order.unshipped and order.open_shipment is None
    return (events.OrderCompletedEvent(order.order_id),) if is_over else ()


def reservation_id(order: OrderReservation, line: OrderLine, generation: int) -> str:
    """Return the id of a line's hold: ``order:line``, and ``order:line:g2`` for its successor where it lapsed."""
    return step_id(order.order_id, line.line, *([] if generation == 1 else [f"g{generation}"]))


def reserve(order: OrderReservation, line: OrderLine, generation: int) -> ReserveStock:
    """Hold a line. The first hold is not wanted any more once the order's time is over."""
    is_first = generation == 1 and order.placed_at is not None
    return ReserveStock(
        inventory_id=line.inventory_id,
        reservation_id=reservation_id(order, line, generation),
        quantity=line.quantity,
        ttl=order.ttl,
        owner_id=order.owner_id,
        not_after=order.placed_at + order.ttl if is_first and order.placed_at is not None else None,
        reference=order.stream.text,
    )


def confirm(order: OrderReservation, line: OrderLine, generation: int) -> ConfirmReservation:
    """Make a line's hold firm."""
    name = reservation_id(order, line, generation)
    return ConfirmReservation(
        inventory_id=line.inventory_id, command_id=f"{name}:confirm", reservation_id=name, reference=order.stream.text
    )


def commit(order: OrderReservation, shipment: Shipment, units: LineQuantity) -> CommitStock:
    """Take a shipment's units of a line off the books."""
    line = order.lines[units.line - 1]
    name = reservation_id(order, line, order.generations[line.line - 1])
    return CommitStock(
        inventory_id=line.inventory_id,
        command_id=f"{name}:ship:{encoded(shipment.shipment_id)}",
        reservation_id=name,
        quantity=units.quantity,
        reference=order.stream.text,
    )


def release(order: OrderReservation, line: OrderLine, generation: int) -> ReleaseStock:
    """Release a line's hold."""
    name = reservation_id(order, line, generation)
    cancelled = order.withdrawn is OrderStatus.CANCELLED
    return ReleaseStock(
        inventory_id=line.inventory_id,
        command_id=f"{name}:{'cancel' if cancelled else 'compensate'}",
        reservation_id=name,
        reason=ReleaseReason.CANCELLED if cancelled else ReleaseReason.COMPENSATION,
        reference=order.stream.text,
    )


def releases(order: OrderReservation) -> Iterator[tuple[OrderLine, Command]]:
    """Release everything, newest first. A hold that expired is closed at once, so that its end is recorded now."""
    for line in reversed(order.lines):
        for generation in range(order.generation, 0, -1):
            yield line, release(order, line, generation)
        if order.withdrawn is OrderStatus.EXPIRED:
            yield line, ExpireReservations(inventory_id=line.inventory_id, command_id=f"{reservation_id(order, line, 1)}:expire")


def strays(order: OrderReservation) -> Iterator[ReleaseStock]:
    """Release holds of lines that the order does not count on: all, or all but its firm holds where it has these."""
    for line in reversed(order.lines):
        for generation in range(order.generation, 0, -1):
            if (order.status.holds_nothing and order.status is not OrderStatus.DONE) or generation != order.generations[line.line - 1]:
                yield release(order, line, generation)
