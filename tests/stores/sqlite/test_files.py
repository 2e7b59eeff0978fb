"""Files: which are opened, how they are migrated, and that a refused one stays unchanged."""

from __future__ import annotations

import math
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import apsw
import pytest
import trio

from tests.stores.sqlite.parts import reader_of, time_in, writer_of
from trio_jobs import (
    Event,
    Job,
    Kind,
    Permanent,
    Progress,
    Reason,
    Retry,
    SchemaTooNew,
    State,
    StoreCorrupt,
    StoreUnavailable,
    Timeouts,
    UnknownJob,
)
from trio_jobs.stores import Where
from trio_jobs.stores.sqlite import clock, files, open_sqlite
from trio_jobs.stores.sqlite.queries import SCHEMAS
from trio_jobs.testing.checks.kit import (
    HOLDER,
    accept,
    completed,
    failed,
    make,
    other_work,
    retried,
    service_work,
    start,
    work,
)

RUNNING = "3bb503e0cde1f51316bf9c34469dae0b"  # in version_1.sql
opened = partial(open_sqlite, handlers=[work, other_work, service_work])


async def use(path: Path) -> None:
    """Open a file and do some work in it."""
    async with opened(path) as store:
        await accept(store, make(1))
        assert await store.claim(1, HOLDER)


def sql(path: Path, *statements: str) -> None:
    """Change a file with SQLite alone."""
    db = apsw.Connection(str(path))
    for statement in statements:
        db.execute(statement)
    db.close()


def make_file(path: Path) -> Path:
    trio.run(use, path)
    return path


def names(folder: Path) -> list[str]:
    return sorted(one.name for one in folder.iterdir())


def refused(path: Path, error: type[Exception], *facts: str) -> None:
    """Check that a file is refused with the facts in the message, and that no byte of it is changed."""
    before = path.read_bytes()
    with pytest.raises(error) as caught:
        trio.run(use, path)
    for fact in (str(path), *facts):
        assert fact in str(caught.value)
    assert path.read_bytes() == before
    assert names(path.parent) == [path.name]


# ------------------------------------------------------------ what is no store


@pytest.mark.parametrize("size", [1, 2, 15, 16, 99, 100, 511, 512, 5000])
def test_a_file_that_is_none_of_sqlite(size: int, tmp_path: Path) -> None:
    """A file that is not SQLite's is refused and left unchanged, however short."""
    path = tmp_path / "jobs.db"
    path.write_bytes(b"x" * size)
    refused(path, StoreCorrupt, "is no SQLite file, or its beginning is damaged", "give another path")


def test_an_empty_file_is_taken(tmp_path: Path) -> None:
    """An empty file is used like a new one."""
    path = tmp_path / "jobs.db"
    path.touch()
    make_file(path)


def test_tables_of_somebody_else(tmp_path: Path) -> None:
    """A program may keep its own tables in the file; they stay unchanged, and so do ours."""
    path = tmp_path / "jobs.db"
    sql(path, "CREATE TABLE job (x)", "INSERT INTO job VALUES (1), (2)", "PRAGMA user_version = 7")
    make_file(path)
    sql(path, "INSERT INTO job VALUES (3)", "CREATE INDEX mine ON job (x)")
    make_file(path)
    db = apsw.Connection(str(path))
    assert db.execute("SELECT group_concat(x) FROM job").get == "1,2,3"
    assert db.execute("PRAGMA user_version").get == 7
    assert db.execute("SELECT count(*) FROM trio_jobs_job").get == 2
    db.close()


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE trio_jobs_meta (name, value)",
        "CREATE TABLE trio_jobs_meta (a, b)",
        "CREATE TABLE trio_jobs_meta AS SELECT 'version' AS name, 'new' AS value",
        "CREATE TABLE trio_jobs_job (x)",
    ],
)
def test_tables_of_our_names(statement: str, tmp_path: Path) -> None:
    """Other tables with the names of ours are left unchanged."""
    path = tmp_path / "jobs.db"
    sql(path, statement)
    refused(path, StoreCorrupt, "has trio_jobs_", "or another program made it", "give another path")


def test_a_table_is_missing(tmp_path: Path) -> None:
    """A file without one of its tables is damaged, in the words of SQLite, also if that is found later."""
    path = make_file(tmp_path / "jobs.db")
    sql(path, "DROP TABLE trio_jobs_event")
    with pytest.raises(StoreCorrupt, match="jobs.db is damaged: no such table: trio_jobs_event. Nothing was"):
        trio.run(use, path)


# ------------------------------------------------------------ versions


def test_a_newer_version(tmp_path: Path) -> None:
    """A file of a newer version is refused before anything is written."""
    path = make_file(tmp_path / "jobs.db")
    sql(path, "UPDATE trio_jobs_meta SET value = 99 WHERE name = 'version'")
    refused(path, SchemaTooNew, "has version 99 of the schema, and this trio_jobs knows 4; upgrade trio_jobs")


def from_dump(path: Path, version: int = 1) -> Path:
    sql(path, (Path(__file__).parent / f"version_{version}.sql").read_text("utf-8"))
    return path


def schema(path: Path) -> list[Any]:
    db = apsw.Connection(str(path))
    found = list(db.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY name"))
    db.close()
    return found


@pytest.mark.parametrize("version", [1, 2, 3])
def test_a_version_is_as_it_was(version: int, tmp_path: Path) -> None:
    """A published script is never changed, only followed by another one."""
    db = apsw.Connection(str(tmp_path / "new.db"))
    for script in SCHEMAS[:version]:
        db.execute(script)
    db.close()
    assert schema(from_dump(tmp_path / "old.db", version)) == schema(tmp_path / "new.db")


def test_an_older_version_is_read(tmp_path: Path) -> None:
    """A file of version 1 has its jobs and logs, and its work goes on."""

    async def look() -> None:
        async with opened(path) as store:
            jobs = [await store.get(one.id) for one in await store.find(Where(), 100)]
            assert [str(job.state) for job in jobs] == [
                *("queued", "running", "running", "completed", "failed", "cancelled", "retrying")
            ]
            assert (jobs[0].key, jobs[0].owner, jobs[0].tags) == ("k", "me", {"a": "b"})
            assert (jobs[1].saved, jobs[3].result) == ({"half": True}, {"answer": 42})
            assert jobs[2].parent == jobs[1].id
            tokens = [event.data for event in await store.read(jobs[1].id, 2, 3)]
            assert tokens == ["a", None, {"b": [1]}]
            await store.sweep()  # the boot is another one, so its worker is gone
            after = [(await store.get(job.id)).state for job in jobs[1:3]]
            assert after == [State.RETRYING, State.CANCELLED]

    path = from_dump(tmp_path / "jobs.db")
    trio.run(look)


def test_what_is_made_of_version_1(tmp_path: Path) -> None:
    """Jobs of version 1 are counted, found by tag and owner, and read as before; so is a key."""

    async def look() -> None:
        async with opened(path) as store:
            (tagged,) = await store.find(Where(tags={"a": "b"}), 9)
            assert [job.id for job in await store.find(Where(owner="me"), 9)] == [tagged.id]
            assert (tagged.tags, tagged.args_bytes) == ({"a": "b"}, len('["queued"]'))
            assert await store.count(Where(owner="me")) == {State.QUEUED: 1}
            assert (await store.count(Where(handler="work")))[State.RUNNING] == 2
            job = await store.get(tagged.id)
            assert (job.retry, job.metadata, job.timeouts) == (Retry(), {}, Timeouts())
            failed_one = (await store.find(Where(frozenset({State.FAILED})), 9))[0]
            error = (await store.get(failed_one.id)).error
            assert error is not None
            assert (error.type, error.traceback) == ("ValueError", "Traceback\n  line\n")
            (progress,) = await store.read(RUNNING, 5, 1)
            assert progress.data == Progress(1, 2, "x")
            ids, _ = await store.submit([make("queued", key="k", owner="me", priority=0)], 0, HOLDER)
            assert ids == [tagged.id]

    path = from_dump(tmp_path / "jobs.db")
    for _ in range(2):
        trio.run(look)


def test_options_of_version_1(tmp_path: Path) -> None:
    """Infinite factors, metadata and options that are no JSON are migrated too."""
    path = from_dump(tmp_path / "jobs.db")
    sql(
        path,
        "UPDATE trio_jobs_job SET options = json_set(options, '$.retry[2]', NULL, '$.metadata.a', 7, "
        "'$.timeouts[0]', 5) WHERE number = 1",
        "UPDATE trio_jobs_job SET options = '{' WHERE number = 7",
    )

    async def look() -> None:
        async with opened(path) as store:
            first, *_, last = await store.find(Where(), 9)
            job = await store.get(first.id)
            assert (job.retry.factor, job.metadata, job.timeouts) == (math.inf, {"a": 7}, Timeouts(run=5))
            assert "its stored options cannot be read" in str(last.message)

    trio.run(look)


def test_version_1_is_brought_up_by_who_is_alone(tmp_path: Path) -> None:
    """While another process, which cannot notice a migration, has the file open, it is refused unchanged."""
    path = from_dump(tmp_path / "jobs.db")
    other = apsw.Connection(str(path))
    other.execute("PRAGMA journal_mode = WAL")
    other.execute("SELECT count(*) FROM trio_jobs_job").fetchall()
    with pytest.raises(StoreUnavailable, match="has version 1 of the schema and is open elsewhere"):
        trio.run(use, path)
    assert other.execute("SELECT value FROM trio_jobs_meta WHERE name = 'version'").get == 1
    other.close()
    make_file(path)


# What a worker of version 2 writes for an attempt that runs, in its own words.
WORKER_2 = """
INSERT INTO trio_jobs_event (id, count, attempt, kind, at, data)
    VALUES (1 << 32 | 8, 1, 1, 'token', 1.8e9, '["b"]');
UPDATE trio_jobs_job
SET seq = 8, appended = appended + 1, kept = kept + 1, bytes = bytes + 5,
    saved = coalesce(NULL, saved), progress = coalesce(NULL, progress)
WHERE number = 1 AND state = 'running' AND attempt = 1;
UPDATE trio_jobs_job
SET state = 'completed', reason = NULL, message = NULL, error = NULL, result = '7', lease = NULL,
    expires = NULL, finished = 1.8e9, seq = seq + 1, due = coalesce(NULL, due), spent = spent - 0
WHERE number = 1 AND state IN ('running');
INSERT INTO trio_jobs_event (id, count, attempt, kind, at, data)
    VALUES (1 << 32 | 9, 1, 1, 'completed', 1.8e9, '[7]');
"""


async def test_version_2_is_brought_up_beside_its_workers(tmp_path: Path) -> None:
    """A worker of version 2 that has the file open ends what it runs, but may claim nothing more.

    The jobs that it wrote are as they were, and get inputs.
    """
    path = from_dump(tmp_path / "jobs.db", 2)
    worker = apsw.Connection(str(path))
    worker.execute("PRAGMA journal_mode = WAL")
    assert worker.execute("SELECT value FROM trio_jobs_meta WHERE name = 'compat'").get == 2
    async with opened(path) as store:
        assert worker.execute("SELECT value FROM trio_jobs_meta WHERE name = 'compat'").get == 4
        jobs = [await store.get(one.id) for one in await store.find(Where(), 100)]
        assert [str(job.state) for job in jobs] == [
            *("running", "running", "completed", "failed", "cancelled", "retrying", "retrying", "queued")
        ]
        assert {job.unconsumed for job in jobs} == {0}
        assert (jobs[-1].key, jobs[-1].owner, jobs[-1].tags, jobs[-1].metadata) == (
            *("k", "me", {"a": "b"}),
            {"m": 1},
        )
        assert [event.received for event in await store.read(jobs[2].id, 0, 9)] == [None, None, None]
        assert await store.send(jobs[1].id, "1", ["an input"]) == 3
        worker.execute(WORKER_2)
        ended = await store.get(jobs[0].id)
        assert (ended.state, ended.result, ended.saved) == (State.COMPLETED, 7, {"half": True})
        assert [event.data for event in await store.read(ended.id, 7, 9)] == ["b", 7]
        assert await store.count(Where(states=[State.RUNNING, State.COMPLETED])) == {
            State.RUNNING: 1,
            State.COMPLETED: 2,
        }
        assert await store.send(jobs[-1].id, "1", ["an input"]) == 2
        (claim,) = await store.claim(1, HOLDER)
        assert (claim.consumed, claim.waited) == (0, None)
    worker.close()
    refused_by_version(path, 2)


def refused_by_version(path: Path, version: int) -> None:
    """Check that an earlier version would not open the file."""
    db = apsw.Connection(str(path))
    with pytest.raises(
        SchemaTooNew, match=f"has version 4 of the schema, and this trio_jobs knows {version}"
    ):
        files.prepare_writer(db, path, "normal", SCHEMAS[:version])
    db.close()


# What a worker of version 3 writes: a token and the end of an attempt that runs, and a child of it.
WORKER_3 = """
INSERT INTO trio_jobs_event (id, count, attempt, kind, at, received, data)
    VALUES (1 << 32 | 9, 1, 1, 'token', 1.8e9, NULL, '["b"]');
UPDATE trio_jobs_job
SET seq = 9, appended = appended + 1, kept = kept + 1, bytes = bytes + 5,
    saved = coalesce(NULL, saved), progress = coalesce(NULL, progress)
WHERE number = 1 AND state = 'running' AND attempt = 1;
INSERT INTO trio_jobs_job (
    number, id, handler, args, options, metadata, given, priority, owner, key, parent, state, attempts,
    attempt, spent, seq, created, due, expires, started, lease
) VALUES (
    100, 'child', 'work', '[]', '{}', NULL, NULL, 2, NULL, NULL,
    (SELECT id FROM trio_jobs_job WHERE number = 1), 'running', 1, 1, 1, 2, 1.8e9, 1.8e9, NULL, 1.8e9, NULL
);
UPDATE trio_jobs_job
SET state = 'cancelled', reason = 'parent', message = NULL, error = NULL, result = NULL, lease = NULL,
    expires = NULL, finished = 1.8e9, seq = seq + 1, due = coalesce(NULL, due), spent = spent - 0,
    received = coalesce(NULL, received), repeated = 'parent', repeats = 0
WHERE number IN (2, 100) AND state IN ('running');
UPDATE trio_jobs_job
SET state = 'retrying', reason = 'shutdown', message = NULL, error = NULL, result = NULL, lease = NULL,
    expires = NULL, finished = NULL, seq = seq + 1, due = coalesce(1.8e9 + 5, due), spent = spent - 1,
    received = coalesce(7, received), repeated = 'shutdown', repeats = 0
WHERE number = 1 AND state IN ('running');
INSERT INTO trio_jobs_event (id, count, attempt, kind, at, received, data)
    VALUES (1 << 32 | 10, 1, 1, 'retried', 1.8e9, 7, '[{"delay":0.0,"reason":"shutdown"}]');
"""


async def test_version_3_is_brought_up_beside_its_workers(tmp_path: Path) -> None:
    """A worker of version 3 that has the file open ends what it runs, but may claim nothing more.

    Its jobs go on, and one that is handed over is due when its last attempt was.
    """
    path = from_dump(tmp_path / "jobs.db", 3)
    worker = apsw.Connection(str(path))
    worker.execute("PRAGMA journal_mode = WAL")
    assert worker.execute("SELECT value FROM trio_jobs_meta WHERE name = 'compat'").get == 3
    async with opened(path, clock=lambda: 1.9e9) as store:
        assert worker.execute("SELECT value FROM trio_jobs_meta WHERE name = 'compat'").get == 4
        worker.execute(WORKER_3)
        assert await store.claim(0, HOLDER._replace(claim="of no attempt of version 3")) == []
        jobs = [await store.get(one.id) for one in await store.find(Where(), 100)]
        assert [str(job.state) for job in jobs] == [
            *("retrying", "cancelled", "completed", "failed", "retrying", "retrying", "retrying", "queued"),
            "cancelled",
        ]
        first, awaits, last = jobs[0], jobs[5], jobs[7]
        assert (first.spent, first.saved, last.key, last.metadata) == (0, {"half": True}, "k", {"m": 1})
        await store.send(awaits.id, "1", ["an answer"])
        claims = await store.claim(9, HOLDER)
        order = [last, first, jobs[4], jobs[6], awaits]  # of which one is urgent
        assert [claim.submission.id for claim in claims] == [job.id for job in order]
        for claim in claims:
            await store.finish(claim.submission.id, claim.attempt, retried(Reason.SHUTDOWN))
        assert [claim.submission.id for claim in await store.claim(9, HOLDER)] == [job.id for job in order]
    worker.close()
    refused_by_version(path, 3)


async def test_a_newer_version_came_meanwhile(tmp_path: Path) -> None:
    """Once a newer version has changed the rules of claiming, this one claims, submits and sweeps nothing
    more; running attempts may end."""
    async with opened(tmp_path / "jobs.db") as store:
        claim = await start(store)
        await writer_of(store).call(
            lambda tx: tx.db.execute("UPDATE trio_jobs_meta SET value = 5 WHERE name = 'compat'").fetchall()
        )
        for verb in (store.claim(1, HOLDER), store.submit([make()], 0, HOLDER), store.sweep()):
            with pytest.raises(SchemaTooNew, match="has version 5 of the schema, and this trio_jobs knows 4"):
                await verb
        assert await store.finish(claim.submission.id, 1, completed()) is State.COMPLETED


NEXT_VERSION = (
    "ALTER TABLE trio_jobs_job ADD COLUMN colour TEXT NOT NULL DEFAULT 'red'; CREATE TABLE more (x)"
)
BROKEN_NEXT = "ALTER TABLE trio_jobs_job ADD COLUMN colour TEXT; CREATE TABLE trio_jobs_job (x)"


def prepare(path: Path, *schemas: str) -> apsw.Connection:
    db = apsw.Connection(str(path))
    files.prepare_writer(db, path, "normal", schemas or SCHEMAS)
    return db


def test_an_older_version_is_brought_up(tmp_path: Path) -> None:
    """Only scripts that the file has not seen run, once; the version before refuses the file then."""
    path = from_dump(tmp_path / "jobs.db")
    for _ in range(2):
        db = prepare(path, *SCHEMAS, NEXT_VERSION)
        assert files.version(db, path) == len(SCHEMAS) + 1
        assert db.execute("SELECT count(*) FROM trio_jobs_job WHERE colour = 'red'").get == 7
        db.close()
    refused(path, SchemaTooNew, "upgrade trio_jobs")


def test_a_script_that_fails_changes_nothing(tmp_path: Path) -> None:
    """A script that fails is rolled back whole, and the file stays as it was."""
    path = from_dump(tmp_path / "jobs.db")
    with pytest.raises(StoreCorrupt, match="table trio_jobs_job already exists"):
        prepare(path, *SCHEMAS, BROKEN_NEXT)
    assert all("colour" not in str(row) for row in schema(path))
    make_file(path)


def test_another_process_was_quicker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The version is read again once the file is locked, as it may be newer by then."""
    path = make_file(tmp_path / "jobs.db")
    found = iter([1, 99])
    monkeypatch.setattr(files, "version", lambda db, path: next(found))
    with pytest.raises(SchemaTooNew):
        prepare(path)


def test_two_processes_open_a_new_file(tmp_path: Path) -> None:
    """All processes that make a new file at the same time open it."""
    script = (
        "import sys, trio\n"
        "from trio_jobs.stores.sqlite import open_sqlite\n"
        "async def main():\n"
        "    async with open_sqlite(sys.argv[1]) as store:\n"
        "        print(await store.count(__import__('trio_jobs.stores').stores.Where()))\n"
        "sys.stdin.readline()\n"
        "trio.run(main)\n"
    )
    path = str(tmp_path / "jobs.db")
    command = [sys.executable, "-c", script, path]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    processes = [subprocess.Popen(command, text=True, **pipes) for _ in range(4)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    assert [process.communicate(timeout=60) for process in processes] == [("{}\n", "")] * 4


# ------------------------------------------------------------ places


async def no_job(path: Path) -> None:
    async with opened(path):
        pass


def test_a_folder_that_is_missing(tmp_path: Path) -> None:
    """A missing folder is named in the error, and not created."""
    with pytest.raises(StoreUnavailable, match=r"there is no folder .*/a; create it first"):
        trio.run(no_job, tmp_path / "a" / "jobs.db")


@pytest.mark.parametrize(
    ("path", "complaint"),
    [
        ("folder", "folder is a folder; give the path of a file in it"),
        ("file/jobs.db", "jobs.db: Not a directory; see that .*/file is a folder in which this process may"),
        ("loop", "loop: Too many levels of symbolic links; see that"),
    ],
)
def test_what_is_no_place_for_a_file(path: str, complaint: str, tmp_path: Path) -> None:
    """The error says what is at that path."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(StoreUnavailable, match=complaint):
        trio.run(no_job, tmp_path / path)


@pytest.mark.parametrize("exists", [True, False])
def test_a_symbolic_link(exists: bool, tmp_path: Path) -> None:
    """A link leads to its file, even before that exists, and the files beside it are beside that file."""

    async def both() -> None:
        async with opened(link) as one, opened(path) as other:
            (job_id,) = await accept(one, make())
            assert (await other.get(job_id)).state is State.QUEUED
            assert names(path.parent) == ["jobs.db", "jobs.db-shm", "jobs.db-wal"]

    path = tmp_path / "there" / "jobs.db"
    path.parent.mkdir()
    (tmp_path / "here").mkdir()
    link = tmp_path / "here" / "jobs.db"
    link.symlink_to(path)
    if exists:
        make_file(path)
    trio.run(both)
    assert names(link.parent) == ["jobs.db"]


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o777])
def test_only_its_owner_may_read_it(umask: int, tmp_path: Path) -> None:
    """The file and those beside it have mode 0600, whatever the umask."""

    async def modes() -> dict[str, int]:
        async with opened(tmp_path / "jobs.db") as store:
            await accept(store, make())
            return {one.name: one.stat().st_mode & 0o7777 for one in tmp_path.iterdir()}

    before = os.umask(umask)
    try:
        found = trio.run(modes)
    finally:
        os.umask(before)
    assert found == {"jobs.db": 0o600, "jobs.db-wal": 0o600, "jobs.db-shm": 0o600}


AS_NOBODY = """
import os, sys, trio
from trio_jobs import StoreUnavailable, open_registry
from trio_jobs.stores.sqlite import files
async def main():
    async with open_registry(f"sqlite:///{sys.argv[1]}"):
        print("opened")
trio.run(trio.sleep, 0)
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
try:
    trio.run(main)
except StoreUnavailable as error:
    print(error)
"""


def as_nobody(path: Path) -> str:
    """Open a file in a process to which permissions apply, and return its output."""
    command = [sys.executable, "-c", AS_NOBODY, str(path)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert ran.stderr == ""
    return ran.stdout


@pytest.fixture
def open_place() -> Any:
    """A folder that other users may enter."""
    place = Path(tempfile.mkdtemp())
    place.chmod(0o755)
    yield place
    shutil.rmtree(place)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda path: path.chmod(0o444), "may not write to the file"),
        (lambda path: path.parent.chmod(0o555), "or not create the files beside it"),
        (lambda path: path.chmod(0), "see that it is a file, and that this process may read and write it"),
        (lambda path: path.rename(path.with_name("other.db")), "Permission denied; see that "),
    ],
    ids=["file", "folder", "secret", "new"],
)
def test_what_may_not_be_written(change: Callable[[Path], object], complaint: str, open_place: Path) -> None:
    """A file or folder that is not writable is refused: the error names it and says what to check."""
    path = make_file(open_place / "jobs.db")
    path.chmod(0o666)
    change(path)
    if open_place.stat().st_mode & 0o777 == 0o755 and os.geteuid() != 0:
        open_place.chmod(0o555)
    said = as_nobody(path)
    open_place.chmod(0o755)
    assert said.startswith(f"{path}: ")
    assert complaint in said


@pytest.mark.parametrize("exists", [True, False])
def test_too_many_open_files(tmp_path: Path, exists: bool) -> None:
    """The limit of open files has its own error everywhere, and nothing stays open; with more it opens."""

    async def attempt(path: Path) -> str | None:
        left: list[int] = []
        while len(left) < 40:  # whatever numbers are free below are taken
            left.append(os.open(os.devnull, os.O_RDONLY))
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        for fd in left[-room:] if room else []:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(left) + 1, before[1]))
        try:
            async with opened(path):
                return None
        except StoreUnavailable as error:
            return str(error)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
            for fd in left[: len(left) - room]:
                os.close(fd)

    told: list[str | None] = []
    for room in range(12):
        path = tmp_path / f"{room}.db"
        if exists:
            make_file(path)
        told.append(trio.run(attempt, path))
    refusals = [one for one in told if one is not None]
    assert told == [*refusals, *[None] * (12 - len(refusals))]
    assert 3 <= len(refusals) < 12
    assert all("has too many files open; raise its limit, as with ulimit -n" in one for one in refusals)


# ------------------------------------------------------------ damage


async def fill(path: Path) -> None:
    async with opened(path) as store:
        for number in range(12):
            claim = await start(store, metadata={"n": number})
            job_id = claim.submission.id
            for offset in range(0, 20, 4):
                await store.append(job_id, 1, Kind.TOKEN, ["word" * 5] * 4, offset)
            await store.finish(job_id, 1, completed("r" * 30) if number % 2 else failed())
        for number in range(10):
            await accept(store, make(number, key=f"k{number}", tags={"a": "b"}))


Reading = tuple[Job, list[Event], list[Event]]


async def everything(path: Path) -> list[Reading | None]:
    async with opened(path) as store:
        await store.count(Where())
        found: list[Any] = []
        for job in await store.find(Where(), 10**6):
            try:
                found.append(
                    (await store.get(job.id), await store.read(job.id, 0, 10**6), await store.history(job.id))
                )
            except UnknownJob:  # its id cannot be read
                found.append(None)
            except StoreCorrupt as error:
                if "No other job is concerned" not in str(error):
                    raise
                found.append(None)
        return found


@pytest.mark.deep
def test_flipped_bytes(tmp_path: Path) -> None:
    """A file with a damaged byte is refused as such, and then not written; or it is read correctly, except
    the one job whose value was hit, as SQLite keeps no checksums."""
    path = tmp_path / "jobs.db"
    trio.run(fill, path)
    sound = path.read_bytes()
    wanted = trio.run(everything, path)
    assert path.read_bytes() == sound
    chance = random.Random(7)
    found = {"refused": 0, "right": 0, "one differs": 0}
    for place in chance.sample(range(len(sound)), 400):
        damaged = bytearray(sound)
        damaged[place] ^= chance.choice([0x01, 0x10, 0xFF])
        path.write_bytes(damaged)
        try:
            read = trio.run(everything, path)
        except StoreCorrupt as error:
            assert str(path) in str(error)
            assert path.read_bytes() == damaged
            found["refused"] += 1
            continue
        differ = sum(one != other for one, other in zip(read, wanted, strict=True))
        assert differ <= 1, f"byte {place}"
        found["one differs" if differ else "right"] += 1
    assert found["refused"] >= 20
    assert found["right"] >= 50


def test_a_large_file_is_not_checked_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening takes constant time for any size of the file; damage in it is reported when it is read."""
    path = tmp_path / "jobs.db"
    trio.run(fill, path)
    sql(path, "UPDATE trio_jobs_job SET options = 'x' WHERE number = 3")
    monkeypatch.setattr(files, "_is_small", lambda path: False)

    async def look() -> None:
        async with opened(path) as store:
            found = await reader_of(store).call(
                lambda tx: tx.db.execute("SELECT id FROM trio_jobs_job ORDER BY number").fetchall()
            )
            ids = [str(job_id) for (job_id,) in found[0]]
            assert (await store.get(ids[0])).state is State.FAILED
            for job in (await store.get(ids[2]), (await store.find(Where(), 100))[2]):
                assert "its stored options cannot be read: JSON is malformed" in str(job.message)

    trio.run(look)


def change_of(what: str) -> str:
    return f"UPDATE trio_jobs_job SET {what} WHERE id = ?"  # noqa: S608  # ours


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("options = '{'", "its stored options cannot be read: "),
        ("options = '[]'", "its stored options cannot be read: "),
        ("options = json_set(options, '$.retry.attempts', 0)", "its stored options cannot be read: attempts"),
        ("options = json_set(options, '$.timeouts', 7)", "its stored options cannot be read: "),
        ("saved = '['", "what is stored of it cannot be read: "),
        ("metadata = '['", "what is stored of it cannot be read: "),
        ("args = '['", "what is stored of it cannot be read: "),
        ("args = '7'", "what is stored of it cannot be read: "),
    ],
)
async def test_what_is_claimed_is_damaged(change: str, said: str, tmp_path: Path) -> None:
    """A claimed job with an unreadable column fails with its name; the neighbour is unaffected."""
    async with opened(tmp_path / "jobs.db") as store:
        hurt, well = await accept(store, make(), make())
        await writer_of(store).call(lambda tx: tx.db.execute(change_of(change), (hurt,)).get)
        bad, good = await store.claim(2, HOLDER)
        assert (bad.submission.id, good.submission.id) == (hurt, well)
        with pytest.raises(Permanent, match=said):
            await bad.submission.target(None)
        assert good.submission.target is work
        assert [job.id for job in await store.find(Where(), 9)] == [hurt, well]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("options = '{'", "its stored options cannot be read: "),
        ("state = 'bored'", "its stored state is not known: bored"),
        ("priority = 9", "its stored priority is not known: 9"),
        ("created = 9e300", None),
        ("created = -1", None),
        ("reason = 'bored'", "(for a reason that is not known here: bored)"),
        ("progress = '['", None),
        ("result = '['", None),
        ("error = '['", None),
    ],
)
async def test_what_is_listed_is_damaged(change: str, said: str | None, tmp_path: Path) -> None:
    """A list says which columns of a damaged job are unreadable, and has all other jobs."""
    async with opened(tmp_path / "jobs.db") as store:
        ids = await accept(store, make(), make(tags={"a": "b"}))
        await writer_of(store).call(lambda tx: tx.db.execute(change_of(change), (ids[0],)).get)
        bad, good = await store.find(Where(), 9)
        assert [bad.id, good.id] == ids
        assert said is None or said in str(bad.message)
        assert (good.message, good.tags) == (None, {"a": "b"})
        assert sum((await store.count(Where())).values()) == (1 if "state" in change else 2)
        if change.startswith(("result", "error")):
            with pytest.raises(StoreCorrupt, match=f"stored of job {ids[0]} is damaged: .* No other job is"):
                await store.get(ids[0])


@pytest.mark.parametrize("change", ["expires = 1", "lease = 1, seq = 0", "lease = 1, seq = 0, spent = 9"])
async def test_what_is_swept_is_damaged(
    change: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A job that a sweep cannot end fails with the names of the columns; the others are ended."""
    async with opened(tmp_path / "jobs.db") as store:
        hurt, lost = await accept(store, make(), make())
        (late,) = await accept(store, make(timeouts=Timeouts(queue=9)))
        await store.claim(2, HOLDER)
        await writer_of(store).call(lambda tx: tx.db.execute(change_of(change), (hurt,)).get)
        now = "UPDATE trio_jobs_job SET {} = 1 WHERE id = ?"
        await writer_of(store).call(lambda tx: tx.db.execute(now.format("lease"), (lost,)).get)
        await writer_of(store).call(lambda tx: tx.db.execute(now.format("expires"), (late,)).get)
        await store.sweep()
        states = [(await store.get(job_id)).state for job_id in (hurt, lost, late)]
        assert states == [State.FAILED, State.RETRYING, State.FAILED]
        assert f"the stored row of job {hurt} is damaged, so the job fails: " in caplog.text
        assert "what is stored of it is damaged: " in str((await store.get(hurt)).message)
        caplog.clear()
        await store.sweep()
        assert caplog.text == ""


async def test_what_is_cancelled_is_damaged(tmp_path: Path) -> None:
    """A job with an unknown state fails, so that it need not be cancelled."""
    async with opened(tmp_path / "jobs.db") as store:
        hurt, well = await accept(store, make(), make())
        change = change_of("state = CAST(x'ff' AS TEXT)")
        await writer_of(store).call(lambda tx: tx.db.execute(change, (hurt,)).get)
        assert await store.request_cancel(hurt, None) == "already_over"
        assert (await store.get(hurt)).message == "what is stored of it is damaged: state"
        assert await store.request_cancel(well, None) == "cancelled"


async def test_a_record_of_another_version(tmp_path: Path) -> None:
    """Missing options have their defaults, and unknown ones are ignored."""
    async with opened(tmp_path / "jobs.db") as store:
        (job_id,) = await accept(store, make(timeout=7.0))
        change = "UPDATE trio_jobs_job SET options = json_set(json_remove(options, '$.linger'), '$.new', 1)"
        await writer_of(store).call(lambda tx: tx.db.execute(change).fetchall())
        (claim,) = await store.claim(1, HOLDER)
        assert claim.submission.options == make(timeout=7.0).options
        assert (await store.get(job_id)).message is None


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE trio_jobs_event SET data = '['",
        "UPDATE trio_jobs_event SET kind = 'sent'",
        "UPDATE trio_jobs_event SET kind = 'failed'",
        "UPDATE trio_jobs_event SET data = CAST(x'80' AS TEXT)",
    ],
)
async def test_a_log_is_damaged(damage: str, tmp_path: Path) -> None:
    """A reader of a damaged log gets StoreCorrupt."""
    async with opened(tmp_path / "jobs.db") as store:
        (job_id,) = await accept(store, make())
        await writer_of(store).call(lambda tx: tx.db.execute(damage))
        for verb in (store.read(job_id, 0, 9), store.history(job_id), store.follow(job_id, 0, 9)):
            with pytest.raises(StoreCorrupt, match="is damaged: "):
                await verb


# ------------------------------------------------------------ boots


def test_a_boot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a boot no worker is left, so all leases have lapsed; before it they hold, though no process has
    the file open. The clock continues from the wall's."""

    async def begin() -> tuple[str, str]:
        async with opened(path) as store:
            parent = (await start(store)).submission.id
            child = await store.spawn(parent, 1, make(), HOLDER)
            return parent, child.submission.id

    async def state() -> tuple[list[tuple[State, Reason | None]], float]:
        async with opened(path) as store:
            await store.sweep()
            jobs = [await store.get(job_id) for job_id in ids]
            return [(job.state, job.reason) for job in jobs], time_in(store)

    path = tmp_path / "jobs.db"
    ids = trio.run(begin)
    found, before = trio.run(state)
    assert found == [(State.RUNNING, None)] * 2
    monkeypatch.setattr(clock, "boot", lambda: "another")
    monkeypatch.setattr(clock, "since_boot", lambda: 7.0)
    found, after = trio.run(state)
    assert found == [(State.RETRYING, Reason.WORKER_LOST), (State.CANCELLED, Reason.PARENT)]
    assert before <= after < before + 60


def test_a_system_that_knows_no_boots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a boot id the file uses the wall clock, and leases hold until they lapse."""
    path = tmp_path / "jobs.db"
    monkeypatch.setattr(clock, "boot", lambda: None)
    monkeypatch.setattr("time.time", lambda: 2e9)

    async def live() -> None:
        async with opened(path) as store:
            assert time_in(store) == 2e9
            job_id = (await start(store)).submission.id
        async with opened(path) as store:
            await store.sweep()
            assert (await store.get(job_id)).state is State.RUNNING

    trio.run(live)


# ------------------------------------------------------------ errors


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (
            apsw.FullError("full"),
            StoreUnavailable,
            "/f: full; free some space on its disk; calls that wait then go on",
        ),
        (
            apsw.IOError("io"),
            StoreUnavailable,
            "/f: io; its disk, or the system, refused to read or to write",
        ),
        (apsw.BusyError("busy"), StoreUnavailable, "/f: busy; another program has it locked, and did not"),
        (apsw.NoMemError("out"), StoreUnavailable, "/f: out"),
        (MemoryError(), StoreUnavailable, "/f: out of memory; this process has too little memory, or too"),
        (
            RuntimeError("can't start new thread"),
            StoreUnavailable,
            "/f: can't start new thread; this process has too little memory, or too many threads; raise",
        ),
        (RuntimeError("ours"), RuntimeError, "ours"),
        (apsw.CorruptError("bad"), StoreCorrupt, "/f is damaged: bad. Nothing was written over it; restore"),
        (apsw.NotADBError("no"), StoreCorrupt, "/f is no SQLite file"),
        (apsw.ConstraintError("ours"), apsw.ConstraintError, "ours"),
        (KeyError("ours"), KeyError, "'ours'"),
    ],
    ids=str,
)
def test_whose_fault_it_is(error: Exception, kind: type[Exception], said: str) -> None:
    """An error of SQLite is the environment's, the file's, or ours, which is raised unchanged."""
    found = files.translated(error, Path("/f"))
    assert type(found) is kind
    assert str(found).startswith(said)
    if isinstance(error, apsw.Error):
        assert files.is_world(error) == (kind is not type(error))
