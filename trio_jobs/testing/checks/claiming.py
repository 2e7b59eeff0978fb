"""`claim`: what is due, by rank, each attempt once."""

from __future__ import annotations

import trio
from trio.testing import MockClock

from ..._common.states import Reason, State
from ..._model.job import PENALTY, Kind, Priority
from ..._model.retry import Retry
from ...stores.contract import Claim, Store, Submission, Where
from . import kit


async def a_claim_says_what_to_run(store: Store) -> None:
    """A claim has the submission, attempt, budget spent, what was saved, and where it began in the log."""
    new = kit.make("a", 2, None, key="k", owner="me", retry=Retry(attempts=3), tags={"a": "b"})
    await kit.accept(store, new)
    (claim,) = await store.claim(5, kit.HOLDER)
    for name in ("id", "handler", "args", "options", "key"):
        came, wanted = getattr(claim.submission, name), getattr(new, name)
        kit.expect(f"claim: submission.{name}", came, wanted)
    if not store.durable:
        kit.expect("claim: submission.target", claim.submission.target, kit.work)
    kit.expect("claim: attempt, spent, saved, seq", _numbers(claim), (1, 1, None, 2))
    runs = {"state": State.RUNNING, "attempt": 1, "spent": 1, "started_at": ..., "next_attempt_at": None}
    await kit.expect_job("claim", store, new.id, **runs)
    kit.expect("claim, then read", (await kit.words(store, new.id))[1:], [(1, "started", "holder")])


def _numbers(claim: Claim) -> tuple[object, ...]:
    return claim.attempt, claim.spent, claim.saved, claim.seq


async def claim_takes_up_to_its_limit(store: Store) -> None:
    """`claim` starts as many jobs as are due, at most `limit`, and each of them once."""
    ids = await kit.accept(store, *[kit.make(n) for n in range(5)])
    kit.expect("claim with limit=0", await store.claim(0, kit.HOLDER), [])
    taken = list[str]()
    for limit, wanted in ((2, 2), (2, 2), (2, 1), (2, 0)):
        claims = await store.claim(limit, kit.HOLDER)
        kit.expect(f"claim with limit={limit}, number of claims", len(claims), wanted)
        taken += [claim.submission.id for claim in claims]
    kit.expect("claim, until there is no more,", sorted(taken), sorted(ids))


async def claim_goes_by_rank(store: Store) -> None:
    """Of the jobs that are due the most urgent start first, in the order in which a claim returns them."""
    order = [Priority.LOW, Priority.URGENT, Priority.NORMAL, Priority.HIGH]
    await kit.accept(store, *[kit.make(one.value, priority=one) for one in order])
    claims = [*await store.claim(1, kit.HOLDER), *await store.claim(3, kit.HOLDER)]
    kit.expect("claim, by priority,", [claim.submission.args for claim in claims], [(0,), (1,), (2,), (3,)])


async def what_was_due_first_starts_first(store: Store) -> None:
    """Of equal priority, the job that was due earlier starts first, whatever the order of the batch."""
    late, early = await kit.accept(store, kit.make(delay=kit.BRIEF), kit.make())
    await kit.lapse()
    kit.expect("claim, by due time,", await kit.claimed(store, 2), [early, late])


async def what_did_not_end_by_itself_keeps_its_rank(store: Store) -> None:
    """A job that is handed over at a shutdown, or lost its worker, starts before what was due after it."""
    for reason in (Reason.SHUTDOWN, Reason.WORKER_LOST):
        first = await kit.started(store, worker=kit.DOOMED)
        due = (await store.get(first)).created_at
        (second,) = await kit.accept(store, kit.make())
        if reason is Reason.SHUTDOWN:
            await kit.lapse()
            await store.finish(first, 1, kit.retried(reason))
        else:
            await kit.swept(store)
        again = f"finish or sweep (retried, {reason.value})"
        job = await kit.expect_job(again, store, first, state=State.RETRYING, reason=reason)
        early = None if job.next_attempt_at is None else (job.next_attempt_at - due).total_seconds()
        what = f"{again}, then get: next_attempt_at is when it was submitted"
        kit.ensure(what, holds=early is not None and abs(early) < kit.BRIEF / 2, came=early)
        kit.expect(f"{again}, then claim", await kit.claimed(store, 2), [first, second])
        for job_id, attempt in ((first, 2), (second, 1)):
            await store.finish(job_id, attempt, kit.completed())


async def what_ended_by_itself_ranks_anew(store: Store) -> None:
    """A job that is retried for what it did, or that waited, starts after what was due meanwhile."""
    for reason in (Reason.ERROR, Reason.TIMEOUT, Reason.SNOOZED, Reason.AWAITING_INPUT):
        first = await kit.started(store)
        (second,) = await kit.accept(store, kit.make())
        await kit.lapse()
        await store.finish(first, 1, kit.retried(reason))
        kit.expect(f"retried ({reason.value}), then claim", await kit.claimed(store, 2), [second, first])
        for job_id, attempt in ((first, 2), (second, 1)):
            await store.finish(job_id, attempt, kit.completed())


async def a_retry_is_claimed_when_it_is_due(store: Store) -> None:
    """A job that waits to run again is claimed once its delay has passed, as the next attempt."""
    await kit.finished(store, kit.retried(delay=kit.LONG))
    kit.expect("claim of a retry that is not due", await store.claim(1, kit.HOLDER), [])
    second = await kit.started(store)
    await store.append(second, 1, Kind.SAVED, ["first", "half"], 0)
    await store.finish(second, 1, kit.retried(delay=kit.BRIEF))
    await kit.lapse()
    claim = await kit.again(store, second)
    kit.expect("claim of a retry: attempt, spent, saved, seq", _numbers(claim), (2, 2, "half", 6))


async def a_claim_is_asked_again(store: Store) -> None:
    """A call with the id of an earlier one returns what that had started and still runs, and no more."""
    ids = await kit.accept(store, *[kit.make(n) for n in range(3)])
    first = await store.claim(2, kit.KNOWN)
    kit.expect(
        "claim", [(one.submission.id, one.id) for one in first], [(job, kit.KNOWN.claim) for job in ids[:2]]
    )
    await store.send(ids[0], "a", [1])
    for limit in (0, 1, 5):
        came = await store.claim(limit, kit.KNOWN)
        kit.expect(f"claim with the same id, limit={limit}", _known(came), _known(first))
    kit.expect("claim with another id", await store.claim(0, kit.KNOWN._replace(claim="other")), [])
    await store.finish(ids[0], 1, kit.completed(), kit.KNOWN.claim)
    came = await store.claim(5, kit.KNOWN)
    kit.expect("finish of one, then claim with the same id", _known(came), _known(first[1:]))
    await store.finish(ids[1], 1, kit.completed(), kit.KNOWN.claim)
    kit.expect("finish of all, then claim with the same id and no limit", await store.claim(0, kit.KNOWN), [])
    came = await store.claim(5, kit.KNOWN)
    kit.expect("claim with an id of which nothing runs", [one.submission.id for one in came], ids[2:])


def _known(claims: list[Claim]) -> set[tuple[object, ...]]:
    return {
        (one.submission.id, one.submission.args, *_numbers(one), one.consumed, one.waited, one.id)
        for one in claims
    }


async def a_submit_is_asked_again(store: Store) -> None:
    """A submit that comes again with its jobs and its id returns what it had started, be it by key."""
    for batch in ([kit.make()], [kit.make(key="k")], [kit.make(), kit.make()]):
        ids, first = await store.submit(batch, len(batch), kit.KNOWN)
        again, came = await store.submit(batch, len(batch), kit.KNOWN)
        kit.expect("submit again: ids", again, ids)
        kit.expect("submit again: claims", _known(came), _known(first))
        for job_id in ids:
            await store.finish(job_id, 1, kit.completed(), kit.KNOWN.claim)


async def claims_at_the_same_time_share_no_job(store: Store) -> None:
    """However many claim at once, no job is started twice and none is left out."""
    await kit.expect_shared(*[store] * 4)


async def many_that_left_do_not_disturb_the_order(store: Store) -> None:
    """However many jobs left the queue by a cancel, those that stay start by rank, delayed ones included."""
    ranks = [Priority(n * 3 % 4) for n in range(120)]
    order = sorted(one.value for one in ranks[::11])
    for _ in range(5):  # the order of the cancels is another each time
        await _few(store, [kit.make(one.value, priority=one) for one in ranks])
        came = [claim.submission.args[0] for claim in await store.claim(kit.ALL, kit.HOLDER)]
        kit.expect("claim by priority, of those that are left,", came, order)
    await _few(store, [kit.make(delay=n * 37 % 120 / 1000) for n in range(120)])
    left = await store.find(Where(states={State.QUEUED}), kit.ALL)
    by_time = [job.id for job in sorted(left, key=lambda job: job.next_attempt_at or job.created_at)]
    await kit.lapse(0.12)
    claims = await kit.claimed(store, kit.ALL)
    kit.expect("claim by due time, of those that are left,", claims, by_time)


async def _few(store: Store, batch: list[Submission]) -> None:
    """Submit a batch, and cancel most of it."""
    ids = await kit.accept(store, *batch)
    async with trio.open_nursery() as nursery:
        for place, job_id in enumerate(ids):
            if place % 11:
                nursery.start_soon(store.request_cancel, job_id, None)


async def who_waits_longer_gains_rank(store: Store) -> None:
    """Rank is due time plus `PENALTY`: a job of low priority that waited for long goes before urgent ones.

    In real time this would take minutes, so only a store in virtual time is asked.
    """
    if not isinstance(trio.lowlevel.current_clock(), MockClock):
        return
    (old,) = await kit.accept(store, kit.make(priority=Priority.LOW))
    await trio.sleep(PENALTY[Priority.LOW] - 1)
    (urgent,) = await kit.accept(store, kit.make(priority=Priority.URGENT))
    await trio.sleep(2)
    (late,) = await kit.accept(store, kit.make(priority=Priority.URGENT))
    order = await kit.claimed(store, 3)
    kit.expect("claim of a job of low priority that waited for long", order, [urgent, old, late])
