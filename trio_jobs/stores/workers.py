"""What a store does that can tell which workers hold jobs; see `contract`.

The annotations are types, not text, as in `job.py`.
"""

from collections.abc import Iterable, Sequence
from typing import Final, Protocol, runtime_checkable

import attrs

from .rows import worker_in

HELD: Final = 1000
"""How many running jobs are looked at."""


@attrs.frozen
class WorkerStatus:
    """A worker that holds jobs.

    Attributes:
        name: Its name, as `started` events have it; processes may have the same.
        running: How many jobs it holds, child jobs left out.
        lapses: Seconds until its leases lapse, unless a heartbeat renews them; below 0 if they have lapsed.
    """

    name: str
    running: int
    lapses: float


@runtime_checkable
class KnowsWorkers(Protocol):
    """A store whose jobs are held under leases, and that can tell by whom."""

    async def workers(self) -> Sequence[WorkerStatus]:
        """Return the workers that hold running jobs, that whose leases lapse first before the others.

        The `HELD` jobs are counted whose leases lapse first. A worker without a job is not known to a store.
        """
        ...


def workers_of(held: Iterable[tuple[float, bytes | str | None]]) -> list[WorkerStatus]:
    """Return the workers of jobs, given when each lease lapses, and the row of each `started` event."""
    leases: dict[str, list[float]] = {}
    for lapses, begun in held:
        leases.setdefault(worker_in(begun), []).append(lapses)
    found = [WorkerStatus(name, len(each), max(each)) for name, each in leases.items()]
    return sorted(found, key=lambda worker: worker.lapses)
