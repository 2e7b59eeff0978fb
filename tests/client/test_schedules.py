"""The schedules and limits of a server are used as those of the process are."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import attrs
import pytest

from tests.client.site import count, site
from trio_jobs import (
    Debounce,
    InvalidPayload,
    JobContext,
    Limit,
    Retry,
    Schedule,
    ScheduleDeclared,
    UnknownHandler,
    UnknownSchedule,
    handler,
)
from trio_jobs.client import connect

NOW = datetime.now(UTC)
KEPT = ("args", "kwargs", "tags", "priority", "owner", "timeouts", "exclusive", "retry", "key")


@handler
async def nobody(job: JobContext[Any]) -> None:
    """Run nowhere."""


async def test_schedules() -> None:
    """Schedules of the server are found, paused, resumed and triggered, as those of the process are."""
    async with site() as (jobs, url), connect(url) as remote:
        await jobs.schedules.add(Schedule(count, (2,), every=1000, name="often"))
        assert await remote.schedules.find() == await jobs.schedules.find()
        await remote.schedules.pause("often")
        assert (await jobs.schedules.find())[0].paused
        await remote.schedules.resume("often")
        assert not (await jobs.schedules.find())[0].paused
        assert await (await remote.schedules.trigger("often")).result() == 2
        for call in (
            remote.schedules.pause,
            remote.schedules.resume,
            remote.schedules.trigger,
            remote.schedules.remove,
        ):
            with pytest.raises(UnknownSchedule, match="no schedule has the name 'nope'"):
                await call("nope")
        await remote.schedules.remove("often")
        assert await jobs.schedules.find() == []


@pytest.mark.parametrize(
    "given",
    [
        {"every": 1000, "name": "a name", "missed": "latest", "late": 7, "jitter": 3},
        {"cron": "0 7 * * 1-5", "timezone": "Europe/Berlin"},
        {"every": 9, "options": {"tags": {"a": "b"}, "priority": "low", "owner": "me", "timeout": 5}},
        {"every": 9, "options": {"exclusive": "x", "on_busy": Debounce(1, 2), "retry": Retry(attempts=3)}},
        {"every": 9, "args": (), "kwargs": {"n": 2}},
    ],
)
async def test_a_schedule_is_added_as_it_is(given: dict[str, Any]) -> None:
    """What a client adds is what the process would add, with a name, a rule and options of all kinds."""
    async with site() as (jobs, url), connect(url) as remote:
        new = Schedule(count, **{"args": (2,), **given})
        found, submitted = list[Any](), list[Any]()
        for schedules in (jobs.schedules, remote.schedules):
            await schedules.add(new)
            found += [attrs.evolve(one, last_tick=NOW, next_tick=None) for one in await jobs.schedules.find()]
            job = await (await jobs.schedules.trigger(new.name)).wait()
            submitted.append(
                [
                    getattr(job, name)
                    for name in (
                        "args",
                        "kwargs",
                        "tags",
                        "priority",
                        "owner",
                        "timeouts",
                        "exclusive",
                        "retry",
                        "key",
                    )
                ]
            )
            await jobs.schedules.remove(new.name)
        assert found[0] == found[1]
        assert submitted[0] == submitted[1]


async def test_what_is_no_schedule_is_refused() -> None:
    """A schedule that a program declares, of a handler that the server has not, or that is none."""
    async with site(registry={"schedules": [Schedule(count, (1,), every=9, name="mine")]}) as (_, url):
        async with connect(url) as remote:
            with pytest.raises(ScheduleDeclared) as declared:
                await remote.schedules.add(Schedule(count, (2,), every=9, name="mine"))
            assert declared.value.name == "mine"
            with pytest.raises(ScheduleDeclared):
                await remote.schedules.remove("mine")
            with pytest.raises(UnknownHandler, match="nobody"):
                await remote.schedules.add(Schedule(nobody, every=9))
            with pytest.raises(TypeError, match="add takes a Schedule record; got 'mine'"):
                await remote.schedules.add("mine")  # type: ignore[arg-type]
            (one,) = await remote.schedules.find()
            assert (one.name, one.added) == ("mine", False)


async def test_limits() -> None:
    """Limits of the server are found, pinned and unpinned, as those of the process are."""
    async with site() as (jobs, url), connect(url) as remote:
        limit = Limit(at_once=3, per_second=0.5, burst=2, waiting=9)
        await remote.limits.set("gpu", limit)
        (one,) = await remote.limits.find()
        assert (one.name, one.limit, one.pinned) == ("gpu", limit, True)
        assert await jobs.limits.find() == [one]
        with pytest.raises(InvalidPayload, match="the limit 'gpu' is not keyed"):
            await remote.limits.set("gpu", Limit(at_once=3, keyed=True))
        await remote.limits.unset("gpu")
        assert not any(one.pinned for one in await jobs.limits.find())
        with pytest.raises(InvalidPayload, match="no limit is pinned whose name is 'gpu'"):
            await remote.limits.unset("gpu")
        with pytest.raises(TypeError, match="set takes a Limit record; got 3"):
            await remote.limits.set("gpu", 3)  # type: ignore[arg-type]
