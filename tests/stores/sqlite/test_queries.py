"""Statements: found by name, built from the table of states, and each served by an index."""

from __future__ import annotations

import re
from pathlib import Path

import apsw
import pytest

from trio_jobs import State
from trio_jobs.stores import TRANSITIONS, Transition, Where, sources
from trio_jobs.stores.listing import leads_of, states_in
from trio_jobs.stores.sqlite import queries
from trio_jobs.stores.sqlite.group import UNLIMITED, Transaction
from trio_jobs.stores.sqlite.listing import TABLES, count, find
from trio_jobs.stores.sqlite.queries import QUERIES, SCHEMAS

FOLDER = Path(queries.__file__).parent


def plan(sql: str) -> str:
    """Return how SQLite would find the rows of a statement, with nothing bound to it."""
    db = apsw.Connection(":memory:")
    for schema in SCHEMAS:
        db.execute(schema)
    names = set(re.findall(r":([a-z0-9_]+)", sql))
    values = dict.fromkeys(names) if names else (None,) * sql.count("?")
    rows = db.execute(f"EXPLAIN QUERY PLAN {sql}", values)
    return "\n".join(str(row[3]) for row in rows)


@pytest.mark.parametrize("name", ["compat", "count_waiting", "insert_job", "running", "log_place", "chunks"])
def test_no_table_is_made(name: str) -> None:
    """What each job asks for makes no table of its own: to make one takes longer than all the rest."""
    db = apsw.Connection(":memory:")
    for schema in SCHEMAS:
        db.execute(schema)
    values = dict.fromkeys(re.findall(r":([a-z0-9_]+)", QUERIES[name]))
    steps = [row[1] for row in db.execute(f"EXPLAIN {QUERIES[name]}", values)]
    assert "OpenEphemeral" not in steps


@pytest.mark.parametrize("newest", [True, False])
@pytest.mark.parametrize(
    ("where", "index"),
    [
        (Where({State.FAILED}, newer_than=60), "trio_jobs_finished (finished>?)"),
        (Where(id_prefix="ab"), "sqlite_autoindex_trio_jobs_job_1 (id>? AND id<?)"),
    ],
)
def test_what_is_new_and_what_an_id_begins_with_lead_a_search(
    where: Where, index: str, *, newest: bool
) -> None:
    """Recent ends, and ids by their beginning, are found by their indexes, not among all jobs."""
    leads, _ = leads_of(TABLES, where)
    assert index in plan(leads[-1].numbers(newest=newest))


def test_states_are_written_in_one_order() -> None:
    """In any given order, states are written in that of the lifecycle, as a partial index requires."""
    assert states_in([State.RETRYING, State.QUEUED]) == states_in([State.QUEUED, State.RETRYING])
    assert states_in(iter([State.QUEUED])) == "('queued')"
    assert states_in([]) == "()"


def test_each_statement_is_asked_for() -> None:
    """Each statement is used, and each one that is used exists."""
    text = "".join(path.read_text("utf-8") for path in FOLDER.glob("*.py"))
    asked = set(re.findall(r"""(?:tx\.run|\.one|totals?|known|QUERIES)[([,]\s*(?:tx, )?"([a-z_]+)\"""", text))
    asked |= {f"end {what}" for what in Transition if 'tx.one(\n        f"end {how.transition}"' in text}
    assert asked == set(QUERIES)


@pytest.mark.parametrize("name", QUERIES)
def test_each_statement_can_be_run(name: str) -> None:
    """SQLite can compile each statement."""
    assert "{" not in QUERIES[name]
    plan(QUERIES[name])


@pytest.mark.parametrize("what", Transition)
def test_a_transition_starts_where_the_table_says(what: Transition) -> None:
    """The statement of a transition names exactly the states from which it is legal."""
    wanted = {str(state) for state in State if what in TRANSITIONS[state]}
    (found,) = re.findall(r"state IN \(([^)]*)\)", QUERIES[f"end {what}"])
    assert {word.strip("' ") for word in found.split(",")} == wanted == set(map(str, sources(what)))


SMALL = {"totals", "count_waiting", "count_ended", "schedules", "pauses"}  # they read a table of few rows
SMALL |= {"limits", "forget_limits", "count_limits"}
FEW = (
    "SCAN lane VIRTUAL",
    "level",
    "json_each",
    "SCAN below",
    "SCAN trio_jobs_limited",
    "SCAN trio_jobs_pause",
)
REPAIR = {"odd_total", "count_anew", "columns", "clear_lanes", "count_lanes"}  # once a row was found damaged


@pytest.mark.parametrize("name", [name for name in QUERIES if name not in SMALL | REPAIR])
def test_no_statement_reads_a_whole_table(name: str) -> None:
    """Each statement uses an index, so that it costs no more with a million jobs."""
    for step in plan(QUERIES[name]).splitlines():
        if step.startswith("SCAN"):
            assert any(word in step for word in ("USING", "held", "CONSTANT", "asked", *FEW)), step


@pytest.mark.parametrize("name", [name for name in QUERIES if name not in REPAIR])
def test_no_statement_walks_through_all_that_runs(name: str) -> None:
    """No statement finds a job by its state alone, as an event would cost more with more running jobs."""
    assert "trio_jobs_by_state" not in plan(QUERIES[name])


def test_a_claim_sorts_no_more_than_it_may_take() -> None:
    """Of each handler and priority, the due jobs are read from the index in the order of rank."""
    before, lane = plan(QUERIES["due_jobs"]).split("CORRELATED LIST SUBQUERY")
    assert "USING INTEGER PRIMARY KEY" in before
    assert "trio_jobs_waiting" in lane
    assert lane.count("TEMP B-TREE") == 1  # of what comes of all of these


LEADS = {
    "trio_jobs_children (parent=?": Where(parent="p"),
    "trio_jobs_by_tag (name=? AND value=?": Where(tags={"a": "b"}),
    "trio_jobs_by_owner (owner=? AND state=?": Where(owner="o"),
    "trio_jobs_by_state (state=?": Where(frozenset({State.FAILED, State.QUEUED})),
    "trio_jobs_by_handler (handler=?": Where(handler="h"),
    "INTEGER PRIMARY KEY (rowid>?": Where(),
}


@pytest.mark.parametrize("newest", [False, True])
@pytest.mark.parametrize("index", LEADS)
def test_each_field_of_a_filter_has_an_index(index: str, newest: bool) -> None:
    """Jobs that match are read from an index in the order of arrival, without a sort or a scan."""
    (lead,), _ = leads_of(TABLES, LEADS[index])
    assert not lead.left
    steps = plan(lead.numbers(newest=newest))
    assert index.replace("rowid>", "rowid<" if newest else "rowid>") in steps
    assert "SCAN trio_jobs" not in steps
    assert "TEMP B-TREE" not in steps


@pytest.mark.parametrize(
    "where",
    [
        Where(),
        Where(frozenset(State), {"a": "b", "c": "d"}, "h", "o", "p"),
        Where(frozenset()),
        Where(tags={f"t{number}": "'" for number in range(5000)}),
        Where(tags={f"t{number}": "'" for number in range(64)}),
    ],
    ids=["all", "each", "none", "too many", "many"],
)
def test_a_filter_can_be_run(where: Where) -> None:
    """Any combination of fields can be searched, and no given text becomes a part of the statement."""
    db = apsw.Connection(":memory:")
    db.execute("".join(SCHEMAS))
    tx = Transaction(db, 0.0, UNLIMITED)
    assert find(tx, where, 10, None, newest=False) == find(tx, where, 10, None, newest=True) == ([], None)
    assert count(tx, where) == {}
