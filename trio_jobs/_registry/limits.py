"""The limits of a registry: they are listed with what is used of them, and pinned."""

from __future__ import annotations

from typing import cast

import trio

from .._common.errors import quoted
from .._common.validate import text
from .._model.limits import Limit, LimitStatus, limit_name
from .._running.worker import Worker
from ..stores.limits import KeepsLimits


class JobLimits:
    """The limits of a store; `JobRegistry.limits` is one. All its methods are checkpoints."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    async def find(self) -> list[LimitStatus]:
        """Return all limits of the store, by name, and how many jobs run and wait under each."""
        return [*await (await self._keeper()).limits()]

    async def set(self, name: str, limit: Limit) -> None:
        """Pin a limit: from now on it holds in place of what is said where registries are opened.

        It holds at once, for all workers, also for jobs that wait; what runs goes on.

        Args:
            name: That of a limit that handlers share, also one to come; or of a handler's own, as
                "report[0]", the first limit of `report`.
            limit: What it says; keyed if and only if the limit of that name is.

        Raises:
            TypeError: `limit` is no `Limit`.
            ValueError: `name` is no name, or one of the two limits is keyed and the other is not.
        """
        if not isinstance(cast("object", limit), Limit):
            raise TypeError(f"set takes a Limit record; got {quoted(limit)}")
        keeper = await self._keeper()
        known = {one.name: one.limit for one in await keeper.limits()}
        if text("name", name) not in known and not limit.keyed:
            limit_name(name)
        elif known.get(name, Limit(at_once=1)).keyed is not limit.keyed:
            wrong = "is not keyed" if limit.keyed else "is keyed; give it as Limit(…, keyed=True)"
            raise ValueError(f"the limit {quoted(name)} {wrong}")
        await keeper.pin_limit(name, limit)

    async def unset(self, name: str) -> None:
        """Let the next registry that is opened to run jobs say again what a limit is; until then it stays.

        Raises:
            ValueError: No limit of that name is pinned.
        """
        keeper = await self._keeper()
        if name not in [one.name for one in await keeper.limits() if one.pinned]:
            raise ValueError(f"no limit is pinned whose name is {quoted(name)}")
        await keeper.pin_limit(name, None)

    async def _keeper(self) -> KeepsLimits:
        self._worker.check_open()
        await trio.lowlevel.checkpoint()
        if not isinstance(self._worker.store, KeepsLimits):
            raise TypeError(
                f"{type(self._worker.store).__name__} keeps no limits; the stores of trio_jobs do"
            )
        return self._worker.store
