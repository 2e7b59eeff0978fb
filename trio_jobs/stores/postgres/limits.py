"""Limits in a database: the verbs about them; see `sql/lanes.sql` for what waits under them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from ..._json.values import decode
from ..._model.limits import Limit, LimitStatus
from .calls import PostgresCalls

logger = logging.getLogger("trio_jobs")


class LimitCalls(PostgresCalls):
    """Calls about limits; see `KeepsLimits`. Each may have to wait for a claim, and is made alone."""

    async def limit(self, handler: str, limits: Mapping[str, Limit]) -> None:
        """See `KeepsLimits.limit`."""
        given = [_said(name, limit) for name, limit in limits.items()]
        call = {"handler": handler, "limits": given}
        said = await self._write("limit", call, alone=True)
        if said is not None and said["before"] not in (None, said["after"]):
            before, after = _limits_in(said["before"]), _limits_in(said["after"])
            logger.info("the limits of %s are %s now; they were %s", handler, after, before)

    async def pin_limit(self, name: str, limit: Limit | None) -> None:
        """See `KeepsLimits.pin_limit`."""
        given = None if limit is None else _said(name, limit)
        call = {"name": name, "limit": given}
        await self._write("pin_limit", call, alone=True)

    async def limits(self) -> Sequence[LimitStatus]:
        """See `KeepsLimits.limits`."""
        return [
            LimitStatus(
                name=name or "",
                limit=Limit(**decode(limit or "")),
                pinned=pinned == "t",
                running=int(running or 0),
                waiting=int(waiting or 0),
            )
            for name, limit, pinned, running, waiting in await self._read("limits")
        ]


def _said(name: str, limit: Limit) -> dict[str, Any]:
    return {"name": name, **attrs.asdict(limit)}


def _limits_in(said: Mapping[str, Any] | None) -> dict[str, Limit]:
    return {name: Limit(**one) for name, one in (said or {}).items()}
