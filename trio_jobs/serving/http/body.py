"""The body of a request, within its bounds."""

from __future__ import annotations

from contextlib import aclosing
from typing import Final

import trio
from starlette.requests import Request

from ..limits import Limits
from ..problems import Refused

_CLOSE: Final = {"connection": "close"}


async def read_body(request: Request, limits: Limits) -> bytes:
    """Return the body of a request.

    Raises:
        Refused: It is too large, or comes too slowly.
    """
    declared = request.headers.get("content-length", "")
    digits = declared.isascii() and declared.isdigit()
    if digits and (len(declared) > len(str(limits.message)) or int(declared) > limits.message):
        raise _too_large(limits)
    data = bytearray()
    with trio.move_on_after(limits.body):
        async with aclosing(request.stream()) as chunks:
            async for chunk in chunks:
                data += chunk
                if len(data) > limits.message:
                    raise _too_large(limits)
        return bytes(data)
    raise Refused("too_slow", f"the body did not come within {limits.body:g}s", _CLOSE)


def _too_large(limits: Limits) -> Refused:
    return Refused("too_large", f"a body may have {limits.message} bytes", _CLOSE)
