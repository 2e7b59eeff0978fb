"""Open what an address names, a store or a server: to read it only, or to change its jobs.

What that needs, as SQLite or the client, is loaded only then: it takes long.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import TYPE_CHECKING, TypeAlias

from .._registry.address import is_postgres
from .._registry.opening import open_registry
from .options import is_server

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .._model.handlers import Handler
    from .._registry.registry import JobRegistry
    from ..client import RemoteRegistry
    from .reading import ReadOnly, ReadOnlyStore

OpenJobs: TypeAlias = "JobRegistry | RemoteRegistry"
"""The jobs of a store, or of a server: the methods that both have do the same."""


def open_jobs(
    address: str, handlers: Iterable[Handler] = ()
) -> AbstractAsyncContextManager[OpenJobs, bool | None]:
    """Open the jobs that an address names, for the length of a block. None of them runs here.

    Args:
        address: Of a store, which is made if there is none; or of a server.
        handlers: Those that are submitted to a store. A server has its own.

    Raises:
        Fault: The address is none, or the server asks for a token.
        TrioJobsError: The server cannot be reached, or refuses.
        Exception: What `open_registry` raises.
    """
    if is_server(address):
        from .server import connected

        return connected(address)
    return open_registry(address, handlers=[*handlers], capacity=0)


def open_readonly(address: str) -> AbstractContextManager[ReadOnly]:
    """Open a store, or connect to a server, for reading only, for the length of a block.

    Raises:
        Fault: The address is none, or the server asks for a token; or what `open_store` raises.
        TrioJobsError: The server cannot be reached, or refuses; or what `open_store` raises.
    """
    if is_server(address):
        from .server import open_server

        return open_server(address)
    return open_store(address)


def open_store(store: str) -> AbstractContextManager[ReadOnlyStore]:
    """Open a store for reading only, for the length of a block: a file as it is at one moment.

    Raises:
        Fault: The address names no store, it does not exist, or it holds no jobs.
        StoreCorrupt: The file is damaged.
        StoreUnavailable: It cannot be read.
        SchemaTooNew: A newer version of the library wrote it.
    """
    if is_postgres(store):
        from .database import open_database

        return open_database(store)
    from .snapshot import open_snapshot

    return open_snapshot(store)


def resolve(address: str, prefixes: Sequence[str]) -> list[str]:
    """Return the ids that begin with the prefixes.

    Raises:
        Exception: What `open_readonly` and `ReadOnly.resolve` raise.
    """
    with open_readonly(address) as seen:
        return [seen.resolve(prefix) for prefix in prefixes]
