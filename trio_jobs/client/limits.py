"""The limits of a server."""

from __future__ import annotations

from typing import cast

import attrs

from .._common.errors import quoted
from .._common.validate import text
from .._model.limits import Limit, LimitStatus
from .._wire import requests
from .link import Link


class RemoteLimits:
    """The limits of a server, for callers who may see all jobs; `RemoteRegistry.limits` is one.

    Where `JobLimits` raises `ValueError`, the server answers with `InvalidPayload`.
    """

    def __init__(self, link: Link) -> None:
        self._link = link

    async def find(self) -> list[LimitStatus]:
        """Return all limits, by name, and how many jobs run and wait under each."""
        return await self._ask(requests.ListLimits(id=self._link.new_id()))

    async def set(self, name: str, limit: Limit) -> None:
        """Pin a limit, as `JobLimits.set` does. Raises `TypeError` if `limit` is no `Limit`."""
        if not isinstance(cast("object", limit), Limit):
            raise TypeError(f"set takes a Limit record; got {quoted(limit)}")
        fields = attrs.asdict(limit)
        await self._ask(requests.SetLimit(id=self._link.new_id(), name=text("name", name), **fields))

    async def unset(self, name: str) -> None:
        """Let the next registry that is opened to run jobs say again what a limit is."""
        await self._ask(requests.UnsetLimit(id=self._link.new_id(), name=text("name", name)))

    async def _ask(
        self, request: requests.ListLimits | requests.SetLimit | requests.UnsetLimit
    ) -> list[LimitStatus]:
        return await self._link.call(request, "", lambda reply: reply.limits)
