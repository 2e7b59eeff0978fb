"""Limits in a file: the lanes agree with those in memory, and places are counted whoever moves a job."""

from __future__ import annotations

import random
import sys
from functools import partial
from pathlib import Path
from typing import Any

import apsw
import attrs
import pytest
import trio
from trio.testing import MockClock

from tests.stores.courses import HANDLERS, OTHER, WORK, WORKER, Course, Stores
from trio_jobs import Limit, Reason, State, Timeouts
from trio_jobs.stores import Store, Submission, Where
from trio_jobs.stores.memory import MemoryStore
from trio_jobs.stores.sqlite import SqliteStore, open_sqlite
from trio_jobs.testing import open_sqlite_in_lockstep
from trio_jobs.testing.checks import kit

from .parts import writer_of

opened = partial(open_sqlite, handlers=HANDLERS)

COUNTS = """
SELECT 'lane', number, jobs, running, waiting FROM trio_jobs_lane
EXCEPT SELECT 'lane', lane.number, count(job.number), total(state = 'running'),
    total(state IN ('queued', 'retrying') AND reason IS NOT 'awaiting_input')
FROM trio_jobs_lane AS lane LEFT JOIN trio_jobs_job AS job ON job.lane = lane.number AND finished IS NULL
GROUP BY lane.number
UNION ALL SELECT * FROM (
    SELECT 'limit', name, 0, running, waiting FROM trio_jobs_limit
    EXCEPT SELECT 'limit', name, 0, total(state = 'running'),
        total(state IN ('queued', 'retrying') AND reason IS NOT 'awaiting_input')
    FROM trio_jobs_limited LEFT JOIN trio_jobs_job AS job
        ON job.handler = trio_jobs_limited.handler AND finished IS NULL AND parent IS NULL
    GROUP BY name
)
UNION ALL SELECT 'job', number, 0, 0, 0 FROM trio_jobs_job
WHERE finished IS NULL AND (lane IS NULL) <> (
    parent IS NOT NULL OR handler NOT IN (SELECT handler FROM trio_jobs_limited)
)
"""
"""What the file's triggers have counted wrongly, or jobs that should be in a lane, or in none."""


async def miscounted(store: SqliteStore) -> list[Any]:
    found, _ = await writer_of(store).call(lambda tx: list(tx.db.execute(COUNTS)))
    return found


def take_course(folder: Path, seed: int, steps: int = 60) -> None:
    async def main() -> None:
        async with open_sqlite_in_lockstep(folder / f"{seed}.db", handlers=HANDLERS) as file:
            await Course(Stores(MemoryStore(), file, miscounted), clock, seed).go(steps)

    clock = MockClock(autojump_threshold=0)
    trio.run(main, clock=clock)


@pytest.mark.parametrize("seed", range(5))
def test_a_file_agrees_with_memory(tmp_path: Path, seed: int) -> None:
    """Whatever happens under limits, the same jobs start in the same order, and all places are counted."""
    take_course(tmp_path, seed)


def change(path: Path, sql: str, *values: Any) -> None:
    db = apsw.Connection(str(path))
    db.execute(sql, values)
    db.close()


def limited(key: str = "a", **options: Any) -> Submission:
    new = kit.make(**options)
    return attrs.evolve(new, options=attrs.evolve(new.options, limit_key=key))


async def ids(store: Store, limit: int = 9) -> list[str]:
    return [claim.submission.id for claim in await store.claim(limit, WORKER)]


async def test_an_older_worker_gives_places_back(tmp_path: Path) -> None:
    """A worker of version 3, which knows no limits, ends a job with its own statement: the place is free."""
    async with opened(tmp_path / "jobs.db") as store:
        await store.limit(WORK, {"it": Limit(at_once=1)})
        first, second = await kit.accept(store, limited(), limited("b"))
        assert await ids(store) == [first]
        change(
            tmp_path / "jobs.db",
            "UPDATE trio_jobs_job SET state = 'completed', finished = 1.0, lease = NULL WHERE id = ?",
            first,
        )
        assert await miscounted(store) == []
        assert await ids(store) == [second]


async def test_a_damaged_limit_and_damaged_counters(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A limit that cannot be read does not hold until it is defined again; counters are counted anew."""
    async with opened(tmp_path / "jobs.db") as store:
        await store.limit(WORK, {"it": Limit(at_once=1)})
        first, second, third = await kit.accept(store, *[limited() for _ in range(3)])
        assert await ids(store) == [first]
        change(tmp_path / "jobs.db", "UPDATE trio_jobs_limit SET text = '{\"at_once\":0}'")
        assert await ids(store, 1) == [second]
        assert "a limit in the file cannot be read" in caplog.text
        await store.limit(WORK, {"it": Limit(at_once=1)})
        assert await ids(store) == []
        change(tmp_path / "jobs.db", "UPDATE trio_jobs_lane SET running = 7, waiting = -1")
        assert await miscounted(store)
        change(tmp_path / "jobs.db", "UPDATE trio_jobs_total SET jobs = 1 << 40")
        assert third in await kit.accept(store, limited(), attrs.evolve(limited(), id=third))
        assert await miscounted(store) == []


async def test_a_rate_after_the_clock_was_set_back(tmp_path: Path) -> None:
    """What is used of a rate counts as a full burst at most, however far ahead its moment is."""
    now = [1.8e9]
    async with opened(tmp_path / "jobs.db", clock=lambda: now[0]) as store:
        for keyed in (False, True):
            rate = {f"it {keyed}": Limit(per_second=0.1, burst=1, keyed=keyed)}
            await store.limit(WORK, rate)
            one, two = await kit.accept(store, limited(), limited())
            assert await ids(store) == [one]
            now[0] += 1000.0
            assert await ids(store) == [two]
            now[0] -= 500.0
            (three,) = await kit.accept(store, limited())
            if keyed:
                await store.limit(WORK, rate)  # as an opening does
            assert await ids(store) == []
            now[0] += 10.0
            await store.due()
            assert await ids(store) == [three]
            now[0] += 1000.0


async def test_the_rate_of_a_key(tmp_path: Path) -> None:
    """What was not begun costs no start; and `due` returns for a moment that a claim has to set back."""
    now = [1.8e9]
    async with opened(tmp_path / "jobs.db", clock=lambda: now[0]) as store:
        await store.limit(WORK, {"it": Limit(per_second=0.1, burst=1, keyed=True)})
        (job_id,) = await kit.accept(store, limited())
        assert await ids(store) == [job_id]
        await store.finish(job_id, 1, attrs.evolve(kit.retried(Reason.SHUTDOWN), begun=False))
        assert await ids(store) == [job_id]
        now[0] -= 500.0
        (new,) = await kit.accept(store, limited())
        await store.due()
        assert await ids(store) == []
        now[0] += 10.0
        await store.due()
        assert await ids(store) == [new]


async def test_limits_that_are_taken_away(tmp_path: Path) -> None:
    """A handler without limits any more has no lanes, and its jobs start as any others."""
    async with opened(tmp_path / "jobs.db") as store:
        await store.limit(WORK, {})
        await store.limit(WORK, {"it": Limit(at_once=1)})
        await store.limit(OTHER, {"it": Limit(at_once=1)})
        first, second = await kit.accept(store, limited(), limited())
        assert await ids(store) == [first]
        await store.limit(WORK, {})
        assert await miscounted(store) == []
        assert await ids(store) == [second]
        back = attrs.evolve(kit.retried(Reason.SHUTDOWN), begun=False)
        await store.finish(first, 1, back)
        assert await ids(store) == [first]


async def test_a_lane_is_forgotten(tmp_path: Path) -> None:
    """A key without jobs leaves no row, once its rate is unused."""
    now = [1.8e9]
    async with opened(tmp_path / "jobs.db", clock=lambda: now[0]) as store:
        await store.limit(WORK, {"it": Limit(per_second=0.1, keyed=True)})
        (job_id,) = await kit.accept(store, limited())
        assert await ids(store) == [job_id]
        await store.finish(job_id, 1, kit.completed())
        lanes = []
        for wait in (1.0, 30.0):
            now[0] += wait
            await store.claim(1, WORKER)
            rows, _ = await writer_of(store).call(
                lambda tx: tx.db.execute("SELECT count(*) FROM trio_jobs_lane").get
            )
            lanes.append(rows)
        assert lanes == [1, 0]


async def test_what_expires_leaves_its_lane(tmp_path: Path) -> None:
    """A job whose queue timeout has passed is not started from its lane, and takes no turn."""
    now = [1.8e9]
    async with opened(tmp_path / "jobs.db", clock=lambda: now[0]) as store:
        await store.limit(WORK, {"it": Limit(at_once=1)})
        late = limited(timeouts=Timeouts(queue=5.0))
        await kit.accept(store, limited("b"), late, limited("c"))
        assert len(await ids(store, 1)) == 1
        now[0] += 10.0
        await store.limit(WORK, {"it": Limit(at_once=9)})
        assert late.id not in await ids(store)
        await store.sweep()
        assert (await store.get(late.id)).state is State.FAILED
        assert await miscounted(store) == []


async def test_what_expired_since_the_last_claim(tmp_path: Path) -> None:
    """A lane whose only due job has expired meanwhile is closed by the claim that sees it."""
    now = [1.8e9]
    async with opened(tmp_path / "jobs.db", clock=lambda: now[0]) as store:
        await store.limit(WORK, {"it": Limit(at_once=9, keyed=True)})
        first = limited("b")
        await kit.accept(store, first, limited("a", timeouts=Timeouts(queue=5.0)))
        assert await ids(store, 1) == [first.id]
        now[0] += 10.0
        assert await ids(store) == []
        assert await miscounted(store) == []


async def test_a_damaged_job_in_a_lane_fails(tmp_path: Path) -> None:
    """A row that cannot be started is that job's end, and gives its place back; the next one starts."""
    async with opened(tmp_path / "jobs.db") as store:
        await store.limit(WORK, {"it": Limit(at_once=1)})
        bad, good = await kit.accept(store, limited(), limited())
        change(tmp_path / "jobs.db", "UPDATE trio_jobs_job SET attempt = ? WHERE id = ?", 2**63 - 1, bad)
        assert await ids(store) == [good]
        assert (await store.get(bad)).state is State.FAILED
        assert await miscounted(store) == []


@pytest.mark.parametrize("kind", ["memory", "file"])
@pytest.mark.parametrize("seed", range(4))
def test_a_new_key_waits_for_few_starts(tmp_path: Path, kind: str, seed: int) -> None:
    """Before the first job of a key no more start than there are keys and slots, however many wait."""
    draw = random.Random(seed)
    keys, slots = draw.randint(1, 6), draw.randint(1, 4)

    async def main() -> None:
        async with open_sqlite_in_lockstep(tmp_path / "jobs.db", handlers=HANDLERS) as file:
            store: Any = file if kind == "file" else MemoryStore()
            await store.limit(WORK, {"each": Limit(at_once=slots, keyed=True), "all": Limit(at_once=slots)})
            many = [limited(str(key)) for key in range(keys) for _ in range(15)]
            await kit.accept(store, *draw.sample(many, len(many)))
            running = await ids(store)
            for _ in range(draw.randint(0, 9)):
                await store.finish(running.pop(0), 1, kit.completed())
                running += await ids(store)
            (new,) = await kit.accept(store, limited("new"))
            starts = 0
            while new not in running:
                await store.finish(running.pop(draw.randrange(len(running))), 1, kit.completed())
                started = await ids(store)
                starts += len(started)
                running += started
            assert starts <= keys + slots

    trio.run(main, clock=MockClock(autojump_threshold=0))


CLAIMER = """
import sys
import trio
from trio_jobs.stores import Claimant
from trio_jobs.stores.sqlite import open_sqlite
from trio_jobs.testing.checks import kit

async def main():
    async with open_sqlite(sys.argv[1], handlers=[kit.work, kit.other_work]) as store:
        for _ in range(60):
            for claim in await store.claim(5, Claimant(sys.argv[2], 60.0)):
                print(claim.submission.id, flush=True)
                await store.finish(claim.submission.id, claim.attempt, kit.completed())

trio.run(main)
"""
WATCH = """
SELECT handler, options ->> '$.limit_key', count(*) FROM trio_jobs_job WHERE state = 'running' GROUP BY 1, 2
"""


@pytest.mark.deep
async def test_two_processes_overshoot_no_limit(tmp_path: Path) -> None:
    """While two processes start and end jobs as fast as they can, no commit has more running than may."""
    path = tmp_path / "jobs.db"
    async with opened(path) as store:
        await store.limit(WORK, {"each": Limit(at_once=1, keyed=True), "all": Limit(at_once=2)})
        await store.limit(OTHER, {"all": Limit(at_once=2)})
        await kit.accept(store, *[limited(key) for key in "abc" for _ in range(30)])
        others = [kit.make(target=kit.other_work) for _ in range(30)]
        await kit.accept(store, *others)
        command = [sys.executable, "-c", CLAIMER, str(path)]
        seen = list[tuple[int, int]]()
        async with trio.open_nursery() as nursery:
            processes = [
                await nursery.start(partial(trio.run_process, [*command, name], capture_stdout=True))
                for name in "xy"
            ]
            while any(process.poll() is None for process in processes):
                rows, _ = await writer_of(store).call(lambda tx: list(tx.db.execute(WATCH)))
                each = max((count for handler, _, count in rows if handler == WORK), default=0)
                seen.append((each, sum(count for *_, count in rows)))
        assert max(each for each, _ in seen) <= 1
        assert max(total for _, total in seen) <= 2
        assert await miscounted(store) == []
        assert (await store.count(Where()))[State.COMPLETED] > 2
