"""`trio-jobs prune`: delete the jobs that ended long ago."""

from __future__ import annotations

from .._registry.opening import open_registry
from .options import DEFAULT_STORE, Json, Seconds, Store
from .output import json_line, line
from .readonly import open_readonly
from .signals import stopped_by_signals


async def prune(*, older_than: Seconds, store: Store = DEFAULT_STORE, json: Json = False) -> None:
    """Delete the jobs that ended long ago, with their histories, and print how many there were.

    Args:
        older_than: How long ago, as 7d.
    """
    with open_readonly(store):
        pass  # the file exists and holds jobs; opening a registry would make it
    async with stopped_by_signals(), open_registry(store, capacity=0) as jobs:
        pruned = await jobs.prune(older_than=older_than)
    if json:
        json_line({"pruned": pruned})
    else:
        line(f"{pruned} job{'' if pruned == 1 else 's'} pruned")
