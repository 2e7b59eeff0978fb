"""Limits in a file: their rows, and the verbs about them; see `lanes` for what waits under them."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import attrs

from ..._json.values import encode
from ..._model.limits import Limit
from . import lanes
from .calls import FileCalls
from .group import Transaction

logger = logging.getLogger("trio_jobs")
_LAST = 2**62  # a number that no job has


class LimitCalls(FileCalls):
    """Calls about limits; see `KeepsLimits`."""

    async def limit(self, handler: str, limits: Mapping[str, Limit]) -> None:
        """See `KeepsLimits.limit`."""
        if not limits and not await self._read(lanes.groups_of, [handler]):
            return
        before, after = await self._write(lambda tx: _define(tx, handler, limits))
        if before not in (None, after):
            logger.info("the limits of %s are %s now; they were %s", handler, after, before)
        self._signals.work.ring()


def _define(
    tx: Transaction, handler: str, limits: Mapping[str, Limit]
) -> tuple[Mapping[str, Limit] | None, Mapping[str, Limit]]:
    """Set the limits of a handler; return what they were, None if there were none, and what they are."""
    tx.check_compat()
    before = lanes.groups_of(tx, [handler]).get(handler)
    tx.run("forget_limited", handler=handler)
    for place, (name, limit) in enumerate(limits.items()):
        tx.run("define_limit", name=name, text=encode("a limit", attrs.asdict(limit)).decode())
        tx.run("add_limited", handler=handler, place=place, name=name)
    tx.run("forget_limits")
    if not limits:
        tx.run("leave_lanes", handler=handler)
        tx.run("forget_lanes", handler=handler)
    elif before is None:
        lanes.move_in(tx, handler, 0, _LAST)
    tx.run("count_limits")
    tx.limited = True
    return None if before is None else before.limits, lanes.wake(tx, handler)
