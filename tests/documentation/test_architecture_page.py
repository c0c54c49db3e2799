"""The architecture page names files that exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "explanation" / "architecture.md").read_text(encoding="utf-8")
FIRST_CELLS = re.findall(r"(?m)^\| (`[^|]+) \|", PAGE)
PATHS = sorted({path for cell in FIRST_CELLS for path in re.findall(r"`([^`]+)`", cell)})


@pytest.mark.parametrize("path", PATHS)
def test_a_file_of_the_page_exists(path: str) -> None:
    """``NAME`` stands for any name."""
    assert list(ROOT.glob(path.rstrip("/").replace("NAME", "*")))


def test_there_are_paths_for_each_kind_of_change() -> None:
    assert len(PATHS) > 25
