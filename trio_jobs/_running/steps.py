"""The steps of a handler: each runs once for its job, and its result is kept in the job's log."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Set
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final, cast

import trio

from .._common.errors import KeyConflict
from .._common.validate import text
from .._model.handler import is_async
from .._model.handlers import returned
from .._model.job import Kind, Step
from ..stores.retrying import retry_until_answered
from .inbox import in_step

if TYPE_CHECKING:
    from ..stores.contract import Claim, Store

_OTHER: Final = "as the name of a step with other arguments; put what differs into the name"
Function = Callable[..., Awaitable[Any]]


class Steps:
    """Runs the steps of one attempt.

    Args:
        claim: The right to run the attempt.
        store: The store.
        keep: Writes the result of a step to the job's log.
    """

    def __init__(self, claim: Claim, store: Store, keep: Callable[[Step], Awaitable[None]]) -> None:
        self._claim = claim
        self._store = store
        self._keep = keep
        self._kept: Mapping[str, Step] | None = {} if claim.attempt == 1 else None  # by earlier attempts
        self._used: set[str] = set()

    async def run(self, name: str, fn: Function, args: tuple[Any, ...]) -> Any:
        """Run a step, or return its kept result; see `JobContext.step`."""
        if not is_async(fn):
            raise TypeError(f"step {name!r} takes an async function and its arguments; got {fn!r}")
        form = _Json(name, fn) if self._store.durable else _Objects()
        digest = blake2b(form.of_arguments(args), digest_size=16).hexdigest()
        if text("name", name) in self._used:
            raise ValueError(f"step {name!r} is there twice in this attempt; give each its own name")
        self._used.add(name)
        try:
            if self._kept is None:
                self._kept = await self._earlier()
            kept = self._kept.get(name)
            step = kept or Step(name, digest, form.encode(await self._inside(name, fn, args)))
        except BaseException:  # nothing is kept
            self._used.discard(name)
            raise
        if kept is None:
            await self._keep(step)
        elif step.digest != digest:
            raise KeyConflict(name, self._claim.submission.id, _OTHER)
        else:
            await trio.lowlevel.checkpoint()
        return form.decode(step.result)

    async def _inside(self, name: str, fn: Function, args: tuple[Any, ...]) -> Any:
        """Call the function of a step, in which no inputs can be received."""
        here = [self._claim.submission.id, name]
        token = in_step.set(here)
        try:
            return await fn(*args)
        finally:
            here.clear()  # for tasks that were started in it, and live on
            in_step.reset(token)

    async def _earlier(self) -> Mapping[str, Step]:
        history = await retry_until_answered(self._store.history, self._claim.submission.id)
        return {event.data.name: event.data for event in history if event.kind is Kind.STEP}


class _Objects:
    """What a store in memory keeps: the objects themselves."""

    def of_arguments(self, args: tuple[Any, ...]) -> bytes:
        """Return what is the same for the same arguments."""
        try:
            return json.dumps(args, default=_told_by, sort_keys=True).encode()
        except Exception:  # noqa: BLE001  # a value may contain itself, or be of a class whose code raises
            return repr([*map(type, args)]).encode()

    def encode(self, value: Any) -> Any:
        """Return a result as it is kept."""
        return value

    def decode(self, value: Any) -> Any:
        """Return a kept result."""
        return value


def _told_by(value: Any) -> Any:
    """Return what tells a value that JSON cannot hold from others: its members, its `repr`, or its type."""
    if isinstance(value, (set, frozenset)):
        return sorted(repr(_told_by(one)) for one in cast("Set[Any]", value))
    shown = repr(value)
    return type(value).__qualname__ if " at 0x" in shown else shown


class _Json(_Objects):
    """What other stores keep: JSON, which comes back as the function's annotation says.

    Raises:
        TypeError: The function returns what cannot be made from JSON.
    """

    def __init__(self, name: str, fn: Function) -> None:
        from .._json.inputs import Typed  # needs msgspec, which durable stores have loaded

        self._name = name
        self._typed = Typed(f"the result of step {name}", returned(fn), f"step {name!r} has a result")

    def of_arguments(self, args: tuple[Any, ...]) -> bytes:
        from .._json.values import written

        return written(f"the arguments of step {self._name}", args, typed_keys=True)

    def encode(self, value: Any) -> Any:
        return self._typed.plain(value)

    def decode(self, value: Any) -> Any:
        return self._typed.decode(value)
