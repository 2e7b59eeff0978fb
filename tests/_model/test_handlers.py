"""Handlers by name: which ones are accepted, and how their annotations are resolved."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs
import pytest

from tests._json.coding import Arguments
from trio_jobs import InvalidPayload, handler
from trio_jobs._model.handlers import Handler, Handlers, parameters_of
from trio_jobs.stores.submission import submission


async def plain(job: object, a: int, b: str = "", *rest: float) -> None: ...


@handler(name="named")
async def other(job: object) -> None: ...


class Service:
    async def method(self, job: object, a: int) -> None: ...

    async def __call__(self, job: object, a: int) -> None: ...


def test_by_name() -> None:
    """Handlers are found by the names of their marks, in the given order; duplicates count once."""
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
            "^handlers takes an iterable of async functions, as handlers=.fn., or .*; got <function plain",
        ),
        ("app", TypeError, "^handlers takes .* the module .* as handlers=app after 'import app'; got 'app'"),
        ({"plain": plain}, TypeError, "^handlers takes an iterable of async functions, as handlers=.fn."),
        (["plain"], TypeError, "^a handler is an async function, not its name; got 'plain'"),
        ([plain, print], TypeError, "^print is not an async function"),
        ([plain, partial(plain, a=1)], ValueError, "two handlers are named 'plain'; .*@handler"),
        ([Service().method, Service().method], ValueError, "two handlers are named 'method'"),
        (ModuleType("empty"), ValueError, "^module empty defines no handlers; mark them with @trio_jobs"),
    ],
)
def test_what_is_none(given: Any, error: type[Exception], complaint: str) -> None:
    """The error shows what was given, and says what to do."""
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
    """The handlers of a module are the marked ones defined in it, under however many names."""
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
)
def test_types_of_arguments(fn: Any, named: list[Any], rest: Any) -> None:
    """The types are those of the arguments of a job: not the context, bound or keyword-only ones."""
    taken = parameters_of(fn)
    assert (list(taken.named), taken.rest) == (named, rest)


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
    """Annotations are resolved where the handler was written, not where its decorator was."""
    make_module("the_decorator", DECORATOR)
    module = make_module("the_jobs", DECORATED)
    arguments = Arguments(Handlers(module)["take"])
    item = vars(module)["Item"](3)
    assert arguments.decode(arguments.encode((item,)))[0] == (item,)


@attrs.frozen
class Item:
    size: int


def with_db(fn: Any) -> Any:
    """Pass an argument of its own before those of the caller."""

    @functools.wraps(fn)
    async def wrapper(job: object, *args: Any) -> Any:
        return await fn(job, "db", *args)

    return wrapper


def with_user(fn: Any) -> Any:
    """Pass an argument of its own after those of the caller, by name."""

    @functools.wraps(fn)
    async def wrapper(*args, **kwargs):  # type: ignore[no-untyped-def]  # as most decorators are written
        return await fn(*args, "ann", page=3, **kwargs)

    return wrapper


def passed_on(fn: Any) -> Any:
    """Pass the arguments of the caller."""

    @functools.wraps(fn)
    async def wrapper(job, *args):  # type: ignore[no-untyped-def]  # as most decorators are written
        return await fn(job, *args)

    return wrapper


def renamed(fn: Any) -> Any:
    """Take one argument of its own."""

    @functools.wraps(fn)
    async def wrapper(job: object, item: Item, times: int = 2) -> Any:
        return [await fn(job, "db", item) for _ in range(times)]

    return wrapper


async def store(job: object, db: str, item: Item) -> Any:
    return db, item


async def store_some(job: object, db: str, item: Item | None = None, *more: Item) -> Any:
    return db, item, *more


async def greet(job: object, item: Item, user: str, *, page: int) -> Any:
    return item, user, page


@pytest.mark.parametrize(
    ("fn", "args", "result"),
    [
        (with_db(store), (5,), None),
        (with_db(store_some), (), ("db", None)),
        (with_db(store_some), (5,), ("db", 5)),
        (with_user(greet), ("x",), ("x", "ann", 3)),
        (passed_on(store), ("db", Item(3)), ("db", Item(3))),
        (passed_on(passed_on(store)), ("db", Item(3)), ("db", Item(3))),
        (passed_on(store_some), ("db", Item(3), Item(4), Item(5)), ("db", Item(3), Item(4), Item(5))),
        (renamed(store), (Item(3),), [("db", Item(3))] * 2),
        (renamed(store), (Item(3), 1), [("db", Item(3))]),
    ],
)
async def test_what_is_called_decides(fn: Any, args: tuple[Any, ...], result: Any) -> None:
    """A decorator may pass more or fewer arguments than it gets; those that it passes on keep their types."""
    submission(fn, args, {})
    arguments = Arguments(fn)
    found = arguments.decode(arguments.encode(args))[0]
    assert found == args
    if result is not None:
        assert await fn(None, *found) == result


@pytest.mark.parametrize(
    ("fn", "args"),
    [(renamed(store), ()), (renamed(store), (Item(3), 1, 2)), (with_db(store), None)],
)
def test_what_is_called_decides_how_many(fn: Any, args: tuple[Any, ...] | None) -> None:
    """The arguments of the decorator's own signature are checked."""
    if args is None:
        assert submission(fn, (), {}).handler == "store"
    else:
        with pytest.raises(TypeError, match="store takes 1 to 2 arguments"):
            submission(fn, args, {})


def test_what_nothing_is_said_of_has_to_be_plain() -> None:
    """An argument without a known type comes back unchanged, or is refused."""
    arguments = Arguments(with_db(store))
    with pytest.raises(InvalidPayload, match=r"\$\[0\] is of type Item, and would come back as {'size': 3}"):
        arguments.encode((Item(3),))
    with pytest.raises(InvalidPayload, match="do not fit: Expected `object"):
        Arguments(renamed(store)).encode((3,))


def test_an_annotation_that_means_nothing() -> None:
    """An annotation local to a function is refused, with the handler, the argument and the reason."""

    class Local: ...

    async def take(job: object, item: Local) -> None: ...

    with pytest.raises(TypeError) as caught:
        parameters_of(take)
    assert str(caught.value) == (
        "the annotation 'Local' of item in handler take cannot be resolved: name 'Local' is not defined; "
        "it must be a name at the top of its module"
    )
