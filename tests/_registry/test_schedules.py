"""Schedules of a registry: they fire once a tick, and are found, paused, resumed and triggered."""

from __future__ import annotations

import logging
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any, cast

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from trio_jobs import (
    JobContext,
    JobRegistry,
    Limit,
    Priority,
    Schedule,
    ScheduleDeclared,
    State,
    UnknownHandler,
    UnknownSchedule,
    handler,
    open_registry,
)
from trio_jobs.stores import Store
from trio_jobs.stores.memory import MemoryStore
from trio_jobs.stores.schedules import ScheduleRow, Timetable
from trio_jobs.testing import Connection

began: list[tuple[float, tuple[object, ...]]] = []


@pytest.fixture(autouse=True)
def forget() -> None:
    """Begin each test with no job."""
    began.clear()


async def work(job: JobContext[Any], *args: object) -> None:
    """Note when it began."""
    began.append((trio.current_time(), args))


@handler(name="other")
async def other(job: JobContext[Any]) -> None:
    """Note that it began."""
    began.append((trio.current_time(), ("other",)))


def times() -> list[float]:
    """Return when the jobs began, to the millisecond."""
    return [round(when, 3) for when, _ in began]


async def test_a_schedule_fires_at_each_tick(autojump_clock: MockClock) -> None:
    """At each tick a job of the handler is submitted, with the arguments and options and a tag."""
    schedule = Schedule(work, (1, "a"), every=7, options={"priority": Priority.LOW, "tags": {"a": "b"}})
    async with open_registry(schedules=[schedule]) as jobs:
        await trio.sleep(21.5)
        assert times() == [7, 14, 21]
        assert [args for _, args in began] == [(1, "a")] * 3
        page = await jobs.find(tags={"schedule": "work", "a": "b"})
        assert [(job.handler, job.priority) for job in page] == [("work", Priority.LOW)] * 3
    await trio.sleep(100)
    assert len(began) == 3


async def test_cron_fires_by_the_wall_clock(autojump_clock: MockClock) -> None:
    """A cron rule fires at whole minutes of the wall clock, each once."""
    async with open_registry(schedules=[Schedule(work, cron="*/5 * * * *")]) as jobs:
        await trio.sleep(3600)
        page = await jobs.find()
        stamps = [job.created_at for job in page]
        assert len(stamps) == 12
        assert {(one.minute % 5, one.second) for one in stamps} == {(0, 0)}


class Far(MemoryStore):
    """Has others act between what a caller sees and what it does."""

    async def fire(self, seen: ScheduleRow, tick: float, job: Any) -> bool:
        """Fire a little later."""
        await trio.sleep(0.0001)
        return await super().fire(seen, tick, job)


async def test_registries_fire_each_tick_once(autojump_clock: MockClock) -> None:
    """However many registries on one store declare a schedule, each tick has one job."""
    store = Far()
    schedule = Schedule(work, every=10)

    async def registry() -> None:
        line = cast("Store", Connection(store))
        async with open_registry(line, handlers=[work], schedules=[schedule]):
            await trio.sleep(100.5)

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(registry)
    assert times() == [10.0 * tick for tick in range(1, 11)]


class Recorded(MemoryStore):
    """Notes each tick that fires, and tells a time that may jump."""

    def __init__(self) -> None:
        super().__init__()
        self.off = 0.0
        self.fired: list[float] = []

    async def schedules(self) -> Timetable:
        """Return all schedules, and a time that is off."""
        table = await super().schedules()
        return table._replace(now=table.now + self.off)

    async def fire(self, seen: ScheduleRow, tick: float, job: Any) -> bool:
        """Fire, and note it."""
        if fired := await super().fire(seen, tick, job):
            self.fired.append(tick)
        return fired


@pytest.mark.parametrize("seed", range(3))
async def test_a_clock_that_is_set_fires_nothing_twice(autojump_clock: MockClock, seed: int) -> None:
    """However the wall clock is set, forwards and back, no tick fires twice and none after a later one."""
    store, dice = Recorded(), random.Random(seed)
    schedules = [Schedule(work, every=20, missed=dice.choice(["skip", "latest"]))]
    async with open_registry(store, schedules=schedules):
        for _ in range(40):
            await trio.sleep(dice.random() * 60)
            store.off = dice.choice([-3600, -30, -0.5, 0, 0.5, 30, 3600])
    assert store.fired == sorted(set(store.fired))
    assert store.fired


@asynccontextmanager
async def opened(store: MemoryStore, *schedules: Schedule) -> AsyncIterator[JobRegistry]:
    """Open a registry on a store that outlives it."""
    line = cast("Store", Connection(store))
    async with open_registry(line, handlers=[work, other], schedules=schedules) as jobs:
        yield jobs


async def test_a_restart_does_not_move_the_ticks(autojump_clock: MockClock) -> None:
    """What is declared again keeps its ticks; one that came while nothing ran fires up to `late` later."""
    store, schedule = MemoryStore(), Schedule(work, every=100)
    for pause in (55, 100, 100):
        async with opened(store, schedule):
            await trio.sleep(50)
        await trio.sleep(pause)
    async with opened(store, schedule):
        await trio.sleep(100)
    assert times() == [105, 255, 300, 405, 500]


@pytest.mark.parametrize(("missed", "wanted"), [("skip", []), ("latest", [1000.0])])
async def test_what_was_missed(autojump_clock: MockClock, missed: Any, wanted: list[float]) -> None:
    """After a long time in which nothing ran `skip` fires nothing, and `latest` once."""
    store, schedule = MemoryStore(), Schedule(work, every=30, late=5, missed=missed)
    async with opened(store, schedule):
        pass
    await trio.sleep(1000)
    async with opened(store, schedule):
        await trio.sleep(1)
        assert times() == wanted
        await trio.sleep(20)
        assert times() == [*wanted, 1020.0]


async def test_only_what_is_declared_fires(autojump_clock: MockClock) -> None:
    """A registry leaves schedules alone that it does not declare, but shows them and lets them be paused."""
    store = MemoryStore()
    async with opened(store, Schedule(work, every=10, name="old")):
        pass
    async with opened(store, Schedule(other, every=10)) as jobs:
        await trio.sleep(15)
        assert began == [(10.0, ("other",))]
        old, new = await jobs.schedules.find()
        assert (old.name, old.declared, old.paused) == ("old", True, False)
        assert (new.name, new.declared, new.handler) == ("other", True, "other")
        await trio.sleep(200)
        old, new = await jobs.schedules.find()
        assert (old.declared, old.next_tick, new.declared) == (False, None, True)
        await jobs.schedules.pause("old")
        assert (await jobs.schedules.find())[0].paused


async def test_pause_outlives_openings_and_resume_looks_ahead(autojump_clock: MockClock) -> None:
    """A paused schedule fires in no registry until it is resumed; then only ticks fire that come later."""
    store, schedule = MemoryStore(), Schedule(work, every=10, missed="latest")
    async with opened(store, schedule) as jobs:
        await jobs.schedules.pause("work")
        await trio.sleep(20)
    async with opened(store, schedule) as jobs:
        (status,) = await jobs.schedules.find()
        assert (status.paused, status.next_tick) == (True, None)
        await trio.sleep(25)
        assert began == []
        await jobs.schedules.resume("work")
        await jobs.schedules.resume("work")
        (status,) = await jobs.schedules.find()
        assert status.next_tick is not None
        assert (status.next_tick - status.last_tick).total_seconds() == pytest.approx(5)
        await trio.sleep(20)
        assert times() == [50, 60]


async def test_a_change_counts_for_later_ticks(autojump_clock: MockClock) -> None:
    """What was declared last counts from then on; other arguments leave the ticks where they were."""
    store = MemoryStore()
    async with opened(store, Schedule(work, (1,), every=10)):
        await trio.sleep(15)
    async with opened(store, Schedule(work, (2,), every=10)):
        await trio.sleep(10)
    async with opened(store, Schedule(work, (2,), every=7)):
        await trio.sleep(10)
    assert began == [(10.0, (1,)), (20.0, (2,)), (32.0, (2,))]


async def test_trigger_submits_a_job_now(autojump_clock: MockClock) -> None:
    """A schedule can be triggered, even if it is paused, and its ticks stay."""
    schedules = [Schedule(other, every=1000, name="before"), Schedule(work, ("now",), every=10)]
    async with open_registry(schedules=schedules) as jobs:
        await trio.sleep(5)
        handle = await jobs.schedules.trigger("work")
        await handle.wait()
        assert (await handle.snapshot()).tags == {"schedule": "work"}
        await trio.sleep(5.5)
        assert times() == [5, 10]


async def test_jitter_delays_the_job_and_not_the_tick(autojump_clock: MockClock) -> None:
    """With jitter a job is due somewhat after its tick; the next tick is none the later."""
    async with open_registry(schedules=[Schedule(work, every=10, jitter=8)]) as jobs:
        await trio.sleep(1008.5)
        assert len(began) == 100
        delays = [when - 10 * tick for tick, (when, _) in enumerate(began, 1)]
        assert all(0 <= delay <= 8.001 for delay in delays)
        assert max(delays) - min(delays) > 4
        created = [job.created_at.timestamp() for job in await jobs.find()]
        assert all(round(b - a, 3) == 10 for a, b in pairwise(created))


async def test_a_full_queue_leaves_the_tick(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """A tick for which there is no room fires later, when there is; the log says so."""
    async with open_registry(capacity=0, queue_limit=1, schedules=[Schedule(work, every=20)]) as jobs:
        waiting = await jobs.submit(other)
        await trio.sleep(25)
        assert "schedule work could not fire" in caplog.text
        await waiting.cancel()
        await trio.sleep(10)
        (job,) = await jobs.find(tags={"schedule": "work"}, state=State.QUEUED)
        (status,) = await jobs.schedules.find()
        assert (job.created_at - status.last_tick).total_seconds() > 5


class Forgetful(MemoryStore):
    """Does not know a handler, as a store in a file whose schedule another process has changed."""

    async def fire(self, seen: ScheduleRow, tick: float, job: Any) -> bool:
        """Refuse the handler `other`."""
        if job.handler == "other":
            raise UnknownHandler("other", [])
        return await super().fire(seen, tick, job)


async def test_a_handler_that_is_unknown_here_stops_no_other(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """A tick whose handler this process does not have is left to others, and other schedules fire."""
    schedules = [Schedule(work, every=10), Schedule(other, every=10)]
    async with open_registry(Forgetful(), schedules=schedules):
        await trio.sleep(15)
        assert times() == [10]
    assert "there is no handler 'other'" in caplog.text


async def test_no_tick_comes_while_a_registry_drains(autojump_clock: MockClock) -> None:
    """Leaving the block ends the firing, also with `drain`, which would never end otherwise."""

    async def slow(job: JobContext[Any]) -> None:
        began.append((trio.current_time(), ()))
        await trio.sleep(100)

    async with open_registry(schedules=[Schedule(slow, every=10)], on_exit="drain"):
        await trio.sleep(15)
    assert trio.current_time() == 110
    assert times() == [10]


async def test_firing_is_logged(autojump_clock: MockClock, caplog: pytest.LogCaptureFixture) -> None:
    """Each firing is logged for those who debug."""
    caplog.set_level(logging.DEBUG, "trio_jobs")
    async with open_registry(schedules=[Schedule(work, every=10)]):
        await trio.sleep(11)
    assert "schedule work fired for" in caplog.text


async def test_what_is_added_fires_where_its_handler_runs(autojump_clock: MockClock) -> None:
    """What one registry adds, each one fires that runs jobs and has the handler; and no other one does."""
    store = MemoryStore()
    async with open_registry(cast("Store", Connection(store)), handlers=[work], capacity=0) as jobs:
        await jobs.schedules.add(Schedule(work, ("a",), every=10, name="mine", late=1))
        await trio.sleep(15)
    async with open_registry(cast("Store", Connection(store)), handlers=[other]) as jobs:
        await trio.sleep(15)
        (status,) = await jobs.schedules.find()
        assert (status.name, status.handler, status.added, status.declared) == ("mine", "work", True, False)
        assert began == []
        async with opened(store), opened(store):
            await trio.sleep(15)
        assert times() == [30, 40]
        await jobs.schedules.remove("mine")
        assert await jobs.schedules.find() == []
        async with opened(store):
            await trio.sleep(50)
    assert times() == [30, 40]


async def test_what_is_added_in_memory_fires_there(autojump_clock: MockClock) -> None:
    """A registry in memory fires what is added to it, until it is removed; adding it again moves no tick."""
    async with open_registry() as jobs:
        await trio.sleep(3)
        for _ in range(2):
            await jobs.schedules.add(Schedule(work, every=10))
            await trio.sleep(4)
        await trio.sleep(4)
        await jobs.schedules.add(Schedule(other, every=10))
        await trio.sleep(1)
        await jobs.schedules.remove("work")
        await trio.sleep(10)
        with pytest.raises(UnknownSchedule):
            await jobs.schedules.remove("work")
    assert [round(when) for when, _ in began] == [13, 25]


async def test_what_is_declared_is_changed_where_it_is_declared(autojump_clock: MockClock) -> None:
    """What a running registry declares cannot be added or removed; once none has for a while, it can."""
    store = MemoryStore()
    async with opened(store, Schedule(work, every=1000, name="mine")) as jobs:
        await trio.sleep(500)
        for call in (
            jobs.schedules.remove("mine"),
            jobs.schedules.add(Schedule(other, every=5, name="mine")),
        ):
            with pytest.raises(ScheduleDeclared, match="a running program declares the schedule 'mine'"):
                await call
        with pytest.raises(TypeError, match="add takes a Schedule record; got 'mine'"):
            await jobs.schedules.add("mine")  # type: ignore[arg-type]
    async with opened(store) as jobs:
        await trio.sleep(200)
        await jobs.schedules.add(Schedule(other, every=500, name="mine"))
        (status,) = await jobs.schedules.find()
        assert (status.added, status.every) == (True, 500)
    async with opened(store, Schedule(work, every=1000, name="mine")) as jobs:
        (status,) = await jobs.schedules.find()
        assert (status.added, status.every) == (False, 1000)


@handler(name="per user", limits=[Limit(at_once=1, keyed=True)])
async def per_user(job: JobContext[Any]) -> None:
    """Take a place of a key."""
    began.append((trio.current_time(), ()))


async def test_a_schedule_says_whose_place_its_jobs_take(autojump_clock: MockClock) -> None:
    """A handler with a keyed limit is scheduled with a `limit_key` and not without one, declared or added."""
    with pytest.raises(TypeError, match="per user has a keyed limit"):
        Schedule(per_user, every=10)
    keyed = Schedule(per_user, every=10, options={"limit_key": "me"})
    async with open_registry() as jobs:
        await jobs.schedules.add(keyed)
        await trio.sleep(15)
    async with open_registry(schedules=[keyed]):
        await trio.sleep(15)
    assert times() == [10, 25]


@pytest.mark.parametrize(("on_busy", "wanted"), [("reject", [10, 40]), ("after", [10, 35, 60])])
async def test_a_tick_whose_name_is_held(
    autojump_clock: MockClock, on_busy: Any, wanted: list[float]
) -> None:
    """With `reject` the tick is dropped, and does not fire later; with others its job does what they say."""

    async def slow(job: JobContext[Any]) -> None:
        began.append((trio.current_time(), ()))
        await trio.sleep(25)

    options = {"exclusive": "x", "on_busy": on_busy}
    async with open_registry(schedules=[Schedule(slow, every=10, options=options)]):
        await trio.sleep(61)
    assert times() == wanted


class NoSchedules:
    """A store without schedules."""

    durable = True

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        if name in {"declare", "schedules", "pause_schedule", "fire"}:
            raise AttributeError(name)
        return getattr(self._store, name)


async def test_what_is_no_schedule_is_refused() -> None:
    """What is no iterable of schedules, two of one name and a store without schedules are refused."""
    one = Schedule(work, every=10)
    with pytest.raises(TypeError, match="schedules takes an iterable of Schedule records; got Schedule"):
        open_registry(schedules=one)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="schedules takes Schedule records; got 'work'"):
        open_registry(schedules=["work"])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="two schedules are named 'work'; tell them apart with name="):
        open_registry(schedules=[one, Schedule(work, every=11)])
    with pytest.raises(TypeError, match="NoSchedules keeps no schedules"):
        async with open_registry(cast("Store", NoSchedules(MemoryStore())), schedules=[one]):
            pass
    async with open_registry(cast("Store", NoSchedules(MemoryStore())), handlers=[other]) as jobs:
        with pytest.raises(TypeError, match="NoSchedules keeps no schedules"):
            await jobs.schedules.find()


async def test_unknown_names_are_refused() -> None:
    """Pausing, resuming and triggering what was never declared raises an error with the name."""
    async with open_registry() as jobs:
        assert await jobs.schedules.find() == []
        for verb in (jobs.schedules.pause, jobs.schedules.resume, jobs.schedules.trigger):
            with pytest.raises(UnknownSchedule, match="no schedule has the name 'nightly'") as caught:
                await verb("nightly")
            assert caught.value.name == "nightly"
    with pytest.raises(trio.ClosedResourceError):
        await jobs.schedules.find()
    await wait_all_tasks_blocked()
