"""The jobs of the demo: ordinary async functions that take a `JobContext`.

Each does real work and shows one thing that a job can do. `pace` is the seconds between two tokens, there
so that a person can watch; nothing else depends on it.
"""

from __future__ import annotations

import random
import re
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import trio

from .._model.handler import handler
from .._model.retry import Retry
from .._running.context import JobContext

Followers = dict[str, list[str]]

BREAK = "/"
"""What `babble` sends between two passages. It is never a word of a text: it has no letter in it."""

_WORD = re.compile(r"[^\W_][\w'\u2019-]{0,29}[.,;:!?]?")
_READING_STEPS = 10

# A child in the terminal's process group would get Ctrl-C too, and die before its job is told.
_OWN_GROUP: dict[str, Any] = {"process_group": 0}
if sys.platform == "win32":
    _OWN_GROUP = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}

_TALLY = """
import collections, sys, time
words = sys.stdin.buffer.read().decode().split()
for word, times in collections.Counter(words).most_common(int(sys.argv[1])):
    sys.stdout.buffer.write(f"{word} {times}\\n".encode())
    sys.stdout.flush()
    time.sleep(float(sys.argv[2]))
"""

_HEARTBEAT = """
import itertools, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit())
beats = 0
try:
    for beats in itertools.count(1):
        print("beat", beats, flush=True)
        time.sleep(float(sys.argv[1]))
finally:
    print("good-bye after", beats, "beats", flush=True)
"""


def words(text: str) -> list[str]:
    """Return the words of a text, each with a punctuation mark that follows it."""
    return _WORD.findall(text)


def learn(followers: Followers, text: Sequence[str]) -> None:
    """Add the pairs of neighbouring words of a text to an n-gram model of order 2."""
    for word, follower in pairwise(text):
        followers.setdefault(word, []).append(follower)


@handler
async def babble(job: JobContext[str], text: Sequence[str], count: int, seed: int, pace: float) -> int:
    """Learn which word follows which in a text, then stream new text made from that.

    Args:
        job: The job.
        text: The words to learn from; at least one.
        count: How many words to stream.
        seed: The same seed gives the same words.
        pace: Seconds between two words.

    Returns:
        How many pairs of words it learned.
    """
    followers: Followers = {}
    step = max(1, len(text) // _READING_STEPS)
    for start in range(0, len(text), step):
        learn(followers, text[start : start + step + 1])
        await job.progress(min(start + step, len(text)), len(text), "reading")
        await trio.sleep(pace)
    dice = random.Random(seed)  # noqa: S311  # it guards nothing
    word = dice.choice(text)
    for done in range(1, count + 1):
        await job.send(word)
        await job.progress(done, count, "writing")
        await trio.sleep(pace)
        if done < count and word not in followers:
            await job.send(BREAK)
            word = dice.choice(text)
        elif done < count:
            word = dice.choice(followers[word])
    return sum(map(len, followers.values()))


@handler(retry=Retry(attempts=3, on=ConnectionError))  # what is retried is code, so it stays with the code
async def resume(job: JobContext[str], parts: int, pace: float) -> int:
    """Fetch parts over a line that breaks half-way, once. The next attempt goes on where this one was.

    Args:
        job: The job.
        parts: How many parts there are.
        pace: Seconds for each.

    Returns:
        How many parts this attempt fetched.

    Raises:
        ConnectionError: The line broke; only in the first attempt.
    """
    already = job.saved or 0
    for part in range(already + 1, parts + 1):
        await trio.sleep(pace)
        await job.send(f"part {part}")
        await job.progress(part, parts)
        await job.save(part)
        if job.attempt == 1 and 2 * part >= parts:
            raise ConnectionError("the line broke")
    return parts - already


@handler
async def stall(job: JobContext[str], text: Sequence[str], pace: float) -> None:
    """Stream a text, then fall silent for ever: what an idle timeout is for."""
    for word in text:
        await job.send(word)
        await trio.sleep(pace)
    await trio.sleep_forever()


@handler
async def tally(job: JobContext[str], text: Sequence[str], count: int, pace: float) -> int:
    """Let a child process count the words of a text, and stream the lines it prints.

    The process lives in the job's nursery: if the job is cancelled, it is terminated and waited for.

    Args:
        job: The job.
        text: The words.
        count: How many lines the process prints.
        pace: Seconds between two of them.

    Returns:
        How many lines it printed.
    """
    command = [sys.executable, "-I", "-c", _TALLY, str(count), str(pace)]
    process = await job.nursery.start(_process(command, stdin=" ".join(text).encode()))
    return await _send_lines(job, process.stdout, count)


@handler
async def heartbeat(job: JobContext[str], pace: float) -> None:
    """Stream what an endless child process prints; when asked to stop, end the process politely.

    A cancellation that gives grace is first announced by `cancel_requested`. This job uses that time to
    let its process say good-bye. It never returns: a job that does has completed, cancelled or not.

    Args:
        job: The job.
        pace: Seconds between two lines of the process.
    """
    async with trio.open_nursery() as nursery:
        command = [sys.executable, "-I", "-c", _HEARTBEAT, str(pace)]
        process = await nursery.start(_process(command, check=False))
        nursery.start_soon(_terminate_when_asked, job, process)
        await _send_lines(job, process.stdout)
    await job.send("process ended")
    await trio.sleep_forever()


async def _terminate_when_asked(job: JobContext[str], process: trio.Process) -> None:
    await job.cancel_requested.wait()
    process.terminate()


def _process(command: list[str], **options: Any) -> partial[Any]:
    """Return what a nursery starts to run a child process under it, its output in a pipe."""
    options = {"stdin": subprocess.DEVNULL, **_OWN_GROUP, **options}
    return partial(trio.run_process, command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options)


async def _send_lines(job: JobContext[str], output: trio.abc.ReceiveStream, total: int | None = None) -> int:
    """Stream the lines of a process's output, and return how many there were."""
    done, rest = 0, b""
    async with output:
        async for chunk in output:
            *lines, rest = (rest + chunk).split(b"\n")
            await job.send_many(line.decode(errors="replace").rstrip() for line in lines)
            done += len(lines)
            await job.progress(done, total)
    return done
