"""A server behind nginx and Caddy, set up as the handbook says: what is sent comes through at once."""

from __future__ import annotations

import json
import os
import shutil
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import httpx2
import pytest
import trio
import trustme

from tests.serving.http.test_event_stream import Permits, until
from tests.serving.served import PATIENCE, Site, follow, hear, served
from trio_jobs.client import connect

DEPLOY = Path(__file__).parents[2] / "docs" / "deploy"
CERTIFICATE = "/etc/letsencrypt/live/jobs.example.org"
PATH = f"{os.environ.get('PATH', '')}:/usr/sbin"
NGINX = """
daemon off;
pid {folder}/pid;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {file}
}}
"""


def nginx(file: str, backend: int, port: int, folder: Path) -> str:
    file = file.replace(CERTIFICATE, str(folder)).replace("443 ssl", f"127.0.0.1:{port} ssl")
    return NGINX.format(folder=folder, file=file.replace(":8000", f":{backend}"))


def caddy(file: str, backend: int, port: int, folder: Path) -> str:
    names = f"https://127.0.0.1:{port}, https://jobs.example.org:{port}"
    here = f"{names} {{\n    tls {folder}/fullchain.pem {folder}/privkey.pem"
    file = file.replace("jobs.example.org {", here).replace(":8000", f":{backend}")
    return "{\n    admin off\n    auto_https disable_redirects\n    grace_period 100ms\n}\n" + file


PROXIES: dict[str, Any] = {
    "nginx.conf": (nginx, "nginx -e stderr -c"),
    "Caddyfile": (caddy, "caddy run --adapter caddyfile --config"),
}


def program(command: str) -> list[str]:
    """Return a command with the path of its program; skip where it is not installed, on CI fail."""
    name, *options = command.split()
    if (found := shutil.which(name, path=PATH)) is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"{name} is not installed")
    return [found, *options]


async def free_port() -> int:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        return int(listener.socket.getsockname()[1])


async def reachable(port: int) -> None:
    """Wait until something listens; the time of the site ends it."""
    while True:
        try:
            await (await trio.open_tcp_stream("127.0.0.1", port)).aclose()
        except OSError:
            await trio.sleep(0.02)
        else:
            return


@asynccontextmanager
async def behind(name: str, site: Site, folder: Path) -> AsyncGenerator[Site]:
    """Start a proxy with the file of the handbook, and yield the site as clients of the proxy see it."""
    configured, command = PROXIES[name]
    authority, trusting, port = trustme.CA(), ssl.create_default_context(), await free_port()
    authority.configure_trust(trusting)
    certificate = authority.issue_cert("127.0.0.1", "jobs.example.org")
    certificate.private_key_and_cert_chain_pem.write_to_path(str(folder / "fullchain.pem"))
    certificate.private_key_pem.write_to_path(str(folder / "privkey.pem"))
    text = (DEPLOY / name).read_text(encoding="utf-8")
    config = folder / name
    config.write_text(configured(text, int(site.url.rpartition(":")[2]), port, folder), encoding="utf-8")
    run = partial(trio.run_process, env={**os.environ, "HOME": str(folder)}, capture_stderr=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, [*program(command), str(config)])
        await reachable(port)
        url = f"https://127.0.0.1:{port}"
        async with httpx2.AsyncClient(
            base_url=url, trust_env=False, verify=trusting, timeout=PATIENCE
        ) as http:
            yield attrs.evolve(site, url=url, http=http, tls=trusting)
        nursery.cancel_scope.cancel()


@pytest.mark.deep
@pytest.mark.parametrize("name", PROXIES)
async def test_each_token_comes_through_before_the_next_is_sent(name: str, tmp_path: Path) -> None:
    """An event stream, a WebSocket and the client get a token while the job waits to be let on."""
    permits = Permits()
    async with served([permits.handler]) as direct, behind(name, direct, tmp_path) as site:
        job_id = await site.submit(permits.handler.__name__)
        stream = await follow(site, f"/v1/jobs/{job_id}/stream?after=2")
        async with (
            site.websocket() as socket,
            connect(site.url, ssl_context=site.tls) as jobs,
            (await jobs.get(job_id)).stream() as tokens,
        ):
            await socket.send_message(json.dumps({"op": "follow", "id": 1, "job": job_id, "after": 2}))
            for number in range(3):
                await permits.give.send(number)
                assert (await until(stream, "token")).value == number
                heard: list[Any] = []
                while not heard:
                    heard = (await hear(socket)).get("events", [])
                assert [event["data"] for event in heard] == [number]
                assert await tokens.receive() == number
            permits.give.close()
            assert (await until(stream, "completed")).data == "[DONE]"


@pytest.mark.deep
@pytest.mark.parametrize("name", PROXIES)
async def test_the_page_and_the_public_name(name: str, tmp_path: Path) -> None:
    """The page comes through, the public name is answered only if it is allowed, and addresses are https."""
    for hosts, status in ([], 421), (["jobs.example.org"], 200):
        async with served(hosts=hosts) as direct, behind(name, direct, tmp_path) as site:
            page = await site.http.get("/")
            assert (page.status_code, "<title>" in page.text) == (200, True)
            submitted = await site.http.post("/v1/jobs", json={"handler": "count", "args": [1]})
            assert submitted.json()["sse_url"].startswith(site.url)
            answer = await site.http.get("/v1/jobs", headers={"host": "jobs.example.org"})
            assert answer.status_code == status
