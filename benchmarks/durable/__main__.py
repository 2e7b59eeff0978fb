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
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import apsw
import attrs

from benchmarks.inprocess import Row, as_json, machine, show
from benchmarks.inprocess import Scale as Rounds

from . import growth, latency, speed, tokens
from .checks import Scale
from .libraries import OURS, PEERS, Library, install, version_of

RESULTS = Path(__file__).parents[1] / "results" / "durable.json"
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


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser("benchmarks.durable", description=(__doc__ or "").partition("\n")[0])
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="see that it runs, without peers")
    size.add_argument("--full", action="store_true", help="also a million jobs queued, finished, and tokens")
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


def scale_of(given: argparse.Namespace) -> Scale:
    scale = QUICK if given.quick else FULL if given.full else USUAL
    return scale if given.rounds is None else attrs.evolve(scale, rounds=given.rounds)


def main() -> None:
    given = arguments()
    scale = scale_of(given)
    facts = {**machine(), "apsw": version("apsw"), "SQLite": apsw.sqlite_lib_version()}
    print("  ".join(f"{name} {value}" for name, value in facts.items()))
    done = []
    with ExitStack() as stack:
        cache = given.cache or Path(stack.enter_context(TemporaryDirectory()))
        libraries = [OURS, *installed(given.names, cache.absolute())]
        for row in rows(scale, libraries):
            show(row)
            done.append(row)
            sys.stdout.flush()
    path = given.json or (None if given.quick else RESULTS)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(as_json(facts, Rounds(rounds=scale.rounds), done), "utf-8")


if __name__ == "__main__":
    main()
