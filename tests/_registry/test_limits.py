"""Limits end to end: how many jobs of a handler run, how fast they start, and whose turn it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

import trio_jobs
from trio_jobs import (
    JobContext,
    JobFailed,
    JobRegistry,
    KeyConflict,
    Limit,
    Priority,
    QueueFull,
    Reason,
    Retry,
    State,
    StoreUnavailable,
    Timeouts,
    handler,
    open_registry,
)
from trio_jobs.stores import Store
from trio_jobs.stores.memory import MemoryStore
from trio_jobs.testing import Connection


class Gate:
    """Handlers that run until they are let go, and what they did."""

    def __init__(self) -> None:
        self.starts: list[tuple[float, str]] = []
        self.running = Counter[str]()
        self.most = Counter[str]()
        self._open = trio.Event()

    def handler(self, *limits: str | Limit, name: str = "work") -> Any:
        """Return a handler that takes its key, and how long it runs; None is until it is let go."""

        @handler(name=name, limits=limits)
        async def work(job: JobContext[Any], key: str = "", seconds: float | None = None) -> None:
            self.starts.append((trio.current_time(), key))
            self.running[key] += 1
            self.most[key] = max(self.most[key], self.running[key])
            try:
                if seconds is None:
                    await self._open.wait()
                else:
                    await trio.sleep(seconds)
            finally:
                self.running[key] -= 1

        return work

    def let_go(self) -> None:
        """End those that run, and those that start later."""
        self._open.set()

    async def keys(self) -> list[str]:
        """Return the keys of what has started, once everything that can start has."""
        await wait_all_tasks_blocked()
        return [key for _, key in self.starts]


async def test_so_many_run_at_once(autojump_clock: MockClock) -> None:
    """A limit is never overshot, its places are all used, and each end makes room for the next job."""
    gate = Gate()
    work = gate.handler(Limit(at_once=3))
    async with open_registry(on_exit="drain") as jobs:
        await jobs.submit_many(work, [("", 1.0)] * 10)
    assert gate.most[""] == 3
    assert [round(when - gate.starts[0][0]) for when, _ in gate.starts] == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3]


async def test_each_key_has_its_own_places(autojump_clock: MockClock) -> None:
    """Of each key so many run, and other handlers are not held up."""
    gate = Gate()
    work, plain = gate.handler(Limit(at_once=2, keyed=True)), gate.handler(name="plain")
    async with open_registry() as jobs:
        for key in "aaaabab":
            await jobs.submit(work, key, limit_key=key)
        await jobs.submit(plain, "plain")
        assert await gate.keys() == ["a", "a", "b", "b", "plain"]
        gate.let_go()
        assert (await gate.keys())[5:] == ["a", "a", "a"]
        assert gate.most["a"] == gate.most["b"] == 2


async def test_a_rate(autojump_clock: MockClock) -> None:
    """So many start at one moment, and the others one after another at the rate, and never too late."""
    gate = Gate()
    work = gate.handler(Limit(per_second=2, burst=3))
    async with open_registry(on_exit="drain") as jobs:
        await jobs.submit_many(work, [("", 0.0)] * 6)
        await trio.sleep(60)
        await jobs.submit_many(work, [("", 0.0)] * 4)
    first = gate.starts[0][0]
    assert [round(when - first, 3) for when, _ in gate.starts] == [0, 0, 0, 0.5, 1, 1.5, 60, 60, 60, 60.5]


async def test_handlers_share_a_limit(autojump_clock: MockClock) -> None:
    """A limit of a name counts the jobs of all handlers that have it, beside a handler's own."""
    gate = Gate()
    one, other = gate.handler("gpu", Limit(at_once=2), name="one"), gate.handler("gpu", name="other")
    limits = {"gpu": Limit(at_once=3)}
    async with open_registry(handlers=[one], limits=limits, on_exit="drain") as jobs:
        await jobs.submit_many(one, [("one", 1.0)] * 3)
        await jobs.submit_many(other, [("other", 1.0)] * 3)
        assert Counter(await gate.keys()) == {"one": 2, "other": 1}
    assert gate.most == {"one": 2, "other": 2}
    assert round(gate.starts[-1][0] - gate.starts[0][0]) == 1


async def test_the_keys_take_turns(autojump_clock: MockClock) -> None:
    """However many jobs one key has, the first of another starts as soon as each key had its turn."""
    gate = Gate()
    work = gate.handler(Limit(at_once=10, keyed=True))
    async with open_registry(capacity=1, on_exit="drain") as jobs:
        await jobs.submit_many(work, [("big", 1.0)] * 50, limit_key="big")
        for key in "abab":
            await jobs.submit(work, key, 1.0, limit_key=key)
    assert [key for _, key in gate.starts][:7] == ["big", "big", "a", "b", "big", "a", "b"]


async def test_priorities_within_a_key(autojump_clock: MockClock) -> None:
    """Within a key, and between handlers, the order is by priority, as without limits."""
    gate = Gate()
    work, plain = gate.handler(Limit(at_once=1, keyed=True)), gate.handler(name="plain")
    async with open_registry(capacity=1, on_exit="drain") as jobs:
        await jobs.submit(plain, "first", 1.0)
        await jobs.submit(work, "low", 1.0, limit_key="a", priority=Priority.LOW)
        await jobs.submit(plain, "normal", 1.0)
        await jobs.submit(work, "urgent", 1.0, limit_key="a", priority=Priority.URGENT)
    assert [key for _, key in gate.starts] == ["first", "urgent", "normal", "low"]


async def test_a_place_is_free_however_the_attempt_ends(autojump_clock: MockClock) -> None:
    """A failure, a cancellation and a retry free the place, and a retry waits for one."""
    starts: list[str] = []

    @handler(limits=[Limit(at_once=1)], retry=Retry(attempts=2, initial=1, jitter=0))
    async def work(job: JobContext[Any], name: str) -> None:
        starts.append(name)
        if name == "fails":
            raise ValueError(name)
        if name == "stays":
            await trio.sleep_forever()

    async with open_registry(on_exit="drain") as jobs:
        failing = await jobs.submit(work, "fails")
        stays = await jobs.submit(work, "stays")
        await jobs.submit(work, "last")
        await trio.sleep(5)
        assert starts == ["fails", "stays"]
        await stays.cancel()
        with pytest.raises(JobFailed):
            await failing.result()
    assert sorted(starts[2:]) == ["fails", "last"]


async def test_what_leaves_a_lane_while_it_waits(autojump_clock: MockClock) -> None:
    """A job that waits under a limit can be cancelled, and its queue timeout ends it."""
    gate = Gate()
    work = gate.handler(Limit(at_once=1))
    async with open_registry() as jobs:
        await jobs.submit(work, "runs")
        impatient = await jobs.submit(work, "impatient", timeouts=Timeouts(queue=5))
        cancelled = await jobs.submit(work, "cancelled")
        await jobs.submit(work, "last")
        await cancelled.cancel()
        await trio.sleep(6)
        assert (await impatient.snapshot()).reason is Reason.QUEUE_TIMEOUT
        gate.let_go()
        assert await gate.keys() == ["runs", "last"]


async def test_how_many_may_wait(autojump_clock: MockClock) -> None:
    """Of each key so many may wait; the error names the limit and the key."""
    gate = Gate()
    work = gate.handler(Limit(at_once=1, waiting=2, keyed=True))
    async with open_registry() as jobs:
        for key in "aaab":
            await jobs.submit(work, key, limit_key=key)
        with pytest.raises(
            QueueFull, match=r"2 jobs wait already, as many as .*'work\[0\]'.* for 'a'"
        ) as full:
            await jobs.submit(work, "a", limit_key="a")
        assert (full.value.limit, full.value.name, full.value.key) == (2, "work[0]", "a")
        await jobs.submit_many(work, [("b",)] * 2, limit_key="b")
        assert await jobs.count() == 6


async def test_children_take_no_place(autojump_clock: MockClock) -> None:
    """A child runs at once, whatever the limits of its handler, and has no key."""

    @handler(limits=[Limit(at_once=1, keyed=True)])
    async def work(job: JobContext[Any], depth: int) -> int:
        return depth if depth == 0 else await (await job.spawn(work, depth - 1)).result()

    async with open_registry() as jobs:
        handle = await jobs.submit(work, 3, limit_key="a")
        assert await handle.result() == 0


@pytest.mark.parametrize(
    ("limits", "options", "error", "complaint"),
    [
        (
            [Limit(at_once=1, keyed=True)],
            {},
            TypeError,
            "work has a keyed limit: say whose place a job takes",
        ),
        ([Limit(at_once=1)], {"limit_key": "a"}, TypeError, "work has no keyed limit: leave out limit_key"),
        ([], {"limit_key": "a"}, TypeError, "work has no keyed limit: leave out limit_key"),
        ([Limit(at_once=1, keyed=True)], {"limit_key": None}, TypeError, "work has a keyed limit: say whose"),
        (
            [Limit(at_once=1, keyed=True)],
            {"limit_key": ""},
            ValueError,
            "a limit_key has 1 to 256 characters",
        ),
        ([Limit(at_once=1, keyed=True)], {"limit_key": 7}, TypeError, "limit_key takes a str; got 7"),
        ([Limit(at_once=1, keyed=True)], {"limit_key": "x" * 257}, ValueError, "got 257"),
        (
            ["gpu"],
            {},
            ValueError,
            r"handler 'work' has the limit 'gpu', .* define it in open_registry\(limits=",
        ),
    ],
)
async def test_what_a_submit_refuses(
    limits: list[str | Limit], options: dict[str, Any], error: type[Exception], complaint: str
) -> None:
    """A key is given if and only if the handler has a keyed limit; a shared limit must be defined."""
    work = Gate().handler(*limits)
    async with open_registry() as jobs:
        with pytest.raises(error, match=complaint):
            await jobs.submit(work, **options)
        assert await jobs.count() == 0


async def test_an_idempotency_key_holds_for_one_limit_key() -> None:
    """The same submission is the same job; for another limit_key it is another submission."""
    gate = Gate()
    work = gate.handler(Limit(at_once=1, keyed=True))
    async with open_registry() as jobs:
        one = await jobs.submit(work, "a", key="k", limit_key="a")
        again = await jobs.submit(work, "a", key="k", limit_key="a")
        assert again.id == one.id
        with pytest.raises(KeyConflict):
            await jobs.submit(work, "a", key="k", limit_key="b")


class NoLimits(MemoryStore):
    """A store that keeps no limits."""

    limit = None  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]


async def test_limits_are_checked_when_the_registry_is_opened() -> None:
    """Before the block: what is wrong with shared limits, a name that is none, a store that keeps none."""
    work = Gate().handler("gpu")
    with pytest.raises(ValueError, match="'gpu', which is not defined"):
        open_registry(handlers=[work])
    with pytest.raises(TypeError, match="takes a Limit record"):
        open_registry(limits={"gpu": cast("Any", 4)})
    async with open_registry(NoLimits(), handlers=[Gate().handler()]) as jobs:
        with pytest.raises(TypeError, match="NoLimits keeps no limits"):
            await jobs.limits.find()
    with pytest.raises(ValueError, match="handler 'work' has limits, and <.*NoLimits.*> keeps none"):
        async with open_registry(NoLimits(), handlers=[work], limits={"gpu": Limit(at_once=1)}):
            pass


async def test_the_last_definition_counts(autojump_clock: MockClock) -> None:
    """Another function of the same name brings its limits, for what waits and runs as well."""
    gate = Gate()
    plain, one, two = gate.handler(), gate.handler(Limit(at_once=1)), gate.handler(Limit(at_once=2))
    async with open_registry(capacity=3) as jobs:
        await jobs.submit_many(plain, [(f"{n}",) for n in range(4)])
        child = await jobs.submit(one, "4")
        assert set(await gate.keys()) == {"0", "1", "2"}
        await child.cancel()
        gate.let_go()
        assert (await gate.keys())[3:] == ["3"]
        assert [job.state for job in await jobs.find(handler="work")] == [State.COMPLETED] * 4 + [
            State.CANCELLED
        ]
        await jobs.submit_many(two, [("", 1.0)] * 4)
        await trio.sleep(5)
        assert gate.most[""] == 2


def test_unknown_names_of_the_package() -> None:
    """A name that the package does not have is an AttributeError, as of any module."""
    with pytest.raises(AttributeError, match="'trio_jobs' has no attribute 'Limits'"):
        getattr(trio_jobs, "Limits")  # noqa: B009  # not to be found by a type checker


class Unheard(Connection):
    """Loses the first answer to a call that sets limits."""

    lost = 0

    async def call(self, name: str, verb: Callable[[], Awaitable[Any]]) -> Any:
        """Carry a call."""
        answer = await super().call(name, verb)
        if name == "limit" and not self.lost:
            self.lost += 1
            raise StoreUnavailable("the answer was lost")
        return answer


async def test_limits_whose_answer_is_lost_are_told_again(autojump_clock: MockClock) -> None:
    """A registry opens although the store is away for a moment when it is told of the limits."""
    gate, line = Gate(), Unheard(MemoryStore())
    work = gate.handler(Limit(at_once=1))
    async with open_registry(cast("Store", line), handlers=[work], on_exit="drain") as jobs:
        await jobs.submit_many(work, [("", 1.0)] * 2)
        await trio.sleep(3)
    assert line.lost == 1
    assert gate.most[""] == 1


async def test_limits_are_listed_and_set() -> None:
    """A limit that is set holds at once in place of that of the handler, and is listed with what is used."""
    gate = Gate()
    work = gate.handler("gpu", Limit(at_once=5, keyed=True))
    async with open_registry(limits={"gpu": Limit(at_once=1)}) as jobs:
        assert await jobs.limits.find() == []
        for key in "aab":
            await jobs.submit(work, key, limit_key=key)
        await wait_all_tasks_blocked()
        assert await used_in(jobs) == {"gpu": (1, False, 1, 2), "work[1]": (5, False, 1, 2)}
        await jobs.limits.set("gpu", Limit(at_once=3))
        await jobs.limits.set("work[1]", Limit(at_once=1, keyed=True))
        await wait_all_tasks_blocked()
        assert await used_in(jobs) == {"gpu": (3, True, 2, 1), "work[1]": (1, True, 2, 1)}
        await jobs.limits.unset("gpu")
        assert [pinned for _, pinned, *_ in (await used_in(jobs)).values()] == [False, True]


async def used_in(jobs: JobRegistry) -> dict[str, tuple[int | None, bool, int, int]]:
    """Return of each limit `at_once`, whether it is pinned, and how many jobs run and wait under it."""
    found = await jobs.limits.find()
    return {one.name: (one.limit.at_once, one.pinned, one.running, one.waiting) for one in found}


@pytest.mark.parametrize(
    ("name", "limit", "error", "complaint"),
    [
        ("gpu", 3, TypeError, "set takes a Limit record; got 3"),
        (3, Limit(at_once=1), TypeError, "name takes a str; got 3"),
        ("", Limit(at_once=1), ValueError, "the name of a limit has 1 to 100 characters"),
        ("other[0]", Limit(at_once=1), ValueError, r"does not end with '\]'; got 'other\[0\]'"),
        ("gpu", Limit(at_once=1, keyed=True), ValueError, "the limit 'gpu' is not keyed"),
        ("new", Limit(at_once=1, keyed=True), ValueError, "the limit 'new' is not keyed"),
        ("work[1]", Limit(at_once=1), ValueError, r"'work\[1\]' is keyed; give it as Limit\(…, keyed=True\)"),
    ],
)
async def test_what_set_refuses(name: Any, limit: Any, error: type[Exception], complaint: str) -> None:
    """A limit that is set is a `Limit`, has a name, and is keyed if and only if the handler's is."""
    work = Gate().handler("gpu", Limit(at_once=5, keyed=True))
    async with open_registry(handlers=[work], limits={"gpu": Limit(at_once=1)}) as jobs:
        with pytest.raises(error, match=complaint):
            await jobs.limits.set(name, limit)
        with pytest.raises(ValueError, match="no limit is pinned whose name is 'gpu'"):
            await jobs.limits.unset("gpu")
