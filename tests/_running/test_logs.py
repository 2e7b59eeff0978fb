"""The log has each start and end of a job, with where a handler failed, and no handler can forge a line."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from trio_jobs import JobContext, Permanent, Retention, Retry, RetryAfter, open_registry

LOG = "trio_jobs.job"
TOO_LARGE = "a token of 10049 bytes is over Retention.token_bytes=1000"


async def works(job: JobContext[Any]) -> None:
    await trio.lowlevel.checkpoint()


async def sleeps(job: JobContext[Any]) -> None:
    await trio.sleep_forever()


async def fails(job: JobContext[Any], text: str = "ouch") -> None:
    raise ValueError(text)


async def snoozes(job: JobContext[Any]) -> None:
    if job.attempt == 1:
        raise RetryAfter(5, "not yet")


async def spawns(job: JobContext[Any]) -> None:
    await job.spawn(fails)


async def returns_what_no_file_can_hold(job: JobContext[Any]) -> Any:
    return object()


async def streams_too_much(job: JobContext[Any]) -> None:
    await job.send("x" * 10_000)


def lines(caplog: pytest.LogCaptureFixture, *ids: str) -> list[tuple[str, str]]:
    """Return the level and the first line of each record, with numbers in place of ids."""
    told = []
    for record in caplog.records:
        if record.name == LOG:
            text = record.getMessage().splitlines()[0]
            for number, job_id in enumerate(ids):
                text = text.replace(job_id, str(number))
            told.append((record.levelname, text))
    return told


@pytest.mark.parametrize(
    ("fn", "options", "end"),
    [
        (works, {}, [("INFO", "job 0 (works) completed after attempt 1")]),
        (fails, {}, [("WARNING", "job 0 (fails) failed after attempt 1 (error): ValueError: ouch")]),
        (
            fails,
            {"retry": Retry(attempts=2, initial=3, jitter=0)},
            [
                ("WARNING", "job 0 (fails) is to run again after attempt 1 (error) in 3s: ValueError: ouch"),
                ("INFO", "job 0 (fails): attempt 2 started"),
                ("WARNING", "job 0 (fails) failed after attempt 2 (error): ValueError: ouch"),
            ],
        ),
        (
            sleeps,
            {"timeout": 5},
            [("WARNING", "job 0 (sleeps) failed after attempt 1 (timeout): Job timed out after 5s")],
        ),
        (
            snoozes,
            {},
            [
                (
                    "INFO",
                    "job 0 (snoozes) is to run again after attempt 1 (snoozed) in 5s: RetryAfter: not yet",
                ),
                ("INFO", "job 0 (snoozes): attempt 2 started"),
                ("INFO", "job 0 (snoozes) completed after attempt 2"),
            ],
        ),
        (
            streams_too_much,
            {},
            [
                (
                    "WARNING",
                    f"job 0 (streams_too_much) failed after attempt 1 (limit): {TOO_LARGE}",
                )
            ],
        ),
    ],
)
async def test_each_start_and_end_is_told(
    fn: Any, options: Any, end: Any, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """A failure and a retry are warnings, also if no task waits for the job; all else is information."""
    caplog.set_level(logging.INFO, LOG)
    async with open_registry(retention=Retention(token_bytes=1000), on_exit="drain") as jobs:
        handle = await jobs.submit(fn, **options)
    assert lines(caplog, handle.id) == [("INFO", f"job 0 ({fn.__name__}): attempt 1 started"), *end]


async def test_a_cancellation_is_told(autojump_clock: MockClock, caplog: pytest.LogCaptureFixture) -> None:
    """A cancelled job is information, with the canceller's text; so is one that a shutdown ends."""
    caplog.set_level(logging.INFO, LOG)
    async with open_registry() as jobs:
        first, second = await jobs.submit(sleeps), await jobs.submit(sleeps)
        await trio.sleep(1)
        await first.cancel("enough\nof it")
        caplog.clear()
    assert lines(caplog, first.id, second.id) == [
        ("INFO", "job 1 (sleeps) was cancelled after attempt 1 (shutdown)")
    ]


async def test_where_it_failed_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """A warning has the handler's traceback, each line behind a mark, without control codes."""
    async with open_registry() as jobs:
        await (await jobs.submit(fails, "ouch\nWARNING: forged\x1b[2J\u2028forged")).wait()
    (record,) = caplog.records
    first, *trace = record.getMessage().split("\n")
    assert first.endswith(r"ValueError: ouch\x0aWARNING: forged\x1b[2J\u2028forged")
    assert "in fails" in "".join(trace)
    assert all(line.startswith("  | ") and line.isprintable() for line in trace)
    assert (record.__dict__["handler"], record.__dict__["attempt"]) == ("fails", 1)


async def test_a_child_that_fails_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """A child's failure is logged, and its parent's too."""
    async with open_registry() as jobs:
        handle = await jobs.submit(spawns)
        await handle.wait()
    assert [record.__dict__["handler"] for record in caplog.records] == ["fails", "spawns"]


async def test_a_result_that_cannot_be_kept_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A result that the store refuses is logged once, as the failure of the job."""
    handlers = [returns_what_no_file_can_hold]
    async with open_registry(f"sqlite:///{tmp_path}/jobs.db", handlers=handlers) as jobs:
        await (await jobs.submit(returns_what_no_file_can_hold)).wait()
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "failed after attempt 1 (bad_result): the result" in record.getMessage()


async def test_a_retry_rule_that_raises_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """An exception of `Retry.on` is logged as an error, with its traceback, which can forge no line."""

    def matches(error: BaseException) -> bool:
        raise LookupError("broken\nERROR: forged")

    async with open_registry() as jobs:
        await (await jobs.submit(fails, retry=Retry(attempts=3, on=matches))).wait()
    first, second = caplog.records
    assert (first.levelname, second.name) == ("ERROR", LOG)
    assert "  | LookupError: broken\n  | ERROR: forged" in first.getMessage()


async def test_permanent_is_told_by_what_it_wraps(caplog: pytest.LogCaptureFixture) -> None:
    """A `Permanent` is logged as the error that it wraps."""

    async def gives_up(job: JobContext[Any]) -> None:
        raise Permanent(KeyError("gone"))

    async with open_registry() as jobs:
        await (await jobs.submit(gives_up, retry=Retry(attempts=5))).wait()
    (record,) = caplog.records
    assert "failed after attempt 1 (error): KeyError: 'gone'" in record.getMessage()
