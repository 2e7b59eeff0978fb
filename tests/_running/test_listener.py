"""One task hears for all attempts of a worker whether inputs came."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from trio_jobs import JobContext
from trio_jobs._running import inbox, listener
from trio_jobs.stores.contract import Claimant
from trio_jobs.stores.memory import MemoryStore
from trio_jobs.stores.submission import submission


async def chat(job: JobContext[Any]) -> None:
    """Stand in for a handler."""


async def test_an_older_attempt_takes_no_newer_one_with_it(autojump_clock: MockClock) -> None:
    """When a task of an attempt that is over stops waiting, the next attempt still hears."""
    store, got = MemoryStore(), list[Any]()
    ear = listener.Listener(store)
    (job_id,), (claim,) = await store.submit([submission(chat, (), {})], 1, Claimant("w"))
    older, newer = (inbox.StoreInbox(claim, store, ear) for _ in range(2))

    async def receive() -> None:
        got.append(await newer.receive())

    with trio.move_on_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ear.run)
            with ExitStack() as leaving:
                leaving.enter_context(ear.hearing(older))
                nursery.start_soon(receive)
                await wait_all_tasks_blocked()
            await store.send(job_id, "a", ["heard"])
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
    assert got == ["heard"]
