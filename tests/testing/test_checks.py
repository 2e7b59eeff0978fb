"""`check_store` can fail: each planted fault is found by the check for it."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from trio_jobs import Event, InvalidPayload, Kind, Page, Reason, Schedule, State, TrioJobsError
from trio_jobs.stores import Transition
from trio_jobs.stores._queue import Queue
from trio_jobs.stores.contract import (
    NO_CLAIMS,
    CancelAnswer,
    Claim,
    Claimant,
    Heartbeat,
    Outcome,
    Reclaimed,
    Store,
    Submission,
    Where,
)
from trio_jobs.stores.memory import MemoryStore
from trio_jobs.stores.schedules import ScheduleRow
from trio_jobs.testing import (
    Check,
    Connection,
    OpenStore,
    StoreCheckFailed,
    check_store,
    narrow_store_checks,
    store_checks,
)
from trio_jobs.testing.checks import QUEUE_LIMIT, RETENTION

CHECKS = {check.name: check for check in (*store_checks(), *narrow_store_checks())}


def virtual() -> MockClock:
    return MockClock(autojump_threshold=0)


def opener(kind: type[MemoryStore], **limits: Any) -> OpenStore:
    @asynccontextmanager
    async def open_store(folder: Path) -> AsyncIterator[Store]:
        store = kind(**limits)
        yield store
        store.close(Reason.SHUTDOWN)

    return open_store


def shared_opener(kind: type[MemoryStore], line: type[Connection] = Connection) -> OpenStore:
    """Open a connection to the store of a folder, which outlives it."""
    stores: dict[Path, MemoryStore] = {}

    @asynccontextmanager
    async def open_store(folder: Path) -> AsyncIterator[Store]:
        if folder not in stores:
            stores[folder] = kind()
        store = line(stores[folder])
        yield store
        store.close(Reason.SHUTDOWN)

    return open_store


# ---------------------------------------------------------------- faults of a store in memory


class ForgetsIds(MemoryStore):
    async def submit(
        self, batch: Sequence[Submission], limit: int, worker: Claimant
    ) -> tuple[list[str], list[Claim]]:
        for new in batch:
            if new.id in self._rows:
                self._leave_queue(self._rows.pop(new.id))
                self._keys = {at: holder for at, holder in self._keys.items() if holder != new.id}
        return await super().submit(batch, limit, worker)


class AcceptsOneByOne(MemoryStore):
    async def submit(
        self, batch: Sequence[Submission], limit: int, worker: Claimant
    ) -> tuple[list[str], list[Claim]]:
        submit = super().submit
        ids = [(await submit([new], 0, worker))[0][0] for new in batch]
        return ids, await self.claim(limit, worker)


class KeysOfEverybody(MemoryStore):
    async def submit(
        self, batch: Sequence[Submission], limit: int, worker: Claimant
    ) -> tuple[list[str], list[Claim]]:
        batch = [attrs.evolve(new, options=attrs.evolve(new.options, owner=None)) for new in batch]
        return await super().submit(batch, limit, worker)


class SubmitsWithoutLease(MemoryStore):
    async def submit(
        self, batch: Sequence[Submission], limit: int, worker: Claimant
    ) -> tuple[list[str], list[Claim]]:
        return await super().submit(batch, limit, Claimant(worker.name))


class FirstComeFirstServed(MemoryStore):
    def _enqueue(self, row: Any, now: float) -> None:
        super()._enqueue(row, now)
        self._waiting.discard(row.submission.id)
        self._waiting.add(row.submission.id, row.due, 0, now)


class ClaimsInTwoSteps(MemoryStore):
    async def claim(self, limit: int, worker: Claimant) -> list[Claim]:
        due = await self.find(Where(states={State.QUEUED}), limit)
        await trio.lowlevel.checkpoint()
        rows = [self._rows[job.id] for job in due]
        for row in rows:
            row.state = State.QUEUED
        return [self._start(row, worker, trio.current_time()) for row in rows]


class AppendsAgain(MemoryStore):
    async def append(
        self, job_id: str, attempt: int, kind: Kind, values: Sequence[Any], offset: int, **more: Any
    ) -> int:
        row = self._rows[job_id]
        return await super().append(job_id, attempt, kind, values, row.log.appended, **more)


class NeedsNoFence(MemoryStore):
    async def append(
        self, job_id: str, attempt: int, kind: Kind, values: Sequence[Any], offset: int, **more: Any
    ) -> int:
        row = self._rows.get(job_id)
        attempt = row.attempt if row is not None else attempt
        return await super().append(job_id, attempt, kind, values, offset, **more)


class LosesTerminators(MemoryStore):
    async def append(
        self, job_id: str, attempt: int, kind: Kind, values: Sequence[Any], offset: int, **more: Any
    ) -> int:
        values = [None if value == "[DONE]" else value for value in values]
        return await super().append(job_id, attempt, kind, values, offset, **more)


class FinishesTwice(MemoryStore):
    async def finish(self, job_id: str, attempt: int, outcome: Outcome, claim: str | None = None) -> State:
        row = self._rows.get(job_id)
        if row is not None and row.attempt == attempt and row.state is not State.RUNNING:
            return row.state
        return await super().finish(job_id, attempt, outcome, claim)


class ChokesOnWords(MemoryStore):
    async def finish(self, job_id: str, attempt: int, outcome: Outcome, claim: str | None = None) -> State:
        if outcome.ended is not None and "\0" in (outcome.ended.message or ""):
            raise InvalidPayload("NUL")
        return await super().finish(job_id, attempt, outcome, claim)


class OverwritesOutcomes(MemoryStore):
    async def request_cancel(self, job_id: str, message: str | None, grace: float = 0.0) -> CancelAnswer:
        if (row := self._row(job_id)).state is State.COMPLETED:
            row.state = State.CANCELLED
        return await super().request_cancel(job_id, message, grace)


class RetriesTheCancelled(MemoryStore):
    async def finish(self, job_id: str, attempt: int, outcome: Outcome, claim: str | None = None) -> State:
        if outcome.transition is Transition.RETRIED:
            self._running(job_id, attempt, claim).cancel_requested = None
        return await super().finish(job_id, attempt, outcome, claim)


class ChargesForShutdown(MemoryStore):
    async def finish(self, job_id: str, attempt: int, outcome: Outcome, claim: str | None = None) -> State:
        spent = self._running(job_id, attempt, claim).spent
        state = await super().finish(job_id, attempt, outcome, claim)
        self._rows[job_id].spent = spent
        return state


class LeavesOrphans(MemoryStore):
    def _conclude(self, row: Any, outcome: Outcome, now: float) -> None:
        row.children = None
        super()._conclude(row, outcome, now)


class LeasesChildren(MemoryStore):
    async def spawn(self, parent: str, attempt: int, child: Submission, worker: Claimant) -> Claim:
        claim = await super().spawn(parent, attempt, child, worker)
        self._lease(self._rows[child.id], worker.lease, trio.current_time())
        return claim


class RenewsNothing(MemoryStore):
    async def heartbeat(
        self, held: Mapping[str, int], lease: float, claims: Mapping[str, str | None] = NO_CLAIMS
    ) -> Heartbeat:
        leases, self._leases = self._leases, Queue()
        try:
            return await super().heartbeat(held, lease, claims)
        finally:
            self._leases = leases


class LosesNothing(MemoryStore):
    async def heartbeat(
        self, held: Mapping[str, int], lease: float, claims: Mapping[str, str | None] = NO_CLAIMS
    ) -> Heartbeat:
        return (await super().heartbeat(held, lease, claims))._replace(lost=frozenset())


class RenewsForAnybody(MemoryStore):
    async def heartbeat(
        self, held: Mapping[str, int], lease: float, claims: Mapping[str, str | None] = NO_CLAIMS
    ) -> Heartbeat:
        for job_id in held:
            if (row := self._rows.get(job_id)) is not None and row.state is State.RUNNING:
                self._lease(row, lease, trio.current_time())
        return await super().heartbeat(held, lease, claims)


class SweepsOldLeases(MemoryStore):
    """Reclaims an attempt by a lease that it read earlier, whatever happened since."""

    async def finish(self, job_id: str, attempt: int, outcome: Outcome, claim: str | None = None) -> State:
        old = dict(self._leases.tickets)
        state = await super().finish(job_id, attempt, outcome, claim)
        self._leases.tickets = old
        return state

    async def sweep(self) -> list[Reclaimed]:
        while (job_id := self._leases.pop(trio.current_time())) is not None:
            self._rows[job_id].state = State.RETRYING
        return await super().sweep()


class FailsAtTheFirstCrash(MemoryStore):
    async def sweep(self) -> list[Reclaimed]:
        for row in self._rows.values():
            row.losses += 2 * (row.state is State.RUNNING)
        return await super().sweep()


class NamesTheSweeper(MemoryStore):
    async def sweep(self) -> list[Reclaimed]:
        return [lost._replace(worker="holder") for lost in await super().sweep()]


class StartsMore(MemoryStore):
    """Looks for what a claim had started, and starts other jobs all the same."""

    async def claim(self, limit: int, worker: Claimant) -> list[Claim]:
        known = [*self._claims.get(worker.claim or "", {}).values()]
        fresh = await super().claim(limit, worker._replace(claim=None))
        for claim in fresh:
            claim.id = self._rows[claim.submission.id].claim = worker.claim
            self._claims.add(self._rows[claim.submission.id], worker.claim or "", claim)
        return known + fresh


class ForgetsClaims(MemoryStore):
    async def submit(
        self, batch: Sequence[Submission], limit: int, worker: Claimant
    ) -> tuple[list[str], list[Claim]]:
        known = any(new.id in self._rows for new in batch)
        ids, claims = await super().submit(batch, limit, worker)
        return ids, [] if known else claims


class KeepsOldLeases(MemoryStore):
    async def claim(self, limit: int, worker: Claimant) -> list[Claim]:
        return [*self._claims.get(worker.claim or "", {}).values()] or await super().claim(limit, worker)


class FencesByNumber(MemoryStore):
    def _running(self, job_id: str, attempt: int, claim: str | None = None) -> Any:
        row = self._rows[job_id]
        return super()._running(job_id, attempt, row.claim)


class EndsAnything(MemoryStore):
    """Tells whoever knows the id of the claim how the job stands, whoever ended it."""

    async def finish(self, job_id: str, attempt: int, outcome: Outcome, claim: str | None = None) -> State:
        row = self._rows[job_id]
        if claim is not None and row.attempt == attempt and row.state is not State.RUNNING:
            return row.state
        return await super().finish(job_id, attempt, outcome, claim)


class EndsOnce(MemoryStore):
    async def finish(self, job_id: str, attempt: int, outcome: Outcome, claim: str | None = None) -> State:
        self._running(job_id, attempt, claim)
        return await super().finish(job_id, attempt, outcome, claim)


class LongerGrace(MemoryStore):
    async def request_cancel(self, job_id: str, message: str | None, grace: float = 0.0) -> CancelAnswer:
        answer = await super().request_cancel(job_id, message, grace)
        self._rows[job_id].cancel_grace = grace
        return answer


class RequestsTwice(MemoryStore):
    async def request_cancel(self, job_id: str, message: str | None, grace: float = 0.0) -> CancelAnswer:
        self._row(job_id).cancel_requested = None
        return await super().request_cancel(job_id, message, grace)


class ExpiresRetries(MemoryStore):
    def _enqueue(self, row: Any, now: float) -> None:
        super()._enqueue(row, now)
        queue = row.submission.options.timeouts.queue
        if queue is not None and row.state is State.RUNNING:
            row.state = State.QUEUED
            super()._enqueue(row, now - row.due)
            row.state = State.RUNNING
            self._expiring.add(row.submission.id, now + queue, 0)

    def _expire(self, now: float) -> None:
        while (job_id := self._expiring.pop(now)) is not None:
            self._rows[job_id].state = State.QUEUED
            self._expiring.add(job_id, now, 0)
            super()._expire(now)


class ReadsTheCursorAgain(MemoryStore):
    async def read(self, job_id: str, after: int, limit: int) -> list[Event]:
        return await super().read(job_id, max(0, after - 1), limit)


class TellsTokensAsHistory(MemoryStore):
    async def history(self, job_id: str) -> list[Event]:
        return await self.read(job_id, 0, 10**6)


class FollowsWithoutEnd(MemoryStore):
    async def follow(self, job_id: str, after: int, limit: int) -> list[Event]:
        while not (events := await super().read(job_id, after, limit)):
            await trio.sleep(0.01)
        return events


class ForgetsDelays(MemoryStore):
    async def due(self) -> None:
        while self._waiting.next_due() > trio.current_time():
            await self._work.wait()


class ForgetsLeases(MemoryStore):
    async def overdue(self) -> None:
        while (when := self._expiring.next_due()) > trio.current_time():
            with trio.move_on_at(when):
                await self._alarm.wait()


class RemovesAnything(MemoryStore):
    async def remove(self, job_id: str) -> None:
        self._ended.add(self._row(job_id), 0.0)
        self._leave_queue(self._rows[job_id])
        self._forget(job_id)


class KeepsKeys(MemoryStore):
    async def remove(self, job_id: str) -> None:
        keys = dict(self._keys)
        await super().remove(job_id)
        self._keys = {address: next(iter(self._rows), "") for address in keys}


class PrunesByAge(MemoryStore):
    async def prune(self, older_than: float) -> int:
        for job_id in self._ended.before(math.inf):
            self._ended.discard(job_id)
            self._ended.add(self._rows[job_id], self._rows[job_id].created)
        return await super().prune(older_than)


class NewestFirst(MemoryStore):
    async def find(self, where: Where, limit: int, *, after: str | None = None, newest: bool = False) -> Page:
        return await super().find(where, limit, after=after, newest=not newest)


class ClosesSilently(MemoryStore):
    def close(self, reason: Reason) -> None:
        return


class DeclaresAnew(MemoryStore):
    async def declare(self, schedules: Sequence[Schedule]) -> None:
        self._schedules.clear()
        await super().declare(schedules)


class FiresWhatItSaw(MemoryStore):
    async def fire(self, seen: ScheduleRow, tick: float, job: Submission) -> bool:
        await trio.lowlevel.checkpoint()
        self._schedules[seen.schedule.name] = seen
        return await super().fire(seen, tick, job)


class FiresThenAdvances(MemoryStore):
    async def fire(self, seen: ScheduleRow, tick: float, job: Submission) -> bool:
        row = self._schedules[seen.schedule.name]
        fired = await super().fire(seen, tick, job)
        self._schedules[seen.schedule.name] = row
        await trio.lowlevel.checkpoint()
        self._schedules[seen.schedule.name] = row.fired(tick) if fired else row
        return fired


class AdvancesFirst(MemoryStore):
    async def fire(self, seen: ScheduleRow, tick: float, job: Submission) -> bool:
        row = self._schedules[seen.schedule.name]
        if not row.may_fire(seen, tick):
            return False
        self._schedules[seen.schedule.name] = row.fired(tick)
        await self.submit([job], 0, Claimant(""))
        return True


class FiresEarlierTicks(MemoryStore):
    async def fire(self, seen: ScheduleRow, tick: float, job: Submission) -> bool:
        if fired := await super().fire(seen, max(tick, seen.last_tick + 1), job):
            self._schedules[seen.schedule.name] = seen.fired(tick)
        return fired


class FiresInAPause(MemoryStore):
    async def pause_schedule(self, name: str, *, paused: bool) -> None:
        row = self._schedules.get(name)
        await super().pause_schedule(name, paused=paused)
        if row is not None:
            self._schedules[name] = attrs.evolve(row, paused=paused)


class ResumesFromTheLastTick(MemoryStore):
    async def pause_schedule(self, name: str, *, paused: bool) -> None:
        await super().pause_schedule(name, paused=paused)
        row = self._schedules[name]
        self._schedules[name] = attrs.evolve(row, last_tick=row.anchor)


class AddsInPlaceOfAnything(MemoryStore):
    async def add_schedule(self, schedule: Schedule) -> None:
        self._schedules.pop(schedule.name, None)
        await super().add_schedule(schedule)


class DeclaredForEver(MemoryStore):
    async def keep_declared(self, names: Collection[str]) -> None:
        await super().keep_declared(self._schedules.keys())


FAULTS: list[tuple[type[MemoryStore], str]] = [
    (ForgetsIds, "submitting.a_known_id_changes_nothing"),
    (AcceptsOneByOne, "submitting.a_conflict_accepts_nothing"),
    (KeysOfEverybody, "submitting.keys_are_per_owner"),
    (SubmitsWithoutLease, "leasing.a_lease_is_as_long_as_was_said"),
    (FirstComeFirstServed, "claiming.claim_goes_by_rank"),
    (ClaimsInTwoSteps, "claiming.claims_at_the_same_time_share_no_job"),
    (AppendsAgain, "writing.append_is_repeatable"),
    (NeedsNoFence, "writing.only_the_attempt_that_runs_writes"),
    (LosesTerminators, "reading.values_survive"),
    (FinishesTwice, "ending.an_attempt_ends_once"),
    (ChokesOnWords, "ending.no_words_keep_an_attempt_from_ending"),
    (OverwritesOutcomes, "ending.what_ended_first_stays"),
    (RetriesTheCancelled, "ending.a_cancelled_job_is_not_retried"),
    (ChargesForShutdown, "ending.shutdown_and_snoozing_cost_nothing"),
    (LeavesOrphans, "spawning.children_end_with_the_attempt"),
    (LeasesChildren, "spawning.a_child_has_no_lease"),
    (RenewsNothing, "leasing.a_heartbeat_revives"),
    (LosesNothing, "leasing.a_heartbeat_says_what_was_lost"),
    (RenewsForAnybody, "leasing.a_late_heartbeat_renews_nothing"),
    (SweepsOldLeases, "leasing.an_old_lease_does_not_lapse_later"),
    (StartsMore, "claiming.a_claim_is_asked_again"),
    (ForgetsClaims, "claiming.a_submit_is_asked_again"),
    (KeepsOldLeases, "leasing.who_asks_again_gets_new_leases"),
    (FencesByNumber, "leasing.another_claim_is_fenced"),
    (EndsOnce, "ending.a_finish_is_asked_again"),
    (EndsAnything, "ending.what_others_ended_is_not_asked_for"),
    (NamesTheSweeper, "leasing.a_sweep_says_what_it_reclaimed"),
    (FailsAtTheFirstCrash, "leasing.a_job_that_kills_its_workers_fails"),
    (LongerGrace, "cancelling.a_shorter_grace_counts"),
    (RequestsTwice, "cancelling.the_first_request_counts"),
    (ExpiresRetries, "expiring.the_queue_timeout_ends_with_the_first_start"),
    (ReadsTheCursorAgain, "reading.read_pages_by_cursor"),
    (TellsTokensAsHistory, "reading.history_leaves_out_tokens_and_progress"),
    (FollowsWithoutEnd, "waiting.follow_ends_with_the_job"),
    (ForgetsDelays, "waiting.due_is_never_late"),
    (ForgetsLeases, "waiting.overdue_is_never_late"),
    (RemovesAnything, "removing.what_has_not_ended_is_not_removed"),
    (KeepsKeys, "removing.a_removed_job_is_gone"),
    (PrunesByAge, "removing.prune_goes_by_the_end"),
    (NewestFirst, "looking.find_gives_what_matches"),
    (ClosesSilently, "closing.close_ends_what_does_not_outlive_it"),
    (DeclaresAnew, "scheduling.a_pause_holds_until_it_ends"),
    (DeclaresAnew, "scheduling.what_is_declared_is_kept"),
    (FiresWhatItSaw, "scheduling.a_tick_fires_once"),
    (FiresWhatItSaw, "scheduling.what_is_pruned_fires_no_more"),
    (FiresThenAdvances, "scheduling.many_fire_a_tick_once"),
    (FiresEarlierTicks, "scheduling.a_tick_fires_once"),
    (FiresInAPause, "scheduling.a_pause_holds_until_it_ends"),
    (ResumesFromTheLastTick, "scheduling.a_pause_holds_until_it_ends"),
    (AddsInPlaceOfAnything, "scheduling.what_runs_declares_is_left_to_it"),
    (DeclaredForEver, "scheduling.whose_registry_has_gone_is_not_declared"),
]


@pytest.mark.parametrize(
    ("fault", "check"), FAULTS, ids=[f"{fault.__name__}-{check}" for fault, check in FAULTS]
)
def test_a_planted_fault_is_found(fault: type[MemoryStore], check: str) -> None:
    """A store with one faulty verb fails the check of that claim, which a sound store passes."""
    CHECKS[check].run(opener(MemoryStore), clock=virtual)
    with pytest.raises((AssertionError, TrioJobsError)):
        CHECKS[check].run(opener(fault), clock=virtual)


# ---------------------------------------------------------------- faults of limits


class AcceptsTooMany(MemoryStore):
    async def submit(
        self, batch: Sequence[Submission], limit: int, worker: Claimant
    ) -> tuple[list[str], list[Claim]]:
        self._limit += 1
        return await super().submit(batch, limit, worker)


class DropsTheNewest(MemoryStore):
    async def read(self, job_id: str, after: int, limit: int) -> list[Event]:
        return [event for event in await super().read(job_id, after, limit) if event.seq < 12]


class KeepsAll(MemoryStore):
    def __init__(self, **limits: Any) -> None:
        super().__init__()


@pytest.mark.parametrize(
    ("fault", "check"),
    [
        (AcceptsTooMany, "limiting.a_full_queue_accepts_nothing"),
        (DropsTheNewest, "limiting.old_tokens_go_first"),
        (AdvancesFirst, "limiting.a_full_queue_leaves_the_tick"),
        (KeepsAll, "limiting.a_token_too_large_is_refused"),
        (KeepsAll, "limiting.only_so_many_ended_jobs_are_kept"),
        (KeepsAll, "limiting.old_tokens_go_first"),
    ],
)
def test_a_planted_fault_of_limits_is_found(fault: type[MemoryStore], check: str) -> None:
    """A store with wrong limits, or without limits, fails the check of that claim."""
    CHECKS[check].run(opener(MemoryStore, queue_limit=QUEUE_LIMIT, retention=RETENTION), clock=virtual)
    with pytest.raises(AssertionError):
        CHECKS[check].run(opener(fault, queue_limit=QUEUE_LIMIT, retention=RETENTION), clock=virtual)


# ---------------------------------------------------------------- faults of durable stores


class Deaf(Connection):
    """Does not notice the writes of other connections."""

    async def due(self) -> None:
        await trio.sleep(60)


class Sleepy(Connection):
    """Wakes no task when it is closed."""

    def close(self, reason: Reason) -> None:
        return


def forgetful(folder: Path) -> Any:
    """Open an empty store each time."""
    return shared_opener(MemoryStore)(folder)


@pytest.mark.parametrize(
    ("open_store", "check"),
    [
        (shared_opener(MemoryStore, Deaf), "sharing.hints_hear_from_other_connections"),
        (shared_opener(MemoryStore, Sleepy), "closing.close_wakes_who_waits"),
        (forgetful, "reopening.everything_is_there_again"),
        (forgetful, "reopening.an_attempt_goes_on"),
        (forgetful, "reopening.leases_are_kept"),
        (forgetful, "reopening.what_was_accepted_is_known"),
        (forgetful, "sharing.connections_see_the_same"),
        (forgetful, "scheduling.schedules_outlive_the_process"),
        (forgetful, "scheduling.schedules_are_shared"),
    ],
)
def test_a_planted_fault_of_a_durable_store_is_found(open_store: OpenStore, check: str) -> None:
    """A store that is not durable though it says so, or whose connections are separate, fails too."""
    CHECKS[check].run(shared_opener(MemoryStore), clock=virtual)
    with pytest.raises((AssertionError, TrioJobsError)):
        CHECKS[check].run(open_store, clock=virtual)


# ---------------------------------------------------------------- the kit itself


def test_every_claim_that_does_not_hold_is_told() -> None:
    """`check_store` continues after a failure, and reports each claim, with both results."""
    with pytest.raises(StoreCheckFailed) as caught:
        check_store(opener(TellsTokensAsHistory), clock=virtual)
    told = {check.name for check in caught.value.failures}
    assert "reading.history_leaves_out_tokens_and_progress" in told
    text = str(caught.value)
    assert CHECKS["reading.history_leaves_out_tokens_and_progress"].claim in text
    assert "AssertionError: history: expected [" in text
    assert "limiting" not in text


def test_limits_are_checked_if_there_is_a_store_with_limits() -> None:
    """With `open_narrow` the checks of limits run too, on that store."""
    with pytest.raises(StoreCheckFailed) as caught:
        check_store(opener(MemoryStore), open_narrow=opener(KeepsAll), clock=virtual)
    assert {check.name.partition(".")[0] for check in caught.value.failures} >= {"limiting"}


def test_each_check_has_a_name_and_a_claim() -> None:
    """Names are unique, claims are sentences, and each file has checks."""
    checks = [*store_checks(), *narrow_store_checks()]
    assert len({check.name for check in checks}) == len(checks) > 100
    for check in checks:
        assert check.claim.endswith("."), check
        assert str(check) == check.name
    assert all(isinstance(check, Check) for check in checks)


def test_the_guide_tells_how_many_claims_are_checked() -> None:
    """The figure in the guide to stores is that of the checks which any store has."""
    guide = (Path(__file__).parents[2] / "docs" / "writing-a-store.md").read_text(encoding="utf-8")
    assert f"`check_store(open_store)` checks {len(store_checks())} claims" in guide


def test_each_check_has_an_empty_folder_of_its_own() -> None:
    """Each check opens the store of its own folder, which is empty before and removed after it."""
    folders: list[Path] = []

    @asynccontextmanager
    async def open_store(folder: Path) -> AsyncIterator[Store]:
        if folder not in folders:
            assert list(folder.iterdir()) == []
        folders.append(folder)
        yield MemoryStore()

    for check in store_checks()[:3]:
        check.run(open_store, clock=virtual)
    assert len(set(folders)) == 3
    assert not any(folder.exists() for folder in folders)


def test_what_a_store_raises_is_a_failure() -> None:
    """An exception outside the contract is reported unchanged."""

    class Broken(MemoryStore):
        async def sweep(self) -> list[Reclaimed]:
            raise ZeroDivisionError("broken")

    with pytest.raises(ZeroDivisionError):
        CHECKS["leasing.a_second_sweep_changes_nothing"].run(opener(Broken), clock=virtual)
    with pytest.raises(StoreCheckFailed, match="ZeroDivisionError: broken"):
        check_store(opener(Broken), clock=virtual)
