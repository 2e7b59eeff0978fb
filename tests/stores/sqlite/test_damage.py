"""One damaged row: whatever it holds, and whatever is called, other jobs are unaffected."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from tests.stores.sqlite.damage import KINDS, Place, hurt, places
from tests.stores.sqlite.parts import reader_of, writer_of
from trio_jobs import (
    Ended,
    JobContext,
    Kind,
    Reason,
    State,
    StoreCorrupt,
    Timeouts,
    TrioJobsError,
    open_registry,
)
from trio_jobs.stores import Claimant, Outcome, Reclaimed, Transition, Where
from trio_jobs.stores.sqlite import SqliteStore, care, open_sqlite
from trio_jobs.testing.checks.kit import HOLDER, accept, completed, make, work

OWNED: dict[str, Any] = {"owner": "ann", "tags": {"a": "b"}, "metadata": {"n": 1}}
LIVES = ["waits", "runs", "expired", "lapsed", "cancelling", "over", "awaits"]
"""Where a job is when its row is hit."""


AWAIT = Outcome(Transition.RETRIED, ended=Ended(Reason.AWAITING_INPUT, delay=math.inf), received=6)


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[SqliteStore]:
    async with open_sqlite(path, handlers=[work], synchronous="normal", poll=60.0) as store:
        yield store


async def bring(store: SqliteStore, life: str, key: str) -> str:
    """Submit a job, and bring it to a state; jobs that run are brought before those that wait."""
    late = Timeouts(queue=1e-9) if life == "expired" else Timeouts()
    new = make("x", key=key, timeouts=late, **OWNED)
    if life in {"waits", "expired"}:
        return (await accept(store, new))[0]
    (job_id,), (claim,) = await store.submit([new], 1, Claimant("holder", 1e-9 if life == "lapsed" else 1e9))
    assert claim.attempt == 1
    await store.append(job_id, 1, Kind.TOKEN, ["a", "b"], 0)
    await store.send(job_id, "1", [1, 2])
    await store.append(job_id, 1, Kind.SAVED, ["s"], 2, received=5)
    if life == "awaits":
        await store.finish(job_id, 1, AWAIT)
    if life == "cancelling":
        await store.request_cancel(job_id, "so", 5.0)
    if life == "over":
        await store.finish(job_id, 1, completed("r"))
    return job_id


async def use(store: SqliteStore, bad: list[str], waits: str, runs: str, asked: str, over: str) -> None:
    """Call every verb of a store; the neighbours are unaffected."""
    good = {waits, runs, asked, over}
    filters = [
        *(
            Where(),
            Where(owner="ann"),
            Where(handler="work"),
            Where(tags={"a": "b"}),
            Where(states=list(State)),
        ),
        *(Where(owner="ann", handler="work"), Where(owner="ann", tags={"a": "b"})),
    ]
    for where in filters:
        for newest in (False, True):
            assert good <= {job.id for job in await store.find(where, 1000, newest=newest)}
        assert sum((await store.count(where)).values()) >= len(good)
    assert {runs, asked} <= set(await store.listening(dict.fromkeys([*bad, runs, asked], 0)))
    for job_id in [*bad, runs]:
        for send in (
            *(store.send(job_id, "1", [1, 2]), store.send(job_id, "2", [3]), store.inputs(job_id, 0, 9)),
            store.end_inputs(job_id),
        ):
            with suppress(*() if job_id == runs else (TrioJobsError,)):
                await send
    assert (await store.get(runs)).unconsumed == 2
    assert (await store.cancelling({})).get(asked) == 5.0
    beat = await store.heartbeat(dict.fromkeys([*bad, runs, asked], 1), 1e9)
    assert beat.lost.isdisjoint([runs, asked])
    assert beat.cancels[asked] == 5.0
    with trio.move_on_after(0):
        await store.overdue()
    await store.sweep()
    assert (await store.get(runs)).state is State.RUNNING
    with trio.fail_after(30):
        await store.due()
    claims = await store.claim(1000, HOLDER)
    assert waits in {claim.submission.id for claim in claims}
    for job_id in [waits, runs, asked]:
        await store.append(job_id, 1, Kind.TOKEN, ["c"], 0 if job_id == waits else 3)
        await store.history(job_id)
        done = attrs.evolve(completed(), received=8) if job_id == runs else completed()
        assert await store.finish(job_id, 1, done) is State.COMPLETED
    for claim in claims:
        if claim.submission.id in bad:
            with suppress(TrioJobsError):
                await store.finish(claim.submission.id, claim.attempt, completed())
    for job_id in bad:
        for verb in (
            *(store.get(job_id), store.history(job_id), store.read(job_id, 0, 9)),
            *(store.append(job_id, 1, Kind.TOKEN, ["c"], 3), store.finish(job_id, 1, completed())),
            *(store.request_cancel(job_id, None), store.remove(job_id)),
        ):
            with suppress(TrioJobsError):
                await verb
    await store.prune(0.0)
    assert good.isdisjoint([job.id for job in await store.find(Where(), 1000)])
    (job_id,) = await accept(store, make())
    assert [claim.submission.id for claim in await store.claim(9, HOLDER)] == [job_id]


async def suffer(path: Path, hits: list[tuple[Place, str, str]]) -> list[bool]:
    """Damage a job for each place, state and kind, use the store, and return the places that exist."""
    async with opened(path) as store:
        well = [await bring(store, life, life) for life in ("runs", "cancelling", "over")]
        bad = ["" for _ in hits]
        for spot in sorted(range(len(hits)), key=lambda spot: hits[spot][1] in {"waits", "expired"}):
            bad[spot] = await bring(store, hits[spot][1], f"k{spot}")
        waits = await bring(store, "waits", "waits")
        found, _ = await reader_of(store).call(
            lambda tx: list(tx.select("SELECT id, number FROM trio_jobs_job", {}))
        )
        numbers: dict[str, int] = dict(found)
        hit = hurt(
            path, [(place, kind, numbers[job_id]) for (place, _, kind), job_id in zip(hits, bad, strict=True)]
        )
        async with trio.open_nursery() as nursery:
            for job_id in bad:
                nursery.start_soon(follow, store, job_id)
            nursery.start_soon(expect_end, store, waits)
            await trio.testing.wait_all_tasks_blocked()
            await use(store, bad, waits, *well)
            nursery.cancel_scope.cancel()
    return hit


async def follow(store: SqliteStore, job_id: str) -> None:
    """Wait for the end of a job that is damaged."""
    with suppress(TrioJobsError):
        after = 0
        while events := await store.follow(job_id, after, 9):
            after = events[-1].seq
        await store.end(job_id)
        await store.ended(job_id)


async def expect_end(store: SqliteStore, job_id: str) -> None:
    """Wait for the end of a job that is not damaged."""
    assert (await store.ended(job_id)).state is State.COMPLETED


OF_JOBS = {"trio_jobs_job", "trio_jobs_event", "trio_jobs_tag", "trio_jobs_input"}
"""The tables whose rows belong to one job each."""


async def job_places(folder: Path) -> list[Place]:
    """Return every column of a job's own."""
    async with opened(folder / "empty.db"):
        pass
    return [place for place in places(folder / "empty.db") if place.table in OF_JOBS]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_damaged_row(kind: str, tmp_path: Path) -> None:
    """A value of this kind in any column affects only its job, in any state."""
    spots = await job_places(tmp_path)
    hits = [(place, LIVES[(n + len(kind)) % len(LIVES)], kind) for n, place in enumerate(spots)]
    assert sum(await suffer(tmp_path / "jobs.db", hits)) > 30


@pytest.mark.deep
@pytest.mark.parametrize("life", LIVES)
@pytest.mark.parametrize("kind", KINDS)
async def test_every_damaged_row(kind: str, life: str, tmp_path: Path) -> None:
    """A value of every kind in every column affects only its job, in every state."""
    spots = await job_places(tmp_path)
    assert sum(await suffer(tmp_path / "jobs.db", [(place, life, kind) for place in spots])) > 30


async def note(job: JobContext[str], said: str) -> str:
    await job.send(said)
    return said


@pytest.mark.parametrize("life", ["waits", "lapsed"])
async def test_a_worker_goes_on(life: str, tmp_path: Path) -> None:
    """A worker runs all jobs except the damaged ones, which fail with the names of the columns."""
    path = tmp_path / "jobs.db"
    columns = ["id", "args", "options", "owner", "key", "saved", "metadata", "attempt", "spent", "seq"]
    async with open_sqlite(path, handlers=[note], synchronous="normal") as store:
        new = [make(str(n), target=note, key=str(n), **OWNED) for n in range(len(columns) + 2)]
        ids, _ = await store.submit(new, len(new) if life == "lapsed" else 0, Claimant("holder", 1e-9))
        for number, column in enumerate(columns, 1):
            kind = "no text" if number < 8 else "the largest number"
            assert hurt(path, [(Place("trio_jobs_job", column), kind, number)]) == [True]
    async with open_registry(f"sqlite:///{path}", handlers=[note]) as jobs:
        for job_id in ids[-2:]:
            assert await (await jobs.get(job_id)).result() in {"10", "11"}
        assert len(await jobs.find()) == len(ids)
        for job_id, column in zip(ids[1:], columns[1:], strict=False):  # the id of the first is no text
            job = await (await jobs.get(job_id)).wait()
            assert job.state is State.FAILED
            if column != "spent" or life == "waits":  # else its worker was lost too often
                assert str(job.message).startswith(f"what is stored of it is damaged: {column}")


async def test_damaged_arguments(tmp_path: Path) -> None:
    """A job whose arguments are damaged is shown still, and its message says so."""
    path = tmp_path / "jobs.db"
    async with opened(path) as store:
        job_id = await bring(store, "over", "o")
        assert hurt(path, [(Place("trio_jobs_job", "args"), "no text", 1)]) == [True]
        job = await store.get(job_id)
        assert (job.state, job.args) == (State.COMPLETED, None)
        assert str(job.message).startswith("its stored arguments cannot be read: ")


TOTALS = Place("trio_jobs_total", "jobs")


@pytest.mark.parametrize("kind", KINDS)
async def test_a_damaged_counter(kind: str, tmp_path: Path) -> None:
    """Jobs are counted anew if a counter is impossible, and are submitted, start and end meanwhile."""
    path = tmp_path / "jobs.db"
    async with opened(path) as store:
        over, runs = await bring(store, "over", "o"), await bring(store, "runs", "r")
        waits = await bring(store, "waits", "w")
        hurt(path, [(TOTALS, kind, 0)])
        assert sum((await store.count(Where())).values()) >= 0
        await accept(store, make())
        assert await store.finish(runs, 1, completed()) is State.COMPLETED
        assert waits in {claim.submission.id for claim in await store.claim(9, HOLDER)}
        await store.remove(over)
        if kind in {"nothing", "a fraction", "the largest number"}:  # SQLite makes numbers of the others
            assert await store.count(Where()) == {State.RUNNING: 2, State.COMPLETED: 1}


def test_an_index_that_does_not_know_of_a_row(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """If an index lacks a row after a flipped byte, the indexes are made anew, and the rows are found."""
    path = tmp_path / "jobs.db"

    async def fill() -> None:
        async with opened(path) as store:
            await accept(
                store, make(owner="somebody", tags={"a": "b"}), make(owner="elsebody", tags={"a": "b"})
            )

    async def serve() -> None:
        async with opened(path) as store:
            assert len(await store.find(Where(tags={"a": "b"}), 9)) == 2
            assert len(await store.claim(9, HOLDER)) == 2

    trio.run(fill)
    data = path.read_bytes()
    place = data.rindex(b"elsebody", 0, data.rindex(b"somebody"))  # in the table: there are few jobs
    path.write_bytes(data[: place + 7] + b"z" + data[place + 8 :])
    trio.run(serve)
    assert "indexes" in caplog.text


async def bring_with_a_damaged_child(store: SqliteStore, path: Path, life: str) -> tuple[str, str]:
    """Bring a job to a state, with a child whose row is damaged; return both."""
    parent = await bring(store, life, "p")
    child = (await store.spawn(parent, 1, make("y"), HOLDER)).submission.id
    assert hurt(path, [(Place("trio_jobs_job", "priority"), "bytes", 2)]) == [True]
    return parent, child


async def test_a_damaged_child(tmp_path: Path) -> None:
    """The parent of a damaged child ends all the same, and the child fails."""
    path = tmp_path / "jobs.db"
    async with opened(path) as store:
        parent, child = await bring_with_a_damaged_child(store, path, "runs")
        assert await store.finish(parent, 1, completed()) is State.COMPLETED
        assert (await store.get(child)).message == "what is stored of it is damaged: priority"


async def test_a_lost_id(tmp_path: Path) -> None:
    """A job without an id is named by its number."""
    path = tmp_path / "jobs.db"
    async with opened(path) as store:
        await bring(store, "waits", "w")
        hurt(
            path, [(Place("trio_jobs_job", "id"), "bytes", 1), (Place("trio_jobs_job", "owner"), "bytes", 1)]
        )
        hurt(path, [(Place("trio_jobs_job", "id"), "nothing", 1)])
        assert [job.id for job in await store.find(Where(), 9)] == ["number-1"]
        assert await store.claim(9, HOLDER) == []
        assert (await store.get("number-1")).state is State.FAILED


async def test_what_was_asked_for_is_no_damage(tmp_path: Path) -> None:
    """A value that no file can hold is an error of its caller, and the job is unaffected."""
    async with opened(tmp_path / "jobs.db") as store:
        job_id = await bring(store, "runs", "r")
        with pytest.raises(OverflowError):
            await store.request_cancel(job_id, None, 10**400)
        assert (await store.get(job_id)).state is State.RUNNING


async def test_a_damaged_child_of_a_lost_parent(tmp_path: Path) -> None:
    """A sweep reclaims the parent of a damaged child all the same, and the child fails."""
    path = tmp_path / "jobs.db"
    async with opened(path) as store:
        parent, child = await bring_with_a_damaged_child(store, path, "lapsed")
        await store.sweep()
        assert (await store.get(parent)).state is not State.RUNNING
        assert (await store.get(child)).message == "what is stored of it is damaged: priority"


@pytest.mark.parametrize(
    "change",
    [
        *("UPDATE trio_jobs_event SET data = 'no JSON'", "UPDATE trio_jobs_event SET data = '[]'"),
        *("UPDATE trio_jobs_event SET data = '{}'", "UPDATE trio_jobs_event SET data = 5"),
        *("UPDATE trio_jobs_event SET data = CAST(x'ff' AS TEXT)", "DELETE FROM trio_jobs_event"),
    ],
)
async def test_a_lost_worker_whose_name_cannot_be_read(change: str, tmp_path: Path) -> None:
    """A sweep reclaims a job all the same if the event is damaged that names the worker."""
    async with opened(tmp_path / "jobs.db") as store:
        job_id = await bring(store, "lapsed", "l")
        await writer_of(store).call(lambda tx: tx.db.execute(f"{change} WHERE kind = 'started'").get)
        assert await store.sweep() == [Reclaimed(job_id, "work", 1, "", State.RETRYING)]


async def test_a_submit_meets_a_damaged_counter(tmp_path: Path) -> None:
    """A submit that reads a damaged counter counts the jobs anew, and is accepted."""
    path = tmp_path / "jobs.db"
    async with opened(path) as store:
        await bring(store, "waits", "w")
        mended, _ = await writer_of(store).call(lambda tx: care.mend_counters(tx, ValueError()))
        assert not mended
        hurt(path, [(TOTALS, "nothing", number) for number in range(9)])
        await accept(store, make())
        assert await store.count(Where()) == {State.QUEUED: 2}


async def test_a_text_that_is_none_is_no_damage(tmp_path: Path) -> None:
    """A text that UTF-8 cannot encode is an error of its caller."""
    async with opened(tmp_path / "jobs.db") as store:
        job_id = await bring(store, "runs", "r")
        with pytest.raises(UnicodeEncodeError):
            await store.request_cancel(job_id, "\ud800")
        assert (await store.get(job_id)).state is State.RUNNING


def test_a_page_that_is_lost(tmp_path: Path) -> None:
    """A small file with more damage than an index is refused when it is opened."""
    path = tmp_path / "jobs.db"

    async def fill() -> None:
        async with opened(path) as store:
            await bring(store, "waits", "w")

    trio.run(fill)
    data = bytearray(path.read_bytes())
    place = data.rindex(b"ann") // 4096 * 4096
    data[place : place + 4096] = bytes(4096)
    path.write_bytes(data)
    with pytest.raises(StoreCorrupt, match="jobs.db"):
        trio.run(fill)
