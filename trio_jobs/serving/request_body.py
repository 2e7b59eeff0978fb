"""The body of a request, cut out of the bytes of its connection; without I/O."""

from __future__ import annotations

from typing import Final

from .problems import Refused

_CRLF: Final = b"\r\n"
_HEX: Final = b"0123456789abcdefABCDEF"
_MOST_DIGITS: Final = 16
_MOST_LINE: Final = 1024
_FRAMING: Final = 16 * 1024
_FRAMING_PER_BYTE: Final = 8
"""Bytes around the chunks' own, besides those at first: five are what chunks of one byte need."""


class Body:
    """What is still to come of a body.

    Args:
        length: Its bytes; None if it comes in chunks.

    Attributes:
        done: Whether all of it was taken.
    """

    def __init__(self, length: int | None) -> None:
        self.done = length == 0
        self._chunked = length is None
        self._left = length or 0  # of the body, or of the chunk
        self._between = False  # behind a chunk, before the end of its line
        self._trailing = False  # behind the last chunk
        self._got = 0
        self._framing = 0

    def take(self, ahead: bytearray) -> bytes:
        """Take what there is of the body from the front of what has arrived, and return its data.

        Raises:
            Refused: These are no chunks, or next to nothing is in them.
        """
        if self._chunked:
            return self._take_chunks(ahead)
        data = bytes(ahead[: self._left])
        del ahead[: len(data)]
        self._left -= len(data)
        self.done = self._left == 0
        return data

    def _take_chunks(self, ahead: bytearray) -> bytes:
        found = bytearray()
        at = 0
        while not self.done:
            if self._left:
                data = ahead[at : at + self._left]
                found += data
                at += len(data)
                self._left -= len(data)
                if self._left:
                    break
                self._between = True
            end = ahead.find(_CRLF, at, at + _MOST_LINE)
            if end < 0:
                if len(ahead) - at >= _MOST_LINE or (self._between and len(ahead) - at > 1):
                    raise _malformed("a line of it does not end")
                break
            self._line(ahead[at:end])
            at = end + len(_CRLF)
        del ahead[:at]
        self._got += len(found)
        self._framing += at - len(found)
        if self._framing > _FRAMING + _FRAMING_PER_BYTE * self._got:
            raise _malformed("it has next to nothing in it")
        return bytes(found)

    def _line(self, line: bytearray) -> None:
        """Read the end of a chunk, the size of the next one, or what comes behind the last."""
        if b"\n" in line:
            raise _malformed("a line of it does not end in CR LF")
        if self._between:
            if line:
                raise _malformed("a chunk is longer than it says")
            self._between = False
        elif self._trailing:
            self.done = not line  # fields behind a body are not looked at
        else:
            digits = line.partition(b";")[0]
            if not digits or len(digits) > _MOST_DIGITS or digits.strip(_HEX):
                raise _malformed("a chunk begins with its size")
            self._left = int(digits, 16)
            self._trailing = self._left == 0


def _malformed(why: str) -> Refused:
    return Refused("bad_request", f"the body is in chunks, but {why}", {"connection": "close"})
