"""The bell: all waiting tasks wake in order, and a ring that is refused leaves them waiting."""

from __future__ import annotations

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from trio_jobs._common.bell import Bell


async def test_a_ring_in_a_thread_loses_nobody() -> None:
    """Outside a Trio thread `ring` raises, and the waiting tasks still wake at the next ring."""
    bell, woken = Bell(), list[int]()

    async def wait(number: int) -> None:
        await bell.wait()
        woken.append(number)

    async with trio.open_nursery() as nursery:
        for number in range(3):
            nursery.start_soon(wait, number)
        nursery.start_soon(bell.wait, name="cancelled")
        await wait_all_tasks_blocked()
        with pytest.raises(RuntimeError):
            await trio.to_thread.run_sync(bell.ring)
        await wait_all_tasks_blocked()
        assert woken == []
        with trio.fail_after(5):
            bell.ring()
            await wait_all_tasks_blocked()
        assert sorted(woken) == [0, 1, 2]


async def test_who_gives_up_waits_no_more() -> None:
    """A wait that is cancelled leaves nothing behind, also after a ring that was refused."""
    bell = Bell()
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bell.wait)
            await wait_all_tasks_blocked()
            with pytest.raises(RuntimeError):
                await trio.to_thread.run_sync(bell.ring)
            scope.cancel()
    assert scope.cancelled_caught
    bell.ring()
