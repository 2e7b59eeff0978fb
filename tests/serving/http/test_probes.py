"""Health checks, and the server of metrics that a worker has."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from tests.serving.served import served
from trio_jobs import JobRegistry, StoreUnavailable
from trio_jobs.serving import serve_metrics
from trio_jobs.serving.context import ServerContext
from trio_jobs.serving.http.app import app_of
from trio_jobs.serving.options import ServerOptions


@pytest.mark.parametrize("serve", [None, serve_metrics])
async def test_they_ask_the_store(monkeypatch: pytest.MonkeyPatch, serve: Any) -> None:
    """Both are ok while the store answers, for any host name, and 503 when it does not, without its text."""

    async def count(jobs: JobRegistry, **where: Any) -> int:
        raise StoreUnavailable("/secret")

    for broken, status, text in ((False, 200, "ok\n"), (True, 503, "the store is unavailable\n")):
        if broken:
            monkeypatch.setattr(JobRegistry, "count", count)
        async with served(**({} if serve is None else {"serve": serve})) as site:
            for path in ("/healthz", "/readyz"):
                answer = await site.http.get(path, headers={"host": "10.0.0.7"})
                assert (answer.status_code, answer.text) == (status, text)


async def test_ready_ends_before_healthy() -> None:
    """While the server stops it is healthy, and not ready any more."""
    async with served() as site:
        context = ServerContext.of(site.jobs, ServerOptions())
        transport = httpx2.ASGITransport(app=app_of(context, websocket=False))
        async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as http:
            context.close()
            assert (await http.get("/healthz")).text == "ok\n"
            answer = await http.get("/readyz")
            assert (answer.status_code, answer.text) == (503, "the server stops\n")


async def test_a_worker_shows_metrics_and_nothing_else() -> None:
    """`serve_metrics` answers gauges at both paths; there is no job to be seen, and none to be submitted."""
    async with served(serve=serve_metrics) as site:
        for path in ("/metrics", "/v1/metrics"):
            answer = await site.http.get(path)
            assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
            assert "\ntrio_jobs_running 0\n" in answer.text
        assert (await site.http.get("/v1/jobs")).status_code == 404
        assert (await site.http.post("/v1/jobs", json={"handler": "count", "args": [1]})).status_code == 404
        assert (await site.http.post("/metrics")).status_code == 405
        assert (await site.http.get("/metrics", headers={"host": "evil.example"})).status_code == 421


async def test_metrics_for_other_machines() -> None:
    """On a host that others can reach it goes by any name, as Prometheus knows it by."""
    async with served(serve=serve_metrics, host="0.0.0.0") as site:  # noqa: S104  # that is what is tested
        port = site.http.base_url.port
        answer = await site.http.get(f"http://127.0.0.1:{port}/metrics", headers={"host": "worker-7:9100"})
        assert answer.status_code == 200


async def test_metrics_that_fail() -> None:
    """What the program's own function raises is a problem for the client, and its text goes to the log."""

    async def metrics(jobs: JobRegistry) -> bytes:
        raise LookupError("secret")

    async with served(serve=serve_metrics, metrics=metrics) as site:
        answer = await site.http.get("/metrics")
        assert answer.status_code == 500
        assert "secret" not in answer.text


async def test_unknown_options_are_refused() -> None:
    """An option that only a server of jobs has is refused."""
    bad: Any = {"page": True}
    with pytest.raises(TypeError, match="there is no option 'page'; there is grace, host, metrics, port"):
        await serve_metrics(None, **bad)  # type: ignore[arg-type]
