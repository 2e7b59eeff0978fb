"""What TLS costs: `python -m benchmarks.serving.tls [rounds]`.

The same tokens to the same clients with and without, in turn, in the server's processor time. With TLS there
is no way past Trio's streams: each send is one that waits, and each client's bytes are made for it alone.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial

import attrs

from benchmarks.durable.checks import in_turn, medians
from benchmarks.inprocess import Row, ratio

from .measure import listen
from .peers.protocol import Plan
from .scale import PATTERNS
from .sides import EVENTS, OURS, WEBSOCKET, serving

TOKENS = {1: 4000, 100: 400}
WITH_TLS = {
    name: attrs.evolve(OURS[name], name=f"{name}, TLS", module=[*OURS[name].module, "tls"], tls=True)
    for name in (WEBSOCKET, EVENTS)
}


def rows(rounds: int, tokens: dict[int, int]) -> Iterator[Row]:
    """Measure both ways for each number of clients, which follow one job."""
    with ExitStack() as stack:
        pairs = [(name, side.name) for name, side in WITH_TLS.items()]
        servers = [
            stack.enter_context(serving(side)) for name, tls in WITH_TLS.items() for side in (OURS[name], tls)
        ]
        for clients, count in tokens.items():
            for pattern, burst in PATTERNS.items():
                plan = Plan(1, count, burst)
                heard = in_turn(
                    rounds,
                    {server.side.name: partial(listen, server, plan, clients) for server in servers},
                    (),
                )
                costs = {name: [1e6 / one.speed for one in found] for name, found in heard.items()}
                checks = [ratio(f"{tls} / without", costs[tls], costs[name]) for name, tls in pairs]
                title = f"{clients} clients of one job, {pattern}"
                yield Row("tls", title, "us per token and client", medians(costs), checks)


def main() -> None:
    for row in rows(int(sys.argv[1]) if len(sys.argv) > 1 else 3, TOKENS):
        print(row.name)
        for name, cost in row.figures.items():
            print(f"    {name:24} {cost:8.2f} {row.unit}")
        for check in row.checks:
            print(f"    {check.name}: {check.value:.2f}")


if __name__ == "__main__":
    main()
