"""What the steps of an order come to, and what is given back beside it: pure, without a store."""

import pytest

from inventory_es.commands import ReleaseReason
from inventory_es.domain.errors import InsufficientStockError, RejectionError, ReservationNotFoundError
from inventory_es.domain.processes.lines import LineShortage
from inventory_es.domain.processes.order import steps
from inventory_es.domain.processes.order.order import OrderStep
from inventory_es.processes import (
    LineQuantity,
    OrderCompletedEvent,
    OrderConfirmedEvent,
    OrderEvent,
    OrderHeldEvent,
    OrderReleasedEvent,
    OrderRenewedEvent,
    OrderShipmentCommittedEvent,
    OrderShippedEvent,
    OrderStatus,
    OrderWithdrawnEvent,
)
from tests.unit.domain.processes.test_orders import FIRM, HELD, LINES, OID, PAID, PLACED, SHORT, STORIES, T0, TTL, after, told

A, B = LINES


def test_a_step_at_once_is_a_command_for_every_line_and_what_comes_of_them() -> None:
    pending, paid, shipping = told("pending"), told("paid"), told("shipping")
    assert steps.plan(pending, T0) == (
        [steps.reserve(pending, A, 1), steps.reserve(pending, B, 1)],
        OrderHeldEvent(OID, T0 + TTL),
    )
    assert steps.plan(paid, T0) == (
        [steps.confirm(paid, A, 1), steps.confirm(paid, B, 1)],
        OrderConfirmedEvent(OID, (1, 1)),
    )
    assert shipping.open_shipment is not None
    assert steps.plan(shipping, T0) == (
        [steps.commit(shipping, shipping.open_shipment, LineQuantity(1, 1))],
        OrderShipmentCommittedEvent(OID, "X1"),
    )


@pytest.mark.parametrize("story, ends_as", [("refused", OrderStatus.REJECTED), ("cancelling", OrderStatus.CANCELLED)])
def test_given_back_at_once_it_ends_as_it_was_withdrawn(story: str, ends_as: OrderStatus) -> None:
    order = told(story)
    commands = [command for _, command in steps.releases(order)]
    assert steps.plan(order, T0) == (commands, OrderReleasedEvent(OID, ends_as))


CANCELLED = OrderWithdrawnEvent(OID, OrderStatus.CANCELLED, ())
SHIPPED = OrderShippedEvent(OID, "X1", (LineQuantity(1, 1),))


@pytest.mark.parametrize(
    "events, step",
    [
        pytest.param((PLACED, HELD, PAID, OrderRenewedEvent(OID, 2)), OrderStep.CONFIRM, id="a hold has lapsed"),
        pytest.param((*STORIES["expired"], PAID), OrderStep.CONFIRM, id="paid when it had expired"),
        pytest.param((PLACED, HELD, PAID, FIRM, SHIPPED, CANCELLED), OrderStep.RELEASE, id="some of it was shipped"),
    ],
)
def test_where_one_line_depends_on_another_nothing_is_planned_at_once(events: tuple[OrderEvent, ...], step: OrderStep) -> None:
    order = after(*events)
    assert order.step is step
    assert steps.plan(order, T0) is None


def test_money_that_came_is_told_apart_where_the_goods_can_not_be_had() -> None:
    assert steps.refused(told("pending"), SHORT) == OrderWithdrawnEvent(OID, OrderStatus.REJECTED, SHORT)
    assert steps.refused(after(PLACED, PAID), SHORT) == OrderWithdrawnEvent(OID, OrderStatus.NEEDS_REFUND, SHORT)


@pytest.mark.parametrize(
    "why, available, code",
    [
        (InsufficientStockError(inventory=A.inventory_id.stream, requested=2, available=1), 1, "insufficient_stock"),
        (ReservationNotFoundError(inventory=A.inventory_id.stream, reservation_id="O1:1"), None, "reservation_not_found"),
    ],
    ids=["short", "another reason"],
)
def test_a_shortage_is_what_the_refusal_says(why: RejectionError, available: int | None, code: str) -> None:
    assert LineShortage.of(A, A.inventory_id, why) == LineShortage(1, "A", "S1", 2, available, code)


def strays(*events: OrderEvent) -> list[str]:
    return [one.reservation_id for one in steps.strays(after(*events))]


def test_beside_firm_holds_everything_is_given_back() -> None:
    assert strays(PLACED, HELD, PAID, FIRM) == []
    renewed: tuple[OrderEvent, ...] = (PLACED, HELD, PAID, OrderRenewedEvent(OID, 2), OrderConfirmedEvent(OID, (2, 1)))
    assert strays(*renewed) == ["O1:2:g2", "O1:1"]
    shipped = OrderShippedEvent(OID, "X1", (LineQuantity(1, 2), LineQuantity(2, 1)))
    done: tuple[OrderEvent, ...] = (shipped, OrderShipmentCommittedEvent(OID, "X1"), OrderCompletedEvent(OID))
    assert strays(*renewed, *done) == ["O1:2:g2", "O1:1"]


@pytest.mark.parametrize("story", ["rejected", "cancelled", "expired", "to refund"])
def test_an_order_that_ended_without_goods_holds_nothing_at_all(story: str) -> None:
    order = told(story)
    assert order.status.holds_nothing
    found = list(steps.strays(order))
    assert [one.reservation_id for one in found] == ["O1:2", "O1:1"]
    assert {one.reason for one in found} == {ReleaseReason.COMPENSATION}


@pytest.mark.parametrize("story", ["pending", "held", "firm", "to look at"])
def test_an_order_that_goes_on_may_hold_something(story: str) -> None:
    assert not told(story).status.holds_nothing
