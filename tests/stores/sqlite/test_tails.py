"""Tails: a process keeps the events that it appended, as long as the log cannot have changed otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from tests.stores.sqlite.parts import look_again, reader_of, signals_of
from trio_jobs import Kind, Retention, UnknownJob
from trio_jobs.stores.sqlite import SqliteStore, open_sqlite, tails
from trio_jobs.stores.sqlite.group import UNLIMITED, Transaction
from trio_jobs.testing import open_sqlite_in_lockstep
from trio_jobs.testing.checks.kit import completed, start, work


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobs.db"


def opened(path: Path, **options: Any) -> Any:
    return open_sqlite(path, handlers=[work], synchronous="normal", poll=60, **options)


async def say(store: SqliteStore, job_id: str, offset: int, *words: str, kind: Kind = Kind.TOKEN) -> None:
    await store.append(job_id, 1, kind, words, offset)


def known(store: SqliteStore, job_id: str, after: int, limit: int = 99) -> list[Any] | None:
    """Return the data of the events behind a cursor, if a tail has them."""
    found = signals_of(store).tails.behind(job_id, after, limit)
    return None if found is None else [event.data for event in found[0]]


async def followed(store: SqliteStore) -> str:
    """Return a running job that is followed from its `started` on, which has seq 2."""
    job_id = (await start(store)).submission.id
    assert len(await store.follow(job_id, 0, 99)) == 2
    return job_id


async def test_what_is_appended_here_is_known(path: Path) -> None:
    """A tail has the events behind any cursor from its start, equal to those in the file, up to a limit."""
    async with opened(path) as store:
        job_id = await followed(store)
        assert known(store, job_id, 2) == []
        await say(store, job_id, 0, "a", "b")
        await say(store, job_id, 2, "c")
        await say(store, job_id, 3, "d", "e", kind=Kind.SAVED)
        assert [known(store, job_id, after) for after in (1, 2, 3, 7, 8)] == [
            None,
            ["a", "b", "c", "d", "e"],
            ["b", "c", "d", "e"],
            [],
            None,
        ]
        assert known(store, job_id, 3, limit=2) == ["b", "c"]
        found = signals_of(store).tails.behind(job_id, 2, 99)
        assert found is not None
        assert found[0] == await store.read(job_id, 2, 99)
        assert await store.follow(job_id, 2, 99) == found[0]


async def test_a_follower_waits_for_what_comes(path: Path) -> None:
    """A follower gets appended events, and the end, without a read."""
    heard: list[Any] = []

    async def follow(job_id: str) -> None:
        cursor = 2
        while events := await store.follow(job_id, cursor, 99):
            heard.extend(event.kind for event in events)
            cursor = events[-1].seq

    async with opened(path) as store:
        job_id = await followed(store)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(follow, job_id)
            await trio.testing.wait_all_tasks_blocked()
            await say(store, job_id, 0, "a")
            await trio.testing.wait_all_tasks_blocked()
            await store.finish(job_id, 1, completed())
        assert heard == [Kind.TOKEN, Kind.COMPLETED]


async def test_giving_what_is_known_is_a_checkpoint(path: Path) -> None:
    """Reading from a tail is a checkpoint, and one that is cancelled there loses nothing."""
    async with opened(path) as store:
        job_id = await followed(store)
        await say(store, job_id, 0, "a")
        with trio.testing.assert_checkpoints():
            await store.follow(job_id, 2, 9)
        with trio.CancelScope() as scope:
            scope.cancel()
            await store.follow(job_id, 2, 9)
        assert scope.cancelled_caught
        assert [event.data for event in await store.follow(job_id, 2, 9)] == ["a"]


async def test_what_somebody_else_writes_is_read(path: Path) -> None:
    """Events of another process are read, whether a notice arrives first or a hole shows them."""
    async with opened(path) as store, opened(path) as other:
        for heard in (True, False):
            job_id = await followed(store)
            await other.request_cancel(job_id, "stop", 9.0)
            if heard:
                signals_of(store).ring_all()
            else:
                await say(store, job_id, 0, "a")
            assert known(store, job_id, 2) is None
            assert (await store.follow(job_id, 2, 9))[0].kind is Kind.CANCEL_REQUESTED


async def test_what_else_happens_here_is_read(path: Path) -> None:
    """A request to cancel, an end, and a removal are read."""
    async with opened(path) as store:
        job_id = await followed(store)
        await store.request_cancel(job_id, "stop", 9.0)
        assert known(store, job_id, 2) is None
        assert (await store.follow(job_id, 2, 9))[0].kind is Kind.CANCEL_REQUESTED
        await store.finish(job_id, 1, completed())
        assert known(store, job_id, 3) is None
        assert (await store.follow(job_id, 3, 9))[0].kind is Kind.COMPLETED
        assert await store.follow(job_id, 4, 9) == []
        await store.remove(job_id)
        with pytest.raises(UnknownJob):
            await store.follow(job_id, 4, 9)


async def test_what_is_trimmed_is_not_given(path: Path) -> None:
    """When the oldest events are trimmed from the file, the others are read there."""
    async with opened(path, retention=Retention(events=8)) as store:
        job_id = await followed(store)
        await say(store, job_id, 0, *"abcdefgh")
        assert known(store, job_id, 2) == [*"abcdefgh"]
        await say(store, job_id, 8, "i")
        assert known(store, job_id, 2) is None
        assert await store.follow(job_id, 2, 99) == await store.read(job_id, 2, 99)


async def test_tails_are_bounded(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tail is bounded in length, tails in number: the oldest rows, or the oldest tail, are dropped."""
    monkeypatch.setattr(tails, "_MOST", 2)
    async with opened(path) as store:
        jobs = [await followed(store) for _ in range(3)]
        assert [known(store, job_id, 2) for job_id in jobs] == [None, [], []]
        text = "x" * (tails._LONG // 2)
        for offset in range(3):
            await say(store, jobs[1], offset, text)
        assert [known(store, jobs[1], after) for after in (2, 3, 4)] == [None, None, [text]]
        await say(store, jobs[1], 3, text * 3)
        assert known(store, jobs[1], 5) is None
        assert known(store, jobs[1], 6) == []


@pytest.mark.parametrize("before", [True, False])
async def test_what_is_appended_while_it_is_read(
    path: Path, before: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Events appended during a read are in the tail, whether the read has them or not."""
    async with opened(path) as store:
        job_id = (await start(store)).submission.id
        real = reader_of(store).call

        async def overtaken(asked: Any) -> Any:
            if before:
                await say(store, job_id, 0, "a")
            answer = await real(asked)
            if not before:
                await say(store, job_id, 0, "a")
            return answer

        with monkeypatch.context() as patch:
            patch.setattr(reader_of(store), "call", overtaken)
            assert len(await store.follow(job_id, 0, 99)) == 2 + before
        assert known(store, job_id, 2) == ["a"]


def appended(job_id: str, *seqs: int) -> Transaction:
    """Return a transaction that has appended events, each in a row of its own."""
    rows = [(seq, 1, 1, "token", 0.0, None, f'["{seq}"]') for seq in seqs]
    return Transaction(None, 0.0, UNLIMITED, grown=[job_id], rows={0: rows})


def test_a_hole_is_noticed() -> None:
    """Events that another process wrote before those appended here are read, even without a notice."""
    of = tails.Tails()
    tail = of.begin("a")
    assert of.behind("a", 2, 9) is None
    of.have_read("a", tail, 2, over=False)
    of.on_transaction(appended("a", 3))
    of.on_transaction(appended("a", 3, 4))  # of which the first is known
    found = of.behind("a", 2, 9)
    assert found is not None
    assert [event.data for event in found[0]] == ["3", "4"]
    of.have_read("a", of.begin("a"), 2, over=False)
    assert of.behind("a", 2, 9) == found
    of.on_transaction(appended("a", 6))
    assert of.behind("a", 2, 9) is None
    of.have_read("a", tail, 6, over=False)
    assert of.behind("a", 6, 9) is None


def test_the_end_of_a_log_has_no_tail() -> None:
    """A log that has ended has no tail, in which a level reader would wait for ever."""
    of = tails.Tails()
    of.have_read("a", of.begin("a"), 3, over=True)
    assert of.behind("a", 3, 9) is None


@pytest.mark.parametrize("over", [False, True])
def test_a_read_says_nothing_of_a_tail_that_began_after_it(over: bool) -> None:
    """A tail that began after a read may lack events in between, so the read does not extend it."""
    of = tails.Tails()
    earlier = of.begin("a")
    of.forget()
    of.on_transaction(appended("a", 3))
    later = of.begin("a")
    of.have_read("a", earlier, 2, over=over)
    assert of.behind("a", 2, 9) is None
    of.have_read("a", later, 3, over=False)
    assert of.behind("a", 3, 9) == ([], 3)


async def test_a_reader_whose_read_is_overtaken_hears_of_the_end(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader whose read was before the end gets it, also if another reader began a read meanwhile."""
    async with opened(path) as store:
        claim = await start(store)
        job_id, read = claim.submission.id, reader_of(store).call
        late, may_go = trio.Event(), trio.Event()

        async def held_up(work: Any) -> Any:
            answer = await read(work)
            if not late.is_set():
                late.set()
                await may_go.wait()
            return answer

        monkeypatch.setattr(reader_of(store), "call", held_up)
        got: list[Any] = []

        async def follow(after: int) -> None:
            got.append(await store.follow(job_id, after, 99))

        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(follow, 2)
                await late.wait()
                signals_of(store).tails.forget()  # as after a write of another process
                await store.finish(job_id, 1, completed(None))
                signals_of(store).tails.begin(job_id)  # as another reader does
                may_go.set()
        assert [event.kind for event in got[0]] == [Kind.COMPLETED]


async def follow_into(store: SqliteStore, job_id: str, after: int, got: list[Any]) -> None:
    got.append([event.data for event in await store.follow(job_id, after, 99)])


@pytest.mark.parametrize("knows", [False, True])
async def test_who_waits_hears_of_what_another_reader_has_found_first(
    path: Path, monkeypatch: pytest.MonkeyPatch, knows: bool
) -> None:
    """Another process writes, and a reader finds that before the notice: a reader that waits behind fewer
    events wakes, and so does a later one with a tail."""
    got: list[Any] = []
    two = (open_sqlite_in_lockstep(path, handlers=[work]) for _ in range(2))
    async with next(two) as store, next(two) as other, trio.open_nursery() as nursery:
        job_id = await followed(store)
        monkeypatch.setattr(store, "_look_for_news", trio.lowlevel.checkpoint)  # not yet
        if not knows:
            nursery.start_soon(follow_into, store, job_id, 2, got)
            await trio.testing.wait_all_tasks_blocked()
        await say(other, job_id, 0, "a")
        nursery.start_soon(follow_into, store, job_id, 3, [])
        await trio.testing.wait_all_tasks_blocked()
        if knows:
            nursery.start_soon(follow_into, store, job_id, 2, got)
            await trio.testing.wait_all_tasks_blocked()
        monkeypatch.undo()
        await look_again(store)
        await trio.testing.wait_all_tasks_blocked()
        assert got == [["a"]]
        nursery.cancel_scope.cancel()


def test_a_tail_is_not_older_than_what_was_read() -> None:
    """A read with more events than a tail shows that others have written: the tail continues behind it."""
    of = tails.Tails()
    tail = of.begin("a")
    of.have_read("a", tail, 2, over=False)
    of.on_transaction(appended("a", 3))
    of.have_read("a", tail, 5, over=False)
    assert of.behind("a", 3, 9) is None
    assert of.behind("a", 5, 9) == ([], 5)
    of.on_transaction(appended("a", 6))
    found = of.behind("a", 5, 9)
    assert found is not None
    assert [event.data for event in found[0]] == ["6"]
