"""The jobs of a store in memory, compared with a list that is searched from end to end."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping
from itertools import product
from typing import Any

import pytest
import trio
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from trio.testing import MockClock

from trio_jobs import Priority, QueueFull, Reason, Retention, State
from trio_jobs.stores import Options, _roll, _row
from trio_jobs.stores.contract import Claimant, Submission, Where
from trio_jobs.stores.log import Log
from trio_jobs.stores.memory import MemoryStore

OWNERS, HANDLERS = (None, "a", "b"), ("f", "g")
WHERES = [
    Where(states=states, handler=handler, owner=owner)
    for states, handler, owner in product(
        (None, {State.QUEUED}, {State.RUNNING, State.FAILED}), (None, *HANDLERS, "none"), (*OWNERS, "none")
    )
] + [Where(tags={"t": "1"}), Where(parent="0"), Where(parent="0", handler="f")]


async def target() -> None: ...


def row(
    job_id: str, handler: str = "f", owner: str | None = None, tag: str = "", parent: str | None = None
) -> _row.Row:
    options = Options(owner=owner, tags={"t": tag} if tag else {})
    new = Submission(job_id, handler, target, (), options)
    return _row.Row(new, Log(Retention(), lambda: 0.0, 0.0), 0.0, 0.0, parent)


def pages(roll: _roll.Roll, where: Where, limit: int, *, newest: bool) -> list[str]:
    """Return the ids of all pages."""
    found, after = list[str](), None
    while True:
        page = roll.find(where, limit, after, newest=newest, epoch=0.0)
        assert len(page.jobs) <= limit
        found += [job.id for job in page.jobs]
        if (after := page.next) is None:
            return found


class RollMachine(RuleBasedStateMachine):
    """A roll and a list of the rows in it."""

    def __init__(self) -> None:
        super().__init__()
        self.roll = _roll.Roll()
        self.rows: list[_row.Row] = []
        self.count = 0

    @rule(
        handler=st.sampled_from(HANDLERS),
        owner=st.sampled_from(OWNERS),
        tag=st.sampled_from(["", "1"]),
        parent=st.sampled_from([None, "0"]),
    )
    def add(self, handler: str, owner: str | None, tag: str, parent: str | None) -> None:
        new = row(str(self.count), handler, owner, tag, parent)
        self.count += 1
        assert self.roll.add(new) is new
        assert new.number == self.count
        self.rows.append(new)

    @precondition(lambda self: self.rows)
    @rule(data=st.data(), state=st.sampled_from(State))
    def move(self, data: st.DataObject, state: State) -> None:
        one = data.draw(st.sampled_from(self.rows))
        self.roll.move(one, state)
        assert one.state is state

    @precondition(lambda self: self.rows)
    @rule(data=st.data())
    def forget(self, data: st.DataObject) -> None:
        one = data.draw(st.sampled_from(self.rows))
        self.rows.remove(one)
        assert self.roll.forget(one.submission.id) is one

    @invariant()
    def it_counts(self) -> None:
        assert [*self.roll.values()] == self.rows
        for where in WHERES:
            wanted = Counter(one.state for one in self.rows if one.matches(where))
            assert self.roll.count(where) == wanted, where

    @rule(where=st.sampled_from(WHERES), limit=st.integers(1, 4), newest=st.booleans())
    def find(self, where: Where, limit: int, newest: bool) -> None:
        wanted = [one.submission.id for one in self.rows if one.matches(where)]
        assert pages(self.roll, where, limit, newest=newest) == (wanted[::-1] if newest else wanted)

    @invariant()
    def names_are_forgotten(self) -> None:
        names = {("handler", one.submission.handler) for one in self.rows}
        names |= {("owner", one.submission.options.owner) for one in self.rows} - {("owner", None)}  # type: ignore[arg-type]
        assert self.roll._totals.keys() == names


RollMachine.TestCase.__doc__ = "A roll counts and finds what a list that is searched does."
RollMachine.TestCase.settings = settings(max_examples=30, stateful_step_count=20)
TestRoll = RollMachine.TestCase


@pytest.mark.parametrize(("jobs", "gone"), [(100, 83), (101, 83)])
def test_jobs_that_are_gone_take_no_room(jobs: int, gone: int) -> None:
    """Numbers of removed jobs are dropped when there are 65 more of them than of jobs, and no sooner."""
    roll = _roll.Roll()
    for n in range(jobs):
        roll.add(row(str(n)))
    for n in range(gone - 1):
        roll.forget(str(n))
        assert len(roll._order) == jobs
    roll.forget(str(gone - 1))
    assert roll._order == [*range(gone + 1, jobs + 1)]
    assert pages(roll, Where(), 10, newest=False) == [str(n) for n in range(gone, jobs)]
    assert roll.add(row("new")).number == jobs + 1


def test_pairs_of_handlers_and_owners_that_are_gone_take_no_room() -> None:
    """The entry of a handler's jobs for an owner is dropped with them, though other jobs of both stay."""
    roll, names = _roll.Roll(), range(40)
    for n in names:
        roll.add(row(f"{n}", f"f{n}", f"o{n}"))

    def churn() -> int:
        for handler in names:
            for owner in names:
                roll.add(row("x", f"f{handler}", f"o{owner}"))
                roll.forget("x")
        return sum(map(sys.getsizeof, vars(roll).values()))

    few = sum(map(sys.getsizeof, vars(roll).values()))
    assert churn() < 8 * few


@pytest.mark.parametrize("removed", [False, True])
@pytest.mark.parametrize("newest", [False, True])
def test_a_page_starts_behind_the_last_one(newest: bool, removed: bool) -> None:
    """The next page has all jobs behind the first and no other, also if those of the first are removed."""
    roll = _roll.Roll()
    for n in range(6):
        roll.add(row(str(n)))
    first = roll.find(Where(), 2, None, newest=newest, epoch=0.0)
    for job in first.jobs if removed else ():
        roll.forget(job.id)
    rest = roll.find(Where(), 9, first.next, newest=newest, epoch=0.0)
    assert [job.id for job in (*first.jobs, *rest.jobs)] == sorted("012345", reverse=newest)
    assert rest.next is None


def test_a_page_examines_no_more_than_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page ends after so many jobs were examined, whether they matched or not, with a cursor."""
    monkeypatch.setattr(_roll, "EXAMINED", 3)
    roll = _roll.Roll()
    for n in range(7):
        roll.add(row(str(n), "g" if n == 6 else "f"))
    found = list[Any]()
    after = None
    for _ in range(3):
        page = roll.find(Where(handler="g"), 5, after, newest=False, epoch=0.0)
        found.append(([job.id for job in page.jobs], page.next))
        after = page.next
    assert found == [([], "3"), ([], "6"), (["6"], None)]


def test_a_page_looks_no_further_than_it_needs() -> None:
    """A page examines its own jobs and one more, however many there are."""
    looked = list[str]()

    class Seen(_row.Row):
        def matches(self, where: Where) -> bool:
            looked.append(self.submission.id)
            return super().matches(where)

    roll = _roll.Roll()
    for n in range(9):
        plain = row(str(n))
        roll.add(Seen(plain.submission, plain.log, 0.0, 0.0))
    page = roll.find(Where(), 2, None, newest=False, epoch=0.0)
    assert [job.id for job in page.jobs] == ["0", "1"]
    assert looked == ["0", "1", "2"]


def test_a_page_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page has at most `PAGE_JOBS` jobs, whatever the limit."""
    monkeypatch.setattr(_roll, "PAGE_JOBS", 3)
    roll = _roll.Roll()
    for n in range(4):
        roll.add(row(str(n)))
    page = roll.find(Where(), 10**9, None, newest=False, epoch=0.0)
    assert [job.id for job in page.jobs] == ["0", "1", "2"]
    assert page.next == "3"


def test_a_search_counts_no_more_than_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """A count by a search stops at a bound."""
    monkeypatch.setattr(_roll, "COUNTED", 3)
    roll = _roll.Roll()
    for n in range(5):
        roll.add(row(str(n), tag="1"))
    assert roll.count(Where(tags={"t": "1"})) == {State.QUEUED: 3}
    assert roll.count(Where()) == {State.QUEUED: 5}


@given(
    waiting=st.lists(st.tuples(st.sampled_from(OWNERS), st.sampled_from(State)), max_size=6),
    batch=st.lists(st.sampled_from(OWNERS), max_size=4),
    starting=st.integers(0, 2),
    room=st.one_of(st.none(), st.integers(0, 5)),
)
def test_the_room_of_an_owner(waiting: Any, batch: Any, starting: int, room: int | None) -> None:
    """An owner's waiting jobs, with new ones that do not start, are never more than the room."""
    roll = _roll.Roll()
    for n, (owner, state) in enumerate(waiting):
        roll.move(roll.add(row(str(n), owner=owner)), state)
    new = [Submission("new", "f", target, (), Options(owner=owner), room=room) for owner in batch]
    full = set[str]()
    for owner in {*batch} - {None}:
        held = sum(one == owner and state in {State.QUEUED, State.RETRYING} for one, state in waiting)
        if room is not None and held + batch.count(owner) - starting > room:
            full.add(owner)
    if not full:
        roll.check_room(new, dict.fromkeys(batch, starting))
        return
    with pytest.raises(QueueFull) as caught:
        roll.check_room(new, dict.fromkeys(batch, starting))
    assert caught.value.owner in full
    assert caught.value.limit == room


JOBS = st.builds(
    Options,
    owner=st.sampled_from(OWNERS),
    priority=st.sampled_from(Priority),
    delay=st.sampled_from([0.0, 0.0, 200.0, 10_000.0]),
)


@given(
    st.lists(JOBS, max_size=5), st.lists(JOBS, min_size=1, max_size=4), st.integers(0, 4), st.integers(0, 3)
)
@example([Options(owner="b")], [Options(owner="a", priority=Priority.LOW)], 1, 0)
@example([Options(owner="a", delay=10_000.0)], [Options(owner="a")], 1, 0)
def test_the_room_is_for_what_waits_after_the_claims(
    waiting: list[Options], batch: list[Options], slots: int, room: int
) -> None:
    """A batch is refused exactly if its claims would leave more jobs of an owner waiting than have room."""

    async def outcome(room: int | None) -> Mapping[str | None, int] | None:
        store = MemoryStore()
        before = [Submission(f"old {n}", "f", target, (), one) for n, one in enumerate(waiting)]
        await store.submit(before, 0, Claimant("w"))
        new = [Submission(f"new {n}", "f", target, (), one, room=room) for n, one in enumerate(batch)]
        await trio.sleep(250)
        try:
            await store.submit(new, slots, Claimant("w"))
        except QueueFull:
            return None
        owners = {one.owner for one in batch} - {None}
        return {one: (await store.count(Where(owner=one))).get(State.QUEUED, 0) for one in owners}

    left = trio.run(outcome, None, clock=MockClock(autojump_threshold=0))
    assert left is not None
    fits = all(count <= room for count in left.values())
    assert (trio.run(outcome, room, clock=MockClock(autojump_threshold=0)) is not None) == fits


@pytest.mark.parametrize("state", State)
def test_which_jobs_wait(state: State) -> None:
    """Queued and retrying jobs take the room of their owner; running and ended ones do not."""
    roll = _roll.Roll()
    roll.move(roll.add(row("0", owner="a")), state)
    new = [Submission("new", "f", target, (), Options(owner="a"), room=1)]
    if state in {State.QUEUED, State.RETRYING}:
        with pytest.raises(QueueFull):
            roll.check_room(new, {})
    else:
        roll.check_room(new, {})


AWAITING = Reason.AWAITING_INPUT


def test_what_awaits_an_input_takes_no_room() -> None:
    """Jobs that await an input are counted apart, in all and by owner, until they move on."""
    roll = _roll.Roll()
    rows = [roll.add(row(f"{n}", owner=owner)) for n, owner in enumerate(["a", "a", "b"])]

    def fits(owner: str, room: int) -> bool:
        new = [Submission("new", "f", target, (), Options(owner=owner), room=room)]
        try:
            roll.check_room(new, {})
        except QueueFull:
            return False
        return True

    for one in rows:
        roll.move(one, State.RETRYING, AWAITING)
        assert one.reason is AWAITING
    assert roll.awaiting == 3
    assert fits("a", 1)
    assert not fits("a", 0)
    roll.move(rows[0], State.RETRYING, AWAITING)
    assert roll.awaiting == 3
    roll.move(rows[0], State.RETRYING, Reason.SNOOZED)
    assert (roll.awaiting, rows[0].reason) == (2, Reason.SNOOZED)
    assert fits("a", 2)
    assert not fits("a", 1)
    for one in rows:
        roll.move(one, State.RUNNING)
        assert one.reason is None
    assert roll.awaiting == 0
    assert roll._awaiting == {}  # or it would remember each owner that ever was
    assert fits("a", 1)


def test_who_starts_where_others_were_woken() -> None:
    """A job that awaited an input takes a slot by its rank, and is not counted among those that start."""
    roll = _roll.Roll()
    for n, reason in enumerate([None, AWAITING, None]):
        roll.move(roll.add(row(f"{n}", owner="a")), State.RETRYING, reason)
    new = [Submission("new", "f", target, (), Options(owner="b", delay=delay)) for delay in (0.0, 9.0)]
    due = [(float(n), f"{n}") for n in range(3)]
    found = [roll.starting(due, new, limit, 5.0, epoch=0.0) for limit in range(6)]
    assert found == [{}, {"a": 1}, {"a": 1}, {"a": 2}, {"a": 2, "b": 1}, {"a": 2, "b": 1}]
