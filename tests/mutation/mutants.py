"""The mutants of a file: each place where a rule of `operators.py` gives other code, except noise."""

from __future__ import annotations

import ast
import difflib
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from tests.mutation.operators import expressions, statements

_ATOMS: Final = (ast.Name, ast.Attribute, ast.Constant, ast.Call, ast.Subscript)
_ATOMS_TOO: Final = (ast.Tuple, ast.List, ast.Set, ast.Dict, ast.JoinedStr)
_TYPES: Final = frozenset({"Literal", "Annotated", "TypeVar", "NewType"})
_LOGGERS: Final = frozenset({"log", "logger", "_log", "_logger"})
_UNTESTED: Final = frozenset({"__repr__", "__str__"})  # words for people


class Key(NamedTuple):
    """The identity of a mutant, which does not depend on line numbers."""

    file: str
    function: str
    before: str
    after: str

    @property
    def name(self) -> str:
        """Return a short name."""
        return hashlib.sha256("\0".join(self).encode()).hexdigest()[:10]


class Mutant(NamedTuple):
    """A file with one mistake.

    Attributes:
        key: Its identity.
        lines: The numbers of the lines that are changed.
        original: The text of the file.
        source: The same with the mistake.
    """

    key: Key
    lines: range
    original: str
    source: str

    def diff(self) -> str:
        """Return the change as a diff."""
        before, after = (text.splitlines() for text in (self.original, self.source))
        file = self.key.file
        found = difflib.unified_diff(before, after, file, f"{file} (mutant)", lineterm="", n=2)
        return "\n".join(found)


def mutants(file: str, root: Path) -> list[Mutant]:
    """Return the mutants of a file, each once."""
    return mutants_of(file, (root / file).read_text(encoding="utf-8"))


def mutants_of(file: str, source: str) -> list[Mutant]:
    """Return the mutants of a text."""
    lines = [line.encode() for line in source.splitlines(keepends=True)]
    found: dict[str, Mutant] = {}
    for function, node, text in _edits(ast.parse(source), ""):
        mutant = _edited(Place(file, function, lines), node, text)
        if mutant.source != source:
            found.setdefault(mutant.source, mutant)
    return list(found.values())


class Place(NamedTuple):
    """A function in a file."""

    file: str
    function: str
    lines: list[bytes]  # of the file: the tree counts in bytes


class Span(NamedTuple):
    """A part of a text, by the positions of the tree."""

    lineno: int
    col_offset: int
    end_lineno: int
    end_col_offset: int


def _span(first: ast.AST, last: ast.AST | None = None) -> Span:
    end = first if last is None else last
    return Span(
        *(getattr(first, name) for name in ("lineno", "col_offset")),
        *(getattr(end, name) for name in ("end_lineno", "end_col_offset")),
    )


def _edited(place: Place, span: Span, text: str) -> Mutant:
    first, last = span.lineno - 1, span.end_lineno - 1
    old = place.lines[first : last + 1]
    new = old[0][: span.col_offset] + text.encode() + old[-1][span.end_col_offset :]
    source = b"".join([*place.lines[:first], new, *place.lines[last + 1 :]]).decode()
    key = Key(place.file, place.function, _one_line(b"".join(old)), _one_line(new))
    return Mutant(key, range(span.lineno, span.end_lineno + 1), b"".join(place.lines).decode(), source)


def _one_line(text: bytes) -> str:
    return " ".join(line.strip() for line in text.decode().splitlines())


def _edits(node: ast.AST, function: str) -> Iterator[tuple[str, Span, str]]:
    """Yield each change below a node: its function, the part of the text, and the new text."""
    for child in _code_in(node):
        if isinstance(child, ast.expr):
            for other in expressions(child, node):
                yield function, _span(child), _text(other, child)
        elif isinstance(child, ast.stmt):
            for changed in statements(child, node):
                yield function, _span(child), ast.unparse(changed)
        elif isinstance(child, ast.match_case):
            if child.guard is None:
                pattern = _span(child.pattern)
                end = pattern._replace(lineno=pattern.end_lineno, col_offset=pattern.end_col_offset)
                yield function, end, " if False"
        elif isinstance(child, ast.ExceptHandler):
            yield function, _span(child.body[0], child.body[-1]), "raise"
        below = function
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            below = f"{function}.{child.name}".lstrip(".")
        yield from _edits(child, below)


def _text(node: ast.expr, instead: ast.expr) -> str:
    """Return the text of an expression, in brackets if its new place may need them."""
    text = ast.unparse(node)
    same = type(node) is type(instead) and not isinstance(node, (ast.BoolOp, ast.BinOp))
    return text if same or isinstance(node, (*_ATOMS, *_ATOMS_TOO)) else f"({text})"


# ------------------------------------------------------------ what is no code, or noise


def _code_in(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the parts of a node that have an effect."""
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            parts: list[ast.AST | None] = [*node.args.defaults, *node.args.kw_defaults, *node.body]
        case ast.ClassDef():
            parts = [*node.body]
        case ast.AnnAssign():
            parts = [node.value]
        case ast.Lambda():
            parts = [node.body]
        case ast.Call(func=ast.Name(id="cast")):
            parts = [*node.args[1:]]
        case ast.JoinedStr() | ast.Slice(lower=None, upper=None):
            parts = []
        case _:
            parts = [*ast.iter_child_nodes(node)]
    yield from (part for part in parts if part is not None and not _is_noise(part))


def _is_noise(node: ast.AST) -> bool:
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            overload = any(isinstance(one, ast.Name) and one.id == "overload" for one in node.decorator_list)
            noise = overload or node.name in _UNTESTED
        case ast.Assign(targets=[ast.Name(id=name)]):
            noise = name in {"__slots__", "__all__"} or _is_type(node.value)
        case ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Name(id=name)))):
            noise = name in _LOGGERS
        case (
            ast.Expr(value=ast.Constant())
            | (ast.Import() | ast.ImportFrom() | ast.Global() | ast.Nonlocal() | ast.pattern())
            | ast.If(test=ast.Name(id="TYPE_CHECKING"))
            | ast.AnnAssign(annotation=ast.Name(id="TypeAlias"))
            | ast.keyword(arg="strict")  # it guards against what cannot be
        ):
            noise = True
        case _:
            noise = isinstance(node, ast.expr) and _is_type(node)
    return noise


def _is_type(node: ast.expr) -> bool:
    """Return whether an expression is a type: `Literal[…]`, `TypeVar(…)`, `int | str`, `set[int]`."""
    match node:
        case ast.Subscript(value=ast.Name(id=name)):
            return name in _TYPES or name in {"set", "dict", "list", "tuple", "type", "frozenset", "deque"}
        case ast.Call(func=ast.Name(id=name)):
            return name in _TYPES
        case ast.BinOp(op=ast.BitOr()):
            return _is_type(node.left) or _is_type(node.right)
        case _:
            return False
