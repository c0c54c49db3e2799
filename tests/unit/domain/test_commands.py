"""Commands and events are checked when they are made."""

import pickle
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from enum import StrEnum
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inventory_es.domain.commands import (
    MAX_TTL,
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
    InvalidIdentifierError,
    InvalidQuantityError,
    InvalidTtlError,
    QuantityOverflowError,
)
from inventory_es.domain.events import (
    EVENT_TYPES,
    Event,
    ReservationExtendedEvent,
    StockAddedEvent,
    StockAdjustedEvent,
    StockCommittedEvent,
    StockReleasedEvent,
    StockReservedEvent,
)
from inventory_es.domain.quantity import MAX_QUANTITY, StockQuantity
from inventory_es.domain.reasons import AddReason, AdjustReason, CommitReason, Ending, Purpose, ReleaseReason, Remainder, Shortfall
from inventory_es.testing.domain.scenarios import SHELF, START
from inventory_es.testing.domain.strategies import commands, events

NAMED: dict[str, Any] = {"inventory_id": SHELF, "command_id": "c"}
HELD: dict[str, Any] = {**NAMED, "reservation_id": "R"}
RESERVE: dict[str, Any] = {"inventory_id": SHELF, "reservation_id": "R", "quantity": 1, "ttl": None}
ADJUST: dict[str, Any] = {**NAMED, "delta": -1, "reason": AdjustReason.LOSS}
COUNT: dict[str, Any] = {**NAMED, "counted": 0, "observed_version": 0}


def test_defaults() -> None:
    assert AddStock(**NAMED, quantity=1).reason is AddReason.RECEIVED
    reserve = ReserveStock(**RESERVE)
    assert (reserve.purpose, reserve.owner_id, reserve.keep_available, reserve.not_after) == (Purpose.ORDER, None, 0, None)
    assert (reserve.command_id, reserve.reference) == ("R", None)
    release = ReleaseStock(**HELD)
    assert (release.quantity, release.reason) == (None, ReleaseReason.CANCELLED)
    commit = CommitStock(**HELD)
    assert (commit.quantity, commit.remainder, commit.reason) == (None, Remainder.KEEP, CommitReason.SOLD)
    assert AdjustStock(**ADJUST).shortfall is Shortfall.REJECT
    assert RecordCount(**COUNT).shortfall is Shortfall.REJECT
    assert ExpireReservations(**NAMED).limit == 500


def test_values_may_come_as_their_plain_forms() -> None:
    some_id = UUID(int=5)
    command = CommitStock(inventory_id=SHELF, command_id=some_id, reservation_id=some_id, quantity=StockQuantity(3), reason="SCRAPPED")
    assert command == CommitStock(
        inventory_id=SHELF, command_id=str(some_id), reservation_id=str(some_id), quantity=3, reason=CommitReason.SCRAPPED
    )
    assert type(command.reason) is CommitReason
    assert ReserveStock(**{**RESERVE, "owner_id": some_id}).owner_id == str(some_id)


@pytest.mark.parametrize("value", [0, -1, True, 1.0, "1", None], ids=repr)
def test_quantities_start_at_one(value: Any) -> None:
    makers: list[Callable[[], Command]] = [
        lambda: AddStock(**NAMED, quantity=value),
        lambda: ReserveStock(**{**RESERVE, "quantity": value}),
        lambda: ExpireReservations(**NAMED, limit=value),
    ]
    if value is not None:
        makers += [lambda: ReleaseStock(**HELD, quantity=value), lambda: CommitStock(**HELD, quantity=value)]
    for make in makers:
        with pytest.raises(InvalidQuantityError, match="must be"):
            make()


@pytest.mark.parametrize("name, make", [
    ("quantity", lambda value: AddStock(**NAMED, quantity=value)),
    ("quantity", lambda value: ReserveStock(**{**RESERVE, "quantity": value})),
    ("keep_available", lambda value: ReserveStock(**RESERVE, keep_available=value)),
    ("quantity", lambda value: ReleaseStock(**HELD, quantity=value)),
    ("quantity", lambda value: CommitStock(**HELD, quantity=value)),
    ("delta", lambda value: AdjustStock(**{**ADJUST, "delta": value})),
    ("delta", lambda value: AdjustStock(**{**ADJUST, "delta": -value})),
    ("counted", lambda value: RecordCount(**{**COUNT, "counted": value})),
    ("observed_version", lambda value: RecordCount(**{**COUNT, "observed_version": value})),
    ("limit", lambda value: ExpireReservations(**NAMED, limit=value)),
], ids=list("abcdefghij"))  # fmt: skip
def test_the_largest_figure(name: str, make: Callable[[int], Command]) -> None:
    make(MAX_QUANTITY)
    with pytest.raises(QuantityOverflowError) as above:
        make(MAX_QUANTITY + 1)
    assert (above.value.name, above.value.limit) == (name, MAX_QUANTITY)


def test_figures_that_may_be_zero() -> None:
    assert ReserveStock(**RESERVE, keep_available=0).keep_available == 0
    assert RecordCount(**COUNT).counted == 0
    for make in (
        lambda: ReserveStock(**RESERVE, keep_available=-1),
        lambda: RecordCount(**{**COUNT, "counted": -1}),
        lambda: RecordCount(**{**COUNT, "observed_version": -1}),
    ):
        with pytest.raises(InvalidQuantityError, match="must be 0 or more, not -1"):
            make()
    with pytest.raises(InvalidQuantityError, match=r"^keep_available must be a whole number of units, not a bool$"):
        ReserveStock(**RESERVE, keep_available=True)


@pytest.mark.parametrize(
    "delta, problem", [(0, "must not be 0"), (True, "not a bool"), (1.0, "not a float"), (StockQuantity(1), "not a StockQuantity")]
)
def test_a_difference_is_a_whole_number_but_zero(delta: Any, problem: str) -> None:
    with pytest.raises(InvalidQuantityError, match=rf"^delta .*{problem}$"):
        AdjustStock(**{**ADJUST, "delta": delta})


@pytest.mark.parametrize("ttl", [timedelta(0), timedelta(microseconds=-1), MAX_TTL + timedelta(microseconds=1), 5, 1.5, "1h"])
def test_a_ttl_is_a_time_above_zero(ttl: Any) -> None:
    for make in (lambda: ReserveStock(**{**RESERVE, "ttl": ttl}), lambda: ExtendReservation(**HELD, ttl=ttl)):
        with pytest.raises(InvalidTtlError, match="ttl must be") as refused:
            make()
        assert isinstance(refused.value, ValueError)


def test_ttl_bounds() -> None:
    with pytest.raises(InvalidTtlError, match=r"^ttl must be above zero and at most 36525 days, not 0:00:00$"):
        ExtendReservation(**HELD, ttl=timedelta(0))
    assert timedelta(days=36_525) == MAX_TTL
    for ttl in (timedelta(microseconds=1), MAX_TTL):
        assert ReserveStock(**{**RESERVE, "ttl": ttl}).ttl == ttl
        assert ExtendReservation(**HELD, ttl=ttl).ttl == ttl
    with pytest.raises(InvalidTtlError, match="must be a timedelta, not a NoneType"):
        ExtendReservation(**HELD, ttl=None)  # type: ignore[arg-type]  # only a reserve may be firm


@pytest.mark.parametrize("not_after", [datetime(2026, 1, 1), "2026-01-01", 5])  # noqa: DTZ001  # naive is what is refused
def test_not_after_is_aware(not_after: Any) -> None:
    with pytest.raises(ValueError, match=r"^not_after must be an aware datetime: give it a time zone$"):
        ReserveStock(**RESERVE, not_after=not_after)


def test_not_after_may_be_of_any_zone() -> None:
    there = START.astimezone(timezone(timedelta(hours=5)))
    assert ReserveStock(**RESERVE, not_after=there).not_after == START


@pytest.mark.parametrize("make, legal", [
    (lambda reason: ReleaseStock(**HELD, reason=reason), {"CANCELLED", "COMPENSATION"}),
    (lambda reason: AdjustStock(**{**ADJUST, "reason": reason}), {"DAMAGE", "LOSS", "THEFT", "FOUND", "SPOILED", "CORRECTION"}),
    (lambda reason: CommitStock(**HELD, reason=reason), {"SOLD", "TRANSFER_OUT", "CONSUMED", "SCRAPPED"}),
    (lambda reason: AddStock(**NAMED, quantity=1, reason=reason), {str(reason) for reason in AddReason}),
    (lambda purpose: ReserveStock(**RESERVE, purpose=purpose), {"ORDER", "TRANSFER", "QUARANTINE", "INTERNAL"}),
    (lambda remainder: CommitStock(**HELD, remainder=remainder), {"KEEP", "RELEASE"}),
    (lambda shortfall: AdjustStock(**ADJUST, shortfall=shortfall), {"REJECT", "BUMP"}),
    (lambda shortfall: RecordCount(**COUNT, shortfall=shortfall), {"REJECT", "BUMP"}),
], ids=["release", "adjust", "commit", "add", "purpose", "remainder", "shortfall", "count"])  # fmt: skip
def test_callers_give_these_reasons_and_no_others(make: Callable[[Any], Command], legal: set[str]) -> None:
    every = {
        str(member) for kind in (AddReason, AdjustReason, CommitReason, Purpose, ReleaseReason, Remainder, Shortfall) for member in kind
    }
    values: list[Any] = [*every, "sold", "", None, 3, []]
    for value in values:
        if isinstance(value, str) and value in legal:
            assert str(value) in repr(make(value))
        else:
            with pytest.raises(ValueError, match="must be one of") as refused:
                make(value)
            assert all(name in str(refused.value) for name in legal)


@pytest.mark.parametrize("kind", [ReleaseReason.EXPIRED, ReleaseReason.REMAINDER, ReleaseReason.SHORTFALL])
def test_the_aggregates_own_reasons_are_refused_as_members_too(kind: ReleaseReason) -> None:
    with pytest.raises(ValueError, match="ReleaseReason must be one of CANCELLED, COMPENSATION"):
        ReleaseStock(**HELD, reason=kind)


def test_a_count_is_no_adjustment() -> None:
    with pytest.raises(ValueError, match="AdjustReason must be one of DAMAGE"):
        AdjustStock(**{**ADJUST, "reason": AdjustReason.COUNT})


def test_a_command_names_an_inventory() -> None:
    makers: list[Callable[[Any], Command]] = [
        lambda value: AddStock(**{**NAMED, "inventory_id": value}, quantity=1),
        lambda value: ReserveStock(**{**RESERVE, "inventory_id": value}),
        lambda value: CommitStock(**{**HELD, "inventory_id": value}),
    ]
    for make in makers:
        with pytest.raises(TypeError, match=r"^inventory_id must be an InventoryId, not a str$"):
            make("product")  # a mistake that hosts make


@pytest.mark.parametrize("name, make", [
    ("command_id", lambda value: AddStock(**{**NAMED, "command_id": value}, quantity=1)),
    ("command_id", lambda value: CommitStock(**{**HELD, "command_id": value})),
    ("reservation_id", lambda value: ConfirmReservation(**NAMED, reservation_id=value)),
    ("reservation_id", lambda value: ReserveStock(**{**RESERVE, "reservation_id": value})),
    ("reservation_id", lambda value: CommitStock(**NAMED, reservation_id=value)),
    ("owner_id", lambda value: ReserveStock(**RESERVE, owner_id=value)),
    ("reference", lambda value: AddStock(**NAMED, quantity=1, reference=value)),
    ("reference", lambda value: ReserveStock(**RESERVE, reference=value)),
    ("reference", lambda value: CommitStock(**HELD, reference=value)),
], ids=list("abcdefghi"))  # fmt: skip
def test_identifiers_of_a_command_are_checked(name: str, make: Callable[[str], Command]) -> None:
    assert getattr(make("fine"), name) == "fine"
    with pytest.raises(InvalidIdentifierError) as refused:
        make("not\nfine")
    assert refused.value.name == name


@given(commands())
def test_commands_are_values(command: Command) -> None:
    copy = pickle.loads(pickle.dumps(command))
    assert copy == command
    assert hash(copy) == hash(command)


@given(events())
def test_events_are_values(event: Event) -> None:
    copy = pickle.loads(pickle.dumps(event))
    assert copy == event
    assert hash(copy) == hash(event)


def test_registered_strategies_give_every_kind() -> None:
    @given(st.data())
    def draw_each(data: st.DataObject) -> None:
        for kind in (*Command.__args__, *EVENT_TYPES):
            assert isinstance(data.draw(st.from_type(kind)), kind)

    draw_each()


LATER = START + timedelta(seconds=1)
LEGAL: dict[type[Any], dict[str, Any]] = {
    StockAddedEvent: {"quantity": 1, "reason": AddReason.FOUND},
    StockReservedEvent: {"quantity": 1, "reservation_id": "R", "purpose": Purpose.ORDER, "owner_id": None, "expires_at": LATER},
    ReservationExtendedEvent: {"reservation_id": "R", "previous_expires_at": START, "expires_at": LATER},
    StockReleasedEvent: {"quantity": 1, "reservation_id": "R", "remaining": 0, "reason": ReleaseReason.CANCELLED},
    StockCommittedEvent: {"quantity": 1, "reservation_id": "R", "remaining": 0, "reason": CommitReason.SOLD},
    StockAdjustedEvent: {"delta": -1, "reason": AdjustReason.COUNT, "counted": 0, "observed_version": 0},
}


def event_with(kind: type[Any], **changes: Any) -> Any:
    return kind(**{"product_id": "p", "store_id": "s", "on_hand": 5, "reserved": 5, **LEGAL[kind], **changes})


@pytest.mark.parametrize("kind", EVENT_TYPES)
def test_events_check_their_figures(kind: type[Any]) -> None:
    event_with(kind, on_hand=MAX_QUANTITY, reserved=MAX_QUANTITY)
    event_with(kind, on_hand=0, reserved=0)
    for wrong in ({"on_hand": 4}, {"reserved": -1}, {"on_hand": MAX_QUANTITY + 1}, {"on_hand": 5.0}, {"reserved": 5.0}, {"reserved": True}):
        with pytest.raises(ValueError, match=r"the balance of an event must be on_hand ≥ reserved ≥ 0, whole numbers up to 2.53−1$"):
            event_with(kind, **wrong)
    least = {"quantity": 1, "remaining": 0, "counted": 0, "observed_version": 0}
    for name, lowest in least.items():
        if name in LEGAL[kind]:
            for legal in (lowest, MAX_QUANTITY):
                assert getattr(event_with(kind, **{name: legal}), name) == legal
            for wrong_value in (lowest - 1, MAX_QUANTITY + 1, 1.5, "1", True):
                with pytest.raises(ValueError, match=rf"^{name} of an event must be a whole number from {lowest} to 2.53−1$"):
                    event_with(kind, **{name: wrong_value})


@pytest.mark.parametrize("kind, name", [
    (StockReservedEvent, "expires_at"), (ReservationExtendedEvent, "expires_at"), (ReservationExtendedEvent, "previous_expires_at"),
], ids=["reserved", "extended", "previous"])  # fmt: skip
def test_events_carry_instants_in_utc(kind: type[Any], name: str) -> None:
    naive, there = START.replace(tzinfo=None), START.astimezone(timezone(timedelta(hours=1)))
    for wrong in (naive, there, "2026-01-01", *([None] if name == "previous_expires_at" else [])):
        with pytest.raises(ValueError, match=rf"^{name} of an event must be an aware datetime in UTC$"):
            event_with(kind, **{name: wrong})
    assert getattr(event_with(kind, **{name: START.astimezone(timezone(timedelta(0), "here"))}), name) == START


def test_a_hold_without_an_end_is_firm() -> None:
    assert event_with(StockReservedEvent, expires_at=None).expires_at is None
    assert event_with(ReservationExtendedEvent, expires_at=None).expires_at is None


@pytest.mark.parametrize("reason", AdjustReason)
@pytest.mark.parametrize("delta", [0, False, 0.0, 1.0, True, "1", MAX_QUANTITY + 1, -MAX_QUANTITY - 1], ids=repr)
def test_an_adjusted_event_has_a_difference_unless_a_count_confirmed_the_books(delta: Any, reason: AdjustReason) -> None:
    if type(delta) is int and delta == 0 and reason is AdjustReason.COUNT:
        assert event_with(StockAdjustedEvent, delta=delta, reason=reason).delta == 0
        return
    rule = r"^delta of an event must be a whole number within ±2.53−1 other than 0, or 0 with the reason COUNT$"
    with pytest.raises(ValueError, match=rule):
        event_with(StockAdjustedEvent, delta=delta, reason=reason)


@pytest.mark.parametrize("delta", [1, -1, MAX_QUANTITY, -MAX_QUANTITY])
def test_differences_that_are_legal(delta: int) -> None:
    assert event_with(StockAdjustedEvent, delta=delta).delta == delta
    assert event_with(StockAdjustedEvent, delta=delta, counted=None, observed_version=None).counted is None


FROZEN_REASONS = {
    AddReason: "OPENING RECEIVED RETURNED TRANSFER_IN TRANSFER_RETURN FOUND",
    AdjustReason: "COUNT DAMAGE LOSS THEFT FOUND SPOILED CORRECTION",
    CommitReason: "SOLD TRANSFER_OUT CONSUMED SCRAPPED",
    Ending: "COMMITTED RELEASED EXPIRED",
    Purpose: "ORDER TRANSFER QUARANTINE INTERNAL",
    ReleaseReason: "CANCELLED EXPIRED REMAINDER SHORTFALL COMPENSATION",
    Remainder: "KEEP RELEASE",
    Shortfall: "REJECT BUMP",
}


@pytest.mark.parametrize("kind", FROZEN_REASONS)
def test_reasons_are_stored_by_these_names(kind: type[StrEnum]) -> None:
    assert [member.value for member in kind] == [member.name for member in kind] == FROZEN_REASONS[kind].split()


def test_every_event_is_listed() -> None:
    assert set(EVENT_TYPES) == set(Event.__args__)
    assert UTC.utcoffset(None) == timedelta(0)
