"""Child jobs: complete jobs that obey the rules of the nursery in which they run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

import trio_jobs
from tests.inside import store_of
from trio_jobs import (
    JobCancelled,
    JobContext,
    JobFailed,
    JobHandle,
    Kind,
    LeaseLost,
    Reason,
    Retry,
    State,
    Timeouts,
    open_registry,
)


async def sleep(job: JobContext[Any], seconds: float = 1e6) -> str:
    await trio.sleep(seconds)
    return "slept"


async def fail(job: JobContext[Any]) -> None:
    raise OSError("the child's own")


async def nap(job: JobContext[Any]) -> None:
    await trio.sleep(5)


class Family:
    """A parent that spawns children, and then ends as a parameter says."""

    def __init__(self, *children: Callable[..., Any], then: Callable[..., Any] | None = None) -> None:
        self._spawn = children
        self._then = then
        self.children: list[JobHandle[Any, Any]] = []

    async def __call__(self, job: JobContext[Any]) -> str:
        for fn in self._spawn:
            self.children.append(await job.spawn(cast("Any", fn)))
        if self._then is not None:
            await self._then(job)
        return "parent done"


async def forever(job: JobContext[Any]) -> None:
    await trio.sleep_forever()


async def test_a_child_is_a_job_of_its_own(autojump_clock: MockClock) -> None:
    """A child has an id, a log, a stream, a result and tags; it is found by its parent, and never queued."""

    async def child(job: JobContext[str], word: str, n: int) -> int:
        for _ in range(n):
            await job.send(word)
        assert dict(job.tags) == {"part": "1"}
        return n

    async def parent(job: JobContext[str]) -> list[str]:
        handle = await job.spawn(child, "la", 3, tags={"part": "1"}, metadata={"m": 1})
        async with handle.stream() as tokens:
            words = [token async for token in tokens]
        assert await handle.result() == 3
        return words

    async with open_registry() as jobs:
        handle = await jobs.submit(parent)
        assert await handle.result() == ["la"] * 3
        (found,) = await jobs.find(parent=handle.id)
        job = await (await jobs.get(found.id)).snapshot()
        assert (job.state, job.handler, job.tags, job.metadata) == (
            State.COMPLETED,
            "child",
            {"part": "1"},
            {"m": 1},
        )
        assert (job.parent, (await handle.snapshot()).parent) == (handle.id, None)
        kinds = [event.kind for event in await (await jobs.get(job.id)).history()]
        assert kinds == [Kind.SUBMITTED, Kind.STARTED, Kind.COMPLETED]


async def test_the_parent_does_not_end_before_its_children(autojump_clock: MockClock) -> None:
    """A parent that returns waits for its children; COMPLETED comes after the last of them."""
    family = Family(nap, nap)

    async with open_registry() as jobs:
        began = trio.current_time()
        handle = await jobs.submit(family)
        await trio.sleep(4)
        assert (await handle.snapshot()).state is State.RUNNING
        assert await handle.result() == "parent done"
        assert trio.current_time() - began == pytest.approx(5)
        assert [(await child.snapshot()).state for child in family.children] == [State.COMPLETED] * 2


async def test_a_cancelled_parent_cancels_its_children(autojump_clock: MockClock) -> None:
    """Cancelling the parent ends each child as CANCELLED (reason parent), cleanup included, before it."""
    ended: list[str] = []

    async def child(job: JobContext[Any]) -> None:
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(3)
            ended.append("child")

    family = Family(child, child, then=forever)
    async with open_registry() as jobs:
        handle = await jobs.submit(family)
        await wait_all_tasks_blocked()
        report = await handle.cancel()
        assert (report.outcome, ended) == ("cancelled", ["child", "child"])
        assert report.took == pytest.approx(3)
        for one in family.children:
            job = await one.snapshot()
            assert (job.state, job.reason) == (State.CANCELLED, Reason.PARENT)
            with pytest.raises(JobCancelled):
                await one.result()


async def test_a_parent_that_fails_cancels_its_children(autojump_clock: MockClock) -> None:
    """The parent's own error ends its children with reason parent and is the parent's end."""

    async def break_down(job: JobContext[Any]) -> None:
        await trio.sleep(1)
        raise ValueError("the parent's own")

    family = Family(sleep, then=break_down)
    async with open_registry() as jobs:
        handle = await jobs.submit(family)
        job = await handle.wait()
        assert job.error is not None
        assert (job.state, job.error.message) == (State.FAILED, "the parent's own")
        child = await family.children[0].snapshot()
        assert (child.state, child.reason) == (State.CANCELLED, Reason.PARENT)


async def test_a_child_that_fails_fails_the_parent(autojump_clock: MockClock) -> None:
    """A child's error cancels its siblings and its parent, which fails with it, as in a nursery."""

    async def fail_soon(job: JobContext[Any]) -> None:
        await trio.sleep(1)
        await fail(job)

    family = Family(fail_soon, sleep, then=forever)
    async with open_registry() as jobs:
        handle = await jobs.submit(family)
        job = await handle.wait()
        assert job.error is not None
        assert (job.state, job.error.type, job.error.message) == (State.FAILED, "OSError", "the child's own")
        failing, sibling = [await child.snapshot() for child in family.children]
        assert (failing.state, failing.reason) == (State.FAILED, Reason.ERROR)
        assert (sibling.state, sibling.reason) == (State.CANCELLED, Reason.PARENT)


async def test_a_childs_error_is_judged_by_the_parents_retry_rule(autojump_clock: MockClock) -> None:
    """The parent is retried for its child's error, and then spawns another child, with another id."""

    async def fail_at_first(job: JobContext[Any], attempt: int) -> int:
        if attempt == 1:
            await fail(job)
        return attempt

    children = []

    async def parent(job: JobContext[Any]) -> int:
        children.append(await job.spawn(fail_at_first, job.attempt))
        return int(await children[-1].result())

    async with open_registry() as jobs:
        handle = await jobs.submit(parent, retry=Retry(attempts=2, on=OSError))
        assert (await handle.wait()).state is State.COMPLETED
        assert [(await child.snapshot()).state for child in children] == [State.FAILED, State.COMPLETED]
        assert len(set(children)) == 2


async def test_a_child_can_be_cancelled_alone(autojump_clock: MockClock) -> None:
    """Cancelling a child ends only it; the parent and the siblings go on."""
    family = Family(sleep, nap, then=nap)
    async with open_registry() as jobs:
        handle = await jobs.submit(family)
        await wait_all_tasks_blocked()
        assert (await family.children[0].cancel()).outcome == "cancelled"
        assert (await handle.wait()).state is State.COMPLETED
        first, second = [await child.snapshot() for child in family.children]
        assert (first.state, first.reason) == (State.CANCELLED, Reason.USER)
        assert second.state is State.COMPLETED


async def test_a_childs_timeout_is_its_failure(autojump_clock: MockClock) -> None:
    """A child has its own clocks; when one passes, the child is FAILED by it, and so is the parent."""

    async def parent(job: JobContext[Any]) -> None:
        await job.spawn(sleep, timeout=5)
        await job.spawn(sleep, timeouts=Timeouts(run=50))
        await trio.sleep_forever()

    async with open_registry() as jobs:
        began = trio.current_time()
        handle = await jobs.submit(parent)
        job = await handle.wait()
        assert trio.current_time() - began == pytest.approx(5)
        assert job.error is not None
        assert (job.state, job.reason, job.error.type) == (State.FAILED, Reason.ERROR, "JobTimedOut")
        timed_out, sibling = await jobs.find(parent=handle.id)
        assert (timed_out.state, timed_out.reason) == (State.FAILED, Reason.TIMEOUT)
        assert (sibling.state, sibling.reason) == (State.CANCELLED, Reason.PARENT)


async def test_the_parents_timeout_ends_its_children(autojump_clock: MockClock) -> None:
    """The parent's timeout makes the parent FAILED and its children CANCELLED."""
    family = Family(sleep)
    async with open_registry() as jobs:
        handle = await jobs.submit(family, timeout=5)
        assert (await handle.wait()).reason is Reason.TIMEOUT
        child = await family.children[0].snapshot()
        assert (child.state, child.reason) == (State.CANCELLED, Reason.PARENT)


async def test_grandchildren_follow_the_same_rules(autojump_clock: MockClock) -> None:
    """A cancellation reaches all descendants, a failure all ancestors."""
    young: list[JobHandle[Any, Any]] = []

    async def middle(job: JobContext[Any], fn: Any) -> None:
        young.append(await job.spawn(fn))
        await trio.sleep_forever()

    async def old(job: JobContext[Any], fn: Any) -> None:
        await job.spawn(middle, fn)
        await trio.sleep_forever()

    async with open_registry() as jobs:
        handle = await jobs.submit(old, sleep)
        await wait_all_tasks_blocked()
        assert (await handle.cancel()).outcome == "cancelled"
        (between,) = await jobs.find(parent=handle.id)
        (below,) = await jobs.find(parent=between.id)
        assert below.id == young[0].id
        for job in (between, below):
            assert (job.state, job.reason) == (State.CANCELLED, Reason.PARENT)

        handle = await jobs.submit(old, fail)
        with pytest.raises(JobFailed, match="the child's own"):
            await handle.result()
        (between,) = await jobs.find(parent=handle.id)
        (below,) = await jobs.find(parent=between.id)
        assert (between.state, below.state) == (State.FAILED, State.FAILED)


async def test_children_use_no_capacity(autojump_clock: MockClock) -> None:
    """A family of any size uses its parent's slot: no deadlock at capacity 1, no slot taken."""

    async def parent(job: JobContext[Any], depth: int) -> None:
        if depth:
            for _ in range(3):
                child = await job.spawn(parent, depth - 1)
            await child.result()

    async with open_registry(capacity=1) as jobs:
        handle = await jobs.submit(parent, 3)
        with trio.fail_after(1):
            await handle.result()
        assert await jobs.count() == 1 + 3 + 9 + 27
        runs = await jobs.submit(Family(sleep))
        await wait_all_tasks_blocked()
        assert (await jobs.statistics()).running == 1
        assert await jobs.count(state=State.RUNNING) == 2
        await runs.cancel()


async def test_a_child_does_not_count_as_waiting(autojump_clock: MockClock) -> None:
    """A full queue and a paused registry refuse no child."""

    async def parent(job: JobContext[Any]) -> str:
        await trio.sleep(1)
        return str(await (await job.spawn(sleep, 1)).result())

    async with open_registry(capacity=1, queue_limit=1) as jobs:
        handle = await jobs.submit(parent)
        await wait_all_tasks_blocked()
        await jobs.submit(sleep)
        jobs.pause()
        assert await handle.result() == "slept"


async def test_of_the_handlers_mark_a_child_keeps_the_timeouts(autojump_clock: MockClock) -> None:
    """The clocks of the handler's mark hold for a child, its retry rule does not."""

    @trio_jobs.handler(timeout=5, retry=Retry(attempts=3))
    async def marked(job: JobContext[Any]) -> None:
        await trio.sleep_forever()

    family = Family(marked)
    async with open_registry() as jobs:
        await (await jobs.submit(family)).wait()
        child = await family.children[0].snapshot()
        assert (child.reason, child.attempt, child.retry) == (Reason.TIMEOUT, 1, Retry())


@pytest.mark.parametrize("how", [trio_jobs.RetryAfter(5), OSError("x")])
async def test_a_child_cannot_put_itself_back(autojump_clock: MockClock, how: Exception) -> None:
    """A child ends whatever it raises: it is never RETRYING, as no worker would claim it again."""

    once = [how]

    async def child(job: JobContext[Any]) -> None:
        if once:
            raise once.pop()

    family = Family(child)
    async with open_registry() as jobs:
        handle = await jobs.submit(family)
        with trio.fail_after(100):
            await handle.wait()
            job = await family.children[0].wait()
        assert (job.state, job.attempt) == (State.FAILED, 1)
        await trio.sleep(100)
        assert not await jobs.count(state=[State.QUEUED, State.RETRYING, State.RUNNING])


async def test_shutdown_reaches_children(autojump_clock: MockClock) -> None:
    """Leaving the registry ends the whole family; no child is left unfinished."""
    family = Family(sleep, then=forever)
    async with open_registry() as jobs:
        await jobs.submit(family)
        await wait_all_tasks_blocked()
        child = family.children[0]
        async with trio.open_nursery() as nursery:
            ended: list[State] = []

            async def wait() -> None:
                ended.append((await child.wait()).state)

            nursery.start_soon(wait)
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        assert not ended
    store = store_of(jobs)
    job = await store.get(child.id)
    assert job.state is State.CANCELLED
    assert job.reason in {Reason.PARENT, Reason.SHUTDOWN}


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"retry": Retry()}, TypeError, r"no option 'retry'; it takes timeout"),
        ({"key": "k"}, TypeError, r"no option 'key'"),
        ({"delay": 1}, TypeError, r"no option 'delay'"),
        ({"timeout": -1}, ValueError, r"timeout must be at least 0"),
        ({"tags": {"a": 1}}, TypeError, r"tags\['a'\] takes a str"),
    ],
)
async def test_a_child_that_cannot_be(
    autojump_clock: MockClock, options: Any, error: type[Exception], match: str
) -> None:
    """Options that no child can have are refused with a clear error, and no child is stored."""

    async def parent(job: JobContext[Any]) -> None:
        with pytest.raises(error, match=match):
            await job.spawn(sleep, **options)
        with pytest.raises(TypeError, match="async function"):
            await job.spawn(print)  # type: ignore[arg-type, call-arg]
        with pytest.raises(TypeError, match="takes 0 to 1 arguments"):
            await job.spawn(sleep, 1, 2)  # type: ignore[arg-type, call-arg]

    async with open_registry() as jobs:
        await (await jobs.submit(parent)).result()
        assert await jobs.count() == 1


async def test_a_cancelled_spawn_started_nothing(autojump_clock: MockClock) -> None:
    """`spawn` in a cancelled scope leaves no child."""

    async def parent(job: JobContext[Any]) -> None:
        with trio.CancelScope() as scope:
            scope.cancel()
            await job.spawn(sleep)
        assert scope.cancelled_caught

    async with open_registry() as jobs:
        await (await jobs.submit(parent)).result()
        assert await jobs.count() == 1


async def test_nothing_is_spawned_after_the_end(autojump_clock: MockClock) -> None:
    """A context that outlived its attempt spawns nothing."""
    kept: list[JobContext[Any]] = []

    async def keep(job: JobContext[Any]) -> None:
        kept.append(job)

    async with open_registry() as jobs:
        handle = await jobs.submit(keep)
        await handle.wait()
        with pytest.raises(LeaseLost) as lost:
            await kept[0].spawn(sleep)
        assert (lost.value.job_id, lost.value.attempt) == (handle.id, 1)
        assert await jobs.count() == 1


@pytest.mark.parametrize("address", ["memory://", "sqlite"])
async def test_a_child_belongs_to_whom_its_parent_belongs(address: str, tmp_path: Path) -> None:
    """Children and grandchildren have the owner and the priority of the top job in every store, and are found
    by them."""

    @trio_jobs.handler(priority=trio_jobs.Priority.LOW)
    async def child(job: JobContext[str], depth: int) -> None:
        if depth:
            await (await job.spawn(child, depth - 1)).wait()

    store = address if address == "memory://" else f"sqlite:///{tmp_path}/jobs.db"
    async with open_registry(store, handlers=[child]) as jobs:
        for owner in ("ann", None):
            high = trio_jobs.Priority.HIGH
            handle = await jobs.submit(child, 2, owner=owner, priority=high, tags={"a": "b"})
            await handle.wait()
            family = [job for job in await jobs.find() if job.owner == owner]
            assert [job.priority for job in family] == [high] * 3
            assert [job.tags for job in family] == [{"a": "b"}, {}, {}]
            (first,) = await jobs.find(parent=handle.id)
            (second,) = await jobs.find(parent=first.id)
            assert {first.id, second.id} < {job.id for job in family}
            if owner is not None:
                assert len(await jobs.find(parent=handle.id, owner=owner)) == 1


async def test_children_lie_only_so_deep() -> None:
    """Children nested more than 100 deep are refused with an error that says so."""

    async def nest(job: JobContext[Any], depth: int) -> None:
        await job.spawn(nest, depth + 1)

    async with open_registry() as jobs:
        job = await (await jobs.submit(nest, 1)).wait()
        assert job.state is State.FAILED
        assert await jobs.count() == 101
        assert job.error is not None
        assert "child jobs can be nested 100 deep, not 101" in job.error.traceback + job.error.message
