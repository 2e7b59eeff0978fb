"""The jobs that wait under limits, compared with a plain list of jobs and the bare wording of the rules."""

from __future__ import annotations

import math
from collections.abc import Iterator

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from trio_jobs import QueueFull
from trio_jobs._model.limits import Limit
from trio_jobs.stores._lanes import Lane, Lanes

KEYS = ["a", "b", "c"]
COUNTS = st.none() | st.integers(1, 3)
RATES = st.none() | st.sampled_from([0.25, 1.0, 2.0])


@attrs.define(eq=False)
class Job:
    """A job of the model."""

    id: str
    handler: str
    key: str | None
    due: float
    rank: float
    number: int


@attrs.define
class Used:
    """What the model knows of a limit and a key: the starts, and the jobs that run."""

    limit: Limit
    starts: list[float] = attrs.field(factory=list[float])
    running: set[str] = attrs.field(factory=set[str])

    def opens(self, now: float) -> float:
        """Return from when on one more may start, by the bare wording of the rule."""
        limit = self.limit
        if limit.at_once is not None and len(self.running) >= limit.at_once:
            return math.inf
        if limit.per_second is None:
            return now
        # With one more at time t, `count` start from `start` to t: count <= burst + rate * (t - start).
        return max(
            [now]
            + [
                start + (len(self.starts) - place + 1 - limit.most) / limit.per_second
                for place, start in enumerate(self.starts)
            ]
        )


def limit_of(keyed: bool) -> st.SearchStrategy[Limit]:
    """Draw a limit of places, a rate, or both."""
    drawn = st.tuples(COUNTS, RATES, st.integers(1, 3)).filter(lambda one: one[0] or one[1])
    return drawn.map(
        lambda one: Limit(
            at_once=one[0], per_second=one[1], burst=one[2] if one[1] is not None else None, keyed=keyed
        )
    )


class LanesMachine(RuleBasedStateMachine):
    """Lanes, and a list of the jobs that wait."""

    def __init__(self) -> None:
        super().__init__()
        self.lanes = Lanes()
        self.now = 1000.0
        self.count = 0
        self.limits: dict[str, dict[str, Limit]] = {}
        self.used: dict[tuple[str, str | None], Used] = {}
        self.waiting: list[Job] = []
        self.running: list[Job] = []
        self.turns: dict[tuple[str, str | None], tuple[float, int]] = {}  # when its turn was taken

    @initialize(shared=limit_of(keyed=False), own=limit_of(keyed=True), other=limit_of(keyed=True))
    def define(self, shared: Limit, own: Limit, other: Limit) -> None:
        self.limits = {"x": {"gpu": shared, "x[1]": own}, "y": {"y[0]": other}, "z": {"gpu": shared}}
        for handler, limits in self.limits.items():
            self.lanes.define(handler, limits, self.now)

    def uses(self, job: Job) -> Iterator[Used]:
        for name, limit in self.limits[job.handler].items():
            yield self.used.setdefault((name, job.key if limit.keyed else None), Used(limit))

    def opens(self, job: Job, *, keyed_only: bool = False) -> float:
        uses = [use for use in self.uses(job) if use.limit.keyed or not keyed_only]
        return max([job.due, self.now] + [use.opens(self.now) for use in uses])

    def due(self, handler: str, key: str | None) -> list[Job]:
        jobs = [job for job in self.waiting if (job.handler, job.key) == (handler, key)]
        return sorted((job for job in jobs if job.due <= self.now), key=lambda job: (job.rank, job.number))

    @rule(
        handler=st.sampled_from("xyz"),
        key=st.sampled_from(KEYS),
        wait=st.sampled_from([0.0, 0.0, 0.0, 1.0, 3.0]),
        penalty=st.sampled_from([0.0, 0.0, 2.0]),
    )
    def add(self, handler: str, key: str, wait: float, penalty: float) -> None:
        due = self.now + wait
        self.count += 1
        job_key = None if handler == "z" else key
        job = Job(f"job {self.count}", handler, job_key, due, due + penalty, self.count)
        self._take_turns()
        self.waiting.append(job)
        self._take_turns()
        self.lanes.add(handler, job_key, job.id, (due, penalty, self.now, 0))

    def _take_turns(self) -> None:
        """Give a turn to each lane of which a job is due, and take it from others."""
        lanes = {(job.handler, job.key) for job in self.waiting if job.due <= self.now}
        self.turns = {lane: turn for lane, turn in self.turns.items() if lane in lanes}
        for lane in lanes - self.turns.keys():
            since = min(job.due for job in self.due(*lane))
            self.turns[lane] = since, 0 if since < self.now else self.count

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def discard(self, data: st.DataObject) -> None:
        job = data.draw(st.sampled_from(self.waiting))
        self._take_turns()
        self.waiting.remove(job)
        self._take_turns()
        self.lanes.discard(job.handler, job.key, job.id, self.now)

    @rule(handler=st.sampled_from("xw"))
    def discard_nobody(self, handler: str) -> None:
        self.lanes.discard(handler, "a", "nobody", self.now)

    @rule(seconds=st.sampled_from([0.0, 0.5, 1.0, 4.0]))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        job = data.draw(st.sampled_from(self.running))
        self.running.remove(job)
        for use in self.uses(job):
            use.running.remove(job.id)
        self.lanes.free(job.id, self.now)

    @rule(bound=st.sampled_from([math.inf, math.inf, math.inf, 2.0]))
    def take(self, bound: float) -> None:
        """What starts is due, allowed, and the one whose turn it is; nothing starts only if nothing may."""
        self._take_turns()
        rank = bound if bound == math.inf else self.now - bound
        may = [job for job in self.waiting if self.opens(job) <= self.now]
        ranks = {job.handler: math.inf for job in may}
        for handler in ranks:  # each competes by the lowest rank of a lane that its key does not hold up
            ranks[handler] = min(job.rank for job in may if job.handler == handler)
        found = self.lanes.take(self.now, rank)
        if found is None:
            assert min(ranks.values(), default=math.inf) >= rank
            return
        (job,) = [job for job in may if job.id == found]
        assert ranks[job.handler] == min(ranks.values()) < rank
        lane = job.handler, job.key
        assert self.due(*lane)[0] is job, "within a key by rank, then in the order in which they came"
        mine = self.turns[lane]
        others = {(one.handler, one.key) for one in may if one.handler == job.handler} - {lane}
        assert all(mine <= self.turns[other] for other in others), "the keys take turns"
        self.waiting.remove(job)
        self.running.append(job)
        for use in self.uses(job):
            use.running.add(job.id)
            use.starts.append(self.now)
            assert use.limit.at_once is None or len(use.running) <= use.limit.at_once
        self.count += 1
        if self.due(*lane):
            self.turns[lane] = self.now, self.count
        else:
            del self.turns[lane]

    @invariant()
    def next_start_is_when_something_could_start(self) -> None:
        told = self.lanes.next_start(self.now)
        starts = min(map(self.opens, self.waiting), default=math.inf)
        assert (told <= self.now) is (starts <= self.now)
        assert told <= starts + 1e-9, "never too late"
        assert len(self.lanes) == len(self.waiting)
        assert self.lanes.held.keys() == {job.id for job in self.running}


LanesMachine.TestCase.__doc__ = "Lanes start what a list of all jobs would, by the wording of the rules."
TestLanes = LanesMachine.TestCase


def lanes_of(**limits: Limit) -> Lanes:
    """Return lanes of a handler for each limit, which has its name."""
    lanes = Lanes()
    for handler, limit in limits.items():
        lanes.define(handler, {f"{handler}[0]": limit}, 0.0)
    return lanes


def add(lanes: Lanes, key: str | None, *ids: str, handler: str = "x", due: float = 0.0) -> None:
    """Add jobs."""
    for job_id in ids:
        lanes.add(handler, key, job_id, (due, 0.0, 0.0, 0))


def taken(lanes: Lanes, most: int, now: float = 0.0) -> list[str]:
    """Start up to so many jobs."""
    found = (lanes.take(now, math.inf) for _ in range(most))
    return [job_id for job_id in found if job_id is not None]


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(1, 3)), max_size=30), st.integers(1, 4))
def test_no_key_waits_longer_than_for_the_other_keys(steps: list[tuple[int, int]], capacity: int) -> None:
    """Whatever others submit: from when a key's first job is due until it starts, at most one job of each
    other key starts."""
    lanes = lanes_of(x=Limit(at_once=1000, keyed=True))
    add(lanes, "big", *[f"big {n}" for n in range(200)])
    waiting: dict[str, list[str]] = {}
    others: dict[str, int] = {}  # how many started since a job has been the first of its key
    for number, (key, claims) in enumerate(steps):
        waiting.setdefault(str(key), []).append(f"{key} {number}")
        add(lanes, str(key), f"{key} {number}")
        for job_id in taken(lanes, min(claims, capacity)):
            firsts = {jobs[0] for jobs in waiting.values() if jobs}
            others = {one: others.get(one, 0) + 1 for one in firsts - {job_id}}
            assert max(others.values(), default=0) <= 5
            if (jobs := waiting.get(job_id.partition(" ")[0])) is not None:
                assert jobs.pop(0) == job_id


def test_exhausted_keys_are_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """A claim looks at as many lanes with a thousand exhausted keys as with one."""
    looked: list[Lane] = []
    refresh = Lanes._refresh

    def counting(self: Lanes, lane: Lane, now: float) -> None:
        looked.append(lane)
        refresh(self, lane, now)

    monkeypatch.setattr(Lanes, "_refresh", counting)

    def looks(keys: int) -> int:
        lanes = lanes_of(x=Limit(at_once=1, per_second=0.001, keyed=True))
        for key in range(keys):
            add(lanes, str(key), f"{key} runs", f"{key} waits", f"{key} waits too")
        assert len(taken(lanes, keys + 5)) == keys
        add(lanes, "new", "it")
        looked.clear()
        assert lanes.next_start(0.0) <= 0.0
        assert taken(lanes, 2) == ["it"]
        assert lanes.next_start(0.0) == math.inf
        return len(looked)

    assert looks(1000) == looks(1) == 1


def test_a_handler_whose_shared_limit_is_exhausted_holds_up_no_other() -> None:
    """Handlers that share a limit wait for each other, and those that do not start."""
    lanes, gpu = Lanes(), Limit(at_once=1)
    for handler, limits in {"x": {"gpu": gpu}, "y": {"gpu": gpu}, "z": {"z[0]": gpu}}.items():
        lanes.define(handler, limits, 0.0)
        add(lanes, None, f"{handler} 1", f"{handler} 2", handler=handler)
    assert taken(lanes, 5) == ["x 1", "z 1"]
    assert lanes.next_start(0.0) == math.inf
    lanes.free("x 1", 0.0)
    assert taken(lanes, 5) == ["x 2"]
    lanes.free("x 2", 0.0)
    assert taken(lanes, 5) == ["y 1"]


def test_a_start_that_did_not_begin_is_given_back() -> None:
    """The place and the start of the rate are free again; but not the start, if another came behind it."""
    lanes = lanes_of(x=Limit(at_once=2, per_second=0.1))
    add(lanes, None, "1", "2", "3")
    assert taken(lanes, 3) == ["1"]
    lanes.free("1", 1.0, begun=False)
    assert taken(lanes, 3, 1.0) == ["2"]
    assert taken(lanes, 3, 11.0) == ["3"]
    lanes.free("2", 11.0, begun=False)
    assert lanes.next_start(11.0) == math.inf
    add(lanes, None, "4")
    assert lanes.next_start(11.0) == 21.0


def test_limits_may_change() -> None:
    """The last definition counts, what runs keeps its places, and a shared limit changes for all."""
    lanes = lanes_of(x=Limit(at_once=1, keyed=True))
    add(lanes, "a", "1", "2", "3")
    lanes.hold("x", "b", "older", 0.0)
    assert taken(lanes, 3) == ["1"]
    lanes.define("x", {"x[0]": Limit(at_once=2, keyed=True)}, 0.0)
    add(lanes, "b", "4", "5")
    assert taken(lanes, 3) == ["2", "4"]
    lanes.define("x", {"gpu": Limit(at_once=4)}, 0.0)
    assert taken(lanes, 3) == []
    lanes.define("y", {"gpu": Limit(at_once=5)}, 0.0)
    assert taken(lanes, 3) == ["3"]
    lanes.define("x", {"x[0]": Limit(at_once=4, keyed=True)}, 0.0)
    add(lanes, None, *"6789vw", handler="y")
    assert taken(lanes, 9) == ["5", "6", "7", "8", "9", "v"]


@pytest.mark.parametrize("keyed", [True, False])
def test_a_faster_rate_counts_at_once(keyed: bool) -> None:
    """What a slow rate has used up is at most a full burst of the faster one in its place."""
    lanes = lanes_of(x=Limit(per_second=0.001, burst=2, keyed=keyed))
    add(lanes, "a", "1", "2", "3", "4", "5")
    assert taken(lanes, 5) == ["1", "2"]
    lanes.define("x", {"x[0]": Limit(per_second=1, keyed=keyed)}, 0.0)
    assert lanes.next_start(0.5) == 1.0
    assert taken(lanes, 5, 1.0) == ["3"]
    assert taken(lanes, 5, 1.9) == []
    assert taken(lanes, 5, 2.0) == ["4"]


def test_a_key_is_forgotten_when_nothing_of_it_is_left() -> None:
    """A key that has no job and no rate in use takes no memory."""
    lanes = lanes_of(x=Limit(per_second=1, keyed=True), y=Limit(at_once=1))
    for number in range(100):
        add(lanes, str(number), f"x {number}")
        add(lanes, None, f"y {number}", handler="y")
        lanes.free(taken(lanes, 1)[0], 0.0)
        lanes.free(taken(lanes, 1)[0], 0.0)
    assert taken(lanes, 1, 5.0) == []
    assert [len(group.lanes) for group in lanes._groups.values()] == [0, 0]


@pytest.mark.parametrize("keyed", [True, False])
def test_how_many_may_wait(keyed: bool) -> None:
    """A limit bounds what waits, of each key or of all; those that run and those not counted leave room."""
    lanes = lanes_of(x=Limit(at_once=1, waiting=2, keyed=keyed), y=Limit(at_once=1))
    add(lanes, "a", "1", "2")
    lanes.add("x", "a", "woken", (0.0, 0.0, 0.0, 0), counts=False)
    assert taken(lanes, 1) == ["1"]
    lanes.check_waiting([("x", "a"), ("y", None), ("plain", None)])
    with pytest.raises(QueueFull, match=r"2 jobs wait already, as many as the limit 'x\[0\]' allows") as full:
        lanes.check_waiting([("x", "a"), ("x", "a")])
    assert (full.value.limit, full.value.name, full.value.key) == (2, "x[0]", "a" if keyed else None)
    if keyed:
        lanes.check_waiting([("x", "b"), ("x", "b"), ("x", "a")])
    else:
        with pytest.raises(QueueFull):
            lanes.check_waiting([("x", "b"), ("x", "c")])
    lanes.discard("x", "a", "2", 0.0)
    lanes.check_waiting([("x", "a"), ("x", "a")])


def test_a_paused_handler_is_closed() -> None:
    """What is paused is not taken, and nothing wakes for it; afterwards it is as before."""
    lanes = Lanes()
    for handler in "ab":
        lanes.define(handler, {}, 0.0)
    lanes.add("a", None, "1", (0.0, 0.0, 0.0, 1))
    lanes.pause("a", paused=True)
    found = lanes.paused, lanes.next_start(0.0), lanes.take(0.0, math.inf)
    assert found == (frozenset("a"), math.inf, None)
    lanes.pause("a", paused=False)
    assert (lanes.paused, lanes.next_start(0.0), lanes.take(0.0, math.inf)) == (frozenset(), -math.inf, "1")


def test_what_is_forgotten_wakes_nobody() -> None:
    """A handler that is forgotten has no jobs in lanes, whether they wait or run; others keep theirs."""
    lanes = Lanes()
    for handler in "ab":
        lanes.define(handler, {}, 0.0)
        lanes.hold(handler, None, f"runs {handler}", 0.0)
    for number, (handler, due) in enumerate((("a", 0.0), ("a", 2.0), ("b", 5.0))):
        lanes.add(handler, None, str(number), (due, 0.0, 0.0, number))
    lanes.add("a", "key", "3", (3.0, 0.0, 0.0, 3))
    lanes.forget("a")
    assert (len(lanes), "a" in lanes, "b" in lanes, [*lanes.held]) == (1, False, True, ["runs b"])
    assert lanes.next_start(0.0) == 5.0
    assert lanes.take(5.0, math.inf) == "2"


def test_what_stands_behind_another_job_is_counted() -> None:
    """It counts among what waits before it may start, and once, and not any more when it starts or leaves."""
    lanes = lanes_of(x=Limit(at_once=1, waiting=2, keyed=True))
    lanes.count("x", "a", "1")
    lanes.count("x", "a", "2")
    assert len(lanes) == 0
    assert taken(lanes, 1) == []
    with pytest.raises(QueueFull):
        lanes.check_waiting([("x", "a")], {"of another key"})
    lanes.check_waiting([("x", "a")], {"1"})
    lanes.discard("x", "a", "1", 0.0)
    lanes.check_waiting([("x", "a")])
    add(lanes, "a", "2")
    assert len(lanes) == 1
    lanes.check_waiting([("x", "a")])
    assert taken(lanes, 1) == ["2"]
    assert len(lanes) == 0
    lanes.check_waiting([("x", "a"), ("x", "a")])
    lanes.discard("x", "a", "2", 0.0)
    assert len(lanes) == 0


def test_a_key_is_kept_while_a_job_of_it_waits_for_ever() -> None:
    """A job that is never due by itself is still there when it leaves."""
    lanes = lanes_of(x=Limit(at_once=1, keyed=True))
    lanes.add("x", "a", "1", (math.inf, 0.0, 0.0, 1), counts=False)
    assert (len(lanes), list(lanes._groups["x"].lanes)) == (1, ["a"])
    lanes.discard("x", "a", "1", 0.0)
    assert (len(lanes), list(lanes._groups["x"].lanes)) == (0, [])


def test_a_limit_is_pinned() -> None:
    """It holds at once, for all its handlers and whatever they define, until the pin ends; then it stays."""
    lanes, one = Lanes(), Limit(at_once=1)
    for handler in "xy":
        lanes.define(handler, {"gpu": one, f"{handler}[1]": Limit(at_once=9)}, 0.0)
        add(lanes, None, *(f"{handler}{n}" for n in range(3)), handler=handler)
    assert taken(lanes, 9) == ["x0"]
    lanes.pin("coming", one, 0.0)
    lanes.pin("gpu", Limit(at_once=2), 0.0)
    assert taken(lanes, 9) == ["x1"]
    lanes.define("y", {"gpu": Limit(at_once=7), "coming": Limit(at_once=7)}, 0.0)
    assert (lanes.limits("x")["gpu"], lanes.limits("y")["coming"]) == (Limit(at_once=2), one)
    assert taken(lanes, 9) == []
    used = [(one.name, one.limit.at_once, one.pinned, one.running, one.waiting) for one in lanes.status()]
    assert used == [("coming", 1, True, 0, 3), ("gpu", 2, True, 2, 4), ("x[1]", 9, False, 2, 1)]
    lanes.pin("gpu", None, 0.0)
    assert lanes.limits("x")["gpu"] == Limit(at_once=2)
    lanes.define("y", {"gpu": Limit(at_once=3)}, 0.0)
    assert lanes.limits("x")["gpu"] == Limit(at_once=3)
    assert [(one.name, one.pinned) for one in lanes.status()][1:] == [("gpu", False), ("x[1]", False)]
    assert taken(lanes, 9) == ["x2"]


def test_which_limit_holds_a_key_up() -> None:
    """The first one without a place; of a keyed limit only the places of that key count."""
    lanes = Lanes()
    lanes.define("x", {"each": Limit(at_once=1, keyed=True), "all": Limit(at_once=2, per_second=0.1)}, 0.0)
    add(lanes, "a", "1", "2")
    add(lanes, "b", "3")
    assert [lanes.limit_over("x", key, 0.0) for key in "ab"] == [None, None]
    assert lanes.limit_over("unknown", None, 0.0) is None
    assert taken(lanes, 1) == ["1"]
    assert [lanes.limit_over("x", key, 0.0) for key in "ab"] == ["each a", "all"]
    assert [lanes.limit_over("x", key, 10.0) for key in "ab"] == ["each a", None]


def test_a_pin_changes_no_other_limit() -> None:
    """What another handler has said of a shared limit still holds after a limit beside it is pinned."""
    lanes = Lanes()
    lanes.define("x", {"gpu": Limit(at_once=1), "mine": Limit(at_once=9)}, 0.0)
    lanes.define("y", {"gpu": Limit(at_once=5)}, 0.0)
    lanes.pin("mine", Limit(at_once=8), 0.0)
    assert lanes.limits("x") == {"gpu": Limit(at_once=5), "mine": Limit(at_once=8)}


def test_what_has_become_due_takes_its_turn_before_what_comes() -> None:
    """A key takes its turn when its first job is due, although nobody has looked since, and not before."""
    lanes = lanes_of(x=Limit(at_once=9, keyed=True))
    add(lanes, "a", "1", due=1.0)
    lanes.add("x", "b", "2", (2.0, 0.0, 2.0, 0))
    lanes.add("x", "c", "3", (3.0, 10.0, 2.0, 10))
    assert taken(lanes, 3, 2.0) == ["1", "2"]
    assert taken(lanes, 3, 3.0) == ["3"]


def test_every_limit_of_a_handler_bounds_what_waits() -> None:
    """Also the one behind another that bounds nothing."""
    lanes = Lanes()
    lanes.define("x", {"gpu": Limit(at_once=1), "x[1]": Limit(at_once=1, waiting=1)}, 0.0)
    add(lanes, None, "1")
    with pytest.raises(QueueFull):
        lanes.check_waiting([("x", None)])


def test_what_runs_already_closes_its_key() -> None:
    """A job that ran before its handler got limits holds up those of its key that wait."""
    lanes = lanes_of(x=Limit(at_once=1, keyed=True))
    add(lanes, "a", "1")
    lanes.hold("x", "a", "older", 0.0)
    assert taken(lanes, 1) == []


def test_a_job_that_is_due_under_an_exhausted_limit_wakes_nobody() -> None:
    """When it became due it could not start, and it cannot by waiting alone."""
    lanes = lanes_of(x=Limit(at_once=1))
    add(lanes, "a", "1")
    assert taken(lanes, 1) == ["1"]
    add(lanes, "b", "2", due=1.0)
    assert lanes.next_start(2.0) == math.inf
