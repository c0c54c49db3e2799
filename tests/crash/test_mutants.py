"""Each broken store is found by the crash that is meant for it. The correct store passes all of them."""

from typing import get_args

import pytest

from inventory_es.testing.crash.aftermath import Aftermath
from inventory_es.testing.crash.explorer import FAILURES, CrashModel, CrashViolationError, Explorer, sweep
from inventory_es.testing.crash.subject import Subject
from inventory_es.testing.crash.world import Program, programs
from tests.crash.mini_store import MiniStore
from tests.crash.mutants import MUTANTS, RecoveryMutant

MODELS: tuple[CrashModel, ...] = get_args(CrashModel)


def crash(subject: Subject, program: Program, caught_by: str, *, most: int = 1_000) -> int:
    """Try one kind of crash or failure. Return the number of crash states and failures that the store survived."""
    stood = 0
    for model in MODELS:
        if model == caught_by:
            explorer = Explorer(Aftermath(subject, most=most), models={model})
            if model == "failed sync":
                explorer = Explorer(Aftermath(subject, most=most), models={model, "kill+power", "prefix"})
                explorer.explore_failed_syncs(program)
            else:
                explorer.explore(program)
            stood += explorer.aftermath.counts.states
    for failure in FAILURES:
        if failure == caught_by:
            for is_persistent in (False, True):
                stood += sweep(subject, program, failure, is_persistent=is_persistent)
    return stood


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_mutant_is_caught(mutant: RecoveryMutant) -> None:
    with pytest.raises(CrashViolationError):
        crash(Subject(mutant.open), mutant.program, mutant.caught_by)


@pytest.mark.parametrize("program", [*programs(0), *programs(1)], ids=" ".join)
def test_the_good_store_is_not(program: Program) -> None:
    assert sum(crash(Subject(MiniStore), program, kind, most=32) for kind in (*MODELS, *FAILURES)) > 0
