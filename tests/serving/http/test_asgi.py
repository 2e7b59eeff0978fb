"""The application inside another one, on another server: nothing depends on `serve_http`."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import pytest
import trio
from hypercorn.config import Config
from hypercorn.trio import serve
from starlette.applications import Starlette
from starlette.routing import Mount

from tests.serving.served import Site, ask, closed, follow, hear, rejected, served
from trio_jobs.serving import Caller, Limits, http_app

PREFIX = "/inner/jobs"


async def live(jobs: Any, *, prefix: str, task_status: trio.TaskStatus[list[str]], **options: Any) -> None:
    """Serve the application on hypercorn, mounted under a prefix in another one."""
    app: Any = http_app(jobs, **{name: one for name, one in options.items() if name not in {"port", "grace"}})
    for part in reversed(prefix.split("/")[1:]):
        app = Starlette(routes=[Mount(f"/{part}", app=app)])
    config = Config()
    config.bind = ["127.0.0.1:0"]
    config.graceful_timeout = 0.1
    async with trio.open_nursery() as nursery:
        binds = await nursery.start(serve, app, config)
        task_status.started(binds)


@asynccontextmanager
async def mounted(prefix: str = PREFIX, **options: Any) -> AsyncGenerator[Site]:
    async with served(serve=partial(live, prefix=prefix), **options) as site:
        site.url += prefix
        yield site


@pytest.mark.parametrize("prefix", ["", "/jobs", PREFIX])
async def test_urls_in_answers_lead_back(prefix: str) -> None:
    """The URLs in the answers have the prefix, and work."""
    async with mounted(prefix) as site:
        answer = await site.http.post(f"{site.url}/v1/jobs", json={"handler": "count", "args": [2]})
        assert answer.status_code == 202, answer.text
        found = answer.json()
        assert found["sse_url"] == f"{site.url}/v1/jobs/{found['job_id']}/stream"
        assert found["ws_url"] == f"{site.url.replace('http', 'ws')}/v1/ws"
        assert answer.headers["location"] == f"{site.url}/v1/jobs/{found['job_id']}"
        assert (await site.http.get(answer.headers["location"])).status_code == 200
        assert "data: [DONE]" in (await site.http.get(found["sse_url"])).text
        document = (await site.http.get(f"{site.url}/openapi.json")).json()
        assert document["servers"] == [{"url": site.url}]


async def test_the_page_is_there_too() -> None:
    """The page, and unknown paths, are answered under the prefix as without one."""
    async with mounted() as site:
        assert (await site.http.get(f"{site.url}/")).headers["content-type"].startswith("text/html")
        answer = await site.http.get(f"{site.url}/nothing")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_a_probe_under_a_prefix() -> None:
    """A probe is answered under the prefix too: for any Host, and over the limit of requests."""
    async with mounted(limits=Limits(per_client=1)) as site, site.websocket() as socket:
        assert (await ask(socket, op="ping", id=1))["pong"]
        for host in ("evil.example", "127.0.0.1"):
            answer = await site.http.get(f"{site.url}/healthz", headers={"host": host})
            assert (answer.status_code, answer.text) == (200, "ok\n")
        assert (await site.http.get(f"{site.url}/v1/jobs")).status_code == 429
        assert (await site.http.get(f"{site.url}/v1/jobs/healthz")).status_code == 429


async def test_a_websocket_under_a_prefix() -> None:
    """The wire works under the prefix: submit, follow to the end, errors with their codes."""
    async with mounted() as site, site.websocket() as socket:
        assert socket.subprotocol == "trio-jobs.v1"
        job = (await ask(socket, op="submit", id=1, handler="count", args=[3]))["job"]
        await socket.send_message(json.dumps({"op": "follow", "id": 2, "job": job["id"]}))
        seqs: list[int] = []
        while "end" not in (frame := await hear(socket)):
            seqs += [event["seq"] for event in frame["events"]]
        assert seqs == [1, 2, 3, 4, 5, 6]
        assert (await ask(socket, op="get", id=3, job="x"))["error"]["code"] == "unknown_job"


@pytest.mark.parametrize(("message", "code"), [(b"binary", 1003), ("x" * 2000, 1009)])
async def test_a_websocket_is_closed_by_its_code(message: str | bytes, code: int) -> None:
    """A message that is not of the wire closes the connection with its code."""
    async with mounted(limits=Limits(message=1024)) as site, site.websocket() as socket:
        await socket.send_message(message)
        assert await closed(socket) == code


async def test_a_websocket_expires() -> None:
    """A connection is closed with 1008 when the caller's authentication has expired."""

    async def briefly(headers: Mapping[str, str]) -> Caller | None:
        return Caller(None, expires=0.05)

    async with mounted(authenticate=briefly) as site, site.websocket() as socket:
        assert await closed(socket) == 1008


async def test_a_handshake_is_refused_in_words() -> None:
    """A refused handshake is answered over HTTP, with the status of its problem."""

    async def broken(headers: Mapping[str, str]) -> Caller | None:
        if headers.get("authorization") == "Bearer bug":
            raise RuntimeError("the secret")
        return None

    async with mounted(authenticate=broken, limits=Limits(per_client=1)) as site:
        for headers, status, code in (
            ({}, 401, "unauthenticated"),
            ({"origin": "https://evil.example"}, 403, "forbidden"),
            ({"authorization": "Bearer bug"}, 500, "internal"),
        ):
            with rejected() as found:
                async with site.websocket(**headers):
                    pass
            assert found[0].status_code == status
            assert json.loads(found[0].body or b"")["code"] == code
            assert b"secret" not in (found[0].body or b"")


async def test_too_many_websockets() -> None:
    """Over the limit of a client its handshake is refused (429); closing one makes room."""
    async with mounted(limits=Limits(per_client=1)) as site:
        async with site.websocket() as socket:
            assert (await ask(socket, op="ping", id=1))["pong"]
            with rejected() as found:
                async with site.websocket():
                    pass
            assert found[0].status_code == 429
        let_in = False
        while not let_in:
            with suppress(BaseExceptionGroup):
                async with site.websocket() as socket:
                    let_in = (await ask(socket, op="ping", id=1))["pong"]


async def test_an_event_stream_under_a_prefix() -> None:
    """Events arrive live, and the job has one reader fewer after the client has left."""
    async with mounted() as site:
        made = await site.http.post(f"{site.url}/v1/jobs", json={"handler": "hang"})
        stream = await follow(site, urlsplit(made.json()["sse_url"]).path)
        while (event := await stream.next()) is not None and event.event != "token":
            pass
        assert event is not None
        assert event.value == "here"
        await stream.wire.stream.aclose()
        while (await site.jobs.statistics()).readers:
            await trio.lowlevel.checkpoint()
