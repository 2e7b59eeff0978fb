"""A server on a loopback port, a client, and a bare socket for bytes that no client would send."""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterable, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, NamedTuple, TypeAlias
from urllib.parse import urlsplit

import attrs
import httpx2
import trio
from trio_websocket import ConnectionClosed, ConnectionRejected, WebSocketConnection, wrap_client_stream

from trio_jobs import JobContext, JobRegistry, handler, open_registry
from trio_jobs.serving import serve_http

PATIENCE = 10.0
Stream: TypeAlias = trio.SocketStream | trio.SSLStream[trio.SocketStream]


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
    """A server under test."""

    jobs: JobRegistry
    url: str
    http: httpx2.AsyncClient
    nursery: trio.Nursery
    _serving: trio.CancelScope
    stopped: trio.Event
    tls: ssl.SSLContext | None = None
    streams: list[Stream] = attrs.field(factory=list[Stream])

    def stop(self) -> None:
        """Begin to stop the server, as cancelling its task does."""
        self._serving.cancel()

    async def submit(self, name: str, *args: Any, **options: Any) -> str:
        """Submit a job over HTTP, and return its id."""
        answer = await self.http.post("/v1/jobs", json={"handler": name, "args": args, "options": options})
        assert answer.status_code == 202, answer.text
        return str(answer.json()["job_id"])

    async def connect(self) -> Wire:
        """Return a bare connection; it is closed with the site."""
        at = urlsplit(self.url)
        plain = await trio.open_tcp_stream(str(at.hostname), at.port or 0)
        stream: Stream = plain
        if self.tls is not None:
            stream = trio.SSLStream(plain, self.tls, server_hostname=at.hostname, https_compatible=True)
        self.streams.append(stream)
        return Wire(stream)

    @asynccontextmanager
    async def websocket(
        self, path: str = "/v1/ws", subprotocols: Sequence[str] = ("trio-jobs.v1",), **headers: str
    ) -> AsyncGenerator[WebSocketConnection]:
        """Connect; unlike the client of trio-websocket, close the stream if the handshake is refused."""
        at = urlsplit(self.url)
        wire = await self.connect()
        async with trio.open_nursery() as nursery:
            try:
                connection = await wrap_client_stream(
                    nursery,
                    wire.stream,
                    at.netloc,
                    f"{at.path}{path}",
                    subprotocols=subprotocols,
                    extra_headers=[(name.encode(), value.encode()) for name, value in headers.items()],
                )
                yield connection
                await connection.aclose()
            finally:
                with trio.CancelScope(shield=True):
                    await trio.aclose_forcefully(wire.stream)


@asynccontextmanager
async def served(
    handlers: Iterable[Callable[..., Awaitable[Any]]] = HANDLERS,
    *,
    serve: Callable[..., Awaitable[None]] = serve_http,
    tls: ssl.SSLContext | None = None,
    registry: dict[str, Any] | None = None,
    patience: float = PATIENCE,
    **options: Any,
) -> AsyncGenerator[Site]:
    """Serve handlers; a test has ten seconds, or its own patience."""
    stopped = trio.Event()
    with trio.fail_after(patience):
        async with open_registry(handlers=list(handlers), **(registry or {})) as jobs:
            async with trio.open_nursery() as nursery:
                scope = trio.CancelScope()

                async def live(*, task_status: trio.TaskStatus[list[str]]) -> None:  # noqa: ASYNC128  # passed on
                    with scope:
                        await serve(jobs, **{"port": 0, "grace": 1.0, **options}, task_status=task_status)
                    stopped.set()

                (url,) = await nursery.start(live)
                async with httpx2.AsyncClient(
                    base_url=url, trust_env=False, verify=tls or False, timeout=PATIENCE
                ) as http:
                    site = Site(jobs, url, http, nursery, scope, stopped, tls)
                    try:
                        yield site
                    finally:
                        for stream in site.streams:
                            await trio.aclose_forcefully(stream)
                scope.cancel()
                nursery.cancel_scope.cancel()


@asynccontextmanager
async def stubborn_job(**options: Any) -> AsyncGenerator[tuple[Site, str, trio.Event]]:
    """Serve a job that ends by an event, and by no cancellation: yield the site, the job's id, the event."""
    started, go_on = trio.Event(), trio.Event()

    @handler
    async def stubborn(job: JobContext[Any]) -> None:
        with trio.CancelScope(shield=True):
            started.set()
            await go_on.wait()

    async with served([stubborn], **options) as site:
        job_id = await site.submit("stubborn")
        await started.wait()
        yield site, job_id, go_on


async def cancel_requested(site: Site, job_id: str) -> None:
    """Wait until a job is asked to stop."""
    while not (await (await site.jobs.get(job_id)).snapshot()).cancel_requested_at:
        await trio.lowlevel.checkpoint()


async def ask(socket: WebSocketConnection, **request: Any) -> Any:
    """Send one request, and return the next frame."""
    await socket.send_message(json.dumps(request))
    return await hear(socket)


async def hear(socket: WebSocketConnection) -> Any:
    """Return the next frame."""
    return json.loads(await socket.get_message())


async def closed(socket: WebSocketConnection) -> int:
    """Wait for the peer to close, skipping what it sends before, and return its code."""
    try:
        while True:
            await socket.get_message()
    except ConnectionClosed as error:
        assert error.reason is not None
        return error.reason.code


@contextmanager
def rejected() -> Generator[list[ConnectionRejected]]:
    """Expect that a handshake is refused; the list has the refusal afterwards."""
    found: list[ConnectionRejected] = []
    try:
        yield found
    except* ConnectionRejected as group:
        found += [one for one in group.exceptions if isinstance(one, ConnectionRejected)]
    assert found, "it was let in"


class Answer(NamedTuple):
    """A response, as it came."""

    status: int
    headers: dict[str, str]
    body: bytes


class Wire:
    """A bare connection: sends any bytes, reads responses one by one."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self._ahead = b""

    async def say(self, *lines: str, body: bytes = b"") -> None:
        """Send a request: its first line, its headers but for `Host`, its body."""
        head = [lines[0], "Host: 127.0.0.1", *lines[1:], "", ""]
        await self.stream.send_all("\r\n".join(head).encode() + body)

    async def until(self, mark: bytes) -> bytes:
        """Return the bytes up to a mark, with the mark."""
        while mark not in self._ahead:
            data = await self.stream.receive_some()
            assert data, f"closed after {self._ahead!r}"
            self._ahead += data
        found, _, self._ahead = self._ahead.partition(mark)
        return found + mark

    async def rest(self) -> bytes:
        """Return all bytes until the connection is closed."""
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
        """Return the next response, which has a length."""
        head = await self.head()
        size = int(head.headers["content-length"])
        return Answer(head.status, head.headers, await self.some(size))

    async def some(self, size: int) -> bytes:
        """Return so many bytes."""
        while len(self._ahead) < size:
            data = await self.stream.receive_some()
            assert data, f"closed after {self._ahead!r}"
            self._ahead += data
        found, self._ahead = self._ahead[:size], self._ahead[size:]
        return found


class Sent(NamedTuple):
    """One server-sent event, as a browser dispatches it."""

    id: str
    event: str
    data: str

    @property
    def value(self) -> Any:
        """The data, decoded as JSON."""
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


class EventStream:
    """A live event stream on a bare connection."""

    def __init__(self, wire: Wire, head: Answer) -> None:
        self.wire = wire
        self.head = head
        self._ahead = ""

    async def block(self) -> str | None:
        """Return the text up to the next empty line; None at the end."""
        while "\n\n" not in self._ahead:
            size = int((await self.wire.until(b"\r\n")).strip(), 16)
            data = await self.wire.until(b"\r\n") if size == 0 else await self.wire.some(size + 2)
            if size == 0:
                assert not self._ahead
                return None
            self._ahead += data[:-2].decode()
        found, _, self._ahead = self._ahead.partition("\n\n")
        return found + "\n\n"

    async def next(self) -> Sent | None:
        """Return the next event; None at the end."""
        while (text := await self.block()) is not None:
            if heard := parse(text):
                return heard[0]
        return None

    async def all(self) -> list[Sent]:
        """Return all events up to the end."""
        found: list[Sent] = []
        while (event := await self.next()) is not None:
            found.append(event)
        return found


async def follow(site: Site, path: str, *headers: str) -> EventStream:
    """Open an event stream."""
    wire = await site.connect()
    await wire.say(f"GET {path} HTTP/1.1", *headers)
    return EventStream(wire, await wire.head())
