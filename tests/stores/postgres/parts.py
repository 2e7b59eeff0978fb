"""The private parts of a store in PostgreSQL that its tests call, read, or make fail, each in one place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from trio_jobs._json import stored, values
from trio_jobs._model.handlers import Handlers
from trio_jobs.stores.rows import Rows

if TYPE_CHECKING:
    from trio_jobs.stores.postgres import PostgresStore
    from trio_jobs.stores.postgres.calls import PostgresCalls
    from trio_jobs.stores.postgres.connection import Connection
    from trio_jobs.stores.postgres.group import Writes

decode, encode = values.decode, values.encode
decode_event, encode_event = stored.decode_event, stored.encode_event


def rows_of(handlers: Iterable[Any]) -> Rows:
    """Return what turns the rows of jobs of these handlers into values."""
    return Rows(Handlers(handlers))


async def write(calls: PostgresCalls, verb: str, call: Any, *, alone: bool = False) -> Any:
    """Call a function of the schema that writes."""
    return await calls._write(verb, call, alone=alone)


async def read(calls: PostgresCalls, query: str, *given: Any) -> Any:
    """Return the rows of a read."""
    return await calls._read(query, *given)


async def row(calls: PostgresCalls, query: str, key: str) -> Any:
    """Return the row of a key."""
    return await calls._row(query, key)


def give_reads(calls: PostgresCalls, queries: Mapping[str, bytes]) -> None:
    """Replace what can be read."""
    calls._queries = queries


def signals_of(calls: PostgresCalls) -> Any:
    """Return the signals that wake the waiting tasks of this process."""
    return calls._signals


def writer_of(calls: PostgresCalls) -> Writes:
    """Return the group that commits the calls that write."""
    return calls._writer


def connection_of(writer: Writes) -> Connection:
    """Return the connection of a group, which it has."""
    assert writer._connection is not None
    return writer._connection


def options_of(store: PostgresStore) -> tuple[float, dict[str, Any]]:
    """Return how often a store looks for news, and what it says with each call."""
    return store._poll, store._own


def check_open(calls: PostgresCalls) -> None:
    """Raise what a task gets that goes on to wait after the store was closed."""
    calls._check_open()
