"""`serve_http`: HTTP, event streams and WebSockets on one port, and the order in which it stops."""

from __future__ import annotations

import json
import ssl
from functools import partial
from typing import Any

import pytest
import trio
import trustme
from trio.testing import wait_all_tasks_blocked

from tests.serving.served import (
    EventStream,
    ask,
    cancel_requested,
    closed,
    follow,
    hear,
    served,
    stubborn_job,
)
from trio_jobs import open_registry
from trio_jobs.serving import Limits, serve_http, serve_websocket

HEALTH = "GET /healthz HTTP/1.1"


def certified() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return a server's TLS context and a client's that trusts it."""
    authority = trustme.CA()
    ours, theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(ours)
    authority.configure_trust(theirs)
    return ours, theirs


async def test_both_protocols_on_one_port() -> None:
    """A job that was submitted over HTTP is followed over a WebSocket and as an event stream."""
    async with served() as site, site.websocket() as socket:
        assert socket.subprotocol == "trio-jobs.v1"
        job_id = await site.submit("count", 2)
        await socket.send_message(json.dumps({"op": "follow", "id": 1, "job": job_id}))
        kinds: list[str] = []
        while "end" not in (frame := await hear(socket)):
            kinds += [event["kind"] for event in frame["events"]]
        assert kinds == ["submitted", "started", "token", "token", "completed"]
        heard = await (await follow(site, f"/v1/jobs/{job_id}/stream")).all()
        assert [one.event for one in heard] == kinds


async def test_both_over_tls() -> None:
    """With an `ssl_context` everything is over TLS, and the URLs say so; plain connections get nothing."""
    ours, theirs = certified()
    async with served(ssl_context=ours, tls=theirs) as site:
        assert site.url.startswith("https://127.0.0.1:")
        answer = await site.http.post("/v1/jobs", json={"handler": "count", "args": [2]})
        assert answer.json()["sse_url"].startswith(site.url)
        assert answer.json()["ws_url"].startswith("wss://")
        async with site.websocket() as socket:
            job = (await ask(socket, op="get", id=1, job=answer.json()["job_id"]))["job"]
            assert job["handler"] == "count"
        stream = await follow(site, f"/v1/jobs/{answer.json()['job_id']}/stream", "Connection: close")
        assert [one.event for one in await stream.all()][-1] == "completed"
        assert await stream.wire.rest() == b""
        site.tls = None
        plain = await site.connect()
        await plain.say(HEALTH)
        assert b"ok" not in await plain.rest()


async def test_a_free_port_is_named() -> None:
    """With port 0 each server has a port of its own, which its URL has."""
    async with served() as one, served() as two:
        assert one.url != two.url
        assert not one.url.endswith(":0")
        for site in (one, two):
            assert (await site.http.get(f"{site.url}/healthz")).status_code == 200


async def test_what_everybody_could_use_is_not_served() -> None:
    """Without `authenticate` it binds to this machine only; a wrong grace is refused too."""
    async with open_registry() as jobs:
        with pytest.raises(ValueError, match="can be reached from other machines"):
            await serve_http(jobs, host="0.0.0.0", port=0)  # noqa: S104
        with pytest.raises(ValueError, match="grace"):
            await serve_http(jobs, port=0, grace=-1)


async def test_a_port_that_is_taken() -> None:
    """The second server on a port raises an error with the address; the first goes on."""
    async with served() as site:
        port = int(site.url.rpartition(":")[2])
        with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1 port {port}"):
            await serve_http(site.jobs, port=port)
        assert (await site.http.get("/healthz")).status_code == 200


async def test_a_connection_is_kept_for_more_requests() -> None:
    """Requests follow each other on one connection, also when they are sent before the answers."""
    async with served() as site:
        wire = await site.connect()
        for _ in range(3):
            await wire.say(HEALTH)
            assert (await wire.answer()).body == b"ok\n"
        body = json.dumps({"handler": "count", "args": [1]}).encode()
        lines = ("POST /v1/jobs HTTP/1.1", "Content-Type: application/json", f"Content-Length: {len(body)}")
        for number in range(5):
            await wire.say(*lines, f"Idempotency-Key: {number}", body=body)
            await wire.say(HEALTH)
        ids = set()
        for _ in range(5):
            ids.add(json.loads((await wire.answer()).body)["job_id"])
            assert (await wire.answer()).body == b"ok\n"
        assert len(ids) == await site.jobs.count() == 5


async def test_a_request_behind_a_stream_is_answered_after_it() -> None:
    """A request sent during an event stream is answered after its end."""
    async with served() as site:
        job_id = await site.submit("count", 2)
        wire = await site.connect()
        await wire.say(f"GET /v1/jobs/{job_id}/stream HTTP/1.1")
        await wire.say(HEALTH)
        assert (await EventStream(wire, await wire.head()).all())[-1].event == "completed"
        assert (await wire.answer()).body == b"ok\n"


@pytest.mark.parametrize(
    "said", [b"", b"GET / HTTP/1.1\r\nHost: 127.0", b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"]
)
async def test_who_says_nothing_more_is_let_go(said: bytes) -> None:
    """A first or later head has a deadline, after which the connection is closed."""
    async with served(limits=Limits(header=0.05)) as site:
        wire = await site.connect()
        await wire.stream.send_all(said)
        rest = await wire.rest()
        assert (b"ok\n" in rest) is said.endswith(b"\r\n\r\n")


@pytest.mark.parametrize("said", [b"\0\1\2\r\n\r\n", b"GET / HTTP/1.1\r\n bad\r\n\r\n", b"x" * 100_000])
async def test_what_is_no_http(said: bytes) -> None:
    """Other bytes are answered with 4xx at most, the connection is closed, and the server goes on."""
    async with served(limits=Limits(header=0.5)) as site:
        wire = await site.connect()
        async with trio.open_nursery() as nursery:

            async def say() -> None:
                try:
                    await wire.stream.send_all(said)
                except trio.BrokenResourceError:
                    pass

            nursery.start_soon(say)
            assert (await wire.rest())[:10] in {b"", b"HTTP/1.1 4"}
        assert (await site.http.get("/healthz")).status_code == 200


async def test_it_stops_in_order() -> None:
    """When it stops, WebSockets close (1001), streams end, a request is answered, idle connections close."""
    async with stubborn_job() as (site, job_id, go_on), site.websocket() as socket:
        idle, busy = await site.connect(), await site.connect()
        await idle.say(HEALTH)
        assert (await idle.answer()).status == 200
        stream = await follow(site, f"/v1/jobs/{job_id}/stream")
        await busy.say(f"DELETE /v1/jobs/{job_id}?patience=5 HTTP/1.1")
        await cancel_requested(site, job_id)
        site.stop()
        assert await closed(socket) == 1001
        assert "completed" not in [one.event for one in await stream.all()]
        assert await idle.rest() == b""
        assert not site.stopped.is_set()
        go_on.set()
        answer = await busy.answer()
        assert (answer.status, json.loads(answer.body)["outcome"]) == (200, "finished_first")
        assert await busy.rest() == b""
        await site.stopped.wait()


@pytest.mark.parametrize("serve", [serve_http, serve_websocket])
@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nUpgrade: websocket\r\n"])
async def test_who_has_not_asked_yet_is_not_waited_for(serve: Any, said: bytes) -> None:
    """A stopping server does not wait for connections without a request, as browsers open them."""
    async with served(serve=serve, grace=12, limits=Limits(header=12)) as site:
        wire = await site.connect()
        await wire.stream.send_all(said)
        await wait_all_tasks_blocked(0.01)
        site.stop()
        await site.stopped.wait()
        assert await wire.rest() == b""


async def test_what_does_not_end_is_closed_after_the_grace() -> None:
    """A request that takes longer than the grace is cut off; its job goes on."""
    async with stubborn_job(grace=0.05) as (site, job_id, go_on):
        wire = await site.connect()
        await wire.say(f"DELETE /v1/jobs/{job_id}?patience=60 HTTP/1.1")
        await cancel_requested(site, job_id)
        site.stop()
        await site.stopped.wait()
        assert await wire.rest() == b""
        assert not (await (await site.jobs.get(job_id)).snapshot()).state.over
        go_on.set()


async def test_a_registry_that_closes_first() -> None:
    """While the registry closes, requests get that error; it is not logged as the server's own."""
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            async with open_registry() as jobs:
                serve = partial(serve_http, jobs, port=0, grace=1.0)
                (url,) = await nursery.start(serve)  # noqa: ASYNC111  # it outlives the registry: that is tested
            stream = await trio.open_tcp_stream("127.0.0.1", int(url.rpartition(":")[2]))
            async with stream:
                await stream.send_all(
                    b"GET /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
                )
                answer = b"".join([data async for data in stream])
            assert answer.startswith(b"HTTP/1.1 503")
            assert b'"code":"closing"' in answer
            nursery.cancel_scope.cancel()


async def test_a_server_can_be_started_again() -> None:
    """A stopped server leaves nothing behind: its port can be used again, and the jobs are there."""
    async with served() as site:
        job_id = await site.submit("count", 1)
        port = int(site.url.rpartition(":")[2])
        site.stop()
        await site.stopped.wait()
        await site.nursery.start(partial(serve_http, site.jobs, port=port))
        assert (await site.http.get(f"/v1/jobs/{job_id}")).json()["id"] == job_id
        await wait_all_tasks_blocked()
