"""Jobs that are submitted again. Stores that cannot tell what a job was submitted with pass at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from ..._common.errors import UnknownJob
from ..._common.states import State
from ..._model.job import Priority, Timeouts
from ..._model.retry import Retry
from ...stores.contract import Claim, Store, Submission
from ...stores.resubmitting import KeepsSubmissions, resubmission
from . import kit

_GIVEN: Mapping[str, Any] = {
    "timeouts": Timeouts(run=5.0, idle=2.0),
    "retry": Retry(attempts=3, initial=0.5),
    "priority": Priority.HIGH,
    "tags": {"user": "7"},
    "metadata": {"why": ["a", 1]},
    "owner": "anna",
    "when_unread": "pause",
}


class Resubmitter(Store, KeepsSubmissions, Protocol):
    """A store whose jobs can be submitted again; a check gets one whose parameter is named so."""


async def _again(store: Resubmitter, job_id: str, *, once: bool = False, **given: Any) -> Submission:
    return resubmission(await store.submission(job_id), given, once=once)


async def what_was_submitted_is_told(resubmitter: Resubmitter) -> None:
    """`submission` returns the handler, arguments, options and key with which a job was submitted."""
    new = kit.make("a", 2, {"b": [None]}, kwargs={"c": [3]}, key="k", delay=kit.LONG, **_GIVEN)
    await kit.accept(resubmitter, new)
    found = await resubmitter.submission(new.id)
    came = found.id, found.handler, [*found.args], dict(found.kwargs), found.options, found.key
    kit.expect("submission", came, (new.id, new.handler, [*new.args], new.kwargs, new.options, new.key))
    await kit.refused("submission of no job", UnknownJob, resubmitter.submission("0" * 32))


async def a_job_is_submitted_again(resubmitter: Resubmitter) -> None:
    """A job that is submitted again has what the first one was submitted with, and names it; that stays."""
    first = await kit.finished(resubmitter, kit.failed(), key="k", kwargs={"c": [3]}, **_GIVEN)
    before = await resubmitter.get(first)
    new = await _again(resubmitter, first)
    kit.expect("submit of a job again", await kit.accept(resubmitter, new), [new.id])
    same = {name: getattr(before, name) for name in (*_GIVEN, "handler") if hasattr(before, name)}
    fresh = {"state": State.QUEUED, "key": None, "attempt": 0, "resubmitted_from": first}
    await kit.expect_job("submit of a job again", resubmitter, new.id, **same, **fresh)
    kit.expect("submit of a job again: the first", await resubmitter.get(first), before)
    claim = await kit.again(resubmitter, new.id)
    came = claim.submission.args, dict(claim.submission.kwargs)
    kit.expect("claim of a job submitted again: args and kwargs", came, (new.args, {"c": [3]}))


async def it_is_due_at_once(resubmitter: Resubmitter) -> None:
    """A job that is submitted again is due at once, whatever the delay of the first was."""
    (first,) = await kit.accept(resubmitter, kit.make(delay=kit.LONG))
    await resubmitter.request_cancel(first, None)
    new = await _again(resubmitter, first)
    await kit.accept(resubmitter, new)
    await kit.again(resubmitter, new.id)


async def a_job_may_be_submitted_again_often(resubmitter: Resubmitter) -> None:
    """Without `once`, a job is submitted again each time, and those that have an exclusive name in order."""
    first = await kit.finished(resubmitter, exclusive="x", on_busy="after")
    news = [await _again(resubmitter, first) for _ in range(3)]
    for new in news:
        kit.expect("submit of a job again", await kit.accept(resubmitter, new), [new.id])
    behind = [(await resubmitter.get(new.id)).behind for new in news]
    kit.expect("submit of an exclusive job again: behind", behind, [None, news[0].id, news[0].id])


async def once_is_once(resubmitter: Resubmitter) -> None:
    """With `once`, a job that was submitted again is not, and the answer is what it was submitted as."""
    for exclusive in (None, "x"):
        first = await kit.finished(resubmitter, kit.failed(), exclusive=exclusive)
        new, late = [await _again(resubmitter, first, once=True, exclusive=exclusive) for _ in range(2)]
        kit.expect("submit with once", await kit.accept(resubmitter, new), [new.id])
        kit.expect("submit with once, called again", await kit.accept(resubmitter, new), [new.id])
        kit.expect("another submit with once", await kit.accept(resubmitter, late), [new.id])
        await kit.refused("get of what was not accepted", UnknownJob, resubmitter.get(late.id))
        await kit.again(resubmitter, new.id)
        await resubmitter.finish(new.id, 1, kit.failed())
        kit.expect(
            "another submit with once, and a free slot",
            await resubmitter.submit([late], 1, kit.HOLDER),
            ([new.id], list[Claim]()),
        )
        by_hand = ""
        for _ in range(2):
            (by_hand,) = await kit.accept(resubmitter, await _again(resubmitter, first))
            await kit.again(resubmitter, by_hand)
            await resubmitter.finish(by_hand, 1, kit.completed())
        kit.expect("once, after a submit without", await kit.accept(resubmitter, late), [by_hand])


async def the_first_may_go(resubmitter: Resubmitter) -> None:
    """If the first job is removed, the one that it was submitted again as names it still."""
    first = await kit.finished(resubmitter, kit.failed())
    new = await _again(resubmitter, first, once=True)
    await resubmitter.remove(first)
    kit.expect("submit again of what was removed", await kit.accept(resubmitter, new), [new.id])
    await kit.expect_job("submit again of what was removed", resubmitter, new.id, resubmitted_from=first)


async def what_may_be_retried_is_found(resubmitter: Resubmitter) -> None:
    """`retryable` selects jobs that have ended, are no child jobs and were not submitted again."""
    first, other = [await kit.finished(resubmitter, how) for how in (kit.failed(), kit.completed())]
    parent = await kit.started(resubmitter)
    await kit.spawned(resubmitter, parent)
    await resubmitter.finish(parent, 1, kit.failed())
    (waits,) = await kit.accept(resubmitter, kit.make(delay=kit.LONG))
    kit.expect("find of retryable jobs", await kit.found(resubmitter, retryable=True), [first, other, parent])
    await kit.accept(resubmitter, await _again(resubmitter, first))
    kit.expect("the same after one was", await kit.found(resubmitter, retryable=True), [other, parent])
    counted = {State.COMPLETED: 1, State.FAILED: 1}
    kit.expect("count of retryable jobs", await kit.counted(resubmitter, retryable=True), counted)
    await resubmitter.request_cancel(waits, None)
    by_state = await kit.found(resubmitter, retryable=True, states={State.CANCELLED})
    kit.expect("find of retryable jobs that were cancelled", by_state, [waits])
