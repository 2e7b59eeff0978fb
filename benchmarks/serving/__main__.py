"""How fast tokens come to clients over WebSockets and server-sent events, next to a frame per token.

    python -m benchmarks.serving [--quick] [--peers trio-websocket,websockets] [--cache FOLDER] [--json PATH]

Run it in the project's folder. Every server is a process of its own, and its clients are another, on the
loopback only. What a server is asked for is in `peers/protocol.py`. A peer that is not here because our own
servers need it is installed, at its newest, into an environment of its own.

Everybody is measured in turn, and only ratios taken in one run count. No speed is reported of tokens that did
not come: every client has to have each of them once, in order, and the end.
"""

from __future__ import annotations

import argparse
import resource
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import attrs

from benchmarks.durable.libraries import version_of
from benchmarks.inprocess import Row, as_json, machine, show
from benchmarks.inprocess import Scale as Rounds

from . import latency, memory, speed
from .scale import BURSTS, EACH, Scale
from .sides import OURS, PEERS, Side, install_side, serving

RESULTS = Path(__file__).parents[1] / "results" / "serving.json"
QUICK = Scale({1: 500, 10: 128}, {EACH: 1, BURSTS: 5}, singles=20, pause=0.005, connections=20, rounds=1)
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
    yield from memory.rows(scale, sides)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser("benchmarks.serving", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="see that it runs, without peers")
    parser.add_argument("--peers", help=f"some of {','.join(PEERS)} (default: all)")
    parser.add_argument("--rounds", type=int, help="how often everything is measured")
    parser.add_argument("--cache", type=Path, help="where to keep the peers' environments (default: nowhere)")
    parser.add_argument("--json", type=Path, help=f"where to write (default, unless quick: {RESULTS.name})")
    given = parser.parse_args()
    given.names = [] if given.quick else list(PEERS)
    if given.peers is not None:
        given.names = [name for name in given.peers.split(",") if name]
    if unknown := set(given.names) - set(PEERS):
        parser.error(f"no such peer: {', '.join(sorted(unknown))}; there are {', '.join(PEERS)}")
    return given


def main() -> None:
    given = arguments()
    scale = QUICK if given.quick else USUAL
    if given.rounds is not None:
        scale = attrs.evolve(scale, rounds=given.rounds)
    allow_files(scale.files)
    ours = ("trio-websocket", "wsproto", "starlette", "hypercorn")
    facts = {**machine(), **{name: version(name) for name in ours}}
    print("  ".join(f"{name} {value}" for name, value in facts.items()))
    done = []
    with ExitStack() as stack:
        cache = given.cache or Path(stack.enter_context(TemporaryDirectory()))
        sides = [*OURS.values(), *installed(given.names, cache.absolute())]
        for row in rows(scale, sides):
            show(row)
            done.append(row)
            sys.stdout.flush()
    path = given.json or (None if given.quick else RESULTS)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(as_json(facts, Rounds(rounds=scale.rounds), done), "utf-8")


if __name__ == "__main__":
    main()
