"""Group commit: what shares a transaction, whose error is whose, and what a lost answer means."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import msgspec
import psycopg
import pytest
import trio

from tests.postgres import PgBouncer, Server
from tests.serving.proxy import CALM, Weather, open_proxy
from tests.stores.postgres.parts import (
    check_open,
    connection_of,
    give_reads,
    read,
    row,
    signals_of,
    write,
    writer_of,
)
from tests.stores.postgres.schemas import acting, done, held, query
from trio_jobs import (
    Busy,
    IllegalTransition,
    InboxFull,
    InvalidPayload,
    KeyConflict,
    LeaseLost,
    QueueFull,
    SchemaTooNew,
    StoreCorrupt,
    StoreUnavailable,
    TrioJobsError,
    UnknownJob,
)
from trio_jobs.stores.postgres import group
from trio_jobs.stores.postgres.calls import PostgresCalls, as_text
from trio_jobs.stores.postgres.opening import database_at
from trio_jobs.stores.schedules import ScheduleDeclared, UnknownSchedule


async def act(calls: PostgresCalls, what: str, *, alone: bool = False, **more: Any) -> Any:
    return await write(calls, "act", {"what": what, **more}, alone=alone)


async def running(url: str) -> int:
    """Wait until a call runs in the database, and return the process that runs it."""
    with trio.fail_after(30):
        while True:
            sql = """SELECT pid FROM pg_stat_activity
                WHERE datname = current_database() AND state = 'active' AND query LIKE %s"""
            if found := query(url, sql, "%trio_jobs.act(%"):
                return int(found[0][0])
            await trio.sleep(0.005)


async def test_calls_that_come_meanwhile_share_a_transaction(postgres_url: str) -> None:
    """A first call goes out alone; those that come while it is on its way share one transaction."""
    async with acting(postgres_url) as calls, trio.open_nursery() as nursery:
        with held(postgres_url):
            nursery.start_soon(lambda: act(calls, "first", hold=True))
            await running(postgres_url)
            for number in range(50):
                nursery.start_soon(act, calls, str(number))
            await trio.testing.wait_all_tasks_blocked()
    found = query(postgres_url, "SELECT count(*) FROM trio_jobs.done GROUP BY transaction ORDER BY 1")
    assert found == [(1,), (50,)]


async def test_more_calls_than_one_flush_takes(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls that exceed a flush go out in the next one."""
    monkeypatch.setattr(group, "MOST", 10)
    async with acting(postgres_url) as calls:
        async with trio.open_nursery() as nursery:
            for number in range(25):
                nursery.start_soon(act, calls, str(number))
    found = query(postgres_url, "SELECT count(*) FROM trio_jobs.done GROUP BY transaction ORDER BY 1")
    assert found == [(5,), (10,), (10,)]


async def test_an_unexpected_error_is_that_of_its_call_only(postgres_url: str) -> None:
    """One of many calls fails with an error of SQL: it raises that, and all others are done once."""
    outcomes: list[object] = []

    async def one(what: str, **more: Any) -> None:
        try:
            outcomes.append(await act(calls, what, **more))
        except psycopg.Error as error:
            outcomes.append(error.sqlstate)

    async with acting(postgres_url) as calls, trio.open_nursery() as nursery:
        for what in "abc":
            nursery.start_soon(one, what)
        nursery.start_soon(lambda: one("bad", code="22012"))
    assert sorted(map(str, outcomes)) == ["22012", "a", "b", "c"]
    assert done(postgres_url) == ["a", "b", "c"]


async def test_a_transaction_that_met_another_is_tried_again(postgres_url: str) -> None:
    """Deadlocks, failed serializations and lock timeouts are tried again three times, and done once."""
    async with acting(postgres_url) as calls:
        for code in ("40P01", "40001", "55P03"):
            query(postgres_url, "ALTER SEQUENCE trio_jobs.tries RESTART")
            assert await act(calls, code, code=code, times=3) == code
        assert done(postgres_url) == ["40001", "40P01", "55P03"]
        query(postgres_url, "ALTER SEQUENCE trio_jobs.tries RESTART")
        with pytest.raises(StoreUnavailable):
            await act(calls, "never", code="40P01")
        assert query(postgres_url, "SELECT last_value FROM trio_jobs.tries") == [(4,)]


async def test_one_that_always_meets_another_does_not_hold_up_the_rest(postgres_url: str) -> None:
    """Of calls that were tried together, one deadlocks each time: the others are done without it."""
    refused: list[str] = []

    async def one(what: str, **more: Any) -> None:
        try:
            await act(calls, what, **more)
        except StoreUnavailable:
            refused.append(what)

    async with acting(postgres_url) as calls, trio.open_nursery() as nursery:
        nursery.start_soon(one, "good")
        nursery.start_soon(lambda: one("bad", code="40P01"))
    assert refused == ["bad"]
    assert done(postgres_url) == ["good"]


async def test_who_waits_for_a_lock_alone_holds_up_nobody(postgres_url: str) -> None:
    """A call of a transaction of its own gives up after a second; meanwhile the others are served."""
    async with acting(postgres_url) as calls:
        await act(calls, "row")
        with psycopg.connect(postgres_url) as other:
            other.execute("SELECT FROM trio_jobs.done FOR UPDATE")

            async def alone() -> None:
                with trio.fail_after(20), pytest.raises(StoreUnavailable, match="lock timeout"):
                    await act(calls, "alone", lock="row", alone=True)
                assert done(postgres_url) == ["free", "row"]

            async with trio.open_nursery() as nursery:
                nursery.start_soon(alone)
                await running(postgres_url)
                assert await act(calls, "free") == "free"
        assert await act(calls, "alone", lock="row", alone=True) == "alone"


async def test_a_call_that_is_cancelled_before_it_is_sent_is_not_sent(postgres_url: str) -> None:
    """While another call is on its way, one that waits is cancelled: it is never done."""
    async with acting(postgres_url) as calls:
        async with trio.open_nursery() as nursery:
            with held(postgres_url):
                nursery.start_soon(lambda: act(calls, "first", hold=True))
                await running(postgres_url)
                with trio.move_on_after(0.01) as scope:
                    await act(calls, "cancelled")
                assert scope.cancelled_caught
        assert await act(calls, "last") == "last"
    assert done(postgres_url) == ["first", "last"]


async def test_a_call_that_is_cancelled_after_it_was_sent_is_waited_for(postgres_url: str) -> None:
    """Its result is returned, and the cancellation meets the next checkpoint."""
    async with acting(postgres_url) as calls, trio.open_nursery() as nursery:
        scope = trio.CancelScope()

        async def cancel(*, task_status: trio.TaskStatus[None]) -> None:  # noqa: ASYNC114  # it stays here
            with held(postgres_url):
                task_status.started()
                await running(postgres_url)
                scope.cancel()

        await nursery.start(cancel)
        with scope:
            assert await act(calls, "sent", hold=True) == "sent"
            await trio.lowlevel.checkpoint()
        assert scope.cancelled_caught


@contextmanager
def short() -> Iterator[None]:
    """Let statements be given up soon: those of a block, as a busy machine needs longer for others."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(group, "LIMIT", 0.3)
        yield


async def test_a_statement_that_hangs_is_given_up(postgres_url: str) -> None:
    """It ends on the server, its caller hears that the store is unavailable, and the next call works."""
    rung = 0
    async with acting(postgres_url) as calls:
        rung = signals_of(calls).work.count
        with trio.fail_after(30):
            with short(), pytest.raises(StoreUnavailable, match="no answer within 0.3 seconds"):
                await act(calls, "hangs", sleep=600)
            assert signals_of(calls).work.count > rung  # as it may have been done
            assert await act(calls, "next") == "next"
            active = """SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
                AND state = 'active' AND query LIKE %s"""
            while query(postgres_url, active, "%trio_jobs.act(%") != [(0,)]:
                await trio.sleep(0.01)
    assert done(postgres_url) == ["next"]


async def test_a_network_that_swallows_everything(postgres_server: Server, postgres_url: str) -> None:
    """If nothing arrives any more, callers hear so in time; once the network is well, calls work."""
    async with open_proxy(f"tcp://127.0.0.1:{postgres_server.port}") as proxy:
        url = postgres_server.url(postgres_url.rpartition("/")[2], port=urlsplit(proxy.url).port)
        async with acting(f"{url}?connect_timeout=2", direct=postgres_url) as calls:
            assert await act(calls, "before") == "before"
            proxy.weather = Weather(life=1, silence=1.0)
            proxy.stall()
            with trio.fail_after(30), short(), pytest.raises(StoreUnavailable):
                await act(calls, "during")
            proxy.weather = CALM
            proxy.cut()
            with trio.fail_after(30):
                while True:
                    try:
                        await act(calls, "after")
                        break
                    except StoreUnavailable:
                        continue
    assert "after" in done(postgres_url)


async def test_a_backend_that_is_terminated_under_a_call(postgres_url: str) -> None:
    """The caller hears that the store is unavailable, waiting tasks look again, and the next call works."""
    async with acting(postgres_url) as calls, trio.open_nursery() as nursery:
        rung = signals_of(calls).work.count

        async def terminate() -> None:
            query(postgres_url, "SELECT pg_terminate_backend(%s)", await running(postgres_url))

        nursery.start_soon(terminate)
        with pytest.raises(StoreUnavailable, match="terminating connection due to administrator command"):
            await act(calls, "lost", sleep=600)
        assert signals_of(calls).work.count > rung
        assert await act(calls, "next") == "next"


async def test_a_connection_that_ended_while_idle_costs_no_call(postgres_url: str) -> None:
    """A pooler or an administrator ends idle connections: the next call makes a new one, and is done."""
    async with acting(postgres_url) as calls:
        assert await act(calls, "one") == "one"
        ((backend,),) = query(postgres_url, "SELECT backend FROM trio_jobs.done")
        query(postgres_url, "SELECT pg_terminate_backend(%s)", backend)
        connection = connection_of(writer_of(calls))
        with trio.fail_after(30):
            while connection.is_open:
                await trio.sleep(0.01)
        assert await act(calls, "two") == "two"


async def test_a_server_that_restarts(own_server: Callable[..., Server]) -> None:
    """While there is no server, each call hears so; once there is one again, calls work."""
    server = own_server()
    url = server.url()
    async with acting(url) as calls:
        assert await act(calls, "before") == "before"
        await trio.to_thread.run_sync(server.stop)
        for _ in range(3):
            with pytest.raises(StoreUnavailable, match="cannot be reached"):
                await act(calls, "during")
        with pytest.raises(StoreUnavailable, match="cannot be reached"):
            await read(calls, "job", "x")
        await trio.to_thread.run_sync(server.start)
        with trio.fail_after(30):
            assert await act(calls, "after") == "after"
    assert done(url) == ["after", "before"]


async def test_a_server_that_became_read_only_is_left(postgres_url: str) -> None:
    """After a fail-over the old server refuses to write: the connection is made anew, to find the new one."""
    async with acting(postgres_url) as calls:
        await act(calls, "one")
        with pytest.raises(StoreUnavailable):
            await act(calls, "read-only", code="25006")
        await act(calls, "two")
    assert query(postgres_url, "SELECT count(DISTINCT backend) FROM trio_jobs.done") == [(2,)]


async def test_what_passes_keeps_the_connection(postgres_url: str) -> None:
    """A full disk is no fault of one call: all of the flush hear of it, and the connection stays."""
    heard: list[StoreUnavailable] = []

    async def one(**more: Any) -> None:
        with pytest.raises(StoreUnavailable) as found:
            await act(calls, "full", **more)
        heard.append(found.value)

    async with acting(postgres_url) as calls:
        await act(calls, "one")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one)
            nursery.start_soon(lambda: one(code="53100"))
        await act(calls, "two")
    assert heard[0] is not heard[1]
    assert query(postgres_url, "SELECT count(DISTINCT backend) FROM trio_jobs.done") == [(1,)]


async def test_the_store_is_closed_with_its_block(postgres_url: str) -> None:
    """A call after the block raises, and so does one that had not been sent."""
    errors: list[BaseException] = []

    async def late() -> None:
        with pytest.raises(trio.ClosedResourceError) as found:
            await act(calls, "late")
        errors.append(found.value)

    async with trio.open_nursery() as nursery:
        async with acting(postgres_url) as calls:
            with held(postgres_url):
                nursery.start_soon(lambda: act(calls, "sent", hold=True))
                await running(postgres_url)
                nursery.start_soon(late)
                await trio.testing.wait_all_tasks_blocked()
    with pytest.raises(trio.ClosedResourceError):
        await act(calls, "after")
    with pytest.raises(trio.ClosedResourceError):
        check_open(calls)
    assert len(errors) == 1
    assert done(postgres_url) == ["sent"]


async def test_a_code_that_nobody_knows(postgres_url: str) -> None:
    """An error with a code of its own, as of a trigger, is that of its call, with the code."""
    async with acting(postgres_url) as calls:
        check_open(calls)
        with pytest.raises(psycopg.DatabaseError) as found:
            await act(calls, "odd", code="ZZ999")
        assert found.value.sqlstate == "ZZ999"


async def test_a_function_that_is_gone(postgres_url: str) -> None:
    """A schema that was removed under the store is told as such."""
    async with acting(postgres_url) as calls:
        query(postgres_url, "DROP SCHEMA trio_jobs CASCADE")
        with pytest.raises(StoreCorrupt, match="was removed"):
            await act(calls, "gone")


async def test_an_answer_that_makes_no_sense_is_a_fault(postgres_url: str) -> None:
    """Its caller gets the error, and the store goes on."""
    async with acting(postgres_url) as calls:
        with pytest.raises(msgspec.ValidationError):
            await act(calls, "odd", answer="text")
        assert await act(calls, "next") == "next"


async def test_a_call_without_an_answer_is_a_fault(postgres_url: str) -> None:
    """A function that leaves a call out does not leave its caller waiting."""
    async with acting(postgres_url) as calls:
        with pytest.raises(RuntimeError, match="act gave no answer"):
            await act(calls, "silent", silent=True)


@pytest.mark.parametrize(
    ("name", "values", "kind"),
    [
        ("UnknownJob", ["j"], UnknownJob),
        ("KeyConflict", ["k", "j"], KeyConflict),
        ("InboxFull", [1, 0, "1 input"], InboxFull),
        ("Busy", ["j"], Busy),
        ("LeaseLost", ["j", 1], LeaseLost),
        ("InvalidPayload", ["no"], InvalidPayload),
        ("SchemaTooNew", ["the schema", 2, 1], SchemaTooNew),
        ("UnknownSchedule", ["s"], UnknownSchedule),
        ("ScheduleDeclared", ["s"], ScheduleDeclared),
        ("IllegalTransition", ["running", "removed"], IllegalTransition),
        ("QueueFull", [1, None, None, "me"], QueueFull),
    ],
)
async def test_a_refusal_is_the_exception_that_it_names(
    postgres_url: str, name: str, values: list[Any], kind: type[TrioJobsError]
) -> None:
    """An answer names an exception and its arguments; the call raises it, and nothing is tried again."""
    async with acting(postgres_url) as calls:
        with pytest.raises(kind):
            await act(calls, "no", answer={"error": name, "values": values})
    assert done(postgres_url) == ["no"]


async def test_what_changed_wakes_those_who_wait(postgres_url: str) -> None:
    """What answers say has changed rings the signals of the jobs before the calls return."""
    async with acting(postgres_url) as calls:
        signals = signals_of(calls)
        with (
            signals.events_of("j") as grown,
            signals.end_of("j") as end,
            signals.listening({"j": 3, "k": 3}) as heard,
        ):
            before = signals.work.count, signals.requests.count, signals.alarm.count
            answer = {
                "grown": ["j"],
                "ended": ["j"],
                "started": ["i"],
                "heard": {"j": 4, "k": None},
                "asked": True,
            }
            await act(calls, "all", answer={**answer, "work": True, "alarm": 5.0})
            assert (grown.count, end.count, heard.count) == (1, 1, 1)
            assert heard.found == {"j", "k"}
        assert (signals.work.count, signals.requests.count, signals.alarm.count) == tuple(
            n + 1 for n in before
        )
        assert signals.open == {"i"}
        await act(calls, "none")
        assert (signals.work.count, signals.requests.count, signals.alarm.count) == tuple(
            n + 1 for n in before
        )


async def test_an_answer_to_no_call_tells_what_changed(postgres_url: str) -> None:
    """A row without a place answers no call, and wakes those who wait for what it says has changed."""
    function = """CREATE FUNCTION trio_jobs.tell(calls json) RETURNS TABLE (place int, answer json)
        LANGUAGE sql AS $$ VALUES (0, '{"value": 1}'::json), (NULL, '{"grown": ["j"]}') $$"""
    async with acting(postgres_url) as calls:
        query(postgres_url, function)
        with signals_of(calls).events_of("j") as grown:
            assert await write(calls, "tell", {}) == 1
            assert grown.count == 1


async def test_text_that_the_database_cannot_hold(postgres_url: str) -> None:
    """A call with a lone surrogate or U+0000 is refused as a value; a read with one finds nothing."""
    async with acting(postgres_url) as calls:
        for text in ("\ud800", "\0"):
            with pytest.raises(InvalidPayload):
                await act(calls, text)
            assert await read(calls, "job", text) == []
        assert await act(calls, "ok") == "ok"


async def test_reads_are_independent(postgres_url: str) -> None:
    """Reads go out together; one with an error affects no other."""
    async with acting(postgres_url) as calls:
        give_reads(calls, {"half": b"SELECT 1 / $1::int, $2::text[]"})
        rows: list[Any] = []

        async def one(number: int) -> None:
            try:
                rows.extend(await read(calls, "half", number, ["a", None, 'b"\\']))
            except psycopg.errors.DivisionByZero:
                rows.append(None)

        async with trio.open_nursery() as nursery:
            for number in (0, 1, 1):
                nursery.start_soon(one, number)
    assert sorted(rows, key=str)[:2] == [("1", '{a,NULL,"b\\"\\\\"}')] * 2
    assert rows.count(None) == 1


async def test_reads_by_a_key_are_one_statement(postgres_url: str) -> None:
    """Reads of the same rows by different keys go out as one, and each gets the row of its own key."""
    async with acting(postgres_url) as calls:
        sql = b"SELECT word, cardinality($1) FROM unnest($1::text[]) AS word WHERE word <> 'unknown'"
        give_reads(calls, {"words": sql})
        found: dict[str, Any] = {}

        async def one(key: str) -> None:
            found[key] = await row(calls, "words", key)

        await one("alone")
        async with trio.open_nursery() as nursery:
            for key in ("plain", 'b"\\', "c,{d}", "NULL", "unknown"):
                nursery.start_soon(one, key)
    assert found.pop("alone") == ("alone", "1")
    assert found.pop("unknown") is None
    assert found == {key: (key, "5") for key in ("plain", 'b"\\', "c,{d}", "NULL")}


def test_parameters_are_text() -> None:
    """Booleans, numbers and collections are written as PostgreSQL reads them."""
    values: list[object] = [True, False, 1, 0.5, "x", []]
    assert [as_text(value) for value in values] == ["true", "false", "1", "0.5", "x", "{}"]


async def test_a_forked_child_may_not_use_the_store(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A child that was forked off gets an error that says what to do."""
    async with acting(postgres_url) as calls:
        child = os.getpid() + 1
        monkeypatch.setattr(os, "getpid", lambda: child)
        with pytest.raises(RuntimeError, match="forked off"):
            await act(calls, "child")
        with pytest.raises(RuntimeError, match="forked off"):
            await read(calls, "job", "x")


async def test_a_pooler_in_transaction_mode(postgres_server: Server, postgres_url: str) -> None:
    """Calls, reads and errors work by way of a pooler that gives each transaction any of its connections."""
    pooler = PgBouncer(postgres_server)
    try:
        await trio.to_thread.run_sync(pooler.start)
        url = pooler.url(postgres_url.rpartition("/")[2])
        assert not database_at(url).listens
        async with acting(url) as calls:
            with pytest.raises(psycopg.errors.DivisionByZero):
                await act(calls, "bad", code="22012")
            async with trio.open_nursery() as nursery:
                for number in range(20):
                    nursery.start_soon(act, calls, str(number))
                    nursery.start_soon(read, calls, "job", str(number))
                    nursery.start_soon(lambda: act(calls, "alone", alone=True))
    finally:
        pooler.remove()
    assert len(done(postgres_url)) == 40
