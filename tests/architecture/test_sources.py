"""What every source file owes its reader."""

import ast
import importlib
import inspect
import re
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from tests.architecture.sources import ROOT, definitions, name_of, relative, source_files

MOST_LINES = 600
HOME_OF_A_MACHINE = re.compile(r"""(?<![\w.])/(?:home|Users|root|work)/\w|[A-Z]:\\\\Users""")
DERIVED = re.compile(r"_build|__pycache__|\.\w+_cache")
SUPPRESSION = re.compile(r"#\s*(noqa|type:\s*ignore|pragma|pyright:\s*ignore)")
REASONED = re.compile(
    r"(noqa: [A-Z]+\d+(, ?[A-Z]+\d+)*|type: ignore\[[\w, -]+\]|pragma: no (cover|branch)|pyright: ignore\[\w+\])\s+(#|-|:|—)\s*\w+"
)
URL = re.compile(r"https?://([^\s/:\"'`)>;\]]+)")
HOSTS_THAT_MAY_BE_NAMED = {
    "127.0.0.1",
    "localhost",
    "example.com",
    "json-schema.org",
    "doi.org",
    "www.rfc-editor.org",
    "shop",
}  # the last is the upstream of the gateway


def each(path: Path) -> str:
    return relative(path)


def line_count(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def text_files() -> list[Path]:
    folders = ("src", "tests", "docs", "benchmarks", ".ci")
    found = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file()]
    kept = [path for path in found if not DERIVED.search(str(path.relative_to(ROOT))) and path.suffix not in {".png", ".svg", ".pyc"}]
    return sorted([*kept, ROOT / "README.md", ROOT / "pyproject.toml"])


@pytest.mark.parametrize("path", source_files(), ids=each)
def test_file_has_at_most_600_lines(path: Path) -> None:
    assert line_count(path) <= MOST_LINES, f"{relative(path)} serves two groups of callers: split it between them"


@pytest.mark.parametrize("path", source_files(), ids=each)
def test_everything_public_has_a_docstring(path: Path) -> None:
    silent = [
        f"{relative(path)}:{getattr(node, 'lineno', 1)} {name}"
        for name, node in definitions(path)
        if not (ast.get_docstring(node) or "").strip() and not is_documented_elsewhere(node) and not is_documented_by_its_port(path, name)
    ]
    assert silent == []


def is_documented_elsewhere(node: ast.AST) -> bool:
    decorators = {ast.unparse(decorator).split("(")[0].split(".")[-1] for decorator in getattr(node, "decorator_list", [])}
    return bool(decorators & {"override", "overload", "promise", "setter"})


def is_documented_by_its_port(path: Path, name: str) -> bool:
    """An implementation has no docstring unless it promises more than the port from which its class inherits."""
    owner: Any = importlib.import_module(name_of(path))
    *owners, method = name.removeprefix(f"{name_of(path)}.").split(".")
    for each_owner in owners:
        owner = getattr(owner, each_owner)
    return inspect.isclass(owner) and any(getattr(base.__dict__.get(method), "__doc__", None) for base in owner.__mro__[1:])


@pytest.mark.parametrize("path", source_files(), ids=each)
def test_module_docstring_says_more_than_its_name(path: Path) -> None:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    assert len(docstring.split()) >= 2, f"{relative(path)}: one sentence on what {name_of(path)} is for"


@pytest.mark.parametrize("path", text_files(), ids=each)
def test_file_speaks_of_the_project_alone(path: Path) -> None:
    text = path.read_text(encoding="utf-8", errors="replace")
    assert HOME_OF_A_MACHINE.findall(text) == [], "a path of one machine"
    assert {host for host in URL.findall(text) if host not in HOSTS_THAT_MAY_BE_NAMED} == set(), "a host that nobody here answers for"


@pytest.mark.parametrize("path", source_files(), ids=each)
def test_a_suppression_carries_its_reason(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    suppressions = [f"{relative(path)}:{at} {line.strip()}" for at, line in enumerate(lines, 1) if SUPPRESSION.search(line)]
    assert [line for line in suppressions if not REASONED.search(line)] == []


def test_the_changelog_tells_of_this_version() -> None:
    told = re.findall(r"(?m)^## (\S+)", (ROOT / "docs" / "changelog.md").read_text(encoding="utf-8"))
    assert told[0] == version("inventory_es")


def test_types_ship_with_the_package() -> None:
    assert files("inventory_es").joinpath("py.typed").is_file()
