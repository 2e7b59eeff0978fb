"""Jobs in a PostgreSQL database: durable, and shared by processes on many machines.

Its files, in the order in which to read them:

    sql/tables.sql                  what a schema holds
    sql/*.sql, sql/queries.sql      the functions, which do what verbs do; and every statement that reads
    statements, migrating           loading these; bringing a schema to this version
    connection, failures, group     a connection on Trio; what its errors mean; many calls, one transaction
    answers, calls                  what functions answer; calls of functions, and statements that read
    submitting, claiming, writing, inputs, cancelling, going, limits, schedules    the verbs that write
    looking, notices                the verbs that look and wait; telling other processes what was done
    store, opening                  the store itself; opening one
    within                          submitting in a transaction of the program's own
"""

from .opening import open_postgres
from .store import PostgresStore
from .within import submit_within, submit_within_async

__all__ = ["PostgresStore", "open_postgres", "submit_within", "submit_within_async"]
