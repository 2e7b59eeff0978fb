"""Services, of a store that keeps them: they are restarted, up to a bound, and claimed apart.

A check has the parameter `serving`: a store with `KeepsServices`. A durable one has `kit.service_work` among
its handlers, as it has `kit.work`.
"""

from __future__ import annotations

from typing import Any, Protocol, cast

import attrs

from ..._common.states import Reason, State, Transition
from ..._model.handler import mark_of
from ..._model.job import Ended, Kind, new_id
from ..._model.restart import Restart
from ...stores.contract import Claim, Claimant, Outcome, Store, Submission
from ...stores.services import KeepsServices
from . import kit


class Serving(Store, KeepsServices, Protocol):
    """A store with services."""


def _make(**rule: Any) -> Submission:
    """Return a submission of the service, as a registry makes it, with another `Restart`."""
    options = mark_of(kit.service_work).options
    options = attrs.evolve(options, restart=attrs.evolve(cast("Restart", options.restart), **rule))
    return Submission(new_id(), "service_work", kit.service_work, (), options)


def _restarted(message: str = "It returned") -> Outcome:
    return Outcome(Transition.RETRIED, None, Ended(Reason.RESTARTED, message, delay=0.0))


async def _start(serving: Serving, worker: Claimant = kit.HOLDER) -> Claim:
    """Wait until the service is due, and start it."""
    await kit.answered("due_services", serving.due_services())
    (claim,) = await serving.claim_services(worker)
    return claim


async def _started(serving: Serving, worker: Claimant = kit.HOLDER, **rule: Any) -> str:
    await kit.accept(serving, _make(**rule))
    return (await _start(serving, worker)).submission.id


async def _end(serving: Serving, job_id: str, attempt: int) -> Ended:
    """End an attempt at once, and return what its log says of that."""
    await serving.finish(job_id, attempt, _restarted())
    ended: Ended = (await kit.whole(serving, job_id))[-1].data
    return ended


async def services_are_claimed_apart(serving: Serving) -> None:
    """`claim` and `submit` start no service, `claim_services` nothing else; `due` does not tell of them."""
    (ordinary,) = await kit.accept(serving, kit.make())
    new = _make()
    ids, claims = await serving.submit([new], kit.ALL, kit.HOLDER)
    kit.expect("submit of a service, claiming", [one.submission.id for one in claims], [ordinary])
    kit.expect("submit of a service, then claim", await serving.claim(kit.ALL, kit.HOLDER), [])
    kit.expect("due, with a service, which is to wait", await kit.left(serving, serving.due), [])
    claim = await _start(serving)
    kit.expect("claim_services", (claim.submission.id, claim.attempt), (ids[0], 1))
    kit.expect("claim_services, once more", await serving.claim_services(kit.HOLDER), [])
    came = await kit.left(serving, serving.due_services)
    kit.expect("due_services, with one that runs, which is to wait", came, [])


async def there_is_one_of_each(serving: Serving) -> None:
    """To submit a service again gives the one that has not ended; after its end there is a new one."""
    job_id = await _started(serving)
    kit.expect("submit of a service that runs", await kit.accept(serving, _make()), [job_id])
    await _end(serving, job_id, 1)
    kit.expect("submit of a service that waits", await kit.accept(serving, _make()), [job_id])
    await serving.request_cancel(job_id, None)
    new = _make()
    kit.expect("submit of a service that was cancelled", await kit.accept(serving, new), [new.id])


async def a_claim_of_services_is_asked_again(serving: Serving) -> None:
    """A claim of services with a known id returns what it had started, and starts nothing else."""
    await kit.accept(serving, _make())
    (first,) = await serving.claim_services(kit.KNOWN)
    (second,) = await serving.claim_services(kit.KNOWN)
    came, wanted = [(one.submission.id, one.attempt, one.id) for one in (second, first)]
    kit.expect("claim_services, asked again", came, wanted)


async def waits_grow_in_a_row(serving: Serving) -> None:
    """An end puts the service back, for longer and longer."""
    job_id = await _started(serving, first=kit.LONG, maximum=kit.LONG)
    await _end(serving, job_id, 1)
    await kit.expect_job(
        "the end of an attempt", serving, job_id, state=State.RETRYING, reason=Reason.RESTARTED
    )
    kit.expect("the end of an attempt, then claim_services", await serving.claim_services(kit.HOLDER), [])
    await serving.request_cancel(job_id, None)
    job_id = await _started(serving)
    first = await _end(serving, job_id, 1)
    kit.expect("the first end: delay and repeats", (first.delay, first.repeats), (kit.BRIEF, 0))
    await _start(serving)
    second = await _end(serving, job_id, 2)
    kit.expect("the second end: delay and repeats", (second.delay, second.repeats), (2 * kit.BRIEF, 1))


async def a_good_while_begins_anew(serving: Serving) -> None:
    """After an attempt that ran for `healthy` seconds the wait is the first one again."""
    job_id = await _started(serving, healthy=kit.BRIEF)
    await _end(serving, job_id, 1)
    await _start(serving)
    await kit.lapse()
    ended = await _end(serving, job_id, 2)
    kit.expect("an end after a good while: delay and repeats", (ended.delay, ended.repeats), (kit.BRIEF, 0))


async def too_many_restarts_fail_it(serving: Serving) -> None:
    """With more than `most` ends within `within` seconds it is FAILED, and its name is free."""
    job_id = await _started(serving)
    await _end(serving, job_id, 1)
    for attempt in (2, 3):
        await _start(serving)
        state = await serving.finish(job_id, attempt, _restarted())
        wanted = State.FAILED if attempt == 3 else State.RETRYING
        kit.expect(f"finish of attempt {attempt} of a service", state, wanted)
    await kit.expect_job("too many ends", serving, job_id, reason=Reason.RESTARTS)
    new = _make()
    kit.expect("submit of a service that failed", await kit.accept(serving, new), [new.id])


async def restarts_of_long_ago_do_not_count(serving: Serving) -> None:
    """Only the restarts within the last `within` seconds count."""
    job_id = await _started(serving, within=kit.BRIEF, first=2 * kit.BRIEF)
    for attempt in (1, 2, 3):
        ended = await _end(serving, job_id, attempt)
        kit.expect(f"end {attempt}, long after the one before: reason", ended.reason, Reason.RESTARTED)
        await _start(serving)


async def a_cancelled_service_is_not_restarted(serving: Serving) -> None:
    """Of a service whose cancellation was requested every end is CANCELLED; so is its cancellation."""
    job_id = await _started(serving)
    await serving.request_cancel(job_id, "enough", 1.0)
    kit.expect(
        "finish of a service that was asked to end",
        await serving.finish(job_id, 1, _restarted()),
        "cancelled",
    )
    job_id = await _started(serving)
    kit.expect("finish of a cancelled service", await serving.finish(job_id, 1, kit.cancelled()), "cancelled")


async def a_lost_worker_is_a_restart(serving: Serving) -> None:
    """A service whose worker is lost is restarted, as any other end does it, and counts as one."""
    job_id = await _started(serving, kit.DOOMED)
    await kit.swept(serving)
    await kit.expect_job("sweep of a service", serving, job_id, state=State.RETRYING, reason=Reason.RESTARTED)
    claim = await _start(serving)
    kit.expect("sweep, then claim_services: attempt", claim.attempt, 2)
    ended = await _end(serving, job_id, 2)
    kit.expect("an end after that: delay and repeats", (ended.delay, ended.repeats), (2 * kit.BRIEF, 1))


async def a_shutdown_is_no_restart(serving: Serving) -> None:
    """A service that is handed over at a shutdown is due at once."""
    job_id = await _started(serving)
    await serving.finish(job_id, 1, kit.retried(Reason.SHUTDOWN))
    claim = await _start(serving)
    kit.expect("finish (shutdown), then claim_services: attempt", claim.attempt, 2)
    kit.expect("an end after a shutdown: delay", (await _end(serving, job_id, 2)).delay, kit.BRIEF)


async def only_services_are_restarted(serving: Serving) -> None:
    """Of a job that is no service, an end with reason `restarted` is a retry as any other."""
    job_id = await kit.started(serving)
    kit.expect("finish (restarted) of another job", await serving.finish(job_id, 1, _restarted()), "retrying")


async def ready_is_of_the_attempt(serving: Serving) -> None:
    """`ready_at` is when the attempt that runs wrote the event `ready`, which is no history."""
    job_id = await _started(serving)
    await kit.expect_job("claim_services", serving, job_id, ready_at=None)
    await serving.append(job_id, 1, Kind.READY, [None], 0)
    job = await serving.get(job_id)
    (event,) = [event for event in await kit.whole(serving, job_id) if event.kind is Kind.READY]
    late = None if job.ready_at is None else abs(job.ready_at.timestamp() - event.timestamp)
    kit.ensure(
        "append of ready, then get: ready_at", holds=late is not None and late < 0.001, came=job.ready_at
    )
    kinds = [event.kind for event in await serving.history(job_id)]
    kit.expect("append of ready, then history", kinds, [Kind.SUBMITTED, Kind.STARTED])
    await _end(serving, job_id, 1)
    await kit.expect_job("the end of an attempt that was ready", serving, job_id, ready_at=None)
    await _start(serving)
    await kit.expect_job("the next attempt", serving, job_id, ready_at=None)
