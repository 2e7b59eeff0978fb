"""Find handlers by name, and their parameters: a durable store keeps a name and arguments, never code."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple, TypeAlias, cast

from .._common.errors import quoted
from .handler import check_async, is_marked, mark_of, unwrap

Handler: TypeAlias = Callable[..., Awaitable[Any]]


class Handlers(Mapping[str, Handler]):
    """Maps names to handlers.

    Args:
        given: The handlers; or a module, for the functions in it that are marked with `@handler`.

    Raises:
        TypeError: Something is not an async function.
        ValueError: Two handlers have the same name, or a module has none.
    """

    def __init__(self, given: Iterable[Handler] | ModuleType = ()) -> None:
        found: Iterable[Handler] = _of_module(given) if isinstance(given, ModuleType) else given
        if not isinstance(cast("object", found), Iterable) or isinstance(found, str | Mapping):
            raise TypeError(
                "handlers takes an iterable of async functions, as handlers=[fn], or the module that has "
                f"them, as handlers=app after 'import app'; got {quoted(given)}"
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
        """Return the number of handlers."""
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


class Parameters(NamedTuple):
    """The parameters of a function after the job context.

    Attributes:
        named: The types of the named ones, in order; without an annotation, `Any`.
        least: How many of these have no default.
        rest: The type of `*args`; None if there is none.
        open: Whether `*args` has no annotation.
        names: Those that can be given by name.
    """

    named: Sequence[Any]
    least: int
    rest: Any
    open: bool
    names: Collection[str]

    def types(self, count: int) -> tuple[Any, ...]:
        """Return the types of so many arguments."""
        return (*self.named[:count], *[self.rest] * (count - len(self.named)))


def parameters_of(fn: Handler, *, follow_wrapped: bool = False) -> Parameters:
    """Return the parameters of a handler.

    Args:
        fn: The handler.
        follow_wrapped: Return those of the function that decorators wrapped, in place of the outermost.

    Raises:
        TypeError: An annotation cannot be resolved.
    """
    every = [*inspect.signature(fn, follow_wrapped=follow_wrapped).parameters.values()]
    rest = next((one for one in every if one.kind is one.VAR_POSITIONAL), None)
    named = [one for one in every if one.kind in {one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD}][1:]
    others = [one for one in every if one.kind is one.KEYWORD_ONLY]
    return Parameters(
        [_resolved(fn, one) for one in named],
        sum(one.default is one.empty for one in named),
        None if rest is None else _resolved(fn, rest),
        rest is not None and rest.annotation is rest.empty,
        frozenset(one.name for one in [*named, *others] if one.kind is not one.POSITIONAL_ONLY),
    )


def type_by_name(fn: Handler, name: str, *, follow_wrapped: bool = False) -> Any:
    """Return the type of an argument that is given by name: of its parameter, or of `**`.

    It is looked at only when there is such an argument: many that have a default are for the program itself,
    and of types that no job can be given.

    Raises:
        TypeError: The annotation cannot be resolved.
    """
    every = inspect.signature(fn, follow_wrapped=follow_wrapped).parameters.values()
    by_name = {one.name: one for one in every if one.kind in {one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY}}
    others = (one for one in every if one.kind is one.VAR_KEYWORD)
    return _resolved(fn, by_name.get(name) or next(others))


def returned(fn: Handler) -> Any:
    """Return the type of what a function returns; without an annotation, `Any`.

    Raises:
        TypeError: The annotation cannot be resolved.
    """
    found = inspect.signature(fn).return_annotation
    return _resolved(fn, inspect.Parameter("result", inspect.Parameter.POSITIONAL_ONLY, annotation=found))


def hinted(fn: Handler, called: Parameters) -> Parameters | None:
    """Return the parameters of the wrapped function if those of the handler itself have no types, else None.

    Most decorators pass on their arguments. As one may not, a value that does not fit these types is accepted
    too.
    """
    if not called.open or inspect.unwrap(unwrap(fn)) is unwrap(fn):
        return None
    return parameters_of(fn, follow_wrapped=True)


def _resolved(fn: Handler, parameter: inspect.Parameter) -> Any:
    if parameter.annotation is inspect.Parameter.empty:
        return Any
    inner = inspect.unwrap(unwrap(fn))  # its annotations are names of the module that it was written in
    scope = getattr(inner, "__globals__", None) or getattr(inner.__call__, "__globals__", {})
    one = SimpleNamespace(__annotations__={parameter.name: parameter.annotation})
    try:
        return typing.get_type_hints(one, scope, include_extras=True)[parameter.name]
    except Exception as error:
        raise TypeError(
            f"the annotation {parameter.annotation!r} of {parameter.name} in handler {mark_of(fn).name} "
            f"cannot be resolved: {error}; it must be a name at the top of its module"
        ) from error
