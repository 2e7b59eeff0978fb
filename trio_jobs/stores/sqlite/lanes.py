"""Start the jobs of a file that wait under limits, as `_lanes` does in memory: its lanes are rows here.

Triggers count the jobs of each lane and limit, in the step in which a job moves. They also let the lane wake:
`wakes` is when its best job has to be looked for anew. A claim begins with the lanes that have woken; what
waits in others costs it nothing, however much it is.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

import attrs

from ..._common.errors import QueueFull
from ..._json.values import decode
from ..._model.job import Job
from ..._model.limits import Limit
from ..contract import Submission
from ..rates import Use, known
from ..rules import WAITING, waiting_for
from . import looking, pauses
from .group import Row, Transaction

logger = logging.getLogger("trio_jobs")
_WOKEN: Final = 1000
"""How many lanes a claim wakes at most, so that other calls are served in between."""


class Lane(NamedTuple):
    """A row of the jobs of one handler and key; see `schema.sql`."""

    number: int
    handler: str
    jobs: int
    running: int
    moment: float
    last: float
    turn: int | None


@attrs.define
class Group:
    """The limits of a handler.

    Attributes:
        handler: Its name.
        limits: They, by name.
        waiting: How many jobs wait under each that is not keyed.
        shared: What is used of those that are not keyed, by name.
        keyed: The one that is keyed, if there is one.
        old: The names of those whose moment in the file lies too far ahead, see `rates.known`.
        first: The rank of the best job in its open lanes, and the lane whose turn it is; `()` if none is
            open, None if that is to be read.
    """

    handler: str
    limits: dict[str, Limit] = attrs.field(factory=dict[str, Limit])
    waiting: dict[str, int] = attrs.field(factory=dict[str, int])
    shared: dict[str, Use] = attrs.field(factory=dict[str, Use])
    keyed: Limit | None = None
    old: set[str] = attrs.field(factory=set[str])
    first: Row | None = None

    def opens_at(self, now: float) -> float:
        """Return from when on the limits but the keyed one let a job start."""
        return max((use.opens_at(now) for use in self.shared.values()), default=-math.inf)

    def use_of(self, lane: Lane, now: float) -> Use | None:
        """Return what a lane uses of the keyed limit."""
        if self.keyed is None:
            return None
        use = Use(self.keyed, lane.running)
        use.moment, use.last = known(self.keyed, lane.moment, now), lane.last
        return use


@lru_cache(1000)
def limit_of(text: str) -> Limit | None:
    """Return a limit as it was defined; None, and a warning, if that cannot be read."""
    try:
        return Limit(**decode(text))
    except (TypeError, ValueError) as error:
        logger.warning("a limit in the file cannot be read, and holds when it is defined again: %s", error)
        return None


def groups_of(tx: Transaction, handlers: Iterable[str]) -> dict[str, Group]:
    """Return the limits of those of these handlers that have any."""
    found, uses = dict[str, Group](), dict[str, Use]()
    for handler, name, text, _, running, waiting, moment, last in tx.run(
        "limits_of", handlers=looking.listed(handlers)
    ):
        group = found.setdefault(handler, Group(handler))
        if (limit := limit_of(text)) is None:
            continue
        group.limits[name] = limit
        if limit.keyed:
            group.keyed = limit
            continue
        group.waiting[name] = waiting
        use = group.shared[name] = uses.setdefault(name, Use(limit, running))
        use.moment, use.last = known(limit, moment, tx.now), last
        if use.moment != moment:
            group.old.add(name)
    return found


# ------------------------------------------------------------ coming in


def enter(tx: Transaction, fresh: Sequence[Submission], first: int, last: int) -> None:
    """Put new jobs into their lanes, from the number of the first one to that of the last one.

    Raises:
        QueueFull: More would wait than a limit allows.
    """
    for handler in groups_of(tx, {new.handler for new in fresh}):
        move_in(tx, handler, first, last)
    groups = groups_of(tx, {new.handler for new in fresh})
    for handler, key in dict.fromkeys((new.handler, new.options.limit_key) for new in fresh):
        if (group := groups.get(handler)) is not None:
            _check_waiting(tx, group, key)


def move_in(tx: Transaction, handler: str, first: int, last: int) -> None:
    """Put those jobs of a handler into lanes that are in none and have not ended, between two numbers."""
    tx.run("make_lanes", handler=handler, first=first, last=last)
    tx.run("enter_lanes", handler=handler, first=first, last=last)


def _check_waiting(tx: Transaction, group: Group, key: str | None) -> None:
    for name, limit in group.limits.items():
        if limit.waiting is None:
            continue
        if limit.keyed:
            waiting, *_ = tx.one("lane_of", handler=group.handler, key=key) or (0,)
        else:
            waiting = group.waiting[name]
        if waiting > limit.waiting:
            raise QueueFull(limit.waiting, name, key if limit.keyed else None)


# ------------------------------------------------------------ starting


def claim(
    tx: Transaction,
    due: Sequence[tuple[int, float]],
    limit: int,
    handlers: Iterable[str],
    start: Callable[[int], Row],
) -> tuple[list[Row], bool]:
    """Start up to `limit` jobs of `handlers`; see `verbs.claim`.

    Args:
        tx: The transaction.
        due: The numbers and ranks of the jobs without limits that are due, up to one more than `limit`.
        limit: How many are started at most.
        handlers: Theirs.
        start: Starts a job.
    """
    groups = groups_of(tx, handlers)
    for group in groups.values():
        _correct(tx, group)
    more = _wake(tx, groups)
    rows, free = list[Row](), list(due)
    while True:
        found = _first(tx, groups.values(), free[0][1] if free else math.inf)
        if len(rows) == limit or (found is None and not free):
            return rows, more or bool(free) or found is not None
        if found is None:
            rows.append(start(free.pop(0)[0]))
            continue
        group, lane = found
        best = tx.one("best_in_lane", lane=lane.number, now=tx.now)
        if best is not None:  # else the last one expired meanwhile
            rows.append(start(best[0]))
            for name, use in group.shared.items():
                use.start(tx.now)
                if use.limit.per_second is not None:
                    _write_use(tx, name, use)
        group.first = None
        _settle(tx, lane, _look(tx, group, lane, started=best is not None))


def _correct(tx: Transaction, group: Group) -> None:
    for name in group.old:
        _write_use(tx, name, group.shared[name])


def _write_use(tx: Transaction, name: str, use: Use) -> None:
    tx.run("use_limit", name=name, moment=use.moment, last=use.last)


def _first(tx: Transaction, groups: Collection[Group], rank: float) -> tuple[Group, Lane] | None:
    """Return the lane of which a job is to be started next, if that is better than a rank."""
    best = None
    for group in groups:
        if group.opens_at(tx.now) > tx.now:
            continue
        if group.first is None:
            group.first = tx.one("first_lane", handler=group.handler) or ()
        if group.first and group.first[0] < rank:
            rank, best = group.first[0], (group, Lane(*group.first[1:]))
    return best


class Look(NamedTuple):
    """What the jobs of a lane are.

    Attributes:
        use: What is used of the keyed limit, if there is one.
        rank: The rank of the best of its jobs that are due; infinity if none is.
        opens: When it may start, as far as the key is concerned.
        later: When the next job is due that is not.
        started: Whether the lane has just had its turn.
    """

    use: Use | None
    rank: float
    opens: float
    later: float
    started: bool = False


def _look(tx: Transaction, group: Group, lane: Lane, *, started: bool = False) -> Look:
    use = group.use_of(lane, tx.now)
    if started and use is not None:
        use.start(tx.now)
    _, rank = tx.one("best_in_lane", lane=lane.number, now=tx.now) or (0, math.inf)
    (later,) = tx.one("later_in_lane", lane=lane.number, now=tx.now) or (None,)
    opens = tx.now if use is None else use.opens_at(tx.now)
    return Look(use, rank, opens, math.inf if later is None else later, started)


def _settle(tx: Transaction, lane: Lane, look: Look) -> None:
    """Open a lane, or close it, or forget it."""
    use, turn, wakes = look.use, lane.turn, look.later
    waits = look.rank < math.inf
    is_open = waits and look.opens <= tx.now
    if not waits:
        turn = None
    elif turn is None or look.started:
        (turn,) = tx.one("next_turn") or (0,)
    if waits and not is_open:
        wakes = look.opens
    elif not (waits or lane.jobs):
        wakes = -math.inf if use is None else use.moment
        if wakes <= tx.now:
            tx.run("forget_lane", number=lane.number)
            return
    tx.run(
        "set_lane",
        number=lane.number,
        moment=lane.moment if use is None else use.moment,
        last=lane.last if use is None else use.last,
        turn=turn,
        rank=look.rank if is_open else None,
        wakes=None if wakes == math.inf else wakes,
    )


def _wake(tx: Transaction, groups: Mapping[str, Group]) -> bool:
    """Settle the lanes that have woken, and return whether there may be more of them."""
    woken = _woken(tx, groups, _WOKEN)
    fresh = {
        lane: tx.one("first_in_lane", lane=lane.number, now=tx.now) for lane in woken if lane.turn is None
    }
    for lane in sorted(woken, key=lambda lane: fresh.get(lane) or ()):  # as they came, so they take turns
        _settle(tx, lane, _look(tx, groups[lane.handler], lane))
    return len(woken) == _WOKEN


def wake(tx: Transaction, handler: str) -> Mapping[str, Limit]:
    """Let all lanes of a handler wake, as its limits may have changed, and return these."""
    group = groups_of(tx, [handler]).get(handler, Group(handler))
    _correct(tx, group)
    latest = -math.inf if group.keyed is None else known(group.keyed, math.inf, tx.now)
    tx.run("wake_lanes", handler=handler, latest=latest)
    return group.limits


def _woken(tx: Transaction, handlers: Iterable[str], limit: int) -> list[Lane]:
    rows = tx.run("lanes_woken", handlers=looking.listed(handlers), now=tx.now, limit=limit)
    return [Lane(*row) for row in rows]


def next_due(tx: Transaction, handlers: Iterable[str]) -> float:
    """Return when the first of the jobs that a claim for these handlers may start is due."""
    due, limited = tx.one("next_due", handlers=looking.listed(handlers), now=tx.now) or (None, 0)
    soonest = math.inf if due is None else due
    return min(soonest, next_start(tx, handlers)) if limited and soonest > tx.now else soonest


def next_start(tx: Transaction, handlers: Iterable[str]) -> float:
    """Return when `claim` finds a job in a lane: up to now if it does now, `inf` if not by waiting alone."""
    groups = {
        name: group for name, group in groups_of(tx, handlers).items() if group.opens_at(tx.now) < math.inf
    }
    soonest = math.inf
    for name, group in groups.items():
        some, wakes = tx.one("next_woken", handler=name, now=tx.now) or (0, None)
        first = -math.inf if some else math.inf if wakes is None else wakes
        soonest = min(soonest, max(first, _opens_at(tx, group)))
    for lane in _woken(tx, groups, -1):
        if soonest <= tx.now:
            break
        group = groups[lane.handler]
        look = _look(tx, group, lane)
        first = look.later if look.rank == math.inf else look.opens
        if look.use is not None and look.use.moment != lane.moment:  # which a claim has to write
            first = tx.now
        soonest = min(soonest, max(first, _opens_at(tx, group)))
    return soonest


def _opens_at(tx: Transaction, group: Group) -> float:
    return tx.now if group.old else group.opens_at(tx.now)


def job_now(tx: Transaction, job_id: str, make: Callable[[Row], Job]) -> Job:
    """Return a snapshot, with what the job waits for."""
    job = make(looking.job(tx, job_id))
    if job.state not in WAITING:
        return job
    busy, paused = tx.one("busy") is not None, pauses.paused(tx).hold(job.handler)
    limit = _limit_over(tx, job.handler, job.limit_key)
    found = waiting_for(job, tx.now, busy=busy, paused=paused, limit=limit)
    return attrs.evolve(job, waiting_for=found)


def _limit_over(tx: Transaction, handler: str, key: str | None) -> str | None:
    """Return the first limit under which no job of a key may start now; with the key, if it is keyed."""
    group = groups_of(tx, [handler]).get(handler, Group(handler))
    for name, limit in group.limits.items():
        lane = tx.one("lane_of", handler=handler, key=key) if limit.keyed else None
        use = group.shared.get(name) if lane is None else group.use_of(Lane(*lane[1:]), tx.now)
        if use is not None and use.opens_at(tx.now) > tx.now:
            return f"{name} {key}" if limit.keyed else name
    return None


def due(tx: Transaction, limit: int, handlers: Iterable[str]) -> list[int]:
    """Return jobs that are due in lanes that are open, or were when a claim failed that had woken them."""
    rows = tx.run("due_in_lanes", handlers=looking.listed(handlers), now=tx.now, limit=limit)
    return [number for (number,) in rows]


def give_back(tx: Transaction, number: int) -> None:
    """Take back that a job started, for the rates of its limits."""
    held = tx.one("held", number=number)
    if held is None:
        return
    started, lane = held[0], Lane(*held[1:])
    group = groups_of(tx, [lane.handler]).get(lane.handler, Group(lane.handler))
    for name, use in group.shared.items():
        use.free(started, begun=False)
        _write_use(tx, name, use)
    if (mine := group.use_of(lane, tx.now)) is not None:
        mine.free(started, begun=False)
        tx.run("use_lane", number=lane.number, moment=mine.moment, last=mine.last)
