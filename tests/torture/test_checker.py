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
    number INTEGER PRIMARY KEY, id TEXT, state TEXT, reason TEXT, attempt INTEGER, spent INTEGER,
    attempts INTEGER, seq INTEGER, parent INTEGER, key TEXT, consumed INTEGER DEFAULT 0,
    unconsumed INTEGER DEFAULT 0, last_input INTEGER DEFAULT 0, inputs_ended INTEGER, exclusive TEXT,
    handler TEXT DEFAULT 'h', options TEXT DEFAULT '{"limit_key": "a"}'
);
CREATE TABLE trio_jobs_tag (job INTEGER, name TEXT, value TEXT);
CREATE TABLE trio_jobs_schedule (name TEXT, last_tick REAL, paused INTEGER);
CREATE TABLE trio_jobs_event (
    id INTEGER PRIMARY KEY, count INTEGER, attempt INTEGER, kind TEXT, at REAL, data TEXT,
    received INTEGER
);
CREATE TABLE trio_jobs_total (what TEXT, state TEXT, jobs INTEGER);
"""
LOG: list[tuple[Any, ...]] = [
    (1, 0, "submitted", ["h"]),
    (2, 1, "started", ["worker0.1"]),
    (4, 1, "token", ["1.0", "1.1"]),
    (5, 1, "retried", [{"reason": "worker_lost", "delay": 0.0}]),
    (6, 2, "started", ["worker1.1"]),
    (7, 2, "token", ["2.0"]),
    (8, 2, "completed", [5], 0),
]
CHAT: list[tuple[Any, ...]] = [  # the other job, which listens; the last column is what was received
    (1, 0, "submitted", ["chat"]),
    (2, 1, "started", ["worker0.1"]),
    (4, 1, "input", ["said 0", "said 1"]),
    (5, 1, "step", [{"name": "answer 1", "digest": "", "result": "made by 1"}]),
    (6, 1, "saved", [["said 0"]], 3),
    (7, 1, "retried", [{"reason": "awaiting_input", "delay": "inf"}], 4),
    (8, 1, "input", ["said 2"]),
    (9, 2, "started", ["worker1.1"]),
    (10, 2, "inputs_ended", [None]),
    (11, 2, "completed", [["said 0", "said 1"]], 4),
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
    {"what": "works"},
]
SENT: list[dict[str, Any]] = [
    {"what": "submitted", "key": "l", "job": "b"},
    {"what": "send", "job": "b", "id": "0", "values": ["said 0", "said 1"]},
    {"what": "sent", "job": "b", "id": "0", "values": ["said 0", "said 1"], "seq": 4},
    {"what": "sent", "job": "b", "id": "0", "values": ["said 0", "said 1"], "seq": 4},
    {"what": "send", "job": "b", "id": "1", "values": ["said 2"]},
    {"what": "inputs ended", "job": "b", "seq": 10},
    {"what": "received", "job": "b", "attempt": 1, "seq": 3, "value": "said 0"},
    {"what": "effect", "job": "b", "attempt": 1, "name": "answer 1", "value": "made by 1"},
    {"what": "stepped", "job": "b", "attempt": 1, "name": "answer 1", "value": "made by 1"},
    {"what": "save", "job": "b", "attempt": 1, "value": ["said 0"], "received": 3},
    {"what": "received", "job": "b", "attempt": 1, "seq": 4, "value": "said 1"},
    {"what": "effect", "job": "b", "attempt": 1, "name": "answer 2", "value": None},
    {"what": "wait", "job": "b", "attempt": 1},
    {"what": "received", "job": "b", "attempt": 2, "seq": 4, "value": "said 1"},
    {"what": "stepped", "job": "b", "attempt": 2, "name": "answer 1", "value": "made by 1"},
    {"what": "return", "job": "b", "attempt": 2, "value": ["said 0", "said 1"]},
]
STATES = {"started": "running", "retried": "retrying", "completed": "completed", "cancelled": "cancelled"}
REPLACED: list[tuple[Any, ...]] = [
    (1, 0, "submitted", ["h"]),
    (2, 0, "cancelled", [{"reason": "replaced", "replaced_by": "d"}]),
]
DONE: list[tuple[Any, ...]] = [
    (1, 0, "submitted", ["h"]),
    (2, 1, "started", ["worker0.1"]),
    (3, 1, "completed", [5], 0),
]
TURNS: list[dict[str, Any]] = [  # job d takes the place of c, and e runs behind d; f is of a schedule
    {"what": "submit", "key": "c", "exclusive": "door", "on_busy": "attach"},
    {"what": "submit", "key": "d", "exclusive": "door", "on_busy": "replace"},
    {"what": "submit", "key": "x", "exclusive": "door", "on_busy": "reject"},
    {"what": "busy", "key": "x", "exclusive": "door", "holder": "d"},
    *({"what": "run", "job": job, "attempt": 1, "at": at} for job, at in (("d", 100.1), ("e", 100.3))),
    *(
        {"what": "return", "job": job, "attempt": 1, "value": 5, "at": at}
        for job, at in (("d", 100.2), ("e", 100.4), ("f", 100.5))
    ),
]


class Scene:
    """A file and a journal in which everything is right, to be made wrong."""

    def __init__(self, checker: Any, folder: Path) -> None:
        self.checker = checker
        self.folder = folder
        self.journal = [dict(entry) for entry in [*JOURNAL, *SENT, *TURNS]]
        self.db = sqlite3.connect(folder / "jobs.db", isolation_level=None)
        self.db.executescript("PRAGMA synchronous = OFF; PRAGMA journal_mode = OFF;" + SCHEMA + checker.AUDIT)
        self.write(1, "a", "k", LOG)
        self.write(2, "b", "l", CHAT)
        self.sql(
            "UPDATE trio_jobs_job SET spent = 1, consumed = 4, unconsumed = 1, last_input = 10,"
            " inputs_ended = 10 WHERE number = 2"
        )
        self.write(3, "c", "c", REPLACED, exclusive="door")
        self.write(4, "d", "d", DONE, exclusive="door")
        self.write(5, "e", "e", DONE, exclusive="door")
        self.sql("INSERT INTO trio_jobs_schedule VALUES ('each', 99.0, 0)")
        self.sql("INSERT INTO trio_jobs_tag VALUES (6, 'schedule', 'each')")
        self.sql("UPDATE trio_jobs_schedule SET last_tick = 100.0")
        self.write(6, "f", None, DONE)
        self.sql("INSERT INTO trio_jobs_total VALUES ('all', 'completed', 5), ('all', 'cancelled', 1)")

    def write(
        self,
        number: int,
        job_id: str,
        key: str | None,
        log: list[tuple[Any, ...]],
        exclusive: str | None = None,
        at: float = 100.0,
    ) -> None:
        """Write a job, change by change."""
        self.sql(
            "INSERT INTO trio_jobs_job (number, id, state, attempt, spent, attempts, seq, key, exclusive)"
            " VALUES (?, ?, 'queued', 0, 0, 1, 1, ?, ?)",
            *(number, job_id, key, exclusive),
        )
        for seq, attempt, kind, data, *received in log:
            state = STATES.get(kind)
            self.sql(
                "UPDATE trio_jobs_job SET seq = ?, attempt = ?, spent = ?, state = coalesce(?, state)"
                " WHERE number = ?",
                *(seq, attempt, attempt, state, number),
            )
            self.event(seq, attempt, kind, data, at, number, *received)
            at += 0.1

    def sql(self, statement: str, *values: object) -> None:
        self.db.execute(statement, values)

    def event(
        self,
        seq: int,
        attempt: int,
        kind: str,
        data: list[Any],
        at: float = 100.0,
        job: int = 1,
        received: int | None = None,
    ) -> None:
        values = (job << 32 | seq, len(data), attempt, kind, at, json.dumps(data), received)
        self.sql("INSERT INTO trio_jobs_event VALUES (?, ?, ?, ?, ?, ?, ?)", *values)

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


def chat(seq: int, **changes: Any) -> Callable[[Scene], None]:
    """Change columns of an event of the job that listens."""

    def change(scene: Scene) -> None:
        for name, value in changes.items():
            written = json.dumps(value) if name == "data" else value
            scene.sql(CHANGES[name], written, 2 << 32 | seq)

    return change


CHANGES = {
    "kind": "UPDATE trio_jobs_event SET kind = ? WHERE id = ?",
    "data": "UPDATE trio_jobs_event SET data = ? WHERE id = ?",
    "received": "UPDATE trio_jobs_event SET received = ? WHERE id = ?",
}


def sent(place: int, **changes: Any) -> Callable[[Scene], None]:
    return edited(len(JOURNAL) + place, **changes)


def unsaid(place: int) -> Callable[[Scene], None]:
    return lambda scene: scene.journal.__delitem__(len(JOURNAL) + place)


def crowded(scene: Scene) -> None:
    """Accept more inputs than there may be, all at once."""
    scene.event(20, 2, "input", ["x"] * 9, job=2)


def deaf(scene: Scene) -> None:
    """Let the job wait on, though it was sent something."""
    scene.sql("DELETE FROM trio_jobs_event WHERE id > ? AND id < ?", 2 << 32 | 8, 3 << 32)
    scene.sql("UPDATE trio_jobs_job SET state = 'retrying' WHERE number = 2")


def turned(place: int, **changes: Any) -> Callable[[Scene], None]:
    return edited(len(JOURNAL) + len(SENT) + place, **changes)


def edited(place: int, **changes: Any) -> Callable[[Scene], None]:
    return lambda scene: scene.journal[place].update(changes)


def crowd(scene: Scene) -> None:
    """Let two jobs of one key run at the same time."""
    scene.sql("UPDATE trio_jobs_job SET handler = 'limited' WHERE id IN ('d', 'e')")
    scene.sql("DELETE FROM audit_job WHERE id = 'd' AND new_state = 'completed'")
    turned(5, at=100.15)(scene)


def skipping(at: float) -> Callable[[Scene], None]:
    """Let a schedule fire for 102 at a moment, without the tick before, and add its job."""

    def change(scene: Scene) -> None:
        scene.sql("UPDATE trio_jobs_schedule SET last_tick = 102.0")
        scene.sql("UPDATE audit_tick SET at = ? WHERE new = 102.0", at)
        scene.sql("INSERT INTO trio_jobs_tag VALUES (7, 'schedule', 'each')")
        scene.write(7, "g", None, DONE, at=at)

    return change


def waiting(*entries: dict[str, Any]) -> Callable[[Scene], None]:
    """Let a job wait from 100 to 120 for a worker, and add lines to the journal."""

    def change(scene: Scene) -> None:
        scene.sql("UPDATE trio_jobs_event SET at = 120.0 WHERE id = ?", 1 << 32 | 5)
        scene.journal += entries

    return change


def answering(answers: bool, at: float) -> dict[str, Any]:
    return {"what": "server", "answers": answers, "at": at}


def stopped(number: str, at: float) -> dict[str, Any]:
    return {"what": "signal", "number": number, "name": "worker0", "generation": 1, "at": at}


def lose_workers(scene: Scene) -> None:
    """Let a job lose a fourth worker in a row."""
    for seq in range(9, 12):
        scene.event(seq, 2, "retried", [{"reason": "worker_lost", "delay": 0.0}])


WRONGS: list[tuple[str, Callable[[Scene], None]]] = [
    ("the_file_is_whole", lambda scene: scene.event(1, 0, "submitted", ["h"], job=9)),
    ("the_file_is_whole", sql("UPDATE trio_jobs_total SET jobs = 3")),
    ("the_file_is_whole", sql("UPDATE trio_jobs_job SET state = 'retrying', reason = 'awaiting_input'")),
    ("logs_are_dense", sql("DELETE FROM trio_jobs_event WHERE id = ?", 1 << 32 | 7)),
    ("logs_are_dense", sql("UPDATE trio_jobs_job SET seq = 9")),
    ("logs_are_legal", sql("UPDATE trio_jobs_event SET kind = 'failed' WHERE id = ?", 1 << 32 | 5)),
    ("logs_are_legal", sql("UPDATE trio_jobs_event SET attempt = 1 WHERE id = ?", 1 << 32 | 7)),
    ("logs_are_legal", sql("UPDATE trio_jobs_job SET state = 'failed'")),
    ("logs_are_legal", lambda scene: scene.event(9, 2, "failed", [{"reason": "error"}])),
    ("everything_ended", sql("UPDATE trio_jobs_job SET state = 'running'")),
    ("budgets_are_kept", sql("UPDATE trio_jobs_job SET spent = 9")),
    ("budgets_are_kept", lose_workers),
    ("moves_were_legal", sql("UPDATE trio_jobs_job SET state = 'cancelled'")),
    ("moves_were_legal", sql("UPDATE trio_jobs_job SET attempt = 1")),
    ("moves_were_legal", sql("UPDATE trio_jobs_job SET seq = 9")),
    ("moves_were_legal", sql("UPDATE trio_jobs_job SET attempt = 3")),
    ("the_fence_held", lambda scene: scene.event(9, 1, "token", ["1.2"])),
    ("accepted_is_kept", said(what="submitted", key="other", job="c")),
    ("accepted_is_kept", edited(0, key="other")),
    ("cancel_answers_are_true", edited(6, outcome="cancelled")),
    ("tokens_are_the_handlers", edited(2, value="1.9")),
    ("tokens_are_the_handlers", said(what="token", job="a", attempt=2, value="2.1")),
    ("results_are_the_handlers", edited(5, value=6)),
    ("failures_are_the_handlers", lambda scene: scene.event(9, 2, "failed", [{"reason": "error"}])),
    ("failures_are_the_handlers", lambda scene: scene.event(9, 2, "failed", [{"reason": "limit"}])),
    ("readers_agree", edited(8, seq=3)),
    ("readers_agree", edited(8, kind="token")),
    ("readers_agree", said(what="end", job="a")),
    ("readers_agree", edited(7, job="b")),
    ("logs_are_legal", lambda scene: scene.event(12, 2, "input", ["x"], job=2)),
    ("logs_are_legal", chat(8, kind="token")),
    ("rows_know_their_inputs", sql("UPDATE trio_jobs_job SET consumed = 3")),
    ("rows_know_their_inputs", sql("UPDATE trio_jobs_job SET unconsumed = 0")),
    ("rows_know_their_inputs", sql("UPDATE trio_jobs_job SET last_input = 8")),
    ("rows_know_their_inputs", sql("UPDATE trio_jobs_job SET inputs_ended = NULL")),
    ("rows_know_their_inputs", chat(10, kind="input")),
    ("boxes_are_bounded", crowded),
    ("accepted_inputs_are_kept", sent(2, seq=5)),
    ("accepted_inputs_are_kept", sent(3, seq=8, values=["said 2"])),
    ("accepted_inputs_are_kept", sent(2, job="c")),
    ("accepted_inputs_are_kept", sent(5, seq=9)),
    ("accepted_inputs_are_kept", chat(4, data=["said 1", "said 0"])),
    ("inputs_are_the_senders", chat(8, data=["said 1"])),
    ("inputs_are_the_senders", unsaid(4)),
    ("attempts_receive_in_order", unsaid(6)),
    ("attempts_receive_in_order", sent(10, seq=3, value="said 0")),
    ("attempts_receive_in_order", sent(13, seq=8, value="said 2")),
    ("attempts_receive_in_order", sent(13, seq=3, value="said 0")),
    ("only_what_was_received_is_consumed", chat(6, received=4)),
    ("only_what_was_received_is_consumed", unsaid(9)),
    ("only_what_was_received_is_consumed", chat(7, received=3)),
    ("only_what_was_received_is_consumed", chat(11, received=8)),
    ("only_what_was_received_is_consumed", chat(11, received=None)),
    ("only_what_was_received_is_consumed", chat(5, received=3)),
    ("what_completed_heard_all", chat(11, data=[["said 0"]])),
    ("what_completed_heard_all", chat(11, data=[["said 1", "said 0"]])),
    ("waits_end_in_time", unsaid(12)),
    ("waits_end_in_time", chat(8, kind="token")),
    ("waits_end_in_time", deaf),
    ("steps_are_done_once", chat(5, data=[{"name": "answer 1", "digest": "", "result": "made by 2"}])),
    ("steps_are_done_once", chat(5, data=[{"name": "answer 2", "digest": "", "result": None}])),
    ("steps_are_done_once", chat(8, kind="step", data=[{"name": "answer 1", "digest": "", "result": ""}])),
    ("steps_are_done_once", unsaid(7)),
    ("steps_are_done_once", said(what="effect", job="b", attempt=2, name="answer 1", value="made by 2")),
    ("steps_are_done_once", sent(14, value="made by 2")),
    ("steps_are_done_once", sent(14, name="answer 2")),
    ("one_job_holds_a_name", sql("DELETE FROM audit_job WHERE id = 'd' AND new_state = 'completed'")),
    ("handlers_of_a_name_take_turns", turned(5, at=100.15)),
    ("only_a_successor_replaces", turned(1, on_busy="after")),
    ("only_a_successor_replaces", sql("UPDATE trio_jobs_job SET exclusive = 'gate' WHERE id = 'd'")),
    ("only_a_successor_replaces", sql("UPDATE audit_job SET old_state = 'running' WHERE id = 'c'")),
    ("names_were_held", turned(3, holder="a")),
    ("names_were_held", turned(2, at=101.0)),
    ("limits_are_not_overshot", crowd),
    ("handlers_keep_to_limits", crowd),
    ("each_tick_fires_once", skipping(160.9)),
    ("each_tick_fires_once", sql("UPDATE trio_jobs_schedule SET last_tick = 101.0")),
    ("each_tick_fires_once", sql("UPDATE audit_tick SET paused = 1")),
    ("each_tick_fires_once", sql("INSERT INTO trio_jobs_tag VALUES (5, 'schedule', 'each')")),
    ("each_tick_fires_once", sql("UPDATE trio_jobs_event SET at = 99.9 WHERE id = ?", 6 << 32 | 1)),
    ("the_dead_are_replaced", waiting()),
    ("the_dead_are_replaced", waiting(answering(False, 112.0))),
    ("the_dead_are_replaced", waiting(stopped("SIGKILL", 112.0))),
    ("the_dead_are_replaced", waiting(stopped("SIGSTOP", 101.0), stopped("SIGCONT", 102.0))),
]
RIGHTS: list[Callable[[Scene], None]] = [
    skipping(161.0),
    waiting(answering(False, 102.0), answering(True, 118.0)),
    waiting(stopped("SIGKILL", 102.0)),
    waiting(stopped("SIGSTOP", 102.0), stopped("SIGCONT", 118.0)),
    waiting({"what": "failpoint", "at": 102.0}),
    waiting({"what": "start", "name": "worker0.3", "at": 102.0}),
]


@pytest.mark.parametrize(("rule", "spoil"), WRONGS, ids=[f"{rule}-{n}" for n, (rule, _) in enumerate(WRONGS)])
def test_what_is_wrong_is_found(scene: Scene, rule: str, spoil: Callable[[Scene], None]) -> None:
    """Each made-up fault is reported by its rule."""
    spoil(scene)
    assert any(fault.startswith(f"{rule}: ") for fault in scene.faults())


@pytest.mark.parametrize("change", RIGHTS, ids=range(len(RIGHTS)))
def test_what_nobody_could_do_is_no_fault(scene: Scene, change: Callable[[Scene], None]) -> None:
    """A tick that was late for a minute may be left out, and a job waits while nothing is up."""
    change(scene)
    assert [fault for fault in scene.faults() if fault.startswith(("each_tick", "the_dead"))] == []


def test_a_damaged_file_is_found(scene: Scene) -> None:
    """An index without an entry of its table is reported."""
    scene.sql("CREATE INDEX by_state ON trio_jobs_job (state)")
    scene.sql("PRAGMA writable_schema = ON")
    scene.sql(
        "UPDATE sqlite_schema SET sql = 'CREATE INDEX by_state ON trio_jobs_job (id)' WHERE name = 'by_state'"
    )
    assert any(fault.startswith("the_file_is_whole: integrity_check") for fault in scene.faults())
