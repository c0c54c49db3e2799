"""The load on a reader: figures, each with its bar, and the lines of each package."""

import ast
import sys
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from datetime import timedelta
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Self

import anyio
import pytest

from inventory_es import open_inventory, sync
from tests.architecture.sources import PACKAGE, name_of, source_files
from tests.architecture.test_front_door import DOORS

BARS: Mapping[str, int] = {
    "files that a reserve crosses: memory": 24,
    "files that a reserve crosses: file": 34,
    "files that a reserve crosses: sqlite": 29,
    "functions that a reserve crosses: memory": 69,
    "functions that a reserve crosses: file": 109,
    "functions that a reserve crosses: sqlite": 85,
    "functions that a synchronous reserve crosses: memory": 71,
    "functions that a synchronous reserve crosses: file": 107,
    "functions that a synchronous reserve crosses: sqlite": 87,
    "modules behind the command handler": 35,
    "import circles": 0,
    "core modules with one importer": 22,
    "public names behind the front door": 180,
}
"""By figure, the most that it may be."""

BUDGETS: Mapping[str, int] = {
    ".": 1_235,
    "adapters": 273,
    "adapters/file": 6_142,
    "adapters/kafka": 1_163,
    "adapters/memory": 1_057,
    "adapters/nats": 1_149,
    "adapters/postgresql": 3_000,
    "adapters/rabbitmq": 850,
    "adapters/redis": 1_032,
    "adapters/serialization": 1_442,
    "adapters/sqlite": 2_760,
    "adapters/sqs": 754,
    "application": 9_059,
    "application/processes": 1_215,
    "cli": 6_102,
    "domain": 2_860,
    "domain/processes": 2_031,
    "ports": 5_302,
    "sync": 1_064,
    "telemetry": 863,
    "testing": 26_952,
}
"""By package, the most lines. Raising one needs a line in the changelog that names what was removed for it."""

APART = ("testing", "cli")


def is_core(module: str) -> bool:
    return module.split(".")[1:2] not in [[name] for name in APART]


@cache
def imports() -> Mapping[str, frozenset[str]]:
    """By module, the own modules that it imports, for types alone too."""
    names = {name_of(path) for path in source_files()}
    return {name_of(path): frozenset(imported(path, names)) - {name_of(path)} for path in source_files()}


def imported(path: Path, names: set[str]) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                if whole in names or node.module in names:
                    yield whole if whole in names else node.module


def behind(module: str) -> set[str]:
    """Every own module that importing this one brings, but for itself."""
    found: set[str] = set()
    left = [module]
    while left:
        for other in imports()[left.pop()] - found:
            found.add(other)
            left.append(other)
    return found - {module}


def circles() -> list[list[str]]:
    """Modules that import each other, however far round."""
    reach = {module: behind(module) for module in imports()}
    together = {module: frozenset({other for other in reach[module] if module in reach[other]} | {module}) for module in reach}
    return sorted(sorted(each) for each in set(together.values()) if len(each) > 1)


def with_one_importer() -> list[str]:
    """Return the core modules that serve one other module alone. What a door shows, a package's or a front door's, serves hosts."""
    importers = Counter(other for module in imports() for other in imports()[module])
    shown = {other for module in imports() if is_door(module) for other in imports()[module]}
    return sorted(
        module
        for module in imports()
        if is_core(module) and importers[module] == 1 and module not in shown and not is_door(module) and not module.endswith("__main__")
    )


def is_door(module: str) -> bool:
    """Return True for a package, whose names hosts import, and for the front doors."""
    return module in DOORS or any(other.startswith(f"{module}.") for other in imports())


def public_names() -> set[object]:
    """Return the names that other doors than the front door show, each once however many show it."""
    shown: dict[str, set[object]] = {}
    for door in DOORS:
        module = __import__(door, fromlist=["__all__"])
        shown[door] = {(getattr(getattr(module, name), "__module__", door), name) for name in module.__all__}
    return set[object]().union(*shown.values()) - shown["inventory_es"]


class Trace:
    """A record of the own functions that run, in any thread. The profiler is set before the store is opened."""

    def __init__(self) -> None:
        self.functions: set[tuple[str, int, str]] = set()
        self.is_on = False

    def __call__(self, frame: FrameType, what: str, _argument: object) -> None:
        code = frame.f_code
        if self.is_on and what == "call" and code.co_filename.startswith(str(PACKAGE)):
            self.functions.add((code.co_filename, code.co_firstlineno, code.co_name))

    def __enter__(self) -> Self:
        threading.setprofile(self)
        sys.setprofile(self)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)
        threading.setprofile(None)


@cache
def crossed(url: str) -> tuple[int, int]:
    """Files and functions that one reserve crosses."""

    async def reserve() -> None:
        async with open_inventory(url) as inventory:
            await inventory.add_stock("espresso-1kg", "berlin", 10)
            trace.is_on = True
            await inventory.reserve("espresso-1kg", "berlin", 1, ttl=timedelta(minutes=15))
            trace.is_on = False

    with Trace() as trace:
        anyio.run(reserve)
    return len({file for file, *_ in trace.functions}), len(trace.functions)


def crossed_without_await(url: str) -> int:
    """Functions that one synchronous reserve crosses, but for those that run once in a process."""
    with Trace() as trace:
        for is_measured, place in ((False, "memory:"), (True, url)):
            with sync.open_inventory(place) as inventory:
                inventory.add_stock("espresso-1kg", "berlin", 10)
                trace.is_on = is_measured
                inventory.reserve("espresso-1kg", "berlin", 1, ttl=timedelta(minutes=15))
                trace.is_on = False
    return len(trace.functions)


@pytest.fixture
def urls(tmp_path: Path) -> Mapping[str, str]:
    return {"memory": "memory:", "file": f"file:{tmp_path / 'stock'}", "sqlite": f"sqlite:{tmp_path / 'stock.db'}"}


def held(figure: str, found: int, shown: object = "") -> None:
    assert found <= BARS[figure], f"{figure}: {found}, and there may be {BARS[figure]}\n{shown}"


@pytest.mark.parametrize("store", ["memory", "file", "sqlite"])
def test_a_reserve_crosses_few_files_and_functions(store: str, urls: Mapping[str, str]) -> None:
    files, functions = crossed(urls[store])
    held(f"files that a reserve crosses: {store}", files)
    held(f"functions that a reserve crosses: {store}", functions)


@pytest.mark.parametrize("store", ["memory", "file", "sqlite"])
def test_a_synchronous_reserve_crosses_few_functions(store: str, urls: Mapping[str, str]) -> None:
    held(f"functions that a synchronous reserve crosses: {store}", crossed_without_await(urls[store]))


def test_few_modules_stand_behind_the_command_handler() -> None:
    found = behind("inventory_es.application.commands.handler")
    held("modules behind the command handler", len(found), sorted(found))


def test_nothing_imports_in_a_circle() -> None:
    held("import circles", len(circles()), circles())


def test_few_modules_serve_one_other_alone() -> None:
    held("core modules with one importer", len(with_one_importer()), with_one_importer())


def test_few_names_are_public() -> None:
    held("public names behind the front door", len(public_names()))


def package_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).parts[:-1]
    return "/".join(parts[:2] if parts[:1] == ("adapters",) or parts[1:2] == ("processes",) else parts[:1]) or "."


@cache
def lines_by_package() -> Mapping[str, int]:
    found: dict[str, int] = defaultdict(int)
    for path in source_files():
        found[package_of(path)] += len(path.read_text(encoding="utf-8").splitlines())
    return found


def test_every_package_has_a_budget() -> None:
    assert set(lines_by_package()) == set(BUDGETS)


@pytest.mark.parametrize("package", sorted(BUDGETS))
def test_a_package_keeps_to_its_budget(package: str) -> None:
    assert lines_by_package()[package] <= BUDGETS[package]
