"""`trio-jobs migrate`: make the schema in a PostgreSQL database, or bring it to this version."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from .._registry.address import is_postgres
from .faults import Fault
from .options import check_store
from .output import line


async def migrate(
    url: Annotated[str, Parameter(name="URL")],
    /,
    *,
    plan: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Make the schema in a PostgreSQL database, or bring it to this version.

    Whoever opens the database does it too, if that user may. A file is brought up to date when it is opened.

    Args:
        url: The database, as postgresql://host/database.
        plan: Print the SQL, for somebody else to run, and change nothing.
    """
    if not is_postgres(url):
        raise Fault("migrate takes the address of a PostgreSQL database, as postgresql://host/database")
    check_store(url)
    from ..stores.postgres.opening import migrated
    from ..stores.postgres.opening import plan as planned

    sql = await planned(url)
    if not sql:
        line("it has this version already")
    elif plan:
        print(sql, end="")
    else:
        await migrated(url)
        line("it has this version now")
