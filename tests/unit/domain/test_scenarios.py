"""The scenarios of the domain's law, with their exact numbers, at the level of the pure domain. Times are seconds from the start."""

from datetime import timedelta
from typing import Any

from inventory_es.domain.commands import (
    AddStock,
    AdjustStock,
    CommitStock,
    ConfirmReservation,
    ExpireReservations,
    RecordCount,
    ReleaseStock,
    ReserveStock,
)
from inventory_es.domain.errors import (
    CountSupersededError,
    InsufficientStockError,
    QuantityExceedsReservationError,
    ReservationAlreadyCommittedError,
    ReservationAlreadyReleasedError,
    ReservationExpiredError,
    ReservationIdTakenError,
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
from inventory_es.domain.reasons import AdjustReason, CommitReason, Purpose, ReleaseReason, Shortfall
from inventory_es.testing.domain.scenarios import SHELF, START, Scenario, like, scenario


def second(seconds: float) -> Any:
    return START + timedelta(seconds=seconds)


def add(quantity: int, command_id: str = "add") -> AddStock:
    return AddStock(inventory_id=SHELF, command_id=command_id, quantity=quantity)


def reserve(reservation_id: str, quantity: int, *, ttl: float | None = None, **more: Any) -> ReserveStock:
    lifetime = None if ttl is None else timedelta(seconds=ttl)
    return ReserveStock(inventory_id=SHELF, reservation_id=reservation_id, quantity=quantity, ttl=lifetime, **more)


def commit(reservation_id: str, quantity: int | None = None, *, command_id: str = "commit", **more: Any) -> CommitStock:
    return CommitStock(inventory_id=SHELF, command_id=command_id, reservation_id=reservation_id, quantity=quantity, **more)


def release(reservation_id: str, quantity: int | None = None, *, command_id: str = "release") -> ReleaseStock:
    return ReleaseStock(inventory_id=SHELF, command_id=command_id, reservation_id=reservation_id, quantity=quantity)


def confirm(reservation_id: str) -> ConfirmReservation:
    return ConfirmReservation(inventory_id=SHELF, command_id="confirm", reservation_id=reservation_id)


def count(counted: int, observed: int, *, command_id: str = "count", shortfall: Shortfall = Shortfall.REJECT) -> RecordCount:
    return RecordCount(inventory_id=SHELF, command_id=command_id, counted=counted, observed_version=observed, shortfall=shortfall)


def sweep(command_id: str = "sweep") -> ExpireReservations:
    return ExpireReservations(inventory_id=SHELF, command_id=command_id)


def test_s1_happy_path() -> None:
    done = (
        scenario()
        .when(add(10), at=0)
        .then(StockAddedEvent("product", "store", 10, add(10).reason, 10, 0))
        .balance(10, 0, 10, 1)
        .when(reserve("R1", 3, ttl=600), at=1)
        .then(StockReservedEvent("product", "store", 3, "R1", Purpose.ORDER, None, second(601), 10, 3))
        .balance(10, 3, 7, 2)
        .when(confirm("R1"), at=2)
        .then(ReservationExtendedEvent("product", "store", "R1", second(601), None, 10, 3))
        .balance(10, 3, 7, 3)
        .when(commit("R1"), at=700)
        .then(StockCommittedEvent("product", "store", 3, "R1", 0, CommitReason.SOLD, 7, 0))
        .balance(7, 0, 7, 4)
    )
    assert [one.recorded_at for one in done.history] == [second(0), second(1), second(2), second(700)]


def test_s2_last_unit_two_buyers() -> None:
    both_loaded = scenario().when(add(1)).then(like(StockAddedEvent, on_hand=1)).balance(1, 0, 1, 1)
    loser = reserve("B", 1)
    assert both_loaded.inventory.decide(loser, at=START), "before the other one's append it would have succeeded"
    (
        both_loaded.when(reserve("A", 1))
        .then(like(StockReservedEvent, reservation_id="A"))
        .balance(1, 1, 0, 2)
        .when(loser)
        .then_rejected(InsufficientStockError, requested=1, available=0, shortfall=1)
        .balance(1, 1, 0, 2)
    )


def test_s3_retries_and_duplicates() -> None:
    (
        scenario()
        .when(add(5))
        .then(like(StockAddedEvent, quantity=5))
        .when(reserve("R1", 2))
        .then(like(StockReservedEvent, quantity=2))
        .balance(5, 2, 3, 2)
        .when(reserve("R1", 2))
        .then_replayed()
        .balance(5, 2, 3, 2)
        .when(reserve("R1", 3))
        .then_rejected(ReservationIdTakenError, reservation_id="R1")
        .when(release("R1", command_id="c2"))
        .then(like(StockReleasedEvent, quantity=2, remaining=0, reason=ReleaseReason.CANCELLED))
        .balance(5, 0, 5, 3)
        .when(release("R1", command_id="c2"))
        .then_replayed()
        .when(release("R1", command_id="c3"))
        .then_nothing()
        .balance(5, 0, 5, 3)
        .when(commit("R1"))
        .then_rejected(ReservationAlreadyReleasedError, reservation_id="R1")
        .balance(5, 0, 5, 3)
    )


def before_the_late_payment() -> Scenario:
    return (
        scenario()
        .when(add(2), at=0)
        .then(like(StockAddedEvent, on_hand=2))
        .when(reserve("R1", 2, ttl=600), at=0)
        .then(like(StockReservedEvent, expires_at=second(600)))
        .balance(2, 2, 0, 2)
        .when(reserve("R2", 1, ttl=600), at=599)
        .then_rejected(InsufficientStockError, available=0)
    )


def after_the_late_payment(so_far: Scenario, version: int) -> None:
    (
        so_far.balance(2, 1, 1, version)
        .when(commit("R1"), at=630)
        .then_rejected(ReservationExpiredError, expired_at=second(600))
        .when(reserve("R1b", 2, ttl=600), at=640)
        .then_rejected(InsufficientStockError, available=1)
        .when(release("R1"), at=650)
        .then_nothing()
        .balance(2, 1, 1, version)
    )


def test_s4_expiry_without_a_sweeper() -> None:
    reserved_again = (
        before_the_late_payment()
        .when(commit("R1"), at=600)
        .then_rejected(ReservationExpiredError, reservation_id="R1", expired_at=second(600))
        .balance(2, 2, 0, 2)
        .available(0, at=599.999999)
        .available(2, at=600)
        .when(reserve("R2", 1, ttl=600), at=600)
        .then(
            StockReleasedEvent("product", "store", 2, "R1", 0, ReleaseReason.EXPIRED, 2, 0),
            StockReservedEvent("product", "store", 1, "R2", Purpose.ORDER, None, second(1200), 2, 1),
        )
    )
    after_the_late_payment(reserved_again, 4)


def test_s4_with_a_sweep_first() -> None:
    reserved_again = (
        before_the_late_payment()
        .when(sweep(), at=600)
        .then(StockReleasedEvent("product", "store", 2, "R1", 0, ReleaseReason.EXPIRED, 2, 0))
        .when(commit("R1"), at=600)
        .then_rejected(ReservationExpiredError, reservation_id="R1", expired_at=second(600))
        .available(2, at=600)
        .when(reserve("R2", 1, ttl=600), at=600)
        .then(like(StockReservedEvent, reservation_id="R2"))
    )
    after_the_late_payment(reserved_again, 4)


def test_s5_partial_shipments() -> None:
    (
        scenario()
        .when(add(10))
        .then(like(StockAddedEvent, quantity=10))
        .when(reserve("R1", 10))
        .then(like(StockReservedEvent, expires_at=None))
        .balance(10, 10, 0, 2)
        .when(commit("R1", 4, command_id="c1"))
        .then(like(StockCommittedEvent, quantity=4, remaining=6))
        .balance(6, 6, 0, 3)
        .when(release("R1", 1))
        .then(like(StockReleasedEvent, quantity=1, remaining=5))
        .balance(6, 5, 1, 4)
        .when(commit("R1", 6, command_id="c2"))
        .then_rejected(QuantityExceedsReservationError, requested=6, remaining=5)
        .when(commit("R1", 5, command_id="c3"))
        .then(like(StockCommittedEvent, quantity=5, remaining=0))
        .balance(1, 0, 1, 5)
        .when(commit("R1", 1, command_id="c4"))
        .then_rejected(ReservationAlreadyCommittedError, reservation_id="R1")
        .when(release("R1", 1, command_id="c5"))
        .then_rejected(ReservationAlreadyCommittedError, reservation_id="R1")
        .balance(1, 0, 1, 5)
    )


def test_s6_expiry_after_a_partial_commit() -> None:
    (
        scenario()
        .when(add(10), at=0)
        .then(like(StockAddedEvent, quantity=10))
        .when(reserve("R1", 5, ttl=600), at=0)
        .then(like(StockReservedEvent, quantity=5))
        .balance(10, 5, 5, 2)
        .when(commit("R1", 2), at=60)
        .then(like(StockCommittedEvent, quantity=2, remaining=3))
        .balance(8, 3, 5, 3)
        .when(sweep("s1"), at=600)
        .then(like(StockReleasedEvent, quantity=3, remaining=0, reason=ReleaseReason.EXPIRED))
        .balance(8, 0, 8, 4)
        .when(sweep("s2"), at=601)
        .then_nothing()
        .when(commit("R1", 1, command_id="late"), at=700)
        .then_rejected(ReservationExpiredError, reservation_id="R1")
        .balance(8, 0, 8, 4)
    )


def test_s7_same_product_on_two_lines() -> None:
    stocked = scenario().when(add(3)).then(like(StockAddedEvent, on_hand=3)).balance(3, 0, 3, 1)
    inventory = stocked.inventory
    nothing_held = inventory.snapshot()
    start = inventory.savepoint()
    first = stocked.when(reserve("order-1", 2)).then(like(StockReservedEvent, quantity=2))
    first.when(reserve("order-2", 2)).then_rejected(InsufficientStockError, requested=2, available=1)
    inventory.apply(first.history[-1])
    inventory.rollback(start)
    assert inventory.snapshot() == nothing_held
    stocked.balance(3, 0, 3, 1)


def test_s10_count_during_sales_then_below_the_promises() -> None:
    bumped = (
        scenario()
        .when(add(100))
        .then(like(StockAddedEvent, quantity=100))
        .when(reserve("R1", 10))
        .then(like(StockReservedEvent, quantity=10))
        .balance(100, 10, 90, 2)
        .when(commit("R1", 4))
        .then(like(StockCommittedEvent, remaining=6))
        .balance(96, 6, 90, 3)
        .when(count(97, 2, command_id="first"))
        .then(StockAdjustedEvent("product", "store", -3, AdjustReason.COUNT, 97, 2, 93, 6))
        .balance(93, 6, 87, 4)
        .when(reserve("R2", 5, ttl=600))
        .then(like(StockReservedEvent, reservation_id="R2"))
        .balance(93, 11, 82, 5)
        .when(count(4, 5, command_id="second"))
        .then_rejected(WouldBreakReservationsError, shortfall=7)
        .when(count(4, 5, command_id="second", shortfall=Shortfall.BUMP))
        .then(
            StockReleasedEvent("product", "store", 5, "R2", 0, ReleaseReason.SHORTFALL, 93, 6),
            StockReleasedEvent("product", "store", 2, "R1", 4, ReleaseReason.SHORTFALL, 93, 4),
            StockAdjustedEvent("product", "store", -89, AdjustReason.COUNT, 4, 5, 4, 4),
        )
        .balance(4, 4, 0, 8)
        .when(count(97, 2, command_id="another counter"))
        .then_rejected(CountSupersededError, observed_version=2, last_count_version=8)
    )
    scenario().given(*bumped.history[:4]).balance(93, 6, 87, 4)


def test_s11_quarantine_and_buffer() -> None:
    (
        scenario()
        .when(add(20))
        .then(like(StockAddedEvent, quantity=20))
        .when(reserve("R1", 5))
        .then(like(StockReservedEvent, quantity=5))
        .when(reserve("Q1", 3, purpose=Purpose.QUARANTINE))
        .then(like(StockReservedEvent, purpose=Purpose.QUARANTINE))
        .balance(20, 8, 12, 3)
        .when(reserve("R2", 11, keep_available=2))
        .then_rejected(InsufficientStockError, requested=11, available=12, keep_available=2, shortfall=1)
        .when(reserve("R3", 10, keep_available=2))
        .then(like(StockReservedEvent, quantity=10))
        .balance(20, 18, 2, 4)
        .when(commit("Q1", 2, reason=CommitReason.SCRAPPED))
        .then(like(StockCommittedEvent, quantity=2, reason=CommitReason.SCRAPPED, remaining=1))
        .balance(18, 16, 2, 5)
        .when(release("Q1", 1))
        .then(like(StockReleasedEvent, quantity=1, remaining=0))
        .balance(18, 15, 3, 6)
    )


def test_adjustment_up_never_bumps() -> None:
    found = AdjustStock(inventory_id=SHELF, command_id="found", delta=4, reason=AdjustReason.FOUND, shortfall=Shortfall.BUMP)
    (
        scenario()
        .when(add(3))
        .then(like(StockAddedEvent, quantity=3))
        .when(reserve("R1", 3))
        .then(like(StockReservedEvent, quantity=3))
        .when(found)
        .then(StockAdjustedEvent("product", "store", 4, AdjustReason.FOUND, None, None, 7, 3))
        .balance(7, 3, 4, 3)
    )
