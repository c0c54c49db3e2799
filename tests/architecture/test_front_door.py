"""The curated door: few names, in order, each documented, and light to open."""

import ast
import importlib
import inspect
import subprocess
import sys
import tomllib
from modulefinder import ModuleFinder
from pathlib import Path
from typing import get_args

import pytest

import inventory_es
import inventory_es.commands
import inventory_es.errors
import inventory_es.events
from inventory_es.commands import Command
from inventory_es.errors import InventoryError
from inventory_es.events import Event
from tests.architecture.sources import PACKAGE, ROOT, name_of, source_files, subclasses

MOST_NAMES = 40
DOORS = (
    "inventory_es",
    "inventory_es.commands",
    "inventory_es.events",
    "inventory_es.errors",
    "inventory_es.ports",
    "inventory_es.processes",
    "inventory_es.testing",
)
OPTIONAL = {"click", "rich", "hypothesis", "pytest", "trio", "opentelemetry", "prometheus_client", "structlog"}
NEVER_AT_IMPORT = OPTIONAL | {"asyncio", "sqlite3", "multiprocessing"}


@pytest.mark.parametrize("door", DOORS)
def test_names_are_sorted_and_documented(door: str) -> None:
    module = importlib.import_module(door)
    names: list[str] = module.__all__
    assert names == sorted(set(names)), "sorted, each once"
    silent = [name for name in names if needs_docstring(getattr(module, name)) and not inspect.getdoc(getattr(module, name))]
    assert silent == []


def test_the_doors_leave_nothing_inside() -> None:
    assert {kind.__name__ for kind in subclasses(InventoryError)} | {"InventoryError"} == set(inventory_es.errors.__all__)
    assert {kind.__name__ for kind in get_args(Event)} | {"Event"} == set(inventory_es.events.__all__)
    assert {kind.__name__ for kind in get_args(Command)} | {"Command"} <= set(inventory_es.commands.__all__)


def needs_docstring(value: object) -> bool:
    return inspect.isclass(value) or inspect.isroutine(value)


def test_the_door_is_small() -> None:
    assert 0 < len(inventory_es.__all__) <= MOST_NAMES


def test_nothing_public_stands_beside_the_list() -> None:
    for name in inventory_es.__all__:
        getattr(inventory_es, name)
    modules = {name for name, value in vars(inventory_es).items() if inspect.ismodule(value)}
    public = {name for name in vars(inventory_es) if not name.startswith("_")} - modules
    assert public == set(inventory_es.__all__) - {"__version__"}


def test_each_name_comes_from_where_a_type_checker_finds_it() -> None:
    told = {
        alias.name: node.module
        for node in ast.walk(ast.parse(inspect.getsource(inventory_es)))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert told == {name: f"inventory_es.{home}" for name, home in inventory_es._HOME_OF.items()}
    assert sorted(told) == inventory_es.__all__


def test_a_name_that_is_not_there_is_told() -> None:
    with pytest.raises(AttributeError, match="module 'inventory_es' has no attribute 'StockLvl'"):
        _ = inventory_es.StockLvl  # type: ignore[attr-defined]  # what is tested


def test_the_door_alone_imports_no_dependency_and_shows_every_name() -> None:
    script = (
        "import sys, inventory_es; print(*{'anyio', 'attrs', 'cattrs', 'msgspec'}.intersection(sys.modules)); "
        "print(set(inventory_es.__all__) <= set(dir(inventory_es))); from inventory_es import *; print(StreamId.__module__)"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines() == ["", "True", "inventory_es.domain.stream_id"]


@pytest.mark.parametrize("door", [*DOORS, "inventory_es.sync", "inventory_es.telemetry", "inventory_es.telemetry.logs"])
def test_opening_it_imports_nothing_optional(door: str) -> None:
    script = f"import sys, {door}; print(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert set(run.stdout.split()) & NEVER_AT_IMPORT == set()


def test_no_metadata_is_needed_to_find_what_ships() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert "entry-points" not in project


@pytest.mark.parametrize("entry", ["inventory_es", "inventory_es.sync", "inventory_es.__main__"])
def test_whoever_freezes_an_application_finds_every_scheme_and_command(entry: str, tmp_path: Path) -> None:
    script = tmp_path / "entry.py"
    script.write_text(f"import {entry}\n", encoding="utf-8")
    finder = ModuleFinder([str(PACKAGE.parent)])  # what PyInstaller and its like do: follow import statements, and run nothing
    finder.run_script(str(script))
    parts = ("adapters.file.", "adapters.memory.", "adapters.sqlite.", *(("cli.",) if entry.endswith("__main__") else ()))
    needed = {name for path in source_files() if (name := name_of(path)).startswith(tuple(f"inventory_es.{part}" for part in parts))}
    assert needed - set(finder.modules) == set()


def test_opening_it_is_quiet() -> None:
    script = (
        "import logging, warnings; warnings.simplefilter('error'); import inventory_es; "
        "logging.getLogger('inventory_es').error('nobody asked'); print(logging.getLogger().handlers)"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert (run.stdout, run.stderr) == ("[]\n", "")
