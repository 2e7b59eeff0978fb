"""The error of a job that did not complete shows where its handler failed."""

from __future__ import annotations

import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from trio_jobs import (
    JobCancelled,
    JobContext,
    JobFailed,
    JobTimedOut,
    Retry,
    StreamRestarted,
    open_registry,
)

KEPT = 100  # as the documentation says


class Ouch(ValueError):
    """The exception of the handlers here."""


async def fails(job: JobContext[Any]) -> None:
    raise Ouch


async def fails_when_cancelled(job: JobContext[Any]) -> None:
    try:
        await trio.sleep_forever()
    finally:
        raise Ouch


async def fails_once(job: JobContext[int]) -> None:
    await job.send(job.attempt)
    if job.attempt == 1:
        await fails(job)


async def caught(call: Callable[[], Awaitable[Any]]) -> BaseException:
    try:
        await call()
    except (JobFailed, JobCancelled, StreamRestarted) as error:
        return error
    raise AssertionError("it was to raise")


async def read(handle: Any) -> list[Any]:
    async with handle.stream() as tokens:
        return [token async for token in tokens]


def printed(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


@pytest.mark.parametrize(
    ("fn", "options", "cancel", "kind"),
    [
        (fails, {}, False, JobFailed),
        (fails_when_cancelled, {"timeout": 1}, False, JobTimedOut),
        (fails_when_cancelled, {}, True, JobCancelled),
    ],
)
async def test_what_the_handler_raised_is_the_cause(
    fn: Any, options: Any, cancel: bool, kind: type, autojump_clock: MockClock
) -> None:
    """In the handler's process the cause is the exception itself, for a result and for a stream."""
    async with open_registry() as jobs:
        handle = await jobs.submit(fn, **options)
        await trio.sleep(0.1)
        if cancel:
            await handle.cancel()
        for call in (handle.result, lambda: read(handle)):
            error = await caught(call)
            assert type(error) is kind
            assert type(error.__cause__) is Ouch
            assert "in fails" in printed(error)


@pytest.mark.parametrize("elsewhere", [False, True])
async def test_in_another_process_a_note_has_the_text(elsewhere: bool, tmp_path: Path) -> None:
    """In another process a note has what the store keeps of the exception."""
    address = f"sqlite:///{tmp_path}/jobs.db"
    async with (
        open_registry(address, handlers=[fails, fails_once]) as here,
        open_registry(address, handlers=[fails, fails_once], capacity=0) as there,
    ):
        failed = await here.submit(fails)
        again = await here.submit(fails_once, retry=Retry(attempts=2, initial=0))
        for job in (failed, again):
            await job.wait()
        looks = there if elsewhere else here
        failed, again = await looks.get(failed.id), await looks.get(again.id)
        for call in (failed.result, lambda: read(failed)):
            error = await caught(call)
            assert (error.__cause__ is None) == elsewhere
            assert "raise Ouch" in printed(error)
        restarted = await caught(lambda: read(again))
        assert isinstance(restarted, StreamRestarted)
        assert (restarted.__cause__ is None) == elsewhere
        assert "raise Ouch" in printed(restarted)


async def test_a_job_that_raised_nothing_has_no_cause(autojump_clock: MockClock) -> None:
    """A timeout, and a cancellation that the handler did not resist, have no cause."""
    async with open_registry() as jobs:
        handle = await jobs.submit(sleeps, timeout=1)
        error = await caught(handle.result)
        assert (error.__cause__, getattr(error, "__notes__", [])) == (None, [])


async def sleeps(job: JobContext[Any]) -> None:
    await trio.sleep_forever()


async def test_a_child_that_failed_is_a_cause_too(autojump_clock: MockClock) -> None:
    """A child's exception is the cause for its parent, and for a task that waits for the child."""

    async def parent(job: JobContext[Any]) -> None:
        try:
            await (await job.spawn(fails)).result()
        except JobFailed as error:
            assert type(error.__cause__) is Ouch
            raise

    async with open_registry() as jobs:
        error = await caught((await jobs.submit(parent)).result)
        assert "in fails" in printed(error)


async def test_not_more_than_a_few_are_kept(autojump_clock: MockClock) -> None:
    """Exceptions hold the handlers' objects, so only the last ones are kept; of older ones the text is."""
    async with open_registry() as jobs:
        handles = await jobs.submit_many(fails, [()] * (KEPT + 1))
        for handle in handles:
            await handle.wait()
        errors = [await caught(handle.result) for handle in handles]
        causes = [error.__cause__ for error in errors]
        assert [type(cause) for cause in causes].count(Ouch) == KEPT
        assert causes.count(None) == 1
        assert all("raise Ouch" in printed(error) for error in errors)
