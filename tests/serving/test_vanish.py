"""A thousand peers that vanish at any point leave nothing behind."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Awaitable, Callable
from itertools import pairwise

import pytest
import trio

from tests.serving.place import DOORS, Door, Place, place
from tests.serving.raw import TEXT, Peer, frame, handshake, open_files, request
from tests.tasks import task_names
from trio_jobs.serving import Limits

ROUNDS, CYCLES = 4, 125  # of each server
WARM = 100
AT_ONCE = 20
MEMORY = 256 * CYCLES
"""Bytes that each round would leave, if a peer left less than one task or scope. Trio's heap of deadlines
fills up to a size of its own in the first rounds, so the round that left least counts: a leak is in each."""
LIMITS = Limits(header=1.5)  # as long as who hung up within a handshake is waited for


async def connected(here: Place, peer: Peer, job: str) -> None:
    """Send nothing."""


async def half_a_request(here: Place, peer: Peer, job: str) -> None:
    """Stop within the body."""
    await peer.send(request("POST", "/v1/jobs", {"Host": here.host}, b'{"handler": "echo"}')[:-5])


async def half_a_handshake(here: Place, peer: Peer, job: str) -> None:
    """Stop within the head."""
    await peer.send(handshake(here.path, {"Host": here.host})[:-5])


async def shaken(here: Place, peer: Peer, job: str) -> None:
    """Open a WebSocket, and wait for the answer."""
    await peer.send(handshake(here.path, {"Host": here.host}))
    assert (await peer.answer()).status == 101


async def unheard(here: Place, peer: Peer, job: str) -> None:
    """Open a WebSocket, and do not wait for the answer."""
    await peer.send(handshake(here.path, {"Host": here.host}))


async def half_a_frame(here: Place, peer: Peer, job: str) -> None:
    """Stop within a frame."""
    await shaken(here, peer, job)
    await peer.send(frame(TEXT, b'{"op": "ping", "id": 1}')[:-5])


async def following(here: Place, peer: Peer, job: str) -> None:
    """Follow a running job."""
    await shaken(here, peer, job)
    await peer.ask("follow", job=job)


async def waiting(here: Place, peer: Peer, job: str) -> None:
    """Wait for a job, send many requests, and read nothing."""
    await shaken(here, peer, job)
    await peer.tell(op="wait", id=1, job=job)
    await peer.tell(op="cancel", id=2, job="0" * 32)
    await peer.tell(op="find", id=3)


async def streaming(here: Place, peer: Peer, job: str) -> None:
    """Read the beginning of an event stream."""
    await peer.send(request("GET", f"/v1/jobs/{job}/stream", {"Host": here.host}))
    await peer.until(b"event: token")


Way = Callable[[Place, Peer, str], Awaitable[None]]
WAYS: list[Way] = [
    *[connected, half_a_handshake, unheard, shaken, half_a_frame, following, waiting],
]
HTTP_WAYS: list[Way] = [half_a_request, streaming, streaming]


async def cycle(here: Place, job: str, number: int) -> None:
    """Connect, get to some point, and vanish: with a reset, or with a close that is not waited for."""
    ways = WAYS + (HTTP_WAYS if here.door == "http" else [])
    peer = await here.dial()
    async with peer.stream:
        await ways[number % len(ways)](here, peer, job)
        if number // len(ways) % 2:
            peer.vanish()


async def cycles(here: Place, job: str, count: int) -> None:
    """Do so many cycles, some at a time."""
    for start in range(0, count, AT_ONCE):
        async with trio.open_nursery() as nursery:
            for number in range(start, min(start + AT_ONCE, count)):
                nursery.start_soon(cycle, here, job, number)


async def back_to(what: Callable[[], object], before: object) -> None:
    """Wait until a count is as before: a server notices a closed connection a moment later."""
    with trio.move_on_after(10):
        while what() != before:
            await trio.sleep(0.01)
    assert what() == before


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.deep
async def test_nothing_stays(door: Door) -> None:
    """After 500 peers vanished from each server, tasks, files, readers and memory are as before."""
    async with place(door, limits=LIMITS) as here:
        job = (await here.submit("wait")).id
        await trio.testing.wait_all_tasks_blocked(0.1)
        before = task_names(), open_files()
        await cycles(here, job, WARM)
        await back_to(lambda: (task_names(), open_files()), before)
        gc.collect()
        tracemalloc.start()
        try:
            sizes: list[int] = []
            for _ in range(ROUNDS):
                await cycles(here, job, CYCLES)
                await back_to(lambda: (task_names(), open_files()), before)
                gc.collect()
                sizes.append(tracemalloc.get_traced_memory()[0])
            assert min(after - less for less, after in pairwise(sizes)) < MEMORY, sizes
        finally:
            tracemalloc.stop()
        assert (await here.jobs.statistics()).readers == 0
        await here.serves()
