"""Jobs that are submitted again, in memory and in a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from trio_jobs import (
    Busy,
    Debounce,
    IllegalTransition,
    InvalidPayload,
    Job,
    JobContext,
    Limit,
    Priority,
    Retry,
    State,
    Timeouts,
    UnknownHandler,
    UnknownJob,
    handler,
    open_registry,
)
from trio_jobs.stores.memory import MemoryStore
from trio_jobs.testing import Connection

STORES = pytest.mark.parametrize("store", ["memory", "sqlite"])


@attrs.frozen
class Size:
    width: int


@handler(retry=Retry(2, initial=0, on=KeyError))
async def measure(job: JobContext[str], size: Size, factor: int = 1) -> int:
    if size.width < 0:
        raise ValueError(size.width)
    return size.width * factor


@handler(name="measure")
async def measure_text(job: JobContext[str], size: str) -> None: ...


@handler
async def hang(job: JobContext[str]) -> None:
    await trio.sleep_forever()


def address(store: str, folder: Path) -> str:
    return "memory://" if store == "memory" else f"sqlite:///{folder / 'jobs.db'}"


OPTIONS: Mapping[str, Any] = {
    "timeouts": Timeouts(run=5, idle=2),
    "retry": Retry(3, initial=0, on=KeyError),
    "priority": Priority.HIGH,
    "tags": {"user": "7"},
    "metadata": {"why": "test"},
    "owner": "ann",
}


def said(job: Job) -> Mapping[str, Any]:
    return {name: getattr(job, name) for name in OPTIONS}


@STORES
async def test_a_job_is_submitted_again(store: str, tmp_path: Path) -> None:
    """The new job has the arguments and options of the old one, but no key and no delay, and names it."""
    async with open_registry(address(store, tmp_path), handlers=[measure]) as jobs:
        handle = await jobs.submit(measure, Size(3), 4, key="k", delay=0.05, **OPTIONS)
        assert await handle.result() == 12
        before = await handle.snapshot()
        again = await handle.resubmit()
        assert await again.result() == 12
        after = await again.snapshot()
        assert after.next_attempt_at is None
        assert (after.key, after.resubmitted_from, before.resubmitted_from) == (None, handle.id, None)
        assert said(after) == said(before) == OPTIONS
        assert await handle.snapshot() == before
        assert await (await again.resubmit()).result() == 12


@STORES
async def test_options_are_changed(store: str, tmp_path: Path) -> None:
    """What is given wins over what the job had; a key makes it one job, however often it is called."""
    async with open_registry(address(store, tmp_path), handlers=[measure]) as jobs:
        handle = await jobs.submit(measure, Size(3), **OPTIONS)
        await handle.wait()
        again = await handle.resubmit(timeout=9, tags={"user": "8"}, key="again")
        job = await again.wait()
        assert said(job) == {**OPTIONS, "timeouts": Timeouts(run=9, idle=2), "tags": {"user": "8"}}
        assert await handle.resubmit(timeout=9, tags={"user": "8"}, key="again") == again
        assert (await (await handle.resubmit(delay=3)).snapshot()).next_attempt_at is not None
        with pytest.raises(TypeError, match="there is no option 'prority'; did you mean 'priority'"):
            await handle.resubmit(prority=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
        with pytest.raises(ValueError, match="give delay or run_at"):
            await handle.resubmit(delay=1, run_at=job.created_at)
        with pytest.raises(TypeError, match="key"):
            await handle.resubmit(key=7)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


@STORES
async def test_only_what_has_ended(store: str, tmp_path: Path) -> None:
    """A job that has not ended, or is gone, is not submitted again; the error says what to do."""
    async with open_registry(address(store, tmp_path), handlers=[hang]) as jobs:
        handle = await jobs.submit(hang)
        with pytest.raises(IllegalTransition) as caught:
            await handle.resubmit()
        assert "cannot be submitted again; wait for its end, or cancel it" in str(caught.value)
        assert await jobs.count() == 1
        await handle.cancel()
        again = await handle.resubmit()
        await again.cancel()
        await jobs.remove(handle.id)
        with pytest.raises(UnknownJob):
            await handle.resubmit()
        assert (await again.snapshot()).resubmitted_from == handle.id


@STORES
async def test_an_exclusive_job(store: str, tmp_path: Path) -> None:
    """A job keeps its exclusive name and what it does while that is held; both may be changed."""
    async with open_registry(address(store, tmp_path), handlers=[hang]) as jobs:
        first = await jobs.submit(hang, exclusive="a", on_busy="after")
        await first.cancel()
        second = await first.resubmit()
        third = await first.resubmit()
        assert (await third.snapshot()).behind == second.id
        with pytest.raises(Busy):
            await first.resubmit(on_busy="reject")
        assert (await (await first.resubmit(exclusive="b")).snapshot()).exclusive == "b"
        assert (await (await first.resubmit(exclusive=None)).snapshot()).exclusive is None
        late = await first.resubmit(on_busy=Debounce(20, 60))
        await late.cancel()
        again = await (await late.resubmit()).snapshot()
        assert again.next_attempt_at is not None
        assert (again.next_attempt_at - again.created_at).total_seconds() == pytest.approx(20, abs=0.1)
        assert (await (await late.resubmit(exclusive=None)).snapshot()).state is State.RUNNING


async def test_a_limit_key() -> None:
    """A job keeps its `limit_key`; a handler that has a keyed limit now asks for one."""
    one = Limit(at_once=1, keyed=True)

    @handler(name="hang", limits=[one])
    async def limited(job: JobContext[str]) -> None:
        await trio.sleep_forever()

    async with open_registry() as jobs:
        running = await jobs.submit(limited, limit_key="a")
        ended = await jobs.submit(limited, limit_key="a")
        await ended.cancel()
        again = await ended.resubmit()
        other = await ended.resubmit(limit_key="b")
        await wait_all_tasks_blocked()
        assert [(await one.snapshot()).state for one in (running, again, other)] == [
            State.RUNNING,
            State.QUEUED,
            State.RUNNING,
        ]


async def test_the_handler_is_gone_or_changed(tmp_path: Path) -> None:
    """In a file, a handler that is not known here, or takes other arguments now, is told."""
    store = address("sqlite", tmp_path)
    async with open_registry(store, handlers=[measure]) as jobs:
        handle = await jobs.submit(measure, Size(3))
        await handle.wait()
    async with open_registry(store, handlers=[hang]) as jobs:
        with pytest.raises(UnknownHandler, match="there is no handler 'measure': there is hang"):
            await (await jobs.get(handle.id)).resubmit()
    async with open_registry(store, handlers=[measure_text]) as jobs:
        with pytest.raises(InvalidPayload, match=f"{handle.id} was submitted with .* measure do not fit"):
            await (await jobs.get(handle.id)).resubmit()
        assert await jobs.count() == 1


@STORES
async def test_a_child_job(store: str, tmp_path: Path) -> None:
    """A child job that is submitted again is a job of its own."""

    @handler
    async def parent(job: JobContext[str]) -> int:
        child = await job.spawn(measure, Size(3))
        return await child.result()

    async with open_registry(address(store, tmp_path), handlers=[measure, parent]) as jobs:
        above = await jobs.submit(parent)
        await above.result()
        (child,) = await jobs.find(parent=above.id)
        again = await (await jobs.get(child.id)).resubmit()
        assert (await again.wait()).parent is None
        assert await again.result() == 3


async def test_a_store_that_cannot() -> None:
    """A store of one's own that cannot tell what a job was submitted with is named in the error."""

    class Plain(Connection):
        submission: Any = None

    async with open_registry(Plain(MemoryStore())) as jobs:
        handle = await jobs.submit(measure, Size(3))
        await handle.wait()
        with pytest.raises(TypeError, match="jobs of Plain cannot be submitted again"):
            await handle.resubmit()
