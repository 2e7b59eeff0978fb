"""Submit, find and cancel the jobs of a server, as `JobRegistry` does with those of the process."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, Concatenate, TypeVar, TypeVarTuple, Unpack, overload

from .._common.validate import handler_names, text
from .._model.job import NO_KWARGS, CancelReport, Statistics
from .._model.options import SubmitOptions
from .._model.summary import JobSummary, Page
from .._registry.bulk import Action, BulkReport
from .._registry.filter import Filter, Search, check_page_limit
from .._running.context import JobContext
from .._watching.handle import JobHandle
from .._wire import requests
from .._wire.replies import Reply, record_of
from .jobs import RemoteJobs, seen_in
from .limits import RemoteLimits
from .link import Link
from .requests import called, filter_of, options_of
from .schedules import RemoteSchedules

T = TypeVar("T")
R = TypeVar("R")
Ts = TypeVarTuple("Ts")


class RemoteRegistry:
    """Submit jobs to a server, find them, and cancel them; `connect` makes one.

    The tasks of `connect` keep one connection for all of them, and make it again when it is lost. A method
    raises `Disconnected` if the server was out of reach for `patience` seconds on end while it waited,
    `ServerError` if the server refuses for a reason that has no class of its own, and
    `trio.ClosedResourceError` once the block was left. All are checkpoints.
    """

    def __init__(self, link: Link) -> None:
        self._link = link
        self._jobs = RemoteJobs(link)

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
    @overload
    async def submit(
        self, fn: str, /, *args: Any, kwargs: Mapping[str, Any] = ..., **options: Unpack[SubmitOptions]
    ) -> JobHandle[Any, Any]: ...
    async def submit(  # type: ignore[misc]  # mypy does not see that `*args` takes `*Ts`
        self, fn: Any, /, *args: Any, **options: Any
    ) -> JobHandle[Any, Any]:
        """Submit a job to the server. When this returns, the job is in the server's store.

        It is one job, however often the connection is lost meanwhile: a submission without a `key` gets a new
        one. Cancelled, or with `Disconnected`, it may have been accepted or not; a caller who
        has to know gives a `key`, and submits the same again.

        Args:
            fn: The name of a handler of the server; or the handler, for its name and its types.
            *args: Its arguments, which are sent as JSON.
            kwargs: Its keyword arguments.
            **options: See `SubmitOptions`; `owner` is for those only who may submit for others.

        Returns:
            A handle on the job; with a `key` that was used for the same before, on that job.

        Raises:
            TypeError: `fn` is neither a name nor an async function, does not take `args`, or an option has a
                wrong type.
            ValueError: An option is out of range.
            InvalidPayload: An argument does not fit its annotation, or cannot be made into JSON.
            UnknownHandler: The server has no handler of that name.
            KeyConflict: The key was used for something else.
            QueueFull: Too many jobs wait.
        """
        self._link.check_open()
        job = called(fn, args, options.pop("kwargs", NO_KWARGS))
        request = requests.Submit(id=self._link.new_id(), **job, options=options_of(fn, options))
        seen = await self._link.call(request, request.handler, seen_in)
        return JobHandle(self._jobs, seen.job.id)

    async def get(self, job_id: str) -> JobHandle[Any, Any]:
        """Return a handle on the job with this id.

        Raises:
            UnknownJob: No job has this id, or it has another owner.
        """
        await self._jobs.look(text("job_id", job_id))
        return JobHandle(self._jobs, job_id)

    async def find(
        self, *, limit: int = 100, after: str | None = None, newest: bool = False, **where: Unpack[Search]
    ) -> Page:
        """Return a page of the jobs that match, the oldest first; or the newest first.

        For all jobs, call it again with `after=page.next` until that is None; a page before may be empty.

        Args:
            limit: How many at most; no more than 1000.
            after: Where to go on: `Page.next` of the page before, found by the same filter.
            newest: Whether the newest come first.
            **where: See `Filter` and `Search`; not `owner`, which the server knows.

        Raises:
            TypeError: A field of the filter is unknown or has the wrong type.
            ValueError: There is no such state, or `limit` is out of range.
        """
        check_page_limit(limit, 1)
        if after is not None:
            text("after", after)
        wanted = filter_of(where)
        request = requests.List(id=self._link.new_id(), limit=limit, cursor=after, newest=newest, **wanted)
        return await self._link.call(request, "", _page_in)

    async def cancel(
        self, job_id: str, reason: str | None = None, *, grace: float = 0.0, patience: float = 10.0
    ) -> CancelReport:
        """Cancel a job, and wait until it has ended; see `JobHandle.cancel`.

        Raises:
            UnknownJob: No job has this id, or it has another owner.
        """
        handle: JobHandle[Any, Any] = JobHandle(self._jobs, text("job_id", job_id))
        return await handle.cancel(reason, grace=grace, patience=patience)

    @property
    def schedules(self) -> RemoteSchedules:
        """What submits jobs by the server's clock, for callers who may see all jobs."""
        return RemoteSchedules(self._link, self._jobs)

    @property
    def limits(self) -> RemoteLimits:
        """The limits of the server's store, for callers who may see all jobs."""
        return RemoteLimits(self._link)

    async def cancel_where(self, reason: str | None = None, **where: Unpack[Filter]) -> int:
        """Ask for the cancellation of all jobs that match; see `JobRegistry.cancel_where`.

        If the connection is lost meanwhile it is asked again, as are `retry_where` and `remove_where`: what
        was done before is not counted then.
        """
        return (await self._bulk("cancel", where, reason)).count

    async def retry_where(self, **where: Unpack[Search]) -> BulkReport:
        """Submit again all jobs that match and have ended; see `JobRegistry.retry_where`."""
        return await self._bulk("retry", where)

    async def remove_where(self, **where: Unpack[Search]) -> int:
        """Delete all jobs that match and have ended; see `JobRegistry.remove_where`."""
        return (await self._bulk("remove", where)).count

    async def count_affected(self, action: Action, **where: Unpack[Search]) -> BulkReport:
        """Return how many jobs `cancel_where`, `retry_where` or `remove_where` would change: `count`, `more`.

        Args:
            action: Which of them: `cancel`, `retry` or `remove`.
            **where: As they take it.
        """
        return await self._bulk(action, where, dry_run=True)

    async def _bulk(
        self, action: Action, where: Filter | Search, message: str | None = None, *, dry_run: bool = False
    ) -> BulkReport:
        if message is not None:
            text("reason", message)
        what = requests.BulkBody(action, requests.WhereFields(**filter_of(where)), dry_run, message)
        request = requests.Bulk(id=self._link.new_id(), what=what)
        return await self._link.call(request, "", lambda reply: reply.bulk)

    async def handlers(self) -> list[dict[str, Any]]:
        """Return the handlers of the server.

        Returns:
            For each handler its `name`, `description`, `parameters` (each with `name`, `schema`, `required`),
            `rest`: the JSON Schema of further arguments, or None, `inputs`: that of inputs, or None if it
            takes none from outside, and `limit_key`: whether its jobs take one.
        """
        request = requests.ListHandlers(id=self._link.new_id())
        return await self._link.call(request, "", lambda reply: reply.handlers)

    async def statistics(self) -> Statistics:
        """Return the statistics of the server's registry; only for callers who may see all jobs."""
        request = requests.GetStatistics(id=self._link.new_id())
        return await self._link.call(request, "", lambda reply: reply.statistics)

    async def pause_handlers(self, *names: str) -> None:
        """Pause handlers as `JobRegistry.pause_handlers` does; only for callers who may see all jobs."""
        await self._pause(requests.Pause, handler_names(names))

    async def resume_handlers(self, *names: str) -> None:
        """Resume handlers as `JobRegistry.resume_handlers` does; only for callers who may see all jobs."""
        await self._pause(requests.Resume, handler_names(names))

    async def pause_all(self) -> None:
        """Pause all handlers as `JobRegistry.pause_all` does; only for callers who may see all jobs."""
        await self._pause(requests.Pause, None)

    async def resume_all(self) -> None:
        """End every pause as `JobRegistry.resume_all` does; only for callers who may see all jobs."""
        await self._pause(requests.Resume, None)

    async def _pause(
        self, kind: type[requests.Pause | requests.Resume], names: Collection[str] | None
    ) -> None:
        request = kind(id=self._link.new_id(), handlers=None if names is None else sorted(names))
        await self._link.call(request, "", lambda reply: reply.statistics)


def _page_in(reply: Reply) -> Page | None:
    if reply.jobs is None:
        return None
    jobs = tuple(record_of(JobSummary, one) for one in reply.jobs)
    return Page(jobs, None if reply.next is None else str(reply.next))
