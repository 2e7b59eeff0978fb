"""The client's own errors, and the error of each code of the wire and status of a handshake."""

from __future__ import annotations

import pytest
import trio

from tests.wire import STATUS
from trio_jobs import (
    Busy,
    IllegalTransition,
    InboxFull,
    InvalidPayload,
    KeyConflict,
    QueueFull,
    State,
    StoreUnavailable,
    StreamGap,
    TrioJobsError,
    UnknownHandler,
    UnknownJob,
)
from trio_jobs.client import Disconnected, ServerError
from trio_jobs.client.errors import error_of, least_wait, refusal
from trio_jobs.serving.problems import to_problem

OURS: list[TrioJobsError] = [
    UnknownJob("7"),
    UnknownHandler("7", ["a", "b"]),
    InvalidPayload("args[0] is no int"),
    KeyConflict("k", "8", "as the id of another input"),
    QueueFull(3, "report[0]", "a"),
    Busy("8"),
    InboxFull(7, 3, "7"),
    IllegalTransition(State.FAILED, "sent an input", "; it is over"),
    StreamGap("7", 3, 5, 2),
    StoreUnavailable("the store cannot be reached; whether it was done is not known"),
]


@pytest.mark.parametrize("error", OURS, ids=lambda error: type(error).__name__)
def test_an_error_comes_back_as_itself(error: TrioJobsError) -> None:
    """The client raises the server's error: the same class, text and attributes."""
    problem = to_problem("a request", error)
    told = error_of("7", {"code": problem.code, "message": problem.message, **problem.details})
    assert type(told) is type(error)
    assert str(told) == str(error)
    assert vars(told) == vars(error)


@pytest.mark.parametrize("code", sorted(STATUS))
def test_every_code_is_some_error(code: str) -> None:
    """Each code of the wire gives an error, also if the server sends fewer facts than it should."""
    error = error_of("7", {"code": code, "message": "no"})
    assert isinstance(error, TrioJobsError)
    if isinstance(error, ServerError):
        assert (error.code, error.message, str(error)) == (code, "no", f"the server answered {code}: no")


def test_a_server_that_does_not_know_a_request_is_older() -> None:
    """A request that came with a later version is refused by an older server, and the error says so."""
    why = "Invalid value 'send' - at `$.op`"
    error = error_of("7", {"code": "bad_request", "message": why})
    assert "it is older than this client" in str(error)
    assert why in str(error)


def test_a_server_of_an_earlier_version_says_less() -> None:
    """Facts that it does not send yet have their defaults."""
    error = error_of("7", {"code": "queue_full", "message": "3 jobs wait", "limit": 3})
    assert isinstance(error, QueueFull)
    assert (error.limit, error.name, error.key) == (3, None, None)


def test_an_error_that_says_nothing() -> None:
    """An error without a code is the server's mistake."""
    error = error_of("7", {})
    assert isinstance(error, ServerError)
    assert error.code == "internal"


def test_the_network_s_errors_and_the_server_s_are_told_apart() -> None:
    """`Disconnected` is a `ConnectionError`, `ServerError` is not; neither is a cancellation."""
    lost, refused = Disconnected("ws://a", "no route"), ServerError("forbidden", "no")
    assert isinstance(lost, ConnectionError)
    assert isinstance(lost, TrioJobsError)
    assert not isinstance(refused, ConnectionError)
    assert not isinstance(lost, trio.Cancelled)
    assert (lost.url, lost.why, str(lost)) == ("ws://a", "no route", "ws://a cannot be reached: no route")


@pytest.mark.parametrize(
    ("status", "body", "code", "message"),
    [
        (401, b"", "unauthenticated", "HTTP status 401"),
        (403, b"this site may not connect", "forbidden", "this site may not connect"),
        (404, None, "not_found", "HTTP status 404"),
        (421, b"", "misdirected", "HTTP status 421"),
        (418, b"teapot", "bad_request", "teapot"),
        (302, b"", "bad_request", "HTTP status 302"),
        (409, b"", "bad_request", "HTTP status 409"),
        (401, b'{"code": "expired", "detail": "log in", "status": 401}', "expired", "log in"),
        (400, b'{"title": "no"}', "bad_request", "no"),
        (400, b"[]", "bad_request", "[]"),
        (400, b"\xff{", "bad_request", "�{"),
    ],
)
def test_a_refusal_that_waiting_does_not_mend(status: int, body: bytes, code: str, message: str) -> None:
    """The code is the server's own if it sent one, and else follows from the status."""
    error = refusal(status, body)
    assert error is not None
    assert (error.code, error.message) == (code, message)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_a_refusal_that_may_pass(status: int) -> None:
    """A server that is busy, or that a proxy cannot reach, is tried again."""
    assert refusal(status, b"") is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("", 0), ("3", 3), ("86400", 60), ("-1", 0), ("soon", 0), ("1.5", 0), ("٣", 0), ("9" * 400, 60)],
)
def test_retry_after(text: str, seconds: float) -> None:
    """Retry-After counts up to a minute; a value that is no number is ignored."""
    assert least_wait({"retry-after": text}) == seconds
    assert least_wait({}) == 0
