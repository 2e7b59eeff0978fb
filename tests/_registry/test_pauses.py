"""Pauses that all workers obey, end to end: by name, of all, during a drain, and beside all else."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.inside import store_of
from trio_jobs import (
    AwaitInput,
    InvalidPayload,
    JobContext,
    Limit,
    QueueFull,
    Retention,
    Schedule,
    State,
    handler,
    open_registry,
)
from trio_jobs._model.job import new_id
from trio_jobs.stores import Claimant, Store
from trio_jobs.stores.memory import MemoryStore
from trio_jobs.stores.pauses import Pauses
from trio_jobs.testing.checks import kit

WORKER = Claimant("w")
began: list[str] = []


@pytest.fixture(autouse=True)
def forget() -> None:
    """Begin each test with no job."""
    began.clear()


async def work(job: JobContext[Any], name: str = "", seconds: float = 0.0) -> None:
    """Note that it began."""
    began.append(name)
    await trio.sleep(seconds)


async def other(job: JobContext[Any], name: str = "", seconds: float = 0.0) -> None:
    """Do the same, as another handler."""
    await work(job, name, seconds)


async def waiting(job: JobContext[Any]) -> None:
    """Wait for an input."""
    raise AwaitInput("for an answer")


async def test_paused_handlers_do_not_start(autojump_clock: MockClock) -> None:
    """Jobs of a paused handler wait, those of others do not; resumed, they start in the order they came."""
    async with open_registry(capacity=1) as jobs:
        await jobs.pause_handlers("work", "no such handler")
        for name in "ab":
            await jobs.submit(work, name)
        await jobs.submit(other, "other")
        await trio.sleep(5)
        assert began == ["other"]
        seen = await jobs.statistics()
        assert (seen.all_paused, seen.paused_handlers) == (False, ("no such handler", "work"))
        assert (seen.paused, seen.states[State.QUEUED]) == (False, 2)
        await jobs.resume_handlers("work", "never paused")
        await wait_all_tasks_blocked()
        assert began == ["other", "a", "b"]


async def test_pause_all(autojump_clock: MockClock) -> None:
    """A pause of all holds every handler, also one resumed by name; what runs goes on, with its children."""

    async def parent(job: JobContext[Any]) -> None:
        await trio.sleep(1)
        await (await job.spawn(work, "child")).result()

    async with open_registry() as jobs:
        running = await jobs.submit(parent)
        await wait_all_tasks_blocked()
        await jobs.pause_handlers("work")
        await jobs.pause_all()
        await jobs.resume_handlers("work")
        for one in (work, other):
            await jobs.submit(one, "late")
        assert (await running.wait()).state is State.COMPLETED
        assert began == ["child"]
        assert (await jobs.statistics()).all_paused
        await jobs.pause_handlers("work")
        await jobs.resume_all()
        await wait_all_tasks_blocked()
        assert began == ["child", "late", "late"]
        seen = await jobs.statistics()
        assert (seen.all_paused, seen.paused_handlers) == (False, ())


async def test_the_pause_of_a_registry_is_another_one(autojump_clock: MockClock) -> None:
    """`resume` does not end a pause of handlers, nor does `resume_all` that of a registry."""
    async with open_registry() as jobs:
        jobs.pause()
        await jobs.pause_all()
        await jobs.submit(work, "a")
        jobs.resume()
        await wait_all_tasks_blocked()
        jobs.pause()
        await jobs.resume_all()
        await wait_all_tasks_blocked()
        assert began == []
        jobs.resume()
        await wait_all_tasks_blocked()
        assert began == ["a"]


async def test_a_schedule_of_a_paused_handler_submits(autojump_clock: MockClock) -> None:
    """Its ticks fire, and their jobs wait."""
    async with open_registry(schedules=[Schedule(work, ("a",), every=10)]) as jobs:
        await jobs.pause_handlers("work")
        await trio.sleep(25)
        assert (await jobs.count(handler="work"), began) == (2, [])


async def test_a_pause_under_limits(autojump_clock: MockClock) -> None:
    """A paused handler with limits starts nothing; resumed, it keeps to its limits."""

    @handler(limits=[Limit(at_once=1)])
    async def limited(job: JobContext[Any], name: str, seconds: float) -> None:
        await work(job, name, seconds)

    async with open_registry() as jobs:
        await jobs.pause_handlers("limited")
        for name in "abc":
            await jobs.submit(limited, name, 10)
        await trio.sleep(5)
        assert began == []
        await jobs.resume_all()
        await trio.sleep(15)
        assert began == ["a", "b"]


# ------------------------------------------------------------ drain


async def test_drain_of_what_is_paused_is_a_clear_error(autojump_clock: MockClock) -> None:
    """What is not paused runs before, if later; the rest is cancelled, with what stands behind it."""
    with trio.fail_after(1000):
        with pytest.raises(RuntimeError, match="3 jobs wait and these handlers are paused: other, work"):
            async with open_registry(on_exit="drain") as jobs:
                await jobs.pause_handlers("work", "other")
                held = await jobs.submit(work, exclusive="x")
                behind = await jobs.submit(waiting, exclusive="x", on_busy="after")
                await jobs.submit(other)
                last = await jobs.submit(waiting_no_more, delay=100)
    assert began == ["last"]
    for handle, state in ((held, State.CANCELLED), (behind, State.CANCELLED), (last, State.COMPLETED)):
        assert (await store_of(jobs).get(handle.id)).state is state


async def waiting_no_more(job: JobContext[Any]) -> None:
    """Note that it began."""
    began.append("last")


async def test_drain_beside_what_awaits_an_input(autojump_clock: MockClock) -> None:
    """Jobs that wait for an input are no reason for an error, and no reason to wait for what is paused."""
    with pytest.raises(RuntimeError, match=r"2 jobs wait and these handlers are paused: work"):
        async with open_registry(on_exit="drain") as jobs:
            await jobs.submit(waiting)
            await wait_all_tasks_blocked()
            await jobs.pause_handlers("work")
            await jobs.submit(work)
    async with open_registry(on_exit="drain") as jobs:
        await jobs.submit(waiting)
        await wait_all_tasks_blocked()
        await jobs.pause_all()
        await jobs.resume_all()
        await jobs.pause_handlers("work")


async def test_drain_looks_at_all_that_is_paused(autojump_clock: MockClock) -> None:
    """Behind more paused jobs than a page has, it finds the one that is to run."""
    with pytest.raises(RuntimeError, match="1001 jobs wait and these handlers are paused: work"):
        async with open_registry(on_exit="drain") as jobs:
            await jobs.pause_handlers("work")
            await jobs.submit_many(work, [()] * 1001)
            await jobs.submit(other, "other", delay=10)
    assert began == ["other"]


async def test_a_resume_during_the_drain_is_heeded(autojump_clock: MockClock) -> None:
    """While something runs, a drain waits for what is paused: it may be resumed; and may be paused again."""

    async def resume(job: JobContext[Any]) -> None:
        await trio.sleep(1)
        await jobs.resume_all()

    async def pause(job: JobContext[Any]) -> None:
        await trio.sleep(1)
        await jobs.pause_all()

    async with open_registry(on_exit="drain") as jobs:
        await jobs.pause_handlers("work")
        await jobs.submit(work, "a")
        await jobs.submit(resume)
    assert began == ["a"]
    with pytest.raises(RuntimeError, match="1 jobs wait and these handlers are paused: work"):
        async with open_registry(on_exit="drain") as jobs:
            await jobs.submit(pause)
            await jobs.submit(work, delay=5)


async def test_a_resume_while_a_drain_looks_is_heeded(autojump_clock: MockClock) -> None:
    """A job that starts after a drain has read that its handler is paused is waited for."""

    class Resumed(MemoryStore):
        async def paused_handlers(self) -> Pauses:
            seen = await super().paused_handlers()
            await self.pause_handlers(["work"], paused=False)
            await wait_all_tasks_blocked()
            return seen

    store = Resumed()
    async with open_registry(store, handlers=[work], on_exit="drain") as jobs:
        await jobs.pause_handlers("work")
        handle = await jobs.submit(work, "a", 5.0)
    assert (await store.get(handle.id)).state is State.COMPLETED


async def test_a_pause_from_beside_ends_a_drain_that_waits(autojump_clock: MockClock) -> None:
    """A drain that waits for a job to be due ends when its handler is paused."""
    async with trio.open_nursery() as nursery:
        with pytest.raises(RuntimeError, match="these handlers are paused: work"):
            async with open_registry(on_exit="drain") as jobs:
                await jobs.submit(work, delay=100)

                @nursery.start_soon
                async def pause() -> None:
                    await trio.sleep(5)
                    await jobs.pause_handlers("work")

    assert trio.current_time() < 50


# ------------------------------------------------------------ input and stores


@pytest.mark.parametrize(
    ("names", "error", "text"),
    [
        ((), TypeError, "it takes the names of handlers; pause_all"),
        (("",), TypeError, "it takes the names of handlers; pause_all"),
        ((work,), TypeError, "the name of a handler takes a str; got "),
        (("a\0b",), InvalidPayload, "the name of a handler holds NUL"),
    ],
)
async def test_names_are_checked(names: tuple[Any, ...], error: type[Exception], text: str) -> None:
    """What is no name of a handler is refused, and changes nothing."""
    async with open_registry() as jobs:
        for call in (jobs.pause_handlers, jobs.resume_handlers):
            with pytest.raises(error, match=text):
                await call(*names)
        assert (await jobs.statistics()).paused_handlers == ()


async def test_a_store_without_pauses() -> None:
    """It is refused with a clear error, and shows nothing as paused."""

    class Plain:
        """A store of the verbs of the contract only."""

        def __init__(self) -> None:
            self.store = MemoryStore()

        def __getattr__(self, name: str) -> Any:
            if name.endswith("_handlers"):
                raise AttributeError(name)
            return getattr(self.store, name)

    async with open_registry(cast("Store", Plain())) as jobs:
        for call in (jobs.pause_all, jobs.resume_all, lambda: jobs.pause_handlers("a")):
            with pytest.raises(TypeError, match="Plain keeps no pauses; the stores of trio_jobs do"):
                await call()
        assert not (await jobs.statistics()).all_paused


# ------------------------------------------------------------ the store in memory


def counted(work: Callable[[], object]) -> int:
    """Return how many calls the work makes."""
    calls = 0

    def note(_: Any, what: str, __: Any) -> None:
        nonlocal calls
        calls += what in {"call", "c_call"}

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(before)
    return calls


def done(call: Any) -> Any:
    """Return what a verb of the store in memory returns, none of which waits."""
    with pytest.raises(StopIteration) as stop:
        call.send(None)
    return stop.value.value


async def test_what_is_paused_costs_a_claim_nothing() -> None:
    """A claim, and a submit that claims, take as many steps behind 2,000 paused jobs as behind 20."""
    costs = []
    for count in (20, 2000):
        store = MemoryStore()
        await store.submit([kit.make() for _ in range(count)], 0, WORKER)
        await store.pause_handlers([kit.work.__name__], paused=True)
        assert await store.claim(1, WORKER) == []
        new = kit.make(target=kit.other_work)
        claim, submit = store.claim(1, WORKER), store.submit([new], 1, WORKER)
        costs.append((counted(partial(done, claim)), counted(partial(done, submit))))
        assert (await store.get(new.id)).state is State.RUNNING
    assert all(many <= few + 5 for few, many in zip(*costs, strict=True))


async def test_what_is_resumed_is_as_before() -> None:
    """After a pause jobs start with their submit again, and later limits count what runs."""
    store = MemoryStore()
    name = kit.work.__name__
    _, claims = await store.submit([kit.make()], 1, WORKER)
    for _ in range(2):
        await store.pause_handlers([name], paused=True)
        await store.pause_handlers([name], paused=False)
    assert await store.paused_handlers() == Pauses()
    _, more = await store.submit([kit.make()], 1, WORKER)
    assert len(more) == 1
    await store.pause_handlers([name], paused=True)
    await store.finish(claims[0].submission.id, 1, kit.completed())
    await store.limit(name, {"it": Limit(at_once=2)})
    await store.submit([kit.make(), kit.make()], 0, WORKER)
    await store.pause_handlers(None, paused=False)
    assert len(await store.claim(9, WORKER)) == 1


async def test_what_is_paused_takes_room(autojump_clock: MockClock) -> None:
    """Paused jobs count for the bound of the queue, and those that await an input do not."""
    store = MemoryStore(queue_limit=2, retention=Retention())
    name = kit.work.__name__
    waits = await kit.started(store)
    await store.finish(waits, 1, kit.awaiting(math.inf))
    for _ in range(2):
        await store.pause_handlers([name], paused=True)
        ids = await kit.accept(store, kit.make(), kit.make())
        await kit.rejected("submit of a third", QueueFull, store, kit.make(target=kit.other_work))
        last = await store.send(waits, new_id(), [1])
        for job_id in ids:
            await store.request_cancel(job_id, None)
        await store.pause_handlers([name], paused=False)
        await store.finish(waits, (await kit.again(store, waits)).attempt, kit.awaiting(received=last))
