"""`job.submit`: a handler submits jobs of its own, for as long as its attempt has the job."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from tests._running.test_unanswered import LosesAnswer
from trio_jobs import (
    JobContext,
    JobHandle,
    LeaseLost,
    Limit,
    QueueFull,
    Retry,
    State,
    UnknownHandler,
    handler,
    open_registry,
)

ADDRESSES = pytest.mark.parametrize("address", ["memory://", "sqlite:///{}/jobs.db"])


async def mail(job: JobContext[Any], to: str) -> str:
    await trio.sleep(1)
    return f"mail to {to}"


@ADDRESSES
async def test_a_job_of_its_own(address: str, tmp_path: Path) -> None:
    """It is no child: it has a slot, options and a retry of its own, and outlives the attempt; its owner is
    that of the job."""

    async def order(job: JobContext[Any]) -> str:
        handle = await job.submit(mail, "ann", tags={"a": "b"}, delay=0.01, retry=Retry(attempts=3))
        return handle.id

    async with open_registry(address.format(tmp_path), handlers=[order, mail]) as jobs:
        ordered = await jobs.submit(order, owner="me")
        handle: JobHandle[Any, str] = await jobs.get(await ordered.result())
        assert (await handle.snapshot()).state is not State.COMPLETED
        assert await handle.result() == "mail to ann"
        job = await handle.snapshot()
    assert (job.parent, job.owner, job.tags, job.retry.attempts) == (None, "me", {"a": "b"}, 3)


async def test_it_is_not_undone_by_a_retry(autojump_clock: MockClock) -> None:
    """The next attempt submits anew, or gets the same job by its key."""

    async def fail_once(job: JobContext[Any], key: str | None) -> list[str]:
        ids = [*(job.saved or []), (await job.submit(mail, "ann", key=key)).id]
        await job.save(ids)
        if job.attempt == 1:
            raise OSError("once more")
        return ids

    async with open_registry(handlers=[fail_once, mail]) as jobs:
        retry = Retry(attempts=2)
        first, second = await (await jobs.submit(fail_once, None, retry=retry)).result()
        assert first != second
        first, second = await (await jobs.submit(fail_once, "k", retry=retry)).result()
        assert first == second
        assert await jobs.count(handler="mail") == 3


@ADDRESSES
async def test_only_while_its_attempt_runs(address: str, tmp_path: Path) -> None:
    """With the context of an attempt nothing is submitted once that is over, also while the next one runs."""
    contexts: list[JobContext[Any]] = []

    async def twice(job: JobContext[Any]) -> None:
        contexts.append(job)
        if job.attempt == 1:
            raise OSError("once more")
        with pytest.raises(LeaseLost):
            await contexts[0].submit(mail, "ann")

    retry = Retry(attempts=2, initial=0.0)
    async with open_registry(address.format(tmp_path), handlers=[twice, mail]) as jobs:
        await (await jobs.submit(twice, retry=retry)).result()
        for context in contexts:
            with pytest.raises(LeaseLost):
                await context.submit(mail, "ann")
        assert await jobs.count(handler="mail") == 0


async def test_an_answer_that_is_lost(autojump_clock: MockClock) -> None:
    """A handler is not told that the store was unavailable: it is asked again, and there is one job."""
    store = LosesAnswer("submit")
    store.lost.set()

    async def order(job: JobContext[Any]) -> str:
        store.lost = trio.Event()
        return (await job.submit(mail, "ann")).id

    async with open_registry(store, handlers=[order, mail]) as jobs:
        handle = await jobs.get(await (await jobs.submit(order)).result())
        assert await handle.result() == "mail to ann"
        assert await jobs.count(handler="mail") == 1


async def test_what_is_refused(tmp_path: Path) -> None:
    """It is refused what `JobRegistry.submit` is, and an owner; a child job may submit as well."""

    @handler(limits=[Limit(at_once=1, waiting=1)])
    async def limited(job: JobContext[Any]) -> None:
        await trio.sleep_forever()

    async def child(job: JobContext[Any]) -> None:
        await job.submit(limited)
        await job.submit(limited)
        with pytest.raises(QueueFull):
            await job.submit(limited)

    async def parent(job: JobContext[Any]) -> None:
        with pytest.raises(TypeError, match="leave out owner"):
            await job.submit(mail, "ann", owner="me")
        with pytest.raises(TypeError, match="1 arguments"):
            await job.submit(mail)  # type: ignore[arg-type, call-arg]
        await job.spawn(child)

    async def unknown(job: JobContext[Any]) -> None:
        with pytest.raises(UnknownHandler):
            await job.submit(mail, "ann")

    async with open_registry() as jobs:
        handle = await jobs.submit(parent)
        await handle.result()
    async with open_registry(f"sqlite:///{tmp_path}/jobs.db", handlers=[unknown]) as jobs:
        await (await jobs.submit(unknown)).result()
