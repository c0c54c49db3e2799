"""How each event moves an order."""

from datetime import datetime, timedelta
from typing import assert_never

import attrs

from inventory_es.domain.errors import CorruptStreamError
from inventory_es.domain.processes.order.events import (
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
from inventory_es.domain.processes.order.order import OrderReservation, Shipment
from inventory_es.domain.processes.order.status import OrderStatus
from inventory_es.domain.processes.order.transitions import TRANSITIONS


def evolve(order: OrderReservation, event: OrderEvent, at: datetime) -> OrderReservation:
    """The order after ``event``, which happened at ``at``.

    Raises:
        CorruptStreamError: it can't follow.
    """
    status = _next_status(order, event)
    moved = attrs.evolve(order, status=status, version=order.version + 1, last_time=at)
    match event:
        case OrderPlacedEvent():
            ttl = timedelta(microseconds=event.ttl_microseconds)
            return attrs.evolve(moved, lines=event.lines, ttl=ttl, owner_id=event.owner_id, placed_at=at)
        case OrderHeldEvent():
            return attrs.evolve(moved, expires_at=event.expires_at)
        case OrderPaymentAuthorisedEvent():
            spoiled = order.withdrawn in {OrderStatus.REJECTED, OrderStatus.CANCELLED}
            return attrs.evolve(moved, payment_id=event.payment_id, withdrawn=OrderStatus.NEEDS_REFUND if spoiled else order.withdrawn)
        case OrderRenewedEvent():
            return attrs.evolve(moved, generation=event.generation)
        case OrderConfirmedEvent():
            return attrs.evolve(moved, generations=event.generations)
        case OrderShippedEvent():
            return attrs.evolve(moved, shipments=(*order.shipments, Shipment(event.shipment_id, event.lines, is_committed=False)))
        case OrderShipmentCommittedEvent():
            return attrs.evolve(
                moved,
                shipments=tuple(
                    attrs.evolve(one, is_committed=True) if one.shipment_id == event.shipment_id else one for one in order.shipments
                ),
            )
        case OrderWithdrawnEvent():
            return attrs.evolve(moved, withdrawn=event.ends_as, shortages=event.shortages or order.shortages)
        case OrderReleasedEvent():
            return attrs.evolve(moved, withdrawn=None)
        case OrderNeedsAttentionEvent():
            return attrs.evolve(moved, withdrawn=None, attention=(event.line, event.code))
        case OrderCompletedEvent():
            return moved
        case _:
            assert_never(event)


def _next_status(order: OrderReservation, event: OrderEvent) -> OrderStatus:
    leads_to = TRANSITIONS.get((order.status, type(event)), ())
    ends_as = event.ends_as if isinstance(event, OrderReleasedEvent) else None
    for status in leads_to:
        if ends_as is None or status is ends_as:
            return status
    problem = f"{type(event).__name__} can't follow while the order is {order.status}"
    raise CorruptStreamError(stream=order.stream, version=order.version + 1, problem=problem)
