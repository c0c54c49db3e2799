"""Keys in order with lazy deletion: whatever lies dead in the heap, a reading gives the live ones."""

from hypothesis import given
from hypothesis import strategies as st

from inventory_es.domain.hold_queue import HoldQueue, Key

KEYS = st.tuples(st.integers(0, 5), st.sampled_from("ab"))
STEPS = st.lists(st.tuples(st.sampled_from(["push", "push", "end", "trim"]), KEYS), max_size=60)


@given(STEPS, st.integers(-1, 6), st.none() | st.integers(0, 8))
def test_every_reading_gives_the_live_keys_in_order_each_once(steps: list[tuple[str, Key]], first: int, limit: int | None) -> None:
    live: set[Key] = set()
    queue = HoldQueue(live.__contains__)
    for step, key in steps:
        if step == "push":
            live.add(key)
            queue.push(key)
        elif step == "end":
            live.discard(key)
        else:
            queue.trim(len(live))
    expected = sorted(live)
    for _ in range(2):
        assert list(queue.walk()) == expected
        assert list(queue.up_to(first, limit)) == [key for key in expected if key[0] <= first][:limit]
        assert list(queue.up_to(6)) == expected
