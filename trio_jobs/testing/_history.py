"""What happened: logs, what clients were told, what readers read, and what handlers did.

The journals are plain records that those concerned write themselves, and `_judge.py` judges them.

Times are seconds of one clock that all journals and logs share the order of; a call whose `returned` is None
has an unknown outcome and may have happened or not.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from .._model.job import Event


@attrs.define
class Call:
    """What a client asked, and what it was told.

    Attributes:
        client: Who asked.
        op: `submit`, `cancel` or `wait`.
        job_id: Of which job; of a submit, the answer.
        key: Of a submit, its idempotency key.
        invoked: When it was asked.
        returned: When it was answered; None if it never was.
        answer: Of a cancel, the outcome of its report; of a wait, the job's state.
        waiting: Whether whoever asked still waits for the answer; see `History.ask`.
    """

    client: str
    op: str
    job_id: str | None = None
    key: str | None = None
    invoked: float = 0.0
    returned: float | None = None
    answer: str | None = None
    waiting: bool = False


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


@attrs.define
class HandlerRun:
    """One run of a handler, as the handler saw it.

    Attributes:
        job_id: For which job.
        attempt: Which attempt it was told it is.
        worker: Who ran it.
        began: When.
        ended: When it was over; None if it still was not at the end.
        severed: Whether its worker had died by then.
        heard: Whether the two lists below are all that was sent: what goes through a channel is not heard.
        attempted: The values it set out to send, in order; not those whose `send` was cancelled.
        sent: Those whose `send` returned.
        told: Whether it was told to end, by `JobContext.cancel_requested`.
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


@attrs.define
class History:
    """Everything that is known of a run.

    Attributes:
        logs: The whole log of every job there is, by id.
        calls: The clients' journal.
        readings: The readers' journal.
        runs: The handlers' journal.
        parents: Whose child a job is, by id, as far as that is known.
        settled: Whether all jobs have had the time to end, and all who ask the time to hear of it.
        orderly: Whether no worker died, stood still or was cut off: each that went left in good order.
        cut: The workers that did, by name; None if that is not known.
        mute: Those that could not say how their attempts ended, though they may have kept their leases.
        drained: Those that ended what they ran before they left.
        soon: Seconds in which a worker that is not cut hears of a request to cancel; None if not known.
    """

    logs: dict[str, list[Event]] = attrs.field(factory=dict[str, Any])
    calls: list[Call] = attrs.field(factory=list[Call])
    readings: list[Reading] = attrs.field(factory=list[Reading])
    runs: list[HandlerRun] = attrs.field(factory=list[HandlerRun])
    parents: dict[str, str] = attrs.field(factory=dict[str, str])
    settled: bool = False
    orderly: bool = False
    cut: set[str] | None = None
    mute: set[str] = attrs.field(factory=set[str])
    drained: set[str] = attrs.field(factory=set[str])
    soon: float | None = None

    @contextmanager
    def ask(self, call: Call) -> Generator[None]:
        """Add a call to the journal; who asked waits for as long as the block lasts."""
        self.calls.append(call)
        with _waiting(call):
            yield

    @contextmanager
    def read(self, reading: Reading) -> Generator[None]:
        """Add a reading to the journal; the reader is there for as long as the block lasts."""
        self.readings.append(reading)
        with _waiting(reading):
            yield


@contextmanager
def _waiting(entry: Call | Reading) -> Generator[None]:
    entry.waiting = True
    try:
        yield
    finally:
        entry.waiting = False
