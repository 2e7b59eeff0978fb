"""How fast trio_jobs is in one process, next to the same job written by hand.

    python benchmarks/inprocess.py [--quick] [--json PATH]

How it is measured. Machines are noisy, and differ, so seconds mean little: what counts are ratios. All
versions of a thing are timed in turn, A B C A B C, each in an event loop of its own after a garbage
collection. The ratio of each turn is taken, and their median is reported with the lowest and the highest.
Opening the registry or the event loop is not timed. The garbage collector stays on, as it is in programs.
The clock is the processor time of this process: nothing here ever waits for anything but its own turn, so on
an idle machine it is the time on the wall, and on a busy one other programs disturb it less.

What it is measured against. Every version of the job does the same: it starts a task that streams numbers,
under a time limit and with a bounded buffer, and another task reads them to the end. The handwritten
versions are as cheap as correct code gets: no `aclose`, which would be a checkpoint, no names, no logging.
They do less, of course: no id, no log to join late or to resume from, no states, no history, no retry.
What all this costs is the question.
"""

from __future__ import annotations

import argparse
import asyncio  # noqa: TID251  # what is measured against
import gc
import json
import math
import multiprocessing
import os
import platform
import sys
import tracemalloc
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from statistics import median
from time import process_time
from typing import cast

import attrs
import trio
from trio.testing import wait_all_tasks_blocked

from trio_jobs import JobContext, JobRegistry, Retention, open_registry
from trio_jobs._common.states import Transition
from trio_jobs.stores.contract import Claimant, Outcome

BUFFER = 16  # of the handwritten jobs' channels and queues, and the window of ours
WINDOW = 64  # the same for the token benchmarks: the default of a registry
BURST = 64
WARM_UP = 1
TIME_LIMIT = 60.0  # never reached
OURS, HAND, LEAN, ASYNCIO = "trio_jobs", "by hand", "lean", "asyncio"
RESULTS = Path(__file__).parent / "results" / "inprocess.json"

# ---------------------------------------------------------------- the job, four times


async def speak(job: JobContext[int], tokens: int) -> None:
    for token in range(tokens):
        await job.send(token)


async def by_trio_jobs(jobs: JobRegistry, tokens: int, limit: float = TIME_LIMIT) -> list[int]:
    if limit == math.inf:
        handle = await jobs.submit(speak, tokens)
    else:
        handle = await jobs.submit(speak, tokens, timeout=limit)
    async with handle.stream() as stream:
        return [token async for token in stream]


async def produce(send: trio.MemorySendChannel[int], tokens: int) -> None:
    with send:
        for token in range(tokens):
            await send.send(token)


async def consume(receive: trio.MemoryReceiveChannel[int], got: list[int]) -> None:
    with receive:
        got += [token async for token in receive]


async def by_hand(tokens: int, limit: float = TIME_LIMIT) -> list[int]:
    """The job as Trio's documentation would have it: a task that sends, a task that receives.

    Two tasks, because the reader of a job is seldom the task that started it.
    """
    got: list[int] = []
    send, receive = trio.open_memory_channel[int](BUFFER)
    with trio.move_on_after(limit):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(produce, send, tokens)
            nursery.start_soon(consume, receive, got)
    return got


async def lean(tokens: int, limit: float = TIME_LIMIT) -> list[int]:
    """The least there can be: the task that starts the job also reads it, inside the nursery.

    It saves a task, and with it the reader's freedom to come and go. Since our job is read here by the task
    that submitted it too, this ratio is shown for reference; the fair one is against code that can do it too.
    """
    got: list[int] = []
    send, receive = trio.open_memory_channel[int](BUFFER)
    with trio.move_on_after(limit):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(produce, send, tokens)
            await consume(receive, got)
    return got


async def asyncio_produce(queue: asyncio.Queue[int | None], tokens: int) -> None:
    for token in range(tokens):
        await queue.put(token)
    await queue.put(None)  # Queue.shutdown came with Python 3.13


async def asyncio_consume(queue: asyncio.Queue[int | None], got: list[int]) -> None:
    while (token := await queue.get()) is not None:
        got.append(token)


async def by_asyncio(tokens: int, limit: float = TIME_LIMIT) -> list[int]:
    """The same in asyncio, where `put` gives up control only when the queue is full.

    Trio's `send` is a checkpoint each time, which is what lets a cancellation arrive; asyncio saves that.
    """
    got: list[int] = []
    queue: asyncio.Queue[int | None] = asyncio.Queue(BUFFER)
    async with asyncio.timeout(None if limit == math.inf else limit), asyncio.TaskGroup() as group:
        group.create_task(asyncio_produce(queue, tokens))
        group.create_task(asyncio_consume(queue, got))
    return got


# ---------------------------------------------------------------- measuring


@attrs.frozen
class Check:
    """A ratio or a figure, and what it should be. Without a target it is for reference."""

    name: str
    value: float
    lowest: float
    highest: float
    target: float | None = None
    enough: float | None = None
    at_most: bool = True

    @property
    def mark(self) -> str:
        if self.target is None or self.enough is None:
            return "for reference"
        sign = 1 if self.at_most else -1
        if sign * self.value <= sign * self.target:
            return "met"
        return "good enough" if sign * self.value <= sign * self.enough else "MISSED"

    def __str__(self) -> str:
        spread = f" [{self.lowest:.2f}-{self.highest:.2f}]" if self.lowest < self.highest else ""
        text = f"{self.name} {self.value:.2f}{spread}"
        if self.target is None:
            return text
        return f"{text}, target {'≤' if self.at_most else '≥'} {self.target:g}: {self.mark}"


@attrs.frozen
class Row:
    """One line of the table: medians by version, and what follows from them."""

    section: str
    name: str
    unit: str
    figures: Mapping[str, float]
    checks: Sequence[Check] = ()


@attrs.frozen
class Scale:
    """How much is measured. Many short turns give a better median than few long ones."""

    rounds: int = 9
    divisor: int = 1

    def of(self, count: int) -> int:
        return max(1, count // self.divisor)


Times = dict[str, list[float]]


def take_turns(rounds: int, versions: Mapping[str, Callable[[], float]]) -> Times:
    """Time every version in turn, after a turn that does not count."""
    times: Times = {name: [] for name in versions}
    for turn in range(WARM_UP + rounds):
        for name, run in versions.items():
            gc.collect()
            seconds = run()
            if turn >= WARM_UP:
                times[name].append(seconds)
    return times


def ratio(
    name: str,
    above: Sequence[float],
    below: Sequence[float],
    target: float | None = None,
    enough: float | None = None,
    *,
    at_most: bool = True,
) -> Check:
    """Return the median of the rounds' ratios."""
    ratios = [one / other for one, other in zip(above, below, strict=True)]
    return Check(name, median(ratios), min(ratios), max(ratios), target, enough, at_most)


def per_second(count: int, times: Times) -> dict[str, float]:
    return {name: count / median(seconds) for name, seconds in times.items()}


# ---------------------------------------------------------------- jobs per second


@attrs.frozen
class Load:
    """How many jobs to run, and how."""

    jobs: int
    tokens: int
    at_once: int
    limit: float = TIME_LIMIT

    def __str__(self) -> str:
        unlimited = ", no time limit" if self.limit == math.inf else ""
        return f"{self.tokens:,} tokens, {self.at_once} at a time{unlimited}"


async def client(load: Load, turns: Iterator[int], job: Callable[..., Awaitable[list[int]]]) -> None:
    for _ in turns:
        got = await job(load.tokens, load.limit)
        assert len(got) == load.tokens


async def drive(load: Load, job: Callable[..., Awaitable[list[int]]]) -> float:
    """Run the load with Trio, and return the seconds it took."""
    turns = iter(range(load.jobs))
    began = process_time()
    async with trio.open_nursery() as nursery:
        for _ in range(load.at_once):
            nursery.start_soon(client, load, turns, job)
    return process_time() - began


async def drive_trio_jobs(load: Load) -> float:
    async with open_registry(capacity=load.at_once, window=BUFFER) as jobs:
        return await drive(load, partial(by_trio_jobs, jobs))


async def drive_asyncio(load: Load) -> float:
    turns = iter(range(load.jobs))
    began = process_time()
    async with asyncio.TaskGroup() as group:
        for _ in range(load.at_once):
            group.create_task(client(load, turns, by_asyncio))
    return process_time() - began


def job_row(scale: Scale, load: Load) -> Row:
    times = take_turns(
        scale.rounds,
        {
            OURS: lambda: trio.run(drive_trio_jobs, load),
            HAND: lambda: trio.run(drive, load, by_hand),
            LEAN: lambda: trio.run(drive, load, lean),
            ASYNCIO: lambda: asyncio.run(drive_asyncio(load)),
        },
    )
    target, enough = (1.0, 1.3) if load.tokens == 0 else (1.1, 1.5)
    checks = [
        ratio("time / by hand", times[OURS], times[HAND], target, enough),
        ratio("/ lean", times[OURS], times[LEAN]),
        ratio("/ asyncio", times[OURS], times[ASYNCIO], 3, 5),
    ]
    return Row("jobs", str(load), "jobs/s", per_second(load.jobs, times), checks)


def job_rows(scale: Scale) -> Iterator[Row]:
    for at_once in (1, scale.of(100)):
        yield job_row(scale, Load(scale.of(1000), 0, at_once, math.inf))
        yield job_row(scale, Load(scale.of(1000), 0, at_once))
        yield job_row(scale, Load(scale.of(500), 10, at_once))
        yield job_row(scale, Load(max(at_once, scale.of(20)), 1000, at_once))


# ---------------------------------------------------------------- tokens per second, one reader


async def speak_in_bursts(job: JobContext[int], tokens: int) -> None:
    await job.send_many(range(tokens))


async def stream_each(tokens: int) -> float:
    count = 0
    async with open_registry(window=WINDOW) as jobs:
        began = process_time()
        handle = await jobs.submit(speak, tokens)
        async with handle.stream() as stream:
            async for _ in stream:
                count += 1
        seconds = process_time() - began
    assert count == tokens
    return seconds


async def listen(job: JobContext[int], inputs: int) -> None:
    for number in range(inputs):
        await job.receive()
        if number % BURST == 0:  # else the bound of unconsumed inputs would be met
            await job.save(number)


async def inputs_each(inputs: int) -> float:
    """Send a job inputs, each of which it receives before the next one is sent."""
    async with open_registry(window=WINDOW) as jobs:
        handle = await jobs.submit(listen, inputs)
        began = process_time()
        for number in range(inputs):
            await handle.send(number)
        await handle.wait()
        return process_time() - began


async def stream_bursts(tokens: int) -> float:
    count = 0
    async with open_registry(window=WINDOW) as jobs:
        began = process_time()
        handle = await jobs.submit(speak_in_bursts, tokens)
        async with handle.stream() as stream:
            while count < tokens:
                count += len(await stream.receive_many())
        seconds = process_time() - began
    assert count == tokens
    return seconds


async def channel_each(tokens: int) -> float:
    count = 0
    send, receive = trio.open_memory_channel[int](WINDOW)
    began = process_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(produce, send, tokens)
        with receive:
            async for _ in receive:
                count += 1
    assert count == tokens
    return process_time() - began


async def produce_lists(send: trio.MemorySendChannel[list[int]], tokens: int) -> None:
    with send:
        for first in range(0, tokens, BURST):
            await send.send(list(range(first, min(first + BURST, tokens))))


async def channel_lists(tokens: int) -> float:
    """The trick that a programmer with bursts would use: a list is one item of a channel."""
    count = 0
    send, receive = trio.open_memory_channel[list[int]](1)
    began = process_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(produce_lists, send, tokens)
        with receive:
            async for burst in receive:
                for _ in burst:
                    count += 1
    assert count == tokens
    return process_time() - began


RAW, EACH, BURSTS, LISTS = "raw channels", "send each", "send_many", "channels of lists"
INPUT = "an input each"


def stream_row(name: str, counts: Mapping[str, int], deliveries: int, times: Times) -> Row:
    """Return the row for versions that did not all send the same number of tokens."""
    speeds = {
        version: [counts[version] * deliveries / seconds for seconds in rounds]
        for version, rounds in times.items()
    }
    checks = [
        ratio("send / raw", speeds[EACH], speeds[RAW], 1, 0.7, at_most=False),
        ratio("bursts / raw", speeds[BURSTS], speeds[RAW], 10, 5, at_most=False),
        ratio("bursts / lists", speeds[BURSTS], speeds[LISTS]),
    ]
    figures = {version: median(rounds) for version, rounds in speeds.items()}
    return Row("tokens", name, "tokens/s", figures, checks)


def one_reader_row(scale: Scale) -> Row:
    few, many = scale.of(20_000), scale.of(320_000)
    counts = {RAW: few, EACH: few, BURSTS: many, LISTS: many}
    runs = {RAW: channel_each, EACH: stream_each, BURSTS: stream_bursts, LISTS: channel_lists}
    versions: dict[str, Callable[[], float]] = {
        name: cast("Callable[[], float]", partial(trio.run, run, counts[name])) for name, run in runs.items()
    }
    times = take_turns(scale.rounds, versions)
    return stream_row("1 reader", counts, 1, times)


# ---------------------------------------------------------------- tokens per second, many readers


async def speak_to_many(job: JobContext[int], go: trio.Event, tokens: int, burst: int) -> None:
    await go.wait()
    for first in range(0, tokens, burst):
        if burst == 1:
            await job.send(first)
        else:
            await job.send_many(range(first, first + burst))


async def fan_out(readers: int, tokens: int, burst: int) -> float:
    """Let one job speak to its readers, all of whom have caught up before it begins."""
    go, counts = trio.Event(), list[int]()
    async with open_registry(window=WINDOW) as jobs:
        handle = await jobs.submit(speak_to_many, go, tokens, burst)

        async def read() -> None:
            count = 0
            async with handle.stream() as stream:
                if burst == 1:
                    async for _ in stream:
                        count += 1
                else:
                    while count < tokens:
                        count += len(await stream.receive_many())
            counts.append(count)

        async with trio.open_nursery() as nursery:
            for _ in range(readers):
                nursery.start_soon(read)
            await wait_all_tasks_blocked()
            began = process_time()
            go.set()
        seconds = process_time() - began
    assert counts == [tokens] * readers
    return seconds


async def fan_out_channels(readers: int, tokens: int, burst: int) -> float:
    """The same with a channel for each reader.

    `send_nowait` costs no task switch, so it is tried first; a reader whose buffer is full is waited for.
    """
    counts = list[int]()
    async with trio.open_nursery() as nursery:
        sends = []
        for _ in range(readers):
            send, receive = trio.open_memory_channel[range](WINDOW // burst)
            sends.append(send)
            nursery.start_soon(count_tokens, receive, counts)
        await wait_all_tasks_blocked()
        began = process_time()
        for first in range(0, tokens, burst):
            item = range(first, first + burst)
            for send in sends:
                try:
                    send.send_nowait(item)
                except trio.WouldBlock:
                    await send.send(item)
            await trio.lowlevel.checkpoint()
        for send in sends:
            send.close()
    assert counts == [tokens] * readers
    return process_time() - began


async def count_tokens(receive: trio.MemoryReceiveChannel[range], counts: list[int]) -> None:
    count = 0
    with receive:
        async for item in receive:
            count += len(item)
    counts.append(count)


def input_row(scale: Scale) -> Row:
    count = scale.of(20_000)
    versions: dict[str, Callable[[], float]] = {
        INPUT: lambda: trio.run(inputs_each, count),
        EACH: lambda: trio.run(stream_each, count),
    }
    times = take_turns(scale.rounds, versions)
    checks = [ratio("time / a token", times[INPUT], times[EACH], 1.3, 1.5)]
    return Row("inputs", "sent and received, one by one", "inputs/s", per_second(count, times), checks)


def many_readers_row(scale: Scale) -> Row:
    readers, few, many = scale.of(1000), 50, BURST * 20
    counts = {RAW: few, EACH: few, BURSTS: many, LISTS: many}
    times = take_turns(
        scale.rounds,
        {
            RAW: lambda: trio.run(fan_out_channels, readers, few, 1),
            EACH: lambda: trio.run(fan_out, readers, few, 1),
            BURSTS: lambda: trio.run(fan_out, readers, many, BURST),
            LISTS: lambda: trio.run(fan_out_channels, readers, many, BURST),
        },
    )
    return stream_row(f"{readers:,} readers of one job", counts, readers, times)


# ---------------------------------------------------------------- memory


async def idle(_job: JobContext[int]) -> None:
    await trio.sleep_forever()


async def nothing(_job: JobContext[int]) -> None:
    await trio.lowlevel.checkpoint()


async def hold_idle(count: int) -> None:
    """Start handwritten jobs that stream nothing and do not end."""

    async def one() -> None:
        send, receive = trio.open_memory_channel[int](BUFFER)
        with send, trio.CancelScope():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep_forever)
                nursery.start_soon(consume, receive, [])

    async with trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(one)


def resident_bytes() -> float:
    """Return the bytes of this process in memory, where Linux tells."""
    try:
        pages = Path("/proc/self/statm").read_text("ascii").split()[1]
    except OSError:
        return math.nan
    return float(pages) * os.sysconf("SC_PAGE_SIZE")


def allocated() -> float:
    gc.collect()
    return float(tracemalloc.get_traced_memory()[0]) if tracemalloc.is_tracing() else resident_bytes()


async def bring_to(state: str, count: int, jobs: JobRegistry) -> None:
    """Submit jobs and let them come to a state. The handles are dropped: they are the caller's to keep."""
    if state == "queued":
        jobs.pause()
    for _ in range(count):
        await jobs.submit(nothing if state == "finished" else idle)
    await wait_all_tasks_blocked()


async def weigh_jobs(state: str, count: int) -> float:
    """Return the bytes that a job in this state takes. The first ones pay for what all share."""
    capacity = 100 if state == "finished" else 2 * count
    async with open_registry(capacity=capacity, retention=Retention(finished=2 * count)) as jobs:
        await bring_to(state, 10, jobs)
        before = allocated()
        await bring_to(state, count, jobs)
        return (allocated() - before) / count


async def weigh_by_hand(_state: str, count: int) -> float:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(hold_idle, 10)
        await wait_all_tasks_blocked()
        before = allocated()
        nursery.start_soon(hold_idle, count)
        await wait_all_tasks_blocked()
        weight = (allocated() - before) / count
        nursery.cancel_scope.cancel()
    return weight


def weigh(version: str, state: str, count: int) -> float:
    return trio.run(weigh_by_hand if version == HAND else weigh_jobs, state, count)


def weigh_traced(version: str, state: str, count: int) -> float:
    tracemalloc.start()
    return weigh(version, state, count)


def memory_rows(scale: Scale) -> Iterator[Row]:
    """Weigh jobs, each kind in a process of its own, so that none uses what another left behind.

    The targets are for what Python allocated (tracemalloc). Beside it is the growth of the resident memory,
    without tracing, in another process: it adds what the allocator rounds up, and leaves out what it had.
    """
    count = scale.of(10_000)
    kinds: dict[tuple[str, str], tuple[float, float] | tuple[None, None]] = {
        ("queued", OURS): (1, 2),
        ("running", OURS): (7, 12),
        ("running", HAND): (None, None),
        ("finished", OURS): (1, 2),
    }
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context, max_tasks_per_child=1) as processes:
        for (state, version), (target, enough) in kinds.items():
            traced = processes.submit(weigh_traced, version, state, count).result() / 1024
            resident = processes.submit(weigh, version, state, count).result() / 1024
            check = Check("traced", traced, traced, traced, target, enough)
            figures = {"traced": traced, "resident": resident}
            yield Row("memory", f"{count:,} jobs {state}, {version}", "KB a job", figures, [check])


# ---------------------------------------------------------------- cost per job with many queued

STEP = 1000


async def fill(jobs: JobRegistry, queued: int) -> None:
    jobs.pause()
    await jobs.submit_many(nothing, [()] * queued)


async def time_submits(jobs: JobRegistry) -> float:
    began = process_time()
    for _ in range(STEP):
        await jobs.submit(nothing)
    return process_time() - began


async def time_claims(jobs: JobRegistry) -> float:
    """Claim as many as were submitted, one by one as slots become free, and so restore the queue's length."""
    store = jobs._worker.store  # noqa: SLF001  # a registry would run at once what it claims
    claims = []
    began = process_time()
    for _ in range(STEP):
        claims += await store.claim(1, Claimant("benchmark"))
    seconds = process_time() - began
    for claim in claims:
        await store.finish(claim.submission.id, claim.attempt, Outcome(Transition.COMPLETED))
    assert len(claims) == STEP
    return seconds


async def time_queues(sizes: Sequence[int], rounds: int) -> tuple[Times, Times]:
    """Keep a queue of each size, and time submits and claims at each in turn."""
    submits: Times = {f"{size:,} queued": [] for size in sizes}
    claims: Times = {name: [] for name in submits}
    limit = max(sizes) + STEP
    async with (
        open_registry(queue_limit=limit) as small,
        open_registry(queue_limit=limit) as medium,
        open_registry(queue_limit=limit) as large,
    ):
        registries = dict(zip(submits, (small, medium, large), strict=True))
        for jobs, size in zip(registries.values(), sizes, strict=True):
            await fill(jobs, size)
        for turn in range(WARM_UP + rounds):
            for name, jobs in registries.items():
                gc.collect()
                submitting = await time_submits(jobs)
                claiming = await time_claims(jobs)
                if turn >= WARM_UP:  # the first claim brings all that is due to the front
                    submits[name].append(submitting)
                    claims[name].append(claiming)
    return submits, claims


def queue_rows(scale: Scale) -> Iterator[Row]:
    sizes = [1000, 10_000, 100_000] if scale.divisor == 1 else [500, 1000, 2000]
    for what, times in zip(("submit", "claim"), trio.run(time_queues, sizes, scale.rounds), strict=True):
        few, _, many = times.values()
        figures = {name: median(rounds) / STEP * 1e6 for name, rounds in times.items()}
        checks = [ratio("most / fewest", many, few, 1.2, 2.0)]
        yield Row("queue", what, "µs a job", figures, checks)


# ---------------------------------------------------------------- the report


def machine() -> dict[str, object]:
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpus": os.cpu_count(),
        "processor": platform.machine(),
        "system": platform.system(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "trio": version("trio"),
        "attrs": version("attrs"),
    }


def rows(scale: Scale) -> Iterator[Row]:
    yield from job_rows(scale)
    yield one_reader_row(scale)
    yield many_readers_row(scale)
    yield input_row(scale)
    yield from memory_rows(scale)
    yield from queue_rows(scale)


def show(row: Row) -> None:
    def rounded(figure: float) -> str:
        return f"{figure:,.0f}" if figure >= 100 else f"{figure:.2f}"

    figures = "   ".join(f"{name} {rounded(figure)}" for name, figure in row.figures.items())
    print(f"\n{row.name} ({row.unit})\n    {figures}")
    for check in row.checks:
        print(f"    {check}")


def as_json(facts: Mapping[str, object], scale: Scale, done: Sequence[Row]) -> str:
    results = [
        {**attrs.asdict(row), "checks": [{**attrs.asdict(c), "mark": c.mark} for c in row.checks]}
        for row in done
    ]
    document = {"machine": facts, "rounds": scale.rounds, "results": results}
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="see that it runs; the figures mean little")
    parser.add_argument("--json", type=Path, help=f"where to write (default, unless quick: {RESULTS.name})")
    given = parser.parse_args()
    scale = Scale(rounds=1, divisor=20) if given.quick else Scale()
    facts = machine()
    print("  ".join(f"{name} {value}" for name, value in facts.items()))
    done = []
    for row in rows(scale):
        show(row)
        done.append(row)
        sys.stdout.flush()
    path = given.json or (None if given.quick else RESULTS)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(as_json(facts, scale, done), "utf-8")


if __name__ == "__main__":
    main()
