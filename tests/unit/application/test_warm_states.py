"""A bounded cache whose entries have one user at a time."""

import pytest

from inventory_es.application.warm_states import WarmState, WarmStates
from inventory_es.domain.identifiers import InventoryId
from inventory_es.domain.inventory import Inventory

SHELVES = [InventoryId(f"p{number}", "s") for number in range(4)]


def _state(shelf: InventoryId) -> WarmState:
    return WarmState(Inventory(shelf), 0)


def test_a_state_is_taken_out() -> None:
    warm = WarmStates(2)
    state = _state(SHELVES[0])
    warm.put_back(SHELVES[0].stream, state)
    assert warm.take(SHELVES[0].stream) is state
    assert warm.take(SHELVES[0].stream) is None


@pytest.mark.parametrize("capacity, kept", [(0, []), (1, [3]), (3, [0, 2, 3]), (9, [0, 1, 2, 3])])
def test_the_least_recently_used_goes(capacity: int, kept: list[int]) -> None:
    warm = WarmStates(capacity)
    for shelf in SHELVES[:3]:
        warm.put_back(shelf.stream, _state(shelf))
    first = warm.take(SHELVES[0].stream)
    if first is not None:
        warm.put_back(SHELVES[0].stream, first)
    warm.put_back(SHELVES[3].stream, _state(SHELVES[3]))
    assert len(warm) == len(kept)
    assert [number for number, shelf in enumerate(SHELVES) if warm.take(shelf.stream)] == kept
