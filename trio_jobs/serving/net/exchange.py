"""One request and its response on a connection, as an ASGI application sees them."""

from __future__ import annotations

from collections.abc import MutableMapping
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from time import time
from typing import Any, Final, TypeAlias
from urllib.parse import unquote

import h11
import trio

from ..context import ServerContext
from ..problems import Problem, Refused
from .direct import CROWDED, EXTENSION, DirectBody
from .outgoing import PeerGone
from .request_body import Body
from .request_head import Head
from .streams import PeerStream

Message: TypeAlias = MutableMapping[str, Any]

_MOST_AHEAD: Final = 16 * 1024
"""Bytes of later requests that are kept while one is answered; the peer waits with the rest."""
_CLOSE: Final = (b"connection", b"close")
_LEFT: Final = {"type": "http.disconnect"}
_WITHOUT_BODY: Final = frozenset({204, 304})
_REASONS: Final = {status.value: status.phrase.encode() for status in HTTPStatus}


class Exchange:
    """One request, and the response to it.

    Args:
        stream: The connection.
        head: The head of the request.
        context: Says whether the server stops: then the connection is not kept.

    Attributes:
        has_begun: Whether anything of the response may have left.
    """

    def __init__(self, stream: PeerStream, head: Head, context: ServerContext) -> None:
        self._stream = stream
        self._request = head.request
        self._writer = head.writer
        self._closing = context.closing
        self._body = Body(head.length)
        self._all_received = False
        self._start: Message | None = None
        self._has_body = head.request.method != b"HEAD"
        self._chunks = head.request.http_version == b"1.1"
        self.has_begun = False
        self._over = trio.Event()
        """Set when nothing more can be sent: the response is complete, or the client has gone."""

    @property
    def scope(self) -> dict[str, Any]:
        """The request as an ASGI application is given it."""
        path, _, query = self._request.target.partition(b"?")
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": self._request.http_version.decode(),
            "method": self._request.method.decode(),
            "scheme": "https" if self._stream.encrypted else "http",
            "path": unquote(path.decode()),
            "raw_path": path,
            "query_string": query,
            "root_path": "",
            "headers": list(self._request.headers),
            "client": self._stream.client,
            "server": self._stream.server,
            "extensions": {
                EXTENSION: DirectBody(self._stream.outgoing, self._chunks),
                CROWDED: self._stream.crowded,
            },
        }

    @property
    def has_unread(self) -> bool:
        """Whether a part of the request may still come."""
        return not self._body.done

    @property
    def is_reusable(self) -> bool:
        """Whether another request can follow on the connection: nothing is left of this one."""
        return self._writer.our_state is h11.DONE and self._may_be_kept()

    # ------------------------------------------------------------ the request

    async def receive(self) -> Message:
        """Return the next piece of the body; behind the last, wait until the client leaves or has its answer.

        Raises:
            Refused: The body is malformed.
        """
        if self._all_received:
            await self._until_over()
            return _LEFT
        if self._writer.they_are_waiting_for_100_continue and not self._stream.ahead:
            await self._write(self._writer.send(h11.InformationalResponse(status_code=100, headers=[])))
        await trio.lowlevel.checkpoint()  # between two pieces of much that came at once
        data = self._take()
        while not data and not self._body.done:
            if not await self._read():
                return _LEFT
            data = self._take()
        self._all_received = self._body.done
        return {"type": "http.request", "body": data, "more_body": not self._body.done}

    def _take(self) -> bytes:
        try:
            return b"" if self._body.done else self._body.take(self._stream.ahead)
        except Refused:
            self._all_received = True  # where the next request begins is not known
            raise

    async def _until_over(self) -> None:
        while not self._over.is_set():
            if len(self._stream.ahead) >= _MOST_AHEAD:
                await self._over.wait()  # the next send shows whether it has left
            elif not await self._read():
                return

    async def _read(self) -> bool:
        try:
            return await self._stream.read_ahead()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return False

    # ------------------------------------------------------------ the response

    async def send(self, message: Message) -> None:
        """Send the head of the response, with the first piece of its body, or a piece of it.

        A piece is written to its end even if the caller is cancelled. If the client has gone, nothing
        happens: `receive` says so.
        """
        if self._over.is_set():
            await trio.lowlevel.checkpoint()
        elif message["type"] == "http.response.start":
            self._start = message
        else:
            data = self._encoded(message)
            self.has_begun = True
            await self._write(data)
            if not message.get("more_body", False):
                self._over.set()

    def _encoded(self, message: Message) -> bytes:
        parts: list[bytes] = []
        if self._start is not None:
            parts.append(self._writer.send(self._response(self._start)))
            self._start = None
        if self._has_body and (data := message.get("body", b"")):
            parts.append(self._writer.send(h11.Data(data=data)))
        if not message.get("more_body", False):
            parts.append(self._writer.send(h11.EndOfMessage()))
        return b"".join(parts)

    def _response(self, start: Message) -> h11.Response:
        headers = [*start.get("headers", ()), (b"date", _date(int(time())))]
        if not self._may_be_kept() and _CLOSE not in headers:
            headers.append(_CLOSE)
        status = start["status"]
        self._has_body = self._has_body and status not in _WITHOUT_BODY
        return h11.Response(status_code=status, headers=headers, reason=_REASONS[status])

    def _may_be_kept(self) -> bool:
        if not self._all_received:
            try:
                self._take()  # a body that the application has not read, if it has arrived
            except Refused:
                return False
        return self._body.done and not self._closing.is_set() and not self._stream.crowded

    async def _write(self, data: bytes) -> None:
        try:
            await self._stream.outgoing.send_whole(data)
        except PeerGone:
            self._over.set()


def refusal(problem: Problem) -> bytes:
    """Return the bytes of a response after which the connection is closed."""
    body = problem.body
    headers = [
        *problem.raw_headers,
        (b"content-length", b"%d" % len(body)),
        (b"date", _date(int(time()))),
        _CLOSE,
    ]
    writer = h11.Connection(h11.SERVER)
    response = h11.Response(status_code=problem.status, headers=headers, reason=_REASONS[problem.status])
    return writer.send(response) + writer.send(h11.Data(data=body)) + writer.send(h11.EndOfMessage())


@lru_cache(maxsize=1)
def _date(second: int) -> bytes:
    return formatdate(second, usegmt=True).encode()
