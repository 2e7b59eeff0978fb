"""The errors that clients get: one table, complete and without internal details."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import trio

import trio_jobs
from tests.wire import CODES, STATUS, BadRequest
from trio_jobs import (
    Busy,
    IllegalTransition,
    InboxFull,
    InvalidPayload,
    JobCancelled,
    JobFailed,
    KeyConflict,
    LeaseLost,
    QueueFull,
    SchemaTooNew,
    State,
    StoreCorrupt,
    StoreUnavailable,
    StoreUnfit,
    StreamGap,
    StreamRestarted,
    TrioJobsError,
    UnknownHandler,
    UnknownJob,
    serving,
)
from trio_jobs.serving.problems import INTERNAL, Refused, to_problem

TOLD: list[tuple[Exception, str, dict[str, object]]] = [
    (BadRequest("no"), "bad_request", {}),
    (UnknownJob("x"), "unknown_job", {}),
    (trio_jobs.UnknownSchedule("nightly"), "unknown_schedule", {}),
    (trio_jobs.ScheduleDeclared("nightly"), "schedule_declared", {"name": "nightly"}),
    (UnknownHandler("x", ["b", "a"]), "unknown_handler", {"known": ["a", "b"]}),
    (InvalidPayload("no"), "invalid_payload", {}),
    (KeyConflict("k", "j"), "key_conflict", {"key": "k", "job_id": "j"}),
    (QueueFull(5), "queue_full", {"limit": 5, "name": None, "key": None}),
    (QueueFull(5, "gpu", "k"), "queue_full", {"limit": 5, "name": "gpu", "key": "k"}),
    (Busy("j"), "busy", {"job_id": "j"}),
    (InboxFull(7, 3, "7"), "inbox_full", {"unconsumed": 7, "received": 3, "limit": "7"}),
    (
        IllegalTransition(State.FAILED, "cancelled"),
        "illegal_transition",
        {"state": "failed", "transition": "cancelled", "hint": ""},
    ),
    (StreamGap("j", 1, 2, 3), "stream_gap", {"first": 1, "last": 2, "oldest": 3}),
    (StoreUnavailable("disk I/O error on /srv/jobs.db"), "unavailable", {}),
    (trio.ClosedResourceError("the registry at 0x7f"), "closing", {}),
]
NOT_THEIRS = {
    *(StoreCorrupt, StoreUnfit, SchemaTooNew, LeaseLost, JobFailed, JobCancelled, StreamRestarted),
}
"""What no answer is made of: faults of the server's, and what jobs and readers of this process meet."""


@pytest.mark.parametrize(("error", "code", "details"), TOLD)
def test_an_error_is_told_by_its_code(error: Exception, code: str, details: dict[str, object]) -> None:
    """Each error that a caller can meet has a code, its status, and the facts to act on."""
    problem = to_problem("a request", error)
    assert (problem.code, problem.status, problem.details) == (code, STATUS[code], details)
    assert problem.message


def test_every_error_of_ours_is_in_the_table_or_out_of_reach() -> None:
    """A new error of the package has a code, or is listed here as one that no caller meets."""
    ours = {
        kind
        for kind in (getattr(trio_jobs, name) for name in trio_jobs.__all__)
        if isinstance(kind, type) and issubclass(kind, TrioJobsError) and kind is not TrioJobsError
    }
    told = {type(error) for error, _, _ in TOLD}
    assert {kind for kind in ours - told if not issubclass(kind, tuple(NOT_THEIRS))} == set()
    assert told == {code.error for code in CODES.values()} - {None}


def test_a_fault_of_the_servers_is_no_problem_of_the_clients() -> None:
    """An unexpected error is sent as `internal`, without details."""
    assert to_problem("a request", RuntimeError("password")) is INTERNAL
    assert to_problem("a request", StoreCorrupt("page 3")) is INTERNAL
    assert (INTERNAL.code, INTERNAL.status) == ("internal", 500)


def test_the_servers_own_trouble_is_not_told_in_detail() -> None:
    """The error of an unavailable store or a closing registry is sent without details."""
    for error, code, _ in TOLD:
        problem = to_problem("a request", error)
        assert (problem.message == str(error)) is (code not in {"unavailable", "closing"})


def test_every_code_that_is_raised_has_a_status() -> None:
    """Each code in the package is in the table."""
    used = set()
    for file in Path(serving.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args:
                first = node.args[0]
                if node.func.id in {"Refused", "Problem"} and isinstance(first, ast.Constant):
                    used.add(first.value)
    assert used >= {"misdirected", "forbidden", "unauthenticated", "too_many", "too_large", "too_slow"}
    assert used <= set(STATUS)


@pytest.mark.parametrize("code", STATUS)
def test_who_should_try_again_is_told_when(code: str) -> None:
    """Exactly temporary errors have `Retry-After`; a given value is kept."""
    problem = to_problem("a request", Refused(code, "no", {"x-more": "1"}))
    assert problem.headers["x-more"] == "1"
    assert ("retry-after" in problem.headers) is (STATUS[code] in {429, 503})
    assert 400 <= problem.status < 600
