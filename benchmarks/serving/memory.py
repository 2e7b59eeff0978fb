"""How much memory a connection takes, idle or with a stream, as the server's process grows.

Each is weighed in a process of its own, after connections that pay for what all share. A stream is weighed
when its tokens have come, and more may follow. What the kernel holds for a socket is not counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from benchmarks.durable.checks import Figures, in_turn, medians
from benchmarks.durable.programs import Program
from benchmarks.inprocess import Check, Row, ratio

from .measure import connect, go, load
from .peers.protocol import Plan
from .scale import Scale
from .sides import BARE, EVENTS, OURS, PEERS, STARLETTE, Server, Side, serving

KB = 1024
FIRST = 20
SPOKEN = Plan(1, 10, hold=True)
IDLE, STREAMING = "idle", "streaming"


def add(clients: Program, server: Server, count: int, state: str) -> int:
    """Open connections, and return the bytes that the server's process has then."""
    connect(clients, server, SPOKEN, count, idle=state == IDLE)
    if state == STREAMING:
        go(clients, server, SPOKEN, count)
    return int(server.program.ask({"do": "weigh"})["resident"])


def weigh(side: Side, count: int, state: str) -> float:
    """Return the kilobytes that one connection takes."""
    with serving(side) as server, load() as clients:
        before = add(clients, server, FIRST, state)
        return (add(clients, server, count, state) - before) / count / KB


def compare(weights: Figures, state: str) -> Iterator[Check]:
    for name in OURS:
        peer = STARLETTE if name == EVENTS else BARE
        if name in weights and peer in weights:
            targets = (1.3, 2.0) if (state, peer) == (STREAMING, BARE) else (None, None)
            yield ratio(f"{name} / {peer}", weights[name], weights[peer], *targets)


def rows(scale: Scale, sides: Sequence[Side]) -> Iterator[Row]:
    for state in (IDLE, STREAMING):
        versions = {
            side.name: partial(weigh, side, scale.connections, state)
            for side in sides
            if side.websocket or state == STREAMING
        }
        weights = in_turn(scale.rounds, versions, PEERS)
        name = f"{scale.connections:,} connections, {state}"
        yield Row("memory", name, "KB each", medians(weights), list(compare(weights, state)))
