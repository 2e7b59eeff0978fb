"""`spawn`: children live as long as the attempt that spawned them, and no longer."""

from __future__ import annotations

from functools import partial

from ..._common.states import Reason, State
from ..._model.job import Ended, Kind
from ...stores.contract import Store
from . import kit

_ABANDONED = {"state": State.CANCELLED, "reason": Reason.PARENT}


async def a_child_runs_from_birth(store: Store) -> None:
    """A child is RUNNING its first attempt, knows its parent, and writes a log of its own."""
    parent = await kit.started(store)
    new = kit.make("arg", tags={"a": "b"})
    claim = await store.spawn(parent, 1, new, kit.HOLDER)
    came = claim.submission.id, claim.submission.args, claim.attempt, claim.spent, claim.saved, claim.seq
    kit.expect("spawn returns the claim", came, (new.id, ("arg",), 1, 1, None, 2))
    born = {"state": State.RUNNING, "parent": parent, "attempt": 1, "spent": 1, "tags": {"a": "b"}}
    await kit.expect_job("spawn", store, new.id, **born)
    await store.append(new.id, 1, Kind.TOKEN, ["own"], 0)
    log = [(0, "submitted", "work"), (1, "started", "holder"), (1, "token", "own")]
    kit.expect("spawn, then append, then read", await kit.words(store, new.id), log)
    kit.expect("spawn, then find by parent", await kit.found(store, parent=parent), [new.id])
    await kit.expect_job("spawn", store, parent, last_seq=2)


async def spawn_is_repeatable(store: Store) -> None:
    """To spawn a known id again gives the same claim, and makes no second child."""
    parent, new = await kit.started(store), kit.make()
    spawn = partial(store.spawn, parent, 1, new, kit.HOLDER)
    first, second = await spawn(), await kit.unchanged("spawn again", store, new.id, spawn)
    came, wanted = [(one.submission.id, one.attempt, one.spent, one.seq) for one in (second, first)]
    kit.expect("spawn again", came, wanted)
    kit.expect("spawn again, then find", await kit.found(store, parent=parent), [new.id])


async def children_end_with_the_attempt(store: Store) -> None:
    """However an attempt ends, its open children are cancelled with reason parent, in the same step.

    So are the children of its children. What a child became before is not touched.
    """
    for outcome in (kit.completed(), kit.failed(), kit.cancelled(), kit.retried(delay=kit.LONG), None):
        parent = await kit.started(store, worker=kit.HOLDER if outcome else kit.DOOMED)
        child, other, over = [await kit.spawned(store, parent) for _ in range(3)]
        grandchild = await kit.spawned(store, child)
        kit.expect("finish of a child", await store.finish(over, 1, kit.completed(1)), State.COMPLETED)
        kit.expect("finish of a child, then get", await kit.state_of(store, parent), State.RUNNING)
        if outcome is None:
            what = "sweep of the parent's attempt"
            await kit.unchanged(what, store, over, partial(kit.swept, store))
            await kit.expect_job(what, store, parent, state=State.RETRYING)
        else:
            what = f"finish ({outcome.transition.value}) of the parent"
            await kit.unchanged(what, store, over, partial(store.finish, parent, 1, outcome))
        for job_id in (child, other, grandchild):
            await kit.expect_job(f"{what}, of a child", store, job_id, **_ABANDONED)
            last = (await kit.words(store, job_id))[-1]
            kit.expect(f"{what}, then read of a child", last, (1, "cancelled", Ended(Reason.PARENT)))
            await kit.fenced(store, job_id, 1)


async def only_its_own_attempt_ends_a_child(store: Store) -> None:
    """The next attempt has children of its own; a late word of the first one does not touch them."""
    parent = await kit.started(store)
    old = await kit.spawned(store, parent)
    await store.finish(parent, 1, kit.retried())
    await kit.again(store, parent)
    new = await kit.spawned(store, parent, 2)
    await kit.unchanged("a write of the first attempt", store, new, partial(kit.fenced, store, parent, 1))
    finish = partial(store.finish, parent, 2, kit.completed())
    await kit.unchanged("finish of the second", store, old, finish)
    kit.expect("finish of the second attempt, then get", await kit.state_of(store, new), State.CANCELLED)


async def a_child_has_no_lease(store: Store) -> None:
    """A child is held for as long as its parent is, whatever lease was asked for."""
    parent = await kit.started(store)
    child = kit.make()
    await store.spawn(parent, 1, child, kit.DOOMED)
    await kit.lapse()
    await kit.unchanged("sweep", store, child.id, store.sweep)
    await kit.expect_beat("heartbeat with a child", store, {parent: 1, child.id: 1})


async def a_child_can_be_cancelled(store: Store) -> None:
    """A request to cancel a child is reported for the child, and not for its parent."""
    parent = await kit.started(store)
    child = await kit.spawned(store, parent)
    what = "request_cancel of a child"
    kit.expect(what, await store.request_cancel(child, None, 2.0), "requested")
    await kit.expect_beat(f"{what}, then heartbeat", store, {parent: 1, child: 1}, cancels={child: 2.0})


async def a_child_remembers_its_parent(store: Store) -> None:
    """A child's snapshot names its parent, and it is found by that, also when the parent was removed."""
    parent = await kit.started(store)
    child = await kit.spawned(store, parent)
    await store.finish(parent, 1, kit.completed())
    await store.remove(parent)
    await kit.expect_job("remove of a parent, of its child", store, child, parent=parent)
    kit.expect("remove of a parent, then find", await kit.found(store, parent=parent), [child])


async def a_heartbeat_for_a_child_renews_nothing(store: Store) -> None:
    """A child is not swept by itself, whatever was said of it, and to name it does not renew its parent."""
    held = await kit.started(store)
    child = await kit.spawned(store, held)
    await store.heartbeat({child: 1}, kit.DOOMED.lease)
    lost = await kit.started(store, worker=kit.DOOMED)
    other = await kit.spawned(store, lost)
    await store.heartbeat({other: 1}, kit.LONG)
    await kit.swept(store)
    states = await kit.states(store, held, child, lost, other)
    wanted = [State.RUNNING, State.RUNNING, State.RETRYING, State.CANCELLED]
    kit.expect("heartbeat for children alone, then sweep", states, wanted)
