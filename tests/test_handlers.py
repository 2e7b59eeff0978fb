"""Handlers by name: what may be one, and what its annotations mean where it was written."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from trio_jobs import handler
from trio_jobs._arguments import Arguments
from trio_jobs._handlers import Handler, Handlers, parameter_types


async def plain(job: object, a: int, b: str = "", *rest: float) -> None: ...


@handler(name="named")
async def other(job: object) -> None: ...


class Service:
    async def method(self, job: object, a: int) -> None: ...

    async def __call__(self, job: object, a: int) -> None: ...


def test_by_name() -> None:
    """They are found under the names of their marks, in the order given, and a name twice is one."""
    service = Service()
    given: list[Handler] = [plain, other, service.method, service, service.method, plain]
    handlers = Handlers(iter(given))
    assert list(handlers) == ["plain", "named", "method", "Service"]
    assert len(handlers) == 4
    assert handlers["named"] is other
    assert handlers["method"] == service.method
    assert "nobody" not in handlers
    assert not Handlers()


@pytest.mark.parametrize(
    ("given", "error", "complaint"),
    [
        (
            plain,
            TypeError,
            "^handlers takes an iterable of async functions, or a module; got <function plain",
        ),
        ("plain", TypeError, "^a handler is an async function; got 'p'"),
        ([plain, print], TypeError, "^print is not an async function"),
        ([plain, partial(plain, a=1)], ValueError, "two handlers are named 'plain'; .*@handler"),
        ([Service().method, Service().method], ValueError, "two handlers are named 'method'"),
        (ModuleType("empty"), ValueError, "^module empty defines no handlers; mark them with @trio_jobs"),
    ],
    ids=str,
)
def test_what_is_none(given: Any, error: type[Exception], complaint: str) -> None:
    """The error says what was given, and what to do."""
    with pytest.raises(error, match=complaint):
        Handlers(given)


@pytest.fixture
def make_module(tmp_path: Path) -> Iterator[Callable[[str, str], ModuleType]]:
    names: list[str] = []

    def make(name: str, text: str) -> ModuleType:
        module = ModuleType(name)
        sys.modules[name] = module
        names.append(name)
        exec(compile(text, str(tmp_path / name), "exec"), vars(module))  # noqa: S102  # written below
        return module

    yield make
    for name in names:
        del sys.modules[name]


def test_a_module(make_module: Callable[[str, str], ModuleType]) -> None:
    """Of a module those count that are marked and were defined in it, under however many names."""
    module = make_module(
        "some_jobs",
        "from trio_jobs import handler\n"
        "@handler\nasync def mine(job): ...\nagain = mine\nasync def unmarked(job): ...\nnumber = 1\n",
    )
    vars(module)["theirs"] = other
    assert dict(Handlers(module)) == {"mine": vars(module)["mine"]}


async def bare(job, a, *b):  # type: ignore[no-untyped-def]  # is what is tried here
    ...


@pytest.mark.parametrize(
    ("fn", "named", "rest"),
    [
        (plain, [int, str], float),
        (other, [], None),
        (bare, [Any], Any),
        (partial(plain, b="x"), [int], None),
        (Service().method, [int], None),
        (Service(), [int], None),
        (partial(Service().method, a=1), [], None),
    ],
    ids=str,
)
def test_types_of_arguments(fn: Any, named: list[Any], rest: Any) -> None:
    """Those that a job may have: without the context, and without what is bound or must be named."""
    types, found = parameter_types(fn)
    assert (list(types), found) == (named, rest)


DECORATOR = """
import functools
def logged(fn):
    @functools.wraps(fn)
    async def wrapper(*args):
        return await fn(*args)
    return wrapper
"""
DECORATED = """
from __future__ import annotations
import attrs
from trio_jobs import handler
from the_decorator import logged
@attrs.frozen
class Item:
    size: int
@handler
@logged
async def take(job, item: Item) -> None: ...
"""


def test_a_decorator_from_elsewhere(make_module: Callable[[str, str], ModuleType]) -> None:
    """Annotations mean what they mean where the handler was written, not where its decorator was."""
    make_module("the_decorator", DECORATOR)
    module = make_module("the_jobs", DECORATED)
    arguments = Arguments(Handlers(module)["take"])
    item = vars(module)["Item"](3)
    assert arguments.decode(arguments.encode((item,))) == (item,)


def test_an_annotation_that_means_nothing() -> None:
    """A name that is local to a function is refused, with the handler, the argument and the reason."""

    class Local: ...

    async def take(job: object, item: Local) -> None: ...

    with pytest.raises(TypeError) as caught:
        parameter_types(take)
    assert str(caught.value) == (
        "the annotation 'Local' of item in handler take cannot be resolved: name 'Local' is not defined; "
        "it must be a name at the top of its module"
    )
