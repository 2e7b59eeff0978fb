"""Connect to a server for the length of a block; every task of the client runs inside it."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import trio

from .._common.deferred_error import Block, DeferredError
from .._common.validate import number
from .._wire import requests
from .address import Address, address_of
from .link import Link
from .registry import RemoteRegistry


def connect(
    url: str,
    *,
    token: str | None = None,
    headers: Mapping[str, str] | None = None,
    ssl_context: ssl.SSLContext | None = None,
    patience: float = 30.0,
) -> AbstractAsyncContextManager[RemoteRegistry, None]:
    """Connect to a server of `trio_jobs.serving`, for the length of an `async with` block.

    All calls and streams share one WebSocket. If it is lost, it is made again, after a random part of a
    growing time; calls that were not answered are then sent again, and every open stream goes on where it
    was, without a gap and without a repeat. Leaving the block closes the connection; the jobs go on.

    Args:
        url: The server, as in `http://127.0.0.1:8000` or `https://example.org/jobs`; or its WebSocket, as in
            `ws://127.0.0.1:8001`.
        token: Sent as `Authorization: Bearer …`.
        headers: Sent with the handshake too.
        ssl_context: Settings for TLS; by default those of `ssl.create_default_context`.
        patience: Seconds on end that the server may be out of reach before calls and reads raise
            `Disconnected`. It may be infinite.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: The URL is not that of a server, or an argument is out of range.
        Disconnected: On entering, the server cannot be reached within `patience`, or is not trusted.
        ServerError: On entering, the server refuses.
        RuntimeError: On entering, no Trio task runs here, or it was entered before.
    """
    number("patience", patience)
    return Block("connect", _connected(address_of(url, token, headers, ssl_context), patience))


@asynccontextmanager
async def _connected(address: Address, patience: float) -> AsyncGenerator[RemoteRegistry]:
    link = Link(address, patience)
    block = DeferredError(beside="client")
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(link.run, name=f"connect to {address.authority}")
            with block:
                await link.call(requests.Ping(id=link.new_id()), "", lambda reply: reply.pong)
                yield RemoteRegistry(link)
            link.close()
    except BaseException as exc:
        error = block.beside(exc)
        if error is exc:
            raise
        raise error from None  # noqa: ASYNC104  # a Cancelled is among them, if there was one
    block.release()
