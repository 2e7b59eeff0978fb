"""Jobs in an SQLite file: durable on one machine, shared by the processes on it.

Its files, in the order in which to read them:

    schema.sql, queries.sql    what a file holds, and every statement
    queries, clock             loading these; one clock for all processes
    locks, files, line         waiting for locks; opening a file; a connection that can be made anew
    threads, group             many calls, one transaction, in a thread
    chunks, repair, rows       logs and jobs, as rows and as records; mending damaged rows
    inbox, ends, verbs, care   what a verb does in a transaction, and when a damaged row is in its way
    looking, listing           the verbs that read one job, and those that search by filters
    notices, signals, tails    learning that others wrote; waking the tasks that wait for it
    calls, schedules           calls to the file; those about schedules
    store, opening             the store itself; opening one
    within                     submitting in a transaction of the program's own
"""

from .files import Synchronous
from .opening import open_sqlite
from .store import SqliteStore
from .within import submit_within

__all__ = ["SqliteStore", "Synchronous", "open_sqlite", "submit_within"]
