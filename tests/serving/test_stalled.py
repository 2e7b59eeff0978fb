"""A reader that stops reading costs bounded memory, and affects no other.

`TRIO_JOBS_STALL_SECONDS=60` lets it stop for a minute.
"""

from __future__ import annotations

import json
import os
import tracemalloc
from collections.abc import AsyncGenerator
from typing import NamedTuple

import pytest
import trio

import trio_jobs
from tests.serving.place import DOORS, Door, Place, place
from tests.serving.raw import Peer, handshake, request
from trio_jobs.serving import Limits

SECONDS = float(os.environ.get("TRIO_JOBS_STALL_SECONDS", "2"))
SIZE = 12_000
ENOUGH = 12 * 2**20 // SIZE
"""Tokens of half a stall: more than the kernel's buffers hold, so that the server's own memory counts."""
KEPT = trio_jobs.Retention(bytes=4 * 2**20)
AHEAD = 64
"""Tokens by which the handler may be ahead of the quick reader: fewer than are kept, so that however busy the
machine is, that reader can miss one only if the other keeps it back."""
MEMORY = 2**20
"""Bytes by which the peak may differ between the halves, in each of which twelve times as much is sent."""


class Heard(NamedTuple):
    """An event, or the last of a gap."""

    first: int
    last: int
    gap: bool


async def follow(here: Place, peer: Peer, job: str) -> None:
    """Follow the job's log."""
    if here.door == "http":
        await peer.send(request("GET", f"/v1/jobs/{job}/stream", {"Host": here.host}))
    else:
        await peer.send(handshake(here.path, {"Host": here.host}))
        assert (await peer.answer()).status == 101
        await peer.tell(op="follow", id=1, job=job)


async def heard(here: Place, peer: Peer) -> AsyncGenerator[Heard]:
    """Yield the events that arrive, over either protocol."""
    if here.door == "websocket":
        while True:
            message = await peer.message()
            if "gap" in message:
                yield Heard(message["gap"]["first"], message["gap"]["last"], gap=True)
            for event in message.get("events", []):
                yield Heard(event["seq"], event["seq"], gap=False)
    await peer.until(b"\r\n\r\n")
    left = b""
    while chunk := await peer.chunk():
        *blocks, left = (left + chunk).split(b"\n\n")
        for block in blocks:
            fields = {name: text for name, _, text in (one.partition(b": ") for one in block.split(b"\n"))}
            if fields.get(b"event") == b"gap":
                gap = json.loads(fields[b"data"])
                yield Heard(gap["first"], gap["last"], gap=True)
            elif b"id" in fields:
                yield Heard(int(fields[b"id"]), int(fields[b"id"]), gap=False)


class Watch:
    """A reader that keeps up, and the events that it got."""

    def __init__(self) -> None:
        self.seq = 0
        self.gaps = 0
        self._read = trio.Event()

    async def turn(self, number: int) -> None:
        """Wait until the reader has all but the last few of so many tokens."""
        while number > self.seq + AHEAD:
            await self._read.wait()

    async def read(self, here: Place, peer: Peer) -> None:
        """Read until cancelled; no event may be missing without a gap."""
        async for one in heard(here, peer):
            assert one.first == self.seq + 1, f"{one} after {self.seq}"
            self.seq = one.last
            self.gaps += one.gap
            self._read.set()
            self._read = trio.Event()


async def peak(watch: Watch) -> int:
    """Wait until time and tokens have passed, and return the most memory that Python held meanwhile."""
    start, began = watch.seq, trio.current_time()
    tracemalloc.reset_peak()
    while trio.current_time() < began + SECONDS / 2 or watch.seq < start + ENOUGH:
        await trio.sleep(0.02)
    return tracemalloc.get_traced_memory()[1]


async def growth(watch: Watch) -> int:
    """Return by how much the peak grew from one half of the stall to the other."""
    tracemalloc.start()
    try:
        return -await peak(watch) + await peak(watch)
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.deep
async def test_one_stands_still(door: Door) -> None:
    """While one reader stops, the handler goes on, another reader misses nothing, and memory does not grow.
    When it reads again, it gets the log in order, with every gap."""
    limits = Limits(idle=10 * SECONDS + 60)
    async with place(door, limits=limits, retention=KEPT) as here:
        watch, late = Watch(), Watch()
        job = await here.submit("run", SIZE, watch.turn)
        stalled, quick = await here.dial(buffer=4096), await here.dial()
        async with stalled.stream, quick.stream:
            await follow(here, stalled, job.id)
            await follow(here, quick, job.id)
            with trio.fail_after(2 * SECONDS + 60):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(watch.read, here, quick)
                    assert await growth(watch) < MEMORY
                    assert watch.gaps == 0
                    nursery.start_soon(late.read, here, stalled)
                    level = watch.seq
                    while late.seq < level:
                        await trio.sleep(0.01)
                    nursery.cancel_scope.cancel()
            assert late.gaps, "everything was kept for it"
