"""What callers may do, and with which jobs: each operation of HTTP and WebSocket, authorised here.

A job of another owner is answered like one that does not exist, so no caller learns which ids exist.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property
from typing import Any

import attrs
import msgspec
import trio
from msgspec import UnsetType

from .._common.errors import IllegalTransition, QueueFull, UnknownHandler, UnknownJob, check_cursor, quoted
from .._common.validate import RefusedAs
from .._json.arguments import Arguments
from .._json.inputs import Inputs
from .._json.values import encode
from .._model.handler import mark_of
from .._model.handlers import Handler
from .._model.job import NO_KWARGS, CancelReport, Event, Job
from .._model.summary import Page
from .._registry import bulk
from .._registry.filter import Search, where_of
from .._registry.inside import inside, look_up, submit_with_room, worker_of
from .._registry.registry import JobRegistry
from .._running.explaining import explain
from .._watching.handle import JobHandle
from .._wire.options import SubmitOptions
from .._wire.requests import (
    BadRequest,
    BulkBody,
    Cancel,
    EndInputs,
    Find,
    GetValue,
    List,
    NewJob,
    Resubmit,
    Send,
    Submit,
    WhereFields,
)
from .access import check_may_change
from .account import Account
from .describe import describe
from .feed import Feed, Feeds, within
from .options import Caller, ServerOptions
from .problems import Refused
from .store_operations import StoreOperations
from .subscription import Subscription
from .values import Value, Values


@contextmanager
def _own_queue_full() -> Generator[None]:
    """Refuse what exceeds the number of jobs of an owner that may wait."""
    try:
        yield
    except QueueFull as error:
        if error.owner is None:
            raise
        raise Refused("too_many", f"{error.limit} jobs of yours wait already; try again later") from None


class JobOperations:
    """The operations on a registry that callers may ask for.

    Args:
        jobs: The registry.
        options: The options of the server.

    Attributes:
        tracebacks: Whether callers see these.
        account: The bytes that are made for all callers and not sent yet.
        store: The operations on the store as a whole.
        functions: The handlers by name.
    """

    def __init__(self, jobs: JobRegistry, options: ServerOptions) -> None:
        self.tracebacks = options.tracebacks
        self.account = Account(options.limits.all_unsent)
        self.functions: Mapping[str, Handler] = jobs.handlers
        self._jobs = jobs
        self.store = StoreOperations(jobs, options)
        self._queued = options.limits.queued
        self._wrap_stream = options.wrap_stream
        store, readers = inside(jobs)
        self._feeds = Feeds(store, readers, options)
        self._arguments: dict[str, Arguments] = {}
        self._values = Values(store)
        self._inputs: dict[str, Inputs] = {}

    # ------------------------------------------------------------ submitting

    async def submit(self, caller: Caller, new: Submit | NewJob) -> str:
        """Accept a job, and return its id.

        Raises:
            UnknownHandler: The registry has no handler of that name.
            UnknownJob: There is no job that it is to be in place of, for this caller.
            IllegalTransition: That has not ended.
            InvalidPayload: An argument does not fit.
            BadRequest: The options exclude each other.
            Refused: The job would belong to another owner, or too many of the caller's jobs wait.
            Exception: What `JobRegistry.submit` raises.
        """
        check_may_change(caller)
        fn = self._jobs.handlers.get(new.handler)
        if fn is None:
            raise UnknownHandler(new.handler, self._jobs.handlers)
        again = None if isinstance(new.again, UnsetType) else new.again
        if again is not None and not (state := (await self._handle(caller, again))[1].state).over:
            raise IllegalTransition(state, "submitted again", "; wait for its end, or cancel it")
        with RefusedAs(BadRequest):  # options that are right each by itself, and not together
            options = self._options(caller, new.options, fn)
        # A store in memory, too, is to hold only what can be shown afterwards.
        args, kwargs = self._arguments_of(new.handler).convert(new.args, new.kwargs or NO_KWARGS)
        if kwargs:
            options["kwargs"] = kwargs
        encode("metadata", options.get("metadata"))
        room = None if caller.owner is None else self._queued
        with _own_queue_full(), RefusedAs(BadRequest):
            return await submit_with_room(self._jobs, fn, args, options, room, again=again)

    async def resubmit(self, caller: Caller, asked: Resubmit) -> str:
        """Accept a job that has ended again, and return the id of the new one.

        Raises:
            UnknownJob: There is no such job, for this caller.
            IllegalTransition: It has not ended.
            Exception: What `submit` raises.
        """
        check_may_change(caller)
        _, job = await self._handle(caller, asked.job)
        fn = self._jobs.handlers.get(job.handler)
        if fn is None:
            raise UnknownHandler(job.handler, self._jobs.handlers)
        with RefusedAs(BadRequest):
            options = self._options(caller, asked.options, fn)
        encode("metadata", options.get("metadata"))
        room = None if caller.owner is None else self._queued
        with _own_queue_full(), RefusedAs(BadRequest):
            return await worker_of(self._jobs).resubmit(asked.job, options, room)

    @staticmethod
    def _options(caller: Caller, options: SubmitOptions, fn: Any) -> dict[str, Any]:
        given = options.given(mark_of(fn).options.retry)
        if caller.owner is not None:
            if given.get("owner", caller.owner) != caller.owner:
                raise Refused("forbidden", "jobs can be submitted for oneself only; leave owner out")
            given["owner"] = caller.owner
        return given

    def _arguments_of(self, name: str) -> Arguments:
        if name not in self._jobs.handlers:
            raise UnknownHandler(name, self._jobs.handlers)
        if name not in self._arguments:
            self._arguments[name] = Arguments(self._jobs.handlers[name])
        return self._arguments[name]

    @cached_property
    def handlers(self) -> bytes:
        """The handlers as JSON: names, descriptions, and JSON Schemas of the arguments and inputs."""
        return msgspec.json.encode([describe(name, fn) for name, fn in self._jobs.handlers.items()])

    # ------------------------------------------------------------ reading

    async def _handle(self, caller: Caller, job_id: str) -> tuple[JobHandle[Any, Any], Job]:
        handle, job = await look_up(self._jobs, job_id)
        if caller.owner not in (None, job.owner):
            raise UnknownJob(job_id)
        return handle, job

    async def get(self, caller: Caller, job_id: str) -> Job:
        """Return a job. Raises `UnknownJob`."""
        _, job = await self._handle(caller, job_id)
        return job

    async def explain(self, caller: Caller, job_id: str) -> str:
        """Say why a job does not run, or what it does here, with stacks if callers see tracebacks.

        Raises `UnknownJob`. To a caller who does not see all jobs it says nothing of others.
        """
        await self._handle(caller, job_id)
        return await explain(worker_of(self._jobs), job_id, owner=caller.owner, stacks=self.tracebacks)

    async def find(self, caller: Caller, wanted: List | Find, after: str | None) -> Page:
        """Return a page of the caller's jobs that match, behind a cursor.

        Raises:
            BadRequest: No page gave this cursor.
            InvalidPayload: A text holds what no store keeps.
        """
        where = self._fields(caller, wanted)
        with RefusedAs(BadRequest):  # a cursor that no page gave
            return await self._jobs.find(limit=wanted.limit, after=after, newest=wanted.newest, **where)

    @staticmethod
    def _fields(caller: Caller, wanted: List | Find | WhereFields) -> Any:
        """Return a filter that matches the caller's jobs only."""
        fields = {name: getattr(wanted, name, None) for name in Search.__annotations__}
        fields["owner"] = caller.owner
        return {name: value for name, value in fields.items() if value is not None}

    async def read(self, job: Job, after: int, limit: int) -> Sequence[Event]:
        """Return events of a job that `get` has returned, behind a cursor; what is gone is skipped."""
        await trio.lowlevel.checkpoint()
        return await self._feeds.store.read(job.id, after, limit)

    async def history(self, caller: Caller, job_id: str) -> Sequence[Event]:
        """Return a job's events but for tokens, progress and inputs. Raises `UnknownJob`."""
        handle, _ = await self._handle(caller, job_id)
        return await handle.history()

    async def value(self, caller: Caller, asked: GetValue) -> Value:
        """Return a value of a job, to be read in pieces.

        Raises:
            UnknownJob: There is no such job, for this caller.
            Refused: The value is not kept any more.
        """
        return await self._values.get(asked, caller.owner)

    def was_read(self, asked: GetValue) -> None:
        """Drop a value whose end was read."""
        self._values.forget(asked)

    async def wait(self, caller: Caller, job_id: str) -> None:
        """Wait until a job has ended. Raises `UnknownJob`."""
        handle, _ = await self._handle(caller, job_id)
        await handle.wait()

    # ------------------------------------------------------------ inputs

    async def send(self, caller: Caller, asked: Send) -> int:
        """Give a job inputs, and return the `seq` of the last of them.

        Raises:
            UnknownJob: There is no such job, for this caller.
            Refused: Its handler does not say that it takes inputs.
            InvalidPayload: An input does not fit.
            Exception: What `JobHandle.send_many` raises.
        """
        check_may_change(caller)
        handle, job = await self._handle(caller, asked.job)
        inputs = self._inputs_of(job.handler)
        values = inputs.each(inputs.convert, asked.values)
        return await handle.send_many(values, key=asked.input_id)

    async def end_inputs(self, caller: Caller, asked: EndInputs) -> int:
        """Say that a job gets no more inputs, and return the `seq` of that event; raises as `send`."""
        check_may_change(caller)
        handle, job = await self._handle(caller, asked.job)
        self._inputs_of(job.handler)
        return await handle.end_inputs()

    def _inputs_of(self, name: str) -> Inputs:
        fn = self._jobs.handlers.get(name)
        if fn is None or mark_of(fn).inputs is None:
            what = f"the handler {quoted(name)} does not say that it takes inputs: @handler(inputs=…)"
            raise Refused("no_inputs", what)
        if name not in self._inputs:
            self._inputs[name] = Inputs(fn)
        return self._inputs[name]

    # ------------------------------------------------------------ cancelling

    async def cancel(self, caller: Caller, asked: Cancel) -> CancelReport:
        """Cancel a job, and wait for its end, if the request says so. Raises `UnknownJob`."""
        check_may_change(caller)
        handle, _ = await self._handle(caller, asked.job)
        if not asked.wait:
            done = await handle.request_cancel(asked.reason, grace=asked.grace)
            return CancelReport("requested" if done else "already_over", 0.0)
        report = await handle.cancel(asked.reason, grace=asked.grace, patience=asked.patience)
        return report if self.tracebacks else attrs.evolve(report, stack=None)

    async def bulk(self, caller: Caller, asked: BulkBody) -> bulk.BulkReport:
        """Change all of the caller's jobs that match, or count them.

        Raises:
            InvalidPayload: A text holds what no store keeps.
            QueueFull: Too many jobs wait.
            Refused: Too many of the caller's jobs wait.
        """
        if not asked.dry_run:
            check_may_change(caller)
        where, worker = where_of(self._fields(caller, asked.where)), worker_of(self._jobs)
        worker.check_open(submits=asked.action == "retry")
        await trio.lowlevel.checkpoint()
        if asked.dry_run:
            return await bulk.count_affected(worker, asked.action, where)
        if asked.action == "retry":
            with _own_queue_full():
                return await bulk.retry_all(worker, where, None if caller.owner is None else self._queued)
        if asked.action == "cancel":
            return bulk.BulkReport(await bulk.cancel_all(worker, where, asked.message))
        return bulk.BulkReport(await bulk.remove_all(worker, where))

    # ------------------------------------------------------------ following

    async def place(self, caller: Caller, job_id: str, after: int, policy: str) -> Job:
        """Return a job whose log reaches up to a cursor, to be followed.

        Raises:
            Refused: The caller may only read, and the job would wait for it.
            UnknownJob: There is no such job, for this caller.
            StreamGap: The cursor is ahead of the log.
        """
        if policy == "block":
            check_may_change(caller, "; follow with the policy gap")
        job = await self.get(caller, job_id)
        check_cursor(job_id, after, job.last_seq)
        return job

    def following(self, subscription: Subscription, job: Job) -> AbstractContextManager[Feed]:
        """Give the feed of a job that `place` has returned; see `Feeds.following`."""
        following = self._feeds.following(subscription, job.last_seq)
        return following if self._wrap_stream is None else within(self._wrap_stream(job), following)
