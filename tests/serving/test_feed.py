"""A feed sends every follower the log behind its cursor, once and in order, and encodes each batch once."""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.inside import store_of, worker_of
from tests.wire import encode_event
from trio_jobs import (
    Event,
    InvalidPayload,
    JobHandle,
    JobRegistry,
    Kind,
    Retention,
    UnknownJob,
    open_registry,
)
from trio_jobs.serving.batch import EventBatch, cut
from trio_jobs.serving.feed import Feed, Feeds, Follower
from trio_jobs.serving.limits import Limits
from trio_jobs.serving.options import ServerOptions
from trio_jobs.serving.subscription import Subscription


class Script:
    """A handler that sends what the test gives it."""

    def __init__(self) -> None:
        self.send, self._told = trio.open_memory_channel[list[Any]](math.inf)

    async def __call__(self, job: Any) -> str:
        async for values in self._told:
            await job.send_many(values)
        return "done"


class Reader(Follower):
    """A follower that keeps what it is sent.

    Args:
        after: Where it begins.
        takes: Whether it takes a batch at once, each time anew; for ever the last of them.
        most: How many events it takes at most.
        cost: Seconds that it takes to send to it at once.
    """

    def __init__(
        self, after: int, takes: Sequence[bool] = (True,), most: int | None = None, cost: float = 0.0
    ) -> None:
        super().__init__(Subscription(1, "job", "gap", most, after, after), None, lambda batch: batch.json)
        self.batches: list[EventBatch] = []
        self.at: list[float] = []
        self.pulled = 0
        self._takes = deque(takes)
        self._cost = cost

    def send_now(self, batch: EventBatch) -> bool:
        """See `Follower.send_now`."""
        takes = self._takes.popleft() if len(self._takes) > 1 else self._takes[0]
        if takes and len(batch.events) <= (self.subscription.window or math.inf):
            self.take(batch)
            _spend(self._cost)
            return True
        return False

    def take(self, batch: EventBatch) -> None:
        """Record a batch, and ack it."""
        assert batch.after == self.subscription.sent
        assert len(batch.events) <= (self.subscription.window or math.inf)
        self.batches.append(batch)
        self.at.append(trio.current_time())
        self.subscription.moved(batch.last)
        self.subscription.cursor = batch.last

    async def pull(self, feed: Feed) -> EventBatch:
        """Send one batch by itself."""
        batch = await feed.next(self)
        assert batch is not None
        self.pulled += 1
        self.take(batch)
        return batch

    async def read(self, feed: Feed) -> list[EventBatch]:
        """Read to the end of the log."""
        while (batch := await feed.next(self)) is not None:
            self.pulled += 1
            self.take(batch)
        return self.batches


def _spend(seconds: float) -> None:
    if seconds:
        clock = trio.lowlevel.current_clock()
        assert isinstance(clock, MockClock)
        clock.jump(seconds)


PULLS = (False,)
"""Of a follower that sends everything for itself."""


def feeds_of(jobs: JobRegistry, linger: float = 0.0, **limits: Any) -> Feeds:
    options = ServerOptions(limits=Limits(linger=linger, **limits))
    return Feeds(store_of(jobs), worker_of(jobs).readers, options)


@contextmanager
def feed_of(feeds: Feeds, job_id: str, after: int, last_seq: int) -> Generator[Feed]:
    """Give the feed of a job to a follower that begins at a place."""
    with feeds.following(Subscription(1, job_id, "gap", None, after, after), last_seq) as feed:
        yield feed


async def read(feed: Feed, cursor: int) -> list[EventBatch]:
    """Read to the end of the log."""
    return await Reader(cursor).read(feed)


def seqs(batches: list[EventBatch]) -> list[int]:
    return [event["seq"] for batch in batches if batch.events for event in json.loads(batch.json)]


@given(st.data())
def test_every_follower_reads_the_log(data: st.DataObject) -> None:
    """Followers that begin at any time, at any cursor, and take any number at once, each get the whole log
    behind their cursor, or the gap that it has there."""
    kept = data.draw(st.sampled_from([3, 20, 1000]), "kept")
    bursts = data.draw(st.lists(st.integers(0, 90), max_size=8), "bursts")
    clock = MockClock(autojump_threshold=0)
    result = trio.run(_followed, data, kept, bursts, clock=clock)
    last_seq, followers = result
    for after, batches in followers:
        covered = after
        for batch in batches:
            assert batch.after == covered
            if batch.events:
                found = json.loads(batch.json)
                assert [event["seq"] for event in found] == list(range(batch.after + 1, batch.last + 1))
                assert all(e["data"] == e["seq"] for e in found if e["kind"] == "token")
            covered = batch.last
        assert covered == last_seq
        if kept == 1000:
            assert not any(not batch.events for batch in batches)


async def _followed(
    data: st.DataObject, kept: int, bursts: list[int]
) -> tuple[int, list[tuple[int, list[EventBatch]]]]:
    followers: list[tuple[int, list[EventBatch]]] = []
    script = Script()
    async with open_registry(retention=Retention(events=kept)) as jobs:
        handle = await jobs.submit(script)
        feeds = feeds_of(jobs, data.draw(st.sampled_from([0.0, 0.01]), "linger"))

        async def follow(after: int, most: int) -> None:
            with feed_of(feeds, handle.id, after, (await handle.snapshot()).last_seq) as feed:
                takes = data.draw(st.lists(st.booleans(), min_size=1, max_size=4), "takes")
                followers.append((after, await Reader(after, takes, most).read(feed)))

        async with trio.open_nursery() as nursery:
            seq = 2
            for burst in bursts:
                for _ in range(data.draw(st.integers(0, 2), "join")):
                    after = data.draw(st.integers(0, seq), "after")
                    nursery.start_soon(follow, after, data.draw(st.sampled_from([1, 7, 256]), "most"))
                script.send.send_nowait(list(range(seq + 1, seq + 1 + burst)))
                seq += burst
                await wait_all_tasks_blocked()
            nursery.start_soon(follow, data.draw(st.integers(0, seq), "after"), 256)
            script.send.close()
        assert (await jobs.statistics()).readers == 0
        assert not feeds.shelf.weight
        return (await handle.snapshot()).last_seq, followers


flat = st.text(max_size=5) | st.integers(0, 9) | st.none()
values = flat | st.floats() | st.lists(flat, max_size=2)


@given(st.lists(values, min_size=1, max_size=8), st.sets(st.integers(0, 7), max_size=2))
async def test_batches_hold_what_each_event_is_by_itself(values: list[Any], gone: set[int]) -> None:
    """A batch has the encoding of each event, up to the first that JSON cannot hold."""
    events = [Event(n + 1, 1, Kind.TOKEN, 1.5, value) for n, value in enumerate(values) if n not in gone]
    found, expected = list[Any](), list[Any]()
    with suppress(InvalidPayload):
        for batch in cut(0, events, tracebacks=False):
            found += json.loads(batch.json) if batch.events else []
    with suppress(InvalidPayload):
        for event in events:
            expected.append(json.loads(encode_event(event, tracebacks=False)))
    assert found == expected


async def started(jobs: JobRegistry, script: Script) -> JobHandle[Any, str]:
    handle = await jobs.submit(script)
    await wait_all_tasks_blocked()
    return handle


async def test_a_batch_is_made_once(autojump_clock: MockClock) -> None:
    """Followers that are level get the same batch, encoded once for all of them."""
    script = Script()
    async with open_registry() as jobs:
        handle = await started(jobs, script)
        feeds = feeds_of(jobs)
        got: list[list[EventBatch]] = []
        async with trio.open_nursery() as nursery:
            for _ in range(5):

                async def follow() -> None:
                    with feed_of(feeds, handle.id, 0, 2) as feed:
                        got.append(await read(feed, 0))

                nursery.start_soon(follow)
            await wait_all_tasks_blocked()
            await script.send.send([1, 2])
            await wait_all_tasks_blocked()
            script.send.close()
        assert len(got) == 5
        for batches in zip(*got, strict=True):
            assert len(set(map(id, batches))) == 1
            assert len({id(batch.sse) for batch in batches}) == 1


async def test_lingering(autojump_clock: MockClock) -> None:
    """The first event after a pause is sent at once; those within `linger` are joined to one batch."""
    script = Script()
    async with open_registry() as jobs:
        handle = await started(jobs, script)
        with feed_of(feeds_of(jobs, linger=5.0), handle.id, 2, 2) as feed:
            await trio.sleep(10)
            began, reader = trio.current_time(), Reader(2, PULLS)
            await script.send.send([1])
            await reader.pull(feed)
            assert trio.current_time() == began
            for value in (2, 3, 4):
                await script.send.send([value])
            second = await reader.pull(feed)
            assert trio.current_time() == began + 5
            assert [event.data for event in second.events] == [2, 3, 4]
            script.send.close()


async def test_many_do_not_linger(autojump_clock: MockClock) -> None:
    """After a batch of a frame's size the feed reads on at once: lingering is for few events."""
    script = Script()
    async with open_registry() as jobs:
        handle = await started(jobs, script)
        with feed_of(feeds_of(jobs, linger=5.0), handle.id, 2, 2) as feed:
            began, reader = trio.current_time(), Reader(2, PULLS)
            await script.send.send([0] * 100)
            await wait_all_tasks_blocked()
            assert len((await reader.pull(feed)).events) == 100
            await script.send.send([1])
            await reader.pull(feed)
            assert trio.current_time() == began
            script.send.close()


@pytest.mark.parametrize(
    ("sending", "few", "many"),
    [(0.0, 0.01, 0.0), (0.001, 0.01, 0.002), (0.005, 0.01, 0.01), (0.01, 0.02, 0.02), (1.0, 2.0, 2.0)],
)
async def test_who_has_much_to_send_rests(
    autojump_clock: MockClock, sending: float, few: float, many: float
) -> None:
    """After a round nothing is read for as long as the round took."""
    script = Script()
    async with open_registry() as jobs:
        handle = await started(jobs, script)
        with feed_of(feeds_of(jobs, linger=0.01), handle.id, 2, 2) as feed:
            async with trio.open_nursery() as nursery:
                reader = Reader(2, cost=sending)
                nursery.start_soon(reader.read, feed)
                await trio.sleep(1)
                script.send.send_nowait([0])
                await wait_all_tasks_blocked()
                script.send.send_nowait([0] * 64)
                while len(reader.batches) < 2:
                    await trio.sleep(0.0005)
                script.send.send_nowait([0])
                script.send.close()
                await handle.wait()
                while len(reader.batches) < 3:
                    await trio.sleep(0.0005)
                first, second, third = reader.at[:3]
                assert second - first == pytest.approx(few, abs=0.001)
                assert third - second == pytest.approx(many, abs=0.001)


@pytest.mark.parametrize(("late", "share"), [(0.0, 1 / 2), (0.02, 1 / 6)])
async def test_frames_grow_where_many_send(autojump_clock: MockClock, late: float, share: float) -> None:
    """The sends of all feeds of a server take half of the time, or a sixth of it if the loop is full, however
    many there are; all get an equal share."""

    async def tick(job: Any) -> None:
        for number in range(300):
            await job.send(number)
            await trio.sleep(0.01)

    async def keep_busy() -> None:
        while True:
            await trio.lowlevel.checkpoint()
            _spend(late)

    count, cost = 50, 0.001
    async with open_registry() as jobs, trio.open_nursery() as others:
        if late:
            others.start_soon(keep_busy)
        handles = await jobs.submit_many(tick, [()] * count)
        feeds = feeds_of(jobs, linger=0.01)
        readers = [Reader(0, cost=cost) for _ in handles]

        async def follow(job_id: str, reader: Reader) -> None:
            with feed_of(feeds, job_id, 0, 2) as feed:
                await reader.read(feed)

        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            for handle, reader in zip(handles, readers, strict=True):
                nursery.start_soon(follow, handle.id, reader)
        elapsed = trio.current_time() - began
        others.cancel_scope.cancel()
    frames = [len(reader.batches) for reader in readers]
    assert 0.6 * share * elapsed < sum(frames) * cost < 1.2 * share * elapsed
    assert max(frames) <= 1.5 * min(frames)


async def test_a_round_gives_way(autojump_clock: MockClock) -> None:
    """During a round, other tasks run every other millisecond; all followers get the same batch."""
    script = Script()
    gaps = list[float]()

    async def watch() -> None:
        last = trio.current_time()
        while True:
            await trio.lowlevel.checkpoint()
            gaps.append(trio.current_time() - last)
            last = trio.current_time()

    async with open_registry() as jobs:
        handle = await started(jobs, script)
        with feed_of(feeds_of(jobs), handle.id, 2, 2) as feed:
            async with trio.open_nursery() as nursery:
                feed.followers = 200
                readers = [Reader(2, cost=0.0001) for _ in range(200)]
                for reader in readers:
                    nursery.start_soon(reader.read, feed)
                await wait_all_tasks_blocked()
                nursery.start_soon(watch)
                await script.send.send([1])
                with trio.fail_after(5):
                    while not all(reader.batches for reader in readers):
                        await trio.lowlevel.checkpoint()
                assert max(gaps) < 0.0025
                assert sum(gaps) > 0.019
                assert len({id(batch) for reader in readers for batch in reader.batches}) == 1
                assert not any(reader.pulled for reader in readers)
                nursery.cancel_scope.cancel()


async def test_who_does_not_take_it_leaves_the_round(autojump_clock: MockClock) -> None:
    """A follower that does not take a batch at once sends by itself, and rejoins, unseen by the others."""
    script = Script()
    async with open_registry() as jobs:
        handle = await started(jobs, script)
        with feed_of(feeds_of(jobs), handle.id, 2, 2) as feed:
            async with trio.open_nursery() as nursery:
                feed.followers = 3
                readers = [Reader(2), Reader(2, (False, True)), Reader(2)]
                for reader in readers:
                    nursery.start_soon(reader.read, feed)
                for values in ([1], [2], [3]):
                    await wait_all_tasks_blocked()
                    script.send.send_nowait(values)
                script.send.close()
                await handle.wait()
                await wait_all_tasks_blocked()
                assert [seqs(reader.batches) for reader in readers] == [[3, 4, 5, 6]] * 3
                assert [reader.pulled for reader in readers] == [0, 1, 0]


async def test_the_leader_leaves_in_the_midst_of_a_round(autojump_clock: MockClock) -> None:
    """Followers that an interrupted round did not reach catch up, and another one leads."""
    script = Script()
    async with open_registry() as jobs:
        handle = await started(jobs, script)
        with feed_of(feeds_of(jobs), handle.id, 2, 2) as feed:
            async with trio.open_nursery() as nursery:
                feed.followers = 40
                readers = [Reader(2, cost=0.0002) for _ in range(40)]
                scope = trio.CancelScope()

                async def lead() -> None:
                    with scope:
                        await readers[0].read(feed)

                nursery.start_soon(lead)
                await wait_all_tasks_blocked()
                for reader in readers[1:]:
                    nursery.start_soon(reader.read, feed)
                await wait_all_tasks_blocked()
                script.send.send_nowait([1])
                while not readers[0].batches:
                    await trio.lowlevel.checkpoint()
                scope.cancel()
                await wait_all_tasks_blocked()
                script.send.send_nowait([2])
                script.send.close()
                await trio.sleep(5)
                assert [seqs(reader.batches) for reader in readers[1:]] == [[3, 4, 5]] * 39
                assert any(reader.pulled for reader in readers[1:])


async def test_the_one_who_reads_leaves(autojump_clock: MockClock) -> None:
    """When the leading follower is cancelled, another one leads; nothing is lost."""
    script = Script()
    async with open_registry() as jobs:
        handle = await started(jobs, script)
        feeds = feeds_of(jobs)
        got: list[list[EventBatch]] = []

        async def follow(scope: trio.CancelScope) -> None:
            with scope, feed_of(feeds, handle.id, 0, 2) as feed:
                got.append(await read(feed, 0))

        first, second = trio.CancelScope(), trio.CancelScope()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(follow, first)
            await wait_all_tasks_blocked()  # so it is the one that reads
            nursery.start_soon(follow, second)
            await wait_all_tasks_blocked()
            first.cancel()
            await wait_all_tasks_blocked()
            await script.send.send([1, 2, 3])
            script.send.close()
        assert [seqs(batches) for batches in got] == [[1, 2, 3, 4, 5, 6]]


async def test_what_json_cannot_hold(autojump_clock: MockClock) -> None:
    """The events before such a value are sent; then each follower gets the error, each time."""
    script = Script()
    async with open_registry() as jobs:
        handle = await started(jobs, script)
        await script.send.send([1, object(), 2])
        await wait_all_tasks_blocked()
        feeds = feeds_of(jobs)
        with feed_of(feeds, handle.id, 0, 5) as feed:
            reader = Reader(0, PULLS)
            batch = await reader.pull(feed)
            assert batch.last == 3
            for _ in range(2):
                with pytest.raises(InvalidPayload, match="event 4 cannot be kept as JSON"):
                    await feed.next(reader)
            assert (await Reader(0).pull(feed)) is batch
        with feed_of(feeds, handle.id, 4, 5) as feed:
            batch = await Reader(4, PULLS).pull(feed)
            assert [event.data for event in batch.events] == [2]
        script.send.close()


async def test_a_gap_before_what_json_cannot_hold(autojump_clock: MockClock) -> None:
    """A gap is reported before the value behind it is refused."""
    script = Script()
    async with open_registry(retention=Retention(events=1)) as jobs:
        handle = await started(jobs, script)
        await script.send.send([1, 2, object()])
        await wait_all_tasks_blocked()
        with feed_of(feeds_of(jobs), handle.id, 2, 5) as feed:
            reader = Reader(2, PULLS)
            batch = await reader.pull(feed)
            assert (batch.events, batch.after, batch.last) == ((), 2, 4)
            with pytest.raises(InvalidPayload):
                await feed.next(reader)
        script.send.close()


async def test_large_events_have_batches_of_their_own(autojump_clock: MockClock) -> None:
    """Batches are cut at a size; a larger event is a batch by itself."""
    script = Script()
    async with open_registry() as jobs:
        handle = await started(jobs, script)
        await script.send.send(["x" * 200_000, "y" * 200_000, "z", "w" * 300_000])
        script.send.close()
        await handle.wait()
        with feed_of(feeds_of(jobs), handle.id, 2, 6) as feed:
            batches = await read(feed, 2)
            assert [len(batch.events) for batch in batches] == [1, 2, 1, 1]
            assert seqs(batches) == [3, 4, 5, 6, 7]


@pytest.mark.parametrize(("kept", "expected"), [(2**30, 4 * 2**20), (10**6, 10**6)])
async def test_what_is_kept_is_bounded(autojump_clock: MockClock, kept: int, expected: int) -> None:
    """A feed keeps some megabytes, and all feeds together their limit; a follower that is behind still gets
    everything, and nothing is kept for level ones."""
    script = Script()
    async with open_registry() as jobs:
        handle = await started(jobs, script)
        for _ in range(40):
            await script.send.send(["x" * 100_000])
        script.send.close()
        await handle.wait()
        feeds = feeds_of(jobs, kept=kept)
        with feed_of(feeds, handle.id, 0, 43) as feed, feed_of(feeds, handle.id, 0, 43):
            await Reader(0, PULLS).read(feed)
            assert expected - 500_000 < feeds.shelf.weight <= expected
            assert seqs(await read(feed, 0)) == list(range(1, 44))
        assert not feeds.shelf.weight


async def test_a_removed_job(autojump_clock: MockClock) -> None:
    """A follower of a removed job gets UnknownJob."""
    script = Script()
    async with open_registry() as jobs:
        handle = await started(jobs, script)
        script.send.close()
        await handle.wait()
        with feed_of(feeds_of(jobs), handle.id, 0, 3) as feed:
            await jobs.remove(handle.id)
            with pytest.raises(UnknownJob):
                await feed.next(Reader(0))


async def test_followers_are_readers(autojump_clock: MockClock) -> None:
    """A feed counts as a reader while it has a follower, and no longer."""
    script = Script()
    async with open_registry() as jobs:
        handle = await jobs.submit(script, when_unread="cancel", linger=5)
        feeds = feeds_of(jobs)
        with feed_of(feeds, handle.id, 0, 1):
            await trio.sleep(60)
            assert (await handle.snapshot()).state == "running"
            assert (await jobs.statistics()).readers == 2
        assert (await handle.wait()).state == "cancelled"
