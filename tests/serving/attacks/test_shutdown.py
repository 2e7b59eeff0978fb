"""Stopping a server: all clients are notified, none delays it; and a connection that should end does."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from tests.serving.place import Door, Place, place
from tests.serving.raw import CLOSE, PATIENCE, TEXT, Gone, Peer, frame, handshake, request

GRACE = 1.0


async def until_closed(peer: Peer, codes: list[int]) -> None:
    """Read to the end and answer the close frame, as a well-behaved client does."""
    code = 1006
    async with peer.stream:
        try:
            while (got := await peer.frame()).opcode != CLOSE:
                pass
            code = got.code
            await peer.send(frame(CLOSE, got.payload[:2]))
            await peer.rest()
        except Gone:
            pass
    codes.append(code)


async def test_a_socket_is_told(door: Door, socket_clock: MockClock) -> None:
    """A stopping server closes its WebSockets with 1001 within its grace, whether they follow or not."""
    codes: list[int] = []
    async with trio.open_nursery() as outside:
        with trio.fail_after(GRACE + 0.1):
            async with place(door, grace=GRACE) as here:
                job = await here.submit("wait")
                for number in range(4):
                    peer = await here.dial()
                    await peer.send(handshake(here.path, {"Host": here.host}))
                    assert (await peer.answer()).status == 101
                    if number % 2:
                        await peer.tell(op="follow", id=1, job=job.id)
                        await peer.message()
                    outside.start_soon(until_closed, peer, codes)
    assert codes == [1001] * 4


async def test_a_stream_ends(socket_clock: MockClock) -> None:
    """A stopping server ends its streams as HTTP ends a body, within its grace, so that clients reconnect."""
    bodies: list[bytes] = []

    async with trio.open_nursery() as outside:
        with trio.fail_after(GRACE + 0.1):
            async with place("http", grace=GRACE) as here:
                job = await here.submit("wait")
                for _ in range(3):
                    peer = await here.dial()
                    await peer.send(request("GET", f"/v1/jobs/{job.id}/stream", {"Host": here.host}))
                    await peer.until(b"event: token")
                    outside.start_soon(reads_rest, peer, bodies)
    assert len(bodies) == 3
    for body in bodies:
        assert body.endswith(b"0\r\n\r\n"), "the body was cut off"
        assert b"event: completed" not in body


async def reads_rest(peer: Peer, bodies: list[bytes]) -> None:
    """Read until the server closes."""
    async with peer.stream:
        bodies.append(await peer.rest())


@pytest.mark.parametrize("what", ["silent", "half a request", "half a frame", "never reads"])
async def test_nobody_holds_it_up(door: Door, what: str, socket_clock: MockClock) -> None:
    """A stopping server waits for no peer beyond its grace: silent, within a message, or not reading."""
    async with place(door, grace=GRACE) as here:
        peers = [await obstacle(here, what) for _ in range(3)]
        began = trio.current_time()
    assert trio.current_time() - began <= GRACE + 0.1
    for peer in peers:
        await peer.stream.aclose()


async def obstacle(here: Place, what: str) -> Peer:
    """Make a connection that might delay a server."""
    peer = await here.dial(buffer=4096)
    if what == "half a request":
        await peer.send(request("POST", "/v1/jobs", {"Host": here.host}, b"{}")[:-1])
    elif what == "never reads" and here.door == "http":
        job = await here.submit("flood", 2000, 10_000)
        await peer.send(request("GET", f"/v1/jobs/{job.id}/stream", {"Host": here.host}))
        await job.wait()
    elif what != "silent":
        await peer.send(handshake(here.path, {"Host": here.host}))
        assert (await peer.answer()).status == 101
        if what == "half a frame":
            await peer.send(frame(TEXT, b"{}" * 100)[:-1])
        else:
            job = await here.submit("flood", 2000, 10_000)
            await peer.tell(op="follow", id=1, job=job.id)
            await job.wait()
    return peer


@pytest.mark.parametrize("kind", ["close", "keep-alive"])
async def test_a_stream_ends_its_connection(kind: str) -> None:
    """After a stream with `Connection: close` the socket is closed; else it takes the next request."""
    async with place("http") as here:
        job = await here.submit("echo", "a", "b")
        peer = await here.dial()
        async with peer.stream:
            await peer.send(
                request("GET", f"/v1/jobs/{job.id}/stream", {"Host": here.host, "Connection": kind})
            )
            assert b"[DONE]" in (await peer.answer()).body
            if kind == "close":
                with trio.fail_after(PATIENCE):
                    assert await peer.rest() == b""
            else:
                await peer.send(request("GET", "/healthz", {"Host": here.host}))
                assert (await peer.answer()).status == 200


@pytest.mark.parametrize("path", ["/healthz", "/v1/jobs", "/nothing", "/v1/jobs/x/stream"])
async def test_a_request_ends_its_connection(path: str) -> None:
    """Every other answer ends its connection too if the request says so."""
    async with place("http") as here:
        peer = await here.dial()
        async with peer.stream:
            await peer.send(request("GET", path, {"Host": here.host, "Connection": "close"}))
            await peer.answer()
            with trio.fail_after(PATIENCE):
                assert await peer.rest() == b""


async def test_an_old_client_is_served() -> None:
    """An HTTP/1.0 client, whose bodies end with the connection, gets a stream as well."""
    async with place("http") as here:
        job = await here.submit("echo", "a")
        peer = await here.dial()
        async with peer.stream:
            written = request("GET", f"/v1/jobs/{job.id}/stream", {"Host": here.host})
            await peer.send(written.replace(b"HTTP/1.1", b"HTTP/1.0"))
            with trio.fail_after(PATIENCE):
                assert b"[DONE]" in (await peer.answer()).body
