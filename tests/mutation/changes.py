"""The wrong changes of one node of a syntax tree."""

import ast
from collections.abc import Iterator

Node = ast.expr | ast.stmt | ast.match_case | ast.ExceptHandler

_COMPARE: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
_OPERATE: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult, ast.Pow: ast.Mult,
    ast.BitOr: ast.BitAnd, ast.BitAnd: ast.BitOr, ast.LShift: ast.RShift, ast.RShift: ast.LShift,
}  # fmt: skip
_CALL = {"any": "all", "all": "any", "min": "max", "max": "min"}
_PLAIN = {"sorted", "reversed"}


def changes(node: Node) -> Iterator[tuple[str, ast.AST]]:
    """Yield every change, in words, and the node that takes the node's place."""
    match node:
        case ast.Compare(ops=[first, *rest]):
            yield f"{_(node)}: another comparison", ast.Compare(node.left, [_COMPARE[type(first)](), *rest], node.comparators)
        case ast.BinOp() if type(node.op) in _OPERATE and not _is_union(node):
            yield f"{_(node)}: another operation", ast.BinOp(node.left, _OPERATE[type(node.op)](), node.right)
        case ast.BoolOp():
            other = ast.Or() if isinstance(node.op, ast.And) else ast.And()
            yield f"{_(node)}: and/or", ast.BoolOp(other, node.values)
            for place in range(len(node.values)):
                kept = node.values[:place] + node.values[place + 1 :]
                yield f"{_(node)}: without part {place}", kept[0] if len(kept) == 1 else ast.BoolOp(node.op, kept)
        case ast.UnaryOp():
            yield f"{_(node)}: without the sign", node.operand
        case ast.IfExp():
            yield f"{_(node)}: always the first", node.body
            yield f"{_(node)}: always the second", node.orelse
        case ast.Constant(value=bool() as value):
            yield f"{value} → {not value}", ast.Constant(not value)
        case ast.Constant(value=int() as number):
            yield f"{number} → {number + 1}", ast.Constant(number + 1)
        case ast.Constant(value=str() as text) if " " not in text:
            yield f"{text!r} → another text", ast.Constant(f"{text}X")
        case ast.Constant(value=bytes() as data) if b" " not in data:
            yield f"{data!r} → other bytes", ast.Constant(data + b"X")
        case ast.Call():
            yield from _other_calls(node)
        case ast.Slice():
            for bound in ("lower", "upper"):
                if getattr(node, bound) is not None:
                    yield f"{_(node)}: without the {bound} bound", ast.Slice(**(vars(node) | {bound: None}))
        case ast.ListComp() | ast.SetComp() | ast.GeneratorExp() | ast.DictComp():
            for place, loop in enumerate(node.generators):
                if loop.ifs:
                    loops = [*node.generators]
                    loops[place] = ast.comprehension(loop.target, loop.iter, [], loop.is_async)
                    yield f"{_(node)}: of all", type(node)(**(vars(node) | {"generators": loops}))
        case ast.match_case(guard=ast.expr() as guard):
            yield f"case {_(node.pattern)} if {_(guard)}: always", ast.match_case(node.pattern, None, node.body)
        case ast.ExceptHandler():
            kind = "" if node.type is None else f" {_(node.type)}"
            yield f"except{kind}: raised again", ast.ExceptHandler(node.type, node.name, [ast.Raise()])
        case ast.If():
            yield f"if {_(node.test)}: always", ast.If(ast.Constant(True), node.body, node.orelse)  # a node
            yield f"if {_(node.test)}: never", ast.If(ast.Constant(False), node.body, node.orelse)  # a node
        case ast.Break():
            yield "break → continue", ast.Continue()
        case ast.Continue():
            yield "continue → break", ast.Break()
        case ast.Return(value=ast.expr() as value) if not (isinstance(value, ast.Constant) and value.value is None):
            yield f"return {_(value)}: None instead", ast.Return(ast.Constant(None))
        case ast.Expr() | ast.AugAssign() | ast.Delete() | ast.Raise() | ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
            yield f"{_(node)}: left out", ast.Pass()
        case _:
            return


def _other_calls(node: ast.Call) -> Iterator[tuple[str, ast.AST]]:
    match node.func:
        case ast.Name(id=name) if name in _CALL:
            yield f"{_(node)}: {_CALL[name]}", ast.Call(ast.Name(_CALL[name], ast.Load()), node.args, node.keywords)
        case ast.Name(id=name) if name in _PLAIN:
            yield f"{_(node)}: not {name}", node.args[0]
        case _:
            pass
    for place, keyword in enumerate(node.keywords):
        if keyword.arg is not None:
            kept = node.keywords[:place] + node.keywords[place + 1 :]
            yield f"{_(node)}: without {keyword.arg}", ast.Call(node.func, node.args, kept)


def _is_union(node: ast.BinOp) -> bool:
    """Return True if the node is a type, such as ``int | None``, and no number."""
    match node:
        case ast.BinOp(op=ast.BitOr(), right=ast.Constant(value=None)):
            return True
        case ast.BinOp(op=ast.BitOr(), right=ast.Name(id=name)):
            return name in {"bytes", "bytearray", "dict", "float", "int", "list", "memoryview", "str", "tuple"} or (
                name[:1].isupper() and not name.isupper()
            )
        case ast.BinOp(op=ast.BitOr(), right=ast.Subscript() | ast.Attribute(attr="Error")):
            return True
        case _:
            return False


def _(node: ast.AST) -> str:
    told = " ".join(ast.unparse(node).split())
    return told if len(told) <= 120 else f"{told[:117]}..."
