"""Every row of the table of commands, where the scenarios don't go: edges, no-ops, refusals, and what policies are asked."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import attrs
import pytest

from inventory_es.domain.commands import (
    AddStock,
    AdjustStock,
    Command,
    CommitStock,
    ConfirmReservation,
    ExpireReservations,
    ExtendReservation,
    RecordCount,
    ReleaseStock,
    ReserveStock,
)
from inventory_es.domain.errors import (
    CommandExpiredError,
    CountSupersededError,
    InsufficientStockError,
    InvalidQuantityError,
    InvalidTtlError,
    NegativeStockError,
    PolicyRejectedError,
    QuantityExceedsReservationError,
    QuantityOverflowError,
    RejectionError,
    ReservationAlreadyCommittedError,
    ReservationAlreadyReleasedError,
    ReservationExpiredError,
    ReservationIdTakenError,
    ReservationNotFoundError,
    WouldBreakReservationsError,
)
from inventory_es.domain.events import (
    ReservationExtendedEvent,
    StockAddedEvent,
    StockAdjustedEvent,
    StockCommittedEvent,
    StockReleasedEvent,
    StockReservedEvent,
)
from inventory_es.domain.identifiers import InventoryId
from inventory_es.domain.inventory import Inventory, StockView
from inventory_es.domain.quantity import MAX_QUANTITY
from inventory_es.domain.reasons import AdjustReason, Ending, Purpose, ReleaseReason, Remainder, Shortfall
from inventory_es.domain.reservation_book import ClosedReservation, OpenReservation
from inventory_es.testing.domain.scenarios import SHELF, START, Scenario, Step, like, scenario

TICK = timedelta(microseconds=1)
SECOND = timedelta(seconds=1)
NAMED: dict[str, Any] = {"inventory_id": SHELF, "command_id": "c"}


def add(quantity: int) -> AddStock:
    return AddStock(inventory_id=SHELF, command_id=f"add {quantity}", quantity=quantity)


def reserve(name: str, quantity: int, *, ttl: float | None = None, **more: Any) -> ReserveStock:
    lifetime = None if ttl is None else ttl * SECOND
    return ReserveStock(inventory_id=SHELF, reservation_id=name, quantity=quantity, ttl=lifetime, **more)


def adjust(delta: int, shortfall: Shortfall = Shortfall.REJECT) -> AdjustStock:
    return AdjustStock(**NAMED, delta=delta, reason=AdjustReason.LOSS, shortfall=shortfall)


def accepted(so_far: Scenario, *commands: Command, at: float = 0) -> Scenario:
    for command in commands:
        number = f"step {so_far.inventory.version}"
        step = so_far.when(command if isinstance(command, ReserveStock) else attrs.evolve(command, command_id=number), at=at)
        so_far = step.then(*step.answer.events)
    return so_far


def stocked(*commands: Command, units: int = 10) -> Scenario:
    return accepted(scenario(), add(units), *commands)


def when(so_far: Scenario, command: Command, at: float = 0) -> Step:
    return so_far.when(command, at=at)


def held(command_type: Any, name: str, **more: Any) -> Any:
    return command_type(**NAMED, reservation_id=name, **more)


# ── reserve ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_id_is_used_once_open_or_closed_or_due() -> None:
    so_far = stocked(reserve("open", 1), reserve("due", 1, ttl=5), reserve("sold", 1))
    so_far = accepted(so_far, held(CommitStock, "sold"))
    for name in ("open", "due", "sold"):
        decided_again = reserve(name, 2, ttl=7)
        with pytest.raises(ReservationIdTakenError) as taken:
            so_far.inventory.decide(decided_again, at=START + 60 * SECOND)
        assert (taken.value.reservation_id, taken.value.inventory) == (name, SHELF.stream)


@pytest.mark.parametrize("units, keep, is_accepted", [(10, 0, True), (11, 0, False), (8, 2, True), (9, 2, False), (1, 10, False)])
def test_a_reserve_leaves_what_it_is_to_keep(units: int, keep: int, *, is_accepted: bool) -> None:
    step = when(stocked(), reserve("R", units, keep_available=keep))
    if is_accepted:
        step.then(like(StockReservedEvent, quantity=units, reserved=units, on_hand=10)).balance(10, units, 10 - units, 2)
    else:
        step.then_rejected(
            InsufficientStockError, inventory=SHELF.stream, requested=units, available=10, keep_available=keep, shortfall=units + keep - 10
        )


def test_what_is_due_counts_as_available() -> None:
    so_far = stocked(reserve("due", 4, ttl=5), reserve("firm", 3))
    when(so_far, reserve("R", 8), 5).then_rejected(InsufficientStockError, available=7)
    when(so_far, reserve("R", 7), 5).then(like(StockReleasedEvent, reservation_id="due"), like(StockReservedEvent, quantity=7, reserved=10))
    when(so_far, reserve("R", 7), 4.999999).then_rejected(InsufficientStockError, available=3)


def test_a_command_that_comes_too_late_holds_nothing() -> None:
    late = START + 5 * SECOND
    so_far = stocked()
    when(so_far, reserve("R", 1, not_after=late), 4.999999).then(like(StockReservedEvent, quantity=1))
    for at in (5, 6):
        when(so_far, reserve("R", 1, not_after=late), at).then_rejected(
            CommandExpiredError, command_id="R", not_after=late, inventory=SHELF.stream
        )
    when(so_far, reserve("R", 99, not_after=late), 5).then_rejected(CommandExpiredError)


def test_a_hold_has_all_that_the_command_said() -> None:
    so_far = accepted(stocked(), reserve("R", 4, ttl=60, purpose=Purpose.TRANSFER, owner_id="ann"), at=3)
    hold = so_far.inventory.reservation("R")
    assert hold == OpenReservation("R", 4, 4, 0, Purpose.TRANSFER, "ann", START + 3 * SECOND, START + 63 * SECOND, 2)
    assert (hold.released, hold.is_firm, hold.is_due(START + 63 * SECOND), hold.is_due(START + 63 * SECOND - TICK)) == (
        0,
        False,
        True,
        False,
    )
    assert so_far.inventory.reserved_for("ann") == 4
    assert so_far.inventory.open_count == 1


def test_a_ttl_that_ends_beyond_the_calendar_is_refused() -> None:
    inventory = stocked(reserve("R", 1, ttl=10**7)).inventory
    at = datetime(9999, 12, 31, 23, tzinfo=UTC)
    with pytest.raises(InvalidTtlError, match=r"^ttl ends beyond the calendar: choose a shorter one, or None for a firm hold$"):
        inventory.decide(reserve("late", 1, ttl=7200), at=at)
    assert inventory.decide(reserve("late", 1, ttl=3599), at=at)


# ── extend, confirm ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_extend_moves_the_end_later_and_never_earlier() -> None:
    so_far = stocked(reserve("R", 1, ttl=60))
    when(so_far, held(ExtendReservation, "R", ttl=50 * SECOND), 10).then_nothing()
    when(so_far, held(ExtendReservation, "R", ttl=49 * SECOND), 10).then_nothing()
    longer = when(so_far, held(ExtendReservation, "R", ttl=50 * SECOND + TICK), 10).then(
        ReservationExtendedEvent("product", "store", "R", START + 60 * SECOND, START + 60 * SECOND + TICK, 10, 1)
    )
    longer.balance(10, 1, 9, 3).available(9, at=60).available(10, at=60.000001)


def test_a_firm_hold_stays_firm() -> None:
    so_far = stocked(reserve("R", 1))
    when(so_far, held(ExtendReservation, "R", ttl=SECOND)).then_nothing()
    when(so_far, held(ConfirmReservation, "R")).then_nothing().balance(10, 1, 9, 2)
    confirmed = accepted(stocked(reserve("R", 1, ttl=5)), held(ConfirmReservation, "R"), at=4)
    confirmed.available(9, at=10**6)
    assert confirmed.inventory.reservation("R") == OpenReservation("R", 1, 1, 0, Purpose.ORDER, None, START, None, 2)


@pytest.mark.parametrize("kind", [ExtendReservation, ConfirmReservation, CommitStock])
def test_who_is_late_or_wrong_is_told_why(kind: Any) -> None:
    more = {"ttl": SECOND} if kind is ExtendReservation else {}
    so_far = stocked(
        reserve("due", 1, ttl=5), reserve("sold", 1), reserve("swept", 1, ttl=5), reserve("free", 1), reserve("early", 1, ttl=5)
    )
    so_far = accepted(so_far, held(CommitStock, "sold"), held(ReleaseStock, "free"), held(ReleaseStock, "early"))
    when(so_far, held(kind, "due", **more), 5).then_rejected(
        ReservationExpiredError, reservation_id="due", expired_at=START + 5 * SECOND, inventory=SHELF.stream
    )
    when(so_far, held(kind, "sold", **more)).then_rejected(ReservationAlreadyCommittedError, reservation_id="sold", inventory=SHELF.stream)
    for name in ("free", "early"):
        when(so_far, held(kind, name, **more)).then_rejected(ReservationAlreadyReleasedError, reservation_id=name, inventory=SHELF.stream)
    when(so_far, held(kind, "none", **more)).then_rejected(ReservationNotFoundError, reservation_id="none", inventory=SHELF.stream)
    swept = accepted(so_far, ExpireReservations(inventory_id=SHELF, command_id="s"), at=5)
    when(swept, held(kind, "swept", **more), 6).then_rejected(ReservationExpiredError, expired_at=START + 5 * SECOND)


# ── release, commit ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_release_of_what_has_ended_otherwise() -> None:
    so_far = stocked(reserve("due", 1, ttl=5), reserve("sold", 1), reserve("free", 1))
    so_far = accepted(so_far, held(CommitStock, "sold"), ReleaseStock(inventory_id=SHELF, command_id="r", reservation_id="free"))
    when(so_far, held(ReleaseStock, "due"), 5).then_nothing()
    when(so_far, held(ReleaseStock, "due", quantity=99), 5).then_nothing()
    when(so_far, held(ReleaseStock, "free", quantity=99)).then_nothing()
    when(so_far, held(ReleaseStock, "none")).then_rejected(ReservationNotFoundError)
    when(so_far, held(ReleaseStock, "sold")).then_rejected(ReservationAlreadyCommittedError)
    when(so_far, held(ReleaseStock, "due"), 4.999999).then(like(StockReleasedEvent, quantity=1, reason=ReleaseReason.CANCELLED))


@pytest.mark.parametrize("kind", [ReleaseStock, CommitStock])
def test_no_more_than_remains(kind: Any) -> None:
    so_far = stocked(reserve("R", 5))
    when(so_far, held(kind, "R", quantity=6)).then_rejected(
        QuantityExceedsReservationError, reservation_id="R", requested=6, remaining=5, inventory=SHELF.stream
    )
    for quantity in (None, 5):
        assert accepted(so_far, held(kind, "R", quantity=quantity)).inventory.reservation("R") is None
    assert accepted(so_far, held(kind, "R", quantity=4)).inventory.units_reserved == 1


@pytest.mark.parametrize("reason", [ReleaseReason.CANCELLED, ReleaseReason.COMPENSATION])
def test_a_release_says_why(reason: ReleaseReason) -> None:
    when(stocked(reserve("R", 5)), held(ReleaseStock, "R", quantity=2, reason=reason)).then(
        StockReleasedEvent("product", "store", 2, "R", 3, reason, 10, 3)
    )


def test_a_remainder_is_kept_or_released() -> None:
    so_far = stocked(reserve("R", 5, ttl=60))
    when(so_far, held(CommitStock, "R", quantity=2, remainder=Remainder.RELEASE)).then(
        like(StockCommittedEvent, quantity=2, remaining=3, on_hand=8, reserved=3),
        StockReleasedEvent("product", "store", 3, "R", 0, ReleaseReason.REMAINDER, 8, 0),
    ).balance(8, 0, 8, 4)
    when(so_far, held(CommitStock, "R", quantity=5, remainder=Remainder.RELEASE)).then(like(StockCommittedEvent, quantity=5, remaining=0))
    kept = when(so_far, held(CommitStock, "R", quantity=2)).then(like(StockCommittedEvent, remaining=3))
    hold = kept.inventory.reservation("R")
    assert hold is not None
    assert (hold.original, hold.remaining, hold.committed, hold.released, hold.expires_at) == (5, 3, 2, 0, START + 60 * SECOND)


def test_how_a_hold_ended_is_remembered() -> None:
    so_far = stocked(reserve("sold", 3, ttl=5), reserve("free", 3), reserve("due", 3, ttl=5))
    so_far = accepted(so_far, held(ReleaseStock, "sold", quantity=1))
    for number, name in enumerate(("sold", "free", "due")):
        so_far = accepted(so_far, CommitStock(inventory_id=SHELF, command_id=f"c{number}", reservation_id=name, quantity=1))
    so_far = accepted(so_far, CommitStock(inventory_id=SHELF, command_id="rest", reservation_id="sold"))
    so_far = accepted(so_far, ReleaseStock(inventory_id=SHELF, command_id="r", reservation_id="free"))
    so_far = accepted(so_far, ExpireReservations(inventory_id=SHELF, command_id="s"), at=5)
    ended = START + 5 * SECOND
    assert so_far.inventory.closed("sold") == ClosedReservation(Ending.COMMITTED, 2, 1, ended)
    assert so_far.inventory.closed("free") == ClosedReservation(Ending.RELEASED, 1, 2, None)
    assert so_far.inventory.closed("due") == ClosedReservation(Ending.EXPIRED, 1, 2, ended)


def test_units_held_for_an_owner_follow_the_holds() -> None:
    so_far = stocked(reserve("R1", 4, owner_id="ann"), reserve("R2", 3, owner_id="ann", ttl=5), reserve("R3", 2, owner_id="bob"))
    held_for_ann = [so_far.inventory.reserved_for("ann")]
    for command in (
        held(CommitStock, "R1", quantity=1),
        held(ReleaseStock, "R1", quantity=2),
        held(ConfirmReservation, "R2"),
        held(CommitStock, "R1"),
        held(ReleaseStock, "R2"),
        reserve("R4", 1, owner_id="ann"),
    ):
        so_far = accepted(so_far, command)
        held_for_ann.append(so_far.inventory.reserved_for("ann"))
    assert held_for_ann == [7, 6, 4, 4, 3, 0, 1]
    assert so_far.inventory.reserved_for("bob") == 2


# ── add, adjust, count ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_no_more_units_than_can_be_counted() -> None:
    so_far = stocked(units=MAX_QUANTITY - 1)
    when(so_far, add(1)).then(like(StockAddedEvent, on_hand=MAX_QUANTITY))
    when(so_far, add(2)).then_rejected(QuantityOverflowError, name="on_hand", limit=MAX_QUANTITY)
    when(so_far, adjust(1)).then(like(StockAdjustedEvent, on_hand=MAX_QUANTITY))
    when(so_far, adjust(2)).then_rejected(QuantityOverflowError, name="on_hand", limit=MAX_QUANTITY)


@pytest.mark.parametrize("shortfall", list(Shortfall))
def test_no_fewer_units_than_none(shortfall: Shortfall) -> None:
    so_far = stocked(reserve("R", 4))
    when(so_far, adjust(-11, shortfall)).then_rejected(NegativeStockError, on_hand=10, delta=-11, inventory=SHELF.stream)
    when(so_far, adjust(-6, shortfall)).then(StockAdjustedEvent("product", "store", -6, AdjustReason.LOSS, None, None, 4, 4))


def test_an_adjustment_below_the_promises() -> None:
    so_far = stocked(reserve("R", 4))
    when(so_far, adjust(-7)).then_rejected(WouldBreakReservationsError, shortfall=1, inventory=SHELF.stream)
    when(so_far, adjust(-10, Shortfall.BUMP)).then(
        like(StockReleasedEvent, quantity=4, remaining=0, on_hand=10, reserved=0), like(StockAdjustedEvent, on_hand=0, reserved=0)
    )


def test_a_bump_takes_dated_before_firm_and_newest_first() -> None:
    so_far = stocked(reserve("old firm", 2), reserve("old dated", 2, ttl=90), reserve("new dated", 2, ttl=30), reserve("new firm", 2))
    so_far = accepted(so_far, held(ExtendReservation, "old dated", ttl=200 * SECOND))
    expected = [("new dated", 2), ("old dated", 2), ("new firm", 2), ("old firm", 1)]
    when(so_far, adjust(-9, Shortfall.BUMP)).then(
        *(like(StockReleasedEvent, reservation_id=name, quantity=units, reason=ReleaseReason.SHORTFALL) for name, units in expected),
        like(StockAdjustedEvent, on_hand=1, reserved=1),
    )


def test_a_confirmed_hold_is_bumped_as_a_firm_one() -> None:
    so_far = stocked(reserve("dated", 5, ttl=90), reserve("confirmed", 5, ttl=90))
    so_far = accepted(so_far, held(ConfirmReservation, "confirmed"))
    when(so_far, adjust(-6, Shortfall.BUMP)).then(
        like(StockReleasedEvent, reservation_id="dated", quantity=5, remaining=0),
        like(StockReleasedEvent, reservation_id="confirmed", quantity=1, remaining=4),
        like(StockAdjustedEvent, on_hand=4, reserved=4),
    )


def test_a_hold_that_is_confirmed_after_its_place_was_asked_for_is_bumped_as_a_firm_one() -> None:
    so_far = stocked(reserve("dated", 4, ttl=50), reserve("firm later", 4, ttl=50))
    asked = so_far.inventory.decide(adjust(-3, Shortfall.BUMP), at=START)
    assert [getattr(event, "reservation_id", None) for event in asked] == ["firm later", None]
    so_far = accepted(so_far, held(ConfirmReservation, "firm later"))
    when(so_far, adjust(-3, Shortfall.BUMP)).then(
        like(StockReleasedEvent, reservation_id="dated", quantity=1, reason=ReleaseReason.SHORTFALL), like(StockAdjustedEvent, delta=-3)
    )


def test_a_hold_is_bumped_though_many_came_and_went_since() -> None:
    so_far = stocked(reserve("stays", 4))
    for number in range(100):
        so_far = accepted(
            so_far, reserve(f"R{number}", 1, ttl=5), ReleaseStock(inventory_id=SHELF, command_id="r", reservation_id=f"R{number}")
        )
    when(so_far, adjust(-8, Shortfall.BUMP)).then(
        like(StockReleasedEvent, reservation_id="stays", quantity=2, reason=ReleaseReason.SHORTFALL), like(StockAdjustedEvent, delta=-8)
    )


def test_what_is_due_is_closed_before_anything_is_bumped() -> None:
    so_far = stocked(reserve("due", 5, ttl=5), reserve("dated", 5, ttl=90))
    when(so_far, adjust(-5), 5).then(
        like(StockReleasedEvent, reason=ReleaseReason.EXPIRED), like(StockAdjustedEvent, on_hand=5, reserved=5)
    )
    when(so_far, adjust(-6), 5).then_rejected(WouldBreakReservationsError, shortfall=1)
    when(so_far, adjust(-6, Shortfall.BUMP), 5).then(
        StockReleasedEvent("product", "store", 5, "due", 0, ReleaseReason.EXPIRED, 10, 5),
        StockReleasedEvent("product", "store", 1, "dated", 4, ReleaseReason.SHORTFALL, 10, 4),
        StockAdjustedEvent("product", "store", -6, AdjustReason.LOSS, None, None, 4, 4),
    )


def count(counted: int, observed: int) -> RecordCount:
    return RecordCount(**NAMED, counted=counted, observed_version=observed)


def test_a_count_that_finds_what_the_books_say_is_recorded() -> None:
    so_far = stocked()
    confirmed = when(so_far, count(10, 1)).then(StockAdjustedEvent("product", "store", 0, AdjustReason.COUNT, 10, 1, 10, 0))
    assert confirmed.inventory.last_count_version == 2
    when(confirmed, count(10, 1)).then_replayed()
    later = accepted(so_far, AddStock(inventory_id=SHELF, command_id="more", quantity=5))
    when(later, count(10, 1)).then(StockAdjustedEvent("product", "store", 0, AdjustReason.COUNT, 10, 1, 15, 0))


def test_a_count_of_a_shelf_whose_books_were_confirmed_later_is_refused() -> None:
    so_far = stocked(reserve("R1", 1))
    confirmed = accepted(so_far, RecordCount(inventory_id=SHELF, command_id="first", counted=10, observed_version=2))
    when(confirmed, count(7, 1)).then_rejected(CountSupersededError, observed_version=1, last_count_version=3)
    when(confirmed, count(10, 2)).then_rejected(CountSupersededError, observed_version=2, last_count_version=3)


def test_a_count_that_confirms_the_books_closes_what_is_due() -> None:
    when(stocked(reserve("due", 3, ttl=5)), count(10, 2), 5).then(
        StockReleasedEvent("product", "store", 3, "due", 0, ReleaseReason.EXPIRED, 10, 0),
        StockAdjustedEvent("product", "store", 0, AdjustReason.COUNT, 10, 2, 10, 0),
    )


def test_a_count_of_nothing_where_nothing_ever_was() -> None:
    counted = when(scenario(), count(0, 0)).then(StockAdjustedEvent("product", "store", 0, AdjustReason.COUNT, 0, 0, 0, 0))
    assert counted.inventory.last_count_version == 1


def test_a_count_before_anything_was_there() -> None:
    scenario().when(count(3, 0)).then(StockAdjustedEvent("product", "store", 3, AdjustReason.COUNT, 3, 0, 3, 0))


def test_a_count_of_a_shelf_that_was_counted_later_is_refused() -> None:
    counted = accepted(stocked(), RecordCount(inventory_id=SHELF, command_id="first", counted=8, observed_version=1))
    assert counted.inventory.last_count_version == 2
    when(counted, count(8, 1)).then_rejected(CountSupersededError, observed_version=1, last_count_version=2, inventory=SHELF.stream)
    when(counted, count(7, 2)).then(like(StockAdjustedEvent, delta=-1, counted=7, observed_version=2))
    lost = accepted(counted, adjust(-1))
    assert lost.inventory.last_count_version == 2


def test_a_count_needs_the_figure_that_was_observed() -> None:
    inventory = accepted(stocked(), AddStock(inventory_id=SHELF, command_id="more", quantity=5)).inventory
    with pytest.raises(ValueError, match="observed_on_hand is needed: units on hand of inventory-product-store at version 1"):
        inventory.decide(count(9, 1), at=START)
    with pytest.raises(InvalidQuantityError, match="observed_version 3 of inventory-product-store is not there yet: its version is 2"):
        inventory.decide(count(9, 3), at=START, observed_on_hand=10)
    for given, observed, delta in ((10, 1, -1), (99, 2, -6), (None, 2, -6)):
        (event,) = inventory.decide(count(9, observed), at=START, observed_on_hand=given)
        assert isinstance(event, StockAdjustedEvent)
        assert event.delta == delta


# ── expire ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_sweep_takes_the_first_that_are_due() -> None:
    so_far = stocked(reserve("b", 1, ttl=5), reserve("a", 2, ttl=5), reserve("c", 3, ttl=4), reserve("later", 1, ttl=6))
    sweep = ExpireReservations(**NAMED, limit=2)
    when(so_far, sweep, 3.999999).then_nothing()
    swept = when(so_far, sweep, 5).then(
        StockReleasedEvent("product", "store", 3, "c", 0, ReleaseReason.EXPIRED, 10, 4),
        StockReleasedEvent("product", "store", 2, "a", 0, ReleaseReason.EXPIRED, 10, 2),
    )
    when(swept, ExpireReservations(inventory_id=SHELF, command_id="again"), 5).then(like(StockReleasedEvent, reservation_id="b"))
    assert [hold.reservation_id for hold in so_far.inventory.due(START + 5 * SECOND)] == ["c", "a", "b"]
    assert [hold.reservation_id for hold in so_far.inventory.due(START + 5 * SECOND, limit=1)] == ["c"]


@pytest.mark.parametrize(
    "command",
    [
        AddStock(**NAMED, quantity=1),
        reserve("R", 1),
        held(ExtendReservation, "dated", ttl=900 * SECOND),
        held(ConfirmReservation, "dated"),
        held(ReleaseStock, "dated"),
        held(CommitStock, "dated"),
        adjust(-1),
        RecordCount(**NAMED, counted=1, observed_version=5),
    ],
    ids=lambda command: type(command).__name__,
)
def test_every_command_that_appends_closes_what_is_due_first(command: Command) -> None:
    so_far = stocked(reserve("x", 1, ttl=5), reserve("w", 2, ttl=5), reserve("v", 3, ttl=4), reserve("dated", 1, ttl=60))
    step = when(so_far, command, 5)
    closed = [
        StockReleasedEvent("product", "store", 3, "v", 0, ReleaseReason.EXPIRED, 10, 4),
        StockReleasedEvent("product", "store", 2, "w", 0, ReleaseReason.EXPIRED, 10, 2),
        StockReleasedEvent("product", "store", 1, "x", 0, ReleaseReason.EXPIRED, 10, 1),
    ]
    assert list(step.answer.events[:3]) == closed
    assert len(step.answer.events) == 4
    assert {one.recorded_at for one in step.answer.recorded} == {START + 5 * SECOND}


def test_a_no_op_closes_nothing() -> None:
    so_far = stocked(reserve("due", 1, ttl=5), reserve("firm", 1))
    when(so_far, held(ConfirmReservation, "firm"), 9).then_nothing().balance(10, 2, 8, 3)


# ── addressing, time, policies ───────────────────────────────────────────────────────────────────────────────────────────


def test_a_command_goes_to_its_own_inventory() -> None:
    inventory = stocked().inventory
    with pytest.raises(ValueError, match="the command is for inventory-other-store, this is inventory-product-store"):
        inventory.decide(AddStock(inventory_id=InventoryId("other", "store"), command_id="c", quantity=1), at=START)
    same = InventoryId(SHELF.product_id, SHELF.store_id)
    assert same is not SHELF
    assert inventory.decide(AddStock(inventory_id=same, command_id="c", quantity=1), at=START)


def test_time_is_given_in_utc_and_goes_on() -> None:
    inventory = stocked().inventory
    assert inventory.decide(add(1), at=START.astimezone(timezone(timedelta(0), "here")))
    with pytest.raises(ValueError, match="must not be before the last event of inventory-product-store"):
        inventory.decide(add(1), at=START - TICK)
    for fresh in (inventory, Inventory(SHELF)):
        for wrong in (START.replace(tzinfo=None), START.astimezone(timezone(timedelta(hours=1)))):
            with pytest.raises(ValueError, match="must be an aware datetime in UTC"):
                fresh.decide(add(1), at=wrong)


class Notebook:
    """A policy that writes down what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[StockView, Command, datetime]] = []

    def __call__(self, view: StockView, command: Command, at: datetime) -> None:
        self.asked.append((view, command, at))


def test_a_policy_sees_the_stock_with_what_is_due_closed() -> None:
    inventory = stocked(
        reserve("due", 1, ttl=5, owner_id="ann"), reserve("dated", 2, ttl=60, owner_id="ann"), reserve("firm", 3, owner_id="bob")
    ).inventory
    notebook, command, at = Notebook(), reserve("R", 1), START + 5 * SECOND
    inventory.decide(command, at=at, policies=[notebook])
    ((view, asked, when_asked),) = notebook.asked
    assert (asked, when_asked, view.at, view.inventory_id, view.version) == (command, at, at, SHELF, 4)
    assert (view.on_hand, view.reserved, view.unreserved) == (10, 5, 5)
    assert [hold.reservation_id for hold in view.due] == ["due"]
    assert {hold.reservation_id for hold in view.reservations()} == {"dated", "firm"}
    assert (view.reservation("due"), view.reservation("none")) == (None, None)
    assert view.reservation("dated") == inventory.reservation("dated")
    assert (view.reserved_for("ann"), view.reserved_for("bob"), view.reserved_for("nobody")) == (2, 3, 0)
    assert inventory.reserved_for("ann") == 3


def test_policies_are_asked_in_order_about_what_would_be_accepted_alone() -> None:
    inventory = stocked(reserve("firm", 1)).inventory
    notebook = Notebook()

    def never(_view: StockView, _command: Command, _at: datetime) -> None:
        reason = "never"
        raise PolicyRejectedError(reason, because="a test")

    with pytest.raises(InsufficientStockError):
        inventory.decide(reserve("R", 99), at=START, policies=[never])
    assert inventory.decide(held(ConfirmReservation, "firm"), at=START, policies=[never]) == ()
    with pytest.raises(PolicyRejectedError) as refused:
        inventory.decide(reserve("R", 1), at=START, policies=[notebook, never, notebook])
    assert refused.value.details == {"because": "a test"}
    assert len(notebook.asked) == 1


def test_a_sweep_asks_no_policy() -> None:
    notebook = Notebook()
    inventory = stocked(reserve("due", 1, ttl=5)).inventory
    assert inventory.decide(ExpireReservations(**NAMED), at=START + 5 * SECOND, policies=[notebook])
    assert notebook.asked == []


def test_what_is_no_command_is_no_command() -> None:
    odd: Any = type("Odd", (), {"inventory_id": SHELF})()
    with pytest.raises(AssertionError):
        Inventory(SHELF).decide(odd, at=START)


def test_a_rejection_leaves_the_state_as_it_was() -> None:
    inventory = stocked(reserve("R", 3, ttl=5)).inventory
    before = inventory.snapshot()
    with pytest.raises(RejectionError):
        inventory.decide(reserve("S", 99), at=START + 9 * SECOND)
    assert inventory.snapshot() == before
