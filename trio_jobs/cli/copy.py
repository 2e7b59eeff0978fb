"""`trio-jobs copy`: copy the jobs of a file into a PostgreSQL database."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from .._registry.address import is_postgres
from .faults import Fault
from .options import check_store, file_of
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
