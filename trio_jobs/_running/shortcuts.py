"""The ways around the verbs of a store, for a worker whose registry has made the store itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

if TYPE_CHECKING:
    from ..stores.memory import MemoryStore
    from ..stores.records import JobEnd


class KnowsEnds(Protocol):
    """A store that a registry makes by itself, and asks for less than `Store.ended` says."""

    async def end(self, job_id: str) -> JobEnd:
        """Wait until the job has ended, and return how. Raises what `Store.ended` does. A checkpoint."""
        ...


class Shortcuts(NamedTuple):
    """The ways around the verbs of a store, if `open_registry` made the store itself.

    A store that is passed in may wrap another one, so there are none.

    Attributes:
        local: The store, if its logs may be read and written in place.
        ends: The store, if it can return the end of a job alone.
        batches: Whether calls that are made together are one step: then an end is recorded together with the
            claim for its slot. Otherwise a slot is kept until the end is recorded.
    """

    local: MemoryStore | None = None
    ends: KnowsEnds | None = None
    batches: bool = False


NO_SHORTCUTS: Final = Shortcuts()
