"""A Trio run that advances only while synchronous code asks it to, and stands still in between."""

from __future__ import annotations

import inspect
import math
import queue
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

import outcome
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from .._common.task_tree import task_tree

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

Result: TypeAlias = "outcome.Value[Any] | outcome.Error"
_TRAPS = inspect.getfile(trio.lowlevel.wait_task_rescheduled)
RUNNERS: Final = (
    *(str(Path(__file__).with_name(name)) for name in ("_guest.py", "_course.py")),
    inspect.getfile(outcome.acapture),
)
"""The files between a run and the functions that it is told to run."""
_MACHINERY: Final = (*RUNNERS, str(Path(_TRAPS).parent))


@dataclass(eq=False)
class _Call:
    """What is to be run, and its result on the way back."""

    name: str
    fn: Callable[[], Awaitable[Any]]
    result: Result | None = None


class GuestRun:
    """One Trio run for synchronous code: `call` runs one async function in it and lets it settle.

    From the start to the end of the run Trio's synchronous functions are legal in this thread, and
    no other run is. What the background raises is the result of the call during which it happened,
    or else of `end`, and of nothing else.

    Args:
        clock: The run's clock.
        owner: What messages call the owner of the run.
        rule_time_limit: How many seconds of `clock` a call may take.
        real_time_limit: How many real seconds a call may take.
    """

    nursery: trio.Nursery

    def __init__(
        self, clock: MockClock, *, owner: str, rule_time_limit: float, real_time_limit: float
    ) -> None:
        self.over = False
        self._owner = owner
        self._rule_time_limit = rule_time_limit
        self._real_time_limit = real_time_limit
        self._failure: BaseException | None = None
        self._reported: BaseException | None = None
        self._scope = trio.CancelScope()
        self._call_scope = trio.CancelScope()
        self._alarm = trio.CancelScope()
        self._places = ""
        self._ticks: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self._calls, self._inbox = trio.open_memory_channel[_Call](1)
        trio.lowlevel.start_guest_run(
            self._main,
            run_sync_soon_threadsafe=self._ticks.put,
            done_callback=self._done,
            clock=clock,
        )

    def call(self, name: str, fn: Callable[[], Awaitable[Any]], *, even_if_failed: bool = False) -> Result:
        """Run `fn()` until it has returned and all tasks are blocked; return its result.

        A call that takes too long is cancelled, and its result is an `AssertionError` that says so.

        Args:
            name: What messages call it.
            fn: What to run.
            even_if_failed: Whether to run it also when the background is gone.

        Raises:
            RuntimeError: The caller is a task of the run, or the run has failed.
        """
        if trio.lowlevel.in_trio_task():
            raise RuntimeError(f"{self._owner}.{name} called from within the run: await it")
        if self._failure is not None and not even_if_failed:
            message = f"{self._owner}.{name} called after the run failed"
            raise RuntimeError(message) from self._failure
        self._call = call = _Call(name, fn)
        self._calls.send_nowait(call)
        self._pump(name, lambda: call.result is not None or self._unreported)
        if call.result is None or (self._unreported and isinstance(call.result, outcome.Value)):
            return self._take_failure()
        return call.result

    def fail(self, error: BaseException) -> None:
        """End the run as if the background had raised this, unless the call has an error of its own."""
        if self._failure is None and not isinstance(self._call.result, outcome.Error):
            self._failure = error
            self._scope.cancel(reason="the run has failed")

    def end(self) -> None:
        """Cancel what is left and wait until the run is over. A second time it does nothing.

        Raises:
            BaseException: What the background raised, if no call has reported that.
        """
        if not self.over:
            self._calls.close()
            self._scope.cancel(reason="the end of the test")
            self._pump("teardown", lambda: False)
            if not self.over:
                self._abandon()
        if self._unreported:
            self._take_failure().unwrap()

    @property
    def _unreported(self) -> bool:
        return self._failure is not self._reported

    async def _main(self) -> None:
        self._task = trio.lowlevel.current_task()
        trio.lowlevel.spawn_system_task(self._watch)
        ended = await outcome.acapture(self._with_background)
        if isinstance(ended, outcome.Error):
            self._failure = self._failure or _bare(ended.error)
        elif not self._scope.cancel_called:
            self._failure = RuntimeError(f"{self._owner}: its nursery was cancelled")
        # The background is gone, but the owner may still have things to close.
        with trio.CancelScope() as self._scope:
            await self._serve()

    async def _with_background(self) -> None:
        with self._scope:
            async with trio.open_nursery() as self.nursery:
                await self._serve()

    async def _serve(self) -> None:
        async for call in self._inbox:
            result = await outcome.acapture(self._limited, call)
            # A Cancelled because the background failed is no result of the call.
            await trio.lowlevel.checkpoint_if_cancelled()
            call.result = result

    async def _limited(self, call: _Call) -> Any:
        blocked: BaseException | None = None
        self._task.name = f"{self._owner}.{call.name}"
        self._alarm.deadline = trio.current_time() + self._rule_time_limit
        try:
            with trio.CancelScope() as self._call_scope:
                try:
                    result = await call.fn()
                except BaseException as error:
                    blocked = error
                    raise
                await wait_all_tasks_blocked()
                return result
        finally:
            self._alarm.deadline = math.inf
        # The cause shows the line that was blocked.
        raise AssertionError(
            f"{self._owner}.{call.name} was blocked for {self._rule_time_limit:g} virtual seconds: "
            f"a deadlock, or rule_time_limit is too short\n{self._places}"
        ) from blocked

    async def _watch(self) -> None:
        """Look where all tasks are when a call has had its time, before it is cancelled."""
        while True:
            with self._alarm:
                await trio.sleep_forever()
            self._alarm = trio.CancelScope()
            self._places = self._where()
            self._call_scope.cancel(reason="rule_time_limit")

    def _where(self) -> str:
        return task_tree(self._task, without=_MACHINERY)

    def _done(self, result: outcome.Outcome[None]) -> None:
        self.over = True
        if isinstance(result, outcome.Error):
            self._failure = _bare(result.error)

    def _pump(self, name: str, ready: Callable[[], bool]) -> None:
        """Advance the run until `ready()` or it is over; give up at the real-time limit."""
        give_up = time.monotonic() + self._real_time_limit
        while not (self.over or ready()):
            tick = self._next_tick(give_up - time.monotonic())
            if tick is None:
                # After a first failure this one is only its consequence.
                self._failure = self._failure or self._too_long(name)
                self._scope.cancel(reason="the real-time limit")
                return
            tick()

    def _next_tick(self, timeout: float) -> Callable[[], object] | None:
        try:
            return self._ticks.get(timeout=timeout) if timeout > 0 else None
        except queue.Empty:
            return None

    def _too_long(self, name: str) -> AssertionError:
        return AssertionError(
            f"{self._owner}.{name} was not done after {self._real_time_limit:g} real seconds: "
            f"a busy loop, a stuck thread, or a wait that cannot be cancelled\n{self._where()}"
        )

    def _take_failure(self) -> Result:
        self._reported = self._failure
        return outcome.Error(self._failure) if self._failure else outcome.Value(None)

    def _abandon(self) -> None:
        """Let go of a run that cannot be ended, so that the thread can have another one."""
        self.over = True
        # Its tasks must not be collected: each would be resumed without a run, and complain.
        _ABANDONED.append(self)
        # The run is held by its next tick, or by a thread that waits for I/O and then makes that tick.
        trio.lowlevel.current_trio_token().run_sync_soon(lambda: None)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            self._next_tick(timeout=self._real_time_limit)


_ABANDONED: list[GuestRun] = []


def unwrapped(result: Result) -> Result:
    """Return `result` with its error taken out of groups of one.

    Every nursery wraps what comes out of it. For a person, and for a test runner that signals with
    a `BaseException`, the error itself says more than its wrapping.
    """
    return outcome.Error(_bare(result.error)) if isinstance(result, outcome.Error) else result


def _bare(raised: BaseException) -> BaseException:
    error: Any = raised
    while isinstance(error, BaseExceptionGroup):
        inner = [*cast("BaseExceptionGroup[BaseException]", error).exceptions]
        # What is no Exception is meant for the test runner: it goes before all others.
        urgent = [e for e in inner if not isinstance(e, Exception)]
        if not urgent and len(inner) > 1:
            break
        error = (urgent or inner)[0]
    return cast("BaseException", error)
