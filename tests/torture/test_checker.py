"""The checker of tortured files: a right file passes, and each made-up fault is found by its rule."""

from __future__ import annotations

import json
import sqlite3
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def checker() -> Iterator[Any]:
    """Import the checker as its command does."""
    sys.path.insert(0, str(HERE))
    try:
        import checker

        yield checker
    finally:
        sys.path.remove(str(HERE))


SCHEMA = """
CREATE TABLE trio_jobs_meta (name TEXT, value ANY);
INSERT INTO trio_jobs_meta VALUES ('epoch', 0.0);
CREATE TABLE trio_jobs_job (
    number INTEGER PRIMARY KEY, id TEXT, state TEXT, attempt INTEGER, spent INTEGER, attempts INTEGER,
    seq INTEGER, parent INTEGER, key TEXT
);
CREATE TABLE trio_jobs_event (
    id INTEGER PRIMARY KEY, count INTEGER, attempt INTEGER, kind TEXT, at REAL, data TEXT
);
CREATE TABLE trio_jobs_total (what TEXT, state TEXT, jobs INTEGER);
"""
LOG: list[tuple[int, int, str, list[Any]]] = [
    (1, 0, "submitted", ["h"]),
    (2, 1, "started", ["worker0.1"]),
    (4, 1, "token", ["1.0", "1.1"]),
    (5, 1, "retried", [{"reason": "worker_lost", "delay": 0.0}]),
    (6, 2, "started", ["worker1.1"]),
    (7, 2, "token", ["2.0"]),
    (8, 2, "completed", [5]),
]
JOURNAL: list[dict[str, Any]] = [
    {"what": "submitted", "key": "k", "job": "a"},
    {"what": "token", "job": "a", "attempt": 1, "value": "1.0"},
    {"what": "token", "job": "a", "attempt": 1, "value": "1.1"},
    {"what": "token", "job": "a", "attempt": 1, "value": "1.2"},
    {"what": "token", "job": "a", "attempt": 2, "value": "2.0"},
    {"what": "return", "job": "a", "attempt": 2, "value": 5},
    {"what": "cancelled", "job": "a", "outcome": "finished_first"},
    {"what": "event", "job": "a", "seq": 1, "attempt": 0, "kind": "submitted", "data": None},
    {"what": "event", "job": "a", "seq": 2, "attempt": 1, "kind": "started", "data": None},
    {"what": "start", "name": "worker0.1"},
    {"what": "start", "name": "worker0.2"},
]


class Scene:
    """A file and a journal in which everything is right, to be made wrong."""

    def __init__(self, checker: Any, folder: Path) -> None:
        self.checker = checker
        self.folder = folder
        self.journal = [dict(entry) for entry in JOURNAL]
        self.db = sqlite3.connect(folder / "jobs.db", isolation_level=None)
        self.db.executescript(SCHEMA + checker.AUDIT)
        self.sql("INSERT INTO trio_jobs_job VALUES (1, 'a', 'queued', 0, 0, 1, 1, NULL, 'k')")
        at = 100.0
        for seq, attempt, kind, data in LOG:
            state = {"started": "running", "retried": "retrying", "completed": "completed"}.get(kind)
            change = "UPDATE trio_jobs_job SET seq = ?, attempt = ?, spent = ?, state = coalesce(?, state)"
            self.sql(change, seq, attempt, attempt, state)
            self.event(seq, attempt, kind, data, at)
            at += 0.1
        self.sql("INSERT INTO trio_jobs_total VALUES ('all', 'completed', 1)")

    def sql(self, statement: str, *values: object) -> None:
        self.db.execute(statement, values)

    def event(
        self, seq: int, attempt: int, kind: str, data: list[Any], at: float = 100.0, job: int = 1
    ) -> None:
        values = (job << 32 | seq, len(data), attempt, kind, at, json.dumps(data))
        self.sql("INSERT INTO trio_jobs_event VALUES (?, ?, ?, ?, ?, ?)", *values)

    def faults(self) -> list[str]:
        self.db.close()
        lines = [json.dumps({"at": 100.0, **entry}) + "\n" for entry in self.journal]
        (self.folder / "worker0.1.jsonl").write_text("".join(lines))
        return list(self.checker.check(self.folder, 1.0).faults)


@pytest.fixture
def scene(checker: Any, tmp_path: Path) -> Scene:
    return Scene(checker, tmp_path)


def test_what_is_right_passes(scene: Scene) -> None:
    """A job that lost a worker and completed, was read half-way and cancelled too late, is no fault."""
    assert scene.faults() == []


def sql(statement: str, *values: object) -> Callable[[Scene], None]:
    return lambda scene: scene.sql(statement, *values)


def said(**entry: Any) -> Callable[[Scene], None]:
    return lambda scene: scene.journal.append(entry)


def edited(place: int, **changes: Any) -> Callable[[Scene], None]:
    return lambda scene: scene.journal[place].update(changes)


WRONGS: list[tuple[str, Callable[[Scene], None]]] = [
    ("the_file_is_whole", lambda scene: scene.event(1, 0, "submitted", ["h"], job=9)),
    ("the_file_is_whole", sql("UPDATE trio_jobs_total SET jobs = 2")),
    ("logs_are_dense", sql("DELETE FROM trio_jobs_event WHERE id = ?", 1 << 32 | 7)),
    ("logs_are_dense", sql("UPDATE trio_jobs_job SET seq = 9")),
    ("logs_are_legal", sql("UPDATE trio_jobs_event SET kind = 'failed' WHERE id = ?", 1 << 32 | 5)),
    ("logs_are_legal", sql("UPDATE trio_jobs_event SET attempt = 1 WHERE id = ?", 1 << 32 | 7)),
    ("logs_are_legal", sql("UPDATE trio_jobs_job SET state = 'failed'")),
    ("logs_are_legal", lambda scene: scene.event(9, 2, "failed", [{"reason": "error"}])),
    ("everything_ended", sql("UPDATE trio_jobs_job SET state = 'running'")),
    ("budgets_are_kept", sql("UPDATE trio_jobs_job SET spent = 4")),
    ("moves_were_legal", sql("UPDATE trio_jobs_job SET state = 'cancelled'")),
    ("moves_were_legal", sql("UPDATE trio_jobs_job SET attempt = 1")),
    ("moves_were_legal", sql("UPDATE trio_jobs_job SET seq = 9")),
    ("moves_were_legal", sql("UPDATE trio_jobs_job SET attempt = 3")),
    ("the_fence_held", lambda scene: scene.event(9, 1, "token", ["1.2"])),
    ("accepted_is_kept", said(what="submitted", key="other", job="b")),
    ("accepted_is_kept", edited(0, key="other")),
    ("cancel_answers_are_true", edited(6, outcome="cancelled")),
    ("tokens_are_the_handlers", edited(2, value="1.9")),
    ("tokens_are_the_handlers", said(what="token", job="a", attempt=2, value="2.1")),
    ("results_are_the_handlers", edited(5, value=6)),
    ("readers_agree", edited(8, seq=3)),
    ("readers_agree", edited(8, kind="token")),
    ("readers_agree", said(what="end", job="a")),
    ("readers_agree", edited(7, job="b")),
    ("the_dead_are_replaced", sql("UPDATE trio_jobs_event SET at = 120.0 WHERE id = ?", 1 << 32 | 5)),
]


@pytest.mark.parametrize(("rule", "spoil"), WRONGS, ids=[f"{rule}-{n}" for n, (rule, _) in enumerate(WRONGS)])
def test_what_is_wrong_is_found(scene: Scene, rule: str, spoil: Callable[[Scene], None]) -> None:
    """Each made-up fault is reported by its rule."""
    spoil(scene)
    assert any(fault.startswith(f"{rule}: ") for fault in scene.faults())


def test_a_damaged_file_is_found(scene: Scene) -> None:
    """An index without an entry of its table is reported."""
    scene.sql("CREATE INDEX by_state ON trio_jobs_job (state)")
    scene.sql("PRAGMA writable_schema = ON")
    scene.sql(
        "UPDATE sqlite_schema SET sql = 'CREATE INDEX by_state ON trio_jobs_job (id)' WHERE name = 'by_state'"
    )
    assert any(fault.startswith("the_file_is_whole: integrity_check") for fault in scene.faults())
