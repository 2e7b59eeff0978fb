"""Signals: nobody waits for what has rung since he looked, and nothing is kept for who has left."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest
import trio
import trio.testing

from trio_jobs import Job
from trio_jobs.stores.sqlite.signals import Alarm, Signal, Signals


async def test_a_signal_counts() -> None:
    """Who looked before it rang does not wait, and who looked after that waits for the next time."""
    signal = Signal()
    seen = signal.count
    signal.ring()
    await signal.wait_past(seen)
    woken: list[int] = []

    async def wait(seen: int) -> None:
        await signal.wait_past(seen)
        woken.append(seen)

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(wait, signal.count)
        await trio.testing.wait_all_tasks_blocked()
        assert woken == []
        signal.ring()
    assert woken == [1, 1, 1]


@pytest.mark.parametrize(("moment", "rings"), [(4.9, 1), (5.0, 0), (6.0, 0)])
def test_an_alarm_rings_for_what_is_earlier(moment: float, rings: int) -> None:
    """Than the moment that is waited for; without one named it always rings."""
    alarm = Alarm()
    alarm.moment = 5.0
    alarm.ring(moment)
    assert alarm.count == rings
    alarm.ring()
    assert alarm.count == rings + 1


async def test_only_who_waits_for_a_job_is_woken() -> None:
    """Its log and its end wake those who wait for these, of this job."""
    signals = Signals()
    with signals.events_of("a") as log, signals.events_of("b") as other, signals.end_of("a") as end:
        signals.grown(["a", "unknown"])
        assert (log.count, other.count, end.count) == (1, 0, 0)
        signals.ended(["a", "unknown"])
        assert (log.count, other.count, end.count) == (1, 0, 1)


async def test_all_can_be_woken() -> None:
    """`ring_all` wakes whoever waits for anything."""
    signals = Signals()
    with signals.events_of("a") as log, signals.end_of("b") as end:
        signals.ring_all()
        everything = (log, end, signals.work, signals.alarm, signals.requests)
        assert [signal.count for signal in everything] == [1] * 5


async def test_watchers_share_and_leave() -> None:
    """Those of one job have one signal, which goes with the last of them, also when that one fails."""
    signals = Signals()
    with pytest.raises(KeyError):
        with signals.events_of("a") as first:
            with signals.events_of("a") as second:
                assert first is second
            assert list(signals._logs) == ["a"]
            signals.grown(["a"])
            assert first.count == 1
            raise KeyError
    assert signals._logs == {}
    with signals.events_of("a") as third:
        assert third is not first


def test_nobody_is_told_who_has_left() -> None:
    """What became of a job that nobody waits for any more is kept for nobody."""
    signals = Signals()
    with signals.end_of("a"):
        there = signals.awaited("a")
    assert there
    signals.tell(cast("Job", SimpleNamespace(id="a")))
    with signals.end_of("a") as end:
        assert end.job is None
