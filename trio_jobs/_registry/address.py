"""Open the store that an address names."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeAlias, cast
from urllib.parse import parse_qsl, unquote, urlsplit

from .._common.errors import quoted
from .._common.states import Reason
from .._common.validate import choice, whole
from .._model.handlers import Handlers
from .._model.job import Retention
from .._running.shortcuts import NO_SHORTCUTS, Shortcuts
from ..stores.contract import Store

if TYPE_CHECKING:
    from ..stores.postgres import PostgresStore
    from ..stores.sqlite import SqliteStore

Opened: TypeAlias = tuple[Store, Shortcuts]
MEMORY = "memory://"
_KNOWN = "there are 'memory://', 'sqlite:///jobs.db' and 'postgresql://host/database'"


def store_opener(
    store: str | Store, handlers: Handlers, queue_limit: int | None, retention: Retention | None
) -> AbstractAsyncContextManager[Opened]:
    """Return the block in which a store is open. Arguments are checked at once, and nothing is opened yet.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: No store has this address, or an argument is out of range.
        ImportError: The extra that the store needs is not installed.
    """
    if not isinstance(store, str):
        if not hasattr(store, "heartbeat"):
            raise TypeError(
                f"store takes an address, such as 'sqlite:///jobs.db', or a Store; got {quoted(store)}"
            )
        return _closing(lambda: (store, NO_SHORTCUTS))
    if not isinstance(cast("object", retention), Retention | None):
        raise TypeError(f"retention takes a Retention record; got {quoted(retention)}")
    limits: dict[str, Any] = {"retention": retention}
    if queue_limit is not None:
        whole("queue_limit", queue_limit, 1)
        limits["queue_limit"] = queue_limit
    if store == MEMORY:
        from ..stores.memory import MemoryStore  # imported where it is used, as the other one is

        def make() -> Opened:
            made = MemoryStore(**limits)
            return made, Shortcuts(local=made, ends=made)

        return _closing(make)
    if is_postgres(store):
        try:
            from ..stores.postgres import open_postgres
        except ImportError as error:
            raise ImportError(
                f"PostgreSQL needs the extra: pip install 'trio-jobs[postgres]' ({error})"
            ) from error
        return _in_a_database(open_postgres(store, handlers=handlers, **limits))
    path, options = sqlite_path(store)
    try:
        from ..stores.sqlite import open_sqlite
    except ImportError as error:
        raise ImportError(f"{store} needs the extra: pip install 'trio-jobs[sqlite]' ({error})") from error
    return _in_a_file(open_sqlite(path, handlers=handlers, **options, **limits))


def is_postgres(address: str) -> bool:
    """Return whether an address is one of PostgreSQL."""
    return address.startswith(("postgresql://", "postgres://"))


def without_password(address: str) -> str:
    """Return an address as it may be shown."""
    if not is_postgres(address):
        return address
    secret = re.compile(
        r"(?<=://)([^/?#@:]*:)[^/?#]*(?=@)|(?<=[?&]password=)[^&#]*|(?<=[?&]sslpassword=)[^&#]*"
    )
    return secret.sub(lambda found: f"{found[1] or ''}***", address)


def sqlite_path(address: str) -> tuple[str, dict[str, Any]]:
    """Return the file that an address names, and the options in it.

    Raises:
        ValueError: The address names no file, or has an unknown option.
    """
    parts = urlsplit(address)
    if parts.scheme != "sqlite":
        raise ValueError(f"no store has the address {quoted(address)}; {_KNOWN}")
    path = unquote(parts.path[1:])
    if parts.netloc or not address.startswith("sqlite:///") or path in {"", "/"} or "\0" in path:
        raise ValueError(
            f"{quoted(address)} names no file; write sqlite:///jobs.db, or sqlite:////var/lib/jobs.db"
        )
    if parts.fragment or "\t" in address or "\n" in address or "\r" in address:
        raise ValueError(
            f"{quoted(address)} has characters in it that have to be written as %23, %09, %0A or %0D"
        )
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    if unknown := set(options) - {"synchronous"}:
        raise ValueError(
            f"an SQLite address takes ?synchronous=full or normal; got {', '.join(sorted(unknown))}"
        )
    if "synchronous" in options:
        choice("synchronous", options["synchronous"], ("full", "normal"))
    return path, options


@asynccontextmanager
async def _closing(make: Callable[[], Opened]) -> AsyncGenerator[Opened]:
    store, shortcuts = make()
    try:
        yield store, shortcuts
    finally:
        store.close(Reason.SHUTDOWN)


@asynccontextmanager
async def _in_a_file(file: AbstractAsyncContextManager[SqliteStore]) -> AsyncGenerator[Opened]:
    async with file as store:
        yield store, Shortcuts(ends=store, batches=True)


@asynccontextmanager
async def _in_a_database(database: AbstractAsyncContextManager[PostgresStore]) -> AsyncGenerator[Opened]:
    async with database as store:
        yield store, Shortcuts(ends=store, batches=True)
