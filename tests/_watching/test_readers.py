"""Which readers hold a handler, and by how much: checked against a model that scans all readers each time."""

from __future__ import annotations

from typing import Any, cast

import attrs
import pytest
import trio
from hypothesis import example, given
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.inside import Deadlines
from trio_jobs import Timeouts
from trio_jobs._watching.readers import Policy, Readers, ReadersByJob
from trio_jobs.stores import Options


@attrs.define(eq=False)
class Reader:
    cursor: int
    policy: Policy
    joined: int = 0  # of a late one, where the log ended when it joined


COMMANDS = st.lists(
    st.one_of(
        st.tuples(st.just("join"), st.integers(0, 12), st.sampled_from(["block", "gap"])),
        st.tuples(st.just("leave"), st.integers(0, 9), st.none()),
        st.tuples(st.just("read"), st.integers(0, 9), st.integers(1, 30)),
        st.tuples(st.just("send"), st.integers(1, 5), st.none()),
        st.tuples(st.just("note"), st.integers(1, 3), st.none()),
    ),
    max_size=40,
)


@given(
    commands=COMMANDS,
    start=st.integers(2, 20),
    window=st.integers(1, 6),
    when_unread=st.sampled_from(["continue", "pause", "cancel"]),
    attended=st.booleans(),
)
@example(  # a late reader draws level behind a handler that ran on meanwhile
    commands=[("join", 10, "block"), ("send", 5, None), ("send", 5, None), ("read", 0, 10)],
    start=20,
    window=4,
    when_unread="continue",
    attended=True,
)
@example(  # a job that pauses goes on from where its last reader had come, not from where it began
    commands=[
        ("join", 0, "gap"),
        ("send", 3, None),
        ("read", 0, 30),
        ("leave", 0, None),
        ("send", 5, None),
    ],
    start=10,
    window=4,
    when_unread="pause",
    attended=True,
)
@example(  # a reader that holds nobody is a reader, so the job does not pause
    commands=[("join", 0, "gap"), ("send", 5, None), ("send", 5, None)],
    start=10,
    window=4,
    when_unread="pause",
    attended=True,
)
@example(  # a reader that joins a window behind has caught up
    commands=[("join", 4, "block"), ("send", 1, None)],
    start=10,
    window=4,
    when_unread="continue",
    attended=True,
)
def test_room(commands: list[Any], start: int, window: int, when_unread: Any, attended: bool) -> None:
    """There is room unless a reader that has caught up, or the last one that a paused job had, is a window
    behind; and sending never gets the handler further ahead of such a reader than the window."""

    async def scenario() -> None:
        readers = Readers(window)
        last_seq = furthest = start
        if attended:
            readers.attend(Deadlines(Timeouts()), Options(when_unread=when_unread), last_seq)
        present: list[Reader] = []

        def floor() -> int:
            held = [r.cursor for r in present if r.policy == "block" and r.cursor >= r.joined]
            if held:
                return min(held)
            return furthest if attended and when_unread == "pause" and not present else last_seq

        for command, amount, extra in commands:
            if command == "join":
                reader = Reader(max(0, last_seq - amount), extra)
                if last_seq - reader.cursor > window:
                    reader.joined = last_seq
                readers.join(reader, last_seq)
                present.append(reader)
            elif command == "leave" and present:
                readers.leave(present.pop(amount % len(present)))
            elif command == "read" and present:
                reader = present[amount % len(present)]
                for _ in range(min(extra, last_seq - reader.cursor)):
                    reader.cursor += 1
                    furthest = max(furthest, reader.cursor)
                    readers.advanced(reader)
            elif command == "send":
                for _ in range(amount):
                    if room := readers.room(last_seq):
                        assert 1 <= room <= window
                        last_seq += 1
            elif command == "note":
                last_seq += amount  # progress and the like ask for no room
            free = max(0, window - (last_seq - floor()))
            assert (readers.room(last_seq) == 0) == (free == 0)
            assert readers.room(last_seq) <= free
            assert len(readers) == len(present)
            assert readers.idle == (not present and not attended)
        readers.dismiss()
        assert readers.idle == (not present)

    trio.run(scenario, clock=MockClock())


async def test_waiting_for_room(autojump_clock: MockClock) -> None:
    """The attempt waits until the reader reads or leaves, or the attempt is over, and no longer."""
    deadlines = Deadlines(Timeouts())

    async def send(after: int) -> None:
        await readers.wait_room(after)
        passed.append(trio.current_time())

    for release in ("read", "leave", "dismiss"):
        passed: list[float] = []
        readers = Readers(2)
        reader = Reader(5, "block")
        readers.join(reader, 5)
        readers.attend(deadlines, Options(), 5)
        await readers.wait_room(6)
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send, 7)
            await trio.sleep(1)
            assert passed == []
            if release == "read":
                reader.cursor = 6
                readers.advanced(reader)
            elif release == "leave":
                readers.leave(reader)
            else:
                readers.dismiss()
        assert passed == [began + 1]


async def test_a_ring_without_room_waits_on(autojump_clock: MockClock) -> None:
    """An attempt that wakes without room waits again."""
    readers = Readers(2)
    slow, fast = Reader(5, "block"), Reader(5, "block")
    for reader in (slow, fast):
        readers.join(reader, 5)
    readers.attend(Deadlines(Timeouts()), Options(), 5)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(readers.wait_room, 7)
        for cursor in (6, 7):
            fast.cursor = cursor
            readers.advanced(fast)
            await wait_all_tasks_blocked()
            assert nursery.child_tasks
        slow.cursor = 6
        readers.advanced(slow)


@pytest.mark.parametrize(("when_unread", "rooms"), [("pause", [2, 1, 0, 0]), ("continue", [2, 1, 2, 1])])
async def test_the_room_of_a_new_job(when_unread: Any, rooms: list[int]) -> None:
    """Without a reader, a job that pauses may send a window from its beginning, others without a bound."""
    readers = Readers(2)
    readers.attend(Deadlines(Timeouts()), Options(when_unread=when_unread), 0)
    assert [readers.room(last_seq) for last_seq in range(4)] == rooms


async def test_attending_twice_is_attending_once(autojump_clock: MockClock) -> None:
    """The first attendance counts until the attempt is dismissed: a second one restarts no linger time, and
    does not move where reading is counted from."""
    deadlines = Deadlines(Timeouts())
    readers = Readers(2)
    options = Options(when_unread="cancel", linger=3)
    with deadlines.scope:
        readers.attend(deadlines, options, 2)
        await trio.sleep(2)
        readers.attend(deadlines, options, 2)
        await trio.sleep_forever()
    assert trio.current_time() == 3
    readers.dismiss()
    assert readers.idle


async def test_leaving_twice_is_leaving_once(autojump_clock: MockClock) -> None:
    """Counting out a reader twice, or one that was never counted in, has no effect."""
    readers = Readers(2)
    one, other = Reader(1, "block"), Reader(1, "block")
    readers.join(one, 1)
    readers.leave(other)
    readers.leave(one)
    readers.leave(one)
    assert len(readers) == 0
    assert readers.idle


@pytest.mark.parametrize("when_unread", ["continue", "pause"])
async def test_an_unread_job_that_nobody_wants_cancelled(when_unread: Any, autojump_clock: MockClock) -> None:
    """Without `cancel` an unread job is not cancelled, whichever readers came and left."""
    deadlines = Deadlines(Timeouts())
    readers = Readers(2)
    reader = Reader(2, "gap")
    with deadlines.scope:
        readers.attend(deadlines, Options(when_unread=when_unread, linger=3), 2)
        readers.join(reader, 2)
        readers.leave(reader)
        await trio.sleep(50)
    assert deadlines.cause() is None


async def test_a_late_reader_that_comes_again() -> None:
    """A reader that was behind, left, and returns when it is level, holds the handler like any other."""
    readers = Readers(2)
    reader = Reader(0, "block")
    readers.join(reader, 50)
    assert readers.room(50) > 0
    readers.leave(reader)
    reader.cursor = 50
    readers.join(reader, 50)
    assert readers.room(52) == 0


async def test_readers_are_kept_while_they_are_needed(autojump_clock: MockClock) -> None:
    """A job's readers are kept from their first use until no reader and no attempt is left."""
    by_job = ReadersByJob(7)
    assert by_job.window == 7
    readers = by_job["job"]
    assert by_job["job"] is readers
    reader = Reader(0, "gap")
    readers.join(reader, 0)
    by_job.release("job")
    assert "job" in by_job
    readers.leave(reader)
    readers.attend(Deadlines(Timeouts()), Options(), 0)
    by_job.release("job")
    assert "job" in by_job
    readers.dismiss()
    by_job.release("job")
    assert "job" not in by_job
    by_job.release("job")
    assert not by_job


@pytest.mark.parametrize("policy", ["block", "gap"])
async def test_any_reader_stops_the_linger_time(policy: Any, autojump_clock: MockClock) -> None:
    """Readers of both policies stop the linger time; when the last one leaves it starts anew."""
    deadlines = Deadlines(Timeouts())
    readers = Readers(2)
    reader, other = Reader(2, cast("Policy", policy)), Reader(2, "gap")
    with deadlines.scope:
        readers.attend(deadlines, Options(when_unread="cancel", linger=3), 2)
        await trio.sleep(2)
        readers.join(reader, 2)
        readers.join(other, 2)
        await trio.sleep(50)
        readers.leave(reader)
        await trio.sleep(50)
        readers.leave(other)
        await trio.sleep_forever()
    assert trio.current_time() == 105


async def test_a_reader_that_reads_nothing() -> None:
    """A job that pauses goes on from the last event that was read, not from where a reader opened."""
    readers = Readers(2)
    readers.attend(Deadlines(Timeouts()), Options(when_unread="pause"), 0)
    reader = Reader(2, "block")
    readers.join(reader, 2)
    readers.leave(reader)
    assert readers.room(2) == 0
    readers.join(reader, 2)
    reader.cursor = 3
    readers.leave(reader)
    assert readers.room(3) == 2


async def test_when_readers_have_to_say_that_they_move(autojump_clock: MockClock) -> None:
    """Readers report moves while the attempt waits for one of them, or one of them is late, and else not."""
    readers = Readers(2)
    assert readers.watchful is False
    level, late = Reader(9, "block"), Reader(0, "block")
    readers.join(level, 9)
    assert readers.watchful is False
    readers.join(late, 9)
    assert readers.watchful is True
    readers.leave(late)
    assert readers.watchful is False
    readers.join(late, 9)
    late.cursor = 8
    readers.advanced(late)
    assert readers.watchful is True
    late.cursor = 9
    readers.advanced(late)
    assert readers.watchful is False
    readers.attend(Deadlines(Timeouts()), Options(), 9)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(readers.wait_room, 11)
        await wait_all_tasks_blocked()
        assert readers.watchful is True
        level.cursor = 10
        readers.advanced(level)
        await wait_all_tasks_blocked()
        assert readers.watchful is True  # it waits on, for the other
        late.cursor = 10
        readers.advanced(late)
    assert readers.watchful is False
