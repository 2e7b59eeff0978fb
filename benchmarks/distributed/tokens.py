"""How fast tokens are written by one process and followed from another, and how much room they take."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import trio

from benchmarks.durable.checks import Figures, medians
from benchmarks.durable.tokens import BURST, BURSTS, EACH, write
from benchmarks.inprocess import Row, ratio

from .libraries import OURS, Library
from .servers import Server
from .speed import Scale

SIZE = """SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::bigint FROM pg_class
    WHERE relnamespace = 'trio_jobs'::regnamespace AND relkind = 'r'"""


def measure(server: Server, tokens: int, burst: int) -> tuple[float, float]:
    """Return tokens per second until the other process had the last, and bytes that each of them took."""
    with OURS.on(server) as place:
        before = server.ask(place.address, SIZE)
        seconds = trio.run(partial(write, place.address, tokens, burst, followed=True))
        return tokens / seconds, (server.ask(place.address, SIZE) - before) / tokens


def rows(scale: Scale, server: Server, _: Sequence[Library]) -> Iterator[Row]:
    speeds: Figures = {EACH: [], BURSTS: []}
    room: Figures = {EACH: [], BURSTS: []}
    for _turn in range(scale.rounds):
        for name, burst in ((EACH, 1), (BURSTS, BURST)):
            speed, size = measure(server, scale.tokens if burst > 1 else scale.tokens // 10, burst)
            speeds[name].append(speed)
            room[name].append(size)
    checks = [ratio("bursts / each", speeds[BURSTS], speeds[EACH])]
    yield Row(
        "tokens", "one job's tokens, followed from another process", "tokens/s", medians(speeds), checks
    )
    yield Row("tokens", "room for tokens of 12 bytes", "bytes", medians(room))
