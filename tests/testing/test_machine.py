"""`TrioMachine`: what its users rely on, and that each kind of bug is found, named and shrunk."""

from __future__ import annotations

import gc
import math
import os
import re
import signal
import subprocess
import sys
import threading
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import HealthCheck, Phase, assume, event, note, settings, target
from hypothesis import strategies as st
from hypothesis.errors import InvalidDefinition
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    consumes,
    multiple,
    precondition,
    run_state_machine_as_test,
)
from hypothesis.stateful import rule as foreign_rule
from trio.testing import MockClock, wait_all_tasks_blocked

import trio_jobs.testing
from tests.inside import scheduler
from trio_jobs.testing import TrioMachine, initialize, invariant, rule
from trio_jobs.testing._seeded import Unshuffled

QUICK = settings(
    max_examples=15,
    stateful_step_count=6,
    database=None,
    derandomize=True,
    deadline=None,
    report_multiple_bugs=False,
    phases=[Phase.generate, Phase.shrink],
)
NO_SHRINK = settings(QUICK, phases=[Phase.generate])
UNHEALTHY = [HealthCheck.filter_too_much, HealthCheck.data_too_large, HealthCheck.large_base_example]
DAY = 86_400.0


def check(machine: type[RuleBasedStateMachine], how: settings = QUICK) -> None:
    """Run the machine as a test, and check that it leaves no run behind."""
    try:
        run_state_machine_as_test(machine, settings=how)
    finally:
        assert not trio.lowlevel.in_trio_run()


def program(error: BaseException) -> list[str]:
    """Return the rules of the failing program that Hypothesis printed, without the fixed lines."""
    lines = [line.strip() for note in error.__notes__ for line in note.splitlines()]
    fixed = ("state = ", "state.choose_schedule(", "state.teardown(")
    return [line for line in lines if "state." in line and not line.startswith(fixed)]


# ---------------------------------------------------------------- steps of every kind


def test_async_steps_run_in_one_trio_run() -> None:
    """Async initializers, rules and invariants run, all of an example in the same run."""
    counts = {"begin": 0, "work": 0, "look": 0}

    class Machine(TrioMachine):
        @initialize()
        async def begin(self) -> None:
            await trio.lowlevel.checkpoint()
            self.token = trio.lowlevel.current_trio_token()
            counts["begin"] += 1

        @rule()
        async def work(self) -> None:
            await trio.sleep(1)
            assert trio.lowlevel.current_trio_token() is self.token
            counts["work"] += 1

        @invariant()
        async def look(self) -> None:
            await trio.lowlevel.checkpoint()
            assert trio.lowlevel.current_trio_token() is self.token
            counts["look"] += 1

    check(Machine)
    assert counts["work"] >= counts["begin"] > 1
    assert counts["look"] > counts["work"]


def test_steps_that_are_not_async_drive_the_run_too() -> None:
    """A synchronous step uses Trio's synchronous functions, and the background settles before the next."""
    seen: list[str] = []

    class Machine(TrioMachine):
        def __init__(self) -> None:
            super().__init__()
            self.began = trio.current_time()
            self.set, self.heard = 0, 0
            self.send, receive = trio.open_memory_channel[None](10)
            self.nursery.start_soon(self.listen, receive)

        async def listen(self, receive: trio.MemoryReceiveChannel[None]) -> None:
            async for _ in receive:
                self.heard += 1

        @rule()
        def tell(self) -> None:
            self.send.send_nowait(None)
            self.set += 1

        @precondition(lambda self: trio.current_time() == self.began)
        @rule()
        def wait(self) -> None:
            self.run(trio.sleep, 5)
            assert trio.current_time() == self.began + 5
            seen.append("wait")

        @invariant()
        def heard_all(self) -> None:
            assert self.heard == self.set
            seen.append("look")

    check(Machine)
    assert {"wait", "look"} <= set(seen)


def test_bundles() -> None:
    """Targets, `multiple`, bundles as arguments and `consumes` work with async rules."""
    consumed: list[int] = []

    class Machine(TrioMachine):
        numbers: Bundle[int] = Bundle("numbers")
        copies: Bundle[int] = Bundle("copies")

        def __init__(self) -> None:
            super().__init__()
            self.produced = 0
            self.live: set[int] = set()

        @rule(targets=(numbers, copies))
        async def produce(self) -> MultipleResults[int]:
            await trio.sleep(1)
            self.produced += 2
            new = self.produced - 1, self.produced
            self.live.update(new)
            return multiple(*new)

        @rule(number=consumes(numbers), copy=copies, target=copies)
        async def consume(self, number: int, copy: int) -> int:
            await trio.sleep(1)
            self.live.remove(number)
            consumed.append(number)
            return copy

    check(Machine)
    assert consumed


def test_precondition_above_and_below() -> None:
    """`precondition` guards an async rule on either side of `rule`."""
    ran: list[str] = []

    class Machine(TrioMachine):
        turn = 0

        @precondition(lambda self: self.turn % 2 == 0)
        @rule()
        async def even(self) -> None:
            await trio.sleep(1)
            assert self.turn % 2 == 0
            self.turn += 1
            ran.append("even")

        @rule()
        @precondition(lambda self: self.turn % 2 == 1)
        async def odd(self) -> None:
            await trio.sleep(1)
            assert self.turn % 2 == 1
            self.turn += 1
            ran.append("odd")

    check(Machine)
    assert set(ran) == {"even", "odd"}


def test_hypothesis_functions_in_async_rules() -> None:
    """`data.draw`, `note`, `event` and `target` work in an async rule, and drawn values shrink."""

    class Machine(TrioMachine):
        @rule(data=st.data())
        async def draw(self, data: st.DataObject) -> None:
            await trio.sleep(1)
            number = data.draw(st.integers(0, 1000))
            event("drawn")
            target(number, label=str(trio.current_time()))
            note(f"the number is {number}")
            assert number < 17

    with pytest.raises(AssertionError) as caught:
        check(Machine)
    assert program(caught.value) == ["state.draw(data=data(...))"]
    assert "the number is 17" in caught.value.__notes__


@pytest.mark.parametrize("where", ["rule", "child", "background"])
def test_assume_abandons_the_example(where: str) -> None:
    """`assume(False)` ends an example without failing it: in a rule, a child task or the background."""
    ended = False

    class Machine(TrioMachine):
        async def doubt(self) -> None:
            await trio.sleep(1)
            assume(False)

        @rule(number=st.integers(0, 9))
        async def wait(self, number: int) -> None:
            await trio.sleep(number)

        @rule()
        async def stop(self) -> None:
            nonlocal ended
            try:
                if where == "rule":
                    await self.doubt()
                elif where == "child":
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(trio.sleep_forever)
                        nursery.start_soon(self.doubt)
                else:
                    self.nursery.start_soon(self.doubt)
                    await trio.sleep_forever()
            finally:
                ended = True
            raise AssertionError("assume(False) was swallowed")

    check(Machine, settings(QUICK, stateful_step_count=2, suppress_health_check=UNHEALTHY))
    assert ended


@pytest.mark.parametrize("where", ["rule", "child", "background"])
def test_overrun_abandons_the_example(where: str) -> None:
    """Hypothesis's signal that an example is too large gets through, also beside another error."""
    stopped: list[str] = []

    class Machine(TrioMachine):
        async def draw(self, data: st.DataObject) -> None:
            try:
                data.draw(st.lists(st.binary(min_size=2000, max_size=2000), min_size=9))
            except BaseException as error:
                stopped.append(type(error).__name__)
                raise

        async def fail_when_cancelled(self) -> None:
            try:
                await trio.sleep_forever()
            finally:
                raise ValueError("beside the signal")

        @rule()
        async def wait(self) -> None:
            await trio.sleep(1)

        @rule(data=st.data())
        async def overrun(self, data: st.DataObject) -> None:
            if where == "rule":
                with trio.fail_after(5):
                    await self.draw(data)
            elif where == "child":
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self.fail_when_cancelled)
                    await wait_all_tasks_blocked()
                    nursery.start_soon(self.draw, data)
            else:
                self.nursery.start_soon(self.fail_when_cancelled)
                await wait_all_tasks_blocked()
                self.nursery.start_soon(self.draw, data)
                await trio.sleep_forever()

    check(Machine, settings(QUICK, stateful_step_count=2, suppress_health_check=UNHEALTHY))
    assert set(stopped) == {"StopTest"}


# ---------------------------------------------------------------- time


def test_a_day_passes_in_no_time() -> None:
    """Time passes only while a rule waits, and exactly as long as it waits."""

    class Machine(TrioMachine):
        rule_time_limit = 2 * DAY

        def __init__(self) -> None:
            super().__init__()
            self.expected = trio.current_time()

        @rule()
        async def sleep(self) -> None:
            await trio.sleep(DAY)
            self.expected += DAY

        @rule()
        async def do_not_sleep(self) -> None:
            await trio.lowlevel.checkpoint()

        @invariant()
        def on_time(self) -> None:
            assert self.clock.current_time() == trio.current_time() == self.expected

    check(Machine)


def test_manual_clock() -> None:
    """With a clock of its own a machine decides when time passes."""

    class Machine(TrioMachine):
        def make_clock(self) -> MockClock:
            return MockClock()

        @rule()
        async def jump(self) -> None:
            with trio.move_on_after(60) as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(trio.sleep_forever)
                    await wait_all_tasks_blocked()
                    assert not scope.cancel_called
                    self.clock.jump(60)
            assert scope.cancelled_caught

    check(Machine, settings(QUICK, max_examples=5))


# ---------------------------------------------------------------- schedules


class Door(TrioMachine):
    """A visitor enters if three tasks run in one order of six: opener, visitor, closer."""

    def __init__(self) -> None:
        super().__init__()
        self.tried = False
        self.order: list[str] = []

    async def act(self, name: str) -> None:
        await trio.lowlevel.checkpoint()
        self.order.append(name)

    @precondition(lambda self: not self.tried)
    @rule()
    async def race(self) -> None:
        self.tried = True
        async with trio.open_nursery() as nursery:
            for name in ("closer", "opener", "visitor"):
                nursery.start_soon(self.act, name)

    @rule()
    async def do_nothing(self) -> None:
        await trio.lowlevel.checkpoint()

    @invariant()
    def nobody_passed(self) -> None:
        assert self.order != ["opener", "visitor", "closer"]


def test_a_race_is_found_because_schedules_are_explored() -> None:
    """A race between three tasks is found, its program shrinks to the one rule, and the seed is shown."""
    with pytest.raises(AssertionError) as caught:
        check(Door, settings(QUICK, max_examples=100))
    look = "state.nobody_passed()"
    assert program(caught.value) == [look, "state.race()", look]
    assert any("state.choose_schedule(seed=RandomSeeder(" in note for note in caught.value.__notes__)


def test_what_fails_under_any_schedule_is_shown_without_one() -> None:
    """A failure under any schedule shrinks to that with the oldest task first, and shows no seed."""
    seen: list[list[str]] = []

    class Machine(Door):
        @invariant()
        def nobody_acted(self) -> None:
            seen.append(self.order)
            assert not self.order

    with pytest.raises(AssertionError) as caught:
        check(Machine, settings(QUICK, max_examples=30))
    assert "state.race()" in program(caught.value)
    assert any("state.choose_schedule(seed=None)" in note for note in caught.value.__notes__)
    assert seen[-1] == ["closer", "opener", "visitor"]
    assert not isinstance(scheduler()[1], Unshuffled), "the next example has a seed again"


def test_a_race_is_not_found_without_exploration() -> None:
    """With `explore_schedules = False` every example has the same schedule, and the race stays hidden."""

    class Fixed(Door):
        explore_schedules = False

    check(Fixed, settings(QUICK, max_examples=100))


def test_scheduling_is_deterministic_under_hypothesis() -> None:
    """Trio's hook for Hypothesis exists and is on; without it there is no replay."""
    assert scheduler()[0]


TRACE = """
import trio
from hypothesis import settings, strategies as st
from hypothesis.stateful import Bundle, consumes, run_state_machine_as_test
from trio_jobs.testing import TrioMachine, rule

class Machine(TrioMachine):
    scopes = Bundle("scopes")

    async def work(self, name, event, scope):
        with scope:
            await event.wait()
            for _ in range(3):
                print(name, trio.current_time() - self.began)
                await trio.sleep(len(name))
        print(name, "over")

    def __init__(self):
        super().__init__()
        self.began = trio.current_time()

    @rule(names=st.sets(st.text("abc", min_size=1), max_size=4).map(sorted), target=scopes)
    async def start(self, names):
        event, scopes = trio.Event(), [trio.CancelScope() for _ in names]
        for name, scope in zip(names, scopes):
            self.nursery.start_soon(self.work, name, event, scope)
        event.set()
        return scopes

    @rule(scopes=consumes(scopes))
    async def cancel(self, scopes):
        await trio.sleep(1)
        for scope in scopes:
            scope.cancel()

how = settings(max_examples=20, stateful_step_count=20, database=None, derandomize=True, deadline=None)
run_state_machine_as_test(Machine, settings=how)
"""


@pytest.mark.deep
def test_replay_in_another_process() -> None:
    """The same examples have the same trace in processes with different hash seeds."""
    path = str(Path(trio_jobs.testing.__file__).parents[2])
    processes = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", TRACE],
            env={**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": seed},
            stdout=subprocess.PIPE,
        )
        for seed in ("1", "2")
    ]
    traces = {process.communicate()[0] for process in processes}
    assert [process.returncode for process in processes] == [0, 0]
    assert len(traces) == 1
    assert len(traces.pop().splitlines()) > 50


# ---------------------------------------------------------------- failures


def test_a_failing_program_shrinks_to_its_minimum() -> None:
    """A bug that takes three deposits in any long program is shown with three of the smallest."""

    class Machine(TrioMachine):
        accounts: Bundle[list[int]] = Bundle("accounts")

        @rule(target=accounts)
        async def open(self) -> list[int]:
            await trio.sleep(1)
            return []

        @rule(account=accounts, amount=st.integers(1, 1000))
        async def deposit(self, account: list[int], amount: int) -> None:
            await trio.sleep(amount)
            account.append(amount)
            assert len(account) < 3

        @rule(seconds=st.floats(0, 1000))
        async def wait(self, seconds: float) -> None:
            await trio.sleep(seconds)

    with pytest.raises(AssertionError) as caught:
        check(Machine, settings(QUICK, max_examples=200, stateful_step_count=20))
    assert program(caught.value) == [
        "accounts_0 = state.open()",
        *["state.deposit(account=accounts_0, amount=1)"] * 3,
    ]


def test_a_deadlock_is_named() -> None:
    """Two tasks that wait for each other are found in virtual time, with the line at which each waits."""

    class Machine(TrioMachine):
        @rule()
        async def transfer(self) -> None:
            one, two = trio.Lock(), trio.Lock()

            async def take(first: trio.Lock, second: trio.Lock) -> None:
                async with first:
                    await trio.sleep(1)
                    async with second:
                        pass

            async with trio.open_nursery() as nursery:
                nursery.start_soon(take, one, two)
                nursery.start_soon(take, two, one)

    with pytest.raises(AssertionError, match=r"Machine\.transfer was blocked for 3600 virtual") as caught:
        check(Machine)
    assert program(caught.value) == ["state.transfer()"]
    assert caught.value.__cause__ is not None
    tree = str(caught.value).split("\n", maxsplit=1)[1]
    assert re.match(r"task Machine\.transfer\n  \S+ in transfer\n +async with trio.open_nursery", tree)
    assert len(re.findall(r"\n    task \S+take\n      \S+ in take\n +async with second:\n", tree)) == 2
    assert "_core" not in tree


def test_a_timeout_of_the_code_under_test_is_its_own() -> None:
    """A `TooSlowError` of the code under test is not reported as a deadlock."""

    class Machine(TrioMachine):
        @rule()
        async def hurry(self) -> None:
            with trio.fail_after(3):
                await trio.sleep_forever()

    with pytest.raises(trio.TooSlowError):
        check(Machine)


def test_a_background_failure_comes_out_of_the_rule_that_exposed_it() -> None:
    """A background task's error is raised unchanged, by the rule that led to it, and only once."""
    boom = ValueError("boom")

    class Machine(TrioMachine):
        def __init__(self) -> None:
            super().__init__()
            self.trigger = trio.Event()
            self.nursery.start_soon(self.serve)

        async def serve(self) -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep_forever)
                nursery.start_soon(self.explode)

        async def explode(self) -> None:
            await self.trigger.wait()
            raise boom

        @rule()
        async def wait(self) -> None:
            await trio.sleep(1)

        @rule()
        def pull(self) -> None:
            self.trigger.set()

    with pytest.raises(ValueError, match="boom") as caught:
        check(Machine)
    assert caught.value is boom
    assert program(caught.value) == ["state.pull()"]

    machine: Any = Machine()
    with pytest.raises(ValueError, match="boom"):
        machine.pull()
    with pytest.raises(RuntimeError, match=r"Machine\.wait called after the run failed") as late:
        machine.wait()
    assert late.value.__cause__ is boom
    machine.teardown()
    machine.teardown()


def test_several_background_failures_come_out_together() -> None:
    """If more than one background task fails, no error is lost."""

    class Machine(TrioMachine):
        async def fail(self, error: Exception) -> None:
            raise error

        @rule()
        async def fail_twice(self) -> None:
            self.nursery.start_soon(self.fail, ValueError("one"))
            self.nursery.start_soon(self.fail, KeyError("two"))
            await trio.sleep_forever()

    with pytest.RaisesGroup(ValueError, KeyError):
        check(Machine)


def test_an_internal_error_of_trio_comes_out_of_the_rule() -> None:
    """An error that ends Trio itself is the result of the rule, and the next run can start."""

    class Machine(TrioMachine):
        @rule()
        async def break_trio(self) -> None:
            trio.lowlevel.current_trio_token().run_sync_soon(lambda: 1 // 0)
            await trio.sleep_forever()

    with pytest.raises(trio.TrioInternalError):
        check(Machine)


def test_a_background_failure_at_the_end_comes_out_of_teardown() -> None:
    """A background task that fails only when it is cancelled fails the example."""

    class Machine(TrioMachine):
        async def serve(self) -> None:
            try:
                await trio.sleep_forever()
            finally:
                raise ValueError("unclean")

        @rule()
        async def start(self) -> None:
            self.nursery.start_soon(self.serve)

    with pytest.raises(ValueError, match="unclean") as caught:
        check(Machine)
    assert program(caught.value) == ["state.start()"]


def test_the_machine_does_not_survive_without_its_nursery() -> None:
    """A rule that cancels the machine's own nursery gets an error that says so."""

    class Machine(TrioMachine):
        @rule()
        async def kill_all(self) -> None:
            self.nursery.cancel_scope.cancel()

    with pytest.raises(RuntimeError, match="Machine: its nursery was cancelled"):
        check(Machine)


def test_a_busy_loop_is_found() -> None:
    """A loop without a checkpoint ends at the real-time limit; the error has the rule and the line."""

    class Machine(TrioMachine):
        real_time_limit = 0.1
        finished = False

        async def spin(self) -> None:
            while True:
                await trio.lowlevel.cancel_shielded_checkpoint()
                await trio.lowlevel.checkpoint_if_cancelled()

        @rule()
        def start(self) -> None:
            self.nursery.start_soon(self.spin)

        async def finish(self) -> None:
            await trio.sleep(1)
            self.finished = True

        def teardown(self) -> None:
            super().teardown()
            assert self.finished

    expected = r"(?s)Machine\.start was not done after 0\.1 real .*task \S+Machine\.spin\n +\S+ in spin\n"
    with pytest.raises(AssertionError, match=expected):
        check(Machine, NO_SHRINK)
    machine = Machine()
    with pytest.raises(AssertionError, match=expected):
        machine.start()
    machine.teardown()


def test_a_stuck_thread_is_found() -> None:
    """A rule that waits for a thread that does not return ends at the real-time limit."""

    class Machine(TrioMachine):
        real_time_limit = 0.1

        def __init__(self) -> None:
            super().__init__()
            self.release = threading.Event()

        def make_clock(self) -> MockClock:
            return MockClock()

        @rule()
        async def block(self) -> None:
            await trio.to_thread.run_sync(self.release.wait)

        def teardown(self) -> None:
            self.release.set()
            super().teardown()

    with pytest.raises(AssertionError, match=r"Machine\.block was not done after 0\.1 real seconds"):
        check(Machine, NO_SHRINK)


@pytest.mark.parametrize("autojump", [0, math.inf])
def test_a_run_that_cannot_be_ended_is_let_go(autojump: float) -> None:
    """A wait that cannot be cancelled fails the rule; the next run in this thread can start."""

    class Machine(TrioMachine):
        real_time_limit = 0.1

        def make_clock(self) -> MockClock:
            return MockClock(autojump_threshold=autojump)

        @rule()
        async def hang(self) -> None:
            with trio.CancelScope(shield=True):
                await trio.sleep_forever()

    expected = r"Machine\.hang was not done after 0\.1 real seconds.*\ntask Machine\.hang\n  \S+ in hang\n"
    with pytest.raises(AssertionError, match=expected):
        check(Machine, NO_SHRINK)
    gc.collect()
    trio.run(trio.sleep, 0)


# ---------------------------------------------------------------- beginning and end


@pytest.mark.parametrize("fate", ["passed", "failed", "crashed"])
def test_finish_runs_in_the_end(fate: str) -> None:
    """`finish` runs once, in the live run, whether a rule passed or failed, or the background failed."""
    events: list[str] = []

    class Machine(TrioMachine):
        async def serve(self) -> None:
            try:
                await trio.sleep_forever()
            finally:
                events.append("background cancelled")

        async def explode(self) -> None:
            raise ValueError(fate)

        @rule()
        async def work(self) -> None:
            self.nursery.start_soon(self.serve)
            await trio.sleep(1)
            if fate == "crashed":
                self.nursery.start_soon(self.explode)
            elif fate == "failed":
                raise ValueError(fate)

        async def finish(self) -> None:
            await trio.sleep(1)
            events.append("finish")

    machine = Machine()
    try:
        with pytest.raises(ValueError, match=fate) if fate != "passed" else nullcontext():
            machine.work()
    finally:
        machine.teardown()
    expected = ["finish", "background cancelled"]
    assert events == (expected[::-1] if fate == "crashed" else expected)


def test_a_failure_of_finish_fails_the_example() -> None:
    """An exception of `finish` fails the test, and the run has ended all the same."""

    class Machine(TrioMachine):
        @rule()
        async def work(self) -> None:
            await trio.sleep(1)

        async def finish(self) -> None:
            raise ValueError("unclosed")

    with pytest.raises(ValueError, match="unclosed"):
        check(Machine)


def test_init_that_fails_leaves_no_run() -> None:
    """An error in the `__init__` of a subclass is reported unchanged, example after example."""

    class Machine(TrioMachine):
        def __init__(self) -> None:
            super().__init__()
            self.nursery.start_soon(trio.sleep_forever)
            raise ValueError("no such thing")

        @rule()
        async def work(self) -> None:
            await trio.sleep(1)

    with pytest.raises(ValueError, match="no such thing"):
        check(Machine)


def test_teardown_that_forgets_the_run_leaves_none() -> None:
    """A `teardown` that does not call the machine's own leaves no run behind."""

    class Machine(TrioMachine):
        @rule()
        async def work(self) -> None:
            self.nursery.start_soon(trio.sleep_forever)

        def teardown(self) -> None:
            pass

    check(Machine)


@pytest.mark.parametrize("where", ["rule", "outside", "background"])
def test_keyboard_interrupt(where: str) -> None:
    """Ctrl-C in a rule, in synchronous code or in the background stops the test."""

    class Machine(TrioMachine):
        async def serve(self) -> None:
            await trio.sleep(1)
            signal.raise_signal(signal.SIGINT)

        @rule()
        async def work(self) -> None:
            if where == "rule":
                signal.raise_signal(signal.SIGINT)
            elif where == "background":
                self.nursery.start_soon(self.serve)
                await trio.sleep(2)

        @invariant()
        def look(self) -> None:
            if where == "outside":
                signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        check(Machine)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_run_within_the_run_is_refused() -> None:
    """`run` in an async rule raises an error that says what to do instead."""

    class Machine(TrioMachine):
        @rule()
        async def nest(self) -> None:
            self.run(trio.sleep, 1)

    with pytest.raises(RuntimeError, match=r"Machine\.sleep called from within the run: await it"):
        check(Machine)


def test_hypothesis_own_decorator_on_an_async_rule_is_refused() -> None:
    """An async rule that would never be awaited is reported before anything runs."""

    class Machine(TrioMachine):
        @foreign_rule()  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        async def work(self) -> None:
            await trio.sleep(1)

    with pytest.raises(InvalidDefinition, match=r"work is async: decorate it with rule"):
        check(Machine)


def test_a_printed_program_runs_by_hand() -> None:
    """Outside Hypothesis too a machine can be made, stepped and torn down, with plain calls."""

    class Machine(TrioMachine):
        @rule(number=st.integers())
        async def double(self, number: int) -> None:
            await trio.sleep(number)
            self.result = 2 * number

    machine = Machine()
    machine.double(number=4)
    assert machine.result == 8
    assert machine.run(trio.sleep, 1) is None
    machine.teardown()
    assert not trio.lowlevel.in_trio_run()
