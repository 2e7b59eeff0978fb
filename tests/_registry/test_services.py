"""Services: jobs that are to run always, one of each per store."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.inside import store_of
from trio_jobs import (
    AwaitInput,
    Event,
    IllegalTransition,
    Job,
    JobCancelled,
    JobContext,
    JobFailed,
    JobHandle,
    JobRegistry,
    Kind,
    Limit,
    Permanent,
    Reason,
    Restart,
    Retry,
    RetryAfter,
    Schedule,
    State,
    Timeouts,
    handler,
    open_registry,
)
from trio_jobs.stores.memory import MemoryStore
from trio_jobs.testing import Connection

RESTART = Restart(first=1, factor=2, maximum=60, healthy=60, most=5, within=60)


async def work(job: JobContext[Any], seconds: float = 1.0) -> None:
    await trio.sleep(seconds)


@handler(service=RESTART)
async def listen(job: JobContext[Any]) -> None:
    await trio.sleep(0.5)
    await job.ready()
    await trio.sleep_forever()


class Ends:
    """A service of which each attempt runs so long, and then ends as it is told."""

    def __init__(self, *ends: tuple[float, Exception | None], restart: Restart = RESTART) -> None:
        self.ends = ends
        self.starts: list[float] = []

        async def service(job: JobContext[Any]) -> str:
            self.starts.append(trio.current_time())
            seconds, error = self.ends[min(len(self.starts), len(self.ends)) - 1]
            await trio.sleep(seconds)
            if error is not None:
                raise error
            return "returned"

        self.handler = handler(service=restart)(service)

    @property
    def gaps(self) -> list[float]:
        """From the end of each attempt to the start of the next one."""
        times = zip(self.starts, self.starts[1:], self.ends, strict=False)
        return [round(after - before - seconds, 3) for before, after, (seconds, _) in times]


async def service_of(jobs: JobRegistry) -> JobHandle[Any, Any]:
    (job,) = await jobs.find(limit=1, newest=True, handler="service")
    return await jobs.get(job.id)


async def test_it_runs_from_the_opening_to_the_exit(autojump_clock: MockClock) -> None:
    """The registry submits it, and at the exit it is CANCELLED, reason `shutdown`."""
    async with open_registry(handlers=[listen]) as jobs:
        (summary,) = await jobs.find()
        handle = await jobs.get(summary.id)
        job = await handle.snapshot()
        assert (job.handler, job.exclusive, job.ready_at) == ("listen", "service:listen", None)
        await handle.wait_ready()
        await handle.wait_ready()
        job = await handle.snapshot()
        assert job.state is State.RUNNING
        assert job.ready_at is not None
    job = await store_of(jobs).get(handle.id)
    assert (job.state, job.reason, job.ready_at) == (State.CANCELLED, Reason.SHUTDOWN, None)


async def test_a_registry_without_capacity_starts_none() -> None:
    """Only a registry that runs jobs submits services."""
    async with open_registry(handlers=[listen], capacity=0) as jobs:
        assert await jobs.count() == 0


ENDS = [None, OSError("down"), Permanent("no"), RetryAfter(9), AwaitInput()]


@pytest.mark.parametrize("error", ENDS)
async def test_every_end_is_a_restart(autojump_clock: MockClock, error: Exception | None) -> None:
    """Whether it returns, fails or steers: it is started again after `first`, then `factor` times that."""
    ends = Ends((0.25, error), (0.25, error), (0.25, error), (math.inf, None))
    async with open_registry(handlers=[ends.handler]) as jobs:
        await trio.sleep(20)
        handle = await service_of(jobs)
        history = await handle.history()
        assert (await handle.snapshot()).state is State.RUNNING
    assert ends.gaps == [1.0, 2.0, 4.0]
    retried = [event.data for event in history if event.kind is Kind.RETRIED]
    assert [(one.reason, one.delay, one.repeats) for one in retried] == [
        (Reason.RESTARTED, 1.0, 0),
        (Reason.RESTARTED, 2.0, 1),
        (Reason.RESTARTED, 4.0, 2),
    ]
    assert (retried[0].message == "It returned") is (error is None)


async def test_the_waits_are_bounded_and_begin_anew(autojump_clock: MockClock) -> None:
    """No wait is longer than `maximum`, and after a healthy while it is `first` again."""
    rule = Restart(first=10, factor=3, maximum=20, healthy=30, most=100)
    ends = Ends((1, None), (1, None), (29, None), (31, None), (1, None), (math.inf, None), restart=rule)
    async with open_registry(handlers=[ends.handler]):
        await trio.sleep(1000)
    assert ends.gaps == [10, 20, 20, 10, 20]


async def test_too_many_restarts(autojump_clock: MockClock) -> None:
    """With one end more than `most` within `within` seconds it is FAILED, with what it raised last; the next
    opening submits a new one."""
    error = OSError("down")
    ends = Ends((0.0, error), restart=Restart(first=0, most=3, within=10))
    store = MemoryStore()
    async with open_registry(Connection(store), handlers=[ends.handler]) as jobs:
        handle = await service_of(jobs)
        with pytest.raises(JobFailed, match="It ended 4 times within 10s") as caught:
            await handle.wait_ready()
        assert caught.value.reason == Reason.RESTARTS
        assert caught.value.__cause__ is error
        assert len(ends.starts) == 4
        await trio.sleep(100)
        assert len(ends.starts) == 4
    async with open_registry(Connection(store), handlers=[ends.handler]) as jobs:
        again = await service_of(jobs)
        assert again.id != handle.id
        assert (await again.wait()).reason is Reason.RESTARTS
    slow = Ends((4, error), restart=Restart(first=0, most=3, within=10))
    async with open_registry(handlers=[slow.handler]) as jobs:
        await trio.sleep(400)
        assert (await (await service_of(jobs)).snapshot()).state is State.RUNNING


async def test_it_takes_no_slot(autojump_clock: MockClock) -> None:
    """A full worker starts it as well, and a service leaves all slots to others."""
    store = MemoryStore()
    async with open_registry(Connection(store), capacity=1) as jobs:
        await jobs.submit(work, 1000)
        async with open_registry(Connection(store), handlers=[listen], capacity=1) as other:
            other_one = await other.submit(work, 1000)
            statistics = await other.statistics()
            assert (statistics.running, len(other.running)) == (1, 1)
            await wait_all_tasks_blocked()
            assert set(other.running.values()) == {"work", "listen"}
            assert (await other.statistics()).running == 1
            await other_one.cancel()
            await (await other.submit(work)).result()
            (summary,) = await other.find(handler="listen")
            service = await other.get(summary.id)
            assert (await service.snapshot()).state is State.RUNNING


async def test_a_cancelled_one_stays_cancelled(autojump_clock: MockClock) -> None:
    """Whether it runs or waits, a cancellation is its end, until the next opening."""
    for seconds in (math.inf, 0.0):
        ends = Ends((seconds, None), restart=Restart(first=100))
        async with open_registry(handlers=[ends.handler]) as jobs:
            await trio.sleep(1)
            handle = await service_of(jobs)
            await handle.cancel("enough")
            with pytest.raises(JobCancelled, match="enough"):
                await handle.wait_ready()
            await trio.sleep(1000)
            assert len(ends.starts) == 1


async def test_drain_does_not_wait_for_it(autojump_clock: MockClock) -> None:
    """`drain` waits for all other jobs, which have the service until they have ended."""
    stopped: list[str] = []

    @handler(service=RESTART)
    async def serve(job: JobContext[Any]) -> None:
        await job.spawn(work, 1e6)
        try:
            await trio.sleep_forever()
        finally:
            stopped.append("serve")

    async def other(job: JobContext[Any], seconds: float) -> None:
        await trio.sleep(seconds)
        stopped.append("other")
        if seconds == 7:
            raise AwaitInput

    async with open_registry(handlers=[serve, other], on_exit="drain", capacity=1) as jobs:
        await trio.sleep(1)
        handles = [await jobs.submit(other, seconds) for seconds in (5, 6, 7)]
    assert stopped == ["other", "other", "other", "serve"]
    assert trio.current_time() == 19
    states = [(await store_of(jobs).get(handle.id)).state for handle in handles]
    assert states == [State.COMPLETED, State.COMPLETED, State.CANCELLED]


async def test_drain_finds_jobs_behind_many_services(autojump_clock: MockClock) -> None:
    """However many services there are, `drain` waits for the other jobs, which the store lists after them."""

    async def serve(job: JobContext[Any]) -> None:
        await trio.sleep_forever()

    services = [handler(name=f"serve {number}", service=RESTART)(partial(serve)) for number in range(1000)]
    async with open_registry(handlers=services, on_exit="drain") as jobs:
        handle = await jobs.submit(work, 5)
    assert trio.current_time() == 5
    assert (await store_of(jobs).get(handle.id)).state is State.COMPLETED


async def test_it_stops_after_all_others(autojump_clock: MockClock) -> None:
    """At the exit it is asked to end once the other attempts have ended, and has `grace` seconds then."""
    stopped: list[tuple[str, float]] = []

    @handler(service=RESTART)
    async def serve(job: JobContext[Any]) -> None:
        await job.cancel_requested.wait()
        stopped.append(("serve", trio.current_time()))

    async def other(job: JobContext[Any]) -> None:
        await job.cancel_requested.wait()
        await trio.sleep(3)
        stopped.append(("other", trio.current_time()))

    async with open_registry(handlers=[serve], grace=5) as jobs:
        await jobs.submit(other)
        await trio.sleep(1)
    assert stopped == [("other", 4), ("serve", 4)]


async def test_a_paused_registry_starts_none(autojump_clock: MockClock) -> None:
    """`pause` holds for services, too: one that ends meanwhile is started after `resume`."""
    ends = Ends((5, None), (math.inf, None))
    async with open_registry(handlers=[ends.handler]) as jobs:
        await trio.sleep(1)
        jobs.pause()
        await trio.sleep(100)
        assert len(ends.starts) == 1
        jobs.resume()
        await trio.sleep(1)
        assert ends.starts == [0, 101]


async def test_the_log_of_one_stays_short(autojump_clock: MockClock) -> None:
    """Of many restarts the newest 100 to 125 are kept."""
    ends = Ends((0.0, None), restart=Restart(first=1, factor=1, most=100, within=10))
    async with open_registry(handlers=[ends.handler]) as jobs:
        await trio.sleep(300)
        handle = await service_of(jobs)
        assert len(await handle.history()) < 260
        assert (await handle.snapshot()).attempt > 290


async def test_wait_ready_of_other_jobs(autojump_clock: MockClock) -> None:
    """Any job may say that it is ready; of one that completes without that, the wait raises."""

    async def say(job: JobContext[Any]) -> None:
        await trio.sleep(1)
        await job.ready()
        await job.ready()
        await trio.sleep(1)

    async with open_registry() as jobs:
        handle = await jobs.submit(say)
        await handle.wait_ready()
        assert trio.current_time() == 1
        await handle.result()
        kinds = [event.kind async for event in _events(handle)]
        assert kinds.count(Kind.READY) == 1
        with pytest.raises(IllegalTransition, match="completed cannot be ready"):
            await (await jobs.submit(work)).wait_ready()


async def _events(handle: JobHandle[Any, Any]) -> AsyncIterator[Event]:  # noqa: ASYNC900  # read to its end
    async with handle.events() as events:
        async for event in events:
            yield event


# ---------------------------------------------------------------- in a file


async def test_fail_over_in_a_file(tmp_path: Path) -> None:
    """Of two registries on a file one runs it, and when that is left the other one does; it is one job."""
    address = f"sqlite:///{tmp_path}/jobs.db"
    async with open_registry(address, handlers=[listen], name="second", lease=5) as second:
        async with open_registry(address, handlers=[listen], name="first", lease=5) as first:
            (summary,) = await first.find()
            handle = await first.get(summary.id)
            with trio.fail_after(10):
                await handle.wait_ready()
            holder, other = (first, second) if first.running else (second, first)
            assert (len(holder.running), len(other.running)) == (1, 0)
        with trio.fail_after(10):
            await (await second.get(summary.id)).wait_ready()
        assert set(second.running) == {summary.id}
        starts = [event.data for event in await _starts(second, summary.id)]
        assert starts in (["first", "second"], ["second"])


async def _starts(jobs: JobRegistry, job_id: str) -> Any:
    history = await (await jobs.get(job_id)).history()
    return [event for event in history if event.kind is Kind.STARTED]


async def test_restarts_in_a_file(tmp_path: Path) -> None:
    """A file keeps how it is restarted, and fails it as a store in memory does."""
    ends = Ends((0.0, OSError("down")), restart=Restart(first=0.0, most=2))
    async with open_registry(f"sqlite:///{tmp_path}/jobs.db", handlers=[ends.handler]) as jobs:
        with trio.fail_after(10), pytest.raises(JobFailed, match="It ended 3 times within 60s"):
            await (await service_of(jobs)).result()
    assert len(ends.starts) == 3


@pytest.mark.parametrize("store", ["memory", "sqlite"])
async def test_one_that_ended_is_submitted_again(store: str, tmp_path: Path) -> None:
    """`resubmit` and `retry_where` start a service again that has ended, as it is, and one at a time."""
    ends = Ends(*[(0.0, OSError("down"))] * 2, (math.inf, None), restart=Restart(first=0.0, most=1))
    address = "memory://" if store == "memory" else f"sqlite:///{tmp_path}/jobs.db"
    async with open_registry(address, handlers=[ends.handler]) as jobs:
        with trio.fail_after(10):
            first = await service_of(jobs)
            assert (await first.wait()).reason is Reason.RESTARTS
            with pytest.raises(
                TypeError, match="service is a service, .* metadata; leave out delay, timeout"
            ):
                await first.resubmit(timeout=5, delay=5)
            again = await first.resubmit(key="once", tags={"by": "ann"}, timeout=None)
            assert await first.resubmit() == again
            job = await again.snapshot()
            assert (job.resubmitted_from, job.exclusive, job.tags) == (
                first.id,
                "service:service",
                {"by": "ann"},
            )
            await again.cancel()
            assert (await again.wait()).state is State.CANCELLED
            ends.starts.clear()
            assert (await jobs.retry_where(handler="service", state=State.CANCELLED)).count == 1
            assert (await jobs.retry_where(handler="service", state=State.CANCELLED)).count == 0
            last = await service_of(jobs)
            assert (await last.wait()).reason is Reason.RESTARTS
            assert len(ends.starts) == 2


# ---------------------------------------------------------------- what is refused


async def takes_one(job: JobContext[Any], one: int) -> None: ...


async def plain(job: JobContext[Any], one: int = 1) -> None: ...


@pytest.mark.parametrize(
    ("mark", "error", "words"),
    [
        (lambda: handler(service=RESTART)(takes_one), TypeError, "no arguments"),
        (lambda: handler(service=RESTART, inputs=str)(plain), TypeError, "leave out inputs"),
        (lambda: handler(service=RESTART, retry=Retry())(plain), TypeError, "leave out retry"),
        (lambda: handler(service=RESTART, timeout=5)(plain), ValueError, "leave out timeout"),
        (lambda: handler(service=RESTART, timeouts=Timeouts(queue=5))(plain), ValueError, "Timeouts.queue"),
        (lambda: handler(service=RESTART, limits=[Limit(at_once=1, keyed=True)])(plain), TypeError, "limits"),
        (lambda: handler(service=RESTART, limits=["gpu"])(plain), TypeError, "leave out limits"),
        (lambda: handler(service=5)(plain), TypeError, "takes a Restart record"),  # type: ignore[call-overload]
        (lambda: Restart(first=-1), ValueError, "first"),
        (lambda: Restart(first=math.inf), ValueError, "first must be"),
        (lambda: Restart(factor=0.5), ValueError, "factor"),
        (lambda: Restart(maximum=math.nan), ValueError, "maximum"),
        (lambda: Restart(healthy=-1), ValueError, "healthy"),
        (lambda: Restart(most=0), ValueError, "most"),
        (lambda: Restart(most=101), ValueError, "most is 100 at most"),
        (lambda: Restart(most=1.5), TypeError, "most takes"),  # type: ignore[arg-type]
        (lambda: Restart(within=0), ValueError, "within must be more than 0"),
        (lambda: Restart(within=math.inf), ValueError, "within must be"),
    ],
)
def test_bad_services(mark: Callable[[], object], error: type[Exception], words: str) -> None:
    """What no service can be is refused where it is marked."""
    with pytest.raises(error, match=words):
        mark()


def test_what_a_service_may_have() -> None:
    """Arguments with defaults, clocks of its tokens; and a method may be one."""
    handler(service=RESTART, timeouts=Timeouts(idle=5), name="other")(plain)

    class Site:
        @handler(service=RESTART)
        async def serve(self, job: JobContext[Any]) -> None: ...

    assert Restart(first=0.0).delay(7) == 0
    del Site


async def test_a_service_is_not_submitted(autojump_clock: MockClock) -> None:
    """Nobody submits, spawns or schedules one, or takes its name."""

    async def parent(job: JobContext[Any]) -> None:
        with pytest.raises(TypeError, match="is a service"):
            await job.spawn(listen)
        with pytest.raises(TypeError, match="is a service"):
            await job.submit(listen)

    async with open_registry(handlers=[listen]) as jobs:
        with pytest.raises(TypeError, match="listen is a service"):
            await jobs.submit(listen)
        with pytest.raises(TypeError, match="listen is a service"):
            await jobs.submit_many(listen, [()])
        await (await jobs.submit(parent)).result()
        with pytest.raises(ValueError, match="'service:' are those of services"):
            await jobs.submit(work, exclusive="service:listen")
    with pytest.raises(TypeError, match="is a service"):
        async with open_registry(schedules=[Schedule(listen, every=5)]):
            pass


async def test_a_store_without_services() -> None:
    """A store that keeps none is refused at the opening, if there is a service."""

    class Old(Connection):
        claim_services = None  # type: ignore[assignment]

    with pytest.raises(ValueError, match="keeps none"):
        async with open_registry(Old(MemoryStore()), handlers=[listen]):
            pass


async def test_a_full_queue_keeps_none_out(autojump_clock: MockClock) -> None:
    """A service needs no room in the queue."""
    store = MemoryStore(queue_limit=1)
    async with open_registry(Connection(store), capacity=0) as jobs:
        await jobs.submit(work)
        async with open_registry(Connection(store), handlers=[listen, work]) as other:
            assert await other.count(handler="listen") == 1
            job: Job = await (await jobs.get((await jobs.find(handler="work"))[0].id)).wait()
            assert job.state is State.COMPLETED
