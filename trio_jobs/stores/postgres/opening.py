"""Open a schema in a PostgreSQL database as a store, with the tasks that serve its connections."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from types import ModuleType
from typing import Final, TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import psycopg
import trio
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from ..._common.deferred_error import DeferredError
from ..._common.errors import quoted
from ..._common.states import Reason
from ..._common.validate import choice, whole
from ..._model.handlers import Handler, Handlers
from ..._model.job import Retention
from ..rows import Rows
from .calls import Database, PostgresCalls
from .connection import Connection, connect
from .failures import refused
from .migrating import planned, prepare
from .statements import SCHEMA, check_schema

_CONNECTING: Final = 10.0  # seconds
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
    parts = urlsplit(url)
    if parts.scheme not in {"postgresql", "postgres"}:
        raise ValueError(
            f"{quoted(parts.scheme)} is no scheme of PostgreSQL; write postgresql://host/database"
        )
    options = parse_qsl(parts.query, keep_blank_values=True)
    own = {name: value for name, value in options if name in {"pooler", "schema"}}
    pooler = choice("pooler", own.get("pooler", "none"), ("none", "transaction"))
    rest = urlencode([option for option in options if option[0] not in own])
    try:
        given = conninfo_to_dict(urlunsplit(parts._replace(query=rest)))
    except psycopg.Error as error:
        raise ValueError(f"this is no address of PostgreSQL: {error}") from None
    conninfo = make_conninfo("", **{**_SETTINGS, **given, "client_encoding": "UTF8"})
    limit = float(given.get("connect_timeout") or _CONNECTING)
    where = "database {} on {}".format(given.get("dbname", "(default)"), given.get("host", "(default)"))

    async def connected() -> Connection:
        try:
            return await connect(conninfo, limit, where)
        except psycopg.OperationalError as error:
            raise refused(error, where) from None

    return Database(where, check_schema(own.get("schema", schema)), connected, pooler == "none")


@asynccontextmanager
async def opened(
    make: Callable[..., S],
    url: str,
    *,
    handlers: Iterable[Handler] | ModuleType | Handlers = (),
    schema: str = SCHEMA,
    queue_limit: int = 1_000_000,
    retention: Retention | None = None,
) -> AsyncGenerator[S]:
    """Open a database as `open_postgres` does, with a store, or a part of one, of another class."""
    whole("queue_limit", queue_limit, 1)
    rows = Rows(handlers if isinstance(handlers, Handlers) else Handlers(handlers))
    database = database_at(url, schema)
    first = await database.connect()
    try:
        await prepare(first, database.where, database.schema)
    except BaseException:
        first.close()
        raise
    store = make(
        database,
        rows,
        queue_limit=queue_limit,
        retention=retention or Retention(finished=_FOREVER),
        first=first,
    )
    async with _served(store):
        yield store


@asynccontextmanager
async def _served(store: PostgresCalls) -> AsyncGenerator[None]:
    """Run the tasks of a store for the length of a block, and close it then."""
    # Jobs that are being cancelled still write their ends, so the connections serve until the block is left.
    background = trio.CancelScope(shield=True)
    block = DeferredError()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_serve, background, store.tasks())  # noqa: ASYNC113  # a call waits for them
        with block:
            yield
        store.close(Reason.SHUTDOWN)
        background.cancel(reason="the store is closed")
    block.release()


async def _serve(scope: trio.CancelScope, tasks: Sequence[Callable[[], Awaitable[None]]]) -> None:
    with scope:
        async with trio.open_nursery() as nursery:
            for task in tasks:
                nursery.start_soon(task)


async def plan(url: str, *, schema: str = SCHEMA) -> str:
    """Return the SQL that opening a database would run, to make its schema or bring it to this version."""
    database = database_at(url, schema)
    connection = await database.connect()
    try:
        return await planned(connection, database.schema)
    finally:
        connection.close()
