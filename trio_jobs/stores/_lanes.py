"""Keep the jobs that wait under limits: a lane for each key of a handler, and the lanes take turns.

A lane is *open* if its best job could start as far as its key is concerned. Only open lanes are looked at to
start a job, so what waits behind an exhausted key costs nothing. Between handlers, and within a lane, the
order is by rank; between the lanes of a handler by turn. A lane takes its turn behind all others when its
first job becomes due, and again after each start: before a key's first job at most one job of each other
key starts, however many wait.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterable, Mapping

from .._common.errors import QueueFull
from .._model.limits import Limit, LimitStatus
from ._queue import Queue
from .rates import Use


class Lane:
    """The jobs of one handler and key that wait.

    Attributes:
        group: The handler's.
        key: The `limit_key`.
        jobs: The jobs.
        counted: Those that `Limit.waiting` counts, and those that stand behind others.
        running: How many of its jobs run.
        use: What the key uses of the keyed limit; None if there is none.
        turn: Its place among the lanes; None while none of its jobs is due.
    """

    __slots__ = ("counted", "group", "jobs", "key", "running", "turn", "use")

    def __init__(self, group: Group, key: str | None) -> None:
        self.group = group
        self.key = key
        self.jobs = Queue[str]()
        self.counted = set[str]()
        self.running = 0
        self.use = None if group.keyed is None else Use(group.keyed)
        self.turn: int | None = None

    def define(self, now: float) -> None:
        """Take over the keyed limit of the group."""
        if self.group.keyed is None:
            self.use = None
        else:
            self.use = self.use or Use(self.group.keyed, self.running)
            self.use.define(self.group.keyed, now)

    def uses(self) -> list[Use]:
        """Return what a job takes of all limits."""
        return self.group.shared if self.use is None else [*self.group.shared, self.use]


class Group:
    """The lanes of a handler.

    Attributes:
        limits: Its limits by name.
        keyed: The keyed one among them.
        paused: Whether no lane of it is open.
        shared: What is used of the others.
        lanes: By key, those with jobs that wait or run, or with a rate in use.
        turns: Those that are open, by turn.
        ranks: The same, by the rank of their best jobs.
    """

    limits: Mapping[str, Limit]  # this and the next one are set by `define`
    keyed: Limit | None

    def __init__(self) -> None:
        self.paused = False
        self.shared: list[Use] = []
        self.lanes: dict[str | None, Lane] = {}
        self.turns = Queue[Lane]()
        self.ranks = Queue[Lane]()

    def define(self, limits: Mapping[str, Limit], uses: dict[str, Use], now: float) -> None:
        """Set the limits. `uses` says what is used of those that are not keyed, by name."""
        self.limits = limits
        self.keyed = next((limit for limit in limits.values() if limit.keyed), None)
        self.shared = []
        for name, limit in limits.items():
            if not limit.keyed:
                use = uses.setdefault(name, Use(limit))
                use.define(limit, now)
                self.shared.append(use)

    def lane(self, key: str | None) -> Lane:
        """Return the lane of a key."""
        if (lane := self.lanes.get(key)) is None:
            lane = self.lanes[key] = Lane(self, key)
        return lane

    def opens_at(self, now: float) -> float:
        """Return from when on its limits but the keyed one let a job start; `inf` if it is paused."""
        if self.paused:
            return math.inf
        return max((use.opens_at(now) for use in self.shared), default=-math.inf)


class Lanes:
    """The jobs that wait under limits, and what those that run use of them.

    Attributes:
        held: The lane and the start of each job that runs under limits.
    """

    def __init__(self) -> None:
        self.held: dict[str, tuple[Lane, float]] = {}
        self._groups: dict[str, Group] = {}
        self._uses: dict[str, Use] = {}  # by name, of the limits that are not keyed
        self._pins: dict[str, Limit] = {}
        self._turns = itertools.count()
        self._sleeping = Queue[Lane]()  # until a job is due, or a rate lets one start
        self._idle = Queue[Lane]()  # until the rate is unused, so that they may be forgotten
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def __contains__(self, handler: str) -> bool:
        return handler in self._groups

    def limits(self, handler: str) -> Mapping[str, Limit]:
        """Return the limits of a handler by name, as they hold now."""
        if handler not in self._groups:
            return {}
        limits = self._groups[handler].limits
        return {name: limit if limit.keyed else self._uses[name].limit for name, limit in limits.items()}

    def pin(self, name: str, limit: Limit | None, now: float) -> None:
        """Set a limit, and let `define` not change it; None ends that."""
        self._pins.pop(name, None)
        if limit is not None:
            self._pins[name] = limit
            for handler in self._groups:
                self.define(handler, self.limits(handler), now)

    def status(self) -> list[LimitStatus]:
        """Return all limits, and what is used of them."""
        found = dict(self._pins)
        for handler in self._groups:
            found |= self.limits(handler)
        return [
            LimitStatus(
                name=name,
                limit=limit,
                pinned=name in self._pins,
                running=sum(lane.running for lane in self._under(name)),
                waiting=sum(len(lane.counted) for lane in self._under(name)),
            )
            for name, limit in sorted(found.items())
        ]

    def _under(self, name: str) -> list[Lane]:
        groups = (group for group in self._groups.values() if name in group.limits)
        return [lane for group in groups for lane in group.lanes.values()]

    def define(self, handler: str, limits: Mapping[str, Limit], now: float) -> None:
        """Set the limits of a handler; those that it shares change for all. What runs keeps its places."""
        limits = {name: self._pins.get(name, limit) for name, limit in limits.items()}
        group = self._groups.setdefault(handler, Group())
        running = sum(lane.running for lane in group.lanes.values())
        for use in group.shared:
            use.places -= running
        group.define(limits, self._uses, now)
        for use in group.shared:
            use.places += running
        for lane in list(group.lanes.values()):
            lane.define(now)
            self._refresh(lane, now)

    @property
    def paused(self) -> frozenset[str]:
        """The handlers that are paused."""
        return frozenset(handler for handler, group in self._groups.items() if group.paused)

    def pause(self, handler: str, *, paused: bool) -> None:
        """Close the lanes of a handler, or open them again."""
        self._groups[handler].paused = paused

    def forget(self, handler: str) -> None:
        """Forget a handler without limits, and its jobs."""
        group = self._groups.pop(handler)
        self.held = {job_id: one for job_id, one in self.held.items() if one[0].group is not group}
        for lane in group.lanes.values():
            self._size -= len(lane.jobs)
            self._sleeping.discard(lane)

    # ------------------------------------------------------------ waiting

    def add(
        self,
        handler: str,
        key: str | None,
        job_id: str,
        ranked: tuple[float, float, float, int],
        *,
        counts: bool = True,
    ) -> None:
        """Add a job.

        Args:
            handler: Its handler.
            key: Its `limit_key`.
            job_id: Its id.
            ranked: When it is due, the penalty, now, and the number, as `Queue.add` takes them.
            counts: Whether `Limit.waiting` counts it.
        """
        self._wake(ranked[2])  # what has become due since takes its turn before
        lane = self._groups[handler].lane(key)
        lane.jobs.add(job_id, *ranked)
        self._size += 1
        if counts:
            lane.counted.add(job_id)
        self._refresh(lane, ranked[2])

    def count(self, handler: str, key: str | None, job_id: str) -> None:
        """Count a job as waiting that stands behind another one; `add` adds it once it may start."""
        self._groups[handler].lane(key).counted.add(job_id)

    def discard(self, handler: str, key: str | None, job_id: str, now: float) -> None:
        """Remove a job, if it waits."""
        group = self._groups.get(handler)
        if group is None or (lane := group.lanes.get(key)) is None:
            return
        self._size -= job_id in lane.jobs.tickets
        lane.jobs.discard(job_id)
        lane.counted.discard(job_id)
        self._refresh(lane, now)

    def check_waiting(self, coming: Iterable[tuple[str, str | None]], gone: Collection[str] = ()) -> None:
        """Check that new jobs may wait; it counts all of them, also those that start at once.

        Args:
            coming: The handler and the key of each.
            gone: The jobs whose places they take.

        Raises:
            QueueFull: They may not.
        """
        counts = dict[tuple[str, str | None], int]()
        for handler, key in coming:
            for name, limit in self.limits(handler).items():
                if limit.waiting is None:
                    continue
                one = name, key if limit.keyed else None
                if one not in counts:
                    counts[one] = self._waiting(name, one[1], gone, keyed=limit.keyed)
                counts[one] += 1
                if counts[one] > limit.waiting:
                    raise QueueFull(limit.waiting, *one)

    def _waiting(self, name: str, key: str | None, gone: Collection[str], *, keyed: bool) -> int:
        lanes = [lane for lane in self._under(name) if lane.key == key or not keyed]
        return sum(len(lane.counted) - sum(one in lane.counted for one in gone) for lane in lanes)

    def limit_over(self, handler: str, key: str | None, now: float) -> str | None:
        """Return the first limit under which no job of a key may start now; with the key, if it is keyed."""
        for name, limit in self.limits(handler).items():
            use = self._groups[handler].lanes[key].use if limit.keyed else self._uses[name]
            if use is not None and use.opens_at(now) > now:
                return f"{name} {key}" if limit.keyed else name
        return None

    # ------------------------------------------------------------ starting

    def take(self, now: float, rank: float) -> str | None:
        """Start the next job under limits, and return it.

        Args:
            now: The store's clock.
            rank: None is started unless its handler's rank is lower.
        """
        self._wake(now)
        best, first = rank, None
        for group in self._groups.values():
            if group.turns and (mine := group.ranks.best(now)[0]) < best and group.opens_at(now) <= now:
                best, first = mine, group
        lane = None if first is None else first.turns.best(now)[1]
        if lane is None or (job_id := lane.jobs.pop(now)) is None:
            return None
        for use in lane.uses():
            use.start(now)
        lane.running += 1
        self.held[job_id] = lane, now
        lane.turn = next(self._turns)
        self._size -= 1
        lane.counted.discard(job_id)
        self._refresh(lane, now)
        return job_id

    def hold(self, handler: str, key: str | None, job_id: str, now: float) -> None:
        """Count a job that runs already, when its handler gets limits."""
        lane = self._groups[handler].lane(key)
        for use in lane.uses():
            use.places += 1
        lane.running += 1
        self.held[job_id] = lane, -math.inf
        self._refresh(lane, now)

    def free(self, job_id: str, now: float, *, begun: bool = True) -> None:
        """Free the place of a job; and if its attempt did not begin, take back that it started."""
        lane, started = self.held.pop(job_id)
        lane.running -= 1
        for use in lane.uses():
            use.free(started, begun=begun)
        self._refresh(lane, now)

    def next_start(self, now: float) -> float:
        """Return when `take` may find a job: up to `now` if it does now, `inf` if not by waiting alone."""
        self._wake(now)
        opens = [group.opens_at(now) for group in self._groups.values() if group.turns]
        return min([self._sleeping.next_due(), *opens])

    def _wake(self, now: float) -> None:
        for queue in (self._sleeping, self._idle):
            while (lane := queue.pop(now)) is not None:
                self._refresh(lane, now)

    def _refresh(self, lane: Lane, now: float) -> None:
        """Open a lane, or close it, or forget it, after anything about it has changed."""
        group, use = lane.group, lane.use
        for queue in (group.turns, group.ranks, self._sleeping, self._idle):
            queue.discard(lane)
        rank, best = lane.jobs.best(now)
        later = lane.jobs.next_later()
        if best is not None:
            lane.turn = next(self._turns) if lane.turn is None else lane.turn
            opens = now if use is None else use.opens_at(now)
            if opens <= now:
                group.turns.add(lane, 0.0, lane.turn, 0.0)
                group.ranks.add(lane, 0.0, rank, 0.0)
            else:
                later = opens
        else:
            lane.turn = None
        if later < math.inf:  # then it opens, or another job is its best
            self._sleeping.add(lane, later, 0.0)
        elif not (lane.jobs.tickets or lane.counted or lane.running):
            if use is not None and use.moment > now:
                self._idle.add(lane, use.moment, 0.0)
            else:
                del group.lanes[lane.key]
