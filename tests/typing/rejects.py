"""What the type checkers must reject: each line has an error, and an `ignore` that is needed.

mypy complains of an `ignore` that suppresses nothing, and so does pyright in this file. Never run.
"""
# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

import trio_jobs
from trio_jobs import JobContext, JobHandle, JobRegistry, Retry, State, Timeouts, handler, open_registry
from trio_jobs.client import RemoteRegistry, connect
from trio_jobs.telemetry.opentelemetry import Tracing


async def generate(job: JobContext[str], prompt: str, n: int = 1) -> int:
    await job.send(1)  # type: ignore[arg-type]
    await job.send_many([1])  # type: ignore[list-item]
    await job.tokens.send(b"")  # type: ignore[arg-type]
    await job.progress("half")  # type: ignore[arg-type]
    await job.spawn(generate, 1)  # type: ignore[arg-type]
    await job.submit(generate, 1)  # type: ignore[arg-type]
    await job.spawn(generate, "hi", retry=Retry())  # type: ignore[call-overload]
    await job.step("again", again, "one")  # type: ignore[arg-type]
    await job.step("again", plain)  # type: ignore[arg-type]
    await job.save(1, received="2")  # type: ignore[arg-type]
    job.tags["new"] = "tag"  # type: ignore[index]
    return n


async def again(times: int) -> None: ...


async def numbers(job: JobContext[int]) -> None: ...


async def no_context() -> None: ...


def plain(job: JobContext[str]) -> None: ...


async def submitting(jobs: JobRegistry) -> None:
    await jobs.submit(generate)  # type: ignore[arg-type, call-arg]
    await jobs.submit(generate, 1)  # type: ignore[arg-type]
    await jobs.submit(generate, "hi", "three")  # type: ignore[arg-type, call-arg]
    await jobs.submit(generate, "hi", 1, 2)  # type: ignore[arg-type, call-arg]
    await jobs.submit(no_context)  # type: ignore[arg-type, call-arg]
    await jobs.submit(plain)  # type: ignore[arg-type, call-arg]
    await jobs.submit(generate, prompt="hi")  # type: ignore[call-overload]
    await jobs.submit(generate, "hi", timeuot=5)  # type: ignore[call-overload]
    await jobs.submit(generate, "hi", timeout="5")  # type: ignore[call-overload]
    await jobs.submit(generate, "hi", tags={"user": 7})  # type: ignore[dict-item]
    await jobs.submit(generate, "hi", when_unread="stop")  # type: ignore[call-overload]
    await jobs.submit(generate, "hi", retry=3)  # type: ignore[call-overload]
    await jobs.submit_many(generate, [(1,)])  # type: ignore[arg-type]
    jobs.execute_and_stream(numbers)  # type: ignore[arg-type, call-arg]


async def styled(job: JobContext[str], page: str, *, size: int) -> int:
    await job.spawn(styled, "a")  # type: ignore[arg-type]
    await job.submit(styled, "a")  # type: ignore[arg-type]
    return size


async def by_name(jobs: JobRegistry, remote: RemoteRegistry, handle: JobHandle[str, int]) -> None:
    await jobs.submit(styled, "a")  # type: ignore[arg-type]
    await jobs.submit(styled, "a", size=1)  # type: ignore[call-overload]
    await jobs.submit(styled, "a", kwargs=[1])  # type: ignore[call-overload]
    await jobs.submit(styled, "a", kwargs={"size": 1}, timeuot=5)  # type: ignore[call-overload]
    await jobs.submit(no_context, kwargs={})  # type: ignore[arg-type]
    await jobs.submit(plain, kwargs={})  # type: ignore[arg-type]
    await jobs.submit_many(styled, [("a",)])  # type: ignore[arg-type]
    await jobs.submit_many(styled, [("a",)], {"size": 1})  # type: ignore[call-overload]
    jobs.execute_and_stream(styled, "a")  # type: ignore[arg-type]
    await remote.submit(styled, "a")  # type: ignore[arg-type]
    await remote.submit("styled", kwargs=[1])  # type: ignore[call-overload]
    await handle.resubmit(kwargs={"size": 1})  # type: ignore[call-arg]


async def watching(handle: JobHandle[str, int]) -> None:
    text: str = await handle.result()  # type: ignore[assignment]
    async with handle.stream() as tokens:
        number: int = await tokens.receive()  # type: ignore[assignment]
    handle.stream(restarts="ignore")  # type: ignore[arg-type]
    handle.events(policy="drop")  # type: ignore[arg-type]
    await handle.send("hi", key=7)  # type: ignore[arg-type]
    await handle.cancel("why", 5)  # type: ignore[call-arg]
    narrower: JobHandle[str, bool] = handle  # type: ignore[assignment]
    print(text, number, narrower)


async def looking(jobs: JobRegistry) -> None:
    await jobs.find(tag={"user": "7"})  # type: ignore[call-arg]
    await jobs.find(state=5)  # type: ignore[arg-type]
    await jobs.find(state="done")  # type: ignore[arg-type]
    await jobs.find(state=["running", "done"])  # type: ignore[list-item]
    await jobs.find(5)  # type: ignore[call-arg]
    job = await (await jobs.get("id")).snapshot()
    job.state = State.FAILED  # type: ignore[misc]
    job.tags["new"] = "tag"  # type: ignore[index]


async def remotely(jobs: RemoteRegistry) -> None:
    handle = await jobs.submit(generate, "hi")
    text: str = await handle.result()  # type: ignore[assignment]
    await jobs.submit("generate", timeuot=5)  # type: ignore[call-overload]
    await jobs.submit(generate, 5)  # type: ignore[arg-type]
    await jobs.submit(5)  # type: ignore[call-overload]
    await jobs.find(tag={"user": "7"})  # type: ignore[call-arg]
    connect("http://127.0.0.1", patience="5")  # type: ignore[arg-type]
    print(text)


async def traced(jobs: JobRegistry) -> None:
    tracing = Tracing()
    await tracing.submit(jobs, generate, 5)  # type: ignore[arg-type]
    await tracing.submit(jobs, "generate")  # type: ignore[call-overload]
    await tracing.submit(jobs, generate, "hi", timeuot=5)  # type: ignore[call-overload]


async def opening() -> None:
    trio_jobs.opn_registry()  # type: ignore[attr-defined]
    trio_jobs.stores.Sbmission()  # type: ignore[attr-defined]
    open_registry(on_exit="wait")  # type: ignore[arg-type]
    open_registry("memory://", 5)  # type: ignore[call-arg, arg-type]
    open_registry("sqlite:///jobs.db", handlers=5)  # type: ignore[arg-type]
    Timeouts(run="5")  # type: ignore[arg-type]
    Retry(on=5)  # type: ignore[arg-type]


@handler(timeout="5")  # type: ignore[call-overload, untyped-decorator]
async def marked(job: JobContext[str]) -> None: ...


@handler  # type: ignore[type-var]
def marked_plain(job: JobContext[str]) -> None: ...
