"""Tell what blocks the event loop: a thread asks it for an answer, and looks at its stack if none comes."""

from __future__ import annotations

import inspect
import logging
import sys
import threading
import time
import traceback
from collections.abc import AsyncGenerator, Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from itertools import pairwise
from queue import Empty, SimpleQueue
from types import FrameType
from typing import Final, Literal, TypeAlias, cast

import attrs
import trio

from .error_text import indented, one_line
from .errors import quoted
from .validate import number

logger: Final = logging.getLogger("trio_jobs.loop")
_ASYNC: Final = inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR
_frames: Final = sys._current_frames  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # documented
_Said: TypeAlias = Literal["answer", "left"]
OnBlock: TypeAlias = Callable[[tuple[str, ...], float], object]
_Calls: TypeAlias = list[tuple[FrameType, int]]


@attrs.frozen
class Blocked:
    """What one place of the program has done to the event loop.

    Attributes:
        place: The innermost async function and its line, as `file:line in function`; or the function that
            Trio called, if that is nearer.
        tasks: The name of the task that ran it, and of those above it up to Trio's own. The task of a job is
            named by its handler and its id. Empty if no task ran it.
        stack: All calls when it was first seen, innermost last, as text.
        times: How often it blocked the loop.
        longest: The longest time, in seconds.
        total: All times together, in seconds.

    A time is added once it is over.
    """

    place: str
    tasks: tuple[str, ...]
    stack: str = attrs.field(repr=False)
    times: int = 0
    longest: float = 0.0
    total: float = 0.0


class LoopWatch:
    """What `watch_loop` has seen so far. May be read from any thread.

    Args:
        threshold: How long the loop may take to answer, in seconds.
        on_block: As `watch_loop` has it.
    """

    def __init__(self, threshold: float, on_block: OnBlock | None = None) -> None:
        self._threshold = threshold
        self._on_block = on_block
        self._loop = threading.get_ident()
        self._root = cast("trio.lowlevel.Task", trio.lowlevel.current_root_task())
        self._token = trio.lowlevel.current_trio_token()
        self._said = SimpleQueue[_Said]()
        self._places: dict[str, Blocked] = {}
        self._ended = trio.Event()

    @property
    def blocked(self) -> Mapping[str, Blocked]:
        """What has blocked the loop, or does now, by place."""
        return dict(self._places)

    # ------------------------------------------------------------ in the loop

    def begin(self) -> None:
        """Start the thread."""
        threading.Thread(target=self._watch, name="trio_jobs.watch_loop", daemon=True).start()

    async def end(self) -> None:
        """Wait until the thread has ended, which it does at once. No cancellation ends the wait."""
        self._said.put("left")
        with trio.CancelScope(shield=True):
            await self._ended.wait()

    # ------------------------------------------------------------ in the thread

    def _watch(self) -> None:
        with suppress(trio.RunFinishedError):  # Trio itself has failed, and the block was never left
            try:
                while self._hear(self._threshold) is None and self._ask() == "answer":
                    pass
            finally:
                self._token.run_sync_soon(self._ended.set)

    def _hear(self, seconds: float) -> _Said | None:
        try:
            return self._said.get(timeout=seconds)
        except Empty:
            return None

    def _ask(self) -> _Said:
        """Ask the loop for an answer, and return it; or that the block was left."""
        asked = time.monotonic()
        self._token.run_sync_soon(self._said.put, "answer")
        if (said := self._hear(self._threshold)) is not None:
            return said
        # A variable for all frames would be in one of them, and that circle keeps what they refer to alive.
        calls = list(traceback.walk_stack(_frames()[self._loop]))
        # If it has answered by now, it may have gone on before it was looked at.
        return self._hear(0) or self._blame(asked, calls)

    def _blame(self, asked: float, calls: _Calls) -> _Said:
        """Note and tell what the loop runs, and wait until it answers."""
        place = _place_of(calls)
        known = self._places.get(place)
        tasks = _task_names(self._root, {frame for frame, _ in calls})
        seen = known or Blocked(place, tasks, _text(calls))
        # What a frame refers to is to go when the loop is done with it, and in the loop's own thread.
        calls.clear()
        self._places[place] = attrs.evolve(seen, times=seen.times + 1)
        if known is None:
            names = " in ".join(map(one_line, tasks)) or "none"
            so_far = time.monotonic() - asked
            logger.warning(
                "%s blocks the event loop, for %.3f s so far; task: %s\n%s",
                *(one_line(place), so_far, names, indented(seen.stack)),
            )
        said = self._said.get()
        took = time.monotonic() - asked
        self._places[place] = attrs.evolve(
            seen, times=seen.times + 1, longest=max(seen.longest, took), total=seen.total + took
        )
        if known is None:
            logger.warning("%s blocked the event loop for %.3f s", one_line(place), took)
        if self._on_block is not None:
            try:
                self._on_block(tasks, took)
            except Exception:
                logger.exception("on_block failed")
        return said


def watch_loop(
    threshold: float = 0.1, *, on_block: OnBlock | None = None
) -> AbstractAsyncContextManager[LoopWatch, None]:
    """Watch this program's event loop from a thread, in an `async with` block, and warn of what blocks it.

    For any Trio program; it needs no jobs. The logger `trio_jobs.loop` gets two warnings for each place,
    the first time that it blocks the loop: one while it does, with the tasks and the stack, and one with the
    whole time. `LoopWatch.blocked` counts on.

    The thread asks the loop every `threshold` seconds for an answer, which is all that this costs. The time
    counts from there: it may have begun up to `threshold` earlier, and what takes less than twice as long
    may go unseen. The time is real time, whatever Trio's clock says.

    Entering is no checkpoint. Leaving is one, and waits for the thread, whether cancelled or not.

    Args:
        threshold: How many seconds the loop may take to answer; more than 0.
        on_block: Called each time that the loop was blocked, after it, in the thread: with the names of the
            task and of those above it, see `Blocked.tasks`, and the seconds. What it raises is logged.
            `Metrics.on_block` counts them.

    Raises:
        TypeError: `threshold` is no number, or `on_block` cannot be called.
        ValueError: It is out of range.
        RuntimeError: On entering, Trio does not run here.
    """
    number("threshold", threshold, most=threading.TIMEOUT_MAX)
    if threshold == 0:
        raise ValueError("threshold must be more than 0 seconds: no loop answers at once")
    if on_block is not None and not callable(on_block):
        raise TypeError(f"on_block takes a function, as Metrics.on_block; got {quoted(on_block)}")
    return cast("AbstractAsyncContextManager[LoopWatch, None]", _watching(threshold, on_block))


@asynccontextmanager
async def _watching(threshold: float, on_block: OnBlock | None) -> AsyncGenerator[LoopWatch]:
    watch = LoopWatch(threshold, on_block)
    watch.begin()
    try:
        yield watch
    finally:
        await watch.end()  # noqa: ASYNC102  # it shields itself, and the thread ends at once


def _place_of(calls: _Calls) -> str:
    """Return the innermost call that is of an async function, or that Trio made, and is not Trio's own."""
    fitting = (
        call
        for call, caller in pairwise(calls)
        if not _is_trio(call) and (call[0].f_code.co_flags & _ASYNC or _is_trio(caller))
    )
    frame, line = next(fitting, calls[0])
    return f"{frame.f_code.co_filename}:{line} in {frame.f_code.co_qualname}"


def _is_trio(call: tuple[FrameType, int]) -> bool:
    return str(call[0].f_globals.get("__name__")).startswith("trio.")


def _text(calls: _Calls) -> str:
    return "".join(traceback.StackSummary.extract(reversed(calls)).format())


def _task_names(root: trio.lowlevel.Task, frames: Collection[FrameType]) -> tuple[str, ...]:
    """Return the name of the task that has one of these frames, and of those above it."""
    found: list[tuple[trio.lowlevel.Task, tuple[str, ...]]] = [(root, (root.name,))]
    for task, names in found:
        if getattr(task.coro, "cr_frame", None) in frames:
            return names
        for nursery in task.child_nurseries:
            found += [(child, (child.name, *names)) for child in nursery.child_tasks]
    return ()
