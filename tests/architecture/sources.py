"""The package's own source files and modules, for the tests that look at all of them."""

import ast
import importlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TypeVar

Base = TypeVar("Base")
ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "inventory_es"


def source_files() -> list[Path]:
    """Every Python file that ships."""
    return sorted(PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    """The dotted name of the module that a source file is."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def relative(path: Path) -> str:
    """The path as a failure should show it."""
    return str(path.relative_to(ROOT))


@cache
def modules() -> tuple[ModuleType, ...]:
    """Every module that ships, imported, but the ``__main__`` scripts."""
    return tuple(importlib.import_module(name_of(path)) for path in source_files() if path.name != "__main__.py")


def subclasses(base: type[Base]) -> Iterator[type[Base]]:
    """Every class below ``base`` that ships, however deep."""
    modules()
    kind: type[Base]
    for kind in base.__subclasses__():
        if kind.__module__.startswith("inventory_es."):
            yield kind
        yield from subclasses(kind)


def definitions(path: Path) -> Iterator[tuple[str, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef | ast.Module]]:
    """Every public module, class, function and method of a file, by dotted name. What a function defines inside is its own."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    yield name_of(path), tree
    yield from _public(tree, name_of(path))


def _public(node: ast.Module | ast.ClassDef, prefix: str) -> Iterator[tuple[str, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]]:
    for child in node.body:
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and not child.name.startswith("_"):
            name = f"{prefix}.{child.name}"
            yield name, child
            if isinstance(child, ast.ClassDef):
                yield from _public(child, name)
