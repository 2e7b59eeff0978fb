"""Pauses: what is paused does not start, and all else goes on. Stores that keep no pauses pass at once."""

from __future__ import annotations

from typing import Protocol, cast

from ..._common.states import State
from ..._model.job import Timeouts
from ..._model.limits import Limit
from ...stores.contract import Store
from ...stores.limits import KeepsLimits
from ...stores.pauses import KeepsPauses, Pauses
from . import kit

_WORK, _OTHER = kit.work.__name__, kit.other_work.__name__


class Pausing(Store, KeepsPauses, Protocol):
    """A store that keeps pauses, which is what a check gets whose parameter is named so."""


async def _pause(store: KeepsPauses, *names: str, paused: bool = True) -> None:
    """Pause handlers, or resume them; without names, all."""
    await store.pause_handlers(names or None, paused=paused)


async def _expect(what: str, store: KeepsPauses, *names: str, everything: bool = False) -> None:
    kit.expect(
        f"{what}, then paused_handlers", await store.paused_handlers(), Pauses(everything, frozenset(names))
    )


async def what_is_paused_does_not_start(pausing: Pausing) -> None:
    """No claim starts a job of a paused handler, nor does a submit, whether it came before or later."""
    (early,) = await kit.accept(pausing, kit.make(priority=0))
    await _pause(pausing, _WORK)
    await _expect("pause_handlers", pausing, _WORK)
    for batch in ([kit.make()], [kit.make(), kit.make(priority=0)]):
        _, claims = await pausing.submit(batch, 4, kit.HOLDER)
        kit.expect("submit of paused ones, claiming four", claims, [])
    other = kit.make(target=kit.other_work)
    _, claims = await pausing.submit([other], 4, kit.HOLDER)
    came = [claim.submission.id for claim in claims]
    kit.expect("submit of one that is not paused, claiming four", came, [other.id])
    kit.expect("claim of what is paused", await kit.claimed(pausing, 4), [])
    kit.expect("pause_handlers, then get: state", await kit.state_of(pausing, early), State.QUEUED)


async def what_is_paused_says_so(pausing: Pausing) -> None:
    """`waiting_for` of what could start but for a pause, of its handler or of all, is `paused`."""
    ids = await kit.accept(pausing, kit.make(), kit.make(delay=kit.LONG), kit.make(target=kit.other_work))
    for names, other in (([_WORK], "worker"), ([], "paused")):
        await _pause(pausing, *names)
        await kit.expect_waits(pausing, ids, ["paused", "due", other])
        await _pause(pausing, *names, paused=False)
        await kit.expect_waits(pausing, ids, ["worker", "due", "worker"])


async def what_is_resumed_starts_by_rank(pausing: Pausing) -> None:
    """After a pause the jobs start in the order in which they would have, among those of all handlers."""
    await _pause(pausing, _WORK)
    await _pause(pausing, _OTHER)
    ids = await kit.accept(
        pausing, *(kit.make(target=target) for _ in range(3) for target in (kit.work, kit.other_work))
    )
    (urgent,) = await kit.accept(pausing, kit.make(priority=0))
    await _pause(pausing, _OTHER, _WORK, paused=False)
    await _expect("pause_handlers(paused=False)", pausing)
    came = [job_id for _ in range(7) for job_id in await kit.claimed(pausing, 1)]
    kit.expect("claim, one by one, of what was resumed", came, [urgent, *ids])


async def what_runs_goes_on(pausing: Pausing) -> None:
    """An attempt of a paused handler keeps its lease, spawns, writes and ends; what is to follow it waits."""
    job_id = await kit.started(pausing)
    await _pause(pausing, _WORK)
    await kit.expect_beat("heartbeat of what is paused", pausing, {job_id: 1})
    child = await kit.spawned(pausing, job_id)
    kit.expect("spawn while it is paused: state", await kit.state_of(pausing, child), State.RUNNING)
    await pausing.finish(child, 1, kit.completed())
    await pausing.finish(job_id, 1, kit.retried())
    kit.expect("finish that retries, then claim", await kit.claimed(pausing, 1), [])
    await _pause(pausing, _WORK, paused=False)
    await kit.again(pausing, job_id)


async def a_claim_asked_again_gives_what_runs(pausing: Pausing) -> None:
    """A claim that is asked again returns what it had started, also if that was paused meanwhile."""
    job_id = await kit.started(pausing, worker=kit.KNOWN)
    for names in ([_WORK], []):
        await _pause(pausing, *names)
        claims = await pausing.claim(1, kit.KNOWN)
        kit.expect("claim again, of what is paused", [one.submission.id for one in claims], [job_id])


async def all_may_be_paused(pausing: Pausing) -> None:
    """A pause of all holds each job, whatever is resumed by name; its end ends those by name as well."""
    ids = await kit.accept(pausing, kit.make(), kit.make(target=kit.other_work))
    await _pause(pausing)
    await _pause(pausing, _WORK)
    await _pause(pausing, _OTHER, paused=False)
    await _expect("pause_handlers of all", pausing, _WORK, everything=True)
    _, claims = await pausing.submit([kit.make()], 4, kit.HOLDER)
    kit.expect("submit while all is paused, claiming four", claims, [])
    kit.expect("claim while all is paused", await kit.claimed(pausing, 4), [])
    await _pause(pausing, paused=False)
    await _expect("pause_handlers(None, paused=False)", pausing)
    kit.expect("claim after all was resumed", (await kit.claimed(pausing, 4))[:2], ids)


async def due_waits_for_what_may_start(pausing: Pausing) -> None:
    """`due` does not return for what is paused, and does when it is resumed, or another job is due."""
    await kit.accept(pausing, kit.make(), kit.make())
    for names in ([_WORK], []):
        await _pause(pausing, *names)
        came = await kit.left(pausing, pausing.due)
        kit.expect("due while all that waits is paused, which is to wait", came, [])

        async def resume(given: list[str] = names) -> None:
            await _pause(pausing, *given, paused=False)

        await kit.hinted("due", pausing, pausing.due, lambda: _one_more(pausing), resume)
    await _pause(pausing, _WORK)

    async def submit() -> None:
        await kit.accept(pausing, kit.make(), kit.make(target=kit.other_work))

    await kit.hinted("due", pausing, pausing.due, lambda: _one_more(pausing), submit)


async def _one_more(store: Store) -> bool:
    return bool(await kit.claimed(store, 1))


async def what_is_paused_may_leave(pausing: Pausing) -> None:
    """A job of a paused handler is cancelled, or expires, as any other; an input does not start it."""
    waits = await kit.started(pausing)
    await pausing.finish(waits, 1, kit.awaiting())
    await _pause(pausing, _WORK)
    late = kit.make(timeouts=Timeouts(queue=kit.BRIEF))
    gone, *_ = await kit.accept(pausing, kit.make(), late)
    kit.expect("cancel of what is paused", await pausing.request_cancel(gone, None), "cancelled")
    await kit.swept(pausing)
    kit.expect("sweep, then get: state", await kit.state_of(pausing, late.id), State.FAILED)
    await pausing.send(waits, "a", [1])
    kit.expect("send to what is paused, then claim", await kit.claimed(pausing, 1), [])
    await _pause(pausing, _WORK, paused=False)
    await kit.again(pausing, waits)


async def a_pause_keeps_limits(pausing: Pausing) -> None:
    """While a handler is paused, its limits count what runs; then its keys take their turns."""
    if not isinstance(pausing, KeepsLimits):
        return
    running = await kit.started(pausing)
    await _pause(pausing, _WORK)
    await pausing.limit(_WORK, {"it": Limit(at_once=2)})
    first, second = await kit.accept(cast("Store", pausing), kit.make(), kit.make())
    kit.expect("limit of what is paused, then claim", await kit.claimed(pausing, 4), [])
    await _pause(pausing, _WORK, paused=False)
    kit.expect("claim of what is limited and was resumed", await kit.claimed(pausing, 4), [first])
    await pausing.finish(running, 1, kit.completed())
    await kit.again(pausing, second)


async def pauses_outlive_the_process(open_durable: kit.Opener) -> None:
    """What was paused is so when the store is opened again."""
    for names in ([_WORK, _OTHER], []):
        async with open_durable() as store:
            if not isinstance(store, KeepsPauses):
                return
            await _pause(store, *names)
        async with open_durable() as store:
            pausing = cast("Pausing", store)
            await _expect("pause_handlers, after it was opened again", pausing, *names, everything=not names)
            _, claims = await store.submit([kit.make()], 1, kit.HOLDER)
            kit.expect("submit of what is paused, after it was opened again, claiming one", claims, [])
            await _pause(pausing, paused=False)


async def pauses_are_shared(pausing: Pausing, other: Pausing) -> None:
    """What one connection pauses, the other one does not start; what it resumes, the other one hears of."""
    await kit.accept(pausing, kit.make())
    for names in ([_WORK], []):
        await _pause(pausing, *names)
        kit.expect("claim of what was paused elsewhere", await kit.claimed(other, 1), [])
    await _expect("pause_handlers elsewhere", other, _WORK, everything=True)

    async def resume() -> None:
        await _pause(pausing, paused=False)

    await kit.hinted("due", other, other.due, lambda: _one_more(other), resume)
