"""Noticing the writes of other processes: at once where the system reports them, with one query for all."""

from __future__ import annotations

import ctypes
import math
import os
from collections import Counter
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from tests.stores.sqlite.parts import line_of, reader_of, writer_of
from trio_jobs import Kind, Priority, StoreUnavailable, UnknownJob
from trio_jobs.stores import Claimant
from trio_jobs.stores.sqlite import SqliteStore, notices, open_sqlite
from trio_jobs.stores.sqlite.calls import REST
from trio_jobs.stores.sqlite.clock import FileClock
from trio_jobs.stores.sqlite.notices import notify, watching
from trio_jobs.testing import open_sqlite_in_lockstep
from trio_jobs.testing.checks.kit import LONG, accept, completed, make, start, work

opened = partial(open_sqlite, handlers=[work])


def file_of(found: notices.Notices) -> int | None:
    """Return the descriptor by which a process notices writes."""
    return found._file


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobs.db"


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "inotify_init1"), reason="this system tells nothing")
async def test_a_touch_is_told(path: Path) -> None:
    """A watcher of a file wakes when its log was touched, and not when it was written or read."""
    log = notices.log_of(path)
    log.write_bytes(b"")
    with watching(path) as found, trio.fail_after(30):
        notify(path)
        assert await found.wait(60)
        log.write_bytes(b"more")
        log.read_bytes()
        assert not await found.wait(0)
        notify(path)
        notify(path)
        await found.wait(60)
    descriptor = file_of(found)
    assert descriptor is not None
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


async def test_a_file_that_is_gone_is_not_touched(path: Path, autojump_clock: object) -> None:
    """A touch is a hint: touching a removed file raises no error, and the wait ends by itself."""
    notify(path)
    with watching(path) as found:
        assert file_of(found) is None
        await found.wait(5)
        found.clear()
    assert trio.current_time() == 5


@pytest.mark.parametrize("missing", ["inotify_init1", "inotify_add_watch"])
def test_where_there_is_no_watch_to_be_had(path: Path, missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without inotify there is no notice, and no descriptor stays open."""
    real = ctypes.CDLL(None)
    notices.log_of(path).touch()
    before = len(list(Path("/proc/self/fd").iterdir()))

    class Refusing:
        def __getattr__(self, name: str) -> Any:
            return (lambda *args: -1) if name == missing else getattr(real, name)

    monkeypatch.setattr(ctypes, "CDLL", lambda name: Refusing())
    with watching(path) as found:
        assert file_of(found) is None
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    with watching(path) as found:
        assert file_of(found) is None
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize("told", [True, False])
async def test_others_are_heard(path: Path, told: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Writes of other processes are noticed at once where the system reports them, else at the next poll."""
    if not told:
        monkeypatch.setattr(notices, "_watch", lambda path: None)
    seconds = 1000.0 if told else 0.01
    async with opened(path, poll=seconds) as here, opened(path, poll=math.inf) as there:
        with trio.fail_after(30):
            for _ in range(3):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(here.due)
                    await trio.testing.wait_all_tasks_blocked()
                    (job_id,) = await accept(there, make())
                await here.claim(9, Claimant("here", LONG))
                await here.finish(job_id, 1, completed())


class Counted:
    """Counts what a store reads, by what it is asked.

    Attributes:
        reads: How often each was asked.
    """

    def __init__(self, store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reads = Counter[str]()
        real = reader_of(store).call

        async def call(work: Any) -> Any:
            self.reads[work.__closure__[1].cell_contents.__name__] += 1
            return await real(work)

        monkeypatch.setattr(reader_of(store), "call", call)


async def test_quiet_followers_are_left_alone(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write of another process wakes only tasks that wait for its job; finding that takes one query,
    however many jobs are followed and awaited."""
    ended: list[str] = []
    heard: list[Any] = []

    async def follow(job_id: str, after: int) -> None:
        heard.extend(await here.follow(job_id, after, 9))

    async def wait(job_id: str) -> None:
        ended.append((await here.ended(job_id)).id)

    async with opened(path) as here, opened(path) as there, trio.open_nursery() as nursery:
        counted = Counted(here, monkeypatch)
        quiet = await accept(there, *(make(delay=LONG) for _ in range(100)))
        loud = (await start(there)).submission.id
        for job_id in quiet:
            nursery.start_soon(follow, job_id, 1)
            nursery.start_soon(wait, job_id)
        nursery.start_soon(wait, loud)
        await trio.testing.wait_all_tasks_blocked()
        while counted.reads["page"] < 100 or counted.reads["ended"] < 101:
            await trio.sleep(0.001)
        await here.get(loud)  # when this has been read, so have the others
        counted.reads.clear()
        with trio.fail_after(60):
            for offset in range(20):
                await there.append(loud, 1, Kind.TOKEN, ["x"], offset)
                events = await here.follow(loud, 2 + offset, 9)
                assert [event.data for event in events] == ["x"]
            assert counted.reads["page"] <= 60
            assert counted.reads["ended"] == 0
            assert counted.reads["news"] <= 60
            await there.finish(loud, 1, completed())
            while not ended:
                await trio.sleep(0.001)
            await there.request_cancel(quiet[7], None)
            while len(ended) < 2 or not heard:
                await trio.sleep(0.001)
        assert (ended, heard[0].kind) == ([loud, quiet[7]], Kind.CANCEL_REQUESTED)
        assert counted.reads["ended"] <= 2
        assert counted.reads["page"] <= 70
        nursery.cancel_scope.cancel()


async def test_a_job_that_another_process_removes(path: Path) -> None:
    """Tasks that follow it, or wait for its end, get UnknownJob."""
    told: list[str] = []

    async def hear(verb: Any) -> None:
        with pytest.raises(UnknownJob):
            await verb()
        told.append("gone")

    async with opened(path) as here, opened(path) as there:
        (job_id,) = await accept(here, make(delay=LONG))
        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(hear, lambda: here.follow(job_id, 1, 9))
                nursery.start_soon(hear, lambda: here.ended(job_id))
                await trio.testing.wait_all_tasks_blocked()
                await here.get(job_id)
                await writer_of(there).call(lambda tx: tx.db.execute("DELETE FROM trio_jobs_job"))
        assert told == ["gone"] * 2


async def test_who_waits_is_woken_though_nothing_can_be_read(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If that query fails, each waiting task reads for itself, and gets the error."""
    async with opened(path) as here, opened(path) as there:
        (job_id,) = await accept(here, make(delay=LONG))

        async def hear() -> None:
            with pytest.raises(StoreUnavailable):
                await here.follow(job_id, 1, 9)

        async def unavailable(work: Any) -> Any:
            raise StoreUnavailable("gone")

        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(hear)
                await trio.testing.wait_all_tasks_blocked()
                await here.get(job_id)
                monkeypatch.setattr(reader_of(here), "call", unavailable)
                await accept(there, make())


async def test_one_query_for_all_handlers(path: Path) -> None:
    """A claim, and the wait before it, take as many statements with a hundred handlers as with one; jobs are
    claimed by rank, whatever their handlers."""
    counts: list[int] = []
    for many in (1, 100):
        handlers = {f"h{number}": work for number in range(many)}
        async with open_sqlite(path.with_name(f"{many}.db"), handlers=[work]) as store:
            rows = store._rows
            rows.handlers = {**rows.handlers, **handlers}
            wanted = [
                *await accept(store, make(priority=Priority.URGENT)),
                *await accept(store, make(priority=Priority.HIGH), make(priority=Priority.HIGH)),
                *await accept(store, make()),
            ]
            seen = Counter[bool]()

            def trace(db: object, sql: str, values: object, seen: Counter[bool] = seen) -> bool:
                seen["json_each(:handlers)" in sql] += 1
                return True

            for group in (reader_of(store), writer_of(store)):
                line_of(group).db.exec_trace = trace
            await store.due()
            claims = await store.claim(3, Claimant("w", LONG))
            for group in (reader_of(store), writer_of(store)):
                line_of(group).db.exec_trace = None
            assert [claim.submission.id for claim in claims] == wanted[:3]
            counts.append(seen[True])
    assert counts == [2, 2]


@pytest.mark.parametrize(("apart", "rests"), [(0.0, True), (1.0, False)])
async def test_a_rest_between_looks(
    path: Path, apart: float, rests: bool, monkeypatch: pytest.MonkeyPatch, autojump_clock: object
) -> None:
    """However many notices arrive, two queries have a pause between them; a later notice waits for none."""
    looks, cleared = list[float](), list[float]()

    class Telling(notices.Notices):
        async def wait(self, seconds: float) -> bool:
            await trio.sleep(apart)
            return True

        def clear(self) -> None:
            cleared.append(trio.current_time())

    async def version(before: int) -> int:
        looks.append(trio.current_time())
        if len(looks) == 5:
            scope.cancel()
        return before

    async with open_sqlite_in_lockstep(path, handlers=[work]) as store:
        monkeypatch.setattr(writer_of(store), "version", version)
        with trio.CancelScope() as scope:
            await store.poll(60.0, FileClock(None), Telling(), 0)
    gaps = [after - before for before, after in pairwise(looks)]
    assert gaps == pytest.approx([max(apart, REST)] * 4)
    assert cleared == (looks[1:] if rests else [])
