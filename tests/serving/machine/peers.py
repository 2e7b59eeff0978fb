"""Peers that record what each asked, what it was answered, and whether that is right.

They read by h11 and wsproto, and write requests by hand, so that they can stop at any byte. A wrong answer
raises `AssertionError` in the task that reads it.
"""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import h11
import trio
from wsproto import WSConnection, events
from wsproto.utilities import LocalProtocolError

from tests.serving.machine.books import EVERYBODY, HOST, OWNERS, SHAPES, Asked, Work, mark
from tests.serving.machine.network import Accepted
from tests.serving.raw import PONG, TEXT, frame
from tests.wire import STATUS


class Peer:
    """A connection, whose bytes go and come in the background.

    Args:
        stream: The connection.
        accepted: The server's side of it.
        who: The caller: one of `OWNERS`, `EVERYBODY`, or somebody unknown.
        address: Where it comes from.

    Attributes:
        asked: What is not answered yet, in the order of asking.
        done: What was answered.
        extra: Errors that answer no request of their own: which id they name, and a word that is in them.
        stalled: Whether it reads nothing.
        excused: Whether the server may drop it.
        gone: Whether the server closed the connection, or this side did.
        closes: Codes that the server may close with.
        code: The code that it closed with.
        is_web: Whether it speaks WebSocket by now.
        holds_back: Whether what it says is not sent yet.
    """

    def __init__(self, stream: trio.SocketStream, accepted: Accepted, who: str, address: str) -> None:
        self.stream = stream
        self.accepted = accepted
        self.who = who
        self.address = address
        self.asked: list[Asked] = []
        self.done: list[Asked] = []
        self.extra: deque[tuple[int | None, str]] = deque()
        self.faults = 0
        self.stalled = False
        self.stalled_at = math.inf
        self.excused = False
        self.gone = False
        self.left = False
        self.says_close = False
        self.closes = {1001}
        self.code: int | None = None
        self.is_web = False
        self.holds_back = False
        self._held = bytearray()
        self.found: Callable[[Work | None, Any], None] = lambda _, __: None
        self._web: WSConnection | None = None
        self._http: h11.Connection | None = None
        self._status = 0
        self._headers: dict[bytes, bytes] = {}
        self._body = bytearray()
        self._ahead = bytearray()
        self._tail = b""
        self._foreign = [mark(one).encode() for one in (*OWNERS, EVERYBODY) if who not in (EVERYBODY, one)]
        self._reading = trio.CancelScope()
        self._may_read = trio.Event()
        self._out, self._outbox = trio.open_memory_channel[bytes | None](math.inf)

    # ------------------------------------------------------------ in and out

    async def run(self) -> None:
        """Read and write until the connection is closed."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._write)
            await self._read()
            nursery.cancel_scope.cancel(reason="the connection is over")
        await trio.aclose_forcefully(self.stream)

    async def _write(self) -> None:
        async for data in self._outbox:
            try:
                if data is None:
                    await self.stream.send_eof()
                else:
                    await self.stream.send_all(data)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return

    async def _read(self) -> None:
        while not self.gone:
            with trio.CancelScope() as self._reading:
                if self.stalled:
                    await self._may_read.wait()
                try:
                    data = await self.stream.receive_some(1000)
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    data = b""
                if data:
                    self.take(data)
                else:
                    self.over()

    def say(self, data: bytes) -> None:
        """Send bytes, in the background."""
        if self.holds_back:
            self._held += data
        else:
            self._out.send_nowait(data)

    def send_held(self, count: int) -> None:
        """Send so many of the bytes that were held back, and drop the others."""
        self.holds_back = False
        if data := bytes(self._held[:count]):
            self.say(data)

    def half_close(self) -> None:
        """Close the sending half, and read on."""
        self.excused = True
        self._out.send_nowait(None)

    def hang_up(self) -> None:
        """Close the connection; with unread bytes, the server sees a reset."""
        self.excused = self.gone = self.left = True
        self._reading.cancel()
        self.stream.socket.close()

    def stall(self, now: float) -> None:
        """Stop reading."""
        if not self.stalled:
            self.stalled, self.stalled_at, self._may_read = True, now, trio.Event()
            self._reading.cancel()

    def go_on(self) -> None:
        """Read again."""
        self.stalled = False
        self._may_read.set()

    def over(self) -> None:
        """Record that the server has closed the connection."""
        self.gone = True
        if self.is_web:
            assert self.excused or self.code in self.closes, f"it was closed with {self.code}"
        elif not self.excused and not self.says_close:
            asked = [one.op for one in self.asked]
            assert not asked, f"it was hung up on, and not answered: {asked}"

    def take(self, data: bytes) -> None:
        """Parse the bytes that arrived."""
        assert not self.gone
        text = self._tail + data
        for secret in self._foreign:
            assert secret not in text, f"{self.who} was sent what is {secret.decode()}: {text!r}"
        assert b"Traceback" not in text, f"{self.who} is shown what is for programmers: {text!r}"
        self._tail = text[-16:]
        self._ahead += data
        while self._ahead and (self.is_web or self.asked or self._web is not None):
            before = len(self._ahead)
            if self.is_web or (self.asked and self.asked[0].op == "upgrade"):
                self._frames()
            else:
                self._response(self.asked[0])
            if len(self._ahead) == before or not self._ahead:
                break
        # Half of a head may be answered with a body, though it would have asked for none.
        assert self.is_web or self.asked or self.excused or not self._ahead, (
            f"nobody asked for {bytes(self._ahead)!r}"
        )

    # ------------------------------------------------------------ HTTP

    def ask_http(self, asked: Asked, data: bytes) -> None:
        """Send a request."""
        self.asked.append(asked)
        self.say(data)

    def _response(self, asked: Asked) -> None:
        if self._http is None:
            self._http = h11.Connection(h11.CLIENT)
            self._http.send(h11.Request(method=asked.method, target="/", headers=[("host", HOST)]))
            self._http.send(h11.EndOfMessage())
            self._body.clear()
        http = self._http
        http.receive_data(bytes(self._ahead))
        self._ahead.clear()
        while True:
            event = http.next_event()
            if event is h11.NEED_DATA or event is h11.PAUSED or isinstance(event, h11.ConnectionClosed):
                return
            if isinstance(event, h11.Response):
                self._status, self._headers = event.status_code, dict(event.headers)
                self.says_close = self._headers.get(b"connection") == b"close"
            elif isinstance(event, h11.Data):
                self._body += event.data
                if asked.op == "stream" and self._status == 200:
                    self._server_sent(asked)
            elif isinstance(event, h11.EndOfMessage):
                self._ahead += http.trailing_data[0]
                self._http = None
                self.asked.remove(asked)
                self.done.append(asked)
                self._ended(asked)
                return

    def _ended(self, asked: Asked) -> None:
        status, body = self._status, bytes(self._body)
        if status == 400 and not body and self.excused:
            return  # nobody is told
        if status >= 400 and asked.method == "HEAD":
            assert not body, f"a body behind a head: {body!r}"
            asked.end(next((one for one in asked.want if STATUS.get(one) == status), str(status)))
        elif status >= 400:
            assert self._headers[b"content-type"] == b"application/problem+json"
            problem = json.loads(body)
            assert STATUS[problem["code"]] == problem["status"] == status, problem
            needs = {401: b"www-authenticate", 405: b"allow", 429: b"retry-after", 503: b"retry-after"}
            assert needs.get(status, b"content-type") in self._headers, f"{status} comes with {self._headers}"
            asked.end(problem["code"], problem)
        elif asked.op == "stream":
            if status == 200:
                # One that is ended before its first event has only told when to come back.
                assert not body or (self.excused and body == b"retry: 1000\n"), f"a stream ends with {body!r}"
                assert "ok" not in asked.want or asked.outcome or self.excused, "a stream has no end"
            else:
                asked.end("ok")
        elif asked.op == "health" or asked.method == "HEAD":
            asked.end("ok")
        else:
            fields = json.loads(body)
            assert (status == 202) == (asked.op == "submit") or asked.op == "cancel"
            kept = {"submit": "job_id", "get": "last_seq", "cancel": "outcome", "list": "jobs"}.get(asked.op)
            assert kept is None or kept in fields, fields
            assert self._headers[b"cache-control"] == b"no-store"
            assert self._headers[b"x-content-type-options"] == b"nosniff"
            if asked.op == "submit":
                assert self._headers[b"location"].decode() == f"http://{HOST}/v1/jobs/{fields['job_id']}"
            asked.end("ok", fields)
            self.found(asked.work, fields)

    def _server_sent(self, asked: Asked) -> None:
        while (end := self._body.find(b"\n\n")) >= 0:
            lines = bytes(self._body[:end]).decode().split("\n")
            del self._body[: end + 2]
            given: dict[str, str] = {}
            for line in lines:
                name, _, value = line.partition(": ")
                given[name] = given[name] + "\n" + value if name in given else value
            given.pop("retry", None)
            if set(given) == {""}:
                continue  # a ping
            assert asked.outcome is None, f"behind the end comes {given}"
            kind, seq = given["event"], int(given["id"])
            if kind == "gap":
                told = json.loads(given["data"])
                asked.gap(told["first"], told["last"])
            elif kind == "problem":
                asked.end(next((one for one in asked.want if one != "ok"), "problem"), given)
            else:
                ends = kind in {"completed", "failed", "cancelled"}
                asked.event(
                    seq, kind, given["data"] if ends or kind == "large" else json.loads(given["data"])
                )
                if ends:
                    asked.end("ok")

    # ------------------------------------------------------------ WebSocket

    def shake(self, asked: Asked, web: WSConnection, data: bytes) -> None:
        """Send a handshake."""
        self._web = web
        self.ask_http(asked, data)

    def tell(self, asked: Asked | None, message: Mapping[str, Any] | bytes) -> None:
        """Send a message that is a request."""
        self.faults = 0
        if asked is not None:
            self.asked.append(asked)
        self.say(frame(TEXT, message if isinstance(message, bytes) else json.dumps(message).encode()))

    def number(self) -> int:
        """Return the smallest free id, so that ids are used again."""
        used = {one.number for one in self.asked}
        return next(number for number in range(1, 10**6) if number not in used)

    def _frames(self) -> None:
        assert self._web is not None
        self._web.receive_data(bytes(self._ahead))
        self._ahead.clear()
        for event in self._web.events():
            match event:
                case events.AcceptConnection():
                    self.is_web = True
                    self._shaken("ok")
                case events.RejectConnection():
                    self._status, self.says_close = event.status_code, True
                    self._body.clear()
                case events.RejectData():
                    self._body += event.data
                    if event.body_finished:
                        self._shaken(json.loads(self._body)["code"])
                case events.TextMessage():
                    self._body += event.data.encode()
                    if event.message_finished:
                        whole, self._body = bytes(self._body), bytearray()
                        self._message(json.loads(whole))
                case events.Ping():
                    self.say(frame(PONG, bytes(event.payload)))
                case events.CloseConnection():
                    self.code = int(event.code)
                    with suppress(LocalProtocolError):  # it was this side that began
                        self.say(self._web.send(event.response()))
                case events.Pong():
                    pass
                case _:
                    raise AssertionError(f"nobody asked for {event}")

    def _shaken(self, outcome: str) -> None:
        asked = self.asked.pop(0)
        self.done.append(asked)
        asked.end(outcome)
        self._body.clear()
        if outcome != "ok":
            self.asked.clear()  # what was sent to the WebSocket that is none

    def _message(self, told: dict[str, Any]) -> None:
        number = told.pop("re")
        error = told.get("error")
        if error is not None and self.extra:
            for one in self.extra:
                if one[0] == number and one[1] in error["message"]:
                    assert error["code"] == "bad_request"
                    self.extra.remove(one)
                    return
        found = [one for one in self.asked if one.number == number]
        assert found, f"nobody asked for {number}: {told}"
        asked = found[0]
        if error is not None:
            assert error["code"] in STATUS
            self._last(asked, error["code"], error)
        elif asked.op == "follow" and "events" in told:
            assert told["events"], "a frame with no events"
            for event in told["events"]:
                asked.event(event["seq"], event["kind"], event.get("data"))
            self.found(asked.work, told)
        elif asked.op == "follow" and "gap" in told:
            asked.gap(told["gap"]["first"], told["gap"]["last"])
        elif asked.op == "follow" and told == {"end": True}:
            self._last(asked, "ok")
        elif asked.waits and told == {"unfollowed": True}:
            self._last(asked, "unfollowed")
        else:
            assert told.keys() == SHAPES.get(asked.op), f"{asked.op} is answered {told}"
            self.found(asked.work, told)
            self._last(asked, "ok", told)

    def _last(self, asked: Asked, outcome: str, fields: Any = None) -> None:
        self.asked.remove(asked)
        self.done.append(asked)
        asked.end(outcome, fields)
