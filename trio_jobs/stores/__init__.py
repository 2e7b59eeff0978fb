"""Where jobs are kept, and the contract for a store of your own. Importing this imports no driver."""

from .._errors import StoreUnavailable
from .._job import KIND_OF, PENALTY, TRIMMABLE, Options
from .._states import TRANSITIONS, UNSPENT, Transition, advance, sources
from .._store import (
    CRASHES,
    CancelAnswer,
    Claim,
    Claimant,
    Heartbeat,
    Outcome,
    Store,
    Submission,
    Where,
)
from .._summary import PAGE_JOBS, page_of, place_of, summary_of

__all__ = [
    "CRASHES",
    "KIND_OF",
    "PAGE_JOBS",
    "PENALTY",
    "TRANSITIONS",
    "TRIMMABLE",
    "UNSPENT",
    "CancelAnswer",
    "Claim",
    "Claimant",
    "Heartbeat",
    "Options",
    "Outcome",
    "Store",
    "StoreUnavailable",
    "Submission",
    "Transition",
    "Where",
    "advance",
    "page_of",
    "place_of",
    "sources",
    "summary_of",
]
