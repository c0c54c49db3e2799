"""The domain kit finds every seeded bug of a decider within a bounded number of programs, the same ones in every run."""

import pytest

from inventory_es.testing.domain.agreement import check_memory
from inventory_es.testing.domain.history import PropertyError
from inventory_es.testing.domain.program_properties import check_program
from inventory_es.testing.domain.scenarios import SHELF, START
from inventory_es.testing.domain.walker import random_program
from tests.property.decider_bugs import BUGS, Bug

PROGRAMS = 40
MEMORY = {bug.name for bug in BUGS if "closed reservation" in bug.name and "dozen" not in bug.name}


def hunt() -> int:
    for seed in range(PROGRAMS):
        check_program(random_program(seed), only=["P34"])
    return PROGRAMS


@pytest.mark.parametrize("bug", [bug for bug in BUGS if bug.name not in MEMORY], ids=lambda bug: bug.name)
def test_a_bug_of_the_decider_is_found(bug: Bug) -> None:
    with bug.seeded(), pytest.raises(PropertyError) as found:
        hunt()
    assert "P34" in found.value.broken


@pytest.mark.parametrize("bug", [bug for bug in BUGS if bug.name in MEMORY], ids=lambda bug: bug.name)
def test_a_wrong_memory_of_closed_reservations_is_found(bug: Bug) -> None:
    with bug.seeded(), pytest.raises(PropertyError, match="after 10001 closings"):
        check_memory(SHELF, start=START)


def test_the_shipped_decider_is_right() -> None:
    assert hunt() == PROGRAMS
    check_memory(SHELF, start=START)
