"""What a store in a database does with many jobs, with odd input, and with what others change."""

from __future__ import annotations

import logging
import math
from typing import Any

import psycopg
import pytest
import trio

from tests.stores.postgres.test_notices import NEVER, answered, listeners
from trio_jobs import InvalidPayload, Kind, Limit, Retention, State, StoreCorrupt, Timeouts, UnknownJob
from trio_jobs.stores import Claimant, Where
from trio_jobs.stores.pauses import Pauses
from trio_jobs.stores.postgres import open_postgres
from trio_jobs.testing.checks import kit


def opened(url: str, **options: Any) -> Any:
    return open_postgres(url, handlers=[kit.work, kit.other_work, kit.service_work], **options)


def run(url: str, sql: str, *values: Any) -> None:
    """Do something to the database by the way."""
    with psycopg.connect(url, autocommit=True) as db:
        db.execute(sql.encode(), values or None)


async def test_many_jobs_go_by_and_by(postgres_url: str) -> None:
    """More jobs than one transaction takes expire in one sweep, and go in one prune."""
    async with opened(postgres_url, queue_limit=1000) as store:
        await store.submit([kit.make(timeouts=Timeouts(queue=0.01)) for _ in range(501)], 0, kit.HOLDER)
        await store.overdue()
        await store.sweep()
        assert await store.count(Where()) == {State.FAILED: 501}
        assert await store.prune(3600.0) == 0
        assert await store.prune(0.0) == 501
        assert await store.count(Where()) == {}


async def test_the_workers_that_hold_jobs_are_told(postgres_url: str) -> None:
    """A worker that holds jobs is told, with how many, without child jobs, and when its last lease lapses."""
    async with opened(postgres_url) as store:
        assert await store.workers() == []
        await store.submit([kit.make() for _ in range(4)], 2, Claimant("one", 30))
        await store.claim(1, Claimant('a "slow" one', 0.01))
        (first, second, *_), lapses = await store.find(Where(), 4), 60.0
        await store.heartbeat({first.id: 1}, lapses)
        await store.spawn(second.id, 1, kit.make(), Claimant("one", 30))
        await trio.sleep(0.02)
        slow, quick = await store.workers()
        assert (slow.name, slow.running, quick.name, quick.running) == ('a "slow" one', 1, "one", 2)
        assert -10 < slow.lapses < 0
        assert 50 < quick.lapses <= lapses
        await store.sweep()
        await store.finish(first.id, 1, kit.completed())
        assert [(one.name, one.running) for one in await store.workers()] == [("one", 1)]


async def test_what_no_database_holds_is_not_there(postgres_url: str) -> None:
    """No job has an id, a handler or a tag that PostgreSQL cannot store."""
    async with opened(postgres_url) as store:
        job = await kit.started(store)
        for odd in "\0", "\ud800":
            assert await store.listening({odd: 0, job: 0}) == {odd}
            for where in Where(handler=odd), Where(owner=odd), Where(tags={odd: "a"}), Where(tags={"a": odd}):
                assert not (await store.find(where, 10)).jobs
                assert await store.count(where) == {}


async def test_a_search_begins_with_the_rarest(postgres_url: str) -> None:
    """A filter of several fields finds what matches all, from either end; no states, no jobs."""
    async with opened(postgres_url) as store:
        job, *_ = await kit.accept(
            store, kit.make(tags={"a": "b"}), kit.make(), kit.make(target=kit.other_work, tags={"a": "b"})
        )
        where = Where(handler="work", tags={"a": "b"}, states=[State.QUEUED])
        for newest in False, True:
            assert [one.id for one in (await store.find(where, 10, newest=newest)).jobs] == [job]
        assert await store.count(where) == {State.QUEUED: 1}
        assert await store.count(Where(states=[])) == {}
        assert not (await store.find(Where(states=[]), 10)).jobs


async def test_what_is_sent_is_checked(postgres_url: str) -> None:
    """Tokens that are too large, inputs that JSON cannot hold and inputs for nobody are refused."""
    async with opened(postgres_url, retention=Retention(token_bytes=9)) as store:
        job = await kit.started(store)
        with pytest.raises(InvalidPayload, match="a token of 12 bytes"):
            await store.append(job, 1, Kind.TOKEN, ["0123456789"], 0)
        assert await store.append(job, 1, Kind.TOKEN, ["0123456"], 0) == 3
        with pytest.raises(InvalidPayload):
            await store.send(job, "a", [math.nan])
        with pytest.raises(UnknownJob):
            await store.send("nobody", "a", ["hello"])
        await store.end_inputs(job)
        assert len(await store.inputs(job, 0, 9)) == 1
        await store.finish(job, 1, kit.completed())
        assert [event.kind for event in await store.history(job)]
        with pytest.raises(UnknownJob):
            await store.get("nobody")
        await store.remove(job)
        with pytest.raises(UnknownJob):
            await store.ended(job)


async def test_limits_that_change_are_logged(postgres_url: str, caplog: pytest.LogCaptureFixture) -> None:
    """Who opens a registry with other limits says so; the same ones again are no news, and a pin can go."""
    caplog.set_level(logging.INFO, "trio_jobs")
    async with opened(postgres_url) as store:
        for limit in Limit(at_once=1), Limit(at_once=1), Limit(at_once=2):
            await store.limit("work", {"one": limit})
        assert [record.args for record in caplog.records if "limits of" in record.getMessage()] == [
            ("work", {"one": Limit(at_once=2)}, {"one": Limit(at_once=1)})
        ]
        await store.pin_limit("one", Limit(at_once=3))
        assert [(one.limit.at_once, one.pinned) for one in await store.limits()] == [(3, True)]
        await store.pin_limit("one", None)
        assert [one.pinned for one in await store.limits()] == [False]


async def test_pauses(postgres_url: str) -> None:
    """Handlers pause by name, or all of them."""
    async with opened(postgres_url) as store:
        await store.pause_handlers(["work"], paused=True)
        assert await store.paused_handlers() == Pauses(handlers=frozenset({"work"}))
        assert await store.claim(0, Claimant("idle", 60.0)) == []
        await store.pause_handlers(None, paused=True)
        assert (await store.paused_handlers()).everything


# ------------------------------------------------------------ what others change


async def test_what_is_not_understood_is_looked_into(postgres_url: str) -> None:
    """A notice in words of another version wakes all who wait, as anything may have changed."""
    async with opened(postgres_url, poll=NEVER) as store:
        await listeners(postgres_url, 1)
        (job,) = await kit.accept(store, kit.make())

        async def cancel() -> None:
            call = f'[{{"job": "{job}", "message": null, "grace": 0}}]'
            run(postgres_url, "SELECT trio_jobs.request_cancels(%s), pg_notify('trio_jobs', '?')", call)

        assert (await answered(lambda: store.ended(job), cancel)).state is State.CANCELLED


async def test_who_waits_is_told_of_damage(postgres_url: str) -> None:
    """If a store cannot look for what others did, those who wait meet the error."""
    async with opened(postgres_url, poll=0.1) as store:
        (job,) = await kit.accept(store, kit.make())

        async def damage() -> None:
            run(postgres_url, "ALTER TABLE trio_jobs.job RENAME TO lost")

        with pytest.RaisesGroup(pytest.RaisesExc(StoreCorrupt, match="was removed")):
            await answered(lambda: store.ended(job), damage)
