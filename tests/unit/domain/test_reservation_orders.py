"""Keys in order with lazy deletion: whatever lies dead in a queue, a reading gives the live ones."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inventory_es.domain import reservation_book
from inventory_es.domain.reservation_book import DueQueue, HoldQueue, Key

KEYS = st.tuples(st.integers(0, 5), st.sampled_from("abc"))
STEPS = st.lists(st.tuples(st.sampled_from(["push", "push", "end", "trim", "ask"]), KEYS), max_size=60)
FEW = 3


@pytest.fixture(autouse=True, scope="module")
def few_are_near() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reservation_book, "OBJECTS_KEPT", FEW)
        patch.setattr(reservation_book, "_SLACK", FEW)
        yield


@given(STEPS)
def test_every_reading_gives_the_live_keys_in_order_each_once(steps: list[tuple[str, Key]]) -> None:
    live: set[Key] = set()
    queue = HoldQueue(live.__contains__)
    for step, key in steps:
        if step == "push":
            live.add(key)
            queue.push(key)
        elif step == "end":
            live.discard(key)
        elif step == "trim":
            queue.trim(len(live))
    expected = sorted(live)
    for _ in range(2):
        assert list(queue.walk()) == expected


def instant(number: int) -> datetime:
    return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(microseconds=number)


@given(STEPS, st.integers(-1, 6), st.none() | st.integers(0, 8))
def test_a_queue_of_instants_gives_the_same_however_many_are_far(steps: list[tuple[str, Key]], first: int, limit: int | None) -> None:
    live: set[Key] = set()
    queue = DueQueue(live.__contains__)
    for step, (number, name) in steps:
        key = (instant(number), name)
        if step == "push":
            live.add(key)
            queue.push(key)
        elif step == "end":
            live.discard(key)
        elif step == "trim":
            queue.trim(len(live))
            assert len(queue) <= 2 * (2 * len(live) + FEW)
        else:
            assert list(queue.up_to(instant(number), 2)) == sorted(one for one in live if one[0] <= instant(number))[:2]
    expected = sorted(live)
    for _ in range(2):
        assert list(queue.up_to(instant(first), limit)) == [key for key in expected if key[0] <= instant(first)][:limit]
        assert list(queue.up_to(instant(6))) == expected
