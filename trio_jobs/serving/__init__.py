"""Serve jobs to browsers and other machines.

In the order in which they tell the story:

    problems     errors as clients see them
    limits       how much clients may ask for
    options      the options of a server, and its callers
    access       the checks of a request's head
    account      how many bytes of answers wait to be sent
    sse          a log as server-sent events
    batch        events that are sent together
    shelf        the batches that were sent last
    pace         how often feeds send
    subscription the place of a follower in a log
    feed         the log of a job for all its followers
    describe     the parameters of handlers
    overview     what the server is doing, in one answer
    values       the values of a job, whole or in pieces
    store_operations   what callers may do with the store as a whole
    operations   what callers may do, and with which jobs
    answers      the answer to each request
    health       whether the store answers
    context      what all connections of a server share
    net          ports, bytes, and HTTP/1.1 on a connection
    websocket    serve_websocket
    http         http_app
    page         the live page
    fronts       the same jobs in protocols that clients speak already
    server       serve_http

What is imported here needs an extra each: `trio-jobs[http]`, `trio-jobs[websocket]`, or `trio-jobs[serve]`
for all of it; so it is loaded when it is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .fronts.ai_sdk.front import ai_sdk_front
    from .fronts.durable_streams import durable_streams_front
    from .fronts.mcp.extension import mcp_extension
    from .fronts.mcp.front import mcp_front
    from .fronts.openai.front import openai_front
    from .http.app import front_app, http_app
    from .http.probes import serve_metrics
    from .limits import Limits
    from .options import Caller
    from .server import serve_http
    from .websocket.server import serve_websocket

__all__ = [
    "Caller",
    "Limits",
    "ai_sdk_front",
    "durable_streams_front",
    "front_app",
    "http_app",
    "mcp_extension",
    "mcp_front",
    "openai_front",
    "serve_http",
    "serve_metrics",
    "serve_websocket",
]

_HOMES = {
    "Caller": ("options", "http"),
    "Limits": ("limits", "http"),
    "ai_sdk_front": ("fronts.ai_sdk.front", "http"),
    "durable_streams_front": ("fronts.durable_streams", "http"),
    "front_app": ("http.app", "http"),
    "http_app": ("http.app", "http"),
    "mcp_extension": ("fronts.mcp.extension", "mcp"),
    "mcp_front": ("fronts.mcp.front", "mcp"),
    "openai_front": ("fronts.openai.front", "http"),
    "serve_http": ("server", "serve"),
    "serve_metrics": ("http.probes", "http"),
    "serve_websocket": ("websocket.server", "websocket"),
}


def __getattr__(name: str) -> Any:
    """Load a public name when it is asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    module, extra = _HOMES[name]
    try:
        return getattr(import_module(f".{module}", __name__), name)
    except ModuleNotFoundError as error:
        raise ImportError(
            f"{name} needs the extra {extra!r}: pip install 'trio-jobs[{extra}]' ({error})"
        ) from error
