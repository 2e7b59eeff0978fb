"""Several workers over one store: leases, fences, and requests that reach a worker through the store."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal

import pytest
import trio
from trio.testing import MockClock

from trio_jobs import (
    Event,
    JobCancelled,
    JobContext,
    JobFailed,
    JobHandle,
    JobRegistry,
    Kind,
    Reason,
    Retry,
    RetryAfter,
    State,
    open_registry,
)
from trio_jobs.stores import Store, StoreUnavailable
from trio_jobs.stores.contract import Claimant, Where
from trio_jobs.stores.memory import MemoryStore
from trio_jobs.stores.submission import submission
from trio_jobs.testing import Connection

LEASE = 9.0
OnExit = Literal["stop", "drain"]


class Process:
    """A registry that can crash."""

    def __init__(self, store: MemoryStore) -> None:
        self.connection = Connection(store)
        self.scope = trio.CancelScope()
        self.left = trio.Event()
        self.over = trio.Event()
        self.jobs: JobRegistry

    async def live(
        self, name: str, capacity: int, on_exit: OnExit, *, task_status: trio.TaskStatus[None]
    ) -> None:
        with self.scope:
            async with open_registry(
                self.connection, capacity=capacity, lease=LEASE, name=name, on_exit=on_exit
            ) as self.jobs:
                task_status.started()
                await self.left.wait()
        self.over.set()

    def crash(self) -> None:
        self.connection.sever()
        self.scope.cancel()


class Machines:
    """Starts processes over one store."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.store = MemoryStore()
        self.nursery = nursery

    def lapse(self, job_id: str) -> None:
        """End the lease of a job's attempt, as if no heartbeat had arrived."""
        self.store._leases.add(job_id, trio.current_time(), 0)
        self.store._alarm.ring()

    async def start(self, name: str = "w", capacity: int = 1, on_exit: OnExit = "stop") -> Process:
        process = Process(self.store)
        await self.nursery.start(process.live, name, capacity, on_exit)
        return process

    async def log(self, handle: JobHandle[Any, Any]) -> list[Event]:
        return await self.store.read(handle.id, 0, 10**6)

    async def lifecycle(self, handle: JobHandle[Any, Any]) -> list[tuple[Any, ...]]:
        history = await self.store.history(handle.id)
        return [
            (event.kind, getattr(event.data, "reason", event.data))
            for event in history
            if event.kind is not Kind.SUBMITTED
        ]


@asynccontextmanager
async def machines() -> AsyncIterator[Machines]:
    async with trio.open_nursery() as nursery:
        yield Machines(nursery)
        nursery.cancel_scope.cancel()


async def count(job: JobContext[int], to: int) -> int:
    for number in range(to):
        await job.send(number)
        await trio.sleep(1)
    return to


async def test_a_dead_workers_job_comes_back(autojump_clock: MockClock) -> None:
    """After a crash another worker runs the job within a lease; the first attempt's tokens stay."""
    async with machines() as m:
        first = await m.start("first")
        handle = await first.jobs.submit(count, 5)
        await trio.sleep(2.5)
        second = await m.start("second")
        first.crash()
        died = trio.current_time()
        there = await second.jobs.get(handle.id)
        assert await there.result() == 5
        assert await m.lifecycle(handle) == [
            (Kind.STARTED, "first"),
            (Kind.RETRIED, Reason.WORKER_LOST),
            (Kind.STARTED, "second"),
            (Kind.COMPLETED, 5),
        ]
        tokens = [(event.attempt, event.data) for event in await m.log(handle) if event.kind is Kind.TOKEN]
        assert tokens == [(1, 0), (1, 1), (1, 2), *((2, number) for number in range(5))]
        assert trio.current_time() - died <= LEASE + 5
        assert (await there.snapshot()).spent == 2


@pytest.mark.parametrize(
    ("crashes", "end"),
    [(1, ("retrying", "is to run again after attempt 1")), (3, ("failed", "failed after attempt 3"))],
)
async def test_a_dead_worker_is_told(
    crashes: int, end: tuple[str, str], autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """The process that reclaims a job says which worker lost it, in one line."""
    async with machines() as m:
        alive = await m.start("alive", capacity=0)
        handle = await alive.jobs.submit(trio_sleeper, 9 * LEASE)
        for number in range(crashes):
            dead = await m.start(f"dead {number}\n")
            await trio.sleep(1)
            dead.crash()
            caplog.clear()
            await trio.sleep(2 * LEASE)
    (line,) = (one for one in caplog.records if one.name == "trio_jobs.job")
    lost = rf"its worker dead {crashes - 1}\x0a was lost"
    assert line.levelname == "WARNING"
    assert line.getMessage() == f"job {handle.id} (trio_sleeper) {end[1]} (worker_lost): {lost}"
    facts = {"job_id": handle.id, "handler": "trio_sleeper", "attempt": crashes, "state": end[0]}
    facts |= {"reason": "worker_lost", "error": lost, "worker": rf"dead {crashes - 1}\x0a"}
    assert vars(line).items() >= facts.items()


async def test_a_live_worker_keeps_its_lease(autojump_clock: MockClock) -> None:
    """A handler that sends nothing for many leases keeps its lease."""
    async with machines() as m:
        first, _ = await m.start("first"), await m.start("second")
        handle = await first.jobs.submit(trio_sleeper, 20 * LEASE)
        job = await handle.wait()
        assert (job.state, job.attempt) == (State.COMPLETED, 1)


async def trio_sleeper(job: JobContext[Any], seconds: float) -> None:
    await trio.sleep(seconds)


async def test_a_job_that_kills_its_workers_is_failed(autojump_clock: MockClock) -> None:
    """A job whose worker is lost for the third time is FAILED."""
    async with machines() as m:
        client = await m.start("client", capacity=0)
        handle = await client.jobs.submit(trio_sleeper, 1e9)
        for _ in range(3):
            worker = await m.start("worker")
            await trio.sleep(LEASE)
            assert (await handle.snapshot()).state is State.RUNNING
            worker.crash()
            await trio.sleep(2 * LEASE)
        job = await handle.wait()
        assert (job.state, job.reason, job.spent) == (State.FAILED, Reason.WORKER_LOST, 3)
        with pytest.raises(JobFailed, match="worker was lost, 3 times in all"):
            await handle.result()


async def test_a_retry_rule_may_allow_more_losses(autojump_clock: MockClock) -> None:
    """A job with `attempts=5` may lose its worker five times."""
    async with machines() as m:
        client = await m.start("client", capacity=0)
        handle = await client.jobs.submit(trio_sleeper, 1e9, retry=Retry(attempts=5))
        for lost in range(1, 6):
            worker = await m.start("worker")
            await trio.sleep(LEASE)
            worker.crash()
            await trio.sleep(2 * LEASE)
            assert (await handle.snapshot()).state is (State.FAILED if lost == 5 else State.RETRYING)


async def test_a_zombie_writes_nothing(autojump_clock: MockClock, caplog: pytest.LogCaptureFixture) -> None:
    """A worker that cannot reach the store for longer than its lease is fenced: what it sends, saves and
    returns later is refused, and its handler is cancelled."""
    ended: list[tuple[int, float]] = []

    async def handler(job: JobContext[str]) -> int:
        try:
            for _ in range(40):
                await job.send(f"{job.attempt}")
                await trio.sleep(LEASE / 4)
            return job.attempt
        finally:
            ended.append((job.attempt, trio.current_time()))

    async with machines() as m:
        first = await m.start("first")
        handle = await first.jobs.submit(handler)
        await trio.sleep(1)
        second = await m.start("second")
        first.connection.severed = True
        await trio.sleep(1.5 * LEASE)
        assert (await (await second.jobs.get(handle.id)).snapshot()).attempt == 2
        first.connection.severed = False
        assert await (await second.jobs.get(handle.id)).result() == 2
        assert [attempt for attempt, _ in ended] == [1, 2]
        log = await m.log(handle)
        taken = next(event.seq for event in log if event.kind is Kind.RETRIED)
        assert {event.attempt for event in log if event.seq > taken} == {2}
        assert (await first.jobs.statistics()).running == 0
        assert "belongs to another attempt than 1 now" in caplog.text


async def test_a_handler_never_runs_beside_itself(autojump_clock: MockClock) -> None:
    """A new attempt in the same worker waits until an older attempt of the job has cleaned up."""
    running: list[int] = []
    seen: list[list[int]] = []

    async def handler(job: JobContext[str]) -> None:
        running.append(job.attempt)
        seen.append([*running])
        try:
            await trio.sleep(100 if job.attempt == 1 else 1)
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(2 * LEASE)
            running.remove(job.attempt)

    async with machines() as m:
        only = await m.start("only", capacity=2)
        handle = await only.jobs.submit(handler)
        await trio.sleep(1)
        m.lapse(handle.id)
        assert (await handle.wait()).attempt == 2
        assert seen == [[1], [2]]
        assert (await only.jobs.statistics()).running == 0


async def test_a_handler_never_runs_beside_one_before_the_last(autojump_clock: MockClock) -> None:
    """It waits for an older attempt that cleans up here, though the attempt between the two has ended."""
    began: list[int] = []
    ended: list[int] = []

    async def handler(job: JobContext[str]) -> None:
        assert began == ended
        began.append(job.attempt)
        try:
            await trio.sleep(100 if job.attempt == 1 else 1)
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(2 * LEASE)
            ended.append(job.attempt)

    async with machines() as m:
        only = await m.start("only", capacity=2)
        handle = await only.jobs.submit(handler)
        for _ in range(2):
            await trio.sleep(1)
            m.lapse(handle.id)
        assert (await handle.wait()).state is State.COMPLETED
        assert began == ended == [1, 3]


async def test_a_claim_that_comes_late_replaces_nothing(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer to a claim that took longer than its lease stops no attempt claimed here meanwhile."""
    began: list[int] = []

    async def handler(job: JobContext[str]) -> None:
        began.append(job.attempt)
        await trio.sleep(3 * LEASE)

    async with machines() as m:
        only = await m.start("only", capacity=2)
        at_once = only.connection.call

        async def late(name: str, verb: Any) -> Any:
            answer = await at_once(name, verb)
            await trio.sleep(2 * LEASE if name == "submit" else 0)
            return answer

        monkeypatch.setattr(only.connection, "call", late)
        handle = await only.jobs.submit(handler)
        assert trio.current_time() == 2 * LEASE
        assert (await handle.wait()).state is State.COMPLETED
        assert began == [2]
        assert trio.current_time() == 4 * LEASE
        assert (await only.jobs.statistics()).running == 0


async def test_two_attempts_end_together_at_a_stop(autojump_clock: MockClock) -> None:
    """Leaving a registry waits for a superseded attempt as for any other."""

    async def handler(job: JobContext[str]) -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(30)
        ended.append(job.attempt)

    ended: list[int] = []
    async with machines() as m:
        only = await m.start("only", capacity=2)
        handle = await only.jobs.submit(handler)
        await trio.sleep(1)
        m.lapse(handle.id)
        await trio.sleep(1)
        only.left.set()
        await only.over.wait()
        assert ended == [1]
        assert trio.current_time() == 30
        assert (await m.store.get(handle.id)).state is State.RETRYING


async def test_a_cancellation_reaches_another_process(autojump_clock: MockClock) -> None:
    """The worker of another process learns of a cancellation by its heartbeat, and the job ends CANCELLED."""
    async with machines() as m:
        worker, client = await m.start("worker"), await m.start("client", capacity=0)
        handle = await worker.jobs.submit(trio_sleeper, 1e9)
        there = await client.jobs.get(handle.id)
        report = await there.cancel("enough", patience=LEASE)
        assert report.outcome == "cancelled"
        assert report.took <= LEASE / 3
        with pytest.raises(JobCancelled, match="enough"):
            await handle.result()


async def test_a_grace_reaches_another_process(autojump_clock: MockClock) -> None:
    """The handler there gets the request at once, has the granted seconds, and is then cancelled."""
    told: list[float] = []

    async def handler(job: JobContext[Any]) -> None:
        await job.cancel_requested.wait()
        told.append(trio.current_time())
        await trio.sleep_forever()

    async with machines() as m:
        worker, client = await m.start("worker"), await m.start("client", capacity=0)
        there = await client.jobs.get((await worker.jobs.submit(handler)).id)
        await there.request_cancel(grace=50)
        job = await there.wait()
        assert job.state is State.CANCELLED
        assert trio.current_time() == told[0] + 50


async def test_a_later_request_may_shorten_the_grace(autojump_clock: MockClock) -> None:
    """The shortest grace of all requests counts, and the log has only the first request."""
    async with machines() as m:
        worker, client = await m.start("worker"), await m.start("client", capacity=0)
        there = await client.jobs.get((await worker.jobs.submit(trio_sleeper, 1e9)).id)
        await there.request_cancel("first", grace=1000)
        await there.request_cancel("second", grace=5)
        await there.wait()
        assert trio.current_time() <= LEASE / 3 + 5
        assert [data for kind, data in await m.lifecycle(there) if kind is Kind.CANCEL_REQUESTED] == ["first"]


async def test_a_silent_worker_is_reported(autojump_clock: MockClock) -> None:
    """If the worker has crashed, cancelling reports `requested`; the sweep then ends the job as CANCELLED."""
    async with machines() as m:
        worker, client = await m.start("worker"), await m.start("client", capacity=0)
        there = await client.jobs.get((await worker.jobs.submit(trio_sleeper, 1e9)).id)
        worker.crash()
        report = await there.cancel("enough", patience=1)
        assert report.outcome == "requested"
        job = await there.wait()
        assert (job.state, job.reason) == (State.CANCELLED, Reason.USER)
        assert job.message == "enough (Its worker was lost)"


async def test_children_go_with_a_dead_worker(autojump_clock: MockClock) -> None:
    """When a parent's lease lapses, its children are cancelled with it; the next attempt spawns others."""

    async def parent(job: JobContext[Any]) -> int:
        child = await job.spawn(trio_sleeper, 5)
        children.append(child.id)
        await child.wait()
        return job.attempt

    children: list[str] = []
    async with machines() as m:
        first = await m.start("first")
        handle = await first.jobs.submit(parent)
        await trio.sleep(1)
        first.crash()
        second = await m.start("second")
        assert await (await second.jobs.get(handle.id)).result() == 2
        orphan, child = [await m.store.get(child) for child in children]
        assert (orphan.state, orphan.reason) == (State.CANCELLED, Reason.PARENT)
        assert child.state is State.COMPLETED


async def test_leaving_hands_over(autojump_clock: MockClock) -> None:
    """A stop hands running jobs over without spending a retry, leaves waiting jobs alone, and raises
    ClosedResourceError in waiters and readers of this process."""
    async with machines() as m:
        first = await m.start("first")
        running = await first.jobs.submit(count, 4)
        waiting = await first.jobs.submit(count, 1)
        refused: list[str] = []

        async def wait() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await running.wait()
            refused.append("waiter")

        async def read() -> None:
            with pytest.raises(trio.ClosedResourceError):
                async with waiting.events(1) as events:
                    await events.receive()
            refused.append("reader")

        m.nursery.start_soon(wait)
        m.nursery.start_soon(read)
        await trio.sleep(1.5)
        first.left.set()
        await first.over.wait()
        assert trio.current_time() == 1.5
        await trio.testing.wait_all_tasks_blocked()
        assert sorted(refused) == ["reader", "waiter"]
        assert (await m.store.get(running.id)).state is State.RETRYING
        assert (await m.store.get(running.id)).spent == 0
        assert (await m.store.get(waiting.id)).state is State.QUEUED
        second = await m.start("second")
        assert await (await second.jobs.get(running.id)).result() == 4
        assert await (await second.jobs.get(waiting.id)).result() == 1


async def test_draining_ends_what_runs_here(autojump_clock: MockClock) -> None:
    """With `drain`, running attempts run to their ends, and no job is claimed."""
    async with machines() as m:
        first = await m.start("first", on_exit="drain")
        running = await first.jobs.submit(count, 4)
        waiting = await first.jobs.submit(count, 1)
        first.left.set()
        await first.over.wait()
        assert (await m.store.get(running.id)).state is State.COMPLETED
        assert (await m.store.get(waiting.id)).state is State.QUEUED


async def test_a_store_that_is_away_at_the_end(autojump_clock: MockClock) -> None:
    """The end of a handler that returns while the store is unavailable is recorded once it is available."""

    async with machines() as m:
        process = await m.start()
        handle = await process.jobs.submit(count, 2)
        await trio.sleep(0.5)
        process.connection.severed = True
        await trio.sleep(5)
        assert (await m.store.get(handle.id)).state is State.RUNNING
        process.connection.severed = False
        await m.store.ended(handle.id)
        job = await m.store.get(handle.id)
        assert (job.state, job.attempt, job.result) == (State.COMPLETED, 1, 2)


class SlowClaim(Connection):
    """Answers to `claim` and `submit` take a second."""

    async def call(self, name: str, verb: Any) -> Any:
        answer = await super().call(name, verb)
        if name in {"claim", "submit"}:
            with trio.CancelScope(shield=True):
                await trio.sleep(1)
        return answer


async def test_slots_that_are_asked_for_are_taken(autojump_clock: MockClock) -> None:
    """While a claim is under way, a submit does not use the slots that the claim holds."""
    most = 0
    running = 0

    async def handler(job: JobContext[Any]) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await trio.sleep(3)
        running -= 1

    async with machines() as m:
        process = Process(m.store)
        process.connection = SlowClaim(m.store)
        await m.nursery.start(process.live, "w", 2, "stop")
        handles: list[JobHandle[Any, Any]] = []

        async def submit() -> None:
            handles.append(await process.jobs.submit(handler))

        for _ in range(6):
            m.nursery.start_soon(submit)
            await trio.sleep(0.3)
        await trio.sleep(2)
        for handle in handles:
            await handle.wait()
        assert most == 2


async def test_a_burst_is_one_call(autojump_clock: MockClock) -> None:
    """Tokens that a handler sends while the store is busy are appended together, in order, by one call."""

    class Counting(Connection):
        appends = 0

        async def call(self, name: str, verb: Any) -> Any:
            if name == "append":
                self.appends += 1
                await trio.sleep(1)
            return await super().call(name, verb)

    async def handler(job: JobContext[int]) -> None:
        for number in range(50):
            await job.send(number)
        await job.save("half")
        await job.send_many(range(50, 100))

    async with machines() as m:
        process = Process(m.store)
        process.connection = connection = Counting(m.store)
        await m.nursery.start(process.live, "w", 1, "stop")
        handle = await process.jobs.submit(handler)
        await handle.wait()
        log = await m.log(handle)
        assert [event.data for event in log if event.kind is Kind.TOKEN] == [*range(100)]
        assert [event.kind for event in log][52] is Kind.SAVED
        assert connection.appends < 10


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"store": object()}, TypeError, "an address, such as 'sqlite:///jobs.db', or a Store"),
        ({"lease": 0}, ValueError, "more than 0"),
        ({"lease": "x"}, TypeError, "lease"),
    ],
)
def test_bad_arguments(given: dict[str, Any], error: type[Exception], message: str) -> None:
    """A wrong store or lease is refused before anything is opened."""
    with pytest.raises(error, match=message):
        open_registry(**given)


async def test_a_store_of_ones_own(caplog: pytest.LogCaptureFixture) -> None:
    """The jobs of a store object that is not durable end with it, as those of `memory://` do."""
    caplog.set_level(logging.WARNING)
    store = MemoryStore()
    async with open_registry(store, capacity=1) as jobs:
        handle = await jobs.submit(trio_sleeper, 1e9)
    assert (await store.get(handle.id)).reason is Reason.SHUTDOWN
    assert not caplog.records


async def test_a_job_ends_while_its_heartbeat_is_under_way(autojump_clock: MockClock) -> None:
    """The answer to a heartbeat changes nothing if the attempt that it names has ended meanwhile."""

    class SlowHeart(Connection):
        async def call(self, name: str, verb: Any) -> Any:
            answer = await super().call(name, verb)
            if name == "heartbeat":
                await trio.sleep(2)
            return answer

    async def snooze(job: JobContext[Any]) -> int:
        if job.attempt == 1:
            await trio.sleep(LEASE / 3 + 1)
            raise RetryAfter(0)
        await trio.sleep(10)
        return job.attempt

    async with machines() as m:
        process = Process(m.store)
        process.connection = SlowHeart(m.store)
        await m.nursery.start(process.live, "w", 2, "stop")
        short = await process.jobs.submit(trio_sleeper, LEASE / 3 + 1)
        snoozed = await process.jobs.submit(snooze)
        assert (await short.wait()).state is State.COMPLETED
        job = await snoozed.wait()
        assert (job.state, job.attempt) == (State.COMPLETED, 2)


# ------------------------------------------------------------ leaving in good order


class Late(Connection):
    """A distant store: each call takes effect at once, and its answer comes two seconds later."""

    slow: str = "claim"
    deaf: bool = False

    async def call(self, name: str, verb: Any) -> Any:
        if self.deaf and name == "finish":
            raise StoreUnavailable("nobody hears")
        answer = await super().call(name, verb)
        if name == self.slow:
            with trio.CancelScope(shield=True):  # what has happened is not torn apart
                await trio.sleep(2)
        return answer


async def leave_while(slow: str, m: Machines, *, cancelled: bool, deaf_for: float = 0.0) -> list[str]:
    """Leave a registry while an answer with three jobs is on its way; return their ids."""
    left = trio.CancelScope()
    connection = Late(m.store)
    connection.slow = slow
    ids = []
    async with trio.open_nursery() as outside:
        with left:
            async with open_registry(connection, capacity=3, lease=LEASE) as jobs:
                if slow == "submit":
                    outside.start_soon(jobs.submit_many, trio_sleeper, [(1e9,)] * 3)  # noqa: ASYNC111  # the point
                else:
                    new = [submission(trio_sleeper, (1e9,), {}) for _ in range(3)]
                    await m.store.submit(new, 0, Claimant("elsewhere"))
                await trio.sleep(1)
                ids = [job.id for job in await m.store.find(Where(), 9)]
                running = (await m.store.count(Where())).get(State.RUNNING)
                assert (running, (await jobs.statistics()).running) == (3, 0)
                connection.deaf = deaf_for > 0
                if cancelled:
                    left.cancel()
                if deaf_for:
                    outside.start_soon(hear_again, connection, deaf_for)
    return ids


async def hear_again(connection: Late, seconds: float) -> None:
    await trio.sleep(seconds)
    connection.deaf = False


@pytest.mark.parametrize("slow", ["claim", "submit"])
@pytest.mark.parametrize("cancelled", [False, True])
@pytest.mark.parametrize("deaf_for", [0.0, 4.0])
async def test_what_is_claimed_while_leaving_is_given_back(
    slow: str, cancelled: bool, deaf_for: float, autojump_clock: MockClock
) -> None:
    """Jobs in an answer that arrives while the registry is left are handed over, and no attempt is spent;
    also when the block was cancelled, and when the hand-over has to be repeated."""
    async with machines() as m:
        for job_id in await leave_while(slow, m, cancelled=cancelled, deaf_for=deaf_for):
            job = await m.store.get(job_id)
            assert (job.state, job.reason, job.spent) == (State.RETRYING, Reason.SHUTDOWN, 0)


async def test_giving_back_is_bounded(autojump_clock: MockClock, caplog: pytest.LogCaptureFixture) -> None:
    """A store that stays unavailable delays the exit by at most a lease; the log says what was left."""
    async with machines() as m:
        connection, began = Late(m.store), trio.current_time()
        await m.store.submit([submission(trio_sleeper, (1e9,), {})], 0, Claimant("elsewhere"))
        async with open_registry(connection, lease=LEASE):
            await trio.sleep(1)
            connection.deaf = True
        assert trio.current_time() - began == pytest.approx(2 + LEASE)
        (job,) = await m.store.find(Where(), 9)
        assert (job.state, job.attempt) == (State.RUNNING, 1)
        assert f"was not recorded that these jobs were not started: {job.id}" in caplog.text


async def test_a_submit_that_outlasts_the_registry(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """A job that `submit` claims after the registry was left waits until its lease lapses: the job was
    submitted, the caller gets its handle, and the log says what was not started."""

    class Closed(Late):
        slow = "submit"

        async def call(self, name: str, verb: Any) -> Any:
            if name == "finish":
                raise trio.ClosedResourceError("the store was closed")
            return await super().call(name, verb)

    handles = []

    async def submit(jobs: JobRegistry) -> None:
        handles.append(await jobs.submit(trio_sleeper, 1e9))

    async with machines() as m, trio.open_nursery() as outside:
        async with open_registry(Closed(m.store), lease=LEASE) as jobs:
            outside.start_soon(submit, jobs)  # noqa: ASYNC111  # the point
            await trio.sleep(1)
    (handle,) = handles
    assert (await m.store.get(handle.id)).state is State.RUNNING
    assert f"was not recorded that these jobs were not started: {handle.id}" in caplog.text


@pytest.mark.parametrize("lease", [6.0, 60.0])
async def test_recording_an_end_is_bounded(
    lease: float, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """While a registry is left, recording an end takes at most a lease and at most ten seconds: the end of an
    attempt before the exit, of one that the exit stops, and of one that stops slowly."""

    async def stubborn(job: JobContext[Any]) -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(20)

    store = MemoryStore()
    connection = Late(store)
    began = trio.current_time()
    async with open_registry(connection, capacity=3, lease=lease) as jobs:
        connection.deaf = True
        handles = [await jobs.submit(trio_sleeper, seconds) for seconds in (0, 1e9)]
        handles.append(await jobs.submit(stubborn))
        await trio.sleep(5)
    assert trio.current_time() - began == pytest.approx(20 + min(lease, 10))
    for handle in handles:
        assert (await store.get(handle.id)).state is State.RUNNING
        assert f"the end of attempt 1 of job {handle.id} was not recorded" in caplog.text


class LosesAnswers(Connection):
    """A store that carries out each `finish` and loses its first answer; then something happens."""

    forgets = False

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.lost = set[tuple[str, int]]()

    async def call(self, name: str, verb: Any) -> Any:
        answer = await super().call(name, verb)
        if name == "finish" and verb.args[:2] not in self.lost:
            self.lost.add(verb.args[:2])
            if self.forgets:
                await self.store.prune(0)
                await trio.sleep(1)
                await self.store.prune(0)
            raise StoreUnavailable("the answer is lost")
        return answer


@pytest.mark.parametrize(
    ("raises", "cancels", "attempts", "end"),
    [
        (0, False, 1, "completed after attempt 1"),
        (1, False, 1, "failed after attempt 1 (error)"),
        (1, False, 2, "completed after attempt 2"),
        (1, True, 2, "was cancelled after attempt 1 (user)"),
    ],
)
async def test_the_log_tells_an_end_whose_answer_was_lost(
    raises: int,
    cancels: bool,
    attempts: int,
    end: str,
    autojump_clock: MockClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """`finish` is called again, and says how the attempt ended: the messages are those of an end whose
    answer came, also if the store ended the attempt as cancelled, and not that it came too late."""
    caplog.set_level(logging.INFO)

    async def handler(job: JobContext[Any]) -> str:
        if cancels:
            await job.cancel_requested.wait()
        if job.attempt <= raises:
            raise ValueError
        return "done"

    async def messages(store: Store) -> list[str]:
        caplog.clear()
        async with open_registry(store) as jobs:
            handle = await jobs.submit(handler, retry=Retry(attempts=attempts, jitter=0.0))
            if cancels:
                await handle.request_cancel(grace=5)
            await handle.wait()
        logged = [one.getMessage() for one in caplog.records if one.name == "trio_jobs.job"]
        return [message.replace(handle.id, "ID") for message in logged]

    connection = LosesAnswers(MemoryStore())
    told = await messages(connection)
    assert len(connection.lost) == 1 + ("attempt 2" in end)
    assert told == await messages(Connection(MemoryStore()))
    assert any(end in line for line in told)


async def test_an_end_that_is_forgotten_came_too_late(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """If the job is removed before the call is repeated, the log says that the end came too late."""

    async def handler(job: JobContext[Any]) -> None:
        pass

    connection = LosesAnswers(MemoryStore())
    connection.forgets = True
    async with open_registry(connection) as jobs:
        await jobs.submit(handler)
        await trio.sleep(10)
    assert "came too late" in caplog.text
