"""A handle on a server's job is used as one of the process is: the same names, answers and errors."""

from __future__ import annotations

import traceback
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from tests.client.site import count, fail, flaky, forever, permits, site, stubborn
from trio_jobs import (
    CancelReport,
    JobCancelled,
    JobFailed,
    JobHandle,
    JobTimedOut,
    Reason,
    UnknownJob,
    client,
)
from trio_jobs.client import RemoteRegistry, connect

Handles = tuple[JobHandle[Any, Any], JobHandle[Any, Any]]


@asynccontextmanager
async def two_handles(fn: Any, *args: Any, **options: Any) -> AsyncGenerator[Handles]:
    """Yield two handles on a job: one in the process and one of a client."""
    async with site() as (jobs, url), connect(url) as remote:
        here = await jobs.submit(fn, *args, **options)
        yield here, await remote.get(here.id)


async def outcome(call: Callable[[], Awaitable[Any]]) -> tuple[Any, ...]:
    """Return what a call returns or raises, in a form that can be compared."""
    try:
        return "returned", await call()
    except Exception as error:  # noqa: BLE001  # whatever it is, it is compared
        facts = {name: value for name, value in vars(error).items() if name != "__notes__"}
        return type(error), str(error), facts


def test_the_former_name_of_its_handles() -> None:
    """`RemoteHandle` is a deprecated name of `JobHandle`; other names that are not there are refused."""
    with pytest.warns(DeprecationWarning, match=r"trio_jobs\.JobHandle"):
        assert client.RemoteHandle is JobHandle
    with pytest.raises(AttributeError, match="no attribute 'LocalHandle'"):
        _ = client.LocalHandle  # type: ignore[attr-defined]


@pytest.mark.parametrize("tracebacks", [True, False])
async def test_what_a_job_does_is_explained_by_its_server(tracebacks: bool) -> None:
    """A client's explanation of a job that runs is the server's, which looks into its tasks; with their
    stacks only if clients see tracebacks."""
    async with site(tracebacks=tracebacks) as (jobs, url), connect(url) as remote:
        here = await jobs.submit(forever, timeout=60)
        there = await remote.get(here.id)
        async with there.stream() as tokens:
            assert await tokens.receive() == "begun"
            lines = (await there.explain()).splitlines()
            assert lines[2].startswith("  attempt 1 runs in this process")
            assert "readers in this process" in lines[4]
            assert ("  its tasks, innermost call last:" in lines) == tracebacks
            assert any("await trio.sleep_forever()" in line for line in lines) == tracebacks


@pytest.mark.parametrize(
    ("fn", "args", "options"),
    [
        (count, (3,), {}),
        (fail, ("no",), {}),
        (flaky, (), {}),
        (forever, (), {"timeout": 0}),
        (forever, (), {"delay": 3600}),
    ],
    ids=["completed", "failed", "retried", "timed out", "cancelled"],
)
async def test_the_same_is_seen(fn: Any, args: tuple[Any, ...], options: dict[str, Any]) -> None:
    """However a job ends, its snapshot, history, result, events and errors are the same on both sides."""
    async with two_handles(fn, *args, **options) as (here, there):
        if "delay" in options:
            assert await there.explain() == await here.explain()
            await here.cancel("not needed")
        assert await there.wait() == await here.wait()
        assert await there.snapshot() == await here.snapshot()
        assert await there.history() == await here.history()
        assert await outcome(there.result) == await outcome(here.result)
        for name in ("events", "stream"):

            async def read(handle: JobHandle[Any, Any], name: str = name) -> list[Any]:
                more = {"restarts": "continue"} if name == "stream" else {}
                found: list[Any] = []
                async with getattr(handle, name)(**more) as stream:
                    try:
                        async for value in stream:
                            found.append(value)
                    except (JobFailed, JobCancelled) as error:
                        found.append((type(error), str(error)))
                    found.append(stream.cursor)
                return found

            assert await read(there) == await read(here)


async def test_how_a_job_ended_is_raised() -> None:
    """`result` raises the end of a job that failed, timed out or was cancelled, with the facts."""
    async with site() as (_, url), connect(url) as remote:
        with pytest.raises(JobFailed) as failed:
            await (await remote.submit(fail, "no")).result()
        assert failed.value.error is not None
        assert (failed.value.reason, failed.value.error.message) == (Reason.ERROR, "no")
        with pytest.raises(JobTimedOut):
            await (await remote.submit(forever, timeout=0)).result()
        handle = await remote.submit(forever)
        await handle.request_cancel("enough")
        with pytest.raises(JobCancelled, match="enough"):
            await handle.result()


async def test_cancel_tells_what_became_of_it() -> None:
    """Each outcome of a cancellation is reported: cancelled, over, finished first, stuck with a stack."""
    async with site() as (_, url), connect(url) as remote:
        handle = await remote.submit(forever)
        assert (await handle.cancel("enough")).outcome == "cancelled"
        assert (await handle.cancel()).outcome == "already_over"
        assert await handle.request_cancel() is False

        gate = permits("stubborn")
        stuck = await remote.submit(stubborn)
        async with stuck.stream() as tokens:
            await tokens.receive()
            report = await stuck.cancel(patience=0)
            assert report.outcome == "stuck"
            assert "stubborn" in (report.stack or "")
            assert await stuck.request_cancel() is True
            gate.close()
        assert (await stuck.wait()).state.over

        gate = permits("polite")
        polite = await remote.submit("permitted", "polite")
        reports: list[CancelReport] = []
        async with polite.events() as events, trio.open_nursery() as nursery:

            async def cancel() -> None:
                reports.append(await polite.cancel(grace=30))

            nursery.start_soon(cancel)
            async for event in events:
                if event.kind == "cancel_requested":
                    gate.close()
        assert reports[0].outcome == "finished_first"


@pytest.mark.parametrize(
    ("arguments", "error"),
    [({"grace": -1}, ValueError), ({"patience": "x"}, TypeError), ({"reason": "\0"}, ValueError)],
)
async def test_a_mistake_is_told_at_once(arguments: dict[str, Any], error: type[Exception]) -> None:
    """What `JobHandle.cancel` refuses is refused before a message is sent."""
    async with two_handles(forever) as (here, there):
        with pytest.raises(error):
            await there.cancel(**arguments)
        assert (await here.snapshot()).cancel_requested_at is None


async def test_a_cancelled_wait_leaves_nothing_behind() -> None:
    """A wait that is cancelled ends at the server too, so any number of waits can be cancelled."""
    async with site() as (jobs, url), connect(url) as remote:
        here = await jobs.submit(forever)
        there = await remote.get(here.id)
        for _ in range(120):
            with trio.move_on_after(0):
                await there.wait()
        async with trio.open_nursery() as nursery:
            for _ in range(90):
                nursery.start_soon(there.wait)
            await there.snapshot()
            nursery.cancel_scope.cancel()
        for _ in range(3):
            async with trio.open_nursery() as nursery:
                for _ in range(90):
                    nursery.start_soon(there.wait)
                await there.snapshot()
                nursery.cancel_scope.cancel()
        await there.snapshot()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(there.wait)  # one too many, if the others were still there
            await there.snapshot()
            await here.cancel()


async def test_a_job_that_was_removed_is_unknown() -> None:
    """Every method of its handle raises UnknownJob."""
    async with site() as (jobs, url), connect(url) as remote:
        handle = await remote.submit(count, 1)
        await handle.wait()
        await jobs.remove(handle.id)
        for call in (handle.snapshot, handle.wait, handle.result, handle.history, handle.cancel):
            with pytest.raises(UnknownJob) as caught:
                await call()
            assert caught.value.job_id == handle.id
        for stream in (handle.events, handle.stream):
            with pytest.raises(UnknownJob):
                async with stream():
                    raise AssertionError("it was opened")


async def test_handles_are_equal_if_the_job_is() -> None:
    """Handles of one client with one id are equal; those of another client, or in the process, are not."""
    async with site() as (jobs, url), connect(url) as remote, connect(url) as other:
        handle = await remote.submit(count, 1)
        assert handle == await remote.get(handle.id)
        assert hash(handle) == hash(await remote.get(handle.id))
        others = {await other.get(handle.id), await jobs.get(handle.id), await remote.submit(count, 1)}
        assert len({handle, *others}) == 4
        assert repr(handle) == f"<JobHandle {handle.id}>"


async def test_after_the_block_nothing_works() -> None:
    """After the block each method raises the error that a registry of the process raises."""
    async with site() as (_, url):
        async with connect(url) as remote:
            handle = await remote.submit(forever)
        calls: list[Callable[[], Awaitable[object]]] = [
            handle.snapshot,
            handle.wait,
            handle.result,
            handle.history,
            handle.cancel,
            handle.request_cancel,
            remote.find,
            remote.handlers,
            remote.statistics,
        ]
        for call in calls:
            with pytest.raises(trio.ClosedResourceError, match="block of connect"):
                await call()
        for stream in (handle.events, handle.stream):
            with pytest.raises(trio.ClosedResourceError, match="block of connect"):
                stream()
        with pytest.raises(trio.ClosedResourceError, match="block of connect"):
            await remote.submit(count, 1)
        assert isinstance(remote, RemoteRegistry)


async def test_errors_are_short() -> None:
    """The traceback of an error has no frames of the network's tasks."""
    async with site() as (_, url), connect(url) as remote:
        try:
            await remote.get("nobody")
        except UnknownJob as error:
            assert error.__context__ is None
            assert error.__cause__ is None
            assert len(traceback.extract_tb(error.__traceback__)) < 8
