"""`watch_loop` names what blocks the event loop, which here goes on once the watch has told of it."""

from __future__ import annotations

import logging
import re
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import trio

import trio_jobs

SHORT = 0.02
FOR_EVER = 3600  # no block is as long, so nothing is told
IN_BLOCK = ", in block\n"  # of a stack


class Heard(logging.Handler):
    """Keeps what the watch says of `block`; on a slow machine it may tell of other calls too."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.told = threading.Event()
        self.go = threading.Event()  # until then, the second line waits
        self.go.set()

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if IN_BLOCK in f"{text}\n" or any(
            text.startswith(line.partition(" blocks ")[0]) for line in self.lines
        ):
            assert not self.lines or self.go.wait(30)
            self.lines.append(text)
            self.told.set()

    def block(self, holds: Callable[[], bool] | None = None) -> None:
        """Block until something holds, by default that the watch has warned; the bound ends a hung test."""
        ends, pause = time.monotonic() + 60, threading.Event()
        while not (holds or self.told.is_set)():
            assert not pause.wait(0.001)
            assert time.monotonic() < ends


@pytest.fixture
def heard() -> Iterator[Heard]:
    handler = Heard()
    logging.getLogger("trio_jobs.loop").addHandler(handler)
    yield handler
    logging.getLogger("trio_jobs.loop").removeHandler(handler)


def test_a_plain_program(heard: Heard) -> None:
    """While the loop is blocked, a warning names the async function, its line, its task and those above, and
    has the stack; a second one has the whole time."""

    async def busy() -> None:
        heard.block()

    async def main() -> None:
        async with trio_jobs.watch_loop(SHORT), trio.open_nursery() as nursery:
            nursery.start_soon(trio.lowlevel.checkpoint)
            nursery.start_soon(busy, name="the busy\none")

    trio.run(main)
    line = busy.__code__.co_firstlineno + 1
    place = re.escape(f"{__file__}:{line} in {busy.__qualname__}")
    now, then = heard.lines
    first, *stack = now.splitlines()
    assert re.fullmatch(rf"{place} blocks the event loop, for \d\.\d+ s so far; task: (.*)", first)
    assert r"task: the busy\x0aone in " in first
    assert f"in {main.__module__}.{main.__qualname__} in " in first
    assert "  |     heard.block()" in stack
    assert any(text.endswith(", in block") for text in stack[stack.index("  |     heard.block()") :])
    assert re.fullmatch(rf"{place} blocked the event loop for \d+\.\d+ s", then)


def test_each_block_is_told(heard: Heard, caplog: pytest.LogCaptureFixture) -> None:
    """`on_block` gets the tasks and the seconds of each block, also of a place that was seen before; what it
    raises is logged, and the watch goes on."""
    told: list[tuple[tuple[str, ...], float]] = []

    def on_block(tasks: tuple[str, ...], seconds: float) -> None:
        if tasks[0] == "busy":
            told.append((tasks, seconds))
            raise OSError("its own fault")

    async def main() -> None:
        async with trio_jobs.watch_loop(SHORT, on_block=on_block) as watch, trio.open_nursery() as nursery:

            def seen() -> int:
                return sum(one.times for one in watch.blocked.values() if one.tasks[0] == "busy")

            async def busy() -> None:
                for times in (1, 2):
                    heard.block(lambda: seen() == times)  # noqa: B023  # called here
                    while len(told) < times:
                        await trio.lowlevel.checkpoint()

            nursery.start_soon(busy, name="busy")

    trio.run(main)
    assert [tasks[:1] for tasks, _ in told] == [("busy",)] * 2
    assert all(seconds >= SHORT for _, seconds in told)
    assert caplog.text.count("OSError: its own fault") == 2


def test_a_job(heard: Heard) -> None:
    """Of a task that a handler started, the warning names the handler and the id of the job."""

    async def helper() -> None:
        heard.block()

    async def blocks(job: trio_jobs.JobContext[None]) -> None:
        job.nursery.start_soon(helper, name="helper")

    async def main() -> str:
        async with trio_jobs.watch_loop(SHORT), trio_jobs.open_registry() as jobs:
            handle = await jobs.submit(blocks)
            await handle.wait()
            return handle.id

    job_id = trio.run(main)
    assert re.search(rf"task: helper in \S*blocks {job_id} in ", heard.lines[0])


def test_a_place_is_told_once_and_counted(heard: Heard) -> None:
    """What blocks the loop again is counted, with its times, and not told again; another line of the same
    function is told."""

    async def main() -> Any:
        def seen() -> list[Any]:
            return [one for one in watch.blocked.values() if IN_BLOCK in one.stack]

        async with trio_jobs.watch_loop(SHORT) as watch:
            for times in (1, 2):
                before = sum(one.total for one in seen())
                heard.block(lambda: [one.times for one in seen()] == [times])  # noqa: B023  # called here
                while sum(one.total for one in seen()) == before:  # that time is over
                    await trio.lowlevel.checkpoint()
            heard.block(lambda: len(seen()) == 2)
        first, second = seen()
        assert (second.times, second.total) == (1, second.longest)
        return first

    first = trio.run(main)
    assert (first.times, len(heard.lines)) == (2, 4)
    assert 2 * SHORT <= first.total <= 2 * first.longest < 2 * first.total


def test_a_function_that_trio_calls(heard: Heard) -> None:
    """If Trio itself calls what blocks, that function is the place."""

    def callback() -> None:
        heard.block()

    async def main() -> None:
        async with trio_jobs.watch_loop(SHORT):
            trio.lowlevel.current_trio_token().run_sync_soon(callback)
            while not heard.told.is_set():
                await trio.lowlevel.checkpoint()

    trio.run(main)
    line = callback.__code__.co_firstlineno + 1
    assert heard.lines[0].startswith(f"{__file__}:{line} in {callback.__qualname__} blocks")


def test_outside_of_all_tasks(heard: Heard) -> None:
    """What no task runs, as an instrument, has no task."""

    class Slow(trio.abc.Instrument):
        def before_io_wait(self, timeout: float) -> None:
            heard.block()

    async def main() -> None:
        async with trio_jobs.watch_loop(SHORT):
            trio.lowlevel.add_instrument(Slow())
            while not heard.told.is_set():
                await trio.lowlevel.checkpoint()

    trio.run(main)
    assert "; task: none\n" in heard.lines[0]


def test_what_blocks_in_a_function_of_trio(heard: Heard) -> None:
    """If an async function of Trio blocks, the place is in the one that called it."""
    names = {"__name__": "trio.own", "lines": heard.lines}
    exec("async def block():\n    while not lines:\n        pass\n", names)  # noqa: S102

    async def main() -> None:
        async with trio_jobs.watch_loop(SHORT):
            await names["block"]()  # type: ignore[operator]

    trio.run(main)
    line = main.__code__.co_firstlineno + 2
    assert heard.lines[0].startswith(f"{__file__}:{line} in {main.__qualname__} blocks")


def test_the_block_is_left_while_it_blocks(heard: Heard) -> None:
    """Blocking code that leaves the block without a checkpoint is told of; a cancelled leaving waits for that
    too, and lets other tasks run meanwhile."""

    async def lets_go() -> None:
        for _ in range(10):
            await trio.lowlevel.checkpoint()
        heard.go.set()

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lets_go)
            with trio.CancelScope() as scope:
                scope.cancel()
                async with trio_jobs.watch_loop(SHORT):
                    heard.block()
            assert len(heard.lines) == 2

    heard.go.clear()
    trio.run(main)


def test_locals_are_freed_in_the_thread_of_the_loop(heard: Heard) -> None:
    """What blocked the loop is not kept alive: its locals go when it returns, in the loop's thread."""
    freed: list[int] = []

    class Thing:
        pass

    def blocks() -> None:
        thing = Thing()
        weakref.finalize(thing, lambda: freed.append(threading.get_ident()))
        heard.block()

    async def main() -> list[int]:
        async with trio_jobs.watch_loop(SHORT):
            blocks()
            return [*freed]

    assert trio.run(main) == [threading.get_ident()]


class Answers(trio.abc.Instrument):
    """Counts how often the loop ran what a thread had it run."""

    def __init__(self) -> None:
        self.left = 5
        self.all = trio.Event()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if "run_sync_soon" in task.name:
            self.left -= 1
            if not self.left:
                self.all.set()


def test_a_loop_that_answers() -> None:
    """A loop that is free is asked again and again."""
    answers = Answers()

    async def main() -> None:
        async with trio_jobs.watch_loop(SHORT):
            await answers.all.wait()

    trio.run(main, instruments=[answers])
    assert answers.left <= 0


def test_what_is_told_has_to_be_a_function() -> None:
    """What cannot be called is refused at once, and named."""
    nothing: Any = 7
    with pytest.raises(TypeError, match="on_block takes a function, as Metrics.on_block; got 7"):
        trio_jobs.watch_loop(on_block=nothing)


def test_leaving() -> None:
    """Leaving ends the thread, also if it is cancelled; what the block raised comes out as it is."""
    threads: list[threading.Thread] = []

    async def main() -> None:
        with trio.CancelScope() as scope:
            async with trio_jobs.watch_loop(FOR_EVER):
                threads.extend(one for one in threading.enumerate() if one.name == "trio_jobs.watch_loop")
                scope.cancel()
                await trio.lowlevel.checkpoint()
        assert scope.cancelled_caught
        with pytest.raises(KeyError, match="mine"):
            async with trio_jobs.watch_loop(FOR_EVER):
                raise KeyError("mine")

    trio.run(main)
    (thread,) = threads
    thread.join(30)
    assert not thread.is_alive()


@pytest.mark.parametrize("threshold", [0, -1, float("nan"), float("inf"), 1e300])
def test_a_threshold_out_of_range(threshold: float) -> None:
    """A threshold that is no time is refused at once."""
    with pytest.raises(ValueError, match="threshold must be "):
        trio_jobs.watch_loop(threshold)


def test_a_threshold_that_is_no_number() -> None:
    """A threshold that is no number is refused at once."""
    with pytest.raises(TypeError, match="threshold takes a number; got '0.1'"):
        trio_jobs.watch_loop("0.1")  # type: ignore[arg-type]


async def test_the_loop_is_that_of_trio() -> None:
    """Outside of Trio the block is not entered."""
    block = trio_jobs.watch_loop()
    with pytest.raises(RuntimeError, match="async context"):
        await trio.to_thread.run_sync(next, block.__aenter__().__await__())
