"""The mutation tool: the changes that it makes, and that it tells a noticed change from one that is not."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.mutation.mutants import mutants_of
from tests.mutation.trial import NotThisWayError, Outcome, attempt

SOURCE = '''\
"""A docstring stays as it is."""

from pathlib import Path

LIMIT: int = 3
NAMES = tuple[str, None]


class Shelf:
    """Likewise."""

    def take(self, units: int, most: int = LIMIT) -> int:
        if units > most:
            raise ValueError("a text for people is left alone")
        return units - 1 if units else 0
'''


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    path = tmp_path / "shelf.py"
    path.write_text(SOURCE, encoding="utf-8")
    return path


def test_every_part_of_the_code_is_changed_and_nothing_else(shelf: Path) -> None:
    where = {mutant.change: mutant.function and mutant.function.name for mutant in mutants_of("shelf", shelf)}
    assert where == {
        "3 → 4": None,
        "if units > most: always": "Shelf.take",
        "if units > most: never": "Shelf.take",
        "units > most: another comparison": "Shelf.take",
        "raise ValueError('a text for people is left alone'): left out": "Shelf.take",
        "return units - 1 if units else 0: None instead": "Shelf.take",
        "units - 1 if units else 0: always the first": "Shelf.take",
        "units - 1 if units else 0: always the second": "Shelf.take",
        "units - 1: another operation": "Shelf.take",
        "1 → 2": "Shelf.take",
        "0 → 1": "Shelf.take",
    }


def test_each_mutant_differs_from_the_right_module_and_from_every_other(shelf: Path) -> None:
    diffs = [mutant.diff() for mutant in mutants_of("shelf", shelf)]
    assert all(diffs)
    assert len(set(diffs)) == len(diffs)


def test_the_same_change_twice_in_a_function_has_two_names(tmp_path: Path) -> None:
    path = tmp_path / "twice.py"
    path.write_text("def twice(a):\n    return [a + 1, a + 1]\n", encoding="utf-8")
    assert [mutant.name for mutant in mutants_of("twice", path) if "→" in mutant.change] == [
        "twice twice: 1 → 2",
        "twice twice: 1 → 2 (2)",
    ]


def endless() -> bool:
    while True:
        pass


def not_this_way() -> bool:
    raise NotThisWayError


@pytest.mark.parametrize(
    "passes, outcome",
    [
        (lambda: True, Outcome.SURVIVED),
        (lambda: False, Outcome.KILLED),
        (lambda: 1 // 0, Outcome.KILLED),
        (lambda: sys.exit("unasked"), Outcome.KILLED),
        (endless, Outcome.TIMEOUT),
        (not_this_way, Outcome.UNKNOWN),
    ],
    ids=["passes", "fails", "raises", "ends", "loops", "can't"],
)
def test_a_trial_tells_how_it_ended(passes: Callable[[], bool], outcome: Outcome) -> None:
    assert attempt(passes, seconds=1) is outcome
