"""The waiting jobs, compared with a sorted list: order, ageing with its bound, and the queue's memory."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from trio_jobs import Priority
from trio_jobs.stores import PENALTY
from trio_jobs.stores._queue import Queue

SECONDS = st.integers(0, 50).map(float)
PENALTIES = st.sampled_from([0.0, 5.0, 20.0])


def entries_in(queue: Queue[str]) -> int:
    """Return how many entries its heaps have, those of removed jobs included."""
    return len(queue._later) + len(queue._ready)


class QueueMachine(RuleBasedStateMachine):
    """A queue and a list of the waiting jobs."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = Queue[str]()
        self.now = 0.0
        self.count = 0
        # (due, rank, how many came before, id)
        self.waiting: list[tuple[float, float, int, str]] = []

    @rule(wait=SECONDS, penalty=PENALTIES, ranked=st.booleans())
    def add(self, wait: float, penalty: float, ranked: bool) -> None:
        self._add(f"job {self.count}", wait, penalty, self.now if ranked else -math.inf)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data(), wait=SECONDS, penalty=PENALTIES, ranked=st.booleans())
    def add_again(self, data: st.DataObject, wait: float, penalty: float, ranked: bool) -> None:
        """Add a removed job again under its id, as a retry does."""
        job_id = data.draw(st.sampled_from(self.waiting))[-1]
        self.queue.discard(job_id)
        self.waiting = [entry for entry in self.waiting if entry[-1] != job_id]
        self._add(job_id, wait, penalty, self.now if ranked else -math.inf)

    def _add(self, job_id: str, wait: float, penalty: float, now: float) -> None:
        due = self.now + wait
        self.queue.add(job_id, due, penalty, now)
        self.waiting.append((due, due + penalty, self.count, job_id))
        self.count += 1

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def discard(self, data: st.DataObject) -> None:
        entry = data.draw(st.sampled_from(self.waiting))
        self.waiting.remove(entry)
        self.queue.discard(entry[-1])

    @rule()
    def discard_nobody(self) -> None:
        self.queue.discard("nobody")

    @rule(seconds=SECONDS)
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def pop(self) -> None:
        due = sorted((entry for entry in self.waiting if entry[0] <= self.now), key=lambda entry: entry[1:3])
        wanted = due[0][-1] if due else None
        assert self.queue.pop(self.now) == wanted
        self.waiting = [entry for entry in self.waiting if entry[-1] != wanted]

    @invariant()
    def length(self) -> None:
        assert len(self.queue) == len(self.waiting)
        assert bool(self.queue) is bool(self.waiting)

    @invariant()
    def next_due_is_never_too_late(self) -> None:
        assert self.queue.next_due() <= min((entry[0] for entry in self.waiting), default=math.inf)

    @invariant()
    def stale_entries_are_bounded(self) -> None:
        entries = entries_in(self.queue)
        assert entries <= 2 * len(self.waiting) + 64


QueueMachine.TestCase.__doc__ = "The queue gives out what a sorted list does."
TestQueue = QueueMachine.TestCase


def test_best_is_what_comes_next() -> None:
    """`best` is the rank and the job that `pop` gives, past what was removed, and `next_due` is its time."""
    queue = Queue[str]()
    assert queue.best(9.0) == (math.inf, None)
    queue.add("late", 5.0, 20.0)
    queue.add("soon", 1.0, 3.0, 2.0, 7)
    queue.add("gone", 0.0, 0.0, 2.0, 8)
    assert queue.best(2.0) == (0.0, "gone")
    queue.discard("gone")
    assert queue.best(2.0) == (4.0, "soon")
    assert queue.next_due() == -math.inf
    queue.discard("soon")
    assert queue.next_due() == 5.0
    assert queue.best(2.0) == (math.inf, None)
    assert queue.best(5.0) == (25.0, "late")
    queue.add("first", 5.0, 20.0, 5.0, 1)
    assert queue.pop(5.0) == "late"  # without a number it is before all that have one


@given(
    st.lists(st.tuples(st.sampled_from(Priority), st.integers(0, 4000)), min_size=1, max_size=15),
    st.lists(st.tuples(st.integers(0, 2000), st.integers(1, 5)), max_size=15),
)
def test_starvation_bound(jobs: list[tuple[Priority, int]], steps: list[tuple[int, int]]) -> None:
    """No job that is due more than `PENALTY[p] - PENALTY[q]` after a due job of priority p starts
    before it."""
    queue, now = Queue[str](), 0
    started: dict[int, int] = {}
    for number, (priority, due) in enumerate(jobs):
        queue.add(str(number), float(due), PENALTY[priority])
    for wait, claims in [*steps, (10_000, len(jobs))]:
        now += wait
        for _ in range(claims):
            if (found := queue.pop(now)) is not None:
                started[int(found)] = now
    assert len(started) == len(jobs)
    order = list(started)
    for place, early in enumerate(order):
        q, due_early = jobs[early]
        assert due_early <= started[early]
        for late in order[place + 1 :]:
            p, due_late = jobs[late]
            if due_late <= started[early]:
                assert due_early - due_late <= PENALTY[p] - PENALTY[q]


@pytest.mark.parametrize("low", Priority)
@pytest.mark.parametrize("high", Priority)
def test_ageing(low: Priority, high: Priority) -> None:
    """A job waits behind those of another priority that become due within the bound, and behind no others."""
    bound = PENALTY[low] - PENALTY[high]
    queue = Queue[str]()
    queue.add("it", 10_000.0, PENALTY[low])
    queue.add("within", 10_000.0 + bound - 1, PENALTY[high])
    queue.add("beyond", 10_000.0 + bound + 1, PENALTY[high])
    assert [queue.pop(20_000.0) for _ in range(4)] == ["within", "it", "beyond", None]


def test_a_steady_stream_of_urgent_jobs_starves_nobody() -> None:
    """With an urgent job due every second and one claim a second, a low job starts when its bound is
    reached."""
    queue = Queue[str]()
    queue.add("low", 0.0, PENALTY[Priority.LOW])
    bound = int(PENALTY[Priority.LOW] - PENALTY[Priority.URGENT])
    for second in range(bound + 10):
        queue.add(f"urgent {second}", float(second), PENALTY[Priority.URGENT])
        if queue.pop(float(second)) == "low":
            assert second == bound
            return
    pytest.fail("the low job never started")


def test_equal_ranks_leave_in_the_order_in_which_they_came() -> None:
    """First in, first out, also among jobs whose due times and penalties differ and whose rank does not."""
    queue = Queue[str]()
    queue.add("b", 10.0, 0.0)
    queue.add("a", 5.0, 5.0)
    queue.add("c", 10.0, 0.0)
    assert [queue.pop(10.0) for _ in range(3)] == ["b", "a", "c"]


def test_a_job_that_is_not_due_overtakes_nobody() -> None:
    """A job of the lowest rank is not taken before it is due."""
    queue = Queue[str]()
    queue.add("later", 2.0, 0.0)
    queue.add("now", 1.0, 100.0)
    assert queue.pop(0.5) is None
    assert queue.pop(1.0) == "now"
    assert queue.pop(1.9) is None
    assert queue.pop(2.0) == "later"


def test_next_due() -> None:
    """`next_due` is when to claim again: never, at a time, or now."""
    queue = Queue[str]()
    assert queue.next_due() == math.inf
    queue.add("a", 7.0, 0.0)
    queue.add("b", 7.0, 0.0)
    assert queue.next_due() == 7.0
    queue.pop(7.0)
    assert queue.next_due() == -math.inf


def test_next_due_of_what_is_put_off() -> None:
    """`next_due` ignores the earlier due time of a postponed job."""
    queue = Queue[str]()
    for due in (3.0, 5.0, 7.0):
        queue.discard("a")
        queue.add("a", due, 0.0)
    assert queue.next_due() == 7.0
    queue.discard("a")
    assert queue.next_due() == math.inf


def test_what_is_due_is_ranked_at_once() -> None:
    """A job that is due when it is added counts as due before `pop`; one that is not, does not."""
    queue = Queue[str]()
    queue.add("later", 5.5, 0.0, 5.0)
    assert queue.next_due() == 5.5
    queue.add("low", 4.0, 2.0, 5.0)
    assert queue.next_due() == -math.inf
    queue.add("high", 5.0, 0.0, 5.0)
    assert [queue.pop(5.0) for _ in range(3)] == ["high", "low", None]
    assert queue.next_due() == 5.5
    queue.add("now", 5.0, 0.0, 5.0)
    assert queue.next_due() == -math.inf


@pytest.mark.parametrize("jobs", [100, 101])
def test_when_it_is_rebuilt(jobs: int) -> None:
    """Stale entries are removed when there are 65 more of them than of waiting jobs, and no sooner: each
    removed entry pays for its share of a rebuild."""
    queue = Queue[str]()
    for n in range(60):
        queue.add(str(n), 0.0, 0.0, 0.0)
    for n in range(60, jobs):
        queue.add(str(n), 5.0, 0.0, 0.0)
    for n in range(82):
        queue.discard(str(n))
        assert entries_in(queue) == jobs
    queue.discard("82")
    assert entries_in(queue) == len(queue) == jobs - 83


@given(st.permutations(range(100)), st.integers(2, 17))
def test_what_is_not_due_survives_a_rebuild(times: list[int], stay: int) -> None:
    """When most jobs that are not due have been cancelled, the others are still found when they are."""
    queue = Queue[str]()
    for due in times:
        queue.add(str(due), float(due), 0.0, -1.0)
    for due in times[stay:]:
        queue.discard(str(due))
    for due in sorted(times[:stay]):
        assert queue.next_due() <= due
        assert queue.pop(due - 0.5) is None
        assert queue.pop(float(due)) == str(due)
    assert queue.pop(math.inf) is None


@pytest.mark.parametrize("due_first", [False, True])
def test_cancelled_jobs_take_no_room(due_first: bool) -> None:
    """A hundred thousand jobs that were added and cancelled leave a bounded number of entries."""
    queue = Queue[str]()
    queue.add("stays", 0.0, 1000.0)
    for n in range(20_000):
        queue.add(str(n), 0.0, 0.0)
        if due_first and n % 100 == 0:
            queue.add("first", 0.0, -1.0)
            assert queue.pop(0.0) == "first"  # what is due moves to the other heap
        queue.discard(str(n))
        assert entries_in(queue) <= 2 * len(queue) + 64
    assert queue.pop(0.0) == "stays"
    assert queue.pop(0.0) is None


@given(st.permutations(range(100)), st.integers(2, 17), st.booleans())
def test_order_survives_a_rebuild(ranks: list[int], stay: int, due_first: bool) -> None:
    """When most of the jobs that waited have been cancelled, the others still leave in the order of rank."""
    queue = Queue[str]()
    for rank in ranks:
        queue.add(str(rank), 0.0, float(rank))
    if due_first:
        queue.add("first", 0.0, -1.0)
        assert queue.pop(0.0) == "first"  # what is due moves to the other heap
    for rank in ranks[stay:]:
        queue.discard(str(rank))
    assert entries_in(queue) < 100  # it was rebuilt
    wanted = [str(rank) for rank in sorted(ranks[:stay])]
    assert [queue.pop(0.0) for _ in range(stay + 1)] == [*wanted, None]


@given(st.lists(st.tuples(SECONDS, PENALTIES), max_size=20), st.integers(0, 5), st.sets(st.integers(0, 19)))
def test_first_tells_what_pop_would_give(jobs: list[tuple[float, float]], limit: int, gone: set[int]) -> None:
    """The first jobs by rank are returned in the order of `pop`, and stay."""
    queue = Queue[str]()
    for number, (due, penalty) in enumerate(jobs):
        queue.add(str(number), due, penalty, 10.0)
    for number in gone:
        queue.discard(str(number))
    told = queue.first(limit, 30.0)
    left = [job_id for _ in range(limit) if (job_id := queue.pop(30.0)) is not None]
    assert [job_id for _, job_id in told] == left
    assert [rank for rank, _ in told] == [sum(jobs[int(job_id)]) for job_id in left]


def test_numbers_begin_at_0() -> None:
    """Of equal rank, a job that is added without a number leaves before one with any other."""
    queue = Queue[str]()
    queue.add("last", 0.0, 0.0, 0.0, 1)
    queue.add("first", 0.0, 0.0, 0.0)
    assert [queue.pop(0.0), queue.pop(0.0)] == ["first", "last"]
