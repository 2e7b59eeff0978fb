"""The routes of fronts: each authenticates, and answers an error as its protocol has it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.routing import Route
from starlette.types import ASGIApp

from ..context import ServerContext
from ..http.asgi import answered, problem_response
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
