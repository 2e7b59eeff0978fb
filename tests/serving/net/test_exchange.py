"""One request on a connection: how much is read ahead, when its client has left, and what is sent whole."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import trio
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from tests.serving.net.test_streams import connected
from trio_jobs import open_registry
from trio_jobs.serving.context import ServerContext
from trio_jobs.serving.net.exchange import Exchange
from trio_jobs.serving.net.request_head import read_head
from trio_jobs.serving.options import ServerOptions

START = {"type": "http.response.start", "status": 200, "headers": []}
LEFT = {"type": "http.disconnect"}
BIG = b"x" * 8 * 1024 * 1024  # more than a socket's buffers hold


def body(data: bytes, *, more: bool = True) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, "more_body": more}


@asynccontextmanager
async def asked(
    *lines: str, idle: float = 60.0
) -> AsyncGenerator[tuple[Exchange, trio.SocketStream, bytearray, trio.Event]]:
    """Yield a request, its peer, the bytes read ahead, and the event that says the server stops."""
    head = "\r\n".join([*(lines or ("GET / HTTP/1.1",)), "Host: x", "", ""]).encode()
    async with open_registry() as jobs, connected(idle) as (stream, peer):
        context = ServerContext.of(jobs, ServerOptions())
        yield Exchange(stream, read_head(head), context), peer, stream.ahead, context.closing


async def test_what_is_sent_ahead_is_bounded() -> None:
    """While a request is answered, a bounded part of the next ones is read; the peer waits with the rest."""
    async with asked() as (exchange, peer, ahead, _), trio.open_nursery() as nursery:
        assert (await exchange.receive())["more_body"] is False
        heard: list[Any] = []

        async def listen() -> None:
            heard.append(await exchange.receive())

        nursery.start_soon(listen)
        nursery.start_soon(peer.send_all, BIG)
        await wait_all_tasks_blocked(0.01)
        assert 16 * 1024 <= len(ahead) <= 32 * 1024
        assert heard == []
        await exchange.send(START)
        await exchange.send(body(b"", more=False))
        await wait_all_tasks_blocked()
        assert heard == [LEFT], "there is nothing more to be told"
        assert exchange.is_reusable
        nursery.cancel_scope.cancel()


async def test_a_client_that_leaves_is_told_of() -> None:
    """A task that waits for the body or for later bytes learns that the client has left."""
    async with asked() as (exchange, peer, _, _):
        assert await exchange.receive() == {"type": "http.request", "body": b"", "more_body": False}
        await peer.aclose()
        assert await exchange.receive() == LEFT
        assert await exchange.receive() == LEFT
    async with asked("POST / HTTP/1.1", "Content-Length: 5") as (exchange, peer, _, _):
        await peer.send_all(b"hal")
        assert (await exchange.receive())["body"] == b"hal"
        await peer.aclose()
        assert await exchange.receive() == LEFT
        assert exchange.has_unread


async def test_who_has_gone_is_sent_nothing_more() -> None:
    """A response to a client that has gone raises no error: its sender runs to the end, with checkpoints."""
    async with asked(idle=0.05) as (exchange, _, _, _):
        await exchange.receive()
        await exchange.send(START)
        await exchange.send(body(BIG))  # nobody takes it
        with assert_checkpoints():
            await exchange.send(body(b"x"))
        await exchange.send(body(b"", more=False))
        assert await exchange.receive() == LEFT
        assert not exchange.is_reusable


async def test_what_is_begun_is_sent_to_its_end() -> None:
    """A chunk whose sender is cancelled is sent whole, and what follows it is valid."""
    async with asked() as (exchange, peer, _, _), trio.open_nursery() as nursery:
        await exchange.send(START)
        found = bytearray()

        async def read() -> None:
            await wait_all_tasks_blocked(0.02)
            while not found.endswith(b"0\r\n\r\n"):
                found.extend(await peer.receive_some())

        nursery.start_soon(read)
        with trio.move_on_after(0.01) as scope:
            await exchange.send(body(BIG))
            await trio.sleep_forever()
        assert scope.cancelled_caught
        await exchange.send(body(b"", more=False))
    assert found.endswith(b"\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(BIG), BIG))


async def test_the_last_answer_says_so() -> None:
    """While the server stops, each response has `Connection: close`."""
    async with asked() as (exchange, peer, _, closing):
        closing.set()
        await exchange.send(START)
        await exchange.send(body(b"ok", more=False))
        assert b"connection: close" in (await peer.receive_some()).lower()
        assert not exchange.is_reusable
