"""Opening: what cannot work is told at once, with what to change."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
import trio
import trustme

from tests.postgres import Server
from tests.stores.postgres.parts import options_of
from tests.stores.postgres.schemas import query
from trio_jobs import InvalidPayload, Kind, Retention, StoreCorrupt, StoreUnavailable, StoreUnfit
from trio_jobs.stores.postgres import migrating
from trio_jobs.stores.postgres.calls import PostgresCalls
from trio_jobs.stores.postgres.failures import refused, translated
from trio_jobs.stores.postgres.opening import (
    database_at,
    migrated,
    open_postgres,
    opened,
    plan,
    schema_of,
    split,
)
from trio_jobs.testing.checks import kit


async def opens(url: str) -> None:
    async with opened(PostgresCalls, url):
        pass


async def refuses(url: str, text: str) -> None:
    """Check that nothing can be opened, made or planned there, with the same words."""
    for opening in (opens, migrated, plan):
        with pytest.raises(StoreUnfit, match=text):
            await opening(url)


async def test_a_store_is_opened(postgres_url: str) -> None:
    """The whole store opens, and closes with its block."""
    async with open_postgres(postgres_url, poll=0.5, queue_limit=7, retention=Retention(events=3)) as store:
        assert store.durable
        poll, own = options_of(store)
    assert (poll, own["queue"], own["keep"]["events"]) == (0.5, 7, 3)


@pytest.mark.parametrize(
    ("url", "options", "text"),
    [
        ("mysql://x/y", {}, "'mysql' is no scheme of PostgreSQL"),
        ("postgresql://x/y?colour=red", {}, "this is no address of PostgreSQL"),
        ("postgresql://x/y?pooler=session", {}, "pooler must be one of 'none', 'transaction'"),
        ("postgresql://x/y?schema=pg_x", {}, "schema takes a name"),
        ("postgresql://x/y", {"queue_limit": 0}, "queue_limit"),
        ("postgresql://x/y", {"poll": 0.0}, "poll"),
    ],
)
async def test_a_wrong_argument_is_told_before_anything_is_opened(
    url: str, options: dict[str, Any], text: str
) -> None:
    """Nothing is connected to for an address or an option that is wrong."""
    with pytest.raises(ValueError, match=text):
        async with opened(PostgresCalls, url, **options):
            pass


def test_an_error_shows_no_password() -> None:
    """What a database is called in errors is its name and its host."""
    assert database_at("postgresql://me:secret@there/jobs").where == "database jobs on there"
    assert database_at("postgresql://").where == "database (default) on (default)"


def test_options_of_an_address() -> None:
    """Those of this package are taken out of it, and nothing else is changed in it."""
    url = "postgres:///jobs?options=-c%20x%3D1&schema=my%20jobs&a=%2B+&pooler=transaction"
    assert split(url) == (
        "postgres:///jobs?options=-c%20x%3D1&a=%2B+",
        {"schema": "my jobs", "pooler": "transaction"},
    )
    assert (schema_of(url), schema_of("postgres:///jobs")) == ("my jobs", "trio_jobs")
    assert split("postgresql://me:a#b@x") == ("postgresql://me:a#b@x", {})


async def test_a_server_that_asks_for_a_password(own_server: Callable[..., Server]) -> None:
    """A wrong password, none, a user from a wrong place, and one that may not log in are told as such."""
    server = own_server()
    server.query("CREATE ROLE known LOGIN PASSWORD 'right'")
    server.query("CREATE ROLE closed NOLOGIN")
    rules = ("host all known 127.0.0.1/32 scram-sha-256", "host all postgres,closed 127.0.0.1/32 trust")
    (server.data / "pg_hba.conf").write_text("\n".join(rules) + "\n")
    server.query("SELECT pg_reload_conf()")
    url = server.url().replace("postgres@", "{}@")
    cases = {
        "known:wrong": "password authentication failed .* check both",
        "known": "no password supplied; put it into the address",
        "stranger": "no pg_hba.conf entry",
        "closed": "is not permitted to log in",
    }
    for user, text in cases.items():
        with pytest.raises(PermissionError, match=re.compile(text, re.DOTALL)) as found:
            await opens(url.format(user))
        assert "wrong" not in str(found.value)


async def test_names_that_the_server_does_not_know(postgres_url: str) -> None:
    """A missing database, and a missing user, are told with what to do."""
    with pytest.raises(StoreUnfit, match='"nothing" does not exist; .*createdb'):
        await opens(postgres_url.rpartition("/")[0] + "/nothing")
    with pytest.raises(PermissionError, match='"nobody" does not exist; check the user'):
        await opens(postgres_url.replace("postgres@", "nobody@"))


async def test_options_with_which_none_connects(postgres_url: str) -> None:
    """TLS that the server has not, and words that libpq does not know, are told with what to change."""
    with pytest.raises(StoreUnfit, match="does not support SSL.* switch on ssl there"):
        await opens(f"{postgres_url}?sslmode=require")
    with pytest.raises(StoreUnfit, match='invalid sslmode value: "no"; correct the address'):
        await opens(f"{postgres_url}?sslmode=no")


async def test_a_server_with_tls(own_server: Callable[..., Server], tmp_path: Path) -> None:
    """If its certificate is checked, all four connections are encrypted, and megabytes go both ways; a wrong
    authority, none, and a host of another name than the certificate's are refused with what to check."""
    authority, stranger = trustme.CA(), trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "right.pem")
    stranger.cert_pem.write_to_path(tmp_path / "wrong.pem")
    mine = authority.issue_cert("localhost")
    server = own_server(tls=(mine.cert_chain_pems[0].bytes(), mine.private_key_pem.bytes()))

    def url(host: str, root: str) -> str:
        return f"{server.url(host=host)}?sslmode=verify-full&sslrootcert={tmp_path / root}.pem"

    async with open_postgres(url("localhost", "right"), handlers=[kit.work]) as store:
        job_id = await kit.started(store)
        pieces = [str(number) * 50_000 for number in range(10)] * 4
        await store.append(job_id, 1, Kind.TOKEN, pieces, 0)
        assert [event.data for event in await store.read(job_id, 2, 100)] == pieces
        await store.submit([kit.make(key="once")], 0, kit.HOLDER)  # on the one for locks
        encrypted = """SELECT count(*), count(*) FILTER (WHERE ssl)
            FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name = 'trio_jobs'"""
        with trio.fail_after(30):
            while (found := server.query(encrypted)) != [(4, 4)]:  # the one that listens is made meanwhile
                assert found[0][0] == found[0][1]
                await trio.sleep(0.01)
    with pytest.raises(StoreUnfit, match="certificate verify failed.*; check sslrootcert"):
        await opens(url("localhost", "wrong"))
    with pytest.raises(StoreUnfit, match="root certificate file .* does not exist.*; check sslrootcert"):
        await opens(url("localhost", "none"))
    with pytest.raises(
        StoreUnfit, match=r'"localhost".* does not match host name "127\.0\.0\.1"; .*the host\'s name'
    ):
        await opens(url("127.0.0.1", "right"))


async def test_a_database_that_the_user_may_not_connect_to(postgres_url: str) -> None:
    """The right to connect is asked for."""
    name = postgres_url.rpartition("/")[2]
    query(postgres_url, f"CREATE ROLE {name} LOGIN")
    query(postgres_url, f"REVOKE CONNECT ON DATABASE {name} FROM PUBLIC")
    with pytest.raises(PermissionError, match=re.compile("permission denied .*GRANT CONNECT", re.DOTALL)):
        await opens(postgres_url.replace("postgres@", f"{name}@"))


async def test_a_standby_is_refused(own_server: Callable[..., Server]) -> None:
    """A standby can hold no store, until it is promoted."""
    server = own_server()
    other = server.standby()
    try:
        other.start()
        await refuses(other.url(), "is a standby.*target_session_attrs=read-write")
        await opens(
            f"postgresql://postgres@127.0.0.1:{other.port},127.0.0.1:{server.port}/postgres"
            "?target_session_attrs=read-write"
        )
    finally:
        other.remove()


async def test_a_database_that_is_read_only_is_refused(postgres_url: str) -> None:
    """Whoever may not write by default is told which setting says so."""
    name = postgres_url.rpartition("/")[2]
    query(postgres_url, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    await refuses(postgres_url, "read-only for postgres; switch default_transaction_read_only off")


async def test_an_old_server_is_refused(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is older than the oldest is told to be upgraded."""
    monkeypatch.setattr(migrating, "_OLDEST", 99)
    await refuses(postgres_url, "upgrade it to 99 or newer")


async def test_another_encoding_is_refused(postgres_url: str) -> None:
    """A database that cannot hold every text is refused."""
    name = postgres_url.rpartition("/")[2] + "_ascii"
    query(postgres_url, f"CREATE DATABASE {name} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    try:
        await refuses(postgres_url.rpartition("/")[0] + f"/{name}", "is encoded as LATIN1")
    finally:
        query(postgres_url, f"DROP DATABASE {name} WITH (FORCE)")


async def test_settings_that_lose_jobs_are_told(
    postgres_url: str, own_server: Callable[..., Server], caplog: pytest.LogCaptureFixture
) -> None:
    """A server that does not write to its disk is used, with a warning for each setting."""
    await opens(postgres_url)
    assert "fsync = off" in caplog.text
    assert "synchronous_commit = off" in caplog.text
    caplog.clear()
    await opens(own_server(durable=True).url())
    assert caplog.text == ""


async def test_hosts_of_an_address_are_tried_in_order(postgres_server: Server, postgres_url: str) -> None:
    """Names are looked up, and the next host is tried when the first does not answer."""
    name = postgres_url.rpartition("/")[2]
    port = postgres_server.port
    await opens(
        f"postgresql://postgres@localhost:1,nowhere.invalid,localhost:{port}/{name}?connect_timeout=0"
    )
    await opens(f"postgresql://postgres@localhost,localhost:{port}/{name}?hostaddr=127.0.0.1,127.0.0.1")
    await opens(f"postgresql://postgres@/{name}?host={postgres_server.folder},localhost&port={port}")


async def test_where_the_environment_says(
    postgres_server: Server, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an address leaves out is taken from the environment, as libpq does."""
    monkeypatch.setenv("PGHOST", "localhost")
    monkeypatch.setenv("PGPORT", str(postgres_server.port))
    monkeypatch.setenv("PGUSER", "postgres")
    await opens(f"postgresql:///{postgres_url.rpartition('/')[2]}")


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (psycopg.errors.DataCorrupted, StoreCorrupt),
        (psycopg.errors.UndefinedTable, StoreCorrupt),
        (psycopg.errors.UntranslatableCharacter, InvalidPayload),
        (psycopg.errors.DiskFull, StoreUnavailable),
        (psycopg.errors.TooManyConnections, StoreUnavailable),
        (psycopg.errors.QueryCanceled, StoreUnavailable),
        (psycopg.errors.LockNotAvailable, StoreUnavailable),
        (psycopg.errors.IdleInTransactionSessionTimeout, StoreUnavailable),
        (psycopg.OperationalError, StoreUnavailable),
        (psycopg.errors.UniqueViolation, psycopg.errors.UniqueViolation),
    ],
)
def test_what_errors_mean(kind: type[psycopg.Error], expected: type[Exception]) -> None:
    """Each error of the server is what it means for a caller; what is unexpected stays as it is."""
    assert type(translated(kind("text"), "here")) is expected


def test_a_refusal_in_another_language_passes_as_unavailable() -> None:
    """A text that is not known is told as it is."""
    error = refused(psycopg.OperationalError("FATAL: Passwort-Authentifizierung fehlgeschlagen"), "here")
    assert isinstance(error, StoreUnavailable)
    assert "Passwort" in str(error)
