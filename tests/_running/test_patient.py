"""Handlers outlive a store that is unavailable: whatever they ask of another job waits for the answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest
import trio
from trio.testing import MockClock

from trio_jobs import JobContext, JobHandle, StoreUnavailable, handler, open_registry
from trio_jobs.stores.memory import MemoryStore
from trio_jobs.testing import Connection

T = TypeVar("T")


class Unsteady(Connection):
    """A store that refuses each verb of a handle once, and then loses an answer to it, each time anew."""

    def __init__(self) -> None:
        super().__init__(MemoryStore())
        self.verbs: set[str] = set()
        self._calls: dict[str, int] = {}

    async def call(self, name: str, verb: Callable[[], Awaitable[T]]) -> T:
        return await self._falter(name, super().call, verb)

    async def wait(self, name: str, verb: Callable[[], Awaitable[T]]) -> T:
        return await self._falter(name, super().wait, verb)

    async def _falter(self, name: str, carry: Any, verb: Callable[[], Awaitable[T]]) -> T:
        if name not in self.verbs:
            return await carry(name, verb)  # type: ignore[no-any-return]
        turn = self._calls[name] = self._calls.get(name, -1) + 1
        if turn % 3 == 0:
            raise StoreUnavailable("it is away")
        answer: T = await carry(name, verb)
        if turn % 3 == 1:
            raise StoreUnavailable("the answer is lost")
        return answer


@handler(inputs=str)
async def echo(job: JobContext[str]) -> list[str]:
    """Say that it is ready, and stream what it receives to its end."""
    await job.ready()
    heard: list[str] = []
    try:
        while True:
            heard.append(await job.receive())
            await job.send(heard[-1])
    except trio.EndOfChannel:
        return heard


async def converse(child: JobHandle[str, list[str]]) -> dict[str, Any]:
    """Use all that a handle has on a job that echoes."""
    said: dict[str, Any] = {}
    await child.wait_ready()
    await child.send("one")
    await child.send_many(["two", "three"])
    await child.end_inputs()
    async with child.stream() as stream:
        said["streamed"] = [value async for value in stream]
    said["result"] = await child.result()
    said["ends"] = (await child.wait()).state, (await child.snapshot()).state
    said["history"] = [event.kind.value for event in await child.history()]
    async with child.stream(after=(await child.snapshot()).last_seq) as stream:
        said["rest"] = [value async for value in stream]
    async with child.events() as events:
        said["inputs"] = [event.data async for event in events if event.kind.value == "input"]
    said["cancels"] = await child.request_cancel(), (await child.cancel()).outcome
    return said


VERBS = {
    *("get", "ended", "history", "read", "follow", "request_cancel", "send", "end_inputs"),
    *("spawn", "submit", "submission"),
}


async def spawns(job: JobContext[Any]) -> dict[str, Any]:
    return await converse(await job.spawn(echo))


async def submits(job: JobContext[Any]) -> dict[str, Any]:
    first = await job.submit(echo, delay=1.0)  # else a lost answer leads to a second attempt, as it should
    said = await converse(first)
    again = await first.resubmit()
    await again.end_inputs()
    return said | {"again": await again.result()}


@pytest.mark.parametrize("ask", [spawns, submits])
async def test_a_handler_outlives_each_failure(ask: Any, autojump_clock: MockClock) -> None:
    """All that a handler asks of a job that it started is answered as if the store had not failed, and
    nothing happens twice."""
    answers: list[dict[str, Any]] = []
    for verbs in (set[str](), VERBS):
        store = Unsteady()
        async with open_registry(store, capacity=2, lease=900.0) as jobs:
            job = await jobs.submit(ask)
            store.verbs = verbs
            with trio.fail_after(900):
                await store.store.ended(job.id)
            store.verbs = set()
            ended = await job.snapshot()
            assert (ended.attempt, ended.error) == (1, None)
            answers.append(await job.result())
            assert len(await jobs.find()) == (2 if ask is spawns else 3)
    assert answers[0]["result"] == ["one", "two", "three"] == answers[0]["streamed"]
    assert answers[0] == answers[1]


async def test_other_handles_raise(autojump_clock: MockClock) -> None:
    """Outside a handler a handle raises while the store is unavailable. It is equal to the handler's."""
    handles: list[Any] = []

    async def parent(job: JobContext[Any]) -> None:
        handles.append(await job.spawn(echo))

    store = Unsteady()
    async with open_registry(store, capacity=2, lease=900.0) as jobs:
        await jobs.submit(parent)
        await trio.sleep(1)
        handle = await jobs.get(handles[0].id)
        assert handles == [handle]
        store.verbs = VERBS
        with pytest.raises(StoreUnavailable):
            await handle.result()
        await handles[0].end_inputs()
        assert await handles[0].result() == []
