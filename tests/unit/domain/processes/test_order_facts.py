"""What an order remembers of its events, and what that means for what is asked of it later."""

from typing import Any

import pytest

from inventory_es.domain.processes.order import steps
from inventory_es.domain.processes.order.decisions import decide
from inventory_es.domain.processes.order.order import evolve
from inventory_es.errors import (
    CorruptStreamError,
    InvalidIdentifierError,
    InvalidQuantityError,
    ProcessStateError,
    QuantityExceedsProcessError,
)
from inventory_es.processes import (
    DraftTransfer,
    LineQuantity,
    OrderConfirmedEvent,
    OrderItem,
    OrderNeedsAttentionEvent,
    OrderPlacedEvent,
    OrderReleasedEvent,
    OrderShipmentCommittedEvent,
    OrderShippedEvent,
    OrderStatus,
    OrderWithdrawnEvent,
    PlaceOrder,
    ShipOrder,
    TransferItem,
)
from tests.unit.domain.processes.test_orders import (
    FIRM,
    HELD,
    LINES,
    OID,
    PAID,
    PLACED,
    REFUSED,
    RESOLVE,
    SHIP,
    SHORT,
    T0,
    TTL,
    after,
    told,
)

CANCELLED = OrderWithdrawnEvent(OID, OrderStatus.CANCELLED, ())


def shipped(name: str, *lines: tuple[int, int]) -> OrderShippedEvent:
    return OrderShippedEvent(OID, name, tuple(LineQuantity(*line) for line in lines))


def test_for_whom_it_is_goes_to_every_hold() -> None:
    order = after(OrderPlacedEvent(OID, LINES, 900_000_000, "ann"))
    assert order.owner_id == "ann"
    assert [steps.reserve(order, line, 1).owner_id for line in LINES] == ["ann", "ann"]


@pytest.mark.parametrize("events", [(PLACED, REFUSED, CANCELLED), (PLACED, CANCELLED, REFUSED)], ids=["before", "after"])
def test_what_was_short_is_remembered_beside_any_other_end(events: tuple[Any, ...]) -> None:
    assert after(*events).shortages == SHORT


def test_what_needs_a_look_is_remembered() -> None:
    assert told("to look at").attention == (1, "reservation_already_committed")


def test_the_books_know_the_shipments_that_were_committed_and_no_other() -> None:
    order = after(PLACED, HELD, PAID, FIRM, shipped("X1", (1, 1)), shipped("X2", (1, 1)), OrderShipmentCommittedEvent(OID, "X2"))
    assert [(one.shipment_id, one.is_committed) for one in order.shipments] == [("X1", False), ("X2", True)]


def test_goods_leave_the_hold_that_their_own_line_has() -> None:
    order = after(PLACED, HELD, PAID, OrderConfirmedEvent(OID, (1, 2)), shipped("X1", (1, 2), (2, 1)))
    (shipment,) = order.shipments
    assert [steps.commit(order, shipment, units).reservation_id for units in shipment.lines] == ["O1:1", "O1:2:g2"]


def test_an_event_that_can_not_follow_is_told_with_its_version() -> None:
    order = told("held")
    with pytest.raises(CorruptStreamError) as refused:
        evolve(order, PLACED, T0)
    assert (refused.value.version, refused.value.stream) == (3, order.stream)


def test_nothing_is_shipped_of_a_line_that_has_left() -> None:
    order = after(PLACED, HELD, PAID, FIRM, shipped("X1", (2, 1)))
    with pytest.raises(QuantityExceedsProcessError) as refused:
        decide(order, ShipOrder(order_id=OID, shipment_id="X2", lines=(OrderItem("B", "S1", 1),)), T0)
    assert (refused.value.requested, refused.value.remaining) == (1, 0)


def test_nothing_is_shipped_of_an_order_that_is_being_given_back() -> None:
    with pytest.raises(ProcessStateError):
        decide(after(PLACED, HELD, PAID, FIRM, CANCELLED), SHIP, T0)


def test_what_is_being_resolved_is_not_resolved_again() -> None:
    order = told("to look at")
    (given_up,) = decide(order, RESOLVE, T0)
    assert decide(evolve(order, given_up, T0), RESOLVE, T0) == ()


@pytest.mark.parametrize(
    "outcome", [OrderReleasedEvent(OID, OrderStatus.CANCELLED), OrderNeedsAttentionEvent(OID, 1, "x")], ids=["back", "look"]
)
def test_only_a_shipment_completes_an_order(outcome: Any) -> None:
    order = after(PLACED, HELD, PAID, FIRM, shipped("X1", (1, 2), (2, 1)), OrderShipmentCommittedEvent(OID, "X1"))
    assert steps.completed(evolve(order, outcome, T0)) == ()


def test_nonsense_in_an_order_or_a_transfer_is_named() -> None:
    with pytest.raises(InvalidQuantityError) as no_lines:
        PlaceOrder(order_id=OID, lines=(), ttl=TTL)
    with pytest.raises(InvalidQuantityError) as no_products:
        DraftTransfer(transfer_id="T1", source_store_id="a", destination_store_id="b", lines=())
    assert (no_lines.value.name, no_products.value.name) == ("lines", "lines")
    with pytest.raises(InvalidIdentifierError) as same_store:
        DraftTransfer(transfer_id="T1", source_store_id="a", destination_store_id="a", lines=(TransferItem("p", 1),))
    assert same_store.value.name == "destination_store_id"
