"""A task that waits for a job's end is woken by it, with no more reads of the file than that takes."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from trio_jobs import ErrorRecord, Job, State
from trio_jobs.stores import Transition
from trio_jobs.stores.contract import Claim, Claimant, Outcome
from trio_jobs.stores.sqlite import calls, open_sqlite
from trio_jobs.stores.sqlite.store import SqliteStore
from trio_jobs.stores.submission import submission
from trio_jobs.testing.checks.kit import cancelled, failed, work

opened = partial(open_sqlite, handlers=[work])
WORKER = Claimant("worker", 30.0)


async def submit(store: SqliteStore) -> Claim:
    _, (claim,) = await store.submit([submission(work, (), {})], 1, WORKER)
    return claim


async def finish(store: SqliteStore, claim: Claim) -> None:
    await store.finish(claim.submission.id, claim.attempt, Outcome(Transition.COMPLETED, "done"))


async def end_of(store: SqliteStore, claim: Claim, found: list[Job]) -> None:
    found.append(await store.ended(claim.submission.id))


async def test_an_end_in_this_process_takes_no_second_look(tmp_path: Path) -> None:
    """A task that waits for a job that ends here gets the end without reading the file again."""
    found: list[Job] = []
    async with opened(tmp_path / "jobs.db") as store:
        claim = await submit(store)
        with pytest.MonkeyPatch.context() as patch:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(end_of, store, claim, found)
                await trio.testing.wait_all_tasks_blocked()
                await store.get(claim.submission.id)  # reads are served in turn: the first look is over
                patch.delattr(store, "_reader")
                await finish(store, claim)
        assert found == [await store.get(claim.submission.id)]
    assert (found[0].state, found[0].result) == (State.COMPLETED, "done")


OUTCOMES = [
    Outcome(Transition.COMPLETED, ["done"]),
    failed(error=ErrorRecord("E", "why", "where")),
    cancelled(),
]


@pytest.mark.parametrize("outcome", OUTCOMES, ids=[str(one.transition) for one in OUTCOMES])
async def test_the_end_alone(tmp_path: Path, outcome: Outcome) -> None:
    """`end` gives the end of the job that `ended` gives, to tasks that wait and to later ones."""
    found: list[Any] = []

    async def wait(store: SqliteStore, job_id: str) -> None:
        found.append(await store.end(job_id))

    async with opened(tmp_path / "jobs.db") as store:
        claim = await submit(store)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait, store, claim.submission.id)
            await trio.testing.wait_all_tasks_blocked()
            await store.finish(claim.submission.id, claim.attempt, outcome)
        await wait(store, claim.submission.id)
        job = attrs.asdict(await store.ended(claim.submission.id), recurse=False)
    for end in found:
        assert end._asdict().items() <= job.items()
    assert len(found) == 2


async def test_what_runs_here_is_not_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting for a job that was started here, and that no other process can have ended, reads no file."""
    monkeypatch.setattr(calls, "POLL", 1e6)
    found: list[Job] = []
    async with opened(tmp_path / "jobs.db") as store:
        claim = await submit(store)
        with pytest.MonkeyPatch.context() as patch:
            patch.delattr(store, "_reader")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(end_of, store, claim, found)
                await trio.testing.wait_all_tasks_blocked()
                await finish(store, claim)
    assert (found[0].state, found[0].result) == (State.COMPLETED, "done")


async def test_an_end_before_the_wait_is_found(tmp_path: Path) -> None:
    """A job that has ended does not count as open because it was submitted here."""
    async with opened(tmp_path / "jobs.db") as store:
        claim = await submit(store)
        await finish(store, claim)
        with trio.fail_after(5):
            assert (await store.ended(claim.submission.id)).state is State.COMPLETED


async def test_an_end_by_another_store_is_found(tmp_path: Path) -> None:
    """Waits for jobs that were submitted here and ended through another connection end. The first wait begins
    before that, and the second after it was noticed."""
    found: list[Job] = []
    async with opened(tmp_path / "jobs.db") as store, opened(tmp_path / "jobs.db") as other:
        claims = [await submit(store) for _ in range(2)]
        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(end_of, store, claims[0], found)
                await trio.testing.wait_all_tasks_blocked()
                for claim in reversed(claims):
                    await finish(other, claim)
            await end_of(store, claims[1], found)
    assert [job.id for job in found] == [claim.submission.id for claim in claims]
