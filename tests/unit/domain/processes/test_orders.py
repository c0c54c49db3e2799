"""The pure part of an order: what each command does in each state, and which steps follow."""

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any, get_args
from uuid import UUID

import pytest

from inventory_es.commands import CommitStock, ConfirmReservation, ExpireReservations, ReleaseReason, ReleaseStock, ReserveStock
from inventory_es.domain.processes.lines import MOST_LINES, LineShortage, OrderLine
from inventory_es.domain.processes.order import steps
from inventory_es.domain.processes.order.commands import LapseOrder
from inventory_es.domain.processes.order.decisions import ORDERS, decide
from inventory_es.domain.processes.order.order import TRANSITIONS, OrderStep, Shipment, evolve
from inventory_es.domain.stream_id import MAX_PART_LENGTH
from inventory_es.errors import (
    CorruptStreamError,
    InvalidIdentifierError,
    InvalidQuantityError,
    InvalidTtlError,
    ProcessIdReusedError,
    ProcessNotFoundError,
    ProcessStateError,
    QuantityExceedsProcessError,
)
from inventory_es.processes import (
    AuthorisePayment,
    CancelOrder,
    LineQuantity,
    OrderCommand,
    OrderCompletedEvent,
    OrderConfirmedEvent,
    OrderEvent,
    OrderHeldEvent,
    OrderItem,
    OrderNeedsAttentionEvent,
    OrderPaymentAuthorisedEvent,
    OrderPlacedEvent,
    OrderReleasedEvent,
    OrderRenewedEvent,
    OrderReservation,
    OrderShipmentCommittedEvent,
    OrderShippedEvent,
    OrderStatus,
    OrderWithdrawnEvent,
    PlaceOrder,
    ResolveOrder,
    ShipOrder,
)

OID = "O1"
T0 = datetime(2026, 1, 5, 9, tzinfo=UTC)
TTL = timedelta(seconds=900)
S = OrderStatus
TOO_MANY = tuple(OrderItem(str(number), "S1", 1) for number in range(MOST_LINES + 1))
ITEMS = (OrderItem("B", "S1", 1), OrderItem("A", "S1", 2))
LINES = (OrderLine("A", "S1", 2, 1), OrderLine("B", "S1", 1, 2))
SHORT = (LineShortage(2, "B", "S1", 1, 0, "insufficient_stock"),)

PLACED = OrderPlacedEvent(OID, LINES, 900_000_000, None)
HELD = OrderHeldEvent(OID, T0 + TTL)
PAID = OrderPaymentAuthorisedEvent(OID, "P1")
FIRM = OrderConfirmedEvent(OID, (1, 1))
REFUSED = OrderWithdrawnEvent(OID, S.REJECTED, SHORT)

PLACE = PlaceOrder(order_id=OID, lines=ITEMS, ttl=TTL)
PAY = AuthorisePayment(order_id=OID, payment_id="P1")
SHIP = ShipOrder(order_id=OID, shipment_id="X1")
CANCEL = CancelOrder(order_id=OID)
LAPSE = LapseOrder(order_id=OID)
RESOLVE = ResolveOrder(order_id=OID)

STORIES: dict[str, tuple[OrderEvent, ...]] = {
    "new": (),
    "pending": (PLACED,),
    "refused": (PLACED, REFUSED),
    "rejected": (PLACED, REFUSED, OrderReleasedEvent(OID, S.REJECTED)),
    "held": (PLACED, HELD),
    "paid": (PLACED, HELD, PAID),
    "firm": (PLACED, HELD, PAID, FIRM),
    "shipping": (PLACED, HELD, PAID, FIRM, OrderShippedEvent(OID, "X1", (LineQuantity(1, 1),))),
    "shipped in part": (
        *(PLACED, HELD, PAID, FIRM, OrderShippedEvent(OID, "X1", (LineQuantity(1, 1),))),
        OrderShipmentCommittedEvent(OID, "X1"),
    ),
    "done": (
        *(PLACED, HELD, PAID, FIRM, OrderShippedEvent(OID, "X1", (LineQuantity(1, 2), LineQuantity(2, 1)))),
        *(OrderShipmentCommittedEvent(OID, "X1"), OrderCompletedEvent(OID)),
    ),
    "cancelling": (PLACED, HELD, OrderWithdrawnEvent(OID, S.CANCELLED, ())),
    "cancelled": (PLACED, HELD, OrderWithdrawnEvent(OID, S.CANCELLED, ()), OrderReleasedEvent(OID, S.CANCELLED)),
    "lapsing": (PLACED, HELD, OrderWithdrawnEvent(OID, S.EXPIRED, ())),
    "expired": (PLACED, HELD, OrderWithdrawnEvent(OID, S.EXPIRED, ()), OrderReleasedEvent(OID, S.EXPIRED)),
    "to refund": (PLACED, HELD, PAID, OrderWithdrawnEvent(OID, S.NEEDS_REFUND, SHORT), OrderReleasedEvent(OID, S.NEEDS_REFUND)),
    "to look at": (
        *(PLACED, HELD, PAID, FIRM, OrderShippedEvent(OID, "X1", (LineQuantity(1, 1),)), OrderShipmentCommittedEvent(OID, "X1")),
        *(OrderWithdrawnEvent(OID, S.CANCELLED, ()), OrderNeedsAttentionEvent(OID, 1, "reservation_already_committed")),
    ),
}


def after(*events: OrderEvent) -> OrderReservation:
    order = OrderReservation(OID)
    for event in events:
        order = evolve(order, event, T0)
    return order


def told(name: str) -> OrderReservation:
    return after(*STORIES[name])


def outcome(order: OrderReservation, command: OrderCommand, at: datetime = T0) -> Any:
    try:
        return decide(order, command, at)
    except (ProcessStateError, ProcessNotFoundError) as refusal:
        return type(refusal)


def withdrawn(ends_as: OrderStatus) -> tuple[OrderEvent, ...]:
    return (OrderWithdrawnEvent(OID, ends_as, ()),)


NO: Any = ProcessStateError
REFUNDED = (PAID, OrderReleasedEvent(OID, S.NEEDS_REFUND))
SHIPPED_X1 = (OrderShippedEvent(OID, "X1", (LineQuantity(1, 2), LineQuantity(2, 1))),)


@pytest.mark.parametrize(
    "story, pay, ship, cancel, resolve",
    [
        ("pending", (PAID,), NO, withdrawn(S.CANCELLED), ()),
        ("refused", (PAID,), NO, (), ()),
        ("rejected", REFUNDED, NO, (), ()),
        ("held", (PAID,), NO, withdrawn(S.CANCELLED), ()),
        ("paid", (), NO, withdrawn(S.CANCELLED), ()),
        ("firm", (), SHIPPED_X1, withdrawn(S.CANCELLED), ()),
        ("shipping", (), (), withdrawn(S.CANCELLED), ()),
        ("shipped in part", (), (), withdrawn(S.CANCELLED), ()),
        ("done", (), (), NO, ()),
        ("cancelling", (PAID,), NO, (), ()),
        ("cancelled", REFUNDED, NO, (), ()),
        ("lapsing", (PAID,), NO, withdrawn(S.CANCELLED), ()),
        ("expired", (PAID,), NO, withdrawn(S.CANCELLED), ()),
        ("to refund", (), NO, (), (OrderReleasedEvent(OID, S.CANCELLED),)),
        ("to look at", (), (), NO, withdrawn(S.CANCELLED)),
    ],
)
def test_every_command_in_every_state(story: str, pay: Any, ship: Any, cancel: Any, resolve: Any) -> None:
    order = told(story)
    assert [outcome(order, one) for one in (PAY, SHIP, CANCEL, RESOLVE)] == [pay, ship, cancel, resolve]
    assert decide(order, PLACE, T0) == ()


@pytest.mark.parametrize("command", [PAY, SHIP, CANCEL, LAPSE, RESOLVE])
def test_nothing_can_be_asked_of_an_order_that_was_never_placed(command: OrderCommand) -> None:
    with pytest.raises(ProcessNotFoundError, match="order-O1 was never begun"):
        decide(told("new"), command, T0)


@pytest.mark.parametrize("story", STORIES)
@pytest.mark.parametrize("seconds", [-1, 0, 1])
def test_only_a_held_order_that_nobody_paid_lapses_and_only_when_its_time_is_over(story: str, seconds: int) -> None:
    order = told(story)
    if story == "new":
        return
    lapses = story == "held" and seconds >= 0
    assert decide(order, LAPSE, T0 + TTL + timedelta(seconds=seconds)) == (withdrawn(S.EXPIRED) if lapses else ())


@pytest.mark.parametrize("story", STORIES)
def test_every_event_leads_where_the_table_says_and_nothing_else_may_follow(story: str) -> None:
    order = told(story)
    candidates: list[OrderEvent] = [
        *(PLACED, HELD, PAID, FIRM, REFUSED, OrderRenewedEvent(OID, 2), OrderNeedsAttentionEvent(OID, 1, "x"), OrderCompletedEvent(OID)),
        *(OrderShippedEvent(OID, "X9", (LineQuantity(1, 1),)), OrderShipmentCommittedEvent(OID, "X9")),
        *(OrderReleasedEvent(OID, one) for one in S),
    ]
    assert {type(one) for one in candidates} == set(get_args(OrderEvent))
    for event in candidates:
        leads_to = TRANSITIONS.get((order.status, type(event)), ())
        ends_as = event.ends_as if isinstance(event, OrderReleasedEvent) else None
        if ends_as in leads_to if ends_as is not None else leads_to:
            moved = evolve(order, event, T0)
            assert moved.status is (ends_as or leads_to[0])
            assert (moved.version, moved.last_time) == (order.version + 1, T0)
        else:
            with pytest.raises(CorruptStreamError, match=f"{type(event).__name__} can't follow while the order is {order.status}"):
                evolve(order, event, T0)


def test_every_state_of_the_table_has_a_story() -> None:
    assert {status for status, _ in TRANSITIONS} == {told(name).status for name in STORIES} - {S.DONE}


def test_a_payment_decides_how_a_withdrawn_order_ends() -> None:
    assert after(PLACED, REFUSED, PAID).withdrawn is S.NEEDS_REFUND
    assert after(*STORIES["cancelling"], PAID).withdrawn is S.NEEDS_REFUND
    assert after(*STORIES["lapsing"], PAID).withdrawn is S.EXPIRED
    expired = after(*STORIES["lapsing"], PAID, OrderReleasedEvent(OID, S.EXPIRED))
    assert (expired.status, expired.step) == (S.EXPIRED, OrderStep.CONFIRM)
    assert after(*STORIES["rejected"], *REFUNDED).status is S.NEEDS_REFUND
    assert after(*STORIES["cancelled"], *REFUNDED).status is S.NEEDS_REFUND


@pytest.mark.parametrize(
    "story, step",
    [
        ("new", None),
        ("pending", OrderStep.RESERVE),
        ("refused", OrderStep.RELEASE),
        ("rejected", None),
        ("held", None),
        ("paid", OrderStep.CONFIRM),
        ("firm", None),
        ("shipping", OrderStep.SHIP),
        ("shipped in part", None),
        ("done", None),
        ("cancelling", OrderStep.RELEASE),
        ("cancelled", None),
        ("expired", None),
        ("to refund", None),
        ("to look at", None),
    ],
)
def test_what_is_to_be_done_next(story: str, step: OrderStep | None) -> None:
    assert told(story).step is step


def test_a_second_payment_is_refused() -> None:
    with pytest.raises(ProcessStateError, match="HELD, which leaves no room for AuthorisePayment"):
        decide(told("paid"), AuthorisePayment(order_id=OID, payment_id="P2"), T0)


@pytest.mark.parametrize(
    "other",
    [
        PlaceOrder(order_id=OID, lines=ITEMS[:1], ttl=TTL),
        PlaceOrder(order_id=OID, lines=ITEMS, ttl=TTL * 2),
        PlaceOrder(order_id=OID, lines=ITEMS, ttl=TTL, owner_id="c-1"),
    ],
)
def test_an_order_id_is_used_once(other: PlaceOrder) -> None:
    with pytest.raises(ProcessIdReusedError, match="'O1' was used before"):
        decide(told("held"), other, T0)


def test_the_order_of_the_items_is_of_no_account_and_those_of_one_inventory_are_one_line() -> None:
    items = (OrderItem("A", "S1", 1), OrderItem("B", "S1", 1), OrderItem("A", "S1", 1))
    for mixed in itertools.permutations(items):
        assert PlaceOrder(order_id=OID, lines=mixed, ttl=TTL) == PLACE
    assert decide(OrderReservation(OID), PLACE, T0) == (PLACED,)


def test_a_shipment_id_is_used_once() -> None:
    again = ShipOrder(order_id=OID, shipment_id="X1", lines=(OrderItem("A", "S1", 1),))
    assert decide(told("shipped in part"), again, T0) == ()
    assert decide(told("done"), SHIP, T0) == ()
    with pytest.raises(ProcessIdReusedError, match="'X1' was used before"):
        decide(told("shipped in part"), ShipOrder(order_id=OID, shipment_id="X1", lines=(OrderItem("A", "S1", 2),)), T0)


@pytest.mark.parametrize(
    "story, item, remaining",
    [
        ("firm", OrderItem("A", "S1", 3), 2),
        ("shipping", OrderItem("A", "S1", 2), 1),
        ("shipped in part", OrderItem("A", "S1", 2), 1),
        ("firm", OrderItem("C", "S1", 1), 0),
    ],
)
def test_no_more_is_shipped_than_was_ordered(story: str, item: OrderItem, remaining: int) -> None:
    with pytest.raises(QuantityExceedsProcessError) as refusal:
        decide(told(story), ShipOrder(order_id=OID, shipment_id="X2", lines=(item,)), T0)
    assert (refusal.value.requested, refusal.value.remaining) == (item.quantity, remaining)
    assert refusal.value.inventory == item.inventory_id.stream


def test_of_several_lines_the_one_of_which_too_much_is_shipped_is_named() -> None:
    lines = (OrderItem("A", "S1", 2), OrderItem("B", "S1", 2))
    with pytest.raises(QuantityExceedsProcessError, match="order-O1 has 1 of inventory-B-S1 left, not 2: ask for less"):
        decide(told("firm"), ShipOrder(order_id=OID, shipment_id="X2", lines=lines), T0)


def test_nothing_is_left_to_ship_behind_a_shipment_of_everything() -> None:
    order = after(*STORIES["firm"], OrderShippedEvent(OID, "X1", (LineQuantity(1, 2), LineQuantity(2, 1))))
    with pytest.raises(ProcessStateError):
        decide(order, ShipOrder(order_id=OID, shipment_id="X2"), T0)


def test_the_last_shipment_completes_the_order() -> None:
    whole = after(*STORIES["shipped in part"], OrderShippedEvent(OID, "X2", (LineQuantity(1, 1), LineQuantity(2, 1))))
    assert steps.completed(whole) == ()
    assert steps.completed(evolve(whole, OrderShipmentCommittedEvent(OID, "X2"), T0)) == (OrderCompletedEvent(OID),)
    both = after(*STORIES["shipping"], OrderShippedEvent(OID, "X2", (LineQuantity(1, 1), LineQuantity(2, 1))))
    assert steps.completed(evolve(both, OrderShipmentCommittedEvent(OID, "X1"), T0)) == ()


@pytest.mark.parametrize("story", STORIES)
def test_only_an_order_of_which_everything_has_left_is_completed(story: str) -> None:
    assert steps.completed(told(story)) == ()


def test_commands_of_each_step() -> None:
    order = told("pending")
    a, b = LINES
    assert steps.reserve(order, a, 1) == ReserveStock(
        inventory_id=a.inventory_id, reservation_id="O1:1", quantity=2, ttl=TTL, not_after=T0 + TTL, reference="order-O1"
    )
    assert steps.reserve(order, b, 3) == ReserveStock(
        inventory_id=b.inventory_id, reservation_id="O1:2:g3", quantity=1, ttl=TTL, reference="order-O1"
    )
    assert steps.confirm(order, a, 2) == ConfirmReservation(
        inventory_id=a.inventory_id, command_id="O1:1:g2:confirm", reservation_id="O1:1:g2", reference="order-O1"
    )
    shipping = told("shipping")
    assert shipping.open_shipment is not None
    assert steps.commit(shipping, shipping.open_shipment, LineQuantity(1, 1)) == CommitStock(
        inventory_id=a.inventory_id, command_id="O1:1:ship:X1", reservation_id="O1:1", quantity=1, reference="order-O1"
    )


def test_everything_is_given_back_newest_first() -> None:
    a, b = (line.inventory_id for line in LINES)

    def released(inventory: Any, name: str, why: str, reason: ReleaseReason) -> ReleaseStock:
        return ReleaseStock(inventory_id=inventory, command_id=f"{name}:{why}", reservation_id=name, reason=reason, reference="order-O1")

    compensated, cancelled = ReleaseReason.COMPENSATION, ReleaseReason.CANCELLED
    assert [one for _, one in steps.releases(told("refused"))] == [
        released(b, "O1:2", "compensate", compensated),
        released(a, "O1:1", "compensate", compensated),
    ]
    renewed = after(PLACED, HELD, PAID, OrderRenewedEvent(OID, 2), OrderWithdrawnEvent(OID, S.CANCELLED, ()))
    assert [one for _, one in steps.releases(renewed)] == [
        released(b, "O1:2:g2", "cancel", cancelled),
        released(b, "O1:2", "cancel", cancelled),
        released(a, "O1:1:g2", "cancel", cancelled),
        released(a, "O1:1", "cancel", cancelled),
    ]
    assert [one for _, one in steps.releases(told("lapsing"))] == [
        released(b, "O1:2", "compensate", compensated),
        ExpireReservations(inventory_id=b, command_id="O1:2:expire"),
        released(a, "O1:1", "compensate", compensated),
        ExpireReservations(inventory_id=a, command_id="O1:1:expire"),
    ]


def test_no_two_steps_share_an_id() -> None:
    names = ["a", "a:1", "a:1:ship", "%", "%3a", ":"]
    orders = [OrderReservation(name, lines=LINES, generations=(1, 2), placed_at=T0, ttl=TTL) for name in names]
    made = [
        command.command_id
        for order in orders
        for line in LINES
        for command in (
            steps.confirm(order, line, 1),
            steps.confirm(order, line, 2),
            steps.release(order, line, 1),
            *(steps.commit(order, shipment(one), LineQuantity(line.line, 1)) for one in ("1", "1:confirm", ":", "%3a")),
        )
    ]
    assert len(made) == len(set(made))


def shipment(shipment_id: str) -> Shipment:
    return Shipment(shipment_id, (), is_committed=False)


@pytest.mark.parametrize(
    "wrong, error",
    [
        pytest.param(lambda: PlaceOrder(order_id="x" * 65, lines=ITEMS, ttl=TTL), InvalidIdentifierError, id="long order"),
        pytest.param(lambda: PlaceOrder(order_id=":" * 22, lines=ITEMS, ttl=TTL), InvalidIdentifierError, id="long encoded order"),
        pytest.param(lambda: PlaceOrder(order_id="", lines=ITEMS, ttl=TTL), InvalidIdentifierError, id="empty order"),
        pytest.param(lambda: ShipOrder(order_id=OID, shipment_id="x" * 41), InvalidIdentifierError, id="long shipment"),
        pytest.param(lambda: AuthorisePayment(order_id=OID, payment_id="\n"), InvalidIdentifierError, id="control character"),
        pytest.param(lambda: PlaceOrder(order_id=OID, lines=(), ttl=TTL), InvalidQuantityError, id="no lines"),
        pytest.param(lambda: ShipOrder(order_id=OID, shipment_id="X", lines=()), InvalidQuantityError, id="nothing to ship"),
        pytest.param(lambda: PlaceOrder(order_id=OID, lines=TOO_MANY, ttl=TTL), InvalidQuantityError, id="too many lines"),
        pytest.param(lambda: PlaceOrder(order_id=OID, lines=ITEMS, ttl=timedelta(0)), InvalidTtlError, id="no time"),
        pytest.param(lambda: OrderItem("A", "S", 0), InvalidQuantityError, id="no units"),
        pytest.param(lambda: OrderItem("", "S", 1), InvalidIdentifierError, id="no product"),
        pytest.param(lambda: OrderLine("A", "S", 1, 0), InvalidQuantityError, id="no line"),
        pytest.param(lambda: LineQuantity(1, 0), InvalidQuantityError, id="no units of a line"),
        pytest.param(lambda: OrderHeldEvent(OID, T0.replace(tzinfo=None)), ValueError, id="naive time"),
    ],
)
def test_nonsense_is_refused_by_name(wrong: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        wrong()


def test_the_longest_ids_leave_room_for_every_step() -> None:
    order = OrderReservation("o" * 64, lines=(OrderLine("A", "S", 1, MOST_LINES),), generations=(5,) * MOST_LINES)
    longest = OrderReservation(order.order_id, lines=order.lines * MOST_LINES, generations=order.generations)
    last = steps.commit(longest, shipment("s" * 40), LineQuantity(MOST_LINES, 1))
    assert len(last.command_id) <= MAX_PART_LENGTH


def test_every_command_has_a_name_of_its_own_within_its_order() -> None:
    others = (AuthorisePayment(order_id=OID, payment_id="X1"), ShipOrder(order_id=OID, shipment_id="P1"))
    names = [command.command_id for command in (PLACE, PAY, SHIP, CANCEL, LAPSE, RESOLVE, *others)]
    assert names == ["place", "pay:P1", "ship:X1", "cancel", "lapse", "resolve", "pay:X1", "ship:P1"]


def test_ids_may_be_uuids() -> None:
    order = PlaceOrder(order_id=UUID(int=1), lines=ITEMS, ttl=TTL)
    assert order.order_id == str(UUID(int=1))
    assert ORDERS.start(order.order_id).stream.parts == (order.order_id,)


def test_a_shortage_says_what_lacked() -> None:
    assert [one.units for one in (LineShortage(1, "A", "S", 4, 3, "insufficient_stock"), LineShortage(1, "A", "S", 4, None, "x"))] == [
        1,
        None,
    ]


@pytest.mark.parametrize("kind", [OrderStatus, OrderStep])
def test_what_is_stored_of_a_state_is_its_name(kind: type[Any]) -> None:
    assert [member.value for member in kind] == [member.name for member in kind]
