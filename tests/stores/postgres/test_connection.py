"""One connection: pipelines, statements that hang, and what is lost with it."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, cast

import psycopg
import pytest
import trio
from psycopg import pq

from tests.stores.postgres.schemas import held, query
from trio_jobs import StoreUnavailable
from trio_jobs.stores.postgres.connection import Connection, Kept
from trio_jobs.stores.postgres.opening import database_at


@asynccontextmanager
async def connected(url: str) -> AsyncGenerator[Connection]:
    connection = await database_at(url).connect()
    try:
        yield connection
    finally:
        connection.close()


async def pid_of(connection: Connection) -> int:
    (answer,) = await connection.run([(b"SELECT pg_backend_pid()", ())])
    assert isinstance(answer, list)
    return int(answer[0][0][0] or 0)


async def until_it(url: str, pid: int, sleeps: int) -> None:
    """Wait until a backend runs a statement that sleeps, or does not any more."""
    asks = "SELECT count(*) FROM pg_stat_activity WHERE pid = %s AND state = 'active' AND query LIKE %s"
    with trio.fail_after(30):
        while query(url, asks, pid, "%pg_sleep%") != [(sleeps,)]:
            await trio.sleep(0.01)


async def test_a_failed_statement_skips_the_rest_of_its_batch_only(postgres_url: str) -> None:
    """Of three batches in one round trip the one with an error gives that, and the others their rows."""
    async with connected(postgres_url) as connection:
        one, two, three = await connection.run(
            [(b"SELECT 1, NULL, $1::text", [b"a"]), (b"SELECT 2", ())],
            [(b"SELECT 1 / $1::int", [b"0"]), (b"CREATE TABLE never ()", ())],
            [(b"SELECT to_regclass('never')", ())],
        )
    assert one == [[("1", None, "a")], [("2",)]]
    assert isinstance(two, psycopg.errors.DivisionByZero)
    assert three == [[(None,)]]


async def test_a_pipeline_larger_than_all_buffers_passes(postgres_url: str) -> None:
    """Many megabytes go each way: those that a busy server does not take yet wait, and nobody is stuck."""
    piece = b"x" * 2**20
    lock: tuple[bytes, list[bytes | None]] = (b"SELECT pg_advisory_lock(1)", [])
    answers: list[object] = []
    async with connected(postgres_url) as connection:

        async def run() -> None:
            answers.extend(await connection.run([lock, *[(b"SELECT $1::text", [piece])] * 60]))

        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                with held(postgres_url):
                    nursery.start_soon(run)
                    await trio.testing.wait_all_tasks_blocked()
    (answer,) = answers
    assert isinstance(answer, list)
    assert [len(rows[0][0] or "") for rows in answer[1:]] == [2**20] * 60


async def test_a_cancelled_statement_ends_on_the_server(postgres_url: str) -> None:
    """Who is cancelled while a statement runs loses the connection, and the server gives the statement up."""
    async with connected(postgres_url) as connection:
        pid = await pid_of(connection)
        scope = trio.CancelScope()

        async def cancel() -> None:
            await until_it(postgres_url, pid, sleeps=1)
            scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(cancel)
            with scope:
                await connection.run([(b"SELECT pg_sleep(600)", ())])
        assert scope.cancelled_caught
        assert not connection.is_open
        await until_it(postgres_url, pid, sleeps=0)


async def test_a_terminated_backend_says_why(postgres_url: str) -> None:
    """A connection whose backend is terminated raises what the server said, and is closed."""
    async with connected(postgres_url) as connection:
        with pytest.raises(psycopg.errors.AdminShutdown):
            await connection.run([(b"SELECT pg_terminate_backend(pg_backend_pid())", ())])
        assert not connection.is_open


async def test_a_connection_that_was_ended_while_idle_is_known(postgres_url: str) -> None:
    """A connection is not open once the system has heard of its end."""
    async with connected(postgres_url) as connection:
        pid = await pid_of(connection)
        assert connection.is_open
        query(postgres_url, "SELECT pg_terminate_backend(%s)", pid)
        with trio.fail_after(20):
            while connection.is_open:
                await trio.sleep(0.01)


async def test_notifications_arrive(postgres_url: str) -> None:
    """All notifications that are there are returned together, in their order; lost ones raise."""
    async with connected(postgres_url) as connection:
        await connection.run([(b"LISTEN news", ())])
        for text in "one", "two":
            query(postgres_url, "SELECT pg_notify('news', %s)", text)
        heard: list[str] = []
        with trio.fail_after(20):
            while len(heard) < 2:
                heard += await connection.listen()
        assert heard == ["one", "two"]
        pid = await pid_of(connection)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(
                trio.to_thread.run_sync, query, postgres_url, f"SELECT pg_terminate_backend({pid})"
            )
            with pytest.raises(psycopg.OperationalError):
                await connection.listen()
        assert not connection.is_open


async def test_notifications_that_come_together_are_returned_together(postgres_url: str) -> None:
    """Two notifications of one transaction are one answer."""
    async with connected(postgres_url) as connection:
        await connection.run([(b"LISTEN news", ())])
        query(postgres_url, "SELECT pg_notify('news', 'one'), pg_notify('news', 'two')")
        with trio.fail_after(20):
            assert await connection.listen() == ["one", "two"]


async def test_a_script_stops_at_its_first_error(postgres_url: str) -> None:
    """A script returns the rows of its last statement, or raises the error of one."""
    async with connected(postgres_url) as connection:
        assert await connection.script("SELECT 1; SELECT 2, 3") == [("2", "3")]
        with pytest.raises(psycopg.errors.UndefinedTable):
            await connection.script("SELECT 1; SELECT FROM nowhere; SELECT 2")
        assert await connection.script("SELECT 4") == [("4",)]


async def test_a_server_that_says_nothing_is_out_of_reach() -> None:
    """Connecting ends after `connect_timeout`, with the name of the database."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        port = listener.socket.getsockname()[1]
        database = database_at(f"postgresql://me@127.0.0.1:{port}/jobs?connect_timeout=1")
        with (
            trio.fail_after(9),  # it is 10 s by default
            pytest.raises(StoreUnavailable, match="database jobs on 127.0.0.1 did not answer"),
        ):
            await database.connect()


async def test_a_server_that_closes_is_out_of_reach() -> None:
    """A server that closes the connection before it has said anything counts as out of reach."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener, trio.open_nursery() as nursery:

        async def close() -> None:
            await (await listener.accept()).aclose()

        nursery.start_soon(close)
        port = listener.socket.getsockname()[1]
        with pytest.raises(StoreUnavailable, match="cannot be reached"):
            await database_at(f"postgresql://me@127.0.0.1:{port}/jobs?gssencmode=disable").connect()


async def test_an_address_without_a_server_is_out_of_reach() -> None:
    """A name that cannot be looked up, and a port that nobody listens on, are told as they are."""
    with pytest.raises(StoreUnavailable, match="jobs on nowhere.invalid cannot be reached"):
        await database_at("postgresql://me@nowhere.invalid/jobs").connect()


async def test_what_libpq_has_given_up_is_lost() -> None:
    """A connection that is lost without a word about it raises, and is not waited for."""

    class Lost:
        status = pq.ConnStatus.BAD

        def is_busy(self) -> int:
            return 0

        def get_result(self) -> None:
            return None

        def get_error_message(self) -> str:
            return "it is gone"

    with pytest.raises(psycopg.OperationalError, match="it is gone"):
        await Connection(cast("Any", Lost()))._answer()


async def test_a_forked_child_leaves_the_connection_alone(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A child that was forked off closes its copy without a word to the server."""
    async with connected(postgres_url) as connection:
        with monkeypatch.context() as child_like:
            child_like.setattr(connection, "_process", 0)
            connection.close()
        pid = await pid_of(connection)
        child = os.fork()
        if not child:  # pragma: no cover  # in another process
            connection.close()
            os._exit(0)
        await trio.to_thread.run_sync(os.waitpid, child, 0)
        assert await pid_of(connection) == pid


async def test_a_statement_that_comes_again_is_kept(postgres_url: str) -> None:
    """The server keeps a statement at its first use; behind a pooler it keeps none."""
    names = b"SELECT count(*) FROM pg_prepared_statements WHERE statement = 'SELECT $1::int'"
    for url, kept in (postgres_url, "1"), (f"{postgres_url}?pooler=transaction", "0"):
        async with connected(url) as connection:
            for value in b"1", b"2":
                answers = await connection.run([(Kept(b"SELECT $1::int"), [value])], [(names, ())])
                assert answers == [[[(value.decode(),)]], [[(kept,)]]]


async def test_a_kept_statement_that_is_refused_says_why(postgres_url: str) -> None:
    """What cannot be prepared yet gives its own error, and works once what it lacks is there."""
    async with connected(postgres_url) as connection:
        late, fine = [(Kept(b"SELECT * FROM late"), ())], [(Kept(b"SELECT 1"), ())]
        refused, there = await connection.run(late, fine)
        assert isinstance(refused, psycopg.errors.UndefinedTable)
        assert there == [[("1",)]]
        query(postgres_url, "CREATE TABLE late AS SELECT 5 AS number")
        assert await connection.run(late) == [[[("5",)]]]


async def test_a_kept_statement_of_which_the_columns_change_is_kept_anew(postgres_url: str) -> None:
    """Whoever uses it next after a migration gets an error, and the one after that its rows."""
    async with connected(postgres_url) as connection:
        query(postgres_url, "CREATE TABLE grows AS SELECT 5 AS number")
        rows = [(Kept(b"SELECT * FROM grows"), ())]
        assert await connection.run(rows) == [[[("5",)]]]
        query(postgres_url, "ALTER TABLE grows ADD COLUMN more int")
        (error,) = await connection.run(rows)
        assert isinstance(error, psycopg.errors.FeatureNotSupported)
        assert await connection.run(rows) == [[[("5", None)]]]
