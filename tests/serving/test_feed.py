"""A feed sends every follower the log behind its cursor, once and in order, and makes each piece once."""

from __future__ import annotations

import json
import math
from contextlib import suppress
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

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
from trio_jobs._audience import Audience
from trio_jobs._registry import inside
from trio_jobs.serving.feed import Feed, Feeds, Piece
from trio_jobs.serving.limits import Limits
from trio_jobs.serving.wire import encode_event
from trio_jobs.stores.memory import MemoryStore


class Script:
    """A handler that sends what it is told, when it is told."""

    def __init__(self) -> None:
        self.send, self._told = trio.open_memory_channel[list[Any]](math.inf)

    async def __call__(self, job: Any) -> str:
        async for values in self._told:
            await job.send_many(values)
        return "done"


def feeds_of(jobs: JobRegistry, linger: float = 0.0) -> Feeds:
    return Feeds(*inside(jobs), Limits(linger=linger), tracebacks=False)


async def read(feed: Feed, cursor: int, most: int = 256) -> list[Piece]:
    """Read to the end of the log."""
    pieces: list[Piece] = []
    while (piece := await feed.after(cursor, most)) is not None:
        assert piece.after == cursor
        assert len(piece.events) <= most
        pieces.append(piece)
        cursor = piece.last
    return pieces


def seqs(pieces: list[Piece]) -> list[int]:
    return [event["seq"] for piece in pieces if not piece.is_gap for event in json.loads(piece.json)]


@settings(max_examples=50)
@given(st.data())
def test_every_follower_reads_the_log(data: st.DataObject) -> None:
    """Followers that come at any time, at any place, and take any number at once, each read all that is
    behind their cursor: what the log has, or the gap that it has there."""
    kept = data.draw(st.sampled_from([3, 20, 1000]), "kept")
    bursts = data.draw(st.lists(st.integers(0, 90), max_size=8), "bursts")
    clock = MockClock(autojump_threshold=0)
    result = trio.run(_followed, data, kept, bursts, clock=clock)
    last_seq, followers = result
    for after, pieces in followers:
        covered = after
        for piece in pieces:
            assert piece.after == covered
            if not piece.is_gap:
                found = json.loads(piece.json)
                assert [event["seq"] for event in found] == list(range(piece.after + 1, piece.last + 1))
                assert all(e["data"] == e["seq"] for e in found if e["kind"] == "token")
            covered = piece.last
        assert covered == last_seq
        if kept == 1000:
            assert not any(piece.is_gap for piece in pieces)


async def _followed(
    data: st.DataObject, kept: int, bursts: list[int]
) -> tuple[int, list[tuple[int, list[Piece]]]]:
    followers: list[tuple[int, list[Piece]]] = []
    script = Script()
    async with open_registry(retention=Retention(events=kept)) as jobs:
        handle = await jobs.submit(script)
        feeds = feeds_of(jobs, data.draw(st.sampled_from([0.0, 0.01]), "linger"))

        async def follow(after: int, most: int) -> None:
            with feeds.following(handle.id, after, (await handle.snapshot()).last_seq) as (feed, _):
                followers.append((after, await read(feed, after, most)))

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
        assert not feeds._feeds
        return (await handle.snapshot()).last_seq, followers


flat = st.text(max_size=5) | st.integers(0, 9) | st.none()
values = flat | st.floats() | st.lists(flat, max_size=2)


@given(st.lists(values, min_size=1, max_size=8), st.sets(st.integers(0, 7), max_size=2))
async def test_pieces_hold_what_each_event_is_by_itself(values: list[Any], gone: set[int]) -> None:
    """Pieces hold each event as it is encoded by itself, up to the first that JSON cannot hold."""
    feed = Feed(MemoryStore(), "job", 0, Audience(64), linger=0.0, tracebacks=False)
    events = [Event(n + 1, 1, Kind.TOKEN, 1.5, value) for n, value in enumerate(values) if n not in gone]
    found, expected = list[Any](), list[Any]()
    with suppress(InvalidPayload):
        for piece in feed._pieces(0, events):
            found += json.loads(piece.json) if piece.events else []
    with suppress(InvalidPayload):
        for event in events:
            expected.append(json.loads(encode_event(event, tracebacks=False)))
    assert found == expected


async def started(jobs: JobRegistry, script: Script) -> JobHandle[Any, str]:
    handle = await jobs.submit(script)
    await wait_all_tasks_blocked()
    return handle


async def test_a_piece_is_made_once(autojump_clock: MockClock) -> None:
    """Followers who are level get the very same piece: its text is made once, for all of them."""
    script = Script()
    async with open_registry() as jobs:
        handle = await started(jobs, script)
        feeds = feeds_of(jobs)
        got: list[list[Piece]] = []
        async with trio.open_nursery() as nursery:
            for _ in range(5):

                async def follow() -> None:
                    with feeds.following(handle.id, 0, 2) as (feed, _):
                        got.append(await read(feed, 0))

                nursery.start_soon(follow)
            await wait_all_tasks_blocked()
            await script.send.send([1, 2])
            await wait_all_tasks_blocked()
            script.send.close()
        assert len(got) == 5
        for pieces in zip(*got, strict=True):
            assert len(set(map(id, pieces))) == 1
            assert len({id(piece.sse) for piece in pieces}) == 1


async def test_lingering(autojump_clock: MockClock) -> None:
    """The first event after a pause goes out at once; what follows within `linger` is joined to one piece."""
    script = Script()
    async with open_registry() as jobs:
        handle = await started(jobs, script)
        with feeds_of(jobs, linger=5.0).following(handle.id, 2, 2) as (feed, _):
            await trio.sleep(10)
            began = trio.current_time()
            await script.send.send([1])
            first = await feed.after(2)
            assert first is not None
            assert trio.current_time() == began
            for value in (2, 3, 4):
                await script.send.send([value])
            second = await feed.after(first.last)
            assert second is not None
            assert trio.current_time() == began + 5
            assert [event.data for event in second.events] == [2, 3, 4]
            script.send.close()


async def test_many_do_not_linger(autojump_clock: MockClock) -> None:
    """After a piece that was worth a frame the feed reads on at once: lingering is for crumbs."""
    script = Script()
    async with open_registry() as jobs:
        handle = await started(jobs, script)
        with feeds_of(jobs, linger=5.0).following(handle.id, 2, 2) as (feed, _):
            began = trio.current_time()
            await script.send.send([0] * 100)
            await wait_all_tasks_blocked()
            first = await feed.after(2)
            assert first is not None
            assert len(first.events) == 100
            await script.send.send([1])
            assert await feed.after(first.last) is not None
            assert trio.current_time() == began
            script.send.close()


@pytest.mark.parametrize(
    ("sending", "few", "many"),
    [(0.0, 0.01, 0.0), (0.001, 0.01, 0.004), (0.005, 0.02, 0.02), (0.01, 0.04, 0.04), (1.0, 1.03, 1.03)],
)
async def test_who_has_much_to_send_rests(
    autojump_clock: MockClock, sending: float, few: float, many: float
) -> None:
    """Three times as long as it took to send a piece nothing is read, but for no more than three lingers."""
    script = Script()
    async with open_registry() as jobs:
        handle = await started(jobs, script)
        with feeds_of(jobs, linger=0.01).following(handle.id, 2, 2) as (feed, _):
            cursor, waited = 2, list[float]()
            for count in (1, 64, 256, 1):
                began = trio.current_time() - sending
                script.send.send_nowait([0] * count)
                await wait_all_tasks_blocked()
                piece = await feed.after(cursor)
                assert piece is not None
                assert len(piece.events) == count
                cursor = piece.last
                waited.append(trio.current_time() - began)
                await trio.sleep(sending)
            assert waited[1:] == pytest.approx([few, many, sending])
            script.send.close()


async def test_the_one_who_reads_leaves(autojump_clock: MockClock) -> None:
    """When the follower that reads for all is cancelled, another one reads on; nothing is lost."""
    script = Script()
    async with open_registry() as jobs:
        handle = await started(jobs, script)
        feeds = feeds_of(jobs)
        got: list[list[Piece]] = []

        async def follow(scope: trio.CancelScope) -> None:
            with scope, feeds.following(handle.id, 0, 2) as (feed, _):
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
        assert [seqs(pieces) for pieces in got] == [[1, 2, 3, 4, 5, 6]]


async def test_what_json_cannot_hold(autojump_clock: MockClock) -> None:
    """What comes before such a value is sent; then each follower is told, and it stays that way."""
    script = Script()
    async with open_registry() as jobs:
        handle = await started(jobs, script)
        await script.send.send([1, object(), 2])
        await wait_all_tasks_blocked()
        feeds = feeds_of(jobs)
        with feeds.following(handle.id, 0, 5) as (feed, _):
            piece = await feed.after(0)
            assert piece is not None
            assert piece.last == 3
            for _ in range(2):
                with pytest.raises(InvalidPayload, match="event 4 cannot be kept as JSON"):
                    await feed.after(3)
            assert (await feed.after(0)) is piece
        with feeds.following(handle.id, 4, 5) as (feed, _):
            piece = await feed.after(4)
            assert piece is not None
            assert [event.data for event in piece.events] == [2]
        script.send.close()


async def test_a_gap_before_what_json_cannot_hold(autojump_clock: MockClock) -> None:
    """A gap is told before what stands behind it is refused."""
    script = Script()
    async with open_registry(retention=Retention(events=1)) as jobs:
        handle = await started(jobs, script)
        await script.send.send([1, 2, object()])
        await wait_all_tasks_blocked()
        with feeds_of(jobs).following(handle.id, 2, 5) as (feed, _):
            piece = await feed.after(2)
            assert piece is not None
            assert (piece.is_gap, piece.after, piece.last) == (True, 2, 4)
            with pytest.raises(InvalidPayload):
                await feed.after(4)
        script.send.close()


async def test_large_events_have_pieces_of_their_own(autojump_clock: MockClock) -> None:
    """Pieces are cut at a size; an event that is larger is one by itself."""
    script = Script()
    async with open_registry() as jobs:
        handle = await started(jobs, script)
        await script.send.send(["x" * 200_000, "y" * 200_000, "z", "w" * 300_000])
        script.send.close()
        await handle.wait()
        with feeds_of(jobs).following(handle.id, 2, 6) as (feed, _):
            pieces = await read(feed, 2)
            assert [len(piece.events) for piece in pieces] == [1, 2, 1, 1]
            assert seqs(pieces) == [3, 4, 5, 6, 7]


async def test_what_is_kept_is_bounded(autojump_clock: MockClock) -> None:
    """However much passes, a feed keeps about a megabyte of text; who is behind that still reads all."""
    script = Script()
    async with open_registry() as jobs:
        handle = await started(jobs, script)
        for _ in range(40):
            await script.send.send(["x" * 100_000])
        script.send.close()
        await handle.wait()
        with feeds_of(jobs).following(handle.id, 0, 43) as (feed, _):
            await read(feed, 0)
            assert feed._bytes <= 1.5 * 2**20
            assert sum(len(piece.json) for piece in feed._order) == feed._bytes
            assert set(feed._recent) == {piece.after for piece in feed._order}
            assert seqs(await read(feed, 0)) == list(range(1, 44))


async def test_a_removed_job(autojump_clock: MockClock) -> None:
    """Who follows a job that is removed is told that there is none."""
    script = Script()
    async with open_registry() as jobs:
        handle = await started(jobs, script)
        script.send.close()
        await handle.wait()
        with feeds_of(jobs).following(handle.id, 0, 3) as (feed, _):
            await jobs.remove(handle.id)
            with pytest.raises(UnknownJob):
                await feed.after(0)


async def test_followers_are_readers(autojump_clock: MockClock) -> None:
    """A feed counts as a reader while somebody follows, and no longer; a job that minds goes by that."""
    script = Script()
    async with open_registry() as jobs:
        handle = await jobs.submit(script, when_unread="cancel", linger=5)
        feeds = feeds_of(jobs)
        with feeds.following(handle.id, 0, 1):
            await trio.sleep(60)
            assert (await handle.snapshot()).state == "running"
            assert (await jobs.statistics()).readers == 1
        assert (await handle.wait()).state == "cancelled"
