"""Serve jobs to browsers and other machines.

    wire          the messages, and records as JSON
    protocol      one connection's rules, without I/O
    problems      what clients are told of errors
    limits        how much they may ask for
    sse, piece, shelf, pace, feed  a log as text, made once for all who follow it
    describe      what handlers take
    desk, values  what callers may do, and with which jobs; what is large, in pieces
    account, answers, responses   what is answered, and how much room that may take
    gate          who may come in
    conversation  one WebSocket connection, driven
    outgoing, streams, listening  bytes and ports
    request_head, request_body, direct, exchange, http1   HTTP/1.1 on a connection
    websocket_faults, websocket  serve_websocket
    body, parameters, asgi, event_stream, assets, metrics, openapi, http  http_app
    server        serve_http

What is imported here needs an extra each: `trio-jobs[http]`, `trio-jobs[websocket]`, or `trio-jobs[serve]`
for all of it; so it is loaded when it is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .desk import Caller
    from .http import http_app
    from .limits import Limits
    from .server import serve_http
    from .websocket import serve_websocket

__all__ = ["Caller", "Limits", "http_app", "serve_http", "serve_websocket"]

_HOMES = {
    "Caller": ("desk", "http"),
    "Limits": ("limits", "http"),
    "http_app": ("http", "http"),
    "serve_http": ("server", "serve"),
    "serve_websocket": ("websocket", "websocket"),
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
