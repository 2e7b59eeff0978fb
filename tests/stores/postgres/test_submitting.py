"""Submits that meet others: in one flush, in another transaction, and on another connection."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import psycopg
import pytest
import trio

from trio_jobs import Busy, KeyConflict, LeaseLost, QueueFull, State, StoreUnavailable
from trio_jobs.stores import Store, Where
from trio_jobs.stores.contract import Submission
from trio_jobs.stores.exclusion import MOVES
from trio_jobs.stores.postgres import open_postgres
from trio_jobs.stores.postgres.submitting import call_of
from trio_jobs.stores.rows import Rows
from trio_jobs.testing.checks import kit


@asynccontextmanager
async def opened(url: str, count: int = 1, **limits: Any) -> AsyncIterator[list[Store]]:
    """Open several stores in one schema."""
    async with open_postgres(url, handlers=[kit.work, kit.other_work], **limits) as store:
        if count == 1:
            yield [store]
        else:
            async with opened(url, count - 1, **limits) as more:
                yield [store, *more]


async def outcome(call: Callable[[], Awaitable[Any]]) -> Any:
    try:
        return await call()
    except Exception as error:  # noqa: BLE001  # the test looks at it
        return error


async def together(*calls: Callable[[], Awaitable[Any]]) -> list[Any]:
    """Return what calls return or raise that are made at once."""
    results: list[Any] = [None] * len(calls)

    async def one(place: int) -> None:
        results[place] = await outcome(calls[place])

    async with trio.open_nursery() as nursery:
        for place in range(len(calls)):
            nursery.start_soon(one, place)
    return results


def submitting(store: Store, *batch: Submission) -> Callable[[], Awaitable[Any]]:
    return partial(store.submit, batch, 0, kit.HOLDER)


def put(db: psycopg.Connection[Any], new: Submission) -> dict[str, Any]:
    """Submit on a plain connection, in a transaction that stays open."""
    rows = Rows({"work": kit.work, "other_work": kit.other_work})
    call = {**call_of([rows.written(new)]), "version": 1}
    row = db.execute("SELECT answer FROM trio_jobs.submit_jobs(%s)", [json.dumps([call])]).fetchone()
    answer: dict[str, Any] = row[0] if row else {}
    return answer


TRIPPED = """
CREATE SEQUENCE public.tried;
CREATE FUNCTION public.trip() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM nextval('public.tried');
    RAISE EXCEPTION 'as the test wants' USING ERRCODE = '22012';
END $$;
CREATE TRIGGER trip BEFORE INSERT ON trio_jobs.job FOR EACH ROW WHEN (NEW.handler = 'other_work')
    EXECUTE FUNCTION public.trip();
"""


# ------------------------------------------------------------ rules


async def test_the_moves_are_those_of_python(postgres_url: str) -> None:
    """What a submit does while a name is held is the same in SQL, for each policy and holder."""
    async with opened(postgres_url):
        with psycopg.connect(postgres_url) as db:
            for policy, row in MOVES.items():
                for holder, move in row.items():
                    found = db.execute("SELECT * FROM trio_jobs.move_of(%s, %s)", [policy, holder]).fetchone()
                    assert found == tuple(move), (policy, holder)


# ------------------------------------------------------------ in one flush


async def test_one_that_is_refused_does_not_harm_others(postgres_url: str) -> None:
    """Of many submits in one flush those are refused that have to be, with their errors, and no others."""
    async with opened(postgres_url) as (store,):
        lost = kit.make_by("unknown", 1, None)
        fine = [kit.make(number, tags={"n": str(number)}) for number in range(20)]
        results = await together(*(submitting(store, one) for one in (*fine, lost)))
        assert isinstance(results.pop(), LeaseLost)
        assert results == [([one.id], []) for one in fine]
        assert sorted(await kit.found(store)) == sorted(one.id for one in fine)


async def test_calls_that_are_sent_singly_keep_the_queue_limit(postgres_url: str) -> None:
    """One of a flush fails with an error of SQL: the others go out singly, and keep to the limit."""
    async with opened(postgres_url, queue_limit=3) as (store,):
        with psycopg.connect(postgres_url, autocommit=True) as db:
            db.execute(TRIPPED)
            calls = [submitting(store, kit.make()) for _ in range(5)]
            failed, *others = await together(submitting(store, kit.make(target=kit.other_work)), *calls)
            tried = db.execute("SELECT last_value FROM public.tried").fetchone()
        assert isinstance(failed, psycopg.errors.DivisionByZero)
        assert tried == (2,)  # with the others, and alone
        assert [type(one) for one in others].count(QueueFull) == 2
        assert await store.count(Where()) == {State.QUEUED: 3}


async def test_the_queue_is_full_for_those_that_do_not_fit(postgres_url: str) -> None:
    """Of submits in one flush as many are accepted as there is room for."""
    async with opened(postgres_url, queue_limit=5) as (store,):
        results = await together(*(submitting(store, kit.make(number)) for number in range(8)))
        assert [type(one) for one in results if isinstance(one, Exception)] == [QueueFull] * 3
        assert len(await kit.found(store)) == 5


async def test_a_claim_of_another_job_makes_no_room(postgres_url: str) -> None:
    """If the queue is full, a job that is not due is refused, although the same step would start another."""
    async with opened(postgres_url, queue_limit=1) as (store,):
        (waits,) = await kit.accept(store, kit.make())
        with pytest.raises(QueueFull):
            await store.submit([kit.make(delay=kit.LONG)], 1, kit.HOLDER)
        assert await kit.found(store) == [waits]


async def test_all_of_a_flush_start_at_once(postgres_url: str) -> None:
    """Submits in one flush that claim get their own jobs, if nothing waits, with what they were given."""
    async with opened(postgres_url) as (store,):
        news = [kit.make(number, owner="me", metadata={"n": number}) for number in range(10)]
        results = await together(*(partial(store.submit, [new], 1, kit.HOLDER) for new in news))
        for new, (ids, claims) in zip(news, results, strict=True):
            (claim,) = claims
            came = claim.submission
            assert (ids, came.id, came.args, came.options) == ([new.id], new.id, new.args, new.options)
            assert (claim.attempt, claim.spent, claim.seq) == (1, 1, 2)
            assert [kind for _, kind, _ in await kit.words(store, new.id)] == ["submitted", "started"]


async def test_a_flush_overtakes_nobody(postgres_url: str) -> None:
    """If a job is due that waits, the first of the submits in a flush that claims gets it."""
    async with opened(postgres_url) as (store,):
        (waits,) = await kit.accept(store, kit.make())
        news = [kit.make(number) for number in range(3)]
        results = await together(*(partial(store.submit, [new], 1, kit.HOLDER) for new in news))
        started = [claim.submission.id for _, claims in results for claim in claims]
        assert waits in started
        assert len(started) == 3


async def test_the_same_job_starts_once(postgres_url: str) -> None:
    """A job that is submitted twice in one flush, or in one batch, starts for one of the two only."""
    async with opened(postgres_url) as (store,):
        new, other = kit.make(1), kit.make(2)
        calls = [partial(store.submit, batch, 1, kit.HOLDER) for batch in ([new], [new], [other])]
        results = await together(*calls, partial(store.submit, [kit.make(3)], 1, kit.HOLDER))
        started = [claim.submission.id for _, claims in results for claim in claims]
        assert len(started) == len({*started}) == 3
        twice = kit.make(4)
        ids, claims = await store.submit([twice, twice], 2, kit.HOLDER)
        assert (ids, [claim.submission.id for claim in claims]) == ([twice.id] * 2, [twice.id])


# ------------------------------------------------------------ another transaction


async def test_one_waits_for_a_key_and_the_others_do_not(postgres_url: str) -> None:
    """A submit under a key that an open transaction took fails after about a second; all else goes on."""
    async with opened(postgres_url) as (store,):
        with psycopg.connect(postgres_url) as db:
            assert "error" not in put(db, kit.make(1, key="k"))
            with trio.fail_after(30):
                results: list[Any] = []
                meanwhile: list[str] = []
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(_into, results, submitting(store, kit.make(1, key="k")))
                    await _until_one_waits(postgres_url)
                    while not results:
                        accepted = await kit.accept(store, kit.make(2))
                        meanwhile += accepted if not results else []
                assert isinstance(results[0], StoreUnavailable)
                assert meanwhile
            db.rollback()
        new = kit.make(2, key="k")
        assert await kit.accept(store, new) == [new.id]


@pytest.mark.parametrize("commits", [True, False])
async def test_a_key_is_decided_by_the_end_of_its_transaction(postgres_url: str, *, commits: bool) -> None:
    """A submit that waits for a key is that job, or a conflict, if the other commits; else it is accepted."""
    async with opened(postgres_url) as (store,):
        for number, given in enumerate((1, 2)):
            first, new = kit.make(1, key=f"k{number}"), kit.make(given, key=f"k{number}")
            with psycopg.connect(postgres_url) as db:
                put(db, first)
                results: list[Any] = []
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(_into, results, submitting(store, new))
                    await _until_one_waits(postgres_url)
                    (db.commit if commits else db.rollback)()
            if not commits:
                assert results == [([new.id], [])]
            elif given == 1:
                assert results == [([first.id], [])]
            else:
                assert isinstance(results[0], KeyConflict)
                assert results[0].job_id == first.id


async def _into(results: list[Any], call: Callable[[], Awaitable[Any]]) -> None:
    results.append(await outcome(call))


async def _until_one_waits(url: str) -> None:
    query = """SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock'"""
    with trio.fail_after(30), psycopg.connect(url, autocommit=True) as db:
        while db.execute(query).fetchone() == (0,):
            await trio.sleep(0.005)


async def test_an_attempt_cannot_end_while_its_submit_is_open(postgres_url: str) -> None:
    """Until a submit by an attempt is committed, its end waits; so nothing is submitted by what has ended."""
    async with opened(postgres_url) as (store,):
        job_id = await kit.started(store, worker=kit.KNOWN)
        new = kit.make_by(job_id, 1, kit.KNOWN.claim)
        with psycopg.connect(postgres_url) as db:
            put(db, new)
            ended = trio.Event()

            async def end() -> None:
                await store.finish(job_id, 1, kit.completed(), kit.KNOWN.claim)
                ended.set()

            async with trio.open_nursery() as nursery:
                nursery.start_soon(end)
                await _until_one_waits(postgres_url)
                assert not ended.is_set()
                db.commit()
        assert await kit.states(store, job_id, new.id) == [State.COMPLETED, State.QUEUED]


# ------------------------------------------------------------ several connections


async def test_a_key_is_one_job_for_all(postgres_url: str) -> None:
    """The same submission under one key, at once through several connections, is one job for all of them."""
    async with opened(postgres_url, 3) as stores:
        for number in range(5):
            calls = [submitting(store, kit.make(number, key=f"k{number}")) for store in stores * 3]
            ids = {ids[0] for ids, _ in await together(*calls)}
            assert len(ids) == 1
        assert len(await kit.found(stores[0])) == 5


@pytest.mark.parametrize("on_busy", ["reject", "attach", "after", "replace"])
async def test_a_name_has_one_holder(postgres_url: str, on_busy: str) -> None:
    """Of submits with one exclusive name, at once through several connections, one job holds it."""
    async with opened(postgres_url, 3) as stores:
        for number in range(3):
            name = f"{on_busy} {number}"
            news = [kit.make(place, exclusive=name, on_busy=on_busy) for place in range(9)]
            calls = [submitting(store, new) for store, new in zip(stores * 3, news, strict=True)]
            results = await together(*calls)
            jobs = [await stores[0].get(job_id) for job_id in await kit.found(stores[0])]
            open_ = [job for job in jobs if job.exclusive == name and not job.state.over]
            holders = [job.id for job in open_ if job.behind is None]
            assert len(holders) == 1
            if on_busy == "reject":
                assert [one.job_id for one in results if isinstance(one, Busy)] == holders * 8
            elif on_busy == "attach":
                assert {ids[0] for ids, _ in results} == {*holders}
            else:
                assert len(open_) == (9 if on_busy == "after" else 1)
                assert {ids[0] for ids, _ in results} == {new.id for new in news}


async def test_nothing_stands_behind_what_has_ended(postgres_url: str) -> None:
    """What is submitted behind a holder, just as that ends on another connection, starts by itself."""
    async with opened(postgres_url, 2) as (one, other):
        for number in range(20):
            name = f"name {number}"
            await kit.accept(one, kit.make(exclusive=name))
            ((holder,), (claim,)) = (
                (await kit.found(one, states={State.QUEUED})),
                await one.claim(1, kit.HOLDER),
            )
            assert claim.submission.id == holder
            new = kit.make(exclusive=name, on_busy="after")
            await together(submitting(other, new), partial(one.finish, holder, 1, kit.completed()))
            assert [claim.submission.id for claim in await other.claim(1, kit.HOLDER)] == [new.id]
            await other.finish(new.id, 1, kit.completed())
