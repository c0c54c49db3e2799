"""The page of promises says what the contracts find: ``tests/conftest.py`` compares its cells with what the cases of each run found."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from inventory_es.testing.contracts.core.runner import cases_of
from tests.contract.promises import ADAPTERS, PAGE, Findings, differences, found_by, page, written

TEXT = PAGE.read_text(encoding="utf-8")


def test_the_page_in_the_docs_is_current_but_for_what_the_cases_find() -> None:
    assert page(written(TEXT)) == TEXT, "run: python -m tests.contract.promises"


@pytest.mark.parametrize("port", ADAPTERS)
def test_every_promise_of_every_adapter_has_a_cell(port: str) -> None:
    cells = written(TEXT).cells
    for kind in ADAPTERS[port].values():
        for promise, _ in cases_of(kind):
            assert re.fullmatch(r"✓|needs .+|\*\*not tried\*\*", cells[kind.__name__, promise.id])


def test_a_wrong_cell_and_a_wrong_declaration_are_told() -> None:
    cell, declared = ("TestMemoryCache", "CA-01"), "TestMemoryCache"
    right = written(TEXT)
    wrong = Findings(cells={cell: "needs luck"}, declared={declared: "`is_durable=True`"})
    assert differences(TEXT, right) == []
    assert differences(TEXT, wrong) == [
        "TestMemoryCache CA-01: found 'needs luck', the page shows '✓'",
        f"TestMemoryCache declares `is_durable=True`, the page shows {right.declared[declared]}",
    ]


def test_a_promise_of_which_a_case_was_not_run_is_not_compared() -> None:
    kind = ADAPTERS["Cache"]["memory"]
    several = next(promise.id for promise, _ in cases_of(kind) if len(cases_of(kind, {promise.id})) > 1)
    one = (kind.__name__, several, "needs luck", "")
    assert found_by([one]).cells == {}
    assert found_by([one] * len(cases_of(kind, {several}))).cells == {(kind.__name__, several): "needs luck"}


RUN = """
import sys, pytest
from pathlib import Path

class AnotherPage:
    def pytest_sessionstart(self):
        from tests.contract import promises
        promises.PAGE = Path(sys.argv[1])

case = "tests/contract/test_memory_cache.py::TestMemoryCache::" + sys.argv[3]
sys.exit(pytest.main(["-q", "-n", sys.argv[2], "-p", "no:cacheprovider", case], plugins=[AnotherPage()]))
"""


@pytest.mark.parametrize("cell, workers, status", [("✓", "0", 0), ("needs luck", "1", 1)])
def test_a_run_that_finds_something_else_fails(cell: str, workers: str, status: int, tmp_path: Path) -> None:
    kind, shown, another = ADAPTERS["Cache"]["memory"], written(TEXT), tmp_path / "page.md"
    promise, case = next((promise, name) for promise, name in cases_of(kind) if len(cases_of(kind, {promise.id})) == 1)
    shown.cells[kind.__name__, promise.id] = cell
    another.write_text(page(shown), encoding="utf-8")
    command = [sys.executable, "-c", RUN, str(another), workers, case]
    done = subprocess.run(command, cwd=PAGE.parents[2], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == status, done.stdout + done.stderr
    assert (f"{kind.__name__} {promise.id}: found '✓', the page shows 'needs luck'" in done.stdout) is bool(status)
