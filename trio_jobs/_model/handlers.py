"""Handlers by name, for stores that outlive the process: a job is a name and arguments, never code."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from types import ModuleType, SimpleNamespace
from typing import Any, TypeAlias, cast

import attrs

from .._common.errors import quoted
from .handler import check_async, is_marked, mark_of, unwrap

Handler: TypeAlias = Callable[..., Awaitable[Any]]


class Handlers(Mapping[str, Handler]):
    """Handlers by name.

    Args:
        given: The handlers; or a module, for the functions in it that are marked with `@handler`.

    Raises:
        TypeError: Something is not an async function.
        ValueError: Two handlers have the same name, or a module has none.
    """

    def __init__(self, given: Iterable[Handler] | ModuleType = ()) -> None:
        found: Iterable[Handler] = _of_module(given) if isinstance(given, ModuleType) else given
        if not isinstance(cast("object", found), Iterable):
            raise TypeError(
                f"handlers takes an iterable of async functions, or a module; got {quoted(given)}"
            )
        self._by_name: dict[str, Handler] = {}
        for fn in found:
            check_async(fn)
            name = mark_of(fn).name
            if self._by_name.setdefault(name, fn) != fn:  # a bound method is a new object each time
                raise ValueError(f"two handlers are named {name!r}; tell them apart with @handler(name=…)")

    def __getitem__(self, name: str) -> Handler:
        """Return the handler of that name."""
        return self._by_name[name]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(self._by_name)

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._by_name)


def _of_module(module: ModuleType) -> list[Handler]:
    found = [
        cast("Handler", value)
        for value in vars(module).values()
        if is_marked(value) and getattr(value, "__module__", None) == module.__name__
    ]
    if not found:
        raise ValueError(
            f"module {module.__name__} defines no handlers; mark them with @trio_jobs.handler, "
            "or name an iterable of them"
        )
    return found


@attrs.frozen(eq=False)
class Taken:
    """The arguments that a function takes after the job context.

    Attributes:
        named: The types of the named ones, in order. What has no annotation is `Any`.
        least: How many of these have no default.
        rest: The type of all further ones; None if it takes no more.
        open: Whether nothing is said of the further ones.
    """

    named: Sequence[Any]
    least: int
    rest: Any
    open: bool

    def types(self, count: int) -> tuple[Any, ...]:
        """Return the types of so many arguments."""
        return (*self.named[:count], *[self.rest] * (count - len(self.named)))


def taken_by(fn: Handler, *, follow_wrapped: bool = False) -> Taken:
    """Return what a handler takes.

    Args:
        fn: The handler.
        follow_wrapped: Look at the function that decorators wrapped, in place of what is called.

    Raises:
        TypeError: An annotation cannot be resolved.
    """
    all_taken = [*inspect.signature(fn, follow_wrapped=follow_wrapped).parameters.values()]
    rest = next((one for one in all_taken if one.kind is one.VAR_POSITIONAL), None)
    named = [one for one in all_taken if one.kind in {one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD}][1:]
    return Taken(
        [_resolved(fn, one) for one in named],
        sum(one.default is one.empty for one in named),
        None if rest is None else _resolved(fn, rest),
        rest is not None and rest.annotation is rest.empty,
    )


def hinted(fn: Handler, called: Taken) -> Taken | None:
    """Return what the function takes that is wrapped in a handler which says nothing of its arguments itself.

    Most decorators pass on what they are given. One that does not may well be given something else, so these
    types are tried, and no more.
    """
    if not called.open or inspect.unwrap(unwrap(fn)) is unwrap(fn):
        return None
    return taken_by(fn, follow_wrapped=True)


def _resolved(fn: Handler, parameter: inspect.Parameter) -> Any:
    if parameter.annotation is inspect.Parameter.empty:
        return Any
    inner = inspect.unwrap(unwrap(fn))  # what a decorator wrapped is written in a module of its own
    scope = getattr(inner, "__globals__", None) or getattr(inner.__call__, "__globals__", {})
    one = SimpleNamespace(__annotations__={parameter.name: parameter.annotation})
    try:
        return typing.get_type_hints(one, scope, include_extras=True)[parameter.name]
    except Exception as error:
        raise TypeError(
            f"the annotation {parameter.annotation!r} of {parameter.name} in handler {mark_of(fn).name} "
            f"cannot be resolved: {error}; it must be a name at the top of its module"
        ) from error
