"""What the older server did, through `execute_and_stream` and the registry: each behaviour has a test.

There a job was a generator behind an HTTP endpoint, its tokens were strings, and [DONE], [ERROR] … and
[CANCELLED] were strings among them.
"""

from __future__ import annotations

import random
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.inside import worker_of
from trio_jobs import (
    JobCancelled,
    JobContext,
    JobHandle,
    JobRegistry,
    Reason,
    State,
    UnknownJob,
    open_registry,
)

ENDS = ("[DONE]", "[CANCELLED]", "[ERROR]")


async def tokens(job: JobContext[str], n: int, gap: float = 1.0) -> str:
    """Send `n` tokens, `gap` seconds apart."""
    for i in range(n):
        await trio.sleep(gap)
        await job.send(f"token {i}")
    return "all sent"


async def broken(job: JobContext[str]) -> None:
    await job.send("before")
    raise RuntimeError("the model crashed")


async def read(jobs: JobRegistry, fn: Any, *args: Any, **options: Any) -> list[str]:
    async with jobs.execute_and_stream(fn, *args, **options) as lines:
        return [line async for line in lines]


# ------------------------------------------------------------------------------- timeout


async def test_timeout(autojump_clock: MockClock) -> None:
    """A job that takes too long ends with the message of the timeout, at the time of the timeout."""
    async with open_registry() as jobs:
        began = trio.current_time()
        lines = await read(jobs, tokens, 100, timeout=5.5)
        assert lines[-1] == "[ERROR] Job timed out after 5.5s"
        assert trio.current_time() - began == pytest.approx(5.5)


async def test_completes_before_the_timeout(autojump_clock: MockClock) -> None:
    """A job that is quick enough is not affected by its timeout."""
    async with open_registry() as jobs:
        assert await read(jobs, tokens, 3, timeout=5) == ["token 0", "token 1", "token 2", "[DONE]"]
        await trio.sleep(100)
        assert [job.state for job in await jobs.find()] == [State.COMPLETED]


async def test_all_tokens_come_before_the_timeouts_signal(autojump_clock: MockClock) -> None:
    """All tokens sent before the timeout are delivered in order, and then its signal."""

    async def burst(job: JobContext[str]) -> None:
        await job.send_many([str(n) for n in range(1000)])
        await trio.sleep_forever()

    async with open_registry(window=2000) as jobs:
        async with jobs.execute_and_stream(burst, timeout=5) as lines:
            await trio.sleep(10)
            got = [line async for line in lines]
        assert got == [str(n) for n in range(1000)] + ["[ERROR] Job timed out after 5s"]


async def test_timeout_with_no_reader(autojump_clock: MockClock) -> None:
    """A timeout passes with or without a reader."""
    async with open_registry() as jobs:
        handle = await jobs.submit(tokens, 100, timeout=5.5)
        began = trio.current_time()
        job = await handle.wait()
        assert (job.state, job.reason) == (State.FAILED, Reason.TIMEOUT)
        assert trio.current_time() - began == pytest.approx(5.5)


# ------------------------------------------------------------------------------- cancel


async def test_cancel_running(autojump_clock: MockClock) -> None:
    """A job that is cancelled while it streams ends with [CANCELLED] after what it had sent."""
    async with open_registry() as jobs, jobs.execute_and_stream(tokens, 100) as lines:
        assert await lines.receive() == "token 0"
        report = await jobs.cancel(lines.handle.id)
        assert report.outcome == "cancelled"
        assert [line async for line in lines] == ["[CANCELLED]"]


async def test_cancel_queued(autojump_clock: MockClock) -> None:
    """A job that is cancelled before it started streams nothing but [CANCELLED]."""
    async with open_registry(capacity=1) as jobs:
        first = await jobs.submit(tokens, 3)
        async with jobs.execute_and_stream(tokens, 3) as lines:
            assert (await jobs.cancel(lines.handle.id)).outcome == "cancelled"
            assert [line async for line in lines] == ["[CANCELLED]"]
        assert await first.result() == "all sent"


async def test_cancel_with_no_reader(autojump_clock: MockClock) -> None:
    """A job without a reader can be cancelled, and has ended when the cancel returns."""
    async with open_registry() as jobs:
        handle = await jobs.submit(tokens, 100)
        await trio.sleep(2.5)
        assert (await jobs.cancel(handle.id)).outcome == "cancelled"
        assert (await handle.snapshot()).state is State.CANCELLED


@pytest.mark.parametrize(("fn", "state"), [(tokens, State.COMPLETED), (broken, State.FAILED)])
async def test_cannot_cancel_what_is_over(autojump_clock: MockClock, fn: Any, state: State) -> None:
    """Cancelling a completed or a failed job returns `already_over` and changes nothing."""
    async with open_registry() as jobs:
        handle = await jobs.submit(fn, *((1,) if fn is tokens else ()))
        before = await handle.wait()
        assert (await jobs.cancel(handle.id)).outcome == "already_over"
        assert await handle.snapshot() == before
        assert before.state is state


async def test_cannot_cancel_unknown(autojump_clock: MockClock) -> None:
    """Cancelling an unknown id is an error, and does not cancel a later job."""
    async with open_registry() as jobs:
        with pytest.raises(UnknownJob):
            await jobs.cancel("no-such-job")
        assert (await read(jobs, tokens, 1))[-1] == "[DONE]"


# ------------------------------------------------------------------------------- the end


async def test_done_only_once(autojump_clock: MockClock) -> None:
    """However a job ends, exactly one last line says so, and none follows it."""
    async with open_registry() as jobs:
        for fn, args, options, end in (
            (tokens, (3,), {}, "[DONE]"),
            (broken, (), {}, "[ERROR] the model crashed"),
            (tokens, (3,), {"timeout": 1.5}, "[ERROR] Job timed out after 1.5s"),
        ):
            lines: list[str] = await read(jobs, fn, *args, **options)
            assert lines[-1] == end
            assert [line for line in lines if line.startswith(ENDS)] == [end]


async def test_a_token_that_equals_done_is_a_token(autojump_clock: MockClock) -> None:
    """The end is the last line, not a token with the same text."""

    async def say_done(job: JobContext[str]) -> None:
        for word in ("[DONE]", "[CANCELLED]", "[ERROR] no", "really"):
            await job.send(word)

    async with open_registry() as jobs:
        assert await read(jobs, say_done) == ["[DONE]", "[CANCELLED]", "[ERROR] no", "really", "[DONE]"]


async def test_state_after_success(autojump_clock: MockClock) -> None:
    """When [DONE] has been read the job is COMPLETED, with its result and its times."""
    async with open_registry() as jobs, jobs.execute_and_stream(tokens, 2) as lines:
        assert [line async for line in lines][-1] == "[DONE]"
        job = await lines.handle.snapshot()
        assert (job.state, job.reason, job.error, job.result) == (State.COMPLETED, None, None, "all sent")
        assert job.started_at is not None
        assert job.finished_at is not None
        assert job.created_at <= job.started_at <= job.finished_at


async def test_state_after_failure(autojump_clock: MockClock) -> None:
    """When [ERROR] has been read the job is FAILED, with the error and its traceback."""
    async with open_registry() as jobs, jobs.execute_and_stream(broken) as lines:
        assert [line async for line in lines] == ["before", "[ERROR] the model crashed"]
        job = await lines.handle.snapshot()
        assert (job.state, job.reason, job.result) == (State.FAILED, Reason.ERROR, None)
        assert job.error is not None
        assert (job.error.type, job.error.message) == ("RuntimeError", "the model crashed")
        assert 'raise RuntimeError("the model crashed")' in job.error.traceback


# ------------------------------------------------------------------------------- concurrency


async def test_state_read_concurrently(autojump_clock: MockClock) -> None:
    """A hundred tasks that read one job see its states in order, none of them incomplete."""
    order = [State.QUEUED, State.RUNNING, State.COMPLETED]

    async def look(handle: JobHandle[Any, Any]) -> None:
        seen = 0
        while seen < 2:
            job = await handle.snapshot()
            assert order.index(job.state) >= seen
            seen = order.index(job.state)
            assert (job.started_at is None) == (job.state is State.QUEUED)
            assert (job.finished_at is None) == (job.result is None) == (job.state is not State.COMPLETED)
            await trio.sleep(0.5)

    async with open_registry(capacity=1) as jobs:
        await jobs.submit(tokens, 3)
        handle = await jobs.submit(tokens, 3)
        async with trio.open_nursery() as nursery:
            for _ in range(100):
                nursery.start_soon(look, handle)


async def test_a_hundred_jobs_created_updated_and_removed_concurrently(autojump_clock: MockClock) -> None:
    """A hundred tasks submit, follow, cancel and remove their own jobs at once: none affects another."""
    dice = random.Random(7)
    ends: list[str] = []

    async def live(jobs: JobRegistry, n: int, gap: float) -> None:
        async with jobs.execute_and_stream(tokens, 5, gap, tags={"n": str(n)}, timeout=4) as lines:
            got = [await lines.receive()]
            if n % 3 == 0:
                await lines.handle.cancel()
            got += [line async for line in lines]
        assert got[:-1] == [f"token {i}" for i in range(len(got) - 1)]
        job = await lines.handle.snapshot()
        assert dict(job.tags) == {"n": str(n)}
        assert job.last_seq >= len(got)
        ends.append(got[-1])
        await jobs.remove(lines.handle.id)

    async with open_registry(capacity=10) as jobs:
        async with trio.open_nursery() as nursery:
            for n in range(100):
                nursery.start_soon(live, jobs, n, dice.choice([0.1, 0.5, 1.0]))
        assert await jobs.count() == 0
        assert (await jobs.statistics()).readers == 0
    assert len(ends) == 100
    assert set(ends) == {"[DONE]", "[CANCELLED]", "[ERROR] Job timed out after 4s"}


# ------------------------------------------------------------------------------- payloads

NESTED: dict[str, Any] = {"list": [1, [2, [3, {"deep": None}]]], "text": "☃", "float": 0.1}


@pytest.mark.parametrize(
    "payload",
    [
        "x" * 1024,
        "x" * 100 * 1024,
        "x" * 1024 * 1024,
        NESTED,
        bytes(range(256)) * 64,
        "",
        None,
    ],
    ids=["1 KiB", "100 KiB", "1 MiB", "nested", "binary", "empty", "none"],
)
async def test_payloads(autojump_clock: MockClock, payload: object) -> None:
    """A payload is equal as an argument, as a token, and as the result."""

    async def echo(job: JobContext[object], value: object) -> object:
        await job.send(value)
        return value

    async with open_registry() as jobs:
        handle = await jobs.submit(echo, payload)
        async with handle.stream() as stream:
            assert [token async for token in stream] == [payload]
        assert await handle.result() == payload
        if isinstance(payload, str):
            assert await read(jobs, echo, payload) == [payload, "[DONE]"]


# ------------------------------------------------------------------------------- readers that go


async def test_reader_gone_mid_stream(autojump_clock: MockClock) -> None:
    """A reader that leaves in the middle ends its job: no further token is made, and nothing is kept."""
    async with open_registry() as jobs:
        async with jobs.execute_and_stream(tokens, 100) as lines:
            assert [await lines.receive(), await lines.receive()] == ["token 0", "token 1"]
        job = await lines.handle.wait()
        assert job.state is State.CANCELLED
        statistics = await jobs.statistics()
        assert (statistics.running, statistics.readers) == (0, 0)


async def test_reader_gone_before_the_first_token(autojump_clock: MockClock) -> None:
    """A reader that is cancelled while it waits for the first token ends its job."""
    async with open_registry() as jobs:
        with trio.move_on_after(0.5):
            async with jobs.execute_and_stream(tokens, 100) as lines:
                await lines.receive()
        assert (await lines.handle.wait()).state is State.CANCELLED
        async with lines.handle.events() as events:
            assert "token" not in [event.kind async for event in events]


async def test_a_reader_that_breaks_ends_its_job(autojump_clock: MockClock) -> None:
    """An exception in the reader's code is raised unchanged, and ends the job."""
    async with open_registry() as jobs:
        with pytest.raises(ZeroDivisionError):
            async with jobs.execute_and_stream(tokens, 100) as lines:
                async for _ in lines:
                    _ = 1 / 0  # raises
        assert (await lines.handle.wait()).state is State.CANCELLED


async def test_one_reader_of_several_may_go(autojump_clock: MockClock) -> None:
    """A job that was submitted by itself goes on when one of its readers leaves."""
    async with open_registry() as jobs:
        handle = await jobs.submit(tokens, 5)
        async with handle.stream() as stays:
            async with handle.stream() as leaves:
                assert await leaves.receive() == "token 0"
            assert [token async for token in stays] == [f"token {n}" for n in range(5)]
        assert await handle.result() == "all sent"


# ------------------------------------------------------------------------------- cleanup


@pytest.mark.parametrize("end", ["done", "error", "timeout", "cancelled", "left", "never started"])
async def test_cleanup_after_each_kind_of_end(autojump_clock: MockClock, end: str) -> None:
    """However a job ends, its handler's `finally` has run, its slot is free, and no reader or task stays."""
    cleaned: list[str] = []

    async def tidy(job: JobContext[str]) -> None:
        try:
            await job.send("a")
            if end == "error":
                raise RuntimeError("broken")
            if end != "done":
                await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(1)
            cleaned.append(end)

    async with open_registry(capacity=1) as jobs:
        if end == "never started":
            jobs.pause()
        async with jobs.execute_and_stream(tidy, timeout=5 if end == "timeout" else None) as lines:
            await wait_all_tasks_blocked()
            if end in {"cancelled", "never started"}:
                await lines.handle.cancel()
            if end != "left":
                assert [line async for line in lines][-1].startswith(ENDS)
        await lines.handle.wait()
        jobs.resume()
        assert cleaned == ([] if end == "never started" else [end])
        statistics = await jobs.statistics()
        assert (statistics.running, statistics.readers) == (0, 0)
        with trio.fail_after(20):
            assert (await read(jobs, tokens, 1))[-1] == "[DONE]"
        worker = worker_of(jobs)
        assert not worker.attempts
        assert not worker.readers


# ------------------------------------------------------------------------------- ids


@pytest.mark.parametrize(
    "job_id", ["x" * 100_000, "", " ", "a/b/../c", "日本語", "'; --", "\0", "\ud800", "[DONE]", "a\nb"]
)
async def test_odd_job_ids(autojump_clock: MockClock, job_id: str) -> None:
    """Long, empty and odd ids are unknown: each method raises a short and printable error."""
    async with open_registry() as jobs:
        handle = await jobs.submit(tokens, 1)
        for ask in (jobs.get, jobs.cancel, jobs.remove):
            with pytest.raises(UnknownJob) as unknown:
                await ask(job_id)
            assert unknown.value.job_id == job_id
            assert len(str(unknown.value)) < 200
            assert str(unknown.value).isprintable()
        assert await handle.result() == "all sent"


async def test_ids_are_unique_and_hard_to_guess(autojump_clock: MockClock) -> None:
    """Each job has its own id, of 128 bits, in characters that a URL and a file name allow."""
    async with open_registry(capacity=0) as jobs:
        ids = {handle.id for handle in await jobs.submit_many(tokens, [(1,)] * 1000)}
        assert len(ids) == 1000
        assert all(len(job_id) == 32 and int(job_id, 16) >= 0 for job_id in ids)


async def test_the_key_is_the_callers_own_id(autojump_clock: MockClock) -> None:
    """A caller that wants to choose the id uses a key: long, empty and odd ones are kept unchanged."""
    async with open_registry() as jobs:
        for key in ("x" * 10_000, "", "a/b", "日本語"):
            handle = await jobs.submit(tokens, 1, key=key)
            assert (await handle.snapshot()).key == key
            with pytest.raises(JobCancelled):
                await handle.cancel()
                await handle.result()
            assert await jobs.submit(tokens, 1, key=key) == handle
