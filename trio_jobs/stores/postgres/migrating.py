"""Make the schema in a database, or bring it to this version, and check that a store can be there."""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final, NamedTuple

import psycopg
import trio

from ..._common.errors import SchemaTooNew, StoreUnavailable, StoreUnfit
from .connection import Connection
from .failures import translated
from .statements import COMPAT, VERSION, functions, quote, tables

logger = logging.getLogger("trio_jobs")
_OLDEST: Final = 14  # of PostgreSQL
_LOOKING: Final = 10.0  # seconds
_MIGRATING: Final = 600.0  # seconds, as a migration may rewrite a large table, and others wait for it
_NO_RIGHT: Final = "42501"

# Of what is not so, NULL.
_LOOK: Final = """SELECT current_setting('server_version_num')::int / 10000,
    nullif(pg_is_in_recovery(), false),
    nullif(current_setting('transaction_read_only'), 'off'), current_setting('server_encoding'),
    nullif(current_setting('fsync'), 'on'), nullif(current_setting('synchronous_commit') = 'off', false),
    current_user, space.nspname, nullif(has_schema_privilege(space.oid, 'USAGE'), false),
    (SELECT min(relname) FROM pg_class WHERE relnamespace = space.oid AND relname = 'meta'),
    (SELECT min(relname) FROM pg_class WHERE relnamespace = space.oid AND CASE relkind
        WHEN 'S' THEN NOT has_sequence_privilege(oid, 'USAGE')
        WHEN 'r' THEN NOT (
            has_table_privilege(oid, 'SELECT') AND has_table_privilege(oid, 'INSERT')
            AND has_table_privilege(oid, 'UPDATE') AND has_table_privilege(oid, 'DELETE'))
    END)
FROM (SELECT) AS one LEFT JOIN pg_namespace AS space ON space.nspname = '{schema}'"""


class Found(NamedTuple):
    """What is found at opening; None for what is not so.

    Attributes:
        server: The server's version.
        standby: Whether it is one.
        read_only: Whether transactions may not write.
        encoding: That of the database.
        unsafe: Whether commits are never written to the disk,
        hasty: or are acknowledged before they are.
        role: The user.
        exists: Whether there is such a schema,
        usable: and the user may look into it.
        made: Whether it has tables.
        closed: A table or sequence of it that the user may not write to.
    """

    server: str | None
    standby: str | None
    read_only: str | None
    encoding: str | None
    unsafe: str | None
    hasty: str | None
    role: str | None
    exists: str | None
    usable: str | None
    made: str | None
    closed: str | None


async def version_of(connection: Connection, where: str, schema: str) -> int:
    """Check that a store can be where a connection leads to, and return its version; 0 if there is none.

    Raises:
        Exception: What `prepare` raises.
    """
    return (await _checked(connection, where, schema))[1]


async def _checked(connection: Connection, where: str, schema: str) -> tuple[Found, int]:
    """Return what is there, which can be a store, and its version; 0 if there is none."""
    with _told(where, schema), trio.fail_after(_LOOKING):
        found = await _look(connection, schema)
        _check(found, where, schema)
        return found, await _version(connection, where, schema) if found.made else 0


async def _look(connection: Connection, schema: str) -> Found:
    (row,) = await connection.script(_LOOK.format(schema=schema))
    return Found(*row)


def _check(found: Found, where: str, schema: str) -> None:
    if int(found.server or 0) < _OLDEST:
        raise StoreUnfit(f"{where} has PostgreSQL {found.server}; upgrade it to {_OLDEST} or newer")
    if found.standby:
        raise StoreUnfit(
            f"{where} is a standby, which can only be read; give the address of the primary, or several "
            "addresses with target_session_attrs=read-write"
        )
    if found.read_only:
        raise StoreUnfit(
            f"{where} is read-only for {found.role}; switch default_transaction_read_only off for this role "
            "or database"
        )
    if found.encoding != "UTF8":
        raise StoreUnfit(f"{where} is encoded as {found.encoding}; make a database with ENCODING 'UTF8'")
    if found.exists and (not found.usable or (found.made and found.closed)):
        what = f"{found.closed} of schema" if found.usable else "schema"
        raise PermissionError(
            f"{found.role} may not use {what} {schema} in {where}; let its owner run: GRANT USAGE ON SCHEMA "
            f"{quote(schema)} TO …; GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA "
            f"{quote(schema)} TO …; GRANT USAGE ON ALL SEQUENCES IN SCHEMA {quote(schema)} TO …"
        )


@contextmanager
def _told(where: str, schema: str) -> Generator[None]:
    """Tell what goes wrong in a block as an error of the package."""
    try:
        yield
    except trio.TooSlowError:
        raise StoreUnavailable(f"{where} did not answer in time") from None
    except psycopg.Error as error:
        if error.sqlstate == _NO_RIGHT:
            raise PermissionError(
                f"{where} has no schema {schema} of version {VERSION}, and this user may not make it "
                f"({error}); let one who may run: trio-jobs migrate URL"
            ) from None
        raise translated(error, where) from error


async def prepare(connection: Connection, where: str, schema: str) -> None:
    """Check that a store can be in a database, and make its schema or bring it to this version.

    Only one of those that do this at once does it; the others find it done.

    Raises:
        ValueError: The server, the database or its settings cannot hold a store.
        PermissionError: The user may not use it, or not make or change the schema.
        SchemaTooNew: A newer version, with which this one may not work, has changed the schema.
        StoreUnavailable: It could not be done now.
    """
    found, version = await _checked(connection, where, schema)
    for setting, off in (("fsync", found.unsafe), ("synchronous_commit", found.hasty)):
        if off:
            logger.warning("%s has %s = off: a crash of the server may lose accepted jobs", where, setting)
    if version < VERSION:
        with _told(where, schema), trio.fail_after(_MIGRATING):
            await _migrate(connection, where, schema)


async def _version(connection: Connection, where: str, schema: str) -> int:
    rows = await connection.script(f"SELECT name, value FROM {quote(schema)}.meta")  # noqa: S608  # checked
    values = {name: int(value or 0) for name, value in rows}
    version = values.get("version", 0)
    if values.get("compat", 0) > VERSION:
        raise SchemaTooNew(where, version, VERSION)
    return version


async def _migrate(connection: Connection, where: str, schema: str) -> None:
    await connection.script(f"BEGIN; {_lock(schema)}")
    found = await _look(connection, schema)
    version = await _version(connection, where, schema) if found.made else 0
    if version < VERSION:
        logger.info("making version %d of schema %s in %s", VERSION, schema, where)
        await connection.script(steps(schema, version, exists=bool(found.exists)))
    await connection.script("COMMIT")


def _lock(schema: str) -> str:
    return f"SELECT pg_advisory_xact_lock(hashtextextended('trio_jobs schema {schema}', 0));"


def steps(schema: str, version: int, *, exists: bool) -> str:
    """Return the SQL that brings a schema from a version to this one.

    Args:
        schema: The schema's name.
        version: Its version; 0 if it is empty.
        exists: Whether there is one of this name.
    """
    parts = [] if exists else [f"CREATE SCHEMA {quote(schema)};"]
    numbers = f"('version', {VERSION}), ('compat', {COMPAT})"
    noted = (
        f"INSERT INTO {quote(schema)}.meta (name, value) VALUES {numbers}\n"  # noqa: S608  # checked
        "ON CONFLICT (name) DO UPDATE SET value = greatest(meta.value, excluded.value);"
    )
    return "\n\n".join([*parts, *tables(schema)[version:], functions(schema), noted])


async def planned(connection: Connection, where: str, schema: str) -> str:
    """Return the SQL that `prepare` would run; nothing if it would run none.

    Raises:
        Exception: What `prepare` raises.
    """
    found, version = await _checked(connection, where, schema)
    if version >= VERSION:
        return ""
    return "\n\n".join(
        ["BEGIN;", _lock(schema), steps(schema, version, exists=bool(found.exists)), "COMMIT;\n"]
    )
