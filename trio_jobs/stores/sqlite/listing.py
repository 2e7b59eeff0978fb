"""Run the searches of `stores.listing` in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from ..._common.states import State
from ..._model.summary import ARGS_READ
from .. import listing
from ..contract import Where
from ..listing import Search, Tables
from .group import Row, Transaction
from .queries import SUMMARY

T = TypeVar("T")
_ARGS_CONTAIN: Final = f"""CASE WHEN octet_length(job.args) > {ARGS_READ} THEN FALSE
    WHEN instr(job.args, :args_contain) = 0 THEN FALSE
    WHEN json_valid(job.options) THEN json_extract(job.options, '$.hide_args') IS NOT TRUE END"""
TABLES: Final = Tables("trio_jobs_job", "trio_jobs_tag", ":now", "CROSS JOIN", _ARGS_CONTAIN)


def _run(tx: Transaction, search: Search[T]) -> T:
    """Return what a search finds. Rows are read one by one: SQLite lets other threads run at each."""
    try:
        sql, values = next(search)
        while True:
            sql, values = search.send(tx.select(sql, {**values, "now": tx.now}))
    except StopIteration as found:
        answer: T = found.value
        return answer


def find(
    tx: Transaction,
    where: Where,
    limit: int,
    after: int | None,
    *,
    newest: bool,
    make: Callable[[Row], Any] = tuple,
) -> tuple[list[Any], int | None]:
    """See `stores.listing.find`."""
    return _run(tx, listing.find(TABLES, SUMMARY, where, limit, after, newest=newest, make=make))


def count(tx: Transaction, where: Where) -> Mapping[State, int]:
    """Return how many match in each state; see `Store.count`."""
    found = _run(tx, listing.count(TABLES, where))
    if found is None:
        what, name = listing.counter_of(where)
        found = listing.by_state(where, tx.run("totals", what=what, name=name))
    return found
