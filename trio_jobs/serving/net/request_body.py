"""The body of a request, cut out of the bytes of its connection; without I/O."""

from __future__ import annotations

from typing import Final

from ..problems import Refused

_CRLF: Final = b"\r\n"
_HEX: Final = b"0123456789abcdefABCDEF"
_MOST_DIGITS: Final = 16
_MOST_LINE: Final = 1024
_MOST_FIELDS: Final = 100
_AT_ONCE: Final = 256
"""Chunks that are taken at once; so many that are next to empty take a third of a millisecond."""
_FRAMING: Final = 64 * 1024
_FRAMING_PER_BYTE: Final = 2
"""Bytes around the data, besides those at first; a chunk has five or more."""


class Body:
    """The part of a body that is still to come.

    Args:
        length: The bytes of the body; None if it comes in chunks.

    Attributes:
        done: Whether all of it was taken.
    """

    def __init__(self, length: int | None) -> None:
        self.done = length == 0
        self._chunked = length is None
        self._left = length or 0  # of the body, or of the chunk
        self._between = False  # behind a chunk, before the end of its line
        self._trailing = False  # behind the last chunk
        self._fields = 0
        self._got = 0
        self._framing = 0

    def take(self, ahead: bytearray) -> bytes:
        """Take the bytes of the body from the front of those that have arrived, and return its data.

        Of many chunks only some are taken; no data is returned if there is less than one.

        Raises:
            Refused: The bytes are no chunks, or the chunks have next to no data.
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
        for _ in range(_AT_ONCE):
            if self._left:
                data = ahead[at : at + self._left]
                found += data
                at += len(data)
                self._left -= len(data)
                if self._left:
                    break
                self._between = True
            if self._between:
                if not ahead.startswith(_CRLF, at):
                    if len(ahead) - at >= len(_CRLF):
                        raise _malformed("one of them is longer than it says")
                    break
                at += len(_CRLF)
                self._between = False
            end = ahead.find(_CRLF, at, at + _MOST_LINE)
            if end < 0:
                if len(ahead) - at >= _MOST_LINE:
                    raise _malformed("a line does not end")
                break
            self._line(ahead[at:end])
            at = end + len(_CRLF)
            if self.done:
                break
        del ahead[:at]
        self._got += len(found)
        self._framing += at - len(found)
        if self._framing > _FRAMING + _FRAMING_PER_BYTE * self._got:
            raise _malformed("next to nothing is in them")
        return bytes(found)

    def _line(self, line: bytearray) -> None:
        """Read the size of a chunk, or a line behind the last one."""
        if self._trailing:
            self.done = not line  # fields behind a body are not looked at
            self._fields += 1
            if self._fields > _MOST_FIELDS:
                raise _malformed("too much is behind the last one")
        else:
            digits = line.partition(b";")[0]
            if not digits or len(digits) > _MOST_DIGITS or digits.strip(_HEX):
                raise _malformed("one does not begin with its size")
            self._left = int(digits, 16)
            self._trailing = self._left == 0
        if b"\n" in line:
            raise _malformed("a line does not end in CR LF")


def _malformed(why: str) -> Refused:
    return Refused("bad_request", f"the body comes in chunks, but {why}", {"connection": "close"})
