"""Find and count the jobs that match a filter, by counters and indexes.

In each index the jobs that match lie in the order of their submission. If a filter has several fields, the
index with the fewest entries leads, and its jobs are checked for the other fields, up to `EXAMINED` a page.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import attrs

from ..._common.states import State
from ..._common.validate import TAGS
from ..._model.summary import EXAMINED
from ..contract import COUNTED, Where
from .group import Row, Transaction
from .queries import SUMMARY, states_in

_LAST: Final = 2**62
_JOB: Final = "SELECT number FROM trio_jobs_job WHERE "
_TAG: Final = "SELECT job AS number FROM trio_jobs_tag WHERE "
_SEEN: Final = "FROM ({}) AS seen CROSS JOIN trio_jobs_job AS job ON job.number = seen.number"


@attrs.frozen
class Lead:
    """An index that a search begins with.

    Attributes:
        arms: Statements that give the numbers of jobs in order; a job comes from one of them only.
        left: The conditions that remain to be checked for each job.
    """

    arms: tuple[str, ...]
    left: tuple[str, ...] = ()

    def numbers(self, *, newest: bool = False) -> str:
        """Return a statement that gives the numbers behind `:after` in order, up to `:most`."""
        way, order = ("<", "number DESC") if newest else (f"< {_LAST} AND {{}} >", "number")
        names = ("job" if arm.startswith(_TAG) else "number" for arm in self.arms)
        arms = (
            f"{arm} AND {name} {way.format(name)} :after" for arm, name in zip(self.arms, names, strict=True)
        )
        return f"{' UNION ALL '.join(arms)} ORDER BY {order} LIMIT :most"


def leads_of(where: Where) -> tuple[list[Lead], dict[str, Any]]:
    """Return the indexes that a filter can begin with, and the values in it."""
    values: dict[str, Any] = {}
    conditions: dict[str, str] = {}
    for name in ("parent", "owner", "handler", "reason"):
        if (value := getattr(where, name)) is not None:
            values[name], conditions[name] = value, f"job.{name} = :{name}"
    states = list(State) if where.states is None else [state for state in State if state in set(where.states)]
    if where.states is not None:
        conditions["states"] = f"job.state IN {states_in(states)}"
    if where.older_than is not None:
        conditions["older_than"] = "job.finished < :now - :older_than"
        values["older_than"] = where.older_than
    if where.retryable:
        conditions["retryable"] = (
            "job.finished IS NOT NULL AND job.parent IS NULL AND job.resubmitted_as IS NULL"
        )
    tags = list((where.tags or {}).items())
    for place, (name, value) in enumerate(tags):
        values |= {f"name{place}": name, f"value{place}": value}
        conditions[f"tag{place}"] = (
            "EXISTS (SELECT 1 FROM trio_jobs_tag AS tag WHERE tag.job = job.number "  # noqa: S608  # ours
            f"AND tag.name = :name{place} AND tag.value = :value{place})"
        )

    def lead(arms: list[str], *covered: str) -> Lead:
        return Lead(tuple(arms), tuple(text for name, text in conditions.items() if name not in covered))

    leads: list[Lead] = []
    if where.parent is not None:
        leads.append(lead([f"{_JOB}parent = :parent"], "parent"))
    for place, _ in enumerate(tags):
        leads.append(lead([f"{_TAG}name = :name{place} AND value = :value{place}"], f"tag{place}"))
    if where.owner is not None:
        leads.append(
            lead([f"{_JOB}owner = :owner AND state = '{state}'" for state in states], "owner", "states")
        )
    elif where.states is not None:
        leads.append(lead([f"{_JOB}state = '{state}'" for state in states], "states"))
    if where.handler is not None:
        leads.append(lead([f"{_JOB}handler = :handler"], "handler"))
    return leads or [lead([f"{_JOB}1"])], values


def _is_empty(where: Where) -> bool:
    """Return whether no job can match."""
    return (where.states is not None and not where.states) or len(where.tags or ()) > TAGS


def _lead(tx: Transaction, where: Where) -> tuple[Lead, dict[str, Any]]:
    """Return the index with the fewest entries."""
    leads, values = leads_of(where)
    values["now"] = tx.now
    if len(leads) == 1:
        return leads[0], values
    bounds = {"after": 0, "most": EXAMINED + 1}
    counts = [
        next(tx.select(f"SELECT count(*) FROM ({one.numbers()})", values | bounds))[0]  # noqa: S608  # ours
        for one in leads
    ]
    return leads[counts.index(min(counts))], values


def find(
    tx: Transaction,
    where: Where,
    limit: int,
    after: int | None,
    *,
    newest: bool,
    make: Callable[[Row], Any] = tuple,
) -> tuple[list[Any], int | None]:
    """Return the summaries that match, and the number of the job at which the search stopped, if it did.

    The summaries are made here, in a thread, and row by row: SQLite lets other threads run at each row.

    Args:
        tx: The transaction.
        where: The filter.
        limit: How many rows less one.
        after: The number of the job behind which to begin.
        newest: Whether the newest come first.
        make: Makes a summary of a row; by default it is the row.
    """
    if _is_empty(where):
        return [], None
    lead, values = _lead(tx, where)
    values["after"] = after if after is not None else _LAST if newest else 0
    values |= {"limit": limit + 1, "most": EXAMINED if lead.left else limit + 1}
    numbers = lead.numbers(newest=newest)
    rows = tx.select(
        f"{SUMMARY} {_SEEN.format(numbers)} WHERE {' AND '.join(lead.left or ('1',))} "
        f"ORDER BY job.number {'DESC' if newest else ''} LIMIT :limit",
        values,
    )
    found = [make(row) for row in rows]
    if len(found) > limit or not lead.left:
        return found, None
    last = "min(number)" if newest else "max(number)"
    many, number = next(tx.select(f"SELECT count(*), {last} FROM ({numbers})", values))  # noqa: S608  # ours
    return found, number if many == EXAMINED else None


def count(tx: Transaction, where: Where) -> Mapping[State, int]:
    """Return how many match in each state; see `Store.count`."""
    if _is_empty(where):
        return {}
    if where.searched:
        lead, values = _lead(tx, where)
        values |= {"after": 0, "most": -1, "limit": COUNTED}
        matching = (
            f"SELECT job.state {_SEEN.format(lead.numbers())} "  # ours
            f"WHERE {' AND '.join(lead.left or ('1',))} LIMIT :limit"
        )
        known = f"SELECT state, count(*) FROM ({matching}) WHERE state IN {states_in(State)} GROUP BY state"  # noqa: S608  # ours
        return _by_state(tx.select(known, values))
    what, name = ("all", "") if where.owner is None else ("owner", where.owner)
    if where.handler is not None:
        what, name = "handler", where.handler
    found = _by_state(tx.run("totals", what=what, name=name))
    return {state: jobs for state, jobs in found.items() if where.states is None or state in where.states}


def _by_state(rows: Iterable[Row]) -> dict[State, int]:
    return {State(state): jobs for state, jobs in rows}
