"""The promises of the design that hold in one process, one test each.

P1 accepted is kept. P2 at most one outcome. P3 the stream is exact. P4 cancel is proven. P6 memory is
bounded. P7 structured. (P5, a dead worker's jobs come back, needs a store that outlives the worker.)
"""

from __future__ import annotations

import contextlib
import math
from typing import Any

import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.inside import rows_of, store_of, worker_of
from tests.tasks import tasks
from trio_jobs import (
    Event,
    JobContext,
    JobHandle,
    Kind,
    LeaseLost,
    Retention,
    Retry,
    State,
    StreamGap,
    Timeouts,
    open_registry,
)

SECONDS = st.integers(0, 6)


def run(main: Any) -> None:
    trio.run(main, clock=MockClock(autojump_threshold=0))


async def talk(job: JobContext[int], pauses: list[int], attempts: int = 1) -> str:
    """Send numbers with pauses between them; fail until the last attempt."""
    for n, pause in enumerate(pauses):
        await trio.sleep(pause)
        await job.send(n)
    if job.attempt < attempts:
        raise OSError(f"attempt {job.attempt}")
    return "done"


# ------------------------------------------------------------------------------- P1


@given(
    deadlines=st.lists(st.integers(0, 4), min_size=1, max_size=20),
    sizes=st.lists(st.integers(1, 3), min_size=20, max_size=20),
)
def test_p1_accepted_is_kept(deadlines: list[int], sizes: list[int]) -> None:
    """Every job whose `submit` returned is in the store, complete, and no other job is, whatever was
    cancelled at whichever step; and each of them ends."""

    async def main() -> None:
        accepted: list[JobHandle[int, str]] = []

        async def submit(steps: int, size: int) -> None:
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:

                    async def cancel() -> None:
                        for _ in range(steps):
                            await trio.lowlevel.checkpoint()
                        scope.cancel()

                    nursery.start_soon(cancel)
                    accepted.extend(await jobs.submit_many(talk, [([n],) for n in range(size)]))
                    accepted.append(await jobs.submit(talk, [size]))

        async with open_registry(capacity=2) as jobs:
            async with trio.open_nursery() as nursery:
                for steps, size in zip(deadlines, sizes, strict=False):
                    nursery.start_soon(submit, steps, size)
            assert {job.id for job in await jobs.find()} == {handle.id for handle in accepted}
            for handle in accepted:
                assert await handle.result() == "done"

    run(main)


# ------------------------------------------------------------------------------- P2


@given(
    work=SECONDS,
    timeout=SECONDS,
    cancels=st.lists(SECONDS, max_size=3),
    leave=SECONDS,
    attempts=st.integers(1, 3),
)
def test_p2_at_most_one_outcome(
    work: int, timeout: int, cancels: list[int], leave: int, attempts: int
) -> None:
    """However completion, timeout, cancels, retries and shutdown coincide, the log has exactly one end, its
    last event; and an attempt that has ended can write nothing more."""
    contexts: list[JobContext[int]] = []

    async def handler(job: JobContext[int]) -> None:
        contexts.append(job)
        await talk(job, [work], attempts)

    async def main() -> None:
        async with trio.open_nursery() as nursery, open_registry(grace=1) as jobs:
            rule = Retry(attempts=attempts, initial=1, factor=1, jitter=0)
            handle = await jobs.submit(handler, timeout=timeout, retry=rule)

            async def cancel(after: int) -> None:
                await trio.sleep(after)
                await handle.request_cancel(grace=after % 2)

            for after in cancels:
                nursery.start_soon(cancel_quietly, cancel, after)
            await trio.sleep(leave)
        store = store_of(jobs)
        log: list[Event] = await store.read(handle.id, 0, 1000)
        assert [event.kind.ends for event in log] == [False] * (len(log) - 1) + [True]
        for job in contexts:
            for write in (job.send(1), job.send_many([1]), job.save(1), job.progress(1), job.spawn(handler)):
                try:
                    await write
                except LeaseLost:
                    continue
                raise AssertionError(f"attempt {job.attempt} wrote after its end")
        assert await store.read(handle.id, 0, 1000) == log

    run(main)


async def cancel_quietly(cancel: Any, after: int) -> None:
    """Call `cancel`, which may come after the registry was left."""
    with contextlib.suppress(trio.ClosedResourceError):
        await cancel(after)


# ------------------------------------------------------------------------------- P3


@given(
    pauses=st.lists(st.integers(0, 2), max_size=12),
    attempts=st.integers(1, 2),
    window=st.integers(1, 5),
    readers=st.lists(
        st.tuples(SECONDS, st.integers(0, 20), st.integers(0, 3), st.sampled_from(["block", "gap"])),
        min_size=1,
        max_size=4,
    ),
)
def test_p3_the_stream_is_exact(
    pauses: list[int], attempts: int, window: int, readers: list[tuple[int, int, int, Any]]
) -> None:
    """Every reader, from any cursor, joining at any time, of any speed, leaving and resuming after every
    event, gets each event once, in order, without a gap, and then the end."""

    async def main() -> None:
        async with open_registry(window=window) as jobs:
            handle = await jobs.submit(
                talk, pauses, attempts, retry=Retry(attempts=attempts, initial=1, jitter=0)
            )
            seen: list[tuple[int, list[Event]]] = []

            async def read(join: int, after: int, pause: int, policy: Any) -> None:
                await trio.sleep(join)
                cursor = min(after, (await handle.snapshot()).last_seq)
                got: list[Event] = []
                seen.append((cursor, got))
                ended = False
                while not ended:
                    async with handle.events(after=cursor, policy=policy) as events:
                        ended = True
                        async for event in events:
                            got.append(event)
                            await trio.sleep(pause)
                            cursor = events.cursor
                            if event.seq % 3 == 0:
                                ended = False
                                break

            async with trio.open_nursery() as nursery:
                for reader in readers:
                    nursery.start_soon(read, *reader)
            await handle.wait()
            async with handle.events() as events:
                log = [event async for event in events]
            assert [event.seq for event in log] == list(range(1, len(log) + 1))
            assert [event.data for event in log if event.kind is Kind.TOKEN] == [
                *range(len(pauses))
            ] * attempts
            assert log[-1].kind is Kind.COMPLETED
            for cursor, got in seen:
                assert got == log[cursor:]

    run(main)


# ------------------------------------------------------------------------------- P4


@given(
    work=SECONDS,
    cleanup=SECONDS,
    helpers=st.integers(0, 3),
    cancel_at=SECONDS,
    grace=st.integers(0, 3),
    obey=st.booleans(),
    how=st.sampled_from(["raise", "swallow"]),
)
def test_p4_cancel_is_proven(
    work: int, cleanup: int, helpers: int, cancel_at: int, grace: int, obey: bool, how: str
) -> None:
    """CANCELLED is in the log and the report only after all tasks of the job have ended; a handler that was
    not interrupted is COMPLETED."""
    alive = 0

    async def task(job: JobContext[Any]) -> None:
        nonlocal alive
        alive += 1
        try:
            with trio.move_on_after(work):
                if obey:
                    await job.cancel_requested.wait()
                await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(cleanup)
            alive -= 1

    async def handler(job: JobContext[Any]) -> str:
        for _ in range(helpers):
            await job.spawn(task)
            job.nursery.start_soon(task, job)
        try:
            await task(job)
        except trio.Cancelled:
            if how == "raise" or helpers:
                raise
        return "whole"

    async def main() -> None:
        async with open_registry() as jobs:
            handle = await jobs.submit(handler)

            async def watch() -> None:
                job = await handle.wait()
                assert alive == 0, f"{job.state} with {alive} tasks left"

            async with trio.open_nursery() as nursery:
                nursery.start_soon(watch)
                await trio.sleep(cancel_at)
                report = await handle.cancel(grace=grace, patience=math.inf)
                assert alive == 0
            job = await handle.wait()
            assert (report.outcome == "cancelled") == (job.state is State.CANCELLED)
            assert job.state in {State.CANCELLED, State.COMPLETED}
            assert (job.state is State.COMPLETED) == (job.result == "whole")

    run(main)


# ------------------------------------------------------------------------------- P6


@given(
    window=st.integers(1, 8),
    keep=st.integers(1, 8),
    count=st.integers(0, 60),
    stops=st.integers(0, 60),
    finished=st.integers(1, 4),
)
def test_p6_memory_is_bounded(window: int, keep: int, count: int, stops: int, finished: int) -> None:
    """A handler is never more than the window ahead of a reader that blocks; a log holds as many tokens as
    retention allows, and reports a gap for the rest; ended jobs are kept up to their limit."""

    go = trio.Event()

    async def send(job: JobContext[int]) -> None:
        await go.wait()
        for n in range(count):
            await job.send(n)

    async def main() -> None:
        retention = Retention(events=keep, finished=finished)
        async with open_registry(capacity=1, window=window, retention=retention, queue_limit=10) as jobs:
            handle = await jobs.submit(send)
            async with handle.events(after=2) as slow:  # it has caught up, so the handler waits for it
                go.set()
                for _ in range(stops):
                    await wait_all_tasks_blocked()
                    job = await handle.snapshot()
                    assert job.last_seq - job.state.over - slow.cursor <= window
                    try:
                        if (await slow.receive()).kind.ends:
                            break
                    except StreamGap as gap:
                        assert gap.last - gap.first + 1 < window
            job = await handle.wait()
            kept: list[Event] = []
            gaps = 0
            async with handle.events() as late:
                while not (kept and kept[-1].kind.ends):
                    try:
                        kept.append(await late.receive())
                    except StreamGap as gap:
                        gaps += gap.last - gap.first + 1
            tokens = sum(event.kind is Kind.TOKEN for event in kept)
            assert min(count, keep - keep // 8) <= tokens <= keep
            assert len(kept) + gaps == job.last_seq == count + 3
            for _ in range(finished + 3):
                await (await jobs.submit(talk, [])).wait()
            assert await jobs.count() == finished

    run(main)


# ------------------------------------------------------------------------------- P7


@given(
    jobs_of=st.lists(
        st.tuples(st.lists(SECONDS, max_size=3), st.booleans(), st.booleans(), SECONDS),
        min_size=1,
        max_size=6,
    ),
    leave=SECONDS,
    on_exit=st.sampled_from(["stop", "drain"]),
    how=st.sampled_from(["leave", "raise", "cancel"]),
)
def test_p7_nothing_runs_that_is_not_under_the_block(
    jobs_of: list[tuple[list[int], bool, bool, int]], leave: int, on_exit: Any, how: str
) -> None:
    """Whatever jobs do, with helpers, children and channels, and however the block is left: afterwards there
    are the same tasks as before, no attempt, no reader, and every job has ended."""

    async def busy(job: JobContext[int], pauses: list[int], channel: bool, child: bool, late: int) -> None:
        if channel:
            job.nursery.start_soon(job.tokens.clone().send, 1)
        if child:
            await job.spawn(talk, pauses)
        job.nursery.start_soon(trio.sleep, late)
        await talk(job, pauses)

    async def main() -> None:
        before = tasks()
        try:
            with trio.move_on_after(leave if how == "cancel" else math.inf):
                async with open_registry(capacity=3, on_exit=on_exit) as jobs:
                    for one in jobs_of:
                        await jobs.submit(
                            busy, *one, timeouts=Timeouts(run=50, idle=40, queue=30), retry=Retry(attempts=2)
                        )
                    await trio.sleep(leave)
                    if how == "raise":
                        raise ZeroDivisionError
                    if how == "cancel":
                        await trio.sleep_forever()
        except ZeroDivisionError:
            assert how == "raise"
        assert tasks() == before
        worker = worker_of(jobs)
        assert (worker.running, worker.attempts, dict(worker.readers)) == (0, {}, {})
        store: Any = worker.store
        assert all(row.state.over for row in rows_of(store).values())

    run(main)
