"""Thousands of open reservations are packed: nobody can tell, but for the memory that they take."""

import gc
import tracemalloc
from datetime import UTC, datetime, timedelta

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inventory_es.domain import reservation_book
from inventory_es.domain.events import Recorded
from inventory_es.domain.inventory import Inventory
from inventory_es.domain.reasons import Purpose
from inventory_es.domain.reservation_book import OpenReservation, PackedReservations, ReservationBook
from inventory_es.testing.domain.scenarios import SHELF, START
from inventory_es.testing.domain.strategies import histories

NUMBERS = st.integers(0, 2**63 - 1)
INSTANTS = st.datetimes(timezones=st.just(UTC))
RESERVATIONS = st.builds(
    OpenReservation,
    st.sampled_from(["a", "b", "c", "d", "é", "𝒳"]),
    NUMBERS,
    NUMBERS,
    NUMBERS,
    st.sampled_from(Purpose),
    st.none() | st.text(max_size=12),
    INSTANTS,
    st.none() | INSTANTS,
    NUMBERS,
)


@given(RESERVATIONS)
def test_a_packed_one_comes_back_as_it_was(hold: OpenReservation) -> None:
    packed = PackedReservations()
    packed.put(hold)
    assert packed.get(hold.reservation_id) == hold
    assert packed.is_due_from(hold.reservation_id, hold.reserved_at) is (hold.expires_at == hold.reserved_at)
    assert hold.expires_at is None or packed.is_due_from(hold.reservation_id, hold.expires_at)
    assert not packed.is_due_from("another", hold.reserved_at)
    assert list(packed) == [hold]
    assert hold.reservation_id in packed
    packed.discard(hold.reservation_id)
    assert packed.get(hold.reservation_id) is None
    assert len(packed) == 0


@given(histories(max_steps=40))
def test_an_inventory_that_packs_is_the_same_as_one_that_does_not(history: tuple[Recorded, ...]) -> None:
    plain = Inventory.replay(SHELF, history)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reservation_book, "OBJECTS_KEPT", 1)
        packing = Inventory(SHELF)
        for one in history:
            place = packing.savepoint()
            packing.apply(one)
            packing.rollback(place)
            packing.apply(one)
            packing.settle()
        assert packing == plain
        last = history[-1].recorded_at if history else START
        for at in (last, last + timedelta(minutes=10), last + timedelta(days=400)):
            assert packing.due(at) == plain.due(at)
            assert packing.due(at, limit=2) == plain.due(at, limit=2)
        assert list(packing.bump_candidates()) == list(plain.bump_candidates())
        assert [packing.reserved_for(one.owner_id) for one in plain.reservations() if one.owner_id] == [
            plain.reserved_for(one.owner_id) for one in plain.reservations() if one.owner_id
        ]


def test_a_packed_one_that_changes_is_there_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """It becomes an object again where another one has ended, and leaves nothing packed behind."""
    monkeypatch.setattr(reservation_book, "OBJECTS_KEPT", 1)
    first, second = (
        OpenReservation(name, 5, 5, 0, Purpose.ORDER, None, START, START + timedelta(days=1), version)
        for version, name in enumerate(("first", "second"), 1)
    )
    book = ReservationBook()
    book.put("first", None, first)
    book.put("second", None, second)
    book.put("first", first, None)
    changed = attrs.evolve(second, remaining=3, committed=2)
    book.put("second", second, changed)
    assert list(book) == [changed]
    assert book.open_count == 1
    assert book.get("second") == changed
    book.put("second", changed, None)
    assert list(book) == []
    assert not book.knows("second")


def test_the_hundred_thousandth_open_reservation_takes_half_of_the_first() -> None:
    """Each has an id and an owner of some twenty characters; what it takes includes its places in all queues and dictionaries."""
    at = datetime(2026, 1, 1, tzinfo=UTC)
    inventory = Inventory(SHELF)
    taken = [0]
    gc.collect()
    tracemalloc.start()
    for number in range(1, 100_001):
        at += timedelta(milliseconds=7)
        hold = OpenReservation(
            f"order-{number:08}/line-1",
            2,
            2,
            0,
            Purpose.ORDER,
            f"customer-{number:08}",
            at,
            at + timedelta(days=30),
            number,
        )
        inventory._book.put(hold.reservation_id, None, hold)
        if number in {reservation_book.OBJECTS_KEPT, 100_000}:
            taken.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert inventory.open_count == 100_000
    first, later = taken[1] / reservation_book.OBJECTS_KEPT, (taken[2] - taken[1]) / (100_000 - reservation_book.OBJECTS_KEPT)
    assert later <= 0.55 * first
    assert later <= 290
