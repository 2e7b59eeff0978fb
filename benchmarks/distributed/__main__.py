"""How fast jobs on PostgreSQL are, next to other libraries on the same server.

    python -m benchmarks.distributed [--quick] [--peers saq,dbos] [--cache FOLDER] [--json PATH]

Run it in the project's folder. A server is started for it, from the system's packages, with its data on the
disk and durable as it is installed. Each peer is installed, at its newest, into an environment of its own,
and driven by a client process and worker processes, as its documentation says is best. What each is asked
for is in `peers/protocol.py`.

Everybody is measured in turn, and only ratios taken in one run count. No speed is reported of work that was
not seen to be done: every job has to come back with its own number, or, where results are not kept, to have
left its mark once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version

import attrs

from benchmarks.durable.libraries import install, version_of
from benchmarks.inprocess import Row, machine
from benchmarks.with_peers import arguments, cache_of, parser_of, publish

from . import claims, costs, speed, tokens
from .libraries import OURS, PEERS, Library
from .servers import Server, server
from .speed import Scale

QUICK = Scale(jobs=400, batch=50, singles=10, tokens=2000, queued=(0, 1000), rounds=1)
SECTIONS: dict[str, Callable[[Scale, Server, Sequence[Library]], Iterator[Row]]] = {
    "submit": speed.submit_rows,
    "run": speed.run_rows,
    "latency": speed.latency_rows,
    "tokens": tokens.rows,
    "claims": claims.rows,
    "costs": costs.rows,
}


def main() -> None:
    parser = parser_of("distributed", __doc__, {"--quick": "see that it runs, without peers"}, PEERS)
    parser.add_argument("--only", help=f"some of {','.join(SECTIONS)} (default: all)")
    given = arguments(parser, PEERS)
    scale = QUICK if given.quick else Scale()
    if given.rounds is not None:
        scale = attrs.evolve(scale, rounds=given.rounds)
    sections = given.only.split(",") if given.only else SECTIONS
    with server() as place, cache_of(given) as cache:
        libraries, facts = [OURS], {**machine(), "psycopg": version("psycopg"), **place.facts()}
        for name in given.names:
            peer = install(PEERS[name], cache)
            if isinstance(peer, str):
                print(f"without {name}: {peer}")
            else:
                assert isinstance(peer, Library)
                facts[name] = version_of(peer)
                libraries.append(peer)
        print("  ".join(f"{name} {value}" for name, value in facts.items()))
        rows = (row for name in sections for row in SECTIONS[name](scale, place, libraries))
        publish("distributed", given, facts, scale.rounds, rows)


if __name__ == "__main__":
    main()
