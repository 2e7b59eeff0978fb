"""The public API of trio_jobs on one page, written before the code.

A test compares every name, parameter and `async` here with the package.
Durations are seconds, sizes are bytes, every `*_at` is an aware UTC datetime.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from enum import IntEnum, StrEnum
from types import ModuleType
from typing import Any, Generic, Literal, TypedDict, TypeVar, TypeVarTuple, Unpack

import trio

from trio_jobs.stores import Store  # the contract for stores; see "Writing a store"

T = TypeVar("T")  # what a handler streams
V = TypeVar("V")  # what another handler streams
R = TypeVar("R")  # what a handler returns
Ts = TypeVarTuple("Ts")  # the handler's own arguments

# ---------------------------------------------------------------- opening

def open_registry(
    store: str | Store = "memory://",
    *,
    handlers: Iterable[Callable[..., Awaitable[Any]]] | ModuleType = (),
    capacity: int = 100,
    queue_limit: int | None = None,
    window: int = 64,
    retention: Retention | None = None,
    limits: Mapping[str, Limit] | None = None,
    lease: float = 30.0,
    on_exit: Literal["stop", "drain"] = "stop",
    grace: float = 0.0,
    name: str | None = None,
    schedules: Iterable[Schedule] = (),
    wrap: Callable[[JobContext[Any]], AbstractAsyncContextManager[Any]] | None = None,
    on_event: Callable[[JobContext[Any], Kind, Ended | None], object] | None = None,
) -> AbstractAsyncContextManager[JobRegistry]: ...
async def serve_jobs(
    store: str | Store = "memory://",
    *,
    handlers: Iterable[Callable[..., Awaitable[Any]]] | ModuleType = (),
    capacity: int = 100,
    queue_limit: int | None = None,
    window: int = 64,
    retention: Retention | None = None,
    limits: Mapping[str, Limit] | None = None,
    lease: float = 30.0,
    name: str | None = None,
    schedules: Iterable[Schedule] = (),
    wrap: Callable[[JobContext[Any]], AbstractAsyncContextManager[Any]] | None = None,
    on_event: Callable[[JobContext[Any], Kind, Ended | None], object] | None = None,
    task_status: trio.TaskStatus[JobRegistry] = trio.TASK_STATUS_IGNORED,
) -> None: ...
def watch_loop(
    threshold: float = 0.1, *, on_block: Callable[[tuple[str, ...], float], object] | None = None
) -> AbstractAsyncContextManager[LoopWatch]: ...
def handler(
    fn: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    timeout: float | None = None,
    timeouts: Timeouts | None = None,
    retry: Retry | None = None,
    priority: Priority | PriorityName | None = None,
    inputs: Any = None,
    limits: Iterable[str | Limit] = (),
    service: Restart | None = None,
    hide_args: bool = False,  # they hold secrets: nobody is told them
) -> Any: ...

PriorityName = Literal["urgent", "high", "normal", "low"]
StateName = Literal["queued", "running", "retrying", "completed", "failed", "cancelled"]

class SubmitOptions(TypedDict, total=False):
    timeout: float | None
    timeouts: Timeouts
    retry: Retry
    priority: Priority | PriorityName | int
    delay: float
    run_at: datetime
    tags: Mapping[str, str]
    metadata: Mapping[str, Any]
    key: str | None
    owner: str | None
    when_unread: Literal["continue", "pause", "cancel"]
    linger: float
    exclusive: str | None  # a name that one job of the owner holds at a time
    on_busy: Literal["reject", "attach", "after", "replace", "cancel"] | Debounce
    limit_key: str | None

class Debounce:
    seconds: float
    at_most: float
    def __init__(self, seconds: float, at_most: float) -> None: ...

class SpawnOptions(TypedDict, total=False):
    timeout: float | None
    timeouts: Timeouts
    tags: Mapping[str, str]
    metadata: Mapping[str, Any]

class Filter(TypedDict, total=False):
    state: State | StateName | Iterable[State | StateName]
    tags: Mapping[str, str]
    handler: str
    owner: str
    parent: str
    older_than: float  # seconds since its end
    newer_than: float  # seconds since its end, or since its submission if it has not ended
    id_prefix: str  # what its id begins with
    args_contain: str  # a piece of its arguments as JSON

class Search(TypedDict, total=False):
    state: State | StateName | Iterable[State | StateName]
    tags: Mapping[str, str]
    handler: str
    owner: str
    parent: str
    older_than: float
    newer_than: float
    id_prefix: str
    args_contain: str
    reason: Reason | str

class LoopWatch:
    blocked: Mapping[str, Blocked]  # by place

# ---------------------------------------------------------------- people who submit and watch

class JobRegistry:
    name: str
    handlers: Mapping[str, Callable[..., Awaitable[Any]]]
    running: Mapping[str, str]  # what runs here: handlers by job id
    schedules: Schedules
    limits: JobLimits
    async def submit(
        self,
        fn: Callable[[JobContext[T], Unpack[Ts]], Awaitable[R]],
        /,
        *args: *Ts,
        **options: Unpack[SubmitOptions],  # and kwargs={…}, the keyword arguments of fn
    ) -> JobHandle[T, R]: ...
    async def submit_many(
        self,
        fn: Callable[[JobContext[T], Unpack[Ts]], Awaitable[R]],
        arguments: Iterable[tuple[*Ts]],
        /,
        **options: Unpack[SubmitOptions],  # and kwargs={…}, the keyword arguments of fn
    ) -> list[JobHandle[T, R]]: ...
    def execute_and_stream(
        self,
        fn: Callable[[JobContext[str], Unpack[Ts]], Awaitable[object]],
        /,
        *args: *Ts,
        **options: Unpack[SubmitOptions],  # and kwargs={…}, the keyword arguments of fn
    ) -> LineStream: ...
    async def get(self, job_id: str) -> JobHandle[Any, Any]: ...
    async def find(
        self, *, limit: int = 100, after: str | None = None, newest: bool = False, **where: Unpack[Search]
    ) -> Page: ...
    async def count(self, **where: Unpack[Search]) -> int: ...
    async def cancel(
        self, job_id: str, reason: str | None = None, *, grace: float = 0.0, patience: float = 10.0
    ) -> CancelReport: ...
    async def cancel_where(self, reason: str | None = None, **where: Unpack[Filter]) -> int: ...
    async def retry_where(self, **where: Unpack[Search]) -> BulkReport: ...  # what failed
    async def remove_where(self, **where: Unpack[Search]) -> int: ...
    async def remove(self, job_id: str) -> None: ...
    async def prune(self, *, older_than: float) -> int: ...
    def pause(self) -> None: ...  # this registry
    def resume(self) -> None: ...
    async def pause_handlers(
        self, *names: str
    ) -> None: ...  # for all workers of the store, and after restarts
    async def resume_handlers(self, *names: str) -> None: ...
    async def pause_all(self) -> None: ...
    async def resume_all(self) -> None: ...  # also what was paused by name
    async def statistics(self) -> Statistics: ...

class BulkReport:
    count: int
    more: bool  # count is how many were counted, up to 10,000
    refused: int
    message: str | None

class Schedules:
    async def find(self) -> list[ScheduleStatus]: ...
    async def add(self, schedule: Schedule) -> None: ...  # each registry with its handler fires it
    async def remove(self, name: str) -> None: ...
    async def pause(self, name: str) -> None: ...  # in every process, and after restarts
    async def resume(self, name: str) -> None: ...
    async def trigger(self, name: str) -> JobHandle[Any, Any]: ...

class JobLimits:
    async def find(self) -> list[LimitStatus]: ...
    async def set(self, name: str, limit: Limit) -> None: ...  # pins it: openings do not change it
    async def unset(self, name: str) -> None: ...

class JobHandle(Generic[T, R]):
    id: str
    async def snapshot(self) -> Job: ...
    async def explain(self) -> str: ...  # for people
    async def wait(self) -> Job: ...
    async def result(self) -> R: ...
    async def wait_ready(self) -> None: ...
    async def cancel(
        self, reason: str | None = None, *, grace: float = 0.0, patience: float = 10.0
    ) -> CancelReport: ...
    async def request_cancel(self, reason: str | None = None, *, grace: float = 0.0) -> bool: ...
    async def history(self) -> list[Event]: ...
    async def resubmit(self, **options: Unpack[SubmitOptions]) -> JobHandle[T, R]: ...  # a new job
    async def send(self, value: object, *, key: str | None = None) -> int: ...
    async def send_many(self, values: Iterable[object], *, key: str | None = None) -> int: ...
    async def end_inputs(self) -> int: ...
    def events(self, after: int = 0, *, policy: Literal["block", "gap"] = "block") -> EventStream: ...
    def stream(
        self,
        after: int = 0,
        *,
        restarts: Literal["raise", "continue"] = "raise",
        policy: Literal["block", "gap"] = "block",
    ) -> TokenStream[T]: ...

class EventStream(trio.abc.ReceiveChannel[Event]):  # use as `async with handle.events() as events`
    cursor: int
    async def receive(self) -> Event: ...
    async def aclose(self) -> None: ...

class TokenStream(trio.abc.ReceiveChannel[T]):  # use as `async with handle.stream() as tokens`
    cursor: int
    async def receive(self) -> T: ...
    async def receive_many(self) -> list[T]: ...  # at least one; all that wait, up to a batch
    async def aclose(self) -> None: ...

class LineStream(trio.abc.ReceiveChannel[str]):  # `async with jobs.execute_and_stream(…) as lines`
    handle: JobHandle[str, object]
    async def receive(self) -> str: ...
    async def aclose(self) -> None: ...

# ---------------------------------------------------------------- people who write handlers

class JobContext(Generic[T]):
    id: str
    handler: str  # property
    attempt: int
    tags: Mapping[str, str]
    metadata: Mapping[str, Any]
    saved: Any
    nursery: trio.Nursery
    tokens: trio.MemorySendChannel[T]
    inputs: trio.abc.ReceiveChannel[Any]  # property, as the three below
    received: int
    timed_out: bool
    cancel_requested: trio.Event
    async def send(self, value: T) -> None: ...
    async def send_many(self, values: Iterable[T]) -> None: ...
    async def progress(self, done: float, total: float | None = None, message: str | None = None) -> None: ...
    async def save(self, value: object, *, received: int | None = None) -> None: ...
    async def ready(self) -> None: ...
    async def receive(self) -> Any: ...
    async def step(self, name: str, fn: Callable[[Unpack[Ts]], Awaitable[R]], /, *args: *Ts) -> R: ...
    async def spawn(
        self,
        fn: Callable[[JobContext[Any], Unpack[Ts]], Awaitable[R]],
        /,
        *args: *Ts,
        **options: Unpack[SpawnOptions],  # and kwargs={…}, the keyword arguments of fn
    ) -> JobHandle[Any, R]: ...
    async def submit(
        self,
        fn: Callable[[JobContext[V], Unpack[Ts]], Awaitable[R]],
        /,
        *args: *Ts,
        **options: Unpack[SubmitOptions],  # and kwargs={…}, the keyword arguments of fn
    ) -> JobHandle[V, R]: ...

# ---------------------------------------------------------------- records (frozen)

class State(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    RETRYING = "retrying"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    over: bool  # property: no transition leaves this state

class Reason(StrEnum):
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

class Kind(StrEnum):
    SUBMITTED = "submitted"
    STARTED = "started"
    TOKEN = "token"
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
    ends: bool  # property: an event of this kind is a job's last

class Priority(IntEnum):
    URGENT = 0
    HIGH = 1
    NORMAL = 2
    LOW = 3

class Job:
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
    unconsumed: int  # its inputs that no save covers
    exclusive: str | None
    behind: str | None  # the job that has to end before this one starts
    replaced_by: str | None
    limit_key: str | None
    resubmitted_from: str | None  # the job that was submitted again as this one
    waiting_for: str | None  # due, input, slot, limit gpu, …
    ready_at: datetime | None
    args: tuple[Any, ...] | None  # None if they are not told
    kwargs: Mapping[str, Any] | None  # likewise

class JobSummary:
    id: str
    handler: str
    state: State
    reason: Reason | None
    message: str | None  # its first 200 characters
    attempt: int
    priority: Priority
    tags: Mapping[str, str]
    owner: str | None
    parent: str | None
    progress: Progress | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    next_attempt_at: datetime | None
    cancel_requested_at: datetime | None
    last_seq: int
    args_bytes: int
    result_bytes: int
    log_bytes: int
    args_text: str | None  # the first 200 characters, as JSON

class Page(Sequence[JobSummary]):
    jobs: tuple[JobSummary, ...]
    next: str | None  # find(after=…) goes on behind this page

class Event:
    seq: int
    attempt: int
    kind: Kind
    timestamp: float  # seconds since 1970
    data: Any
    received: int | None  # of what an attempt saved and of its end: the seq of the last input it had received
    at: datetime  # property: the timestamp as a datetime
    # data, by kind: submitted: handler's name · started: worker's name · token: the value
    # progress: Progress · saved: the value · cancel_requested: free text or None
    # input: the value · inputs_ended: None · step: Step
    # retried, failed, cancelled, expired: Ended · completed: the result

class Ended:
    reason: Reason
    message: str | None  # one line for people; a cancel's free text
    error: ErrorRecord | None
    delay: float | None  # retried: seconds until the next attempt is due
    repeats: int  # of a snooze or a wait for an input: how many like it went before in a row
    replaced_by: str | None  # replaced: the job that took its place

class Step:  # the kept result of a step of a handler
    name: str
    digest: str
    result: Any

class ErrorRecord:
    type: str
    message: str
    traceback: str

class Progress:
    done: float
    total: float | None
    message: str | None

class Retry:
    attempts: int | None = 1
    initial: float = 1.0
    factor: float = 2.0
    maximum: float = 60.0
    jitter: float = 0.5
    on: type[BaseException] | tuple[type[BaseException], ...] | Callable[[BaseException], bool] = Exception
    def matches(self, error: BaseException) -> bool: ...
    def allows(self, spent: int) -> bool: ...
    def delay(self, spent: int) -> float: ...

class Restart:
    first: float = 1.0
    factor: float = 2.0
    maximum: float = 60.0
    healthy: float = 60.0
    most: int = 5
    within: float = 60.0
    def delay(self, number: int) -> float: ...

class Limit:
    at_once: int | None = None
    per_second: float | None = None
    burst: int | None = None
    waiting: int | None = None
    keyed: bool = False
    most: int

class Timeouts:
    run: float | None = None
    queue: float | None = None
    first_token: float | None = None
    idle: float | None = None

class Schedule:
    handler: Callable[..., Awaitable[Any]]
    args: tuple[Any, ...] = ()
    name: str = ""  # then that of the handler
    cron: str | None = None  # minute, hour, day of month, month, day of week
    timezone: str | None = None
    every: float | None = None
    missed: Literal["skip", "latest"] = "skip"
    late: float = 60.0
    jitter: float = 0.0
    options: Mapping[str, Any]  # of submit
    kwargs: Mapping[str, Any]

class Blocked:
    place: str  # file:line in function
    tasks: tuple[str, ...]  # innermost first
    stack: str
    times: int = 0
    longest: float = 0.0
    total: float = 0.0

class LimitStatus:
    name: str  # of one that is not shared, "report[0]"
    limit: Limit
    pinned: bool  # by `JobLimits.set`
    running: int  # of a keyed one, over all keys
    waiting: int

class ScheduleStatus:
    name: str
    handler: str
    cron: str | None
    timezone: str | None
    every: float | None
    missed: Literal["skip", "latest"]
    late: float
    jitter: float
    added: bool  # by `Schedules.add`
    declared: bool  # by a registry that runs
    paused: bool
    last_tick: datetime
    next_tick: datetime | None

class Retention:  # at most, per job; `finished`: jobs kept after their end
    events: int = 100_000
    bytes: int = 64 * 2**20
    token_bytes: int = 8 * 2**20
    finished: int = 10_000
    finished_bytes: int = 256 * 2**20
    inputs: int = 1000
    input_bytes: int = 8 * 2**20
    steps: int = 1000
    step_bytes: int = 8 * 2**20

class CancelReport:
    outcome: Literal["cancelled", "finished_first", "already_over", "stuck", "requested"]
    took: float
    stack: str | None

class Statistics:
    states: Mapping[State, int]
    running: int
    capacity: int
    paused: bool
    readers: int
    all_paused: bool = False
    paused_handlers: tuple[str, ...] = ()

# ---------------------------------------------------------------- errors, by whose fault

class TrioJobsError(Exception): ...

class IllegalTransition(TrioJobsError):  # the caller
    state: State
    transition: str
    hint: str

class UnknownJob(TrioJobsError):
    job_id: str

class UnknownHandler(TrioJobsError):
    name: str
    known: list[str]

class UnknownSchedule(TrioJobsError):
    name: str

class ScheduleDeclared(TrioJobsError):
    name: str

class InvalidPayload(TrioJobsError, ValueError): ...

class KeyConflict(TrioJobsError):
    key: str
    job_id: str

class QueueFull(TrioJobsError):
    limit: int
    name: str | None  # of the Limit, if it is one
    key: str | None
    owner: str | None

class InboxFull(TrioJobsError):
    unconsumed: int
    received: int  # how many of them the handler has received, and has only to save
    limit: str

class Busy(TrioJobsError):
    job_id: str

class StoreUnavailable(TrioJobsError): ...
class StoreUnfit(TrioJobsError, ValueError): ...
class StoreCorrupt(TrioJobsError): ...

class SchemaTooNew(TrioJobsError):
    found: int
    known: int

class LeaseLost(TrioJobsError):  # a lost race
    job_id: str
    attempt: int

class JobFailed(TrioJobsError):  # the job's own end
    job_id: str
    reason: Reason
    message: str
    error: ErrorRecord | None
    attempt: int

class JobTimedOut(JobFailed, TimeoutError): ...

class JobCancelled(TrioJobsError):
    job_id: str
    reason: Reason
    message: str | None
    replaced_by: str | None

class StreamGap(TrioJobsError):  # the reader
    job_id: str
    first: int  # the first missing seq
    last: int  # the last missing seq
    oldest: int  # resume with after=oldest to go on without another gap here

class StreamRestarted(TrioJobsError):
    job_id: str
    attempt: int
    cursor: int

class RetryAfter(Exception):  # raised by a handler
    def __init__(self, seconds: float, message: str = "") -> None: ...

class AwaitInput(Exception):  # raised by a handler
    def __init__(self, message: str | None = None, timeout: float | None = None) -> None: ...

class Permanent(Exception):
    def __init__(self, error: BaseException | str) -> None: ...
