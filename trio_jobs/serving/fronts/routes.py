"""The routes of fronts: each authenticates, and answers an error as its protocol has it; and long answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

from starlette.requests import Request
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from ..context import ServerContext
from ..http.asgi import answered, problem_response, unless_gone
from ..options import Caller
from ..problems import Problem


def route(
    context: ServerContext,
    method: str,
    path: str,
    work: Callable[[Request, Caller], Awaitable[ASGIApp]],
    refusal: Callable[[Problem], ASGIApp] = problem_response,
) -> Route:
    """Return a route.

    Args:
        context: The context of the server.
        method: The method of its requests.
        path: Their path.
        work: Carries a request out, and returns what answers it.
        refusal: Makes the answer that tells a problem.
    """

    async def respond(request: Request) -> ASGIApp:
        async def carried_out() -> ASGIApp:
            return await work(request, await context.access.caller(dict(request.headers)))

        return await answered(carried_out, refusal)

    return Route(path, respond, methods=[method])


def long_answer(
    context: ServerContext,
    room: int,
    work: Callable[[], Awaitable[ASGIApp]],
    refusal: Callable[[Problem], ASGIApp],
) -> ASGIApp:
    """Return what sends the answer that `work` makes, and holds room for it until it is sent.

    Args:
        context: The context of the server.
        room: The bytes that it takes at most.
        work: Makes it; cancelled if the client leaves.
        refusal: Makes the answer that tells a problem.
    """

    async def respond(scope: Scope, receive: Receive, send: Send) -> None:
        async with context.operations.account.room(room):
            answer = await answered(partial(unless_gone, receive, work), refusal)
            await answer(scope, receive, send)

    return respond
