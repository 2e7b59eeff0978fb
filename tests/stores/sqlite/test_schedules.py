"""Schedules in a file: what is kept of them, beside what every store is checked for."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from trio_jobs import (
    Debounce,
    InvalidPayload,
    JobContext,
    Priority,
    Retry,
    Schedule,
    Timeouts,
    UnknownHandler,
    handler,
    open_registry,
)
from trio_jobs.stores.schedules import ScheduleRow
from trio_jobs.stores.sqlite import SqliteStore, open_sqlite
from trio_jobs.testing import open_sqlite_in_lockstep

from .parts import writer_of

began: list[tuple[float, str]] = []


@handler(name="report", retry=Retry(attempts=5))
async def report(job: JobContext[Any], kind: str) -> None:
    """Note when it began."""
    began.append((round(trio.current_time(), 1), kind))


@handler(name="other")
async def other(job: JobContext[Any]) -> None:
    """Stand in for another handler."""


opened = partial(open_sqlite, handlers=[report, other], poll=math.inf)


async def rows(store: SqliteStore) -> list[ScheduleRow]:
    """Return the rows."""
    return [*(await store.schedules()).rows]


async def test_a_schedule_comes_back_as_it_was(tmp_path: Path) -> None:
    """Rule, arguments and all options of a schedule are the same when the file is opened again."""
    options = {
        "priority": Priority.LOW,
        "owner": "me",
        "tags": {"a": "b"},
        "metadata": {"deep": [1, {"x": None}]},
        "timeouts": Timeouts(run=5, idle=2),
        "when_unread": "cancel",
        "linger": 3.0,
    }
    cron = Schedule(
        report, ("daily",), name="a", cron="0 7 * * 1-5", timezone="Europe/Berlin", missed="latest", late=7,
        jitter=3, options=options,
    )  # fmt: skip
    async with opened(tmp_path / "jobs.db") as store:
        tidy = {"exclusive": "x", "on_busy": Debounce(1, 2)}
        await store.declare([cron, Schedule(other, every=5.5, options=tidy)])
        before = await rows(store)
    async with opened(tmp_path / "jobs.db") as store:
        first, second = await rows(store)
        assert [first, second] == before
        made = first.schedule
        assert (made.handler, made.args, made.cron, made.timezone) == (report, ("daily",), *cron_of(cron))
        assert (made.name, made.every, made.missed, made.late, made.jitter) == ("a", None, "latest", 7, 3)
        assert {name: made.options[name] for name in options} == options
        assert made.options["retry"].attempts == 5
        assert (second.schedule.name, second.schedule.every) == ("other", 5.5)
        assert second.schedule.options["on_busy"] == Debounce(1, 2)
        await store.declare([cron])
        assert (await rows(store))[0] == first


def cron_of(schedule: Schedule) -> tuple[str | None, str | None]:
    """Return a rule and its time zone."""
    return schedule.cron, schedule.timezone


async def test_what_a_file_cannot_keep_is_refused(tmp_path: Path) -> None:
    """A handler that the file does not know, and arguments that do not fit it, are refused when declared."""

    async def stranger(job: JobContext[Any]) -> None: ...

    address = f"sqlite:///{tmp_path / 'jobs.db'}"
    for wrong, error in (
        (Schedule(stranger, every=5), UnknownHandler),
        (Schedule(report, (5,), every=5), InvalidPayload),
    ):
        with pytest.raises(error):
            async with open_registry(
                address, handlers=[report], schedules=[Schedule(report, ("a",), every=5, name="b"), wrong]
            ):
                pass
    async with open_registry(address, handlers=[report]) as jobs:
        assert await jobs.schedules.find() == []


async def test_who_does_not_know_the_handler_sees_the_schedule(tmp_path: Path) -> None:
    """A registry without the handler lists a schedule and pauses it, and cannot trigger it."""
    async with opened(tmp_path / "jobs.db") as store:
        await store.declare([Schedule(report, ("a",), every=5)])
    async with open_registry(f"sqlite:///{tmp_path / 'jobs.db'}", handlers=[other]) as jobs:
        (status,) = await jobs.schedules.find()
        assert (status.name, status.handler, status.declared) == ("report", "report", True)
        await jobs.schedules.pause("report")
        with pytest.raises(UnknownHandler, match="'report'"):
            await jobs.schedules.trigger("report")


@pytest.mark.parametrize("text", ["{", "[]", '{"name": "report"}', "x", '{"handler": 5}'])
async def test_what_cannot_be_read_is_left_out(
    tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A schedule whose text is damaged is left out, with a warning, and the others stay."""
    async with opened(tmp_path / "jobs.db") as store:
        await store.declare([Schedule(report, ("a",), every=5), Schedule(other, every=5)])
        sql = "UPDATE trio_jobs_schedule SET text = ? WHERE name = 'report'"
        await writer_of(store).call(lambda tx: tx.db.execute(sql, (text,)))
        assert [row.schedule.name for row in await rows(store)] == ["other"]
        assert "a stored schedule cannot be read" in caplog.text


async def test_two_registries_on_a_file_fire_each_tick_once(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    """Of two registries on one file one fires each tick, and either runs the job."""
    began.clear()

    @asynccontextmanager
    async def registry() -> AsyncIterator[None]:
        lockstep = open_sqlite_in_lockstep(tmp_path / "jobs.db", handlers=[report])
        async with lockstep as store:
            schedule = Schedule(report, ("a",), every=10)
            async with open_registry(store, handlers=[report], schedules=[schedule]):
                yield

    async with registry(), registry():
        await trio.sleep(55)
    assert [kind for _, kind in began] == ["a"] * 5
    assert all(0 <= when - 10 * tick < 1 for tick, (when, _) in enumerate(began, 1)), began
