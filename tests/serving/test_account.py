"""Bytes that are made and not sent: never more than the account has; waiting tasks are served in order."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from trio_jobs.serving.account import Account


async def hold(account: Account, size: int, order: list[int], *, until: trio.Event) -> None:
    async with account.room(size):
        order.append(size)
        await until.wait()


async def test_who_finds_no_room_waits_in_order(autojump_clock: MockClock) -> None:
    """A small request does not overtake an earlier large one; both get room when there is enough."""
    account, order = Account(10), list[int]()
    first, others = trio.Event(), trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: hold(account, 6, order, until=first))
        await wait_all_tasks_blocked()
        nursery.start_soon(lambda: hold(account, 7, order, until=others))
        await wait_all_tasks_blocked()
        nursery.start_soon(lambda: hold(account, 1, order, until=others))
        await wait_all_tasks_blocked()
        assert (order, account.used) == ([6], 6)
        first.set()
        await wait_all_tasks_blocked()
        assert (order, account.used) == ([6, 7, 1], 8)
        others.set()
    assert account.used == 0


async def test_an_answer_that_is_smaller_makes_room(autojump_clock: MockClock) -> None:
    """Room that an answer does not need is given back at once, to the account around it too."""
    outer = Account(10)
    account, order, done = Account(10, outer), list[int](), trio.Event()
    async with trio.open_nursery() as nursery:
        async with account.room(8) as resize:
            nursery.start_soon(lambda: hold(account, 5, order, until=done))
            await wait_all_tasks_blocked()
            assert order == []
            resize(3)
            await wait_all_tasks_blocked()
            assert (order, account.used, outer.used) == ([5], 8, 8)
        assert (account.used, outer.used) == (5, 5)
        done.set()
    assert (account.used, outer.used) == (0, 0)


async def test_one_that_is_larger_than_all_waits_until_it_is_alone(autojump_clock: MockClock) -> None:
    """A request larger than the account gets room when no other has any."""
    account, order = Account(10), list[int]()
    small, large = trio.Event(), trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: hold(account, 1, order, until=small))
        await wait_all_tasks_blocked()
        nursery.start_soon(lambda: hold(account, 50, order, until=large))
        await wait_all_tasks_blocked()
        assert order == [1]
        small.set()
        await wait_all_tasks_blocked()
        assert order == [1, 50]
        large.set()


async def test_one_connection_does_not_take_the_room_of_another(autojump_clock: MockClock) -> None:
    """A task that waits in its own account holds no room of the server's, and delays no other."""
    server = Account(10)
    one, other = Account(6, server), Account(6, server)
    order, done = list[int](), trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: hold(one, 6, order, until=done))
        await wait_all_tasks_blocked()
        nursery.start_soon(lambda: hold(one, 5, order, until=done))
        await wait_all_tasks_blocked()
        nursery.start_soon(lambda: hold(other, 4, order, until=done))
        await wait_all_tasks_blocked()
        assert (order, server.used) == ([6, 4], 10)
        done.set()
    assert order == [6, 4, 5]


@pytest.mark.parametrize("within", [False, True])
async def test_who_leaves_while_waiting_leaves_nothing(autojump_clock: MockClock, *, within: bool) -> None:
    """A cancelled wait, for either account, holds nothing, and the tasks behind it go on."""
    server = Account(10)
    account, order, done = Account(5 if not within else 100, server), list[int](), trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: hold(account, 5, order, until=done))
        await wait_all_tasks_blocked()
        with trio.move_on_after(1) as left:
            await hold(account, 6, order, until=done)
        assert left.cancelled_caught
        assert (account.used, server.used) == (5, 5)
        done.set()
    assert (account.used, server.used) == (0, 0)
    async with account.room(6):
        assert server.used == 6
