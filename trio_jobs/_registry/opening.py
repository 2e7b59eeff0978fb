"""Open a registry: every task of the library runs under one nursery, and they end in order."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from math import inf
from types import ModuleType
from typing import TYPE_CHECKING, Literal

import trio

from .._common.deferred_error import Block, DeferredError
from .._common.errors import quoted
from .._common.states import UNFINISHED, Reason, State
from .._common.validate import choice, number, text, whole
from .._model.handler import mark_of
from .._model.handlers import Handler, Handlers
from .._model.job import Retention, new_id
from .._running.shortcuts import Shortcuts
from .._running.worker import Worker
from ..stores.contract import Claimant, Store, Submission, Where
from ..stores.retrying import retry_until_answered
from .address import MEMORY, Opened, store_opener
from .registry import JobRegistry

if TYPE_CHECKING:  # few programs have limits or schedules
    from .._model.limits import Limit
    from .._model.schedule import Schedule
    from .._model.summary import JobSummary
    from .._running.hooks import OnEvent, Wrap
    from .firing import Firing
    from .limiting import HandlerLimits

OnExit = Literal["stop", "drain"]
Making = Callable[[Store, trio.Nursery, Claimant, Shortcuts], Worker]
_PAGE = 1000


async def _drain(worker: Worker) -> None:
    """Wait until each job has ended, or waits for an input; with a durable store, until nothing runs here.

    Raises:
        RuntimeError: Jobs wait, and the registry will never run them.
    """
    if worker.store.durable:
        worker.pause(paused=True)
        await worker.wait_idle()
        return
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_cancel_when_nothing_runnable, worker, nursery.cancel_scope)
        nursery.start_soon(_cancel_when_held_up, worker, nursery.cancel_scope)
        while (waiting := await _others(worker))[0]:
            for job in waiting[0]:
                await worker.store.ended(job.id)
        nursery.cancel_scope.cancel()
    if (await _others(worker))[0] and (paused := await _held_up(worker)) != "":
        left = sum((await worker.store.count(Where(UNFINISHED))).values())
        why = paused or ("the registry is paused" if worker.paused else "capacity is 0")
        raise RuntimeError(
            f"on_exit='drain' would wait for ever: {left} jobs wait and {why}; they are cancelled"
        )


async def _cancel_when_nothing_runnable(worker: Worker, scope: trio.CancelScope) -> None:
    await worker.wait_nothing_runnable()
    scope.cancel()


async def _cancel_when_held_up(worker: Worker, scope: trio.CancelScope) -> None:
    """Cancel a scope once nothing runs, and no job that is left will start by itself."""
    while True:
        await worker.wait_idle()
        if await _held_up(worker) is not None:
            scope.cancel()
        await worker.changed()


async def _others(worker: Worker, after: str | None = None) -> tuple[Sequence[JobSummary], str | None]:
    """Return unfinished jobs that are no services and no children, if there are any, and where to go on."""
    while True:
        page = await worker.store.find(Where(UNFINISHED), _PAGE, after=after)
        found = [job for job in page if job.parent is None and job.handler not in worker.services]
        if found or (after := page.next) is None:
            return found, page.next


async def _held_up(worker: Worker) -> str | None:
    """Return what is paused, if each unfinished job waits for an input, is paused, or stands behind such.

    Services do not count. The text is empty if no job is held up by a pause. If one may start, return None.
    """
    store, pauses = worker.store, await worker.paused_handlers()
    with trio.CancelScope(deadline=-inf) as due:
        await store.due()
    if not due.cancelled_caught or (not any(pauses) and await store.count(Where({State.QUEUED}))):
        return None
    held, after = set[str](), None
    while True:
        jobs, after = await _others(worker, after)
        for job in jobs:
            if job.state is State.RUNNING:
                return None
            if pauses.hold(job.handler):
                held.add(job.handler)
            elif job.reason is not Reason.AWAITING_INPUT and (await store.get(job.id)).behind is None:
                return None
        if after is None:
            return f"these handlers are paused: {', '.join(sorted(held))}" if held else ""


def _claimant(
    name: str | None, lease: float, *, capacity: int, window: int, grace: float, on_exit: OnExit
) -> Claimant:
    """Return who claims, once the arguments of `open_registry` are checked."""
    whole("capacity", capacity)
    whole("window", window, 1)
    number("lease", lease)
    if lease == 0:
        raise ValueError("lease must be more than 0 seconds: every attempt would be reclaimed at once")
    number("grace", grace)
    choice("on_exit", on_exit, ("stop", "drain"))
    return Claimant("worker" if name is None else text("name", name), lease)


def _kind_of_worker(wrap: Wrap | None, on_event: OnEvent | None) -> Callable[..., Worker]:
    if wrap is None and on_event is None:
        return Worker
    from .._running.hooks import HookedWorker, check_hooks  # which few programs need

    check_hooks(wrap, on_event)
    return partial(HookedWorker, wrap=wrap, on_event=on_event)


def _limiting(
    store: str | Store, shared: object, known: Handlers, declared: Mapping[str, Schedule], capacity: int
) -> HandlerLimits | None:
    handlers = [*known.values(), *(one.handler for one in declared.values())]
    if store == MEMORY and shared is None and not any(mark_of(fn).limits for fn in handlers):
        return None
    from .limiting import HandlerLimits  # which few programs in memory need

    return HandlerLimits(shared, handlers, runs=capacity > 0)


def open_registry(
    store: str | Store = MEMORY,
    *,
    handlers: Iterable[Handler] | ModuleType = (),
    capacity: int = 100,
    queue_limit: int | None = None,
    window: int = 64,
    retention: Retention | None = None,
    limits: Mapping[str, Limit] | None = None,
    lease: float = 30.0,
    on_exit: OnExit = "stop",
    grace: float = 0.0,
    name: str | None = None,
    schedules: Iterable[Schedule] = (),
    wrap: Wrap | None = None,
    on_event: OnEvent | None = None,
) -> AbstractAsyncContextManager[JobRegistry, None]:
    """Open a registry for the length of an `async with` block, under which every task of it runs.

    Leaving it does what `on_exit` says, or stops the jobs if an exception or a cancellation ends it. Then
    nothing runs any more. What is unfinished is CANCELLED (reason `shutdown`) in memory, and goes on in a
    store that outlives the process. A handler that does not stop holds up the exit; the log says where.

    Args:
        store: Where jobs are kept: `memory://`; a file that processes share, `sqlite:///jobs.db` (relative)
            or `sqlite:////var/lib/jobs.db` (absolute), also with `?synchronous=normal`; a database that
            machines share, `postgresql://host/jobs`; or a store of your own, which this registry closes.
        handlers: The handlers that run here, or the module that defines them, marked with `@handler`. A store
            that outlives the process accepts only these, by name; one in memory takes any async function.
        capacity: How many attempts may run at once; 0 to submit and watch only.
        queue_limit: How many jobs may wait; by default 100,000 in memory and a million in a file.
        window: How many events a handler may be ahead of a reader that it waits for.
        retention: What is kept of jobs; by default 10,000 ended ones in memory, all until `prune` in a file.
        limits: The limits that handlers share, by name. In a file the last registry that runs jobs decides.
        lease: Seconds without a heartbeat after which another worker may take over an attempt; not in memory.
        on_exit: `stop`: ask jobs to end within `grace`, then cancel them. `drain`: wait for all jobs but
            those that wait for input; with a store that outlives the process, for attempts that run here.
        grace: Seconds for handlers to end by themselves at a stop.
        name: The worker's name in `started` events; "worker" by default.
        schedules: What submits jobs by the clock, until the block is left.
        wrap: Gets the context of each attempt; the async context manager that it returns is around it.
        on_event: Gets context, kind and `Ended` of each start, first token and end here; must be quick.

    Raises:
        ValueError: An argument is out of range, or the store does not keep what handlers are marked with.
        TypeError: An argument has the wrong type, or a handler takes what cannot be made from JSON.
        StoreUnavailable: On entering, the store cannot be reached; `StoreUnfit` if waiting does not help.
        StoreCorrupt: On entering or later, the store's data is damaged.
        SchemaTooNew: On entering, the store was written by a newer version.
        RuntimeError: On entering, Trio does not run; on leaving with `drain`, jobs wait that will never run.
        KeyboardInterrupt: A handler raised it.
    """
    claimant = _claimant(name, lease, capacity=capacity, window=window, grace=grace, on_exit=on_exit)
    known, declared = Handlers(handlers), _by_name(schedules)
    limiting = _limiting(store, limits, known, declared, capacity)
    opened, services = store_opener(store, known, queue_limit, retention), _services(known, capacity)
    making = partial(_kind_of_worker(wrap, on_event), capacity=capacity, window=window, services=services)
    running = partial(_running, claimant=claimant, making=making, on_exit=on_exit, grace=grace)
    block = _registry_block(opened, running, known, declared, limiting, services=services.values())
    return Block("open_registry", block)


@asynccontextmanager
async def _registry_block(
    opened: AbstractAsyncContextManager[Opened],
    running: Callable[[Store, Shortcuts], AbstractAsyncContextManager[Worker]],
    handlers: Handlers,
    declared: Mapping[str, Schedule],
    limits: HandlerLimits | None,
    *,
    services: Collection[Submission],
) -> AsyncGenerator[JobRegistry]:
    async with opened as (store, shortcuts):
        if services:
            _check_keeps_services(store)
        if limits is not None:
            await limits.begin(store)
        async with running(store, shortcuts) as worker:
            for new in services:
                await retry_until_answered(store.submit, [new], 0, worker.claimant)
            jobs = JobRegistry(worker, handlers, limits, await _begin_firing(worker, handlers, declared))
            try:
                yield jobs
            finally:  # before it drains
                firing = jobs._firing  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
                if firing is not None:
                    firing.end()


def _services(handlers: Handlers, capacity: int) -> Mapping[str, Submission]:
    """Return a submission of each service among handlers, by its name; of none without a capacity."""
    marks = {name: mark_of(fn) for name, fn in handlers.items()} if capacity else {}
    return {
        name: Submission(new_id(), name, handlers[name], (), mark.options)
        for name, mark in marks.items()
        if mark.options.restart is not None
    }


def _check_keeps_services(store: Store) -> None:
    from ..stores.services import KeepsServices  # which few programs need

    if not isinstance(store, KeepsServices):
        raise ValueError(  # noqa: TRY004  # it is a store, and the handlers are not for it
            f"services are among the handlers, and {quoted(store)} keeps none; use memory:// or sqlite:///jobs.db"
        )


def _by_name(schedules: Iterable[Schedule]) -> Mapping[str, Schedule]:
    if not schedules:
        return {}
    from .firing import by_name

    return by_name(schedules)


async def _begin_firing(
    worker: Worker, handlers: Handlers, declared: Mapping[str, Schedule]
) -> Firing | None:
    """Declare schedules and fire them, and those that were added to a store that others open too."""
    if not declared and not (handlers and worker.capacity and worker.store.durable):
        return None
    from .firing import Firing

    firing = Firing(worker, handlers, declared)
    await firing.begin()
    return firing


@asynccontextmanager
async def _running(
    kept: Store,
    shortcuts: Shortcuts,
    claimant: Claimant,
    making: Making,
    *,
    on_exit: OnExit,
    grace: float,
) -> AsyncGenerator[Worker]:
    """Run a worker on an open store, and end it in order."""
    claimant = claimant if kept.durable else Claimant(claimant.name)
    last = trio.CancelScope(shield=True), trio.CancelScope(shield=True)
    interrupted = False
    block = DeferredError()
    try:
        async with trio.open_nursery() as vital:
            try:
                async with trio.open_nursery() as nursery:
                    worker = making(kept, nursery, claimant, shortcuts)
                    nursery.start_soon(worker.run, name="claim jobs")
                    # The last to end, and shielded: what is slow to stop keeps its lease, and may receive.
                    if kept.durable:
                        vital.start_soon(_within, last[0], worker.keep_leases, name="keep leases")
                    if shortcuts.local is None:
                        vital.start_soon(_within, last[1], worker.listener.run, name="listen for inputs")
                    with block:
                        yield worker
                        if on_exit == "drain":
                            await _drain(worker)
                    worker.closed = True
                    worker.stop(grace)
                    nursery.start_soon(worker.wait_answers, name="give back what was claimed")
                    nursery.start_soon(worker.stop_services, grace, name="stop services")
                    nursery.start_soon(worker.report_stuck, grace, name="report stuck jobs")
                interrupted = worker.interrupted
            finally:
                for scope in last:
                    scope.cancel(reason="nothing runs any more")
    except BaseException as exc:
        error = block.beside(exc)
        if error is exc:
            raise
        raise error from None  # noqa: ASYNC104  # a Cancelled is among them, if there was one
    if interrupted:
        raise KeyboardInterrupt
    block.release()


async def _within(scope: trio.CancelScope, task: Callable[[], Awaitable[None]]) -> None:
    with scope:
        await task()


async def serve_jobs(
    store: str | Store = MEMORY,
    *,
    handlers: Iterable[Handler] | ModuleType = (),
    capacity: int = 100,
    queue_limit: int | None = None,
    window: int = 64,
    retention: Retention | None = None,
    limits: Mapping[str, Limit] | None = None,
    lease: float = 30.0,
    name: str | None = None,
    schedules: Iterable[Schedule] = (),
    wrap: Wrap | None = None,
    on_event: OnEvent | None = None,
    task_status: trio.TaskStatus[JobRegistry] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run a registry as a task: `jobs = await nursery.start(serve_jobs)`.

    Runs until it is cancelled, which stops its jobs at once. The arguments are those of `open_registry`.
    """
    async with open_registry(
        store,
        handlers=handlers,
        capacity=capacity,
        queue_limit=queue_limit,
        window=window,
        retention=retention,
        limits=limits,
        lease=lease,
        name=name,
        schedules=schedules,
        wrap=wrap,
        on_event=on_event,
    ) as jobs:
        task_status.started(jobs)
        await trio.sleep_forever()
