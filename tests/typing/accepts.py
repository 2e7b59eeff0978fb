"""What the type checkers must accept, and the types they must infer. Checked, never run."""

from __future__ import annotations

import functools
from datetime import UTC, datetime
from typing import Any, assert_type

import trio

from trio_jobs import (
    AwaitInput,
    CancelReport,
    Event,
    EventStream,
    Job,
    JobContext,
    JobFailed,
    JobHandle,
    JobRegistry,
    Page,
    Priority,
    Reason,
    Retention,
    Retry,
    State,
    Timeouts,
    TokenStream,
    handler,
    open_registry,
    serve_jobs,
)
from trio_jobs.client import RemoteRegistry, connect
from trio_jobs.telemetry.opentelemetry import Tracing, with_trace_context


async def generate(job: JobContext[str], prompt: str, n: int = 1) -> int:
    await job.send(prompt * n)
    await job.send_many([prompt])
    assert_type(job.tokens, trio.MemorySendChannel[str])
    assert_type(job.nursery, trio.Nursery)
    assert_type(job.cancel_requested, trio.Event)
    await job.progress(1, total=2, message="half")
    await job.save({"any": "thing"})
    await job.save(None, received=job.received)
    assert_type(job.received, int)
    assert_type(job.timed_out, bool)
    assert_type(job.inputs, trio.abc.ReceiveChannel[Any])
    assert_type(await job.step("shout", shout, prompt, 2), str)
    child = await job.spawn(generate, "child", 2, timeout=5, tags={"a": "b"})
    assert_type(await child.result(), int)
    assert_type(await job.submit(generate, "other", 2, key="k", retry=Retry()), JobHandle[str, int])
    return n


async def shout(text: str, times: int) -> str:
    return text.upper() * times


async def nothing(job: JobContext[bytes]) -> None: ...


async def variadic(job: JobContext[str], *numbers: float) -> list[float]:
    return list(numbers)


class Model:
    async def answer(self, job: JobContext[str], question: str) -> bool:
        return bool(question)

    async def __call__(self, job: JobContext[float]) -> bytes:
        return b""


async def styled(job: JobContext[str], page: str, *, size: int, bold: bool = False) -> int:
    assert_type(await job.submit(styled, "b", kwargs={"size": 2}), JobHandle[str, int])
    assert_type(await (await job.spawn(styled, "b", kwargs={"size": 2}, timeout=5)).result(), int)
    return size


async def by_name(jobs: JobRegistry, remote: RemoteRegistry, tracing: Tracing) -> None:
    assert_type(await jobs.submit(styled, "a", kwargs={"size": 1}, key="k"), JobHandle[str, int])
    assert_type(await jobs.submit(generate, kwargs={"prompt": "hi"}), JobHandle[str, int])
    await jobs.submit(functools.partial(styled, size=1), "a")
    assert_type(await jobs.submit_many(styled, [("a",)], kwargs={"size": 1}), list[JobHandle[str, int]])
    async with jobs.execute_and_stream(styled, "a", kwargs={"size": 1}) as lines:
        assert_type(await anext(lines), str)
    assert_type(await remote.submit(styled, "a", kwargs={"size": 1}), JobHandle[str, int])
    assert_type(await remote.submit("styled", "a", kwargs={"size": 1}), JobHandle[Any, Any])
    assert_type(await tracing.submit(jobs, styled, "a", kwargs={"size": 1}), JobHandle[str, int])
    assert_type(await tracing.submit(remote, "styled", kwargs={"size": 1}), JobHandle[Any, Any])


@handler
async def bare(job: JobContext[str], x: int) -> int:
    return x


@handler(inputs=dict[str, int] | None)
async def listens(job: JobContext[str]) -> None:
    while await job.receive():
        raise AwaitInput("more", timeout=60)


@handler(name="marked", timeout=5, retry=Retry(attempts=3), priority=Priority.LOW)
async def marked(job: JobContext[str], x: int) -> str:
    return str(x)


async def submitting(jobs: JobRegistry) -> None:
    handle = await jobs.submit(generate, "hi")
    assert_type(await handle.send({"any": "thing"}, key="first"), int)
    assert_type(await handle.send_many([1, "two"]), int)
    assert_type(await handle.end_inputs(), int)
    assert_type(handle, JobHandle[str, int])
    assert_type(await jobs.submit(generate, "hi", 3), JobHandle[str, int])
    assert_type(await jobs.submit(nothing), JobHandle[bytes, None])
    assert_type(await jobs.submit(Model().answer, "why?"), JobHandle[str, bool])
    assert_type(await jobs.submit(Model()), JobHandle[float, bytes])
    assert_type(await jobs.submit(variadic, 1, 2.5), JobHandle[str, list[float]])
    assert_type(await jobs.submit(bare, 1), JobHandle[str, int])
    assert_type(await jobs.submit(marked, 1), JobHandle[str, str])
    assert_type(await bare(_context(), 1), int)
    await jobs.submit(bare, 1, priority="high")
    await jobs.submit(functools.partial(generate, prompt="hi"))
    await jobs.submit(
        generate,
        "hi",
        timeout=5,
        retry=Retry(attempts=3, on=(OSError, TimeoutError)),
        priority=1,
        delay=2.5,
        tags={"user": "7"},
        metadata={"any": object()},
        key="k",
        owner=None,
        when_unread="pause",
        linger=3,
    )
    await jobs.submit(generate, "hi", timeouts=Timeouts(run=5, idle=1), run_at=datetime.now(UTC))
    assert_type(await jobs.submit_many(generate, [("a", 1), ("b", 2)]), list[JobHandle[str, int]])
    anything: Any = generate
    await jobs.submit(anything, 1, 2, 3)


def _context() -> JobContext[str]:
    raise NotImplementedError


async def watching(handle: JobHandle[str, int]) -> None:
    assert_type(await handle.result(), int)
    assert_type(await handle.wait(), Job)
    assert_type(await handle.snapshot(), Job)
    assert_type(await handle.history(), list[Event])
    assert_type(await handle.cancel("why", grace=1, patience=2), CancelReport)
    assert_type(await handle.request_cancel(), bool)
    async with handle.stream(after=3, restarts="continue", policy="gap") as tokens:
        assert_type(tokens, TokenStream[str])
        assert_type(await tokens.receive(), str)
        assert_type(await tokens.receive_many(), list[str])
        assert_type(tokens.cursor, int)
        async for token in tokens:
            assert_type(token, str)
    async with handle.events() as events:
        assert_type(events, EventStream)
        async for event in events:
            assert_type(event, Event)
            assert_type(event.at, datetime)
    channel: trio.abc.ReceiveChannel[str] = handle.stream()
    await channel.aclose()
    await wider(handle)


async def wider(handle: JobHandle[object, float]) -> None:
    assert_type(await handle.result(), float)


async def looking(jobs: JobRegistry) -> None:
    assert_type(await jobs.get("id"), JobHandle[Any, Any])
    assert_type(await jobs.find(state=State.FAILED, tags={"a": "b"}, limit=5), Page)
    assert_type(await jobs.find(state={State.FAILED, State.CANCELLED}), Page)
    assert_type(await jobs.find(state="running", reason="snoozed"), Page)
    assert_type(await jobs.find(state=["failed", State.CANCELLED]), Page)
    assert_type(await jobs.count(handler="generate", owner="me", parent="id"), int)
    assert_type(await jobs.cancel("id", grace=1), CancelReport)
    assert_type(await jobs.cancel_where("why", state=State.QUEUED), int)
    assert_type(await jobs.prune(older_than=1.5), int)
    assert_type((await jobs.statistics()).running, int)
    async with jobs.execute_and_stream(generate, "hi", timeout=5) as lines:
        assert_type(lines.handle, JobHandle[Any, Any])
        async for line in lines:
            assert_type(line, str)


async def opening(nursery: trio.Nursery) -> None:
    async with open_registry("memory://", capacity=3, on_exit="drain", grace=1, name="x") as jobs:
        assert_type(jobs, JobRegistry)
    async with open_registry(queue_limit=5, window=1, retention=Retention(events=5)):
        pass
    served: JobRegistry = await nursery.start(serve_jobs)
    await served.count()


async def remotely(url: str) -> None:
    async with connect(url, token="t", patience=5) as jobs:
        assert_type(jobs, RemoteRegistry)
        typed = await jobs.submit(generate, "hi", 2, timeout=5)
        assert_type(typed, JobHandle[str, int])
        assert_type(await typed.result(), int)
        async with typed.stream() as tokens:
            assert_type(tokens, TokenStream[str])
        named = await jobs.submit("generate", "hi", key="k")
        assert_type(named, JobHandle[Any, Any])
        assert_type(await jobs.find(state=State.FAILED, newest=True), Page)


def failing(failed: JobFailed) -> None:
    assert_type(failed.reason, Reason)
    assert_type(failed.job_id, str)
    if failed.error is not None:
        assert_type(failed.error.message, str)


async def traced(jobs: JobRegistry, remote: RemoteRegistry, job: JobContext[None]) -> None:
    tracing = Tracing()
    async with open_registry(wrap=tracing.wrap, on_event=tracing.on_event):
        pass
    assert_type(await tracing.submit(jobs, generate, "hi", 2, timeout=5), JobHandle[str, int])
    assert_type(await tracing.submit(job, generate, "hi", key="k"), JobHandle[str, int])
    assert_type(await tracing.submit(remote, generate, "hi"), JobHandle[str, int])
    assert_type(await tracing.submit(remote, "generate", "hi", 2), JobHandle[Any, Any])
    assert_type(with_trace_context({"a": 1}), dict[str, Any])
