"""`trio-jobs prune`: delete the jobs that ended long ago."""

from __future__ import annotations

from .choosing import NONE, Filtered, change_chosen
from .faults import Fault
from .options import DEFAULT_STORE, Jobs, Json


async def prune(*, chosen: Filtered = NONE, store: Jobs = DEFAULT_STORE, json: Json = False) -> None:
    """Delete the jobs that ended long ago, as --older-than says, with their histories.

    Other options choose among them; the number of those that are deleted is printed.
    """
    if chosen.older_than is None:
        raise Fault("prune takes --older-than, as in --older-than 7d")
    await change_chosen("remove", "pruned", store, chosen, json=json)
