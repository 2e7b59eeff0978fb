"""What is judged of a job by its own log alone."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from trio_jobs import JobContext, Kind, State, open_registry
from trio_jobs.testing._order import check_limits


async def tidies_up(job: JobContext[str]) -> None:
    with trio.CancelScope(shield=True):
        await trio.sleep(25)


async def test_who_is_asked_to_end_in_time_may_complete_late(autojump_clock: MockClock) -> None:
    """The cancellation came first, and the limit after it changes nothing; without it that is a fault."""
    async with open_registry() as jobs:
        handle = await jobs.submit(tidies_up, timeout=0.5)
        await wait_all_tasks_blocked()
        await handle.request_cancel()
        job = await handle.wait()
        log = await handle.history()
    assert job.state is State.COMPLETED
    check_limits(job, log)
    with pytest.raises(AssertionError, match="completed after 25 s"):
        check_limits(job, [event for event in log if event.kind is not Kind.CANCEL_REQUESTED])
