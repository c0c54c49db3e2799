"""The aggregate takes valid histories alone: anything else is a corrupt stream, and the state stays as it was."""

import pickle
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import attrs
import pytest
from hypothesis import given, settings

from inventory_es.domain.errors import CorruptStreamError
from inventory_es.domain.events import (
    Event,
    Recorded,
    ReservationExtendedEvent,
    StockAddedEvent,
    StockAdjustedEvent,
    StockCommittedEvent,
    StockReleasedEvent,
    StockReservedEvent,
)
from inventory_es.domain.identifiers import InventoryId
from inventory_es.domain.inventory import Inventory
from inventory_es.domain.quantity import StockQuantity
from inventory_es.domain.reasons import AddReason, AdjustReason, CommitReason, Purpose, ReleaseReason
from inventory_es.testing.domain.scenarios import SHELF, START
from inventory_es.testing.domain.strategies import histories

PLACE = ("product", "store")
SECOND = timedelta(seconds=1)
UNTIL = START + 600 * SECOND


def added(quantity: int, on_hand: int, reserved: int = 0, place: tuple[str, str] = PLACE) -> StockAddedEvent:
    return StockAddedEvent(*place, quantity, AddReason.RECEIVED, on_hand, reserved)


def reserved(quantity: int, on_hand: int, in_all: int, name: str = "R") -> StockReservedEvent:
    return StockReservedEvent(*PLACE, quantity, name, Purpose.ORDER, "ann", UNTIL, on_hand, in_all)


def released(quantity: int, remaining: int, on_hand: int, in_all: int, name: str = "R") -> StockReleasedEvent:
    return StockReleasedEvent(*PLACE, quantity, name, remaining, ReleaseReason.CANCELLED, on_hand, in_all)


def committed(quantity: int, remaining: int, on_hand: int, in_all: int, name: str = "R") -> StockCommittedEvent:
    return StockCommittedEvent(*PLACE, quantity, name, remaining, CommitReason.SOLD, on_hand, in_all)


def extended(previous: datetime, until: datetime | None, name: str = "R") -> ReservationExtendedEvent:
    return ReservationExtendedEvent(*PLACE, name, previous, until, 10, 4)


def folded(*events: Event) -> Inventory:
    return Inventory.replay(SHELF, [Recorded(event, version, START) for version, event in enumerate(events, start=1)])


def with_a_hold() -> Inventory:
    return folded(added(10, 10), reserved(4, 10, 4))


LATER = UNTIL + SECOND
USED = "it reserves under a reservation id that was used before"
NOT_EXTENDED = "it does not extend the reservation's time"
CORRUPT: list[tuple[str, Callable[[], Inventory], Event, int, datetime]] = [
    ("expected version 3 next", with_a_hold, added(1, 11, 4), 4, START),
    ("expected version 3 next", with_a_hold, added(1, 11, 4), 2, START),
    ("time runs backwards", with_a_hold, added(1, 11, 4), 3, START - timedelta(microseconds=1)),
    ("its time is not an aware datetime in UTC", with_a_hold, added(1, 11, 4), 3, START.replace(tzinfo=None)),
    ("its time is not an aware datetime in UTC", folded, added(1, 1), 1, START.astimezone(timezone(SECOND * 3600))),
    ("the event belongs to another inventory", with_a_hold, added(1, 11, 4, ("other", "store")), 3, START),
    ("the event belongs to another inventory", with_a_hold, added(1, 11, 4, ("product", "other")), 3, START),
    ("it carries 12/4 on hand/reserved, the fold gives 11/4", with_a_hold, added(1, 12, 4), 3, START),
    ("it carries 11/5 on hand/reserved, the fold gives 11/4", with_a_hold, added(1, 11, 5), 3, START),
    (USED, with_a_hold, reserved(1, 10, 5), 3, START),
    (USED, lambda: folded(added(10, 10), reserved(4, 10, 4), released(4, 0, 10, 0)), reserved(1, 10, 1), 4, START),
    ("it moves a reservation that is not open", with_a_hold, released(1, 0, 10, 3, "S"), 3, START),
    ("it moves a reservation that is not open", with_a_hold, committed(1, 0, 9, 3, "S"), 3, START),
    ("it moves a reservation that is not open", with_a_hold, extended(UNTIL, LATER, "S"), 3, START),
    ("it leaves the reservation 2 of 4 after 1", with_a_hold, released(1, 2, 10, 3), 3, START),
    ("it leaves the reservation 4 of 4 after 1", with_a_hold, committed(1, 4, 9, 3), 3, START),
    ("it leaves the reservation 0 of 4 after 5", with_a_hold, committed(5, 0, 5, 0), 3, START),
    (NOT_EXTENDED, with_a_hold, extended(UNTIL, UNTIL), 3, START),
    (NOT_EXTENDED, with_a_hold, extended(UNTIL, UNTIL - SECOND), 3, START),
    (NOT_EXTENDED, with_a_hold, extended(START, LATER), 3, START),
    (NOT_EXTENDED, lambda: folded(added(10, 10), reserved(4, 10, 4), extended(UNTIL, None)), extended(UNTIL, LATER), 4, START),
]  # fmt: skip


@pytest.mark.parametrize("problem, make, event, version, at", CORRUPT, ids=range(len(CORRUPT)))
def test_what_can_not_follow_is_refused(problem: str, make: Callable[[], Inventory], event: Event, version: int, at: datetime) -> None:
    inventory = make()
    before = inventory.snapshot()
    with pytest.raises(CorruptStreamError) as refused:
        inventory.apply(Recorded(event, version, at))
    assert refused.value.problem == problem
    assert (refused.value.stream, refused.value.version) == (SHELF.stream, version)
    assert inventory.snapshot() == before
    place = inventory.savepoint()
    with pytest.raises(CorruptStreamError):
        inventory.apply(Recorded(event, version, at))
    inventory.rollback(place)
    assert inventory.snapshot() == before


def test_an_extension_may_make_it_firm_or_later() -> None:
    later = folded(added(10, 10), reserved(4, 10, 4), extended(UNTIL, UNTIL + timedelta(microseconds=1)))
    assert later.due(UNTIL) == ()
    assert len(later.due(UNTIL + timedelta(microseconds=1))) == 1
    assert folded(added(10, 10), reserved(4, 10, 4), extended(UNTIL, None)).due(UNTIL + 999 * SECOND) == ()


@settings(max_examples=60)
@given(histories(max_steps=20))
def test_no_event_can_be_left_out_or_come_twice(history: tuple[Recorded, ...]) -> None:
    for place, one in enumerate(history):
        rest = [Recorded(later.event, later.version - 1, later.recorded_at) for later in history[place + 1 :]]
        try:
            lacking = Inventory.replay(SHELF, [*history[:place], *rest])
        except CorruptStreamError:
            pass
        else:
            moves_nothing = isinstance(one.event, ReservationExtendedEvent) or getattr(one.event, "delta", None) == 0
            assert moves_nothing or not rest
            assert lacking.version == len(history) - 1
        with pytest.raises(CorruptStreamError):
            Inventory.replay(SHELF, [*history[: place + 1], *history[place:]])


def test_figures_of_the_state() -> None:
    inventory = with_a_hold()
    assert (inventory.on_hand, inventory.reserved, inventory.unreserved) == (StockQuantity(10), StockQuantity(4), StockQuantity(6))
    assert (inventory.units_on_hand, inventory.units_reserved, inventory.version, inventory.last_time) == (10, 4, 2, START)
    assert (inventory.available_at(UNTIL - SECOND), inventory.available_at(UNTIL)) == (StockQuantity(6), StockQuantity(10))
    assert [hold.reservation_id for hold in inventory.reservations()] == ["R"]
    assert repr(inventory) == "<Inventory inventory-product-store 10/4 at version 2>"


def test_what_happened_in_utc_by_another_name_happened_in_utc() -> None:
    inventory = with_a_hold()
    inventory.apply(Recorded(added(1, 11, 4), 3, START.astimezone(timezone(0 * SECOND, "here"))))
    assert inventory.last_time == START


def test_a_rollback_leaves_holds_in_the_order_in_which_they_were_made() -> None:
    inventory = folded(added(10, 10), reserved(4, 10, 4), attrs.evolve(reserved(1, 10, 5), reservation_id="R2"))
    before = inventory.snapshot()
    place = inventory.savepoint()
    inventory.apply(Recorded(StockReleasedEvent(*PLACE, 4, "R", 0, ReleaseReason.CANCELLED, 10, 1), 4, START))
    inventory.rollback(place)
    assert inventory.snapshot() == before
    assert [hold.reservation_id for hold in before.open] == ["R", "R2"]


def test_inventories_are_equal_by_their_state() -> None:
    assert with_a_hold() == with_a_hold()
    assert with_a_hold() != folded(added(10, 10))
    assert Inventory(SHELF) != Inventory(InventoryId("product", "other"))
    assert with_a_hold() != with_a_hold().snapshot()
    unhashable: Any = with_a_hold()
    with pytest.raises(TypeError, match="unhashable"):
        hash(unhashable)


@settings(max_examples=60)
@given(histories(max_steps=20))
def test_a_snapshot_is_a_value(history: tuple[Recorded, ...]) -> None:
    snapshot = Inventory.replay(SHELF, history).snapshot()
    assert pickle.loads(pickle.dumps(snapshot)) == snapshot
    assert Inventory.from_snapshot(snapshot).snapshot() == snapshot
    assert [hold.version for hold in snapshot.open] == sorted(hold.version for hold in snapshot.open)
    assert snapshot.reserved == sum(hold.remaining for hold in snapshot.open)


def test_only_a_count_is_a_count() -> None:
    counted = StockAdjustedEvent(*PLACE, -1, AdjustReason.COUNT, 9, 1, 9, 0)
    assert folded(added(10, 10), counted).last_count_version == 2
    assert folded(added(10, 10), attrs.evolve(counted, reason=AdjustReason.LOSS)).last_count_version == 0


@pytest.mark.parametrize("name", ["version", "on_hand", "units_on_hand", "reserved", "units_reserved", "last_time", "last_count_version"])
def test_nothing_but_an_event_changes_a_figure(name: str) -> None:
    inventory = with_a_hold()
    with pytest.raises(AttributeError, match=name):
        setattr(inventory, name, 0)
