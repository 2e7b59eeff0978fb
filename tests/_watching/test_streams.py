"""Readers: early, late and resuming ones see the same events; which ones hold a handler; how streams end."""

from __future__ import annotations

import random
from contextlib import suppress
from typing import Any, Literal, cast

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.inside import seed_scheduler, simulate, store_of, worker_of
from tests.tasks import Nudge
from trio_jobs import (
    Event,
    EventStream,
    InvalidPayload,
    JobCancelled,
    JobContext,
    JobFailed,
    JobHandle,
    JobTimedOut,
    Kind,
    Reason,
    Retention,
    Retry,
    State,
    StreamGap,
    StreamRestarted,
    Timeouts,
    TokenStream,
    UnknownJob,
    open_registry,
)


async def counts(job: JobContext[int], n: int) -> int:
    for number in range(n):
        await job.send(number)
    return n


async def bursts(job: JobContext[int], n: int) -> int:
    await job.send_many(range(n))
    return n


async def forever(job: JobContext[Any]) -> None:
    await trio.sleep_forever()


async def follow(handle: JobHandle[Any, Any], after: int = 0) -> list[Event]:
    async with handle.events(after, policy="gap") as events:
        return [event async for event in events]


async def settle() -> None:
    """Let everything go on until it can go no further, without letting time pass."""
    await wait_all_tasks_blocked()


# ---------------------------------------------------------------- everybody sees the same

SENDS = st.lists(
    st.one_of(
        st.just("send"),
        st.integers(1, 6),
        st.just("pipe"),
        st.just("progress"),
        st.just("save"),
        st.just("sleep"),
        st.just("step"),
    ),
    max_size=15,
)
READERS = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.5, 1.0, 9.0]),  # when it comes
        st.lists(st.integers(0, 5), max_size=4),  # after how many events it leaves, each time
        st.sampled_from(["block", "gap"]),
        st.sampled_from([0.0, 0.2]),  # how long it thinks about each event
        st.sampled_from(["leave", "cancel", "aclose"]),
    ),
    min_size=1,
    max_size=4,
)


async def scripted(job: JobContext[int], sends: list[str | int], fails: bool) -> None:
    for number, what in enumerate(sends):
        if what == "send":
            await job.send(number)
        elif what == "pipe":
            await job.tokens.send(number)
        elif what == "progress":
            await job.progress(number)
        elif what == "save":
            await job.save(number)
        elif what == "sleep":
            await trio.sleep(0.4)
        elif what == "step":
            await trio.lowlevel.checkpoint()
        else:
            await job.send_many(range(cast("int", what)))
    if fails and job.attempt == 1:
        raise ValueError("once more")


async def read_in_cuts(
    handle: JobHandle[Any, Any], comes: float, cuts: list[int], policy: Any, thinks: float, how: str
) -> list[Event]:
    """Read a log to its end, leaving after each number of events in `cuts`, and resuming at the cursor."""
    seen: list[Event] = []
    cursor = 0
    await trio.sleep(comes)
    for cut in [*cuts, 10_000]:
        async with handle.events(cursor, policy=policy) as events:
            for turn in range(cut):
                with trio.CancelScope() as scope:
                    if how == "cancel" and turn % 2:
                        scope.deadline = trio.current_time()
                    try:
                        event = await events.receive()
                    except trio.EndOfChannel:
                        return seen
                    seen.append(event)
                    cursor += 1
                    assert event.seq == events.cursor == cursor
                    if thinks:
                        await trio.sleep(thinks)
            if how == "aclose":
                await events.aclose()
    raise AssertionError("unreachable")


async def same_for_all(sends: list[str | int], fails: bool, readers: list[Any]) -> None:
    logs: list[list[Event]] = []

    async def reader(*how: Any) -> None:
        logs.append(await read_in_cuts(handle, *how))

    async with open_registry(window=3) as jobs:
        handle = await jobs.submit(scripted, sends, fails, retry=Retry(2, initial=1), when_unread="continue")
        async with trio.open_nursery() as nursery:
            for how in readers:
                nursery.start_soon(reader, *how)
        whole = await follow(handle)
        assert (await jobs.statistics()).readers == 0
        assert not worker_of(jobs).readers
    assert [event.seq for event in whole] == list(range(1, len(whole) + 1))
    assert [event.kind.ends for event in whole].index(True) == len(whole) - 1
    assert len(logs) == len(readers)
    for log in logs:
        assert log == whole
    tokens = sum(what if isinstance(what, int) else what in {"send", "pipe"} for what in sends)
    assert sum(event.kind is Kind.TOKEN for event in whole) == tokens * (1 + fails)
    attempts = [event.attempt for event in whole]
    assert attempts == sorted(attempts)
    assert set(attempts) == set(range(2 + fails))


@given(sends=SENDS, fails=st.booleans(), readers=READERS, seed=st.integers(0, 2**32))
def test_all_readers_see_the_same(sends: list[str | int], fails: bool, readers: list[Any], seed: int) -> None:
    """Whenever readers come, leave, are cancelled and resume, each sees every event once, in order, to
    the end."""
    simulate(same_for_all, sends, fails, readers, seed=seed)


@pytest.mark.parametrize("late", range(12))
async def test_no_gap_between_replay_and_live(late: int, autojump_clock: MockClock) -> None:
    """A reader that joins between any two steps of a sending handler misses nothing and sees nothing
    twice."""
    async with open_registry() as jobs:
        handle = await jobs.submit(counts, 8)
        for _ in range(late):
            await trio.lowlevel.checkpoint()
        async with handle.stream() as tokens:
            assert [token async for token in tokens] == list(range(8))


async def test_a_log_longer_than_a_batch(autojump_clock: MockClock) -> None:
    """A log longer than a batch is read in batches without a gap or overlap."""
    async with open_registry() as jobs:
        handle = await jobs.submit(bursts, 1000)
        await handle.wait()
        assert [event.seq for event in await follow(handle)] == list(range(1, 1004))
        async with handle.stream(after=2 + 255) as tokens:
            assert await tokens.receive() == 255


@pytest.mark.parametrize("many", [False, True])
def test_a_cancelled_receive_loses_nothing(many: bool) -> None:
    """Wherever a receive is cancelled, the next one on the same stream returns the very next value."""

    async def receive(tokens: TokenStream[int], seen: list[int]) -> None:
        if many:
            seen += await tokens.receive_many()
        else:
            seen.append(await tokens.receive())

    async def scenario(k: int) -> None:
        seen: list[int] = []
        async with open_registry() as jobs:
            handle = await jobs.submit(counts, 6)
            async with handle.stream() as tokens:
                with suppress(trio.EndOfChannel):
                    with trio.CancelScope() as scope:
                        nudge = Nudge(k, scope)
                        trio.lowlevel.add_instrument(nudge)
                        try:
                            while True:
                                await receive(tokens, seen)
                        finally:
                            trio.lowlevel.remove_instrument(nudge)
                    hit.append(k)
                    while True:
                        await receive(tokens, seen)
        assert seen == list(range(6))

    for seed in range(3):
        hit: list[int] = []
        for k in range(1, 60):
            simulate(scenario, k, seed=seed)
        assert len(hit) > 4
        assert hit[-1] < 59


# ---------------------------------------------------------------- block: the handler waits


class Sender:
    """A handler that records how far it got."""

    def __init__(self, n: int = 1000, *, many: bool = False) -> None:
        self.n = n
        self.many = many
        self.sent = 0

    async def __call__(self, job: JobContext[int]) -> None:
        if self.many:
            await job.send_many(self.numbers())
        else:
            for number in range(self.n):
                await job.send(number)
                self.sent += 1

    def numbers(self) -> Any:
        for number in range(self.n):
            yield number
            self.sent += 1


async def submit_sender(
    jobs: Any, *, n: int = 1000, many: bool = False, **options: Any
) -> tuple[Sender, JobHandle[int, None]]:
    sender = Sender(n, many=many)

    async def handler(job: JobContext[int]) -> None:
        await sender(job)

    return sender, await jobs.submit(handler, **options)


@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize(("after", "window"), [(0, 1), (1, 1), (0, 2), (1, 2), (0, 8), (0, 64)])
async def test_a_reader_from_before_the_start_holds_the_handler(
    many: bool, after: int, window: int, autojump_clock: MockClock
) -> None:
    """A reader that opened before the start and never reads lets the handler get `window` events ahead."""
    async with open_registry(window=window) as jobs:
        sender, handle = await submit_sender(jobs, many=many, delay=1)
        async with handle.stream(after) as tokens:
            await trio.sleep(2)
            await settle()
            ahead = (await handle.snapshot()).last_seq - after
            assert ahead == max(window, 2 - after)  # what the store writes itself waits for nobody
            await tokens.receive()
            await settle()
            assert (await handle.snapshot()).last_seq == tokens.cursor + window
        await handle.wait()
        assert sender.sent == 1000


@pytest.mark.parametrize("many", [False, True])
async def test_the_handler_is_exactly_a_window_ahead(many: bool, autojump_clock: MockClock) -> None:
    """At every step of a slow reader that has caught up, the handler is exactly `window` events ahead of
    it."""
    async with open_registry(window=5) as jobs:
        _, handle = await submit_sender(jobs, n=40, many=many, delay=1)
        async with handle.stream(after=1) as tokens:
            assert await tokens.receive() == 0
            for number in range(1, 40):
                await settle()
                ahead = (await handle.snapshot()).last_seq - tokens.cursor
                # The end of the job waits for nobody: it is there as soon as the last token is.
                assert ahead == (5 if number < 35 else 41 - number)
                assert await tokens.receive() == number
            with pytest.raises(trio.EndOfChannel):
                await tokens.receive()


async def test_a_late_reader_does_not_hold_the_handler(autojump_clock: MockClock) -> None:
    """A reader that joins far behind does not hold the handler before it has caught up."""
    go_on = trio.Event()

    async def handler(job: JobContext[int]) -> None:
        await job.send_many(range(50))
        await go_on.wait()
        await job.send_many(range(50, 150))

    async with open_registry(window=4) as jobs:
        handle = await jobs.submit(handler)
        await settle()
        async with handle.stream() as tokens:
            assert await tokens.receive() == 0
            go_on.set()
            assert (await handle.wait()).state is State.COMPLETED
            assert [token async for token in tokens] == list(range(1, 150))


@pytest.mark.parametrize("many", [False, True])
async def test_a_late_reader_draws_level(many: bool, autojump_clock: MockClock) -> None:
    """A late reader holds the handler after it has read what the log held when it opened."""

    async def chatty(job: JobContext[int]) -> None:
        number = 0
        while number < 1000:
            await job.send(number)
            number += 1
            if number == 20:
                twenty.set()
                await go_on.wait()

    twenty, go_on = trio.Event(), trio.Event()
    async with open_registry(window=4) as jobs:
        handle = await jobs.submit(chatty)
        await twenty.wait()
        async with handle.stream() as tokens:
            if many:
                assert len(await tokens.receive_many()) == 20
            else:
                for _ in range(20):
                    await tokens.receive()
            go_on.set()
            for _ in range(50):
                await settle()
                assert (await handle.snapshot()).last_seq == tokens.cursor + 4
                await tokens.receive()


async def test_a_paused_job_counts_all_that_was_read_at_once(autojump_clock: MockClock) -> None:
    """How far an unread job goes on counts from the last value that a reader took, by whichever method."""
    async with open_registry(window=4) as jobs:
        _, handle = await submit_sender(jobs, when_unread="pause")
        await settle()
        async with handle.stream(2) as tokens:  # from where the attempt began: who comes late holds nobody
            assert len(await tokens.receive_many()) == 4
            cursor = tokens.cursor
        await settle()
        assert (await handle.snapshot()).last_seq == cursor + 4


async def test_the_slower_of_two_readers_counts(autojump_clock: MockClock) -> None:
    """With two readers that block, the handler waits for the slower; when that leaves, for the other."""
    async with open_registry(window=4) as jobs:
        sender, handle = await submit_sender(jobs, delay=1)
        async with handle.stream(after=1) as fast:
            async with handle.stream(after=1) as slow:
                await trio.sleep(1)
                await settle()
                assert sender.sent == 3
                for _ in range(3):
                    await fast.receive()
                await settle()
                assert sender.sent == 3
                await slow.receive()
                await settle()
                assert sender.sent == 5
            await settle()
            assert sender.sent == 7
        await handle.wait()
        assert sender.sent == 1000


@pytest.mark.parametrize("how", ["aclose", "cancel", "error"])
async def test_a_reader_that_leaves_releases_the_handler(how: str, autojump_clock: MockClock) -> None:
    """However a reader leaves, the handler that waited for it goes on."""
    async with open_registry(window=4) as jobs:
        sender, handle = await submit_sender(jobs, delay=1)
        with suppress(KeyError), trio.CancelScope() as scope:
            async with handle.stream(after=1) as tokens:
                await trio.sleep(1)
                await settle()
                assert sender.sent == 3
                if how == "aclose":
                    await tokens.aclose()
                    await handle.wait()
                elif how == "cancel":
                    scope.cancel()
                    await trio.lowlevel.checkpoint()
                else:
                    raise KeyError
        assert (await handle.wait()).state is State.COMPLETED


async def test_aclose_closes_even_if_cancelled(autojump_clock: MockClock) -> None:
    """A cancelled `aclose` closes the stream all the same, as Trio demands."""
    async with open_registry() as jobs:
        handle = await jobs.submit(forever)
        for stream in (handle.stream(), handle.events()):
            async with cast("Any", stream):
                with trio.move_on_after(0) as scope:
                    await stream.aclose()
                assert scope.cancelled_caught
                assert (await jobs.statistics()).readers == 0
                await stream.aclose()


async def test_a_gap_reader_holds_nobody(autojump_clock: MockClock) -> None:
    """A reader with policy `gap` that never reads does not hold the handler."""
    async with open_registry(window=4) as jobs:
        sender, handle = await submit_sender(jobs)
        async with handle.events(after=2, policy="gap"):
            assert (await handle.wait()).state is State.COMPLETED
        assert sender.sent == 1000


async def test_a_held_handler_can_be_cancelled(autojump_clock: MockClock) -> None:
    """A handler that waits for a reader can be cancelled, and its token was not sent."""
    async with open_registry(window=4) as jobs:
        sender, handle = await submit_sender(jobs, delay=1)
        async with handle.stream(after=1) as tokens:
            await trio.sleep(1)
            await settle()
            assert (await handle.cancel()).outcome == "cancelled"
            assert [await tokens.receive() for _ in range(3)] == [0, 1, 2]
            with pytest.raises(JobCancelled):
                await tokens.receive()
        assert sender.sent == 3


async def test_a_reader_of_another_attempt(autojump_clock: MockClock) -> None:
    """A reader holds the next attempt as it held the first."""

    async def handler(job: JobContext[int]) -> None:
        await job.send(0)
        if job.attempt == 1:
            raise ValueError
        for number in range(1, 50):
            await job.send(number)

    async with open_registry(window=4) as jobs:
        handle = await jobs.submit(handler, retry=Retry(2, initial=1))
        async with handle.stream(after=2, restarts="continue") as tokens:
            assert await tokens.receive() == 0
            await trio.sleep(2)
            assert (await handle.snapshot()).last_seq == tokens.cursor + 4
            assert [token async for token in tokens] == list(range(50))


# ---------------------------------------------------------------- gaps and cursors


async def test_a_gap_is_announced_with_its_range(autojump_clock: MockClock) -> None:
    """A reader that retention overtook gets the exact range of missing events, and goes on right behind
    it."""
    async with open_registry(retention=Retention(events=10)) as jobs:
        handle = await jobs.submit(bursts, 100)
        await handle.wait()
        async with handle.events() as events:
            assert [(await events.receive()).kind for _ in range(2)] == ["submitted", "started"]
            with pytest.raises(StreamGap) as gap:
                await events.receive()
            first = await events.receive()
            rest = [event.seq async for event in events]
    assert gap.value.first == 3
    assert gap.value.last == first.seq - 1 == gap.value.oldest
    assert rest == list(range(first.seq + 1, 104))
    assert 1 <= sum(seq < 103 for seq in [first.seq, *rest]) <= 10


async def test_resuming_behind_a_gap(autojump_clock: MockClock) -> None:
    """`after=oldest` of a gap resumes right behind it, with the values and without another gap."""
    async with open_registry(retention=Retention(events=10)) as jobs:
        handle = await jobs.submit(bursts, 100)
        await handle.wait()
        async with handle.stream(after=5) as tokens:
            with pytest.raises(StreamGap) as gap:
                await tokens.receive()
            assert gap.value.first == 6
        async with handle.stream(after=gap.value.oldest) as tokens:
            assert [token async for token in tokens] == list(range(gap.value.last - 2, 100))


async def test_what_stays_between_two_gaps(autojump_clock: MockClock) -> None:
    """`saved` and lifecycle events outlive the tokens around them: each range of missing events is one
    gap."""

    async def handler(job: JobContext[int]) -> None:
        await job.send_many(range(20))
        await job.save("kept")
        await job.send_many(range(20, 40))

    async with open_registry(retention=Retention(events=8)) as jobs:
        handle = await jobs.submit(handler)
        await handle.wait()
        seen: list[Any] = []
        async with handle.events() as events:
            while True:
                try:
                    seen.append((await events.receive()).seq)
                except StreamGap as gap:
                    seen.append((gap.first, gap.last))
                except trio.EndOfChannel:
                    break
    assert seen[:5] == [1, 2, (3, 22), 23, (24, seen[5] - 1)]
    assert seen[5:] == list(range(seen[5], 45))


async def test_a_slow_gap_reader_is_overtaken_live(autojump_clock: MockClock) -> None:
    """A gap that opens between two receives of a live reader is announced like any other, by
    `receive_many` too."""

    async def handler(job: JobContext[int]) -> None:
        for number in range(100):
            await job.send(number)
            await trio.sleep(1)

    async with open_registry(retention=Retention(events=4)) as jobs:
        handle = await jobs.submit(handler)
        async with handle.stream(policy="gap") as tokens:
            assert await tokens.receive_many() == [0]
            await trio.sleep(50.5)
            with pytest.raises(StreamGap) as gap:
                await tokens.receive_many()
            assert gap.value.first == 4
            assert await tokens.receive_many() == list(range(gap.value.last - 2, 51))
            assert await tokens.receive() == 51


@pytest.mark.parametrize("state", ["queued", "running", "over"])
async def test_a_cursor_ahead_of_the_log(state: str, autojump_clock: MockClock) -> None:
    """A cursor beyond the log raises a gap that names it, and does not wait."""
    async with open_registry() as jobs:
        handle = await jobs.submit(waits, delay=100.0 if state == "queued" else 0.0)
        await settle()
        if state == "over":
            await handle.cancel()
        last = (await handle.snapshot()).last_seq
        for stream in (handle.events(last + 7), handle.stream(last + 7)):
            with pytest.raises(StreamGap) as gap:
                async with cast("Any", stream):
                    pass
            assert (gap.value.first, gap.value.last) == (last + 1, last + 7)
            assert gap.value.oldest == last
        assert (await jobs.statistics()).readers == 0


async def test_a_cursor_at_the_end_of_a_live_log(autojump_clock: MockClock) -> None:
    """The newest cursor is no gap: its reader waits for the next event."""
    async with open_registry() as jobs:
        handle = await jobs.submit(bursts, 3, delay=1)
        async with handle.events(after=1) as events:
            assert (await events.receive()).kind == "started"


@pytest.mark.parametrize("after", [-1, -(2**70), 1.5, 1.0, "1", None, True, float("nan")])
async def test_what_is_no_cursor(after: Any, autojump_clock: MockClock) -> None:
    """A cursor is a whole number of at least 0; other values are refused before anything is opened."""
    async with open_registry() as jobs:
        handle = await jobs.submit(forever)
        with pytest.raises((TypeError, ValueError), match="after"):
            handle.events(after)
        with pytest.raises((TypeError, ValueError), match="after"):
            handle.stream(after)


async def test_what_is_no_policy(autojump_clock: MockClock) -> None:
    """An unknown policy, or an unknown value of `restarts`, is refused."""
    async with open_registry() as jobs:
        handle = await jobs.submit(forever)
        with pytest.raises(ValueError, match="policy must be one of 'block', 'gap'"):
            handle.events(policy=cast("Any", "drop"))
        with pytest.raises(ValueError, match="restarts must be one of"):
            handle.stream(restarts=cast("Any", "ignore"))


async def test_a_huge_cursor(autojump_clock: MockClock) -> None:
    """A cursor larger than any machine integer is treated as one beyond the log."""
    async with open_registry() as jobs:
        handle = await jobs.submit(forever)
        with pytest.raises(StreamGap):
            async with handle.events(2**80):
                pass


# ---------------------------------------------------------------- ends


async def completes(job: JobContext[str]) -> None:
    await job.send("last")


async def fails(job: JobContext[str]) -> None:
    await job.send("last")
    raise LookupError("why")


async def waits(job: JobContext[str]) -> None:
    await job.send("last")
    await trio.sleep_forever()


ENDS: list[tuple[Any, dict[str, Any], type[BaseException], str | None]] = [
    (completes, {}, trio.EndOfChannel, None),
    (fails, {}, JobFailed, "LookupError: why"),
    (waits, {"timeout": 5}, JobTimedOut, "Job timed out after 5s"),
    (waits, {"timeouts": Timeouts(idle=5)}, JobTimedOut, "Job sent nothing for 5s"),
    (waits, {"when_unread": "cancel", "linger": 1}, JobCancelled, "unread"),
]


@pytest.mark.parametrize(("handler", "options", "error", "text"), ENDS)
async def test_the_end_of_a_stream(
    handler: Any,
    options: dict[str, Any],
    error: type[BaseException],
    text: str | None,
    autojump_clock: MockClock,
) -> None:
    """A stream ends as its job did: live, late, at the terminal cursor, and at each further receive."""
    async with open_registry() as jobs:
        handle = await jobs.submit(handler, **options)
        if "when_unread" not in options:
            async with handle.stream() as live:
                assert await live.receive() == "last"
                for _ in range(2):
                    with pytest.raises(error, match=text):
                        await live.receive()
        job = await handle.wait()
        async with handle.stream() as late:
            assert await late.receive_many() == ["last"]
            for _ in range(2):
                with pytest.raises(error, match=text):
                    await late.receive_many()
            assert late.cursor == job.last_seq
        for after in (job.last_seq - 1, job.last_seq):
            async with handle.stream(after) as resumed:
                for _ in range(2):
                    with pytest.raises(error, match=text):
                        await resumed.receive()
        async with handle.events(job.last_seq) as events:
            with pytest.raises(trio.EndOfChannel):
                await events.receive()


async def test_the_end_of_a_job_that_never_started(autojump_clock: MockClock) -> None:
    """A job cancelled or expired in the queue ends its streams, for readers that wait and for late ones."""
    async with open_registry(capacity=0) as jobs:
        expires = await jobs.submit(completes, timeouts=Timeouts(queue=5))
        cancels = await jobs.submit(completes)

        async def read(handle: JobHandle[Any, Any], error: type[BaseException]) -> None:
            async with handle.stream() as tokens:
                with pytest.raises(error):
                    await tokens.receive()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read, expires, JobTimedOut)
            nursery.start_soon(read, cancels, JobCancelled)
            await settle()
            await cancels.cancel()
        await read(expires, JobTimedOut)
        await read(cancels, JobCancelled)


async def test_what_failed_says_who_and_why(autojump_clock: MockClock) -> None:
    """The error of a stream has the job, the reason, the error and the attempt as attributes."""
    async with open_registry() as jobs:
        handle = await jobs.submit(fails, retry=Retry(2, initial=0))
        async with handle.stream(restarts="continue") as tokens:
            assert [await tokens.receive() for _ in range(2)] == ["last", "last"]
            with pytest.raises(JobFailed) as failed:
                await tokens.receive()
    assert failed.value.job_id == handle.id
    assert (failed.value.reason, failed.value.attempt) == (Reason.ERROR, 2)
    assert failed.value.error is not None
    assert failed.value.error.type == "LookupError"


async def test_a_restart_is_not_silent(autojump_clock: MockClock) -> None:
    """Between two attempts a reader gets StreamRestarted once, and can read on behind it."""

    async def handler(job: JobContext[str]) -> None:
        await job.send(f"attempt {job.attempt}")
        if job.attempt < 3:
            raise ValueError

    async with open_registry() as jobs:
        handle = await jobs.submit(handler, retry=Retry(3, initial=1))
        async with handle.stream() as tokens:
            cursor = 0
            for attempt in (2, 3):
                assert await tokens.receive() == f"attempt {attempt - 1}"
                with pytest.raises(StreamRestarted) as restarted:
                    await tokens.receive()
                assert (restarted.value.job_id, restarted.value.attempt) == (handle.id, attempt)
                cursor = restarted.value.cursor
                assert cursor == tokens.cursor
            assert await tokens.receive() == "attempt 3"
            with pytest.raises(trio.EndOfChannel):
                await tokens.receive()
        async with handle.stream(restarts="continue") as tokens:
            assert [token async for token in tokens] == [f"attempt {n}" for n in (1, 2, 3)]
        async with handle.stream(cursor) as tokens:
            assert [token async for token in tokens] == ["attempt 3"]
        assert [event.attempt for event in await follow(handle)] == [0, 1, 1, 1, 2, 2, 2, 3, 3, 3]


async def test_receive_many_stops_at_an_attempt(autojump_clock: MockClock) -> None:
    """A batch never holds values of two attempts."""
    async with open_registry() as jobs:
        handle = await jobs.submit(fails, retry=Retry(2, initial=0))
        await handle.wait()
        async with handle.stream(restarts="continue") as tokens:
            assert await tokens.receive_many() == ["last"]
            assert await tokens.receive_many() == ["last"]


async def test_receive_many_takes_what_is_there(autojump_clock: MockClock) -> None:
    """`receive_many` returns the values at hand, from one to a batch; behind the last event it waits for
    one."""
    async with open_registry() as jobs:
        handle = await jobs.submit(bursts, 600)
        await handle.wait()
        async with handle.stream() as tokens:
            batches = []
            with suppress(trio.EndOfChannel):
                while True:
                    batches.append(await tokens.receive_many())
        assert [token for batch in batches for token in batch] == list(range(600))
        assert max(map(len, batches)) <= 256
        assert len(batches) <= 4
        slow = await jobs.submit(counts, 0, delay=0)
        async with slow.stream() as tokens:
            with pytest.raises(trio.EndOfChannel):
                await tokens.receive_many()


class Odd:
    """A value of an unknown type."""


@pytest.mark.parametrize(
    "value",
    ["[DONE]", "[ERROR] no", "[CANCELLED]", "", "\n\ndata: x", None, 0, False, b"", [], {}, (), Odd(),
     trio.EndOfChannel(), trio.EndOfChannel, Kind.COMPLETED, float("nan"), "\0", "\ud800"],
    ids=lambda value: ascii(repr(value))[:20],
)  # fmt: skip
async def test_any_value_is_a_token(value: Any, autojump_clock: MockClock) -> None:
    """Any object can be a token: each arrives as the same object, and the stream goes on."""

    async def handler(job: JobContext[Any]) -> None:
        await job.send(value)
        await job.send_many([value])
        await job.tokens.send(value)

    async with open_registry() as jobs:
        handle = await jobs.submit(handler)
        async with handle.stream() as tokens:
            received = [token async for token in tokens]
    assert len(received) == 3
    assert all(token is value for token in received)


# ---------------------------------------------------------------- out of place


async def test_a_stream_that_was_not_entered(autojump_clock: MockClock) -> None:
    """Reading outside `async with`, before or after, is refused, and holds no handler."""
    async with open_registry() as jobs:
        handle = await jobs.submit(bursts, 3)
        await handle.wait()
        streams: list[EventStream | TokenStream[Any]] = [handle.events(), handle.stream()]
        for stream in streams:
            with pytest.raises(trio.ClosedResourceError, match="async with"):
                await stream.receive()
            async with stream:
                await stream.receive()
            with pytest.raises(trio.ClosedResourceError):
                await stream.receive()
            async with cast("Any", stream) as again:
                await again.receive()
                await again.aclose()
                with pytest.raises(trio.ClosedResourceError):
                    await again.receive()
        tokens = handle.stream()
        with pytest.raises(trio.ClosedResourceError):
            await tokens.receive_many()
        await tokens.aclose()


async def test_closing_a_stream_that_somebody_waits_on(autojump_clock: MockClock) -> None:
    """Closing a stream ends a receive under way with ClosedResourceError at the next event."""
    ended: list[float] = []

    async def receive(stream: trio.abc.ReceiveChannel[Any]) -> None:
        with pytest.raises(trio.ClosedResourceError):
            await stream.receive()
        ended.append(trio.current_time())

    async with open_registry() as jobs:
        handles = [await jobs.submit(waits, timeout=50), await jobs.submit(waits, timeout=70)]
        await settle()
        async with trio.open_nursery() as nursery:
            stream: Any
            for stream in (handles[0].events(after=3), handles[1].stream(after=3)):
                async with stream:
                    nursery.start_soon(receive, stream)
                    await settle()
                    await stream.aclose()
    assert ended == [50, 70]


async def test_two_tasks_on_one_stream(autojump_clock: MockClock) -> None:
    """Two tasks that share a stream get each value once between them, or BusyResourceError; never a false
    gap."""
    got: list[int] = []
    busy: list[trio.BusyResourceError] = []

    async def receive(tokens: TokenStream[int]) -> None:
        try:
            while True:
                got.append(await tokens.receive())
        except trio.EndOfChannel:
            pass
        except trio.BusyResourceError as error:
            busy.append(error)

    async def handler(job: JobContext[int]) -> None:
        for number in range(10):
            await trio.sleep(1)
            await job.send(number)

    async with open_registry() as jobs:
        handle = await jobs.submit(handler)
        async with handle.stream() as tokens, trio.open_nursery() as nursery:
            nursery.start_soon(receive, tokens)
            nursery.start_soon(receive, tokens)
    assert sorted(got) == list(range(10))
    assert len(busy) <= 1


async def test_two_tasks_for_one_event(autojump_clock: MockClock) -> None:
    """Of two tasks that find the only event of a log at hand, one gets it, and the other the next one."""
    got: list[Kind] = []

    async def receive(events: EventStream) -> None:
        got.append((await events.receive()).kind)

    async with open_registry() as jobs:
        handle = await jobs.submit(bursts, 1, delay=60)
        async with handle.events() as events, trio.open_nursery() as nursery:
            nursery.start_soon(receive, events)
            nursery.start_soon(receive, events)
            await settle()
            assert got == [Kind.SUBMITTED]
            await handle.cancel()
    assert got == [Kind.SUBMITTED, Kind.CANCEL_REQUESTED]


async def test_a_job_removed_while_it_is_read(autojump_clock: MockClock) -> None:
    """A reader of a removed job gets UnknownJob, on opening and on reading."""
    async with open_registry() as jobs:
        handle = await jobs.submit(bursts, 600)
        await handle.wait()
        async with handle.stream() as tokens:
            assert await tokens.receive() == 0
            await jobs.remove(handle.id)
            with pytest.raises(UnknownJob):
                async for _ in tokens:
                    pass
        for stream in (handle.stream(), handle.events()):
            with pytest.raises(UnknownJob):
                async with cast("Any", stream):
                    pass
        assert (await jobs.statistics()).readers == 0


async def test_opening_is_refused_after_the_registry(autojump_clock: MockClock) -> None:
    """A stream cannot be made from the handle of a registry that was left."""
    async with open_registry() as jobs:
        handle = await jobs.submit(bursts, 1)
    with pytest.raises(trio.ClosedResourceError):
        handle.stream()


# ---------------------------------------------------------------- when nobody reads


async def test_nobody_reads_and_nobody_cares(autojump_clock: MockClock) -> None:
    """A hundred thousand tokens without a reader do not hold the handler, and all are in the log."""
    async with open_registry() as jobs:
        for handler in (bursts, counts):
            handle = await jobs.submit(handler, 100_000)
            assert await handle.result() == 100_000
            assert (await handle.snapshot()).last_seq == 100_003
            async with handle.stream(after=100_001) as tokens:
                assert [token async for token in tokens] == [99_999]


async def test_an_unread_job_pauses(autojump_clock: MockClock) -> None:
    """With `pause` an unread handler stops a window ahead, goes on while read, and stops again after."""
    async with open_registry(window=4) as jobs:
        sender, handle = await submit_sender(jobs, when_unread="pause")
        await trio.sleep(1000)
        assert sender.sent == 4
        async with handle.stream() as tokens:
            for number in range(10):
                assert await tokens.receive() == number
        await trio.sleep(1000)
        assert (await handle.snapshot()).last_seq == tokens.cursor + 4
        async with handle.stream(tokens.cursor) as tokens:
            assert [token async for token in tokens] == list(range(10, 1000))
        assert (await handle.wait()).state is State.COMPLETED


async def test_a_paused_job_is_released_by_a_gap_reader(autojump_clock: MockClock) -> None:
    """A reader with policy `gap` lets a paused handler run freely."""
    async with open_registry(window=4) as jobs:
        sender, handle = await submit_sender(jobs, when_unread="pause")
        await settle()
        assert sender.sent == 4
        async with handle.events(policy="gap"):
            await handle.wait()
        assert sender.sent == 1000


@pytest.mark.parametrize("clock", ["first_token", "idle"])
async def test_clocks_stand_still_while_a_send_waits(clock: str, autojump_clock: MockClock) -> None:
    """The clocks between tokens stop while a send waits for a reader, and then go on."""

    async def handler(job: JobContext[int]) -> None:
        if clock == "idle":
            await job.send(0)
        for number in range(4):
            await job.progress(number)
        await trio.sleep(4)
        await job.send(1)
        await trio.sleep(100)

    timeouts = Timeouts(first_token=5) if clock == "first_token" else Timeouts(idle=5)
    async with open_registry(window=4) as jobs:
        handle = await jobs.submit(handler, timeouts=timeouts, when_unread="pause")
        await trio.sleep(1000)
        assert (await handle.snapshot()).state is State.RUNNING
        async with handle.stream(restarts="continue") as tokens:
            if clock == "idle":
                assert await tokens.receive() == 0
            assert await tokens.receive() == 1
            assert trio.current_time() == 1000
            if clock == "first_token":
                with pytest.raises(trio.EndOfChannel):
                    await tokens.receive()
            else:
                with pytest.raises(JobTimedOut, match="sent nothing for 5s"):
                    await tokens.receive()
                assert trio.current_time() == 1005


async def test_the_run_clock_does_not_stand_still(autojump_clock: MockClock) -> None:
    """The attempt's own time limit runs on while a send waits."""
    async with open_registry(window=4) as jobs:
        _, handle = await submit_sender(jobs, when_unread="pause", timeout=5)
        job = await handle.wait()
    assert (job.state, job.reason) == (State.FAILED, Reason.TIMEOUT)


async def test_clocks_stand_still_for_the_last_that_waits(autojump_clock: MockClock) -> None:
    """Of two sends that wait, the one that is cancelled does not start the clocks for the other."""

    async def helper(job: JobContext[int]) -> None:
        await job.send(99)

    async def handler(job: JobContext[int]) -> None:
        for number in range(4):
            await job.send(number)
        with trio.move_on_after(2):
            job.nursery.start_soon(helper, job)
            await job.send(98)

    for seed in range(4):
        random.seed(seed)
        seed_scheduler(seed)
        async with open_registry(window=4) as jobs:
            handle = await jobs.submit(handler, timeouts=Timeouts(idle=5), when_unread="pause")
            await trio.sleep(100)
            async with handle.stream() as tokens:
                assert [token async for token in tokens] == [0, 1, 2, 3, 99]


@pytest.mark.parametrize("linger", [0.0, 3.0])
async def test_an_unread_job_is_cancelled(linger: float, autojump_clock: MockClock) -> None:
    """With `cancel` an unread job is cancelled after the linger time, which a reader stops."""
    async with open_registry() as jobs:
        never = await jobs.submit(forever, when_unread="cancel", linger=linger)
        job = await never.wait()
        assert trio.current_time() == linger
        assert (job.state, job.reason) == (State.CANCELLED, Reason.UNREAD)
        if not linger:
            return
        handle = await jobs.submit(waits, when_unread="cancel", linger=linger)
        await trio.sleep(2)
        async with handle.stream() as one:
            await one.receive()
            async with handle.events(policy="gap"):
                await trio.sleep(100)
            await trio.sleep(100)
        await trio.sleep(2.5)
        async with handle.events(after=3):
            await trio.sleep(100)
        left = trio.current_time()
        assert (await handle.wait()).reason is Reason.UNREAD
        assert trio.current_time() == left + linger
        with pytest.raises(JobCancelled) as cancelled:
            await handle.result()
        assert cancelled.value.reason is Reason.UNREAD


async def test_the_linger_time_of_each_attempt(autojump_clock: MockClock) -> None:
    """The linger time starts anew with each attempt; a job that waits needs no reader."""

    async def handler(job: JobContext[int]) -> None:
        if job.attempt == 1:
            raise ValueError
        await trio.sleep_forever()

    async with open_registry() as jobs:
        handle = await jobs.submit(
            handler, retry=Retry(2, initial=50, jitter=0), when_unread="cancel", linger=3
        )
        job = await handle.wait()
    assert trio.current_time() == 53
    assert (job.state, job.reason, job.attempt) == (State.CANCELLED, Reason.UNREAD, 2)


# ---------------------------------------------------------------- bounds


@pytest.mark.parametrize("many", [False, True])
@given(keep=st.integers(1, 40), n=st.integers(0, 120))
def test_retention_bounds_the_count(many: bool, keep: int, n: int) -> None:
    """Of a job's tokens at most `events` are kept, always the newest, and all while they fit."""

    async def scenario() -> None:
        async with open_registry(retention=Retention(events=keep)) as jobs:
            handle = await jobs.submit(bursts if many else counts, n)
            await handle.wait()
            log = await store_of(jobs).read(handle.id, 0, 1000)
        tokens = [event.data for event in log if event.kind is Kind.TOKEN]
        assert len(tokens) <= keep
        assert tokens == list(range(n - len(tokens), n))
        assert len(tokens) >= min(n, max(1, keep - keep // 8))
        assert [event.kind for event in log if event.kind is not Kind.TOKEN] == [
            "submitted",
            "started",
            "completed",
        ]

    simulate(scenario)


async def test_retention_bounds_the_bytes(autojump_clock: MockClock) -> None:
    """Of a job's tokens at most `bytes` bytes are kept, always the newest."""

    async def handler(job: JobContext[bytes]) -> None:
        for number in range(100):
            await job.send(bytes([number]) * 1000)

    async with open_registry(retention=Retention(bytes=20_000)) as jobs:
        handle = await jobs.submit(handler)
        await handle.wait()
        log = await store_of(jobs).read(handle.id, 0, 1000)
    tokens = [event.data[0] for event in log if event.kind is Kind.TOKEN]
    assert tokens == list(range(100 - len(tokens), 100))
    assert 10 <= len(tokens) <= 20


@pytest.mark.parametrize("how", ["send", "send_many"])
@pytest.mark.parametrize("caught", [False, True])
async def test_a_token_that_is_too_large(
    how: Literal["send", "send_many"], caught: bool, autojump_clock: MockClock
) -> None:
    """A token over the bound fails its job with reason limit, even if the handler catches the refusal."""
    refusals: list[InvalidPayload] = []

    async def handler(job: JobContext[str]) -> str:
        await job.send("x" * 900)
        try:
            if how == "send":
                await job.send("x" * 2000)
            else:
                await job.send_many(["small", "x" * 2000, "small"])
        except InvalidPayload as refusal:
            refusals.append(refusal)
            if not caught:
                raise
        return "went on"

    async with open_registry(retention=Retention(token_bytes=1000)) as jobs:
        handle = await jobs.submit(handler, retry=Retry(attempts=3))
        with pytest.raises(JobFailed) as failed:
            await handle.result()
        job = await handle.snapshot()
        tokens = [event.data for event in await follow(handle) if event.kind is Kind.TOKEN]
    assert (job.state, job.reason, job.attempt) == (State.FAILED, Reason.LIMIT, 1)
    assert failed.value.reason is Reason.LIMIT
    assert [str(refusal) for refusal in refusals] == [failed.value.message]
    assert "1000" in failed.value.message
    assert tokens == ["x" * 900]
