"""End the jobs that waited too long."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._store import Store


async def sweep(store: Store) -> None:
    """Sweep whenever that may find something; ends only by cancellation."""
    while True:
        await store.overdue()
        await store.sweep()
