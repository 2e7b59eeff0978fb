"""Group commit: many calls in one transaction, each whole or not at all, none lost and none repeated."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import apsw
import pytest
import trio
import trio.testing

from trio_jobs import Retention, StoreCorrupt, StoreUnavailable, UnknownJob
from trio_jobs.stores.sqlite import group
from trio_jobs.stores.sqlite.group import Group, Limits, StoreCall, Transaction
from trio_jobs.stores.sqlite.line import Line
from trio_jobs.stores.sqlite.opening import connected
from trio_jobs.stores.sqlite.queries import SCHEMAS

LIMITS = Limits(9, Retention())


class Counting(Group):
    """A group that records how many calls each transaction had."""

    def __init__(self, line: Line) -> None:
        super().__init__(line, lambda: 7.0, LIMITS, writes=True)
        self.sizes: list[int] = []
        self.fails: Exception | None = None

    def transact(self, calls: list[StoreCall[Any]]) -> None:
        self.sizes.append(len(calls))
        super().transact(calls)

    def commit(self, db: Any) -> None:
        if self.fails is not None:
            raise self.fails
        super().commit(db)


def insert(number: int) -> Callable[[Transaction], int]:
    def work(tx: Transaction) -> int:
        tx.db.execute("INSERT INTO t VALUES (?)", (number,))
        return number

    return work


def numbers(tx: Transaction) -> list[int]:
    return [number for (number,) in tx.db.execute("SELECT x FROM t ORDER BY x")]


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[Counting]:
    path.touch()
    async with connected(Line(path, lambda db: None)) as line:
        line.db.execute("CREATE TABLE t (x UNIQUE)")
        one = Counting(line)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.run)
            yield one
            nursery.cancel_scope.cancel()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobs.db"


async def test_many_calls_share_a_transaction(path: Path) -> None:
    """Calls made during a transaction are in the next one together; each caller gets its own answer."""
    async with opened(path) as one:
        answers: list[int] = []

        async def call(number: int) -> None:
            answer, tx = await one.call(insert(number))
            answers.append(answer)
            assert (answer, tx.now, tx.limits) == (number, 7.0, LIMITS)

        async with trio.open_nursery() as nursery:
            for number in range(100):
                nursery.start_soon(call, number)
        assert sorted(answers) == list(range(100))
        assert len(one.sizes) <= 3
        assert (await one.call(numbers))[0] == list(range(100))


async def test_a_transaction_has_its_limit(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls beyond the limit are in further transactions, in order."""
    monkeypatch.setattr(group, "_MOST", 10)
    async with opened(path) as one:
        async with trio.open_nursery() as nursery:
            for number in range(35):
                nursery.start_soon(one.call, insert(number))
        assert max(one.sizes) == 10
        assert sum(one.sizes) == 35


async def test_a_call_that_fails_fails_alone(path: Path) -> None:
    """The writes of a failed call are rolled back, and those of the others are kept."""

    def broken(tx: Transaction) -> None:
        tx.db.execute("INSERT INTO t VALUES (-1)")
        raise UnknownJob("x")

    async def refused() -> None:
        with pytest.raises(UnknownJob):
            await one.call(broken)

    async with opened(path) as one:
        async with trio.open_nursery() as nursery:
            for number in range(5):
                nursery.start_soon(one.call, insert(number))
                nursery.start_soon(refused)
        assert (await one.call(numbers))[0] == list(range(5))


def noting(number: int, *ids: int) -> Callable[[Transaction], None]:
    def work(tx: Transaction) -> None:
        for seq in ids:
            tx.log.append((number, seq, 1, 1, "token", tx.now, None, "[]"))

    return work


async def test_a_row_of_a_log_that_cannot_be_written(path: Path) -> None:
    """An error of a row is that of the call that added it only, though all rows are written together."""
    answers: list[int] = []

    async def call(number: int, *ids: int) -> None:
        await one.call(noting(number, *ids))
        answers.append(number)

    async def refused() -> None:
        with pytest.raises(apsw.ConstraintError):
            await call(5, 1, 1)

    async with opened(path) as one:
        await one.call(lambda tx: tx.db.execute("".join(SCHEMAS)))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(refused)
            for number in range(5):
                nursery.start_soon(call, number, 1, 2)
        assert sorted(answers) == list(range(5))
        rows, _ = await one.call(lambda tx: tx.db.execute("SELECT count(*) FROM trio_jobs_event").get)
        assert rows == 10


async def test_a_fault_of_the_file_while_calls_are_served_apart(path: Path) -> None:
    """A fault of the file fails all calls of the transaction, also while they run in savepoints."""
    told: list[Exception] = []
    times = 0

    def broken(tx: Transaction) -> None:
        nonlocal times
        times += 1
        raise UnknownJob("x") if times == 1 else apsw.IOError("injected")

    async def call(work: Callable[[Transaction], Any]) -> None:
        with pytest.raises(StoreUnavailable, match="injected") as caught:
            await one.call(work)
        told.append(caught.value)

    async with opened(path) as one:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call, insert(1))
            nursery.start_soon(call, broken)
        assert len(told) == 2
        assert (await one.call(numbers))[0] == []


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (apsw.FullError("full"), StoreUnavailable),
        (apsw.CorruptError("bad"), StoreCorrupt),
        (apsw.ConstraintError("ours"), apsw.ConstraintError),
    ],
    ids=str,
)
async def test_a_commit_that_fails(path: Path, error: Exception, raised: type[Exception]) -> None:
    """When a commit fails no call has happened, each gets the error, and the next transaction works."""
    told: list[Exception] = []

    async def call(number: int) -> None:
        with pytest.raises(raised) as caught:
            await one.call(insert(number))
        told.append(caught.value)

    async with opened(path) as one:
        one.fails = error
        async with trio.open_nursery() as nursery:
            for number in range(5):
                nursery.start_soon(call, number)
        assert len(told) == 5
        one.fails = None
        assert (await one.call(numbers))[0] == []
        assert (await one.call(insert(1)))[0] == 1


@pytest.mark.parametrize("rolled_back", [False, True])
async def test_a_fault_of_the_file_in_a_call(rolled_back: bool, path: Path) -> None:
    """The call fails and the next one does not, also if SQLite has rolled the transaction back by itself."""

    def fault(tx: Transaction) -> None:
        if rolled_back:
            tx.db.execute("ROLLBACK")
        raise apsw.FullError("injected")

    async with opened(path) as one:
        with pytest.raises(StoreUnavailable, match="injected"):
            await one.call(fault)
        assert (await one.call(insert(1)))[0] == 1


async def test_a_cancelled_call(path: Path) -> None:
    """A call cancelled before its transaction began was never made; after that, it is answered."""
    begun, go_on = trio.Event(), trio.Event()
    token = trio.lowlevel.current_trio_token()

    def slow(tx: Transaction) -> str:
        token.run_sync_soon(begun.set)
        trio.from_thread.run(go_on.wait, trio_token=token)
        return "done"

    async with opened(path) as one, trio.open_nursery() as nursery:
        first, second = trio.CancelScope(), trio.CancelScope()
        answers: list[str] = []

        async def call_slowly() -> None:
            with first:
                answers.append((await one.call(slow))[0])
                await trio.lowlevel.checkpoint()

        async def call_in_vain() -> None:
            with second:
                await one.call(insert(1))

        nursery.start_soon(call_slowly)
        await begun.wait()
        nursery.start_soon(call_in_vain)
        await trio.testing.wait_all_tasks_blocked()
        first.cancel()
        second.cancel()
        await trio.testing.wait_all_tasks_blocked()
        assert (second.cancelled_caught, first.cancelled_caught) == (True, False)
        go_on.set()
        await one.call(insert(2))
        assert (answers, first.cancelled_caught) == (["done"], True)
        assert (await one.call(numbers))[0] == [2]


async def test_after_the_end(path: Path) -> None:
    """Calls that wait when the group is closed, and later ones, raise ClosedResourceError."""
    begun, go_on = trio.Event(), trio.Event()
    token = trio.lowlevel.current_trio_token()

    def slow(tx: Transaction) -> None:
        token.run_sync_soon(begun.set)
        trio.from_thread.run(go_on.wait, trio_token=token)

    async def refused() -> None:
        with pytest.raises(
            trio.ClosedResourceError, match="jobs.db is closed: its 'async with' block was left"
        ):
            await one.call(insert(1))

    async with trio.open_nursery() as nursery:
        async with opened(path) as one:
            nursery.start_soon(one.call, slow)  # noqa: ASYNC111  # it is to outlive it
            await begun.wait()
            nursery.start_soon(refused)
            await trio.testing.wait_all_tasks_blocked()
            go_on.set()
        await refused()


async def test_the_version_of_what_is_there(path: Path) -> None:
    """It changes when another connection has written, and not before; if it cannot be read, it stays."""
    async with opened(path) as one:
        first = await one.version(0)
        await one.call(insert(1))
        assert await one.version(first) == first
        other = apsw.Connection(str(path))
        other.execute("INSERT INTO t VALUES (2)")
        other.close()
        second = await one.version(first)
        assert second != first
    assert await one.version(second) == second


async def test_the_version_is_looked_up_when_calls_have_returned(path: Path) -> None:
    """The results of a transaction under way are applied before the changes of other processes."""
    begun, go_on = trio.Event(), trio.Event()
    token = trio.lowlevel.current_trio_token()
    told: list[str] = []

    def slow(tx: Transaction) -> None:
        token.run_sync_soon(begun.set)
        trio.from_thread.run(go_on.wait, trio_token=token)

    async def look() -> None:
        await one.version(0)
        told.append("version")

    async with opened(path) as one, trio.open_nursery() as nursery:
        nursery.start_soon(one.call, slow)
        await begun.wait()
        nursery.start_soon(look)
        await trio.testing.wait_all_tasks_blocked()
        assert told == []
        go_on.set()
    assert told == ["version"]


async def test_text_that_no_file_can_hold(path: Path) -> None:
    """A text that no file can hold names no job, so a search for it finds none."""
    tx = Transaction(apsw.Connection(":memory:"), 0.0, LIMITS)
    tx.db.execute("CREATE TABLE trio_jobs_job (number, id, seq, state)")
    assert tx.one("log_place", id="\ud800") is None
