"""Faults of the environment: accepted jobs are kept, reads go on, the error says what to do, and work resumes
by itself after the fault."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import apsw
import pytest
import trio
import trio.testing

from tests import inside
from tests.stores.sqlite.parts import writer_of
from trio_jobs import (
    JobContext,
    JobHandle,
    JobRegistry,
    Kind,
    State,
    StoreCorrupt,
    StoreUnavailable,
    open_registry,
)
from trio_jobs.stores import Where
from trio_jobs.stores.sqlite import SqliteStore, files, open_sqlite, opening
from trio_jobs.testing.checks.kit import HOLDER, accept, make, start, work


class Gate:
    """The event that the handlers below wait for."""

    def __init__(self) -> None:
        self.reached = trio.Event()
        self.open = trio.Event()


gates: dict[str, Gate] = {}


async def speak(job: JobContext[str], gate: str = "", size: int = 1) -> str:
    """Send, and save, with a wait in between in which the test changes the file."""
    await job.send("before")
    if gate:
        gates[gate].reached.set()
        await gates[gate].open.wait()
    await job.save("x" * size)
    await job.send_many(["after"] * 3)
    return "done"


SPOKEN = [
    *[Kind.SUBMITTED, Kind.STARTED, Kind.TOKEN, Kind.SAVED, Kind.TOKEN, Kind.TOKEN, Kind.TOKEN],
    Kind.COMPLETED,
]


async def kinds(handle: JobHandle[Any, Any]) -> list[Kind]:
    async with handle.events() as events:
        return [event.kind async for event in events]


@asynccontextmanager
async def registry(path: Path, **options: Any) -> AsyncIterator[JobRegistry]:
    with trio.fail_after(60):
        async with open_registry(f"sqlite:///{path}", handlers=[speak], **options) as jobs:
            yield jobs


def store_of(jobs: JobRegistry) -> SqliteStore:
    store = inside.store_of(jobs)
    assert isinstance(store, SqliteStore)
    return store


@pytest.fixture
def gate() -> Iterator[str]:
    gates["gate"] = Gate()
    yield "gate"
    gates.clear()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for a locked file only briefly."""
    monkeypatch.setattr(files, "_BUSY_MILLISECONDS", 50)


async def until_warned(caplog: pytest.LogCaptureFixture, text: str) -> None:
    with trio.fail_after(30):
        while text not in caplog.text:
            await trio.sleep(0.01)


# ------------------------------------------------------------ a disk that is full


async def limit_pages(jobs: JobRegistry, pages: int) -> None:
    await writer_of(store_of(jobs)).call(lambda tx: tx.db.execute(f"PRAGMA max_page_count = {pages}"))


async def test_a_full_disk(tmp_path: Path, gate: str, caplog: pytest.LogCaptureFixture) -> None:
    """A submit is refused with an error; running jobs wait, and are not lost; reads go on; and with room
    again everything goes on, with each event once."""
    async with registry(tmp_path / "jobs.db", capacity=1) as jobs:
        handle = await jobs.submit(speak, gate, 20_000)
        await gates[gate].reached.wait()
        async with handle.stream() as tokens:
            await tokens.receive()  # it is written, so that no event waits but those of below
        await limit_pages(jobs, 1)
        with pytest.raises(StoreUnavailable, match="jobs.db: database or disk is full; free some space"):
            while True:  # there may be room in the last page
                await jobs.submit(speak, "", metadata={"large": "x" * 5000})
        accepted = await jobs.count()
        gates[gate].open.set()
        await until_warned(caplog, "the store is unavailable, trying again")
        assert (await handle.snapshot()).state is State.RUNNING
        assert await jobs.count() == accepted
        await limit_pages(jobs, 10**6)
        assert await handle.result() == "done"
        assert await kinds(handle) == SPOKEN
        for job in await jobs.find():
            assert (await (await jobs.get(job.id)).wait()).state is State.COMPLETED
        assert await jobs.count(state=State.COMPLETED) == accepted


TMPFS = """
import sys, logging, trio
from pathlib import Path
from trio_jobs import StoreUnavailable, open_registry
folder, filler = Path(sys.argv[1]), Path(sys.argv[1]) / "filler"
def fill():
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass
async def speak(job, count):
    await job.send("begun")
    for number in range(count):
        await job.send("x" * 500)
        await trio.sleep(0.001)
    return job.attempt
class Warned(logging.Handler):
    def __init__(self):
        super().__init__()
        self.event = trio.Event()
    def emit(self, record):
        self.event.set()
async def main():
    warned = Warned()
    logging.getLogger("trio_jobs").addHandler(warned)
    async with open_registry(f"sqlite:///{folder}/jobs.db", handlers=[speak]) as jobs:
        handle = await jobs.submit(speak, 200)
        async with handle.stream() as tokens:
            await tokens.receive()
        fill()
        await warned.event.wait()
        print((await handle.snapshot()).state)
        try:
            await jobs.submit(speak, 1, metadata={"large": "x" * 100_000})
        except StoreUnavailable as error:
            print(error)
        filler.unlink()
        print(await handle.result(), (await handle.snapshot()).last_seq)
        print(await (await jobs.submit(speak, 1)).result())
trio.run(main)
"""


@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare(1)")
@pytest.mark.parametrize("size", ["1m", "12m"])
def test_a_small_file_system(tmp_path: Path, size: str) -> None:
    """On a real file system that is full running jobs wait, lose nothing, and go on when there is room, also
    where the write-ahead log alone could fill it."""
    (tmp_path / "disk").mkdir()
    inside = (
        f'mount -t tmpfs -o size={size} none {tmp_path}/disk || exit 77; exec {sys.executable} -c "$0" "$1"'
    )
    command = ["unshare", "-rm", "sh", "-c", inside, TMPFS, f"{tmp_path}/disk"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if ran.returncode == 77 or "unshare failed" in ran.stderr:
        pytest.skip("may not mount a file system here")
    assert ran.returncode == 0, ran.stderr
    running, refusal, done, again = ran.stdout.splitlines()
    assert running == "running"
    assert "database or disk is full; free some space" in refusal
    assert (done, again) == ("1 204", "1")


# ------------------------------------------------------------ a disk that fails


class FailingDisk(apsw.VFS):
    """A file system whose k-th write or sync fails."""

    def __init__(self, base: str) -> None:
        self.calls = 0
        self.fails_at = 0
        self.base = base
        super().__init__("failing", base, makedefault=True)

    def xOpen(self, name: Any, flags: list[int]) -> Any:  # noqa: N802  # apsw's name
        return FailingFile(self, name, flags)

    def count(self) -> None:
        self.calls += 1
        if self.calls == self.fails_at:
            raise apsw.IOError("injected")


class FailingFile(apsw.VFSFile):
    def __init__(self, disk: FailingDisk, name: Any, flags: list[int]) -> None:
        self.disk = disk
        super().__init__(disk.base, name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802  # apsw's name
        self.disk.count()
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:  # noqa: N802  # apsw's name
        self.disk.count()
        super().xSync(flags)


@pytest.fixture
def disk() -> Iterator[FailingDisk]:
    before = apsw.vfs_names()[0]
    failing = FailingDisk(before)
    yield failing
    apsw.set_default_vfs(before)
    failing.unregister()


async def scenario(path: Path) -> list[str]:
    """Open a file, run a job to its end, and return the ids of the jobs that were accepted."""
    accepted: list[str] = []
    try:
        async with registry(path) as jobs:
            handle = await jobs.submit(speak)
            accepted.append(handle.id)
            assert await handle.result() == "done"
            assert await kinds(handle) == SPOKEN
    except StoreUnavailable as error:
        assert "injected; its disk, or the system, refused" in str(error)
    return accepted


async def look(path: Path, accepted: list[str]) -> None:
    """Check that the accepted jobs are there, and that the file is sound."""
    async with registry(path) as jobs:  # which checks a file that is so small
        for job_id in accepted:
            assert await kinds(await jobs.get(job_id)) == SPOKEN


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # what SQLite makes light of
@pytest.mark.deep
def test_each_write_fails_once(tmp_path: Path, disk: FailingDisk) -> None:
    """Whichever write or sync fails: opening is refused for now, or the submit is, or there is no effect;
    accepted jobs run to their ends, every event once, and the file stays sound."""
    trio.run(scenario, tmp_path / "sound.db")
    calls = disk.calls
    completed = 0
    for number in range(1, calls + 1):
        path = tmp_path / f"{number}.db"
        disk.calls, disk.fails_at = 0, number
        accepted = trio.run(scenario, path)
        disk.fails_at = 0
        trio.run(look, path, accepted)
        completed += len(accepted)
    assert calls > 40
    assert completed > calls / 3


# ------------------------------------------------------------ a file that is locked


async def test_a_locked_file(
    tmp_path: Path, gate: str, impatient: None, caplog: pytest.LogCaptureFixture
) -> None:
    """While another program holds the lock beyond every deadline, submits are refused, running jobs wait, and
    reads go on; afterwards everything goes on."""
    path = tmp_path / "jobs.db"
    async with registry(path) as jobs:
        handle = await jobs.submit(speak, gate)
        await gates[gate].reached.wait()
        other = apsw.Connection(str(path))
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(
            StoreUnavailable, match="jobs.db: database is locked; another program has it locked"
        ):
            await jobs.submit(speak)
        with pytest.raises(StoreUnavailable, match="locked"):
            await handle.request_cancel()
        gates[gate].open.set()
        await until_warned(caplog, "the store is unavailable, trying again")
        assert (await handle.snapshot()).state is State.RUNNING
        assert await jobs.count() == 1
        other.execute("ROLLBACK")
        other.close()
        assert await handle.result() == "done"
        assert await kinds(handle) == SPOKEN


def test_a_locked_file_is_not_opened(
    tmp_path: Path, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error says that another program has the lock; later the file opens."""
    monkeypatch.setattr(opening, "_OPENINGS", 3)

    async def use() -> None:
        async with registry(tmp_path / "jobs.db") as jobs:
            await (await jobs.submit(speak)).result()

    trio.run(use)
    other = apsw.Connection(str(tmp_path / "jobs.db"))
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StoreUnavailable, match="another program has it locked, and did not release it"):
        trio.run(use)
    other.close()
    trio.run(use)


async def test_a_cancellation_while_the_file_is_locked(tmp_path: Path, impatient: None) -> None:
    """A cancelled call waits no longer than the deadline of the lock, and nothing was written."""
    path = tmp_path / "jobs.db"
    async with open_sqlite(path, handlers=[work]) as store:
        other = apsw.Connection(str(path))
        other.execute("BEGIN EXCLUSIVE")
        new = make()
        with trio.move_on_after(0.01) as scope:
            with pytest.raises(StoreUnavailable):
                await accept(store, new)
            await trio.lowlevel.checkpoint()
        assert scope.cancelled_caught
        other.close()
        assert await store.count(Where()) == {}


# ------------------------------------------------------------ a file that is taken away


@pytest.mark.parametrize("name", ["jobs.db", "jobs.db-wal", "jobs.db-shm"])
@pytest.mark.parametrize("replaced", [False, True])
async def test_a_file_taken_away(name: str, replaced: bool, tmp_path: Path) -> None:
    """When the file, or its log, is removed or replaced while it is open, the registry raises an error and
    ends, and writes nothing more."""
    path = tmp_path / "jobs.db"
    with pytest.raises(StoreCorrupt, match="was removed or replaced while it was open; nothing more"):
        async with registry(path) as jobs:
            handle = await jobs.submit(speak)
            await handle.result()
            (tmp_path / name).unlink()
            if replaced:
                (tmp_path / name).write_bytes(b"")
            await trio.sleep_forever()
    if replaced and name == "jobs.db":
        assert path.read_bytes() == b""


async def test_who_waits_is_told(tmp_path: Path) -> None:
    """Every wait, and every later call, raises the error of the file."""
    path = tmp_path / "jobs.db"
    async with open_sqlite(path, handlers=[work]) as store:
        job_id = (await start(store)).submission.id
        found: list[str] = []

        async def wait(name: str, *args: object) -> None:
            with pytest.raises(StoreCorrupt, match="was removed or replaced"):
                await getattr(store, name)(*args)
            found.append(name)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait, "follow", job_id, 2, 9)
            nursery.start_soon(wait, "ended", job_id)
            nursery.start_soon(wait, "due")
            nursery.start_soon(wait, "overdue")
            nursery.start_soon(wait, "cancelling", {})
            await trio.testing.wait_all_tasks_blocked()
            await store.get(job_id)  # when this has been read, so have the others
            path.unlink()
        await wait("get", job_id)
        await wait("claim", 1, HOLDER)
        await wait("submit", [make()], 0, HOLDER)
        assert len(found) == 8


@pytest.mark.parametrize("name", ["jobs.db", "jobs.db-wal", "jobs.db-shm"])
async def test_nothing_is_accepted_by_a_file_that_is_gone(name: str, tmp_path: Path) -> None:
    """A submit to a removed file is refused, even before the store has checked whether the file exists."""
    async with open_sqlite(tmp_path / "jobs.db", handlers=[work], poll=60) as store:
        await accept(store, make())
        (tmp_path / name).unlink()
        with pytest.raises(StoreCorrupt, match="was removed or replaced while it was open"):
            await accept(store, make())


async def test_a_folder_that_cannot_be_read_for_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unreadable folder does not mean that its file was removed."""
    looks = 0

    def refuse(name: str) -> None:
        nonlocal looks
        looks += 1
        raise PermissionError(13, "Permission denied")

    async with open_sqlite(tmp_path / "jobs.db", handlers=[work], poll=0.001) as store:
        with monkeypatch.context() as patch:
            patch.setattr(os, "stat", refuse)
            with trio.fail_after(30):
                while looks < 12:
                    await trio.sleep(0.001)
            await accept(store, make())
        await accept(store, make())
        assert sum((await store.count(Where())).values()) == 2


# ------------------------------------------------------------ a process that forks


# The child steps through its calls by itself: Trio's loop would take events there that its parent waits for.
FORKS = """
import os, sys, outcome, trio
from trio_jobs import open_registry
async def speak(job): ...
def run_apart(call):
    step = None
    while True:
        call.send(step)
        step = outcome.Value(None)
async def main():
    async with open_registry(f"sqlite:///{sys.argv[1]}", handlers=[speak]) as jobs:
        await (await jobs.submit(speak)).result()
        child = os.fork()
        if child == 0:
            for call in (jobs.submit(speak), jobs.find(), jobs.count()):
                try:
                    run_apart(call)
                except RuntimeError as error:
                    print(error, flush=True)
            os._exit(0)
        os.waitpid(child, 0)
        await (await jobs.submit(speak)).result()
        print(await jobs.count(state="completed"))
trio.run(main)
"""


def test_a_fork(tmp_path: Path) -> None:
    """A forked child gets an error that says to open the file itself, and does not affect its parent."""
    command = [sys.executable, "-W", "ignore", "-c", FORKS, str(tmp_path / "jobs.db")]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert ran.stderr == ""
    *refusals, count = ran.stdout.splitlines()
    told = f"{tmp_path}/jobs.db was opened before this process was forked off; open it again in the child"
    assert refusals == [told] * 3
    assert count == "2"
