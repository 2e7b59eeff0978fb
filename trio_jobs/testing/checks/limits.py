"""Limits: how many jobs start, and whose. Stores that keep no limits pass at once."""

from __future__ import annotations

from typing import Any, Protocol

import attrs

from ..._common.errors import QueueFull
from ..._common.states import Reason, State
from ..._model.job import Timeouts
from ..._model.limits import Limit, LimitStatus
from ...stores.contract import Outcome, Store, Submission
from ...stores.limits import KeepsLimits
from . import kit

_WORK, _OTHER = kit.work.__name__, kit.other_work.__name__
_ONE = Limit(at_once=1)
_RARE = Limit(per_second=1 / kit.LONG, burst=2)


class Limited(Store, KeepsLimits, Protocol):
    """A store that keeps limits, which is what a check gets whose parameter is named so."""


def _make(key: str | None = None, **options: Any) -> Submission:
    new = kit.make(**options)
    return attrs.evolve(new, options=attrs.evolve(new.options, limit_key=key))


async def _keyed(store: Limited, limit: Limit, keys: str) -> list[str]:
    """Set a keyed limit, submit a job for each key, and return the ids."""
    await store.limit(_WORK, {"each": attrs.evolve(limit, keyed=True)})
    return await kit.accept(store, *map(_make, keys))


async def no_more_run_than_may(limited: Limited) -> None:
    """A claim, and a submit that claims, start no more jobs than there are places; the others wait."""
    await limited.limit(_WORK, {"it": Limit(at_once=3)})
    _, claims = await limited.submit([_make(), _make()], 2, kit.HOLDER)
    kit.expect("submit of two, claiming two: how many started", len(claims), 2)
    _, claims = await limited.submit([_make(), _make()], 2, kit.HOLDER)
    kit.expect("submit of two, claiming two, with one place: how many started", len(claims), 1)
    kit.expect("claim without a place", await kit.claimed(limited, 5), [])
    kit.expect("count", await kit.counted(limited), {State.RUNNING: 3, State.QUEUED: 1})


async def a_job_over_its_limit_holds_up_no_other(limited: Limited) -> None:
    """Jobs of other keys, and of handlers without limits, start before it, though it came first."""
    first, _, other = await _keyed(limited, _ONE, "aab")
    (free,) = await kit.accept(limited, kit.make(target=kit.other_work))
    kit.expect("claim of all", sorted(await kit.claimed(limited, 9)), sorted([first, other, free]))


async def every_end_frees_the_place(limited: Limited) -> None:
    """A place is held until the attempt has ended, in whatever way, and not longer; a cancel is no end."""
    for outcome in (kit.completed(), kit.failed(), kit.cancelled(), kit.retried(delay=kit.LONG)):
        job_id, waits = await _keyed(limited, _ONE, "aa")
        await kit.again(limited, job_id)
        await limited.heartbeat({job_id: 1}, kit.LONG)
        await limited.request_cancel(job_id, None)
        kit.expect("claim while one runs that is to be cancelled", await kit.claimed(limited, 2), [])
        await limited.finish(job_id, 1, outcome)
        await kit.again(limited, waits)
        await limited.finish(waits, 1, kit.completed())


async def a_lapsed_lease_gives_its_place_back(limited: Limited) -> None:
    """An attempt whose lease has lapsed holds its place until a sweep reclaims it."""
    await limited.limit(_WORK, {"it": _ONE})
    lost = await kit.started(limited, worker=kit.DOOMED)
    (other,) = await kit.accept(limited, _make(priority=3))
    await kit.lapse()
    kit.expect("claim before the sweep", await kit.claimed(limited, 2), [])
    await limited.sweep()
    kit.expect("claim after the sweep", len(await kit.claimed(limited, 2)), 1)
    states = sorted(await kit.states(limited, lost, other))
    kit.ensure("states after the sweep", holds=states.count(State.RUNNING) == 1, came=states)


async def a_start_takes_a_place_of_each_limit_or_of_none(limited: Limited) -> None:
    """A job that one limit holds up takes no place of its others, and limits of one name are one."""
    await limited.limit(_WORK, {"own": _ONE, "shared": _ONE})
    await limited.limit(_OTHER, {"shared": _ONE})
    (holder,) = await kit.accept(limited, kit.make(target=kit.other_work))
    await kit.again(limited, holder)
    (job_id,) = await kit.accept(limited, _make())
    kit.expect("claim without a place of the shared limit", await kit.claimed(limited, 2), [])
    await limited.limit(_WORK, {"own": _ONE})
    await kit.again(limited, job_id)


async def a_rate_is_not_overshot(limited: Limited) -> None:
    """At one moment `burst` start, whether or not they have ended, and the next one after its time."""
    await limited.limit(_WORK, {"it": _RARE})
    await kit.accept(limited, *[_make() for _ in range(4)])
    started = await kit.claimed(limited, 4)
    kit.expect("claim of four with a burst of two: how many", len(started), 2)
    await limited.finish(started[0], 1, kit.completed())
    kit.expect("claim after a burst", await kit.claimed(limited, 4), [])
    await limited.limit(_WORK, {"it": Limit(per_second=1 / kit.BRIEF)})
    await kit.soon("due after a burst", limited.due, lambda: _one_more(limited))


async def _one_more(store: Store) -> bool:
    return bool(await kit.claimed(store, 1))


async def what_was_not_begun_costs_no_start(limited: Limited) -> None:
    """A claim that is given back before it began gives back its place, and its start of the rate."""
    await limited.limit(_WORK, {"it": attrs.evolve(_RARE, burst=1)})
    job_id = await kit.started(limited)
    back: Outcome = attrs.evolve(kit.retried(Reason.SHUTDOWN), begun=False)
    await limited.finish(job_id, 1, back)
    await kit.again(limited, job_id)
    await limited.finish(job_id, 2, attrs.evolve(back, begun=True))
    kit.expect("claim after an attempt that began", await kit.claimed(limited, 1), [])


async def the_keys_take_turns(limited: Limited) -> None:
    """Of keys that wait, each starts one job before any starts its second, as they came."""
    a1, a2, a3, b1, b2 = await _keyed(limited, Limit(at_once=5), "aaabb")
    came = await kit.claimed(limited, 1) + await kit.claimed(limited, 1)
    (c1,) = await kit.accept(limited, _make("c"))
    came += [job_id for _ in range(4) for job_id in await kit.claimed(limited, 1)]
    kit.expect("claim, one by one, of a a a b b, and later c", came, [a1, b1, a2, b2, c1, a3])


async def within_a_key_the_order_is_by_rank(limited: Limited) -> None:
    """Of one key, and between handlers, what is due starts by priority, and in the order it came."""
    await limited.limit(_WORK, {"each": Limit(at_once=9, keyed=True)})
    later, other = _make("a", delay=kit.LONG), kit.make(target=kit.other_work, priority=2)
    batch = [later, *(_make("a", priority=level) for level in (3, 0, 0, 3, 0)), other]
    await kit.accept(limited, *batch)
    came = [job_id for _ in range(7) for job_id in await kit.claimed(limited, 1)]
    ids = [new.id for new in sorted(batch[1:], key=lambda new: new.options.priority)]
    kit.expect("claim, one by one", came, ids)


async def so_many_may_wait(limited: Limited) -> None:
    """`Limit.waiting` bounds what waits of each key; a batch that does not fit is refused as a whole."""
    await _keyed(limited, Limit(at_once=1, waiting=2), "ab")
    kit.expect("claim", len(await kit.claimed(limited, 2)), 2)
    (job_id,) = await kit.accept(limited, _make("a"))
    await kit.expect_job("submit", limited, job_id, limit_key="a")
    error = await kit.rejected("submit of two for one place", QueueFull, limited, _make("a"), _make("a"))
    kit.expect("QueueFull: limit, name and key", (error.limit, error.name, error.key), (2, "each", "a"))
    await kit.accept(limited, _make("a"), _make("b"), _make("b"))
    await kit.rejected("submit of one too many", QueueFull, limited, _make("a"))
    kit.expect("count", await kit.counted(limited), {State.RUNNING: 2, State.QUEUED: 4})


async def a_job_that_replaces_one_takes_its_place(limited: Limited) -> None:
    """`Limit.waiting` counts a job in place of the one of its key that it replaces, and of no other one."""
    await _keyed(limited, Limit(at_once=1, waiting=2), "abb")
    named: dict[str, Any] = {"exclusive": "chat", "on_busy": "replace"}
    (first,) = await kit.accept(limited, _make("a", **named))
    (second,) = await kit.accept(limited, _make("a", **named))
    await kit.expect_job("submit that replaces", limited, first, replaced_by=second)
    await kit.rejected("submit that replaces one of another key", QueueFull, limited, _make("b", **named))
    await kit.expect_job("submit that was refused", limited, second, state=State.QUEUED, replaced_by=None)


async def what_stands_behind_another_job_counts(limited: Limited) -> None:
    """`Limit.waiting` counts what stands behind the holder of its name, until that is cancelled or starts."""
    await _keyed(limited, Limit(at_once=9, waiting=2), "")
    named: dict[str, Any] = {"exclusive": "chat", "on_busy": "after"}
    (holder,) = await kit.accept(limited, _make("a", **named))
    await kit.again(limited, holder)
    behind = [job_id for _ in range(2) for job_id in await kit.accept(limited, _make("a", **named))]
    for options in (named, {}):
        await kit.rejected("submit of a third, two stand behind", QueueFull, limited, _make("a", **options))
    await limited.request_cancel(behind[0], None)
    await kit.accept(limited, _make("a", **named))
    await limited.finish(holder, 1, kit.completed())
    await kit.again(limited, behind[1])
    await kit.accept(limited, _make("a"))
    await kit.rejected("submit of a third, one stands behind", QueueFull, limited, _make("a"))


async def a_job_says_which_limit_it_waits_for(limited: Limited) -> None:
    """`waiting_for` is the first of the handler's limits without a place, and the key of a keyed one."""
    limits = {"all": Limit(at_once=2), "rate": _RARE, "each": attrs.evolve(_ONE, keyed=True)}
    await limited.limit(_WORK, limits)
    ids = await kit.accept(limited, *map(_make, "abac"), _make("a", delay=kit.LONG))
    await kit.expect_waits(limited, ids, ["worker", "worker", "worker", "worker", "due"])
    await kit.again(limited, ids[0])
    await kit.expect_waits(limited, ids, [None, "slot", "limit each a", "slot", "due"])
    await kit.again(limited, ids[1])
    await kit.expect_waits(limited, ids, [None, None, "limit all", "limit all", "due"])
    await limited.finish(ids[0], 1, kit.completed())
    await kit.expect_waits(limited, ids, [None, None, "limit rate", "limit rate", "due"])


async def due_waits_for_a_place(limited: Limited) -> None:
    """`due` waits while nothing could start, and returns once a place is free, or limits are raised."""
    await limited.limit(_WORK, {"it": _ONE})
    first = await kit.started(limited)
    await kit.accept(limited, _make(), _make())
    kit.expect("due without a place, which is to wait", await kit.left(limited, limited.due), [])

    async def end() -> None:
        await limited.finish(first, 1, kit.completed())

    async def more() -> None:
        await limited.limit(_WORK, {"it": Limit(at_once=2)})

    for act in (end, more):
        await kit.hinted("due", limited, limited.due, lambda: _one_more(limited), act)


async def what_waits_may_leave(limited: Limited) -> None:
    """A job that waits for a place is cancelled, or expires, as any other."""
    await limited.limit(_WORK, {"it": _ONE})
    first = await kit.started(limited)
    gone, late, last = await kit.accept(limited, _make(), _make(timeouts=Timeouts(queue=kit.BRIEF)), _make())
    kit.expect("cancel of what waits", await limited.request_cancel(gone, None), "cancelled")
    await kit.swept(limited)
    kit.expect("sweep, then get: state", await kit.state_of(limited, late), State.FAILED)
    await limited.finish(first, 1, kit.completed())
    await kit.again(limited, last)


async def what_is_pinned_stays(limited: Limited) -> None:
    """What `pin_limit` says of a limit holds at once, whatever `limit` says, until the pin ends."""
    two, five = Limit(at_once=2), Limit(at_once=5)
    await limited.limit(_WORK, {"it": _ONE})
    await kit.accept(limited, *[_make() for _ in range(9)])
    await limited.pin_limit("it", two)
    await _expect_used(limited, two, pinned=True)
    await limited.limit(_WORK, {"it": five})
    await _expect_used(limited, two, pinned=True)
    await limited.pin_limit("it", None)
    await _expect_used(limited, two, pinned=False)
    await limited.limit(_WORK, {"it": five})
    await _expect_used(limited, five, pinned=False)
    await limited.pin_limit("coming", _ONE)
    await limited.limit(_OTHER, {"coming": Limit(at_once=9)})
    other = await kit.accept(limited, *[kit.make(target=kit.other_work) for _ in range(2)])
    kit.expect("claim under a limit that was pinned before", await kit.claimed(limited, 9), other[:1])


async def _expect_used(store: Limited, limit: Limit, *, pinned: bool) -> None:
    await kit.claimed(store, 9)
    most = limit.at_once or 0
    used = LimitStatus(name="it", limit=limit, pinned=pinned, running=most, waiting=9 - most)
    kit.expect("claim of nine, then limits", list(await store.limits()), [used])


async def the_last_definition_counts(limited: Limited) -> None:
    """Limits hold at once for what waits, and count what runs already; children take no place."""
    first = await kit.started(limited)
    await kit.spawned(limited, first)
    await kit.accept(limited, *[_make() for _ in range(4)])
    for most, more in ((2, 1), (1, 0), (4, 2)):
        await limited.limit(_WORK, {"it": Limit(at_once=most)})
        kit.expect(f"claim with at_once={most}: how many", len(await kit.claimed(limited, 9)), more)
