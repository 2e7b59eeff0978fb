"""The private parts of a store in a file that its tests read, or make fail, each in one place."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trio_jobs.stores.sqlite import SqliteStore
    from trio_jobs.stores.sqlite.group import Group
    from trio_jobs.stores.sqlite.line import Line
    from trio_jobs.stores.sqlite.signals import FileSignals


def writer_of(store: SqliteStore) -> Group:
    """Return the group that commits the calls that write."""
    return store._writer


def reader_of(store: SqliteStore) -> Group:
    """Return the group of the calls that read."""
    return store._reader


def line_of(group: Group) -> Line:
    """Return the connection that a group calls through."""
    return group._line


def signals_of(store: SqliteStore) -> FileSignals:
    """Return the signals that wake the waiting tasks of this process."""
    return store._signals


def time_in(store: SqliteStore) -> float:
    """Return the time on the clock of the file."""
    return store._now()


async def look_again(store: SqliteStore) -> None:
    """Do what a store does when it notices a write of another process."""
    await store._look_for_news()
