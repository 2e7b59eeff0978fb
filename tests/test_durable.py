"""Jobs in a file through the public API: several registries on it, in one process and in several."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from trio_jobs import (
    InvalidPayload,
    JobCancelled,
    JobContext,
    JobFailed,
    JobRegistry,
    KeyConflict,
    Kind,
    Reason,
    Retry,
    RetryAfter,
    State,
    StreamRestarted,
    UnknownHandler,
    handler,
    open_registry,
)

PATIENCE = 60.0


async def count(job: JobContext[int], to: int) -> int:
    for number in range(to):
        await job.send(number)
    return to


async def hold(job: JobContext[str]) -> str:
    """Run until `go` is written, by cancelling or by a saved value of another attempt."""
    await job.send(f"attempt {job.attempt}")
    if job.saved == "stop":
        return "stopped"
    await job.save("stop")
    await trio.sleep_forever()
    raise AssertionError


async def clean_up(job: JobContext[str]) -> str:
    await job.send("begun")
    await job.cancel_requested.wait()
    return "cleaned up"


async def parent(job: JobContext[str], children: int) -> list[int]:
    handles = [await job.spawn(count, number) for number in range(children)]
    return [await one.result() for one in handles]


async def parent_that_holds(job: JobContext[str]) -> int:
    if job.attempt == 1:
        await job.spawn(hold)
        await job.send("spawned")
        await trio.sleep_forever()
    return job.attempt


async def flaky(job: JobContext[Any]) -> list[Any]:
    before = job.saved
    await job.save({"attempt": job.attempt, "before": before})
    await job.progress(job.attempt, 3, "of three")
    await job.send(job.attempt)
    if job.attempt < 3:
        raise ValueError(f"attempt {job.attempt}")
    return [job.attempt, before]


HANDLERS = [count, hold, clean_up, parent, parent_that_holds, flaky]


@pytest.fixture
def address(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/jobs.db"


@asynccontextmanager
async def registry(address: str, handlers: Any = HANDLERS, **options: Any) -> AsyncIterator[JobRegistry]:
    with trio.fail_after(PATIENCE):
        async with open_registry(address, handlers=handlers, **options) as jobs:
            yield jobs


# ------------------------------------------------------------ several registries


async def test_one_submits_another_runs_a_third_watches(address: str) -> None:
    """A registry without slots submits, another one runs, and each reader gets every event once."""
    async with registry(address, capacity=0) as client, registry(address, capacity=0) as watcher:
        handle = await client.submit(count, 100, tags={"user": "7"}, owner="me", metadata={"a": [1]})
        assert (await (await watcher.get(handle.id)).snapshot()).state is State.QUEUED
        async with (await watcher.get(handle.id)).stream() as tokens, registry(address, name="worker"):
            assert [token async for token in tokens] == list(range(100))
        assert await handle.result() == 100
        (job,) = await watcher.find(tags={"user": "7"}, owner="me", state=State.COMPLETED)
        assert job.id == handle.id
        assert (await (await watcher.get(job.id)).snapshot()).metadata == {"a": [1]}
        assert [event.data for event in await handle.history()] == ["count", "worker", 100]


async def test_what_is_done_elsewhere_is_noticed(address: str) -> None:
    """An event, a request to cancel and an end reach another registry."""
    async with registry(address) as worker, registry(address, capacity=0) as client:
        there = await worker.submit(clean_up)
        here = await client.get(there.id)
        async with here.stream() as tokens:
            with trio.fail_after(20):
                assert await tokens.receive() == "begun"
            with trio.fail_after(20):
                assert await here.request_cancel("enough", grace=30)
                assert (await here.wait()).result == "cleaned up"


async def test_a_cancellation_from_elsewhere(address: str) -> None:
    """It reaches the handler within a second, long before the next heartbeat; the report confirms it."""
    async with registry(address, lease=300) as worker, registry(address, capacity=0) as client:
        there = await worker.submit(hold)
        async with there.stream() as tokens:
            await tokens.receive()
        report = await client.cancel(there.id, "enough")
        assert report.outcome == "cancelled"
        assert report.took < 1
        with pytest.raises(JobCancelled, match="enough"):
            await there.result()


async def test_keys_and_owners(address: str) -> None:
    """A key is one job for all registries and for ever, but each owner has its own keys."""
    async with registry(address, capacity=0) as one, registry(address, capacity=0) as other:
        first = await one.submit(count, 1, key="k", owner="a")
        assert (await other.submit(count, 1, key="k", owner="a")).id == first.id
        assert (await other.submit(count, 1, key="k", owner="b")).id != first.id
        assert (await other.submit(count, 1, key="k")).id != first.id
        with pytest.raises(KeyConflict) as caught:
            await other.submit(count, 2, key="k", owner="a")
        assert caught.value.job_id == first.id
    async with registry(address) as later:
        assert (await later.submit(count, 1, key="k", owner="a")).id == first.id
        assert await (await later.get(first.id)).result() == 1
        assert (await later.submit(count, 1, key="k", owner="a")).id == first.id


async def test_many_at_once(address: str) -> None:
    """Two workers share the jobs of a client; each job runs once."""
    async with registry(address, capacity=0) as client:
        handles = await client.submit_many(count, [(number,) for number in range(40)])
        async with registry(address, capacity=3, name="a"), registry(address, capacity=3, name="b"):
            assert [await one.result() for one in handles] == list(range(40))
        jobs = await client.find()
        assert {job.attempt for job in jobs} == {1}
        assert await client.count(state=State.COMPLETED) == 40


# ------------------------------------------------------------ lives of a job


async def test_what_is_saved_is_found_again(address: str) -> None:
    """Each attempt gets what the last one saved, also in another registry; readers get restarts."""
    async with registry(address, capacity=0) as client:
        handle = await client.submit(flaky, retry=Retry(attempts=3, initial=0.01))
        async with registry(address, name="first") as first:
            async with (await first.get(handle.id)).events() as events:
                async for event in events:
                    if event.kind is Kind.RETRIED:
                        break
        async with registry(address, name="second"):
            attempt, before = await handle.result()
        assert attempt == 3
        assert before["attempt"] == 2
        assert before["before"] == {"attempt": 1, "before": None}
        seen: list[Any] = []
        async with handle.stream() as tokens:
            while True:
                try:
                    seen.append(await tokens.receive())
                except StreamRestarted as restart:
                    seen.append(restart.attempt)
                except trio.EndOfChannel:
                    break
        assert seen == [1, 2, 2, 3, 3]
        job = await handle.snapshot()
        assert (job.spent, job.error) == (3, None)


async def test_a_shutdown_hands_over(address: str) -> None:
    """Leaving a registry hands its jobs over without spending an attempt, and the next goes on at once."""
    async with registry(address, capacity=0) as client:
        handle = await client.submit(hold)
        async with handle.stream(restarts="continue") as tokens:
            async with registry(address, name="first"):
                assert await tokens.receive() == "attempt 1"
                async with handle.events() as events:  # until it has saved
                    async for event in events:
                        if event.kind is Kind.SAVED:
                            break
            job = await handle.snapshot()
            assert (job.state, job.reason, job.spent) == (State.RETRYING, Reason.SHUTDOWN, 0)
            async with registry(address, name="second"):
                assert await tokens.receive() == "attempt 2"
                assert await handle.result() == "stopped"


async def nothing(job: JobContext[Any]) -> None:
    await trio.lowlevel.checkpoint()


async def test_leaving_over_and_over_loses_nothing_and_spends_nothing(address: str) -> None:
    """However often, and whenever, a registry is left in order while jobs wait: no job is left running, and
    only attempts that completed are spent."""
    async with registry(address, [nothing], capacity=0) as client:
        await client.submit_many(nothing, [()] * 600)
    for steps in range(0, 90, 3):
        async with registry(address, [nothing], capacity=8):
            for _ in range(steps):
                await trio.lowlevel.checkpoint()
    async with registry(address, [nothing], capacity=0) as client:
        jobs = [await (await client.get(one.id)).snapshot() for one in await client.find(limit=600)]
        left = {(job.state, job.reason, job.spent) for job in jobs if job.state is not State.COMPLETED}
        assert left <= {(State.QUEUED, None, 0), (State.RETRYING, Reason.SHUTDOWN, 0)}


async def test_a_drain(address: str) -> None:
    """`drain` waits for the attempts here, and leaves waiting jobs alone."""
    async with registry(address, capacity=1, on_exit="drain") as jobs:
        first, second = await jobs.submit(count, 50), await jobs.submit(count, 50)
    async with registry(address, capacity=0) as client:
        states = [(await (await client.get(one.id)).snapshot()).state for one in (first, second)]
        assert states == [State.COMPLETED, State.QUEUED]


async def test_a_grace_at_the_stop(address: str) -> None:
    """A handler that ends within the grace completes."""
    async with registry(address, grace=30) as jobs:
        handle = await jobs.submit(clean_up)
        async with handle.stream() as tokens:
            await tokens.receive()
    async with registry(address, capacity=0) as client:
        assert await (await client.get(handle.id)).result() == "cleaned up"


async def test_who_waits_at_the_stop(address: str) -> None:
    """A task that waits for a job that continues elsewhere gets ClosedResourceError."""
    waits: list[str] = []

    async def wait(handle: Any, name: str) -> None:
        with pytest.raises(trio.ClosedResourceError):
            await getattr(handle, name)()
        waits.append(name)

    async with trio.open_nursery() as nursery:
        async with registry(address, capacity=0) as jobs:
            handle = await jobs.submit(count, 1)
            nursery.start_soon(wait, handle, "wait")
            nursery.start_soon(wait, handle, "result")
            await trio.testing.wait_all_tasks_blocked()
            await handle.snapshot()
    assert sorted(waits) == ["result", "wait"]


async def test_children(address: str) -> None:
    """Children have their own logs and results, and end with their parent's attempt."""
    async with registry(address) as jobs, registry(address, capacity=0) as client:
        handle = await jobs.submit(parent, 3)
        assert await handle.result() == [0, 1, 2]
        children = await client.find(parent=handle.id)
        assert [await (await client.get(child.id)).result() for child in children] == [0, 1, 2]
        holder = await jobs.submit(parent_that_holds)
        async with holder.stream() as tokens:
            await tokens.receive()
    async with registry(address) as jobs:
        assert await (await jobs.get(holder.id)).result() == 2
        (orphan,) = await jobs.find(parent=holder.id)
        assert (orphan.state, orphan.reason) == (State.CANCELLED, Reason.PARENT)


# ------------------------------------------------------------ payloads


class Foul:
    def __repr__(self) -> str:
        return "\ud800\0"


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")

    __repr__ = __str__


def deep() -> Any:
    value: Any = 1
    for _ in range(100_000):
        value = [value]
    return value


BAD: dict[str, Callable[[], Any]] = {
    "foul": Foul,
    "mute": Mute,
    "nan": lambda: math.nan,
    "nul": lambda: "a\0b",
    "surrogate": lambda: "\ud800",
    "deep": deep,
    "keys": lambda: {1: 2},
    "code": lambda: print,
}


async def bad_result(job: JobContext[Any], what: str) -> Any:
    await job.send("fine")
    return BAD[what]()


async def bad_token(job: JobContext[Any], what: str) -> None:
    await job.send("fine")
    await job.send(BAD[what]())
    await trio.sleep_forever()


async def bad_last_token(job: JobContext[Any], what: str) -> None:
    await job.send("fine")
    await job.send(BAD[what]())


async def bad_save(job: JobContext[Any], what: str) -> str:
    await job.save("fine")
    try:
        await job.save(BAD[what]())
    except InvalidPayload as refusal:
        assert job.saved == "fine"
        return ascii(refusal)
    raise AssertionError


async def bad_error(job: JobContext[Any], what: str) -> None:
    raise Mute(BAD[what]()) if what == "mute" else ValueError("\ud800\0" + "x" * 10**7)


async def bad_wait(job: JobContext[Any], what: str) -> None:
    raise RetryAfter(10**400, what)


BADLY = [bad_result, bad_token, bad_last_token, bad_save, bad_error, bad_wait]


@pytest.mark.parametrize("what", BAD)
async def test_what_json_cannot_hold(what: str, address: str) -> None:
    """An argument is refused at submit; a result, a token and an error fail their job at once, with a
    storable message; a saved value is refused where it is saved; and the worker goes on."""

    async def take(job: JobContext[Any], value: Any) -> None: ...

    take.__annotations__ = {"value": Any}
    async with registry(address, [take, count, *BADLY]) as jobs:
        retry = Retry(attempts=3, initial=0)
        with pytest.raises(InvalidPayload, match="^the arguments of take "):
            await jobs.submit(take, BAD[what]())
        with pytest.raises(InvalidPayload, match="^metadata "):
            await jobs.submit(count, 1, metadata={"a": BAD[what]()})
        for fn, reason, words in [
            (bad_result, Reason.BAD_RESULT, "the result "),
            (bad_token, Reason.LIMIT, "a token "),
            (bad_last_token, Reason.LIMIT, "a token "),
        ]:
            handle = await jobs.submit(fn, what, retry=retry)
            with pytest.raises(JobFailed, match=words) as caught:
                await handle.result()
            assert (caught.value.reason, caught.value.attempt) == (reason, 1)
            async with handle.events() as events:
                tokens = [event.data async for event in events if event.kind is Kind.TOKEN]
            assert tokens == ["fine"]
        assert "a saved value " in await (await jobs.submit(bad_save, what)).result()
        for fn in (bad_error, bad_wait):
            assert (await (await jobs.submit(fn, what)).wait()).reason is Reason.ERROR
        assert await (await jobs.submit(count, 3)).result() == 3


@attrs.frozen
class Size:
    width: int
    height: int = 1


@handler(name="draw", retry=Retry(attempts=5, initial=0))
async def draw(job: JobContext[Any], size: Size, colour: str = "red") -> list[Any]:
    return [size.width, size.height, colour, type(size).__name__]


async def test_arguments_keep_their_types(address: str) -> None:
    """A handler gets the types of its annotations, though the job waited in a file."""
    async with registry(address, [draw], capacity=0) as client:
        handle = await client.submit(draw, Size(3))
    async with registry(address, [draw]) as jobs:
        assert await (await jobs.get(handle.id)).result() == [3, 1, "red", "Size"]


@pytest.mark.parametrize("args", [(Size(1), "red"), (Size(1),)])
async def test_arguments_that_do_not_fit_any_more(args: Any, address: str) -> None:
    """The job fails once, whatever its retry rule, with the names of the handler and the argument."""

    @handler(name="draw")
    async def now(job: JobContext[Any], size: int) -> None: ...

    now.__annotations__ = {"size": int}
    async with registry(address, [draw], capacity=0) as client:
        handle = await client.submit(draw, *args)
    async with registry(address, [now]) as jobs:
        with pytest.raises(JobFailed, match="the arguments of draw do not fit: ") as caught:
            await (await jobs.get(handle.id)).result()
        assert (caught.value.reason, caught.value.attempt) == (Reason.ERROR, 1)


async def test_a_handler_that_is_not_here(address: str) -> None:
    """Submitting to an unknown handler is refused by name; its stored jobs wait for a worker that has it."""
    bound: Any = partial(count, to=3)
    async with registry(address, [count]) as jobs:
        with pytest.raises(UnknownHandler, match="no handler 'hold': there is count; see handlers="):
            await jobs.submit(hold)
        with pytest.raises(InvalidPayload, match="is not the handler this registry was given as 'count'"):
            await jobs.submit(bound)
        async with registry(address, [draw], capacity=0) as client:
            handle = await client.submit(draw, Size(2))
        assert await (await jobs.submit(count, 2)).result() == 2
        assert (await (await jobs.get(handle.id)).snapshot()).state is State.QUEUED
        async with registry(address, [draw]):
            assert (await (await jobs.get(handle.id)).result())[0] == 2


# ------------------------------------------------------------ several processes

WORKER = """
import sys, trio
from trio_jobs import open_registry

async def count(job, to: int) -> int:
    for number in range(to):
        await job.send(number)
        if number == to // 2 and job.attempt == 1:
            await job.save("half")
            await trio.sleep_forever()
    return job.attempt

async def hold(job) -> str:
    await job.send(f"attempt {job.attempt}")
    try:
        await trio.sleep_forever()
    finally:
        print(f"ended {job.attempt}", flush=True)

async def main():
    async with open_registry(sys.argv[1], handlers=[count, hold], lease=float(sys.argv[2])) as jobs:
        print("ready", flush=True)
        with trio.open_signal_receiver(15) as signals:
            async for _ in signals:
                break
    print("left", flush=True)

trio.run(main)
"""

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(address: str) -> Iterator[Start]:
    """Start worker processes, and end those that are left."""
    running: list[subprocess.Popen[str]] = []

    def begin(lease: float = 30) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", WORKER, address, str(lease)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        running.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    yield begin
    for process in running:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


async def test_another_process_works(address: str, start: Start) -> None:
    """A job of another process is followed live, joined late and resumed from any cursor, and cancelled from
    here; and an orderly end of that process hands over without spending an attempt."""
    worker = start()
    async with registry(address, capacity=0) as jobs:
        handle = await jobs.submit(count, 10)
        seen: list[Any] = []
        async with handle.stream() as tokens:
            async for token in tokens:
                seen.append(token)
                if token == 5:
                    cursor = tokens.cursor
                    break
        assert seen == [0, 1, 2, 3, 4, 5]
        async with handle.stream() as late, handle.stream(after=cursor - 2) as resumed:
            assert [await late.receive() for _ in range(6)] == seen
            assert [await resumed.receive() for _ in range(2)] == [4, 5]
        holder = await jobs.submit(hold)
        async with holder.stream() as words:
            assert await words.receive() == "attempt 1"
            report = await holder.cancel("enough")
        assert report.outcome == "cancelled"
        assert report.took < 1
        worker.terminate()
        assert worker.communicate(timeout=PATIENCE)[0] == "ended 1\nleft\n"
        job = await handle.snapshot()
        assert (job.state, job.reason, job.spent, job.saved) == (State.RETRYING, Reason.SHUTDOWN, 0, "half")
        start()
        assert await handle.result() == 2


async def test_a_process_that_is_killed(address: str, start: Start) -> None:
    """Its job runs in another process after its lease has lapsed; each token is there once per attempt."""
    first = start(0.3)
    async with registry(address, capacity=0) as jobs:
        handle = await jobs.submit(count, 10)
        async with handle.events() as events:
            async for event in events:
                if event.kind is Kind.SAVED:
                    break
        first.kill()
        first.wait()
        start(0.3)
        assert await handle.result() == 2
        async with handle.events() as events:
            tokens = [(one.attempt, one.data) async for one in events if one.kind is Kind.TOKEN]
        assert tokens == [*((1, number) for number in range(6)), *((2, number) for number in range(10))]
        assert (await handle.snapshot()).spent == 2


async def test_a_process_that_stands_still(address: str, start: Start) -> None:
    """While it is stopped for longer than its lease another one takes over; when it continues it writes
    nothing, and its handler is cancelled."""
    first = start(0.3)
    async with registry(address, capacity=0) as jobs:
        handle = await jobs.submit(hold)
        async with handle.stream() as words:
            assert await words.receive() == "attempt 1"
        os.kill(first.pid, signal.SIGSTOP)
        start(0.3)
        async with handle.stream(restarts="continue") as words:
            assert [await words.receive() for _ in range(2)] == ["attempt 1", "attempt 2"]
        before = await handle.history()
        os.kill(first.pid, signal.SIGCONT)
        assert first.stdout is not None
        assert await trio.to_thread.run_sync(first.stdout.readline) == "ended 1\n"
        assert await handle.history() == before
        assert (await handle.snapshot()).attempt == 2
