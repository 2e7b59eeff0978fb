"""Run something of the program's own around each attempt, and tell it how attempts begin and end.

A registry without hooks has a plain `Worker`, and this module is not loaded.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any, Final, TypeAlias, cast

import trio

from .._common.error_text import indented, record_error
from .._common.errors import quoted
from .._common.states import Reason, State
from .._model.handler import is_async
from .._model.job import Ended, Kind
from ..stores.contract import Claim
from .attempt import Attempt
from .context import JobContext
from .logs import log_end, log_start
from .worker import Worker

logger: Final = logging.getLogger("trio_jobs")
Wrap: TypeAlias = Callable[[JobContext[Any]], AbstractAsyncContextManager[Any, Any]]
OnEvent: TypeAlias = Callable[[JobContext[Any], Kind, Ended | None], object]

_KINDS: Final = {
    State.COMPLETED: Kind.COMPLETED,
    State.FAILED: Kind.FAILED,
    State.CANCELLED: Kind.CANCELLED,
    State.RETRYING: Kind.RETRIED,
}


def check_hooks(wrap: Wrap | None, on_event: OnEvent | None) -> None:
    """Raise `TypeError` unless the hooks can be called as they will be; the text says what to write."""
    if wrap is not None:
        bare = is_async(wrap) or inspect.isasyncgenfunction(wrap)
        if bare or not callable(wrap):
            raise TypeError(
                "wrap takes a function of a JobContext that returns an async context manager, "
                f"such as one with @contextlib.asynccontextmanager; got {quoted(wrap)}"
            )
    if on_event is not None and (is_async(on_event) or not callable(on_event)):
        raise TypeError(
            "on_event takes a plain function of a JobContext, a Kind and an Ended or None, not an async one; "
            f"got {quoted(on_event)}"
        )


def _nobody(job: JobContext[Any], kind: Kind, ended: Ended | None) -> None:
    """Observe nothing."""


class HookedWorker(Worker):
    """A worker with something of the program's around each attempt, and an observer.

    Args:
        *args: As for `Worker`.
        wrap: Makes the context manager around an attempt.
        on_event: Is told how attempts begin and end.
        **options: As for `Worker`.
    """

    def __init__(self, *args: Any, wrap: Wrap | None, on_event: OnEvent | None, **options: Any) -> None:
        super().__init__(*args, **options)
        self._wrap = wrap
        self._on_event = _nobody if on_event is None else on_event
        self._open: set[Attempt] = set()  # those whose start was told, and not their end
        self.tell_start = self._start_told
        self.tell_end = self._end_told

    def start(
        self, claim: Claim, nursery: trio.Nursery, parent: Attempt | None = None, *, slot: bool = True
    ) -> Attempt:
        """Run an attempt with its handler wrapped; see `Runner.start`."""
        attempt = super().start(claim, nursery, parent, slot=slot)
        if self._wrap is not None:
            attempt.call = partial(_call_within, self._wrap, claim.submission.target)
        if self._on_event is not _nobody:
            clocks = attempt.deadlines
            clocks.on_first = partial(self._first_token_told, attempt, clocks.mind_tokens)
            clocks.mind_tokens = True
        return attempt

    def _start_told(self, attempt: Attempt) -> None:
        log_start(attempt)
        self._open.add(attempt)
        self._tell(attempt, Kind.STARTED, None)

    def _first_token_told(self, attempt: Attempt, mind: bool) -> None:  # noqa: FBT001  # a partial gives it
        attempt.deadlines.mind_tokens = mind  # so that further ones cost no more than without an observer
        self._tell(attempt, Kind.TOKEN, None)

    def _end_told(self, attempt: Attempt, state: State, ended: Ended | None) -> None:
        log_end(attempt, state, ended)
        self._open.discard(attempt)
        self._tell(attempt, _KINDS[state], ended)

    def _end(self, attempt: Attempt) -> None:
        super()._end(attempt)
        if attempt in self._open:  # the store did not take its end
            self._open.discard(attempt)
            self._tell(attempt, Kind.RETRIED, Ended(Reason.WORKER_LOST, "its lease was lost"))

    def _tell(self, attempt: Attempt, kind: Kind, ended: Ended | None) -> None:
        """Call the observer. A job does not depend on who looks on, so what it raises is only logged."""
        try:
            self._on_event(attempt.context, kind, ended)
        except Exception as error:  # noqa: BLE001  # the caller's function may raise anything
            text = indented(record_error(error).traceback)
            logger.error("on_event raised\n%s", text)  # noqa: TRY400  # user text is escaped


async def _call_within(
    wrap: Wrap, target: Callable[..., Awaitable[Any]], job: JobContext[Any], /, *args: Any, **kwargs: Any
) -> Any:
    """Call a handler inside a context manager. What the handler raises comes out in any case.

    Raises:
        TypeError: `wrap` returned no async context manager.
        BaseException: What the handler or the context manager raised.
    """
    block = wrap(job)
    if not hasattr(type(block), "__aenter__"):
        raise TypeError(f"wrap has to return an async context manager; it returned {quoted(block)}")
    raised: BaseException | None = None
    async with block:
        try:
            return await target(job, *args, **kwargs)
        except BaseException as error:
            raised = error
            raise
    # Suppressed, it would be a job that completed, or a cancellation that never arrived.
    raise cast("BaseException", raised)
