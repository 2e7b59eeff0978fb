"""Leaving a registry: by stop, by drain, by an exception, from outside, by Ctrl-C; nothing remains."""

from __future__ import annotations

import inspect
import logging
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.lowlevel
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.inside import rows_of, store_of, worker_of
from tests.tasks import task_names
from trio_jobs import (
    IllegalTransition,
    JobCancelled,
    JobContext,
    JobHandle,
    JobRegistry,
    Kind,
    Reason,
    Retry,
    State,
    Timeouts,
    UnknownHandler,
    UnknownJob,
    handler,
    open_registry,
    serve_jobs,
)

ROOT = Path(__file__).parents[2]


async def sleep(job: JobContext[Any], seconds: float = 1e6) -> str:
    await trio.sleep(seconds)
    return "slept"


async def fail(job: JobContext[Any]) -> None:
    raise OSError("again")


async def clean_up(job: JobContext[str], seconds: float) -> None:
    """Sleep until cancelled, then send a last token and take a while to end."""
    try:
        await trio.sleep_forever()
    finally:
        with trio.CancelScope(shield=True):
            await job.send("bye")
            await trio.sleep(seconds)


def row(jobs: JobRegistry, handle: JobHandle[Any, Any]) -> tuple[State, Reason | None]:
    """Return how a job stands in the store of a registry that was left."""
    store = store_of(jobs)
    found = rows_of(store)[handle.id]
    return found.state, found.reason


# ------------------------------------------------------------------------------- stop


async def test_stop_cancels_what_is_unfinished(autojump_clock: MockClock) -> None:
    """Leaving ends every job that waits or runs as CANCELLED with reason shutdown, and no other."""
    async with open_registry(capacity=3) as jobs:
        done = await jobs.submit(sleep, 1)
        retrying = await jobs.submit(fail, retry=Retry(attempts=2, initial=1000))
        await done.wait()
        running = [await jobs.submit(sleep) for _ in range(3)]
        queued = await jobs.submit(sleep)
        delayed = await jobs.submit(sleep, delay=100)
        await wait_all_tasks_blocked()
        began = trio.current_time()
    assert trio.current_time() == began
    for handle in [*running, retrying, queued, delayed]:
        assert row(jobs, handle) == (State.CANCELLED, Reason.SHUTDOWN)
    assert row(jobs, done) == (State.COMPLETED, None)


async def test_stop_waits_for_cleanup(autojump_clock: MockClock) -> None:
    """The block ends after the last handler's cleanup, and what that sends is kept."""
    async with open_registry() as jobs:
        handle = await jobs.submit(clean_up, 7)
        await wait_all_tasks_blocked()
        began = trio.current_time()
    assert trio.current_time() - began == pytest.approx(7)
    store = store_of(jobs)
    assert [event.data for event in await store.read(handle.id, 0, 10) if event.kind is Kind.TOKEN] == ["bye"]


async def test_grace_at_the_exit(autojump_clock: MockClock) -> None:
    """Within the grace a handler that listens completes; one that does not is cancelled when it is over."""

    async def listen(job: JobContext[Any]) -> str:
        await job.cancel_requested.wait()
        await trio.sleep(2)
        return "saved"

    async with open_registry(grace=5) as jobs:
        listens = await jobs.submit(listen)
        deaf = await jobs.submit(sleep)
        await wait_all_tasks_blocked()
        began = trio.current_time()
    assert trio.current_time() - began == pytest.approx(5)
    assert row(jobs, listens) == (State.COMPLETED, None)
    assert row(jobs, deaf) == (State.CANCELLED, Reason.SHUTDOWN)


async def test_nothing_starts_while_the_registry_stops(autojump_clock: MockClock) -> None:
    """A slot that becomes free during the grace is not given to a job that waits, nor is a retry begun."""
    async with open_registry(capacity=1, grace=50) as jobs:
        await jobs.submit(sleep, 5)
        queued = await jobs.submit(sleep)
        await wait_all_tasks_blocked()
    assert row(jobs, queued) == (State.CANCELLED, Reason.SHUTDOWN)
    store = store_of(jobs)
    assert (await store.get(queued.id)).attempt == 0


async def test_a_shutdown_during_a_cancel_remains_a_users_cancel(autojump_clock: MockClock) -> None:
    """A job whose cancellation by a user is under way ends with the reason `user`, not `shutdown`."""
    async with open_registry() as jobs:
        handle = await jobs.submit(clean_up, 5)
        await wait_all_tasks_blocked()
        await handle.request_cancel()
        await trio.sleep(1)
    assert row(jobs, handle) == (State.CANCELLED, Reason.USER)


async def test_a_job_that_holds_up_the_exit_is_named_in_the_log(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """After the grace and ten seconds the log says which job does not stop and where; not before."""

    async def stubborn(job: JobContext[Any], seconds: float) -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(seconds)

    with caplog.at_level(logging.WARNING, "trio_jobs"):
        async with open_registry(grace=5) as jobs:
            await jobs.submit(stubborn, 14)
            await wait_all_tasks_blocked()
        assert not caplog.records
        async with open_registry(grace=5) as jobs:
            handle = await jobs.submit(stubborn, 20)
            await wait_all_tasks_blocked()
    (record,) = caplog.records
    assert handle.id in record.getMessage()
    assert "await trio.sleep(seconds)" in record.getMessage()


# ------------------------------------------------------------------------------- drain


async def test_drain_waits_for_all(autojump_clock: MockClock) -> None:
    """Drain waits for all jobs: running, waiting, delayed and retrying ones."""
    async with open_registry(capacity=1, on_exit="drain") as jobs:
        running = await jobs.submit(sleep, 5)
        queued = await jobs.submit(sleep, 5)
        delayed = await jobs.submit(sleep, 5, delay=100)
        failing = await jobs.submit(fail, retry=Retry(attempts=3, initial=200, maximum=200, jitter=0))
        began = trio.current_time()
    assert trio.current_time() - began == pytest.approx(10 + 400)
    for handle in (running, queued, delayed):
        assert row(jobs, handle) == (State.COMPLETED, None)
    assert row(jobs, failing) == (State.FAILED, Reason.ERROR)


async def test_drain_waits_for_what_jobs_submit_meanwhile(autojump_clock: MockClock) -> None:
    """Drain waits for jobs that jobs submit while it drains, and for those that these submit."""
    last: list[JobHandle[Any, Any]] = []

    async def chain(job: JobContext[Any], n: int) -> None:
        await trio.sleep(1)
        if n:
            last[:] = [await jobs.submit(chain, n - 1)]

    async with open_registry(on_exit="drain") as jobs:
        await jobs.submit(chain, 20)
    assert row(jobs, last[0]) == (State.COMPLETED, None)


async def test_drain_of_more_jobs_than_a_page(autojump_clock: MockClock) -> None:
    """However many jobs there are, drain waits for all of them."""

    async def nothing(job: JobContext[Any]) -> None:
        pass

    async with open_registry(capacity=7, on_exit="drain") as jobs:
        handles = await jobs.submit_many(nothing, [()] * 2100)
    assert {row(jobs, handle) for handle in handles} == {(State.COMPLETED, None)}


async def test_drain_with_nothing_to_do(autojump_clock: MockClock) -> None:
    """An empty registry drains at once, also with capacity 0 or paused."""
    with trio.fail_after(1):
        async with open_registry(on_exit="drain"):
            pass
        async with open_registry(on_exit="drain", capacity=0):
            pass
        async with open_registry(on_exit="drain") as jobs:
            jobs.pause()


async def test_drain_with_capacity_0_is_a_clear_error(autojump_clock: MockClock) -> None:
    """Jobs that will never run are cancelled, and drain raises an error."""
    with trio.fail_after(60):
        with pytest.raises(RuntimeError, match=r"2 jobs wait and capacity is 0"):
            async with open_registry(on_exit="drain", capacity=0) as jobs:
                handles = [await jobs.submit(sleep) for _ in range(2)]
    assert {row(jobs, handle) for handle in handles} == {(State.CANCELLED, Reason.SHUTDOWN)}


async def test_drain_while_paused_is_a_clear_error(autojump_clock: MockClock) -> None:
    """Drain in a paused registry waits for running attempts, and raises an error for the waiting jobs."""
    with trio.fail_after(60):
        with pytest.raises(RuntimeError, match=r"1 jobs wait and the registry is paused"):
            async with open_registry(on_exit="drain") as jobs:
                running = await jobs.submit(sleep, 5)
                jobs.pause()
                queued = await jobs.submit(sleep)
    assert row(jobs, running) == (State.COMPLETED, None)
    assert row(jobs, queued) == (State.CANCELLED, Reason.SHUTDOWN)


async def test_drain_while_paused_with_nothing_waiting(autojump_clock: MockClock) -> None:
    """A registry whose jobs all run drains without an error, paused or not."""
    async with open_registry(on_exit="drain") as jobs:
        running = await jobs.submit(sleep, 5)
        jobs.pause()
    assert row(jobs, running) == (State.COMPLETED, None)


async def test_a_pause_during_the_drain_does_not_hang_it(autojump_clock: MockClock) -> None:
    """A job that pauses the registry during a drain makes it raise an error if others wait."""

    async def pause(job: JobContext[Any]) -> None:
        await trio.sleep(1)
        jobs.pause()

    with trio.fail_after(60):
        with pytest.raises(RuntimeError, match=r"1 jobs wait and the registry is paused"):
            async with open_registry(on_exit="drain", capacity=1) as jobs:
                await jobs.submit(pause)
                await jobs.submit(sleep)


async def test_a_resume_during_the_drain_is_heeded(autojump_clock: MockClock) -> None:
    """A job that resumes a paused registry during a drain lets the waiting jobs run."""

    async def resume(job: JobContext[Any]) -> None:
        await trio.sleep(1)
        jobs.resume()

    async with open_registry(on_exit="drain", capacity=1) as jobs:
        await jobs.submit(resume)
        queued = await jobs.submit(sleep, 5)
        jobs.pause()
    assert row(jobs, queued) == (State.COMPLETED, None)


async def test_an_exception_in_the_body_stops_even_a_draining_registry(autojump_clock: MockClock) -> None:
    """Drain applies to a normal exit: an exception stops the jobs and is raised."""
    with trio.fail_after(60):
        with pytest.raises(KeyError, match="mine"):
            async with open_registry(on_exit="drain") as jobs:
                handle = await jobs.submit(sleep)
                raise KeyError("mine")
    assert row(jobs, handle) == (State.CANCELLED, Reason.SHUTDOWN)


async def test_cancelling_a_drain_stops(autojump_clock: MockClock) -> None:
    """A drain that is cancelled from outside becomes a stop."""
    with trio.move_on_after(5) as scope:
        async with open_registry(on_exit="drain") as jobs:
            handle = await jobs.submit(sleep)
    assert scope.cancelled_caught
    assert row(jobs, handle) == (State.CANCELLED, Reason.SHUTDOWN)


# ------------------------------------------------------------------------------- from outside


async def test_cancellation_from_outside_is_shutdown(autojump_clock: MockClock) -> None:
    """A cancelled block ends its jobs with the reason `shutdown`, not `user`, and raises Cancelled."""
    with trio.move_on_after(5) as scope:
        async with open_registry(grace=100) as jobs:
            handle = await jobs.submit(clean_up, 2)
            child_of = await jobs.submit(sleep)
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert row(jobs, handle) == (State.CANCELLED, Reason.SHUTDOWN)
    assert row(jobs, child_of) == (State.CANCELLED, Reason.SHUTDOWN)
    store = store_of(jobs)
    kinds = [event.kind for event in await store.read(handle.id, 0, 10)]
    assert Kind.CANCEL_REQUESTED not in kinds


async def test_the_bodys_exception_comes_out_bare(autojump_clock: MockClock) -> None:
    """An exception of the block is raised as the same object, and not in a group."""
    mine = ValueError("mine")
    with pytest.raises(ValueError, match="mine") as raised:
        async with open_registry() as jobs:
            await jobs.submit(sleep)
            raise mine
    assert raised.value is mine


async def test_two_exceptions_at_once_are_both_kept(autojump_clock: MockClock) -> None:
    """An exception of the block and a cancellation from outside at once are both raised."""
    with pytest.RaisesGroup(pytest.RaisesExc(ValueError, match="mine")), trio.CancelScope() as outer:
        async with open_registry() as jobs:
            await jobs.submit(clean_up, 5)
            await wait_all_tasks_blocked()
            outer.cancel()
            raise ValueError("mine")
    assert outer.cancelled_caught


async def test_keyboard_interrupt_in_the_body_comes_out_bare(autojump_clock: MockClock) -> None:
    """Ctrl-C in the block stops the jobs and is raised bare."""
    with pytest.raises(KeyboardInterrupt):
        async with open_registry() as jobs:
            handle = await jobs.submit(sleep)
            raise KeyboardInterrupt
    assert row(jobs, handle) == (State.CANCELLED, Reason.SHUTDOWN)


async def test_keyboard_interrupt_in_a_handler_is_shutdown(autojump_clock: MockClock) -> None:
    """Ctrl-C in a handler stops the block and all jobs, and is raised bare."""

    async def interrupted(job: JobContext[Any]) -> None:
        await trio.sleep(1)
        raise KeyboardInterrupt

    with trio.fail_after(60):
        with pytest.raises(KeyboardInterrupt):
            async with open_registry() as jobs:
                other = await jobs.submit(sleep)
                struck = await jobs.submit(interrupted)
                await trio.sleep_forever()
    assert row(jobs, struck) == (State.CANCELLED, Reason.SHUTDOWN)
    assert row(jobs, other) == (State.CANCELLED, Reason.SHUTDOWN)


async def test_keyboard_interrupt_in_a_handler_does_not_hide_the_bodys_exception(
    autojump_clock: MockClock,
) -> None:
    """If the block's cleanup fails after Ctrl-C in a handler, both errors are raised."""

    async def interrupted(job: JobContext[Any]) -> None:
        raise KeyboardInterrupt

    with pytest.raises((KeyboardInterrupt, BaseExceptionGroup)) as raised:
        async with open_registry() as jobs:
            await jobs.submit(interrupted)
            try:
                await trio.sleep_forever()
            finally:
                raise ValueError("cleanup")
    shown = "".join(_all_of(raised.value))
    assert "KeyboardInterrupt" in shown
    assert "ValueError" in shown


def _all_of(error: BaseException | None) -> list[str]:
    """Return the names of an exception, of those in it, and of those behind it."""
    if error is None:
        return []
    inner = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    found = [type(error).__name__, *_all_of(error.__context__)]
    return found + [name for one in inner for name in _all_of(one)]


async def test_serve_jobs_is_for_nursery_start(autojump_clock: MockClock) -> None:
    """`nursery.start` gives the registry; cancelling the nursery stops its jobs as a shutdown."""
    async with trio.open_nursery() as nursery:
        jobs = await nursery.start(serve_jobs)
        assert isinstance(jobs, JobRegistry)
        first = await jobs.submit(sleep, 5)
        assert await first.result() == "slept"
        handle = await jobs.submit(sleep)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert row(jobs, handle) == (State.CANCELLED, Reason.SHUTDOWN)
    with pytest.raises(trio.ClosedResourceError):
        await jobs.count()


async def test_serve_jobs_passes_its_arguments_on(autojump_clock: MockClock) -> None:
    """Each parameter of `serve_jobs` is one of `open_registry`, with the same default and effect."""
    given = dict(inspect.signature(serve_jobs).parameters)
    del given["task_status"]
    opened = inspect.signature(open_registry).parameters
    for name, parameter in given.items():
        assert (parameter.kind, parameter.default) == (opened[name].kind, opened[name].default)
    async with trio.open_nursery() as nursery:
        jobs = await nursery.start(
            lambda task_status: serve_jobs(capacity=3, name="x", task_status=task_status)
        )
        assert ((await jobs.statistics()).capacity, jobs.name) == (3, "x")
        nursery.cancel_scope.cancel()


# ------------------------------------------------------------------------------- nothing is left


async def test_leaving_leaves_nothing_running(autojump_clock: MockClock) -> None:
    """After the block, no task, stream or reader of any kind of job remains."""

    async def helper() -> None:
        await trio.sleep_forever()

    async def busy(job: JobContext[Any]) -> None:
        leaked.append(job.tokens.clone())
        job.nursery.start_soon(helper)
        await job.spawn(sleep)
        await job.tokens.send("x")
        await trio.sleep_forever()

    leaked: list[trio.MemorySendChannel[Any]] = []
    before = task_names()
    async with open_registry(capacity=20) as jobs:
        for _ in range(10):
            await jobs.submit(busy, timeouts=Timeouts(idle=1000, queue=1000))
            await jobs.submit(busy, when_unread="cancel", linger=500)
            await jobs.submit(sleep, delay=1000)
            await jobs.submit(fail, retry=Retry(attempts=3))
        await wait_all_tasks_blocked()
        assert len(task_names()) > len(before) + 40
        worker = worker_of(jobs)
    assert task_names() == before
    assert not worker.attempts
    assert not worker.readers
    assert worker.running == 0
    for channel in leaked:
        with pytest.raises((trio.BrokenResourceError, trio.ClosedResourceError)):
            await channel.send("too late")
        channel.close()


async def test_no_thread_outlives_the_registry() -> None:
    """Leaving waits for a handler's thread: none works after the block."""
    working = threading.Event()
    release = threading.Event()
    ended = threading.Event()

    def work() -> None:
        working.set()
        release.wait(60)
        ended.set()

    async def in_a_thread(job: JobContext[Any]) -> None:
        await trio.to_thread.run_sync(work)

    async with trio.open_nursery() as nursery:
        async with open_registry() as jobs:
            await jobs.submit(in_a_thread)
            while not working.is_set():
                await trio.lowlevel.checkpoint()
            release_later = trio.Event()

            async def let_go() -> None:
                await release_later.wait()
                release.set()

            nursery.start_soon(let_go)
            release_later.set()
        assert ended.is_set()


async def test_readers_and_waiters_see_the_true_end(autojump_clock: MockClock) -> None:
    """A task that waits or reads when the block is left gets the real end of its job."""
    told: dict[str, object] = {}

    async def until_told(job: JobContext[str]) -> str:
        await job.send("a")
        await job.cancel_requested.wait()
        await job.send("b")
        return "in time"

    async def waits(name: str, handle: JobHandle[Any, Any]) -> None:
        told[f"{name} wait"] = (await handle.wait()).state

    async def result(name: str, handle: JobHandle[Any, Any]) -> None:
        try:
            told[f"{name} result"] = await handle.result()
        except JobCancelled as cancelled:
            told[f"{name} result"] = cancelled.reason

    async def reads(name: str, handle: JobHandle[Any, Any]) -> None:
        values = []
        try:
            async with handle.stream() as tokens:
                async for token in tokens:
                    values.append(token)
        except JobCancelled as cancelled:
            values.append(cancelled.reason)
        told[f"{name} stream"] = values

    async def events(name: str, handle: JobHandle[Any, Any]) -> None:
        async with handle.events() as log:
            told[f"{name} events"] = [event.kind async for event in log][-1]

    async def cancels(name: str, handle: JobHandle[Any, Any]) -> None:
        told[f"{name} cancel"] = (await handle.cancel(grace=1000, patience=1000)).outcome

    async with trio.open_nursery() as nursery, open_registry(capacity=3, grace=5) as jobs:
        handles = {
            "told": await jobs.submit(until_told),
            "runs": await jobs.submit(sleep),
            "asked": await jobs.submit(clean_up, 1),
            "queued": await jobs.submit(sleep),
        }
        for name, handle in handles.items():
            for watch in (waits, result, reads, events):
                nursery.start_soon(watch, name, handle)
        nursery.start_soon(cancels, "asked", handles["asked"])
        await wait_all_tasks_blocked()
        assert not told
    assert told == {
        "told wait": State.COMPLETED,
        "told result": "in time",
        "told stream": ["a", "b"],
        "told events": Kind.COMPLETED,
        "runs wait": State.CANCELLED,
        "runs result": Reason.SHUTDOWN,
        "runs stream": [Reason.SHUTDOWN],
        "runs events": Kind.CANCELLED,
        "asked wait": State.CANCELLED,
        "asked result": Reason.SHUTDOWN,
        "asked stream": ["bye", Reason.SHUTDOWN],
        "asked events": Kind.CANCELLED,
        "asked cancel": "cancelled",
        "queued wait": State.CANCELLED,
        "queued result": Reason.SHUTDOWN,
        "queued stream": [Reason.SHUTDOWN],
        "queued events": Kind.CANCELLED,
    }


# ------------------------------------------------------------------------------- use after close

Call = Callable[[Any], Awaitable[Any] | None]
REGISTRY_CALLS: dict[str, Call] = {
    "cancel": lambda jobs: jobs.cancel("x"),
    "cancel_where": lambda jobs: jobs.cancel_where(owner="x"),
    "remove_where": lambda jobs: jobs.remove_where(owner="x"),
    "retry_where": lambda jobs: jobs.retry_where(owner="x"),
    "count": lambda jobs: jobs.count(),
    "execute_and_stream": lambda jobs: jobs.execute_and_stream(sleep),
    "find": lambda jobs: jobs.find(),
    "get": lambda jobs: jobs.get("x"),
    "pause": lambda jobs: jobs.pause(),
    "pause_all": lambda jobs: jobs.pause_all(),
    "pause_handlers": lambda jobs: jobs.pause_handlers("x"),
    "prune": lambda jobs: jobs.prune(older_than=0),
    "remove": lambda jobs: jobs.remove("x"),
    "resume": lambda jobs: jobs.resume(),
    "resume_all": lambda jobs: jobs.resume_all(),
    "resume_handlers": lambda jobs: jobs.resume_handlers("x"),
    "statistics": lambda jobs: jobs.statistics(),
    "submit": lambda jobs: jobs.submit(sleep),
    "submit_many": lambda jobs: jobs.submit_many(sleep, [()]),
}
HANDLE_CALLS: dict[str, Call] = {
    "cancel": lambda handle: handle.cancel(),
    "events": lambda handle: handle.events(),
    "end_inputs": lambda handle: handle.end_inputs(),
    "explain": lambda handle: handle.explain(),
    "history": lambda handle: handle.history(),
    "request_cancel": lambda handle: handle.request_cancel(),
    "result": lambda handle: handle.result(),
    "resubmit": lambda handle: handle.resubmit(),
    "send": lambda handle: handle.send("value"),
    "send_many": lambda handle: handle.send_many(["value"]),
    "snapshot": lambda handle: handle.snapshot(),
    "stream": lambda handle: handle.stream(),
    "wait": lambda handle: handle.wait(),
    "wait_ready": lambda handle: handle.wait_ready(),
}


def _methods(kind: type) -> set[str]:
    return {name for name, _ in inspect.getmembers(kind, inspect.isfunction) if not name.startswith("_")}


@pytest.mark.parametrize(("kind", "calls"), [(JobRegistry, REGISTRY_CALLS), (JobHandle, HANDLE_CALLS)])
def test_every_method_is_in_the_list(kind: type, calls: dict[str, Call]) -> None:
    """The lists of calls above have every public method."""
    assert set(calls) == _methods(kind)


@pytest.mark.parametrize(
    ("kind", "name"),
    [("registry", name) for name in REGISTRY_CALLS] + [("handle", name) for name in HANDLE_CALLS],
)
async def test_use_after_close(autojump_clock: MockClock, kind: str, name: str) -> None:
    """After the block, every method of the registry and of its handles raises an error that says so."""
    async with open_registry() as jobs:
        handle = await jobs.submit(sleep)
    subject, call = (jobs, REGISTRY_CALLS[name]) if kind == "registry" else (handle, HANDLE_CALLS[name])
    with pytest.raises(trio.ClosedResourceError, match="the registry is closed"):
        answer = call(subject)
        if answer is not None:
            await answer


async def test_a_stream_made_before_the_close_cannot_be_entered_after_it(autojump_clock: MockClock) -> None:
    """A stream that was made in the block and not entered is closed with it."""
    async with open_registry() as jobs:
        handle = await jobs.submit(sleep)
        tokens, events, lines = handle.stream(), handle.events(), jobs.execute_and_stream(sleep)
    with pytest.raises(trio.ClosedResourceError):
        async with lines:
            pass
    # The log is still there, so a stream opened on it tells the true end rather than nothing.
    async with events as log:
        assert [event.kind async for event in log][-1] is Kind.CANCELLED
    with pytest.raises(JobCancelled):
        async with tokens as values:
            await values.receive()


@handler
async def brief(job: JobContext[Any]) -> str:
    """Run as a child job, or as one that waits for another worker."""
    return "brief"


SUBMITS = {"execute_and_stream", "resubmit", "retry_where", "submit", "submit_many"}


@pytest.mark.parametrize("address", ["memory://", "sqlite"])
async def test_handlers_use_the_registry_until_they_have_ended(tmp_path: Path, address: str) -> None:
    """Every method works for a handler until it ends within its grace, so that leaving fails no job. Only a
    registry in memory, which no worker outlives, accepts no more jobs then."""
    refused: set[str] = set()
    began = trio.Event()

    async def answered(name: str, call: Call, subject: Any) -> None:
        try:
            answer: Any = call(subject)
            if inspect.isawaitable(answer):
                await answer
            elif answer is not None:
                async with answer:
                    pass
        except trio.ClosedResourceError:
            refused.add(name)
        except (UnknownJob, UnknownHandler, IllegalTransition):
            pass

    @handler
    async def late(job: JobContext[Any]) -> str:
        began.set()
        await job.cancel_requested.wait()
        for name, call in REGISTRY_CALLS.items():
            await answered(name, call, jobs)
        for name, call in HANDLE_CALLS.items():
            await answered(name, call, await job.spawn(brief))
        return "in time"

    durable = address != "memory://"
    if durable:
        address = f"sqlite:///{tmp_path / 'jobs.db'}"
    async with open_registry(address, handlers=[late, brief], grace=50) as jobs:
        handle = await jobs.submit(late)
        await began.wait()
    assert refused == (set() if durable else SUBMITS)
    if durable:
        async with open_registry(address, capacity=0) as jobs:
            assert await (await jobs.get(handle.id)).result() == "in time"
    else:
        assert row(jobs, handle)[0] is State.COMPLETED


# ------------------------------------------------------------------------------- Ctrl-C

PROGRAM = """
    import sys, threading
    import trio
    import trio_jobs

    async def stream(job):
        try:
            while True:
                await job.send("x")
                await trio.sleep(0.01)
        finally:
            print("cleaned up", flush=True)

    async def main():
        async with trio_jobs.open_registry() as jobs:
            for _ in range(3):
                await jobs.submit(stream)
            print("ready", flush=True)
            await trio.sleep_forever()

    try:
        trio.run(main)
    except KeyboardInterrupt:
        print("interrupted", threading.active_count(), flush=True)
        raise
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGINT to send to one process")
def test_sigint_ends_a_real_program(tmp_path: Path) -> None:
    """Ctrl-C ends the program by KeyboardInterrupt alone, after each handler's cleanup; no thread remains."""
    program = tmp_path / "program.py"
    program.write_text(textwrap.dedent(PROGRAM))
    with subprocess.Popen(
        [sys.executable, str(program)],
        env={"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "ready\n"
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=30)
        finally:
            process.kill()
    assert out.splitlines() == ["cleaned up"] * 3 + ["interrupted 1"]
    assert err.rstrip().endswith("KeyboardInterrupt")
    assert "ExceptionGroup" not in err
    assert process.returncode in {-signal.SIGINT, 130, 1}
