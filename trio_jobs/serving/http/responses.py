"""Send answers over ASGI: each holds its room until it is sent, and ends when the client leaves."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from typing import Final

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from ..._wire.decoding import json_fields
from ..._wire.requests import AnyRequest, GetValue
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


def answer_to(
    operations: JobOperations,
    caller: Caller,
    request: AnyRequest,
    shape: Callable[[Fields], Response] = whole,
) -> ASGIApp:
    """Return what carries a request out, and sends the response that `shape` makes of its answer."""

    async def respond(scope: Scope, receive: Receive, send: Send) -> None:
        answer = answering(operations, caller, operations.account, request)
        async with AsyncExitStack() as room:  # until it is sent
            try:
                response = shape(await unless_gone(receive, partial(room.enter_async_context, answer)))
            except ClientDisconnect:
                response = Response(status_code=400)  # the client has left
            except Exception as error:  # noqa: BLE001  # an error of one request is its answer
                response = problem_response(to_problem("a request failed", error))
            await response(scope, receive, send)

    return respond


async def value_of(operations: JobOperations, caller: Caller, asked: GetValue) -> ASGIApp:
    """Return what sends a value in pieces, each when the one before has left; the headers have its length.

    It raises `Refused` if the value is no longer kept; the response is torn then.
    """
    size = len((await operations.value(caller, asked)).data)

    async def respond(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", JSON.encode()), (b"content-length", b"%d" % size)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        if scope["method"] != "HEAD":
            try:
                await unless_gone(receive, partial(pieces, send))
            except ClientDisconnect:
                return
            operations.was_read(asked)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def pieces(send: Send) -> None:
        for offset in range(0, size, PIECE):
            async with operations.account.room(PIECE):
                value = await operations.value(caller, asked)
                piece = value.data[offset : min(offset + PIECE, size)]
                await send({"type": "http.response.body", "body": piece, "more_body": True})

    return respond
