"""How many tokens per second reach the clients."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from statistics import median

import attrs

from benchmarks.durable.checks import Figures, in_turn, medians
from benchmarks.inprocess import Check, Row, ratio

from .measure import Heard, listen
from .peers.protocol import Plan
from .scale import BURSTS, EACH, PATTERNS, Scale
from .sides import BARE, EVENTS, LIBRARY, LOOP, OURS, PEERS, STARLETTE, Server

# Our tokens per second over a peer's: the target, and what is good enough to go on.
TARGETS: Mapping[tuple[str, str], tuple[float, float]] = {
    (BARE, EACH): (1.8, 1.3),
    (BARE, BURSTS): (40, 10),
    (LIBRARY, EACH): (0.6, 0.4),
    (LIBRARY, BURSTS): (15, 5),
    (STARLETTE, EACH): (0.5, 0.3),
    (STARLETTE, BURSTS): (4, 2),
}
EACH_ITS_OWN: Mapping[tuple[str, str], tuple[float, float]] = {
    (BARE, EACH): (1.5, 1.2),
    (LIBRARY, EACH): (0.7, 0.5),
    (STARLETTE, EACH): (0.6, 0.4),
}
"""The same of a thousand clients with a job each."""
THOUSAND = 1000
EVENTS_CLIENTS = 100
"""How many clients the target of server-sent events is for; that of WebSockets is for any number."""


@attrs.frozen
class Case:
    """Who listens to what.

    Attributes:
        clients: How many there are.
        jobs: Whether all follow one job, or each its own.
        pattern: How the handlers send.
    """

    clients: int
    jobs: int
    pattern: str

    def __str__(self) -> str:
        if self.clients == 1:
            return f"1 client, {self.pattern}"
        followed = "one job" if self.jobs == 1 else "a job each"
        return f"{self.clients:,} clients, {followed}, {self.pattern}"


def cases(scale: Scale) -> Iterator[Case]:
    for clients in scale.tokens:
        for jobs in sorted({1, clients}):
            for pattern in PATTERNS:
                yield Case(clients, jobs, pattern)


def hear(server: Server, scale: Scale, case: Case) -> Heard:
    """Let clients listen, to more tokens of who needs less time for them."""
    burst = PATTERNS[case.pattern]
    more = scale.more[case.pattern] if server.side.name in OURS else 1
    return listen(server, Plan(case.jobs, scale.tokens[case.clients] * more, burst), case.clients)


def spread(name: str, values: Sequence[float]) -> Check:
    return Check(name, median(values), min(values), max(values))


def compare(speeds: Figures, case: Case) -> Iterator[Check]:
    """Compare each of our servers with the peers that speak as it does."""
    for name in OURS:
        for peer in PEERS:
            if peer not in speeds or peer == LOOP or (name == EVENTS) != (peer == STARLETTE):
                continue
            yield ratio(f"{name} / {peer}", speeds[name], speeds[peer], *targets(case, peer), at_most=False)


def targets(case: Case, peer: str) -> tuple[float, float] | tuple[None, None]:
    """Return what our speed over a peer's is to be, and what is good enough."""
    key = peer, case.pattern
    if case.jobs == THOUSAND and key in EACH_ITS_OWN:
        return EACH_ITS_OWN[key]
    if peer == STARLETTE and case.clients != EVENTS_CLIENTS:
        return None, None
    return TARGETS[key]


def rows(scale: Scale, servers: Sequence[Server]) -> Iterator[Row]:
    for case in cases(scale):
        versions: dict[str, Callable[[], Heard]] = {
            server.side.name: partial(hear, server, scale, case) for server in servers
        }
        heard = in_turn(scale.rounds, versions, PEERS)
        speeds = {name: [one.speed for one in rounds] for name, rounds in heard.items()}
        checks = list(compare(speeds, case))
        checks += [
            spread(f"tokens per frame, {name}", [one.per_frame for one in heard[name]]) for name in OURS
        ]
        checks.append(spread("the clients' load", [one.busy for rounds in heard.values() for one in rounds]))
        yield Row("speed", str(case), "tokens/s of processor time", medians(speeds), checks)
        paces = {name: [one.pace for one in rounds] for name, rounds in heard.items()}
        yield Row("pace", f"{case}, on the wall", "tokens/s", medians(paces))
