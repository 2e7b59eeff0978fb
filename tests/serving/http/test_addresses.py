"""The addresses in the answers of the HTTP interface lead back to it, wherever it is mounted or proxied."""

from __future__ import annotations

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

import trio_jobs
from trio_jobs.serving import http_app


async def hello(job: trio_jobs.JobContext[str]) -> None:
    await job.send("hello")


@pytest.mark.parametrize("where", ["", "/jobs", "/deep/in/a/site"])
@pytest.mark.parametrize(
    ("headers", "scheme", "socket_scheme"),
    [
        ({}, "http", "ws"),
        ({"x-forwarded-proto": "https"}, "https", "wss"),
        ({"x-forwarded-proto": "http"}, "http", "ws"),
        ({"x-forwarded-proto": "javascript"}, "http", "ws"),
    ],
)
async def test_the_addresses_of_a_job_are_those_that_the_client_can_use(
    where: str, headers: dict[str, str], scheme: str, socket_scheme: str
) -> None:
    """They begin where the application is mounted, with the scheme that the client uses with the proxy."""
    async with trio_jobs.open_registry(handlers=[hello]) as jobs:
        app = http_app(jobs)
        if where:
            app = Starlette(routes=[Mount(where, app)])
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app)) as client:
            base = f"http://localhost:8000{where}/v1/jobs"
            answer = await client.post(base, json={"handler": "hello"}, headers=headers)
            told = answer.json()
            assert answer.headers["location"] == f"{scheme}{base[4:]}/{told['job_id']}"
            assert told["sse_url"] == f"{answer.headers['location']}/stream"
            assert told["ws_url"] == f"{socket_scheme}://localhost:8000{where}/v1/ws"
            assert (await client.get(f"{base}/{told['job_id']}")).json()["id"] == told["job_id"]
            answer = await client.get(f"http://localhost:8000{where}/openapi.json", headers=headers)
            assert answer.json()["servers"] == [{"url": f"{scheme}://localhost:8000{where}"}]


async def test_an_event_stream_begins_with_an_event() -> None:
    """The `retry` field is part of the first event, so that no client takes it for an event."""
    async with trio_jobs.open_registry(handlers=[hello]) as jobs:
        job = await (await jobs.submit(hello)).wait()
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(http_app(jobs))) as client:
            response = await client.get(f"http://localhost/v1/jobs/{job.id}/stream")
    events = [event async for event in httpx2.EventSource(response)]
    assert [event.event for event in events] == ["submitted", "started", "token", "completed"]
    assert events[0].retry == 1000
