"""Peers that are slow, fall silent or never read occupy the server for a bounded time."""

from __future__ import annotations

import ssl

import pytest
import trio
import trustme
from trio.testing import MockClock

from tests.serving.place import Door, Place, place
from tests.serving.raw import CLOSE, PATIENCE, PING, PONG, TEXT, Gone, Peer, frame, handshake, request
from trio_jobs.serving import Limits

QUICK = Limits(header=0.5, body=0.5, idle=1.0, ping=0.4)
MARGIN = 0.2  # seconds: the time of a drop or two


async def drip(peer: Peer, data: bytes, pause: float = 0.1) -> None:
    """Send a byte at a time until the server closes."""
    for at in range(len(data)):
        await peer.send(data[at : at + 1])
        with trio.move_on_after(pause):
            await peer.more()
    await peer.rest()


async def gone_within(seconds: float, peer: Peer, data: bytes) -> None:
    """Check that a connection that sends these bytes slowly is closed in time."""
    with trio.fail_after(seconds + MARGIN):
        try:
            await drip(peer, data)
        except Gone:
            pass


@pytest.mark.parametrize("said", [0, 1, 20, -4, -1])
async def test_headers_have_a_deadline(door: Door, said: int, socket_clock: MockClock) -> None:
    """A connection without a complete head is closed within `limits.header`."""
    async with place(door, limits=QUICK) as here:
        for written in (
            handshake(here.path, {"Host": here.host}),
            request("GET", "/v1/jobs", {"Host": here.host}),
        ):
            peer = await here.dial()
            async with peer.stream:
                await peer.send(written[:said])
                with trio.fail_after(QUICK.header + MARGIN):
                    await peer.rest()
        await here.serves()


async def test_dripping_headers_have_the_same_deadline(door: Door, socket_clock: MockClock) -> None:
    """The deadline is for the whole head: single bytes do not extend it."""
    async with place(door, limits=QUICK) as here:
        head = handshake(here.path, {"Host": here.host, "X-Long": "x" * 5000})
        peer = await here.dial()
        async with peer.stream:
            await gone_within(QUICK.header, peer, head)
        await here.serves()


async def test_a_second_request_has_a_deadline_too(socket_clock: MockClock) -> None:
    """On a kept connection the next head has its deadline, and so has the pause before it."""
    async with place("http", limits=QUICK) as here:
        peer = await here.dial()
        async with peer.stream:
            await peer.send(request("GET", "/healthz", {"Host": here.host}))
            assert (await peer.answer()).status == 200
            await gone_within(QUICK.idle + QUICK.header, peer, request("GET", "/healthz", {"X": "x" * 5000}))


async def test_dripping_bodies_have_a_deadline(socket_clock: MockClock) -> None:
    """A body that arrives byte by byte is cut off within `limits.body`, however its length is given."""
    async with place("http", limits=QUICK) as here:
        for length in ({"Content-Length": "1000"}, {"Transfer-Encoding": "chunked"}):
            for method, path in (("POST", "/v1/jobs"), ("GET", "/v1/jobs"), ("POST", "/nothing")):
                sent = {"Host": here.host, "Content-Type": "application/json", **length}
                peer = await here.dial()
                async with peer.stream:
                    await peer.send(request(method, path, sent))
                    drops = b"3e8\r\n" + b" " * 1000 if "Transfer-Encoding" in length else b" " * 1000
                    await gone_within(QUICK.body + QUICK.idle, peer, drops)
        assert not await here.jobs.find()
        await here.serves()


async def test_dripping_frames_have_a_deadline(door: Door, socket_clock: MockClock) -> None:
    """A frame that arrives byte by byte is cut off within `limits.body`."""
    async with place(door, limits=QUICK) as here:
        async with here.socket() as peer:
            await gone_within(
                QUICK.body + QUICK.idle, peer, frame(TEXT, b'{"op": "ping", "id": 1}' + b" " * 1000)
            )
        await here.serves()


async def test_a_silent_peer_is_dropped(door: Door, socket_clock: MockClock) -> None:
    """A connection that answers no ping is closed, during a follow too."""
    async with place(door, limits=QUICK) as here:
        job = await here.submit("wait")
        async with here.socket() as peer, here.socket() as idler:
            await peer.tell(op="follow", id=1, job=job.id)
            with trio.fail_after(QUICK.idle + 2 * QUICK.ping + MARGIN):
                await peer.closed()
                await idler.closed()
            with trio.fail_after(PATIENCE):
                while (await here.jobs.statistics()).readers:
                    await trio.sleep(0.01)
        await here.serves()


async def test_a_peer_that_listens_may_stay(door: Door, socket_clock: MockClock) -> None:
    """A follower that only answers pings outlives the idle limit."""
    async with place(door, limits=QUICK) as here:
        job = await here.submit("wait")
        async with here.socket() as peer:
            await peer.tell(op="follow", id=1, job=job.id)
            with trio.move_on_after(2 * QUICK.idle):
                while (got := await peer.frame()).opcode != CLOSE:
                    if got.opcode == PING:
                        await peer.send(frame(PONG, got.payload))
            assert await peer.ask("ping", 2) == {"re": 2, "pong": True}


async def never_reads(here: Place) -> Peer:
    """Open a connection with small buffers that follows a flood and reads none of it."""
    job = await here.submit("flood", 2000, 10_000)
    peer = await here.dial(buffer=4096)
    if here.door == "http":
        await peer.send(request("GET", f"/v1/jobs/{job.id}/stream", {"Host": here.host}))
    else:
        await peer.send(handshake(here.path, {"Host": here.host}))
        assert (await peer.answer()).status == 101
        await peer.tell(op="follow", id=1, job=job.id)
    await job.wait()  # the handler is not held
    return peer


async def test_a_peer_that_never_reads_is_dropped(door: Door, socket_clock: MockClock) -> None:
    """A stream that is not read is closed in time, with its reader; other connections are unaffected."""
    async with place(door, limits=QUICK) as here:
        with trio.fail_after(60):
            peer = await never_reads(here)
        async with peer.stream:
            await here.serves()
            with trio.fail_after(QUICK.idle + 2 * QUICK.ping + MARGIN):
                while (await here.jobs.statistics()).readers:
                    await trio.sleep(0.01)
        await here.serves()


async def served(here: Place) -> int:
    """Return the status that a new client gets; 0 if its connection was closed."""
    try:
        return (await here.http("GET", "/v1/jobs")).status
    except Gone:
        return 0


async def test_a_call_that_waits_ends_with_its_peer() -> None:
    """A cancellation with an hour of grace ends when its client leaves, and its place is free."""
    async with place("http", limits=Limits(per_client=1)) as here:
        job = await here.submit("wait")
        peer = await here.dial()
        async with peer.stream:
            await peer.send(request("DELETE", f"/v1/jobs/{job.id}?grace=3600", {"Host": here.host}))
            with trio.fail_after(PATIENCE):
                while not (await job.snapshot()).cancel_requested_at:
                    await trio.sleep(0.01)
            assert (await here.http("GET", "/v1/jobs")).status == 429
        with trio.fail_after(PATIENCE):
            while await served(here) != 200:
                await trio.sleep(0.01)


async def test_a_tls_handshake_has_a_deadline(door: Door, socket_clock: MockClock) -> None:
    """On an encrypted port, silence and a slow handshake are closed within `limits.header`."""
    certificate = trustme.CA().issue_cert("127.0.0.1")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.configure_cert(context)
    async with place(door, limits=QUICK, ssl_context=context) as here:
        for data in (b"", b"\x16\x03\x01\x02\x00" + b"\x01" * 300):
            peer = await here.dial()
            async with peer.stream:
                await gone_within(QUICK.header, peer, data)


@pytest.mark.parametrize(
    "start",
    [
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0", id="known before"),
        pytest.param(
            b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade, HTTP2-Settings\r\n"
            b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
            id="asked for",
        ),
    ],
)
async def test_http_2_is_no_way_round(start: bytes, socket_clock: MockClock) -> None:
    """HTTP/2, whose streams no limit of connections counts, is refused on a plain port."""
    async with place("http", limits=QUICK) as here:
        peer = await here.dial()
        async with peer.stream:
            await peer.send(start)
            with trio.fail_after(QUICK.idle + QUICK.header + MARGIN):
                said = await peer.rest()
        assert b"101 " not in said[:20]
        assert not said.startswith(b"\0\0"), "an HTTP/2 frame"
        await here.serves()
