"""No wake-up is lost between a read and the wait that follows it: whatever is written there ends the wait."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import apsw
import pytest
import trio
from trio.testing import MockClock

from tests.stores.sqlite.parts import writer_of
from trio_jobs import IllegalTransition, Kind, LeaseLost, Reason, StoreUnavailable, Timeouts
from trio_jobs.stores import Claimant
from trio_jobs.stores.sqlite import SqliteStore, open_sqlite
from trio_jobs.stores.sqlite.threads import RUN
from trio_jobs.testing.checks.kit import HOLDER, accept, answered, completed, make, retried, start, work

Act = Callable[[], Awaitable[object]]
Case = Callable[[SqliteStore], Awaitable[tuple[Act, Act]]]
BRIEF = Claimant("brief", 5.0)


async def _append(store: SqliteStore) -> tuple[Act, Act]:
    claim = await start(store)
    job_id = claim.submission.id
    append = partial(store.append, job_id, claim.attempt, Kind.TOKEN, ["one"], 0)
    return partial(store.follow, job_id, claim.seq, 9), append


async def _start(store: SqliteStore) -> tuple[Act, Act]:
    (job_id,) = await accept(store, make())
    return partial(store.follow, job_id, 1, 9), partial(store.claim, 1, HOLDER)


async def _finish(store: SqliteStore) -> tuple[Act, Act]:
    claim = await start(store)
    job_id = claim.submission.id
    return partial(store.follow, job_id, claim.seq, 9), partial(
        store.finish, job_id, claim.attempt, completed()
    )


async def _end(store: SqliteStore) -> tuple[Act, Act]:
    (job_id,) = await accept(store, make())  # one that was started here would not be looked for
    return partial(store.ended, job_id), partial(store.request_cancel, job_id, None)


async def _start_and_end(store: SqliteStore) -> tuple[Act, Act]:
    (job_id,) = await accept(store, make())

    async def run() -> None:
        (claim,) = await store.claim(1, HOLDER)
        await store.finish(job_id, claim.attempt, completed())

    return partial(store.ended, job_id), run


async def _submit(store: SqliteStore) -> tuple[Act, Act]:
    return store.due, partial(accept, store, make())


async def _retry(store: SqliteStore) -> tuple[Act, Act]:
    claim = await start(store)
    return store.due, partial(store.finish, claim.submission.id, claim.attempt, retried())


async def _expire(store: SqliteStore) -> tuple[Act, Act]:
    return store.overdue, partial(accept, store, make(timeouts=Timeouts(queue=5.0)))


async def _expire_later(store: SqliteStore) -> tuple[Act, Act]:
    """Replace the job that was to expire first by one that expires later."""
    await accept(store, make(timeouts=Timeouts(queue=5.0)))
    with trio.move_on_after(1):
        await store.overdue()
    await store.claim(1, Claimant("holder"))
    return store.overdue, partial(accept, store, make(timeouts=Timeouts(queue=5.0)))


async def _lease(store: SqliteStore) -> tuple[Act, Act]:
    await accept(store, make())
    return store.overdue, partial(store.claim, 1, BRIEF)


async def _ask(store: SqliteStore) -> tuple[Act, Act]:
    claim = await start(store)
    return partial(store.cancelling, {}), partial(store.request_cancel, claim.submission.id, None, 1.0)


async def _ask_for_less(store: SqliteStore) -> tuple[Act, Act]:
    claim = await start(store)
    job_id = claim.submission.id
    await store.request_cancel(job_id, None, 5.0)
    return partial(store.cancelling, {job_id: 5.0}), partial(store.request_cancel, job_id, None, 1.0)


async def _close(store: SqliteStore) -> tuple[Act, Act]:
    claim = await start(store)

    async def follow() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await store.follow(claim.submission.id, claim.seq, 9)

    async def close() -> None:  # noqa: ASYNC124  # as what is awaited
        store.close(Reason.SHUTDOWN)

    return follow, close


CASES = [
    _append, _start, _finish, _end, _start_and_end, _submit, _retry, _expire, _expire_later, _lease, _ask,
    _ask_for_less, _close,
]  # fmt: skip


@asynccontextmanager
async def _opened(path: Path, late: list[Act]) -> AsyncGenerator[SqliteStore]:
    """Open a file whose next answer is late: the actions in `late` are carried out first."""

    async def run(look: Callable[..., Any], *args: Any, limiter: object = None) -> Any:
        answer = look(*args)
        if late:
            await late.pop()()
        return answer

    before = RUN.set(run)
    try:
        async with open_sqlite(path, handlers=[work], clock=trio.current_time, poll=math.inf) as store:
            yield store
    finally:
        RUN.reset(before)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__[1:])
@pytest.mark.parametrize("when", ["after the look", "while waiting"])
async def test_what_is_written_ends_the_wait(
    case: Case, when: str, tmp_path: Path, autojump_clock: MockClock
) -> None:
    """A write ends the wait if it comes after the wait's read and before its answer, and later."""
    late: list[Act] = []
    async with _opened(tmp_path / "jobs.db", late) as store, trio.open_nursery() as nursery:
        wait, act = await case(store)
        if when == "after the look":
            late.append(act)
        nursery.start_soon(answered, f"what waits, {when}", wait())
        await trio.testing.wait_all_tasks_blocked()
        assert not late, "it has not looked"
        if when == "while waiting":
            assert nursery.child_tasks, "it did not wait"
            await act()


@pytest.mark.parametrize("error", [apsw.IOError, apsw.BusyError], ids=["io", "busy"])
@pytest.mark.parametrize("case", [*CASES[:4], *CASES[5:-1]], ids=lambda case: case.__name__[1:])
async def test_what_is_written_ends_the_wait_though_the_answer_is_lost(
    case: Case, error: type[apsw.Error], tmp_path: Path, autojump_clock: MockClock
) -> None:
    """A write ends the wait also if the commit raised an error, after which a busy file is tried again."""
    async with _opened(tmp_path / "jobs.db", []) as store, trio.open_nursery() as nursery:
        wait, act = await case(store)
        nursery.start_soon(answered, "what waits", wait())
        await trio.testing.wait_all_tasks_blocked()
        real, lost = writer_of(store).commit, list[type[apsw.Error]]()

        def commit(db: Any) -> None:
            real(db)
            if not lost:
                lost.append(error)
                raise error("the answer is lost")

        with pytest.MonkeyPatch.context() as patch, suppress(StoreUnavailable, LeaseLost, IllegalTransition):
            patch.setattr(writer_of(store), "commit", commit)
            await act()
        assert lost
