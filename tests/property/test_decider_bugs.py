"""The domain kit finds every seeded bug within a bounded number of programs, which are the same in every run."""

import pytest

from inventory_es.domain import inventory, reservation_book
from inventory_es.testing.domain.agreement import check_memory
from inventory_es.testing.domain.command_generator import random_program
from inventory_es.testing.domain.history import PropertyError
from inventory_es.testing.domain.program_properties import check_program
from inventory_es.testing.domain.scenarios import SHELF, START
from inventory_es.testing.domain.service_check import check_service
from tests.property import command_side_bugs, decider_bugs
from tests.property.decider_bugs import Bug
from tests.property.test_service_check import over_memory

PROGRAMS = 50
FEW = 1
"""Reservations that are kept as objects, so that the others are packed in most programs."""
MEMORY = [bug for bug in decider_bugs.BUGS if "closed reservation" in bug.name and "dozen" not in bug.name]


def hunt() -> int:
    for seed in range(PROGRAMS):
        check_program(random_program(seed), only=["P34"])
    return PROGRAMS


def hunt_over_a_service() -> int:
    for seed in range(PROGRAMS):
        for together in (1, 3):
            check_service(random_program(seed, steps=20), over_memory, together=together)
    return PROGRAMS


@pytest.mark.parametrize("bug", [bug for bug in decider_bugs.BUGS if bug not in MEMORY], ids=lambda bug: bug.name)
def test_a_bug_of_the_decider_is_found(bug: Bug) -> None:
    with bug.seeded(), pytest.raises(PropertyError, match="P34  The decider answers every command") as found:
        hunt()
    assert "P34" in found.value.broken


@pytest.mark.parametrize("bug", MEMORY, ids=lambda bug: bug.name)
def test_a_wrong_memory_of_closed_reservations_is_found(bug: Bug) -> None:
    with bug.seeded(), pytest.raises(PropertyError, match="after 10001 closings"):
        check_memory(SHELF, start=START)
    with bug.seeded(), pytest.raises(PropertyError, match=r"of 1000\d reservations that ended"):
        hunt()


@pytest.mark.parametrize("bug", command_side_bugs.BUGS, ids=lambda bug: bug.name)
def test_a_bug_of_the_command_side_is_found(bug: Bug) -> None:
    with bug.seeded(), pytest.raises((PropertyError, ValueError)):
        hunt_over_a_service()


@pytest.mark.parametrize("bug", decider_bugs.BUGS_OF_PACKING, ids=lambda bug: bug.name)
def test_a_bug_of_packing_is_found(bug: Bug, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reservation_book, "OBJECTS_KEPT", FEW)
    with bug.seeded(), pytest.raises(PropertyError, match="P34  The decider answers every command"):
        hunt()


def test_what_is_shipped_is_right_where_most_reservations_are_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reservation_book, "OBJECTS_KEPT", FEW)
    assert hunt() == hunt_over_a_service() == PROGRAMS


def test_what_is_shipped_is_right() -> None:
    assert hunt() == hunt_over_a_service() == PROGRAMS
    check_memory(SHELF, start=START)


def test_a_bug_whose_text_is_gone_is_refused() -> None:
    gone = Bug("gone", inventory, "no such text", "")
    with pytest.raises(ValueError, match="stands 0 times"), gone.seeded():
        pass
    same = Bug("same", inventory, "if policies and decision.own:", "if (policies and decision.own):")
    with pytest.raises(ValueError, match="changes no function"), same.seeded():
        pass
