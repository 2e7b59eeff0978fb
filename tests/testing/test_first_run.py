"""The settings of a first run: failures are found, and shrunk, in few examples."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from statistics import median
from typing import Any

import pytest
import trio
from hypothesis import Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import rule, run_state_machine_as_test

from trio_jobs import Event, Job, JobContext, Kind, State
from trio_jobs.testing import FIRST_RUN, JobMachine, TrioMachine

ITEMS = st.lists(st.sampled_from("abc"), max_size=5)
asked: dict[str, int] = {}
held: dict[str, int] = {}


@pytest.fixture(autouse=True)
def _nothing_kept(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    caplog.set_level(logging.CRITICAL)
    yield
    asked.clear()
    held.clear()


class Idle(TrioMachine):
    @rule()
    def step(self) -> None:
        pass


def test_a_test_case_has_the_settings_of_a_first_run() -> None:
    """A machine's `TestCase` takes a dozen steps without explanations; other settings of its own count."""

    class Other(Idle):
        pass

    found = Idle.TestCase.settings
    assert found.stateful_step_count == FIRST_RUN.stateful_step_count == 12
    assert Phase.explain not in found.phases
    assert Phase.shrink in found.phases
    Other.TestCase.settings = settings(stateful_step_count=50)
    assert Other.TestCase.settings.stateful_step_count == 50
    assert Idle.TestCase.settings.stateful_step_count == 12


def test_a_profile_goes_before_the_settings_of_a_first_run() -> None:
    """A loaded profile's number of steps has precedence."""
    before = settings.get_current_profile_name()
    settings.register_profile("long", settings(stateful_step_count=99))
    try:
        settings.load_profile("long")

        class Long(Idle):
            pass

        assert Long.TestCase.settings.stateful_step_count == 99
    finally:
        settings.load_profile(before)


async def saves_before_it_sends(job: JobContext[str], items: list[str]) -> int:
    for number in range(job.saved or 0, len(items)):
        await job.save(number + 1)
        await trio.sleep(1)
        await job.send(items[number])
    return len(items)


async def counts_twice(job: JobContext[str], to: int) -> int:
    asked[job.id] = to
    total = job.saved or 0
    for _ in range(to):
        total += 1
        await job.save(total)
        await trio.sleep(1)
    return total


async def forgets_its_lock(job: JobContext[str], items: list[str]) -> None:
    for item in items:
        held[job.id] = job.attempt
        await trio.sleep(0.5)
        await job.send(item)
        del held[job.id]


def sent(log: list[Event], attempt: int | None = None) -> list[Any]:
    return [one.data for one in log if one.kind is Kind.TOKEN and attempt in {None, one.attempt}]


class Uploads(JobMachine):
    handlers = {saves_before_it_sends: st.tuples(ITEMS)}  # noqa: RUF012

    def check_job(self, job: Job, log: list[Event]) -> None:
        assert job.state is not State.COMPLETED or len(sent(log)) >= job.result, "never sent"


class Counts(JobMachine):
    handlers = {counts_twice: st.tuples(st.integers(0, 5))}  # noqa: RUF012

    def check_job(self, job: Job, log: list[Event]) -> None:
        assert job.state is not State.COMPLETED or job.result == asked[job.id], "counted twice"


class Locks(JobMachine):
    handlers = {forgets_its_lock: st.tuples(ITEMS)}  # noqa: RUF012

    def check_job(self, job: Job, log: list[Event]) -> None:
        assert job.id not in held, "still held"


@pytest.mark.deep
@pytest.mark.parametrize("machine", [Uploads, Locks, Counts])
def test_a_handlers_bug_is_found_and_made_short(machine: type[JobMachine]) -> None:
    """Each of three bugs in handlers is found by a first run, and shrunk to a program of a few steps, within
    a number of examples that takes seconds: with two of three seeds, as there are better and worse ones."""
    runs: list[list[int]] = []  # for each the examples, by their steps

    class Counted(machine):  # type: ignore[misc, valid-type]
        def __init__(self) -> None:
            super().__init__()
            runs[-1].append(0)

        def check_invariants(self, *args: Any, **kwargs: Any) -> None:
            runs[-1][-1] += 1
            super().check_invariants(*args, **kwargs)

    for number in (1, 2, 3):
        runs.append([])
        with pytest.raises(AssertionError):
            run_state_machine_as_test(
                seed(number)(Counted), settings=settings(FIRST_RUN, max_examples=300, database=None)
            )
    assert median(len(examples) for examples in runs) < 900
    assert median(examples[-1] for examples in runs) <= 8
