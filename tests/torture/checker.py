"""Check a tortured file: with SQL of its own, from what triggers wrote down, and against the journals.

Nothing here comes from the package: a rule that both had wrong would hide what it is for.
"""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import attrs
import listening
import taking_turns
from evidence import OVER, Evidence, Rule, load
from journal import entries
from uptime import uptime

AUDIT = """
CREATE TABLE audit_job (
    place INTEGER PRIMARY KEY, job INTEGER, id TEXT, old_state TEXT, new_state TEXT, old_attempt INTEGER,
    new_attempt INTEGER, old_seq INTEGER, new_seq INTEGER
);
CREATE TABLE audit_event (
    place INTEGER PRIMARY KEY, job INTEGER, seq INTEGER, attempt INTEGER, kind TEXT, current INTEGER
);
CREATE TRIGGER audit_born AFTER INSERT ON trio_jobs_job BEGIN
    INSERT INTO audit_job VALUES (NULL, new.number, new.id, NULL, new.state, 0, new.attempt, 0, new.seq);
END;
CREATE TRIGGER audit_changed AFTER UPDATE OF state, attempt, seq ON trio_jobs_job BEGIN
    INSERT INTO audit_job VALUES (
        NULL, new.number, new.id, old.state, new.state, old.attempt, new.attempt, old.seq, new.seq
    );
END;
CREATE TRIGGER audit_said AFTER INSERT ON trio_jobs_event BEGIN
    INSERT INTO audit_event SELECT NULL, number, new.id & 4294967295, new.attempt, new.kind, attempt
        FROM trio_jobs_job WHERE number = new.id >> 32;
END;
CREATE TABLE audit_tick (
    place INTEGER PRIMARY KEY, name TEXT, old REAL, new REAL, paused INTEGER, at REAL
);
CREATE TRIGGER audit_ticked AFTER UPDATE OF last_tick ON trio_jobs_schedule
WHEN new.last_tick <> old.last_tick BEGIN
    INSERT INTO audit_tick VALUES (NULL, new.name, old.last_tick, new.last_tick, new.paused,
        (julianday('now') - 2440587.5) * 86400.0);
END;
"""

NEXT = {
    ("queued", "started"): "running",
    ("queued", "cancelled"): "cancelled",
    ("queued", "expired"): "failed",
    ("running", "completed"): "completed",
    ("running", "failed"): "failed",
    ("running", "cancelled"): "cancelled",
    ("running", "retried"): "retrying",
    ("retrying", "started"): "running",
    ("retrying", "cancelled"): "cancelled",
}
MOVES = {(state, after) for (state, _), after in NEXT.items()} | {(None, "queued"), (None, "running")}
SILENT = {"token", "progress", "saved", "step"}
FROM_OUTSIDE = {"cancel_requested", "input", "inputs_ended"}
SLACK = 10.0
"""Seconds more than a lease that a lost job may wait while a worker is up, on a busy machine."""


@attrs.define
class Report:
    """What was found.

    Attributes:
        summary: How much there was to look at.
        faults: What does not hold.
    """

    summary: str
    faults: list[str]


def check(folder: Path, lease: float) -> Report:
    """Check the file and the journals in a folder, in which every job had the time to end."""
    db = sqlite3.connect(folder / "jobs.db")
    evidence = Evidence(db, load(db), list(entries(folder)), lease)
    faults = [f"{rule.__name__}: {fault}" for rule in RULES for fault in rule(evidence)]
    tokens = sum(event.kind == "token" for job in evidence.jobs.values() for event in job.log)
    attempts = sum(job.attempt for job in evidence.jobs.values())
    counted = {"event": "events read", "sent": "answered sends", "received": "inputs received"}
    counted |= {"wait": "waits", "effect": "effects of steps"}
    counted |= {"busy": "refused names", "attached": "submits attached to a holder"}
    counts = [f"{sum(1 for _ in evidence.said(what))} {name}" for what, name in counted.items()]
    ((ticks,),) = db.execute("SELECT count(*) FROM audit_tick")
    replaced = sum(
        job.log[-1].kind == "cancelled" and job.log[-1].data["reason"] == "replaced"
        for job in evidence.jobs.values()
    )
    counts += [f"{replaced} jobs replaced", f"{ticks} ticks"]
    db.close()
    said = f"{len(evidence.jobs)} jobs, {attempts} attempts, {tokens} tokens, {', '.join(counts)}"
    return Report(said, faults)


# ------------------------------------------------------------ the file by itself


def the_file_is_whole(evidence: Evidence) -> Iterator[str]:
    """Yield the faults that SQLite finds, rows without a job, and wrong counts."""
    db = evidence.db
    found = [row[0] for row in db.execute("PRAGMA integrity_check")]
    if found != ["ok"]:
        yield f"integrity_check: {found[:3]}"
    orphans = "SELECT count(*) FROM trio_jobs_event WHERE id >> 32 NOT IN (SELECT number FROM trio_jobs_job)"
    if count := db.execute(orphans).fetchone()[0]:
        yield f"{count} events belong to no job"
    counted = dict(db.execute("SELECT state, jobs FROM trio_jobs_total WHERE what = 'all' AND jobs > 0"))
    there = dict(db.execute("SELECT state, count(*) FROM trio_jobs_job GROUP BY state"))
    awaiting = "SELECT count(*) FROM trio_jobs_job WHERE state = 'retrying' AND reason = 'awaiting_input'"
    if count := db.execute(awaiting).fetchone()[0]:  # they are counted once more, apart
        there["awaiting_input"] = count
    if counted != there:
        yield f"the totals are {counted}, and there are {there}"


def logs_are_dense(evidence: Evidence) -> Iterator[str]:
    """Yield logs with holes or repetitions, or with more or less than the row says."""
    for job in evidence.jobs.values():
        if [event.seq for event in job.log] != list(range(1, job.seq + 1)):
            yield f"job {job.id}: seqs are {[event.seq for event in job.log]}, the row says {job.seq}"


def logs_are_legal(evidence: Evidence) -> Iterator[str]:
    """Yield illegal transitions, and rows that are not the folds of their logs."""
    for job in evidence.jobs.values():
        state, attempt = "", 0
        for event in job.log:
            if event.kind == "submitted" and not state:
                state = "queued"
                continue
            attempt += event.kind == "started"
            if event.attempt != attempt:
                yield f"job {job.id}: event {event.seq} is of attempt {event.attempt} in attempt {attempt}"
            if event.kind in SILENT | FROM_OUTSIDE:
                legal = state == "running" or (event.kind in FROM_OUTSIDE and state not in OVER)
                state = state if legal else ""
            else:
                state = NEXT.get((state, event.kind), "")
            if not state:
                yield f"job {job.id}: {event.kind} at {event.seq} is out of place"
                break
        if (state, attempt) != (job.state, job.attempt):
            yield f"job {job.id}: the log says {state}, attempt {attempt}; the row {job.state}, {job.attempt}"


def everything_ended(evidence: Evidence) -> Iterator[str]:
    """Yield jobs that have not ended, although there was no fault at last."""
    for job in evidence.jobs.values():
        if job.state not in OVER:
            yield f"job {job.id} is {job.state}"


def budgets_are_kept(evidence: Evidence) -> Iterator[str]:
    """Yield jobs with more attempts than they may have, or that lost more workers in a row."""
    for job in evidence.jobs.values():
        losses, in_a_row, deadly = 0, 0, max(job.attempts, 3)
        for event in job.log:
            if event.kind in {"retried", "failed"}:
                lost = event.data["reason"] == "worker_lost"
                losses, in_a_row = losses + lost, in_a_row + 1 if lost else 0
                if in_a_row > deadly or (event.kind == "retried" and in_a_row == deadly):
                    yield f"job {job.id} lost {in_a_row} workers in a row, and may lose {deadly}"
        if job.attempts and job.spent - losses > job.attempts:
            yield f"job {job.id} spent {job.spent - losses} attempts of {job.attempts}, but for lost ones"


# ------------------------------------------------------------ what triggers wrote down


def moves_were_legal(evidence: Evidence) -> Iterator[str]:
    """Yield illegal changes of rows: states, attempts or cursors that decrease."""
    for row in evidence.db.execute("SELECT * FROM audit_job ORDER BY place"):
        _, _, job_id, old, new, old_attempt, new_attempt, old_seq, new_seq = row
        if old != new and (old, new) not in MOVES:
            yield f"job {job_id} went from {old} to {new}"
        if old in OVER and old_seq != new_seq:
            yield f"job {job_id} was written to after it had ended"
        if new_attempt < old_attempt or new_seq < old_seq:
            yield f"job {job_id}: attempt {old_attempt} to {new_attempt}, seq {old_seq} to {new_seq}"
        if old_attempt != new_attempt and new != "running":
            yield f"job {job_id}: attempt {new_attempt} without a start"


def the_fence_held(evidence: Evidence) -> Iterator[str]:
    """Yield events of an attempt that was not the job's any more."""
    ids = {job.number: job.id for job in evidence.jobs.values()}
    query = "SELECT job, seq, attempt, kind, current FROM audit_event ORDER BY place"
    for number, seq, attempt, kind, current in evidence.db.execute(query):
        if attempt != current and kind != "submitted":
            yield f"job {ids.get(number)}: attempt {attempt} wrote {kind} at {seq} during attempt {current}"


# ------------------------------------------------------------ the journals


def accepted_is_kept(evidence: Evidence) -> Iterator[str]:
    """Yield answered submits without a job, and keys of two jobs."""
    keys: dict[str, str] = {}
    for entry in evidence.said("submitted"):
        job = evidence.jobs.get(entry["job"])
        if job is None or job.key != entry["key"]:
            yield f"the job {entry['job']} that {entry['who']} was given for {entry['key']} is not there"
        if keys.setdefault(entry["key"], entry["job"]) != entry["job"]:
            yield f"key {entry['key']} is two jobs"


def cancel_answers_are_true(evidence: Evidence) -> Iterator[str]:
    """Yield answers to a cancel that differ from the job's end."""
    for entry in evidence.said("cancelled"):
        job = evidence.jobs.get(entry["job"])
        state = job.state if job else "gone"
        wrong = {"cancelled": state != "cancelled", "finished_first": state not in {"completed", "failed"}}
        if wrong.get(entry["outcome"], False):
            yield f"cancel of job {entry['job']} was answered {entry['outcome']}, and it is {state}"


def tokens_are_the_handlers(evidence: Evidence) -> Iterator[str]:
    """Yield attempts whose tokens are not the first of the handler; all of them, if it completed."""
    sent: dict[tuple[str, int], list[Any]] = defaultdict(list)
    for entry in evidence.said("token"):
        sent[entry["job"], entry["attempt"]].append(entry["value"])
    for job in evidence.jobs.values():
        for attempt in range(1, job.attempt + 1):
            kept = [one.data for one in job.log if one.kind == "token" and one.attempt == attempt]
            meant = sent[job.id, attempt]
            ended = any(one.kind == "completed" and one.attempt == attempt for one in job.log)
            if kept != (meant if ended else meant[: len(kept)]):
                yield f"job {job.id}, attempt {attempt}: kept {kept[-5:]}, sent {meant[-5:]}"


def results_are_the_handlers(evidence: Evidence) -> Iterator[str]:
    """Yield results that no handler returned."""
    returned = {(one["job"], one["attempt"], json.dumps(one["value"])) for one in evidence.said("return")}
    for job in evidence.jobs.values():
        for event in job.log:
            if event.kind == "completed" and (job.id, event.attempt, json.dumps(event.data)) not in returned:
                yield f"job {job.id}: nobody returned {event.data!r} in attempt {event.attempt}"


def failures_are_the_handlers(evidence: Evidence) -> Iterator[str]:
    """Yield jobs that failed, though neither their handlers nor lost workers did that."""
    for job in evidence.jobs.values():
        for event in job.log:
            if event.kind == "failed" and not (event.data["reason"] == "worker_lost" or _raised(event.data)):
                yield f"job {job.id} failed at {event.seq}: {event.data}"


def _raised(ended: dict[str, Any]) -> bool:
    """Return whether a handler raised what handlers raise here."""
    return ended["reason"] == "error" and "OSError" in json.dumps(ended.get("error"))


def readers_agree(evidence: Evidence) -> Iterator[str]:
    """Yield events that a reader, over all its lives, got out of order, twice, wrongly, or not at all."""
    seen: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for entry in evidence.said("event"):
        seen[entry["who"], entry["job"]].append(entry)
    ended = {(entry["who"], entry["job"]) for entry in evidence.said("end")}
    for (who, job_id), events in seen.items():
        job = evidence.jobs.get(job_id)
        if job is None:
            yield f"{who} read job {job_id}, which is not there"
            continue
        if [event["seq"] for event in events] != list(range(1, len(events) + 1)):
            yield f"{who} read the seqs {[event['seq'] for event in events]} of job {job_id}"
        for read, kept in zip(events, job.log, strict=False):
            data = kept.data if kept.kind in {"token", "input", "saved", "completed"} else None
            if (read["kind"], read["attempt"], read["data"]) != (kept.kind, kept.attempt, data):
                yield f"{who} read {read} of job {job_id}, and the log has {kept}"
        if ((who, job_id) in ended) != (len(events) == job.seq):
            yield f"{who} read {len(events)} of {job.seq} events of job {job_id}, or was told so"


def the_dead_are_replaced(evidence: Evidence) -> Iterator[str]:
    """Yield jobs that waited too long after their worker was killed.

    Time in which the server was down, or in which no worker was up, does not count.
    """
    up = uptime(evidence.journal)
    epoch = evidence.db.execute("SELECT value FROM trio_jobs_meta WHERE name = 'epoch'").fetchone()
    started = {entry["name"]: entry["at"] for entry in evidence.said("start")}
    names = sorted(started, key=lambda name: (name.partition(".")[0], started[name]))
    died = {
        one: started[two] for one, two in pairwise(names) if one.partition(".")[0] == two.partition(".")[0]
    }
    for job in evidence.jobs.values():
        for one, two in pairwise(job.log):
            lost = two.kind in {"retried", "failed"} and two.data["reason"] == "worker_lost"
            worker = next((e.data for e in job.log if e.kind == "started" and e.attempt == two.attempt), None)
            if lost and worker in died and one.attempt == two.attempt and epoch:
                waited = up.within(died[worker], two.at - epoch[0])
                if waited > evidence.lease + SLACK:
                    yield f"job {job.id} waited {waited:.1f} s after {worker} had died"


RULES: tuple[Rule, ...] = (
    *(the_file_is_whole, logs_are_dense, logs_are_legal, everything_ended, budgets_are_kept),
    *(moves_were_legal, the_fence_held, accepted_is_kept, cancel_answers_are_true),
    *(
        tokens_are_the_handlers,
        results_are_the_handlers,
        failures_are_the_handlers,
        readers_agree,
        the_dead_are_replaced,
    ),
    *listening.RULES,
    *taking_turns.RULES,
)
