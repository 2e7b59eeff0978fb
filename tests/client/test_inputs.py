"""Inputs for the jobs of a server: in order, each once, whatever the connection does."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked
from trio_websocket import ConnectionClosed, WebSocketConnection

from tests.client.peer import job
from tests.client.site import websocket
from tests.serving.proxy import open_proxy
from trio_jobs import (
    IllegalTransition,
    InboxFull,
    InvalidPayload,
    JobContext,
    JobHandle,
    KeyConflict,
    Kind,
    Retention,
    StoreUnavailable,
    UnknownJob,
    handler,
    open_registry,
)
from trio_jobs.client import ServerError, connect
from trio_jobs.serving import serve_http
from trio_jobs.serving.values import encode_job

Call = Callable[[], Awaitable[int]]
FULL = {"error": {"code": "inbox_full", "message": "full", "unconsumed": 5, "received": 2, "limit": "5"}}
WRONG = {"error": {"code": "invalid_payload", "message": "no number"}}
AWAY = {"error": {"code": "unavailable", "message": "not now"}}


class Server:
    """A server whose answers are what a test says.

    Attributes:
        asked: What it was asked, over all connections.
        give: Takes the next answer; None ends the connection in place of it.
    """

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.give, self._answers = trio.open_memory_channel[Any](100)
        self._news, self._told = trio.open_memory_channel[None](100)

    async def talk(self, socket: WebSocketConnection) -> None:
        """Serve one connection."""
        try:
            while True:
                request = json.loads(await socket.get_message())
                answer: Any = {"pong": True}
                if request["op"] != "ping":
                    self.asked.append(request)
                    self._news.send_nowait(None)
                    answer = await self._answers.receive()
                if answer is None:
                    return
                await socket.send_message(json.dumps({"re": request["id"], **answer}))
        except ConnectionClosed:
            return

    async def asked_for(self, values: list[Any] | str) -> str:
        """Wait for the next request; return its id for the inputs, after a look at its values."""
        await self._told.receive()
        request = self.asked.pop(0)
        assert request.get("values", request["op"]) == values
        return str(request.get("input_id"))


@asynccontextmanager
async def talking() -> AsyncGenerator[tuple[Server, JobHandle[Any, Any]]]:
    """A client whose server waits for the test."""
    server = Server()
    async with websocket(server.talk) as url, connect(url, patience=20) as jobs:
        server.give.send_nowait({"job": json.loads(encode_job(job("7"), tracebacks=True))})
        handle = await jobs.get("7")
        await server.asked_for("get")
        yield server, handle


async def noted(call: Call, into: list[Any]) -> None:
    """Note what a call returns or raises."""
    try:
        into.append(await call())
    except Exception as error:  # noqa: BLE001  # it is looked at
        into.append(error)


async def begun(nursery: trio.Nursery, *calls: Call) -> list[list[Any]]:
    """Begin calls, one after the other; return where each notes how it ended."""
    found: list[list[Any]] = [[] for _ in calls]
    for call, into in zip(calls, found, strict=True):
        nursery.start_soon(noted, call, into)
        await wait_all_tasks_blocked()
    return found


# ------------------------------------------------------------ one request at a time


async def test_what_is_sent_meanwhile_goes_as_the_next_batch(socket_clock: MockClock) -> None:
    """One request is unanswered; the others wait, keep their order, and each call gets its own cursor."""
    async with talking() as (server, handle), trio.open_nursery() as nursery:
        calls = [partial(handle.send, 1), partial(handle.send, 2), partial(handle.send_many, [3, 4])]
        found = await begun(nursery, *calls, partial(handle.send, 5), handle.end_inputs)
        first = await server.asked_for([1])
        server.give.send_nowait({"seq": 10})
        second = await server.asked_for([2, 3, 4, 5])
        assert first != second
        server.give.send_nowait({"seq": 24})
        await server.asked_for("end_inputs")
        server.give.send_nowait({"seq": 25})
    assert found == [[10], [21], [23], [24], [25]]


async def test_what_has_a_key_goes_by_itself(socket_clock: MockClock) -> None:
    """An input with a key of its own is joined to no other, so that it can be sent again with that key."""
    async with talking() as (server, handle), trio.open_nursery() as nursery:
        calls = [partial(handle.send, one) for one in (1, 2)]
        found = await begun(nursery, *calls, partial(handle.send, 3, key="k"), partial(handle.send, 4))
        for seq, values in enumerate([[1], [2], [3], [4]], 2):
            key = await server.asked_for(values)
            assert (key == "k") == (values == [3])
            server.give.send_nowait({"seq": seq})
    assert found == [[2], [3], [4], [5]]


async def test_a_batch_has_its_bounds(socket_clock: MockClock) -> None:
    """No more is joined than a server takes in one message."""
    large = "x" * 40_000
    async with talking() as (server, handle), trio.open_nursery() as nursery:
        await begun(nursery, *[partial(handle.send, large)] * 2, partial(handle.send_many, [0] * 1000))
        await begun(nursery, partial(handle.send, 1))
        expected: list[list[Any]] = [[large], [large], [0] * 1000, [1]]
        for seq, values in enumerate(expected, 2):
            await server.asked_for(values)
            server.give.send_nowait({"seq": seq})
        with pytest.raises(InvalidPayload, match="takes 1000 inputs at once; got 1001"):
            await handle.send_many([0] * 1001)
        with pytest.raises(InvalidPayload, match="the input"):
            await handle.send(object())


# ------------------------------------------------------------ refused


async def test_a_full_box_is_raised_and_nothing_overtakes(socket_clock: MockClock) -> None:
    """`InboxFull` is raised to the caller and to all who wait behind it; a later call is sent again."""
    async with talking() as (server, handle), trio.open_nursery() as nursery:
        found = await begun(nursery, *[partial(handle.send, one) for one in (1, 2, 3)])
        await server.asked_for([1])
        server.give.send_nowait(FULL)
        await wait_all_tasks_blocked(0.01)
        (late,) = await begun(nursery, partial(handle.send, 4))
        await server.asked_for([4])
        server.give.send_nowait({"seq": 9})
    for (error,) in found:
        assert isinstance(error, InboxFull)
        assert (error.unconsumed, error.received, error.limit) == (5, 2, "5")
    assert late == [9]


async def test_a_batch_that_is_refused_is_sent_part_by_part(socket_clock: MockClock) -> None:
    """Of a batch, what fits is taken, up to what does not; a wrong value is the fault of its caller only."""
    async with talking() as (server, handle), trio.open_nursery() as nursery:
        found = await begun(nursery, *[partial(handle.send, one) for one in (1, 2, "wrong", 3, 4)])
        answers: list[tuple[list[Any], Any]] = [([1], {"seq": 2}), ([2, "wrong", 3, 4], WRONG)]
        answers += [([2], {"seq": 3}), (["wrong"], WRONG), ([3], FULL)]
        for values, answer in answers:
            await server.asked_for(values)
            server.give.send_nowait(answer)
    assert found[:2] == [[2], [3]]
    assert [type(error) for (error,) in found[2:]] == [InvalidPayload, InboxFull, InboxFull]


@pytest.mark.parametrize("code", ["too_large", "bad_request"])
async def test_what_a_server_does_not_take_joined_is_sent_apart(socket_clock: MockClock, code: str) -> None:
    """A server may take less in one message; what it never takes, as it is nested too deep, is the fault of
    its caller only.
    """
    refused = {"error": {"code": code, "message": "no"}}
    async with talking() as (server, handle), trio.open_nursery() as nursery:
        found = await begun(nursery, *[partial(handle.send, one) for one in (1, 2, "large", 3)])
        answers: list[tuple[list[Any], Any]] = [([1], {"seq": 2}), ([2, "large", 3], refused)]
        answers += [([2], {"seq": 3}), (["large"], refused), ([3], {"seq": 4})]
        for values, answer in answers:
            await server.asked_for(values)
            server.give.send_nowait(answer)
    assert [one for one in found if one != found[2]] == [[2], [3], [4]]
    (error,) = found[2]
    assert (type(error), error.code) == (ServerError, code)


async def test_an_unknown_end_is_that_of_all(socket_clock: MockClock) -> None:
    """If it is not known whether an input was kept, what waits behind it is not sent."""
    async with talking() as (server, handle), trio.open_nursery() as nursery:
        found = await begun(nursery, partial(handle.send, 1), partial(handle.send, 2))
        await server.asked_for([1])
        server.give.send_nowait(AWAY)
    assert [type(error) for (error,) in found] == [StoreUnavailable] * 2


# ------------------------------------------------------------ cut off


async def test_after_a_reconnect_the_unanswered_one_goes_first(socket_clock: MockClock) -> None:
    """What was not answered is asked again with its id, before what was sent after it."""
    async with talking() as (server, handle), trio.open_nursery() as nursery:
        found = await begun(nursery, partial(handle.send, 1), partial(handle.send, 2))
        before = await server.asked_for([1])
        server.give.send_nowait(None)
        assert await server.asked_for([1]) == before
        server.give.send_nowait({"seq": 2})
        await server.asked_for([2])
        server.give.send_nowait({"seq": 3})
    assert found == [[2], [3]]


async def test_a_cancelled_send_leaves_the_others_their_place(socket_clock: MockClock) -> None:
    """Who is cancelled while its batch is unanswered leaves it to the others in it, who ask the same again;
    what waits in line is not sent."""
    async with talking() as (server, handle), trio.open_nursery() as nursery:
        scopes = [trio.CancelScope() for _ in range(4)]

        async def send(value: int) -> int:
            with scopes[value]:
                return await handle.send(value)
            return -1

        found = await begun(nursery, *[partial(send, value) for value in (0, 1, 2)])
        await server.asked_for([0])
        scopes[2].cancel()
        await wait_all_tasks_blocked()
        found += await begun(nursery, partial(send, 3))
        scopes[0].cancel()  # it led; nobody else waits for its request, so the next one is asked
        server.give.send_nowait({"seq": 2})
        batch = await server.asked_for([1, 3])
        scopes[1].cancel()
        scopes[3].cancel()
        server.give.send_nowait({"seq": 4})
        await wait_all_tasks_blocked(0.01)
        (last,) = await begun(nursery, partial(handle.send, 5))
        assert await server.asked_for([5]) != batch
        server.give.send_nowait({"seq": 5})
    assert found == [[-1]] * 4
    assert last == [5]


async def test_a_batch_outlives_who_asked_it(socket_clock: MockClock) -> None:
    """If one of two whose inputs go together is cancelled, the other asks the same again, once it is free."""
    async with talking() as (server, handle), trio.open_nursery() as nursery:
        scopes = [trio.CancelScope() for _ in range(3)]
        ended: dict[int, int] = {}

        async def send(value: int) -> None:
            with scopes[value]:
                ended[value] = await handle.send(value)

        for value in range(3):
            nursery.start_soon(send, value)
            await wait_all_tasks_blocked()
        await server.asked_for([0])
        server.give.send_nowait({"seq": 2})
        key = await server.asked_for([1, 2])
        scopes[1].cancel()
        await wait_all_tasks_blocked()
        server.give.send_nowait({"seq": 4})
        await wait_all_tasks_blocked(0.01)
        if 2 not in ended:  # the one that was cancelled had asked
            assert await server.asked_for([1, 2]) == key
            server.give.send_nowait({"seq": 4})
    assert ended == {0: 2, 2: 4}


# ------------------------------------------------------------ with a real server


@handler(inputs=int)
async def add(job: JobContext[int]) -> None:
    """Take numbers."""
    await trio.sleep_forever()


@handler
async def deaf(job: JobContext[int]) -> None:
    """Take nothing."""


async def test_a_server_s_jobs_get_inputs(socket_clock: MockClock) -> None:
    """A handle sends as one of this process does, and raises the same errors."""
    keep = Retention(inputs=3)
    async with (
        open_registry(handlers=[add, deaf], capacity=0, retention=keep) as jobs,
        trio.open_nursery() as nursery,
    ):
        (url,) = await nursery.start(partial(serve_http, jobs, port=0))
        async with open_proxy(url) as proxy, connect(proxy.url) as remote:
            handle = await remote.submit(add)
            assert await handle.send(1, key="one") == 2
            proxy.cut()
            assert await handle.send(1, key="one") == 2
            with pytest.raises(KeyConflict, match="another input"):
                await handle.send(2, key="one")
            with pytest.raises(InvalidPayload, match="an input of add"):
                await handle.send("two")
            assert await handle.send_many([2, 3]) == 4
            with pytest.raises(InboxFull) as full:
                await handle.send(4)
            assert vars(full.value) == {"unconsumed": 3, "received": 0, "limit": "3"}
            assert (await handle.snapshot()).unconsumed == 3
            assert [await handle.end_inputs() for _ in range(2)] == [5, 5]
            with pytest.raises(IllegalTransition, match="inputs were ended"):
                await handle.send(4)
            await handle.cancel()
            async with handle.events() as events:
                kinds = [event.kind async for event in events]
            assert kinds[:5] == [Kind.SUBMITTED, *[Kind.INPUT] * 3, Kind.INPUTS_ENDED]
            with pytest.raises(ServerError, match="no_inputs"):
                await (await remote.submit("deaf")).send(1)
            await jobs.remove(handle.id)
            with pytest.raises(UnknownJob):
                await handle.send(1)
        nursery.cancel_scope.cancel()
