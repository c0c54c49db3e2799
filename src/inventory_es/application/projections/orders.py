"""Orders: one row for each, read by state and how long it has been in it, and a row for every line that could not be had."""

from collections.abc import Iterator

from inventory_es.application.following.projection import Envelope, Projection
from inventory_es.application.following.subscription import EventFilter
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
from inventory_es.ports.read_model import Change, Patch, ProjectionId, Put, Table, Value, to_text

ORDERS = Table(
    "orders",
    {
        "order_id": str,
        "status": str,
        "since": str,
        "owner_id": str,
        "lines": int,
        "units": int,
        "placed_at": str,
        "expires_at": str,
        "payment_id": str,
        "version": int,
        "position": int,
        "recorded_at": str,
    },
    ("order_id",),
    (("status", "since"),),
)
"""``since`` is when the order came into its state; ``expires_at`` when the first of its holds ends, or ended."""

SHORTAGES = Table(
    "shortages",
    {"order_id": str, "line": int, "product_id": str, "store_id": str, "requested": int, "available": int, "code": str},
    ("order_id", "line"),
)
"""Lines that could not be had. ``available`` is ``None`` where the line was refused for another reason than too few units."""


def orders(*, version: int = 1) -> Projection:
    """Every order with its state, and the shortages of those that were refused."""
    return Projection(
        projection_id=ProjectionId("orders", version),
        tables=(ORDERS, SHORTAGES),
        apply=_apply,
        wanted=EventFilter(categories={ORDER_CATEGORY}, types={kind.__name__ for kind in ORDER_EVENT_TYPES}),
        same_in_every_version=True,
    )


def _apply(event: OrderEvent, envelope: Envelope) -> Iterator[Change]:
    at = to_text(envelope.recorded_at)
    changed: dict[str, Value] = {"version": envelope.version, "position": envelope.position, "recorded_at": at}
    status = _status_after(event)
    if status is not None:
        changed |= {"status": status.value, "since": at}
    match event:
        case OrderPlacedEvent():
            row: dict[str, Value] = {"order_id": event.order_id, "owner_id": event.owner_id, "placed_at": at}
            row |= {"lines": len(event.lines), "units": sum(line.quantity for line in event.lines)}
            yield Put("orders", row | {"expires_at": None, "payment_id": None} | changed)
            return
        case OrderHeldEvent():
            changed["expires_at"] = to_text(event.expires_at)
        case OrderPaymentAuthorisedEvent():
            changed["payment_id"] = event.payment_id
        case OrderWithdrawnEvent():
            for short in event.shortages:
                row = {"order_id": event.order_id, "line": short.line, "product_id": short.product_id, "store_id": short.store_id}
                yield Put("shortages", row | {"requested": short.requested, "available": short.available, "code": short.code})
        case _:
            pass
    yield Patch("orders", (event.order_id,), changed)


def _status_after(event: OrderEvent) -> OrderStatus | None:
    """The state that the event leads to; ``None`` where it leaves the order in the one that it was in."""
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
