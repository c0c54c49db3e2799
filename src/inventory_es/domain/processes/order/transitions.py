"""Which event may follow in which state, and where it leads: the table that orders are folded by, and drawn from."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from inventory_es.domain.processes.order.events import (
    OrderCompletedEvent,
    OrderConfirmedEvent,
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
from inventory_es.domain.processes.order.status import OrderStatus as S

TRANSITIONS: Mapping[tuple[S, type[Any]], tuple[S, ...]] = MappingProxyType(
    {
        (S.NEW, OrderPlacedEvent): (S.PENDING,),
        (S.PENDING, OrderHeldEvent): (S.HELD,),
        (S.PENDING, OrderPaymentAuthorisedEvent): (S.PENDING,),
        (S.PENDING, OrderWithdrawnEvent): (S.PENDING,),
        (S.PENDING, OrderReleasedEvent): (S.REJECTED, S.CANCELLED, S.EXPIRED, S.NEEDS_REFUND),
        (S.PENDING, OrderNeedsAttentionEvent): (S.NEEDS_ATTENTION,),
        (S.HELD, OrderPaymentAuthorisedEvent): (S.HELD,),
        (S.HELD, OrderRenewedEvent): (S.HELD,),
        (S.HELD, OrderConfirmedEvent): (S.FIRM,),
        (S.HELD, OrderWithdrawnEvent): (S.HELD,),
        (S.HELD, OrderReleasedEvent): (S.CANCELLED, S.EXPIRED, S.NEEDS_REFUND),
        (S.HELD, OrderNeedsAttentionEvent): (S.NEEDS_ATTENTION,),
        (S.EXPIRED, OrderPaymentAuthorisedEvent): (S.EXPIRED,),
        (S.EXPIRED, OrderRenewedEvent): (S.EXPIRED,),
        (S.EXPIRED, OrderConfirmedEvent): (S.FIRM,),
        (S.EXPIRED, OrderWithdrawnEvent): (S.EXPIRED,),
        (S.EXPIRED, OrderReleasedEvent): (S.CANCELLED, S.NEEDS_REFUND),
        (S.EXPIRED, OrderNeedsAttentionEvent): (S.NEEDS_ATTENTION,),
        (S.FIRM, OrderShippedEvent): (S.FIRM,),
        (S.FIRM, OrderShipmentCommittedEvent): (S.FIRM,),
        (S.FIRM, OrderCompletedEvent): (S.DONE,),
        (S.FIRM, OrderWithdrawnEvent): (S.FIRM,),
        (S.FIRM, OrderReleasedEvent): (S.CANCELLED,),
        (S.FIRM, OrderNeedsAttentionEvent): (S.NEEDS_ATTENTION,),
        (S.NEEDS_ATTENTION, OrderWithdrawnEvent): (S.NEEDS_ATTENTION,),
        (S.NEEDS_ATTENTION, OrderReleasedEvent): (S.CANCELLED,),
        (S.REJECTED, OrderPaymentAuthorisedEvent): (S.REJECTED,),
        (S.REJECTED, OrderReleasedEvent): (S.NEEDS_REFUND,),
        (S.CANCELLED, OrderPaymentAuthorisedEvent): (S.CANCELLED,),
        (S.CANCELLED, OrderReleasedEvent): (S.NEEDS_REFUND,),
        (S.NEEDS_REFUND, OrderReleasedEvent): (S.CANCELLED,),
    }
)
"""From a state and an event to the states that it may lead to; where there are several, the event says which."""
