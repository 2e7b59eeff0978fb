"""Write into a row what the package never writes: like a flipped bit, or another program's mistake."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import apsw

KINDS = {
    "no text": "CAST(x'41ff42' AS TEXT)",
    "nothing": "NULL",
    "bytes": "x'00ff'",
    "a word": "'abc'",
    "a number": "7",
    "a fraction": "0.5",
    "the largest number": "9223372036854775807",
    "the least number": "-9223372036854775807",
    "infinity": "9e999",
    "an empty text": "''",
    "half of it": "substr({column}, 1, octet_length({column}) / 2)",
}
"""What is written in place of a value."""


class Place(NamedTuple):
    """A column, and the condition on a row to be that of a job: `?` is the job's number."""

    table: str
    column: str

    @property
    def row(self) -> str:
        """The row's place in its table."""
        return {
            "trio_jobs_job": "number = ?1",
            "trio_jobs_event": "id = (SELECT max(id) FROM trio_jobs_event WHERE id >> 32 = ?1)",
            "trio_jobs_tag": "job = ?1",
            "trio_jobs_input": "job = ?1",
            "trio_jobs_total": "?1 = 0",
        }[self.table]


def places(path: Path) -> list[Place]:
    """Return every column of a job in the file, by its schema."""
    db: Any = apsw.Connection(str(path))
    tables = [name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
    found = [
        Place(table, column)
        for table in tables
        for (column,) in db.execute("SELECT name FROM pragma_table_info(?)", (table,))
    ]
    db.close()
    return found


def loosened(path: Path) -> dict[str, str]:
    """Let the tables of a file accept any value, for later connections; return their declarations."""
    db: Any = apsw.Connection(str(path))
    was = dict(db.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'table' AND sql LIKE '%STRICT%'"))
    loose = {
        name: re.sub(
            r"\b(TEXT|REAL|INTEGER)\b(?! PRIMARY)",
            "BLOB",
            sql.replace(" NOT NULL", "").replace("STRICT,", "").replace("STRICT", ""),
        )
        for name, sql in was.items()
    }
    declare(db, loose)
    return was


def declare(db: Any, tables: dict[str, str]) -> None:
    """Set the declarations of tables, which no open connection notices."""
    db.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 0)
    db.execute("PRAGMA writable_schema = ON")
    for name, sql in tables.items():
        db.execute("UPDATE sqlite_schema SET sql = ? WHERE name = ?", (sql, name))
    db.close()


def hurt(path: Path, hits: list[tuple[Place, str, int]]) -> list[bool]:
    """Overwrite values, each in a place, of a kind, of the job of a number; return the possible ones."""
    was = loosened(path)
    db: Any = apsw.Connection(str(path))
    db.config(apsw.SQLITE_DBCONFIG_ENABLE_TRIGGER, 0)
    written: list[bool] = []
    for (table, column), kind, number in hits:
        value = KINDS[kind].format(column=column)
        try:
            row = Place(table, column).row
            db.execute(f"UPDATE {table} SET {column} = {value} WHERE {row}", (number,))  # noqa: S608  # ours
            written.append(bool(db.changes()))
        except apsw.Error:  # a number of a row is one
            written.append(False)
    declare(db, was)
    db = apsw.Connection(str(path))
    db.execute("REINDEX")  # which hold what is there
    db.close()
    return written
