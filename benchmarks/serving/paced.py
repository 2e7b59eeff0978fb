"""Streams at the rate of a model: what followers of one job cost, who comes late, how many a core carries."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial

from benchmarks.durable.checks import Figures, in_turn, medians, percentile
from benchmarks.inprocess import Check, Row, ratio

from .measure import Heard, listen
from .peers.protocol import Plan
from .scale import Scale
from .sides import BARE, IN_A_FILE, LOOP, OURS, PEERS, STARLETTE, Server, serving

MS = 1000
RATE = 20
LATEST = 0.25
"""Seconds within which 99 of 100 tokens have to be with the client, and who sends has to have its turn."""
STEP = 1.25
# Our processor time over that of Starlette on uvicorn, by how many follow: the target, and what is enough.
TARGETS = {1: (2.5, 4.0), 100: (1.5, 2.5), 1000: (1.0, 1.5), 2000: (1.0, 1.5)}
P50, LATE = (2.0, 4.0), (2.0, 4.0)


def against(figures: Figures, peer: str, target: float | None, enough: float | None) -> Iterator[Check]:
    for name in (*OURS, *IN_A_FILE):
        if name in figures and peer in figures:
            yield ratio(f"{name} / {peer}", figures[name], figures[peer], target, enough)


def followers(scale: Scale, servers: Sequence[Server]) -> Iterator[Row]:
    """Measure processor time, age and lateness where all follow one job."""
    for count, tokens in scale.followers.items():
        plan = Plan(1, tokens, pause=scale.pause)
        versions: dict[str, Callable[[], Heard]] = {
            server.side.name: partial(listen, server, plan, count) for server in servers
        }
        heard = in_turn(scale.rounds, versions, PEERS)
        name = f"{count:,} followers of one job"
        costs = {side: [1e6 / one.speed for one in rounds] for side, rounds in heard.items()}
        checks = list(against(costs, STARLETTE, *TARGETS.get(count, (None, None))))
        yield Row("paced", f"{name}, processor time", "us per token and follower", medians(costs), checks)
        ages = {side: [percentile(one.delays, 0.5) * MS for one in rounds] for side, rounds in heard.items()}
        yield Row(
            "paced", f"{name}, from send, p50", "ms", medians(ages), list(against(ages, STARLETTE, *P50))
        )
        late = {side: [one.late * MS for one in rounds] for side, rounds in heard.items()}
        checks = [
            ratio(f"{side} / the interval", late[side], [scale.pause * MS] * len(late[side]), *LATE)
            for side in (*OURS, *IN_A_FILE, BARE, LOOP)
            if side in late
        ]
        checks += against(late, LOOP, None, None)
        yield Row("paced", f"{name}, lateness of who sends, p99", "ms", medians(late), checks)


def carried(server: Server, first: int, most: int, tokens: int) -> float:
    """Return how many streams a server carries, each of a job of its own, before tokens come late."""
    found, count = 0, first
    while count <= most:
        heard = listen(server, Plan(count, tokens, pause=1 / RATE), count)
        if max(percentile(heard.delays, 0.99), heard.late) > LATEST:
            break
        found, count = count, round(count * STEP)
    return found


def streams(scale: Scale, servers: Sequence[Server]) -> Iterator[Row]:
    """Find how many streams each server carries on one core."""
    versions: dict[str, Callable[[], float]] = {
        server.side.name: partial(carried, server, *scale.streams) for server in servers
    }
    found = in_turn(scale.rounds, versions, PEERS)
    checks = [
        ratio(f"{name} / {peer}", found[name], found[peer], None, None, at_most=False)
        for name in OURS
        for peer in PEERS
        if name in found and min(found.get(peer, [0])) > 0
    ]
    title = f"streams of a job each at {RATE} tokens/s, p99 within {LATEST * MS:.0f} ms"
    yield Row("paced", title, "streams", medians(found), checks)


def rows(scale: Scale, servers: Sequence[Server]) -> Iterator[Row]:
    with ExitStack() as stack:
        durable = [stack.enter_context(serving(side)) for side in IN_A_FILE.values()]
        yield from followers(scale, [*servers, *durable])
    yield from streams(scale, servers)
