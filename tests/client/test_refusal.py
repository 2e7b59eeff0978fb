"""What an HTTP status in place of a WebSocket means."""

from __future__ import annotations

import pytest

from trio_jobs.client.refusal import least_wait, refusal


@pytest.mark.parametrize(
    ("status", "body", "code", "message"),
    [
        (401, b"", "unauthenticated", "HTTP status 401"),
        (403, b"this site may not connect", "forbidden", "this site may not connect"),
        (404, None, "not_found", "HTTP status 404"),
        (421, b"", "misdirected", "HTTP status 421"),
        (418, b"teapot", "bad_request", "teapot"),
        (302, b"", "bad_request", "HTTP status 302"),
        (401, b'{"code": "expired", "detail": "log in", "status": 401}', "expired", "log in"),
        (400, b'{"title": "no"}', "bad_request", "no"),
        (400, b"[]", "bad_request", "[]"),
        (400, b"\xff{", "bad_request", "�{"),
    ],
)
def test_a_refusal_that_waiting_does_not_mend(status: int, body: bytes, code: str, message: str) -> None:
    """The code is the server's own word if it said one, and else follows from the status."""
    error = refusal(status, body)
    assert error is not None
    assert (error.code, error.message) == (code, message)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_a_refusal_that_may_pass(status: int) -> None:
    """A server that is busy, or not there behind a proxy, is asked again."""
    assert refusal(status, b"") is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("", 0), ("3", 3), ("86400", 60), ("-1", 0), ("soon", 0), ("1.5", 0), ("٣", 0), ("9" * 400, 60)],
)
def test_retry_after(text: str, seconds: float) -> None:
    """A server may ask for some seconds of peace, up to a minute; what else it says is no number."""
    assert least_wait({"retry-after": text}) == seconds
    assert least_wait({}) == 0
