"""Virtual time, routing, and what the simulation of several processes holds whatever it is told to cost."""

from collections import Counter

import attrs
import pytest

from benchmarks.processes.kernel import Kernel, Lock, Semaphore, Signal, Steps
from benchmarks.processes.model import BUSY_POLLS, Costs, Load, Outcome, Way
from benchmarks.processes.routing import owner_of
from benchmarks.processes.simulation import simulate
from benchmarks.processes.study import WAYS

COSTS = Costs(decide=30e-6, commit=200e-6)


def run(way: Way, *, processes: int = 4, hot: float = 1.0, costs: Costs = COSTS, seed: int = 1) -> Outcome:
    return simulate(Load(processes=processes, callers=64, products=500, hot=hot), way, costs, seconds=0.2, seed=seed)


def test_steps_run_in_the_order_of_their_wake_ups() -> None:
    kernel, seen = Kernel(), list[tuple[str, float]]()

    def steps(name: str, *pauses: float) -> Steps:
        for pause in pauses:
            yield pause
            seen.append((name, kernel.now))

    kernel.start(steps("a", 2.0, 2.0))
    kernel.start(steps("b", 1.0, 1.0, 9.0))
    kernel.run(5.0)
    assert seen == [("b", 1.0), ("a", 2.0), ("b", 2.0), ("a", 4.0)]
    assert kernel.now == 5.0


def test_a_signal_wakes_who_waits_and_who_comes_later() -> None:
    kernel, seen = Kernel(), list[str]()
    signal = Signal(kernel)

    def wait(name: str) -> Steps:
        yield signal
        seen.append(name)

    kernel.start(wait("before"))
    kernel.run(1.0)
    assert seen == []
    signal.set()
    kernel.start(wait("after"))
    kernel.run(2.0)
    assert seen == ["before", "after"]


def test_a_semaphore_is_first_come_first_served() -> None:
    kernel, seen = Kernel(), list[tuple[str, float]]()
    semaphore = Semaphore(kernel, 2)

    def hold(name: str) -> Steps:
        yield from semaphore.take()
        yield 1.0
        semaphore.give()
        seen.append((name, kernel.now))

    for name in "abc":
        kernel.start(hold(name))
    kernel.run(9.0)
    assert seen == [("a", 1.0), ("b", 1.0), ("c", 2.0)]


@pytest.mark.parametrize("polls, taken_at", [((), 1.25), ((0.4,), 1.2)])
def test_a_lock_goes_to_whoever_is_awake(polls: tuple[float, ...], taken_at: float) -> None:
    kernel, seen = Kernel(), list[tuple[str, float]]()
    lock = Lock(kernel, wake=0.25, polls=polls)

    def hold(name: str, pause: float, seconds: float) -> Steps:
        yield pause
        yield from lock.take()
        seen.append((name, kernel.now))
        yield seconds
        lock.give()

    kernel.start(hold("first", 0.0, 1.0))
    kernel.start(hold("waits", 0.0, 1.0))
    kernel.run(9.0)
    assert seen == [("first", 0.0), ("waits", pytest.approx(taken_at))]
    seen.clear()
    kernel.start(hold("first", 0.0, 1.0))
    kernel.start(hold("waits", 0.0, 1.0))
    kernel.start(hold("awake", 1.1, 1.0))
    kernel.run(99.0)
    assert [name for name, _ in seen] == ["first", "awake", "waits"]


def test_a_stream_has_one_owner_whoever_asks() -> None:
    names = [f"process-{number}" for number in range(8)]
    assert {owner_of(f"p{number}", names) for number in range(200)} == set(names)
    assert [owner_of(f"p{number}", names) for number in range(50)] == [owner_of(f"p{number}", names[::-1]) for number in range(50)]


def test_a_process_that_joins_takes_its_share_and_moves_nothing_else() -> None:
    before = [f"process-{number}" for number in range(4)]
    after = [*before, "process-4"]
    streams = [f"inventory-p{number}-main" for number in range(5_000)]
    moved = Counter(owner_of(stream, after) for stream in streams if owner_of(stream, before) != owner_of(stream, after))
    assert set(moved) == {"process-4"}
    assert moved["process-4"] / len(streams) == pytest.approx(1 / 5, abs=0.02)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("hot", [0.0, 0.5, 1.0])
def test_every_command_is_stored_once_and_every_seed_repeats(way: Way, hot: float) -> None:
    outcome = run(way, hot=hot)
    assert outcome == run(way, hot=hot)
    assert 0 <= outcome.stored - len(outcome.waits) <= 64
    assert sum(outcome.served.values()) == len(outcome.waits) > 0
    assert outcome.decided >= len(outcome.waits) + outcome.failed
    assert sum(accepted for accepted, _ in outcome.timeline.values()) == len(outcome.waits)


def test_chance_comes_from_the_seed() -> None:
    assert run("free", hot=0.5) != run("free", hot=0.5, seed=2)


def test_one_process_with_lanes_meets_no_conflict() -> None:
    assert run("lanes", processes=1).decided_a_command == pytest.approx(1, abs=0.05)


def test_one_product_collapses_without_lanes_starves_without_turns_and_is_unhurt_when_routed() -> None:
    no_turns = attrs.evolve(COSTS, turns=False)
    alone = run("lanes", processes=1)
    free, starving, fair = run("free", processes=8, costs=no_turns), run("lanes", processes=8, costs=no_turns), run("lanes", processes=8)
    routed = run("routed", processes=8)
    assert free.per_second < alone.per_second / 3
    assert starving.least_share < 0.1
    assert fair.least_share > 0.5
    assert fair.failed == 0
    assert routed.per_second > alone.per_second * 0.9
    assert routed.failed == 0


def test_a_store_each_goes_on_growing_where_one_store_has_ended() -> None:
    one, shared, parted = run("lanes", processes=1, hot=0.0), run("routed", processes=8, hot=0.0), run("parted", processes=8, hot=0.0)
    assert shared.per_second < one.per_second * 4
    assert parted.per_second > shared.per_second * 2


def test_a_stale_view_costs_time_while_it_lasts() -> None:
    load = Load(processes=5, callers=100, products=200, hot=0.2)
    at_once = simulate(load, "routed", COSTS, seconds=1.0, joins_at=0.5)
    late = simulate(load, "routed", COSTS, seconds=1.0, joins_at=0.5, lag=0.2)
    in_vain = [tenth for tenth, (_, vain) in late.timeline.items() if vain > at_once.timeline[tenth][1] + 50]
    assert in_vain
    assert set(in_vain) <= {5, 6, 7}
    assert len(late.waits) > len(at_once.waits) * 0.8


def test_polling_for_a_store_is_slower_than_being_woken() -> None:
    assert run("lanes", hot=0.0, costs=Costs(polls=BUSY_POLLS)).wait_ms(99) > run("lanes", hot=0.0, costs=Costs()).wait_ms(99)


def test_waits_count_those_that_have_not_ended() -> None:
    outcome = Outcome(seconds=1.0, waits=[0.1] * 50, unanswered=[1.0] * 50)
    assert (outcome.wait_ms(25), outcome.wait_ms(75)) == (100, 1_000)
