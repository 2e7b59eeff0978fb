"""`mcp_front`: the Model Context Protocol beside the other paths of a server of jobs."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from importlib.metadata import version
from typing import Any, Final

import mcp_types as mcp
import trio
from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.shared.exceptions import MCPError
from starlette.requests import Request
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ...._common.errors import quoted
from ...._wire.decoding import check_depth
from ...context import ServerContext
from ...http.asgi import answered, problem_response
from ...http.body import read_body
from ...http.event_stream import CUT_OFF
from ...options import Caller
from .extension import CALLER, Context, JobTasks
from .tasks import MOST

_ROOM: Final = 4 * MOST
_CHATTER: Final = logging.getLogger("mcp.server.streamable_http_manager")
"""Where the SDK says at INFO that a manager starts and stops, which here is each request."""


def mcp_front(context: ServerContext) -> Sequence[Route]:
    """Return the route of MCP, `/mcp`, over its streamable HTTP: a front.

    Give it to a server, as in `serve_http(jobs, fronts=[mcp_front])`. Each handler is a tool by its name. It
    keeps no sessions, so each request may go to another server of the same jobs.
    """
    tasks = JobTasks(context)
    if _CHATTER.level == logging.NOTSET:
        _CHATTER.setLevel(logging.WARNING)
    listed = mcp.ListToolsResult(tools=tasks.listed())

    async def list_tools(_: Context, __: mcp.PaginatedRequestParams | None) -> mcp.ListToolsResult:  # noqa: ASYNC124  # as the SDK has it
        return listed

    async def call_tool(ctx: Context, params: mcp.CallToolRequestParams) -> Any:
        return await tasks.intercept_tool_call(params, ctx, _unknown_tool(params.name))

    server = Server(
        "trio_jobs", version=version("trio-jobs"), on_list_tools=list_tools, on_call_tool=call_tool
    )
    for method in tasks.methods():
        server.add_request_handler(method.method, method.params_type, method.handler)
    server.extensions[tasks.identifier] = tasks.settings()
    # A GET would open a stream on which nothing is ever sent, and a DELETE end a session; there are none.
    return [Route("/mcp", _Endpoint(context, server), methods=["POST"])]


def _unknown_tool(name: str) -> Callable[[Context], Awaitable[Any]]:
    async def refuse(_: Context) -> Any:  # noqa: ASYNC124  # as the SDK has it
        raise MCPError(mcp.INVALID_PARAMS, f"there is no tool {quoted(name)}")

    return refuse


class _Endpoint:
    """The endpoint, as an ASGI application: the SDK answers what has been let in.

    A manager of the SDK lives for one request, as there are no sessions: so the SDK starts no task that lives
    longer, and the server needs no lifespan.
    """

    def __init__(self, context: ServerContext, server: Server[Any]) -> None:
        self._context = context
        self._server = server

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def let_in() -> ASGIApp:
            request = Request(scope, receive)
            caller = await self._context.access.caller(dict(request.headers))
            body = await read_body(request, self._context.limits)
            check_depth(body, self._context.limits.depth)
            return self._application(caller, body, request.headers.get("mcp-method"))

        await (await answered(let_in))(scope, receive, send)

    def _application(self, caller: Caller, body: bytes, method: str | None) -> ASGIApp:
        async def application(scope: Scope, receive: Receive, send: Send) -> None:
            read = begun = False

            async def replay() -> Message:
                nonlocal read
                if read:
                    return await receive()
                read = True
                return {"type": "http.request", "body": body, "more_body": False}

            async def sent(message: Message) -> None:
                nonlocal begun
                begun = True
                await send(message)

            manager = StreamableHTTPSessionManager(self._server, stateless=True)
            async with AsyncExitStack() as stack:
                if method == "tasks/get":  # the SDK checks that the body says so too
                    await stack.enter_async_context(self._context.operations.account.room(_ROOM))
                nursery = await stack.enter_async_context(trio.open_nursery())
                nursery.start_soon(self._until_closing, caller, nursery.cancel_scope)
                async with manager.run():
                    await manager.handle_request({**scope, CALLER: caller}, replay, sent)
                nursery.cancel_scope.cancel(reason="it is answered")
            if not begun:
                await problem_response(CUT_OFF)(scope, receive, send)

        return application

    async def _until_closing(self, caller: Caller, scope: trio.CancelScope) -> None:
        await self._context.wait_closing(caller)
        scope.cancel(reason="the server stops, or the caller's authentication has expired")
