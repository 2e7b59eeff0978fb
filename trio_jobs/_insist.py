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
LAST_WORDS: Final = 5.0
"""Seconds in which an attempt that is being cancelled may still reach its store."""


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


async def finish_off(call: Callable[[], Awaitable[T]]) -> T:
    """Do what `insist` does; once cancelled, for `LAST_WORDS` seconds more.

    Raises:
        trio.Cancelled: It was cancelled and the store did not answer in time.
    """
    try:
        return await insist(call)
    except trio.Cancelled:
        with trio.move_on_after(LAST_WORDS, shield=True):
            return await insist(call)  # noqa: ASYNC104  # it counts, and the next checkpoint raises again
        raise
