"""Rules of `TrioMachine` that are cancelled, in the background, or watched at checkpoints."""

from __future__ import annotations

import re

import pytest
import trio
from hypothesis import strategies as st
from hypothesis.errors import InvalidDefinition
from hypothesis.stateful import Bundle, precondition

from tests.testing.test_machine import NO_SHRINK, check, program
from trio_jobs.testing import TrioMachine, initialize, invariant, rule

# ---------------------------------------------------------------- invariants at checkpoints


class Transfer(TrioMachine):
    """Moves an amount that is briefly missing."""

    def __init__(self) -> None:
        super().__init__()
        self.here, self.there = 1, 0

    @rule()
    async def move(self) -> None:
        self.here -= 1
        await trio.lowlevel.checkpoint()
        self.there += 1

    @rule()
    async def wait(self) -> None:
        await trio.sleep(1)


def test_what_is_wrong_only_within_a_rule_is_found_at_a_checkpoint() -> None:
    """An invariant that fails only in the middle of a rule fails the rule, with the checkpoint."""

    class Quick(Transfer):
        @invariant(at_checkpoints=True)
        def nothing_is_on_its_way(self) -> None:
            assert self.here + self.there == 1

    class Slow(Transfer):
        @invariant()
        def nothing_is_on_its_way(self) -> None:
            assert self.here + self.there == 1

    check(Slow)
    with pytest.raises(AssertionError) as caught:
        check(Quick)
    assert program(caught.value) == ["state.nothing_is_on_its_way()", "state.move()"]
    assert re.search(
        r"so after a step of Quick\.move, at test_rules\.py:\d+ in move", caught.value.__notes__[0]
    )


def test_invariants_at_checkpoints_wait_for_initializers_and_obey_preconditions() -> None:
    """They begin with the first rule, or with the initializers if they say so, and keep their conditions."""
    looked: dict[str, set[str]] = {"early": set(), "late": set(), "odd": set()}

    class Machine(TrioMachine):
        step = "__init__"

        @initialize()
        async def begin(self) -> None:
            self.step = "begin"
            await trio.lowlevel.checkpoint()

        @rule()
        async def work(self) -> None:
            self.step = "work"
            await trio.lowlevel.checkpoint()
            self.step = "done"

        async def finish(self) -> None:
            self.step = "finish"
            await trio.lowlevel.checkpoint()

        @invariant(at_checkpoints=True, check_during_init=True)
        def early(self) -> None:
            looked["early"].add(self.step)

        @invariant(at_checkpoints=True)
        def late(self) -> None:
            looked["late"].add(self.step)

        @precondition(lambda self: self.step == "work")
        @invariant(at_checkpoints=True)
        def odd(self) -> None:
            looked["odd"].add(self.step)

    check(Machine, NO_SHRINK)
    looked["early"].discard("__init__")  # Hypothesis looks after the first initializer, which is ours
    assert looked == {"early": {"begin", "work", "done"}, "late": {"begin", "work", "done"}, "odd": {"work"}}


def test_the_error_of_the_rule_goes_before_that_of_an_invariant() -> None:
    """A rule that fails and violates an invariant fails with its own error."""

    class Machine(TrioMachine):
        broken = False

        @rule()
        async def fail(self) -> None:
            self.broken = True
            raise ValueError("mine")

        @invariant(at_checkpoints=True)
        def whole(self) -> None:
            assert not self.broken

    with pytest.raises(ValueError, match="mine"):
        check(Machine, NO_SHRINK)


# ---------------------------------------------------------------- cancelled rules


def test_a_rule_is_cancelled_at_every_point_of_its_range() -> None:
    """Calls are cancelled before the rule begins, at each of its checkpoints below the bound, or never."""
    reached = set[int]()

    class Machine(TrioMachine):
        numbers: Bundle[int] = Bundle("numbers")

        @rule(cancel_within=4, target=numbers)
        async def count(self) -> int:
            steps = 0
            try:
                for _ in range(9):
                    await trio.lowlevel.checkpoint()
                    steps += 1
            finally:
                self.last = steps
            return steps

        @rule(number=numbers)
        def finished(self, number: int) -> None:
            assert number == 9

    class Noting(Machine):
        @invariant()
        def note(self) -> None:
            reached.add(getattr(self, "last", 9))

    check(Noting, NO_SHRINK)
    assert reached == {0, 1, 2, 9}

    machine = Machine()
    for at, steps in [(0, 0), (1, 0), (2, 1), (3, 2), (None, 9)]:
        machine.count(cancel_at=at)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
        assert machine.last == steps
    machine.teardown()


def test_what_a_cancellation_loses_is_found() -> None:
    """A slot that a cancelled rule does not free is found, with the point of the cancellation."""

    class Machine(TrioMachine):
        free = 1

        @rule(cancel_within=5)
        async def use(self) -> None:
            self.free -= 1
            await trio.sleep(1)
            self.free += 1

        @invariant()
        def nothing_is_lost(self) -> None:
            assert self.free == 1

    with pytest.raises(AssertionError) as caught:
        check(Machine)
    assert [line for line in program(caught.value) if "use" in line] == ["state.use(cancel_at=0)"]


def test_a_rule_that_hangs_when_it_is_cancelled_is_found() -> None:
    """A shielded cleanup that waits for ever is a hang of the rule."""

    class Machine(TrioMachine):
        real_time_limit = 0.2

        @rule(cancel_within=3)
        async def work(self) -> None:
            try:
                await trio.sleep(1)
            except trio.Cancelled:
                with trio.CancelScope(shield=True):
                    await trio.sleep_forever()

    with pytest.raises(AssertionError, match=r"Machine\.work was not done"):
        check(Machine, NO_SHRINK)


# ---------------------------------------------------------------- rules in the background


def test_rules_in_the_background_run_beside_others() -> None:
    """They begin with the next call that runs, all at once, run beside it, and end before `finish`."""
    events: list[str] = []

    class Machine(TrioMachine):
        @rule(name=st.text(), background=True)
        async def work(self, name: str) -> None:
            events.append(f"begin {name}")
            await trio.sleep(2)
            events.append(f"end {name}")

        @rule()
        async def wait(self) -> None:
            await trio.sleep(1)
            events.append("waited")

        async def finish(self) -> None:
            events.append("finish")

    machine = Machine()
    machine.work(name="a")
    machine.work(name="a")
    assert events == []
    machine.wait()
    machine.teardown()
    assert events == ["begin a", "begin a", "waited", "end a", "end a", "finish"]


def test_an_error_in_the_background_names_its_rule() -> None:
    """The step during which it happened raises it, with its rule and the arguments."""

    class Machine(TrioMachine):
        @rule(number=st.integers(0, 9), background=True)
        async def work(self, number: int) -> None:
            await trio.sleep(1)
            assert number < 3

        @rule()
        async def wait(self) -> None:
            await trio.sleep(2)

    with pytest.raises(AssertionError) as caught:
        check(Machine)
    assert program(caught.value)[0] == "state.work(number=3)"
    assert "It comes from work(number=3), a rule that went on in the background." in caught.value.__notes__


def test_a_rule_in_the_background_that_does_not_end_hangs() -> None:
    """The end of every rule is awaited; the error names the rule and shows its stack."""

    class Machine(TrioMachine):
        @rule(background=True)
        async def work(self) -> None:
            await trio.sleep_forever()

    with pytest.raises(AssertionError, match=r"Machine\.work\(\) was blocked for 3600 virtual") as caught:
        check(Machine)
    assert re.search(r"task work\(\)\n +\S+test_rules\.py:\d+ in work\n", str(caught.value))
    assert program(caught.value) == ["state.work()"]


def test_after_a_failure_nothing_is_waited_for_and_teardown_hides_nothing() -> None:
    """The error of a step stays the error of the example; an error of its teardown is a note."""

    class Machine(TrioMachine):
        @rule(background=True)
        async def work(self) -> None:
            await trio.sleep_forever()

        @rule()
        async def fail(self) -> None:
            raise ValueError("first")

        async def finish(self) -> None:
            raise KeyError("second")

    machine = Machine()
    machine.work()
    with pytest.raises(ValueError, match="first") as caught:
        try:
            machine.fail()
        finally:
            machine.teardown()
    assert "And teardown raised KeyError('second')." in caught.value.__notes__


def test_rules_that_cannot_be() -> None:
    """Rules that wait or are cancelled must be async, checks at checkpoints not, and targets local."""
    with pytest.raises(InvalidDefinition, match="has no target"):
        rule(target=Bundle("results"), background=True)
    for decorate in (rule(background=True), rule(cancel_within=1)):
        with pytest.raises(InvalidDefinition, match=r"step is not async"):

            @decorate
            def step(self: TrioMachine) -> None: ...

    with pytest.raises(InvalidDefinition, match=r"look is async"):

        @invariant(at_checkpoints=True)
        async def look(self: TrioMachine) -> None: ...


# ---------------------------------------------------------------- the schedule


def test_a_failure_shows_the_steps_that_led_to_it() -> None:
    """The steps of each task are shown in order for the rule that failed, and for no other."""

    class Machine(TrioMachine):
        def __init__(self) -> None:
            super().__init__()
            self.order = ""

        async def act(self, name: str) -> None:
            await trio.lowlevel.checkpoint()
            self.order += name

        @rule()
        async def race(self) -> None:
            self.order = ""
            async with trio.open_nursery() as nursery:
                for name in "ab":
                    nursery.start_soon(self.act, name, name=name)
            assert self.order == "ab"

    with pytest.raises(AssertionError) as caught:
        check(Machine)
    (schedule,) = [note for note in caught.value.__notes__ if note.startswith("The last ")]
    assert schedule.startswith("The last 5 steps of tasks, and where each of them ended:\n")
    steps = [re.sub(r"test_rules.py:\d+ in ", "", line).split() for line in schedule.splitlines()[1:]]
    assert steps[0] == ["Machine.race", "race"]
    assert sorted(steps[1:3]) == [["a", "act"], ["b", "act"]]
    assert steps[3:5] == [["b", "its", "end"], ["a", "its", "end"]]


def test_a_rule_that_runs_alone_has_no_schedule() -> None:
    """An error in which no other task can be involved is shown without a list of steps."""

    class Machine(TrioMachine):
        @rule()
        async def fail(self) -> None:
            await trio.sleep(1)
            raise ValueError("alone")

    with pytest.raises(ValueError, match="alone") as caught:
        check(Machine)
    assert not any(note.startswith("The last ") for note in caught.value.__notes__)
