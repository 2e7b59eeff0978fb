"""The public API is exactly that of docs/api.pyi: every name, parameter, default and `async`."""

from __future__ import annotations

import ast
import enum
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, is_typeddict

import attrs
import pytest
import trio

import trio_jobs

ROOT = Path(__file__).parents[1]
STUB = ast.parse((ROOT / "docs" / "api.pyi").read_text(encoding="utf-8"))
REFERENCE = [*(ROOT / "docs" / "reference").glob("*.md")]
MOST_NAMES = 66

# What a class has for the package's own use, and no program calls.
INTERNAL = {"JobContext": {"open", "close"}, "LoopWatch": {"begin", "end"}}

Function = ast.FunctionDef | ast.AsyncFunctionDef
DEFINED: dict[str, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef] = {
    node.name: node
    for node in STUB.body
    if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
}
FUNCTIONS = [name for name, node in DEFINED.items() if isinstance(node, Function)]
CLASSES = [name for name, node in DEFINED.items() if isinstance(node, ast.ClassDef)]


class Parameter(NamedTuple):
    """A parameter in a form that both sides have."""

    name: str
    kind: str
    default: object


class Signature(NamedTuple):
    """A function in a form that both sides have."""

    is_async: bool
    parameters: list[Parameter]


def value(node: ast.expr) -> object:
    """Return the value of a default in the stub."""
    return eval(compile(ast.Expression(node), "api.pyi", "eval"), {"trio": trio})  # noqa: S307  # our own


def written(function: Function) -> Signature:
    """Return the signature in the stub."""
    given = function.args
    plain = [*given.posonlyargs, *given.args]
    defaults = {
        arg.arg: value(default) for arg, default in zip(plain[::-1], given.defaults[::-1], strict=False)
    }
    for arg, default in zip(given.kwonlyargs, given.kw_defaults, strict=True):
        if default is not None:
            defaults[arg.arg] = value(default)
    of_kind = {
        "POSITIONAL_ONLY": given.posonlyargs,
        "POSITIONAL_OR_KEYWORD": given.args,
        "VAR_POSITIONAL": [given.vararg] if given.vararg else [],
        "KEYWORD_ONLY": given.kwonlyargs,
        "VAR_KEYWORD": [given.kwarg] if given.kwarg else [],
    }
    parameters = [
        Parameter(arg.arg, kind, defaults.get(arg.arg, inspect.Parameter.empty))
        for kind, args in of_kind.items()
        for arg in args
    ]
    return Signature(isinstance(function, ast.AsyncFunctionDef), parameters)


def real(function: Any) -> Signature:
    """Return the real signature of a function."""
    parameters = [
        Parameter(name, parameter.kind.name, parameter.default)
        for name, parameter in inspect.signature(function).parameters.items()
    ]
    return Signature(inspect.iscoroutinefunction(function), parameters)


def public(name: str) -> Any:
    """Return a name of the stub from where users import it."""
    return getattr(trio_jobs, name)


def members(kind: type) -> dict[str, Any]:
    """Return the methods that a class defines, or inherits from a class of the package."""
    ours = [base for base in reversed(kind.__mro__) if base.__module__.startswith("trio_jobs")]
    return {name: found for base in ours for name, found in vars(base).items()}


def attributes(kind: type) -> Iterator[str]:
    """Yield the public data of a class: fields, members, keys, or those that its docstring lists."""
    if issubclass(kind, enum.Enum):
        yield from (member.name for member in kind)
    elif is_typeddict(kind):
        yield from kind.__annotations__
    elif attrs.has(kind):
        yield from (field.name for field in attrs.fields(kind))
    else:
        text = inspect.cleandoc(kind.__doc__ or "")  # Python 3.13 has done that already
        section = re.search(r"\nAttributes:\n(.*?)(?:\n\n(?!    )|\Z)", text, re.DOTALL)
        yield from re.findall(r"^    (\w+):", section[1], re.MULTILINE) if section else ()
    for name, found in members(kind).items():
        if isinstance(found, property) and not name.startswith("_"):
            yield name


# ------------------------------------------------------------------------------- names


def test_the_names_are_sorted_and_few() -> None:
    """`__all__` is sorted, has no duplicate, and is short enough to be read."""
    assert trio_jobs.__all__ == sorted(set(trio_jobs.__all__))
    assert len(trio_jobs.__all__) <= MOST_NAMES


def test_star_import_gives_exactly_the_names() -> None:
    """`__all__` has exactly the public names, without private names and modules."""
    namespace: dict[str, object] = {}
    exec("from trio_jobs import *", namespace)  # noqa: S102  # some names are loaded when they are asked for
    del namespace["__builtins__"]
    there = {
        name
        for name, found in {**vars(trio_jobs), **namespace}.items()
        if not name.startswith("_") and not inspect.ismodule(found)
    }
    assert there == set(trio_jobs.__all__)


def test_the_stub_has_every_name() -> None:
    """The stub has exactly the names of `__all__`; so whatever a signature uses can be imported."""
    assert set(DEFINED) == set(trio_jobs.__all__)


@pytest.mark.parametrize("name", trio_jobs.__all__)
def test_every_name_is_documented(name: str) -> None:
    """Each name has a docstring of its own, and a place in the reference."""
    thing = getattr(trio_jobs, name)
    assert (thing.__doc__ or "").strip()
    assert thing.__doc__ != thing.__mro__[1].__doc__ if isinstance(thing, type) else True
    assert any(re.search(rf"\b{name}\b", page.read_text(encoding="utf-8")) for page in REFERENCE)


@pytest.mark.parametrize("name", trio_jobs.__all__)
def test_every_name_says_where_it_is_imported_from(name: str) -> None:
    """Tracebacks and reprs show `trio_jobs.X`, not the private module in which X is written."""
    assert getattr(trio_jobs, name).__module__ == "trio_jobs"


# ------------------------------------------------------------------------------- signatures


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_are_as_written(name: str) -> None:
    """Each function has the parameters of the stub, of the same kinds, and is async where it says so."""
    stub = DEFINED[name]
    assert isinstance(stub, Function)
    assert real(public(name)) == written(stub)


@pytest.mark.parametrize("name", CLASSES)
def test_methods_are_as_written(name: str) -> None:
    """Each class has exactly the public methods of the stub, each with its signature."""
    stub, kind = DEFINED[name], public(name)
    assert isinstance(stub, ast.ClassDef)
    methods = {node.name: node for node in stub.body if isinstance(node, Function)}
    there = {name for name, found in members(kind).items() if inspect.isfunction(found) and name[0] != "_"}
    assert there - INTERNAL.get(name, set()) == set(methods) - {"__init__"}
    for method, node in methods.items():
        assert real(getattr(kind, method)) == written(node), f"{name}.{method}"


@pytest.mark.parametrize("name", CLASSES)
def test_attributes_are_as_written(name: str) -> None:
    """Each class has the fields, members and documented attributes of the stub."""
    stub, kind = DEFINED[name], public(name)
    assert isinstance(stub, ast.ClassDef)
    in_stub = {
        node.target.id
        for node in stub.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }
    in_stub |= {
        target.id
        for node in stub.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    bases = {ast.unparse(base) for base in stub.bases}
    from_bases = {one for base in kind.__mro__[1:] if base.__name__ in bases for one in attributes(base)}
    assert in_stub == set(attributes(kind)) - from_bases


@pytest.mark.parametrize("name", CLASSES)
def test_values_of_members_are_as_written(name: str) -> None:
    """The members of an enumeration, which logs and wires contain, have the written values."""
    stub, kind = DEFINED[name], public(name)
    assert isinstance(stub, ast.ClassDef)
    if issubclass(kind, enum.Enum):
        values = {
            ast.unparse(node.targets[0]): ast.literal_eval(node.value)
            for node in stub.body
            if isinstance(node, ast.Assign)
        }
        assert {member.name: member.value for member in kind} == values


@pytest.mark.parametrize("name", [name for name in CLASSES if attrs.has(public(name))])
def test_defaults_of_records_are_as_written(name: str) -> None:
    """A record's field has a default exactly where the stub or the options have one, with that value, and
    records cannot be changed."""
    stub, kind = DEFINED[name], public(name)
    assert isinstance(stub, ast.ClassDef)
    fields = {field.name: field for field in attrs.fields(kind)}
    for node in stub.body:
        if isinstance(node, ast.AnnAssign) and node.value is not None:
            assert isinstance(node.target, ast.Name)
            assert fields[node.target.id].default == value(node.value), node.target.id
    assert "__setattr__" in vars(kind), f"{name} is not frozen"


@pytest.mark.parametrize("name", [name for name in CLASSES if issubclass(public(name), BaseException)])
def test_errors_have_the_written_parents(name: str) -> None:
    """Each error has the base classes of the stub."""
    stub, kind = DEFINED[name], public(name)
    assert isinstance(stub, ast.ClassDef)
    assert [base.__name__ for base in kind.__bases__] == [ast.unparse(base) for base in stub.bases]
