"""Jobs that are cancelled, submitted again and removed by a filter, in memory and in a file."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from trio_jobs import (
    InvalidPayload,
    JobContext,
    JobRegistry,
    Limit,
    QueueFull,
    State,
    StoreCorrupt,
    StoreUnavailable,
    UnknownJob,
    handler,
    open_registry,
)
from trio_jobs.stores.memory import MemoryStore
from trio_jobs.testing import Connection, open_sqlite_in_lockstep

STORES = pytest.mark.parametrize("store", ["memory", "sqlite"])
STARTED: list[int] = []


@handler
async def fail(job: JobContext[str], number: int) -> None:
    STARTED.append(number)
    raise ValueError(number)


@handler
async def work(job: JobContext[str]) -> None: ...


@handler
async def hang(job: JobContext[str]) -> None:
    await trio.sleep_forever()


@handler
async def greet(job: JobContext[str], name: str) -> None: ...


@asynccontextmanager
async def opened(store: str, folder: Path, **options: Any) -> AsyncGenerator[JobRegistry]:
    handlers: list[Any] = [fail, work, hang, greet]
    if store == "memory":
        async with open_registry(MemoryStore(queue_limit=1500), handlers=handlers, **options) as jobs:
            yield jobs
    else:
        async with (
            open_sqlite_in_lockstep(folder / "jobs.db", handlers=handlers, queue_limit=1500) as file,
            open_registry(file, handlers=handlers, **options) as jobs,
        ):
            yield jobs


async def failed(jobs: JobRegistry, count: int, **options: Any) -> list[str]:
    """Return the ids of so many jobs that have failed."""
    handles = await jobs.submit_many(fail, [(number,) for number in range(count)], **options)
    for handle in handles:
        await handle.wait()
    return [handle.id for handle in handles]


@STORES
async def test_what_failed_is_submitted_again(store: str, tmp_path: Path) -> None:
    """Each job that failed is submitted again once, in the order in which they came, and no other is."""
    async with opened(store, tmp_path) as jobs:
        ids = await failed(jobs, 3, tags={"a": "b"})
        await (await jobs.submit(work)).wait()
        running = await jobs.submit(hang, tags={"a": "b"})
        STARTED.clear()
        report = await jobs.retry_where(tags={"a": "b"})
        assert (report.count, report.refused, report.message) == (3, 0, None)
        await wait_all_tasks_blocked()
        again = [job for job in await jobs.find(handler="fail") if job.id not in ids]
        assert [(await (await jobs.get(job.id)).wait()).resubmitted_from for job in again] == ids
        assert sorted(STARTED) == [0, 1, 2]
        assert (await jobs.retry_where(tags={"a": "b"})).count == 3  # those that were, failed as well
        await running.cancel()
        assert (await jobs.retry_where(state=[State.COMPLETED, State.CANCELLED])).count == 2
        assert (await jobs.retry_where(handler="hang")).count == (await jobs.retry_where(state=[])).count == 0


@STORES
async def test_what_was_submitted_again_by_hand_is_passed_over(store: str, tmp_path: Path) -> None:
    """A job that its user has submitted again is not submitted once more, nor is a child job."""

    @handler
    async def parent(job: JobContext[str]) -> None:
        await job.spawn(fail, 7)

    async with opened(store, tmp_path) as jobs:
        one, other = await failed(jobs, 2)
        again = await (await jobs.get(one)).resubmit(tags={"by": "hand"})
        await again.wait()
        await jobs.remove(again.id)
        assert (await jobs.retry_where()).count == 1
        await wait_all_tasks_blocked()
        (new,) = [job for job in await jobs.find() if job.id not in (one, other)]
        assert (await (await jobs.get(new.id)).wait()).resubmitted_from == other
        if store == "memory":
            assert (await (await jobs.submit(parent)).wait()).state is State.FAILED
            assert (await jobs.retry_where()).count == 2  # the new one, and the parent


@STORES
async def test_many_at_once(store: str, tmp_path: Path) -> None:
    """However many there are, each is cancelled, submitted again and removed, and the number is right."""
    async with opened(store, tmp_path, capacity=0) as jobs:
        await jobs.submit_many(fail, [(number,) for number in range(1001)], tags={"a": "b"})
        await jobs.submit(work)
        assert await jobs.cancel_where(tags={"a": "b"}) == 1001
        assert await jobs.count(state=State.QUEUED) == 1
        assert (await jobs.retry_where(state=State.CANCELLED)).count == 1001
        assert (await jobs.retry_where(state=State.CANCELLED)).count == 0
        assert await jobs.count(state=State.QUEUED) == 1002
        assert await jobs.remove_where(tags={"a": "b"}) == 1001
        assert await jobs.count() == 1002


@STORES
async def test_what_is_old_is_removed(autojump_clock: MockClock, store: str, tmp_path: Path) -> None:
    """`older_than` is of when jobs ended; `remove_where` removes only what has ended, by any filter."""
    async with opened(store, tmp_path) as jobs:
        await failed(jobs, 2, tags={"a": "b"})
        await trio.sleep(10)
        await failed(jobs, 1)
        await (await jobs.submit(work)).wait()
        await jobs.submit(hang)
        assert await jobs.count(older_than=5) == len(await jobs.find(older_than=5)) == 2
        assert await jobs.count(older_than=5, state=State.RUNNING) == 0
        assert await jobs.count(newer_than=5, state=["completed", "failed"]) == 2
        assert await jobs.remove_where(older_than=5, tags={"a": "c"}) == 0
        assert await jobs.remove_where(older_than=5) == 2
        assert await jobs.remove_where(state=[State.FAILED, State.RUNNING]) == 1
        assert await jobs.remove_where() == 1
        assert await jobs.count() == 1
        with pytest.raises(ValueError, match="older_than"):
            await jobs.count(older_than=-1)
        with pytest.raises(ValueError, match="newer_than"):
            await jobs.count(newer_than=-1)


@STORES
async def test_jobs_are_found_by_a_piece_of_their_arguments(
    autojump_clock: MockClock, store: str, tmp_path: Path
) -> None:
    """`args_contain` selects in every filter, beside its other fields."""
    async with opened(store, tmp_path) as jobs:
        for name in ("Größe", "groesse"):
            await jobs.submit(greet, name, delay=60)
        assert [job.args_text for job in await jobs.find(args_contain='"Größ')] == ['["Größe"]']
        assert await jobs.count(args_contain="gr", state=State.QUEUED) == 1
        assert await jobs.cancel_where(args_contain="Gr") == await jobs.remove_where(args_contain="e") == 1
        assert await jobs.count(args_contain="g") == await jobs.count() == 1
        with pytest.raises(TypeError, match="args_contain takes a str"):
            await jobs.find(args_contain=7)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


@STORES
async def test_jobs_that_come_meanwhile_are_left_alone(store: str, tmp_path: Path) -> None:
    """A job that comes while others are cancelled, or fails while others are retried, is left alone."""
    async with opened(store, tmp_path) as jobs:
        waiting = await jobs.submit_many(hang, [()] * 501, delay=60)

        async def come() -> None:
            await waiting[-1].wait()
            waiting.append(await jobs.submit(hang, delay=60))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(come)
            assert await jobs.cancel_where() == 501
        assert (await waiting[-1].snapshot()).state is State.QUEUED
        await failed(jobs, 501)
        assert (await jobs.retry_where()).count == 501


async def test_what_is_not_for_this_registry_is_counted(tmp_path: Path) -> None:
    """A job whose handler is not known here is refused, all others are submitted, and the report says why."""
    async with opened("sqlite", tmp_path) as jobs:
        await failed(jobs, 2)
        await (await jobs.submit(hang)).cancel()
    async with (
        open_sqlite_in_lockstep(tmp_path / "jobs.db", handlers=[hang]) as file,
        open_registry(file, handlers=[hang]) as jobs,
    ):
        report = await jobs.retry_where(state=[State.FAILED, State.CANCELLED])
        assert (report.count, report.refused) == (1, 2)
        assert "there is no handler 'fail'" in (report.message or "")


@STORES
async def test_a_full_queue(store: str, tmp_path: Path) -> None:
    """As many are submitted again as there is room for, the error says how many, and the rest is later."""
    async with opened(store, tmp_path, capacity=0) as jobs:
        await jobs.submit_many(work, [()] * 60)
        await jobs.cancel_where()
        await jobs.submit_many(hang, [()] * 1470)
        with pytest.raises(QueueFull) as full:
            await jobs.retry_where(state=State.CANCELLED)
        assert full.value.__notes__ == ["30 jobs were submitted again before that"]
        await jobs.cancel_where()
        assert (await jobs.retry_where(state=State.CANCELLED, handler="work")).count == 60


@STORES
async def test_an_exclusive_name_that_is_held(store: str, tmp_path: Path) -> None:
    """Of jobs with one exclusive name one is submitted again, where the others would have to be refused."""
    async with opened(store, tmp_path) as jobs:
        for _ in range(3):
            await (await jobs.submit(hang, exclusive="a")).cancel()
        report = await jobs.retry_where(state=State.CANCELLED)
        assert (report.count, report.refused) == (1, 2)
        assert "has the same exclusive name" in (report.message or "")


class Broken(Connection):
    """A store that fails in the middle."""

    fault: Exception = StoreUnavailable("gone")
    left = 0

    async def call(self, name: str, verb: Callable[[], Awaitable[Any]]) -> Any:
        if name == "request_cancel":
            self.left -= 1
            if self.left == 0:
                raise self.fault
        return await super().call(name, verb)


async def test_a_store_that_fails_in_the_middle() -> None:
    """What is done stays done, the error is told as it is, and the next call does the rest."""
    store = Broken(MemoryStore())
    async with open_registry(store, capacity=0) as jobs:
        await jobs.submit_many(work, [()] * 5)
        for store.fault in (StoreUnavailable("gone"), StoreCorrupt("one row")):
            store.left = 3
            with pytest.raises(type(store.fault), match=str(store.fault)):
                await jobs.cancel_where()
            assert await jobs.cancel_where() == 1
            await jobs.submit_many(work, [()] * 5)


@STORES
async def test_a_cancelled_call(store: str, tmp_path: Path) -> None:
    """What was done when the call was cancelled stays done, and it can be made again."""
    async with opened(store, tmp_path, capacity=0) as jobs:
        await jobs.submit_many(work, [()] * 1200)

        async def gone() -> None:
            while await jobs.count(state=State.CANCELLED) < 300:
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(gone)
            await jobs.cancel_where()
        done = await jobs.count(state=State.CANCELLED)
        assert 300 <= done < 1200
        assert await jobs.cancel_where() == 1200 - done


async def test_others_have_their_turn() -> None:
    """While a thousand jobs are cancelled in memory, another task runs in between, again and again."""
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    async with open_registry(capacity=0) as jobs, trio.open_nursery() as nursery:
        await jobs.submit_many(work, [()] * 1000)
        nursery.start_soon(count)
        await jobs.cancel_where()
        assert turns > 500
        nursery.cancel_scope.cancel()


async def test_what_goes_wrong_while_jobs_are_retried() -> None:
    """A job that is removed meanwhile is left out; a store that cannot be reached is told as it is."""

    class Odd(Connection):
        error: Exception | None = UnknownJob("gone")
        verb = "submission"

        async def call(self, name: str, verb: Callable[[], Awaitable[Any]]) -> Any:
            if name == self.verb and self.error is not None:
                error, self.error = self.error, None
                raise error
            return await super().call(name, verb)

    store = Odd(MemoryStore())
    async with open_registry(store, capacity=0) as jobs:
        await jobs.submit_many(work, [()] * 3)
        await jobs.cancel_where()
        assert (await jobs.retry_where(state=State.CANCELLED)).count == 2
        store.verb, store.error = "submit", StoreUnavailable("gone")
        with pytest.raises(StoreUnavailable, match="gone"):
            await jobs.retry_where(state=State.CANCELLED)
        assert (await jobs.retry_where(state=State.CANCELLED)).count == 1
        await jobs.cancel_where()
        store.error = InvalidPayload("one of them is odd")
        assert (await jobs.retry_where(state=State.CANCELLED)).count == 3


async def test_a_handler_that_takes_a_limit_key_now() -> None:
    """A job that lacks the `limit_key` which its handler takes now is refused, and the report says so."""

    @handler(name="hang", limits=[Limit(at_once=1, keyed=True)])
    async def limited(job: JobContext[str]) -> None: ...

    class Changed(Connection):
        async def call(self, name: str, verb: Callable[[], Awaitable[Any]]) -> Any:
            found = await super().call(name, verb)
            return attrs.evolve(found, target=limited) if name == "submission" else found

    async with open_registry(Changed(MemoryStore()), capacity=0) as jobs:
        await (await jobs.submit(hang)).cancel()
        report = await jobs.retry_where(state=State.CANCELLED)
        assert (report.count, report.refused) == (0, 1)
        assert "hang has a keyed limit" in (report.message or "")
