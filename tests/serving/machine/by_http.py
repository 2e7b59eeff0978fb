"""Peers that use HTTP."""

from __future__ import annotations

import json
from typing import Any

import trio

from tests.serving.machine.books import EVERYBODY, HOST, OWNERS, Asked
from tests.serving.machine.by_websocket import ByWebSocket
from tests.serving.machine.moves import (
    MESSAGE,
)
from tests.serving.machine.peers import Peer
from tests.serving.raw import request


class ByHttp(ByWebSocket):
    """The actions of peers over HTTP."""

    def http_request(
        self, peer: Peer, op: str, at: int, chunked: bool = False, options: dict[str, Any] | None = None
    ) -> tuple[Asked, bytes]:
        """Return a request, and its bytes."""
        work = self.pick(self.known(), at)
        job = work.id if work else "0" * 32
        method, path, body = "GET", f"/v1/jobs/{job}", None
        if op == "submit":
            work = self.new_work(peer.who)
            work.slow = 40.0 if at % 4 == 0 else 0.0
            method, path, body = "POST", "/v1/jobs", json.dumps(self.body_of(work, options)).encode()
        elif op == "cancel":
            method, path = "DELETE", f"{path}?patience=20"
        elif op in {"list", "find"}:
            op, path, work = "list", "/v1/jobs", None
        elif op in {"handlers", "statistics"}:
            path, work = f"/v1/{op}", None
        elif op == "ping":
            op, path, work = "health", "/healthz", None
        elif op == "value":
            path += "/" + ("result", "saved", "metadata")[at % 3]
        elif op == "send":
            value = work.new_input(peer) if work else "nobody's"
            method, path, body = "POST", f"{path}/inputs", json.dumps({"value": value}).encode()
        elif op == "end_inputs":
            method, path = "POST", f"{path}/inputs/end"
        elif op in {"history", "stream"}:
            path += f"/{op}"
        if (
            method == "GET"
            and op in {"get", "list", "history", "value", "handlers", "health"}
            and at % 4 == 3
        ):
            method = "HEAD"
        asked = Asked(op, self.expected(peer.who, op, work), work=work, method=method)
        if work is None and "/jobs/" in path:
            asked.want = frozenset({"unknown_job"})
        if op == "cancel":
            asked.until = trio.current_time() + 20.2
        headers = {"Host": HOST, "Authorization": f"Bearer {peer.who}"}
        if op == "stream" and work and work.number in self.truth and "ok" in asked.want:
            path, more = self._resumed(path, asked, self.truth[work.number].last_seq, at)
            headers |= more
        if chunked and body is not None:
            half = len(body) // 2
            pieces = [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (body[:half], body[half:], b"")]
            headers |= {"Content-Type": "application/json", "Transfer-Encoding": "chunked"}
            return asked, request(method, path, headers) + b"".join(pieces)
        return asked, request(method, path, headers, body)

    @staticmethod
    def _resumed(path: str, asked: Asked, last: int, at: int) -> tuple[str, dict[str, str]]:
        """Resume a stream behind a cursor, in a header or the URL; the header has precedence."""
        asked.sent = asked.acked = cursor = (0, 1, last, last + 2)[at // 4 % 4]
        if cursor > last:
            asked.want |= {"stream_gap"}
        by = at % 4
        query = {0: f"?after={cursor}", 1: "", 2: f"?after={last}", 3: f"?after={cursor}"}[by]
        return path + query, {"Last-Event-ID": str(cursor)} if by in {1, 2} else {}

    def ask_http(
        self, peer: Peer, op: str, at: int, chunked: bool = False, options: dict[str, Any] | None = None
    ) -> Asked:
        """Send a request over HTTP, behind the earlier ones of the connection."""
        full = self.full(peer)
        asked, data = self.http_request(peer, op, at, chunked, options)
        if self.door == "websocket":
            asked.want = frozenset({"upgrade_required", "too_many"})
        elif peer.asked:
            asked.want |= {"too_many"}  # by then
        elif "ok" not in full and asked.op != "health":
            asked.want = full
        else:
            asked.want |= full - {"ok"}
        peer.ask_http(asked, data)
        return asked

    def lines(self) -> list[Peer]:
        """Return the connections that use HTTP, and can take a request."""
        return [
            peer
            for peer in self.peers
            if not (peer.is_web or peer.gone or peer.excused or peer.stalled or peer.says_close)
            and not any(one.op in {"stream", "upgrade", "cancel"} for one in peer.asked)
        ]

    async def ask_by_http(
        self,
        who: str,
        address: str,
        small: bool,
        at: int,
        again: bool,
        ops: list[str],
        last: str | None,
        chunked: bool,
    ) -> None:
        """A peer sends several requests in a row over a new connection or an open one."""
        peer = self.pick(self.lines(), at) if again else None
        if peer is None:
            if self.sockets(address) >= 2 * self.limits.per_client + 8:
                return
            peer = self.connect(who, address, small=small)
        alone = len(ops) == 1 and ops[0] == "submit" and not peer.asked
        full = alone and "ok" not in await self.room_for(peer.who)
        asks: list[str] = [*ops, *([last] if last else [])]
        for turn, op in enumerate(asks):
            asked = self.ask_http(peer, op, at + turn, chunked)
            if op == "submit" and peer.who in OWNERS and self.door == "http":
                asked.want |= {"too_many"}
                if full:
                    asked.want = frozenset({"too_many"})
        await self.settle()

    async def be_refused(self, address: str, case: str) -> None:
        """A request that is not allowed is refused with its code, and its place is free again."""
        if self.door != "http" or self.sockets(address) >= 2 * self.limits.per_client:
            return
        peer = self.connect("nobody" if case == "who" else EVERYBODY, address, small=False)
        method, path, body = "POST", "/v1/jobs", json.dumps({"handler": "none"}).encode()
        headers = {"Host": HOST, "Authorization": f"Bearer {peer.who}"}
        want = {
            "host": "misdirected",
            "origin": "forbidden",
            "who": "unauthenticated",
            "path": "not_found",
            "method": "method_not_allowed",
            "type": "wrong_type",
            "large": "too_large",
            "most": "unknown_handler",
            "version": "upgrade_required",
        }[case]
        if case == "host":
            headers["Host"] = "example.org"
        elif case == "origin":
            headers["Origin"] = "https://example.org"
        elif case == "path":
            path = "/v1/nothing"
        elif case == "method":
            method = "PUT"
        elif case == "type":
            headers["Content-Type"] = "text/plain"
        elif case in {"large", "most"}:
            body += b" " * (MESSAGE - len(body) + (case == "large"))
        elif case == "version":
            method, path, body = "GET", "/v1/ws", None  # type: ignore[assignment]
            headers |= {"Connection": "upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "7"}
        if case in {"host", "origin", "who", "path", "method", "type", "large"}:
            body = (body or b"") + request("GET", "/healthz")  # which is no request of its own
        full = self.full(peer)
        always = {"host", "origin", "version"}  # is looked at before seats are
        asked = Asked("refused", frozenset({want}), method=method)
        if case not in always:
            asked.want = full if "ok" not in full else (full - {"ok"}) | {want}
        elif "too_many" in full:
            asked.want |= {"too_many"}
        peer.ask_http(asked, request(method, path, headers, body))
        await self.settle()
        assert asked.outcome is not None
        if not (peer.gone or peer.says_close):
            again = Asked("health", frozenset({"ok"}))
            peer.ask_http(again, request("GET", "/healthz"))
            await self.settle()
            assert again.outcome == "ok"
        peer.hang_up()
        await self.settle()

    async def upgrade_later(self, who: str, address: str, at: int, ops: list[str], early: bool) -> None:
        """A used HTTP connection asks for a WebSocket, behind other requests.

        It may send more before the handshake is answered, which counts if it is accepted.
        """
        if self.door != "http" or self.sockets(address) >= 2 * self.limits.per_client:
            return
        peer = self.connect(who, address, small=False)
        for op in ops:
            self.ask_http(peer, op, at)
        want = self.full(peer) if not ops else frozenset({"ok", "too_many"})
        asked = self.upgrade(peer, want)
        if early:
            self.ask_web(peer, "list", at)
        await self.settle()
        assert asked.outcome is not None or peer.asked[0] is not asked  # what is before it waits for room
