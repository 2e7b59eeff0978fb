"""The schema: made once, brought up to date, and left alone by those who may not or need not change it."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
import trio

from tests.stores.postgres.parts import read, write
from tests.stores.postgres.schemas import acting, done, query
from trio_jobs import SchemaTooNew, State, StoreUnavailable
from trio_jobs.stores import Where
from trio_jobs.stores.postgres import migrating, open_postgres, statements
from trio_jobs.stores.postgres.calls import PostgresCalls
from trio_jobs.stores.postgres.opening import migrated, opened, plan
from trio_jobs.testing.checks import kit


async def open_once(url: str, **options: Any) -> None:
    async with opened(PostgresCalls, url, **options) as calls:
        assert await read(calls, "job", "nobody") == []


def numbers(url: str) -> dict[str, int]:
    return dict(query(url, "SELECT name, value FROM trio_jobs.meta ORDER BY name"))


async def test_many_that_open_at_once_make_one_schema(postgres_url: str) -> None:
    """Of several openers that find an empty database one makes the schema, and all can use it."""
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(open_once, postgres_url)
    assert numbers(postgres_url) == {"compat": statements.COMPAT, "version": statements.VERSION}


async def test_what_is_planned_is_what_is_done(postgres_url: str) -> None:
    """The plan, run by another program, makes a schema that needs no change; then the plan is empty."""
    text = await plan(postgres_url)
    assert "CREATE SCHEMA trio_jobs;" in text
    query(postgres_url, text)
    assert await plan(postgres_url) == ""
    before = query(postgres_url, "SELECT oid, relname FROM pg_class ORDER BY oid")
    await open_once(postgres_url)
    assert query(postgres_url, "SELECT oid, relname FROM pg_class ORDER BY oid") == before


async def test_a_schema_is_made_ahead(postgres_url: str) -> None:
    """Who deploys makes the schema that an address names, so that nothing is left to whoever opens it."""
    await migrated(f"{postgres_url}?schema=ahead")
    assert await plan(postgres_url, schema="ahead") == ""
    assert await plan(postgres_url) != ""


@pytest.mark.parametrize("name", ["Jobs", "my jobs.v2", "größe", "a;b--c", "select", "a/*b", "(x)[1]"])
async def test_a_schema_may_have_any_sensible_name(postgres_url: str, name: str) -> None:
    """Tables, functions and reads of a schema of another name are in it, and nothing is in the usual one."""
    async with acting(postgres_url, schema=name) as calls:
        assert await write(calls, "act", {"what": "one"}) == "one"
        assert await read(calls, "job", "nobody") == []
    found = query(postgres_url, "SELECT nspname FROM pg_namespace WHERE nspname IN ('trio_jobs', %s)", name)
    assert found == [(name,)]


@pytest.mark.parametrize(
    "name", ["", "a'b", 'a"b', "a$$b", "pg_jobs", "x" * 64, "a\0b", "{over}", "a%b", "a\\b"]
)
async def test_a_name_that_means_something_inside_of_sql_is_refused(name: str) -> None:
    """A name that would break statements, or is the server's, is refused before anything is opened."""
    with pytest.raises(ValueError, match="schema takes a name of 1 to 63 bytes"):
        await open_once("postgresql://nowhere.invalid/x", schema=name)


async def test_a_newer_schema_that_allows_it_is_used(postgres_url: str) -> None:
    """A newer version with which this one may work is used as it is; another is refused, unchanged."""
    await open_once(postgres_url)
    query(postgres_url, "UPDATE trio_jobs.meta SET value = 99 WHERE name = 'version'")
    await open_once(postgres_url)
    assert numbers(postgres_url)["version"] == 99
    query(postgres_url, "UPDATE trio_jobs.meta SET value = 98 WHERE name = 'compat'")
    with pytest.raises(SchemaTooNew) as found:
        await open_once(postgres_url)
    assert (found.value.found, found.value.known) == (99, statements.VERSION)
    assert numbers(postgres_url) == {"compat": 98, "version": 99}


async def test_an_older_worker_stops_claiming_and_ends_what_it_runs(postgres_url: str) -> None:
    """While a store is open a newer version locks it out: what runs may end, and nothing begins any more."""
    async with open_postgres(postgres_url, handlers=[kit.work]) as store:
        job_id = await kit.started(store)
        await kit.accept(store, kit.make())
        query(postgres_url, "UPDATE trio_jobs.meta SET value = 99")
        claim = store.claim(1, kit.HOLDER)
        for call in (claim, store.submit([kit.make()], 0, kit.HOLDER), store.sweep()):
            with pytest.raises(SchemaTooNew, match="has version 99 of the schema"):
                await call
        assert await store.finish(job_id, 1, kit.completed()) is State.COMPLETED
        assert (await store.count(Where()))[State.QUEUED] == 1


async def test_an_older_schema_is_brought_up_to_date(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the steps behind the version that is there are run, all or none, and jobs stay."""
    async with acting(postgres_url) as calls:
        await write(calls, "act", {"what": "stays"})
    steps = (*statements.tables("trio_jobs"), "ALTER TABLE trio_jobs.job ADD COLUMN newer int;")
    monkeypatch.setattr(migrating, "tables", lambda _: (*steps, "SELECT 1 / 0;"))
    monkeypatch.setattr(migrating, "VERSION", 3)
    with pytest.raises(psycopg.errors.DivisionByZero):
        await open_once(postgres_url)
    assert numbers(postgres_url)["version"] == 1
    assert "newer" not in str(query(postgres_url, "SELECT attname FROM pg_attribute WHERE attname = 'newer'"))
    monkeypatch.setattr(migrating, "tables", lambda _: steps)
    monkeypatch.setattr(migrating, "VERSION", 2)
    assert "ADD COLUMN newer" in await plan(postgres_url)
    await open_once(postgres_url)
    assert numbers(postgres_url)["version"] == 2
    assert query(postgres_url, "SELECT newer FROM trio_jobs.job") == []
    assert done(postgres_url) == ["stays"]


@pytest.fixture
def worker(postgres_url: str) -> str:
    """Return the address for a user without any rights but to connect."""
    name = postgres_url.rpartition("/")[2]
    query(postgres_url, f"CREATE ROLE {name} LOGIN")
    return postgres_url.replace("postgres@", f"{name}@")


def grant(postgres_url: str, worker: str, *rights: str) -> None:
    role = worker.partition("@")[0].rpartition("/")[2]
    for right in rights:
        query(postgres_url, f"GRANT {right} TO {role}")


async def test_rights_are_asked_for_by_name(postgres_url: str, worker: str) -> None:
    """Who may not make the schema, look into it or write to its tables is told what to do."""
    with pytest.raises(PermissionError, match="trio-jobs migrate"):
        await open_once(worker)
    assert "CREATE SCHEMA" in await plan(worker)  # for one who may
    await open_once(postgres_url)
    with pytest.raises(PermissionError, match="may not use schema trio_jobs .* GRANT USAGE ON SCHEMA"):
        await open_once(worker)
    with pytest.raises(PermissionError, match="GRANT USAGE ON SCHEMA"):
        await plan(worker)  # it cannot see what there is
    grant(postgres_url, worker, "USAGE ON SCHEMA trio_jobs")
    with pytest.raises(PermissionError, match="may not use .* GRANT SELECT, INSERT, UPDATE, DELETE"):
        await open_once(worker)
    tables = "SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA trio_jobs"
    grant(postgres_url, worker, tables)
    with pytest.raises(PermissionError, match="may not use .* GRANT USAGE ON ALL SEQUENCES"):
        await open_once(worker)
    grant(postgres_url, worker, "USAGE ON ALL SEQUENCES IN SCHEMA trio_jobs")
    await open_once(worker)
    query(postgres_url, "UPDATE trio_jobs.meta SET value = 0 WHERE name = 'version'")
    with pytest.raises(PermissionError, match="has no schema trio_jobs of version 1, and this user may not"):
        await open_once(worker)
    query(postgres_url, f"DROP OWNED BY {worker.partition('@')[0].rpartition('/')[2]}")


async def test_an_empty_schema_of_an_administrator_is_filled(postgres_url: str, worker: str) -> None:
    """A user who may make tables in a schema that is there needs no rights to make schemas."""
    query(postgres_url, "CREATE SCHEMA trio_jobs")
    grant(postgres_url, worker, "USAGE, CREATE ON SCHEMA trio_jobs")
    await open_once(worker)
    assert numbers(postgres_url)["version"] == statements.VERSION
    query(postgres_url, f"DROP OWNED BY {worker.partition('@')[0].rpartition('/')[2]} CASCADE")


async def test_a_migration_that_hangs_is_given_up(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits in vain for another one that makes the schema hears that the store is unavailable."""
    monkeypatch.setattr(migrating, "_MIGRATING", 0.2)
    with psycopg.connect(postgres_url) as other:
        other.execute("CREATE SCHEMA trio_jobs")
        with pytest.raises(StoreUnavailable, match="did not answer in time"):
            await open_once(postgres_url)
