"""What the benchmark asks of every server that is measured.

Peers run in environments of their own, so this file uses nothing but the standard library. A server says
`{"port": 8000}`, and then reads an order per line and writes an answer per line, both as JSON:

    {"do": "prepare", "jobs": 1, "tokens": 500, ...}  ->  {"jobs": ["..."]}   ids, for who follows them
    {"do": "go"}     ->  {"now": 12.3, "spent": 4.5}   they speak from now on
    {"do": "stop"}   ->  {"now": 12.3, "spent": 4.5, "late": 0.001}   the clients have heard everything
    {"do": "weigh"}  ->  {"resident": 45000000}        bytes of this process

`spent` is the processor time of the server, in seconds; `late` the 99th percentile of how late whoever speaks
came back from its pauses.

The peers have no jobs. Each of their connections waits for `go`, and then sends frames that were made before,
one per token, in a loop that lets others run after each token, or burst: what frames cost, and nothing else.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, process_time
from typing import Any, Protocol

HOST = "127.0.0.1"
END = {"end": True}


def now() -> float:
    """Return seconds on a clock that all processes share."""
    return monotonic()


LATE: list[float] = []
"""How late each pause of the plan that is on ended."""


def paused(since: float, pause: float) -> None:
    """Note that a pause has ended."""
    LATE.append(now() - since - pause)


def token(n: int) -> str:
    """Return a token of 12 bytes."""
    return f"token {n:06d}"


def timed_token(n: int) -> str:
    """Return a token that says when it was sent."""
    return f"{token(n)} {now():.9f}"


def compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def message(n: int, token: str) -> str:
    """Return the least that a client needs to know how far it has come: a number, and the token."""
    return compact({"seq": n + 1, "data": token})


def event(n: int, token: str) -> str:
    """Return the same as a server-sent event."""
    return f"id: {n + 1}\nevent: token\ndata: {compact(token)}\n\n"


@dataclass(frozen=True)
class Plan:
    """What each job is to say.

    Attributes:
        jobs: How many jobs there are.
        tokens: How many tokens each sends.
        burst: How many of them at once; then others may run.
        pause: Seconds after each burst. If there is one, tokens say when they were sent.
        hold: Whether the job does not end by itself, nor the stream.
    """

    jobs: int
    tokens: int
    burst: int = 1
    pause: float = 0.0
    hold: bool = False


class Gate(Protocol):
    """An event of trio's or of asyncio's."""

    def set(self) -> None: ...

    def wait(self) -> Awaitable[object]: ...


@dataclass
class Stage:
    """The plan that is on, and the gate in front of it."""

    make_gate: Callable[[], Gate]
    plan: Plan = field(init=False, default=Plan(0, 0))
    gate: Gate = field(init=False)

    def __post_init__(self) -> None:
        self.gate = self.make_gate()

    def prepare(self, plan: Plan) -> None:
        self.plan, self.gate = plan, self.make_gate()


class Frames:
    """The frames of a plan, ready to be sent, or made when they are sent if they are to say when that was."""

    def __init__(self, plan: Plan, make: Callable[[int, str], str]) -> None:
        self.plan, self.make = plan, make
        self.ready = [make(n, token(n)) for n in range(plan.tokens)]

    def bursts(self) -> Iterator[Sequence[str]]:
        if self.plan.pause:
            yield from ((self.make(n, timed_token(n)),) for n in range(self.plan.tokens))
        else:
            yield from (
                self.ready[first : first + self.plan.burst]
                for first in range(0, self.plan.tokens, self.plan.burst)
            )


def resident_bytes() -> int:
    gc.collect()
    pages = Path("/proc/self/statm").read_text("ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def say(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


async def take_orders(
    read_line: Callable[[], Awaitable[str]],
    prepare: Callable[[Plan], Awaitable[list[str]]],
    go: Callable[[], Awaitable[None]],
) -> None:
    """Do what the lines of the standard input say, until it ends."""
    while line := await read_line():
        order = json.loads(line)
        match order.pop("do"):
            case "prepare":
                LATE.clear()
                say({"jobs": await prepare(Plan(**order))})
            case "go":
                say({"now": now(), "spent": process_time()})
                await go()
            case "stop":
                late = sorted(LATE)[len(LATE) * 99 // 100] if LATE else 0.0
                say({"now": now(), "spent": process_time(), "late": late})
            case "weigh":
                say({"resident": resident_bytes()})
            case other:
                raise ValueError(f"no such order: {other!r}")
