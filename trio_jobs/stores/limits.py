"""The contract of a store that keeps limits; see `contract`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from .._model.limits import Limit, LimitStatus


@runtime_checkable
class KeepsLimits(Protocol):
    """A store that can limit how many jobs start."""

    async def limit(self, handler: str, limits: Mapping[str, Limit]) -> None:
        """Set the limits of a handler, by name; the last call counts, also for jobs that wait; {} is none.

        From then on `claim` and `submit` start a job of it only if each of its limits has a place, and take
        them in the same step: of all, or of none. A place is taken exactly while the job is RUNNING. Limits
        of one name that are not keyed are one limit, whatever handlers have it; of a keyed one, each handler
        has as many as there are values of `Options.limit_key`.

        Between handlers, and within a key, the order is by rank. The keys of a handler take turns: a key goes
        behind all that wait when its first job is due, and again after each start. `due` returns only when
        a `claim` could start something.

        `submit` raises `QueueFull` if more jobs than `Limit.waiting` would wait. It counts all of a batch,
        also those that start in the same step.
        """
        ...

    async def pin_limit(self, name: str, limit: Limit | None) -> None:
        """Set a limit at once, whatever `limit` says of its name before or later; None ends that.

        What was pinned then stays as it is until `limit` says something of its name.
        """
        ...

    async def limits(self) -> Sequence[LimitStatus]:
        """Return the limits of all handlers, and those that are pinned, by name."""
        ...
