"""Arguments by name, in memory and in a file: whoever submits a job, its handler is given them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from trio_jobs import (
    Job,
    JobContext,
    JobRegistry,
    KeyConflict,
    Reason,
    Schedule,
    State,
    handler,
    open_registry,
)

STORES = pytest.mark.parametrize("store", ["memory", "sqlite"])


@attrs.frozen
class Size:
    width: int


@handler
async def render(job: JobContext[str], page: str, *, size: Size, bold: bool = False) -> str:
    return f"{page} {size.width} {bold}"


@handler(hide_args=True)
async def log_in(job: JobContext[str], *, password: str) -> int:
    return len(password)


@handler
async def parent(job: JobContext[str]) -> Sequence[str]:
    child = await job.spawn(render, "child", kwargs={"size": Size(1)})
    other = await job.submit(render, "other", kwargs={"size": Size(2), "bold": True})
    return [await child.result(), await other.result()]


def opened(store: str, folder: Path, **options: Any) -> AbstractAsyncContextManager[JobRegistry]:
    if store == "memory":
        return open_registry(**options)
    return open_registry(f"sqlite:///{folder}/jobs.db", handlers=[render, log_in, parent], **options)


@STORES
async def test_a_handler_is_given_them(store: str, tmp_path: Path) -> None:
    """A keyword-only parameter gets its value in its type, and `Job` and lists tell it."""
    async with opened(store, tmp_path) as jobs:
        handle = await jobs.submit(render, "a", kwargs={"size": Size(3), "bold": True})
        assert await handle.result() == "a 3 True"
        job = await handle.snapshot()
        if store == "memory":
            assert (job.args, job.kwargs) == (("a",), {"bold": True, "size": Size(3)})
        else:
            assert (job.args, job.kwargs) == (("a",), {"bold": True, "size": {"width": 3}})
            (one,) = await jobs.find()
            assert one.args_text == '{"args":["a"],"kwargs":{"bold":true,"size":{"width":3}}}'
        none = await (await jobs.submit(parent)).snapshot()
        assert (none.args, none.kwargs) == ((), {})


@STORES
async def test_whatever_submits(store: str, tmp_path: Path) -> None:
    """`submit_many`, `spawn`, `JobContext.submit`, `execute_and_stream` and `resubmit` hand them on."""
    async with opened(store, tmp_path) as jobs:
        several = await jobs.submit_many(render, [("a",), ("b",)], kwargs={"size": Size(3)})
        assert [await one.result() for one in several] == ["a 3 False", "b 3 False"]
        assert await (await jobs.submit(parent)).result() == ["child 1 False", "other 2 True"]
        async with jobs.execute_and_stream(render, "c", kwargs={"size": Size(4)}) as lines:
            assert [line async for line in lines] == ["[DONE]"]
        assert await (await several[0].resubmit()).result() == "a 3 False"
        with pytest.raises(TypeError, match="a job is submitted again with the arguments that it had"):
            await several[0].resubmit(kwargs={"size": Size(5)})  # type: ignore[call-arg]


@STORES
async def test_what_does_not_fit_makes_no_job(store: str, tmp_path: Path) -> None:
    """A missing or an unknown name is a `TypeError` of `submit`, and nothing is accepted."""
    async with opened(store, tmp_path) as jobs:
        for kwargs, why in (
            ({}, "needs the keyword argument 'size'"),
            ({"size": Size(1), "colour": 2}, "'colour'"),
        ):
            with pytest.raises(TypeError, match=f"^render does not take these arguments: .*{why}"):
                await jobs.submit(render, "a", kwargs=kwargs)
        assert await jobs.count() == 0


@STORES
async def test_a_key_is_for_the_same_arguments(store: str, tmp_path: Path) -> None:
    """Under a key, the same arguments by name are the same job in any order, and others are a conflict."""
    async with opened(store, tmp_path, capacity=0) as jobs:
        first = await jobs.submit(render, "a", kwargs={"size": Size(3), "bold": True}, key="k")
        again = await jobs.submit(render, "a", kwargs={"bold": True, "size": Size(3)}, key="k")
        assert again == first
        with pytest.raises(KeyConflict):
            await jobs.submit(render, "a", kwargs={"size": Size(3)}, key="k")


@STORES
async def test_secrets_are_hidden(store: str, tmp_path: Path) -> None:
    """With `hide_args`, arguments by name are told as little as those by place, and the handler has them."""
    async with opened(store, tmp_path) as jobs:
        handle = await jobs.submit(log_in, kwargs={"password": "secret"})
        assert await handle.result() == 6
        job = await handle.snapshot()
        (one,) = await jobs.find()
        assert (job.args, job.kwargs, one.args_text) == (None, None, None)


@STORES
async def test_a_schedule_has_them(store: str, tmp_path: Path) -> None:
    """A job of a schedule has the arguments of the schedule, by place and by name, also after reopening."""
    daily = Schedule(render, ("a",), every=86400, name="daily", kwargs={"size": Size(3)})
    async with opened(store, tmp_path) as jobs:
        await jobs.schedules.add(daily)
        assert await (await jobs.schedules.trigger("daily")).result() == "a 3 False"
    if store == "sqlite":
        async with opened(store, tmp_path) as jobs:
            assert await (await jobs.schedules.trigger("daily")).result() == "a 3 False"


def test_a_schedule_is_checked() -> None:
    """A schedule whose arguments do not fit is refused when it is made, and has them in one place."""
    with pytest.raises(TypeError, match="it needs the keyword argument 'size'"):
        Schedule(render, ("a",), every=60)
    with pytest.raises(TypeError, match="kwargs are no option here: .* a schedule has kwargs of its own"):
        Schedule(render, ("a",), every=60, kwargs={"size": Size(1)}, options={"kwargs": {"size": Size(1)}})


async def test_they_go_through_hooks() -> None:
    """A registry with `wrap` hands them on."""

    @asynccontextmanager
    async def wrap(job: JobContext[Any]) -> AsyncGenerator[None]:
        yield

    async with open_registry(wrap=wrap) as jobs:
        assert await (await jobs.submit(render, "a", kwargs={"size": Size(3)})).result() == "a 3 False"


async def test_a_handler_that_was_changed_fails_the_job(tmp_path: Path) -> None:
    """A job whose arguments by name its handler does not take any more fails, and says why; others run."""

    @handler(name="render")
    async def changed(job: JobContext[str], page: str) -> str:
        return page

    async with opened("sqlite", tmp_path, capacity=0) as jobs:
        old = await jobs.submit(render, "a", kwargs={"size": Size(3)})
    async with open_registry(f"sqlite:///{tmp_path}/jobs.db", handlers=[changed]) as jobs:
        with trio.fail_after(30):
            job: Job = await (await jobs.get(old.id)).wait()
        assert (job.state, job.reason) == (State.FAILED, Reason.ERROR)
        assert "the arguments of render do not fit: got an unexpected keyword argument 'size'" in str(
            job.error
        )
        assert await (await jobs.submit(changed, "b")).result() == "b"
