"""What the registry knows of a store that it made itself, and a worker may use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from ..stores.contract import KnowsEnds
    from ..stores.memory import MemoryStore


@attrs.frozen
class Shortcuts:
    """What a worker may use besides the verbs of a store, if `open_registry` made the store itself.

    A store that is passed in may wrap another one, and has none.

    Attributes:
        local: The store, if its logs may be read and written in place.
        ends: The store, if it may be asked for the end of a job alone.
        batches: Whether it does in one step what it is asked in one: then an end, and the claim for the slot
            that it leaves, are asked together. Otherwise a slot is kept until the end is recorded.
    """

    local: MemoryStore | None = None
    ends: KnowsEnds | None = None
    batches: bool = False


NO_SHORTCUTS: Final = Shortcuts()
