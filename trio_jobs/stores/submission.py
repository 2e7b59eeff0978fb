"""Check what a caller submits, and make a submission of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import attrs

from .._common.validate import text
from .._model.handler import check_call, check_limit_key, refuse_arguments
from .._model.job import DEFAULT, NO_KWARGS, Options, new_id
from .._model.options import SpawnOptions, SubmitOptions, build, build_once, named
from .contract import Submission

_APART = frozenset({"key", "kwargs"})
_NAMES = SubmitOptions.__annotations__.keys() | _APART


def submission(
    fn: Callable[..., Awaitable[Any]], args: tuple[Any, ...], given: Mapping[str, Any]
) -> Submission:
    """Return a checked submission.

    Raises:
        TypeError: `fn` is not an async function, does not take `args` and `kwargs`, an option has the wrong
            type, or `limit_key` is missing or has no meaning.
        ValueError: An option is out of range.
    """
    if not given.keys() <= _NAMES:
        refuse_arguments(fn, given.keys() - _NAMES)
    kwargs = named("kwargs", given["kwargs"]) if "kwargs" in given else NO_KWARGS
    mark = check_call(fn, args, kwargs)
    if mark.limits or "limit_key" in given:
        check_limit_key(mark, given)
    if "key" not in given and "kwargs" not in given and not mark.limits:
        return Submission(new_id(), mark.name, fn, args, build_once(mark.options, given))
    options = {name: value for name, value in given.items() if name not in _APART}
    if (key := given.get("key")) is not None:
        text("key", key)
    plain = None if key is None else build_once(DEFAULT, options)
    new = Submission(new_id(), mark.name, fn, args, build_once(mark.options, options), key, plain)
    new.limits, new.kwargs = mark.limits, kwargs
    return new


def child_submission(
    fn: Callable[..., Awaitable[Any]], args: tuple[Any, ...], given: Mapping[str, Any], parent: Options
) -> Submission:
    """Return a checked submission of a child job.

    Of its handler's mark only the timeouts and `hide_args` count. Its priority is that of its parent, and so
    is its owner, who may thus see and cancel both.

    Raises:
        TypeError: As `submission`, or a child job does not have this option.
        ValueError: An option is out of range.
    """
    if not given.keys() <= _NAMES:
        refuse_arguments(fn, given.keys() - _NAMES)
    kwargs = named("kwargs", given["kwargs"]) if "kwargs" in given else NO_KWARGS
    mark = check_call(fn, args, kwargs)
    options = {name: value for name, value in given.items() if name != "kwargs"}
    for name in options:
        if name not in SpawnOptions.__annotations__:
            known = ", ".join(SpawnOptions.__annotations__)
            raise TypeError(f"a child job has no option {name!r}; it takes {known}")
    base = attrs.evolve(
        DEFAULT,
        timeouts=mark.options.timeouts,
        hide_args=mark.options.hide_args,
        owner=parent.owner,
        priority=parent.priority,
    )
    return Submission(new_id(), mark.name, fn, args, build(base, options), kwargs=kwargs)
