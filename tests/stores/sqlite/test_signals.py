"""Signals: a signal after a read ends the wait, and nothing is kept for tasks that have left."""

from __future__ import annotations

from typing import Any, Final

import pytest
import trio
import trio.testing

from trio_jobs.stores.signals import Alarm, Signal, Signals
from trio_jobs.stores.sqlite.group import UNLIMITED, Transaction
from trio_jobs.stores.sqlite.signals import FileSignals

ROW: Final = ("a",)


def transaction(**news: Any) -> Transaction:
    return Transaction(None, 0.0, UNLIMITED, **news)


async def test_a_signal_counts() -> None:
    """A task that read before the signal does not wait, and one that read after it waits for the next."""
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
    """An alarm rings for a moment earlier than the awaited one; without one it always rings."""
    alarm = Alarm()
    alarm.moment = 5.0
    alarm.ring(moment)
    assert alarm.count == rings
    alarm.ring()
    assert alarm.count == rings + 1


async def test_only_who_waits_for_a_job_is_woken() -> None:
    """A job's log and its end wake only the tasks that wait for them."""
    signals = Signals()
    with signals.events_of("a") as log, signals.events_of("b") as other, signals.end_of("a") as end:
        signals.on_changes(transaction(grown=["a", "unknown"]))
        assert (log.count, other.count, end.count) == (1, 0, 0)
        signals.on_changes(transaction(ended={"a": ROW, "unknown": ROW}))
        assert (log.count, other.count, end.count) == (1, 0, 1)


async def test_all_can_be_woken() -> None:
    """`ring_all` wakes all waiting tasks."""
    signals = Signals()
    with signals.events_of("a") as log, signals.end_of("b") as end:
        signals.ring_all()
        everything = (log, end, signals.work, signals.alarm, signals.requests)
        assert [signal.count for signal in everything] == [1] * 5


async def test_watchers_share_and_leave() -> None:
    """Watchers of one job share a signal, which is dropped with the last of them, also if that one fails."""
    signals = Signals()
    logs = signals._logs
    with pytest.raises(KeyError):
        with signals.events_of("a") as first:
            with signals.events_of("a") as second:
                assert first is second
            assert list(logs) == ["a"]
            signals.on_changes(transaction(grown=["a"]))
            assert first.count == 1
            raise KeyError
    assert logs == {}
    with signals.events_of("a") as third:
        assert third is not first


def test_nobody_is_told_who_has_left() -> None:
    """The end of a job without waiting tasks is not kept."""
    signals = Signals()
    with signals.end_of("a") as first:
        pass
    signals.on_changes(transaction(ended={"a": ROW}))
    with signals.end_of("a") as second:
        assert (first.row, second.row) == (None, None)


def test_a_transaction_is_heard_once() -> None:
    """Each call of a transaction announces it, and each task wakes once."""
    signals = FileSignals()
    tx = transaction(grown=["a"])
    with signals.events_of("a") as log:
        for _ in range(3):
            signals.on_transaction(tx)
        assert log.count == 1


def test_what_is_open() -> None:
    """A job is open from its start here to its end; a write of others may be the end of any."""
    signals = Signals()
    signals.on_changes(transaction(started=["a", "b", "c"]))
    signals.on_changes(transaction(started=["d"], ended={"a": ROW, "d": None}))
    assert signals.open == {"b", "c"}
    with signals.end_of("b") as end:
        signals.on_changes(transaction(ended={"b": ROW}))
        assert end.row is ROW
        signals.ring_all()
        assert end.row is None
    assert signals.open == set()
