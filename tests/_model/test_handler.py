"""Handlers: which callables are handlers, the errors for others, and what a mark does."""

from __future__ import annotations

import functools
import gc
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, Literal, cast

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_jobs import InvalidPayload, JobContext, Priority, Retry, Timeouts, handler, open_registry
from trio_jobs._model.handler import check_async, check_call, mark_of
from trio_jobs.stores import Options

Context = JobContext[Any]


async def plain(job: Context) -> None: ...


async def two(job: Context, a: int, b: int) -> None: ...


async def defaults(job: Context, a: int, b: int = 1, /, c: int = 2, *, d: int = 3) -> None: ...


async def many(job: Context, a: int, *rest: int, **named: int) -> None: ...


async def anything(*args: Any) -> None: ...


async def needs_keyword(job: Context, *, size: int) -> None: ...


async def nothing() -> None: ...


def sync(job: Context) -> None: ...


async def generator(job: Context) -> AsyncIterator[int]:
    yield 1


class Service:
    """Has handlers of every kind that a class can have."""

    async def method(self, job: Context, a: int) -> None: ...

    async def bare(self) -> None: ...

    @classmethod
    async def of_class(cls, job: Context) -> None: ...

    @staticmethod
    async def static(job: Context) -> None: ...

    def sync(self, job: Context) -> None: ...


class Render:
    """A callable object that is a handler."""

    async def __call__(self, job: Context, a: int) -> None: ...


@attrs.define
class Unhashable:
    """A callable that no dict can hold, weakly or not."""

    async def __call__(self, job: Context) -> None: ...


class Slotted:
    """A callable without weak references."""

    __slots__ = ()

    async def __call__(self, job: Context) -> None: ...


class Maker:
    """A class whose objects are handlers; the class itself is not."""

    def __init__(self, job: Context) -> None: ...

    async def __call__(self, job: Context) -> None: ...


service = Service()


@pytest.mark.parametrize(
    ("fn", "least", "most"),
    [
        pytest.param(plain, 0, 0, id="plain"),
        pytest.param(two, 2, 2, id="two arguments"),
        pytest.param(defaults, 1, 3, id="defaults"),
        pytest.param(many, 1, 99, id="star arguments"),
        pytest.param(anything, 0, 99, id="only star arguments"),
        pytest.param(service.method, 1, 1, id="bound method"),
        pytest.param(Service.method, 2, 2, id="unbound method"),
        pytest.param(Service.of_class, 0, 0, id="class method"),
        pytest.param(service.static, 0, 0, id="static method"),
        pytest.param(Render(), 1, 1, id="callable object"),
        pytest.param(Render().__call__, 1, 1, id="its method"),
        pytest.param(Unhashable(), 0, 0, id="unhashable object"),
        pytest.param(Slotted(), 0, 0, id="object without weak references"),
        pytest.param(functools.partial(two, b=1), 1, 1, id="partial"),
        pytest.param(functools.partial(functools.partial(two, b=1), a=1), 0, 0, id="partial of a partial"),
        pytest.param(functools.partial(needs_keyword, size=1), 0, 0, id="partial with the keyword"),
        pytest.param(functools.partial(service.method, a=1), 0, 0, id="partial of a method"),
    ],
)
def test_how_many_arguments(fn: Callable[..., Awaitable[Any]], least: int, most: int) -> None:
    """A handler takes the arguments of its signature after the job context, at the first and second check."""
    for _ in range(2):
        for count in {least, most}:
            check_call(fn, (0,) * count)
        for count in {least - 1, most + 1} - {-1, 100}:
            with pytest.raises(TypeError, match=rf"arguments after the job context; got {count}$"):
                check_call(fn, (0,) * count)


@pytest.mark.parametrize(
    ("fn", "args", "said"),
    [
        (two, (1,), "two takes 2 arguments after the job context; got 1"),
        (defaults, (), "defaults takes 1 to 3 arguments after the job context; got 0"),
        (many, (), "many takes 1 to inf arguments after the job context; got 0"),
        (service.method, (), "method takes 1 arguments after the job context; got 0"),
        (nothing, (), "nothing takes no arguments; a handler's first one is the job context"),
        (service.bare, (), "bare takes no arguments; a handler's first one is the job context"),
        (
            needs_keyword,
            (),
            (
                "needs_keyword does not take these arguments: it needs the keyword argument 'size'. They are "
                "given by place, or by name as in submit(needs_keyword, …, kwargs={'name': value})"
            ),
        ),
        (
            sync,
            (),
            (
                "sync is not an async function; define it with 'async def', and call blocking code in it "
                "with "
                "trio.to_thread.run_sync"
            ),
        ),
        (
            service.sync,
            (),
            (
                "sync is not an async function; define it with 'async def', and call blocking code in it "
                "with "
                "trio.to_thread.run_sync"
            ),
        ),
        (
            functools.partial(sync),
            (),
            (
                "sync is not an async function; define it with 'async def', and call blocking code in it "
                "with "
                "trio.to_thread.run_sync"
            ),
        ),
        (
            generator,
            (),
            (
                "generator is an async generator function; a handler streams with 'await job.send(value)' in "
                "place "
                "of 'yield value'"
            ),
        ),
        (None, (), "a handler is an async function; got None"),
        ("plain", (), "a handler is an async function, not its name; got 'plain'"),
    ],
    ids=lambda value: (
        None if isinstance(value, (str, tuple)) else getattr(value, "__qualname__", repr(value)[:30])
    ),
)
def test_what_is_no_handler(fn: Any, args: tuple[Any, ...], said: str) -> None:
    """Anything that cannot run as a job is refused at once; the error names it and what to write instead."""
    for _ in range(2):
        with pytest.raises(TypeError) as caught:
            check_call(fn, args)
        assert str(caught.value) == said


@pytest.mark.parametrize(
    ("fn", "args", "kwargs", "why"),
    [
        (needs_keyword, (), {"syze": 1}, "it needs the keyword argument 'size'"),
        (needs_keyword, (), {"size": 1, "colour": 2}, "got an unexpected keyword argument 'colour'"),
        (two, (1,), {"a": 2, "b": 3}, "multiple values for argument 'a'"),
        (two, (), {"a": 2}, "missing a required argument: 'b'"),
        (plain, (), {"job": 1}, "multiple values for argument 'job'"),
        (service.method, (), {"self": 1, "a": 2}, "got an unexpected keyword argument 'self'"),
        (
            functools.partial(needs_keyword, size=1),
            (),
            {"size": 2},
            "functools.partial has given it 'size' already",
        ),
    ],
)
def test_arguments_by_name_that_do_not_fit(
    fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any], why: str
) -> None:
    """Arguments by name are checked against the signature at once; the text says which is wrong."""
    with pytest.raises(
        TypeError, match=f"does not take these arguments: {why}.* They are given by place, or"
    ):
        check_call(fn, args, kwargs)


@given(st.integers(0, 2), st.booleans(), st.booleans(), st.sets(st.sampled_from(["a0", "a1", "k", "d", "x"])))
def test_names_are_pythons(places: int, star: bool, needed: bool, names: set[str]) -> None:
    """With arguments by name, `check_call` passes what Python itself would call without a `TypeError`."""
    behind = ["*", "k"] * needed or ["*"]
    space: dict[str, Any] = {}
    exec(f"async def fn({', '.join(['job', 'a0', 'a1=0', *behind, 'd=0', *['**x'] * star])}): pass", space)  # noqa: S102  # ours
    fn, args, kwargs = space["fn"], (0,) * places, dict.fromkeys(names)
    try:
        fn(None, *args, **kwargs).close()
    except TypeError:
        with pytest.raises(TypeError, match="^fn "):
            check_call(fn, args, kwargs)
    else:
        check_call(fn, args, kwargs)


def test_a_called_handler() -> None:
    """Passing `fn(…)` for `fn` is explained, and the coroutine is closed: no "never awaited" warning."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        with pytest.raises(TypeError, match=r"write submit\(fn, …\), not submit\(fn\(…\)\)"):
            check_call(plain(None), ())  # type: ignore[arg-type]  # the mistake under test
        gc.collect()
    assert said == []


def test_a_called_generator() -> None:
    """Passing a running async generator is refused too."""
    with pytest.raises(TypeError, match="^a handler is an async function; got <async_generator"):
        check_async(generator(None))  # type: ignore[arg-type]  # the mistake under test


def test_a_class_is_no_handler() -> None:
    """Calling a class gives an object and no coroutine, even if the class's objects are handlers."""
    check_call(Maker(None), ())  # type: ignore[arg-type]  # its objects are
    with pytest.raises(TypeError, match="Maker is not an async function"):
        check_call(Maker, ())


@given(st.integers(0, 3), st.integers(0, 3), st.booleans(), st.integers(0, 8))
def test_arity_is_pythons(required: int, optional: int, star: bool, given: int) -> None:
    """`check_call` passes exactly what Python itself would call without a `TypeError`."""
    parameters = ["job", *(f"a{n}" for n in range(required)), *(f"b{n}=0" for n in range(optional))]
    space: dict[str, Any] = {}
    exec(f"async def fn({', '.join(parameters + ['*rest'] * star)}): pass", space)  # noqa: S102  # ours
    fn, args = space["fn"], (0,) * given
    try:
        fn(None, *args).close()
    except TypeError:
        with pytest.raises(TypeError, match="^fn takes"):
            check_call(fn, args)
    else:
        check_call(fn, args)


def test_unmarked() -> None:
    """A handler without a mark has its own name and the default options."""
    assert mark_of(plain).name == "plain"
    assert mark_of(plain).options == Options()
    assert mark_of(service.method).name == "method"
    assert mark_of(functools.partial(two, b=1)).name == "two"
    assert mark_of(Render()).name == "Render"


def test_a_bare_decorator() -> None:
    """`@handler` returns the same function, marked with its own name."""

    async def own(job: Context) -> None: ...

    assert handler(own) is own
    assert mark_of(own).name == "own"
    assert mark_of(own).options == Options()


def test_a_decorator_with_options() -> None:
    """`@handler(…)` gives a name and the options that the handler's jobs start from."""

    @handler(name="render.v2", timeout=5, retry=Retry(attempts=3), priority=Priority.HIGH)
    async def own(job: Context) -> None: ...

    mark = mark_of(own)
    assert mark.name == "render.v2"
    assert mark.options == Options(Timeouts(run=5), Retry(attempts=3), Priority.HIGH)
    assert check_call(own, ()) == mark
    assert mark_of(functools.partial(own)) == mark


@pytest.mark.parametrize("kind", [str, Any, type(None), list[int], int | None, Literal["a"]])
def test_a_type_of_inputs(kind: Any) -> None:
    """What can stand in an annotation can be the type of a handler's inputs."""

    @handler(inputs=kind)
    async def own(job: Context) -> None: ...

    assert mark_of(own).inputs is kind


def test_all_clocks() -> None:
    """`timeouts` marks all the clocks at once."""

    @handler(timeouts=Timeouts(idle=1))
    async def own(job: Context) -> None: ...

    assert mark_of(own).options.timeouts == Timeouts(idle=1)


def test_a_marked_method() -> None:
    """A method can be marked in its class, and the bound method has the mark."""

    class Marked:
        @handler(name="m")
        async def method(self, job: Context) -> None: ...

    assert mark_of(Marked().method).name == "m"
    assert check_call(Marked().method, ()).name == "m"


def test_a_marked_partial() -> None:
    """A partial can be marked itself; its mark wins over that of the function inside."""
    one = functools.partial(two, b=1)
    assert handler(name="one")(one) is one
    assert mark_of(one).name == "one"
    assert check_call(one, (0,)).name == "one"
    assert mark_of(two).name == "two"


def test_marking_after_use() -> None:
    """A mark counts from when it is made, also on a function that was submitted before."""

    async def own(job: Context) -> None: ...

    assert check_call(own, ()).name == "own"
    handler(name="renamed", timeout=1)(own)
    assert check_call(own, ()) == mark_of(own)
    assert check_call(own, ()).name == "renamed"


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"timeout": -1}, ValueError, "timeout must be at least 0"),
        ({"timeout": 1, "timeouts": Timeouts()}, ValueError, "give timeout or timeouts, not both"),
        ({"retry": 3}, TypeError, "retry takes a Retry record"),
        ({"priority": 9}, ValueError, "priority must be one of"),
        ({"name": 7}, TypeError, "name takes a str"),
        ({"name": "a\0"}, InvalidPayload, "name holds NUL"),
        ({"inputs": 5}, TypeError, "inputs takes a type, such as str or list.int.; got 5"),
        ({"inputs": "str"}, TypeError, "inputs takes a type, .*; got 'str'"),
        ({"inputs": [int]}, TypeError, "inputs takes a type"),
        ({"inputs": plain}, TypeError, "inputs takes a type"),
    ],
)
def test_a_wrong_mark(options: dict[str, Any], error: type[Exception], said: str) -> None:
    """A wrong option is refused where the handler is defined, and leaves no mark."""

    async def own(job: Context) -> None: ...

    with pytest.raises(error, match=f"^{said}"):
        handler(**options)(own)
    assert mark_of(own).name == "own"
    assert mark_of(own).options == Options()


def test_marking_what_is_no_handler() -> None:
    """Only async functions can be marked."""
    with pytest.raises(TypeError, match="sync is not an async function"):
        handler(sync)  # type: ignore[type-var]  # the mistake under test


def test_the_cache_keeps_nothing_alive() -> None:
    """The cache of checks keeps neither a handler nor its closure in memory."""
    freed: list[bool] = []

    class Held:
        def __del__(self) -> None:
            freed.append(True)

    def define() -> Callable[..., Awaitable[Any]]:
        held = Held()

        async def own(job: Context) -> None:
            _ = held  # closed over

        return own

    check_call(define(), ())
    gc.collect()
    assert freed == [True]


@handler(hide_args=True, retry=Retry(attempts=2, initial=0, jitter=0))
async def log_in(job: JobContext[str], password: str) -> str:
    """Fail, then log in."""
    if job.attempt == 1:
        raise OSError("once more")
    return str(len(password))


@pytest.mark.parametrize("store", ["memory://", "sqlite:///{}/jobs.db"])
async def test_hidden_arguments(store: str, tmp_path: Path) -> None:
    """Nobody is told hidden arguments, and each attempt is given them, also one that was submitted again."""
    async with open_registry(store.format(tmp_path), handlers=[log_in]) as jobs:
        handle = await jobs.submit(log_in, "secret")
        await handle.wait()
        again = await handle.resubmit()
        for one in (handle, again):
            assert await one.result() == "6"
            job = await one.snapshot()
            assert (job.attempt, job.args) == (2, None)
            assert "secret" not in repr((job, await one.history(), await jobs.find()))
        assert [one.args_text for one in await jobs.find()] == [None, None]


def test_arguments_are_hidden_or_not() -> None:
    """Whoever names arguments is told that all are hidden, or none."""
    with pytest.raises(TypeError, match=r"takes True or False, and hides all arguments; got \['a'\]"):
        handler(hide_args=cast("Any", ["a"]))(log_in)
