"""A real server on loopback that can be restarted, and jobs that go on when the test lets them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar, TypeVarTuple

import trio

import trio_jobs
from trio_jobs.serving import Caller, serve_http

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Site:
    """A server on a file of jobs and a port. It can be stopped and started again.

    Attributes:
        token: What callers have to show; with none, everybody may come.
        tracebacks: Whether it shows tracebacks and stacks, from its next start.
        owner: Whose jobs those see who show it.
        may: What these may do.
        jobs: The registry, while it runs.
        steps: How often the handlers that wait for the test may go on.
    """

    jobs: trio_jobs.JobRegistry

    def __init__(self, nursery: trio.Nursery, file: Path) -> None:
        self.port = 0
        self.token = ""
        self.tracebacks = False
        self.owner: str | None = "ann"
        self.may: Literal["read", "change"] = "change"
        self._nursery = nursery
        self._file = file
        self._scope = trio.CancelScope()
        self._stopped = trio.Event()
        self._trio = trio.lowlevel.current_trio_token()
        self.give, self.steps = trio.open_memory_channel[None](10_000)

    @property
    def url(self) -> str:
        """The page's address."""
        return f"http://127.0.0.1:{self.port}"

    def do(self, fn: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> T:
        """Call an async function from a script, which runs in the browser's thread."""
        return trio.from_thread.run(fn, *args, trio_token=self._trio)

    def step(self, times: int = 1) -> None:
        """Let a waiting job go on."""
        for _ in range(times):
            trio.from_thread.run_sync(self.give.send_nowait, None, trio_token=self._trio)

    def submit(self, handler: str, *args: Any, **options: Any) -> str:
        """Submit a job from a script, and return its id."""

        async def submit() -> str:
            any_handler: Any = self.jobs.handlers[handler]
            return (await self.jobs.submit(any_handler, *args, **options)).id

        return self.do(submit)

    def finish(self, job: str) -> None:
        """Wait in a script for a job's end."""

        async def finish() -> None:
            await (await self.jobs.get(job)).wait()

        self.do(finish)

    async def _authenticate(self, headers: Any) -> Caller | None:
        return (
            Caller(self.owner, may=self.may)
            if headers.get("authorization") == f"Bearer {self.token}"
            else None
        )

    async def start(self) -> None:
        """Serve, on the port that it had before."""
        await self._nursery.start(self._keep_open)

    async def _keep_open(self, task_status: trio.TaskStatus[None]) -> None:
        handlers = [
            count,
            shout,
            shout_at_length,
            tell,
            stream,
            burst,
            fail,
            form,
            styled,
            chat,
            approve,
            alone,
            family,
            waiting_for(self.steps),
            numbered_by(self.steps),
        ]
        self._scope, self._stopped = trio.CancelScope(), trio.Event()
        with self._scope:
            async with (
                trio_jobs.open_registry(
                    f"sqlite:///{self._file}",
                    handlers=handlers,
                    grace=0,
                    retention=trio_jobs.Retention(events=10**6),
                ) as self.jobs,
                trio.open_nursery() as nursery,
            ):
                serve = partial(
                    serve_http,
                    self.jobs,
                    port=self.port,
                    authenticate=self._authenticate if self.token else None,
                    tracebacks=self.tracebacks,
                    grace=1,
                )
                (url,) = await nursery.start(serve)
                self.port = int(url.rpartition(":")[2])
                task_status.started()
                await trio.sleep_forever()
        self._stopped.set()

    def restart(self) -> None:
        """Stop and start the server from a script."""
        self.do(self.stop)
        self.do(self.start)

    async def stop(self) -> None:
        """Stop the server, as a deployment does."""
        self._scope.cancel()
        await self._stopped.wait()


# ------------------------------------------------------------ the jobs


def waiting_for(steps: trio.MemoryReceiveChannel[None]) -> Any:
    """Return a handler that waits for the test."""

    @trio_jobs.handler
    async def wait(job: trio_jobs.JobContext[str], total: int) -> int:
        """Send numbers, each when the test lets it, and go on with the next one after a restart."""
        for number in range(job.saved or 0, total):
            await steps.receive()
            await job.progress(number, total, "counting")
            await job.send(f"{number} ")
            await job.save(number + 1)
        return total

    return wait


def numbered_by(steps: trio.MemoryReceiveChannel[None]) -> Any:
    """Return a handler whose third attempt waits for the test, and then succeeds."""

    @trio_jobs.handler
    async def numbered(job: trio_jobs.JobContext[str]) -> None:
        """Send the number of the attempt, and fail the first two."""
        await job.send(f"of attempt {job.attempt}")
        if job.attempt < 3:
            raise RuntimeError(f"attempt {job.attempt} failed")
        await steps.receive()

    return numbered


@trio_jobs.handler
async def family(job: trio_jobs.JobContext[None], totals: list[int]) -> None:
    """Start a child for each number, one after the other."""
    for total in totals:
        await (await job.spawn(count, total)).result()


@trio_jobs.handler
async def count(job: trio_jobs.JobContext[str], total: int) -> int:
    """Send numbers, at once."""
    for number in range(total):
        await job.send(f"{number} ")
    return total


@trio_jobs.handler
async def burst(job: trio_jobs.JobContext[str], lines: int) -> None:
    """Send long lines."""
    for number in range(lines):
        await job.send(f"{number} {'x' * 60}\n")


@trio_jobs.handler
async def stream(job: trio_jobs.JobContext[str], tokens: int) -> None:
    """Send Markdown, a word at a time."""
    for number in range(tokens):
        await job.send(f"- *{number}*\n")


@trio_jobs.handler
async def shout(job: trio_jobs.JobContext[Any], value: Any) -> Any:
    """Send a value in every way there is."""
    await job.send(value)
    await job.send({"value": value})
    await job.progress(1, 2, value)
    await job.save(value)
    return value


@trio_jobs.handler
async def shout_at_length(job: trio_jobs.JobContext[str], size: int) -> str:
    """Save and return a text of that length."""
    await job.save("x" * size)
    return "x" * size


@trio_jobs.handler
async def tell(job: trio_jobs.JobContext[Any], parts: list[Any], failures: int = 0) -> None:
    """Send values, and fail the first attempts after that."""
    for part in parts:
        await job.send(part)
    if job.attempt <= failures:
        raise RuntimeError(f"attempt {job.attempt} failed")


@trio_jobs.handler(inputs=str)
async def chat(job: trio_jobs.JobContext[str]) -> str:
    """Answer each input, until there are no more; one that is wrong fails it."""
    async for text in job.inputs:
        await job.send(f"I heard {text}.\n")
        if text != "unsaved":
            await job.save(text)
    return "goodbye"


@trio_jobs.handler(inputs=bool)
async def approve(job: trio_jobs.JobContext[str], what: str) -> bool:
    """Ask whether to do something, without a slot, and say what came of it."""
    if job.attempt == 1:
        raise trio_jobs.AwaitInput(f"Do you want {what}?")
    return bool(await job.receive())


@trio_jobs.handler(limits=[trio_jobs.Limit(at_once=1, keyed=True)])
async def alone(job: trio_jobs.JobContext[str]) -> None:
    """Wait, one job for each key at a time."""
    await trio.sleep_forever()


@trio_jobs.handler
async def fail(job: trio_jobs.JobContext[None], text: str) -> None:
    """Fail with a text."""
    raise RuntimeError(text)


@trio_jobs.handler
async def form(
    job: trio_jobs.JobContext[None],
    text: str,
    number: float,
    flag: bool,
    colour: Literal["red", "green"],
    names: list[str],
    size: int = 7,
    *more: int,
) -> list[Any]:
    """Return the arguments."""
    return [text, number, flag, colour, names, size, *more]


@trio_jobs.handler
async def styled(
    job: trio_jobs.JobContext[None], text: str, *, width: int, fonts: list[str] | None = None, **others: str
) -> dict[str, Any]:
    return {"text": text, "width": width, "fonts": fonts, **others}
