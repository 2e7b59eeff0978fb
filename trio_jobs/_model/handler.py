"""Handlers are ordinary async functions: mark them, find their names and options, and check calls."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence, Set
from types import FunctionType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast, overload
from weakref import WeakKeyDictionary

import attrs

from .._common.errors import quoted
from .._common.validate import text
from .job import DEFAULT, NO_KWARGS, Options, Priority, Timeouts
from .options import PriorityName, build
from .retry import Retry

if TYPE_CHECKING:
    from .limits import Limit
    from .restart import Restart

F = TypeVar("F", bound=Callable[..., Awaitable[Any]])
_MARK = "__trio_jobs_handler__"
_TYPES = frozenset({"types", "typing", "typing_extensions"})  # where types are from that are no classes


class Mark(NamedTuple):
    """What a handler is marked with.

    Attributes:
        name: Its name.
        options: The default options of its jobs.
        inputs: The type of the inputs that its jobs get; None if none was declared.
        limits: Its limits, by name or as they are.
    """

    name: str
    options: Options
    inputs: Any = None
    limits: Sequence[str | Limit] = ()

    @property
    def keyed(self) -> bool:
        """Whether one of its limits is keyed."""
        return any(getattr(limit, "keyed", False) for limit in self.limits)


@overload
def handler(fn: F, /) -> F: ...
@overload
def handler(
    *,
    name: str | None = None,
    timeout: float | None = None,
    timeouts: Timeouts | None = None,
    retry: Retry | None = None,
    priority: Priority | PriorityName | None = None,
    inputs: Any = None,
    limits: Iterable[str | Limit] = (),
    service: Restart | None = None,
    hide_args: bool = False,
) -> Callable[[F], F]: ...
def handler(
    fn: F | None = None,
    /,
    *,
    name: str | None = None,
    timeout: float | None = None,
    timeouts: Timeouts | None = None,
    retry: Retry | None = None,
    priority: Priority | PriorityName | None = None,
    inputs: Any = None,
    limits: Iterable[str | Limit] = (),
    service: Restart | None = None,
    hide_args: bool = False,
) -> F | Callable[[F], F]:
    """Mark an async function as a handler: give it a name, and its jobs their default options.

    The function stays callable as it was. A registry in memory runs any async function; the mark is
    needed only to change a default. Options given to `submit` win over those given here.

    Args:
        fn: The function, when used without parentheses.
        name: The handler's name in records; the function's own name by default.
        timeout: Seconds each attempt may run.
        timeouts: All clocks, in place of `timeout`.
        retry: How its jobs are retried.
        priority: How soon its jobs are claimed.
        inputs: The type of the inputs that its jobs get, `Any` for all: a store that outlives the process
            checks and converts them as arguments. A server takes inputs only for handlers that declare it.
        limits: How many of its jobs run at once, or start per second: `Limit` records, and the names of those
            that `open_registry` is given, which handlers share. At most one is keyed, and then each job takes
            a `limit_key`.
        service: Makes it a service: a job without arguments that is to run always, once per store, and is
            started again as this says. Each registry that is opened with the handler, and a `capacity`, sees
            to it; it cannot be submitted, and takes no slot.
        hide_args: Whether nobody is told the arguments of its jobs, as they hold secrets; see `Job.args`.

    Raises:
        TypeError: `fn` is not an async function, an option has the wrong type or no meaning for a service, or
            `inputs` is no type. When such a store is opened: `inputs` cannot be made from JSON.
        ValueError: An option is out of range, or a timeout has no meaning for a service.
    """
    checked = () if limits == () else _checked(limits)

    def mark(fn: F) -> F:
        _check_marked(fn, inputs)
        given = {"timeout": timeout, "timeouts": timeouts, "retry": retry, "priority": priority}
        options = build(DEFAULT, {key: value for key, value in given.items() if value is not None})
        options = _with_hidden(options, hide_args=hide_args)
        called = text("name", name or _plain_name(fn))
        if service is not None:
            from .restart import check_service, service_options  # which few programs need

            check_service(fn, arity(fn)[0], inputs, checked)
            options = service_options(called, service, options, retry)
        made = Mark(called, options, inputs, checked)
        setattr(fn, _MARK, made)
        _forget(fn)
        return fn

    return mark if fn is None else mark(fn)


def _with_hidden(options: Options, *, hide_args: bool) -> Options:
    if not isinstance(cast("object", hide_args), bool):
        raise TypeError(f"hide_args takes True or False, and hides all arguments; got {quoted(hide_args)}")
    return attrs.evolve(options, hide_args=True) if hide_args else options


def _check_marked(fn: object, inputs: Any) -> None:
    if isinstance(fn, str):
        raise TypeError(f"a name is given as name=: write @handler(name={fn!r})")
    check_async(fn)
    if not (inputs is None or isinstance(inputs, type) or type(inputs).__module__ in _TYPES):
        raise TypeError(f"inputs takes a type, such as str or list[int]; got {quoted(inputs)}")


def _checked(limits: Iterable[str | Limit]) -> Sequence[str | Limit]:
    from .limits import check_limits  # which few programs need

    return check_limits(limits)


def unwrap(fn: object) -> Any:
    """Return the function inside a `functools.partial`, and any other object itself."""
    while isinstance(fn, functools.partial):
        fn = cast("functools.partial[Any]", fn).func
    return fn


def _plain_name(fn: object) -> str:
    inner = unwrap(fn)
    return str(getattr(inner, "__name__", type(inner).__name__))


def mark_of(fn: Callable[..., Awaitable[Any]]) -> Mark:
    """Return the mark of a handler; of an unmarked one, its own name and the default options."""
    mark = getattr(fn, _MARK, None) or getattr(unwrap(fn), _MARK, None)
    return mark if isinstance(mark, Mark) else Mark(_plain_name(fn), DEFAULT)


def is_marked(fn: object) -> bool:
    """Return whether a function was marked by `handler`."""
    return isinstance(getattr(fn, _MARK, None), Mark)


def is_async(fn: object) -> bool:
    """Return whether calling `fn` makes a coroutine."""
    inner = unwrap(fn)
    method = None if isinstance(inner, type) else getattr(inner, "__call__", None)  # noqa: B004  # looked at
    return inspect.iscoroutinefunction(inner) or inspect.iscoroutinefunction(method)


def check_async(fn: object) -> None:
    """Raise `TypeError` unless `fn` is an async function; the text says what to write."""
    if is_async(fn):
        return
    inner = unwrap(fn)
    if inspect.iscoroutine(fn):
        fn.close()
        raise TypeError(
            f"a handler is an async function, not what calling it returns: write submit(fn, …), "
            f"not submit(fn(…)); got {quoted(fn)}"
        )
    if inspect.isasyncgenfunction(inner):
        raise TypeError(
            f"{_plain_name(fn)} is an async generator function; a handler streams with "
            "'await job.send(value)' in place of 'yield value'"
        )
    if callable(inner):
        raise TypeError(
            f"{_plain_name(fn)} is not an async function; define it with 'async def', and call blocking "
            "code in it with trio.to_thread.run_sync"
        )
    itself = ", not its name" if isinstance(fn, str) else ""
    raise TypeError(f"a handler is an async function{itself}; got {quoted(fn)}")


def arity(fn: Any) -> tuple[float, float]:
    """Return how few and how many positional arguments `fn` takes, after checking that it is async.

    If it needs an argument by name, no number is enough. The outermost function counts, not one that a
    decorator wrapped: the decorator may add arguments.
    """
    check_async(fn)
    least, most = 0.0, 0.0
    for parameter in inspect.signature(fn, follow_wrapped=False).parameters.values():
        if parameter.kind is parameter.VAR_POSITIONAL:
            most = math.inf
        elif parameter.kind in {parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD}:
            most += 1
            least += parameter.default is parameter.empty
        elif parameter.kind is parameter.KEYWORD_ONLY and parameter.default is parameter.empty:
            least = math.inf
    return least, most


def bound_names(fn: object) -> Set[str]:
    """Return the names of the arguments that a `functools.partial` has bound by name."""
    return fn.keywords.keys() if isinstance(fn, functools.partial) else frozenset()


def misfit(fn: Any, count: int, names: Collection[str] = ()) -> str | None:
    """Return why a handler does not take so many arguments by place and these by name; None if it does.

    What a `functools.partial` has bound by name is decided: no job is given another value for it.
    """
    if bound := bound_names(fn) & set(names):
        return f"functools.partial has given it {min(bound)!r} already"
    signature = inspect.signature(fn, follow_wrapped=False)
    for name, one in signature.parameters.items():
        if one.kind is one.KEYWORD_ONLY and one.default is one.empty and name not in names:
            return f"it needs the keyword argument {name!r}"
    try:
        signature.bind(None, *[None] * count, **dict.fromkeys(names))
    except TypeError as error:
        return str(error)
    return None


def refuse_arguments(fn: Any, given: Iterable[str]) -> None:
    """Raise `TypeError` if a keyword names an argument of a handler; the text says how to pass it.

    Args:
        fn: The handler; anything else is refused elsewhere.
        given: The keywords, none of which is an option.
    """
    try:
        parameters = inspect.signature(fn, follow_wrapped=False).parameters
    except (TypeError, ValueError):
        return
    for name in given:
        if name in parameters:
            raise TypeError(
                f"{name!r} is an argument of {_plain_name(fn)}, and a keyword of submit is an option; give "
                f"it by its place, or by name as in submit({_plain_name(fn)}, …, kwargs={{{name!r}: …}})"
            )


# Inspecting a function takes longer than submitting a job, so it is done once. Only of plain functions: other
# callables may be equal without being the same, or be changed after they were looked at.
_known: WeakKeyDictionary[FunctionType, tuple[float, float, Mark]] = WeakKeyDictionary()


def _forget(fn: object) -> None:
    if isinstance(fn, FunctionType):
        _known.pop(fn, None)


def _refuse_service(mark: Mark) -> None:
    if mark.options.restart is not None:
        raise TypeError(
            f"{mark.name} is a service, which cannot be submitted: each registry that is opened with it in "
            "handlers=[…] sees to it that it runs"
        )


def check_call(fn: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any] = NO_KWARGS) -> Mark:
    """Return the mark of a handler, after checking that it can be called.

    Raises:
        TypeError: `fn` is not an async function that takes a job context and these arguments, or is a
            service.
    """
    inner = getattr(fn, "__func__", fn)  # a bound method is a new object each time
    plain = isinstance(inner, FunctionType)
    known = _known.get(inner) if plain else None
    if known is None:
        known = (*arity(inner), mark_of(inner))
        _refuse_service(known[2])
        if plain:
            _known[inner] = known
    least, most, mark = known
    own = 1 if inner is fn else 2
    if not kwargs and least <= len(args) + own <= most:
        return mark
    if most < own:
        raise TypeError(f"{_plain_name(fn)} takes no arguments; a handler's first one is the job context")
    if kwargs or least == math.inf:
        if (why := misfit(fn, len(args), kwargs)) is None:
            return mark
        raise TypeError(
            f"{_plain_name(fn)} does not take these arguments: {why}. They are given by place, or by name as "
            f"in submit({_plain_name(fn)}, …, kwargs={{'name': value}})"
        )
    wanted = f"{least - own:g}" if least == most else f"{max(0, least - own):g} to {most - own:g}"
    raise TypeError(f"{_plain_name(fn)} takes {wanted} arguments after the job context; got {len(args)}")


def check_limit_key(mark: Mark, given: Mapping[str, Any]) -> None:
    """Check that options have a `limit_key` if and only if the handler has a keyed limit.

    Raises:
        TypeError: They do not.
    """
    if mark.keyed is (given.get("limit_key") is None):
        raise TypeError(
            f"{mark.name} has a keyed limit: say whose place a job takes, as in submit(…, limit_key='user-7')"
            if mark.keyed
            else f"{mark.name} has no keyed limit: leave out limit_key, or mark the handler with "
            "@handler(limits=[Limit(…, keyed=True)])"
        )
