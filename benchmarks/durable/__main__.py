"""How fast jobs in an SQLite file are, next to other libraries and to the limit of the parts.

    python -m benchmarks.durable [--quick | --full] [--peers huey,arq] [--cache FOLDER] [--json PATH]

Run it in the project's folder. Each peer is installed, at its newest, into an environment of its own, and
driven by two processes, a client and a worker; ours is too, and also in one process, as its programs begin.
What each is asked for is in `peers/protocol.py`. Redis, where a peer needs it, is started here, on the
loopback only.

Everybody is measured in turn, and only ratios taken in one run count. No speed is reported of work that was
not seen to be done: every job has to come back with its own number.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path

import apsw
import attrs

from benchmarks.inprocess import Row, machine
from benchmarks.with_peers import arguments, cache_of, parser_of, publish

from . import growth, latency, speed, tokens
from .checks import Scale
from .libraries import OURS, PEERS, Library, install, version_of

SIZES = {
    "--quick": "see that it runs, without peers",
    "--full": "also a million jobs queued, finished, and tokens",
}
QUICK = Scale(jobs=200, singles=20, tokens=2000, queued=(500, 2000), finished=1000, rounds=1)
USUAL = Scale()
FULL = Scale(tokens=1_000_000, queued=(1000, 100_000, 1_000_000), finished=1_000_000)


def installed(names: Sequence[str], cache: Path) -> Iterator[Library]:
    """Yield the peers that can be had, and print why the others cannot."""
    for name in names:
        peer = install(PEERS[name], cache)
        if isinstance(peer, str):
            print(f"without {name}: {peer}")
        else:
            print(f"{name} {version_of(peer)}")
            yield peer


def rows(scale: Scale, libraries: Sequence[Library]) -> Iterator[Row]:
    yield from speed.rows(scale, libraries)
    yield from latency.rows(scale, libraries)
    yield from tokens.rows(scale)
    yield from growth.rows(scale)


def scale_of(given: argparse.Namespace) -> Scale:
    scale = QUICK if given.quick else FULL if given.full else USUAL
    return scale if given.rounds is None else attrs.evolve(scale, rounds=given.rounds)


def main() -> None:
    given = arguments(parser_of("durable", __doc__, SIZES, PEERS), PEERS)
    scale = scale_of(given)
    facts = {**machine(), "apsw": version("apsw"), "SQLite": apsw.sqlite_lib_version()}
    print("  ".join(f"{name} {value}" for name, value in facts.items()))
    with cache_of(given) as cache:
        libraries = [OURS, *installed(given.names, cache)]
        publish("durable", given, facts, scale.rounds, rows(scale, libraries))


if __name__ == "__main__":
    main()
