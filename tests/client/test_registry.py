"""A server's jobs are used as those of the process are, over both kinds of server."""

from __future__ import annotations

from typing import Any, cast

import pytest
import trio

from tests.client.site import Kind, alone, count, fail, flaky, forever, site
from trio_jobs import (
    Busy,
    Debounce,
    IllegalTransition,
    InvalidPayload,
    JobCancelled,
    JobContext,
    JobHandle,
    KeyConflict,
    Priority,
    QueueFull,
    Reason,
    Restart,
    Retry,
    State,
    Timeouts,
    UnknownHandler,
    UnknownJob,
    handler,
)
from trio_jobs.client import ServerError, connect

both = pytest.mark.parametrize("kind", ["http", "websocket"])


@both
async def test_submit(kind: Kind) -> None:
    """A handler is submitted by its name or as a function; its result and its tokens arrive."""
    async with site(kind) as (jobs, url), connect(url) as remote:
        for fn in ("count", count):
            handle: JobHandle[Any, Any] = await remote.submit(fn, 3)
            assert await handle.result() == 3
            async with handle.stream() as numbers:
                assert [number async for number in numbers] == [0, 1, 2]
            assert await (await jobs.get(handle.id)).result() == 3


@handler
async def styled(job: JobContext[str], text: str, *, bold: bool, note: str = "") -> str:
    return f"{text} {bold} {len(note)}"


@both
async def test_arguments_by_name_arrive(kind: Kind) -> None:
    """A handler gets them, the job tells them, however large, and what does not fit is refused."""
    note = "x" * 100_000
    async with site(kind, registry={"handlers": [styled]}) as (_, url), connect(url) as remote:
        for fn in cast("list[Any]", ["styled", styled]):
            handle: JobHandle[Any, Any] = await remote.submit(fn, "a", kwargs={"bold": True, "note": note})
            assert await handle.result() == "a True 100000"
            job = await handle.snapshot()
            assert (job.args, job.kwargs) == (("a",), {"bold": True, "note": note})
        for kwargs, why in (
            ({"bold": "yes"}, "'bold' of styled does not fit"),
            ({}, "needs the keyword argument 'bold'"),
        ):
            with pytest.raises(InvalidPayload, match=why):
                await remote.submit("styled", "a", kwargs=kwargs)
        with pytest.raises(TypeError, match="a job is submitted again with the arguments that it had"):
            await handle.resubmit(kwargs={"bold": False})  # type: ignore[call-arg]
        again = await handle.resubmit()
        assert await again.result() == "a True 100000"


@both
async def test_options_arrive(kind: Kind) -> None:
    """The job at the server has the given options, and the retry rule of its handler's mark."""
    async with site(kind) as (jobs, url), connect(url) as remote:
        handle = await remote.submit(
            flaky,
            timeouts=Timeouts(run=9, queue=8),
            retry=Retry(attempts=5, initial=0),
            priority=Priority.HIGH,
            tags={"a": "b"},
            metadata={"c": [1, None]},
            key="k",
            when_unread="continue",
            linger=3,
        )
        job = await (await jobs.get(handle.id)).wait()
        assert (job.timeouts, job.priority, job.key) == (Timeouts(run=9, queue=8), Priority.HIGH, "k")
        assert (job.tags, job.metadata) == ({"a": "b"}, {"c": [1, None]})
        assert (job.retry.attempts, job.retry.initial, job.state) == (5, 0, State.COMPLETED)


async def test_a_retry_rule_without_a_bound() -> None:
    """A job is submitted, and shown, with a retry rule that has no bound."""
    async with site() as (_, url), connect(url) as remote:
        job = await (await remote.submit(flaky, retry=Retry(attempts=None, initial=0))).wait()
        assert (job.retry.attempts, job.state) == (None, State.COMPLETED)


async def test_the_same_key_is_the_same_job() -> None:
    """A second submit under a key gives the same job; with another argument it is a conflict."""
    async with site() as (_, url), connect(url) as remote:
        one = await remote.submit(count, 3, key="k")
        assert await remote.submit(count, 3, key="k") == one
        with pytest.raises(KeyConflict) as caught:
            await remote.submit(count, 4, key="k")
        assert (caught.value.key, caught.value.job_id) == ("k", one.id)
        assert await remote.submit(count, 3) != await remote.submit(count, 3)


@both
async def test_submitting_again(kind: Kind) -> None:
    """A job is submitted again, with other options where they are given; what the server refuses is told."""
    async with site(kind) as (jobs, url), connect(url) as remote:
        first = await remote.submit(count, 3, tags={"a": "b"})
        with pytest.raises(IllegalTransition, match="wait for its end"):
            await (await remote.submit(forever)).resubmit()
        await first.wait()
        again = await first.resubmit(priority=Priority.LOW)
        assert await again.result() == 3
        job = await (await jobs.get(again.id)).snapshot()
        assert (job.resubmitted_from, job.priority, job.tags) == (first.id, Priority.LOW, {"a": "b"})
        assert await first.resubmit(key="k") == await first.resubmit(key="k") != again
        with pytest.raises(ValueError, match="priority"):
            await first.resubmit(priority=9)


@both
async def test_many_at_once(kind: Kind) -> None:
    """All jobs that match are cancelled, submitted again and removed; the numbers are right, also before."""
    async with site(kind) as (jobs, url), connect(url) as remote:
        for user in ("7", "7", "8"):
            await remote.submit(forever, tags={"user": user})
        assert (await remote.count_affected("cancel", tags={"user": "7"})).count == 2
        assert (await remote.count_affected("remove", tags={"user": "7"})).count == 0
        assert await remote.cancel_where("enough", tags={"user": "7"}) == 2
        while await jobs.count(state=State.CANCELLED) < 2:
            await trio.sleep(0.01)
        report = await remote.retry_where(state=State.CANCELLED, older_than=0)
        assert (report.count, report.refused, report.message) == (2, 0, None)
        assert await remote.remove_where() == 2
        assert await jobs.count() == len(await remote.find()) == 3
        assert await remote.cancel_where(args_contain="7") == 0
        assert await remote.cancel_where(args_contain="[]") == 3
        with pytest.raises(TypeError, match="leave owner out"):
            await remote.remove_where(owner="ann")
        with pytest.raises(TypeError, match="reason"):
            await remote.cancel_where(7)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


@both
async def test_one_at_a_time(kind: Kind) -> None:
    """Names and what is done while one is held arrive, and so does which job took the place of another."""
    async with site(kind) as (jobs, url), connect(url) as remote:
        first = await remote.submit(forever, exclusive="chat")
        with pytest.raises(Busy) as busy:
            await remote.submit(count, 3, exclusive="chat")
        assert busy.value.job_id == first.id
        assert await remote.submit(count, 3, exclusive="chat", on_busy="attach") == first
        second = await remote.submit(count, 3, exclusive="chat", on_busy="after")
        job = await second.snapshot()
        assert (job.exclusive, job.behind, job.replaced_by) == ("chat", first.id, None)
        third = await remote.submit(count, 3, exclusive="chat", on_busy=Debounce(0, 60))
        with pytest.raises(JobCancelled) as cancelled:
            await second.result()
        assert (cancelled.value.reason, cancelled.value.replaced_by) == (Reason.REPLACED, third.id)
        assert (await jobs.get(second.id)).id == second.id
        fourth = await remote.submit(count, 3, exclusive="chat", on_busy="cancel")
        assert await fourth.result() == 3
        assert (await first.snapshot()).state is State.CANCELLED


@both
async def test_a_place_of_each_key(kind: Kind) -> None:
    """A `limit_key` arrives, goes with a keyed limit only, and is named when the limit is full."""
    async with site(kind) as (_, url), connect(url) as remote:
        ann, _ = [await remote.submit(alone, limit_key=name) for name in ("ann", "bob")]
        assert (await ann.snapshot()).limit_key == "ann"
        waits = await remote.submit(alone, limit_key="ann")
        assert (await waits.snapshot()).waiting_for == "limit alone[0] ann"
        with pytest.raises(QueueFull) as full:
            await remote.submit("alone", limit_key="ann")
        assert (full.value.limit, full.value.name, full.value.key) == (1, "alone[0]", "ann")
        assert [one["name"] for one in await remote.handlers() if one["limit_key"]] == ["alone"]
        wrong: list[tuple[Any, dict[str, Any], str]] = [
            (alone, {}, "has a keyed limit"),
            (forever, {"limit_key": "ann"}, "has no keyed limit"),
        ]
        for fn, options, why in wrong:
            with pytest.raises(TypeError, match=why):
                await remote.submit(fn, **options)
            with pytest.raises(ServerError, match=why) as refused:
                await remote.submit(fn.__name__, **options)
            assert refused.value.code == "bad_request"


async def test_what_the_server_refuses() -> None:
    """Each refusal is the error of the process, with its facts."""
    async with site(registry={"capacity": 0, "queue_limit": 1}) as (jobs, url), connect(url) as remote:
        with pytest.raises(UnknownHandler) as unknown:
            await remote.submit("no such handler")
        assert unknown.value.known == sorted(jobs.handlers)
        with pytest.raises(InvalidPayload, match="count"):
            await remote.submit("count", "three")
        await remote.submit(forever)
        with pytest.raises(QueueFull) as full:
            await remote.submit(forever)
        assert full.value.limit == 1
        with pytest.raises(TypeError, match="takes 1 arguments"):
            await remote.submit(count)  # type: ignore[arg-type, call-arg]
        with pytest.raises(ServerError) as depth:
            nested: Any = []
            for _ in range(40):
                nested = [nested]
            await remote.submit("count", nested)
        assert depth.value.code == "bad_request"


async def test_a_request_that_is_too_large_is_told() -> None:
    """A request that exceeds the server's limit raises an error, though the server only closes the
    connection; other requests continue."""
    async with site() as (_, url), connect(url) as remote, trio.open_nursery() as nursery:
        other = await remote.submit(forever)
        async with other.events() as events:
            nursery.start_soon(other.wait)
            assert (await events.receive()).seq == 1
            with pytest.raises(ServerError) as caught:
                await remote.submit("count", "x" * 300_000)
            assert caught.value.code == "too_large"
            await other.cancel()
            async for event in events:
                assert event.seq > 1
            assert event.kind == "cancelled"


async def test_get() -> None:
    """A job is found by its id, however it was submitted; an unknown id raises UnknownJob."""
    async with site() as (jobs, url), connect(url) as remote:
        there = await jobs.submit(count, 1)
        handle = await remote.get(there.id)
        assert isinstance(handle, JobHandle)
        assert await handle.result() == 1
        with pytest.raises(UnknownJob) as caught:
            await remote.get("nobody")
        assert caught.value.job_id == "nobody"
        with pytest.raises(TypeError):
            await remote.get(7)  # type: ignore[arg-type]


async def test_find() -> None:
    """`find` gives the jobs that match, as they are at the server, in either order and up to the limit."""
    async with site() as (jobs, url), connect(url) as remote:
        handles = [await jobs.submit(count, n, tags={"n": str(n % 2)}) for n in range(4)]
        for handle in handles:
            await handle.wait()
        failed = await (await jobs.submit(fail, "no")).wait()
        every = await jobs.find()
        assert await remote.find() == every
        assert await remote.find(newest=True, limit=2) == await jobs.find(newest=True, limit=2)
        assert [job.id for job in await remote.find(state=State.FAILED)] == [failed.id]
        assert [job.id for job in await remote.find(tags={"n": "1"}, state=[State.COMPLETED])] == [
            handles[1].id,
            handles[3].id,
        ]
        assert len(await remote.find(handler="flaky")) == 0
        assert [job.id for job in await remote.find(args_contain='"no"')] == [failed.id]
        found, after = list[str](), None
        while True:
            page = await remote.find(limit=2, after=after)
            found += [job.id for job in page]
            if (after := page.next) is None:
                break
        assert found == [job.id for job in every]
        with pytest.raises(ServerError, match="bad_request"):
            await remote.find(after="x")
        for limit in (0, 1001):
            with pytest.raises(ValueError, match="limit"):
                await remote.find(limit=limit)


async def test_cancel() -> None:
    """A job is cancelled by its id; an unknown id raises UnknownJob."""
    async with site() as (_, url), connect(url) as remote:
        handle = await remote.submit(forever)
        report = await remote.cancel(handle.id, "enough")
        assert report.outcome == "cancelled"
        assert (await handle.snapshot()).message == "enough"
        assert (await remote.cancel(handle.id)).outcome == "already_over"
        with pytest.raises(UnknownJob):
            await remote.cancel("nobody")


async def test_handlers() -> None:
    """The handlers are listed with their parameters."""
    async with site() as (jobs, url), connect(url) as remote:
        found = {one["name"]: one for one in await remote.handlers()}
        assert found.keys() == jobs.handlers.keys()
        assert found["count"]["description"] == "Send the numbers below n."
        assert [one["name"] for one in found["count"]["parameters"]] == ["n"]


async def test_statistics() -> None:
    """The statistics are those of the registry."""
    async with site(registry={"capacity": 7}) as (jobs, url), connect(url) as remote:
        handle = await remote.submit(forever)
        async with handle.stream() as tokens:
            await tokens.receive()
            assert await remote.statistics() == await jobs.statistics()
            assert (await remote.statistics()).capacity == 7


async def test_pauses() -> None:
    """A client pauses handlers of the server and resumes them, by name or all."""
    async with site() as (jobs, url), connect(url) as remote:
        await remote.pause_handlers("count", "a")
        await remote.pause_all()
        found = await remote.statistics()
        assert (found.all_paused, found.paused_handlers) == (True, ("a", "count"))
        await remote.resume_handlers("count")
        assert (await jobs.statistics()).paused_handlers == ("a",)
        await remote.resume_all()
        assert (await remote.statistics()).paused_handlers == ()
        with pytest.raises(TypeError, match="it takes the names of handlers"):
            await remote.pause_handlers()


async def test_many_calls_at_once() -> None:
    """Calls beyond the limit of a connection wait, and all are answered."""
    async with site() as (jobs, url), connect(url) as remote:
        results: list[int] = []

        async def one(n: int) -> None:
            results.append(await (await remote.submit(count, n)).result())

        async with trio.open_nursery() as nursery:
            for n in range(90):
                nursery.start_soon(one, n)
        assert sorted(results) == list(range(90))
        assert await jobs.count() == 90


async def test_a_cancelled_submit_is_there_or_not() -> None:
    """A submit that is cancelled at any moment left no job, or one that its key finds."""
    async with site() as (jobs, url), connect(url) as remote:
        for steps in range(12):
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(_cancel_after, scope, steps)
                    await remote.submit(count, steps, key=f"key {steps}")
            before = await jobs.count()
            handle = await remote.submit(count, steps, key=f"key {steps}")
            assert await jobs.count() in {before, before + 1}
            assert await handle.result() == steps
        assert await jobs.count() == 12


async def _cancel_after(scope: trio.CancelScope, steps: int) -> None:
    for _ in range(steps * steps):
        await trio.lowlevel.checkpoint()
    scope.cancel()


@both
async def test_services_over_a_server(kind: Kind) -> None:
    """A service cannot be submitted, but waited for until it is ready, and submitted again after its end."""
    started = trio.Event()

    @handler(service=Restart(first=0.0, most=1), name="service")
    async def service(job: JobContext[Any]) -> None:
        await started.wait()
        await job.ready()
        await trio.sleep_forever()

    async with site(kind, registry={"handlers": [service]}) as (_, url), connect(url) as remote:
        with pytest.raises(ServerError, match="service is a service, which cannot be submitted"):
            await remote.submit("service")
        (summary,) = await remote.find(handler="service")
        handle = await remote.get(summary.id)
        assert (await handle.snapshot()).ready_at is None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(handle.wait_ready)
            started.set()
        assert (await handle.snapshot()).ready_at is not None
        await handle.cancel()
        with pytest.raises(JobCancelled):
            await handle.wait_ready()
        again = await handle.resubmit()
        await again.wait_ready()
        assert (await again.snapshot()).resubmitted_from == handle.id
