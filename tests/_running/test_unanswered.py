"""A worker whose claim or submit was carried out and not answered: no job waits for a lease to lapse."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from trio_jobs import JobContext, JobRegistry, Reason, State, StoreUnavailable, open_registry
from trio_jobs.stores.contract import Claimant
from trio_jobs.stores.memory import MemoryStore
from trio_jobs.stores.submission import submission
from trio_jobs.testing import Connection

LEASE = 900.0


class LosesAnswer(Connection):
    """A store that carries out the first call of a verb, and loses the answer."""

    def __init__(self, verb: str) -> None:
        super().__init__(MemoryStore())
        self.verb = verb
        self.lost = trio.Event()

    async def call(self, name: str, verb: Any) -> Any:
        answer = await super().call(name, verb)
        if name == self.verb and not self.lost.is_set():
            self.lost.set()
            raise StoreUnavailable("the answer is lost")
        return answer


async def work(job: JobContext[Any], seconds: float = 1.0) -> None:
    await trio.sleep(seconds)


async def submit(connection: Connection, count: int) -> list[str]:
    """Submit from elsewhere."""
    batch = [submission(work, (), {}) for _ in range(count)]
    ids, _ = await connection.store.submit(batch, 0, Claimant("elsewhere"))
    return ids


async def ends(jobs: JobRegistry, ids: list[str]) -> list[tuple[State, int, int]]:
    """Return how jobs have ended, with their attempts and what they have spent."""
    found = [await (await jobs.get(job_id)).wait() for job_id in ids]
    return [(job.state, job.attempt, job.spent) for job in found]


async def test_a_claim_is_asked_again(autojump_clock: MockClock) -> None:
    """What a claim had started whose answer was lost is run by its worker at once, as the same attempt."""
    connection = LosesAnswer("claim")
    ids = await submit(connection, 2)
    with trio.fail_after(5):
        async with open_registry(connection, capacity=2, lease=LEASE) as jobs:
            assert await ends(jobs, ids) == [(State.COMPLETED, 1, 1)] * 2
    assert connection.lost.is_set()


async def test_what_finds_no_slot_is_given_back(autojump_clock: MockClock) -> None:
    """If other jobs have taken slots meanwhile, what exceeds the capacity is given back, and is not spent."""
    connection = LosesAnswer("claim")
    ids = await submit(connection, 2)
    with trio.fail_after(20):
        async with open_registry(connection, capacity=2, lease=LEASE) as jobs:
            await connection.lost.wait()
            other = await jobs.submit(work, 3.0)
            await trio.sleep(0.5)
            assert len(jobs.running) == 2
            ran = await ends(jobs, [*ids, other.id])
            assert sorted(ran) == [(State.COMPLETED, 1, 1), (State.COMPLETED, 1, 1), (State.COMPLETED, 2, 1)]
            reasons = [
                event.data.reason for event in await (await jobs.get(ids[1])).history() if event.seq == 3
            ]
    assert reasons == [Reason.SHUTDOWN]


@pytest.mark.parametrize(("capacity", "attempt"), [(1, 2), (0, 0)])
async def test_what_a_submit_had_started_is_given_back(
    capacity: int, attempt: int, autojump_clock: MockClock
) -> None:
    """The caller of `submit` is told that it is not known what happened; the worker gives the job back at
    once, and runs it then. A registry without slots has nothing to give back."""
    connection = LosesAnswer("submit")
    async with open_registry(connection, capacity=capacity, lease=LEASE) as jobs:
        with pytest.raises(StoreUnavailable):
            await jobs.submit(work, key="k")
        await trio.sleep(5)
        job = await (await jobs.submit(work, key="k")).snapshot()
        assert (job.attempt, job.spent) == (attempt, min(attempt, 1))
        assert job.state is (State.COMPLETED if capacity else State.QUEUED)
