"""The store: opening, waiting, closing, and the effects of other processes."""

from __future__ import annotations

import os
import threading
from functools import partial
from pathlib import Path
from typing import Any

import apsw
import pytest
import trio
import trio.testing

from tests.stores.sqlite.parts import line_of, reader_of, writer_of
from trio_jobs import InvalidPayload, Kind, Reason, Retention, State, StoreUnavailable, UnknownJob
from trio_jobs.stores import Claimant, Where
from trio_jobs.stores.sqlite import open_sqlite
from trio_jobs.stores.sqlite.threads import RUN
from trio_jobs.testing.checks.kit import HOLDER, LONG, accept, completed, failed, make, start, woken, work

opened = partial(open_sqlite, handlers=[work])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobs.db"


@pytest.mark.parametrize(
    ("options", "error", "complaint"),
    [
        ({"synchronous": "off"}, ValueError, "^synchronous must be one of 'full', 'normal'; got 'off'"),
        ({"queue_limit": 0}, ValueError, "^queue_limit must be at least 1"),
        ({"handlers": [print]}, TypeError, "^print is not an async function"),
    ],
    ids=["synchronous", "queue_limit", "handlers"],
)
async def test_arguments_are_checked(
    options: dict[str, Any], error: type[Exception], complaint: str, path: Path
) -> None:
    """Wrong arguments are refused before a file is made."""
    with pytest.raises(error, match=complaint):
        async with open_sqlite(path, **options):
            pass
    assert not path.exists()


@pytest.mark.parametrize(("given", "level"), [({}, 2), ({"synchronous": "normal"}, 1)])
async def test_what_is_accepted_is_on_the_disk(given: dict[str, Any], level: int, path: Path) -> None:
    """By default each commit waits for the disk, with a write-ahead log; an option turns that off."""
    async with opened(path, **given) as store:
        (found, mode), _ = await writer_of(store).call(
            lambda tx: [tx.db.execute(f"PRAGMA {name}").get for name in ("synchronous", "journal_mode")]
        )
        assert (found, mode) == (level, "wal")


async def test_the_workers_that_hold_jobs_are_told(path: Path) -> None:
    """A worker that holds jobs is told, with how many, without child jobs, and when its last lease lapses."""
    async with opened(path) as store:
        assert await store.workers() == []
        await store.submit([make() for _ in range(4)], 2, Claimant("one", 30))
        await store.claim(1, Claimant('a "slow" one', 0.01))
        (first, second, *_), lapses = await store.find(Where(), 4), 60.0
        await store.heartbeat({first.id: 1}, lapses)
        await store.spawn(second.id, 1, make(), Claimant("one", 30))
        await trio.sleep(0.02)
        slow, quick = await store.workers()
        assert (slow.name, slow.running, quick.name, quick.running) == ('a "slow" one', 1, "one", 2)
        assert -10 < slow.lapses < 0
        assert 50 < quick.lapses <= lapses
        await store.sweep()
        await store.finish(first.id, 1, completed())
        assert [(one.name, one.running) for one in await store.workers()] == [("one", 1)]


async def test_a_reader_cannot_write(path: Path) -> None:
    """The connection that reads refuses every write."""
    async with opened(path) as store:
        with pytest.raises(StoreUnavailable, match="readonly"):
            await reader_of(store).call(lambda tx: tx.db.execute("DELETE FROM trio_jobs_job"))


async def test_nothing_is_left(path: Path) -> None:
    """Leaving the block ends its threads, closes the file and merges its log; an exception of the block is
    raised unchanged."""
    before = threading.enumerate()
    with pytest.raises(KeyError, match="mine"):
        async with opened(path) as store:
            await accept(store, make())
            raise KeyError("mine")
    for thread in set(threading.enumerate()) - set(before):
        thread.join(10)  # it has been told to end, and may be about to
        assert not thread.is_alive()
    assert [one.name for one in path.parent.iterdir()] == [path.name]
    with pytest.raises(trio.ClosedResourceError, match="is closed: its 'async with' block was left"):
        await store.count(Where())


async def test_a_cancellation_of_the_block(path: Path) -> None:
    """Cancelled attempts can still write their ends: the file is closed after the block."""
    async with trio.open_nursery() as nursery:

        async def run() -> None:
            async with opened(path) as store:
                claim = await start(store)
                try:
                    nursery.cancel_scope.cancel()
                    await trio.sleep_forever()
                finally:
                    with trio.CancelScope(shield=True):
                        await store.finish(claim.submission.id, 1, completed("at last"))

        nursery.start_soon(run)
    async with opened(path) as store:
        (job,) = await store.find(Where(), 9)
        assert (await store.get(job.id)).result == "at last"


async def test_an_id_that_is_no_text(path: Path) -> None:
    """An id that is no valid text is unknown."""
    async with opened(path) as store:
        for verb in (
            store.get("\ud800"),
            store.read("\ud800", 0, 9),
            store.history("\ud800"),
            store.follow("\ud800", 0, 9),
            store.ended("\ud800"),
            store.remove("\ud800"),
            store.request_cancel("\ud800", None),
        ):
            with pytest.raises(UnknownJob):
                await verb
        with pytest.raises(UnicodeEncodeError):  # who asks the store itself for nonsense is told so
            await store.find(Where(owner="\ud800"), 9)


async def test_jobs_by_tags(path: Path) -> None:
    """A job matches when it has all the tags, of which there may be 64."""
    many = {f"tag {number}": f"it's {number}" for number in range(64)}
    async with opened(path) as store:
        ids = await accept(store, make(tags=many), make(tags={"a": "b"}), make())
        for tags, wanted in [
            (many, ids[:1]),
            ({"tag 7": "it's 7"}, ids[:1]),
            ({**many, "a": "b"}, []),
            ({"a": "b"}, ids[1:2]),
            ({"a": "c"}, []),
            ({}, ids),
        ]:
            assert [job.id for job in await store.find(Where(tags=tags), 9)] == wanted
            assert sum((await store.count(Where(tags=tags))).values()) == len(wanted)


async def test_a_token_that_is_too_large(path: Path) -> None:
    """The error has its size and the limit; a token of the limit is kept, and other kinds have no limit."""
    async with opened(path, retention=Retention(token_bytes=10)) as store:
        claim = await start(store)
        await store.append(claim.submission.id, 1, Kind.TOKEN, ["x" * 8], 0)
        with pytest.raises(InvalidPayload, match="a token of 11 bytes is over Retention.token_bytes=10"):
            await store.append(claim.submission.id, 1, Kind.TOKEN, ["", "x" * 9], 1)
        await store.append(claim.submission.id, 1, Kind.SAVED, ["x" * 100], 1)
        assert [event.seq for event in await store.read(claim.submission.id, 2, 9)] == [3, 4]


async def test_a_fork_is_noticed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process with another pid can use the connections neither to read nor to write."""
    async with opened(path) as store:
        job_id = (await start(store)).submission.id
        with monkeypatch.context() as patch:
            patch.setattr(os, "getpid", lambda: -1)
            for verb in (store.get(job_id), store.claim(1, HOLDER)):
                with pytest.raises(RuntimeError, match="was opened before this process was forked off; open"):
                    await verb
        await store.get(job_id)


async def test_a_child_leaves_the_connections_alone(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that was forked inside the block and leaves it waits for no thread, as it has none, and
    closes nothing, as that would release its parent's locks."""
    with monkeypatch.context() as patch:
        async with opened(path) as store:
            lines = [line_of(writer_of(store)), line_of(reader_of(store))]
            patch.setattr(os, "getpid", lambda: -1)
    for line in lines:
        assert line.db.execute("SELECT 1").get == 1
        line.close()


async def test_what_others_write_wakes(path: Path) -> None:
    """A write of another connection wakes every kind of wait here."""
    async with opened(path) as here, opened(path) as there:
        job_id = (await start(there)).submission.id
        with trio.fail_after(30):
            events = await woken(
                "follow",
                here,
                lambda: here.follow(job_id, 2, 9),
                lambda: there.append(job_id, 1, Kind.TOKEN, ["x"], 0),
            )
            assert [event.data for event in events] == ["x"]
            requested = await woken(
                "cancelling",
                here,
                lambda: here.cancelling({}),
                lambda: there.request_cancel(job_id, None, 3.0),
            )
            assert requested == {job_id: 3.0}
            await woken("due", here, here.due, lambda: accept(there, make()))
            await woken("overdue", here, here.overdue, lambda: there.heartbeat({job_id: 1}, 0.0))
            ended = await woken(
                "ended", here, lambda: here.ended(job_id), lambda: there.finish(job_id, 1, failed())
            )
            assert ended.state is State.FAILED


async def test_what_is_found_fresh_is_not_waited_for(path: Path) -> None:
    """A lease that lapses or a job that becomes due without a write is noticed by time alone."""
    async with opened(path) as store:
        await accept(store, make(delay=0.02))
        with trio.fail_after(10):
            await store.due()
        (claim,) = await store.claim(1, Claimant("w", 0.02))
        with trio.fail_after(10):
            await store.overdue()
        await store.sweep()
        assert (await store.get(claim.submission.id)).state is State.RETRYING
        assert (await store.claim(1, HOLDER))[0].attempt == 2


async def test_waits_end_with_the_store(path: Path) -> None:
    """A wait for an event or an end raises ClosedResourceError when the block is left."""
    told: list[str] = []

    async def wait(store: Any, name: str, *args: object) -> None:
        with pytest.raises(trio.ClosedResourceError):
            await getattr(store, name)(*args)
        told.append(name)

    async with opened(path) as store, trio.open_nursery() as nursery:
        (job_id,) = await accept(store, make(delay=LONG))
        nursery.start_soon(wait, store, "follow", job_id, 1, 9)
        nursery.start_soon(wait, store, "ended", job_id)
        await trio.testing.wait_all_tasks_blocked()
        await store.get(job_id)
        store.close(Reason.SHUTDOWN)
    assert sorted(told) == ["ended", "follow"]


async def test_a_file_that_sqlite_does_not_open(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite's error on opening a connection is raised as ours, and nothing stays open."""

    def refuse(*args: object) -> None:
        raise apsw.CantOpenError("no")

    monkeypatch.setattr(apsw, "Connection", refuse)
    with pytest.raises(StoreUnavailable, match="jobs.db: no; see that it is a file"):
        async with opened(path):
            pass


async def test_no_thread_to_be_had(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the system gives no thread, opening and calling raise StoreUnavailable."""
    full = [False]

    async def run(*args: Any, **named: Any) -> Any:
        if full[0]:
            raise RuntimeError("can't start new thread")
        return await trio.to_thread.run_sync(*args, **named)

    before = RUN.set(run)
    async with opened(path, poll=60) as store:
        full[0] = True
        with pytest.raises(StoreUnavailable, match="can't start new thread; this process has too little"):
            await store.count(Where())
        with pytest.raises(StoreUnavailable, match="can't start new thread"):
            async with opened(path):
                pass
        full[0] = False
        assert await store.count(Where()) == {}
    RUN.reset(before)


async def test_tidying_up_that_fails(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An error in the cleanup hides no exception of the block, and is logged."""

    class Stubborn(apsw.Connection):
        def close(self, force: bool = False) -> None:
            super().close(force)
            raise apsw.IOError("injected")

    monkeypatch.setattr(apsw, "Connection", Stubborn)
    with pytest.raises(KeyError, match="mine"):
        async with opened(path):
            raise KeyError("mine")
    assert "jobs.db could not be tidied up while it was closed: injected" in caplog.text
