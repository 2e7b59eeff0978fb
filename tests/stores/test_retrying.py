"""Calls of a store that are repeated until they are answered."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from trio_jobs import JobContext, State, StoreCorrupt, Timeouts, open_registry
from trio_jobs.stores import StoreUnavailable
from trio_jobs.stores.memory import MemoryStore
from trio_jobs.stores.retrying import BACKOFF, retry_until_answered, retry_until_done
from trio_jobs.testing import Connection


class Flaky:
    """Fails the first `failures` calls, and takes `seconds` for each."""

    def __init__(self, failures: float, seconds: float = 0.0) -> None:
        self.calls = 0
        self.failures = failures
        self.seconds = seconds

    async def __call__(self) -> int:
        self.calls += 1
        await trio.sleep(self.seconds)
        if self.calls <= self.failures:
            raise StoreUnavailable("no answer")
        return self.calls


async def test_a_call_is_repeated_until_it_is_answered(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Each failure is followed by another call, after waits that grow to a bound; the log has one message."""
    flaky = Flaky(12)
    assert await retry_until_answered(flaky) == 13
    longest = sum(BACKOFF.initial * BACKOFF.factor**n for n in range(7)) + 5 * BACKOFF.maximum
    assert longest * (1 - BACKOFF.jitter) <= trio.current_time() <= longest
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


async def test_an_error_of_another_kind_is_an_answer(autojump_clock: MockClock) -> None:
    """Only StoreUnavailable leads to another call."""

    async def refuse() -> None:
        raise LookupError

    with pytest.raises(LookupError):
        await retry_until_answered(refuse)


async def test_trying_again_can_be_cancelled(autojump_clock: MockClock) -> None:
    """A call that is repeated in vain can be cancelled."""
    with trio.move_on_after(60) as scope:
        await retry_until_answered(Flaky(10**9))
    assert scope.cancelled_caught


async def test_what_is_done_for_all_goes_on(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """An unexpected error is logged with its traceback, and the call repeated; an unavailable store is waited
    for; and other errors of the package are raised."""
    answers: list[BaseException | str] = [RecursionError("too\ndeep"), StoreUnavailable("away"), "done"]

    async def call() -> object:
        answer = answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    assert await retry_until_done(call) == "done"
    first, second = [record.getMessage() for record in caplog.records]
    assert "the work for all jobs failed" in first
    assert "  | RecursionError: too\n  | deep" in first
    assert "unavailable" in second
    for error in (StoreCorrupt("damaged"), trio.ClosedResourceError()):
        answers.append(error)
        with pytest.raises(type(error)):
            await retry_until_done(call)


@pytest.mark.parametrize("broken", ["sweep", "claim", "heartbeat", "due", "overdue", "cancelling"])
async def test_one_job_ends_no_worker(broken: str, autojump_clock: MockClock) -> None:
    """After an unexpected error in any periodic call of a worker, jobs are still run."""

    class Odd(Connection):
        failed = 0

        async def call(self, name: str, verb: Any) -> Any:
            return await (self._fail() if name == broken and self.failed < 3 else super().call(name, verb))

        async def wait(self, name: str, verb: Any) -> Any:
            return await (self._fail() if name == broken and self.failed < 3 else super().wait(name, verb))

        async def _fail(self) -> None:
            self.failed += 1
            raise RecursionError("a thousand children deep")

    async def work(job: JobContext[Any], seconds: float) -> float:
        await trio.sleep(seconds)
        return seconds

    connection = Odd(MemoryStore())
    async with open_registry(connection, capacity=1, lease=3) as jobs:
        for seconds in (10, 1):
            handle = await jobs.submit(work, seconds, delay=0.1, timeouts=Timeouts(queue=30))
            assert await handle.result() == seconds
        await jobs.submit(work, 100)
        late = await jobs.submit(work, 1, timeouts=Timeouts(queue=5))  # which a sweep ends
        assert (await late.wait()).state is State.FAILED
    assert connection.failed == 3
