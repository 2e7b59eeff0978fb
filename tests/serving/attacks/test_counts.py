"""Too many connections, follows, calls or waiting jobs: the next one is refused, the others stay."""

from __future__ import annotations

import errno
import logging
import os
import resource
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from tests.serving.place import Door, Place, bearer, by_token, place
from tests.serving.raw import PATIENCE, Gone, Peer, flat, handshake
from trio_jobs.serving import Limits


async def enough(stack: AsyncExitStack, here: Place, count: int) -> list[Peer]:
    """Open as many WebSockets as are allowed."""
    return [await stack.enter_async_context(here.socket()) for _ in range(count)]


@pytest.mark.parametrize("limits", [Limits(connections=3), Limits(per_client=3)], ids=["all", "one client"])
async def test_connections_are_counted(door: Door, limits: Limits) -> None:
    """One connection too many is refused, open ones stay, and a closed one makes room."""
    async with place(door, limits=limits) as here:
        async with AsyncExitStack() as stack:
            peers = await enough(stack, here, 3)
            assert await turned_away(here)
            for peer in peers:
                assert await peer.ask("ping") == {"re": 1, "pong": True}
        await room(here)
        await here.serves()


async def turned_away(here: Place) -> bool:
    """Return whether a new client gets no WebSocket: a refusal, or a closed connection."""
    peer = await here.dial()
    async with peer.stream:
        try:
            await peer.send(handshake(here.path, {"Host": here.host}))
            if (await peer.answer()).status in {429, 503}:
                return True
            await peer.ask("ping")
        except Gone:
            return True
        return False


async def room(here: Place) -> None:
    """Wait until a new client is accepted: the server notices a closed connection a moment later."""
    with trio.fail_after(PATIENCE):
        while await turned_away(here):
            await trio.sleep(0.01)


async def test_silent_connections_are_counted_too(door: Door, socket_clock: MockClock) -> None:
    """Connections without a request count, and are closed at the deadline of the head."""
    async with place(door, limits=Limits(connections=3, header=0.5)) as here:
        async with AsyncExitStack() as stack:
            for _ in range(20):
                await stack.enter_async_context((await here.dial()).stream)
            assert await turned_away(here)
            await trio.sleep(0.5)
            await room(here)


async def test_one_address_takes_not_every_place(door: Door) -> None:
    """Silent connections of one address leave room for others."""
    async with place(door, limits=Limits(connections=20, per_client=3)) as here, AsyncExitStack() as stack:
        for _ in range(60):
            await stack.enter_async_context((await here.dial(source="127.0.0.9")).stream)
        assert await here.shake() == 101


async def test_follows_are_counted(door: Door) -> None:
    """One follow too many on a connection is `too_many`; after an `unfollow` there is room; `wait` counts."""
    async with place(door, limits=Limits(follows=2)) as here, here.socket() as peer:
        job = (await here.submit("wait")).id
        await peer.tell(op="follow", id=1, job=job)
        await peer.tell(op="wait", id=2, job=job)
        for op in ("follow", "wait"):
            assert (await peer.ask(op, 3, job=job))["error"]["code"] == "too_many"
        while "unfollowed" not in await peer.ask("unfollow", 1):
            pass
        assert "events" in await peer.ask("follow", 4, job=job)


async def test_calls_are_counted(door: Door) -> None:
    """Calls beyond the limit get an error, or wait in the socket: each is answered."""
    async with place(door, limits=Limits(calls=4)) as here, here.socket() as peer:
        job = (await here.submit("wait")).id
        for number in range(1, 201):
            await peer.tell(op="get", id=number, job=job)
        answers = [await peer.message() for _ in range(200)]
        assert {answer["re"] for answer in answers} == set(range(1, 201))
        assert {answer["error"]["code"] for answer in answers if "error" in answer} <= {"too_many"}


async def test_answers_that_nobody_reads_are_counted(door: Door) -> None:
    """For a peer that sends requests and never reads, the server keeps a few answers, not all."""
    async with place(door, limits=Limits(calls=4)) as here:
        big = "x" * 100_000
        job = (await here.submit("wait", metadata={"big": big})).id
        async with here.socket(buffer=4096) as peer, flat(16 * 2**20):
            for number in range(1, 1001):
                await peer.tell(op="get", id=number, job=job)
            await trio.testing.wait_all_tasks_blocked(0.05)
        await here.serves()


async def test_waiting_jobs_are_counted_by_owner(door: Door) -> None:
    """An owner's waiting jobs are bounded: `too_many`, for that owner only, and 429 with Retry-After."""
    limits = Limits(queued=3)
    async with place(door, limits=limits, authenticate=by_token, capacity=0) as here:
        async with here.socket(bearer("anna")) as anna, here.socket(bearer("bert")) as bert:
            for number in range(1, 4):
                assert "job" in await anna.ask("submit", number, handler="echo")
            assert (await anna.ask("submit", 4, handler="echo"))["error"]["code"] == "too_many"
            assert "job" in await bert.ask("submit", 1, handler="echo")
        if door == "http":
            answer = await here.http("POST", "/v1/jobs", bearer("anna"), {"handler": "echo"})
            assert answer.status == 429
            assert int(answer.headers["retry-after"]) > 0
            assert answer.headers["content-type"] == "application/problem+json"
        assert len(await here.jobs.find(owner="anna")) == 3


async def test_many_at_once_are_no_way_round(door: Door, tmp_path: Path) -> None:
    """The bound on an owner's waiting jobs holds for concurrent submits on many connections."""
    limits = Limits(queued=5)
    file = f"sqlite:///{tmp_path / 'jobs.db'}"
    async with place(door, limits=limits, authenticate=by_token, capacity=0, store=file) as here:

        async def pushes() -> None:
            async with here.socket(bearer("anna")) as peer:
                for number in range(1, 11):
                    await peer.tell(op="submit", id=number, handler="echo")
                for _ in range(10):
                    await peer.message()

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(pushes)
        assert 0 < len(await here.jobs.find(owner="anna")) <= 5


async def test_no_more_files(door: Door, caplog: pytest.LogCaptureFixture, socket_clock: MockClock) -> None:
    """When the process has no file for a connection, it goes on, and accepts again when it has one."""
    async with place(door) as here:
        peers = [trio.socket.socket() for _ in range(30)]
        where = trio.socket.socket()
        host, _, port = here.host.partition(":")
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        top = os.dup(where.fileno())
        os.close(top)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (top + 5, hard))
            with caplog.at_level(logging.CRITICAL), trio.move_on_after(0.5):
                for peer in peers:
                    await peer.connect((host, int(port)))
                await trio.sleep_forever()
            with pytest.raises(OSError, match=os.strerror(errno.EMFILE)):
                while True:
                    peers.append(trio.socket.socket())
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for peer in (*peers, where):
            peer.close()
        await here.serves()
