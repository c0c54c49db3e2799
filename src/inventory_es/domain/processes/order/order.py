"""The state of an order: what was asked, how far it is, and what it has to do next."""

from datetime import datetime, timedelta

import attrs

from inventory_es.domain.processes.lines import LineQuantity, LineShortage, OrderLine
from inventory_es.domain.processes.order.events import ORDER_CATEGORY
from inventory_es.domain.processes.order.status import OrderStatus, OrderStep
from inventory_es.domain.stream_id import StreamId


@attrs.frozen
class Shipment:
    """Units of an order that leave together.

    Attributes:
        shipment_id: the host's.
        lines: what leaves.
        is_committed: whether the books of the inventories say so too.
    """

    shipment_id: str
    lines: tuple[LineQuantity, ...]
    is_committed: bool


@attrs.frozen
class OrderReservation:
    """An order over many products, as its events tell it. Immutable; the next event gives the next one.

    Attributes:
        order_id: the host's.
        status: where it stands.
        version: events folded; 0 before the first.
        lines: one for each inventory, sorted by stream id.
        ttl: how long the lines are held for a payment.
        owner_id: for whom.
        placed_at: when it came in; ``None`` before.
        last_time: when the last event happened.
        expires_at: when the first hold ends; ``None`` before all are held.
        payment_id: of the payment that was authorised; ``None`` while there is none.
        generation: the newest under which lines may be held; 1 until a hold lapsed before it was confirmed.
        generations: of each line's firm hold; none before.
        shipments: in their order.
        withdrawn: how the order ends once everything is given back; ``None`` while nothing is to be given back.
        shortages: why it was refused, by line.
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
        """What is to be done to the inventories next; ``None`` while the order waits for its host, or has ended."""
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
        """The first shipment that the books don't know yet."""
        return next((one for one in self.shipments if not one.is_committed), None)

    def shipment(self, shipment_id: str) -> Shipment | None:
        """The shipment of this id."""
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
        """Units that are still to leave, of every line that has some."""
        shipped = self.shipped
        left = ((line.line, line.quantity - shipped.get(line.line, 0)) for line in self.lines)
        return tuple(LineQuantity(line, units) for line, units in left if units)
