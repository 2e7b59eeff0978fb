"""Traces of jobs with OpenTelemetry, by its conventions for messaging: a handler is a destination.

Only the API is used. Which spans are kept, and where they go, is up to the SDK that the program sets up;
without one, nothing is recorded.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any, Final

try:
    from opentelemetry import context, trace
except ModuleNotFoundError as _error:
    raise ImportError(
        f"trio_jobs.telemetry.opentelemetry needs the extra: pip install 'trio-jobs[otel]' ({_error})"
    ) from _error

from .._common.states import UNSPENT, Reason
from .._model.job import Ended, Kind
from .._running.context import JobContext

__all__ = ["Tracing"]

_OURS: Final = "messaging.trio_jobs"  # what the conventions have no name for
_REMEMBERED: Final = 10_000
"""Of how many jobs the span of the last attempt is remembered, for the next one to link to."""
_BY_TYPE: Final = frozenset({Reason.ERROR, Reason.RESTARTED, Reason.RESTARTS})
"""The reasons that say less than the type of the error that a handler raised."""


class Tracing:
    """Makes a span of each attempt; give its `wrap` and its `on_event` to `open_registry`.

    The span is current in the handler, in its tasks and its threads, so that what they do becomes a part of
    it. It begins and ends with the attempt, the tasks in `JobContext.nursery` included. It is a child of the
    span that was current when the registry was opened, of a child job that of its parent's attempt; if there
    is none, a trace begins. A second attempt links to the first one, if that ran in this process too, and so
    on.

    One object may serve several registries.

    Args:
        tracer_provider: Makes the tracer; by default the global one, which may be set up later.
    """

    def __init__(self, tracer_provider: trace.TracerProvider | None = None) -> None:
        self._tracer = trace.get_tracer("trio_jobs", version("trio-jobs"), tracer_provider)
        self._running: dict[JobContext[Any], context.Context] = {}
        self._last: dict[str, trace.SpanContext] = {}  # of the last attempt, by job id
        self._told = False

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

    def _begin(self, job: JobContext[Any]) -> context.Context:
        """Begin the span of an attempt, and return the context in which it is current."""
        links: list[trace.Link] = []
        if (before := self._last.pop(job.id, None)) is not None:
            links.append(trace.Link(before))
        span = self._tracer.start_span(
            f"attempt {job.handler}",
            kind=trace.SpanKind.CONSUMER,
            attributes={
                **_described("attempt", job.handler, "process"),
                "messaging.message.id": job.id,
                f"{_OURS}.attempt": job.attempt,
            },
            links=links,
        )
        self._last[job.id] = span.get_span_context()
        if len(self._last) > _REMEMBERED:
            del self._last[next(iter(self._last))]
        return trace.set_span_in_context(span)


def _described(operation: str, handler: str, kind: str) -> dict[str, str]:
    """Return the attributes of an operation, which the conventions for messaging name.

    Args:
        operation: What it is called here.
        handler: The handler of its job.
        kind: What the conventions call it.
    """
    return {
        "messaging.system": "trio_jobs",
        "messaging.operation.name": operation,
        "messaging.operation.type": kind,
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
