"""Faults of servers and networks: nothing that was accepted is lost, nothing runs twice at once, callers are
told that the store is not available, and all goes on by itself when the fault is over."""

from __future__ import annotations

import os
import subprocess
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import attrs
import psycopg
import pytest
import trio

from tests.postgres import PgBouncer, Server
from tests.serving.proxy import CALM, Proxy, Weather, open_proxy
from tests.stores.postgres.load import PATIENCE, registry, run, sql, under_load, work
from trio_jobs import Kind, LeaseLost, State, StoreUnavailable, StreamGap, UnknownJob, open_registry
from trio_jobs.stores import Claimant, Store
from trio_jobs.stores.postgres import open_postgres
from trio_jobs.stores.retrying import retry_until_answered
from trio_jobs.testing.checks import kit

Start = Callable[..., Server]
FAULT = """
CREATE SEQUENCE public.met;
CREATE TABLE public.fault (code text, times bigint);
CREATE FUNCTION public.fail() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE planned record;
BEGIN
    FOR planned IN SELECT * FROM public.fault LOOP
        IF planned.code = 'slow' THEN PERFORM pg_sleep(30);
        ELSIF nextval('public.met') <= planned.times THEN
            RAISE EXCEPTION 'planted' USING ERRCODE = planned.code;
        END IF;
    END LOOP;
    RETURN NULL;
END $$;
CREATE TRIGGER fault AFTER INSERT OR UPDATE ON trio_jobs.job EXECUTE FUNCTION public.fail();
"""


async def in_thread(work: Callable[[], object]) -> None:
    await trio.to_thread.run_sync(work)


# ------------------------------------------------------------ the server goes


@pytest.mark.deep
@pytest.mark.parametrize("how", ["fast", "immediate", "kill"])
async def test_a_server_that_goes_and_comes_back(own_server: Start, how: Any) -> None:
    """Under load a server is stopped, or killed, and started again: callers are told, and no job notices."""
    server = own_server(durable=True)
    async with under_load(server.url()) as load:
        for _ in range(3):
            await in_thread(server.kill if how == "kill" else lambda: server.stop(how))
            await load.until_refused()
            server.spawn()
            await in_thread(server.wait)
            await load.go_on()
        await load.end()


async def test_connections_that_the_server_ends(postgres_url: str) -> None:
    """An operator terminates every connection of the store, over and over."""
    async with under_load(postgres_url) as load:
        for _ in range(5):
            sql(
                postgres_url,
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()",
            )
            await load.go_on(5)
        await load.end()


@pytest.mark.deep
async def test_a_standby_that_takes_over(own_server: Start) -> None:
    """With a synchronous standby, what was accepted survives the loss of the first server for good."""
    first = own_server(durable=True)
    second = first.standby()
    try:
        second.spawn()
        await in_thread(second.wait)
        first.query("ALTER SYSTEM SET synchronous_standby_names = '*'")
        first.query("SELECT pg_reload_conf()")
        hosts = f"127.0.0.1:{first.port},127.0.0.1:{second.port}"
        url = f"postgresql://postgres@{hosts}/postgres?target_session_attrs=read-write"
        async with under_load(url) as load:
            await load.go_on()
            await in_thread(first.kill)
            await load.until_refused()
            second.promote()
            second.query("ALTER SYSTEM SET synchronous_standby_names = ''")
            second.query("SELECT pg_reload_conf()")
            await load.go_on()
            await load.end()
    finally:
        second.remove()


async def until(server: Server, asks: str, found: list[tuple[Any, ...]]) -> None:
    """Wait until a server has what the other one wrote."""
    with trio.fail_after(PATIENCE):
        while True:
            with suppress(psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
                if server.query(asks) == found:
                    return
            await trio.sleep(0.01)


async def follow(store: Store, job_id: str, after: int, tell: trio.MemorySendChannel[int]) -> None:
    """Wait behind a cursor until the store tells that it has lost what was before it; say what is left."""
    with pytest.raises(StreamGap) as gap:
        await retry_until_answered(store.follow, job_id, after, 1)
    await tell.send(gap.value.oldest)


@pytest.mark.deep
async def test_a_standby_that_takes_over_too_early(own_server: Start) -> None:
    """With an asynchronous standby, what had not arrived there is lost, and told as such: readers that are
    ahead get a gap, an attempt that is ahead can write nothing, nor can the worker of a lost claim to the
    attempt with its number."""
    first = own_server(durable=True)
    second = first.standby()
    old, new = Claimant("old", 600.0, claim="old-1"), Claimant("new", 600.0, claim="new-1")
    spoken, waiting, late = kit.make(), kit.make(), kit.make()
    tell, told = trio.open_memory_channel[int](1)
    hosts = f"127.0.0.1:{first.port},127.0.0.1:{second.port}"
    url = f"postgresql://postgres@{hosts}/postgres?target_session_attrs=read-write"
    try:
        await in_thread(second.start)
        async with open_postgres(url, handlers=[kit.work]) as store, trio.open_nursery() as nursery:
            await store.submit([spoken], 1, Claimant("old", 600.0, claim="old-0"))
            await store.submit([waiting], 0, old)
            await until(second, "SELECT state FROM trio_jobs.job ORDER BY 1", [("queued",), ("running",)])
            await in_thread(second.stop)
            cursor = await store.append(spoken.id, 1, Kind.TOKEN, ["a", "b"], 0, claim="old-0")
            nursery.start_soon(follow, store, spoken.id, cursor, tell)
            (lost,) = await store.claim(1, old)
            assert (lost.submission.id, lost.attempt) == (waiting.id, 1)
            await store.submit([late], 0, old)
            await in_thread(first.kill)
            second.spawn()
            await in_thread(second.wait)
            second.promote()
            with trio.fail_after(PATIENCE):
                while True:
                    try:
                        assert (await store.get(spoken.id)).last_seq < cursor
                        (anew,) = await store.claim(1, new)
                        break
                    except StoreUnavailable:
                        await trio.sleep(0.01)
            assert (anew.submission.id, anew.attempt) == (waiting.id, 1)
            for call in (
                store.append(spoken.id, 1, Kind.TOKEN, ["c"], 2, claim="old-0"),
                store.finish(spoken.id, 1, attrs.evolve(kit.completed(), appended=2), "old-0"),
                store.append(waiting.id, 1, Kind.TOKEN, ["x"], 0, claim="old-1"),
                store.finish(waiting.id, 1, kit.completed(), "old-1"),
            ):
                with pytest.raises(LeaseLost):
                    await call
            assert (await store.heartbeat({waiting.id: 1}, 60.0, {waiting.id: "old-1"})).lost == {waiting.id}
            assert await store.finish(waiting.id, 1, kit.completed(), "new-1") is State.COMPLETED
            with pytest.raises(UnknownJob):
                await store.get(late.id)
            assert [event.seq for event in await kit.whole(store, spoken.id)] == [*range(1, cursor - 1)]
            assert await told.receive() == cursor - 2
            nursery.cancel_scope.cancel()
        async with open_registry(url, handlers=[kit.work], capacity=0) as jobs:
            handle = await jobs.get(spoken.id)
            with pytest.raises(StreamGap) as found:
                async with handle.events(after=cursor):
                    pass
            assert (found.value.first, found.value.last) == (cursor - 1, cursor)
    finally:
        second.remove()


async def test_no_connection_is_left(own_server: Start) -> None:
    """A store whose connections were taken by others says so, and gets new ones when these are free."""
    server = own_server(settings={"max_connections": "15"})
    async with under_load(server.url()) as load:
        with ExitStack() as stack:
            others: list[int] = []
            with pytest.raises(psycopg.OperationalError, match="too many clients"):
                while True:
                    db = stack.enter_context(psycopg.connect(server.url(), autocommit=True))
                    others.append(db.info.backend_pid)
            db.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'client backend'"
                " AND pid <> ALL(%s)",
                [others],
            )
            with pytest.raises(psycopg.OperationalError, match="too many clients"):
                while True:
                    stack.enter_context(psycopg.connect(server.url()))
            await load.until_refused()
        await load.go_on()
        await load.end()


# ------------------------------------------------------------ the network


@asynccontextmanager
async def proxied(server: Server, url: str) -> AsyncGenerator[tuple[Proxy, str]]:
    """Pass connections to a database on by way of a proxy, and return its URL there."""
    async with open_proxy(f"tcp://127.0.0.1:{server.port}") as proxy:
        yield proxy, server.url(url.rpartition("/")[2], port=urlsplit(proxy.url).port)


def swallow(proxy: Proxy) -> None:
    """Pass nothing on any more, and close nothing: it is as if a cable was pulled."""
    proxy.weather = Weather(life=1, silence=1.0)
    proxy.stall()


async def test_connections_that_are_cut(postgres_server: Server, postgres_url: str) -> None:
    """Connections are cut under way, over and over; then there are none for a while."""
    async with proxied(postgres_server, postgres_url) as (proxy, url), under_load(url) as load:
        for _ in range(10):
            proxy.cut()
            await load.go_on(3)
        proxy.weather = Weather(refusal=1.0)
        proxy.cut()
        await load.until_refused()
        proxy.weather = CALM
        await load.go_on()
        await load.end()


async def test_connections_that_break_anywhere(postgres_server: Server, postgres_url: str) -> None:
    """Connections that carry some kilobytes each, and break within a message, cost time and nothing else."""
    async with proxied(postgres_server, postgres_url) as (proxy, url), under_load(url) as load:
        proxy.weather = Weather(life=100_000, piece=500)
        proxy.cut()
        await load.go_on()
        proxy.weather = CALM
        proxy.cut()  # those that are there would still break
        await load.go_on()
        await load.end()


async def test_a_slow_network(postgres_server: Server, postgres_url: str) -> None:
    """Over a link that holds each piece back for up to 50 ms, nothing is refused."""
    async with proxied(postgres_server, postgres_url) as (proxy, url), under_load(url) as load:
        proxy.weather = Weather(delay=0.05)
        proxy.cut()
        await load.go_on(1)
        before = load.refused
        await load.go_on()
        await load.end()
        assert load.refused == before


@pytest.mark.deep
async def test_a_network_that_swallows_all(postgres_server: Server, postgres_url: str) -> None:
    """Where no packet arrives and nothing is closed, callers are told in time, and all goes on afterwards."""
    async with proxied(postgres_server, postgres_url) as (proxy, url), under_load(url) as load:
        swallow(proxy)
        with trio.fail_after(20):
            await load.until_refused()
        proxy.weather = CALM
        await load.go_on()
        await load.end()


@pytest.mark.deep
async def test_a_worker_that_is_cut_off_stops_its_jobs(postgres_server: Server, postgres_url: str) -> None:
    """A worker that reaches the store no more stops its attempts when its lease is over; another one takes
    them then, and they never run at the same time."""
    async with (
        proxied(postgres_server, postgres_url) as (proxy, url),
        under_load(url, direct=postgres_url, seconds=0.6, lease=2.0) as load,
    ):
        swallow(proxy)
        async with open_registry(postgres_url, handlers=[work], capacity=4, lease=2.0):
            await load.go_on(12)
            proxy.weather = CALM
            await load.go_on(12)
            await load.end(lost=True)


async def test_behind_a_pooler(postgres_server: Server, postgres_url: str) -> None:
    """Behind a pooler in transaction mode all works, also when the pooler is started again."""
    pooler = PgBouncer(postgres_server, size=2)
    try:
        pooler.start()
        async with under_load(pooler.url(postgres_url.rpartition("/")[2])) as load:
            await load.go_on()
            pooler.stop()
            await load.until_refused()
            pooler.start()
            await load.go_on()
            await load.end()
    finally:
        pooler.remove()


# ------------------------------------------------------------ errors of the server


@pytest.mark.parametrize("code", ["40001", "40P01", "55P03"])
async def test_transactions_that_meet(postgres_url: str, code: str) -> None:
    """What fails as it met another transaction is tried again, unseen; and if it fails for long, callers are
    told, and what they do then works again by itself."""
    async with registry(postgres_url) as jobs:
        sql(postgres_url, FAULT)
        sql(postgres_url, "INSERT INTO public.fault VALUES (%s, 3)", code)
        job = await jobs.submit(work, 1, 0.0)
        assert await job.result() == 1
        sql(postgres_url, "UPDATE public.fault SET times = 1000000000")
        with pytest.raises(StoreUnavailable, match="planted"):
            await jobs.submit(work, 2, 0.0, key="two")
        sql(postgres_url, "DELETE FROM public.fault")
        job = await jobs.submit(work, 2, 0.0, key="two")
        assert await job.result() == 2
        assert await jobs.count() == 2


@pytest.mark.parametrize("code", ["53100", "53200", "57014", "58030"])
async def test_a_server_in_trouble(postgres_url: str, code: str) -> None:
    """While the server has no disk, no memory, or cannot read, callers are told; jobs wait, and go on."""
    async with under_load(postgres_url) as load:
        sql(postgres_url, FAULT)
        sql(postgres_url, "INSERT INTO public.fault VALUES (%s, 1000000000)", code)
        await load.until_refused()
        sql(postgres_url, "DELETE FROM public.fault")
        await load.go_on()
        await load.end()


async def test_statements_that_take_too_long(postgres_url: str) -> None:
    """Where the server ends slow statements, callers are told, and the next ones succeed."""
    name = postgres_url.rpartition("/")[2]
    sql(postgres_url, f"ALTER DATABASE {name} SET statement_timeout = '2s'")
    async with registry(postgres_url) as jobs:
        sql(postgres_url, FAULT)
        sql(postgres_url, "INSERT INTO public.fault VALUES ('slow', 0)")
        with pytest.raises(StoreUnavailable, match="statement timeout"):
            await jobs.submit(work, 1, 0.0)
        sql(postgres_url, "TRUNCATE public.fault")
        assert await (await jobs.submit(work, 2, 0.0)).result() == 2
        assert await jobs.count() == 1


@pytest.fixture
def small_disk(own_server: Start) -> Iterator[str]:
    """Return the URL of a database on a disk of its own, which holds little."""
    server = own_server()
    folder = server.folder / "small"
    folder.mkdir()
    try:
        run("mount", "-t", "tmpfs", "-o", "size=32m,mode=777", "tmpfs", str(folder))
    except (subprocess.CalledProcessError, FileNotFoundError) as error:
        folder.rmdir()
        pytest.skip(f"needs to mount a small disk: {getattr(error, 'stderr', error)!r}")
    try:
        place = folder / "space"
        place.mkdir()
        owner = server.folder.stat()
        os.chown(place, owner.st_uid, owner.st_gid)
        server.query(f"CREATE TABLESPACE small LOCATION '{place}'")
        server.query("CREATE DATABASE small TABLESPACE small")
        yield server.url("small")
        server.query("DROP DATABASE small WITH (FORCE)")
        server.query("DROP TABLESPACE small")
    finally:
        run("umount", "-l", str(folder))


@pytest.mark.deep
async def test_a_disk_that_is_full(small_disk: str) -> None:
    """On a disk without room nothing that was accepted is lost, and all goes on when there is room again."""
    async with under_load(small_disk) as load:
        sql(small_disk, "CREATE TABLE public.filler (a text)")
        with pytest.raises(psycopg.errors.DiskFull):
            while True:
                sql(
                    small_disk,
                    "INSERT INTO public.filler SELECT repeat(md5(i::text), 8) FROM generate_series(1, 500) i",
                )
        await load.until_refused()
        sql(small_disk, "DROP TABLE public.filler")
        await load.go_on()
        await load.end()
