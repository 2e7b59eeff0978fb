"""The cost of a job in a file: how often the file is written, and how often read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from threading import get_ident
from typing import Any

import pytest
import trio

from trio_jobs import JobContext, JobHandle, open_registry
from trio_jobs.stores.rows import Rows
from trio_jobs.stores.sqlite.group import Group, StoreCall

JOBS = 20
SOME = 8
"""What opening takes, and the looks of a worker, more on a busy machine; a fault takes JOBS more."""


async def work(_job: JobContext[int], number: int) -> int:
    return number


@pytest.fixture
def address(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'jobs.db'}?synchronous=normal"


@pytest.fixture
def transactions(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Return how many transactions wrote, and how many read."""
    seen = Counter[str]()
    real = Group.transact

    def transact(group: Group, calls: list[StoreCall[Any]]) -> None:
        seen["writes" if group._writes else "reads"] += 1
        real(group, calls)

    monkeypatch.setattr(Group, "transact", transact)
    return seen


@pytest.mark.parametrize("capacity", [1, 5])
async def test_jobs_that_wait(address: str, transactions: Counter[str], capacity: int) -> None:
    """The end of one job and the start of the next, in its slot, are one commit, without a read between."""
    async with open_registry(address, handlers=[work], capacity=0) as jobs:
        handles = await jobs.submit_many(work, [(number,) for number in range(JOBS)])
    transactions.clear()
    async with open_registry(address, handlers=[work], capacity=capacity) as jobs:
        for number, handle in enumerate(handles):
            there: JobHandle[Any, Any] = await jobs.get(handle.id)
            assert await there.result() == number
    ends = JOBS // capacity
    assert transactions["writes"] <= ends + SOME
    assert transactions["reads"] <= 2 * JOBS + SOME  # by `get` and `result`


async def test_jobs_that_are_awaited(address: str, transactions: Counter[str]) -> None:
    """A job that is submitted and awaited where it runs is two commits, and is never read."""
    async with open_registry(address, handlers=[work], capacity=1) as jobs:
        for number in range(JOBS):
            assert await (await jobs.submit(work, number)).result() == number
    assert transactions["writes"] <= 2 * JOBS + SOME
    assert transactions["reads"] <= 2 * SOME


async def test_jobs_that_nothing_runs_here(address: str, transactions: Counter[str]) -> None:
    """A submit where there are no slots is one commit, and reads no lease."""
    async with open_registry(address, handlers=[work], capacity=0) as jobs:
        for number in range(JOBS):
            await jobs.submit(work, number)
            await trio.testing.wait_all_tasks_blocked()
    assert transactions["writes"] <= JOBS + SOME
    assert transactions["reads"] <= 2 * SOME


async def test_lists_are_made_beside_the_loop(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The summaries of a page are made in the thread of the search, so that claims do not wait for that."""
    threads: list[int] = []
    real = Rows.summary_of

    def summary_of(rows: Rows, row: Sequence[Any]) -> Any:
        threads.append(get_ident())
        return real(rows, row)

    monkeypatch.setattr(Rows, "summary_of", summary_of)
    async with open_registry(address, handlers=[work], capacity=0) as jobs:
        await jobs.submit_many(work, [(number,) for number in range(JOBS)])
        assert len(await jobs.find()) == JOBS
    assert len(threads) == JOBS
    assert get_ident() not in threads


async def test_a_follower_where_the_job_runs(address: str, transactions: Counter[str]) -> None:
    """An appended event reaches the followers of that process without a read: one commit each."""
    send, receive = trio.open_memory_channel[str](0)

    async def speak(job: JobContext[str]) -> None:
        for number in range(JOBS):
            await job.send(f"token {number}")
            assert await receive.receive() == f"token {number}"

    async with open_registry(address, handlers=[speak], capacity=1) as jobs:
        async with (await jobs.submit(speak)).stream() as stream:
            async for token in stream:
                await send.send(token)
    assert transactions["writes"] <= JOBS + SOME
    assert transactions["reads"] <= 2 * SOME
