"""The lifecycle of a job, as data.

A job waits in QUEUED, runs in RUNNING, waits to run again in RETRYING, and ends once in COMPLETED,
FAILED or CANCELLED. `TRANSITIONS` below is the only statement of what may follow what: the stores,
the drawing in the documentation and the property-based tests keep to it, and nothing else in the
package compares two states to decide whether a change is allowed.

Three choices are worth their reasons:

* The *reason* is kept apart from the state. A timeout is FAILED with reason `timeout`, a hand-over at
  shutdown is the transition `retried` with reason `shutdown`. New causes then need no new states, and
  the table stays small enough to be read at a glance.
* There is no "cancelling" state. A request to cancel is a fact about a running job, not a place where
  the job is: the job stays RUNNING until its nursery has closed, and it may still complete first.
* Terminal states have empty rows, so "at most one outcome" is a property of the table.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping


class State(StrEnum):
    """The state of a job."""

    QUEUED = "queued"
    RUNNING = "running"
    RETRYING = "retrying"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def over(self) -> bool:
        """Whether no transition leaves this state."""
        return not TRANSITIONS[self]


StateName: TypeAlias = Literal["queued", "running", "retrying", "completed", "failed", "cancelled"]
"""The value of a `State`, for type checkers, which do not know that it is one."""


class Transition(StrEnum):
    """What can happen to a job's state; each is also the kind of the event that records it."""

    STARTED = "started"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    RETRIED = "retried"
    EXPIRED = "expired"


class Reason(StrEnum):
    """Why a job failed, was cancelled, or has to run again."""

    ERROR = "error"
    TIMEOUT = "timeout"
    QUEUE_TIMEOUT = "queue_timeout"
    FIRST_TOKEN_TIMEOUT = "first_token_timeout"
    IDLE_TIMEOUT = "idle_timeout"
    USER = "user"
    PARENT = "parent"
    UNREAD = "unread"
    SHUTDOWN = "shutdown"
    WORKER_LOST = "worker_lost"
    SNOOZED = "snoozed"
    AWAITING_INPUT = "awaiting_input"
    LIMIT = "limit"
    BAD_RESULT = "bad_result"
    REPLACED = "replaced"
    RESTARTED = "restarted"
    RESTARTS = "restarts"


TRANSITIONS: Final[Mapping[State, Mapping[Transition, State]]] = {
    State.QUEUED: {
        Transition.STARTED: State.RUNNING,
        Transition.CANCELLED: State.CANCELLED,
        Transition.EXPIRED: State.FAILED,
    },
    State.RUNNING: {
        Transition.COMPLETED: State.COMPLETED,
        Transition.FAILED: State.FAILED,
        Transition.CANCELLED: State.CANCELLED,
        Transition.RETRIED: State.RETRYING,
    },
    State.RETRYING: {
        Transition.STARTED: State.RUNNING,
        Transition.CANCELLED: State.CANCELLED,
    },
    State.COMPLETED: {},
    State.FAILED: {},
    State.CANCELLED: {},
}

UNFINISHED: Final = frozenset(state for state in State if not state.over)
"""The states that a transition leaves."""
UNSPENT: Final = frozenset({Reason.SHUTDOWN, Reason.SNOOZED, Reason.AWAITING_INPUT})
"""Reasons of `retried` that give back what the claim took from the retry budget."""
KEEPS_RANK: Final = frozenset({Reason.SHUTDOWN, Reason.WORKER_LOST})
"""Reasons of `retried` that are not the job's own: it is due when it was at first."""


def sources(transition: Transition) -> frozenset[State]:
    """Return the states from which `transition` is legal."""
    return frozenset(state for state, row in TRANSITIONS.items() if transition in row)
