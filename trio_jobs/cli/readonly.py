"""Open a store to read it. What that needs, as SQLite, is loaded only then: it takes long."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from .._registry.address import is_postgres

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .reading import ReadOnly


def open_readonly(store: str) -> AbstractContextManager[ReadOnly]:
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


def resolve(store: str, prefixes: Sequence[str]) -> list[str]:
    """Return the ids that begin with the prefixes.

    Raises:
        Exception: What `open_readonly` and `ReadOnly.resolve` raise.
    """
    with open_readonly(store) as seen:
        return [seen.resolve(prefix) for prefix in prefixes]
