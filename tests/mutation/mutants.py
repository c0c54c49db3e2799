"""Mutants: small wrong changes to a module's syntax tree.

Type hints, docstrings, imports, and texts for people (those with a blank) stay as they are.
"""

import ast
import copy
from collections import Counter
from collections.abc import Iterator
from difflib import unified_diff
from itertools import islice
from pathlib import Path

import attrs

from tests.mutation.changes import changes

_HEADERS = (ast.If, ast.While, ast.For, ast.AsyncFor, ast.With, ast.AsyncWith, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


@attrs.frozen
class Function:
    """A function or method with a mutant.

    Attributes:
        name: the qualified name of the code object.
        line: the first line of the code object.
    """

    name: str
    line: int


@attrs.frozen
class Mutant:
    """One wrong module.

    Attributes:
        module: the dotted name of the module.
        path: the file of the module.
        source: the right source.
        function: the outermost function with the change in its body; ``None`` for code that runs on import.
        lines: first and last line of the changed statement.
        change: the change, in words.
        place: number of the changed node in the tree.
        choice: number of the change among those of the node.
    """

    module: str
    path: Path
    source: str = attrs.field(repr=False)
    function: Function | None
    lines: tuple[int, int]
    change: str
    place: int
    choice: int

    @property
    def name(self) -> str:
        """The name of the mutant in lists, which stays the same when lines move."""
        where = "" if self.function is None else f" {self.function.name}"
        return f"{self.module}{where}: {self.change}"

    def tree(self) -> ast.Module:
        """Return the syntax tree of the wrong module."""
        tree = ast.parse(self.source)
        node = next(islice(_code(tree), self.place, None)).node
        _, other = next(islice(changes(node), self.choice, None))
        _become(node, other)
        return ast.fix_missing_locations(tree)

    def diff(self) -> str:
        """Return the changed lines of both sides."""
        right, wrong = (ast.unparse(tree).splitlines() for tree in (ast.parse(self.source), self.tree()))
        return "\n".join(line for line in unified_diff(right, wrong, n=0, lineterm="") if line[:3] not in {"---", "+++", "@@ "})

    def __str__(self) -> str:
        return f"{self.path.name}:{self.lines[0]} {self.name}\n{self.diff()}"


@attrs.frozen
class _Place:
    node: ast.expr | ast.stmt | ast.match_case | ast.ExceptHandler
    statement: ast.stmt
    function: Function | None
    scope: tuple[str, ...]


def mutants_of(module: str, path: Path) -> Iterator[Mutant]:
    """Yield every mutant of a module, from top to bottom."""
    source = path.read_text(encoding="utf-8")
    seen: Counter[tuple[Function | None, str]] = Counter()
    for place, at in enumerate(_code(ast.parse(source))):
        for choice, (change, _) in enumerate(changes(at.node)):
            seen[at.function, change] += 1
            times = seen[at.function, change]
            told = change if times == 1 else f"{change} ({times})"
            yield Mutant(module, path, source, at.function, _span(at.statement), told, place, choice)


def _code(tree: ast.Module) -> Iterator[_Place]:
    for statement in tree.body:
        yield from _below(statement, _Place(statement, statement, None, ()))


def _below(node: ast.AST, around: _Place) -> Iterator[_Place]:
    if isinstance(node, ast.Import | ast.ImportFrom) or _is_talk(node):
        return
    here = around
    if isinstance(node, ast.expr | ast.stmt | ast.match_case | ast.ExceptHandler):
        here = attrs.evolve(around, node=node, statement=node if isinstance(node, ast.stmt) else around.statement)
        yield here
    inside = here
    if isinstance(node, ast.ClassDef):
        inside = attrs.evolve(here, scope=(*here.scope, node.name))
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and here.function is None:
        first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
        inside = attrs.evolve(here, function=Function(".".join((*here.scope, node.name)), first))
    for name, value in ast.iter_fields(node):
        if name in {"annotation", "returns", "decorator_list", "type_params"}:
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _below(child, inside if name == "body" else here)


def _is_talk(node: ast.AST) -> bool:
    match node:
        case ast.Expr(value=ast.Constant()):
            return True
        case ast.If(test=ast.Name(id="TYPE_CHECKING")):
            return True
        case ast.Assign(targets=[ast.Name(id="__slots__" | "__all__")]):
            return True
        case ast.Assign(value=ast.Subscript(value=ast.Name(id="tuple" | "dict" | "Callable" | "Sequence" | "Mapping"))):
            return True  # a name for a type
        case ast.Assign() | ast.AnnAssign():
            return any(kind in ast.unparse(node) for kind in ("TypeVar", "ParamSpec"))
        case ast.JoinedStr():
            return any(isinstance(part, ast.Constant) and " " in str(part.value) for part in node.values)
        case _:
            return False


def _span(statement: ast.stmt) -> tuple[int, int]:
    last = statement.end_lineno or statement.lineno
    if isinstance(statement, _HEADERS):
        last = max(statement.lineno, statement.body[0].lineno - 1)
    return statement.lineno, last


def _become(target: ast.AST, other: ast.AST) -> None:
    lineno, column = getattr(target, "lineno", 1), getattr(target, "col_offset", 0)
    other = copy.deepcopy(other)
    target.__class__ = other.__class__  # the cheapest way to swap a node in its place
    target.__dict__.clear()
    target.__dict__.update(other.__dict__, lineno=lineno, col_offset=column)
