"""How fast tokens are written by one process and followed by another, and how much room they take.

    python -m benchmarks.durable.tokens STORE JOB TOKENS

is the other process: it follows the job, and prints when it had the last token, and how many were right.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from functools import partial

import attrs
import trio

from benchmarks.inprocess import Row, ratio
from trio_jobs import JobContext, Retention, open_registry

from .checks import Figures, Scale, medians, must_be
from .peers.protocol import now
from .programs import Program, running
from .speed import empty_file

BURST = 64
EACH, BURSTS = "send each", f"bursts of {BURST}"
SPEED, ROOM = "tokens/s", "MB per million"
KEEP_ALL = Retention(events=2**40, bytes=2**50)


def token(n: int) -> str:
    """Return a token of 12 bytes."""
    return f"token {n:06d}"


async def speak(job: JobContext[str], tokens: int, burst: int) -> None:
    for first in range(0, tokens, burst):
        if burst == 1:
            await job.send(token(first))
        else:
            await job.send_many([token(n) for n in range(first, min(first + burst, tokens))])


async def follow(address: str, job_id: str, tokens: int) -> None:
    count = right = 0
    async with open_registry(address, handlers=[speak], capacity=0) as jobs:
        handle = await jobs.get(job_id)
        async with handle.stream() as stream:
            say({"following": True})
            while count < tokens:
                for value in await stream.receive_many():
                    right += value == token(count)
                    count += 1
    say({"last": now(), "right": right})


def say(answer: dict[str, object]) -> None:
    print(json.dumps(answer), flush=True)


@attrs.frozen
class Written:
    """What became of some tokens: the seconds until they were followed to the end, and the file's bytes."""

    seconds: float
    size: int


async def write(address: str, tokens: int, burst: int, *, followed: bool) -> float:
    """Send tokens, and return the seconds until the other process had them all; until sent, without one."""
    async with open_registry(address, handlers=[speak], capacity=1, retention=KEEP_ALL) as jobs:
        jobs.pause()
        handle = await jobs.submit(speak, tokens, burst)
        if not followed:
            began = now()
            jobs.resume()
            await handle.result()
            return now() - began
        command = [sys.executable, "-m", "benchmarks.durable.tokens", address, handle.id, str(tokens)]
        with running("the follower", command) as follower:
            await trio.to_thread.run_sync(partial(follower.read_line, "begin to follow"))
            began = now()
            jobs.resume()
            await handle.result()
            return await trio.to_thread.run_sync(read_end, follower, tokens) - began


def read_end(follower: Program, tokens: int) -> float:
    end = json.loads(follower.read_line("follow to the end"))
    must_be("right tokens", end["right"], tokens)
    return float(end["last"])


def measure(tokens: int, burst: int, *, followed: bool = True) -> Written:
    with empty_file() as path:
        seconds = trio.run(partial(write, f"sqlite:///{path}", tokens, burst, followed=followed))
        return Written(seconds, path.stat().st_size)


def rows(scale: Scale) -> Iterator[Row]:
    speeds: Figures = {EACH: [], BURSTS: []}
    room: Figures = {EACH: [], BURSTS: []}
    for _ in range(scale.rounds):
        empty = measure(1, 1, followed=False).size
        for name, burst in ((EACH, 1), (BURSTS, BURST)):
            written = measure(scale.tokens, burst)
            speeds[name].append(scale.tokens / written.seconds)
            room[name].append((written.size - empty) / scale.tokens)  # bytes per token are MB per million
    yield Row(
        "tokens",
        "one job's tokens, followed live by another process",
        SPEED,
        medians(speeds),
        [ratio("bursts / each", speeds[BURSTS], speeds[EACH])],
    )
    yield Row("tokens", "the file, tokens of 12 bytes", ROOM, medians(room))


if __name__ == "__main__":
    trio.run(follow, sys.argv[1], sys.argv[2], int(sys.argv[3]))
