"""`JobMachine`: random lives pass, and broken stores are found."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import run_state_machine_as_test

from trio_jobs import Event, Job, JobContext, Kind, Reason, Retention, Retry, State, StreamGap, Timeouts
from trio_jobs.stores import Claimant, Outcome, Store, Transition
from trio_jobs.stores.memory import MemoryStore
from trio_jobs.stores.sqlite import SqliteStore
from trio_jobs.testing import JobMachine, open_sqlite_in_lockstep
from trio_jobs.testing._journal import journalled
from trio_jobs.testing._mishaps import Mishap
from trio_jobs.testing._scripted import scripted

HUNT = settings(
    max_examples=200,
    stateful_step_count=30,
    deadline=None,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)
QUICK = settings(HUNT, max_examples=25)


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)  # what workers say of crashes is no news here


def test_random_lives_break_no_promise() -> None:
    """Random lives of scripted jobs, on workers that crash and come back, pass. `lives.py` runs many more."""
    run_state_machine_as_test(JobMachine, settings=QUICK)


class Paused(JobMachine):
    """Every slot has a job that waits for a reader, and another job waits in the queue."""

    async def start_worker(self) -> None:
        await super().start_worker()
        talk = journalled(scripted, self._history), ([("send", 1)] * (self.window + 1), "return")
        await self._submit("late", *talk, {"delay": 0.5})
        for number in range(self.capacity):
            await self._submit(f"pauses{number}", *talk, {"when_unread": "pause"})


class HeardLate(JobMachine):
    """A job ends at once, and its worker takes longer than the job's time limit to record it."""

    async def start_worker(self) -> None:
        await super().start_worker()
        worker = self._up()[-1]
        self._history.mute.add(worker.name)
        worker.connection.meet(["finish"], Mishap(seconds=self.lease / 2))
        limit = {"timeouts": Timeouts(run=0.5)}
        await self._submit("late", journalled(scripted, self._history), ([], "return"), limit)


def test_an_end_that_is_heard_late_is_no_job_that_ran_too_long() -> None:
    """If a worker is slow to record ends, the time of an end violates no rule."""
    run_state_machine_as_test(HeardLate, settings=settings(HUNT, max_examples=3, stateful_step_count=2))


def test_jobs_that_pause_hold_up_no_judgement() -> None:
    """At the end all jobs are read at once, so that none waits for a slot for ever."""
    run_state_machine_as_test(Paused, settings=settings(HUNT, max_examples=3, stateful_step_count=2))


class Drained(Paused):
    """The worker drains paused jobs, and their readers meet a store that is unavailable for a moment."""

    async def start_worker(self) -> None:
        self._drains = True
        await super().start_worker()

    async def finish(self) -> None:
        for worker in self._up():
            worker.leave()
            worker.connection.be_away(0.05 * self.lease)
        await JobMachine.start_worker(self)
        await super().finish()


def test_who_reads_what_a_worker_drains_stays_with_that_worker() -> None:
    """A reader returns after a fault to the process where the job pauses: no other can let it go on."""
    run_state_machine_as_test(Drained, settings=settings(HUNT, max_examples=3, stateful_step_count=2))


async def hasty(job: JobContext[str], many: bool) -> None:
    """Send with no time, and go on without it."""
    with trio.move_on_after(0):
        await (job.send_many(["one", "two"]) if many else job.send("one"))
    await job.send("three")


class Hasty(JobMachine):
    """Handlers cancel their sends."""

    async def start_worker(self) -> None:
        await super().start_worker()
        for many in (False, True):
            await self._submit(f"hasty{many}", journalled(hasty, self._history), (many,), {})


def test_who_goes_on_after_a_cancelled_send_is_not_accused() -> None:
    """The judge of lives does not miss a token whose send was cancelled."""
    run_state_machine_as_test(Hasty, settings=settings(HUNT, max_examples=2, stateful_step_count=2))


class Careless(MemoryStore):
    """A retry overrides a cancellation."""

    def _conclude(self, row: Any, outcome: Outcome, now: float) -> None:
        if outcome.transition is Transition.RETRIED:
            row.cancel_requested = None
        super()._conclude(row, outcome, now)


class Skipping(MemoryStore):
    """A reader that waits sometimes misses an event."""

    async def follow(self, job_id: str, after: int, limit: int) -> list[Event]:
        events = await super().follow(job_id, after, limit)
        return events[1:] if len(events) > 3 else events


class Impatient(MemoryStore):
    """Jobs start a little before they are due."""

    def _claim(self, limit: int, worker: Claimant, now: float) -> Any:
        return super()._claim(limit, worker, now + 1)


class AskedInTime(JobMachine):
    """A job gets a request to cancel; within the grace its handler fails, and would be retried."""

    kind: type[MemoryStore] = MemoryStore

    @asynccontextmanager
    async def open_store(self) -> AsyncIterator[Store]:
        store = self.kind()
        yield store
        store.close(Reason.SHUTDOWN)

    async def start_worker(self) -> None:
        await super().start_worker()
        fails = journalled(scripted, self._history), ([("sleep", 0.5)], "error")
        await self._submit("asked", *fails, {"retry": Retry(attempts=3, initial=0.5, jitter=0)})
        await self._client.request_cancel(self._up()[0].jobs, self._ids[-1], "in time", grace=60)


def test_a_retry_that_goes_before_a_cancellation_is_found() -> None:
    """The machine finds it in the one life that shows it, and no fault in a sound store; random lives would
    take hundreds for that."""

    class Broken(AskedInTime):
        kind = Careless

    once = settings(HUNT, max_examples=1, stateful_step_count=2)  # the schedule, and opening
    run_state_machine_as_test(AskedInTime, settings=once)
    with pytest.raises(AssertionError):
        run_state_machine_as_test(Broken, settings=once)


class Silent(MemoryStore):
    """The end of a job wakes no waiting task."""

    async def ended(self, job_id: str) -> Job:
        if not (await self.get(job_id)).state.over:
            await trio.sleep_forever()
        return await super().ended(job_id)


class Endless(MemoryStore):
    """A reader that has read everything does not get the end."""

    async def follow(self, job_id: str, after: int, limit: int) -> list[Event]:
        return await super().follow(job_id, after, limit) or await trio.sleep_forever()


@pytest.mark.parametrize(
    "broken", [pytest.param(Skipping, marks=pytest.mark.deep), Impatient, Silent, Endless]
)
def test_a_broken_store_is_found(broken: type[MemoryStore]) -> None:
    """Each broken store is found within 200 lives of 30 steps."""

    class Broken(JobMachine):
        @asynccontextmanager
        async def open_store(self) -> AsyncIterator[Store]:
            store = broken()
            yield store
            store.close(Reason.SHUTDOWN)

    with pytest.raises((AssertionError, StreamGap, ExceptionGroup)):  # several readers may find it at once
        run_state_machine_as_test(seed(2)(Broken), settings=settings(HUNT, report_multiple_bugs=False))


class InAFile(JobMachine):
    """Lives of jobs in a file."""

    kind: type[SqliteStore] = SqliteStore

    @asynccontextmanager
    async def open_store(self) -> AsyncIterator[Store]:
        path, few = self.folder / "jobs.db", Retention(inputs=6)
        async with open_sqlite_in_lockstep(path, handlers=self.journalled, retention=few) as store:
            store.__class__ = self.kind
            yield store


def test_random_lives_in_a_file_break_no_promise() -> None:
    """Random lives pass in a file too, in virtual time and under drawn schedules."""
    run_state_machine_as_test(InAFile, settings=settings(HUNT, max_examples=8, stateful_step_count=20))


class Forgetful(SqliteStore):
    """A saved value is not in the job's log."""

    async def read(self, job_id: str, after: int, limit: int) -> list[Event]:
        return [event for event in await super().read(job_id, after, limit) if event.kind is not Kind.SAVED]


@pytest.mark.deep
def test_a_broken_file_is_found() -> None:
    """A store in a file that breaks a promise is found, and fails again in the replay."""

    class Broken(InAFile):
        kind = Forgetful

    with pytest.raises(AssertionError):
        run_state_machine_as_test(seed(1)(Broken), settings=settings(HUNT, report_multiple_bugs=False))


def test_the_folder_goes_with_the_example() -> None:
    """Each example has a folder of its own, which is removed after the example."""
    folders: list[Path] = []

    class Noted(InAFile):
        async def finish(self) -> None:
            assert (self.folder / "jobs.db").exists()
            folders.append(self.folder)
            await super().finish()

    run_state_machine_as_test(Noted, settings=settings(HUNT, max_examples=2, stateful_step_count=3))
    assert len({*folders}) == len(folders) > 1
    assert not any(folder.exists() for folder in folders)


async def polite(job: JobContext[str], seconds: float) -> str:
    await trio.sleep(seconds)
    await job.send("done")
    return "done"


def test_ones_own_handler_is_checked_by_oneself() -> None:
    """`check_job` is called for every ended job, and its exception fails the example."""
    seen: list[State] = []

    class Mine(JobMachine):
        handlers = {polite: st.tuples(st.sampled_from([0.0, 1.0]))}  # noqa: RUF012

        def check_job(self, job: Job, log: list[Event]) -> None:
            seen.append(job.state)

    run_state_machine_as_test(Mine, settings=QUICK)
    assert {*seen} >= {State.COMPLETED, State.CANCELLED}  # whether one fails, too, is up to chance

    class Wrong(Mine):
        def check_job(self, job: Job, log: list[Event]) -> None:
            assert job.state is not State.COMPLETED, "as planted"

    with pytest.raises(AssertionError, match="as planted"):
        run_state_machine_as_test(seed(0)(Wrong), settings=HUNT)
