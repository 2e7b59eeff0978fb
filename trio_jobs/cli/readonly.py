"""Open a file of jobs to read it. What that needs, with SQLite, is loaded only then: it takes long."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .snapshot import ReadOnlyFile


def open_readonly(store: str) -> AbstractContextManager[ReadOnlyFile]:
    """Open a file for reading only, for the length of a block.

    Raises:
        Fault: The address names no file, the file does not exist, or it holds no jobs.
        StoreCorrupt: The file is damaged.
        StoreUnavailable: It cannot be read.
        SchemaTooNew: A newer version of the library wrote it.
    """
    from .snapshot import open_snapshot

    return open_snapshot(store)


def resolve(store: str, prefixes: Sequence[str]) -> list[str]:
    """Return the ids that begin with the prefixes.

    Raises:
        Exception: What `open_readonly` and `ReadOnlyFile.resolve` raise.
    """
    with open_readonly(store) as seen:
        return [seen.resolve(prefix) for prefix in prefixes]
