"""Bodies are parsed from any parts of the stream, with bounded work for each byte."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from trio_jobs.serving.net.request_body import Body
from trio_jobs.serving.problems import Refused

CHUNKS = b"5\r\nhello\r\n1;a=b;c\r\n,\r\n0006\r\n world\r\n0\r\n"
NEXT = b"GET / HTTP/1.1\r\n"


def decoded(body: Body, pieces: list[bytes]) -> tuple[bytes, bytes]:
    """Return a body, and the rest, when the stream arrives in these parts."""
    ahead, found = bytearray(), b""
    for piece in pieces:
        ahead += piece
        while not body.done and (data := body.take(ahead)):
            found += data
    return found, bytes(ahead)


@pytest.mark.parametrize(
    ("length", "sent"),
    [(12, b"hello, world"), (None, CHUNKS + b"\r\n"), (None, CHUNKS + b"Trailer: x\r\nAnother: y\r\n\r\n")],
)
def test_a_body_in_any_pieces(length: int | None, sent: bytes) -> None:
    """However the stream is split, the body is the same, and the bytes behind it are left."""
    whole = sent + NEXT
    cuts = [[whole], [whole[at : at + 1] for at in range(len(whole))]]
    cuts += [[whole[:at], whole[at:]] for at in range(len(whole))]
    for pieces in cuts:
        body = Body(length)
        assert decoded(body, pieces) == (b"hello, world", NEXT)
        assert body.done


def test_no_body() -> None:
    """A body of no bytes is complete from the beginning."""
    assert Body(0).done


@pytest.mark.parametrize(
    "sent",
    [
        b"\r\n",
        b"x\r\n",
        b"-1\r\n",
        b"+1\r\nx\r\n",
        b"0x1\r\nx\r\n",
        b"1_0\r\n",
        b"1 \r\nx\r\n",
        b" 1\r\nx\r\n",
        b"1\nx\r\n0\r\n\r\n",
        b"1;a\nb\r\nx\r\n",
        b"1\r\nxy\r\n",
        b"1\r\nx\n0\r\n\r\n",
        b"1\r\nx0\r\n\r\n",
        b"00000000000000001\r\nx\r\n",
        b"1;" + b"a" * 2000,
        b"0\r\nA: " + b"a" * 2000,
        b"0\r\n" + b"A: b\r\n" * 5000,
        b"0\r\n\n\r\n",
        (b"1;" + b"a" * 200 + b"\r\nx\r\n") * 1000,
    ],
)
@pytest.mark.parametrize("size", [1, 4096])
def test_what_is_no_body_is_refused(sent: bytes, size: int) -> None:
    """Wrong sizes, chunks longer than declared, lines without end, and too many tiny chunks are refused."""
    with pytest.raises(Refused) as refused:
        decoded(Body(None), [sent[at : at + size] for at in range(0, len(sent), size)])
    assert (refused.value.code, refused.value.headers) == ("bad_request", {"connection": "close"})


def test_many_chunks_are_taken_in_turns() -> None:
    """Of thousands of chunks that arrive at once, a few are parsed at a time, so that other tasks run."""
    body, ahead, turns = Body(None), bytearray(b"1\r\nx\r\n" * 10_000 + b"0\r\n\r\n"), []
    while not body.done:
        turns.append(len(body.take(ahead)))
    assert sum(turns) == 10_000
    assert max(turns) <= 256


@pytest.mark.parametrize(("size", "taken"), [(1, False), (2, False), (3, True), (16, True)])
def test_much_ado_about_nothing(size: int, taken: bool) -> None:
    """A small body may have tiny chunks; a large one in chunks of one or two bytes is refused."""
    chunks = b"%x\r\n%b\r\n" % (size, b"x" * size) * 70_000
    if taken:
        assert len(decoded(Body(None), [chunks])[0]) == size * 70_000
    else:
        with pytest.raises(Refused, match="next to nothing"):
            decoded(Body(None), [chunks])
    few = b"%x\r\n%b\r\n" % (size, b"x" * size) * 10_000
    assert len(decoded(Body(None), [few])[0]) == size * 10_000


def calls(work: Callable[[], object]) -> int:
    """Count the Python calls of some work."""
    count = 0

    def profile(*_: object) -> None:
        nonlocal count
        count += 1

    sys.setprofile(profile)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize("chunk", [b"1\r\nx\r\n", b"1;ext=1\r\nx\r\n", b"10\r\n" + b"x" * 16 + b"\r\n"])
def test_the_work_is_linear(chunk: bytes) -> None:
    """Four times the chunks take at most four times the calls, a few for each."""
    one = calls(lambda: decoded(Body(None), [chunk * 1000]))
    four = calls(lambda: decoded(Body(None), [chunk * 4000]))
    assert four < 4.5 * one
    assert one < 25 * 1000
