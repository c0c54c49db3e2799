"""The commands in the pages and the error texts that install the package."""

import re
import shlex
import tomllib
from pathlib import Path

import pytest

from inventory_es import __version__

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
FILES = [
    ROOT / "README.md",
    *sorted(path for path in (ROOT / "docs").rglob("*.md") if "_build" not in path.parts),
    *sorted((ROOT / "src").rglob("*.py")),
]
INSTALL = re.compile(r"pip install((?:[ \t]+(?:'[^'\n]*'|[^\s'`\"&#]+))+)")
TAKE_A_VALUE = {"--group", "-c", "--constraint", "-r", "--requirement"}
PLACES = {".", "./", "../inventory_es", f"dist/inventory_es-{__version__}-py3-none-any.whl"}


def targets_in(path: Path) -> list[str]:
    """Return the targets of ``pip install`` lines, without the values of options."""
    found: list[str] = []
    for match in INSTALL.finditer(path.read_text(encoding="utf-8")):
        words = shlex.split(match[1])
        for before, word in zip(["", *words], words, strict=False):
            if not word.startswith("-") and before not in TAKE_A_VALUE:
                found.append(word)
    return found


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", [path for path in FILES if targets_in(path)], ids=name)
def test_an_install_line_is_one_that_works_while_nothing_is_published(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for target in targets_in(path):
        place, _, extras = target.removesuffix("]").partition("[")
        if not place.startswith((".", "dist", "inventory")):
            continue  # something else that is on PyPI
        assert set(filter(None, extras.split(","))) <= set(PROJECT["optional-dependencies"]), target
        if place == PROJECT["name"]:  # finds what is installed, and adds what its extras need
            assert extras, target
            assert path.suffix == ".py" or path.name == "install.md" or "install.md" in text, target
        else:
            assert place in PLACES, target


def test_lines_are_found_where_they_are() -> None:
    targets = {name(path): targets_in(path) for path in FILES if targets_in(path)}
    assert targets["docs/how-to/install.md"] == [
        *("../inventory_es[cli]", f"dist/inventory_es-{__version__}-py3-none-any.whl[cli]"),
        *("inventory_es[plot]", ".[cli]"),
    ]
    assert ".[cli]" in targets["README.md"]
    assert targets["src/inventory_es/cli/__main__.py"] == ["inventory_es[cli]"]
