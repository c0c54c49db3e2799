"""The steps of an order as commands to its inventories: pure, and the same for the same order, however often they are made."""

from collections.abc import Iterator

from inventory_es.domain.commands import Command, CommitStock, ConfirmReservation, ExpireReservations, ReleaseStock, ReserveStock
from inventory_es.domain.processes.lines import LineQuantity, OrderLine
from inventory_es.domain.processes.order.order import OrderReservation, Shipment
from inventory_es.domain.processes.order.status import OrderStatus
from inventory_es.domain.processes.step_ids import encoded, step_id
from inventory_es.domain.reasons import ReleaseReason


def reservation_id(order: OrderReservation, line: OrderLine, generation: int) -> str:
    """Of a line's hold: ``order:line``, and ``order:line:g2`` for the one that follows when it lapsed."""
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
    """Give back what a line holds."""
    name = reservation_id(order, line, generation)
    cancelled = order.withdrawn is OrderStatus.CANCELLED
    return ReleaseStock(
        inventory_id=line.inventory_id,
        command_id=f"{name}:{'cancel' if cancelled else 'compensate'}",
        reservation_id=name,
        reason=ReleaseReason.CANCELLED if cancelled else ReleaseReason.COMPENSATION,
        reference=order.stream.text,
    )


def sweep(order: OrderReservation, line: OrderLine) -> ExpireReservations:
    """Close what is due in a line's inventory, so that the end of its hold is told at once."""
    return ExpireReservations(
        inventory_id=line.inventory_id,
        command_id=f"{reservation_id(order, line, 1)}:expire",
    )


def strays(order: OrderReservation) -> Iterator[ReleaseStock]:
    """Give back what lines may hold beside the order: all, or all but their firm holds where they have these."""
    for line in reversed(order.lines):
        for generation in range(order.generation, 0, -1):
            if (order.status.holds_nothing and order.status is not OrderStatus.DONE) or generation != order.generations[line.line - 1]:
                yield release(order, line, generation)


def releases(order: OrderReservation) -> Iterator[tuple[OrderLine, Command]]:
    """Give everything back, newest first."""
    for line in reversed(order.lines):
        for generation in range(order.generation, 0, -1):
            yield line, release(order, line, generation)
        if order.withdrawn is OrderStatus.EXPIRED:
            yield line, sweep(order, line)
