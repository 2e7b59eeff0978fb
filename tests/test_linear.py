"""What a stranger sent is read in time proportional to its size, whatever its shape.

Counted, not timed: four times the bytes may make at most six times the calls. What C code does in one call
is not seen that way, so it is used only where it goes over its input once. A regular expression need not do
that, so none reads what is not parsed yet.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from starlette.requests import Request
from trio_websocket import wrap_server_stream

from tests.test_layers import ROOT, modules, plant
from tests.wire import ProtocolViolation, decode_body, decode_reply, decode_request, requests
from trio_jobs.client.errors import least_wait, refusal
from trio_jobs.client.request_table import RequestTable
from trio_jobs.serving.access import AccessControl
from trio_jobs.serving.http.body import read_body
from trio_jobs.serving.limits import DEFAULT, Limits
from trio_jobs.serving.net.outgoing import Outgoing
from trio_jobs.serving.net.request_head import read_head
from trio_jobs.serving.options import ServerOptions
from trio_jobs.serving.problems import Refused
from trio_jobs.serving.sse import cursor_of, field
from trio_jobs.serving.websocket.server import TrioWebSocket
from trio_jobs.serving.websocket.session import Session

SMALL = 64 * 1024
TIMES = 4
MOST = 6

EXPRESSIONS = {
    "stores/postgres/calls": "one class of characters, of which each is looked at once",
    "stores/postgres/failures": "what the operator's own server says",
    "stores/postgres/looking": "a search that this package put together",
    "stores/postgres/statements": "our own SQL, from files of the package",
    "stores/sqlite/queries": "our own SQL, from a file of the package",
    "_registry/address": "the operator's own address",
    "cli/tokens": "the operator's own file",
    "cli/durations": "the operator's own argument",
    "demo/handlers": "a text that comes with the demo",
    "testing/_trace": "ids in a trace of our own",
}
"""The modules that may use regular expressions, and on what."""


def expressions(root: Path) -> list[str]:
    """Report the modules that import `re` and are not listed as keeping it from unparsed input."""
    return [
        f"{name}.py:{node.lineno} imports re: a regular expression may take quadratic time over a stranger's "
        f"bytes; use str or bytes methods, or say in EXPRESSIONS whose text it reads"
        for name, path in modules(root).items()
        if name not in EXPRESSIONS
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if (isinstance(node, ast.Import) and any(alias.name == "re" for alias in node.names))
        or (isinstance(node, ast.ImportFrom) and node.module == "re")
    ]


def test_no_expression_reads_what_is_not_parsed() -> None:
    """Regular expressions are only in the modules of a table, and the table has no unused entries."""
    assert not expressions(ROOT)
    for name in EXPRESSIONS:
        assert "import re\n" in modules(ROOT)[name].read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "source", ["import re", "import ast, re as r", "from re import compile", "def f():\n  import re"]
)
def test_a_planted_expression_is_found(source: str, tmp_path: Path) -> None:
    """Each spelling of an import is found."""
    assert "serving/new.py:" in expressions(plant(tmp_path, {"serving/new": source}))[0]


# ------------------------------------------------------------ counting


def counted(work: Callable[[], object]) -> int:
    """Return how many calls the work makes, of Python and of C."""
    calls = 0

    def note(_: Any, what: str, __: Any) -> None:
        nonlocal calls
        calls += what in {"call", "c_call"}

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(before)
    return calls


def is_linear(read: Callable[[Any], object], shape: Callable[[int], Any], small: int = SMALL) -> None:
    """Raise unless four times as much makes at most six times the calls."""
    few, many = (counted(partial(read, shape(size))) for size in (small, TIMES * small))
    assert many <= MOST * few, (few, many)


def test_what_is_not_linear_is_found() -> None:
    """A reader that scans all earlier bytes for each byte is refused by this measure."""
    with pytest.raises(AssertionError):
        is_linear(lambda data: [data.find(b"x", i) for i in range(0, len(data) ** 2 // SMALL, 256)], bytes)


# ------------------------------------------------------------ shapes of JSON

SHAPES: dict[str, Callable[[int], bytes]] = {
    "lists": lambda size: b"[" * size,
    "objects": lambda size: b'{"a":' * (size // 5),
    "closed lists": lambda size: b"[" * (size // 2) + b"]" * (size // 2),
    "lists beside": lambda size: b"[" + b"[]," * (size // 3) + b"[]]",
    "closing": lambda size: b"]" * size,
    "escaped quotes": lambda size: b'"' + b'\\"' * (size // 2) + b'"',
    "no end": lambda size: b"[" * 40 + b'"' + b'\\"' * (size // 2),
    "backslashes": lambda size: b'"' + b"\\\\" * (size // 2) + b'"',
    "an odd backslash": lambda size: b"[" * 40 + b'"' + b"\\" * (size + 1),
    "NULs": lambda size: b'"' + b"\\u0000" * (size // 6) + b'"',
    "half NULs": lambda size: b'"' + b"\\\\u0000" * (size // 7) + b'"',
    "quotes": lambda size: b'"' * size,
    "digits": lambda size: b"1" * size,
    "a fraction": lambda size: b"0." + b"1" * size,
    "an exponent": lambda size: b"1e" + b"1" * size,
    "keys": lambda size: b"{" + b",".join(b'"%07d":1' % i for i in range(size // 11)) + b"}",
    "one key": lambda size: b"{" + b",".join([b'"a":1'] * (size // 6)) + b"}",
    "a long key": lambda size: b'{"' + b"a" * size + b'":1}',
    "NaNs": lambda size: b"[" + b",".join([b"NaN"] * (size // 4)) + b"]",
    "no text": lambda size: b'"' + b"\xff" * size + b'"',
    "spaces": lambda size: b" " * size,
}

ROOMY = Limits(message=8 * TIMES * SMALL)


def _request(data: bytes) -> None:
    with suppress(requests.BadRequest):
        decode_request(data, DEFAULT.depth)


def _argument(data: bytes) -> None:
    _request(b'{"op":"submit","id":1,"handler":"h","args":[' + data + b"]}")


def _id(data: bytes) -> None:
    _request(b'{"op":"get","job":"j","id":' + data + b"}")


def _body(data: bytes) -> None:
    with suppress(requests.BadRequest):
        decode_body(requests.NewJob, b'{"handler":"h","options":{"metadata":' + data + b"}}", DEFAULT.depth)


def _message(data: bytes) -> None:
    Session(ROOMY).received(data.decode(errors="surrogateescape"))


def _reply(data: bytes) -> None:
    with suppress(ProtocolViolation):
        decode_reply(data.decode("latin-1"))
    with suppress(ProtocolViolation):
        RequestTable().received(
            '{"re":1,"events":[{"seq":1,"attempt":1,"data":' + data.decode("latin-1") + "}]}"
        )


READERS = {
    "a request": _request,
    "an argument": _argument,
    "an id": _id,
    "a body": _body,
    "a message": _message,
    "a reply": _reply,
    "a refusal": lambda data: refusal(400, data),
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_json(read: Callable[[bytes], object], shape: Callable[[int], bytes]) -> None:
    """Messages, bodies and answers of every shape, valid or not, are read in linear time."""
    is_linear(read, shape)


# ------------------------------------------------------------ texts of a head


def _gate(text: str) -> None:
    gate = AccessControl(ServerOptions(hosts=["example.org"], origins=["https://example.org"]))
    for headers in ({"host": text}, {"host": "localhost", "origin": text}):
        with suppress(Refused):
            gate.check("POST", headers)


def _cursor(text: str) -> None:
    with suppress(requests.BadRequest):
        cursor_of(text)


def _head(text: str) -> None:
    for head in (text, f"GET / HTTP/1.1\r\nHost: x\r\nConnection: {text}\r\n\r\n"):
        with suppress(Refused):
            read_head(head.encode())


TEXTS: dict[str, Callable[[int], str]] = {
    "letters": lambda size: "a" * size,
    "digits": lambda size: "1" * size,
    "colons": lambda size: ":" * size,
    "brackets": lambda size: "[" + "a:" * (size // 2) + "]",
    "a port": lambda size: "localhost:" + "1" * size,
    "spaces": lambda size: " " * size,
    "lines": lambda size: "\r\n" * (size // 2),
    "returns": lambda size: "\r" * size,
    "upgrades": lambda size: "\r\nupgrade:" * (size // 10),
    "an upgrade": lambda size: "\r\nupgrade:" + " \t" * (size // 2),
    "escapes": lambda size: "\\" * size,
}
TEXT_READERS: dict[str, Callable[[str], object]] = {
    "the gate": _gate,
    "a cursor": _cursor,
    "an event stream's field": lambda text: field("data", text),
    "a head": _head,
    "Retry-After": lambda text: least_wait({"retry-after": text}),
}


@pytest.mark.parametrize("shape", TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize("read", TEXT_READERS.values(), ids=TEXT_READERS)
def test_heads(read: Callable[[str], object], shape: Callable[[int], str]) -> None:
    """Heads of requests and answers are read in linear time, far beyond the size that they may have."""
    is_linear(read, shape)


# ------------------------------------------------------------ in pieces


async def _body_in(chunks: list[bytes]) -> None:
    pieces = iter(chunks)
    left = len(chunks)

    async def receive() -> dict[str, Any]:  # noqa: ASYNC124  # as ASGI has it
        nonlocal left
        left -= 1
        return {"type": "http.request", "body": next(pieces), "more_body": left > 0}

    request = Request({"type": "http", "method": "POST", "path": "/", "headers": []}, receive)
    assert len(await read_body(request, ROOMY)) == sum(map(len, chunks))


def test_a_body_in_many_chunks() -> None:
    """A body costs by its chunks, not by what came before each of them."""
    is_linear(lambda chunks: trio.run(_body_in, chunks), lambda size: [b"x" * 16] * (size // 16))


async def _message_in(fragments: list[bytes]) -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_client, theirs, fragments)
        request = await wrap_server_stream(nursery, ours, max_message_size=ROOMY.message)
        pipe = TrioWebSocket(await request.accept(), Outgoing(ours, ROOMY.idle))
        assert len(await pipe.receive()) == len(fragments)
        nursery.cancel_scope.cancel(reason="it came")


async def _client(stream: trio.abc.Stream, fragments: list[bytes]) -> None:
    await stream.send_all(
        b"GET /v1/ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    await stream.receive_some()
    await stream.send_all(b"".join(fragments))


def _fragments(size: int) -> list[bytes]:
    """Return `size` frames of a message, with a character each."""
    first, others, last = b"\x01\x81\0\0\0\0x", b"\0\x81\0\0\0\0x", b"\x80\x81\0\0\0\0x"
    return [first, *[others] * (size - 2), last]


def test_a_message_in_many_fragments() -> None:
    """A message costs by its fragments, not by what came before each of them."""
    is_linear(lambda fragments: trio.run(_message_in, fragments), _fragments, small=1024)
