"""What a program sees of its jobs in OpenTelemetry: the spans that its own SDK exports."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import httpx2
import pytest
import trio
from opentelemetry import baggage, context, trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from trio.testing import MockClock

from tests.attempts import doubles, fails, fails_once, sleeps, spawns, taken_over
from trio_jobs import (
    AwaitInput,
    JobContext,
    JobFailed,
    JobRegistry,
    Restart,
    Retry,
    RetryAfter,
    Timeouts,
    handler,
    open_registry,
)
from trio_jobs.client import connect
from trio_jobs.serving import serve_http
from trio_jobs.stores.memory import MemoryStore
from trio_jobs.telemetry.opentelemetry import TRACE_CONTEXT, Tracing, with_trace_context
from trio_jobs.testing import Connection


@attrs.define
class Program:
    """A program with an SDK, and the spans that it has exported."""

    tracing: Tracing
    tracer: trace.Tracer
    exporter: InMemorySpanExporter

    def open(self, store: Any = "memory://", **options: Any) -> AbstractAsyncContextManager[JobRegistry]:
        """Open a registry whose attempts are traced."""
        return open_registry(
            store, handlers=HANDLERS, wrap=self.tracing.wrap, on_event=self.tracing.on_event, **options
        )

    def spans(self, name: str = "") -> list[ReadableSpan]:
        """Return the spans whose name begins so, in the order in which they began."""
        found = [span for span in self.exporter.get_finished_spans() if span.name.startswith(name)]
        return sorted(found, key=lambda span: span.start_time or 0)


def program() -> Program:
    """Return a program with an SDK of its own."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return Program(Tracing(provider), provider.get_tracer("the program"), exporter)


@pytest.fixture(name="program")
def program_fixture() -> Program:
    """A program with an SDK of its own."""
    return program()


@pytest.fixture(params=["memory", "file"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An address of each kind."""
    return "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/jobs.db"


def ids(context: trace.SpanContext | None) -> tuple[int, int]:
    """Return the ids of a trace and of a span."""
    assert context is not None
    return context.trace_id, context.span_id


def own(span: ReadableSpan) -> tuple[int, int]:
    """Return the ids of a span."""
    return ids(span.get_span_context())


def facts(span: ReadableSpan) -> dict[str, Any]:
    """Return the attributes of a span."""
    return dict(span.attributes or {})


def linked(span: ReadableSpan) -> list[tuple[int, int]]:
    """Return the ids of the spans that one links to."""
    return [ids(link.context) for link in span.links]


async def fails_later(job: JobContext[Any]) -> None:
    job.nursery.start_soon(fails, job)


async def snoozes_once(job: JobContext[Any]) -> None:
    if job.attempt == 1:
        raise RetryAfter(0)


@handler(inputs=int)
async def waits_once(job: JobContext[Any]) -> None:
    if job.attempt == 1:
        raise AwaitInput
    await job.receive()


HANDLERS: list[Any] = [
    *(doubles, fails, fails_once, fails_later, sleeps, spawns, snoozes_once, waits_once),
]


async def test_an_attempt_is_a_span(program: Program, store: str) -> None:
    """It has the kind and attributes that the conventions name, and no status if it completed."""
    async with program.open(store) as jobs:
        handle = await jobs.submit(doubles, 21)
        await handle.result()
    [span] = program.spans()
    assert (span.name, span.kind, span.parent) == ("attempt doubles", trace.SpanKind.CONSUMER, None)
    assert facts(span) == {
        "messaging.system": "trio_jobs",
        "messaging.operation.name": "attempt",
        "messaging.operation.type": "process",
        "messaging.destination.name": "doubles",
        "messaging.message.id": handle.id,
        "messaging.trio_jobs.attempt": 1,
        "messaging.trio_jobs.end": "completed",
    }
    assert (span.status.status_code, span.events, span.links) == (trace.StatusCode.UNSET, (), ())
    assert span.instrumentation_scope is not None
    assert span.instrumentation_scope.name == "trio_jobs"


async def test_the_span_is_current_in_the_handler(program: Program, store: str) -> None:
    """Spans of the handler, its tasks and threads are its children, also after the handler returned."""

    async def task(returned: trio.Event) -> None:
        await returned.wait()
        program.tracer.start_span("in a task").end()

    def thread() -> None:
        program.tracer.start_span("in a thread").end()

    @handler(name="doubles")
    async def works(job: JobContext[Any]) -> None:
        returned = trio.Event()
        job.nursery.start_soon(task, returned)
        await trio.to_thread.run_sync(thread)
        program.tracer.start_span("in the handler").end()
        returned.set()

    tracing = program.tracing
    async with open_registry(store, handlers=[works], wrap=tracing.wrap, on_event=tracing.on_event) as jobs:
        await (await jobs.submit(works)).result()
    [attempt] = program.spans("attempt")
    inner = program.spans("in ")
    assert len(inner) == 3
    assert {ids(span.parent) for span in inner} == {own(attempt)}
    assert (attempt.end_time or 0) >= max(span.end_time or 0 for span in inner)
    assert not trace.get_current_span().get_span_context().is_valid


async def test_attempts_link_to_those_before(program: Program, store: str) -> None:
    """Each attempt has a span of its own, which links to that of the attempt before."""
    async with program.open(store) as jobs:
        await (await jobs.submit(fails_once, retry=Retry(attempts=2, initial=0))).result()
        await (await jobs.submit(doubles, 1)).result()
    first, second, other = program.spans()
    assert linked(second) == [own(first)]
    assert linked(first) == linked(other) == []
    assert [facts(span)["messaging.trio_jobs.attempt"] for span in (first, second)] == [1, 2]


async def test_a_child_job_is_in_the_attempt_of_its_parent(program: Program, store: str) -> None:
    """The span of a child job's attempt is a child of that of its parent."""
    async with program.open(store) as jobs:
        await (await jobs.submit(spawns)).result()
    parent, child = program.spans()
    assert child.name == "attempt doubles"
    assert ids(child.parent) == own(parent)


async def test_a_span_around_the_registry_is_around_attempts(program: Program, store: str) -> None:
    """An attempt is a child of the span in which the registry was opened, however its job was submitted."""
    with program.tracer.start_as_current_span("around"):
        async with program.open(store) as jobs:
            with program.tracer.start_as_current_span("elsewhere"):
                handle = await jobs.submit(doubles, 1)
            await handle.result()
    [around], [attempt] = program.spans("around"), program.spans("attempt")
    assert ids(attempt.parent) == own(around)


# ------------------------------------------------------------ how it ends

Act = Callable[[JobRegistry], Awaitable[Any]]


async def cancelled(jobs: JobRegistry) -> None:
    handle = await jobs.submit(sleeps)
    while handle.id not in jobs.running:
        await trio.sleep(0.1)
    await handle.cancel()


async def submitted(fn: Any, jobs: JobRegistry, **options: Any) -> None:
    await (await jobs.submit(fn, **options)).wait()


@pytest.mark.parametrize(
    ("act", "end", "reason", "error", "text"),
    [
        pytest.param(
            partial(submitted, fails), "failed", "error", "ValueError", "ValueError: ouch", id="error"
        ),
        pytest.param(
            partial(submitted, fails_later), "failed", "error", "ValueError", "ValueError: ouch", id="task"
        ),
        pytest.param(
            partial(submitted, fails_once, retry=Retry(attempts=2, initial=0)),
            *("retried", "error", "ValueError", "ValueError: ouch"),
            id="retried",
        ),
        pytest.param(
            partial(submitted, sleeps, timeout=5),
            *("failed", "timeout", "timeout", "Job timed out after 5s"),
            id="timeout",
        ),
        pytest.param(
            partial(submitted, sleeps, timeouts=Timeouts(idle=5, first_token=3)),
            *("failed", "first_token_timeout", "first_token_timeout", "Job sent no token within 3s"),
            id="no token",
        ),
        pytest.param(cancelled, "cancelled", "user", "cancelled", "user", id="cancelled"),
    ],
)
async def test_an_attempt_that_did_not_do_its_work_is_an_error(
    program: Program, autojump_clock: MockClock, act: Act, end: str, reason: str, error: str, text: str
) -> None:
    """An error, a timeout and a cancellation are its status, and `error.type` says which it was."""
    async with program.open() as jobs:
        await act(jobs)
    span = program.spans()[0]
    assert (span.status.status_code, span.status.description) == (trace.StatusCode.ERROR, text)
    found = facts(span)
    assert found["messaging.trio_jobs.end"] == end
    assert (found["messaging.trio_jobs.reason"], found["error.type"]) == (reason, error)


async def test_the_exception_is_an_event(program: Program, store: str) -> None:
    """What the handler raised is an event of the span, with its traceback; a cancellation is none."""
    async with program.open(store) as jobs:
        await (await jobs.submit(fails)).wait()
        handle = await jobs.submit(sleeps)
        while handle.id not in jobs.running:
            await trio.lowlevel.checkpoint()
        await handle.cancel()
    failed, stopped = program.spans()
    [event] = failed.events
    found = dict(event.attributes or {})
    assert (event.name, found["exception.type"], found["exception.message"]) == (
        "exception",
        "ValueError",
        "ouch",
    )
    assert "in fails\n" in str(found["exception.stacktrace"])
    assert stopped.events == ()


@pytest.mark.parametrize(
    ("fn", "reason"), [(snoozes_once, "snoozed"), (waits_once, "awaiting_input")], ids=["snoozed", "input"]
)
async def test_an_attempt_that_only_waits_is_no_error(
    program: Program, store: str, fn: Any, reason: str
) -> None:
    """A snooze and a wait for an input are ends that say so, with no error."""
    async with program.open(store) as jobs:
        handle = await jobs.submit(fn)
        if fn is waits_once:
            await handle.send(1)
        await handle.wait()
    first, second = program.spans()
    assert facts(first)["messaging.trio_jobs.end"] == "retried"
    assert facts(first)["messaging.trio_jobs.reason"] == reason
    assert first.status.status_code is second.status.status_code is trace.StatusCode.UNSET
    assert first.events == ()


async def test_a_job_handed_over_at_a_shutdown_is_no_error(program: Program, tmp_path: Path) -> None:
    """An attempt in a file that a shutdown ends is `retried`, reason `shutdown`, with no error."""
    async with program.open(f"sqlite:///{tmp_path}/jobs.db") as jobs:
        handle = await jobs.submit(sleeps)
        while handle.id not in jobs.running:
            await trio.lowlevel.checkpoint()
    [span] = program.spans()
    assert facts(span)["messaging.trio_jobs.reason"] == "shutdown"
    assert span.status.status_code is trace.StatusCode.UNSET


async def test_a_restart_is_an_error(program: Program, autojump_clock: MockClock) -> None:
    """A service that ends is restarted: its attempt has the type of its error, or that it was restarted."""

    @handler(service=Restart(first=1, most=10))
    async def service(job: JobContext[Any]) -> None:
        if job.attempt == 1:
            raise OSError("gone")
        if job.attempt > 2:
            await trio.sleep_forever()

    tracing = program.tracing
    async with open_registry(handlers=[service], wrap=tracing.wrap, on_event=tracing.on_event):
        while len(program.spans()) < 2:
            await trio.sleep(1)
    raised, returned = program.spans()[:2]
    assert facts(raised)["error.type"] == "OSError"
    assert facts(returned)["error.type"] == "restarted"


async def test_a_lost_attempt_ends(program: Program, autojump_clock: MockClock) -> None:
    """The span of an attempt that has lost its lease ends when that has stopped, with `worker_lost`."""
    store = MemoryStore()
    connection = Connection(store)
    async with program.open(connection, lease=9) as first:
        async with taken_over(first, connection, store):
            connection.severed = False
            await trio.sleep(9)
            [span] = program.spans()
    assert (facts(span)["error.type"], span.status.status_code) == ("worker_lost", trace.StatusCode.ERROR)


# ------------------------------------------------------------ submitting


async def submits(job: JobContext[Any]) -> None:
    await TRACINGS[job.tags["program"]].submit(job, doubles, 1)


TRACINGS: dict[str, Tracing] = {}
HANDLERS.append(submits)


async def test_attempts_continue_the_trace_of_the_submit(program: Program, store: str) -> None:
    """A submit is a span, and the attempts are its children and link to it, and to each other."""
    async with program.open(store) as jobs:
        with program.tracer.start_as_current_span("request"):
            handle = await program.tracing.submit(jobs, fails_once, retry=Retry(attempts=2, initial=0))
        assert await handle.result() == 2
    [request], [submit] = program.spans("request"), program.spans("submit")
    first, second = program.spans("attempt")
    assert (submit.name, submit.kind) == ("submit fails_once", trace.SpanKind.PRODUCER)
    assert facts(submit) == {
        "messaging.system": "trio_jobs",
        "messaging.operation.name": "submit",
        "messaging.operation.type": "send",
        "messaging.destination.name": "fails_once",
        "messaging.message.id": handle.id,
    }
    assert submit.status.status_code is trace.StatusCode.UNSET
    assert ids(submit.parent) == own(request)
    assert ids(first.parent) == ids(second.parent) == own(submit)
    assert (linked(first), linked(second)) == ([own(submit)], [own(submit), own(first)])


async def test_the_trace_goes_through_the_store(tmp_path: Path) -> None:
    """A program that runs what another one submitted, which has ended, continues its trace."""
    address, one, other = f"sqlite:///{tmp_path}/jobs.db", program(), program()
    async with one.open(address, capacity=0) as jobs:
        job_id = (await one.tracing.submit(jobs, doubles, 1)).id
    async with other.open(address) as jobs:
        await (await jobs.get(job_id)).result()
    [submit], [attempt] = one.spans(), other.spans()
    assert ids(attempt.parent) == own(submit)
    assert own(attempt)[0] == own(submit)[0]


async def test_a_handler_submits_in_its_own_trace(program: Program, store: str) -> None:
    """What a handler submits with its job context continues the trace of its attempt."""
    TRACINGS[store] = program.tracing
    async with program.open(store) as jobs:
        await (await program.tracing.submit(jobs, submits, tags={"program": store})).result()
        [inner] = await jobs.find(handler="doubles")
        await (await jobs.get(inner.id)).wait()
    names = [span.name for span in program.spans()]
    assert names == ["submit submits", "attempt submits", "submit doubles", "attempt doubles"]
    assert len({own(span)[0] for span in program.spans()}) == 1
    assert ids(program.spans()[2].parent) == own(program.spans()[1])


async def test_a_server_takes_it_too() -> None:
    """A job that is submitted to a server, by name or by function, is run there in the caller's trace."""
    one, other = program(), program()
    async with other.open() as jobs, trio.open_nursery() as nursery:
        [url] = await nursery.start(partial(serve_http, jobs, port=0))
        async with connect(url) as remote:
            for fn in ("doubles", doubles):
                handle = await one.tracing.submit(remote, fn, 1)
                assert await handle.result() == 2
        nursery.cancel_scope.cancel()
    assert [ids(span.parent) for span in other.spans()] == [own(span) for span in one.spans()]


async def test_a_key_gives_the_same_job(program: Program, store: str) -> None:
    """Submitted again under its key, in another trace, a job is the same: with a key it keeps no context."""
    async with program.open(store) as jobs:
        first, second = [await program.tracing.submit(jobs, doubles, 1, key="k") for _ in range(2)]
        await first.result()
    assert first.id == second.id
    [attempt] = program.spans("attempt")
    assert attempt.parent is None


async def test_what_the_job_keeps(program: Program) -> None:
    """Its own metadata stays, and so does a context that it has already; without a span there is none."""
    assert with_trace_context({"order": 7}) == {"order": 7}
    with program.tracer.start_as_current_span("a span") as span:
        trace_id, span_id = ids(span.get_span_context())
        kept = with_trace_context({"order": 7})
    assert kept == {"order": 7, TRACE_CONTEXT: kept[TRACE_CONTEXT]}
    assert kept[TRACE_CONTEXT]["traceparent"].startswith(f"00-{trace_id:032x}-{span_id:016x}-")
    async with program.open() as jobs:
        handle = await program.tracing.submit(jobs, doubles, 1, metadata=kept)
        assert (await handle.wait()).metadata == kept
    [attempt] = program.spans("attempt")
    assert ids(attempt.parent) == (trace_id, span_id)


async def test_baggage_comes_along(program: Program, store: str) -> None:
    """What a program puts into its baggage is there in the handler, in whatever process it runs."""
    found: list[object] = []

    @handler(name="doubles")
    async def looks(job: JobContext[Any]) -> None:
        found.append(baggage.get_baggage("tenant"))

    token = context.attach(baggage.set_baggage("tenant", "7"))
    tracing = program.tracing
    try:
        metadata = with_trace_context()
    finally:
        context.detach(token)
    async with open_registry(store, handlers=[looks], wrap=tracing.wrap, on_event=tracing.on_event) as jobs:
        await (await jobs.submit(looks, metadata=metadata)).result()
    assert found == ["7"]
    assert program.spans()[0].links == ()


@pytest.mark.parametrize(
    "kept",
    [
        *(None, 7, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", [], {}, {"traceparent": 7}),
        *({"traceparent": text} for text in ("", "00", "00-0-0-0", f"00-{'0' * 32}-{'0' * 16}-01", "é\n")),
        {"traceparent": {"traceparent": "00"}, "tracestate": "=,=;", "baggage": "a=b;;,=,%zz"},
    ],
)
async def test_a_context_that_is_none_is_ignored(program: Program, kept: Any) -> None:
    """Metadata comes from outside: whatever stands in place of a context, the job runs, in a new trace."""
    async with program.open() as jobs:
        assert await (await jobs.submit(doubles, 1, metadata={TRACE_CONTEXT: kept})).result() == 2
    [span] = program.spans()
    assert (span.parent, span.links) == (None, ())


async def test_a_submit_that_fails_is_an_error(program: Program) -> None:
    """What `submit` raises comes out, and is in the span; so is a cancellation."""
    bad: Any = {"metadata": 7}, {"priority": "highest"}
    nothing: Any = None
    async with program.open() as jobs:
        for options in bad:
            with pytest.raises((TypeError, ValueError)):
                await program.tracing.submit(jobs, doubles, 1, **options)
        with pytest.raises(TypeError, match="a handler is an async function"):
            await program.tracing.submit(jobs, nothing)
        with trio.CancelScope() as scope:
            scope.cancel()
            await program.tracing.submit(jobs, doubles, 1)
        assert scope.cancelled_caught
    spans = program.spans()
    assert [facts(span)["error.type"] for span in spans] == [
        "TypeError",
        "ValueError",
        "TypeError",
        "cancelled",
    ]
    assert {span.status.status_code for span in spans} == {trace.StatusCode.ERROR}


# ------------------------------------------------------------ served streams


async def test_a_served_stream_is_a_span(program: Program) -> None:
    """Each stream of a log to a client, over HTTP and WebSocket, is a span that links to the submit."""
    serve = partial(serve_http, port=0, wrap_stream=program.tracing.wrap_stream)
    async with program.open() as jobs, trio.open_nursery() as nursery, httpx2.AsyncClient() as http:
        [url] = await nursery.start(serve, jobs)
        handle = await program.tracing.submit(jobs, doubles, 1)
        await handle.result()
        assert "[DONE]" in (await http.get(f"{url}/v1/jobs/{handle.id}/stream")).text
        async with connect(url) as remote, (await remote.get(handle.id)).events() as events:
            assert [event.kind async for event in events][-1] == "completed"
        nursery.cancel_scope.cancel()
    [submit] = program.spans("submit")
    by_http, by_websocket = program.spans("follow")
    for span in (by_http, by_websocket):
        assert (span.name, span.kind) == ("follow doubles", trace.SpanKind.SERVER)
        assert (linked(span), span.status.status_code) == ([own(submit)], trace.StatusCode.UNSET)
        assert facts(span) == {
            "messaging.system": "trio_jobs",
            "messaging.operation.name": "follow",
            "messaging.destination.name": "doubles",
            "messaging.message.id": handle.id,
        }


async def test_a_stream_that_a_client_leaves_is_no_error(program: Program) -> None:
    """The span of a stream ends when its client follows no more, with no status; the job runs on."""
    serve = partial(serve_http, port=0, wrap_stream=program.tracing.wrap_stream)
    async with program.open() as jobs, trio.open_nursery() as nursery:
        [url] = await nursery.start(serve, jobs)
        handle = await jobs.submit(sleeps)
        async with connect(url) as remote:
            async with (await remote.get(handle.id)).events() as events:
                assert (await anext(events)).kind == "submitted"
                assert program.spans("follow") == []
            with trio.fail_after(30):
                while not program.spans("follow"):
                    await trio.lowlevel.checkpoint()
        assert handle.id in jobs.running
        nursery.cancel_scope.cancel()
    [span] = program.spans("follow")
    assert (span.status.status_code, span.events) == (trace.StatusCode.UNSET, ())


# ------------------------------------------------------------ around it


async def test_it_leaves_the_context_as_it_was(program: Program) -> None:
    """What a program has around `wrap` does not see the attempt's span once `wrap` was left."""
    current: list[trace.Span] = []

    @asynccontextmanager
    async def around(job: JobContext[Any]) -> AsyncGenerator[None]:
        current.append(trace.get_current_span())
        async with program.tracing.wrap(job):
            current.append(trace.get_current_span())
            yield
        current.append(trace.get_current_span())

    async with open_registry(wrap=around, on_event=program.tracing.on_event) as jobs:
        await (await jobs.submit(doubles, 1)).result()
    before, inside, after = current
    assert before is after is not inside


async def test_wrap_alone_is_refused(program: Program) -> None:
    """Without `on_event`, which makes the spans, the first job fails with a text that says what to give."""
    async with open_registry(wrap=program.tracing.wrap) as jobs:
        with pytest.raises(JobFailed, match=r"open_registry\(wrap=tracing.wrap, on_event=tracing.on_event\)"):
            await (await jobs.submit(doubles, 1)).result()


async def test_a_fault_of_the_sdk_harms_no_job(caplog: pytest.LogCaptureFixture) -> None:
    """If the SDK raises where a span begins, that is logged, and the job completes without a span."""

    class Broken(trace.NoOpTracer):
        def start_span(self, *args: Any, **options: Any) -> trace.Span:
            raise LookupError("a broken sampler")

    class Provider(trace.NoOpTracerProvider):
        def get_tracer(self, *args: Any, **options: Any) -> trace.Tracer:
            return Broken()

    tracing = Tracing(Provider())
    async with open_registry(wrap=tracing.wrap, on_event=tracing.on_event) as jobs:
        assert await (await jobs.submit(doubles, 2)).result() == 4
    assert "a broken sampler" in caplog.text


async def test_without_an_sdk_nothing_is_recorded() -> None:
    """With the API alone, jobs run as ever."""
    tracing = Tracing(trace.NoOpTracerProvider())
    async with open_registry(wrap=tracing.wrap, on_event=tracing.on_event) as jobs:
        assert await (await jobs.submit(doubles, 2)).result() == 4


def test_a_missing_extra_is_named() -> None:
    """Without the API, the import fails with the extra to install."""
    code = "import sys; sys.modules['opentelemetry'] = None; import trio_jobs.telemetry.opentelemetry"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "pip install 'trio-jobs[otel]'" in done.stderr
