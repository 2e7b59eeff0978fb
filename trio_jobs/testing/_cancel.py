"""Cancel a handler at each of its checkpoints in turn."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, Final, cast

import outcome
import trio

from .._common.states import Reason, State
from .._registry.opening import open_registry
from .._running.context import JobContext
from .._running.worker import Worker
from ._life import Life, life_of
from ._seeded import run_seeded
from .fold import check_agrees

Handler = Callable[..., Awaitable[Any]]
PATIENCE: Final = 60.0
"""Virtual seconds in which a cancelled handler has to end."""
_SPINS: Final = 10_000  # steps in which it has to, as time stands still for a handler that never waits


class _Stoppable:
    """A coroutine that can be given up: it is closed when it would go on.

    What swallows `Cancelled` cannot be ended otherwise.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self.given_up = False
        self._coroutine = coroutine

    def __await__(self) -> Generator[Any, Any, Any]:
        step: Callable[[Any], Any] = self._coroutine.send
        value: Any = None
        while True:
            if self.given_up:
                self._coroutine.close()
                raise AssertionError("it does not stop when it is cancelled")
            try:
                waits_for = step(value)
            except StopIteration as stop:
                return stop.value
            try:
                value, step = (yield waits_for), self._coroutine.send
            except BaseException as error:  # noqa: ASYNC103, BLE001  # handed on to the coroutine
                value, step = error, self._coroutine.throw

    def where(self) -> str:
        """Return the lines at which the coroutine is, the outermost first."""
        lines: list[str] = []
        inner: Any = self._coroutine
        while (frame := getattr(inner, "cr_frame", None)) is not None:
            lines.append(f"  {frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_qualname}")
            inner = inner.cr_await
        return "\n".join(lines)


class _Canceller(trio.abc.Instrument):
    """Cancels a job when its tasks have reached their k-th checkpoint, and gives it up if it does not end.

    Attributes:
        where: Where the handler was when it was cancelled; None if it ended before.
        heard: Whether a `Cancelled` of it was raised in one of the job's tasks.
    """

    def __init__(self, at: int) -> None:
        self.where: str | None = None
        self.worker: Worker | None = None
        self.coroutine: _Stoppable | None = None
        self.heard = False
        self._scope: trio.CancelScope | None = None
        self._left = at
        self._spins = 0
        self._until = 0.0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        """Note whether the job's cancellation reaches the task."""
        if self._scope is not None and not self.heard:
            self.heard = _reached(self._scope, task)

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        """Count a step of the job's tasks; the handler, once begun, is always among them."""
        if self.coroutine is None or not self._belongs(task):
            return
        self._left -= 1
        if self._left == 0:
            self.cancel()
        elif self._left < 0:
            self._spins += 1
            if self._spins > _SPINS or trio.current_time() > self._until:
                self.coroutine.given_up = True

    def begin(self, coroutine: _Stoppable) -> None:
        """Note that the handler is about to begin; a job may be cancelled as early as that."""
        self.coroutine = coroutine
        if self._left == 0:
            self.cancel()

    def cancel(self) -> None:
        """Cancel the job, if it has not ended just now."""
        attempts = [] if self.worker is None else list(self.worker.attempts.values())
        for attempt in attempts:
            if attempt.parent is None and self.coroutine is not None:
                self.where = self.coroutine.where()
                self._scope = attempt.deadlines.scope
                self._until = trio.current_time() + PATIENCE
                attempt.notify_cancel(Reason.USER, 0)

    def _belongs(self, task: trio.lowlevel.Task) -> bool:
        above: trio.lowlevel.Task | None = task
        while above is not None:
            nursery = above.parent_nursery
            if nursery is not None and self.worker is not None and nursery is self.worker.nursery:
                what, _, job_id = above.name.rpartition(" ")
                return job_id in self.worker.attempts and what != "tokens of job"
            above = None if nursery is None else nursery.parent_task
        return False


def cancel_at_every_checkpoint(
    fn: Handler, /, *args: Any, check: Callable[[Life], None] | None = None, most: int = 1000, **options: Any
) -> int:
    """Run a handler again and again; cancel its job before its first line, then ever a checkpoint later.

    Each run has a registry of its own, virtual time, and the same schedule of tasks, so the checkpoints are
    the same each time. Those of tasks in `job.nursery` and of child jobs count too.

    Args:
        fn: The handler.
        *args: Its arguments; each run gets the same objects.
        check: What to check after each run, besides that the job ended and nothing of it is left.
        most: After how many checkpoints to stop, for handlers that go on for ever.
        **options: As for `JobRegistry.submit`.

    A handler that waits for ever under a shield cannot be ended, and hangs the test.

    Returns:
        How many checkpoints there were, `most` at most.

    Raises:
        AssertionError: After some cancellation the job did not end, ended FAILED, completed although the
            `Cancelled` was raised in one of its tasks, or `check` raised. The text says at which checkpoint,
            where the handler was, and what the log holds.
    """
    for at in range(most + 1):
        canceller = _Canceller(at)
        life = run_seeded(functools.partial(_live, canceller, fn, args, options), 0)
        if canceller.where is None:
            return at
        try:
            check_agrees(life.job, life.log)
            _check_end(life, canceller)
            if check is not None:
                check(life)
        except Exception as error:
            raise AssertionError(
                f"cancelled at checkpoint {at}: {error}\n\nthe handler was at\n{canceller.where}\n\n{life}"
            ) from error
    return most


async def _live(canceller: _Canceller, fn: Handler, args: tuple[Any, ...], options: dict[str, Any]) -> Life:
    @functools.wraps(fn)
    async def handler(job: JobContext[Any], *given: Any, **named: Any) -> Any:
        coroutine = _Stoppable(cast("Coroutine[Any, Any, Any]", fn(job, *given, **named)))
        canceller.begin(coroutine)
        return await coroutine

    trio.lowlevel.add_instrument(canceller)
    async with open_registry() as jobs:
        handle = await jobs.submit(handler, *args, **options)
        canceller.worker = jobs._worker  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        return await life_of(handle)


def _check_end(life: Life, canceller: _Canceller) -> None:
    if life.job.state not in {State.CANCELLED, State.COMPLETED} or life.job.error is not None:
        what = life.job.error or life.job.message or ""
        raise AssertionError(f"the job ended {life.job.state}: {what}")
    if life.job.state is State.COMPLETED and canceller.heard:
        raise AssertionError(
            "the job completed although it was cancelled before its last checkpoint: trio.Cancelled was "
            "raised in it, and swallowed; let it out, and use 'finally' for what has to be done in any case"
        )


def _reached(scope: trio.CancelScope, task: trio.lowlevel.Task) -> bool:
    """Return whether a task that is about to go on gets a `Cancelled` that no scope within `scope` may catch.

    A scope catches nothing as long as a cancellation around it reaches it. Trio has no public name for what a
    task is about to be handed, nor for the scopes around it.
    """
    handed = getattr(task, "_next_send", None)
    if not isinstance(handed, outcome.Error) or not isinstance(handed.error, trio.Cancelled):
        return False
    status: Any = getattr(task, "_cancel_status", None)
    while status is not None and status._scope is not scope:  # noqa: SLF001
        status = None if status._scope.shield else status._parent  # noqa: SLF001
    return status is not None
