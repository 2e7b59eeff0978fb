"""What the benchmarks with peers have in common: their command line, and what becomes of their rows."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.inprocess import Row, Scale, as_json, show


def parser_of(
    name: str, doc: str | None, sizes: Mapping[str, str], peers: Iterable[str]
) -> argparse.ArgumentParser:
    """Return the parser of a benchmark's options; of the flags in `sizes` at most one may be given."""
    parser = argparse.ArgumentParser(f"benchmarks.{name}", description=(doc or "").partition("\n")[0])
    size = parser.add_mutually_exclusive_group()
    for flag, help_ in sizes.items():
        size.add_argument(flag, action="store_true", help=help_)
    parser.add_argument("--peers", help=f"some of {','.join(peers)} (default: all)")
    parser.add_argument("--rounds", type=int, help="how often everything is measured")
    parser.add_argument("--cache", type=Path, help="where to keep the peers' environments (default: nowhere)")
    parser.add_argument("--json", type=Path, help=f"where to write (default, unless quick: {name}.json)")
    return parser


def arguments(parser: argparse.ArgumentParser, peers: Collection[str]) -> argparse.Namespace:
    """Return the options that were given, and as `names` the peers that are meant."""
    given = parser.parse_args()
    given.names = [] if given.quick else list(peers)
    if given.peers is not None:
        given.names = [name for name in given.peers.split(",") if name]
    if unknown := set(given.names) - set(peers):
        parser.error(f"no such peer: {', '.join(sorted(unknown))}; there are {', '.join(peers)}")
    return given


@contextmanager
def cache_of(given: argparse.Namespace) -> Iterator[Path]:
    """Give the folder of the peers' environments: the one that was named, or one for the block only."""
    with TemporaryDirectory() as folder:
        yield (given.cache or Path(folder)).absolute()


def publish(
    name: str, given: argparse.Namespace, facts: Mapping[str, object], rounds: int, rows: Iterable[Row]
) -> None:
    """Show each row when it is measured, and write them all where they belong."""
    done: list[Row] = []
    for row in rows:
        show(row)
        done.append(row)
        sys.stdout.flush()
    path = given.json or (None if given.quick else Path(__file__).parent / "results" / f"{name}.json")
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(as_json(dict(facts), Scale(rounds=rounds), done), "utf-8")
