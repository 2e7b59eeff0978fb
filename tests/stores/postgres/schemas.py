"""A schema with functions of a test's own, called as those of the store are."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import psycopg

from trio_jobs.stores.postgres.calls import PostgresCalls
from trio_jobs.stores.postgres.opening import opened, schema_of
from trio_jobs.stores.postgres.statements import quote

# Each call says what is to be done in the database, and gives it back.
FUNCTION = """
CREATE TABLE {schema}.done (what text, transaction bigint, backend int);
CREATE SEQUENCE {schema}.tries;
CREATE FUNCTION {schema}.act(calls json) RETURNS TABLE (place int, answer json) LANGUAGE plpgsql AS $$
DECLARE
    call json;
BEGIN
    place := 0;
    FOR call IN SELECT * FROM json_array_elements(calls) LOOP
        PERFORM pg_sleep((call->>'sleep')::float);
        PERFORM pg_advisory_xact_lock(1) WHERE (call->>'hold')::bool;
        PERFORM FROM {schema}.done WHERE what = call->>'lock' FOR UPDATE;
        IF call->>'code' IS NOT NULL
            AND nextval('{schema}.tries') <= coalesce((call->>'times')::int, 1000) THEN
            RAISE EXCEPTION 'as the test wants' USING ERRCODE = call->>'code';
        END IF;
        INSERT INTO {schema}.done VALUES (call->>'what', txid_current(), pg_backend_pid());
        answer := coalesce(call->'answer', json_build_object('value', call->'what'));
        IF call->>'silent' IS NULL THEN
            RETURN NEXT;
        END IF;
        place := place + 1;
    END LOOP;
END $$;
"""


@asynccontextmanager
async def acting(url: str, *, direct: str | None = None, **options: Any) -> AsyncGenerator[PostgresCalls]:
    """Open a schema that has the function, which comes into it by the direct way if there is a longer one."""
    async with opened(PostgresCalls, url, **options) as calls:
        query(direct or url, FUNCTION.format(schema=quote(options.get("schema", schema_of(url)))))
        yield calls


def query(url: str, sql: str, *values: Any) -> list[tuple[Any, ...]]:
    """Run SQL by itself, and return its rows."""
    with psycopg.connect(url.partition("?")[0], autocommit=True) as db:
        done = db.execute(sql.encode(), values or None)
        return done.fetchall() if done.description else []


@contextmanager
def held(url: str) -> Iterator[None]:
    """Hold up calls that say `hold` for the length of a block."""
    with psycopg.connect(url, autocommit=True) as db:
        db.execute("SELECT pg_advisory_lock(1)")
        yield


def done(url: str) -> list[str]:
    """Return what was done, in any order."""
    return sorted(str(what) for (what,) in query(url, "SELECT what FROM trio_jobs.done"))
