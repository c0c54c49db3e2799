"""Small wrong changes to a module's syntax tree: each is one mutant."""

import ast
import copy
from collections.abc import Iterator
from itertools import islice

import attrs

_COMPARE: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
_OPERATE: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult, ast.Pow: ast.Mult,
    ast.BitOr: ast.BitAnd, ast.BitAnd: ast.BitOr, ast.LShift: ast.RShift,
}  # fmt: skip


@attrs.frozen
class Mutant:
    """One wrong module.

    Attributes:
        module: its dotted name.
        source: of the right one.
        line: where it differs.
        change: how, in words.
        place: which node of the tree differs; ``None`` for none.
        choice: which of its changes.
    """

    module: str
    source: str = attrs.field(repr=False)
    line: int = 0
    change: str = "nothing"
    place: int | None = None
    choice: int = 0

    def tree(self) -> ast.Module:
        """The syntax tree of the wrong module."""
        tree = ast.parse(self.source)
        if self.place is not None:
            node = next(islice(_code(tree), self.place, None))
            _, other = next(islice(_changes(node), self.choice, None))
            _become(node, other)
        return ast.fix_missing_locations(tree)

    def __str__(self) -> str:
        return f"{self.module}:{self.line} {self.change}"


def mutants_of(module: str, source: str) -> Iterator[Mutant]:
    """Every mutant of a module, from the top to the bottom. Type hints, docstrings and imports are left alone."""
    for place, node in enumerate(_code(ast.parse(source))):
        for choice, (change, _) in enumerate(_changes(node)):
            yield Mutant(module, source, node.lineno, change, place, choice)


def _code(tree: ast.AST) -> Iterator[ast.expr | ast.stmt]:
    for name, value in ast.iter_fields(tree):
        if name in {"annotation", "returns", "decorator_list", "type_params"}:
            continue
        for child in value if isinstance(value, list) else [value]:
            if not isinstance(child, ast.AST) or isinstance(child, ast.Import | ast.ImportFrom) or _is_talk(child):
                continue
            if isinstance(child, ast.expr | ast.stmt):
                yield child
            yield from _code(child)


def _is_talk(node: ast.AST) -> bool:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return True
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        return True
    if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in {"__slots__", "__all__"}:
        return True
    return isinstance(node, ast.Assign | ast.AnnAssign) and "TypeVar" in ast.unparse(node)


def _changes(node: ast.expr | ast.stmt) -> Iterator[tuple[str, ast.AST]]:
    match node:
        case ast.Compare(ops=[first, *rest]):
            yield f"{ast.unparse(node)}: another comparison", ast.Compare(node.left, [_COMPARE[type(first)](), *rest], node.comparators)
        case ast.BinOp() if type(node.op) in _OPERATE:
            yield f"{ast.unparse(node)}: another operation", ast.BinOp(node.left, _OPERATE[type(node.op)](), node.right)
        case ast.BoolOp():
            other = ast.Or() if isinstance(node.op, ast.And) else ast.And()
            yield f"{ast.unparse(node)}: and/or", ast.BoolOp(other, node.values)
            for place in range(len(node.values)):
                kept = node.values[:place] + node.values[place + 1 :]
                yield f"{ast.unparse(node)}: without part {place}", kept[0] if len(kept) == 1 else ast.BoolOp(node.op, kept)
        case ast.UnaryOp():
            yield f"{ast.unparse(node)}: without the sign", node.operand
        case ast.IfExp():
            yield f"{ast.unparse(node)}: always the first", node.body
            yield f"{ast.unparse(node)}: always the second", node.orelse
        case ast.Constant(value=bool() as value):
            yield f"{value} → {not value}", ast.Constant(not value)
        case ast.Constant(value=int() as number):
            yield f"{number} → {number + 1}", ast.Constant(number + 1)
        case ast.Constant(value=str() as text):
            yield f"{text!r} → another text", ast.Constant(f"{text}~")
        case ast.If():
            yield f"if {ast.unparse(node.test)}: always", ast.If(ast.Constant(True), node.body, node.orelse)  # a node
            yield f"if {ast.unparse(node.test)}: never", ast.If(ast.Constant(False), node.body, node.orelse)  # a node
        case ast.Break():
            yield "break → continue", ast.Continue()
        case ast.Continue():
            yield "continue → break", ast.Break()
        case ast.Return(value=ast.expr() as value) if not (isinstance(value, ast.Constant) and value.value is None):
            yield f"return {ast.unparse(value)}: None instead", ast.Return(ast.Constant(None))
        case ast.Expr() | ast.AugAssign() | ast.Delete() | ast.Raise():
            yield f"{ast.unparse(node)}: left out", ast.Pass()
        case ast.Assign(targets=[ast.Attribute()]):
            yield f"{ast.unparse(node)}: left out", ast.Pass()
        case _:
            return


def _become(target: ast.AST, other: ast.AST) -> None:
    lineno, column = getattr(target, "lineno", 1), getattr(target, "col_offset", 0)
    other = copy.deepcopy(other)
    target.__class__ = other.__class__  # the cheapest way to swap a node in its place
    target.__dict__.clear()
    target.__dict__.update(other.__dict__, lineno=lineno, col_offset=column)
