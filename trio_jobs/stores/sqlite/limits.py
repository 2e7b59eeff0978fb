"""Limits in a file: their rows, and the verbs about them; see `lanes` for what waits under them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import attrs

from ..._json.values import encode
from ..._model.limits import Limit, LimitStatus
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

    async def pin_limit(self, name: str, limit: Limit | None) -> None:
        """See `KeepsLimits.pin_limit`."""
        await self._write(lambda tx: _pin(tx, name, limit))
        self._signals.work.ring()

    async def limits(self) -> Sequence[LimitStatus]:
        """See `KeepsLimits.limits`."""
        return await self._read(listed)


def listed(tx: Transaction) -> list[LimitStatus]:
    """Return all limits that can be read, by name."""
    return [
        LimitStatus(name=name, limit=limit, pinned=bool(pinned), running=running, waiting=waiting)
        for name, text, pinned, running, waiting in tx.run("limits")
        if (limit := lanes.limit_of(text)) is not None
    ]


def _pin(tx: Transaction, name: str, limit: Limit | None) -> None:
    tx.check_compat()
    if limit is None:
        tx.run("unpin_limit", name=name)
        tx.run("forget_limits")
        return
    tx.run("pin_limit", name=name, text=_text_of(limit))
    for (handler,) in [*tx.run("limited_by", name=name)]:
        lanes.wake(tx, handler)


def _text_of(limit: Limit) -> str:
    return encode("a limit", attrs.asdict(limit)).decode()


def _define(
    tx: Transaction, handler: str, limits: Mapping[str, Limit]
) -> tuple[Mapping[str, Limit] | None, Mapping[str, Limit]]:
    """Set the limits of a handler; return what they were, None if there were none, and what they are."""
    tx.check_compat()
    before = lanes.groups_of(tx, [handler]).get(handler)
    tx.run("forget_limited", handler=handler)
    for place, (name, limit) in enumerate(limits.items()):
        tx.run("define_limit", name=name, text=_text_of(limit))
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
