"""Submit, find and cancel jobs. The registry decides nothing itself: its store and its worker do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Concatenate, TypeVar, TypeVarTuple, Unpack, cast, overload

import trio

from .._common.errors import quoted
from .._common.validate import handler_names, number
from .._model.handlers import Handler
from .._model.job import CancelReport, Statistics
from .._model.options import SubmitOptions
from .._running.context import JobContext
from .._running.worker import Worker
from .._watching.handle import JobHandle
from .._watching.lines import LineStream
from ..stores.contract import COUNTED, Submission, Where
from ..stores.submission import submission
from .filter import AtLeast, Filter, Search, check_page, where_of

if TYPE_CHECKING:  # few programs have these
    from .._model.summary import Page
    from .bulk import BulkReport
    from .firing import Firing
    from .limiting import HandlerLimits
    from .limits import JobLimits
    from .schedules import Schedules

T = TypeVar("T")
R = TypeVar("R")
Ts = TypeVarTuple("Ts")


class JobRegistry:
    """Submit jobs, find them, and cancel them; `open_registry` makes one.

    Its methods raise `trio.ClosedResourceError` once the registry was left. While its block is being left
    they work on, for handlers that end within their grace; but a registry in memory accepts no more jobs
    then. Those that are `async` are checkpoints; a cancelled `submit` submitted nothing. In a thread other
    than the one in which it was opened, they raise `RuntimeError`.

    Attributes:
        name: Its worker's name in `started` events.
        handlers: The handlers it was given, by name.
    """

    def __init__(
        self,
        worker: Worker,
        handlers: Mapping[str, Handler],
        limits: HandlerLimits | None = None,
        firing: Firing | None = None,
    ) -> None:
        self.name = worker.claimant.name
        self.handlers = handlers
        self._limits = limits
        self._worker = worker
        worker.handlers = handlers
        worker.tell_limits = self._tell_limits
        self._store = worker.store
        self._firing = firing

    @property
    def schedules(self) -> Schedules:
        """What submits jobs by the clock."""
        from .firing import Firing
        from .schedules import Schedules

        self._firing = self._firing or Firing(self._worker, self.handlers)
        return Schedules(self._worker, self._firing, self._tell_limits)

    @property
    def limits(self) -> JobLimits:
        """How many jobs may run, start and wait, as the store has it, and what is used of that."""
        from .limits import JobLimits

        return JobLimits(self._worker)

    @property
    def running(self) -> Mapping[str, str]:
        """The handlers of the jobs that run here now, by job id; also while the registry is being left."""
        attempts = list(self._worker.attempts.items())  # a copy at once: other threads may ask
        return {job_id: attempt.claim.submission.handler for job_id, attempt in attempts}

    # ------------------------------------------------------------ submitting

    @overload
    async def submit(
        self,
        fn: Callable[[JobContext[T], Unpack[Ts]], Awaitable[R]],
        /,
        *args: *Ts,
        **options: Unpack[SubmitOptions],
    ) -> JobHandle[T, R]: ...
    @overload
    async def submit(
        self,
        fn: Callable[Concatenate[JobContext[T], ...], Awaitable[R]],
        /,
        *args: Any,
        kwargs: Mapping[str, Any],
        **options: Unpack[SubmitOptions],
    ) -> JobHandle[T, R]: ...
    async def submit(self, fn: Any, /, *args: Any, **options: Any) -> JobHandle[Any, Any]:  # type: ignore[misc]  # mypy does not see that `*args` takes `*Ts`
        """Accept a job. When this returns, the job is in the store.

        Args:
            fn: An async function that takes a `JobContext` and `args`.
            *args: Its arguments, by their places.
            kwargs: Its keyword arguments, as the parameters behind a `*` need them.
            **options: See `SubmitOptions`.

        Returns:
            A handle on the job; with a `key` that was used for the same before, on that job; with
            `on_busy="attach"` perhaps on the job that holds the name.

        Raises:
            TypeError: `fn` is not an async function, does not take `args`, or an option has a wrong type.
            ValueError: An option is out of range.
            InvalidPayload: A text holds what stores cannot keep; or, on a store that outlives the process, an
                argument does not fit its annotation or cannot be made into JSON.
            UnknownHandler: Such a store runs only the handlers that the registry was given.
            KeyConflict: The key was used for something else.
            Busy: Another job holds the `exclusive` name, and `on_busy` is `reject`.
            QueueFull: Too many jobs wait, in all or under a limit.
        """
        self._worker.check_open(submits=True)
        (job_id,) = await self._worker.submit([submission(fn, args, options)])
        return JobHandle(self._worker, job_id)

    @overload
    async def submit_many(
        self,
        fn: Callable[[JobContext[T], Unpack[Ts]], Awaitable[R]],
        arguments: Iterable[tuple[*Ts]],
        /,
        **options: Unpack[SubmitOptions],
    ) -> list[JobHandle[T, R]]: ...
    @overload
    async def submit_many(
        self,
        fn: Callable[Concatenate[JobContext[T], ...], Awaitable[R]],
        arguments: Iterable[tuple[Any, ...]],
        /,
        *,
        kwargs: Mapping[str, Any],
        **options: Unpack[SubmitOptions],
    ) -> list[JobHandle[T, R]]: ...
    async def submit_many(
        self, fn: Any, arguments: Iterable[Any], /, **options: Any
    ) -> list[JobHandle[Any, Any]]:
        """Accept a job for each tuple of arguments: all of them, or none.

        Args:
            fn: As for `submit`.
            arguments: A tuple of arguments for each job.
            kwargs: Keyword arguments, the same for all.
            **options: The same for all; no `key` and no `exclusive`.

        Returns:
            A handle for each job, in order.

        Raises:
            TypeError: As for `submit`, or a `key` or `exclusive` was given, or something is not a tuple.
            ValueError: As for `submit`.
            QueueFull: The jobs do not all fit into the queue.
        """
        self._worker.check_open(submits=True)
        batch: list[Submission] = []
        for args in arguments:
            if not isinstance(args, tuple):
                raise TypeError(f"submit_many takes a tuple of arguments for each job; got {quoted(args)}")
            batch.append(submission(fn, cast("tuple[Any, ...]", args), options))
        for name in ("key", "exclusive"):
            if options.get(name) is not None:
                raise TypeError(f"submit_many takes no {name}: it names one job; call submit for each")
        return [JobHandle(self._worker, job_id) for job_id in await self._worker.submit(batch)]

    async def _tell_limits(self, new: Submission) -> None:
        """Tell the store of the limits of a handler before its first job."""
        if self._limits is None:
            from .limiting import HandlerLimits  # which few programs need

            self._limits = HandlerLimits(None)
        await self._limits.tell(self._store, new)

    @overload
    def execute_and_stream(
        self,
        fn: Callable[[JobContext[str], Unpack[Ts]], Awaitable[object]],
        /,
        *args: *Ts,
        **options: Unpack[SubmitOptions],
    ) -> LineStream: ...
    @overload
    def execute_and_stream(
        self,
        fn: Callable[Concatenate[JobContext[str], ...], Awaitable[object]],
        /,
        *args: Any,
        kwargs: Mapping[str, Any],
        **options: Unpack[SubmitOptions],
    ) -> LineStream: ...
    def execute_and_stream(self, fn: Any, /, *args: Any, **options: Any) -> LineStream:  # type: ignore[misc]  # mypy does not see that `*args` takes `*Ts`
        """Submit a job on entering the block, and read it as strings inside.

        The strings end with `[DONE]`, `[ERROR] message` or `[CANCELLED]`, whichever is true. Leaving the
        block early cancels the job, unless `when_unread` was given.

        Args:
            fn: As for `submit`; it streams strings.
            *args: Its arguments, and `kwargs` those by name.
            **options: See `SubmitOptions`.

        Raises:
            Exception: On entering the block, whatever `submit` raises.
        """
        self._worker.check_open(submits=True)
        return LineStream(partial(self.submit, fn, *args, **options), owned="when_unread" not in options)

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

    async def find(
        self, *, limit: int = 100, after: str | None = None, newest: bool = False, **where: Unpack[Search]
    ) -> Page:
        """Return a page of the jobs that match, the oldest first; or the newest first.

        A page has summaries; `get` gives a handle on a job, and its `snapshot` the whole of it. There may be
        more jobs as long as `Page.next` is not None, even behind a page that is shorter than `limit`, or
        empty: a page is bounded in bytes, and in how many jobs are examined for it.

        Args:
            limit: How many at most, up to 1,000.
            after: The `next` of the page before.
            newest: Whether the newest come first.
            **where: See `Filter` and `Search`.

        Raises:
            TypeError: A field of the filter is unknown or has the wrong type.
            ValueError: There is no such state, `limit` is out of range, or no page returned this `after`.
        """
        self._worker.check_open()
        check_page(limit, after)
        wanted = where_of(where)
        await trio.lowlevel.checkpoint()
        return await self._store.find(wanted, limit, after=after, newest=newest)

    async def count(self, **where: Unpack[Search]) -> int:
        """Return how many jobs match. Raises as `find` does.

        By state, by handler or by owner the number is exact. For any other filter the jobs have to be
        searched, which stops at 10,000: then it is an `AtLeast`, an `int` that says that there may be more.
        """
        self._worker.check_open()
        wanted = where_of(where)
        await trio.lowlevel.checkpoint()
        found = sum((await self._store.count(wanted)).values())
        return AtLeast(found) if wanted.searched and found >= COUNTED else found

    async def statistics(self) -> Statistics:
        """Return how many jobs are in each state, how much of the capacity is used, and what is paused."""
        self._worker.check_open()
        await trio.lowlevel.checkpoint()
        worker = self._worker
        pauses = await worker.paused_handlers()
        return Statistics(
            states=dict(await self._store.count(Where())),
            running=worker.running,
            capacity=worker.capacity,
            paused=worker.paused,
            readers=sum(map(len, worker.readers.values())),
            all_paused=pauses.everything,
            paused_handlers=tuple(sorted(pauses.handlers)),
        )

    # ------------------------------------------------------------ changing

    async def cancel(
        self, job_id: str, reason: str | None = None, *, grace: float = 0.0, patience: float = 10.0
    ) -> CancelReport:
        """Cancel a job, and wait until it has ended; see `JobHandle.cancel`.

        Raises:
            UnknownJob: No job has this id; a job that gets it later is not cancelled.
        """
        handle: JobHandle[Any, Any] = JobHandle(self._worker, job_id)
        return await handle.cancel(reason, grace=grace, patience=patience)

    async def cancel_where(self, reason: str | None = None, **where: Unpack[Filter]) -> int:
        """Ask for the cancellation of every unfinished job that matches, and do not wait for it.

        The newest come first, 500 at a time, and others have their turn in between; jobs that come meanwhile
        are left alone. So it is with `retry_where` and `remove_where`. If one of them fails or is cancelled,
        what is done stays done, and it may be called again.

        Returns:
            How many cancellations were requested.
        """
        self._worker.check_open()
        from .bulk import cancel_all

        return await cancel_all(self._worker, where_of(where), reason)

    async def retry_where(self, **where: Unpack[Search]) -> BulkReport:
        """Submit again every job that matches and has ended, as `JobHandle.resubmit` does.

        It goes in pieces, as `cancel_where` does. Those that were submitted again before, in whatever way,
        are passed over, and so are child jobs.

        Args:
            **where: See `Filter` and `Search`; without `state`, the jobs that failed.

        Returns:
            How many were submitted, and how many could not be, as their handler is not known here, say.

        Raises:
            QueueFull: Too many jobs wait.
        """
        self._worker.check_open(submits=True)
        from .bulk import retry_all

        return await retry_all(self._worker, where_of(where))

    async def remove_where(self, **where: Unpack[Search]) -> int:
        """Delete every job that matches and has ended; see `remove` and `cancel_where`.

        Returns:
            How many were deleted.
        """
        self._worker.check_open()
        from .bulk import remove_all

        return await remove_all(self._worker, where_of(where))

    async def remove(self, job_id: str) -> None:
        """Delete a job that has ended, with its log and its key.

        Raises:
            UnknownJob: No job has this id.
            IllegalTransition: It has not ended.
        """
        self._worker.check_open()
        await trio.lowlevel.checkpoint()
        await self._store.remove(job_id)

    async def prune(self, *, older_than: float) -> int:
        """Delete the jobs that ended more than `older_than` seconds ago, and return how many."""
        self._worker.check_open()
        number("older_than", older_than)
        await trio.lowlevel.checkpoint()
        return await self._store.prune(older_than)

    def pause(self) -> None:
        """Claim no more jobs here until `resume`. Attempts that run, and all timeouts, run on."""
        self._worker.check_open()
        self._worker.pause(paused=True)

    def resume(self) -> None:
        """Claim jobs again."""
        self._worker.check_open()
        self._worker.pause(paused=False)

    async def pause_handlers(self, *names: str) -> None:
        """Let no worker start a job of these handlers until they are resumed, also after restarts.

        What runs goes on, with its child jobs, as do all timeouts. Jobs are accepted, and wait.
        `Statistics` has what is paused.

        Raises:
            TypeError: No name was given, or one is no `str`; or the store keeps no pauses.
        """
        await self._worker.pause_handlers(handler_names(names), paused=True)

    async def resume_handlers(self, *names: str) -> None:
        """Let jobs of these handlers start again, unless all are paused. Raises as `pause_handlers`."""
        await self._worker.pause_handlers(handler_names(names), paused=False)

    async def pause_all(self) -> None:
        """Do what `pause_handlers` does, for all handlers that there are or will be."""
        await self._worker.pause_handlers(None, paused=True)

    async def resume_all(self) -> None:
        """Let jobs of all handlers start again, also of those that were paused by name."""
        await self._worker.pause_handlers(None, paused=False)
