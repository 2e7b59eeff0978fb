"""Jobs that wait for an input: they take nothing, and are woken by an input, by the end, or in time."""

from __future__ import annotations

import math

from ..._common.states import Reason, State
from ..._model.job import Ended, Kind
from ...stores.contract import Claim, Store
from . import kit


async def _waits(store: Store, timeout: float = math.inf) -> str:
    """Return the id of a job that waits for an input."""
    job_id = await kit.started(store)
    state = await store.finish(job_id, 1, kit.awaiting(timeout))
    kit.expect("finish (awaiting)", state, State.RETRYING)
    kit.expect("claim, while a job waits for an input", await kit.claimed(store, 9), [])
    return job_id


async def a_wait_takes_nothing(store: Store) -> None:
    """A job that waits for an input spends nothing, says what for, and is not due before it comes."""
    job_id = await _waits(store)
    job = await store.get(job_id)
    kit.expect("get: reason and message", (job.reason, job.message), (Reason.AWAITING_INPUT, "for an answer"))
    kit.expect("get: spent, next_attempt_at", (job.spent, job.next_attempt_at), (0, None))
    ended = Ended(Reason.AWAITING_INPUT, "for an answer", None, math.inf)
    kit.expect("finish (awaiting), then read", (await kit.words(store, job_id))[-1], (1, "retried", ended))
    await kit.fenced(store, job_id, 1)
    claims = await store.submit([kit.make()], 1, kit.HOLDER)
    kit.expect("submit and claim, while a job waits for an input", len(claims[1]), 1)
    await store.send(job_id, "a", [1])
    _, claimed = await store.submit([kit.make()], 1, kit.HOLDER)
    found = [claim.submission.id for claim in claimed]
    kit.expect("submit and claim, while a job waits that an input woke", found, [job_id])


async def an_input_wakes(store: Store) -> None:
    """An input makes a job due at once that waits for one, and the next attempt knows; so does their end."""
    job_id = await _waits(store)
    for attempt in (2, 3):
        found = list[Claim]()

        async def look(found: list[Claim] = found) -> bool:
            found += await store.claim(1, kit.HOLDER)
            return bool(found)

        async def act(attempt: int = attempt) -> None:
            await (store.send(job_id, "a", [1]) if attempt == 2 else store.end_inputs(job_id))

        await kit.hinted("due, woken by an input", store, store.due, look, act)
        claim = found[0]
        kit.expect("claim: attempt", (claim.submission.id, claim.attempt), (job_id, attempt))
        kit.expect(
            "claim: spent, waited, consumed", (claim.spent, claim.waited, claim.consumed), (1, "input", 0)
        )
        job = await store.get(job_id)
        kit.expect("claim, then get: reason, message", (job.reason, job.message), (None, None))
        await store.finish(job_id, attempt, kit.awaiting(received=job.last_seq - 1))
    kit.expect("claim, of who received all and waits", await kit.claimed(store, 9), [])


async def a_known_input_wakes_nobody(store: Store) -> None:
    """An input that is sent again is no new one: who has received it waits on."""
    job_id = await kit.started(store)
    seq = await store.send(job_id, "a", [1])
    await store.finish(job_id, 1, kit.awaiting(received=seq))
    await store.send(job_id, "a", [1])
    kit.expect("claim, after the same input again", await kit.claimed(store, 9), [])


async def a_wait_may_have_a_limit(store: Store) -> None:
    """A wait ends when its time is over, which the next attempt can tell from an input; not before."""
    job_id = await kit.started(store)
    await store.finish(job_id, 1, kit.awaiting(kit.LONG))
    kit.expect("claim before the limit", await kit.claimed(store, 9), [])
    kit.ensure("get: next_attempt_at", holds=(await store.get(job_id)).next_attempt_at is not None, came=None)
    await store.send(job_id, "a", [1])
    claim = await kit.again(store, job_id)
    kit.expect("claim, after an input within the limit: waited", claim.waited, "input")
    await store.finish(job_id, 2, kit.awaiting(kit.BRIEF, received=claim.seq - 1))
    found = list[Claim]()

    async def look() -> bool:
        found.extend(await store.claim(1, kit.HOLDER))
        return bool(found)

    await kit.soon("due, at the limit of a wait", store.due, look)
    kit.expect("claim, after the limit: waited", [claim.waited for claim in found], ["timeout"])
    await store.finish(job_id, 3, kit.retried())
    kit.expect("claim after another end: waited", (await kit.again(store, job_id)).waited, None)


async def what_was_not_received_ends_a_wait_at_once(store: Store) -> None:
    """What came before the wait was recorded, and was not received, ends it at once."""
    for end in (False, True):
        job_id = await kit.started(store)
        first = await store.send(job_id, "a", [1])
        second = await (store.end_inputs(job_id) if end else store.send(job_id, "b", [2]))
        await store.append(job_id, 1, Kind.SAVED, [1], 0, received=first)
        await store.finish(job_id, 1, kit.awaiting(received=first))
        kit.expect("claim: waited", (await kit.again(store, job_id)).waited, "input")
        await store.finish(job_id, 2, kit.awaiting(received=second))
        kit.expect("claim, of who received all and waits", await kit.claimed(store, 9), [])
        await store.request_cancel(job_id, None)


async def an_input_hastens_no_other_job(store: Store) -> None:
    """A job that is delayed, snoozes or is to be retried later is due no earlier for an input."""
    (delayed,) = await kit.accept(store, kit.make(delay=kit.LONG))
    ids = [delayed]
    for reason in (Reason.SNOOZED, Reason.ERROR, Reason.TIMEOUT):
        ids.append(await kit.started(store))
        await store.finish(ids[-1], 1, kit.retried(reason, kit.LONG))
    before = [(await store.get(job_id)).next_attempt_at for job_id in ids]
    for job_id in ids:
        await store.send(job_id, "a", [1])
        await store.end_inputs(job_id)
    kit.expect("send, then claim", await kit.claimed(store, 9), [])
    kit.expect("send, then get", [(await store.get(job_id)).next_attempt_at for job_id in ids], before)


async def an_input_delays_no_job_that_is_due(store: Store) -> None:
    """A job whose wait is over keeps its place in the queue when more inputs come."""
    first, second = await kit.started(store), await kit.started(store)
    for job_id in (first, second):
        await store.finish(job_id, 1, kit.awaiting())
        await store.send(job_id, "a", [1])
        await kit.lapse()
    await store.send(first, "b", [2])
    kit.expect("claim, of two that were woken", await kit.claimed(store, 9), [first, second])


async def a_cancel_ends_a_wait(store: Store) -> None:
    """A job that waits for an input is cancelled at once; one that is to be cancelled does not wait."""
    job_id = await _waits(store)
    kit.expect("request_cancel", await store.request_cancel(job_id, "enough"), "cancelled")
    await store.send(other := await kit.started(store), "a", [1])
    await store.request_cancel(other, "enough", kit.LONG)
    kit.expect("finish (awaiting)", await store.finish(other, 1, kit.awaiting()), State.CANCELLED)
    for one in (job_id, other):
        job = await store.get(one)
        kit.expect("get", (job.state, job.reason, job.message), (State.CANCELLED, Reason.USER, "enough"))
    kit.expect("claim", await kit.claimed(store, 9), [])


async def ends_in_a_row_are_counted(store: Store) -> None:
    """A wait says how many waits went before it in a row, and a snooze how many snoozes."""
    job_id = await kit.started(store)
    snooze, wait, fail = kit.retried(Reason.SNOOZED), kit.awaiting(0.0), kit.retried()
    outcomes = (snooze, snooze, snooze, wait, wait, snooze, fail, snooze, kit.retried(Reason.SHUTDOWN), wait)
    for attempt, outcome in enumerate(outcomes, 1):
        await store.finish(job_id, attempt, outcome)
        await kit.again(store, job_id)
    repeats = [event.data.repeats for event in await store.history(job_id) if event.kind is Kind.RETRIED]
    kit.expect("history: repeats", repeats, [0, 1, 2, 0, 1, 0, 0, 0, 0, 0])


async def a_lost_worker_does_not_count_as_a_wait(store: Store) -> None:
    """The attempt after a lost one did not wait, whatever the job waited for before."""
    job_id = await _waits(store)
    await store.send(job_id, "a", [1])
    await kit.again(store, job_id, kit.DOOMED)
    await kit.lapse()
    await store.sweep()
    claim = await kit.again(store, job_id)
    kit.expect("claim after a lost worker: waited, consumed", (claim.waited, claim.consumed), (None, 0))
    await store.finish(job_id, 3, kit.awaiting())
    kit.expect("claim, of who did not receive what is there", await kit.claimed(store, 9), [job_id])
