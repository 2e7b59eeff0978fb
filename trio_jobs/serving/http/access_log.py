"""One line in Python's log for each HTTP request, as `trio_jobs.access`: off unless a server is told to."""

from __future__ import annotations

import logging
from typing import Final

import trio
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..._common.error_text import one_line

logger: Final = logging.getLogger("trio_jobs.access")
_NO_ANSWER: Final = 499
"""The status that stands for a client that left before it was answered, as with other servers."""


class AccessLog:
    """Logs each request once its response has ended: of a stream of events, when the client leaves.

    The query is left out, as it may hold what is secret, and so are headers. WebSockets are not logged.

    Args:
        app: The application behind it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and log it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = trio.current_time(), _NO_ANSWER

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting)
        except Exception:
            status = 500 if status == _NO_ANSWER else status
            raise
        finally:
            _log(scope, status, trio.current_time() - began)


def _log(scope: Scope, status: int, seconds: float) -> None:
    client = scope.get("client") or ("-",)
    facts = {
        "client": str(client[0]),
        "method": one_line(scope["method"]),
        "path": one_line(scope["path"]),
        "status": status,
        "seconds": round(seconds, 6),
    }
    logger.info("%(client)s %(method)s %(path)s %(status)d in %(seconds).3fs", facts, extra=facts)
