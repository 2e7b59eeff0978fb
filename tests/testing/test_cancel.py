"""Cancelling a handler at each of its checkpoints."""

from __future__ import annotations

import contextlib

import pytest
import trio

from trio_jobs import JobContext, State
from trio_jobs.testing import Life, cancel_at_every_checkpoint

held: set[str] = set()


@pytest.fixture(autouse=True)
def _nothing_held() -> None:
    held.clear()


def nothing_is_held(life: Life) -> None:
    assert not held, f"{held} held"


async def child(job: JobContext[str], number: int) -> None:
    held.add(f"child {number}")
    try:
        await trio.sleep(1)
    finally:
        held.discard(f"child {number}")


async def good(job: JobContext[int], steps: int) -> str:
    held.add("it")
    try:
        for number in range(steps):
            await job.send(number)
            await trio.sleep(1)
        await (await job.spawn(child, 1)).wait()
        job.nursery.start_soon(trio.sleep, 5)
        return "done"
    finally:
        held.discard("it")


def test_a_good_handler_passes_everywhere() -> None:
    """A handler that cleans up passes at each checkpoint, and there are more of them in a longer one."""
    lives: list[Life] = []
    count = cancel_at_every_checkpoint(good, 3, check=lives.append)
    assert len(lives) == count > 10
    assert {life.job.state for life in lives} <= {State.CANCELLED, State.COMPLETED}
    sent = [len(life.tokens) for life in lives]
    assert sent == sorted(sent)
    assert {*sent} == {0, 1, 2, 3}
    assert count == cancel_at_every_checkpoint(good, 3)
    assert count < cancel_at_every_checkpoint(good, 6)


async def leaks(job: JobContext[str], place: str) -> None:
    held.add("it")
    if place == "early":
        await trio.sleep(1)
    try:
        await trio.sleep(1)
    finally:
        if place == "late":
            await trio.sleep(1)
        held.discard("it")


@pytest.mark.parametrize(("place", "at"), [("early", 0), ("late", 0)])
def test_a_leak_is_found_where_it_is(place: str, at: int) -> None:
    """A cancellation without a cleanup is found, with the checkpoint, the line and the log."""
    with pytest.raises(AssertionError) as found:
        cancel_at_every_checkpoint(leaks, place, check=nothing_is_held)
    text = str(found.value)
    assert text.startswith(f"cancelled at checkpoint {at}: {{'it'}} held")
    assert "test_cancel.py:" in text
    assert "in leaks" in text
    assert "cancelled" in text


async def hidden(job: JobContext[str]) -> None:
    for _ in range(7):
        await trio.sleep(1)
    held.add("it")
    await trio.sleep(1)
    held.discard("it")


def test_one_checkpoint_of_many() -> None:
    """A leak at one checkpoint of many is found at that one, with its line."""
    with pytest.raises(AssertionError, match="cancelled at checkpoint 8") as found:
        cancel_at_every_checkpoint(hidden, check=nothing_is_held)
    line = hidden.__code__.co_firstlineno + 4
    assert f"test_cancel.py:{line} in hidden" in str(found.value)


async def swallows(job: JobContext[str]) -> None:
    while True:
        try:
            await trio.sleep(1)
        except trio.Cancelled:
            held.add("cancelled")


async def swallows_slowly(job: JobContext[str]) -> None:
    while True:
        with trio.CancelScope(shield=True):
            await trio.sleep(1)


async def raises(job: JobContext[str]) -> None:
    try:
        await trio.sleep(1)
    finally:
        raise ValueError("in the cleanup")


@pytest.mark.parametrize(
    ("handler", "message"),
    [
        (swallows, "does not stop when it is cancelled"),
        (swallows_slowly, "does not stop when it is cancelled"),
        (raises, "ValueError: in the cleanup"),
    ],
)
def test_what_a_cancelled_handler_may_not_do(handler: object, message: str) -> None:
    """A cancelled handler that goes on, or raises its own error, is found without a check."""
    with pytest.raises(AssertionError, match=message):
        cancel_at_every_checkpoint(handler)  # type: ignore[arg-type]  # all of them are handlers


async def goes_on(job: JobContext[int]) -> str:
    for number in range(4):
        try:
            await job.send(number)
            await trio.sleep(1)
        except trio.Cancelled:
            held.add("cancelled")
    return "done"


async def is_quiet(job: JobContext[str]) -> str:
    with contextlib.suppress(BaseException):
        await trio.sleep(1)
    return "done"


async def _swallows_once() -> None:
    with contextlib.suppress(trio.Cancelled):
        await trio.sleep(1)


async def has_a_quiet_task(job: JobContext[str]) -> str:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_swallows_once)
        nursery.start_soon(trio.lowlevel.checkpoint)
    return "done"


async def leaves_a_quiet_task(job: JobContext[str]) -> str:
    job.nursery.start_soon(_swallows_once)
    return "done"


async def _has_a_quiet_child(job: JobContext[str]) -> None:
    await job.spawn(is_quiet)


@pytest.mark.parametrize(
    "handler", [goes_on, is_quiet, has_a_quiet_task, leaves_a_quiet_task, _has_a_quiet_child]
)
def test_a_handler_that_swallows_its_cancellation(handler: object) -> None:
    """A job that completes after `Cancelled` was raised, in any of its tasks, is found without a check."""
    with pytest.raises(AssertionError, match=r"(?s)completed although it was cancelled.*the handler was at"):
        cancel_at_every_checkpoint(handler)  # type: ignore[arg-type]  # all of them are handlers


async def race(job: JobContext[str]) -> str:
    """Take the first of two, and do the rest under a shield, without swallowing Cancelled."""

    async def run(seconds: float) -> None:
        await trio.sleep(seconds)
        nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, 1)
        nursery.start_soon(run, 1)
    with trio.move_on_after(1):
        await trio.sleep(2)
    with trio.move_on_after(1, shield=True):
        await trio.sleep(2)
    return "done"


def test_scopes_of_ones_own_swallow_nothing() -> None:
    """Scopes that a handler itself cancels or shields may end at any time, and the job may complete."""
    lives: list[Life] = []
    assert cancel_at_every_checkpoint(race, check=lives.append) > 5
    assert {life.job.state for life in lives} == {State.CANCELLED, State.COMPLETED}


async def for_ever(job: JobContext[int]) -> None:
    while True:
        await trio.sleep(1)


def test_a_handler_without_an_end() -> None:
    """An endless handler is cancelled at as many of its first checkpoints as are asked for."""
    assert cancel_at_every_checkpoint(for_ever, most=20) == 20
