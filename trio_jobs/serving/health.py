"""Whether a server is of use: its store answers, and it is not about to stop."""

from __future__ import annotations

import math
from typing import Final

import trio

from .._registry.registry import JobRegistry
from .problems import logger

PATIENCE: Final = 5.0
"""Seconds for a store to answer, before it counts as unavailable."""
KEPT: Final = 1.0
"""Seconds for which an answer holds: anybody may ask, and must not keep the store busy."""


class Health:
    """Asks the store of a registry whether it answers, for all who want to know, once a second at most.

    Args:
        jobs: The registry.
    """

    def __init__(self, jobs: JobRegistry) -> None:
        self._jobs = jobs
        self._asking = trio.Lock()
        self._until = -math.inf
        self._fault: str | None = None

    async def fault(self) -> str | None:
        """Return what is wrong with the store, in words for anybody, or None. A checkpoint."""
        async with self._asking:
            if trio.current_time() >= self._until:
                self._fault = await self._ask()
                self._until = trio.current_time() + KEPT
            return self._fault

    async def _ask(self) -> str | None:
        try:
            with trio.fail_after(PATIENCE):
                await self._jobs.count()
        except trio.TooSlowError:
            return f"the store did not answer within {PATIENCE:g}s"
        except Exception as error:  # noqa: BLE001  # whatever it is, the store is of no use now
            logger.warning("the store is of no use: %r", error)
            return "the store is unavailable"
        return None
