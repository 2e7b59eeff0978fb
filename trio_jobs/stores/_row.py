"""One job as the memory store keeps it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, cast

import attrs
import trio

from .._common.bell import Bell
from .._common.errors import ErrorRecord
from .._common.states import Reason, State
from .._model.job import Ended, Job, Kind, Progress
from .._model.summary import ARGS_READ, JobSummary, summary_of, text_of
from .contract import Outcome, Submission, Where
from .log import Log, weigh
from .rules import WAITING, Restarting, date_of


def same(one: Submission, other: Submission) -> bool:
    """Return whether two submissions are for the same work; if values cannot be compared, they are not."""
    given, before = one.given or one.options, other.given or other.options
    try:
        return (
            one.target == other.target
            and attrs.evolve(given, metadata={}) == attrs.evolve(before, metadata={})
            and _alike([*one.args, one.kwargs, given.metadata], [*other.args, other.kwargs, before.metadata])
        )
    except Exception:  # noqa: BLE001  # the comparison is the caller's code and may raise anything
        return False


def alike(one: object, other: object) -> bool:
    """Return whether values are the same; if they cannot be compared, they are not."""
    try:
        return _alike(one, other)
    except Exception:  # noqa: BLE001  # see `same`
        return False


def _alike(one: object, other: object) -> bool:
    """Return whether values are the same in all their parts, types included.

    `==` alone would take 1, True and 1.0 for the same, and a class may define its own. As in JSON, which
    other stores compare, a list and a tuple do not differ.
    """
    pairs: list[tuple[Any, Any]] = [(one, other)]
    seen = set[tuple[int, int]]()
    for this, that in pairs:  # which grows meanwhile
        if this is that or (id(this), id(that)) in seen:  # a value that contains itself ends here
            continue
        seen.add((id(this), id(that)))
        kind = _kind(this)
        if kind is not _kind(that):
            return False
        if issubclass(kind, (list, tuple)):
            if len(this) != len(that):
                return False
            pairs += zip(this, that, strict=True)
        elif issubclass(kind, (dict, set, frozenset)):
            if set(this) != set(that):
                return False
            found = {key: key for key in that}
            pairs += [(key, found[key]) for key in this]
            pairs += [(this[key], that[key]) for key in this] if issubclass(kind, dict) else []
        elif (names := _fields(kind)) is not None:
            pairs += [(getattr(this, name, None), getattr(that, name, None)) for name in names]
        elif this != that:
            return False
    return True


def _kind(value: object) -> type[Any]:
    kind = cast("type[Any]", type(value))
    return list if kind is tuple else kind


def _fields(kind: type[Any]) -> Sequence[str] | None:
    """Return the names of the fields of a record: of attrs, a dataclass, or a Struct of msgspec."""
    if attrs.has(kind):
        return [field.name for field in attrs.fields(kind)]
    import dataclasses  # which attrs does not load, nor does Trio

    if dataclasses.is_dataclass(kind):
        return [field.name for field in dataclasses.fields(kind)]
    return getattr(kind, "__struct_fields__", None)


@attrs.define(eq=False)
class Row:
    """One job. Times are seconds on Trio's clock."""

    submission: Submission
    log: Log
    created: float
    due: float
    parent: str | None = None
    first_due: float = 0.0
    number: int = 0  # in the order of submission
    totals: Sequence[dict[State, int]] = ()  # the totals it is counted in
    children: dict[str, None] | None = None  # those that have not ended, in order
    state: State = State.QUEUED
    reason: Reason | None = None
    message: str | None = None
    error: ErrorRecord | None = None
    result: Any = None
    saved: Any = None
    progress: Progress | None = None
    attempt: int = 0
    claim: str | None = None  # the id of the claim that started it, until a sweep reclaims it
    spent: int = 0
    losses: int = 0  # attempts in a row that lost their worker
    before: Ended | None = None  # how the attempt before ended
    started: float | None = None
    ready: float | None = None
    finished: float | None = None
    cancel_requested: float | None = None
    cancel_message: str | None = None
    cancel_grace: float = 0.0
    waiters: Bell | None = None
    line: list[Row] | None = None  # of an exclusive job: those that have its name, the holder first
    put_off: float | None = None  # since when, by a `Debounce`
    replaced_by: str | None = None
    resubmitted_as: str | None = None  # the job that it was submitted again as last
    args_bytes: int = 0  # about how many the arguments and the result take, once a list has asked for it
    result_bytes: int = 0
    args_text: str | None = None

    @property
    def behind(self) -> str | None:
        """The job that has to end before this one may start."""
        return None if self.line is None or self.line[0] is self else self.line[0].submission.id

    def was_ended(self, attempt: int, claim: str | None) -> bool:
        """Return whether that attempt was the last, and its worker ended it; without an id nobody knows."""
        known = claim is not None and self.claim == claim and self.attempt == attempt
        return known and self.state is not State.RUNNING

    def restarting(self, outcome: Outcome, now: float, epoch: float) -> Restarting | None:
        """Return what `rules.conclude` has to know of a service that is to be restarted."""
        rule, ended = self.submission.options.restart, outcome.ended
        if rule is None or ended is None or ended.reason is not Reason.RESTARTED:
            return None
        since = now + epoch - rule.within
        ends = [
            event for event in self.log.history() if event.kind is Kind.RETRIED and event.timestamp > since
        ]
        restarts = sum(event.data.reason is Reason.RESTARTED for event in ends)
        return Restarting(rule, now - (self.started or now), restarts)

    def matches(self, where: Where) -> bool:
        """Return whether the job matches a filter."""
        wanted, options = where.tags, self.submission.options
        return (
            (where.states is None or self.state in where.states)
            and (where.reason is None or where.reason is self.reason)
            and (wanted is None or wanted.items() <= options.tags.items())
            and (where.handler is None or where.handler == self.submission.handler)
            and (where.owner is None or where.owner == options.owner)
            and (where.parent is None or where.parent == self.parent)
            and (where.older_than is None or self._ended_before(trio.current_time() - where.older_than))
            and (where.newer_than is None or self._moment() > trio.current_time() - where.newer_than)
            and (where.id_prefix is None or self.submission.id.startswith(where.id_prefix))
            and (not where.retryable or self._retryable())
            and (where.args_contain is None or self._args_contain(where.args_contain))
        )

    def _ended_before(self, moment: float) -> bool:
        return self.finished is not None and self.finished < moment

    def _moment(self) -> float:
        return self.created if self.finished is None else self.finished

    def _retryable(self) -> bool:
        return self.finished is not None and self.parent is None and self.resubmitted_as is None

    def _args_contain(self, piece: str) -> bool:
        given = self._given()
        self.args_bytes = self.args_bytes or weigh(given)
        told = self.args_bytes <= ARGS_READ and not self.submission.options.hide_args
        return told and piece in text_of(given, None)

    def _given(self) -> Sequence[Any] | Mapping[str, Any]:
        """Return all arguments as a file has them."""
        args, kwargs = self.submission.args, self.submission.kwargs
        return {"args": args, "kwargs": dict(sorted(kwargs.items()))} if kwargs else args

    def summary(self, epoch: float) -> JobSummary:
        """Return the summary of the job for lists; see `snapshot`."""
        if self.args_text is None:
            given = self._given()
            self.args_bytes = self.args_bytes or weigh(given)
            self.args_text = text_of(given) if self.args_bytes <= ARGS_READ else None
        if self.state is State.COMPLETED:
            self.result_bytes = self.result_bytes or weigh(self.result)
        return summary_of(
            self.snapshot(epoch),
            progress=self.progress,
            args_bytes=self.args_bytes,
            result_bytes=self.result_bytes,
            log_bytes=self.log.bytes,
            args_text=None if self.submission.options.hide_args else self.args_text,
        )

    def size(self) -> int:
        """Return about how many bytes an ended job takes."""
        size = self.log.size + sum(map(weigh, self.submission.args))
        if self.submission.kwargs:
            size += weigh(self.submission.kwargs)
        if self.result is not None:
            size += weigh(self.result)
        if metadata := self.submission.options.metadata:
            size += weigh(metadata)
        return size

    def snapshot(self, epoch: float) -> Job:
        """Return the job as it is now.

        Args:
            epoch: When Trio's clock was 0, in seconds since 1970.
        """

        def wall(when: float | None) -> datetime | None:
            return None if when is None else date_of(when + epoch)

        options = self.submission.options
        return Job(
            id=self.submission.id,
            handler=self.submission.handler,
            state=self.state,
            reason=self.reason,
            message=self.message,
            error=self.error,
            result=self.result,
            attempt=self.attempt,
            priority=options.priority,
            tags=options.tags,
            metadata=options.metadata,
            owner=options.owner,
            key=self.submission.key,
            parent=self.parent,
            timeouts=options.timeouts,
            retry=options.retry,
            spent=self.spent,
            saved=self.saved,
            created_at=date_of(self.created + epoch),
            started_at=wall(self.started),
            finished_at=wall(self.finished),
            next_attempt_at=wall(self.due) if self.state in WAITING and self.due != math.inf else None,
            cancel_requested_at=wall(self.cancel_requested),
            last_seq=self.log.last_seq,
            unconsumed=len(self.log.inputs.weights),
            exclusive=options.exclusive,
            behind=self.behind,
            replaced_by=self.replaced_by,
            limit_key=options.limit_key,
            resubmitted_from=None if self.submission.again is None else self.submission.again.job_id,
            ready_at=wall(self.ready),
            args=None if options.hide_args else self.submission.args,
            kwargs=None if options.hide_args else self.submission.kwargs,
        )
