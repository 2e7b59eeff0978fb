"""What errors of PostgreSQL mean: which pass, which are tried again, and which need a person."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import psycopg
from psycopg.pq import DiagnosticField
from psycopg.pq.abc import PGresult

from ..._common.errors import InvalidPayload, StoreCorrupt, StoreUnavailable, StoreUnfit

AGAIN: Final = frozenset({"40001", "40P01", "55P03"})
"""A transaction met another one; it is likely to succeed if tried again."""
READ_ONLY: Final = "25006"
_PASSING: Final = ("08", "25006", "25P0", "40", "53", "55", "57", "58")
"""The beginnings of codes of what passes: connections, a fail-over, resources, an operator, the system."""
_DAMAGED: Final = ("XX001", "XX002")
_REMOVED: Final = ("3F000", "42P01", "42883", "42703")
_UNFIT: Final = ("22P05", "22021")


def error_of(result: PGresult) -> psycopg.Error:
    """Return the error that a result holds, with the server's code as `sqlstate`."""
    code, text = (
        (result.error_field(field) or b"").decode(errors="replace")
        for field in (DiagnosticField.SQLSTATE, DiagnosticField.MESSAGE_PRIMARY)
    )
    try:
        kind: type[psycopg.Error] = psycopg.errors.lookup(code)
    except KeyError:  # an extension's, or none, as the connection is lost
        kind = psycopg.DatabaseError if code else psycopg.OperationalError
    error = kind(text or result.error_message.decode(errors="replace").strip())
    error.sqlstate = code or None
    return error


def passes(error: psycopg.Error) -> bool:
    """Return whether an error is one of the world, and of no call in particular."""
    code = error.sqlstate
    return code.startswith(_PASSING) if code else isinstance(error, psycopg.OperationalError)


def translated(error: Exception, where: str) -> Exception:
    """Return an error as one of the package's, if it is expected; return any other as it is."""
    if not isinstance(error, psycopg.Error):
        return error
    code = error.sqlstate or ""
    if passes(error):
        return StoreUnavailable(f"{where}: {error}")
    if code in _DAMAGED:
        return StoreCorrupt(f"{where} is damaged: {error}; restore a copy")
    if code in _REMOVED:
        return StoreCorrupt(f"something of the schema was removed from {where}: {error}")
    if code in _UNFIT:
        return InvalidPayload(f"PostgreSQL cannot store a text of this call: {error}")
    return error


# What a server says when it refuses a connection. libpq passes on its text only, in whatever language.
_REFUSALS: Final[Mapping[str, tuple[type[Exception], str]]] = {
    "password authentication failed": (PermissionError, "check both, or PGPASSWORD or ~/.pgpass"),
    "no password supplied": (PermissionError, "put it into the address, PGPASSWORD or ~/.pgpass"),
    "no pg_hba.conf entry": (PermissionError, "let the server's pg_hba.conf admit this user from here"),
    "permission denied for database": (
        PermissionError,
        "let its owner run: GRANT CONNECT ON DATABASE … TO …",
    ),
    "is not permitted to log in": (PermissionError, "let an administrator run: ALTER ROLE … LOGIN"),
    'role ".*" does not exist': (PermissionError, "check the user's name"),
    'database ".*" does not exist': (StoreUnfit, "check its name, or create it with: createdb"),
    "does not support SSL": (StoreUnfit, "switch on ssl there, or change sslmode"),
    "certificate": (StoreUnfit, "check sslrootcert, sslcert and the host's name, or change sslmode"),
    "^invalid ": (StoreUnfit, "correct the address, or the PG* variable"),
}


def refused(error: Exception, where: str) -> Exception:
    """Return the error of a connection that could not be made, with what to do if it will not pass."""
    text = " ".join(str(error).split())
    for part, (kind, fix) in _REFUSALS.items():
        if re.search(part, text):
            return kind(f"{where} cannot be opened: {text}; {fix}")
    return StoreUnavailable(f"{where} cannot be reached: {text}")
