"""Hear for all attempts of a worker whether inputs came: by one call of the store, however many wait."""

from __future__ import annotations

from collections.abc import Collection, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import trio

from .._common.bell import Bell
from ..stores.retrying import retry_until_done

if TYPE_CHECKING:
    from ..stores.contract import Store
    from .inbox import StoreInbox

_LOOK: Final = 0.002
"""Seconds that the store has at least to look, before it is asked for more attempts in place of that; each
time that this cuts a call short, the next one has twice as long."""


class Listener:
    """Fills the inboxes that are waited for, in one task that runs as long as attempts may.

    Args:
        store: The store.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: dict[str, StoreInbox] = {}  # by job
        self._joined = Bell()
        self._asking = trio.CancelScope()
        self._looked = 0.0  # when the store has had time to look
        self._failure: Exception | None = None  # what ended the task

    @contextmanager
    def hearing(self, inbox: StoreInbox) -> Generator[None]:
        """Fill an inbox once there is something to fill it with, while the block is waited in.

        Raises:
            Exception: What the store raised for all: no more is heard.
        """
        if self._failure is not None:
            raise self._failure
        self._waiting[inbox.job_id] = inbox
        self._joined.ring()
        self._asking.deadline = self._looked  # then ask anew, for this one too
        try:
            yield
        finally:
            if self._waiting.get(inbox.job_id) is inbox:  # and not that of a newer attempt
                del self._waiting[inbox.job_id]

    async def run(self) -> None:
        """Ask the store for those that wait, until cancelled. What it raises, each of them gets too."""
        try:
            await self._ask()
        except Exception as error:
            self._failure = failure = error
            for inbox in self._waiting.values():
                inbox.close(lambda: failure)
            raise

    async def _ask(self) -> None:
        look = _LOOK
        while True:
            while not self._waiting:
                await self._joined.wait()
            places: dict[str, int] = {job_id: inbox.cursor for job_id, inbox in self._waiting.items()}
            found: Collection[str] = ()
            self._looked = trio.current_time() + look
            with trio.CancelScope() as self._asking:
                found = await retry_until_done(self._store.listening, places)
            look = 2 * look if self._asking.cancelled_caught else _LOOK
            for inbox in [self._waiting[job_id] for job_id in found if job_id in self._waiting]:
                await inbox.fill()
