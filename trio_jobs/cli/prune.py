"""`trio-jobs prune`: forget jobs that ended long ago."""

from __future__ import annotations

from .._registry.opening import open_registry
from .options import DEFAULT_STORE, Json, Seconds, Store
from .output import json_line, line
from .peek import peek
from .signals import stopped_by_signals


async def prune(*, older_than: Seconds, store: Store = DEFAULT_STORE, json: Json = False) -> None:
    """Forget the jobs that ended long ago, with their histories, and print how many there were.

    Args:
        older_than: How long ago, as 7d.
    """
    with peek(store):
        pass  # there is such a file, and it is one of ours
    async with stopped_by_signals(), open_registry(store, capacity=0) as jobs:
        pruned = await jobs.prune(older_than=older_than)
    if json:
        json_line({"pruned": pruned})
    else:
        line(f"{pruned} job{'' if pruned == 1 else 's'} pruned")
