"""One measurement: a server speaks, the clients listen, and what they heard is checked."""

from __future__ import annotations

import json
import sys
from contextlib import AbstractContextManager
from typing import Any

import attrs

from benchmarks.durable.checks import must_be
from benchmarks.durable.programs import Program, running

from .peers.protocol import Plan, token
from .sides import Server


@attrs.frozen
class Heard:
    """What the clients of one measurement heard.

    Attributes:
        speed: Tokens per second of the server's processor time.
        pace: Tokens per second, from when the jobs could speak until the last client had everything.
        per_frame: Tokens per frame of a WebSocket, or per write of server-sent events.
        busy: The part of that time in which the clients' process computed.
        delays: How old each token was when it came, if it said so.
        late: Seconds by which whoever speaks came back late from its pauses, 99th percentile.
    """

    speed: float
    pace: float
    per_frame: float
    busy: float
    delays: list[float]
    late: float


def load() -> AbstractContextManager[Program]:
    """Run the clients' program. Its connections end with the block."""
    return running("the clients", [sys.executable, "-m", "benchmarks.serving.load"])


def connect(clients: Program, server: Server, plan: Plan, count: int, *, idle: bool = False) -> None:
    """Let so many clients follow the plan's jobs, in turn; or only connect, if they are to be idle.

    Raises:
        WrongResult: The server refused one.
    """
    side = server.side
    jobs = server.program.ask({"do": "prepare", **vars(plan)})["jobs"]
    follow = [jobs[n % len(jobs)] for n in range(count)]
    order: dict[str, Any] = {
        "do": "connect",
        "port": server.port,
        "websocket": side.websocket,
        "tls": side.tls,
        "requests": [side.request(job) for job in follow],
        "hellos": [None if idle else side.hello(job) for job in follow],
        "until": None if idle else token(plan.tokens - 1) if plan.hold else side.end,
        "tokens": plan.tokens,
        "ends": not plan.hold,
        "timed": plan.pause > 0,
    }
    connected = clients.ask(order)
    must_be(f"connections of {side.name}", connected, {"connected": count})


def go(clients: Program, server: Server, plan: Plan, count: int) -> Heard:
    """Let the jobs speak, and return what the clients heard.

    Raises:
        WrongResult: One of them did not hear each token once, in order, and the end.
    """
    began = server.program.ask({"do": "go"})
    heard = json.loads(clients.read_line("listen to the end"))
    must_be(f"faults in what clients of {server.side.name} heard", heard["faults"], [])
    must_be(f"clients of {server.side.name} that heard everything", heard["right"], count)
    stopped = server.program.ask({"do": "stop"})
    spent, seconds = stopped["spent"] - began["spent"], heard["last"] - began["now"]
    tokens = plan.tokens * count
    return Heard(
        tokens / spent,
        tokens / seconds,
        tokens / heard["frames"],
        heard["busy"],
        heard["delays"],
        stopped["late"],
    )


def listen(server: Server, plan: Plan, count: int) -> Heard:
    """Let the plan's jobs speak to so many clients, from their connection to the end."""
    with load() as clients:
        connect(clients, server, plan, count)
        return go(clients, server, plan, count)
