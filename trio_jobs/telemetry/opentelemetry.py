"""Traces of jobs with OpenTelemetry, by its conventions for messaging: a handler is a destination.

Only the API is used. Which spans are kept, and where they go, is up to the SDK that the program sets up;
without one, nothing is recorded.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from importlib.metadata import version
from typing import Any, Concatenate, Final, Protocol, TypeVar, TypeVarTuple, Unpack, cast, overload

import trio

try:
    from opentelemetry import context, propagate, trace
except ModuleNotFoundError as _error:
    raise ImportError(
        f"trio_jobs.telemetry.opentelemetry needs the extra: pip install 'trio-jobs[otel]' ({_error})"
    ) from _error

from .._common.states import UNSPENT, Reason
from .._model.handler import mark_of
from .._model.job import Ended, Job, Kind
from .._model.options import SubmitOptions
from .._running.context import JobContext
from .._watching.handle import JobHandle

__all__ = ["TRACE_CONTEXT", "Tracing", "with_trace_context"]

T = TypeVar("T")
R = TypeVar("R")
Ts = TypeVarTuple("Ts")

TRACE_CONTEXT: Final = "trace_context"
"""The name in a job's metadata of the context that its attempts continue, as text by names of headers."""
_OURS: Final = "messaging.trio_jobs"  # what the conventions have no name for
_REMEMBERED: Final = 10_000
"""Of how many jobs the span of the last attempt is remembered, for the next one to link to."""
_BY_TYPE: Final = frozenset({Reason.ERROR, Reason.RESTARTED, Reason.RESTARTS})
"""The reasons that say less than the type of the error that a handler raised."""


class Submits(Protocol):
    """What takes jobs by function: a registry, that of a server, or the job context of a handler."""

    async def submit(
        self,
        fn: Callable[[JobContext[T], Unpack[Ts]], Awaitable[R]],
        /,
        *args: *Ts,
        **options: Unpack[SubmitOptions],
    ) -> JobHandle[T, R]:
        """See `JobRegistry.submit`."""
        ...


class SubmitsByName(Protocol):
    """What takes jobs by the name of a handler: the registry of a server."""

    async def submit(
        self, fn: str, /, *args: Any, kwargs: Mapping[str, Any] = ..., **options: Unpack[SubmitOptions]
    ) -> JobHandle[Any, Any]:
        """See `RemoteRegistry.submit`."""
        ...


def with_trace_context(metadata: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return metadata with the current trace context, for a job whose attempts are to continue it.

    For the ways to submit that `Tracing.submit` has not, such as `submit_many`. The context is what the
    propagator of the program injects, by default its trace and its baggage, and whoever sees the job sees it.
    If the metadata has a context already, that stays; if no span is current, none is added.

    Args:
        metadata: The job's own metadata.
    """
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    kept = {TRACE_CONTEXT: carrier} if carrier else {}
    return {**kept, **(metadata or {})}


class Tracing:
    """Makes a span of each attempt; give its `wrap` and its `on_event` to `open_registry`.

    The span is current in the handler, in its tasks and its threads, so that what they do becomes a part of
    it. It begins and ends with the attempt, the tasks in `JobContext.nursery` included. It is a child of the
    span that the job's metadata names, as `submit` has it, and links to that; else of the one that was
    current when the registry was opened, of a child job that of its parent's attempt; if there is none, a
    trace begins. A second attempt links to the first one, if that ran in this process too, and so on.

    One object may serve several registries.

    Args:
        tracer_provider: Makes the tracer; by default the global one, which may be set up later.
    """

    def __init__(self, tracer_provider: trace.TracerProvider | None = None) -> None:
        self._tracer = trace.get_tracer("trio_jobs", version("trio-jobs"), tracer_provider)
        self._running: dict[JobContext[Any], context.Context] = {}
        self._last: dict[str, trace.SpanContext] = {}  # of the last attempt, by job id
        self._told = False

    @overload
    async def submit(
        self,
        jobs: Submits,
        fn: Callable[[JobContext[T], Unpack[Ts]], Awaitable[R]],
        /,
        *args: *Ts,
        **options: Unpack[SubmitOptions],
    ) -> JobHandle[T, R]: ...
    @overload
    async def submit(
        self,
        jobs: Submits,
        fn: Callable[Concatenate[JobContext[T], ...], Awaitable[R]],
        /,
        *args: Any,
        kwargs: Mapping[str, Any],
        **options: Unpack[SubmitOptions],
    ) -> JobHandle[T, R]: ...
    @overload
    async def submit(
        self,
        jobs: SubmitsByName,
        fn: str,
        /,
        *args: Any,
        kwargs: Mapping[str, Any] = ...,
        **options: Unpack[SubmitOptions],
    ) -> JobHandle[Any, Any]: ...
    async def submit(  # type: ignore[misc]  # mypy does not see that `*args` takes `*Ts`
        self, jobs: Any, fn: Any, /, *args: Any, **options: Any
    ) -> JobHandle[Any, Any]:
        """Submit a job in a span, whose context the job keeps: its attempts continue it, in any process.

        The context is in the job's metadata, under `TRACE_CONTEXT`; see `with_trace_context`. A job with a
        `key` keeps none, because metadata is a part of what has to be the same when it is submitted again.
        A checkpoint. If it is cancelled, that is what `submit` of `jobs` says.

        Args:
            jobs: A registry, that of a server, or the job context of a handler.
            fn: As `jobs.submit` takes it.
            *args: Likewise.
            **options: Likewise.

        Returns:
            A handle on the job.

        Raises:
            Exception: Whatever `jobs.submit` raises.
        """
        name = fn if isinstance(fn, str) else mark_of(fn).name
        facts = {**_described("submit", name), "messaging.operation.type": "send"}
        with self._tracer.start_as_current_span(
            f"submit {name}", kind=trace.SpanKind.PRODUCER, attributes=facts
        ) as span:
            metadata = options.get("metadata", {})
            if options.get("key") is None and isinstance(metadata, Mapping):  # else `submit` refuses it
                options["metadata"] = with_trace_context(cast("Mapping[str, Any]", metadata))
            try:
                handle: JobHandle[Any, Any] = await jobs.submit(fn, *args, **options)
            except trio.Cancelled:
                span.set_attribute("error.type", "cancelled")
                span.set_status(trace.StatusCode.ERROR, "cancelled")
                raise
            except Exception as error:
                span.set_attribute("error.type", type(error).__qualname__)
                raise
            span.set_attribute("messaging.message.id", handle.id)
        return handle

    @asynccontextmanager
    async def wrap(self, job: JobContext[Any]) -> AsyncGenerator[None]:
        """Make the attempt's span current around its handler. No checkpoint.

        Raises:
            RuntimeError: The registry was given `wrap` without `on_event`, which makes the span.
        """
        if not self._told:
            raise RuntimeError(
                "Tracing makes no span without on_event: "
                "open_registry(wrap=tracing.wrap, on_event=tracing.on_event)"
            )
        found = self._running.get(job)
        token = context.attach(context.get_current() if found is None else found)
        try:
            yield
        finally:
            context.detach(token)

    def on_event(self, job: JobContext[Any], kind: Kind, ended: Ended | None) -> None:
        """Begin the span of an attempt, or end it. No checkpoint; it raises nothing but what the SDK does."""
        self._told = True
        if kind is Kind.STARTED:
            self._running[job] = self._begin(job)
        elif (found := self._running.pop(job, None)) is not None:
            if kind is not Kind.RETRIED:
                self._last.pop(job.id, None)
            _end(trace.get_current_span(found), kind, ended)

    @contextmanager
    def wrap_stream(self, job: Job) -> Generator[None]:
        """Make a span of a stream of a job's log to a client of a server; give it to that as `wrap_stream`.

        It is a child of the current span, such as that of an instrumentation of `http_app`, and links to the
        span in which the job was submitted. Its status is unset: clients may leave, and the job's own end is
        that of its attempts.
        """
        _, links = _submitted(job.metadata)
        facts = {**_described("follow", job.handler), "messaging.message.id": job.id}
        span = self._tracer.start_span(
            f"follow {job.handler}", kind=trace.SpanKind.SERVER, attributes=facts, links=links
        )
        with trace.use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
            yield

    def _begin(self, job: JobContext[Any]) -> context.Context:
        """Begin the span of an attempt, and return the context in which it is current."""
        around, links = _submitted(job.metadata)
        if (before := self._last.pop(job.id, None)) is not None:
            links.append(trace.Link(before))
        span = self._tracer.start_span(
            f"attempt {job.handler}",
            context=around,
            kind=trace.SpanKind.CONSUMER,
            attributes={
                **_described("attempt", job.handler),
                "messaging.operation.type": "process",
                "messaging.message.id": job.id,
                f"{_OURS}.attempt": job.attempt,
            },
            links=links,
        )
        self._last[job.id] = span.get_span_context()
        if len(self._last) > _REMEMBERED:
            del self._last[next(iter(self._last))]
        return trace.set_span_in_context(span, around)


def _submitted(metadata: Mapping[str, Any]) -> tuple[context.Context, list[trace.Link]]:
    """Return the current context with that which a job keeps in it, and a link to its span if it has one."""
    here = context.get_current()
    around = propagate.extract(kept, here) if (kept := _kept(metadata)) else here
    span = trace.get_current_span(around)
    return around, [] if span is trace.get_current_span(here) else [trace.Link(span.get_span_context())]


def _kept(metadata: Mapping[str, Any]) -> dict[str, str]:
    """Return the trace context that a job keeps; anybody may have written it, so only what is text."""
    found = metadata.get(TRACE_CONTEXT)
    if not isinstance(found, Mapping):
        return {}
    given = cast("Mapping[object, object]", found)
    return {name: text for name, text in given.items() if isinstance(name, str) and isinstance(text, str)}


def _described(operation: str, handler: str) -> dict[str, str]:
    """Return what a span says of its operation on a job of a handler, by the conventions for messaging."""
    return {
        "messaging.system": "trio_jobs",
        "messaging.operation.name": operation,
        "messaging.destination.name": handler,
    }


def _end(span: trace.Span, kind: Kind, ended: Ended | None) -> None:
    """End the span of an attempt, with how that ended."""
    span.set_attribute(f"{_OURS}.end", str(kind))
    if ended is not None:
        span.set_attribute(f"{_OURS}.reason", str(ended.reason))
        if kind is not Kind.RETRIED or ended.reason not in UNSPENT:  # as the log has it, too
            _fail(span, kind, ended)
    span.end()


def _fail(span: trace.Span, kind: Kind, ended: Ended) -> None:
    """Say in a span what went wrong. A cancelled attempt has not done its work, so it counts as well."""
    error = ended.error
    if kind is Kind.CANCELLED:
        what = "cancelled"
    elif error is not None and ended.reason in _BY_TYPE:
        what = error.type
    else:
        what = str(ended.reason)
    span.set_attribute("error.type", what)
    span.set_status(trace.Status(trace.StatusCode.ERROR, ended.message or str(error or ended.reason)))
    if error is not None:
        facts = {"type": error.type, "message": error.message, "stacktrace": error.traceback}
        span.add_event("exception", {f"exception.{name}": text for name, text in facts.items()})
