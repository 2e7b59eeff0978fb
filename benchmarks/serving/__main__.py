"""How fast tokens come to clients over WebSockets and server-sent events, next to a frame per token.

    python -m benchmarks.serving [--quick] [--peers trio-websocket,websockets] [--cache FOLDER] [--json PATH]

Run it in the project's folder. Every server is a process of its own, and its clients are another, on the
loopback only. What a server is asked for is in `peers/protocol.py`. A peer that is not here because our own
servers need it is installed, at its newest, into an environment of its own.

Everybody is measured in turn, and only ratios taken in one run count. No speed is reported of tokens that did
not come: every client has to have each of them once, in order, and the end.
"""

from __future__ import annotations

import resource
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path

import attrs

from benchmarks.durable.libraries import version_of
from benchmarks.inprocess import Row, machine
from benchmarks.with_peers import arguments, cache_of, parser_of, publish

from . import latency, memory, paced, speed
from .scale import BURSTS, EACH, Scale
from .sides import OURS, PEERS, Side, install_side, serving

SIZES = {"--quick": "see that it runs, without peers"}
QUICK = Scale(
    {1: 500, 10: 128},
    {EACH: 1, BURSTS: 5},
    singles=20,
    pause=0.005,
    followers={1: 20, 10: 20},
    streams=(5, 10, 5),
    connections=20,
    rounds=1,
)
USUAL = Scale()


def installed(names: Sequence[str], cache: Path) -> Iterator[Side]:
    """Yield the peers that can be had, and print why the others cannot."""
    for name in names:
        peer = install_side(PEERS[name], cache)
        if isinstance(peer, str):
            print(f"without {name}: {peer}")
        else:
            print(f"{name} {version_of(peer.library)}")
            yield peer


def allow_files(needed: int) -> None:
    """Raise the number of files that may be open, for this process and those it starts, where it is too low.

    Raises:
        SystemExit: The system allows no more.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise SystemExit(f"{needed} open files are needed, and {hard} allowed: see `ulimit -Hn`")
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def rows(scale: Scale, sides: Sequence[Side]) -> Iterator[Row]:
    with ExitStack() as stack:
        servers = [stack.enter_context(serving(side)) for side in sides]
        yield from speed.rows(scale, servers)
        yield from latency.rows(scale, servers)
        yield from paced.rows(scale, servers)
    yield from memory.rows(scale, sides)


def main() -> None:
    given = arguments(parser_of("serving", __doc__, SIZES, PEERS), PEERS)
    scale = QUICK if given.quick else USUAL
    if given.rounds is not None:
        scale = attrs.evolve(scale, rounds=given.rounds)
    allow_files(scale.files)
    ours = ("trio-websocket", "wsproto", "starlette", "h11")
    facts = {**machine(), **{name: version(name) for name in ours}}
    print("  ".join(f"{name} {value}" for name, value in facts.items()))
    with cache_of(given) as cache:
        sides = [*OURS.values(), *installed(given.names, cache)]
        publish("serving", given, facts, scale.rounds, rows(scale, sides))


if __name__ == "__main__":
    main()
