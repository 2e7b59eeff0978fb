"""Every operation is authorised: another owner's job is, in every way, like one that does not exist."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import attrs
import msgspec
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.inside import store_of
from tests.wire import (
    BadRequest,
    BulkBody,
    Cancel,
    GetValue,
    List,
    NewJob,
    Pause,
    Resubmit,
    Resume,
    SubmitOptions,
    WhereFields,
)
from trio_jobs import (
    Busy,
    CancelReport,
    IllegalTransition,
    InvalidPayload,
    Job,
    JobRegistry,
    KeyConflict,
    Limit,
    Priority,
    Retry,
    State,
    StreamGap,
    UnknownHandler,
    UnknownJob,
    handler,
    open_registry,
)
from trio_jobs.serving.limits import Limits
from trio_jobs.serving.operations import JobOperations
from trio_jobs.serving.options import ANYBODY, Caller, ServerOptions
from trio_jobs.serving.problems import Refused
from trio_jobs.serving.subscription import Subscription
from trio_jobs.stores.memory import MemoryStore
from trio_jobs.testing import Connection

T = TypeVar("T")

ANN, BOB = Caller("ann"), Caller("bob")


@attrs.frozen
class Size:
    width: int
    height: int = 1


@handler(retry=Retry(2, on=OSError))
async def measure(job: Any, size: Size, factor: float = 1.0) -> float:
    """Measure something.

    At length.
    """
    return size.width * size.height * factor


@handler
async def hang(job: Any) -> None:
    await trio.sleep_forever()


@handler
async def stubborn(job: Any) -> None:
    with trio.CancelScope(shield=True):
        await trio.sleep(100)


async def lost(job: Any) -> None: ...


def opened() -> Any:
    return open_registry(handlers=[measure, hang, stubborn])


def operations_of(jobs: JobRegistry, *, tracebacks: bool = False, **limits: Any) -> JobOperations:
    return JobOperations(jobs, ServerOptions(limits=Limits(**limits), tracebacks=tracebacks))


def new(name: str, *args: Any, **options: Any) -> NewJob:
    return NewJob(name, list(args), options=msgspec.convert(options, SubmitOptions))


async def submitted(operations: JobOperations, caller: Caller, asked: NewJob) -> Job:
    return await operations.get(ANYBODY, await operations.submit(caller, asked))


async def ended(operations: JobOperations, caller: Caller, job_id: str) -> Job:
    await operations.wait(caller, job_id)
    return await operations.get(caller, job_id)


async def listed(operations: JobOperations, caller: Caller, **asked: Any) -> list[str]:
    return [job.id for job in await operations.find(caller, List(1, **asked), None)]


async def test_arguments_are_made_as_annotated(autojump_clock: MockClock) -> None:
    """JSON arguments reach the handler as its annotations define, in memory too."""
    async with opened() as jobs:
        operations = operations_of(jobs)
        job = await submitted(
            operations, ANYBODY, new("measure", {"width": 3, "height": 2}, 2, priority="high")
        )
        assert (job.handler, job.priority, job.owner) == ("measure", Priority.HIGH, None)
        assert job.retry == Retry(2, on=OSError)
        assert (await ended(operations, ANYBODY, job.id)).result == 12


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        (new("nothing"), UnknownHandler),
        (new("measure"), InvalidPayload),
        (new("measure", {"width": "3"}), InvalidPayload),
        (new("measure", {"width": 3}, 1, 1), InvalidPayload),
        (new("hang", tags={"a": "\0"}), InvalidPayload),
        (new("hang", timeout=1, timeouts={"run": 1}), BadRequest),
    ],
)
async def test_what_does_not_fit_is_not_accepted(
    autojump_clock: MockClock, asked: NewJob, error: type[Exception]
) -> None:
    """A wrong submission is refused, and no job is made of it."""
    async with opened() as jobs:
        with pytest.raises(error):
            await operations_of(jobs).submit(ANYBODY, asked)
        assert await jobs.count() == 0


async def test_whose_a_job_is(autojump_clock: MockClock) -> None:
    """A caller's jobs are its own; only a caller with all rights may submit for others."""
    async with opened() as jobs:
        operations = operations_of(jobs)
        assert (await submitted(operations, ANN, new("hang"))).owner == "ann"
        assert (await submitted(operations, ANN, new("hang", owner="ann"))).owner == "ann"
        assert (await submitted(operations, ANYBODY, new("hang", owner="bob"))).owner == "bob"
        with pytest.raises(Refused) as refused:
            await operations.submit(ANN, new("hang", owner="bob"))
        assert refused.value.code == "forbidden"
        assert len(await listed(operations, ANN)) == 2
        assert len(await listed(operations, BOB)) == 1
        assert len(await listed(operations, ANYBODY)) == 3


OPERATIONS: dict[str, Callable[[JobOperations, Caller, str], Awaitable[object]]] = {
    "get": lambda operations, caller, job: operations.get(caller, job),
    "history": lambda operations, caller, job: operations.history(caller, job),
    "value": lambda operations, caller, job: operations.value(caller, GetValue(1, job, "metadata", 1)),
    "wait": lambda operations, caller, job: operations.wait(caller, job),
    "cancel": lambda operations, caller, job: operations.cancel(caller, Cancel(1, job)),
    "ask to cancel": lambda operations, caller, job: operations.cancel(caller, Cancel(1, job, wait=False)),
    "follow": lambda operations, caller, job: operations.place(caller, job, 0, "gap"),
    "follow from beyond": lambda operations, caller, job: operations.place(caller, job, 99, "gap"),
}


@pytest.mark.parametrize("name", OPERATIONS)
async def test_another_owners_job_is_unknown(autojump_clock: MockClock, name: str) -> None:
    """Each operation on another's job ends as on an unknown job, and has no effect."""
    operation = OPERATIONS[name]
    async with opened() as jobs:
        operations = operations_of(jobs)
        job = await submitted(operations, ANN, new("hang"))
        with pytest.raises(UnknownJob) as foreign:
            await operation(operations, BOB, job.id)
        with pytest.raises(UnknownJob) as unknown:
            await operation(operations, BOB, "f" * 32)
        assert str(foreign.value).replace(job.id, "f" * 32) == str(unknown.value)
        assert (await operations.get(ANN, job.id)).cancel_requested_at is None


async def test_keys_of_two_owners_do_not_meet(autojump_clock: MockClock) -> None:
    """The same key of another owner is another key; so it reveals nothing about others' jobs."""
    async with opened() as jobs:
        operations = operations_of(jobs)
        ann = await submitted(operations, ANN, new("hang", key="k"))
        assert (await submitted(operations, ANN, new("hang", key="k"))).id == ann.id
        assert (await submitted(operations, BOB, new("stubborn", key="k"))).id != ann.id
        with pytest.raises(KeyConflict):
            await operations.submit(ANN, new("stubborn", key="k"))


async def test_names_of_two_owners_do_not_meet(autojump_clock: MockClock) -> None:
    """The same exclusive name of another owner is another name: no owner sees or stops jobs of others."""
    async with opened() as jobs:
        operations = operations_of(jobs)
        ann = await submitted(operations, ANN, new("hang", exclusive="a"))
        bob = await submitted(operations, BOB, new("hang", exclusive="a", on_busy="cancel"))
        assert (ann.state, bob.state, bob.behind) == (State.RUNNING, State.RUNNING, None)
        with pytest.raises(Busy) as busy:
            await operations.submit(ANN, new("stubborn", exclusive="a"))
        assert busy.value.job_id == ann.id


async def test_filters(autojump_clock: MockClock) -> None:
    """Each filter of `list` reaches the store."""
    async with opened() as jobs:
        operations = operations_of(jobs)
        a = await submitted(operations, ANYBODY, new("hang", tags={"n": "1"}))
        b = await submitted(operations, ANYBODY, new("measure", {"width": 1}))
        await operations.wait(ANYBODY, b.id)

        async def ids(**asked: Any) -> list[str]:
            return await listed(operations, ANYBODY, **asked)

        assert await ids() == [a.id, b.id]
        assert await ids(newest=True) == [b.id, a.id]
        assert await ids(limit=1) == [a.id]
        assert await ids(state=State.RUNNING) == [a.id]
        assert await ids(state=[State.COMPLETED, State.FAILED]) == [b.id]
        assert await ids(tags={"n": "1"}) == [a.id]
        assert await ids(handler="measure") == [b.id]
        assert await ids(parent=a.id) == []


async def test_so_many_jobs_may_wait(autojump_clock: MockClock) -> None:
    """An owner's queue has a limit; it does not apply to others or to callers with all rights."""
    async with open_registry(handlers=[hang], capacity=0) as jobs:
        operations = operations_of(jobs, queued=2)
        for _ in range(2):
            await operations.submit(ANN, new("hang"))
        with pytest.raises(Refused) as refused:
            await operations.submit(ANN, new("hang"))
        assert refused.value.code == "too_many"
        await operations.submit(BOB, new("hang"))
        await operations.submit(ANYBODY, new("hang", owner="ann"))


async def test_submitting_again(autojump_clock: MockClock) -> None:
    """A caller submits its own jobs again, once they have ended, and only for itself."""
    async with opened() as jobs:
        operations = operations_of(jobs, queued=1)
        first = await submitted(operations, ANN, new("measure", {"width": 3}, tags={"n": "1"}))
        await operations.wait(ANN, first.id)
        job = await operations.resubmit(ANN, Resubmit(1, first.id))
        again = await ended(operations, ANN, job)
        assert (again.result, again.owner, again.resubmitted_from) == (3, "ann", first.id)
        assert (again.tags, again.retry) == ({"n": "1"}, Retry(2, on=OSError))
        options = msgspec.convert({"tags": {"n": "2"}, "delay": 9}, SubmitOptions)
        job = await operations.resubmit(ANN, Resubmit(1, first.id, options))
        assert (await operations.get(ANN, job)).tags == {"n": "2"}
        with pytest.raises(Refused, match="1 jobs of yours wait already"):
            await operations.resubmit(ANN, Resubmit(1, first.id, options))
        with pytest.raises(UnknownJob):
            await operations.resubmit(BOB, Resubmit(1, first.id))
        with pytest.raises(IllegalTransition):
            await operations.resubmit(ANN, Resubmit(1, job))
        owner = msgspec.convert({"owner": "bob"}, SubmitOptions)
        with pytest.raises(Refused, match="for oneself only"):
            await operations.resubmit(ANN, Resubmit(1, first.id, owner))
        with pytest.raises(BadRequest, match="give delay or run_at"):
            at = msgspec.convert({"run_at": "2999-01-01T00:00:00Z", "delay": 1}, SubmitOptions)
            await operations.resubmit(ANN, Resubmit(1, first.id, at))
        unserved = await jobs.submit(lost)
        await unserved.wait()
        with pytest.raises(UnknownHandler, match="lost"):
            await operations.resubmit(ANYBODY, Resubmit(1, unserved.id))


async def test_submitting_again_with_other_arguments(autojump_clock: MockClock) -> None:
    """A new job may be in the place of one that has ended, which is known as submitted again then."""
    async with opened() as jobs:
        operations = operations_of(jobs)
        first = await submitted(operations, ANN, new("measure", {"width": 3}))
        await operations.wait(ANN, first.id)
        other = msgspec.structs.replace(new("measure", {"width": 4}), again=first.id)
        job = await operations.submit(ANN, other)
        found = await ended(operations, ANN, job)
        assert (found.result, found.resubmitted_from) == (4, first.id)
        assert (await jobs.retry_where(state="completed")).count == 1  # the new one
        with pytest.raises(UnknownJob):
            await operations.submit(BOB, other)
        hangs = await submitted(operations, ANN, new("hang"))
        with pytest.raises(IllegalTransition, match="submitted again"):
            await operations.submit(ANN, msgspec.structs.replace(other, again=hangs.id))


async def test_explanations(autojump_clock: MockClock) -> None:
    """A caller has its own jobs explained; one who does not see all jobs is told nothing of others."""
    limited = [Limit(at_once=1)]

    @handler(limits=limited)
    async def alone(job: Any) -> None:
        await trio.sleep_forever()

    async with open_registry(handlers=[hang, alone], capacity=2) as jobs:
        operations = operations_of(jobs)
        first, second = [await operations.submit(BOB, new(name)) for name in ("hang", "alone")]
        third, fourth = [await operations.submit(ANN, new(name)) for name in ("hang", "alone")]
        await wait_all_tasks_blocked()
        texts = {
            caller: [await operations.explain(caller, one) for one in (third, fourth)]
            for caller in (ANN, ANYBODY)
        }
        assert f"hang {first}" in texts[ANYBODY][0]
        assert "1 at once; 1 run in all" in texts[ANYBODY][1]
        assert texts[ANN][0].endswith("\n  all slots of this registry are taken")
        assert texts[ANN][1].endswith("\n  no job may start now under the limit alone[0]")
        assert not any(one in text for text in texts[ANN] for one in (first, second))
        with pytest.raises(UnknownJob):
            await operations.explain(ANN, first)


async def test_the_arguments_of_a_job(autojump_clock: MockClock) -> None:
    """The arguments of a job can be read by those who see the job, as JSON."""
    async with opened() as jobs:
        operations = operations_of(jobs)
        job = await submitted(operations, ANN, new("measure", {"width": 3, "height": 2}, 2))
        value = await operations.value(ANN, GetValue(1, job.id, "args", job.last_seq))
        assert json.loads(value.data) == [{"width": 3, "height": 2}, 2.0]
        with pytest.raises(UnknownJob):
            await operations.value(BOB, GetValue(1, job.id, "args", 0))


async def test_many_at_once(autojump_clock: MockClock) -> None:
    """A caller changes and counts its own jobs only; a caller with all rights those of all."""
    async with opened() as jobs:
        operations = operations_of(jobs, queued=1)

        async def bulk(caller: Caller, action: Any, dry_run: bool = False, **where: Any) -> tuple[int, int]:
            asked = BulkBody(action, msgspec.convert(where, WhereFields), dry_run)
            report = await operations.bulk(caller, asked)
            return report.count, report.refused

        ann, bob = [await submitted(operations, caller, new("hang")) for caller in (ANN, BOB)]
        failing = await submitted(operations, ANN, new("measure", {"width": 0}, timeout=0))
        await operations.wait(ANN, failing.id)
        assert await bulk(ANN, "cancel", dry_run=True) == (1, 0)
        assert await bulk(ANYBODY, "cancel", dry_run=True) == (2, 0)
        assert await bulk(ANN, "cancel", state="running", handler="measure") == (0, 0)
        assert await bulk(ANN, "cancel") == (1, 0)
        await operations.wait(ANN, ann.id)
        assert (await operations.get(BOB, bob.id)).cancel_requested_at is None
        assert await bulk(BOB, "retry", state=["cancelled", "failed"]) == (0, 0)
        jobs.pause()
        with pytest.raises(Refused, match="1 jobs of yours wait already"):
            await bulk(ANN, "retry", state=["cancelled", "failed", "completed"])
        assert await bulk(ANN, "retry", dry_run=True) == (1, 0)  # one was
        assert await bulk(BOB, "remove") == (0, 0)
        assert await bulk(ANYBODY, "remove", older_than=9) == (0, 0)
        assert await bulk(ANN, "remove", dry_run=True) == await bulk(ANN, "remove") == (2, 0)


async def test_statistics_are_for_those_who_see_all(autojump_clock: MockClock) -> None:
    """Statistics over all jobs are for callers with all rights."""
    async with opened() as jobs:
        operations = operations_of(jobs)
        assert (await operations.store.statistics(ANYBODY)).running == 0
        with pytest.raises(Refused) as refused:
            await operations.store.statistics(ANN)
        assert refused.value.code == "forbidden"


async def test_pauses_are_for_those_who_see_all(autojump_clock: MockClock) -> None:
    """Handlers are paused and resumed, by name or all, by callers with all rights only."""
    async with opened() as jobs:
        operations = operations_of(jobs)
        for asked in (Pause(1, ["hang", "a"]), Pause(1, None), Resume(1, ["hang"]), Resume(1, None)):
            before = await jobs.statistics()
            with pytest.raises(Refused) as refused:
                await operations.store.pause(ANN, asked)
            assert refused.value.code == "forbidden"
            assert await jobs.statistics() == before
            found = await operations.store.pause(ANYBODY, asked)
            assert found == await jobs.statistics()
            assert (asked.handlers is None) == (found.all_paused != before.all_paused)
            assert ("hang" in found.paused_handlers) == isinstance(asked, Pause)
        with pytest.raises(InvalidPayload):
            await operations.store.pause(ANYBODY, Pause(1, ["a\0"]))


@pytest.mark.parametrize("tracebacks", [True, False])
async def test_cancelling(autojump_clock: MockClock, tracebacks: bool) -> None:
    """A cancellation is waited for, or only requested; the stack of a stuck job is shown if allowed."""
    async with opened() as jobs:
        operations = operations_of(jobs, tracebacks=tracebacks)
        job = await submitted(operations, ANYBODY, new("hang"))
        await wait_all_tasks_blocked()
        report = await operations.cancel(ANYBODY, Cancel(1, job.id, "enough"))
        assert report == CancelReport("cancelled", 0.0)
        assert (await operations.get(ANYBODY, job.id)).message == "enough"
        again = await operations.cancel(ANYBODY, Cancel(1, job.id, wait=False))
        assert again.outcome == "already_over"
        job = await submitted(operations, ANYBODY, new("stubborn"))
        await wait_all_tasks_blocked()
        assert (await operations.cancel(ANYBODY, Cancel(1, job.id, wait=False))).outcome == "requested"
        report = await operations.cancel(ANYBODY, Cancel(1, job.id, patience=1))
        assert report.outcome == "stuck"
        assert ("stubborn" in (report.stack or "")) is tracebacks


async def test_a_place_in_a_log(autojump_clock: MockClock) -> None:
    """A cursor up to the end of the log is accepted; one beyond it is refused."""
    async with opened() as jobs:
        operations = operations_of(jobs)
        job = await ended(
            operations, ANYBODY, (await submitted(operations, ANYBODY, new("measure", {"width": 1}))).id
        )
        assert [event.kind for event in await operations.history(ANYBODY, job.id)] == [
            "submitted",
            "started",
            "completed",
        ]
        assert await operations.place(ANYBODY, job.id, job.last_seq, "gap") == job
        with pytest.raises(StreamGap):
            await operations.place(ANYBODY, job.id, job.last_seq + 1, "gap")


async def test_a_blocking_follower_is_waited_for(autojump_clock: MockClock) -> None:
    """With policy `block` the handler waits for that follower's cursor; when it leaves, it goes on."""
    sent: list[int] = []

    @handler
    async def speak(job: Any) -> None:
        for number in range(100):
            await job.send(number)
            sent.append(number)

    async with open_registry(handlers=[speak], window=8) as jobs:
        jobs.pause()
        operations = operations_of(jobs)
        job = await submitted(operations, ANYBODY, new("speak"))
        with operations.following(Subscription(1, job.id, "block", 4, 1, 1), job):
            jobs.resume()
            await wait_all_tasks_blocked()
            assert 0 < len(sent) < 10
        assert (await ended(operations, ANYBODY, job.id)).state is State.COMPLETED


async def test_what_is_around_a_stream_suppresses_nothing() -> None:
    """A `wrap_stream` is around a stream, gets its job, and what ends the stream comes out in any case."""
    told: list[str] = []

    @contextmanager
    def around(job: Job) -> Generator[None]:
        told.append(job.id)
        with suppress(LookupError):
            yield
        told.append("left")

    async with opened() as jobs:
        operations = JobOperations(jobs, ServerOptions(wrap_stream=around))
        job = await submitted(operations, ANYBODY, new("hang"))
        with operations.following(Subscription(1, job.id, "gap", None, 0, 0), job):
            assert told == [job.id]
        assert told == [job.id, "left"]
        with (
            pytest.raises(LookupError),
            operations.following(Subscription(2, job.id, "gap", None, 0, 0), job),
        ):
            raise LookupError
        assert told == [job.id, "left"] * 2


async def test_what_can_be_submitted(autojump_clock: MockClock) -> None:
    """Handlers are described by name, first paragraph and parameters."""
    async with opened() as jobs:
        found = {one["name"]: one for one in json.loads(operations_of(jobs).handlers)}
        assert list(found) == ["measure", "hang", "stubborn"]
        assert found["measure"]["description"] == "Measure something."
        assert [one["name"] for one in found["measure"]["parameters"]] == ["size", "factor"]


class Counted(Connection):
    """Counts how often a job is read."""

    reads = 0

    async def call(self, name: str, verb: Callable[[], Awaitable[T]]) -> T:
        self.reads += name == "get"
        return await super().call(name, verb)


@pytest.mark.parametrize("name", OPERATIONS)
async def test_a_job_is_read_once(autojump_clock: MockClock, name: str) -> None:
    """Each operation on a job reads it once, also to check the owner; a large value is of the same read."""
    async with open_registry(Counted(MemoryStore()), handlers=[measure]) as jobs:
        store: Any = store_of(jobs)
        operations = operations_of(jobs)
        job = await submitted(operations, ANN, new("measure", {"width": 1}))
        await operations.wait(ANN, job.id)
        store.reads = 0
        with suppress(StreamGap):
            await OPERATIONS[name](operations, ANN, job.id)
        assert store.reads == 1
