"""A job as strings, of which the last says how it ended: there is always one, and it is always right."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.tasks import Nudge
from trio_jobs import (
    InvalidPayload,
    JobContext,
    JobRegistry,
    Reason,
    Retention,
    Retry,
    State,
    StreamGap,
    StreamRestarted,
    open_registry,
)
from trio_jobs.stores.memory import MemoryStore
from trio_jobs.testing import Connection


async def say(job: JobContext[str], *words: str) -> None:
    for word in words:
        await job.send(word)


async def say_and_sleep(job: JobContext[str], *words: str) -> None:
    for word in words:
        await job.send(word)
    await trio.sleep_forever()


async def read(jobs: JobRegistry, fn: Any, *args: Any, **options: Any) -> list[str]:
    async with jobs.execute_and_stream(fn, *args, **options) as lines:
        return [line async for line in lines]


@given(st.lists(st.text(max_size=20), max_size=20))
def test_all_tokens_then_done(words: list[str]) -> None:
    """All strings arrive unchanged and in order, then [DONE] once, whatever the strings are."""

    async def main() -> None:
        async with open_registry(window=3) as jobs:
            assert await read(jobs, say, *words) == [*words, "[DONE]"]

    trio.run(main, clock=MockClock(autojump_threshold=0))


@pytest.mark.parametrize("word", ["[DONE]", "[CANCELLED]", "[ERROR] Job timed out after 5s", ""])
async def test_a_token_that_looks_like_an_end_is_a_token(autojump_clock: MockClock, word: str) -> None:
    """A handler may send the words that end a stream; the stream goes on after them."""
    async with open_registry() as jobs:
        assert await read(jobs, say, word, "more") == [word, "more", "[DONE]"]


async def test_values_that_are_no_strings_are_shown_as_text(autojump_clock: MockClock) -> None:
    """A value that is no string becomes one for the reader, even if the type checker was overruled."""

    async def numbers(job: JobContext[Any]) -> None:
        await job.send_many([1, None, 2.5])

    async with open_registry() as jobs:
        assert await read(jobs, numbers) == ["1", "None", "2.5", "[DONE]"]


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("no such model"), "[ERROR] no such model"),
        (ValueError(), "[ERROR] ValueError"),
        (ExceptionGroup("many", [OSError("one")]), "[ERROR] one"),
        (
            ExceptionGroup("many", [OSError("one"), KeyError("two")]),
            "[ERROR] 2 errors: OSError: one; KeyError: 'two'",
        ),
    ],
)
async def test_a_failure_is_told_in_the_words_of_the_exception(
    autojump_clock: MockClock, error: Exception, line: str
) -> None:
    """After the tokens comes the exception's message, or its type if it has none."""

    async def fail(job: JobContext[str]) -> None:
        await job.send("first")
        raise error

    async with open_registry() as jobs:
        assert await read(jobs, fail) == ["first", line]


async def test_a_timeout_is_told_with_its_seconds(autojump_clock: MockClock) -> None:
    """A job that times out ends with the limit that it was given."""
    async with open_registry() as jobs:
        assert await read(jobs, say_and_sleep, "a", "b", timeout=5) == [
            "a",
            "b",
            "[ERROR] Job timed out after 5s",
        ]
        assert await read(jobs, say_and_sleep, timeout=0.25) == ["[ERROR] Job timed out after 0.25s"]


async def test_a_cancellation_is_told(autojump_clock: MockClock) -> None:
    """A job that is cancelled while it is read ends with [CANCELLED], after its tokens."""
    async with open_registry() as jobs, jobs.execute_and_stream(say_and_sleep, "a") as lines:
        assert await lines.receive() == "a"
        assert (await lines.handle.cancel()).outcome == "cancelled"
        assert [line async for line in lines] == ["[CANCELLED]"]


async def test_nothing_follows_the_end(autojump_clock: MockClock) -> None:
    """After the last string every receive raises EndOfChannel."""
    async with open_registry() as jobs, jobs.execute_and_stream(say) as lines:
        assert await lines.receive() == "[DONE]"
        for _ in range(3):
            with pytest.raises(trio.EndOfChannel):
                await lines.receive()


async def test_leaving_early_cancels_the_job(autojump_clock: MockClock) -> None:
    """A reader that leaves early cancels its job at once, and the log has the reason."""
    async with open_registry() as jobs:
        async with jobs.execute_and_stream(say_and_sleep, "a", "b") as lines:
            assert await lines.receive() == "a"
        began = trio.current_time()
        job = await lines.handle.wait()
        assert (job.state, job.reason) == (State.CANCELLED, Reason.USER)
        assert trio.current_time() == began
        assert [e.data for e in await lines.handle.history() if e.kind == "cancel_requested"] == [
            "its reader left"
        ]


async def test_leaving_before_the_job_started_cancels_it(autojump_clock: MockClock) -> None:
    """A job that was never read and never started is cancelled, and does not start in a free slot."""
    async with open_registry(capacity=1) as jobs:
        await jobs.submit(say_and_sleep, timeout=10)
        async with jobs.execute_and_stream(say, "for nobody") as lines:
            pass
        job = await lines.handle.snapshot()
        assert (job.state, job.attempt) == (State.CANCELLED, 0)


async def test_leaving_after_the_end_cancels_nothing(autojump_clock: MockClock) -> None:
    """A reader that leaves after the end does not change the job."""
    async with open_registry() as jobs:
        async with jobs.execute_and_stream(say) as lines:
            assert await lines.receive() == "[DONE]"
        assert (await lines.handle.snapshot()).cancel_requested_at is None


async def test_leaving_is_quiet_when_there_is_nothing_left_to_cancel(autojump_clock: MockClock) -> None:
    """Leaving raises no error if the job was removed, or the registry left."""
    async with open_registry() as jobs:
        async with jobs.execute_and_stream(say, "unread") as lines:
            await lines.handle.wait()
            await jobs.remove(lines.handle.id)
        left = jobs.execute_and_stream(say_and_sleep, "a")
        await left.__aenter__()
        assert await left.receive() == "a"
    await left.aclose()


@pytest.mark.parametrize("options", [{"when_unread": "continue"}, {"when_unread": "cancel", "linger": 60}])
async def test_leaving_early_leaves_the_job_alone_if_that_was_said(
    autojump_clock: MockClock, options: Any
) -> None:
    """With `when_unread` given, that alone decides what the job does without its reader."""

    async def slow(job: JobContext[str]) -> str:
        await job.send("a")
        await trio.sleep(30)
        return "whole"

    async with open_registry() as jobs:
        async with jobs.execute_and_stream(slow, **options) as lines:
            await lines.receive()
        assert await lines.handle.result() == "whole"


async def test_the_job_is_submitted_on_entering_the_block(autojump_clock: MockClock) -> None:
    """The job is submitted on entering the block, which raises what `submit` raises."""
    async with open_registry() as jobs:
        stream = jobs.execute_and_stream(say, "a", tags={"user": "7"})
        assert await jobs.count() == 0
        async with stream as lines:
            assert await jobs.count(tags={"user": "7"}) == 1
            assert (await lines.handle.snapshot()).handler == "say"
        refused = jobs.execute_and_stream(say, key="\0")
        with pytest.raises(InvalidPayload):
            async with refused:
                pass
        assert await jobs.count() == 1


async def test_a_stream_that_was_not_entered_can_be_neither_read_nor_harmed(
    autojump_clock: MockClock,
) -> None:
    """Reading outside the block raises a clear error; closing an unopened stream has no effect."""
    async with open_registry() as jobs:
        stream = jobs.execute_and_stream(say)
        with pytest.raises(trio.ClosedResourceError, match="async with"):
            await stream.receive()
        await stream.aclose()
        assert await jobs.count() == 0
        async with jobs.execute_and_stream(say, "a") as lines:
            pass
        with pytest.raises(trio.ClosedResourceError, match="async with"):
            await lines.receive()
        await lines.aclose()


async def test_a_cancelled_receive_loses_no_string(autojump_clock: MockClock) -> None:
    """After a cancelled receive the next one returns the same string."""

    async def late(job: JobContext[str]) -> None:
        await trio.sleep(5)
        await job.send("a")

    async with open_registry() as jobs, jobs.execute_and_stream(late) as lines:
        with trio.move_on_after(1) as scope:
            await lines.receive()
        assert scope.cancelled_caught
        assert [line async for line in lines] == ["a", "[DONE]"]


async def test_a_new_attempt_is_not_mixed_in_unmarked(autojump_clock: MockClock) -> None:
    """When the job runs again the reader gets an error, and may then read the new attempt's strings."""

    async def twice(job: JobContext[str]) -> None:
        await job.send(f"attempt {job.attempt}")
        if job.attempt == 1:
            raise OSError

    async with open_registry() as jobs, jobs.execute_and_stream(twice, retry=Retry(attempts=2)) as lines:
        assert await lines.receive() == "attempt 1"
        with pytest.raises(StreamRestarted) as restarted:
            await lines.receive()
        assert restarted.value.attempt == 2
        assert [line async for line in lines] == ["attempt 2", "[DONE]"]


async def test_strings_that_retention_dropped_are_announced(autojump_clock: MockClock) -> None:
    """A reader that is too late for strings gets their range; the end is still right."""
    async with open_registry(retention=Retention(events=8)) as jobs:
        async with jobs.execute_and_stream(say, *"abcdefghijklmnopqrst", when_unread="continue") as lines:
            with trio.CancelScope(shield=True):
                await wait_all_tasks_blocked()
            with pytest.raises(StreamGap):
                while await lines.receive():
                    pass
            rest = [line async for line in lines]
            assert rest[-2:] == ["t", "[DONE]"]


@pytest.mark.parametrize("durable", [False, True])
@pytest.mark.parametrize("when_unread", [None, "continue"])
def test_cancelled_while_it_is_entered(durable: bool, when_unread: str | None) -> None:
    """Wherever entering the block is cancelled, no job is left running, unless `when_unread` allows it."""
    left: list[State] = []

    class Far(Connection):
        async def call(self, name: str, verb: Any) -> Any:
            await trio.lowlevel.checkpoint()
            return await super().call(name, verb)

    async def scenario(steps: int) -> bool:
        store = MemoryStore()
        options: dict[str, Any] = {} if when_unread is None else {"when_unread": when_unread}
        async with open_registry(Far(store) if durable else store) as jobs:
            with trio.CancelScope() as scope:
                nudge = Nudge(steps, scope)
                trio.lowlevel.add_instrument(nudge)
                await trio.lowlevel.checkpoint()
                async with jobs.execute_and_stream(say_and_sleep, "a", **options):
                    nudge.left = -1  # it was entered
                    return True
            await trio.sleep(1)
            left.extend(job.state for job in await jobs.find())
        return False

    steps = 1
    while not trio.run(scenario, steps, clock=MockClock(autojump_threshold=0)):
        steps += 1
        assert steps < 100
    assert left
    assert set(left) == {State.CANCELLED if when_unread is None else State.RUNNING}
