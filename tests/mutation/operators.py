"""The small mistakes for a piece of code: from a node of the tree to others that replace it."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from typing import Final

COMPARED: Final[dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
CALCULATED: Final[dict[type[ast.operator], type[ast.operator]]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mod,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
}
_PAIRS: Final = [
    ("min", "max"),
    ("any", "all"),
    ("bisect_left", "bisect_right"),
    ("add", "discard"),
    ("startswith", "endswith"),
    ("removeprefix", "removesuffix"),
    ("partition", "rpartition"),
    ("issubset", "issuperset"),
]
CALLED: Final = {a: b for pair in _PAIRS for a, b in (pair, pair[::-1])}
CONVERTED: Final = frozenset({"lower", "upper", "strip", "lstrip", "rstrip", "copy"})
_TRUE, _FALSE = ast.Constant(value=True), ast.Constant(value=False)


def expressions(node: ast.expr, parent: ast.AST) -> Iterator[ast.expr]:
    """Yield the replacements of an expression."""
    match node:
        case ast.Compare():
            yield from _compared(node)
        case ast.BoolOp():
            yield _with(node, op=ast.Or() if isinstance(node.op, ast.And) else ast.And())
            yield from _shorter(node)
        case ast.UnaryOp(op=ast.Not() | ast.USub()):
            yield node.operand
        case ast.BinOp() if (other := CALCULATED.get(type(node.op))) is not None:
            yield _with(node, op=other())
        case ast.IfExp():
            yield node.body
            yield node.orelse
        case ast.Constant():
            yield from _constants(node.value)
        case ast.JoinedStr():
            if not any(isinstance(part, ast.Constant) and is_prose(str(part.value)) for part in node.values):
                yield ast.Constant(value="")
        case ast.Call():
            yield from _calls(node)
        case ast.List() | ast.Set() | ast.Dict():
            yield from _elements(node)
        case ast.Tuple() if _is_set(parent):
            yield from _elements(node)
        case ast.Subscript(slice=ast.Slice() as part):
            for end in ("lower", "upper"):
                if getattr(part, end) is not None:
                    yield _with(node, slice=_with(part, **{end: None}))
        case _:
            pass
    if isinstance(parent, (ast.If, ast.While)) and parent.test is node:
        yield from (_FALSE,) if isinstance(parent, ast.While) else (_TRUE, _FALSE)
    if isinstance(parent, ast.comprehension) and node in parent.ifs:
        yield _TRUE
    if isinstance(parent, ast.For) and parent.iter is node:
        yield ast.Tuple(elts=[], ctx=ast.Load())


def statements(node: ast.stmt, parent: ast.AST) -> Iterator[ast.stmt]:
    """Yield the replacements of a statement."""
    match node:
        case ast.Break():
            yield ast.Continue()
            yield ast.Pass()
        case ast.Continue():
            yield ast.Break()
            yield ast.Pass()
        case ast.Return(value=ast.expr() as value):
            if not (isinstance(value, ast.Constant) and value.value is None):
                yield ast.Return(value=None)
        case ast.Return() | ast.Raise() | ast.Delete() | ast.Expr(value=ast.Call() | ast.Await()):
            yield ast.Pass()
        case ast.AugAssign():
            yield ast.Pass()
            if (other := CALCULATED.get(type(node.op))) is not None:
                yield ast.AugAssign(target=node.target, op=other(), value=node.value)
        case ast.Assign() | ast.AnnAssign(value=ast.expr()):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(isinstance(target, (ast.Attribute, ast.Subscript)) for target in targets):
                yield ast.Pass()
        case _:
            pass


def _is_set(parent: ast.AST) -> bool:
    """Return whether a tuple below a node is a set of choices: `isinstance(it, (A, B))`, `it in (1, 2)`."""
    match parent:
        case ast.Compare() | ast.Call(func=ast.Name(id="isinstance" | "issubclass")):
            return True
        case _:
            return False


def is_prose(text: str) -> bool:
    """Return whether a text is for people: no test should depend on its words."""
    return any(letter.isspace() for letter in text)


def _with(node: ast.expr, **changed: object) -> ast.expr:
    other = copy.copy(node)
    for name, value in changed.items():
        setattr(other, name, value)
    return other


def _without(node: ast.expr, place: int, *names: str) -> ast.expr:
    """Return a node without one entry of its lists of these names."""
    changed = {}
    for name in names:
        items = getattr(node, name)
        changed[name] = items[:place] + items[place + 1 :]
    return _with(node, **changed)


def _shorter(node: ast.BoolOp) -> Iterator[ast.expr]:
    for place in range(len(node.values)):
        values = node.values[:place] + node.values[place + 1 :]
        yield _with(node, values=values) if len(values) > 1 else values[0]


def _compared(node: ast.Compare) -> Iterator[ast.expr]:
    for place, op in enumerate(node.ops):
        for other in COMPARED[type(op)]:
            yield _with(node, ops=[*node.ops[:place], other(), *node.ops[place + 1 :]])


def _constants(value: object) -> Iterator[ast.expr]:
    others: tuple[str | bytes | bool | float, ...] = ()
    if isinstance(value, bool):
        others = (not value,)
    elif isinstance(value, (int, float)):
        others = (value + 1, value - 1) if value > 0 else (value + 1,)
    elif isinstance(value, str):
        others = () if is_prose(value) else ("" if value else "x",)
    elif isinstance(value, bytes):
        others = (b"" if value else b"x",)
    yield from (ast.Constant(value=other) for other in others)


def _calls(node: ast.Call) -> Iterator[ast.expr]:
    for place, keyword in enumerate(node.keywords):
        if keyword.arg != "strict":  # which guards against what cannot be
            yield _without(node, place, "keywords")
    match node.func:
        case ast.Name(id=name) if name in CALLED:
            yield _with(node, func=ast.Name(id=CALLED[name], ctx=ast.Load()))
        case ast.Attribute(attr=name) if name in CALLED:
            yield _with(node, func=_with(node.func, attr=CALLED[name]))
        case ast.Attribute(attr=name, value=value) if name in CONVERTED:
            yield value
        case _:
            pass


def _elements(node: ast.List | ast.Set | ast.Dict | ast.Tuple) -> Iterator[ast.expr]:
    names = ("keys", "values") if isinstance(node, ast.Dict) else ("elts",)
    size = len(getattr(node, names[0]))
    if isinstance(node, ast.Set) and size == 1:
        return  # an empty one is a dict
    for place in range(size):
        yield _without(node, place, *names)
