"""What holds for every front, all of them side by side: who is let in, and how much may be asked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import pytest
import trio

from tests.serving.fronts.mcp.test_front import call_of
from tests.serving.served import served
from trio_jobs import JobContext, handler, open_registry
from trio_jobs.serving import (
    Caller,
    Limits,
    ai_sdk_front,
    durable_streams_front,
    http_app,
    mcp_front,
    openai_front,
)

HELLO: Final[list[Any]] = [{"role": "user", "content": "hello"}]
SUBMITS: Final[dict[str, dict[str, Any]]] = {
    "/api/chat": {"json": {"id": "c1", "messages": HELLO}},
    "/mcp": call_of("chat", messages=HELLO),
    "/v1/responses": {"json": {"model": "chat", "input": "hello", "background": True}},
    "/v1/chat/completions": {"json": {"model": "chat", "messages": HELLO, "stream": True}},
}
"""The requests that submit a job, by their paths."""
OWN: Final = {
    "/api/chat": "content-type,user-agent",
    "/mcp": "content-type,mcp-method,mcp-name,mcp-protocol-version",
    "/v1/chat/completions": "authorization,content-type,x-stainless-lang,x-stainless-retry-count",
    "/v1/streams/x": "authorization",
}
"""What clients in browsers send by themselves, by the paths."""
READS: Final = ("/api/chat/c1/stream", "/v1/responses/x", "/v1/streams/x")
OPTIONS: Final[dict[str, Any]] = {
    "fronts": [ai_sdk_front("chat"), durable_streams_front, mcp_front, openai_front],
    "patience": 30.0,  # a protocol loads its types when it is used first
}


@handler
async def chat(job: JobContext[str], messages: list[Any]) -> None:
    """Never answer."""
    await trio.sleep_forever()


async def as_told(headers: Mapping[str, str]) -> Caller | None:
    """Know ann by her name."""
    return Caller("ann") if headers.get("x-user") == "ann" else None


@pytest.mark.parametrize(
    ("headers", "status", "reads"),
    [
        ({"host": "evil.example"}, 421, True),
        ({"origin": "https://evil.example"}, 403, False),  # a browser lets no page of a site read the answer
        ({"x-user": "eve"}, 401, True),
    ],
)
async def test_who_is_not_let_in_does_nothing(headers: dict[str, str], status: int, *, reads: bool) -> None:
    """Another name of the server, a page of another site, and a stranger are refused, and make no job."""
    async with served([chat], authenticate=as_told, **OPTIONS) as site:
        for path, request in SUBMITS.items():
            more = {**request.get("headers", {}), **headers}
            assert (await site.http.post(path, **{**request, "headers": more})).status_code == status, path
        for path in READS if reads else ():
            assert (await site.http.get(path, headers=headers)).status_code == status, path
        assert await site.jobs.count() == 0


async def test_what_is_too_much_is_refused() -> None:
    """A body that is too large, and one more job than an owner may have in the queue; each in its words."""
    limits = Limits(message=2048, queued=1)
    async with served(
        [chat], authenticate=as_told, limits=limits, registry={"capacity": 1}, **OPTIONS
    ) as site:
        for _ in range(2):
            job = await site.jobs.submit(chat, HELLO, owner="ann")
        for path, request in SUBMITS.items():
            headers = {**request.get("headers", {}), "x-user": "ann"}
            large = await site.http.post(path, json={"x": "x" * 2048}, headers=headers)
            assert large.status_code == 413, path
            assert "too_many" in (await site.http.post(path, **{**request, "headers": headers})).text, path
        assert await site.jobs.count() == 2
        assert (await job.snapshot()).state == "queued"


@pytest.mark.parametrize(
    ("field", "status"),
    [
        (b"{", 400),
        (b"[" * 99 + b"]" * 99, 400),
        (rb'["\ud800"]', 400),
        (b'["\xff"]', 400),
        (rb'["\u0000"]', 422),
    ],
)
async def test_what_is_no_json_for_a_job_is_refused(field: bytes, status: int, caplog: Any) -> None:
    """A text that does not end, is nested too deep or cannot be kept is the client's fault, and no job."""
    async with served([chat], **OPTIONS) as site:
        for path, request in SUBMITS.items():
            headers = {"content-type": "application/json", **request.get("headers", {})}
            body = json.dumps(request["json"]).encode().replace(b'"hello"', field)
            answer = await site.http.post(path, content=body, headers=headers)
            assert answer.status_code in {400, status}, (path, answer.text)
        assert await site.jobs.count() == 0
    assert not [one for one in caplog.records if one.exc_info]


@pytest.mark.parametrize(
    "fronts", [[ai_sdk_front("chat"), ai_sdk_front("chat")], [ai_sdk_front("chat", path="/v1/jobs")]]
)
async def test_a_path_is_served_once(fronts: list[Any]) -> None:
    """Two fronts at one path, or one at a path of the server, are refused when the application is made."""
    async with open_registry(handlers=[chat]) as jobs:
        with pytest.raises(ValueError, match="is served twice; leave a front out, or give one another path="):
            http_app(jobs, fronts=fronts)


async def test_what_is_open_ends_when_the_authentication_expires() -> None:
    """An answer that is under way ends, and says so."""

    async def for_a_moment(_: Mapping[str, str]) -> Caller:
        return Caller("ann", expires=0.01)

    async with served([chat], authenticate=for_a_moment, **OPTIONS) as site:
        for path, request in SUBMITS.items():
            body = {**request["json"], "stream": True}
            answer = await site.http.post(path, **{**request, "json": body})
            assert "your authentication has expired" in answer.text, path


async def test_clients_in_pages_of_an_allowed_site_send_and_read_their_headers() -> None:
    """A preflight allows the headers that each client adds, and a page may read those of each answer."""
    origin = "https://app.example"
    async with served([chat], origins=[origin], **OPTIONS) as site:
        for path, own in OWN.items():
            asked = {"access-control-request-method": "POST", "access-control-request-headers": own}
            preflight = await site.http.options(path, headers={"origin": origin, **asked})
            assert preflight.status_code == 200, path
            assert set(own.split(",")) <= set(preflight.headers["access-control-allow-headers"].split(","))
        for path in READS:
            answer = await site.http.get(path, headers={"origin": origin})
            assert answer.headers["access-control-allow-origin"] == origin, path
            assert answer.headers["access-control-expose-headers"] == "*", path
