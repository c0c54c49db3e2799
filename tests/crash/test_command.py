"""The command line of the crash explorer."""

import pytest

from inventory_es.testing.crash.__main__ import main
from inventory_es.testing.crash.subject import Subject
from tests.crash.mini_store import MiniStore
from tests.crash.mutants import NoSync

GOOD = Subject(MiniStore)
HERE = "tests.crash.test_command"


def bad() -> Subject:
    return Subject(NoSync)


def test_a_campaign_tells_what_it_tried(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--store", f"{HERE}:GOOD", "--states", "3000", "--most", "8", "--workers", "2", "--tell", "0"]) == 0
    told = capsys.readouterr()
    assert "every program of up to 0 operations" in told.out
    assert "0 violations" in told.out
    assert "states/s" in told.err


def test_one_program(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--store", f"{HERE}:GOOD", "--program", "append kill", "--most", "8"]) == 0
    assert "failed file operations" in capsys.readouterr().out


def test_a_violation_is_told_with_the_line_that_repeats_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--store", f"{HERE}:bad", "--states", "100000", "--workers", "1", "--seed", "5"]) == 1
    told = capsys.readouterr().out
    assert "there are 0 events where 1 were" in told or "is not there where it belongs" in told
    assert f"repeat   python -m inventory_es.testing.crash --store {HERE}:bad --program '" in told
    assert "--seed 5" in told


@pytest.mark.parametrize(
    "arguments,problem",
    [
        (["--store", "nowhere:GOOD"], "no module nowhere"),
        (["--store", f"{HERE}:HERE"], "neither a Subject nor a function"),
        (["--store", f"{HERE}:GOOD", "--program", "apend"], "no operation apend"),
    ],
)
def test_what_can_not_be_run_is_told(arguments: list[str], problem: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert problem in capsys.readouterr().err
