"""Judge who held an exclusive name, and what became of the others that asked for it; see `_judge.py`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import inf
from typing import TYPE_CHECKING, Final

import attrs

from .._model.exclusive import Debounce
from ._asked import SLACK, Found
from .fold import states_of

if TYPE_CHECKING:
    from .._model.job import Event, Job
    from ._history import History

_REPLACES: Final = frozenset({"replace", "cancel", "debounce"})
_WAITS: Final = frozenset({"queued", "retrying"})


@attrs.frozen
class _Member:
    """A job with an exclusive name.

    Attributes:
        job: The job.
        log: Its log.
        policy: What it was told to do with others of the name; None if that is not known.
        since: When it was accepted.
        until: When it ended.
    """

    job: Job
    log: Sequence[Event]
    policy: str | None
    since: float
    until: float

    def was(self, at: float) -> set[str]:
        """Return in which states it was about a moment."""
        return {
            state
            for state, since, until in states_of(self.log)
            if since <= at + SLACK and until >= at - SLACK
        }


def _lines(history: History) -> list[list[_Member]]:
    """Return the jobs of each exclusive name, in the order in which they were accepted."""
    lines: dict[tuple[str | None, str], list[_Member]] = {}
    for job in history.jobs.values():
        log = history.logs.get(job.id)
        if job.exclusive is None or not log:
            continue
        options = history.options.get(job.id)
        policy = None if options is None else options.get("on_busy", "reject")
        policy = "debounce" if isinstance(policy, Debounce) else policy
        until = log[-1].timestamp if log[-1].kind.ends else inf
        member = _Member(job, log, policy, log[0].timestamp, until)
        lines.setdefault((job.owner, job.exclusive), []).append(member)
    return [*lines.values()]


def _pairs(history: History) -> Iterator[tuple[_Member, _Member]]:
    """Return every two jobs of a name, the one that was accepted first before the other."""
    for line in _lines(history):
        for place, later in enumerate(line):
            for earlier in line[:place]:
                yield earlier, later


def freed_at(history: History) -> dict[str, float]:
    """Return from when on jobs with an exclusive name hold it, if ever, by id."""
    freed = dict[str, float]()
    for earlier, later in _pairs(history):
        freed[later.job.id] = max(freed.get(later.job.id, 0.0), earlier.until)
    return freed


def delay_of(history: History, job: Job) -> float | None:
    """Return how long after it was accepted a job is due first; None if that is not known."""
    options = history.options.get(job.id)
    if options is None:
        return None
    policy = options.get("on_busy")
    if not isinstance(policy, Debounce):
        return float(options.get("delay", 0.0))
    began = history.logs[job.id][0].timestamp
    return min(policy.seconds, _put_off_since(history, job) + policy.at_most - began)


def _put_off_since(history: History, job: Job) -> float:
    """Return when the first of the jobs was accepted that replaced one another up to this one."""
    first = history.logs[job.id][0].timestamp
    for other in history.jobs.values():
        puts_off = isinstance(history.options.get(other.id, {}).get("on_busy"), Debounce)
        if other.replaced_by == job.id and puts_off:
            first = min(first, _put_off_since(history, other))
    return first


def names_have_one_holder(history: History) -> Found:
    """A job with an exclusive name starts only when all of the name that were accepted before have ended."""
    for earlier, later in _pairs(history):
        for event in later.log:
            if event.kind == "started" and event.timestamp < earlier.until - SLACK:
                text = f"it started before job {earlier.job.id} had ended, which came first under its name"
                yield later.job.id, text
                break


def the_busy_are_treated_as_told(history: History) -> Found:
    """A job that is accepted while another one has its name does with that what it was told to."""
    for earlier, later in _pairs(history):
        if earlier.until <= later.since + SLACK or later.policy in {None, "after"}:
            continue  # it has ended by then, or may go on
        there, new = earlier.was(later.since), later.job.id
        if later.policy not in _REPLACES:
            yield new, f"it was accepted, with {later.policy!r}, while job {earlier.job.id} had its name"
        elif there <= _WAITS:
            yield earlier.job.id, f"it still waited after job {new} had been accepted, which takes its place"
        elif later.policy == "cancel" and there == {"running"}:
            asked = [event.timestamp for event in earlier.log if event.kind == "cancel_requested"]
            if min(asked, default=inf) > later.since + SLACK:
                yield earlier.job.id, f"it ran, and was not cancelled when job {new} was accepted"


def the_replaced_waited(history: History) -> Found:
    """A job is replaced while it waits, when a job of its name is accepted that takes its place."""
    members = {member.job.id: member for line in _lines(history) for member in line}
    for job_id, log in history.logs.items():
        if log[-1].kind != "cancelled" or log[-1].data.reason != "replaced":
            continue
        old, new = members.get(job_id), members.get(log[-1].data.replaced_by)
        if old is None or new is None:
            yield job_id, f"it is replaced by job {log[-1].data.replaced_by}, and they have no name"
            continue
        one, other = ((member.job.owner, member.job.exclusive) for member in (old, new))
        if one != other:
            yield job_id, f"it is replaced by job {new.job.id}, which has another name"
        elif new.policy is not None and new.policy not in _REPLACES:
            yield job_id, f"it is replaced by job {new.job.id}, which was not to do so: {new.policy}"
        elif abs(new.since - old.until) > SLACK or new is old:
            yield job_id, f"it is replaced by job {new.job.id}, which was accepted at another time"
        elif [state for state, _, _ in states_of(log)][-2] not in _WAITS:
            yield job_id, f"it ran when job {new.job.id} took its place"


def who_is_turned_away_is_told_the_holder(history: History) -> Found:
    """A submit that is refused, or gets another job than a new one, is told who had the name then."""
    lines = {(line[0].job.owner, line[0].job.exclusive): line for line in _lines(history)}
    for call in history.calls:
        options = history.asked.get(call.key or "", {})
        if (
            call.returned is None
            or (told := call.holder or _attached_to(history, call.job_id, call.key)) is None
        ):
            continue
        line = lines.get((options.get("owner"), options.get("exclusive")), [])
        since, until = call.invoked + history.epoch - SLACK, call.returned + history.epoch + SLACK
        places = [place for place, member in enumerate(line) if member.job.id == told]
        what = f"{call.client} was told that it has the name {options.get('exclusive')!r}"
        if not places:
            yield told, f"{what}, and it never had"
        elif line[places[0]].until < since:
            yield told, f"{what}, and it had ended"
        elif any(member.until > until for member in line[: places[0]]):
            yield told, f"{what}, and another one still had"


def _attached_to(history: History, job_id: str | None, key: str | None) -> str | None:
    """Return the job that a submit got, if that is not its own."""
    job = history.jobs.get(job_id or "")
    attaches = history.asked.get(key or "", {}).get("on_busy") == "attach"
    return job.id if job is not None and attaches and job.key != key else None
