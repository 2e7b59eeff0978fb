"""Where jobs are kept, and the contract for a store of your own. Importing this imports no driver.

In the order in which they tell the story:

    contract     the verbs of a store
    rules        decisions that are the same in every store
    exclusion    what becomes of a job whose exclusive name is held
    submission   a job as a caller submits it, checked
    retrying     calls of a store that are repeated until it answers
    log          the log of one job in memory
    memory       the store in memory
    signals, waits, listing    waking tasks, waiting and searching, for stores with a database
    sqlite       the store in a file
    postgres     the store in a PostgreSQL database, for many machines
"""

from typing import TYPE_CHECKING

from .._common.errors import StoreUnavailable, check_cursor
from .._common.states import TRANSITIONS, UNSPENT, Transition, sources
from .._model.job import KIND_OF, PENALTY, TRIMMABLE, Options
from .contract import (
    CRASHES,
    NO_CLAIMS,
    CancelAnswer,
    Claim,
    Claimant,
    Heartbeat,
    Outcome,
    Reclaimed,
    Store,
    Submission,
    Where,
)
from .records import PAGE_JOBS

if TYPE_CHECKING:
    from .._model.summary import page_of, place_of, summary_of, text_of
    from .rules import (
        ABANDONED,
        WAITING,
        Conclusion,
        Inbox,
        advance,
        cancel_answer,
        check_end_inputs,
        check_queue,
        check_removable,
        check_send,
        check_steps,
        conclude,
        due_at,
        expires_at,
        not_started,
        waited,
        waiting_for,
        wakes,
        worker_lost,
    )
else:

    def __getattr__(name: str) -> object:
        """Load what only stores need when one does, as `import trio_jobs` is to be quick."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from .._model import summary
        from . import rules

        return getattr(summary if hasattr(summary, name) else rules, name)


__all__ = [
    "ABANDONED",
    "CRASHES",
    "KIND_OF",
    "NO_CLAIMS",
    "PAGE_JOBS",
    "PENALTY",
    "TRANSITIONS",
    "TRIMMABLE",
    "UNSPENT",
    "WAITING",
    "CancelAnswer",
    "Claim",
    "Claimant",
    "Conclusion",
    "Heartbeat",
    "Inbox",
    "Options",
    "Outcome",
    "Reclaimed",
    "Store",
    "StoreUnavailable",
    "Submission",
    "Transition",
    "Where",
    "advance",
    "cancel_answer",
    "check_cursor",
    "check_end_inputs",
    "check_queue",
    "check_removable",
    "check_send",
    "check_steps",
    "conclude",
    "due_at",
    "expires_at",
    "not_started",
    "page_of",
    "place_of",
    "sources",
    "summary_of",
    "text_of",
    "waited",
    "waiting_for",
    "wakes",
    "worker_lost",
]
