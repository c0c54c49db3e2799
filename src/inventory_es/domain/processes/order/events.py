"""Events of an order as they are stored, and its states. Names and fields never change meaning.

The stream of an order names each step before any inventory is touched, and its outcome after. A reader of the stream
therefore knows where to go on.
"""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, get_args

import attrs

from inventory_es.domain.processes.lines import LineQuantity, LineShortage, OrderLine

_ZERO = timedelta(0)


class OrderStatus(StrEnum):
    """States of an order.

    NEW: no order was placed. PENDING: its lines are being reserved. HELD: every line is held until a time. FIRM: the order is paid,
    and every line is firm. DONE: all goods have left. REJECTED: a line was short; nothing is held. CANCELLED: the host cancelled it;
    nothing is held. EXPIRED: nobody paid in time; nothing is held, and a late payment reserves again. NEEDS_REFUND: it is paid, but the
    goods can't be had; nothing is held. NEEDS_ATTENTION: a person must look: the goods of a line have left, or can't leave.
    """

    NEW = "NEW"
    PENDING = "PENDING"
    HELD = "HELD"
    FIRM = "FIRM"
    DONE = "DONE"
    REJECTED = "REJECTED"
    CANCELLED = "CANCELLED"
    EXPIRED = "EXPIRED"
    NEEDS_REFUND = "NEEDS_REFUND"
    NEEDS_ATTENTION = "NEEDS_ATTENTION"

    @property
    def holds_nothing(self) -> bool:
        """True if an order in this state, with no step under way, holds no unit."""
        return self not in {OrderStatus.PENDING, OrderStatus.HELD, OrderStatus.FIRM, OrderStatus.NEEDS_ATTENTION}


@attrs.frozen
class OrderPlacedEvent:
    """The order was placed. Each line will be held for ``ttl_microseconds``."""

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
    """A hold lapsed before it was confirmed. From now on lines may be held under reservations of this generation, 2 or more."""

    order_id: str
    generation: int


@attrs.frozen
class OrderConfirmedEvent:
    """Every line is firm, each under its generation in ``generations``."""

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
    """All goods of the order have left."""

    order_id: str


@attrs.frozen
class OrderWithdrawnEvent:
    """The goods won't leave. Every line will be released, then the order ends as ``ends_as``.

    Attributes:
        shortages: one per line that could not be had; empty where the order was withdrawn for another reason.
    """

    order_id: str
    ends_as: OrderStatus
    shortages: tuple[LineShortage, ...]


@attrs.frozen
class OrderReleasedEvent:
    """Nothing is held any more, and the order ended as ``ends_as``."""

    order_id: str
    ends_as: OrderStatus


@attrs.frozen
class OrderNeedsAttentionEvent:
    """A person must decide, because the goods of a line have left or can't leave. ``code`` is the code of the error."""

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
"""Category of the streams of orders."""

ORDER_EVENT_TYPES: tuple[type[Any], ...] = get_args(OrderEvent)
"""Every event class, in the order of the documentation."""
