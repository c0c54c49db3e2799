"""A bounded cache whose entries have one user at a time."""

import pytest

from inventory_es.application.commands.states import InventoryState, StateCache
from inventory_es.domain.events import Event, StockAddedEvent, StockCommittedEvent, StockReservedEvent
from inventory_es.domain.identifiers import InventoryId
from inventory_es.domain.inventory import Inventory
from inventory_es.domain.reasons import AddReason, CommitReason, Purpose
from inventory_es.testing.domain.scenarios import START

PLENTY = 1 << 40
SHELVES = [InventoryId(f"p{number}", "s") for number in range(4)]


def _state(shelf: InventoryId, *, holds: int = 0, sales: int = 0) -> InventoryState:
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
    return InventoryState(inventory, 0)


def test_a_state_is_taken_out() -> None:
    cache = StateCache(2, PLENTY)
    state = _state(SHELVES[0])
    cache.return_(SHELVES[0].stream, state)
    assert cache.checkout(SHELVES[0].stream) is state
    assert cache.checkout(SHELVES[0].stream) is None


@pytest.mark.parametrize("capacity, kept", [(0, []), (1, [3]), (3, [0, 2, 3]), (9, [0, 1, 2, 3])])
def test_the_least_recently_used_goes(capacity: int, kept: list[int]) -> None:
    cache = StateCache(capacity, PLENTY)
    for shelf in SHELVES[:3]:
        cache.return_(shelf.stream, _state(shelf))
    first = cache.checkout(SHELVES[0].stream)
    if first is not None:
        cache.return_(SHELVES[0].stream, first)
    cache.return_(SHELVES[3].stream, _state(SHELVES[3]))
    assert len(cache) == len(kept)
    assert [number for number, shelf in enumerate(SHELVES) if cache.checkout(shelf.stream)] == kept


@pytest.mark.parametrize("what", ["holds", "sales"])
def test_all_states_together_have_one_bound_in_bytes(what: str) -> None:
    cache = StateCache(100, 1_000_000)
    for number in range(50):
        shelf = InventoryId(f"p{number}", "s")
        cache.return_(shelf.stream, _state(shelf, **{what: 500}))
    kept = [number for number in range(50) if cache.peek(InventoryId(f"p{number}", "s").stream)]
    assert kept == list(range(50 - len(kept), 50)), "the least recently used go"
    per_state = 500 * (520 if what == "holds" else 280)
    assert 1_000_000 - 2 * per_state < len(kept) * per_state <= 1_000_000


def test_what_a_state_takes_is_counted_anew_each_time_it_comes_back() -> None:
    cache = StateCache(100, 500_000)
    small, large = SHELVES[:2]
    for _ in range(50):
        cache.return_(large.stream, _state(large, holds=900))
        cache.return_(large.stream, _state(large, holds=900))
        assert cache.checkout(large.stream) is not None
    cache.return_(small.stream, _state(small))
    cache.return_(large.stream, _state(large, holds=900))
    assert len(cache) == 2, "what was taken out and replaced counts once"


def test_the_state_used_last_is_kept_however_large_it_is() -> None:
    cache = StateCache(100, 1)
    for shelf in SHELVES:
        cache.return_(shelf.stream, _state(shelf, holds=3))
        assert cache.peek(shelf.stream) is not None
        assert len(cache) == 1
