"""`exclusive` and `on_busy`: one job holds a name, and what a submit does while one does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

from ..._common.errors import Busy
from ..._common.states import Reason, State
from ..._model.exclusive import Debounce
from ..._model.job import Ended, Timeouts
from ...stores.contract import Claim, Store, Submission
from . import kit
from .kit import Opener

_OVER: Final = (State.COMPLETED, State.FAILED, State.CANCELLED)
_QUICK: Final = Debounce(kit.BRIEF, kit.LONG)
_TAKING: Final = ("replace", "cancel", Debounce(0.0, kit.LONG))
"""The values of `on_busy` that leave one job behind the holder at most."""


def _make(on_busy: object = "reject", *, exclusive: str = "chat", **options: Any) -> Submission:
    return kit.make(exclusive=exclusive, on_busy=on_busy, **options)


async def _put(store: Store, on_busy: object = "reject", **options: Any) -> str:
    (job_id,) = await kit.accept(store, _make(on_busy, **options))
    return job_id


async def _running(store: Store, **options: Any) -> str:
    job_id = await _put(store, **options)
    return (await kit.again(store, job_id)).submission.id


async def _stopping(store: Store) -> str:
    job_id = await _running(store)
    await store.request_cancel(job_id, None, kit.LONG)
    return job_id


async def _retrying(store: Store, outcome: Any) -> str:
    job_id = await _running(store)
    await store.finish(job_id, 1, outcome)
    return job_id


_WAITING: Final[dict[str, Callable[[Store], Awaitable[str]]]] = {
    "is due": _put,
    "is not due yet": partial(_put, delay=kit.LONG),
    "is to run again": partial(_retrying, outcome=kit.retried(delay=kit.LONG)),
    "awaits an input": partial(_retrying, outcome=kit.awaiting()),
}
_STARTED: Final[dict[str, Callable[[Store], Awaitable[str]]]] = {"runs": _running, "stops": _stopping}


async def _clear(store: Store) -> None:
    """End every job, so that nothing holds a name; those behind come up one after the other."""
    for job_id in await kit.found(store, states={State.QUEUED, State.RETRYING}):
        await store.request_cancel(job_id, None)
    for job_id in await kit.found(store, states={State.RUNNING}):
        await store.finish(job_id, (await store.get(job_id)).attempt, kit.cancelled())


async def _expect_behind(what: str, store: Store, holder: str, *behind: str) -> None:
    for job_id in behind:
        await kit.expect_job(what, store, job_id, state=State.QUEUED, behind=holder)


async def _expect_replaced(what: str, store: Store, by: str, *gone: str) -> None:
    for job_id in gone:
        over = {"state": State.CANCELLED, "reason": Reason.REPLACED, "replaced_by": by, "behind": None}
        await kit.expect_job(what, store, job_id, **over, finished_at=..., next_attempt_at=None)
        log = await kit.words(store, job_id)
        ended = Ended(Reason.REPLACED, replaced_by=by)
        kit.expect(f"{what}, then read", log[-1][1:], ("cancelled", ended))


# ------------------------------------------------------------ one rule after the other


async def a_name_that_is_held_is_refused(store: Store) -> None:
    """With `reject` a submit raises `Busy`, which names the holder, and changes nothing."""
    for word, hold in (_WAITING | _STARTED).items():
        holder = await hold(store)
        what = f"submit with reject while the holder {word}"
        error = await kit.unchanged(
            what, store, holder, partial(kit.rejected, what, Busy, store, _make(), limit=1)
        )
        kit.expect(f"{what}: Busy.job_id", error.job_id, holder)
        await _clear(store)
    kit.expect("submit refused, then find", len(await kit.found(store)), len(_WAITING | _STARTED))


async def a_name_that_is_held_gives_the_holder(store: Store) -> None:
    """With `attach` a submit gives the holder, be it of another handler, and changes nothing."""
    for word, hold in (_WAITING | _STARTED).items():
        holder = await hold(store)
        what = f"submit with attach while the holder {word}"
        attach = partial(_put, store, "attach", target=kit.other_work)
        kit.expect(what, await kit.unchanged(what, store, holder, attach), holder)
        behind = await _put(store, "after")
        kit.expect(f"{what} and another one stands behind", await attach(), holder)
        await store.request_cancel(behind, None)
        await _clear(store)


async def after_is_in_order(store: Store) -> None:
    """With `after` jobs stand behind the holder, and start one by one, whatever became of the one before."""
    for hold in (_WAITING | _STARTED).values():
        holder = await hold(store)
        behind = [await _put(store, "after") for _ in range(3)]
        await _expect_behind("submit with after", store, holder, *behind)
        if await kit.state_of(store, holder) is not State.RUNNING:
            await store.request_cancel(holder, None)
        else:
            kit.expect("claim, while the holder runs,", await kit.claimed(store, 9), [])
            await store.finish(holder, 1, kit.failed())
        for number, outcome in enumerate((kit.completed(), kit.failed(), kit.cancelled())):
            await kit.expect_job("end of the holder", store, behind[number], behind=None)
            await _expect_behind("end of the holder", store, behind[number], *behind[number + 1 :])
            kit.expect("claim, of those in a row,", await kit.claimed(store, 9), [behind[number]])
            kit.expect("claim, while the first of them runs,", await kit.claimed(store, 9), [])
            await store.finish(behind[number], 1, outcome)


async def what_waits_is_replaced(store: Store) -> None:
    """With `replace`, `cancel` and a debounce a holder that waits ends, and the new job holds the name."""
    for on_busy in _TAKING:
        for word, hold in _WAITING.items():
            holder = await hold(store)
            behind = [await _put(store, "after") for _ in range(2)]
            new = await _put(store, on_busy)
            what = f"submit with {on_busy} while the holder {word}"
            await _expect_replaced(what, store, new, holder, *behind)
            await kit.expect_job(what, store, new, state=State.QUEUED, behind=None)
            kit.expect(f"{what}, then claim", await kit.claimed(store, 9), [new])
            await store.finish(new, 1, kit.completed())
            kit.expect(f"{what}, once the new job has ended: claim", await kit.claimed(store, 9), [])


async def one_stands_behind_what_runs(store: Store) -> None:
    """With `replace`, `cancel` and a debounce what runs goes on, and only the newest stands behind it."""
    for on_busy in _TAKING:
        for word, hold in _STARTED.items():
            holder = await hold(store)
            gone = [await _put(store, "after"), await _put(store, "after")]
            new = await _put(store, on_busy)
            what = f"submit with {on_busy} while the holder {word}"
            await _expect_replaced(what, store, new, *gone)
            last = await _put(store, on_busy)
            await _expect_replaced(what, store, last, new)
            await _expect_behind(what, store, holder, last)
            await kit.expect_job(what, store, holder, state=State.RUNNING, replaced_by=None)
            kit.expect(f"{what}, then claim", await kit.claimed(store, 9), [])
            await store.finish(holder, 1, kit.completed())
            kit.expect(f"{what}, once that has ended: claim", await kit.claimed(store, 9), [last])
            await store.finish(last, 1, kit.completed())


async def only_cancel_cancels_what_runs(store: Store) -> None:
    """With `cancel` the same submit requests the cancellation of what runs, without grace; no other does."""
    for on_busy in ("attach", "after", "replace", Debounce(0.0, kit.LONG), "cancel"):
        holder = await _running(store)
        await _put(store, on_busy)
        cancels = {holder: 0.0} if on_busy == "cancel" else {}
        what = f"submit with {on_busy} while the holder runs"
        await kit.expect_beat(f"{what}, then heartbeat", store, {holder: 1}, cancels=cancels)
        log = [kind for _, kind, _ in await kit.words(store, holder)]
        kit.expect(f"{what}, then read", log[2:], ["cancel_requested"] * len(cancels))
        await _clear(store)
        await _clear(store)
    holder = await _stopping(store)
    await _put(store, "cancel")
    await kit.expect_beat(
        "submit with cancel while the holder stops, then heartbeat", store, {holder: 1}, cancels={holder: 0.0}
    )


async def a_debounce_waits_for_quiet(store: Store) -> None:
    """With a debounce a job is due `seconds` after its submit; each submit puts it off again."""
    first = await _put(store, _QUICK)
    await kit.expect_put_off(store, first)
    second = await _put(store, _QUICK)
    await _expect_replaced("submit with a debounce again", store, second, first)
    await kit.expect_put_off(store, second)
    await kit.lapse()
    kit.expect("claim, of a job that was put off,", await kit.claimed(store, 9), [second])


async def a_debounce_puts_off_so_long(store: Store) -> None:
    """A job is due at the latest `at_most` after the first of those that were put off one after the other."""
    for hold in (None, _running):
        holder = None if hold is None else await hold(store)
        first = await _put(store, Debounce(kit.LONG, kit.LONG))
        await kit.lapse()
        last = await _put(store, Debounce(kit.LONG, kit.LONG))
        dues = [(await store.get(first)).created_at, (await store.get(last)).next_attempt_at]
        off = None if dues[0] is None or dues[1] is None else (dues[1] - dues[0]).total_seconds() - kit.LONG
        kit.ensure(
            f"it is due {kit.LONG} s after the first was submitted",
            holds=off is not None and abs(off) < kit.BRIEF / 5,
            came=off,
        )
        plain = await _put(store, "replace")
        anew = await _put(store, Debounce(kit.LONG, kit.LONG))
        await _expect_replaced("submit with a debounce", store, anew, plain)
        await kit.expect_put_off(store, anew, kit.LONG)  # what was not put off is no first one
        if holder is not None:
            await store.finish(holder, 1, kit.completed())
        await store.request_cancel(anew, None)


# ------------------------------------------------------------ who holds a name


async def names_are_per_owner(store: Store) -> None:
    """A name is one owner's, over all handlers; jobs with another name, or none, are nobody's matter."""
    batch = [_make(), _make(owner="me"), _make(owner="you"), _make(exclusive="other"), kit.make()]
    for one in batch:
        await kit.accept(store, one)
    kit.expect("claim, of jobs with different names,", len(await kit.claimed(store, 9)), len(batch))
    for one in batch[:4]:
        owner, name = one.options.owner, one.options.exclusive or ""
        again = _make(owner=owner, exclusive=name, target=kit.other_work)
        error = await kit.rejected("submit of a name that is held", Busy, store, again)
        kit.expect("Busy.job_id", error.job_id, one.id)
        await kit.expect_job("submit", store, one.id, exclusive=name, behind=None, replaced_by=None)


async def what_has_ended_holds_no_name(store: Store) -> None:
    """A job that has ended, in whatever way, or was removed, holds no name."""
    for outcome in (kit.completed(), kit.failed(), kit.cancelled()):
        job_id = await _running(store)
        await store.finish(job_id, 1, outcome)
    removed = await _retrying(store, kit.completed())
    await store.remove(removed)
    cancelled = await _put(store)
    await store.request_cancel(cancelled, None)
    holder = await _put(store)
    await kit.expect_job("submit of a name that was held", store, holder, state=State.QUEUED, behind=None)


async def a_retry_keeps_the_name(store: Store) -> None:
    """A job that is to run again holds its name; what stands behind it does not start in between."""
    holder = await _running(store)
    behind = await _put(store, "after")
    await store.finish(holder, 1, kit.retried())
    await _expect_behind("finish with a retry", store, holder, behind)
    kit.expect("claim, after a retry,", await kit.claimed(store, 9), [holder])


async def each_end_lets_the_next_one_start(store: Store) -> None:
    """What stands behind a holder comes up in the step in which it ends: also by a sweep or a request."""
    doomed: Claim = await kit.again(store, await _put(store), kit.DOOMED)
    await store.request_cancel(doomed.submission.id, None)
    behind = [await _put(store, "after")]
    await kit.swept(store)
    await kit.expect_job("sweep of a lost holder", store, behind[0], behind=None)
    behind += [await _put(store, "after", timeouts=Timeouts(queue=kit.BRIEF)), await _put(store, "after")]
    await store.request_cancel(behind[0], None)
    await kit.expect_job("request_cancel of the holder", store, behind[1], behind=None)
    await kit.swept(store)
    await kit.expect_job("expiry of the holder", store, behind[1], reason=Reason.QUEUE_TIMEOUT)
    kit.expect("claim, after an expiry,", await kit.claimed(store, 9), [behind[2]])


async def the_end_of_a_holder_is_a_hint(store: Store) -> None:
    """`due` returns when the end of a holder made another job due."""
    holder = await _running(store)
    behind = await _put(store, "after")

    async def look() -> bool:
        return await kit.claimed(store, 1) == [behind]

    end = partial(store.finish, holder, 1, kit.completed())
    await kit.hinted("due, at the end of a holder", store, store.due, look, end)


async def a_request_to_cancel_is_a_hint(store: Store) -> None:
    """`cancelling` returns when a submit requests the cancellation of what runs."""
    holder = await _running(store)
    found = await kit.woken("cancelling", store, lambda: store.cancelling({}), partial(_put, store, "cancel"))
    kit.expect("cancelling, after a submit with cancel", dict(found), {holder: 0.0})


# ------------------------------------------------------------ those behind


async def what_stands_behind_is_cancelled_at_once(store: Store) -> None:
    """A request to cancel a job that stands behind ends it, and changes nothing about the others."""
    holder = await _running(store)
    first, last = await _put(store, "cancel"), await _put(store, "after")
    kit.expect("request_cancel of what stands behind", await store.request_cancel(first, "no"), "cancelled")
    over = {"state": State.CANCELLED, "reason": Reason.USER, "message": "no", "behind": None}
    await kit.expect_job("request_cancel of what stands behind", store, first, **over)
    await _expect_behind("request_cancel of another one", store, holder, last)
    await kit.expect_beat("its end, then heartbeat of the holder", store, {holder: 1}, cancels={holder: 0.0})
    await store.finish(holder, 1, kit.completed())
    kit.expect("claim, at the end of the holder,", await kit.claimed(store, 9), [last])


async def what_stands_behind_expires(store: Store) -> None:
    """The queue timeout of a job runs while it stands behind another one, and a delay passes."""
    holder = await _running(store)
    late = await _put(store, "after", timeouts=Timeouts(queue=kit.BRIEF))
    later = await _put(store, "after", delay=kit.BRIEF)
    await kit.swept(store)
    await kit.expect_job("sweep", store, late, state=State.FAILED, reason=Reason.QUEUE_TIMEOUT, behind=None)
    await _expect_behind("sweep of another one", store, holder, later)
    await store.finish(holder, 1, kit.completed())
    kit.expect("claim, at the end of the holder,", await kit.claimed(store, 9), [later])


async def what_stands_behind_is_counted(store: Store) -> None:
    """Lists and counts have a job that stands behind another one as one that is QUEUED."""
    holder = await _running(store)
    behind = await _put(store, "after")
    kit.expect(
        "count, while one stands behind", await kit.counted(store), {State.RUNNING: 1, State.QUEUED: 1}
    )
    kit.expect("find, while one stands behind", await kit.found(store), [holder, behind])


# ------------------------------------------------------------ what comes first


async def a_key_comes_first(store: Store) -> None:
    """A known key, and a known id, are answered and change nothing, whatever `on_busy` says."""
    for on_busy in ("reject", *_TAKING, "after"):
        kept = await _put(store, on_busy, key="k")
        newer = await _put(store, "replace")
        what = f"submit of a known key with {on_busy}"
        kit.expect(
            what, await kit.unchanged(what, store, newer, partial(_put, store, on_busy, key="k")), kept
        )
        await store.request_cancel(newer, None)
        await store.remove(kept)
        new = _make(on_busy)
        await kit.accept(store, new)
        what = f"submit of a known id with {on_busy}"
        again = partial(kit.accept, store, new)
        kit.expect(what, await kit.unchanged(what, store, new.id, again), [new.id])
        await store.request_cancel(new.id, None)
        kit.expect(f"{what} that has ended", await again(), [new.id])


async def a_submit_starts_what_it_may(store: Store) -> None:
    """A submit that also claims starts the new job if it holds the name, and never one that stands behind."""
    (first,), claims = await store.submit([_make()], 2, kit.HOLDER)
    kit.expect("submit of what holds the name: claims", [claim.submission.id for claim in claims], [first])
    other = (await kit.accept(store, kit.make()))[0]
    _, claims = await store.submit([_make("after")], 2, kit.HOLDER)
    kit.expect("submit of what stands behind: claims", [claim.submission.id for claim in claims], [other])


# ------------------------------------------------------------ several


async def other_workers_start_the_next_one(one: Store, other: Store) -> None:
    """Through another connection a job that stood behind is found once its holder has ended."""
    holder = await _running(one)
    behind = await _put(other, "after")
    await _expect_behind("submit through another connection", one, holder, behind)

    async def look() -> bool:
        return await kit.claimed(other, 1) == [behind]

    end = partial(one.finish, holder, 1, kit.completed())
    await kit.hinted("due, through another connection", other, other.due, look, end)


async def names_outlive_the_store(open_durable: Opener) -> None:
    """What holds a name, stands behind, is put off, or was replaced is so when the store is opened again."""
    async with open_durable() as store:
        gone = await _put(store, _QUICK, exclusive="off")
        off = await _put(store, Debounce(kit.LONG, kit.LONG), exclusive="off")
        holder = await _running(store)
        behind = await _put(store, "after")
    async with open_durable() as store:
        await _expect_replaced("opening again", store, off, gone)
        await _expect_behind("opening again", store, holder, behind)
        await store.finish(holder, 1, kit.completed())
        claims = await store.claim(9, kit.HOLDER)
        kit.expect("claim, after opening again,", [claim.submission.id for claim in claims], [behind])
        kit.expect("claim: on_busy", claims[0].submission.options.on_busy, "after")
        last = await _put(store, Debounce(kit.LONG, kit.LONG), exclusive="off")
        due, begun = (await store.get(last)).next_attempt_at, (await store.get(gone)).created_at
        late = None if due is None else (due - begun).total_seconds() - kit.LONG
        kit.ensure(
            "submit puts off what was put off before", holds=late is not None and abs(late) < 5, came=late
        )
