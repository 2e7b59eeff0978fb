"""Find and count the jobs of a database that match a filter, by counters and indexes.

In each index the jobs that match lie in the order of their submission. If a filter has several fields, the
index with the fewest entries leads, and its jobs are checked for the other fields, up to `EXAMINED` a page.

A search is a generator of the statements that it needs, with their values, and is sent the rows of each.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

import attrs

from .._common.states import State
from .._common.validate import TAGS
from .._model.summary import EXAMINED
from .contract import COUNTED, Where
from .signals import Row

T = TypeVar("T")
Statement: TypeAlias = tuple[str, Mapping[str, Any]]
"""SQL with values as `:name`, and these by name; there may be more than it needs."""
Search: TypeAlias = Generator[Statement, Iterable[Row], T]

_LAST: Final = 2**62
_LAST_TEXT: Final = "\U0010ffff"
"""It sorts behind every other character."""


class Tables(NamedTuple):
    """How a database names what a search needs.

    Attributes:
        jobs: The table of jobs.
        tags: That of tags.
        now: The time.
        join: Joins the numbers that were found to their jobs.
        args_contain: The condition that arguments that are told contain `:args_contain`. It looks at their
            size first, as a file reads all of a text.
    """

    jobs: str
    tags: str
    now: str
    join: str
    args_contain: str

    @property
    def seen(self) -> str:
        """The jobs of the numbers that a statement gives."""
        return f"FROM ({{}}) AS seen {self.join} {self.jobs} AS job ON job.number = seen.number"


def states_in(states: Iterable[State]) -> str:
    """Return states in the form of SQL after IN, always in one order, as partial indexes require."""
    wanted = set(states)
    return "({})".format(", ".join(f"'{state}'" for state in State if state in wanted))


@attrs.frozen
class Lead:
    """An index that a search begins with.

    Attributes:
        arms: Statements that give the numbers of jobs, and how they call these; a job comes from one of them
            only. With a `+` in front, the numbers are not in order in the index, and have to be sorted.
        left: The conditions that remain to be checked for each job.
    """

    arms: tuple[tuple[str, str], ...]
    left: tuple[str, ...] = ()

    def numbers(self, *, newest: bool = False) -> str:
        """Return a statement that gives the numbers behind `:after` in order, up to `:most`."""
        order = "+number" if self.arms[0][1] == "+number" else "number"
        way, order = ("<", f"{order} DESC") if newest else (f"< {_LAST} AND {{}} >", order)
        arms = (f"{arm} AND {name} {way.format(name)} :after" for arm, name in self.arms)
        return f"{' UNION ALL '.join(arms)} ORDER BY {order} LIMIT :most"


def _conditions_of(tables: Tables, where: Where) -> tuple[dict[str, str], dict[str, Any]]:
    """Return what a filter asks of a job, by field, and the values in it."""
    values: dict[str, Any] = {}
    conditions: dict[str, str] = {}
    for name in ("parent", "owner", "handler", "reason"):
        if (value := getattr(where, name)) is not None:
            values[name], conditions[name] = value, f"job.{name} = :{name}"
    if where.states is not None:
        conditions["states"] = f"job.state IN {states_in(where.states)}"
    if where.older_than is not None:
        conditions["older_than"] = f"job.finished < {tables.now} - :older_than"
        values["older_than"] = where.older_than
    if where.newer_than is not None:
        conditions["newer_than"] = f"coalesce(job.finished, job.created) > {tables.now} - :newer_than"
        values["newer_than"] = where.newer_than
    if where.id_prefix is not None:
        conditions["id_prefix"] = "job.id >= :first_id AND job.id < :last_id"
        values |= {"first_id": where.id_prefix, "last_id": where.id_prefix + _LAST_TEXT}
    if where.args_contain is not None:
        values["args_contain"], conditions["args_contain"] = where.args_contain, tables.args_contain
    if where.retryable:
        conditions["retryable"] = (
            "job.finished IS NOT NULL AND job.parent IS NULL AND job.resubmitted_as IS NULL"
        )
    for place, (name, value) in enumerate((where.tags or {}).items()):
        values |= {f"name{place}": name, f"value{place}": value}
        conditions[f"tag{place}"] = (
            f"EXISTS (SELECT 1 FROM {tables.tags} AS tag WHERE tag.job = job.number "  # noqa: S608  # ours
            f"AND tag.name = :name{place} AND tag.value = :value{place})"
        )
    return conditions, values


def leads_of(tables: Tables, where: Where) -> tuple[list[Lead], dict[str, Any]]:
    """Return the indexes that a filter can begin with, and the values in it."""
    conditions, values = _conditions_of(tables, where)
    states = list(State) if where.states is None else [state for state in State if state in set(where.states)]

    def lead(arms: Iterable[str], *covered: str, called: str = "number") -> Lead:
        jobs = tuple((f"SELECT number FROM {tables.jobs} WHERE {arm}", called) for arm in arms)  # noqa: S608  # ours
        return Lead(jobs, left(*covered))

    def left(*covered: str) -> tuple[str, ...]:
        return tuple(text for name, text in conditions.items() if name not in covered)

    leads: list[Lead] = []
    if where.parent is not None:
        leads.append(lead(["parent = :parent"], "parent"))
    for place, _ in enumerate(where.tags or ()):
        tagged = (
            f"SELECT job AS number FROM {tables.tags} WHERE name = :name{place} AND value = :value{place}"  # noqa: S608  # ours
        )
        leads.append(Lead(((tagged, "job"),), left(f"tag{place}")))
    if where.owner is not None:
        leads.append(lead((f"owner = :owner AND state = '{state}'" for state in states), "owner", "states"))
    elif where.states is not None:
        leads.append(lead((f"state = '{state}'" for state in states), "states"))
    if where.id_prefix is not None:
        leads.append(lead(["id >= :first_id AND id < :last_id"], "id_prefix", called="+number"))
    if where.newer_than is not None and all(state.over for state in states):
        leads.append(lead([f"finished > {tables.now} - :newer_than"], "newer_than", called="+number"))
    if where.handler is not None:
        leads.append(lead(["handler = :handler"], "handler"))
    return leads or [lead(["1 = 1"])], values


def _is_empty(where: Where) -> bool:
    """Return whether no job can match."""
    return (where.states is not None and not where.states) or len(where.tags or ()) > TAGS


def _lead(tables: Tables, where: Where) -> Search[tuple[Lead, dict[str, Any]]]:
    """Return the index with the fewest entries."""
    leads, values = leads_of(tables, where)
    if len(leads) == 1:
        return leads[0], values
    bounds = {"after": 0, "most": EXAMINED + 1}
    counts: list[int] = []
    for one in leads:
        ((many,),) = yield f"SELECT count(*) FROM ({one.numbers()}) AS seen", values | bounds  # noqa: S608  # ours
        counts.append(int(many))
    return leads[counts.index(min(counts))], values


def find(
    tables: Tables,
    summary: str,
    where: Where,
    limit: int,
    after: int | None,
    *,
    newest: bool,
    make: Callable[[Row], Any] = tuple,
) -> Search[tuple[list[Any], int | None]]:
    """Return the summaries that match, and the number of the job at which the search stopped, if it did.

    Args:
        tables: The tables.
        summary: What a statement begins with that gives summaries.
        where: The filter.
        limit: How many rows less one.
        after: The number of the job behind which to begin.
        newest: Whether the newest come first.
        make: Makes a summary of a row; by default it is the row. It is called row by row, as these come.
    """
    if _is_empty(where):
        return [], None
    lead, values = yield from _lead(tables, where)
    values["after"] = after if after is not None else _LAST if newest else 0
    values |= {"limit": limit + 1, "most": EXAMINED if lead.left else limit + 1}
    numbers = lead.numbers(newest=newest)
    matching = f"{tables.seen.format(numbers)} WHERE {' AND '.join(lead.left or ('1 = 1',))}"
    rows = yield f"{summary} {matching} ORDER BY job.number {'DESC' if newest else ''} LIMIT :limit", values
    found = [make(row) for row in rows]
    if len(found) > limit or not lead.left:
        return found, None
    last = "min(number)" if newest else "max(number)"
    ((many, number),) = yield f"SELECT count(*), {last} FROM ({numbers}) AS seen", values  # noqa: S608  # ours
    return found, int(number) if int(many) == EXAMINED else None


def count(tables: Tables, where: Where) -> Search[Mapping[State, int] | None]:
    """Return how many match in each state; see `Store.count`. None if counters tell it."""
    if _is_empty(where):
        return {}
    if not where.searched:
        return None
    lead, values = yield from _lead(tables, where)
    values |= {"after": 0, "most": _LAST, "limit": COUNTED}
    matching = (
        f"SELECT job.state {tables.seen.format(lead.numbers())} "  # ours
        f"WHERE {' AND '.join(lead.left or ('1 = 1',))} LIMIT :limit"
    )
    rows = yield (
        f"SELECT state, count(*) FROM ({matching}) AS seen WHERE state IN {states_in(State)} GROUP BY state",  # noqa: S608  # ours
        values,
    )
    return by_state(where, rows)


def by_state(where: Where, rows: Iterable[Row]) -> dict[State, int]:
    """Return rows of a state and a number as the answer to a count."""
    found = {State(state): int(jobs) for state, jobs in rows}
    return {state: jobs for state, jobs in found.items() if where.states is None or state in where.states}


def counter_of(where: Where) -> tuple[str, str]:
    """Return what the counters that tell the answer count, and its name."""
    if where.handler is not None:
        return "handler", where.handler
    return ("all", "") if where.owner is None else ("owner", where.owner)
