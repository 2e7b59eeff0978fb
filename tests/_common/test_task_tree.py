"""The tree of a job's tasks as people read it: names, files, lines, and which task runs under which."""

from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import Any

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from trio_jobs import JobContext, open_registry
from trio_jobs._common.task_tree import task_tree


async def rests_in_a_shield() -> None:
    with trio.CancelScope(shield=True):
        await trio.sleep(60)


async def calls_another() -> None:
    await rests_in_a_shield()


async def test_names_and_frames_of_a_stuck_job(autojump_clock: MockClock) -> None:
    """The stack of a stuck job names its tasks and, innermost last, each function with its file, line and
    text."""

    async def handler(job: JobContext[Any]) -> None:
        job.nursery.start_soon(calls_another, name="the helper")
        async with trio.open_nursery() as inner:
            inner.start_soon(rests_in_a_shield, name="deep inside")
            await calls_another()

    async with open_registry() as jobs:
        handle = await jobs.submit(handler)
        await wait_all_tasks_blocked()
        report = await handle.cancel(patience=5)
        assert report.outcome == "stuck"
        assert report.took == 5
        assert report.stack is not None
        lines = report.stack.splitlines()
    assert handle.id in lines[0]
    assert "handler" in lines[0]
    frames = [line.strip() for line in lines if " in " in line]
    here = re.escape(str(Path(__file__)))
    shields = [line for line in frames if re.fullmatch(rf"{here}:\d+ in rests_in_a_shield", line)]
    assert len(shields) == 3
    assert "await trio.sleep(60)" in {line.strip() for line in lines}
    names = [line for line in lines if line.strip().startswith("task ")]
    assert [line.strip() for line in names[1:]] == ["task the helper", "task deep inside"]
    own = [line for line in lines[: lines.index(names[1])] if re.search(r":\d+ in ", line)]
    order = [line.split(" in ")[-1] for line in own]
    assert order.index("handler") < order.index("calls_another") < order.index("rests_in_a_shield")
    assert trio.current_time() == 60


async def test_the_tree_is_indented(autojump_clock: MockClock) -> None:
    """A task stands under the task whose nursery it runs in, one level deeper; siblings are sorted by
    name."""

    async def leaf() -> None:
        await trio.sleep(1)

    async def middle() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(leaf, name="z")
            nursery.start_soon(leaf, name="a")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(middle, name="middle")
        await wait_all_tasks_blocked()
        text = task_tree(trio.lowlevel.current_task())
    names = [line for line in text.splitlines() if line.lstrip().startswith("task ")]
    assert names[1:] == ["    task middle", "        task a", "        task z"]
    assert text.endswith("\n")


async def test_calls_in_some_files_are_left_out(autojump_clock: MockClock) -> None:
    """A tree without the files of a folder has all tasks, and no call in these files."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep, 1, name="sleeper")
        await wait_all_tasks_blocked()
        here = trio.lowlevel.current_task()
        everything, without = task_tree(here), task_tree(here, without=(str(Path(trio.__file__).parent),))
    assert "in sleep\n" in everything
    assert without.endswith("    task sleeper\n")


async def test_a_frame_without_a_source(autojump_clock: MockClock) -> None:
    """Code that has no source file, as in a shell, is shown without its text."""
    names: dict[str, Any] = {"trio": trio}
    exec(  # noqa: S102
        compile("async def unseen():\n    await trio.sleep(1)\n", "<nowhere>", "exec"), names
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(names["unseen"], name="unseen")
        await wait_all_tasks_blocked()
        (task,) = nursery.child_tasks
        lines = task_tree(task).splitlines()
    assert lines[:2] == ["task unseen", "  <nowhere>:2 in unseen"]
    assert lines[2].startswith("  ")
    assert not lines[2].startswith("    ")


def test_a_job_in_a_thread() -> None:
    """The stack of a job that waits for a thread says so, and the job ends when the thread does."""
    release = threading.Event()

    async def handler(job: JobContext[Any]) -> str:
        return "out" if await trio.to_thread.run_sync(release.wait) else ""

    async def scenario() -> None:
        async with open_registry() as jobs:
            handle = await jobs.submit(handler)
            await trio.testing.wait_all_tasks_blocked()
            try:
                report = await handle.cancel(patience=0)
            finally:
                release.set()
            assert report.outcome == "stuck"
            assert report.stack is not None
            assert "in to_thread_run_sync" in report.stack
            assert "in handler" in report.stack
            assert await handle.result() == "out"

    trio.run(scenario)


async def test_a_child_job_is_in_the_stack(autojump_clock: MockClock) -> None:
    """A stuck child shows in the stack of its parent, under its own name."""

    async def child(job: JobContext[Any]) -> None:
        await rests_in_a_shield()

    async def parent(job: JobContext[Any]) -> None:
        ids.append((await job.spawn(child)).id)
        await trio.sleep_forever()

    ids: list[str] = []
    async with open_registry() as jobs:
        handle = await jobs.submit(parent)
        await wait_all_tasks_blocked()
        report = await handle.cancel(patience=1)
    assert report.stack is not None
    assert any(ids[0] in line and "child" in line for line in report.stack.splitlines())
