"""Event ids: frozen vectors, the standard behind them, and one meaning for each id."""

import pickle
from datetime import timedelta
from itertools import combinations
from typing import Any
from uuid import UUID, uuid5

import pytest
from hypothesis import given

from inventory_es.domain.command_identity import NAMESPACE, EventIds
from inventory_es.domain.commands import AddStock, AdjustStock, Command, CommitStock, ExpireReservations, ReserveStock
from inventory_es.domain.events import Recorded
from inventory_es.domain.identifiers import InventoryId
from inventory_es.domain.inventory import Inventory
from inventory_es.domain.reasons import AdjustReason, Remainder, Shortfall
from inventory_es.testing.domain.program import Program, play
from inventory_es.testing.domain.scenarios import SHELF, START
from inventory_es.testing.domain.strategies import identifiers, inventory_ids, programs

SHELVES = {"85123A": InventoryId("85123A", "berlin"), "é": InventoryId("é", "../x")}

FROZEN = [
    ("85123A", "own", ("c1", 0), "2217b567-a9eb-5ba9-b0d4-96790af535f7"),
    ("85123A", "own", ("c1", 1), "4ed39ea4-fd38-5ab0-b27b-3ff5be5d3a60"),
    ("85123A", "reserve", ("R1",), "d6fb38e7-8b22-5c42-90a2-8f7fef4f70b4"),
    ("85123A", "due", ("c1", "R1"), "07e3b75b-e5fc-5c6a-b18c-bd0ceef223b0"),
    ("é", "own", ("ü", 0), "6a960c68-7598-5061-b931-7aa80b710fa6"),
    ("é", "reserve", ("0f8fad5b-d9cb-469f-a165-70867728950e",), "b732cded-991f-5e22-8392-c312cb59552d"),
    ("é", "due", ("a", "b"), "29d9540f-f749-5f42-922a-012f6145bc1b"),
]


def of_reserve(ids: EventIds, reservation_id: str) -> UUID:
    return ids.first_own(ReserveStock(inventory_id=SHELF, reservation_id=reservation_id, quantity=1, ttl=None))


@pytest.mark.parametrize("product, meaning, arguments, expected", FROZEN)
def test_vectors_are_frozen(product: str, meaning: str, arguments: tuple[Any, ...], expected: str) -> None:
    """Stored events depend on these: a change here makes every retry of an older command a second one."""
    ids = EventIds(SHELVES[product].stream)
    made = of_reserve(ids, *arguments) if meaning == "reserve" else getattr(ids, meaning)(*arguments)
    assert str(made) == expected


@given(inventory_ids(), identifiers(), identifiers())
def test_they_are_name_based_uuids_of_the_standard(where: InventoryId, one: str, other: str) -> None:
    ids, stream = EventIds(where.stream), str(where.stream)
    assert ids.own(one, 12) == uuid5(NAMESPACE, f"{stream}\0own\x0012\0{one}")
    assert of_reserve(ids, one) == uuid5(NAMESPACE, f"{stream}\0reserve\0{one}")
    assert ids.due(one, other) == uuid5(NAMESPACE, f"{stream}\0due\0{len(one)}\0{one}\0{other}")
    assert ids.own(one, 0).version == 5


def test_they_are_like_any_other_uuid() -> None:
    made = EventIds(SHELF.stream).own("c", 0)
    usual = UUID(int=made.int)
    assert (made, hash(made), made.is_safe, repr(made)) == (usual, hash(usual), usual.is_safe, repr(usual))
    assert pickle.loads(pickle.dumps(made)) == made


@given(inventory_ids(), identifiers(), identifiers())
def test_different_meanings_have_different_ids(where: InventoryId, one: str, other: str) -> None:
    ids = EventIds(where.stream)
    made = [
        ids.own(one, 0),
        ids.own(one, 1),
        ids.own(f"1{one}", 0),
        of_reserve(ids, one),
        ids.due(one, other),
        ids.due(f"{one}{other}", one),
    ]
    made += [EventIds(InventoryId(where.store_id, f"{where.product_id}x"[:128]).stream).own(one, 0)]
    assert all(a != b for a, b in combinations(made, 2))


def ids_of(inventory: Inventory, command: Command, seconds: float) -> list[UUID]:
    at = START + timedelta(seconds=seconds)
    events = inventory.decide(command, at=at)
    for event in events:
        inventory.apply(Recorded(event, inventory.version + 1, at))
    return EventIds(SHELF.stream).of(command, events)


def test_own_events_are_counted_without_those_that_close_what_is_due() -> None:
    ids, inventory = EventIds(SHELF.stream), Inventory(SHELF)
    named: dict[str, Any] = {"inventory_id": SHELF}
    dated: dict[str, Any] = {"ttl": timedelta(seconds=10), **named}

    assert ids_of(inventory, AddStock(command_id="add", quantity=10, **named), 0) == [ids.own("add", 0)]
    assert ids_of(inventory, ReserveStock(reservation_id="R1", quantity=1, **dated), 0) == [of_reserve(ids, "R1")]
    assert ids_of(inventory, ReserveStock(reservation_id="R2", quantity=1, **dated), 0) == [of_reserve(ids, "R2")]
    assert ids_of(inventory, ReserveStock(reservation_id="R3", quantity=4, **dated), 10) == [
        ids.due("R3", "R1"),
        ids.due("R3", "R2"),
        of_reserve(ids, "R3"),
    ]
    assert ids_of(inventory, CommitStock(command_id="c", reservation_id="R3", quantity=1, remainder=Remainder.RELEASE, **named), 10) == [
        ids.own("c", 0),
        ids.own("c", 1),
    ]
    for name in ("R4", "R5"):
        assert ids_of(inventory, ReserveStock(reservation_id=name, quantity=3, **dated), 11) == [of_reserve(ids, name)]
    assert ids_of(inventory, ReserveStock(reservation_id="R6", quantity=2, ttl=None, **named), 12) == [of_reserve(ids, "R6")]
    assert ids_of(inventory, ExpireReservations(command_id="sweep", limit=1, **named), 21) == [ids.own("sweep", 0)]
    loss = AdjustStock(command_id="loss", delta=-8, reason=AdjustReason.LOSS, shortfall=Shortfall.BUMP, **named)
    assert ids_of(inventory, loss, 21) == [ids.due("loss", "R5"), ids.own("loss", 0), ids.own("loss", 1)]
    assert ids_of(inventory, AddStock(command_id="add", quantity=1, **named), 22) == [ids.own("add", 0)]
    assert ids.of(loss, ()) == []


@given(programs(max_steps=25))
def test_no_id_comes_twice_in_a_stream_and_the_first_own_one_is_among_them(program: Program) -> None:
    ids = EventIds(program.inventory_id.stream)
    seen: set[UUID] = set()
    for answer in play(program).answers:
        if answer.appended:
            made = ids.of(answer.command, answer.events)
            assert len(made) == len(answer.events)
            assert ids.first_own(answer.command) in made
            assert not seen & set(made)
            assert len(set(made)) == len(made)
            seen.update(made)
