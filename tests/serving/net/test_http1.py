"""HTTP/1.1 on one connection: parsing, responses, and the end of the connection."""

from __future__ import annotations

import json
from typing import Any

import pytest
from starlette.responses import Response
from trio.testing import wait_all_tasks_blocked

from tests.serving.raw import PING, PONG, frame
from tests.serving.served import Answer, cancel_requested, served, stubborn_job
from trio_jobs.serving import Limits
from trio_jobs.serving.http import app

HEALTH = "GET /healthz HTTP/1.1"
POST = "POST /v1/jobs HTTP/1.1"
JSON = "Content-Type: application/json"
SUBMIT = json.dumps({"handler": "count", "args": [1]}).encode()
UPGRADE = (
    "GET /v1/ws HTTP/1.1",
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
)


def problem(answer: Answer) -> tuple[int, str]:
    """Return the status and the code of an answer that is a problem."""
    assert answer.headers["content-type"] == "application/problem+json"
    found = json.loads(answer.body)
    assert found["status"] == answer.status
    return answer.status, found["code"]


def is_closing(answer: Answer) -> bool:
    return answer.headers.get("connection") == "close"


# ------------------------------------------------------------ from HTTP to a WebSocket


@pytest.mark.parametrize("before", [0, 1, 3])
@pytest.mark.parametrize("at_once", [True, False])
async def test_any_request_may_ask_for_a_websocket(before: int, at_once: bool) -> None:
    """The first or a later request may be a handshake, and bytes sent with it are not lost."""
    async with served() as site:
        wire = await site.connect()
        for _ in range(before):
            await wire.say(HEALTH)
            assert at_once or (await wire.answer()).body == b"ok\n"
        ping = frame(PING, b"hello")
        await wire.say(*UPGRADE, body=ping if at_once else b"")
        for _ in range(before if at_once else 0):
            assert (await wire.answer()).body == b"ok\n"
        assert (await wire.head()).status == 101
        if not at_once:
            await wire.stream.send_all(ping)
        assert await wire.some(7) == bytes([0x80 | PONG, 5]) + b"hello"


async def test_a_websocket_after_a_submission() -> None:
    """A body before a handshake, and its response, are the same as without the handshake."""
    async with served() as site:
        wire = await site.connect()
        await wire.say(POST, JSON, f"Content-Length: {len(SUBMIT)}", body=SUBMIT)
        assert (await wire.answer()).status == 202
        await wire.say(*UPGRADE)
        assert (await wire.head()).status == 101


# ------------------------------------------------------------ bodies


async def test_who_asks_is_told_to_go_on_when_its_body_is_wanted() -> None:
    """`100 Continue` is sent when the body is read; if it is not, only the response is sent."""
    async with served() as site:
        wire = await site.connect()
        lines = (JSON, f"Content-Length: {len(SUBMIT)}", "Expect: 100-continue")
        await wire.say(POST, *lines)
        assert (await wire.head()).status == 100
        await wire.stream.send_all(SUBMIT)
        answer = await wire.answer()
        assert (answer.status, is_closing(answer)) == (202, False)
        await wire.say(POST, *lines, "Origin: https://evil.example")
        answer = await wire.answer()
        assert (problem(answer), is_closing(answer)) == ((403, "forbidden"), True)
        assert await wire.rest() == b""


async def test_who_does_not_wait_is_not_told_to_go_on() -> None:
    """A body that has arrived already needs no `100 Continue`."""
    async with served() as site:
        wire = await site.connect()
        await wire.say(POST, JSON, f"Content-Length: {len(SUBMIT)}", "Expect: 100-continue", body=SUBMIT)
        assert (await wire.answer()).status == 202


@pytest.mark.parametrize("body", [b"x" * 10, b"x" * 5])
async def test_a_body_that_nobody_reads(body: bytes) -> None:
    """An unread body that has arrived is skipped, and the connection kept; else the response closes it."""
    async with served() as site:
        wire = await site.connect()
        await wire.say("POST /nowhere HTTP/1.1", "Content-Length: 10", body=body)
        answer = await wire.answer()
        assert (problem(answer), is_closing(answer)) == ((404, "not_found"), len(body) < 10)
        if len(body) == 10:
            await wire.say(HEALTH)
            assert (await wire.answer()).body == b"ok\n"
        else:
            assert await wire.rest() == b""


async def test_what_is_sent_of_an_unread_body_does_not_cost_the_answer() -> None:
    """A client that goes on sending reads the refusal all the same, and then the end."""
    async with served() as site:
        wire = await site.connect()
        await wire.say(POST, "Content-Type: text/plain", "Content-Length: 100000", body=b"x" * 1000)
        await wait_all_tasks_blocked(0.01)
        await wire.stream.send_all(b"x" * 50_000)
        assert problem(await wire.answer()) == (415, "wrong_type")
        assert await wire.rest() == b""


@pytest.mark.parametrize("body", [b"x\r\n", b"1\r\nxx\r\n", b"0x1\r\nx\r\n"])
async def test_chunks_that_are_none(body: bytes) -> None:
    """Wrong chunks are a bad request, behind which no other is parsed."""
    async with served() as site:
        wire = await site.connect()
        await wire.say(POST, JSON, "Transfer-Encoding: chunked", body=body + SUBMIT)
        answer = await wire.answer()
        assert (problem(answer), is_closing(answer)) == ((400, "bad_request"), True)
        assert await wire.rest() == b""
        assert await site.jobs.count() == 0


# ------------------------------------------------------------ heads


@pytest.mark.parametrize(
    ("said", "refused"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\nA: b\r\n\r\n", (400, "bad_request")),
        (
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            (400, "bad_request"),
        ),
        (b"\x16\x03\x01\x02\x00\x01\x00", (400, "bad_request")),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (400, "bad_request")),
        (b"GET / HTTP/1.1\r\nA: " + b"a" * 20_000, (431, "head_too_large")),
        (b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n", (408, "too_slow")),
    ],
)
@pytest.mark.parametrize("before", [0, 1])
async def test_a_head_that_is_none(said: bytes, refused: tuple[int, str], before: int) -> None:
    """A wrong head is refused with a problem, the first as a later one, and the connection closed."""
    async with served(limits=Limits(header=0.1)) as site:
        wire = await site.connect()
        for _ in range(before):
            await wire.say(HEALTH)
            assert not is_closing(await wire.answer())
        await wire.stream.send_all(said)
        answer = await wire.answer()
        assert (problem(answer), is_closing(answer)) == (refused, True)
        assert await wire.rest() == b""


async def test_a_head_request() -> None:
    """HEAD is answered as GET is, without the body, and the connection is kept."""
    async with served() as site:
        wire = await site.connect()
        job_id = await site.submit("count", 1)
        for path in ("/healthz", "/v1/jobs", "/", "/nowhere", f"/v1/jobs/{job_id}/stream"):
            await wire.say(f"HEAD {path} HTTP/1.1")
            head = await wire.head()
            assert head.status == (404 if path == "/nowhere" else 200)
            assert not is_closing(head)
            assert "date" in head.headers
        await wire.say(HEALTH)
        assert (await wire.answer()).body == b"ok\n"


async def test_what_is_sent_behind_the_last_request_does_not_cost_the_answer() -> None:
    """A client that wants the connection closed gets its response and the end, whatever it sends then."""
    async with served() as site:
        wire = await site.connect()
        await wire.say(HEALTH, "Connection: close", body=b"GET / HTTP/1.1\r\n" * 1000)
        answer = await wire.answer()
        assert (answer.body, is_closing(answer)) == (b"ok\n", True)
        assert await wire.rest() == b""


@pytest.mark.parametrize("kept", [(), ("Connection: keep-alive",)])
async def test_http_1_0(kept: tuple[str, ...]) -> None:
    """Responses to HTTP/1.0 end with the connection, without chunks."""
    async with served() as site:
        job_id = await site.submit("count", 1)
        for path, end in (("/healthz", b"ok\n"), (f"/v1/jobs/{job_id}/stream", b"data: [DONE]\n\n")):
            wire = await site.connect()
            await wire.say(f"GET {path} HTTP/1.0", *kept)
            head = await wire.head()
            assert is_closing(head)
            assert "transfer-encoding" not in head.headers
            assert (await wire.rest()).endswith(end)


# ------------------------------------------------------------ the end


async def test_an_answer_while_the_server_stops_says_that_it_is_the_last() -> None:
    """A request made before the server stops is answered, with `Connection: close`."""
    async with stubborn_job() as (site, job_id, go_on):
        wire = await site.connect()
        await wire.say(f"DELETE /v1/jobs/{job_id}?patience=5 HTTP/1.1")
        await cancel_requested(site, job_id)
        site.stop()
        await wait_all_tasks_blocked()
        go_on.set()
        answer = await wire.answer()
        assert (answer.status, is_closing(answer)) == (200, True)
        assert await wire.rest() == b""


async def test_an_answer_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """A response that HTTP does not allow is not sent; its client gets an error, and others do not."""

    async def broken(*_: Any) -> Response:
        return Response("ok", headers={"x": "a\r\nset-cookie: b"})

    monkeypatch.setattr(app, "_description", lambda _: broken)
    async with served() as site:
        wire = await site.connect()
        await wire.say("GET /openapi.json HTTP/1.1")
        answer = await wire.answer()
        assert (problem(answer), is_closing(answer)) == ((500, "internal"), True)
        assert await wire.rest() == b""
        assert (await site.http.get("/v1/jobs")).status_code == 200


async def test_a_mistake_ends_its_request_only(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An exception of the application is sent as a problem, and logged; the server goes on."""

    async def broken(*_: Any) -> Response:
        raise RuntimeError("the secret")

    monkeypatch.setattr(app, "_description", lambda _: broken)
    async with served() as site:
        wire = await site.connect()
        await wire.say("GET /openapi.json HTTP/1.1")
        answer = await wire.answer()
        assert problem(answer) == (500, "internal")
        assert b"secret" not in answer.body
        assert any(record.exc_info for record in caplog.records)
        assert (await site.http.get("/v1/jobs")).status_code == 200
