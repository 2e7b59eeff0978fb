"""What attempts write in a database is what they write in a file: both are compared, column by column."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from typing import Any

import apsw
import attrs
import msgspec
import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.stores.postgres.in_sql import schema_in
from tests.stores.postgres.parts import encode, encode_event, rows_of
from tests.stores.postgres.test_rules import counts, outcomes, rules, texts
from trio_jobs import Ended, Kind, Progress, Reason, Retention, Step, TrioJobsError
from trio_jobs.stores import Transition
from trio_jobs.stores.contract import Claimant, Outcome
from trio_jobs.stores.postgres.answers import Answer, error_in
from trio_jobs.stores.postgres.cancelling import CancelCalls
from trio_jobs.stores.postgres.inputs import InputCalls
from trio_jobs.stores.postgres.writing import WritingCalls
from trio_jobs.stores.sqlite import ends as in_file
from trio_jobs.stores.sqlite import inbox, verbs
from trio_jobs.stores.sqlite.group import FOREVER, Limits, Transaction
from trio_jobs.stores.sqlite.queries import SCHEMAS

JOBS = ("held", "behind", "child", "grandchild")
WORKER = Claimant("worker", claim="a")
COLUMNS = """id, state, reason, message, error, result, saved, progress, attempt, spent, losses, claim,
    appended, seq, kept, bytes, due, expires, finished, ready, cancel_requested, cancel_message, cancel_grace,
    consumed, received, last_input, inputs_ended, unconsumed, input_bytes, repeated, repeats, steps,
    step_bytes, replaced_by"""
WIDE = Retention(finished=FOREVER)
NARROW = st.builds(
    Retention,
    events=st.integers(1, 12),
    bytes=st.integers(1, 99),
    token_bytes=st.integers(8, 30),
    inputs=st.integers(1, 4),
    input_bytes=st.integers(9, 50),
    steps=st.integers(1, 3),
    step_bytes=st.integers(40, 150),
    finished=st.just(FOREVER),
)


class InSql(WritingCalls, InputCalls, CancelCalls):
    """The verbs of the store, each called at once on a plain connection."""

    def __init__(self, db: psycopg.Connection[Any], keep: Retention) -> None:
        self._db = db
        self.rows = self._rows = rows_of(())
        self._own = {"keep": attrs.asdict(keep)}

    async def _write(self, verb: str, call: Any, *, alone: bool = False) -> Any:
        del alone
        (found,) = self.flush(verb, {**self._own, **call})
        if (error := error_in(found)) is not None:
            raise error
        return found.value

    async def _read(self, query: str, *values: Any) -> list[tuple[str | None, ...]]:
        assert query == "handler_of"
        return self._db.execute("SELECT handler FROM trio_jobs.job WHERE id = %s", values).fetchall()

    def flush(self, verb: str, *calls: Any) -> list[Answer]:
        """Return the answers to calls that are sent together."""
        asked = f"SELECT answer::text FROM trio_jobs.{verb}(%s) ORDER BY place".encode()  # noqa: S608  # ours
        rows = self._db.execute(asked, [msgspec.json.encode(calls).decode()]).fetchall()
        return [msgspec.json.decode(answer, type=Answer) for (answer,) in rows]


class Both:
    """The same jobs in a file and in a database.

    One holds a name, one stands behind it, one is a child of the first, and one that one's.
    """

    def __init__(self, db: psycopg.Connection[Any], keep: Retention, rule: Any = None) -> None:
        file = apsw.Connection(":memory:")
        file.execute("".join(SCHEMAS))
        self.now = 1000.0
        self.tx = Transaction(file, self.now, Limits(9, keep))
        self.db = db
        self.sql = InSql(db, keep)
        options = json.dumps({} if rule is None else {"restart": attrs.asdict(rule)})
        for number, name in enumerate(JOBS, 1):
            behind = name == "behind"
            row = {"number": number, "id": name, "handler": "work", "args": "[]", "options": options}
            row |= {"priority": 2, "state": "queued" if behind else "running", "attempts": 1, "attempt": 1}
            row |= {"spent": 1, "claim": "a", "created": 0, "due": 5, "first_due": 3, "started": 900.0}
            row |= {"expires": 2000.0, "seq": 1, "parent": {"child": "held", "grandchild": "child"}.get(name)}
            row |= {"exclusive": "name" if name in {"held", "behind"} else None}
            names, marks = ", ".join(row), ", ".join("?" for _ in row)
            into_file = (
                f"INSERT INTO trio_jobs_job ({names}, behind) VALUES ({marks}, {1 if behind else 'NULL'})"  # noqa: S608
            )
            file.execute(into_file, tuple(row.values()))
            into_sql = f"INSERT INTO trio_jobs.job ({names}, behind) VALUES ({marks}, {behind})"  # noqa: S608
            db.execute(into_sql.replace("?", "%s").encode(), tuple(row.values()))
        self.wait(0)

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds
        self.tx.now = self.now
        self.db.execute("SELECT set_config('test.now', %s, true)", [str(self.now)])

    def same(self, in_a_file: Any, in_a_database: Any) -> Any:
        """Do the same in both, compare, and return what it came to."""
        wanted = self._came(lambda: self._undone_if_refused(in_a_file))
        found = self._came(lambda: _now(in_a_database))
        assert found == wanted
        self.tx.write_log()
        assert self.jobs() == self.file_jobs()
        assert self.log() == self.file_log()
        return found

    def _undone_if_refused(self, act: Any) -> Any:
        came: list[Any] = []
        if (error := self.tx.alone(lambda: came.append(act()))) is not None:
            raise error
        return came[0]

    @staticmethod
    def _came(act: Any) -> Any:
        try:
            return act()
        except TrioJobsError as error:
            return type(error), error.args, str(error)

    def attempt(self, again: int = 0) -> tuple[int, int]:
        """Return the number of the attempt, and how much it has appended, less what it appends again."""
        asked = "SELECT attempt, max(0, appended - ?) FROM trio_jobs_job WHERE number = 1"
        attempt, offset = next(self.tx.db.execute(asked, (again,)))
        return int(attempt), int(offset)

    def append(self, kind: Kind, values: Sequence[Any], again: int = 0, received: int | None = None) -> Any:
        attempt, offset = self.attempt(again)
        encoded = [encode_event(kind, value) for value in values]
        more: Any = {"offset": offset, "received": received, "claim": "a"}
        return self.same(
            lambda: verbs.append(self.tx, "held", attempt, kind, encoded, **more),
            self.sql.append("held", attempt, kind, values, **more),
        )

    def finish(self, outcome: Outcome) -> Any:
        result = encode("it", outcome.result) if outcome.transition is Transition.COMPLETED else None
        attempt, _ = self.attempt()
        return self.same(
            lambda: in_file.finish(self.tx, "held", attempt, outcome, result, claim="a"),
            self.sql.finish("held", attempt, outcome, "a"),
        )

    def send(self, input_id: str, values: Sequence[Any]) -> Any:
        return self.same(
            lambda: inbox.send(self.tx, "held", input_id, values, self.sql.rows.inputs_of)[0],
            self.sql.send("held", input_id, values),
        )

    def end_inputs(self) -> Any:
        return self.same(lambda: inbox.end_inputs(self.tx, "held")[0], self.sql.end_inputs("held"))

    def cancel(self, job_id: str, message: str | None, grace: float) -> Any:
        return self.same(
            lambda: in_file.request_cancel(self.tx, job_id, message, grace),
            self.sql.request_cancel(job_id, message, grace),
        )

    def start(self) -> None:
        """Start the next attempt, if the job waits."""
        if next(self.tx.db.execute("SELECT state FROM trio_jobs_job WHERE number = 1")) != ("retrying",):
            return
        self.tx.write_log()
        row = verbs.start(self.tx, 1, WORKER)
        self.db.execute(
            "UPDATE trio_jobs.job SET state = 'running', claim = 'a', attempt = attempt + 1, "
            "spent = spent + 1, appended = 0, seq = seq + 1, "
            "started = %s, expires = NULL, ready = NULL, reason = NULL, "
            "message = NULL, error = NULL, received = consumed WHERE number = 1",
            [self.now],
        )
        self.db.execute(
            "INSERT INTO trio_jobs.event VALUES (1, %s, 1, %s, 'started', %s, NULL, '[\"worker\"]')",
            [row[11], row[8], self.now],
        )

    def jobs(self) -> list[Any]:
        asked = f"SELECT {COLUMNS}, behind FROM trio_jobs.job ORDER BY number"  # noqa: S608
        return self.db.execute(asked.encode()).fetchall()

    def file_jobs(self) -> list[Any]:
        asked = f"SELECT {COLUMNS}, behind IS NOT NULL FROM trio_jobs_job ORDER BY number"  # noqa: S608
        return list(self.tx.db.execute(asked))

    def log(self) -> list[Any]:
        columns = "job, seq, count, attempt, kind, at, received, data"
        found = self.db.execute(f"SELECT {columns} FROM trio_jobs.event ORDER BY 1, 2".encode())  # noqa: S608
        known = self.db.execute("SELECT id, digest, seq FROM trio_jobs.input ORDER BY id")
        return [*map(_read, found), *known]

    def file_log(self) -> list[Any]:
        columns = "id >> 32, id & 0xffffffff, count, attempt, kind, at, received, data"
        found = self.tx.db.execute(f"SELECT {columns} FROM trio_jobs_event ORDER BY id")  # noqa: S608
        known = self.tx.db.execute("SELECT id, lower(hex(digest)), seq FROM trio_jobs_input ORDER BY id")
        return [*map(_read, found), *known]


def _read(row: Any) -> Any:
    return *row[:-1], json.loads(row[-1])


def _now(coroutine: Any) -> Any:
    """Run what waits for nothing."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("it waits")


@pytest.fixture(scope="module")
def db(postgres_server: Any) -> Iterator[psycopg.Connection[Any]]:
    """Return a connection to a schema of which the test sets the clock."""
    with schema_in(postgres_server) as connection:
        connection.execute(
            "CREATE OR REPLACE FUNCTION trio_jobs.clock() RETURNS double precision LANGUAGE sql "
            "AS $$ SELECT current_setting('test.now')::double precision $$"
        )
        connection.commit()
        yield connection


values = st.none() | st.integers(-9, 99) | texts | st.lists(texts, max_size=2)
KINDS = {
    Kind.TOKEN: values, Kind.SAVED: values, Kind.READY: st.none(), Kind.PROGRESS: st.builds(Progress, counts),
    Kind.STEP: st.builds(Step, texts, texts, values),
}  # fmt: skip
appends = st.sampled_from(list(KINDS)).flatmap(
    lambda kind: st.tuples(st.just(kind), st.lists(KINDS[kind], min_size=1, max_size=7))
)
acts = st.one_of(
    st.tuples(st.just("append"), appends, st.integers(0, 2), st.none() | st.integers(0, 30)),
    st.tuples(st.just("send"), st.sampled_from("abcd"), st.lists(values, min_size=1, max_size=3)),
    st.tuples(st.just("end_inputs")),
    st.tuples(
        st.just("cancel"),
        st.sampled_from([*JOBS, "nobody"]),
        st.none() | texts,
        st.floats(0, 9) | st.just(math.inf),
    ),
    st.tuples(st.just("finish"), outcomes(), values),
    st.tuples(st.just("start")),
    st.tuples(st.just("wait"), st.floats(0, 50)),
)


@given(keep=NARROW, rule=st.none() | rules, acts=st.lists(acts, max_size=25))
def test_any_life(db: psycopg.Connection[Any], keep: Retention, rule: Any, acts: list[Any]) -> None:
    """Whatever an attempt, and others, write about a job, the answer is the same and so is what is stored."""
    db.rollback()
    both = Both(db, keep, rule)
    for act, *args in acts:
        if act == "append":
            (kind, given_values), again, received = args
            if (
                kind is Kind.TOKEN
                and max(len(encode_event(kind, one)) for one in given_values) > keep.token_bytes
            ):
                continue  # which is refused before it comes here
            both.append(kind, given_values, again, received if kind is Kind.SAVED else None)
        elif act == "finish":
            outcome, result = args
            both.finish(attrs.evolve(outcome, result=result))
        else:
            getattr(both, act)(*args)
    db.rollback()


@pytest.mark.parametrize("reason", [Reason.SNOOZED, Reason.AWAITING_INPUT, Reason.ERROR])
def test_many_attempts(db: psycopg.Connection[Any], reason: Reason) -> None:
    """Of many snoozes and waits the same are dropped, and no other ends of attempts."""
    db.rollback()
    both = Both(db, WIDE)
    for _ in range(160):
        both.wait(1)
        both.finish(Outcome(Transition.RETRIED, ended=Ended(reason, delay=1.0)))
        both.start()
    kinds = [row[4] for row in both.log()]
    assert kinds.count("retried") == (160 if reason is Reason.ERROR else 111)
    db.rollback()


def test_calls_in_one_flush(db: psycopg.Connection[Any]) -> None:
    """Calls for one job that are sent together are served in their order, and each has its own answer."""
    db.rollback()
    sql = Both(db, WIDE).sql
    call = {"attempt": 1, "claim": "a", "kind": "token", "received": None, "keep": attrs.asdict(WIDE)}
    appends = [
        {**call, "job": "held", "data": "[1, 2]", "count": 2, "offset": 0},
        {**call, "job": "child", "data": "[3]", "count": 1, "offset": 0},
        {**call, "job": "held", "data": "[2,4]", "count": 2, "offset": 1},
        {**call, "job": "held", "attempt": 2, "data": "[5]", "count": 1, "offset": 3},
        {**call, "job": "nobody", "data": "[5]", "count": 1, "offset": 3},
    ]
    found = sql.flush("append_events", *appends)
    assert [answer.value for answer in found] == [3, 2, 4, None, None]
    assert [answer.error for answer in found] == [None, None, None, "LeaseLost", "LeaseLost"]
    assert [answer.grown for answer in found] == [["held"], ["child"], ["held"], [], []]
    done = {"transition": "completed", "result": "1", "ended": None, "received": 0, "begun": True}
    finish = {**call, "outcome": done}
    jobs = ("held", "grandchild", "held", "child")
    found = sql.flush("finish_jobs", *[{**finish, "job": job} for job in jobs])
    assert [answer.value for answer in found] == ["completed", "completed", "completed", None]
    assert [sorted(answer.ended) for answer in found] == [["child", "held"], ["grandchild"], [], []]
    assert [answer.work for answer in found] == [True, False, False, False]
    db.rollback()
