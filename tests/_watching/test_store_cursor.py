"""A cursor in a store's log, read by the store's verbs and in place, compared with the log itself."""

from __future__ import annotations

from typing import Any, Literal
from uuid import uuid4

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

import trio_jobs
from tests.inside import Deadlines
from trio_jobs import Ended, Event, Kind, Reason, Retention, StreamGap, Timeouts, UnknownJob
from trio_jobs._watching import cursor, raised, readers, store_cursor
from trio_jobs.stores import Options, Transition
from trio_jobs.stores.contract import Claimant, Outcome, Submission
from trio_jobs.stores.memory import MemoryStore
from trio_jobs.stores.records import Note

KINDS = pytest.mark.parametrize("kind", [store_cursor.StoreCursor, store_cursor.LocalCursor])


async def nothing(job: object) -> None: ...


async def running(keep: Retention | None = None) -> tuple[MemoryStore, str]:
    """Return a store with a job that runs."""
    store = MemoryStore(retention=keep)
    job_id = uuid4().hex
    await store.submit([Submission(job_id, "nothing", nothing, (), Options())], 1, Claimant("w"))
    return store, job_id


async def finish(store: MemoryStore, job_id: str, attempt: int = 1) -> None:
    """Let the attempt complete."""
    await store.finish(job_id, attempt, Outcome(Transition.COMPLETED))


def fields(note: Note) -> tuple[object, ...]:
    """Return what a note holds."""
    return note.attempt, note.kind, note.data, note.received


WRITES = st.sampled_from(["token", "tokens", "progress", "saved", "large", "again"])
READS = st.sampled_from(["pull", "take", "many", "none"])


@given(
    after=st.integers(0, 2),
    events=st.integers(1, 6),
    steps=st.lists(st.tuples(WRITES, st.lists(READS, max_size=4)), max_size=15),
)
def test_a_log_in_place(after: int, events: int, steps: list[tuple[str, list[str]]]) -> None:
    """Whatever is written and however it is read, a cursor returns the events behind it: each once and in
    order, every hole, and many tokens up to a hole or another event."""

    async def scenario() -> None:
        store, job_id = await running(Retention(events=events, bytes=2000))
        by_job = readers.ReadersByJob(3)
        place = store_cursor.LocalCursor(store, by_job, job_id, after, "block", raised=raised.Raised())
        await place.open()
        log, attempt, cursor = store.log(job_id), 1, after
        for write, reads in steps:
            if write == "again":
                log.append(attempt, Kind.RETRIED, 0.0, Ended(Reason.ERROR, delay=0.0))
                attempt += 1
                log.append(attempt, Kind.STARTED, 0.0, "w")
            elif write == "token":
                log.send("one")
            elif write == "large":
                log.send("x" * 3000)  # which is more than is kept, so nothing is at hand behind it
            else:
                kind = Kind.TOKEN if write == "tokens" else Kind(write)
                log.extend(kind, ["a", "b", "c"])
            for read in reads:
                rest = log.read(cursor, 1000)
                assert place.at_hand() == bool(rest)
                if not rest or read == "none":
                    continue
                first = rest[0]
                if read == "many":
                    wanted = list[Any]()
                    for seq, event in enumerate(rest, cursor + 1):
                        if event.seq != seq or event.kind is not Kind.TOKEN:
                            break
                        wanted.append(event.data)
                    if cursor >= log.before:  # what is in front of the dense part is given one by one
                        assert place.pull_tokens() == wanted
                        cursor += len(wanted)
                elif first.seq != cursor + 1:
                    with pytest.raises(StreamGap) as caught:
                        place.pull() if read == "pull" else place.take()
                    assert (caught.value.first, caught.value.last) == (cursor + 1, first.seq - 1)
                    cursor = first.seq - 1
                elif read == "pull":
                    assert place.pull() == first
                    cursor += 1
                else:
                    taken = place.take()
                    if first.kind is Kind.TOKEN:
                        assert taken == first.data
                    else:
                        assert fields(taken) == (first.attempt, first.kind, first.data, first.received)
                    cursor += 1
                assert place.cursor == cursor
        place.close()
        assert not by_job

    trio.run(scenario)


@KINDS
async def test_it_counts_as_a_reader(kind: type[Any]) -> None:
    """An open cursor holds the handler, and each way to move it makes room at once for a handler that waits;
    a closed one does not count."""
    store, job_id = await running()
    by_job = readers.ReadersByJob(2)
    place = kind(store, by_job, job_id, 2, "block", raised=raised.Raised())
    await place.open()
    log, here = store.log(job_id), by_job[job_id]
    told = list[int]()
    here.advanced = lambda reader: told.append(reader.cursor)  # type: ignore[method-assign]
    log.extend(Kind.TOKEN, ["a", "b", "c", "d", "e"])
    assert await place.ready()
    assert place.take() == "a"
    assert told == []  # nothing waits for it
    here.watchful = True
    assert place.take() == "b"
    assert place.pull().data == "c"
    assert place.pull_tokens() == ["d", "e"]
    assert told == [4, 5, 7]
    assert place.pull_tokens() == []
    assert told == [4, 5, 7]
    place.close()
    assert not by_job


@KINDS
@pytest.mark.parametrize("number", [0, 1, 253, 254, 255, 300])
async def test_a_long_log_is_read_to_its_end(kind: type[Any], number: int) -> None:
    """A log of any length is read to its end; a reader that begins far behind counts as late at once."""
    store, job_id = await running()
    store.log(job_id).extend(Kind.PROGRESS, [*range(number)])
    by_job = readers.ReadersByJob(2)
    place = kind(store, by_job, job_id, 0, "block", raised=raised.Raised())
    await place.open()
    assert by_job[job_id].room(number + 2) == (0 if number == 0 else 2)  # a late one holds nothing yet
    await finish(store, job_id)
    seen = list[Event]()
    while await place.ready():
        seen.append(place.pull())
        if len(seen) == 257 < number:
            assert by_job[job_id].room(number + 2) == 2  # it is still late
    assert [event.seq for event in seen] == [*range(1, number + 4)]
    assert await place.last() == seen[-1]
    assert place.cursor == number + 3


@KINDS
async def test_ahead_of_the_log(kind: type[Any]) -> None:
    """A cursor at the end of the log is accepted, and one beyond it raises a gap with the end."""
    store, job_id = await running()
    place = kind(store, readers.ReadersByJob(2), job_id, 2, "block", raised=raised.Raised())
    await place.open()
    with pytest.raises(StreamGap) as caught:
        await kind(store, readers.ReadersByJob(2), job_id, 3, "block", raised=raised.Raised()).open()
    assert (caught.value.first, caught.value.last, caught.value.oldest) == (3, 3, 2)


@KINDS
@pytest.mark.parametrize("policy", ["block", "gap"])
async def test_waiting(kind: type[Any], policy: Literal["block", "gap"]) -> None:
    """A reader that has read everything waits for the next event; after the terminal event it ends."""
    store, job_id = await running()
    place = kind(store, readers.ReadersByJob(2), job_id, 2, policy, raised=raised.Raised())
    await place.open()
    found = list[Any]()

    async def read() -> None:
        while await place.ready():
            found.append(place.take())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await wait_all_tasks_blocked()
        assert found == []
        store.log(job_id).send("a")
        await wait_all_tasks_blocked()
        assert found == ["a"]
        await finish(store, job_id)
    assert found[0] == "a"
    assert fields(found[1]) == (1, Kind.COMPLETED, None, 0)
    assert len(found) == 2


@KINDS
async def test_a_job_that_is_removed(kind: type[Any]) -> None:
    """A reader of a removed job gets UnknownJob, and its events are freed."""
    store, job_id = await running()
    await finish(store, job_id)
    place = kind(store, readers.ReadersByJob(2), job_id, 0, "block", raised=raised.Raised())
    await place.open()
    while place.at_hand():
        place.pull()
    place.cursor = 0
    await store.remove(job_id)
    with pytest.raises(UnknownJob):
        await place.ready()
    with pytest.raises(UnknownJob):
        await kind(store, readers.ReadersByJob(2), job_id, 0, "block", raised=raised.Raised()).open()


async def test_many_at_once_in_place() -> None:
    """A burst has at most 256 values, with the one before it."""
    store, job_id = await running()
    place = store_cursor.LocalCursor(store, readers.ReadersByJob(2), job_id, 2, "gap", raised=raised.Raised())
    await place.open()
    store.log(job_id).extend(Kind.TOKEN, [*range(600)])
    assert place.pull_tokens() == [*range(255)]
    assert place.pull_tokens() == [*range(255, 510)]


@KINDS
async def test_nothing_is_taken_where_nothing_is(kind: type[store_cursor.StoreCursor]) -> None:
    """A cursor with nothing at hand says so, and stays where it is."""
    store, job_id = await running()
    place = kind(store, readers.ReadersByJob(2), job_id, 2, "gap", raised=raised.Raised())
    await place.open()
    assert place.take() is cursor.NOTHING
    store.log(job_id).send("a")
    assert await place.ready()
    assert place.take() == "a"
    assert place.take() is cursor.NOTHING
    assert place.cursor == 3


async def test_the_beginning_in_place() -> None:
    """What tells a reader of values nothing is passed over while there is nothing else, and the handler that
    waits for that goes on; before the start, behind a token and behind the end nothing is."""
    store, job_id = await running()
    by_job = readers.ReadersByJob(2)
    place = store_cursor.LocalCursor(store, by_job, job_id, 0, "block", raised=raised.Raised())
    place.pass_beginning()
    assert place.cursor == 0  # it is not open
    await place.open()
    by_job[job_id].attend(Deadlines(Timeouts()), Options(), 2)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(by_job[job_id].wait_room, 2)
        await wait_all_tasks_blocked()
        place.pass_beginning()
    assert place.cursor == 2
    place.cursor = 0
    store.log(job_id).send("a")
    place.pass_beginning()
    assert place.cursor == 0
    waiting, ended, sent = uuid4().hex, uuid4().hex, uuid4().hex
    for new in (waiting, ended, sent):
        await store.submit([Submission(new, "nothing", nothing, (), Options())], 0, Claimant("w"))
        await store.request_cancel(new, None) if new == ended else None
        await store.send(new, "1", ["an input"]) if new == sent else None
        place = store_cursor.LocalCursor(store, by_job, new, 0, "block", raised=raised.Raised())
        await place.open()
        place.pass_beginning()
        assert place.cursor == 0


async def test_a_reader_of_values_waits_at_once() -> None:
    """To receive of a job that has begun, and sent nothing yet, takes one task switch and not two."""
    steps = 0

    class Steps(trio.abc.Instrument):
        def before_task_step(self, task: trio.lowlevel.Task) -> None:
            nonlocal steps
            steps += task is reader

    async with trio_jobs.open_registry() as jobs:
        reader = trio.lowlevel.current_task()
        handle = await jobs.submit(send_later)
        async with handle.stream() as stream:
            trio.lowlevel.add_instrument(Steps())
            assert await stream.receive() == 1
            assert (steps, stream.cursor) == (1, 3)


async def send_later(job: trio_jobs.JobContext[int]) -> None:
    """Send a token when all other tasks wait."""
    await wait_all_tasks_blocked()
    await job.send(1)
