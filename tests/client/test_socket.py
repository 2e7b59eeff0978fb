"""A connection to a server that misbehaves: its messages are checked, and it is left in time."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import attrs
import pytest
import trio
from trio_websocket import WebSocketConnection

from tests.client.peer import job, log
from tests.client.site import websocket
from tests.wire import encode_event
from trio_jobs import JobHandle, Retry, StoreUnavailable, StreamGap, UnknownJob
from trio_jobs.client import Disconnected, RemoteRegistry, ServerError, backoff, connect
from trio_jobs.client import socket as client_socket
from trio_jobs.client.subscription import WINDOW
from trio_jobs.serving.values import encode_job

Talk = Callable[[WebSocketConnection], Awaitable[None]]
PONG = {"pong": True}


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let clients reconnect at once."""
    monkeypatch.setattr(backoff, "BACKOFF", Retry(attempts=2, initial=0.001, maximum=0.01))


async def asked(connection: WebSocketConnection) -> dict[str, Any]:
    """Return the next request; pings are answered, as clients wait for pongs."""
    while True:
        request = dict(json.loads(await connection.get_message()))
        if request["op"] != "ping":
            return request
        await say(connection, request["id"], pong=True)


async def say(connection: WebSocketConnection, re: int | None, **fields: object) -> None:
    """Send a reply."""
    await connection.send_message(json.dumps({"re": re, **fields}))


async def binary(connection: WebSocketConnection) -> None:
    """Send a binary message."""
    await asked(connection)
    await connection.send_message(b"\0")
    await connection.get_message()


async def nonsense(connection: WebSocketConnection) -> None:
    """Send a message that is no reply."""
    await asked(connection)
    await connection.send_message("nonsense")
    await connection.get_message()


async def unasked(connection: WebSocketConnection) -> None:
    """Send a reply to no request."""
    await asked(connection)
    await say(connection, 77, pong=True)
    await connection.get_message()


async def crashes(connection: WebSocketConnection) -> None:
    """Raise an error in the server."""
    await asked(connection)
    await connection.aclose(1011)


async def closing(connection: WebSocketConnection) -> None:
    """Reply that the server is stopping, and do not stop."""
    request = await asked(connection)
    await say(connection, request["id"], error={"code": "closing", "message": "bye"})
    await connection.get_message()


@pytest.mark.parametrize("talk", [binary, nonsense, unasked, crashes, closing])
async def test_a_server_that_is_always_wrong_is_given_up(talk: Talk) -> None:
    """If each answer to a request is wrong, the call ends with an error of the server's, even if `patience`
    has no bound."""
    async with websocket(talk) as url:
        with trio.fail_after(20):
            async with connect(url, patience=math.inf) as remote:
                with pytest.raises(ServerError) as caught:
                    await remote.handlers()
        assert caught.value.code in {"internal", "closing"}


@pytest.mark.parametrize("talk", [binary, nonsense, unasked, crashes, closing])
async def test_a_server_that_is_wrong_once_is_asked_again(talk: Talk) -> None:
    """A single wrong answer is invisible to the caller."""
    faults = [talk]

    async def mended(connection: WebSocketConnection) -> None:
        if faults:
            await faults.pop()(connection)
        else:
            request = await asked(connection)
            await say(connection, request["id"], handlers=[])
            await connection.get_message()

    async with websocket(mended) as url:
        with trio.fail_after(20):
            async with connect(url) as remote:
                assert await remote.handlers() == []
        assert faults == []


async def test_a_message_that_is_too_large_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """A message over the limit is not read into memory."""
    monkeypatch.setattr(client_socket, "MESSAGE", 10_000)

    async def huge(connection: WebSocketConnection) -> None:
        request = await asked(connection)
        await say(connection, request["id"], handlers=[{"name": "x" * 20_000}])
        await connection.get_message()

    async with websocket(huge) as url:
        with trio.fail_after(20):
            async with connect(url) as remote:
                with pytest.raises(ServerError):
                    await remote.handlers()


async def test_an_error_amid_a_log_is_told_once() -> None:
    """The reader gets the error that ends a follow, behind the events before it; a later receive follows
    anew, behind what was read, or where the error says."""
    events = log(9)
    follows: list[int] = []

    async def talk(connection: WebSocketConnection) -> None:
        while True:
            request = await asked(connection)
            re = request["id"]
            if request["op"] == "get":
                found = json.loads(encode_job(job("7", last_seq=12), tracebacks=True))
                await say(connection, re, job=found)
            elif request["op"] == "follow":
                follows.append(request["after"])
                some = events[request["after"] :][:3]
                frame = [json.loads(encode_event(event, tracebacks=True)) for event in some]
                await say(connection, re, events=frame)
                facts = {"first": 9, "last": 12, "oldest": 8}
                code = ("unavailable", "stream_gap", "unavailable")[len(follows) - 1]
                await say(connection, re, error={"code": code, "message": "no", **facts})

    async with websocket(talk) as url:
        with trio.fail_after(20):
            async with connect(url) as remote, (await remote.get("7")).events() as stream:
                assert [(await stream.receive()).seq for _ in range(3)] == [1, 2, 3]
                with pytest.raises(StoreUnavailable):
                    await stream.receive()
                assert [(await stream.receive()).seq for _ in range(3)] == [4, 5, 6]
                with pytest.raises(StreamGap):
                    await stream.receive()
                assert stream.cursor == 8
                assert (await stream.receive()).seq == 9
        assert follows == [0, 3, 8]


@pytest.mark.parametrize(("after", "ops"), [(0, ["follow"]), (2, ["get", "follow"]), (3, ["get", "follow"])])
async def test_a_stream_is_opened_with_few_requests(after: int, ops: list[str]) -> None:
    """A log that is read from its beginning takes one request; behind a cursor the job is requested too, as
    the log may have no events yet."""
    asked_for: list[str] = []
    opened = trio.Event()

    async def talk(connection: WebSocketConnection) -> None:
        while True:
            request = await asked(connection)
            asked_for.append(request["op"])
            if request["op"] == "get":
                found = json.loads(encode_job(job("7", last_seq=3), tracebacks=True))
                await say(connection, request["id"], job=found)
            elif request["op"] == "follow":
                frame = [json.loads(encode_event(event, tracebacks=True)) for event in log(1)[after:3]]
                if frame:
                    await say(connection, request["id"], events=frame)
                await opened.wait()

    async with websocket(talk) as url:
        with trio.fail_after(20):
            async with connect(url) as remote, unasked_handle(remote).events(after) as stream:
                assert sorted(asked_for) == sorted(ops)
                if after < 3:
                    assert (await stream.receive()).seq == after + 1
                opened.set()


@pytest.mark.parametrize("code", ["unknown_job", "unauthenticated"])
async def test_a_log_that_is_refused_is_not_opened(code: str) -> None:
    """Entering the block raises the error of the server's answer to a follow from the beginning."""

    async def talk(connection: WebSocketConnection) -> None:
        request = await asked(connection)
        assert request["op"] == "follow"
        await say(connection, request["id"], error={"code": code, "message": "no"})
        await connection.get_message()

    async with websocket(talk) as url:
        with trio.fail_after(20):
            async with connect(url) as remote:
                with pytest.raises((UnknownJob, ServerError)) as caught:
                    async with unasked_handle(remote).events(0):
                        raise AssertionError("it was opened")
                assert isinstance(caught.value, UnknownJob) == (code == "unknown_job")


async def test_the_end_of_a_log_is_asked_for_by_itself() -> None:
    """A stream of values that is resumed behind the end of its job requests that end alone."""
    asked_for: list[tuple[str, int]] = []
    events = log(1)

    async def talk(connection: WebSocketConnection) -> None:
        while True:
            request = await asked(connection)
            re, op = request["id"], request["op"]
            asked_for.append((op, request.get("after", 0)))
            if op == "get":
                found = json.loads(encode_job(job("7", last_seq=4), tracebacks=True))
                await say(connection, re, job=found)
            elif op == "follow":
                await say(connection, re, end=True)
            else:
                frame = [json.loads(encode_event(event, tracebacks=True)) for event in events[-1:]]
                await say(connection, re, history=frame, next=None)

    async with websocket(talk) as url:
        with trio.fail_after(20):
            async with connect(url) as remote, unasked_handle(remote).stream(4) as tokens:
                with pytest.raises(trio.EndOfChannel):
                    await tokens.receive()
    assert asked_for[-1] == ("history", 3)


def unasked_handle(remote: RemoteRegistry) -> JobHandle[Any, Any]:
    """Return a handle that was made without a request."""
    return JobHandle(remote._jobs, "7")


async def test_a_gap_that_comes_unnoticed_opens_the_window() -> None:
    """A gap wider than the window, which arrives before its reader is there, is acked as soon as the reader
    gets there: the server may wait for that."""
    last = 2 * WINDOW

    async def talk(connection: WebSocketConnection) -> None:
        gets, follow = 0, 0
        while True:
            request = await asked(connection)
            if request["op"] == "follow":
                follow = request["id"]
                frame = [json.loads(encode_event(event, tracebacks=True)) for event in log(9)[:2]]
                await say(connection, follow, events=frame)
            elif request["op"] == "ack" and request["cursor"] == last:
                event = attrs.evolve(log(1)[-1], seq=last + 1)
                await say(connection, follow, events=[json.loads(encode_event(event, tracebacks=True))])
            elif request["op"] == "get":
                gets += 1
                if gets == 2:
                    await say(connection, follow, gap={"first": 3, "last": last})
                found = json.loads(encode_job(job("7", last_seq=last + 1), tracebacks=True))
                await say(connection, request["id"], job=found)

    async with websocket(talk) as url:
        with trio.fail_after(20):
            async with connect(url) as remote:
                handle = await remote.get("7")
                async with handle.events(policy="gap") as stream:
                    assert (await stream.receive()).seq == 1
                    await handle.snapshot()
                    assert (await stream.receive()).seq == 2
                    with pytest.raises(StreamGap):
                        await stream.receive()
                    assert (await stream.receive()).seq == last + 1


async def test_a_connection_that_ends_badly_is_only_lost() -> None:
    """Frames after a close frame, and a close frame within an answer, only end the connection."""
    ends = [
        b"\x88\x02\x03\xe8\x89\x00\x89\x00",
        b"\x81\x7e\xff\xff{",
        b"\x81\x01",
        b"\xc1\x00",
        b"\x81\x02\xc3\x28",
    ]

    async def rude(connection: WebSocketConnection) -> None:
        request = await asked(connection)
        if not ends:
            await say(connection, request["id"], handlers=[])
            await connection.get_message()
        stream = connection._stream
        await stream.send_all(ends.pop())
        await stream.aclose()

    async with websocket(rude) as url:
        with trio.fail_after(20):
            async with connect(url) as remote:
                assert await remote.handlers() == []


async def test_connections_that_always_end_are_told() -> None:
    """A server that closes the connection at each request is a network error, with the close code."""

    async def leaves(connection: WebSocketConnection) -> None:
        await asked(connection)
        await connection.aclose(4000, "bored")

    async with websocket(leaves) as url:
        with trio.fail_after(20):
            async with connect(url, patience=math.inf) as remote:
                with pytest.raises(Disconnected, match=r"closed \(4000\)"):
                    await remote.handlers()


@pytest.mark.parametrize("name", ["trio_websocket", "msgspec", "wsproto"])
def test_without_the_extra(name: str) -> None:
    """The error names the extra that is missing."""
    code = f"import sys; sys.modules[{name!r}] = None; import trio_jobs.client"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "ImportError: trio_jobs.client needs the extra: pip install 'trio-jobs[client]'" in done.stderr
