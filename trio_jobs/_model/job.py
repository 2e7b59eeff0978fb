"""The records of the package: frozen facts about a job, with no behaviour of their own.

Their annotations are types, not text, so that a client can read records of JSON by them.
"""

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING, Any, Final, Literal

import attrs

from .._common.errors import ErrorRecord
from .._common.record import show
from .._common.states import Reason, State, Transition
from .._common.validate import at_least, seconds_or_none
from .retry import NO_RETRY, Retry

if TYPE_CHECKING:
    from .restart import Restart
else:
    Restart = Any  # which few programs need


class Kind(StrEnum):
    """The kind of an event. Each `Transition` is also a kind, with the same word."""

    SUBMITTED = "submitted"
    STARTED = "started"
    TOKEN = "token"  # a streamed value, not a secret
    PROGRESS = "progress"
    SAVED = "saved"
    READY = "ready"
    INPUT = "input"
    INPUTS_ENDED = "inputs_ended"
    STEP = "step"
    CANCEL_REQUESTED = "cancel_requested"
    RETRIED = "retried"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"

    @property
    def ends(self) -> bool:
        """Whether an event of this kind is a job's last."""
        return self in ENDS


ENDS: Final = frozenset({Kind.COMPLETED, Kind.FAILED, Kind.CANCELLED, Kind.EXPIRED})
"""The kinds that are the last of a job."""
TRIMMABLE: Final = frozenset({Kind.TOKEN, Kind.PROGRESS, Kind.INPUT, Kind.READY})
"""The kinds that are no history. Of history, only old snoozes and all saved values but the last may go."""

REPEATED: Final = frozenset({Reason.SNOOZED, Reason.AWAITING_INPUT, Reason.RESTARTED})
"""The reasons of the ends that a job may have over and over: snoozes, waits for an input, and restarts."""
SNOOZES: Final = 100
"""How many of these are kept of a job; the oldest of more are dropped, each with the start that followed."""


class Priority(IntEnum):
    """How soon a job is claimed among those that are due; see `PENALTY` for what each costs."""

    URGENT = 0
    HIGH = 1
    NORMAL = 2
    LOW = 3


PENALTY: Final[Mapping[Priority, float]] = {
    Priority.URGENT: 0.0,
    Priority.HIGH: 60.0,
    Priority.NORMAL: 300.0,
    Priority.LOW: 1800.0,
}
"""Seconds added to a job's due time to rank it. Jobs are claimed in the order `due + penalty`, which is
ageing with a bound: no job that becomes due more than `PENALTY[p] - PENALTY[q]` seconds after a job of
priority p can start before it, whatever its own priority q. Nothing starves, and one index serves."""


@attrs.frozen
class Timeouts:
    """The clocks of a job, in seconds; None is no limit.

    Attributes:
        run: Each attempt, from its start to the closing of its nursery.
        queue: From when the job is due to its first start. The only one that no retry follows.
        first_token: From an attempt's start to its first token.
        idle: From a token to the next one, or to the attempt's end.

    The clocks `first_token` and `idle` stop while a `send` waits for a reader.
    """

    run: float | None = attrs.field(default=None, validator=seconds_or_none)
    queue: float | None = attrs.field(default=None, validator=seconds_or_none)
    first_token: float | None = attrs.field(default=None, validator=seconds_or_none)
    idle: float | None = attrs.field(default=None, validator=seconds_or_none)


NO_TIMEOUTS: Final = Timeouts()

Unread = Literal["continue", "pause", "cancel"]
"""What a job does while it has no reader: go on, wait on a full window, or be cancelled after `linger`."""
Policy = Literal["reject", "attach", "after", "replace", "cancel"]
"""The values of `SubmitOptions.on_busy`, but for a `Debounce`."""
if TYPE_CHECKING:
    from .exclusive import Debounce

    OnBusy = Policy | Debounce
else:  # few programs put jobs off, and who stores a `Debounce` reads it as one
    OnBusy = Any


@attrs.frozen
class Progress:
    """The progress that a handler reports.

    Attributes:
        done: How much is done, in a unit of the handler's choice.
        total: How much there is in the same unit, if known.
        message: One line for people.
    """

    done: float
    total: float | None = None
    message: str | None = None


@attrs.frozen
class Ended:
    """How an attempt or a job ended other than by completing.

    Attributes:
        reason: Why, as a word.
        message: One line for people; of a cancelled job, the free text of the request.
        error: What the handler raised, if it did.
        delay: Of an attempt that will be retried, seconds until the next one is due; infinite if it waits for
            an input without a time limit.
        repeats: Of a snooze, a wait for an input, or a restart, how many like it went before in a row.
        replaced_by: The job that took the place of this one, if it is `replaced`.
    """

    reason: Reason
    message: str | None = None
    error: ErrorRecord | None = None
    delay: float | None = None
    repeats: int = 0
    replaced_by: str | None = None


@attrs.frozen
class Step:
    """The kept result of a step of a handler.

    Attributes:
        name: Its name, which no other step of the job has.
        digest: A digest of the arguments of its call; a call with others is refused.
        result: What the call returned.
    """

    name: str
    digest: str
    result: Any


@attrs.frozen
class Event:
    """One entry of a job's log.

    Attributes:
        seq: Its place in the log: 1, 2, 3 … without holes. Also the cursor to resume behind it.
        attempt: The attempt that wrote it; 0 before the first.
        kind: What happened.
        timestamp: When, in seconds since 1970.
        data: By kind. submitted: the handler's name. started: the worker's name. token: the value.
            progress: a `Progress`. saved: the value. cancel_requested: the free text or None.
            input: the value. inputs_ended, ready: None. step: a `Step`.
            completed: the result. retried, failed, cancelled, expired: an `Ended`.
        received: Of what an attempt saved, and of how it ended: the `seq` of the last input that it had
            received; 0 for none. None in all other events.
    """

    seq: int
    attempt: int
    kind: Kind
    timestamp: float = attrs.field(repr=False)
    data: Any = None
    received: int | None = None

    @property
    def at(self) -> datetime:
        """When, as an aware UTC datetime."""
        return datetime.fromtimestamp(self.timestamp, UTC)


RECORD_OF: Final[Mapping[Kind, type[Any]]] = {
    Kind.PROGRESS: Progress,
    Kind.STEP: Step,
    **dict.fromkeys((Kind.RETRIED, Kind.FAILED, Kind.CANCELLED, Kind.EXPIRED), Ended),
}
"""The kinds of events whose data is a record, and that record."""


@attrs.frozen(unsafe_hash=False)  # its tags are a dict
class Job:
    """A snapshot of one job: the fold of its log at one moment.

    Attributes:
        id: 128 random bits as text.
        handler: The handler's name.
        state: The state of the job.
        reason: Why it failed, was cancelled or is to run again; None otherwise.
        message: One line that explains it, from the library or the request to cancel; None if there is none.
        error: What the last ended attempt raised, if it did.
        result: What the handler returned, once COMPLETED.
        attempt: The number of the last attempt started; 0 before the first. It never falls.
        priority: As submitted.
        tags: As submitted.
        metadata: As submitted.
        owner: As submitted.
        key: The idempotency key, if any.
        parent: The job whose attempt spawned this one, if any.
        timeouts: As submitted.
        retry: As submitted.
        spent: How many attempts the retry budget counts so far.
        saved: What the handler saved last.
        created_at: When it was submitted.
        started_at: When its last attempt started.
        finished_at: When it ended.
        next_attempt_at: When it is due; None unless it waits.
        cancel_requested_at: When its cancellation was asked for.
        last_seq: The newest cursor of its log.
        unconsumed: How many inputs it has that no `save` covers.
        exclusive: As submitted.
        behind: The job that has to end before this one starts, which has the same `exclusive`, if any.
        replaced_by: The job that took the place of this one, if it is `replaced`.
        limit_key: As submitted.
        resubmitted_from: The job that was submitted again as this one, if any; see `JobHandle.resubmit`.
        waiting_for: What it waits for, in a word: `behind` and the id of the job that holds its `exclusive`
            name, `input`, `due`, `paused`, `limit` and the name of the limit, with the key of a keyed one,
            `slot`, or, if no attempt runs, `worker`. None if it does not wait. Lists do not have it.
        ready_at: When the attempt that runs said that it is ready, if it did.
        args: The handler's arguments: in memory as submitted, else as JSON has them, and lists not as tuples.
            None if they are not told: the handler hides them, JSON cannot hold them, or the server is older.
        kwargs: The keyword arguments, in the same way.
    """

    __repr__ = show

    id: str
    handler: str
    state: State
    reason: Reason | None
    message: str | None
    error: ErrorRecord | None
    result: Any
    attempt: int
    priority: Priority
    tags: Mapping[str, str]
    metadata: Mapping[str, Any]
    owner: str | None
    key: str | None
    parent: str | None
    timeouts: Timeouts
    retry: Retry
    spent: int
    saved: Any
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    next_attempt_at: datetime | None
    cancel_requested_at: datetime | None
    last_seq: int
    unconsumed: int = 0
    exclusive: str | None = None
    behind: str | None = None
    replaced_by: str | None = None
    limit_key: str | None = None
    resubmitted_from: str | None = None
    waiting_for: str | None = None
    ready_at: datetime | None = None
    args: tuple[Any, ...] | None = None
    kwargs: Mapping[str, Any] | None = None


@attrs.frozen(slots=False)  # there are few, and it is made faster
class CancelReport:
    """The result of a cancellation.

    Attributes:
        outcome: `cancelled`: the job is CANCELLED and its nursery has closed. `finished_first`: it ended
            in another way after the request. `already_over`: it had ended before. `stuck`: it was cancelled
            and has not stopped; `stack` shows where it is. `requested`: its worker has not answered.
        took: Seconds from the request to this report.
        stack: The stacks of the job's tasks, as text, when it is stuck.
    """

    outcome: Literal["cancelled", "finished_first", "already_over", "stuck", "requested"]
    took: float
    stack: str | None = attrs.field(default=None, repr=False)


@attrs.frozen(slots=False, unsafe_hash=False)  # there are few, and it is made faster
class Statistics:
    """A registry at one moment.

    Attributes:
        states: How many jobs are in each state.
        running: How many attempts run here, child jobs not counted.
        capacity: How many may.
        paused: Whether claiming is paused here.
        readers: How many streams are open here.
        all_paused: Whether all handlers are paused in the store.
        paused_handlers: Those that are paused there by name.
    """

    states: Mapping[State, int]
    running: int
    capacity: int
    paused: bool
    readers: int
    all_paused: bool = False
    paused_handlers: tuple[str, ...] = ()


@attrs.frozen(slots=False)  # there are few, and it is made faster
class Retention:
    """What is kept, at most. The oldest of more are dropped, and readers get a gap in their place.

    Of a job's log tokens, progress, consumed inputs, and saved values may go, but never the value that was
    saved last. All other events stay, except that of snoozes and of waits for an input the newest 100 to 125
    are kept, each with the start that follows.

    Attributes:
        events: Tokens, progress events, consumed inputs and saved values per job, the last saved one not
            counted.
        bytes: Their size per job: in memory as `sys.getsizeof` counts it, containers followed; in a file
            that of their JSON.
        token_bytes: One token's size; a larger one fails its job (reason `limit`). Also that of one input; a
            larger one is refused.
        inputs: Inputs per job that no `save` covers; one more is refused.
        input_bytes: Their size per job.
        steps: Results of steps per job; one more fails the job (reason `limit`).
        step_bytes: Their size per job.
        finished: Jobs kept after their end; the oldest are removed.
        finished_bytes: In memory, about how much these jobs may take together, with their logs, arguments and
            results; the oldest are removed, but never the one that ended last.
    """

    events: int = attrs.field(default=100_000, validator=at_least(1))
    bytes: int = attrs.field(default=64 * 2**20, validator=at_least(1))
    token_bytes: int = attrs.field(default=8 * 2**20, validator=at_least(1))
    finished: int = attrs.field(default=10_000, validator=at_least(1))
    finished_bytes: int = attrs.field(default=256 * 2**20, validator=at_least(1))
    inputs: int = attrs.field(default=1000, validator=at_least(1))
    input_bytes: int = attrs.field(default=8 * 2**20, validator=at_least(1))
    steps: int = attrs.field(default=1000, validator=at_least(1))
    step_bytes: int = attrs.field(default=8 * 2**20, validator=at_least(1))


@attrs.frozen(unsafe_hash=False)
class Options:
    """How a job is to be run, checked and complete. Jobs submitted without options share `DEFAULT`."""

    __repr__ = show

    timeouts: Timeouts = NO_TIMEOUTS
    retry: Retry = NO_RETRY
    priority: Priority = Priority.NORMAL
    delay: float = 0.0
    run_at: datetime | None = None
    tags: Mapping[str, str] = attrs.field(factory=dict[str, str])
    metadata: Mapping[str, Any] = attrs.field(factory=dict[str, Any])
    owner: str | None = None
    when_unread: Unread = "continue"
    linger: float = 10.0
    exclusive: str | None = None
    on_busy: OnBusy = "reject"
    limit_key: str | None = None
    restart: Restart | None = None
    hide_args: bool = False


DEFAULT: Final = Options()
NO_KWARGS: Final[Mapping[str, Any]] = {}
"""The keyword arguments of most jobs."""

KIND_OF: Final[Mapping[Transition, Kind]] = {what: Kind(what.value) for what in Transition}
"""The kind of the event that records each transition."""


def new_id() -> str:
    """Return 128 random bits as 32 hexadecimal digits: an id that cannot be guessed."""
    return os.urandom(16).hex()
