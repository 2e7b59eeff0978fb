"""Say in words why a job does not run, or what it is doing. It is loaded when a program asks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Final

import attrs

from .._common.error_text import one_line
from .._common.errors import UnknownJob, quoted
from .._common.states import State
from .._model.job import Job, Kind
from .._model.limits import LimitStatus
from .._model.schedule import SCHEDULE
from .._model.summary import JobSummary, Page
from ..stores.contract import Where
from ..stores.limits import KeepsLimits
from ..stores.pauses import Pauses

if TYPE_CHECKING:
    from .attempt import Attempt
    from .worker import Worker

_FOR_A_WORKER: Final = frozenset({"slot", "worker"})
_AT: Final = "%Y-%m-%d %H:%M:%SZ"
_MOST: Final = 10  # how many of the jobs that take the slots are named
_LINES: Final = 1000  # of the stacks, so that the text has an end
_HAVE_STARTED: Final = frozenset({State.RUNNING, State.RETRYING, State.COMPLETED, State.FAILED})
NEWEST: Final = 10
"""How many of the newest jobs of `have_started` are looked at: some may have failed in the queue."""


@attrs.frozen
class Known:
    """What is known beside a job, for its explanation.

    Attributes:
        holder: The job that it stands behind, if it does.
        limits: The limits of the store.
        pauses: What is paused in the store.
        more: What else there is to say, a line each.
    """

    holder: Job | None = None
    limits: Sequence[LimitStatus] = ()
    pauses: Pauses | None = None
    more: Iterable[str] = ()


async def explain(worker: Worker, job_id: str, *, owner: str | None = None, stacks: bool = True) -> str:
    """Return what a worker knows about a job; see `JobHandle.explain`.

    Args:
        worker: The worker.
        job_id: The job.
        owner: Who asks, if that is one who sees its own jobs only: then it has nothing of others.
        stacks: Whether it has the stacks of the job's tasks.
    """
    store = worker.store
    job = await worker.snapshot(job_id)
    if job.state is State.RUNNING:
        events = await store.history(job_id)
        by = next((event.data for event in reversed(events) if event.kind is Kind.STARTED), None)
        return explained(job, Known(more=[f"worker: {by}", *_doing(worker, job, stacks=stacks)]))
    word, holder = what_it_waits_for(job), None
    limits: Sequence[LimitStatus] = ()
    more: list[str] = []
    if word == "limit" and owner is None and isinstance(store, KeepsLimits):
        limits = await store.limits()
    if word in _FOR_A_WORKER:
        more += _here(worker, job, named=owner is None)
        if store.durable and owner is None:
            more += started(job, await store.find(have_started(job), NEWEST, newest=True))
    if job.behind is not None:
        with suppress(UnknownJob):  # it has ended and was removed meanwhile
            holder = await store.get(job.behind)
    pauses = await worker.paused_handlers() if word == "paused" else None
    return explained(job, Known(holder, limits, pauses, more))


def what_it_waits_for(job: Job) -> str:
    """Return the first word of `Job.waiting_for`; "" if the job does not wait."""
    return (job.waiting_for or "").partition(" ")[0]


def have_started(job: Job) -> Where:
    """Return the filter for what `started` takes, the newest first."""
    return Where(_HAVE_STARTED, handler=job.handler)


def started(job: Job, found: Page) -> Iterator[str]:
    """Yield, for a job that waits for a worker, whether one has ever had its handler, as far as is kept."""
    if what_it_waits_for(job) not in _FOR_A_WORKER:
        return
    one: JobSummary | None = next((one for one in found if one.started_at is not None), None)
    if one is not None:
        yield f"the newest of {job.handler} that has started is {one.id}, at {one.started_at:{_AT}}"
    elif found.next is None:
        yield f"none of {job.handler} that is kept has ever started: maybe no worker has this handler"


def explained(job: Job, known: Known) -> str:
    """Return the explanation of a job, lines for people. Texts from outside are escaped."""
    waits = f", waits for {job.waiting_for}" if job.waiting_for else ""
    lines = [
        f"job {job.id} ({job.handler}): {job.state}{waits}",
        *_from_a_schedule(job),
        *_why(job),
        *_waits(job, known),
        *known.more,
    ]
    return "\n  ".join(map(one_line, lines))


def _from_a_schedule(job: Job) -> Iterator[str]:
    """Yield which schedule submitted a job: only its tag tells, which a retry of the job has too."""
    if SCHEDULE in job.tags and job.resubmitted_from is None:
        yield f"submitted by schedule {quoted(job.tags[SCHEDULE])}, as its tag says"


def _why(job: Job) -> Iterator[str]:
    """Yield how the last attempt ended, or the job."""
    if job.reason is not None:
        what = "reason" if job.state.over else f"attempt {job.attempt} ended"
        error = "" if job.error is None else str(job.error)
        yield ": ".join(filter(None, (what, str(job.reason), job.message, error)))
    if job.cancel_requested_at is not None and not job.state.over:
        yield f"its cancellation was requested at {job.cancel_requested_at:{_AT}}"


def _waits(job: Job, known: Known) -> Iterator[str]:
    """Yield what a job waits for, and what helps."""
    word, _, rest = (job.waiting_for or "").partition(" ")
    when = job.next_attempt_at and f"{job.next_attempt_at:{_AT}}"
    if word == "behind":
        holder = known.holder
        now = "" if holder is None else f"; that one is {holder.state}, attempt {holder.attempt}"
        yield f"it starts once job {rest} has ended, which has the same exclusive name{now}"
    elif word == "input":
        yield "it goes on once it gets an input: handle.send(…), or trio-jobs send"
        yield f"its time to wait for one ends at {when}" if when else "it waits without a time limit"
    elif word == "due":
        yield f"it starts at {when} at the earliest"
    elif word == "paused":
        everything = known.pauses is not None and known.pauses.everything
        what = "all handlers are paused" if everything else "its handler is paused"
        helps = "resume_all()" if everything else f"resume_handlers({job.handler!r})"
        yield f"{what}; to go on: jobs.{helps}, or trio-jobs resume"
    elif word == "limit":
        yield _limited(rest, known.limits)
    elif word == "slot":
        yield "it starts once a worker has a free slot, and the jobs before it have started"
    elif word == "worker":
        yield (
            "nothing holds it up, and no attempt of any job runs: is there a worker that takes it, "
            f"with {job.handler} among its handlers?"
        )


def _limited(name: str, limits: Sequence[LimitStatus]) -> str:
    fitting = [one for one in limits if f"{name} ".startswith(f"{one.name} ")]
    if not fitting:
        return f"no job may start now under the limit {name}"
    one = max(fitting, key=lambda one: len(one.name))
    says = {"at once": one.limit.at_once, "per second": one.limit.per_second}
    bounds = ", ".join(f"{most:g} {what}" for what, most in says.items() if most is not None)
    each = " for each key" if one.limit.keyed else ""
    return f"no job may start now under the limit {name}: at most {bounds}{each}; {one.running} run in all"


def _here(worker: Worker, job: Job, *, named: bool) -> Iterator[str]:
    """Yield why this process does not start a job that waits for nothing but a worker.

    What runs here in its place is named only if `named`.
    """
    if worker.store.durable and job.handler not in worker.handlers:
        yield f"this registry has no handler {job.handler}"
    if not worker.capacity:
        yield "this registry runs no jobs: its capacity is 0"
    elif worker.paused:
        yield "this registry is paused: jobs.resume()"
    elif worker.running >= worker.capacity and not named:
        yield "all slots of this registry are taken"
    elif worker.running >= worker.capacity:
        yield f"all slots of this registry are taken, {worker.capacity}, by"
        some = [one.claim.submission for one in worker.attempts.values() if one.slot]
        yield from (f"  {one.handler} {one.id}" for one in some[:_MOST])
        if len(some) > _MOST:
            yield f"  and {len(some) - _MOST} more"


def _doing(worker: Worker, job: Job, *, stacks: bool) -> Iterator[str]:
    """Yield what an attempt is doing, if it runs in this process."""
    attempt = worker.attempts.get(job.id)
    if attempt is None:
        yield f"it does not run in this process, {worker.claimant.name}, which cannot look into it"
        return
    yield f"attempt {job.attempt} runs in this process" + (
        f", which renews its lease of {worker.claimant.lease:g}s" if worker.store.durable else ""
    )
    for reason, left in attempt.deadlines.left().items():
        when = f"in {left:.3g}s" if left > 0 else f"{-left:.3g}s ago; it has not ended yet"
        yield f"deadline: {reason} {when}"
    yield _read(worker, job)
    if stacks:
        yield from _tasks(attempt)


def _read(worker: Worker, job: Job) -> str:
    readers = worker.readers.get(job.id)
    behind = [] if readers is None else readers.behind(job.last_seq)
    if not behind:
        return "no reader is connected in this process"
    return f"{len(behind)} readers in this process, the slowest {max(behind)} events behind"


def _tasks(attempt: Attempt) -> Iterator[str]:
    yield "its tasks, innermost call last:"
    lines = attempt.stack().splitlines()
    yield from (f"  {line}" for line in islice(lines, _LINES))
    if len(lines) > _LINES:
        yield f"  and {len(lines) - _LINES} lines more"
