"""The exclusive names of jobs in a file: what proves them, and what is left of them after damage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import apsw
import pytest

from trio_jobs.stores.sqlite import SqliteStore, open_sqlite
from trio_jobs.testing.checks.kit import ALL, HOLDER, accept, completed, make, work

NAMED: dict[str, Any] = {"exclusive": "chat", "on_busy": "after"}


def change(path: Path, sql: str, *values: Any) -> None:
    db = apsw.Connection(str(path))
    db.execute(sql, values)
    db.close()


async def three(store: SqliteStore) -> list[str]:
    """Submit three jobs with one name and start the first of them; return all."""
    ids = await accept(store, make(**NAMED))
    await store.claim(1, HOLDER)
    for _ in range(2):
        ids += await accept(store, make(**NAMED))
    return ids


async def behind(store: SqliteStore, *ids: str) -> list[str | None]:
    return [(await store.get(job_id)).behind for job_id in ids]


@pytest.mark.parametrize("owner", [None, "me"])
async def test_a_file_has_no_two_holders(owner: str | None, tmp_path: Path) -> None:
    """No statement can make a second holder of a name of one owner, with and without an owner."""
    async with open_sqlite(tmp_path / "jobs.db", handlers=[work]) as store:
        ids = await accept(store, make(**NAMED, owner=owner))
        ids += await accept(store, make(**NAMED, owner=owner))
        with pytest.raises(apsw.ConstraintError):
            change(tmp_path / "jobs.db", "UPDATE trio_jobs_job SET behind = NULL")
        assert await behind(store, *ids) == [None, ids[0]]


async def test_the_sweep_finds_who_stands_behind_no_job(tmp_path: Path) -> None:
    """If a holder is gone without a trace, a sweep lets the first of those behind it start, and no other."""
    async with open_sqlite(tmp_path / "jobs.db", handlers=[work]) as store:
        ids = await three(store)
        other = await accept(store, make(exclusive="other"))
        other += await accept(store, make(exclusive="other", on_busy="after"))
        await store.claim(ALL, HOLDER)
        change(tmp_path / "jobs.db", "DELETE FROM trio_jobs_job WHERE id = ?", ids[0])
        assert await store.claim(ALL, HOLDER) == []
        await store.sweep()
        assert await behind(store, *ids[1:], *other) == [None, ids[1], None, other[0]]
        (claim,) = await store.claim(ALL, HOLDER)
        assert claim.submission.id == ids[1]


async def test_what_an_older_version_cancelled_stands_behind_nothing(tmp_path: Path) -> None:
    """A job that a worker of version 3 cancelled while it stood behind another one is no matter any more."""
    async with open_sqlite(tmp_path / "jobs.db", handlers=[work]) as store:
        ids = await three(store)
        written = (
            "UPDATE trio_jobs_job SET state = 'cancelled', reason = 'user', finished = 1.8e9 WHERE id = ?"
        )
        change(tmp_path / "jobs.db", written, ids[1])
        await store.finish(ids[0], 1, completed())
        assert await behind(store, *ids) == [None, None, None]
        (claim,) = await store.claim(ALL, HOLDER)
        assert claim.submission.id == ids[2]
        (last,) = await accept(store, make(exclusive="chat", on_busy="replace"))
        assert await behind(store, last) == [ids[2]]
        assert (await store.get(ids[1])).replaced_by is None
