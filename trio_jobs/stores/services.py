"""The contract of a store that keeps services; see `contract`."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from .contract import Claim, Claimant


@runtime_checkable
class KeepsServices(Protocol):
    """A store that keeps jobs which have `Options.restart`: `claim`, `submit` and `due` pass these over.

    They need no room in the queue. When an attempt ends with reason `restarted`, `rules.conclude` says what
    becomes of the job, from what its log says of the restarts before.
    """

    async def claim_services(self, worker: Claimant) -> list[Claim]:
        """Start each service that is due.

        If attempts run that an earlier call with the same `worker.claim` has started, these are returned, and
        nothing else is started.
        """
        ...

    async def due_services(self) -> None:
        """Wait until `claim_services` may find work, as `Store.due` does."""
        ...
