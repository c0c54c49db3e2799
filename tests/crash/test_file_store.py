"""The shipped file event store through every crash: the share for CI. The deep run is ``python -m inventory_es.testing.crash``."""

from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inventory_es.adapters.file.index import store_index as index
from inventory_es.testing.crash.aftermath import Aftermath, Counts
from inventory_es.testing.crash.explorer import FAILURES, Explorer, sweep
from inventory_es.testing.crash.shipped import file_store
from inventory_es.testing.crash.simfs import Failure
from inventory_es.testing.crash.world import OPERATIONS, Program, World, programs

AT_LEAST = 4_000
"""Crash states that each of the 27 counting tests must try: over 100,000 together."""
SHARES = 6
"""Number of tests that share the programs of three operations."""
ONE_IN = 108
"""The share of the programs of three operations that is crashed here."""


def crash(program: Program, *, with_failed_syncs: bool = False) -> Counts:
    aftermath = Aftermath(file_store(), most=6)
    explorer = Explorer(aftermath)
    explorer.explore(program)
    if with_failed_syncs:
        explorer.explore_failed_syncs(program)
    return aftermath.counts


def total(all_counts: Iterable[Counts]) -> Counts:
    result = Counts()
    for counts in all_counts:
        result.add(counts)
    print(result)
    return result


@pytest.mark.parametrize("program", [*programs(0), *programs(1)], ids=lambda program: program[0] if program else "creation")
def test_one_operation_with_every_failed_sync(program: Program) -> None:
    assert total([crash(program, with_failed_syncs=True)]).states >= AT_LEAST


@pytest.mark.parametrize("first", OPERATIONS)
def test_every_program_of_two_operations(first: str) -> None:
    assert total(crash((first, second)) for second in OPERATIONS).states >= AT_LEAST


@pytest.mark.parametrize("share", range(SHARES))
def test_programs_of_three_operations(share: int) -> None:
    dealt = list(programs(3))[share * ONE_IN // SHARES :: ONE_IN]
    assert total(map(crash, dealt)).states >= AT_LEAST


@pytest.mark.parametrize(
    "program", [("append", "stop"), ("append", "stop", "append"), ("group", "stop", "kill"), ("stop", "power")], ids=" ".join
)
def test_stops_that_write_an_index_of_the_current_segment(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "_CHECKPOINT_BYTES", 0)
    written = World(file_store())
    written.open()
    for operation in program:
        OPERATIONS[operation](written)
    assert any(path.endswith(".idx") for path, _ in written.disk.paths()) is (program[0] != "stop")
    assert total([crash(program)]).recoveries > 0


@settings(max_examples=4)
@given(program=st.lists(st.sampled_from(list(OPERATIONS)), min_size=4, max_size=8).map(tuple))
def test_longer_programs(program: Program) -> None:
    assert crash(program).recoveries > 0


@pytest.mark.parametrize("failure", FAILURES)
def test_every_file_operation_fails_in_turn(failure: Failure) -> None:
    for program in [*programs(0), *programs(1)]:
        for is_persistent in (False, True):
            assert sweep(file_store(), program, failure, is_persistent=is_persistent) > 0
