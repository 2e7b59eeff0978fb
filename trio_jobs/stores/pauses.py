"""What a store does that keeps pauses of handlers, which bind all workers; see `contract`."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple, Protocol, runtime_checkable


class Pauses(NamedTuple):
    """What is paused in a store.

    Attributes:
        everything: Whether all handlers are.
        handlers: Those that are paused by name.
    """

    everything: bool = False
    handlers: frozenset[str] = frozenset()

    def hold(self, handler: str) -> bool:
        """Return whether no job of a handler starts."""
        return self.everything or handler in self.handlers


@runtime_checkable
class KeepsPauses(Protocol):
    """A store that can pause handlers. Each verb is one step, as those of `Store` are."""

    async def pause_handlers(self, names: Collection[str] | None, *, paused: bool) -> None:
        """Pause handlers, or resume them; None stands for all that there are, or will be.

        From then on `claim` and `submit` start no job of a handler that is paused, whoever calls them, and
        `due` does not return for one. All else goes on: what runs, its children, and all timeouts; jobs are
        accepted, and wait with their ranks as they are.

        A name that is resumed starts nothing while all handlers are paused; with None, nothing is paused any
        more, by name neither. A name needs no handler, and one that is paused may be paused again.
        """
        ...

    async def paused_handlers(self) -> Pauses:
        """Return what is paused."""
        ...
