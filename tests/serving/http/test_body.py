"""Bodies: bounded in size and time, and an unread one ends its connection."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest
import trio

from tests.serving.served import served
from trio_jobs.serving import Caller, Limits

POST = "POST /v1/jobs HTTP/1.1"
JSON = "Content-Type: application/json"
CHUNKED = "Transfer-Encoding: chunked"
SUBMIT = json.dumps({"handler": "count", "args": [1]}).encode()


def padded(size: int) -> bytes:
    """Return a submission of exactly that many bytes."""
    return SUBMIT[:-1] + b" " * (size - len(SUBMIT)) + b"}"


def chunks(*parts: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


async def test_a_body_of_the_largest_size_is_taken() -> None:
    """The bound is inclusive, whether the size is declared or not."""
    async with served(limits=Limits(message=2048)) as site:
        answer = await site.http.post(
            "/v1/jobs", content=padded(2048), headers={"content-type": "application/json"}
        )
        assert answer.status_code == 202, answer.text
        wire = await site.connect()
        await wire.say(POST, JSON, CHUNKED, body=chunks(padded(2048)[:1000], padded(2048)[1000:]))
        assert (await wire.answer()).status == 202


@pytest.mark.parametrize("length", ["2049", "9" * 19])
async def test_a_body_that_is_declared_too_large_is_not_waited_for(length: str) -> None:
    """A declared size over the bound is refused before the body arrives, and the connection closed."""
    async with served(limits=Limits(message=2048)) as site:
        wire = await site.connect()
        await wire.say(POST, JSON, f"Content-Length: {length}")
        answer = await wire.answer()
        assert answer.status == 413
        assert answer.headers["connection"] == "close"
        assert json.loads(answer.body)["code"] == "too_large"
        assert await wire.rest() == b""


async def test_a_body_that_grows_too_large_is_refused_there() -> None:
    """A body without a declared size is refused when it passes the bound."""
    async with served(limits=Limits(message=2048)) as site:
        wire = await site.connect()
        await wire.say(POST, JSON, CHUNKED, body=b"801\r\n" + b"x" * 2049)
        answer = await wire.answer()
        assert answer.status == 413
        assert await wire.rest() == b""


async def test_a_body_that_comes_too_slowly_is_given_up() -> None:
    """A body that does not arrive in time is refused, and the connection closed."""
    async with served(limits=Limits(body=0.05)) as site:
        wire = await site.connect()
        await wire.say(POST, JSON, f"Content-Length: {len(SUBMIT)}", body=SUBMIT[:5])
        answer = await wire.answer()
        assert answer.status == 408
        assert json.loads(answer.body)["code"] == "too_slow"
        assert await wire.rest() == b""
        assert await site.jobs.count() == 0


async def test_a_client_that_leaves_in_its_body_submits_nothing() -> None:
    """A client that leaves within its body submits no job, and causes no error."""
    async with served() as site:
        wire = await site.connect()
        await wire.say(POST, JSON, f"Content-Length: {len(SUBMIT) + 1}", body=SUBMIT)
        await wire.stream.aclose()
        assert (await site.http.get("/healthz")).status_code == 200
        assert await site.jobs.count() == 0


async def unhurried(headers: Mapping[str, str]) -> Caller | None:
    """Accept every caller, but only after much of the body has arrived."""
    for _ in range(100):
        await trio.lowlevel.checkpoint()
    return Caller(None)


@pytest.mark.parametrize(
    "lines",
    [
        (POST, "Content-Type: text/plain"),
        ("POST /v1/nowhere HTTP/1.1", JSON),
        (POST, JSON, "Origin: https://evil.example"),
        ("GET /v1/jobs HTTP/1.1",),
    ],
)
async def test_a_body_that_nobody_reads_keeps_no_connection(lines: tuple[str, ...]) -> None:
    """A connection ends after a request that was answered with its body unread, however long that is."""
    async with served(grace=0.1, authenticate=unhurried) as site:
        wire = await site.connect()
        with trio.move_on_after(5) as patience:
            await wire.say(*lines, CHUNKED, body=b"1\r\nx\r\n" * 200)
            await wire.answer()
            await wire.rest()
        assert not patience.cancelled_caught, "the connection is open still"


async def test_a_body_in_tiny_chunks_lets_others_run() -> None:
    """However many chunks arrive at once, other tasks run after some hundred of them."""
    async with served() as site:
        passes = 0

        class Count(trio.abc.Instrument):
            def before_task_step(self, task: trio.lowlevel.Task) -> None:
                nonlocal passes
                passes += 1

        wire = await site.connect()
        body = chunks(*(bytes([one]) for one in padded(20_000)))
        counting = Count()
        trio.lowlevel.add_instrument(counting)
        await wire.say(POST, JSON, CHUNKED, body=body)
        assert (await wire.answer()).status == 202
        trio.lowlevel.remove_instrument(counting)
        assert passes > 20_000 / 256
