"""The page of typical mistakes names promises that exist, and that reject a mutant."""

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
ID = re.compile(r"\b(?:ES|CA|EB|RM|CK|SN)-\d+")
LINES = [
    line
    for line in (DOCS / "explanation" / "what-adapters-get-wrong.md").read_text(encoding="utf-8").splitlines()
    if line.startswith("| ") and not line.startswith("| What")
]


def ids_of(page: str) -> set[str]:
    rows = (DOCS / "reference" / page).read_text(encoding="utf-8").splitlines()
    return {row.split("|")[1].strip() for row in rows if row.startswith("| ") and ID.match(row.split("|")[1].strip())}


@pytest.mark.parametrize("line", LINES, ids=lambda line: line.split("|")[1].strip()[:60])
def test_a_mistake_is_caught_by_a_promise_with_a_mutant(line: str) -> None:
    named = set(ID.findall(line.rsplit("|", 2)[1]))
    assert named, "a mistake names the promise that catches it"
    assert named <= ids_of("promises.md")
    assert named & ids_of("mutants.md")


def test_there_are_mistakes_of_every_port() -> None:
    assert len(LINES) >= 90
