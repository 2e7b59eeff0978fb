"""Limits in a database: the lanes agree with those in memory, and connections at once overshoot no limit."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import attrs
import psycopg
import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from tests.stores.courses import HANDLERS, OTHER, WORK, WORKER, Course, Stores
from tests.stores.postgres.lockstep import open_in_lockstep
from trio_jobs import Limit, Reason, State
from trio_jobs.stores import Submission, Where
from trio_jobs.stores.memory import MemoryStore
from trio_jobs.stores.postgres import open_postgres
from trio_jobs.testing.checks import kit

ASTRAY = """SELECT number FROM trio_jobs.job WHERE finished IS NULL AND lane IS NULL AND parent IS NULL
    AND handler IN (SELECT handler FROM trio_jobs.limited)"""
"""Jobs that should be in a lane."""
RUNNING = """SELECT handler, options::json ->> 'limit_key', count(*) FROM trio_jobs.job
WHERE state = 'running' GROUP BY 1, 2"""
START = """SELECT trio_jobs.claim_some(1, '["work"]', 'w', 60, 'c')::text"""
WAITING = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
CLAIM = """EXPLAIN (ANALYZE, BUFFERS, FORMAT json) SELECT trio_jobs.claim_jobs(
    '[{"limit": 5, "handlers": ["work", "other_work"], "worker": "w", "lease": 60, "claim": "c"}]'
)"""


def limited(key: str = "a", **options: Any) -> Submission:
    new = kit.make(**options)
    return attrs.evolve(new, options=attrs.evolve(new.options, limit_key=key))


@asynccontextmanager
async def opened(url: str, count: int) -> AsyncGenerator[Sequence[Any]]:
    """Open several stores over one schema."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(open_postgres(url, handlers=HANDLERS)) for _ in range(count)]


async def ids(store: Any, limit: int = 9) -> list[str]:
    return [claim.submission.id for claim in await store.claim(limit, WORKER)]


def rows(url: str, query: str, *values: Any) -> list[Any]:
    with psycopg.connect(url, autocommit=True) as db:
        return db.execute(query.encode(), values or None).fetchall()


@pytest.mark.parametrize("seed", range(5))
def test_a_database_agrees_with_memory(postgres_url: str, seed: int) -> None:
    """Whatever happens under limits, the same jobs start in the same order."""

    async def make() -> None:
        async with open_postgres(postgres_url):
            pass

    async def main() -> None:
        with psycopg.connect(postgres_url, autocommit=True) as db:

            async def astray(_: object) -> list[Any]:
                return db.execute(ASTRAY).fetchall()

            async with open_in_lockstep(postgres_url, handlers=HANDLERS) as other:
                await Course(Stores(MemoryStore(), other, astray), clock, seed).go(60)

    trio.run(make)
    clock = MockClock(autojump_threshold=0)
    trio.run(main, clock=clock)


class Crowd:
    """Tasks that start and end jobs under limits, each on a connection of its own."""

    def __init__(self, stores: Sequence[Any], seed: int) -> None:
        self.stores = stores
        self.draw = random.Random(seed)
        self.left = 15 * len(stores)  # jobs to submit

    async def go(self, also: Callable[[], Any]) -> None:
        """Submit jobs and run all of them; meanwhile do something else."""
        async with trio.open_nursery() as nursery:
            for store in self.stores:
                nursery.start_soon(self.submit, store)
            await also()
        async with trio.open_nursery() as nursery:
            for store in self.stores:
                nursery.start_soon(self.run, store)

    def new(self) -> Submission:
        return (
            limited(self.draw.choice("abc")) if self.draw.random() < 0.7 else kit.make(target=kit.other_work)
        )

    async def submit(self, store: Any) -> None:
        """Submit jobs, and run some."""
        while self.left > 0:
            batch = [self.new() for _ in range(self.draw.randint(1, 8))]
            self.left -= len(batch)
            _, claims = await store.submit(batch, self.draw.choice([0, 1, 3]), WORKER)
            claims += await store.claim(self.draw.choice([1, 2, 9]), WORKER)
            await self.end(store, claims)

    async def run(self, store: Any) -> None:
        """Run jobs until none waits."""
        while {State.QUEUED, State.RETRYING} & {*(await store.count(Where()))}:
            with trio.move_on_after(0.2):  # another one may run them all
                await store.due()
            await self.end(store, await store.claim(self.draw.choice([1, 2, 9]), WORKER))

    async def end(self, store: Any, claims: Sequence[Any]) -> None:
        back = attrs.evolve(kit.retried(Reason.SHUTDOWN), begun=False)
        for claim in claims:
            outcome = self.draw.choice([kit.completed(), kit.completed(), kit.retried(delay=0.0), back])
            await store.finish(claim.submission.id, claim.attempt, outcome)


@settings(
    max_examples=4,
    suppress_health_check=[
        HealthCheck.data_too_large,
        HealthCheck.filter_too_much,
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
    ],
)
@given(seed=st.integers(0, 10**6), each=st.integers(1, 3), most=st.integers(1, 4))
def test_connections_at_once_overshoot_no_limit(postgres_url: str, seed: int, each: int, most: int) -> None:
    """Whoever claims, submits and ends jobs at once, no commit has more running than may, and all end."""

    async def main() -> None:
        async with opened(postgres_url, 4) as stores:
            await stores[0].prune(0)
            all_ = {"all": Limit(at_once=most)}
            await stores[0].limit(WORK, {"each": Limit(at_once=each, keyed=True), **all_})
            await stores[1].limit(OTHER, all_)
            seen = list[tuple[int, int]]()

            async def watch() -> None:
                with psycopg.connect(postgres_url, autocommit=True) as db:
                    for _ in range(60):
                        found = await trio.to_thread.run_sync(lambda: db.execute(RUNNING).fetchall())
                        keyed = max((count for handler, _, count in found if handler == WORK), default=0)
                        seen.append((keyed, sum(count for *_, count in found)))

            await Crowd(stores, seed).go(watch)
            assert max(keyed for keyed, _ in seen) <= each
            assert max(total for _, total in seen) <= most
            assert (await stores[0].count(Where()))[State.COMPLETED] >= 60

    trio.run(main)


async def test_limits_that_come_and_go_leave_no_job_behind(postgres_url: str) -> None:
    """While jobs come in and run, their handlers get limits and lose them: all jobs end."""
    async with opened(postgres_url, 3) as stores:

        async def define() -> None:
            for most in (1, 0, 2, 0, 3, 0):
                limits = {"each": Limit(at_once=most, keyed=True)} if most else {}
                await stores[0].limit(WORK, limits)
                await stores[1].limit(OTHER, {"few": Limit(at_once=most)} if most else {})

        await Crowd(stores, 1).go(define)
        assert (await stores[0].count(Where()))[State.COMPLETED] >= 45
        await stores[0].claim(1, WORKER)
        assert rows(postgres_url, "SELECT * FROM trio_jobs.lane_news") == []
        assert rows(postgres_url, "SELECT * FROM trio_jobs.limits") == []


async def test_a_rate_that_connections_share(postgres_url: str) -> None:
    """However many claim at once, no more start than a burst; a last one that did not begin costs none."""
    async with opened(postgres_url, 4) as stores:
        await stores[0].limit(WORK, {"it": Limit(per_second=0.001, burst=5)})
        await kit.accept(stores[0], *[limited() for _ in range(20)])
        started = list[str]()

        async def claim(store: Any) -> None:
            started.extend(await ids(store, 2))

        async with trio.open_nursery() as nursery:
            for store in [*stores] * 4:
                nursery.start_soon(claim, store)
        assert len(started) == 5
        back = attrs.evolve(kit.retried(Reason.SHUTDOWN), begun=False)
        query = "SELECT id FROM trio_jobs.job WHERE state = 'running' ORDER BY started DESC LIMIT 1"
        ((last,),) = rows(postgres_url, query)
        await stores[1].finish(last, 1, back)
        assert len(await ids(stores[2])) == 1


async def test_a_claim_waits_for_one_under_the_same_limit(postgres_url: str) -> None:
    """What another connection is about to start takes its place before that is committed."""
    async with (
        opened(postgres_url, 1) as (store,),
        open_postgres(postgres_url, handlers=HANDLERS[1:]) as other,
    ):
        for handler in (WORK, OTHER):
            await store.limit(handler, {"it": Limit(at_once=1)})
        await kit.accept(store, kit.make(), kit.make(target=kit.other_work))
        got = list[list[str]]()

        async def claim() -> None:
            got.append(await ids(other))

        with psycopg.connect(postgres_url) as db:
            assert db.execute(START).fetchall() != [("[]",)]
            async with trio.open_nursery() as nursery:
                nursery.start_soon(claim)
                while not got and not await trio.to_thread.run_sync(rows, postgres_url, WAITING):
                    pass
                db.commit()
        assert got == [[]]


async def test_what_starts_as_its_first_limit_comes_is_counted(postgres_url: str) -> None:
    """A job whose start is committed after its handler got a limit holds a place from the next sweep on."""
    async with opened(postgres_url, 1) as (store,):
        with psycopg.connect(postgres_url) as db:
            db.execute("SELECT trio_jobs.submit('work')")
            assert db.execute(START).fetchall() != [("[]",)]
            await store.limit(WORK, {"it": Limit(at_once=1)})
        await store.sweep()
        await kit.accept(store, limited())
        assert await ids(store) == []
        (found,) = await store.limits()
        assert (found.running, found.waiting) == (1, 1)


async def test_what_is_locked_is_passed_over(postgres_url: str) -> None:
    """A claim waits for no job at which another transaction is; the next one of its key starts."""
    async with opened(postgres_url, 1) as (store,):
        await store.limit(WORK, {"it": Limit(at_once=2, keyed=True)})
        first, second = await kit.accept(store, limited(), limited())
        with psycopg.connect(postgres_url) as db:
            db.execute("SELECT FROM trio_jobs.job WHERE id = %s FOR UPDATE", (first,))
            assert await ids(store) == [second]
        assert await ids(store) == [first]


async def test_what_waits_behind_exhausted_keys_costs_a_claim_nothing(postgres_url: str) -> None:
    """A claim reads about as much behind a hundred exhausted keys as in an empty queue."""
    async with opened(postgres_url, 1) as (store,):
        await store.limit(WORK, {"it": Limit(at_once=1, keyed=True)})
        with psycopg.connect(postgres_url, autocommit=True) as db:

            def cost() -> int:
                found: Any = None
                for _ in range(3):  # the first ones make plans, and take in what is new
                    found = db.execute(CLAIM.encode()).fetchone()
                return int(found[0][0]["Plan"]["Shared Hit Blocks"])

            before = cost()
            for _ in range(20):
                await kit.accept(store, *[limited(str(key)) for key in range(100)])
            while await ids(store, 50):
                pass
            # In a thread, as it may have to wait for what the store does.
            vacuum = b"VACUUM trio_jobs.lane_news, trio_jobs.lane, trio_jobs.job"
            await trio.to_thread.run_sync(db.execute, vacuum)
            assert cost() <= 2 * before


async def test_a_lane_is_forgotten(postgres_url: str) -> None:
    """A key without jobs leaves no row."""
    async with opened(postgres_url, 1) as (store,):
        await store.limit(WORK, {"it": Limit(at_once=1, keyed=True)})
        (job_id,) = await kit.accept(store, limited())
        assert await ids(store) == [job_id]
        await store.finish(job_id, 1, kit.completed())
        assert await ids(store) == []
        assert rows(postgres_url, "SELECT * FROM trio_jobs.lane") == []
