"""A schema on a plain connection, so that its functions can be called one by one."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from trio_jobs.stores.postgres.statements import functions, tables


@contextmanager
def schema_in(server: Any) -> Iterator[psycopg.Connection[Any]]:
    """Give a connection to a new database with the schema in it. It commits nothing."""
    name = f"test_{secrets.token_hex(8)}"
    server.query(f"CREATE DATABASE {name}")
    with psycopg.connect(server.url(name)) as db:
        db.execute("CREATE SCHEMA trio_jobs")
        for script in (*tables("trio_jobs"), functions("trio_jobs")):
            db.execute(script.encode())
        db.commit()
        yield db
    server.query(f"DROP DATABASE {name} WITH (FORCE)")
