"""Repeat calls of a store until it answers.

Every verb may be called again when its outcome is not known; see `contract.py`.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar, TypeVarTuple

import trio

from .._common.error_text import indented, record_error
from .._common.errors import StoreUnavailable, TrioJobsError
from .._model.retry import Retry

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
logger = logging.getLogger("trio_jobs")

BACKOFF: Final = Retry(attempts=2, initial=0.05, factor=2, maximum=5.0)
LAST_WORDS: Final = 10.0
"""Seconds in which a registry that is being left still tries to record how its attempts ended."""


async def retry_until_answered(call: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> T:
    """Repeat a call until the store answers, at growing intervals. Raises what the store answers."""
    failures = 0
    while True:
        try:
            return await call(*args)
        except StoreUnavailable as error:
            failures += 1
            if failures == 1:
                logger.warning("the store is unavailable, trying again: %s", error)
        await trio.sleep(BACKOFF.delay(failures))


async def retry_until_done(call: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> T:
    """Repeat a call that serves all jobs until it succeeds, so that an error with one job does not stop it.

    An error that is not the package's own is unexpected, most likely caused by one job: it is logged, and the
    call is repeated, at growing intervals. Errors of the package other than `StoreUnavailable` are raised.
    """
    failures = 0
    while True:
        try:
            return await retry_until_answered(call, *args)
        except (TrioJobsError, trio.ClosedResourceError):
            raise
        except Exception as error:  # noqa: BLE001  # the others must not suffer for it
            failures += 1
            text = indented(record_error(error).traceback)
            logger.error("the work for all jobs failed, trying again:\n%s", text)  # noqa: TRY400  # escaped
        await trio.sleep(BACKOFF.delay(failures))
