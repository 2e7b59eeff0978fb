"""Answers as ASGI responses: each holds its room until it is sent, and ends when the client leaves."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from typing import Final

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ..._wire.requests import AnyRequest, GetValue, json_fields
from ..answers import Fields, answering
from ..operations import JobOperations
from ..options import Caller
from ..problems import to_problem
from ..values import PIECE
from .asgi import problem_response, unless_gone

JSON: Final = "application/json"


def whole(fields: Fields) -> Response:
    """Return the response that has all fields of an answer."""
    return Response(b"{%b}" % json_fields(fields), media_type=JSON)


def only(name: str) -> Callable[[Fields], Response]:
    """Return what makes a response of one field of an answer."""
    return lambda fields: Response(fields[name], media_type=JSON)


class AnswerResponse:
    """Carries a request out, and sends the answer.

    Args:
        operations: The operations of the server.
        caller: The caller.
        request: The request.
        shape: Makes a response of the answer.
    """

    def __init__(
        self,
        operations: JobOperations,
        caller: Caller,
        request: AnyRequest,
        shape: Callable[[Fields], Response] = whole,
    ) -> None:
        self._answering = partial(answering, operations, caller, operations.account, request)
        self._shape = shape

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Carry the request out, and send the answer."""
        async with AsyncExitStack() as room:  # until it is sent
            try:
                fields = await unless_gone(receive, partial(room.enter_async_context, self._answering()))
                response = self._shape(fields)
            except ClientDisconnect:
                response = Response(status_code=400)  # the client has left
            except Exception as error:  # noqa: BLE001  # an error of one request is its answer
                response = problem_response(to_problem("a request failed", error))
            await response(scope, receive, send)


class ValueResponse:
    """Sends a value in pieces, each when the one before has left; the headers have its length.

    Args:
        operations: The operations of the server.
        caller: The caller.
        asked: The request.
        size: How many bytes the value has.
    """

    def __init__(self, operations: JobOperations, caller: Caller, asked: GetValue, size: int) -> None:
        self._operations = operations
        self._caller = caller
        self._asked = asked
        self._size = size

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the value.

        Raises:
            Refused: The value is no longer kept; the response is torn then.
        """
        headers = [(b"content-type", JSON.encode()), (b"content-length", b"%d" % self._size)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        if scope["method"] != "HEAD":
            try:
                await unless_gone(receive, partial(self._pieces, send))
            except ClientDisconnect:
                return
            self._operations.was_read(self._asked)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _pieces(self, send: Send) -> None:
        for offset in range(0, self._size, PIECE):
            async with self._operations.account.room(PIECE):
                value = await self._operations.value(self._caller, self._asked)
                piece = value.data[offset : min(offset + PIECE, self._size)]
                await send({"type": "http.response.body", "body": piece, "more_body": True})
