"""`trio-jobs copy` and `backup`: copy a file of jobs, into a PostgreSQL database or into another file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from .._registry.address import is_postgres
from .faults import Fault
from .options import DEFAULT_STORE, Store, check_store, file_of
from .output import line


def copy(
    source: Annotated[str, Parameter(name="SOURCE")], target: Annotated[str, Parameter(name="TARGET")], /
) -> None:
    """Copy all jobs of a file into a PostgreSQL database, and check that they came there as they are.

    Stop the programs that have the file open first; it stays as it is. The database has to hold no jobs, and
    gets all of them or none.

    Args:
        source: The file, as sqlite:///jobs.db.
        target: The database, as postgresql://host/database.
    """
    if is_postgres(source) or not is_postgres(target):
        raise Fault("copy takes a file and a database: copy sqlite:///jobs.db postgresql://host/database")
    file_of(source)
    check_store(target)
    from .copying import copy_file

    jobs, events = copy_file(source, target)
    line(f"{jobs} jobs with {events} entries of their logs copied, and compared")


def backup(path: Annotated[Path, Parameter(name="FILE")], /, *, store: Store = DEFAULT_STORE) -> None:
    """Copy a file of jobs into another file, as it is at one moment, while programs use it.

    The copy is a store like any other. Of a PostgreSQL database its own programs make one, as pg_dump.

    Args:
        path: The new file, as /backup/jobs.db. It must not be there yet.
    """
    if is_postgres(store):
        raise Fault("backup copies a file; of a database make a copy with pg_dump -n trio_jobs")
    from .snapshot import open_snapshot

    with open_snapshot(store) as seen:
        line(f"{seen.copy_to(path.absolute())} bytes copied to {path}")
