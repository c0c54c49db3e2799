"""Events of an order: what happened to it, as it is stored. Names and fields never change meaning.

What an order intends stands in its stream before it is done to any inventory, and what came of it stands there after. So
whoever reads the stream knows where to go on.
"""

from datetime import datetime, timedelta
from typing import Any

import attrs

from inventory_es.domain.processes.lines import LineQuantity, LineShortage, OrderLine
from inventory_es.domain.processes.order.status import OrderStatus

_ZERO = timedelta(0)


@attrs.frozen
class OrderPlacedEvent:
    """The order came in. Each line is to be held for ``ttl_microseconds``."""

    order_id: str
    lines: tuple[OrderLine, ...]
    ttl_microseconds: int
    owner_id: str | None


@attrs.frozen
class OrderHeldEvent:
    """Every line is held; the first of the holds ends at ``expires_at``."""

    order_id: str
    expires_at: datetime

    def __attrs_post_init__(self) -> None:
        if not isinstance(self.expires_at, datetime) or self.expires_at.utcoffset() != _ZERO:
            msg = "expires_at of an event must be an aware datetime in UTC"
            raise ValueError(msg)


@attrs.frozen
class OrderPaymentAuthorisedEvent:
    """The payment was authorised."""

    order_id: str
    payment_id: str


@attrs.frozen
class OrderRenewedEvent:
    """A hold lapsed before it was confirmed: from now on lines may be held under reservations of this generation, 2 or more."""

    order_id: str
    generation: int


@attrs.frozen
class OrderConfirmedEvent:
    """Every line is held for good, the first under the first of these generations, and so on."""

    order_id: str
    generations: tuple[int, ...]


@attrs.frozen
class OrderShippedEvent:
    """A shipment with these units leaves."""

    order_id: str
    shipment_id: str
    lines: tuple[LineQuantity, ...]


@attrs.frozen
class OrderShipmentCommittedEvent:
    """The units of a shipment are off the books of their inventories."""

    order_id: str
    shipment_id: str


@attrs.frozen
class OrderCompletedEvent:
    """Everything that was ordered has left."""

    order_id: str


@attrs.frozen
class OrderWithdrawnEvent:
    """The goods won't leave: every line is to be given back, after which the order ends as said.

    Attributes:
        shortages: of every line that could not be had; none where that is not why.
    """

    order_id: str
    ends_as: OrderStatus
    shortages: tuple[LineShortage, ...]


@attrs.frozen
class OrderReleasedEvent:
    """Nothing is held any more, and the order ended as said."""

    order_id: str
    ends_as: OrderStatus


@attrs.frozen
class OrderNeedsAttentionEvent:
    """A line stopped the order: its goods have left, or can't leave. ``code`` is of the error that says why."""

    order_id: str
    line: int
    code: str


OrderEvent = (
    OrderPlacedEvent
    | OrderHeldEvent
    | OrderPaymentAuthorisedEvent
    | OrderRenewedEvent
    | OrderConfirmedEvent
    | OrderShippedEvent
    | OrderShipmentCommittedEvent
    | OrderCompletedEvent
    | OrderWithdrawnEvent
    | OrderReleasedEvent
    | OrderNeedsAttentionEvent
)
"""Any event of an order."""

ORDER_CATEGORY = "order"
"""Of the streams of orders."""

ORDER_EVENT_TYPES: tuple[type[Any], ...] = (
    OrderPlacedEvent,
    OrderHeldEvent,
    OrderPaymentAuthorisedEvent,
    OrderRenewedEvent,
    OrderConfirmedEvent,
    OrderShippedEvent,
    OrderShipmentCommittedEvent,
    OrderCompletedEvent,
    OrderWithdrawnEvent,
    OrderReleasedEvent,
    OrderNeedsAttentionEvent,
)
"""Every event class, in the order of the documentation."""
