"""Hear for all attempts of a worker whether inputs came: by one call of the store, however many wait."""

from __future__ import annotations

from collections.abc import Collection, Generator
from contextlib import contextmanager
from math import inf
from typing import TYPE_CHECKING, Final

import trio

from ..stores.retrying import retry_until_done

if TYPE_CHECKING:
    from ..stores.contract import Store
    from .inbox import StoreInbox

_LOOK: Final = 0.02
"""Seconds that the store has at least to look, before it is asked for more attempts in place of that."""


class Listener:
    """Fills the inboxes that are waited for, in a task that lives as long as there are some.

    Args:
        store: The store.
        nursery: It runs the task.
    """

    def __init__(self, store: Store, nursery: trio.Nursery) -> None:
        self._store = store
        self._nursery = nursery
        self._waiting: dict[StoreInbox, None] = {}
        self._all: trio.CancelScope | None = None  # around the task, while there is one
        self._asking = trio.CancelScope()
        self._began = inf  # when the store was asked

    @contextmanager
    def hearing(self, inbox: StoreInbox) -> Generator[None]:
        """Fill an inbox once there is something to fill it with, while the block is waited in."""
        self._waiting[inbox] = None
        if self._all is None:
            self._start()
        else:
            self._asking.deadline = self._began + _LOOK  # ask anew, for this one too
        try:
            yield
        finally:
            self._waiting.pop(inbox, None)
            if not self._waiting and self._all is not None:
                self._all.cancel(reason="no attempt waits for an input")

    def _start(self) -> None:
        # Shielded, because a handler's cleanup may still receive while everything around is being cancelled.
        self._all = trio.CancelScope(shield=True)
        self._nursery.start_soon(self._run, self._all, name="listen for inputs")

    async def _run(self, scope: trio.CancelScope) -> None:
        with scope:
            while self._waiting:
                await self._ask()
        self._all = None
        if self._waiting:  # since the scope was cancelled
            self._start()

    async def _ask(self) -> None:
        places: dict[str, int] = {}
        for inbox in self._waiting:
            places[inbox.job_id] = min(inbox.cursor, places.get(inbox.job_id, inbox.cursor))
        self._began = trio.current_time()
        found: Collection[str] = ()
        with trio.CancelScope() as self._asking:
            found = await retry_until_done(self._store.listening, places)
        for inbox in [inbox for inbox in self._waiting if inbox.job_id in found]:
            await inbox.fill()
