"""The decorators that make a method, async or not, a step of a `TrioMachine`."""

from __future__ import annotations

import functools
import inspect
import reprlib
from typing import TYPE_CHECKING, Any, Final, ParamSpec, Protocol, TypeVar, cast, overload

import trio
from hypothesis import stateful
from hypothesis import strategies as st
from hypothesis.errors import InvalidDefinition

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence

    from ._course import Course
    from ._machine import TrioMachine

P = ParamSpec("P")
R = TypeVar("R")
_CANCEL_AT: Final = "cancel_at"
_AT_CHECKPOINTS: Final = "_at_checkpoints"


class Decorator(Protocol):
    """Makes a method a step, which is synchronous for its callers whether the method is or not."""

    @overload
    def __call__(self, fn: Callable[P, Coroutine[Any, Any, R]], /) -> Callable[P, R]: ...
    @overload
    def __call__(self, fn: Callable[P, R], /) -> Callable[P, R]: ...


def rule(
    *,
    targets: Sequence[stateful.Bundle[Any]] = (),
    target: stateful.Bundle[Any] | None = None,
    cancel_within: int = 0,
    background: bool = False,
    **strategies: st.SearchStrategy[Any],
) -> Decorator:
    """Like `hypothesis.stateful.rule`, for methods of a `TrioMachine`, which may be async.

    The method becomes synchronous: a call runs it to its end, as a printed failing program does.

    Args:
        targets: Bundles for what the rule returns.
        target: A bundle for what the rule returns.
        cancel_within: At how many points some calls are cancelled: before the rule begins, or when all
            tasks together have taken 1, 2, … steps since then. The program shows it as `cancel_at`. A call
            that is cancelled puts nothing into a bundle, and the rule may be called again.
        background: Whether the rule goes on while others run, as `self.nursery.start_soon` would have it.
            Its name is noted on what it raises, and `teardown` waits for its end: if that does not come
            within `rule_time_limit`, it hangs. It has no target.
        **strategies: What its arguments are drawn from.
    """
    if background and (targets or target is not None):
        raise InvalidDefinition(
            "a rule in the background has no target: when it is called it returns nothing"
        )
    if cancel_within:
        strategies[_CANCEL_AT] = st.none() | st.integers(0, cancel_within - 1)
    nothing = cast("Any", stateful).multiple() if targets or target is not None else None
    mark = cast("Any", stateful.rule)(targets=targets, target=target, **strategies)

    def decorate(fn: Callable[..., Any]) -> Any:
        if (background or cancel_within) and not _is_async(fn):
            raise InvalidDefinition(f"{fn.__qualname__} is not async: it neither goes on nor is cancelled")
        step = _watched(
            _drive(fn, background=background, otherwise=nothing) if _is_async(fn) else _settle(fn)
        )
        return mark(_with_parameter(step, _CANCEL_AT) if cancel_within else step)

    return decorate


def initialize(
    *,
    targets: Sequence[stateful.Bundle[Any]] = (),
    target: stateful.Bundle[Any] | None = None,
    **strategies: st.SearchStrategy[Any],
) -> Decorator:
    """Like `hypothesis.stateful.initialize`, for methods of a `TrioMachine`, which may be async."""
    mark = cast("Any", stateful.initialize)(targets=targets, target=target, **strategies)

    def decorate(fn: Callable[..., Any]) -> Any:
        return mark(_watched(_drive(fn) if _is_async(fn) else _settle(fn), initializing=True))

    return decorate


def invariant(*, check_during_init: bool = False, at_checkpoints: bool = False) -> Decorator:
    """Like `hypothesis.stateful.invariant`, for methods of a `TrioMachine`, which may be async.

    Args:
        check_during_init: Whether it holds while initializers run, too.
        at_checkpoints: Whether it holds also within rules, whenever another task could look: it is checked
            after each step of each task. It cannot be async then, and it should be cheap.
    """
    mark = stateful.invariant(check_during_init=check_during_init)

    def decorate(fn: Callable[..., Any]) -> Any:
        if at_checkpoints and _is_async(fn):
            raise InvalidDefinition(f"{fn.__qualname__} is async: nothing can wait between two checkpoints")
        step = _explained(_drive(fn) if _is_async(fn) else fn)
        if at_checkpoints:
            setattr(step, _AT_CHECKPOINTS, fn)
        return mark(step)

    return decorate


def _is_async(fn: Callable[..., Any]) -> bool:
    # A `precondition` beneath hides that the function is async.
    return inspect.iscoroutinefunction(inspect.unwrap(fn))


def _drive(
    fn: Callable[..., Awaitable[Any]], *, background: bool = False, otherwise: object = None
) -> Callable[..., Any]:
    """Return a step that runs `fn`, or begins it; it returns `otherwise` if it is cancelled."""

    @functools.wraps(fn)
    def step(machine: TrioMachine, *args: Any, **kwargs: Any) -> Any:
        course, at = _course(machine), kwargs.pop(_CANCEL_AT, None)
        call: Callable[[], Awaitable[Any]] = functools.partial(fn, machine, *args, **kwargs)
        if at is not None:
            call = functools.partial(course.cancelled_at, at, call, otherwise)
        if background:
            return course.begin(_written(fn.__name__, args, kwargs), call)
        return course.call(fn.__name__, call)

    return step


def _settle(fn: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(fn)
    def step(machine: TrioMachine, *args: Any, **kwargs: Any) -> Any:
        result = fn(machine, *args, **kwargs)
        _course(machine).call(fn.__name__, trio.lowlevel.checkpoint)
        return result

    return step


def _watched(step: Callable[..., Any], *, initializing: bool = False) -> Callable[..., Any]:
    """Check during a step the invariants that hold at checkpoints."""

    @functools.wraps(step)
    def watched(machine: TrioMachine, *args: Any, **kwargs: Any) -> Any:
        checks = [
            (getattr(one.function, _AT_CHECKPOINTS), one.preconditions)
            for one in machine.setup_state().invariants
            if hasattr(one.function, _AT_CHECKPOINTS) and (one.check_during_init or not initializing)
        ]

        def check() -> None:
            for holds, preconditions in checks:
                if all(allows(machine) for allows in preconditions):
                    holds(machine)

        with _course(machine).step(check if checks else None):
            return step(machine, *args, **kwargs)

    return watched


def _explained(step: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(step)
    def explained(machine: TrioMachine) -> Any:
        with _course(machine).explained():
            return step(machine)

    return explained


def _course(machine: TrioMachine) -> Course:
    return machine._course  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]


def _written(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    given = [*map(reprlib.repr, args), *(f"{key}={reprlib.repr(value)}" for key, value in kwargs.items())]
    return f"{name}({', '.join(given)})"


def _with_parameter(step: Callable[..., Any], name: str) -> Callable[..., Any]:
    """Let a step have an argument that only Hypothesis and a printed program pass."""
    signature = inspect.signature(step)
    variable = inspect.Parameter.VAR_KEYWORD
    own = [one for one in signature.parameters.values() if one.kind is not variable]
    rest = [one for one in signature.parameters.values() if one.kind is variable]
    new = inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None)
    cast("Any", step).__signature__ = signature.replace(parameters=[*own, new, *rest])
    return step
