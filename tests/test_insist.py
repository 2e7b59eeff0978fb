"""Calls of a store that must have an answer."""

from __future__ import annotations

import logging

import pytest
import trio
from trio.testing import MockClock

from trio_jobs._insist import BACKOFF, insist
from trio_jobs.stores import StoreUnavailable


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
    """Each failure is followed by another try, after waits that grow to a bound; the log says so once."""
    flaky = Flaky(12)
    assert await insist(flaky) == 13
    longest = sum(BACKOFF.initial * BACKOFF.factor**n for n in range(7)) + 5 * BACKOFF.maximum
    assert longest * (1 - BACKOFF.jitter) <= trio.current_time() <= longest
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


async def test_an_error_of_another_kind_is_an_answer(autojump_clock: MockClock) -> None:
    """Only an unknown outcome is worth another try."""

    async def refuse() -> None:
        raise LookupError

    with pytest.raises(LookupError):
        await insist(refuse)


async def test_insisting_can_be_cancelled(autojump_clock: MockClock) -> None:
    """What is asked in vain can be given up."""
    with trio.move_on_after(60) as scope:
        await insist(Flaky(10**9))
    assert scope.cancelled_caught
