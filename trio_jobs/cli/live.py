"""Draw what `trio-jobs top` shows: on a terminal, with keys; as lines in a pipe."""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable, Generator, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Final

import attrs
import trio
from rich.cells import cell_len
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from .._common.errors import TrioJobsError
from .._common.states import State
from .._model.summary import JobSummary
from ..stores.pauses import Pauses
from .durations import brief
from .ending import state_of
from .escape import one_line
from .opening import OpenJobs
from .output import STYLES, console, json_line, line
from .pause import said
from .tailing import Sample, Watch, progress_of

_NAMES: Final = ("ID", "STATE", "HANDLER", "TRY", "FOR", "DONE", "TOK/S", "FIRST", "LAST WORDS")
_AROUND: Final = 8
"""Lines that are not of jobs: the counts and what is told take two or three each on a narrow terminal."""
_HELP: Final = "up/down: choose   c: cancel   r: retry   p: pause or resume its handler   q: quit"


async def watch(jobs: OpenJobs, *, interval: float, count: int | None, limit: int, json: bool) -> None:
    """Show jobs until `count` looks are over, a key ends it, or it is cancelled.

    Args:
        jobs: The jobs.
        interval: Seconds between two looks.
        count: How many looks; None for no bound.
        limit: How many running jobs are shown.
        json: Whether to print JSON.
    """
    async with trio.open_nursery() as nursery:
        watched = Watch(jobs, nursery, limit)
        if json or not console().is_terminal:
            await _print(watched, interval, count, json=json)
        else:
            await _draw(jobs, watched, nursery, interval, count)
        nursery.cancel_scope.cancel(reason="all was shown")


async def _print(watched: Watch, interval: float, count: int | None, *, json: bool) -> None:
    done = 0
    while True:
        sample = await watched.look()
        if json:
            json_line(_record(sample, watched))
        else:
            line(f"{sample.at:%H:%M:%S} {summary(sample)}")
            for job in sample.jobs:
                if job.state is State.RUNNING:
                    line("  " + "  ".join(cell or "-" for cell in cells(job, sample.at, watched)))
            sys.stdout.flush()
        done += 1
        if done == count:
            return
        await trio.sleep(interval)


def _record(sample: Sample, watched: Watch) -> dict[str, object]:
    rates = {"submitted_per_second": sample.submitted, "ended_per_second": sample.ended}
    running = [
        {
            "id": job.id,
            "handler": job.handler,
            "attempt": job.attempt,
            "progress": None if job.progress is None else attrs.asdict(job.progress),
            "tokens_per_second": watched.tails[job.id].per_second(),
            "first_token": watched.tails[job.id].first,
            "last_words": watched.tails[job.id].words,
        }
        for job in sample.jobs
        if job.id in watched.tails
    ]
    states = {state: sample.statistics.states.get(state, 0) for state in State}
    return {
        "at": sample.at.isoformat(),
        "states": states,
        **rates,
        "oldest": sample.oldest,
        "running": running,
    }


def summary(sample: Sample) -> str:
    """Return the counts and rates on one line."""
    states = "  ".join(f"{state} {sample.statistics.states.get(state, 0)}" for state in State)
    rates = "" if sample.ended is None else f"  in {sample.submitted:.1f}/s  out {sample.ended:.1f}/s"
    oldest = "" if sample.oldest is None else f"  oldest waits {brief(sample.oldest)}"
    paused = Pauses(sample.statistics.all_paused, frozenset(sample.statistics.paused_handlers))
    return states + rates + oldest + (f"  {said(paused)}" if any(paused) else "")


def cells(job: JobSummary, now: datetime, watched: Watch) -> list[str]:
    """Return what a row has of a job."""
    since = job.finished_at or (job.started_at if job.state is State.RUNNING else None) or job.created_at
    tail = watched.tails.get(job.id)
    speed = "" if tail is None or not (rate := tail.per_second()) else f"{rate:.1f}"
    first = "" if tail is None or tail.first is None else brief(tail.first)
    words = (tail.words if tail is not None else "") or job.message or ""
    if not words and job.progress is not None:
        words = job.progress.message or ""
    age = brief((now - since).total_seconds())
    row = [job.id[:8], state_of(job), job.handler, str(job.attempt), age, progress_of(job.progress)]
    return [one_line(cell) for cell in (*row, speed, first, words)]


# ------------------------------------------------------------ on a terminal


class _View:
    """What is drawn, and what keys do to it."""

    def __init__(self, jobs: OpenJobs, watched: Watch, live: Live) -> None:
        self._jobs, self._watched, self._live = jobs, watched, live
        self._sample: Sample | None = None
        self._chosen: str | None = None
        self._asked: str | None = None  # the job whose cancellation is to be confirmed
        self._told = ""

    def show(self, sample: Sample) -> None:
        """Draw a sample."""
        self._sample = sample
        if self._job() is None:
            self._chosen = sample.jobs[0].id if sample.jobs else None
        self.draw()

    def draw(self) -> None:
        """Draw the last sample."""
        sample = self._sample
        if sample is None:
            return
        width = self._live.console.width
        table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0), expand=True)
        for name in _NAMES[:-1]:
            table.add_column(name, no_wrap=True, overflow="ellipsis")
        table.add_column(_NAMES[-1], no_wrap=True, overflow="crop", ratio=1)
        for job in self._in_view(sample.jobs):
            row = cells(job, sample.at, self._watched)
            if job.state is State.RUNNING:
                row[-1] = _end(row[-1], max(10, width // 3))
            row[1] = row[1].partition(" ")[0]
            style = STYLES.get(job.state, "")
            texts = [Text(cell, style if place == 1 else "") for place, cell in enumerate(row)]
            table.add_row(*texts, style="reverse" if job.id == self._chosen else "")
        told = Text(self._told or _HELP)
        self._live.update(Group(Text(summary(sample)), Text(""), table, Text(""), told), refresh=True)

    def _in_view(self, jobs: list[JobSummary]) -> list[JobSummary]:
        """Return as many as the terminal has lines for, the chosen one among them."""
        room = max(1, self._live.console.height - _AROUND)
        chosen = next((place for place, job in enumerate(jobs) if job.id == self._chosen), 0)
        first = max(0, min(chosen - room // 2, len(jobs) - room))
        return jobs[first : first + room]

    def _job(self) -> JobSummary | None:
        jobs = self._sample.jobs if self._sample is not None else []
        return next((job for job in jobs if job.id == self._chosen), None)

    async def press(self, key: str) -> None:
        """Do what a key says; an error is told in the last line."""
        asked, self._asked, self._told = self._asked, None, ""
        job = self._job()
        try:
            if key in {"up", "k", "down", "j"}:
                self._move(-1 if key in {"up", "k"} else 1)
            elif asked is not None:
                if key == "y":
                    await (await self._jobs.get(asked)).request_cancel("trio-jobs top")
                self._told = f"{asked[:8]}: {'cancellation asked for' if key == 'y' else 'goes on'}"
            elif job is not None and key == "c":
                self._asked = job.id
                self._told = f"cancel {job.id[:8]} ({one_line(job.handler)})? y: yes, any other key: no"
            elif job is not None and key == "r":
                new = await (await self._jobs.get(job.id)).resubmit()
                self._told = f"{job.id[:8]} submitted again as {new.id}"
            elif job is not None and key == "p":
                self._told = await self._pause(job.handler)
        except (TrioJobsError, ValueError) as error:
            self._told = one_line(str(error))
        self.draw()

    def _move(self, by: int) -> None:
        ids = [job.id for job in self._sample.jobs] if self._sample is not None else []
        if self._chosen in ids:
            self._chosen = ids[min(max(0, ids.index(self._chosen) + by), len(ids) - 1)]

    async def _pause(self, handler: str) -> str:
        paused = self._sample is not None and handler in self._sample.statistics.paused_handlers
        await (self._jobs.resume_handlers(handler) if paused else self._jobs.pause_handlers(handler))
        if self._sample is not None:
            self._sample = await self._watched.look()
        return one_line(f"{handler} {'resumed' if paused else 'paused'}")


def _end(text: str, width: int) -> str:
    """Return the end of a text that fits into some cells."""
    while cell_len(text) > width:
        text = text[max(1, (cell_len(text) - width) // 2) :]
    return text


async def _draw(
    jobs: OpenJobs, watched: Watch, nursery: trio.Nursery, interval: float, count: int | None
) -> None:
    live = Live(
        console=console(), screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
    )
    view = _View(jobs, watched, live)
    with _key_by_key() as keyboard:
        sample = await watched.look()  # an error comes before the screen is cleared
        with live:
            if keyboard is not None:
                nursery.start_soon(_press, keyboard, view.press, nursery.cancel_scope)
            done = 1
            while True:
                view.show(sample)
                if done == count:
                    return
                await trio.sleep(interval)
                sample = await watched.look()
                done += 1


# ------------------------------------------------------------ the keyboard

_NAMED: Final = {"\x1b[A": "up", "\x1bOA": "up", "\x1b[B": "down", "\x1bOB": "down"}


async def _press(keyboard: int, press: Callable[[str], Awaitable[None]], scope: trio.CancelScope) -> None:
    while True:
        await trio.lowlevel.wait_readable(keyboard)
        typed = os.read(keyboard, 1024).decode(errors="replace")
        if not typed:
            return
        for key in _keys(typed):
            if key == "q":
                scope.cancel(reason="the key q")
                return
            await press(key)


def _keys(typed: str) -> Iterator[str]:
    """Yield the keys that were pressed; of what is no key of this program, each character."""
    while typed:
        long = next((code for code in _NAMED if typed.startswith(code)), None)
        key, typed = (_NAMED[long], typed[len(long) :]) if long else (typed[0], typed[1:])
        yield key


@contextmanager
def _key_by_key() -> Generator[int | None]:
    """Have keys come one by one, without their echo; None where there is no keyboard, or no way to.

    Ctrl-C stays a signal.
    """
    try:
        import termios
        import tty
    except ImportError:  # as on Windows
        yield None
        return
    if sys.stdin is None or not sys.stdin.isatty():
        yield None
        return
    keyboard = sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)
    tty.setcbreak(keyboard)
    try:
        yield keyboard
    finally:
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)
