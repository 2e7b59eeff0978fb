"""A Hypothesis state machine whose rules drive one live Trio run, in virtual time."""

from __future__ import annotations

import functools
import inspect
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, TypeVarTuple, cast

import trio
from hypothesis import stateful
from hypothesis import strategies as st
from hypothesis.control import cleanup, currently_in_test_context
from hypothesis.errors import InvalidDefinition
from trio.testing import MockClock

from ._course import Course
from ._first_run import FirstRunTestCase
from ._guest import GuestRun
from ._seeded import Unshuffled, deciding

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

R = TypeVar("R")
Ts = TypeVarTuple("Ts")


@st.composite
def _schedules(draw: st.DrawFn) -> object:
    machine: TrioMachine = draw(st.runner())
    seeder: Any = draw(st.random_module()) if machine.explore_schedules else None
    if seeder is None or seeder.seed:
        return seeder
    example = ExitStack()
    example.enter_context(deciding(Unshuffled()))
    cleanup(example.close)
    return None


class TrioMachine(stateful.RuleBasedStateMachine):
    """A state machine over one Trio run per example. Subclass it and write rules, async or not.

    The decorators for rules, initializers and invariants are those of `trio_jobs.testing`; bundles,
    `consumes`, `multiple` and `precondition` are those of `hypothesis.stateful`. `st.data()`,
    `assume`, `note`, `event` and `target` work in async steps too.

    After each rule the background runs until every task is blocked; then it stands still until the
    next step. Time is virtual: it moves only inside an async step that waits, and then it jumps to
    the next deadline. A jump does not wait for threads, sockets or processes: see `make_clock`.

    The run starts in `__init__`: after `super().__init__()` Trio's synchronous functions are legal
    there, in preconditions, and in steps that are not async. Use the machine in synchronous tests.

    What a step raises comes out of it, taken out of an exception group that holds nothing else.
    What a background task raises comes out of the step during which that happened, or of `teardown`.
    A step that hangs or spins fails with the tree of the tasks, and the lines at which each of them was.
    Any other error of a step says which tasks ran in it, in order, if that were several.

    A failing example replays and shrinks, in any process, if the code under test uses neither real
    time nor threads, and no randomness that Hypothesis does not seed.

    Attributes:
        clock: The virtual clock.
        explore_schedules: Whether each example draws a seed for Trio's scheduler; the simplest is none:
            then the oldest task that is ready goes first. If False all have the same, as Hypothesis
            would have it, and most races stay hidden. The drawing counts as a step.
        rule_time_limit: A step that takes longer, in virtual seconds, is taken for a deadlock. It is
            cheap to reach unless background tasks keep waking up until then.
        real_time_limit: A step that takes longer, in real seconds, has a busy loop or a stuck
            thread. Code that never reaches a checkpoint cannot be interrupted.
    """

    explore_schedules: ClassVar[bool] = True
    rule_time_limit: ClassVar[float] = 3600.0
    real_time_limit: ClassVar[float] = 10.0

    TestCase: Any = FirstRunTestCase(vars(stateful.RuleBasedStateMachine)["TestCase"])
    clock: MockClock

    def __init__(self) -> None:
        super().__init__()
        self._reject_foreign_decorators()
        self.clock = self.make_clock()
        limits = {"rule_time_limit": self.rule_time_limit, "real_time_limit": self.real_time_limit}
        self._course = Course(GuestRun(self.clock, owner=type(self).__name__, **limits))
        if currently_in_test_context():
            # Hypothesis calls no `teardown` if the `__init__` of a subclass fails.
            cleanup(self._course.guest.end)
        self._course.call("__init__", trio.lowlevel.checkpoint)

    @property
    def nursery(self) -> trio.Nursery:
        """Where the background tasks are. It is cancelled after `finish`.

        To cancel some of them earlier, give them a nursery of their own within it: the run does not
        survive that this one is cancelled.
        """
        return self._course.guest.nursery

    def make_clock(self) -> MockClock:
        """Return the clock of a new run. Override it for code that waits for more than Trio's clock.

        `MockClock()` moves only by `self.clock.jump(seconds)`; `MockClock(rate=1)` is real time.
        With these, `real_time_limit` is what finds a deadlock.
        """
        return MockClock(autojump_threshold=0)

    def run(self, async_fn: Callable[[*Ts], Awaitable[R]], /, *args: *Ts) -> R:
        """Run `async_fn(*args)` in the run, let the background settle, and return the result.

        It is for synchronous steps and `__init__`; what is async awaits instead.

        Raises:
            AssertionError: It took longer than `rule_time_limit` or `real_time_limit`.
            RuntimeError: It was called from within the run, or after a background task failed.
            BaseException: What `async_fn` raised, as it raised it, or what a background task raised.
        """
        name = getattr(async_fn, "__name__", repr(async_fn))
        return cast("R", self._course.guest.call(name, functools.partial(async_fn, *args)).unwrap())

    async def finish(self) -> None:
        """Close what the rules opened. Does nothing by default; override it.

        It runs once at the end of every example, also after a step has failed, or before all initializers
        have run. The background still runs then, unless it was what failed. The time limits hold here too.
        """

    def teardown(self) -> None:
        """Wait for rules in the background, call `finish`, and end the run. Override `finish` instead.

        After a failure nothing is waited for, and what `finish` and the background raise is only noted on
        the failure.

        Raises:
            AssertionError: A rule in the background hangs.
            BaseException: What `finish` raised, or what a background task raised meanwhile.
        """
        failure = sys.exception()
        try:
            self._end(wait=failure is None)
        except Exception as error:
            # A Cancelled came from an end of the run, whose reason is only known now.
            if failure is None or isinstance(failure, trio.Cancelled):
                raise
            failure.add_note(f"And teardown raised {error!r}.")

    def _end(self, *, wait: bool) -> None:
        course = self._course
        try:
            if not course.guest.over:
                try:
                    if wait:
                        course.wait_for_background()
                finally:
                    course.call("finish", self.finish, even_if_failed=True)
        finally:
            course.guest.end()

    @stateful.initialize(seed=_schedules())
    def choose_schedule(self, seed: object) -> None:
        """Print the seed of Trio's scheduler in a failing program that needs one; to draw it is to set it."""

    def _reject_foreign_decorators(self) -> None:
        setup = self.setup_state()
        steps = [step.function for step in (*setup.rules, *setup.initializers)]
        for fn in (*steps, *(step.function for step in setup.invariants)):
            if inspect.iscoroutinefunction(fn):
                raise InvalidDefinition(
                    f"{fn.__qualname__} is async: decorate it with rule, initialize or invariant "
                    "from trio_jobs.testing, not from hypothesis.stateful"
                )
