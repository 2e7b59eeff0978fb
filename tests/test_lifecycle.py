"""Whole lives of jobs: random programs of submits, cancels, readers and time, judged by an independent model.

The model is `trio_jobs.testing.fold`. Each example is one Trio run in virtual time, under a drawn schedule.
"""

from __future__ import annotations

import random
from contextlib import suppress
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.inside import seed_scheduler
from trio_jobs import Event, Job, JobHandle, JobRegistry, open_registry
from trio_jobs.testing import _drawn_lives, _scripted
from trio_jobs.testing.fold import OVER, check_agrees

LIFE = st.tuples(_drawn_lives.LISTS, st.sampled_from(_scripted.ENDS), _drawn_lives.OPTIONS)
COMMANDS = st.one_of(
    st.tuples(st.just("submit"), LIFE),
    st.tuples(st.just("submit"), LIFE),
    st.tuples(st.just("cancel"), st.tuples(st.integers(0, 9), st.sampled_from([0.0, 1.0]))),
    st.tuples(st.just("advance"), st.sampled_from([0.0, 0.4, 1.0, 5.0])),
    st.tuples(st.just("read"), st.tuples(st.integers(0, 9), st.integers(0, 6), st.booleans())),
    st.tuples(st.just("pause"), st.booleans()),
)


async def read(handle: JobHandle[Any, Any], cut: int, patient: bool, into: list[Event]) -> None:
    """Follow a job to its end, leaving and resuming every `cut` events, and slowly if patient."""
    cursor = 0
    with suppress(trio.ClosedResourceError):  # the registry was left before this reader resumed
        await _follow(handle, cursor, cut, patient, into)


async def _follow(
    handle: JobHandle[Any, Any], cursor: int, cut: int, patient: bool, into: list[Event]
) -> None:
    while True:
        async with handle.events(cursor, policy="block" if patient else "gap") as events:
            async for event in events:
                into.append(event)
                cursor = event.seq
                if patient:
                    await trio.sleep(0.1)
                if cut and event.seq % cut == 0:
                    break
            else:
                return


async def play(program: list[tuple[str, Any]], on_exit: Any) -> None:
    handles: list[JobHandle[Any, Any]] = []
    logs: dict[str, list[Event]] = {}
    readings: list[tuple[JobHandle[Any, Any], list[Event]]] = []
    ends: dict[str, Job] = {}

    async def watch(handle: JobHandle[Any, Any]) -> None:
        nursery.start_soon(read, handle, 0, False, logs.setdefault(handle.id, []))
        ends[handle.id] = await handle.wait()

    async with (
        trio.open_nursery() as nursery,
        open_registry(capacity=2, window=4, on_exit=on_exit) as jobs,
    ):
        for command, argument in program:
            await act(jobs, command, argument, handles, readings, nursery, watch)
            await wait_all_tasks_blocked()
            for handle in handles:
                check_agrees(await handle.snapshot(), logs[handle.id])
            assert (await jobs.statistics()).running <= 2
        jobs.resume()
        if on_exit == "drain":  # a paused job goes on only while it is read
            for handle in handles:
                nursery.start_soon(read, handle, 0, False, [])
    for handle in handles:
        check_agrees(ends[handle.id], logs[handle.id])
        assert ends[handle.id].state in OVER
    for handle, seen in readings:
        assert seen == logs[handle.id][: len(seen)], "two readers saw different events"


async def act(
    jobs: JobRegistry,
    command: str,
    argument: Any,
    handles: list[JobHandle[Any, Any]],
    readings: list[tuple[JobHandle[Any, Any], list[Event]]],
    nursery: trio.Nursery,
    watch: Any,
) -> None:
    if command == "submit":
        steps, end, options = argument
        handles.append(await jobs.submit(_scripted.scripted, steps, end, **options))
        nursery.start_soon(watch, handles[-1])
    elif command == "cancel" and handles:
        which, grace = argument
        await handles[which % len(handles)].request_cancel("as told", grace=grace)
    elif command == "advance":
        await trio.sleep(argument)
    elif command == "read" and handles:
        which, cut, patient = argument
        seen: list[Event] = []
        readings.append((handles[which % len(handles)], seen))
        nursery.start_soon(read, readings[-1][0], cut, patient, seen)
    elif command == "pause":
        (jobs.pause if argument else jobs.resume)()


@pytest.mark.parametrize("on_exit", ["stop", "drain"])
@settings(deadline=None)
@given(program=st.lists(COMMANDS, max_size=12), schedule=st.integers(0, 2**32))
def test_every_life_is_legal(on_exit: str, program: list[tuple[str, Any]], schedule: int) -> None:
    """Whatever happens to jobs, each log is dense, legal and ends once; each snapshot is the fold of its log,
    every reader sees the same events, and leaving the registry ends everything."""
    random.seed(schedule)
    seed_scheduler(schedule)
    trio.run(play, program, on_exit, clock=MockClock(autojump_threshold=0))
