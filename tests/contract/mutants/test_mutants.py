"""Every broken adapter is rejected, by the promise meant for it. This is the honest figure of how good the kit is."""

import pytest

from inventory_es.testing.runner import Result, run
from tests.contract.mutants.all_mutants import MUTANTS
from tests.contract.mutants.mutant import Mutant
from tests.contract.mutants.table import PAGE, table


def results(mutant: Mutant) -> list[Result]:
    return list(run(mutant.contract(), {mutant.promise_id}))


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: f"{mutant.promise_id}-{mutant.name}")
def test_a_mutant_is_rejected_by_the_promise_meant_for_it(mutant: Mutant) -> None:
    broken = [result for result in results(mutant) if result.verdict == "broken"]
    assert broken, f"{mutant.name} ({mutant.fault}) kept {mutant.promise_id}"
    assert broken[0].detail.startswith(f"{mutant.promise_id}  ")


def test_there_are_mutants_enough_over_every_port() -> None:
    assert len(MUTANTS) >= 40
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
    assert {mutant.port for mutant in MUTANTS} >= {"EventStore", "Cache", "EventBus"}


def test_the_table_in_the_docs_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == table(), "run: python -m tests.contract.mutants"
