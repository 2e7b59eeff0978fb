"""Copy a file of jobs into a PostgreSQL database, in one transaction of each."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import blake2b
from itertools import zip_longest
from typing import Any, Final, LiteralString, TypeAlias

import attrs
import psycopg
import trio
from psycopg import sql

from ..stores.postgres.opening import migrated, schema_of, split
from ..stores.sqlite.lanes import limit_of
from .faults import FAILED, Fault
from .snapshot import ReadOnlyFile, open_snapshot

Row: TypeAlias = tuple[Any, ...]
Db: TypeAlias = psycopg.Connection[Row]
_FILLED: Final = ("job", "event", "schedule", "limits", "pause")
_NONE: Final[Mapping[str, str]] = {}
_BY_ITSELF: Final = {"lane", "leased_by"}  # columns that a file has not, or not so
_FLAGS: Final = {"behind", "paused", "added", "pinned"}
_LIVE: Final = "SELECT count(*) FROM trio_jobs_job WHERE state = 'running' AND lease > ?"
_LIMIT: Final = ("at_once", "per_second", "burst", "waiting", "keyed")


@attrs.frozen
class _Part:
    """A table of a database, and what it is made of.

    Attributes:
        name: Its name.
        key: Its key.
        columns: Of it.
        query: Returns their values from a file, in the order of the key.
        change: Returns a row as the database gets it.
    """

    name: str
    key: LiteralString
    columns: Sequence[str]
    query: str
    change: Callable[[Row], Row] = lambda row: row

    def rows(self, seen: ReadOnlyFile) -> Iterator[Row]:
        """Return its rows, as they are in a file."""
        flags = [place for place, name in enumerate(self.columns) if name in _FLAGS]
        for found in seen.db.execute(self.query):
            row = list(self.change(found))
            for place in flags:
                row[place] = bool(row[place])
            yield tuple(row)

    def copy(self, seen: ReadOnlyFile, db: Db) -> int:
        """Copy its rows; return how many."""
        count, job = 0, None
        into = sql.SQL("COPY {} ({}) FROM STDIN").format(*self._named())
        with db.cursor().copy(into) as rows:
            for count, row in enumerate(self.rows(seen), 1):  # noqa: B007  # the last one counts
                job = row[0]
                try:
                    rows.write_row(row)
                except psycopg.DataError as error:
                    raise Fault(
                        f"{self.name} {job} has what PostgreSQL cannot hold: {error}", FAILED
                    ) from error
        return count

    def compare(self, seen: ReadOnlyFile, db: Db) -> None:
        """Check that the database has each row as it is in the file, and no other.

        Raises:
            Fault: It has not.
        """
        query = sql.SQL("SELECT {1} FROM {0} ORDER BY ").format(*self._named()) + sql.SQL(self.key)
        with db.cursor("compared") as there:
            there.itersize = 1000
            for ours, theirs in zip_longest(self.rows(seen), there.execute(query)):
                if ours != theirs:
                    which = (ours or theirs)[0]
                    raise Fault(f"{self.name} {which} did not arrive as it is; nothing was copied", FAILED)

    def _named(self) -> tuple[sql.Composable, sql.Composable]:
        return sql.Identifier(self.name), sql.SQL(", ").join(map(sql.Identifier, self.columns))


def copy_file(source: str, target: str) -> tuple[int, int]:
    """Copy all jobs of a file into a database that has none; return how many, and entries of their logs.

    A running job whose lease has lapsed stays so, under a new claim id: the next sweep takes it back.

    Raises:
        Fault: The file is open elsewhere, or a job of it is running; or the database has jobs already, or
            cannot hold what is in the file. Then nothing is copied.
        Exception: What opening the file or the database raises.
    """
    with open_snapshot(source, alone=True) as seen:
        ((live,),) = seen.ask(_LIVE, seen.now)
        if live:
            raise Fault(f"{live} jobs run, or their workers died just now; wait until their leases are over")
        trio.run(migrated, target)
        try:
            with psycopg.connect(split(target)[0], autocommit=True) as db, db.transaction():
                path = sql.Identifier(schema_of(target))
                db.execute(sql.SQL("SET LOCAL search_path TO {}").format(path))
                return _copy(seen, db)
        except psycopg.Error as error:
            raise Fault(f"the database refused, and nothing was copied: {error}", FAILED) from error


def _copy(seen: ReadOnlyFile, db: Db) -> tuple[int, int]:
    tables = sql.SQL(", ").join(map(sql.Identifier, _FILLED))
    db.execute(sql.SQL("LOCK TABLE {} IN EXCLUSIVE MODE").format(tables))
    for name in _FILLED:
        if db.execute(sql.SQL("SELECT FROM {} LIMIT 1").format(sql.Identifier(name))).fetchone() is not None:
            raise Fault(f"the database has a {name} already; copy into one that holds nothing", FAILED)
    parts = [*_parts(db)]
    counts = {part.name: part.copy(seen, db) for part in parts}
    for part in parts:
        part.compare(seen, db)
    db.execute("SELECT setval(pg_get_serial_sequence('job', 'number'), max(number)) FROM job")
    db.execute(sql.SQL("SELECT move_in(array_agg(number)) FROM job WHERE finished IS NULL"))
    return counts["job"], counts["event"]


def _parts(db: Db) -> Iterator[_Part]:
    def part(name: str, key: LiteralString, made: Mapping[str, str] = _NONE, ordered: str = "") -> _Part:
        query = (
            "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 ORDER BY attnum"
        )
        names = [name for (name,) in db.execute(query, [name]) if name not in _BY_ITSELF]
        values = ", ".join(made.get(one, one) for one in names)
        return _Part(name, key, names, f"SELECT {values} FROM trio_jobs_{name} ORDER BY {ordered or key}")  # noqa: S608

    jobs = part("job", "number", {"first_due": "coalesce(first_due, due)"})
    yield attrs.evolve(jobs, change=_claimed_anew(jobs.columns.index("claim")))
    yield part("event", "job, seq", {"job": "id >> 32", "seq": "id & 4294967295"}, "id")
    yield part("tag", "job, name")
    yield part("input", "job, id", {"digest": "lower(hex(digest))"})
    yield part("schedule", "name")
    yield part("pause", "name")
    yield part("limited", "handler, place")
    query = "SELECT name, text, pinned, moment, last FROM trio_jobs_limit ORDER BY name"
    yield _Part("limits", "name", ("name", *_LIMIT, "pinned", "moment", "last"), query, _limit)


def _claimed_anew(place: int) -> Callable[[Row], Row]:
    secret = secrets.token_bytes(32)

    def change(row: Row) -> Row:
        if row[place] is None:
            return row
        new = blake2b(row[place].encode(), key=secret, digest_size=16).hexdigest()
        return *row[:place], new, *row[place + 1 :]

    return change


def _limit(row: Row) -> Row:
    name, text, *rest = row
    limit = limit_of(text)
    if limit is None:
        raise Fault(f"limit {name!r} of the file cannot be read; run its worker once more", FAILED)
    return name, *(getattr(limit, one) for one in _LIMIT), *rest
