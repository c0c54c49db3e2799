"""An order: its state, the transitions between its statuses, and the fold of its events."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Any, assert_never

import attrs

from inventory_es.domain.processes.decider import next_status
from inventory_es.domain.processes.lines import LineQuantity, LineShortage, OrderLine
from inventory_es.domain.processes.order import events
from inventory_es.domain.processes.order.events import ORDER_CATEGORY, OrderEvent, OrderStatus
from inventory_es.domain.processes.order.events import OrderStatus as S
from inventory_es.domain.stream_id import StreamId


class OrderStep(StrEnum):
    """Steps of an order: what it does to its inventories before it can go on."""

    RESERVE = "RESERVE"
    CONFIRM = "CONFIRM"
    SHIP = "SHIP"
    RELEASE = "RELEASE"


@attrs.frozen
class Shipment:
    """Units of an order that leave together.

    Attributes:
        shipment_id: an id of the host.
        lines: the units.
        is_committed: True if the units are off the books of their inventories.
    """

    shipment_id: str
    lines: tuple[LineQuantity, ...]
    is_committed: bool


@attrs.frozen
class OrderReservation:
    """The state of an order over many products, folded from its events. Immutable.

    Attributes:
        order_id: an id of the host.
        status: its state.
        version: events folded; 0 before the first.
        lines: one per inventory, sorted by stream id.
        ttl: time for which the lines are held for a payment.
        owner_id: for whom it was placed.
        placed_at: time of its first event; ``None`` before.
        last_time: time of its last event.
        expires_at: time when the first hold ends; ``None`` before all lines are held.
        payment_id: the payment that was authorised; ``None`` while there is none.
        generation: the newest under which lines may be held; 1 until a hold lapsed before it was confirmed.
        generations: of each line's firm hold; empty before.
        shipments: in their order.
        withdrawn: the status in which the order ends once everything is released; ``None`` while nothing has to be released.
        shortages: reasons of the refusal, by line.
        attention: the line that a person must look at, and the code of the error that says why.
    """

    order_id: str
    status: OrderStatus = OrderStatus.NEW
    version: int = 0
    lines: tuple[OrderLine, ...] = ()
    ttl: timedelta = timedelta(0)
    owner_id: str | None = None
    placed_at: datetime | None = None
    last_time: datetime | None = None
    expires_at: datetime | None = None
    payment_id: str | None = None
    generation: int = 1
    generations: tuple[int, ...] = ()
    shipments: tuple[Shipment, ...] = ()
    withdrawn: OrderStatus | None = None
    shortages: tuple[LineShortage, ...] = ()
    attention: tuple[int, str] | None = None

    @property
    def stream(self) -> StreamId:
        """The order's own stream."""
        return StreamId(ORDER_CATEGORY, self.order_id)

    @property
    def step(self) -> OrderStep | None:
        """The step that is due; ``None`` while the order waits for its host, or has ended."""
        if self.withdrawn is not None:
            return OrderStep.RELEASE
        match self.status:
            case OrderStatus.PENDING:
                return OrderStep.RESERVE
            case OrderStatus.HELD | OrderStatus.EXPIRED if self.payment_id is not None:
                return OrderStep.CONFIRM
            case OrderStatus.FIRM if self.open_shipment is not None:
                return OrderStep.SHIP
            case _:
                return None

    @property
    def open_shipment(self) -> Shipment | None:
        """The first shipment that is not committed."""
        return next((one for one in self.shipments if not one.is_committed), None)

    def shipment(self, shipment_id: str) -> Shipment | None:
        """Return the shipment of this id."""
        return next((one for one in self.shipments if one.shipment_id == shipment_id), None)

    @property
    def shipped(self) -> dict[int, int]:
        """Units that were shipped, by line."""
        units: dict[int, int] = {}
        for shipment in self.shipments:
            for one in shipment.lines:
                units[one.line] = units.get(one.line, 0) + one.quantity
        return units

    @property
    def unshipped(self) -> tuple[LineQuantity, ...]:
        """Units that have not been shipped, of every line that has some."""
        shipped = self.shipped
        left = ((line.line, line.quantity - shipped.get(line.line, 0)) for line in self.lines)
        return tuple(LineQuantity(line, units) for line, units in left if units)


TRANSITIONS: Mapping[tuple[S, type[Any]], tuple[S, ...]] = MappingProxyType(
    {
        (S.NEW, events.OrderPlacedEvent): (S.PENDING,),
        (S.PENDING, events.OrderHeldEvent): (S.HELD,),
        (S.PENDING, events.OrderPaymentAuthorisedEvent): (S.PENDING,),
        (S.PENDING, events.OrderWithdrawnEvent): (S.PENDING,),
        (S.PENDING, events.OrderReleasedEvent): (S.REJECTED, S.CANCELLED, S.EXPIRED, S.NEEDS_REFUND),
        (S.PENDING, events.OrderNeedsAttentionEvent): (S.NEEDS_ATTENTION,),
        (S.HELD, events.OrderPaymentAuthorisedEvent): (S.HELD,),
        (S.HELD, events.OrderRenewedEvent): (S.HELD,),
        (S.HELD, events.OrderConfirmedEvent): (S.FIRM,),
        (S.HELD, events.OrderWithdrawnEvent): (S.HELD,),
        (S.HELD, events.OrderReleasedEvent): (S.CANCELLED, S.EXPIRED, S.NEEDS_REFUND),
        (S.HELD, events.OrderNeedsAttentionEvent): (S.NEEDS_ATTENTION,),
        (S.EXPIRED, events.OrderPaymentAuthorisedEvent): (S.EXPIRED,),
        (S.EXPIRED, events.OrderRenewedEvent): (S.EXPIRED,),
        (S.EXPIRED, events.OrderConfirmedEvent): (S.FIRM,),
        (S.EXPIRED, events.OrderWithdrawnEvent): (S.EXPIRED,),
        (S.EXPIRED, events.OrderReleasedEvent): (S.CANCELLED, S.NEEDS_REFUND),
        (S.EXPIRED, events.OrderNeedsAttentionEvent): (S.NEEDS_ATTENTION,),
        (S.FIRM, events.OrderShippedEvent): (S.FIRM,),
        (S.FIRM, events.OrderShipmentCommittedEvent): (S.FIRM,),
        (S.FIRM, events.OrderCompletedEvent): (S.DONE,),
        (S.FIRM, events.OrderWithdrawnEvent): (S.FIRM,),
        (S.FIRM, events.OrderReleasedEvent): (S.CANCELLED,),
        (S.FIRM, events.OrderNeedsAttentionEvent): (S.NEEDS_ATTENTION,),
        (S.NEEDS_ATTENTION, events.OrderWithdrawnEvent): (S.NEEDS_ATTENTION,),
        (S.NEEDS_ATTENTION, events.OrderReleasedEvent): (S.CANCELLED,),
        (S.REJECTED, events.OrderPaymentAuthorisedEvent): (S.REJECTED,),
        (S.REJECTED, events.OrderReleasedEvent): (S.NEEDS_REFUND,),
        (S.CANCELLED, events.OrderPaymentAuthorisedEvent): (S.CANCELLED,),
        (S.CANCELLED, events.OrderReleasedEvent): (S.NEEDS_REFUND,),
        (S.NEEDS_REFUND, events.OrderReleasedEvent): (S.CANCELLED,),
    }
)
"""The statuses that an event may lead to, by status and event. Where there are several, the event names one."""


def evolve(order: OrderReservation, event: OrderEvent, at: datetime) -> OrderReservation:
    """Return the order after ``event``, which happened at ``at``.

    Raises:
        CorruptStreamError: ``event`` can't follow.
    """
    ends_as = event.ends_as if isinstance(event, events.OrderReleasedEvent) else None
    status = next_status(TRANSITIONS.get((order.status, type(event)), ()), order, event, ends_as=ends_as)
    moved = attrs.evolve(order, status=status, version=order.version + 1, last_time=at)
    match event:
        case events.OrderPlacedEvent():
            ttl = timedelta(microseconds=event.ttl_microseconds)
            return attrs.evolve(moved, lines=event.lines, ttl=ttl, owner_id=event.owner_id, placed_at=at)
        case events.OrderHeldEvent():
            return attrs.evolve(moved, expires_at=event.expires_at)
        case events.OrderPaymentAuthorisedEvent():
            spoiled = order.withdrawn in {OrderStatus.REJECTED, OrderStatus.CANCELLED}
            return attrs.evolve(moved, payment_id=event.payment_id, withdrawn=OrderStatus.NEEDS_REFUND if spoiled else order.withdrawn)
        case events.OrderRenewedEvent():
            return attrs.evolve(moved, generation=event.generation)
        case events.OrderConfirmedEvent():
            return attrs.evolve(moved, generations=event.generations)
        case events.OrderShippedEvent():
            return attrs.evolve(moved, shipments=(*order.shipments, Shipment(event.shipment_id, event.lines, is_committed=False)))
        case events.OrderShipmentCommittedEvent():
            shipments = (
                attrs.evolve(one, is_committed=one.is_committed or one.shipment_id == event.shipment_id) for one in order.shipments
            )
            return attrs.evolve(moved, shipments=tuple(shipments))
        case events.OrderWithdrawnEvent():
            return attrs.evolve(moved, withdrawn=event.ends_as, shortages=event.shortages or order.shortages)
        case events.OrderReleasedEvent():
            return attrs.evolve(moved, withdrawn=None)
        case events.OrderNeedsAttentionEvent():
            return attrs.evolve(moved, withdrawn=None, attention=(event.line, event.code))
        case events.OrderCompletedEvent():
            return moved
        case _:
            assert_never(event)
