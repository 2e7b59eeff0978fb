"""Tell a store of the limits of handlers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from .._common.errors import quoted
from .._model.handler import mark_of
from .._model.handlers import Handler
from .._model.limits import Limit, check_shared, limits_of
from ..stores.contract import Store, Submission
from ..stores.limits import KeepsLimits
from ..stores.retrying import retry_until_answered


class HandlerLimits:
    """The limits of the handlers that a registry runs, of which its store is told.

    Args:
        shared: The limits that handlers share, by name; None for none.
        handlers: The handlers that the registry is given, and those of its schedules.
        runs: Whether it runs jobs; if not, and the store outlives it, those that do tell the store.

    Raises:
        TypeError: `shared` are not `Limit` records by name.
        ValueError: A handler has a limit that is not defined, or a shared one is wrong.
    """

    def __init__(self, shared: object, handlers: Iterable[Handler] = (), *, runs: bool = True) -> None:
        self._runs = runs
        self._shared = dict[str, Limit]() if shared is None else check_shared(shared)
        marks = [mark_of(fn) for fn in handlers if runs]
        self._given = {mark.name: limits_of(mark.name, mark.limits, self._shared) for mark in marks}
        self._told: dict[str, Mapping[str, Limit]] = {}

    async def begin(self, store: Store) -> None:
        """Tell a store of the limits of the handlers that were given, also of those that have none any more.

        Raises:
            ValueError: It keeps no limits.
        """
        for handler, limits in self._given.items():
            await retry_until_answered(self._tell, store, handler, limits)

    async def tell(self, store: Store, new: Submission) -> None:
        """Tell a store of the limits of a handler that was not given, before a job of it.

        Raises:
            ValueError: The store keeps no limits, or one is not defined.
        """
        if new.handler not in self._given and (self._runs or not store.durable):
            await self._tell(store, new.handler, limits_of(new.handler, new.limits, self._shared))

    async def _tell(self, store: Store, handler: str, limits: Mapping[str, Limit]) -> None:
        if self._told.get(handler) == limits:
            return
        if isinstance(store, KeepsLimits):
            await store.limit(handler, limits)
        elif limits:
            raise ValueError(
                f"handler {handler!r} has limits, and {quoted(store)} keeps none; leave out limits=…, or use "
                "memory:// or sqlite:///"
            )
        self._told[handler] = limits
