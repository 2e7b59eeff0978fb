"""`spawn`: children live as long as the attempt that spawned them, and no longer."""

from __future__ import annotations

from ..._common.states import Reason, State
from ..._model.job import Ended, Kind
from ..._model.summary import Page
from ...stores.contract import Store, Where
from . import kit


async def a_child_runs_from_birth(store: Store) -> None:
    """A child is RUNNING its first attempt, knows its parent, and writes a log of its own."""
    parent = await kit.started(store)
    new = kit.make("arg", tags={"a": "b"})
    claim = await store.spawn(parent, 1, new, kit.HOLDER)
    came: tuple[object, ...] = (
        claim.submission.id,
        claim.submission.args,
        claim.attempt,
        claim.spent,
        claim.saved,
        claim.seq,
    )
    kit.expect("spawn returns the claim", came, (new.id, ("arg",), 1, 1, None, 2))
    job = await store.get(new.id)
    came = job.state, job.parent, job.attempt, job.spent, job.tags
    kit.expect("spawn, then get", came, (State.RUNNING, parent, 1, 1, {"a": "b"}))
    await store.append(new.id, 1, Kind.TOKEN, ["own"], 0)
    log = [(0, "submitted", "work"), (1, "started", "holder"), (1, "token", "own")]
    kit.expect("spawn, then append, then read", await kit.words(store, new.id), log)
    kit.expect("spawn, then find by parent", [one.id for one in await _children(store, parent)], [new.id])
    kit.expect("spawn: the parent's log", (await store.get(parent)).last_seq, 2)


async def _children(store: Store, parent: str) -> Page:
    return await store.find(Where(parent=parent), kit.ALL)


async def spawn_is_repeatable(store: Store) -> None:
    """To spawn a known id again gives the same claim, and makes no second child."""
    parent = await kit.started(store)
    new = kit.make()
    first = await store.spawn(parent, 1, new, kit.HOLDER)

    async def repeat() -> None:
        second = await store.spawn(parent, 1, new, kit.HOLDER)
        came = second.submission.id, second.attempt, second.spent, second.seq
        wanted = first.submission.id, first.attempt, first.spent, first.seq
        kit.expect("spawn again", came, wanted)

    await kit.unchanged("spawn again", store, new.id, repeat)
    kit.expect("spawn again, then find", len(await _children(store, parent)), 1)


async def children_end_with_the_attempt(store: Store) -> None:
    """However an attempt ends, its open children are cancelled with reason parent, in the same step."""
    for outcome in (kit.completed(), kit.failed(), kit.cancelled(), kit.retried(delay=kit.LONG)):
        parent = await kit.started(store)
        children = [kit.make(n) for n in range(2)]
        for child in children:
            await store.spawn(parent, 1, child, kit.HOLDER)
        await store.finish(parent, 1, outcome)
        for child in children:
            job = await store.get(child.id)
            what = f"finish ({outcome.transition.value}) of the parent, then get of a child"
            kit.expect(what, (job.state, job.reason), (State.CANCELLED, Reason.PARENT))
            last = (await kit.words(store, child.id))[-1]
            kit.expect(what, last, (1, "cancelled", Ended(Reason.PARENT)))
            await kit.fenced(store, child.id, 1)


async def grandchildren_end_too(store: Store) -> None:
    """When an attempt ends, the children of its children are cancelled as well."""
    for way in ("finish", "sweep"):
        parent = await kit.started(store, worker=kit.DOOMED if way == "sweep" else kit.HOLDER)
        child, grandchild = kit.make(), kit.make()
        await store.spawn(parent, 1, child, kit.HOLDER)
        await store.spawn(child.id, 1, grandchild, kit.HOLDER)
        if way == "finish":
            await store.finish(parent, 1, kit.completed())
        else:
            await kit.lapse()
            await store.sweep()
        states = [await kit.state_of(store, one.id) for one in (child, grandchild)]
        kit.expect(f"{way} of the parent's attempt, then get", states, [State.CANCELLED] * 2)


async def a_child_that_ended_stays_as_it_is(store: Store) -> None:
    """What a child became before its parent's attempt ended is not touched."""
    parent = await kit.started(store)
    child = kit.make()
    await store.spawn(parent, 1, child, kit.HOLDER)
    kit.expect("finish of a child", await store.finish(child.id, 1, kit.completed("mine")), State.COMPLETED)
    kit.expect("finish of a child, then get", await kit.state_of(store, parent), State.RUNNING)
    await kit.unchanged(
        "finish of the parent", store, child.id, lambda: store.finish(parent, 1, kit.completed())
    )


async def only_its_own_attempt_ends_a_child(store: Store) -> None:
    """The next attempt has children of its own; a late word of the first one does not touch them."""
    parent = await kit.started(store)
    old, new = kit.make("old"), kit.make("new")
    await store.spawn(parent, 1, old, kit.HOLDER)
    await store.finish(parent, 1, kit.retried())
    await kit.again(store, parent)
    await store.spawn(parent, 2, new, kit.HOLDER)
    await kit.unchanged("a write of the first attempt", store, new.id, lambda: kit.fenced(store, parent, 1))
    await kit.unchanged(
        "finish of the second", store, old.id, lambda: store.finish(parent, 2, kit.completed())
    )
    kit.expect("finish of the second attempt, then get", await kit.state_of(store, new.id), State.CANCELLED)


async def a_child_has_no_lease(store: Store) -> None:
    """A child is held for as long as its parent is, whatever lease was asked for."""
    parent = await kit.started(store)
    child = kit.make()
    await store.spawn(parent, 1, child, kit.DOOMED)
    await kit.lapse()
    await kit.unchanged("sweep", store, child.id, store.sweep)
    answer = await store.heartbeat({parent: 1, child.id: 1}, kit.LONG)
    kit.expect("heartbeat with a child", (answer.lost, dict(answer.cancels)), (kit.NOBODY, kit.NOTHING))


async def a_child_can_be_cancelled(store: Store) -> None:
    """A request to cancel a child is reported for the child, and not for its parent."""
    parent = await kit.started(store)
    child = kit.make()
    await store.spawn(parent, 1, child, kit.HOLDER)
    kit.expect("request_cancel of a child", await store.request_cancel(child.id, None, 2.0), "requested")
    answer = await store.heartbeat({parent: 1, child.id: 1}, kit.LONG)
    kit.expect("request_cancel of a child, then heartbeat", dict(answer.cancels), {child.id: 2.0})


async def a_lost_parent_takes_its_children_along(store: Store) -> None:
    """When a sweep takes an attempt back, its open children are cancelled with reason parent."""
    parent = await kit.started(store, worker=kit.DOOMED)
    open_child, ended = kit.make(), kit.make()
    for child in (open_child, ended):
        await store.spawn(parent, 1, child, kit.DOOMED)
    await store.finish(ended.id, 1, kit.completed())
    await kit.lapse()
    await store.sweep()
    kit.expect("sweep, then get of the parent", await kit.state_of(store, parent), State.RETRYING)
    job = await store.get(open_child.id)
    kit.expect("sweep, then get of a child", (job.state, job.reason), (State.CANCELLED, Reason.PARENT))
    kit.expect("sweep, then get of an ended child", await kit.state_of(store, ended.id), State.COMPLETED)
    await kit.fenced(store, open_child.id, 1)


async def a_child_remembers_its_parent(store: Store) -> None:
    """A child's snapshot names its parent, and it is found by that, also when the parent was removed."""
    parent = await kit.started(store)
    child = kit.make()
    await store.spawn(parent, 1, child, kit.HOLDER)
    await store.finish(parent, 1, kit.completed())
    await store.remove(parent)
    kept = (await store.get(child.id)).parent
    kit.expect("remove of a parent, then get of its child: parent", kept, parent)
    found = [job.id for job in await store.find(Where(parent=parent), kit.ALL)]
    kit.expect("remove of a parent, then find of its children", found, [child.id])


async def a_heartbeat_for_a_child_renews_nothing(store: Store) -> None:
    """A child is not swept by itself, whatever was said of it, and to name it does not renew its parent."""
    held = await kit.started(store)
    child = kit.make()
    await store.spawn(held, 1, child, kit.HOLDER)
    await store.heartbeat({child.id: 1}, kit.DOOMED.lease)
    lost = await kit.started(store, worker=kit.DOOMED)
    other = kit.make()
    await store.spawn(lost, 1, other, kit.HOLDER)
    await store.heartbeat({other.id: 1}, kit.LONG)
    await kit.lapse()
    await store.sweep()
    states = [await kit.state_of(store, job_id) for job_id in (held, child.id, lost, other.id)]
    wanted = [State.RUNNING, State.RUNNING, State.RETRYING, State.CANCELLED]
    kit.expect("heartbeat for children alone, then sweep", states, wanted)
