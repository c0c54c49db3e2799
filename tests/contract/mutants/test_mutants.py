"""Every broken adapter is rejected by the promise meant for it. This figure says how good the kit is."""

import pytest

from inventory_es.testing.contracts.core.runner import Result, run
from inventory_es.testing.crash.aftermath import Aftermath
from inventory_es.testing.crash.explorer import CrashViolationError, Explorer
from tests.contract.mutants.all_mutants import MUTANTS
from tests.contract.mutants.file_mutants import CRASHES, FILE_MUTANTS, FileMutant
from tests.contract.mutants.mutant import Mutant
from tests.contract.mutants.table import PAGE, table


def first_broken(mutant: Mutant) -> Result | None:
    """Run the cases of its promise until one finds the mutant."""
    return next((result for result in run(mutant.contract(), {mutant.promise_id}) if result.verdict == "broken"), None)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: f"{mutant.promise_id}-{mutant.name}")
def test_a_mutant_is_rejected_by_the_promise_meant_for_it(mutant: Mutant) -> None:
    broken = first_broken(mutant)
    assert broken is not None, f"{mutant.name} ({mutant.fault}) kept {mutant.promise_id}"
    assert broken.detail.startswith(f"{mutant.promise_id}  ")


def explore(mutant: FileMutant) -> int:
    """Crash the store in the way meant for it, and in no other, and return the number of crash states that it survived."""
    explorer = Explorer(Aftermath(mutant.subject(), most=40), models=CRASHES[mutant.promise_id])
    if mutant.promise_id == "failed sync":
        explorer.explore_failed_syncs(mutant.program)
    else:
        explorer.explore(mutant.program)
    return explorer.aftermath.counts.states


@pytest.mark.parametrize("mutant", FILE_MUTANTS, ids=lambda mutant: mutant.name)
def test_a_broken_recovery_is_rejected_by_the_crash_meant_for_it(mutant: FileMutant) -> None:
    with mutant.patches(), pytest.raises(CrashViolationError):
        explore(mutant)


@pytest.mark.parametrize("crash", CRASHES)
def test_the_store_that_the_mutants_break_is_a_good_one(crash: str) -> None:
    assert explore(FileMutant("Good", crash, "", ("append",))) > 100


def test_there_are_mutants_enough_over_every_port() -> None:
    assert len(MUTANTS) >= 40
    assert len({(mutant.port, mutant.name) for mutant in MUTANTS}) == len(MUTANTS)
    assert {mutant.port for mutant in MUTANTS} >= {"EventStore", "Cache", "EventBus", "SnapshotStore", "ReadModel"}


def test_the_table_in_the_docs_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == table(), "run: python -m tests.contract.mutants"
