"""Hand calls to the connections of a database, and wake the tasks that wait for what they did.

Each verb that writes is a function in the database, which takes an array of calls as JSON and returns a row
for each of them: the call's place and its answer, an object. Its `value` is what the verb returns. An answer
with an `error` names an exception, of which `values` are the arguments; such a call did nothing. What else an
answer says is what has changed, for tasks that wait.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

Row: TypeAlias = tuple[str | None, ...]


class PostgresCalls:
    """Calls the functions of a schema."""

    async def _write(self, verb: str, call: Mapping[str, Any], *, alone: bool = False) -> Any:
        """Call a function that writes, in one transaction with the calls of other tasks.

        Args:
            verb: The function.
            call: What it takes.
            alone: Whether the call may wait for a lock of another program: it gets a transaction of its own,
                on a connection of its own, so that nobody waits for it.

        Returns:
            The `value` of its answer.

        Raises:
            StoreUnavailable: The database could not do it now.
            TrioJobsError: What the answer says.
        """
        raise NotImplementedError

    async def _read(self, query: str, *values: Any) -> list[Row]:
        """Return the rows of a statement of `queries.sql`, its values as text.

        Raises:
            StoreUnavailable: The database could not do it now.
        """
        raise NotImplementedError
