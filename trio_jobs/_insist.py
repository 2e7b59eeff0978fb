"""Calls of a store that must have an answer, however often they have to be repeated.

Every verb may be called again when its outcome is not known; see `_store`.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import trio

from ._errors import StoreUnavailable
from ._retry import Retry

T = TypeVar("T")
logger = logging.getLogger("trio_jobs")

BACKOFF: Final = Retry(attempts=2, initial=0.05, factor=2, maximum=5.0)
LAST_WORDS: Final = 10.0
"""Seconds in which a registry that is being left insists on telling its store how each attempt ended."""


async def insist(call: Callable[[], Awaitable[T]]) -> T:
    """Repeat a call until the store answers, at growing intervals. Raises what the store answers."""
    failures = 0
    while True:
        try:
            return await call()
        except StoreUnavailable as error:
            failures += 1
            if failures == 1:
                logger.warning("the store is unavailable, trying again: %s", error)
        await trio.sleep(BACKOFF.delay(failures))
