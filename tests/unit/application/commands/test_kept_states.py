"""A bounded cache whose entries have one user at a time."""

import pytest

from inventory_es.application.commands.warm_states import WarmState, WarmStates
from inventory_es.domain.events import Event, StockAddedEvent, StockCommittedEvent, StockReservedEvent
from inventory_es.domain.identifiers import InventoryId
from inventory_es.domain.inventory import Inventory
from inventory_es.domain.reasons import AddReason, CommitReason, Purpose
from inventory_es.testing.domain.scenarios import START

PLENTY = 1 << 40
SHELVES = [InventoryId(f"p{number}", "s") for number in range(4)]


def _state(shelf: InventoryId, *, holds: int = 0, sales: int = 0) -> WarmState:
    inventory = Inventory(shelf)

    def apply(event: Event) -> None:
        inventory.apply((event, inventory.version + 1, START))

    names = (shelf.product_id, shelf.store_id)
    if holds + sales:
        apply(StockAddedEvent(*names, holds + sales, AddReason.RECEIVED, holds + sales, 0))
    for number in range(sales):
        left = holds + sales - number
        apply(StockReservedEvent(*names, 1, f"S{number}", Purpose.ORDER, None, None, left, 1))
        apply(StockCommittedEvent(*names, 1, f"S{number}", 0, CommitReason.SOLD, left - 1, 0))
    for number in range(holds):
        apply(StockReservedEvent(*names, 1, f"R{number}", Purpose.ORDER, None, None, holds, number + 1))
    return WarmState(inventory, 0)


def test_a_state_is_taken_out() -> None:
    warm = WarmStates(2, PLENTY)
    state = _state(SHELVES[0])
    warm.put_back(SHELVES[0].stream, state)
    assert warm.take(SHELVES[0].stream) is state
    assert warm.take(SHELVES[0].stream) is None


@pytest.mark.parametrize("capacity, kept", [(0, []), (1, [3]), (3, [0, 2, 3]), (9, [0, 1, 2, 3])])
def test_the_least_recently_used_goes(capacity: int, kept: list[int]) -> None:
    warm = WarmStates(capacity, PLENTY)
    for shelf in SHELVES[:3]:
        warm.put_back(shelf.stream, _state(shelf))
    first = warm.take(SHELVES[0].stream)
    if first is not None:
        warm.put_back(SHELVES[0].stream, first)
    warm.put_back(SHELVES[3].stream, _state(SHELVES[3]))
    assert len(warm) == len(kept)
    assert [number for number, shelf in enumerate(SHELVES) if warm.take(shelf.stream)] == kept


@pytest.mark.parametrize("what", ["holds", "sales"])
def test_all_states_together_have_one_bound_in_bytes(what: str) -> None:
    warm = WarmStates(100, 1_000_000)
    for number in range(50):
        shelf = InventoryId(f"p{number}", "s")
        warm.put_back(shelf.stream, _state(shelf, **{what: 500}))
    kept = [number for number in range(50) if warm.look_at(InventoryId(f"p{number}", "s").stream)]
    assert kept == list(range(50 - len(kept), 50)), "the least recently used go"
    per_state = 500 * (520 if what == "holds" else 280)
    assert 1_000_000 - 2 * per_state < len(kept) * per_state <= 1_000_000


def test_what_a_state_takes_is_counted_anew_each_time_it_comes_back() -> None:
    warm = WarmStates(100, 500_000)
    small, large = SHELVES[:2]
    for _ in range(50):
        warm.put_back(large.stream, _state(large, holds=900))
        warm.put_back(large.stream, _state(large, holds=900))
        assert warm.take(large.stream) is not None
    warm.put_back(small.stream, _state(small))
    warm.put_back(large.stream, _state(large, holds=900))
    assert len(warm) == 2, "what was taken out and replaced counts once"


def test_the_state_used_last_is_kept_however_large_it_is() -> None:
    warm = WarmStates(100, 1)
    for shelf in SHELVES:
        warm.put_back(shelf.stream, _state(shelf, holds=3))
        assert warm.look_at(shelf.stream) is not None
        assert len(warm) == 1
