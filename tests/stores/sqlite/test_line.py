"""A connection that is made anew: a failing disk is not reported as damage of the file."""

from __future__ import annotations

import ctypes
import errno
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import apsw
import pytest
import trio

from tests.inside import store_of
from tests.stores.sqlite.parts import line_of, reader_of, writer_of
from trio_jobs import JobContext, StoreCorrupt, StoreUnavailable, open_registry
from trio_jobs.stores import Where
from trio_jobs.stores.sqlite import SqliteStore, line, open_sqlite
from trio_jobs.testing.checks.kit import accept, completed, make, start, work

opened = partial(open_sqlite, handlers=[work])
READ = ctypes.CFUNCTYPE(
    ctypes.c_ssize_t, ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int64, use_errno=True
)


class Reads:
    """The system's reads of files, of which every so-manieth fails.

    Attributes:
        every: Which; 0 for none.
        left: How many are to fail at most.
        failed: How many did.
    """

    def __init__(self) -> None:
        self.every = self.count = self.failed = 0
        self.left = 10**9
        library = ctypes.CDLL(None, use_errno=True)
        self.real = library.pread64
        self.real.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int64]
        self.real.restype = ctypes.c_ssize_t

    def read(self, file: int, buffer: int, size: int, offset: int) -> int:
        self.count += 1
        if self.every and self.left and self.count % self.every == 0:
            self.failed += 1
            self.left -= 1
            ctypes.set_errno(errno.EIO)
            return -1
        return int(self.real(file, buffer, size, offset))


@pytest.fixture
def reads() -> Iterator[Reads]:
    found = Reads()
    callback = READ(found.read)
    system = apsw.VFS("reads", "unix")
    for name in ("pread", "pread64"):
        system.xSetSystemCall(name, ctypes.cast(callback, ctypes.c_void_p).value or 0)
    yield found
    system.xSetSystemCall(None, 0)
    system.unregister()


async def fill(store: SqliteStore, jobs: int) -> None:
    for number in range(jobs):
        claim = await start(store, "x" * 3000)
        await store.finish(claim.submission.id, 1, completed(number))


async def forget(store: SqliteStore) -> None:
    """Let the store read everything from the disk again."""
    for group in (reader_of(store), writer_of(store)):
        await group.call(lambda tx: [tx.db.execute("PRAGMA cache_size = 1"), tx.db.release_memory()])


async def results(store: SqliteStore) -> list[Any]:
    return [(await store.get(job.id)).result for job in await store.find(Where(), 99)]


async def test_a_read_that_fails_once(tmp_path: Path, reads: Reads) -> None:
    """A single failed read has no effect, wherever it is: apparent damage is checked again."""
    async with opened(tmp_path / "jobs.db", poll=60) as store:
        await fill(store, 20)
        await forget(store)
        reads.count = 0
        assert await results(store) == list(range(20))
        for number in range(1, reads.count + 1):
            await forget(store)
            reads.count, reads.every, reads.left = 0, number, 1
            try:
                found = await results(store)
            except StoreUnavailable as error:
                assert "its disk, or the system, refused" in str(error)
            else:
                assert found == list(range(20))
            reads.every = 0
        assert reads.failed > 20


@pytest.mark.parametrize("every", [2, 3, 5, 7])
async def test_reads_that_fail_for_a_while(every: int, tmp_path: Path, reads: Reads) -> None:
    """The store is unavailable then, and not damaged, for reading, writing and opening; afterwards it
    works."""
    path = tmp_path / "jobs.db"
    refusals = 0
    async with opened(path, poll=60) as store:
        await fill(store, 20)
        for _ in range(20):
            await forget(store)
            reads.every = every
            for verb in (store.find(Where(), 99), accept(store, make(delay=60))):
                try:
                    await verb
                except StoreUnavailable:
                    refusals += 1
            reads.every = 0
        for _ in range(20):
            reads.every = every
            try:
                async with opened(path, poll=60) as other:
                    await other.count(Where())
            except StoreUnavailable:
                refusals += 1
            reads.every = 0
        assert (await results(store))[:20] == list(range(20))
    assert refusals > 20
    async with opened(path) as store:  # which checks the whole of it
        assert (await results(store))[:20] == list(range(20))


async def test_workers_work_on(tmp_path: Path, reads: Reads) -> None:
    """A registry outlives a time in which the disk fails to read."""

    async def double(job: JobContext[Any], number: int) -> int:
        if number == 3:
            reads.every, reads.left = 2, 6
        await job.save("x" * 5000)
        return 2 * number

    async with open_registry(f"sqlite:///{tmp_path}/jobs.db", handlers=[double], capacity=1) as jobs:
        store = store_of(jobs)
        assert isinstance(store, SqliteStore)
        await forget(store)
        handles = await jobs.submit_many(double, [(number,) for number in range(10)])
        with trio.fail_after(60):
            for number, handle in enumerate(handles):
                result = None
                while result is None:
                    with suppress(StoreUnavailable):  # who waits is told, and may ask again
                        result = await handle.result()
                assert result == 2 * number
    assert reads.failed > 0


async def test_damage_is_told_as_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Damage is reported if the disk reads without an error, also on a new connection."""
    path = tmp_path / "jobs.db"
    async with opened(path, poll=60) as store:
        await fill(store, 9)
        await forget(store)
        (before,) = [line_of(reader_of(store)).db]

        def broken(tx: Any) -> None:
            raise apsw.CorruptError("malformed")

        with pytest.raises(StoreCorrupt, match="is damaged: malformed"):
            await reader_of(store).call(broken)
        assert line_of(reader_of(store)).db is not before
        assert await results(store) == list(range(9))


def test_a_file_without_a_log(tmp_path: Path) -> None:
    """A file without a log has no errors of the system either."""
    db, failed = apsw.Connection(str(tmp_path / "jobs.db")), line._failed_to_read
    assert not failed(db)
    db.execute("CREATE TABLE t (x)")
    assert not failed(db)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("INSERT INTO t VALUES (1)")
    assert not failed(db)
    db.close()
