"""How old a token is when it comes to the client's hands, if there is one client, and time between tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from benchmarks.durable.checks import Figures, in_turn, medians, percentile
from benchmarks.inprocess import Check, Row, ratio

from .measure import Heard, listen
from .peers.protocol import Plan
from .scale import Scale
from .sides import BARE, EVENTS, OURS, PEERS, STARLETTE, Server

MS = 1000
TARGET, ENOUGH = 1.5, 3.0
PARTS = {"p50": 0.5, "p99": 0.99}


def compare(ages: Figures) -> Iterator[Check]:
    for name in OURS:
        peer = STARLETTE if name == EVENTS else BARE
        if peer in ages:
            targets = (TARGET, ENOUGH) if peer == BARE else (None, None)
            yield ratio(f"{name} / {peer}", ages[name], ages[peer], *targets)


def rows(scale: Scale, servers: Sequence[Server]) -> Iterator[Row]:
    plan = Plan(1, scale.singles, pause=scale.pause)
    versions: dict[str, Callable[[], Heard]] = {
        server.side.name: partial(listen, server, plan, 1) for server in servers
    }
    heard = in_turn(scale.rounds, versions, PEERS)
    for name, part in PARTS.items():
        ages = {side: [percentile(one.delays, part) * MS for one in rounds] for side, rounds in heard.items()}
        yield Row("latency", f"from send to the client, {name}", "ms", medians(ages), list(compare(ages)))
