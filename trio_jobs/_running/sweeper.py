"""End the jobs that waited too long."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..stores.retrying import persist

if TYPE_CHECKING:
    from ..stores.contract import Store


async def sweep(store: Store) -> None:
    """Sweep whenever that may find something; ends only by cancellation."""
    while True:
        await persist(store.overdue)
        await persist(store.sweep)
