"""The registry: every task of the library under one nursery, and the front door to the jobs in it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Literal, TypedDict, TypeVar, TypeVarTuple, Unpack

import trio

from ._check import choice, number, tags, text, whole
from ._context import JobContext
from ._errors import quoted
from ._handle import JobHandle
from ._job import CancelReport, Job, Retention, Statistics
from ._lines import LineStream
from ._options import SubmitOptions
from ._states import Reason, State
from ._store import Store, Where
from ._submission import submission
from ._worker import Worker
from .stores.memory import MemoryStore

T = TypeVar("T")
R = TypeVar("R")
Ts = TypeVarTuple("Ts")
OnExit = Literal["stop", "drain"]
UNFINISHED = frozenset(state for state in State if not state.over)
_PAGE = 1000


class Filter(TypedDict, total=False):
    """Which jobs are meant; a job must match all that is given.

    Attributes:
        state: One state, or several.
        tags: Tags that the job must have, perhaps among others.
        handler: The handler's name.
        owner: The owner.
        parent: The id of the job that spawned it.
    """

    state: State | Iterable[State]
    tags: dict[str, str]
    handler: str
    owner: str
    parent: str


def _where(given: Filter) -> Where:
    """Return the checked filter.

    Raises:
        TypeError: A field is unknown or has the wrong type.
        ValueError: There is no such state.
    """
    unknown = set(given) - set(Filter.__annotations__)
    if unknown:
        known = ", ".join(Filter.__annotations__)
        raise TypeError(f"cannot find jobs by {', '.join(sorted(unknown))}; it takes {known}")
    state = given.get("state")
    states = None
    if state is not None:
        states = frozenset(map(State, [state] if isinstance(state, str) else state))
    wanted = tags(given["tags"]) if "tags" in given else None
    names = {name: text(name, given[name]) for name in ("handler", "owner", "parent") if name in given}
    return Where(states, wanted, **names)


class JobRegistry:
    """Submit jobs, find them, and cancel them; `open_registry` makes one.

    Its methods raise `trio.ClosedResourceError` once the registry was left. Those that are `async` are
    checkpoints; a cancelled `submit` submitted nothing.

    Attributes:
        name: What the `started` events of its jobs say.
    """

    def __init__(self, worker: Worker) -> None:
        self.name = worker.name
        self._worker = worker
        self._store = worker.store

    # ------------------------------------------------------------ submitting

    async def submit(
        self,
        fn: Callable[[JobContext[T], Unpack[Ts]], Awaitable[R]],
        /,
        *args: *Ts,
        **options: Unpack[SubmitOptions],
    ) -> JobHandle[T, R]:
        """Accept a job. When this returns, the job is in the store.

        Args:
            fn: An async function that takes a `JobContext` and `args`.
            *args: Its arguments; give it keyword arguments with `functools.partial`.
            **options: See `SubmitOptions`.

        Returns:
            A handle on the job; with a `key` that was used for the same before, on that job.

        Raises:
            TypeError: `fn` is not an async function, does not take `args`, or an option has a wrong type.
            ValueError: An option is out of range.
            InvalidPayload: A text holds what stores cannot keep.
            KeyConflict: The key was used for something else.
            QueueFull: Too many jobs wait.
        """
        self._worker.check_open()
        new = submission(fn, args, options)
        await trio.lowlevel.checkpoint_if_cancelled()
        (job_id,) = await self._worker.submit([new])
        await trio.lowlevel.cancel_shielded_checkpoint()
        return JobHandle(self._worker, job_id)

    async def submit_many(
        self,
        fn: Callable[[JobContext[T], Unpack[Ts]], Awaitable[R]],
        arguments: Iterable[tuple[*Ts]],
        /,
        **options: Unpack[SubmitOptions],
    ) -> list[JobHandle[T, R]]:
        """Accept a job for each tuple of arguments: all of them, or none.

        Args:
            fn: As for `submit`.
            arguments: A tuple of arguments for each job.
            **options: The same for all; no `key`.

        Returns:
            A handle for each job, in order.

        Raises:
            TypeError: As for `submit`, or a `key` was given, or something is not a tuple.
            ValueError: As for `submit`.
            QueueFull: The jobs do not all fit into the queue.
        """
        self._worker.check_open()
        if options.get("key") is not None:
            raise TypeError("submit_many takes no key: a key names one job; call submit for each")
        batch = []
        for args in arguments:
            if not isinstance(args, tuple):
                raise TypeError(f"submit_many takes a tuple of arguments for each job; got {quoted(args)}")
            batch.append(submission(fn, args, options))
        await trio.lowlevel.checkpoint_if_cancelled()
        ids = await self._worker.submit(batch)
        await trio.lowlevel.cancel_shielded_checkpoint()
        return [JobHandle(self._worker, job_id) for job_id in ids]

    def execute_and_stream(
        self,
        fn: Callable[[JobContext[str], Unpack[Ts]], Awaitable[object]],
        /,
        *args: *Ts,
        **options: Unpack[SubmitOptions],
    ) -> LineStream:
        """Submit a job on entering the block, and read it as strings inside.

        The strings end with `[DONE]`, `[ERROR] message` or `[CANCELLED]`, whichever is true. Leaving the
        block early cancels the job, unless `when_unread` was given and says what to do.

        Args:
            fn: As for `submit`; it streams strings.
            *args: Its arguments.
            **options: See `SubmitOptions`.

        Raises:
            Exception: On entering the block, whatever `submit` raises.
        """
        self._worker.check_open()
        owned = "when_unread" not in options
        return LineStream(partial(self.submit, fn, *args, **options), owned=owned)

    # ------------------------------------------------------------ looking

    async def get(self, job_id: str) -> JobHandle[Any, Any]:
        """Return a handle on the job with this id.

        Raises:
            UnknownJob: No job has this id.
        """
        self._worker.check_open()
        await trio.lowlevel.checkpoint()
        await self._store.get(job_id)
        return JobHandle(self._worker, job_id)

    async def find(self, *, limit: int = 1000, **where: Unpack[Filter]) -> list[Job]:
        """Return the jobs that match, the oldest first, at most `limit`.

        Raises:
            TypeError: A field of the filter is unknown or has the wrong type.
            ValueError: There is no such state, or `limit` is negative.
        """
        self._worker.check_open()
        whole("limit", limit)
        wanted = _where(where)
        await trio.lowlevel.checkpoint()
        return await self._store.find(wanted, limit)

    async def count(self, **where: Unpack[Filter]) -> int:
        """Return how many jobs match. Raises as `find` does."""
        self._worker.check_open()
        wanted = _where(where)
        await trio.lowlevel.checkpoint()
        return sum((await self._store.count(wanted)).values())

    async def statistics(self) -> Statistics:
        """Return what the registry is doing."""
        self._worker.check_open()
        await trio.lowlevel.checkpoint()
        worker = self._worker
        return Statistics(
            states=dict(await self._store.count(Where())),
            running=worker.running,
            capacity=worker.capacity,
            paused=worker.paused,
            readers=sum(map(len, worker.audiences.values())),
        )

    # ------------------------------------------------------------ changing

    async def cancel(
        self, job_id: str, reason: str | None = None, *, grace: float = 0.0, patience: float = 10.0
    ) -> CancelReport:
        """Cancel a job, and wait for what becomes of it; see `JobHandle.cancel`.

        Raises:
            UnknownJob: No job has this id; nothing is kept for a job that may get it later.
        """
        handle: JobHandle[Any, Any] = JobHandle(self._worker, job_id)
        return await handle.cancel(reason, grace=grace, patience=patience)

    async def cancel_where(self, reason: str | None = None, **where: Unpack[Filter]) -> int:
        """Ask for the cancellation of every unfinished job that matches, and do not wait for it.

        Returns:
            How many were asked.
        """
        unfinished = [job for job in await self.find(limit=2**62, **where) if not job.state.over]
        asked = 0
        for job in unfinished:
            handle: JobHandle[Any, Any] = JobHandle(self._worker, job.id)
            asked += await handle.request_cancel(reason)
        return asked

    async def remove(self, job_id: str) -> None:
        """Forget a job that has ended, with its log and its key.

        Raises:
            UnknownJob: No job has this id.
            IllegalTransition: It has not ended.
        """
        self._worker.check_open()
        await trio.lowlevel.checkpoint()
        await self._store.remove(job_id)

    async def prune(self, *, older_than: float) -> int:
        """Forget the jobs that ended more than `older_than` seconds ago, and return how many."""
        self._worker.check_open()
        number("older_than", older_than)
        await trio.lowlevel.checkpoint()
        return await self._store.prune(older_than)

    def pause(self) -> None:
        """Claim no more jobs until `resume`. Attempts that run, and all timeouts, run on."""
        self._worker.check_open()
        self._worker.pause(paused=True)

    def resume(self) -> None:
        """Claim jobs again."""
        self._worker.check_open()
        self._worker.pause(paused=False)


async def _drain(worker: Worker) -> None:
    """Wait until every job has ended.

    Raises:
        RuntimeError: Jobs wait that nothing here will ever run.
    """
    while waiting := await worker.store.find(Where(UNFINISHED), _PAGE):
        if worker.capacity == 0 or worker.paused:
            await worker.wait_idle()
            why = "capacity is 0" if worker.capacity == 0 else "the registry is paused"
            left = sum((await worker.store.count(Where(UNFINISHED))).values())
            if left:
                raise RuntimeError(
                    f"on_exit='drain' would wait for ever: {left} jobs wait and {why}; they were cancelled"
                )
        for job in waiting:
            await worker.store.ended(job.id)


def _open_store(url: str, queue_limit: int, retention: Retention) -> Store:
    if url != "memory://":
        raise ValueError(f"no store has the address {quoted(url)}; there is 'memory://'")
    whole("queue_limit", queue_limit, 1)
    return MemoryStore(queue_limit=queue_limit, retention=retention)


@asynccontextmanager
async def open_registry(
    store: str = "memory://",
    *,
    capacity: int = 100,
    queue_limit: int = 100_000,
    window: int = 64,
    retention: Retention | None = None,
    on_exit: OnExit = "stop",
    grace: float = 0.0,
    name: str | None = None,
) -> AsyncIterator[JobRegistry]:
    """Open a registry for the length of an `async with` block. Every task it runs is under that block.

    Leaving the block normally does what `on_exit` says; leaving it by an exception, or by cancellation
    from outside, stops the jobs. After that nothing runs any more, and what is still unfinished in a store
    that does not outlive the process is CANCELLED (reason `shutdown`). A handler that does not stop holds
    up the exit; after ten seconds the log says where it is.

    Args:
        store: Where jobs are kept: `memory://`.
        capacity: How many attempts may run at once; 0 to submit and watch only.
        queue_limit: How many jobs may wait; one more raises `QueueFull`.
        window: How many events a handler may be ahead of a reader that it waits for.
        retention: What is kept of each job, and how many ended jobs.
        on_exit: `stop`: ask jobs to end within `grace`, then cancel them. `drain`: wait until all jobs
            have ended, those that are submitted meanwhile by jobs included.
        grace: Seconds for handlers to end by themselves at a stop.
        name: What the `started` events say; "worker" by default.

    Raises:
        ValueError: An argument is out of range.
        RuntimeError: On leaving with `drain`, jobs wait that nothing will ever run; they are cancelled.
        KeyboardInterrupt: It came out of a handler.
    """
    whole("capacity", capacity)
    whole("window", window, 1)
    number("grace", grace)
    choice("on_exit", on_exit, ("stop", "drain"))
    kept = _open_store(store, queue_limit, retention or Retention())
    failure: BaseException | None = None
    try:
        async with trio.open_nursery() as nursery:
            worker = Worker(kept, nursery, name=name or "worker", capacity=capacity, window=window)
            nursery.start_soon(worker.run, name="claim jobs")
            try:
                yield JobRegistry(worker)
                if on_exit == "drain":
                    await _drain(worker)
            except BaseException as exc:  # noqa: BLE001  # raised below, and not as a nursery's group
                failure = exc
            worker.closed = True
            worker.stop(grace)
            nursery.start_soon(worker.report_stuck, grace, name="report stuck jobs")
    except BaseException as exc:
        if failure is None or isinstance(failure, trio.Cancelled):
            raise
        raise BaseExceptionGroup("the block and the registry ended at once", [failure, exc]) from None
    finally:
        kept.close(Reason.SHUTDOWN)
    if worker.interrupted:
        raise KeyboardInterrupt
    if failure is not None:
        raise failure


async def serve_jobs(
    store: str = "memory://",
    *,
    capacity: int = 100,
    queue_limit: int = 100_000,
    window: int = 64,
    retention: Retention | None = None,
    on_exit: OnExit = "stop",
    grace: float = 0.0,
    name: str | None = None,
    task_status: trio.TaskStatus[JobRegistry] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run a registry as a task: `jobs = await nursery.start(serve_jobs)`.

    Runs until it is cancelled, which stops its jobs. The arguments are those of `open_registry`.
    """
    async with open_registry(
        store,
        capacity=capacity,
        queue_limit=queue_limit,
        window=window,
        retention=retention,
        on_exit=on_exit,
        grace=grace,
        name=name,
    ) as jobs:
        task_status.started(jobs)
        await trio.sleep_forever()
