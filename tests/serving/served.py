"""A server on a loopback port, a client, and a bare socket for what no client would say."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import attrs
import httpx2
import trio

from trio_jobs import JobContext, JobRegistry, handler, open_registry
from trio_jobs.serving import serve_http

PATIENCE = 10.0


@handler
async def count(job: JobContext[int], to: int) -> int:
    """Send the numbers below a bound."""
    for number in range(to):
        await job.send(number)
    return to


@handler
async def hang(job: JobContext[str]) -> None:
    """Send one value and wait for ever."""
    await job.send("here")
    await trio.sleep_forever()


@handler
async def fail(job: JobContext[str], text: str) -> None:
    """Fail with a text."""
    raise ValueError(text)


HANDLERS = (count, hang, fail)


@attrs.define
class Site:
    """What a test has of a server."""

    jobs: JobRegistry
    url: str
    http: httpx2.AsyncClient
    nursery: trio.Nursery
    _serving: trio.CancelScope
    stopped: trio.Event
    streams: list[trio.SocketStream] = attrs.field(factory=list[trio.SocketStream])

    def stop(self) -> None:
        """Begin to stop the server, as its program does when it is cancelled."""
        self._serving.cancel()

    async def submit(self, name: str, *args: Any, **options: Any) -> str:
        """Submit a job over HTTP, and return its id."""
        answer = await self.http.post("/v1/jobs", json={"handler": name, "args": args, "options": options})
        assert answer.status_code == 202, answer.text
        return str(answer.json()["job_id"])

    async def connect(self) -> Wire:
        """Return a bare connection; it is closed with the site."""
        at = urlsplit(self.url)
        stream = await trio.open_tcp_stream(str(at.hostname), at.port or 0)
        self.streams.append(stream)
        return Wire(stream)


@asynccontextmanager
async def served(
    handlers: Iterable[Callable[..., Awaitable[Any]]] = HANDLERS,
    *,
    serve: Callable[..., Awaitable[None]] = serve_http,
    verify: Any = True,
    registry: dict[str, Any] | None = None,
    **options: Any,
) -> AsyncGenerator[Site]:
    """Serve handlers; whatever a test does, it has ten seconds."""
    stopped = trio.Event()
    with trio.fail_after(PATIENCE):
        async with open_registry(handlers=list(handlers), **(registry or {})) as jobs:
            async with trio.open_nursery() as nursery:
                scope = trio.CancelScope()

                async def run(task_status: trio.TaskStatus[list[str]]) -> None:
                    with scope:
                        await serve(jobs, **{"port": 0, "grace": 1.0, **options}, task_status=task_status)
                    stopped.set()

                (url,) = await nursery.start(run)
                async with httpx2.AsyncClient(
                    base_url=url, trust_env=False, verify=verify, timeout=PATIENCE
                ) as http:
                    site = Site(jobs, url, http, nursery, scope, stopped)
                    try:
                        yield site
                    finally:
                        for stream in site.streams:
                            await trio.aclose_forcefully(stream)
                scope.cancel()
                nursery.cancel_scope.cancel()


class Answer(NamedTuple):
    """A response, as it came."""

    status: int
    headers: dict[str, str]
    body: bytes


class Wire:
    """A bare connection: says any bytes, reads responses one by one."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self._ahead = b""

    async def say(self, *lines: str, body: bytes = b"") -> None:
        """Send a request: its first line, its headers but for `Host`, its body."""
        head = [lines[0], "Host: 127.0.0.1", *lines[1:], "", ""]
        await self.stream.send_all("\r\n".join(head).encode() + body)

    async def until(self, mark: bytes) -> bytes:
        """Return what comes up to a mark, and with it."""
        while mark not in self._ahead:
            data = await self.stream.receive_some()
            assert data, f"closed after {self._ahead!r}"
            self._ahead += data
        found, _, self._ahead = self._ahead.partition(mark)
        return found + mark

    async def rest(self) -> bytes:
        """Return all that comes before the connection is closed."""
        try:
            async for data in self.stream:
                self._ahead += data
        except trio.BrokenResourceError:  # closed without reading all that was said
            pass
        found, self._ahead = self._ahead, b""
        return found

    async def head(self) -> Answer:
        """Return the next response without its body."""
        first, *lines = (await self.until(b"\r\n\r\n")).decode().strip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        return Answer(int(first.split()[1]), headers, b"")

    async def answer(self) -> Answer:
        """Return the next response, whose length is said."""
        head = await self.head()
        size = int(head.headers["content-length"])
        while len(self._ahead) < size:
            self._ahead += await self.stream.receive_some()
        body, self._ahead = self._ahead[:size], self._ahead[size:]
        return head._replace(body=body)


class Sent(NamedTuple):
    """One server-sent event, as a browser dispatches it."""

    id: str
    event: str
    data: str

    @property
    def value(self) -> Any:
        """What its data says as JSON."""
        return json.loads(self.data)


def parse(text: str) -> list[Sent]:
    """Return the events of a stream: the algorithm of the HTML standard, 9.2.6, step by step."""
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    found: list[Sent] = []
    last_id, event, data = "", "", ""
    for line in text.split("\n")[:-1]:
        if not line:
            if data:
                found.append(Sent(last_id, event or "message", data.removesuffix("\n")))
            event, data = "", ""
            continue
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            event = value
        elif name == "data":
            data += value + "\n"
        elif name == "id" and "\0" not in value:
            last_id = value
    return found


async def events(response: httpx2.Response) -> AsyncIterator[Sent]:
    """Give the events of a response as they come."""
    ahead = ""
    async for chunk in response.aiter_text():
        ahead += chunk
        *whole, ahead = ahead.split("\n\n")
        for text in whole:
            for one in parse(text + "\n\n"):
                yield one
