"""Orders: one row per order, read by state and time in it, and one row per line that could not be had."""

from collections.abc import Iterator
from datetime import datetime

import attrs

from inventory_es.application.following.projection import Envelope, Projection
from inventory_es.application.following.subscription import EventFilter
from inventory_es.application.projections.rows import RowTable, stamp
from inventory_es.domain.processes.order.events import (
    ORDER_CATEGORY,
    ORDER_EVENT_TYPES,
    OrderCompletedEvent,
    OrderConfirmedEvent,
    OrderEvent,
    OrderHeldEvent,
    OrderNeedsAttentionEvent,
    OrderPaymentAuthorisedEvent,
    OrderPlacedEvent,
    OrderReleasedEvent,
    OrderStatus,
    OrderWithdrawnEvent,
)
from inventory_es.ports.read_model import Change, ProjectionId, to_text


@attrs.frozen(kw_only=True)
class OrderRow:
    """The state of an order.

    Attributes:
        order_id: the order.
        status: its status.
        since: time when it came into this status.
        owner_id: an opaque id of the customer.
        lines: number of inventories that it takes units from.
        units: number of units, of all lines.
        placed_at: time when it was placed.
        expires_at: time when the first of its holds ends, or ended; ``None`` where not all were held.
        payment_id: its payment; ``None`` while there is none.
        version: of the order's stream, at the event that the row shows.
        position: of that event in the store.
        recorded_at: time of that event, UTC.
    """

    order_id: str
    status: OrderStatus = attrs.field(converter=OrderStatus)
    since: datetime
    owner_id: str | None
    lines: int
    units: int
    placed_at: datetime
    expires_at: datetime | None
    payment_id: str | None
    version: int
    position: int
    recorded_at: datetime


@attrs.frozen(kw_only=True)
class ShortageRow:
    """A line that could not be had. ``available`` is ``None`` where ``code`` names another reason than too few units."""

    order_id: str
    line: int
    product_id: str
    store_id: str
    requested: int
    available: int | None
    code: str


ORDERS = RowTable("orders", OrderRow, key=("order_id",), indexes=(("status", "since"),))
SHORTAGES = RowTable("shortages", ShortageRow, key=("order_id", "line"))


def orders(*, version: int = 1) -> Projection:
    """Return the projection of every order with its state, and of the shortages of refused orders."""
    return Projection(
        projection_id=ProjectionId("orders", version),
        tables=(ORDERS.shape, SHORTAGES.shape),
        apply=_apply,
        wanted=EventFilter(categories={ORDER_CATEGORY}, types={kind.__name__ for kind in ORDER_EVENT_TYPES}),
        same_in_every_version=True,
    )


def _apply(event: OrderEvent, envelope: Envelope) -> Iterator[Change]:
    changed = stamp(envelope)
    at = changed["recorded_at"]
    status = _status_after(event)
    if status is not None:
        changed |= {"status": status.value, "since": at}
    match event:
        case OrderPlacedEvent():
            yield ORDERS.put(
                {
                    "order_id": event.order_id,
                    "owner_id": event.owner_id,
                    "lines": len(event.lines),
                    "units": sum(line.quantity for line in event.lines),
                    "placed_at": at,
                    "expires_at": None,
                    "payment_id": None,
                    **changed,
                }
            )
            return
        case OrderHeldEvent():
            changed["expires_at"] = to_text(event.expires_at)
        case OrderPaymentAuthorisedEvent():
            changed["payment_id"] = event.payment_id
        case OrderWithdrawnEvent():
            for short in event.shortages:
                yield SHORTAGES.put(
                    {
                        "order_id": event.order_id,
                        "line": short.line,
                        "product_id": short.product_id,
                        "store_id": short.store_id,
                        "requested": short.requested,
                        "available": short.available,
                        "code": short.code,
                    }
                )
        case _:
            pass
    yield ORDERS.patch((event.order_id,), changed)


def _status_after(event: OrderEvent) -> OrderStatus | None:
    """Return the state that the event leads to; ``None`` where the state stays."""
    match event:
        case OrderPlacedEvent():
            return OrderStatus.PENDING
        case OrderHeldEvent():
            return OrderStatus.HELD
        case OrderConfirmedEvent():
            return OrderStatus.FIRM
        case OrderCompletedEvent():
            return OrderStatus.DONE
        case OrderReleasedEvent():
            return event.ends_as
        case OrderNeedsAttentionEvent():
            return OrderStatus.NEEDS_ATTENTION
        case _:
            return None
