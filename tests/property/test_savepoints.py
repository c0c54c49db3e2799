"""Savepoint and rollback: the state is restored, by value and in all its answers."""

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inventory_es.domain.commands import AddStock, CommitStock, RecordCount, ReserveStock
from inventory_es.domain.errors import RejectionError
from inventory_es.domain.events import Recorded
from inventory_es.domain.inventory import Inventory
from inventory_es.domain.reasons import Shortfall
from inventory_es.domain.reservation_book import CLOSED_KEPT
from inventory_es.testing.domain.probe import behaviour
from inventory_es.testing.domain.program import Program, play
from inventory_es.testing.domain.scenarios import SHELF, START
from inventory_es.testing.domain.strategies import histories, programs


@settings(max_examples=150)
@given(histories(max_steps=25), st.data())
def test_rollback_restores_value_and_behaviour(history: tuple[Recorded, ...], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(history)))
    end = data.draw(st.integers(cut, len(history)))
    inventory = Inventory.replay(SHELF, history[:cut])
    at = history[-1].recorded_at
    value, answers = inventory.snapshot(), behaviour(inventory, at)
    for _ in range(data.draw(st.integers(1, 3))):
        place = inventory.savepoint()
        for recorded in history[cut:end]:
            inventory.apply(recorded)
        inventory.rollback(place)
        assert inventory.snapshot() == value
        assert behaviour(inventory, at) == answers
    inventory.settle()
    for recorded in history[cut:]:
        inventory.apply(recorded)
    whole = Inventory.replay(SHELF, history)
    assert inventory == whole
    assert behaviour(inventory, at) == behaviour(whole, at)


@settings(max_examples=100)
@given(histories(max_steps=25), st.data())
def test_nested_savepoints_roll_back_one_by_one(history: tuple[Recorded, ...], data: st.DataObject) -> None:
    inventory = Inventory(SHELF)
    places = [(inventory.savepoint(), inventory.snapshot())]
    for recorded in history:
        inventory.apply(recorded)
        if data.draw(st.booleans()):
            places.append((inventory.savepoint(), inventory.snapshot()))
    while places:
        place, value = places.pop(data.draw(st.integers(0, len(places) - 1)))
        inventory.rollback(place)
        assert inventory.snapshot() == value
        places = [(earlier, then) for earlier, then in places if earlier <= place]


@settings(max_examples=100)
@given(programs(max_steps=20), st.integers(1, 5))
def test_a_basket_is_all_or_nothing(program: Program, lines: int) -> None:
    """Decide and apply several lines on one inventory, and roll all back if one falls short, as a handler does."""
    record = play(program)
    inventory, at = record.handler.inventory, max(answer.at for answer in record.answers)
    value, available = inventory.snapshot(), int(inventory.available_at(at))
    place, refused = inventory.savepoint(), False
    for line in range(lines):
        command = ReserveStock(inventory_id=SHELF, reservation_id=f"line {line}", quantity=max(1, available // 2), ttl=None)
        try:
            for event in inventory.decide(command, at=at):
                inventory.apply(Recorded(event, inventory.version + 1, at))
        except RejectionError:
            refused = True
    if refused:
        inventory.rollback(place)
        assert inventory.snapshot() == value
    else:
        assert int(inventory.available_at(at)) == available - lines * max(1, available // 2)


def test_a_reservation_made_again_after_a_rollback_is_bumped_once() -> None:
    inventory = Inventory(SHELF)
    send(inventory, AddStock(inventory_id=SHELF, command_id="add", quantity=5))
    send(inventory, ReserveStock(inventory_id=SHELF, reservation_id="dated", quantity=1, ttl=timedelta(seconds=5)))
    place = inventory.savepoint()
    again = ReserveStock(inventory_id=SHELF, reservation_id="again", quantity=1, ttl=None)
    send(inventory, again)
    assert [hold.version for hold in inventory.bump_candidates()] == [2, 3]
    inventory.rollback(place)
    send(inventory, ReserveStock(inventory_id=SHELF, reservation_id="other", quantity=2, ttl=None))
    send(inventory, again)
    assert [(hold.reservation_id, hold.version) for hold in inventory.bump_candidates()] == [("dated", 2), ("again", 4), ("other", 3)]
    send(inventory, RecordCount(inventory_id=SHELF, command_id="count", counted=1, observed_version=4, shortfall=Shortfall.BUMP))
    assert [(hold.reservation_id, hold.remaining) for hold in inventory.reservations()] == [("other", 1)]


def full_of_closed() -> Inventory:
    inventory = Inventory(SHELF)
    send(inventory, AddStock(inventory_id=SHELF, command_id="add", quantity=2 * CLOSED_KEPT))
    for number in range(CLOSED_KEPT):
        send(inventory, ReserveStock(inventory_id=SHELF, reservation_id=f"R{number}", quantity=1, ttl=None))
        send(inventory, CommitStock(inventory_id=SHELF, command_id=f"c{number}", reservation_id=f"R{number}"))
    return inventory


def send(inventory: Inventory, command: AddStock | CommitStock | RecordCount | ReserveStock) -> None:
    for event in inventory.decide(command, at=START):
        inventory.apply(Recorded(event, inventory.version + 1, START))


def test_the_oldest_closed_are_forgotten_and_remembered_again_on_rollback() -> None:
    inventory = full_of_closed()
    for name in ("last", "very last"):
        send(inventory, ReserveStock(inventory_id=SHELF, reservation_id=name, quantity=1, ttl=timedelta(seconds=5)))
    value = inventory.snapshot()
    assert len(value.closed) == CLOSED_KEPT
    place = inventory.savepoint()
    for name in ("last", "very last"):
        send(inventory, CommitStock(inventory_id=SHELF, command_id=f"commit {name}", reservation_id=name))
    assert len(inventory.snapshot().closed) == CLOSED_KEPT
    assert inventory.closed("R0") is None
    assert inventory.closed("R1") is None
    assert inventory.closed("R2") is not None
    inventory.rollback(place)
    assert inventory.snapshot() == value
    assert Inventory.from_snapshot(value).closed("R0") is not None


def test_without_a_savepoint_forgetting_is_the_same() -> None:
    inventory = full_of_closed()
    send(inventory, ReserveStock(inventory_id=SHELF, reservation_id="last", quantity=1, ttl=None))
    send(inventory, CommitStock(inventory_id=SHELF, command_id="commit", reservation_id="last"))
    closed = [reservation_id for reservation_id, _ in inventory.snapshot().closed]
    assert closed == [*(f"R{number}" for number in range(1, CLOSED_KEPT)), "last"]


def test_a_savepoint_ends_with_settle() -> None:
    inventory = Inventory(SHELF)
    send(inventory, AddStock(inventory_id=SHELF, command_id="add", quantity=1))
    place = inventory.savepoint()
    send(inventory, AddStock(inventory_id=SHELF, command_id="more", quantity=1))
    later = inventory.savepoint()
    assert (place, later) == (0, 1)
    for wrong in (-1, 2):
        with pytest.raises(ValueError, match="no such savepoint"):
            inventory.rollback(wrong)
    inventory.settle()
    with pytest.raises(ValueError, match="no such savepoint"):
        inventory.rollback(place)
    assert inventory.units_on_hand == 2
