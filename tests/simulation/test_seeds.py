"""A thousand applications in virtual time: every promise is kept, on either event loop, and the event loop changes nothing."""

import pytest

from inventory_es.testing import simulate

CHUNK = 100


@pytest.mark.parametrize("first", range(0, 900, CHUNK))
def test_every_promise_is_kept(first: int) -> None:
    happened = [simulate(seed=seed).counts for seed in range(first, first + CHUNK)]
    for name in ("restarts", "jumps", "conflicts", "faults", "unknown", "refused"):
        assert sum(getattr(one, name) for one in happened) > 20, f"hardly any {name}: these seeds prove nothing about them"


def test_every_promise_is_kept_on_trio() -> None:
    assert sum(simulate(seed=seed, backend="trio").counts.accepted for seed in range(900, 1_000)) > 300


def test_one_seed_is_one_trace_on_either_event_loop() -> None:
    digests: set[str] = set()
    seeds = (*range(25), 47, 55, 101)  # the last ones wake several that wait
    for seed in seeds:
        once = simulate(seed=seed)
        assert simulate(seed=seed).trace == once.trace
        assert simulate(seed=seed, backend="trio").trace == once.trace
        digests.add(once.digest)
    assert len(digests) == len(seeds)
