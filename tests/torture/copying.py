"""Copy a schema of PostgreSQL, and what triggers wrote down there, into a file that the checker reads.

It reads with SQL of its own: as the checker, it shares no code with the package.
"""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import LiteralString

import psycopg
from journal import now

AUDIT: LiteralString = """
CREATE SCHEMA audit;
CREATE TABLE audit.job (
    place bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, job bigint, id text, old_state text,
    new_state text, old_attempt int, new_attempt int, old_seq bigint, new_seq bigint
);
CREATE TABLE audit.event (
    place bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, job bigint, seq bigint, attempt int, kind text,
    current int
);
CREATE TABLE audit.tick (
    place bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text, old float8, new float8, paused boolean,
    at float8
);
CREATE FUNCTION audit.changed() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO audit.job (job, id, old_state, new_state, old_attempt, new_attempt, old_seq, new_seq)
    VALUES (new.number, new.id, old.state, new.state, coalesce(old.attempt, 0), new.attempt,
        coalesce(old.seq, 0), new.seq);
    RETURN NULL;
END $$;
CREATE FUNCTION audit.said() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO audit.event (job, seq, attempt, kind, current)
    SELECT number, new.seq, new.attempt, new.kind, attempt FROM trio_jobs.job WHERE number = new.job;
    RETURN NULL;
END $$;
CREATE FUNCTION audit.ticked() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO audit.tick (name, old, new, paused, at)
    VALUES (new.name, old.last_tick, new.last_tick, new.paused, extract(epoch FROM clock_timestamp()));
    RETURN NULL;
END $$;
CREATE TRIGGER audit_born AFTER INSERT ON trio_jobs.job FOR EACH ROW EXECUTE FUNCTION audit.changed();
CREATE TRIGGER audit_changed AFTER UPDATE ON trio_jobs.job FOR EACH ROW
    WHEN ((old.state, old.attempt, old.seq) IS DISTINCT FROM (new.state, new.attempt, new.seq))
    EXECUTE FUNCTION audit.changed();
CREATE TRIGGER audit_said AFTER INSERT ON trio_jobs.event FOR EACH ROW EXECUTE FUNCTION audit.said();
CREATE TRIGGER audit_ticked AFTER UPDATE ON trio_jobs.schedule FOR EACH ROW
    WHEN (new.last_tick <> old.last_tick) EXECUTE FUNCTION audit.ticked();
"""

# What the checker's tables are called, what they are made of, and their columns.
_COPIED = (
    (
        "trio_jobs_job",
        "trio_jobs.job",
        """number, id, state, reason, attempt, spent, attempts, seq, parent, key, consumed, unconsumed,
        last_input, inputs_ended, exclusive, handler, options""",
    ),
    (
        "trio_jobs_event",
        "(SELECT job << 32 | seq AS id, * FROM trio_jobs.event) AS event",
        "id, count, attempt, kind, at, data, received",
    ),
    ("trio_jobs_tag", "trio_jobs.tag", "job, name, value"),
    ("trio_jobs_schedule", "trio_jobs.schedule", "name, last_tick, paused"),
    ("parts", "(TABLE trio_jobs.total UNION ALL TABLE trio_jobs.news) AS part", "what, name, state, jobs"),
    (
        "audit_job",
        "audit.job",
        "place, job, id, old_state, new_state, old_attempt, new_attempt, old_seq, new_seq",
    ),
    ("audit_event", "audit.event", "place, job, seq, attempt, kind, current"),
    ("audit_tick", "audit.tick", "place, name, old, new, paused, at"),
)


def copy(url: str, path: Path) -> None:
    """Copy what the checker looks at into a new file."""
    path.unlink(missing_ok=True)
    with psycopg.connect(url) as db, closing(sqlite3.connect(path)) as file:
        for name, source, columns in _COPIED:
            file.execute(f"CREATE TABLE {name} ({columns})")
            rows = db.execute(f"SELECT {columns} FROM {source}".encode()).fetchall()  # noqa: S608  # from above
            places = ", ".join("?" * len(columns.split(",")))
            file.executemany(f"INSERT INTO {name} VALUES ({places})", rows)  # noqa: S608  # likewise
        file.execute(
            "CREATE TABLE trio_jobs_total AS"
            " SELECT what, name, state, sum(jobs) AS jobs FROM parts GROUP BY what, name, state UNION ALL"
            " SELECT 'all', '', state, sum(jobs) FROM parts WHERE what = 'handler' GROUP BY state"
        )
        file.execute("CREATE TABLE trio_jobs_meta (name, value)")
        # Times are by the clock on the wall there, and by that of this machine's boot in the journals.
        file.execute("INSERT INTO trio_jobs_meta VALUES ('epoch', ?)", (time.time() - now(),))
        file.commit()


def damage(url: str) -> list[str]:
    """Return what PostgreSQL itself finds wrong: indexes unlike their tables, and damaged rows."""
    indexes: LiteralString = """
        SELECT bt_index_check(indexrelid, true) FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
        WHERE relnamespace = 'trio_jobs'::regnamespace
    """
    tables: LiteralString = """
        SELECT relname, found.msg FROM pg_class, verify_heapam(pg_class.oid) AS found
        WHERE relnamespace = 'trio_jobs'::regnamespace AND relkind = 'r'
    """
    try:
        with psycopg.connect(url) as db:
            db.execute("CREATE EXTENSION IF NOT EXISTS amcheck")
            db.execute(indexes)
            return [f"damaged: table {name}: {text}" for name, text in db.execute(tables)]
    except psycopg.Error as error:
        return [f"damaged: {error}"]
