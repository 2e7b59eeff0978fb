"""The life of one handler, from its start to its end."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from trio_jobs import JobContext, Retry, State, open_registry
from trio_jobs.testing import Life, expect_events, expect_state, run_handler
from trio_jobs.testing._life import LONGEST, life_of


async def twice(job: JobContext[str], text: str) -> int:
    await job.send(f"{text} {job.attempt}")
    await trio.sleep(3600)
    if job.attempt == 1:
        raise ValueError("once")
    return job.attempt


def again() -> Life:
    return run_handler(twice, "hi", retry=Retry(attempts=2, jitter=0), tags={"a": "b"})


def test_a_life_is_all_there_is() -> None:
    """A life has the ended job, its log over all attempts, and the tokens of the last."""
    life = again()
    assert life.job.state is State.COMPLETED
    assert life.job.tags == {"a": "b"}
    assert life.tokens == ["hi 2"]
    assert life.kinds == ["submitted", "started", "token", "retried", "started", "token", "completed"]


def test_a_life_can_be_read() -> None:
    """Its text has a line for each event, with the seconds since the job was submitted."""
    first, *lines = str(again()).splitlines()
    assert first == "job twice is completed; its log:"
    seconds = [float(line.split()[2].removesuffix("s")) for line in lines]
    assert seconds == [0, 0, 0, 3600, 3601, 3601, 7201]


@pytest.mark.parametrize(
    "kinds",
    [
        [...],
        [..., "completed"],
        ["submitted", ...],
        ["submitted", ..., "retried", ..., "completed"],
        ["submitted", "started", "token", "retried", "started", "token", "completed", ...],
    ],
)
def test_events_as_expected(kinds: list[Any]) -> None:
    """`...` stands for any number of events, including none."""
    expect_events(again(), kinds)


@pytest.mark.parametrize(
    "kinds", [[], ["submitted"], [..., "failed"], ["started", ...], [..., "token", "token", ...]]
)
def test_events_not_as_expected(kinds: list[Any]) -> None:
    """Other events raise an error that shows the expected and the actual ones, and the log."""
    with pytest.raises(AssertionError, match=r"(?s)expected the events.*got submitted started.*its log"):
        expect_events(again(), kinds)


def test_states_are_compared() -> None:
    """Another state or reason than the job's raises an error with the log and the traceback."""
    expect_state(again(), "completed")
    failed = run_handler(twice, "hi")
    expect_state(failed, "failed", reason="error")
    with pytest.raises(
        AssertionError, match=r"(?s)to be completed .*it is failed \(error\).*raise ValueError"
    ):
        expect_state(failed, "completed")
    with pytest.raises(AssertionError, match="expected the job to be failed"):
        expect_state(failed, "failed", reason="timeout")


async def test_a_job_that_does_not_end(autojump_clock: MockClock) -> None:
    """A job that has not ended after a long time raises an error with its log."""
    async with open_registry() as jobs:
        handle = await jobs.submit(twice, "hi", delay=2 * LONGEST)
        with pytest.raises(AssertionError, match=r"(?s)has not ended.*submitted"):
            await life_of(handle)


def test_bad_arguments_come_out() -> None:
    """An error of `submit` is raised unchanged, in a group at most."""
    with pytest.raises((TypeError, ExceptionGroup)):
        run_handler(twice)
