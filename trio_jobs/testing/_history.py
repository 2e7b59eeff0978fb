"""What happened: logs, what clients were told, what readers read, and what handlers did.

The journals are plain records that those concerned write themselves, and `_judge.py` judges them.

Times are seconds of one clock that all journals and logs share the order of; a call whose `returned` is None
has an unknown outcome and may have happened or not.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Generator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from .._registry.filter import every
from ..stores.contract import Where
from .fold import check_agrees

if TYPE_CHECKING:
    from .._model.job import Event, Job
    from .._model.limits import Limit
    from ..stores.contract import Store

E = TypeVar("E", "Call", "Reading")


@attrs.define
class Call:
    """What a client asked, and what was answered.

    Attributes:
        client: The client.
        op: `submit`, `submit_many`, `request_cancel`, `cancel`, `cancel_where`, `wait`, `send`, or
            `end_inputs`.
        job_id: Of which job; of a submit, the answer.
        key: Of a submit, its idempotency key; of a submit_many, what all tries of the same have in common.
        invoked: When it was asked.
        returned: When it was answered; None if it never was.
        answer: Of a cancel, the outcome of its report; of a wait, the job's state; of a submit for which
            there may be no room, `accepted` or `full`; of what sends or ends inputs, `accepted`, `full`, or
            `over` if the job or its inputs had ended.
        waiting: Whether the client still waits for the answer; see `History.ask`.
        count: Of a submit_many, how many jobs; of a cancel_where, the answer.
        job_ids: Of a submit_many, the answer.
        found: The ids of those of a submit_many that were there when it was over; None if it is not known.
        cancelled: Whether the call was cancelled.
        where: Of a cancel_where, its filter; states are in a list.
        reason: Of what asks for a cancellation, its text; that of a cancel_where no other call has.
        grace: Of what asks for a cancellation, its grace.
        input_id: Of a send, the id that all tries of the same have in common.
        values: Of a send, the inputs.
        seq: Of a send, and of an end of the inputs, the answer.
        holder: Of a submit that was refused as another job has its exclusive name, that job.
    """

    client: str
    op: str
    job_id: str | None = None
    key: str | None = None
    invoked: float = 0.0
    returned: float | None = None
    answer: str | None = None
    waiting: bool = False
    count: int = 1
    job_ids: list[str] = attrs.field(factory=list[str])
    found: list[str] | None = None
    cancelled: bool = False
    where: Mapping[str, Any] | None = None
    reason: str | None = None
    grace: float | None = None
    input_id: str | None = None
    values: Sequence[Any] = ()
    seq: int | None = None
    holder: str | None = None

    @property
    def told(self) -> list[str]:
        """The ids of the jobs of which this call was told that they are accepted."""
        if self.returned is None:
            return []
        return [self.job_id] if self.op == "submit" and self.job_id is not None else self.job_ids


@attrs.define
class Reading:
    """What a reader got from one opening of a log.

    Attributes:
        reader: Who read.
        job_id: Whose log.
        after: The cursor at which it was opened.
        events: What was delivered, in order.
        ended: Whether the reader was told that this was all.
        waiting: Whether the reader is still there; see `History.read`.
    """

    reader: str
    job_id: str
    after: int = 0
    events: list[Event] = attrs.field(factory=list[Any])
    ended: bool = False
    waiting: bool = False

    @property
    def cursor(self) -> int:
        """The cursor behind what was delivered, if nothing is missing."""
        return self.after + len(self.events)


@attrs.define
class HandlerRun:
    """One run of a handler, as the handler saw it.

    Attributes:
        job_id: For which job.
        attempt: Which attempt it was told it is.
        worker: Who ran it: a name that no other process has, and no other life of this one.
        began: When.
        ended: When it was over; None if it still was not at the end.
        severed: Whether its worker had died by then.
        heard: Whether the lists below are complete: what goes through `job.tokens` is not recorded.
        attempted: The values it set out to send, in order; not those whose `send` was cancelled.
        sent: Those whose `send` returned.
        told: Whether it was told to end, by `JobContext.cancel_requested`.
        stopped: Whether it was cancelled.
        received: The inputs that it received, in order: the `seq` of each, and the value.
        in_vain: When it gave up waiting for an input: since when it waited, until when, and behind which one.
        saves: What it set out to save, in order: the value, and up to where inputs were to be consumed.
        timed_out: Whether it was told that no input came in time, by `JobContext.timed_out`.
        called: The steps whose function was called, by name, and what that returned; `...` if it did not.
        steps: What `JobContext.step` returned, by name.
    """

    job_id: str
    attempt: int
    worker: str
    began: float
    ended: float | None = None
    severed: bool = False
    heard: bool = True
    attempted: list[Any] = attrs.field(factory=list[Any])
    sent: list[Any] = attrs.field(factory=list[Any])
    told: bool = False
    stopped: bool = False
    received: list[tuple[int, Any]] = attrs.field(factory=list[Any])
    in_vain: list[tuple[float, float, int]] = attrs.field(factory=list[Any])
    saves: list[tuple[Any, int]] = attrs.field(factory=list[Any])
    timed_out: bool = False
    called: dict[str, Any] = attrs.field(factory=dict[str, Any])
    steps: dict[str, Any] = attrs.field(factory=dict[str, Any])


@attrs.define
class History:
    """Everything that is known of a run.

    Attributes:
        logs: The whole log of every job there is, by id.
        calls: The clients' journal.
        readings: The readers' journal.
        runs: The handlers' journal.
        jobs: The jobs by id, as far as they are known, for what their submitters said of them.
        options: With which options they were submitted, by job id, as far as that is known.
        asked: With which options jobs were to be submitted, by the key of the call.
        limits: The limits of handlers that have some, by the handler's name and then by their own.
        ticks: The schedule and the tick for which a process set out to submit a job, by the job's id.
        settled: Whether all jobs have had the time to end, and all clients the time to be answered.
        cut: The workers that died, stood still or were cut off, by name; None if that is not known. Every
            other worker that is gone left in good order.
        mute: The workers that could not write how their attempts ended, but may have kept their leases.
        drained: The workers that finished what they ran before they left.
        soon: Seconds in which a worker that is not cut learns of a request to cancel; None if not known.
        prompt: Seconds in which a handler that waits is given an input, if its worker is not cut; None if not
            known.
        leaving: When workers began to leave, by name.
        leases: How long the leases of workers are, by name; `troubles` says of these when one may lapse.
        troubles: When workers could not reach the store, by name: from when to when.
        epoch: What the clock of the logs showed when that of the journals showed 0.
        box: How many unconsumed inputs a job may have; None if that is not known.
    """

    logs: dict[str, list[Event]] = attrs.field(factory=dict[str, Any])
    calls: list[Call] = attrs.field(factory=list[Call])
    readings: list[Reading] = attrs.field(factory=list[Reading])
    runs: list[HandlerRun] = attrs.field(factory=list[HandlerRun])
    jobs: dict[str, Job] = attrs.field(factory=dict[str, Any])
    options: dict[str, Mapping[str, Any]] = attrs.field(factory=dict[str, Any])
    asked: dict[str, Mapping[str, Any]] = attrs.field(factory=dict[str, Any])
    limits: dict[str, Mapping[str, Limit]] = attrs.field(factory=dict[str, Any])
    ticks: dict[str, tuple[str, float]] = attrs.field(factory=dict[str, Any])
    settled: bool = False
    cut: set[str] | None = None
    mute: set[str] = attrs.field(factory=set[str])
    drained: set[str] = attrs.field(factory=set[str])
    soon: float | None = None
    prompt: float | None = None
    leaving: dict[str, float] = attrs.field(factory=dict[str, float])
    leases: dict[str, float] = attrs.field(factory=dict[str, float])
    troubles: dict[str, list[tuple[float, float]]] = attrs.field(factory=lambda: defaultdict[str, Any](list))
    epoch: float = 0.0
    box: int | None = None

    async def collect(self, store: Store) -> None:
        """Add each job of a store and its log.

        Raises:
            AssertionError: A job is not the fold of its log.
        """
        for one in await every(store, Where()):
            job = self.jobs[one.id] = await store.get(one.id)
            log = self.logs[one.id] = await store.read(one.id, 0, sys.maxsize)
            check_agrees(job, log)
            if job.key in self.asked:
                self.options[job.id] = self.asked[job.key]

    def ask(self, call: Call) -> AbstractContextManager[None]:
        """Add a call to the journal; the client waits for the answer for as long as the block lasts."""
        return _waiting(self.calls, call)

    def read(self, reading: Reading) -> AbstractContextManager[None]:
        """Add a reading to the journal; the reader waits for events for as long as the block lasts."""
        return _waiting(self.readings, reading)


@contextmanager
def _waiting(journal: list[E], entry: E) -> Generator[None]:
    journal.append(entry)
    entry.waiting = True
    try:
        yield
    finally:
        entry.waiting = False
