"""The store in a PostgreSQL database, for many machines."""

from .opening import open_postgres
from .store import PostgresStore
from .within import submit_within, submit_within_async

__all__ = ["PostgresStore", "open_postgres", "submit_within", "submit_within_async"]
