"""Open a schema in a PostgreSQL database as a store, with the tasks that serve its connections."""

from __future__ import annotations

import math
import os
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import unquote

import psycopg
from psycopg.conninfo import conninfo_to_dict

from ..._common.errors import StoreUnfit, quoted
from ..._common.validate import choice, number, whole
from ..._model.handlers import Handler, Handlers
from ..._model.job import Retention
from ..rows import Rows
from ..serving import served
from .calls import Database, PostgresCalls
from .connection import Connection, connect
from .failures import refused
from .migrating import planned, prepare, version_of
from .statements import SCHEMA, VERSION, check_schema

if TYPE_CHECKING:
    from .store import PostgresStore

_SOONEST: Final = 0.001
_CONNECTING: Final = 10.0  # seconds
_OWN: Final = ("pooler", "schema")
_FOREVER: Final = 2**62  # as `Retention.finished`: only `remove` and `prune` delete jobs
_SETTINGS: Final = {  # of libpq; a server that has gone without a word is found within a minute
    "fallback_application_name": "trio_jobs",
    "keepalives_idle": "20",
    "keepalives_interval": "5",
    "keepalives_count": "4",
    "tcp_user_timeout": "20000",
}
S = TypeVar("S", bound=PostgresCalls)


def database_at(url: str, schema: str = SCHEMA) -> Database:
    """Return the database of an address.

    Args:
        url: As libpq takes it. Its query may have `schema=`, and `pooler=transaction` if a pooler is in front
            of the server that gives each transaction another connection.
        schema: The schema, if the address names none.

    Raises:
        ValueError: It is no such address.
    """
    scheme = url.partition(":")[0]
    if not url.startswith(("postgresql://", "postgres://")):
        raise ValueError(f"{quoted(scheme)} is no scheme of PostgreSQL; write postgresql://host/database")
    for_libpq, own = split(url)
    pooler = choice("pooler", own.get("pooler", "none"), ("none", "transaction"))
    try:
        given = conninfo_to_dict(for_libpq)
        limit = float(given.get("connect_timeout") or os.environ.get("PGCONNECT_TIMEOUT") or _CONNECTING)
    except (psycopg.Error, ValueError) as error:
        raise ValueError(f"this is no address of PostgreSQL: {str(error).strip()}") from None
    settings = {**_SETTINGS, **{name: str(value) for name, value in given.items()}, "client_encoding": "UTF8"}
    patience = limit if limit > 0 else math.inf  # as libpq takes it
    where = "database {} on {}".format(given.get("dbname", "(default)"), given.get("host", "(default)"))

    async def connected() -> Connection:
        try:
            return await connect(settings, patience, where, keeps=pooler == "none")
        except (psycopg.OperationalError, OSError) as error:
            raise refused(error, where) from None

    return Database(where, check_schema(own.get("schema", schema)), connected, pooler == "none")


def split(url: str) -> tuple[str, dict[str, str]]:
    """Return an address as libpq takes it, and the options in it that are this package's own."""
    base, _, query = url.partition("?")
    options = [(option, *option.partition("=")) for option in query.split("&") if option]
    own = {name: unquote(value) for _, name, _, value in options if name in _OWN}
    rest = "&".join(option for option, name, *_ in options if name not in _OWN)
    return f"{base}?{rest}" if rest else base, own


def schema_of(url: str) -> str:
    """Return the schema that an address names."""
    return check_schema(split(url)[1].get("schema", SCHEMA))


async def migrated(url: str) -> None:
    """Make the schema in a database, or bring it to this version. Raises what `open_postgres` does."""
    database = database_at(url)
    connection = await database.connect()
    try:
        await prepare(connection, database.where, database.schema)
    finally:
        connection.close()


async def check_made(url: str) -> None:
    """Check that a database holds a store of this version, which opening one would otherwise make.

    Raises:
        StoreUnfit: It holds none, or one of an older version.
        Exception: What `open_postgres` raises.
    """
    database = database_at(url)
    connection = await database.connect()
    try:
        version = await version_of(connection, database.where, database.schema)
    finally:
        connection.close()
    if version == 0:
        raise StoreUnfit(f"{database.where} holds no jobs; name another, or start with 'trio-jobs submit'")
    if version < VERSION:
        raise StoreUnfit(
            f"{database.where} has version {version} of the schema; 'trio-jobs migrate' brings it up to date"
        )


@asynccontextmanager
async def open_postgres(
    url: str,
    *,
    handlers: Iterable[Handler] | ModuleType | Handlers = (),
    schema: str = SCHEMA,
    queue_limit: int = 1_000_000,
    retention: Retention | None = None,
    poll: float | None = None,
) -> AsyncGenerator[PostgresStore]:
    """Open a store in a PostgreSQL database, for the length of an `async with` block.

    Any number of processes on any number of machines may have it open. It takes up to four connections.

    Args:
        url: `postgresql://user@host/database`, as libpq takes it, with its options, environment variables and
            files for passwords and TLS. Besides, `?schema=` names the schema, and `pooler=transaction` says
            that a pooler is in front of the server that gives each transaction another connection.
        handlers: The handlers whose jobs may be submitted and are claimed here; see `Handlers`.
        schema: The schema, in which nothing else should be. It is made if there is none.
        queue_limit: How many jobs may wait.
        retention: What is kept of each job; by default ended jobs stay until they are pruned.
        poll: Seconds after which to look at what other processes have written. By default 1, as the server
            reports it at once, and 0.2 behind a pooler, where it does not.

    Raises:
        ValueError: An argument is out of range.
        StoreUnfit: The server, the database or its settings cannot hold a store; the text says what does.
        PermissionError: The server does not let this user in, or the user lacks rights in the database.
        TypeError: A handler is not an async function, or takes what cannot be made from JSON.
        StoreUnavailable: The server cannot be reached now.
        SchemaTooNew: The schema was written by a newer version.
    """
    from .store import PostgresStore

    async with opened(
        PostgresStore,
        url,
        handlers=handlers,
        schema=schema,
        queue_limit=queue_limit,
        retention=retention,
        poll=poll,
    ) as store:
        yield store


@asynccontextmanager
async def opened(
    make: Callable[..., S],
    url: str,
    *,
    handlers: Iterable[Handler] | ModuleType | Handlers = (),
    schema: str = SCHEMA,
    queue_limit: int = 1_000_000,
    retention: Retention | None = None,
    poll: float | None = None,
) -> AsyncGenerator[S]:
    """Open a database as `open_postgres` does, with a store, or a part of one, of another class."""
    whole("queue_limit", queue_limit, 1)
    if poll is not None:
        number("poll", poll, _SOONEST)
    rows = Rows(handlers if isinstance(handlers, Handlers) else Handlers(handlers))
    database = database_at(url, schema)
    first = await database.connect()
    try:
        await prepare(first, database.where, database.schema)
    except BaseException:
        first.close()
        raise
    keep = retention or Retention(finished=_FOREVER)
    store = make(database, rows, queue_limit=queue_limit, retention=keep, poll=poll, first=first)
    async with served(store, store.tasks()):
        yield store


async def plan(url: str, *, schema: str = SCHEMA) -> str:
    """Return the SQL that opening a database would run, to make its schema or bring it to this version.

    Raises:
        Exception: What `open_postgres` raises, but for a lack of the right to make or change the schema.
    """
    database = database_at(url, schema)
    connection = await database.connect()
    try:
        return await planned(connection, database.where, database.schema)
    finally:
        connection.close()
