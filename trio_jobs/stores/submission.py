"""Check what a caller submits, and make a submission of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import attrs

from .._common.validate import text
from .._model.handler import Mark, check_call, refuse_arguments
from .._model.job import DEFAULT, Options, new_id
from .._model.options import SpawnOptions, SubmitOptions, build, build_once
from .contract import Submission

LIMIT_KEY: Final = 256
"""How many characters a `limit_key` has at most."""
_NAMES = frozenset(SubmitOptions.__annotations__)
_APART: Final = frozenset({"key", "limit_key"})  # which are no part of `Options`


def submission(
    fn: Callable[..., Awaitable[Any]], args: tuple[Any, ...], given: Mapping[str, Any]
) -> Submission:
    """Return a checked submission.

    Raises:
        TypeError: `fn` is not an async function, does not take `args`, an option has the wrong type, or
            `limit_key` is missing or has no meaning.
        ValueError: An option is out of range.
    """
    if not given.keys() <= _NAMES:
        refuse_arguments(fn, given.keys() - _NAMES)
    mark = check_call(fn, args)
    if "key" not in given and "limit_key" not in given and not mark.limits:
        return Submission(new_id(), mark.name, fn, args, build_once(mark.options, given))
    options = {name: value for name, value in given.items() if name not in _APART}
    if (key := given.get("key")) is not None:
        text("key", key)
    plain = None if key is None else build_once(DEFAULT, options)
    new = Submission(new_id(), mark.name, fn, args, build_once(mark.options, options), key, plain)
    new.limits, new.limit_key = mark.limits, _limit_key(mark, given)
    return new


def _limit_key(mark: Mark, given: Mapping[str, Any]) -> str | None:
    """Return the `limit_key` of a submission, which has one if and only if its handler has a keyed limit."""
    keyed = any(getattr(limit, "keyed", False) for limit in mark.limits)
    if keyed is not ("limit_key" in given):
        raise TypeError(
            f"{mark.name} has a keyed limit: say whose place a job takes, as in submit(…, limit_key='user-7')"
            if keyed
            else f"{mark.name} has no keyed limit: leave out limit_key, or mark the handler with "
            "@handler(limits=[Limit(…, keyed=True)])"
        )
    if not keyed:
        return None
    key = text("limit_key", given["limit_key"])
    if not 1 <= len(key) <= LIMIT_KEY:
        raise ValueError(f"a limit_key has 1 to {LIMIT_KEY} characters; got {len(key)}")
    return key


def child_submission(
    fn: Callable[..., Awaitable[Any]], args: tuple[Any, ...], given: Mapping[str, Any], parent: Options
) -> Submission:
    """Return a checked submission of a child job.

    Of its handler's mark only the timeouts count. Its priority is that of its parent, and so is its owner,
    who may thus see and cancel both.

    Raises:
        TypeError: As `submission`, or a child job does not have this option.
        ValueError: An option is out of range.
    """
    if not given.keys() <= _NAMES:
        refuse_arguments(fn, given.keys() - _NAMES)
    mark = check_call(fn, args)
    for name in given:
        if name not in SpawnOptions.__annotations__:
            known = ", ".join(SpawnOptions.__annotations__)
            raise TypeError(f"a child job has no option {name!r}; it takes {known}")
    base = attrs.evolve(DEFAULT, timeouts=mark.options.timeouts, owner=parent.owner, priority=parent.priority)
    return Submission(new_id(), mark.name, fn, args, build(base, given))
