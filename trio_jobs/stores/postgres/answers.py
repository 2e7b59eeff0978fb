"""What the functions of a schema answer: a value or an error, and what has changed for tasks that wait."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs
import msgspec

from ..._common import errors
from ..._common.errors import IllegalTransition, QueueFull
from ..._common.states import State
from .. import schedules


class Answer(msgspec.Struct):
    """The answer to one call.

    Attributes:
        value: What the verb returns.
        error: The name of the exception that it raises instead, having done nothing,
        values: with its arguments.
        grown: The jobs whose logs have grown.
        ended: Those that have ended, or were removed.
        started: Those that were started.
        heard: Those that got inputs, with the newest cursor of these; None for a removed job.
        asked: Whether a cancellation was requested, or a grace shortened, of a job that runs.
        work: Whether there may be work to claim.
        alarm: When a lease may lapse, or a job expire.
    """

    value: Any = None
    error: str | None = None
    values: list[Any] = []
    grown: list[str] = []
    ended: list[str] = []
    started: list[str] = []
    heard: dict[str, float | None] = {}
    asked: bool = False
    work: bool = False
    alarm: float | None = None


@attrs.define
class Changes:
    """What a transaction has changed; as `signals.Changes`, and `alarm` as in `Answer`."""

    started: list[str] = attrs.field(factory=list[str])
    grown: list[str] = attrs.field(factory=list[str])
    heard: dict[str, float] = attrs.field(factory=dict[str, float])
    ended: dict[str, None] = attrs.field(factory=dict[str, None])
    asked: bool = False
    handed_on: bool = False
    alarm: float = float("inf")

    def add(self, answer: Answer) -> None:
        """Add what an answer says."""
        self.started += answer.started
        self.grown += answer.grown
        self.ended |= dict.fromkeys(answer.ended)
        self.asked |= answer.asked
        self.handed_on |= answer.work
        if answer.alarm is not None:
            self.alarm = min(self.alarm, answer.alarm)
        for job_id, seq in answer.heard.items():
            self.heard[job_id] = max(float("inf") if seq is None else seq, self.heard.get(job_id, 0))


def _illegal(state: str, transition: str, hint: str = "") -> IllegalTransition:
    return IllegalTransition(State(state), transition, hint)


def _full(limit: int, name: str | None = None, key: str | None = None, owner: str | None = None) -> QueueFull:
    return QueueFull(limit, name, key, owner=owner)


_ERRORS: Final[Mapping[str, Callable[..., Exception]]] = {
    **{
        error.__name__: error
        for error in (
            *(errors.UnknownJob, errors.KeyConflict, errors.InboxFull, errors.Busy, errors.LeaseLost),
            *(errors.InvalidPayload, errors.SchemaTooNew, errors.StoreUnavailable),
            *(schedules.UnknownSchedule, schedules.ScheduleDeclared, ValueError),
        )
    },
    "IllegalTransition": _illegal,
    "QueueFull": _full,
}


def error_in(answer: Answer) -> Exception | None:
    """Return the exception that an answer names, if it names one."""
    return None if answer.error is None else _ERRORS[answer.error](*answer.values)
