"""Turn exceptions into text that any store can keep: short, and made without ever raising."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from typing import cast

from .errors import ErrorRecord, Permanent, quoted

LIMIT = 16 * 1024
_CUT = "\n… cut …\n"
# What the __str__ or __repr__ of user code may raise; KeyboardInterrupt still passes.
ANY = (Exception, SystemExit, GeneratorExit)


def safe_text(text: str, limit: int = LIMIT) -> str:
    """Return `text` in at most `limit` bytes of valid UTF-8 without NUL; the middle is cut out."""
    if len(text) > limit:
        half = (limit - len(_CUT)) // 2
        text = text[:half] + _CUT + text[-half:]
    data = text.encode("utf-8", "replace").replace(b"\0", b"?")
    if len(data) > limit:
        half = (limit - len(_CUT.encode())) // 2
        data = data[:half] + _CUT.encode() + data[-half:]
    return data.decode("utf-8", "ignore")


def escaped(char: str) -> str:
    """Return a character as Python writes it in a literal, by its number."""
    number = ord(char)
    if number < 0x100:  # noqa: PLR2004  # what two digits can say
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"  # noqa: PLR2004  # likewise four


def one_line(text: object) -> str:
    """Return a text on one line; line ends and control characters are escaped as in a Python literal."""
    return "".join(char if char.isprintable() else escaped(char) for char in str(text))


def indented(text: str) -> str:
    """Return a text of several lines, each as `one_line` and behind a mark: they are quoted in a log."""
    return "\n".join(f"  | {one_line(line)}" for line in text.splitlines())


def leaves(error: BaseException) -> Iterator[BaseException]:
    """Yield the exceptions that are not groups, in order. Groups may be nested deeper than calls can be."""
    stack = [error]
    while stack:
        inner = stack.pop()
        if isinstance(inner, BaseExceptionGroup):
            group = cast("BaseExceptionGroup[BaseException]", inner)
            stack += reversed(group.exceptions)
        else:
            yield inner


def message_of(error: BaseException) -> str:
    """Return the text of an exception, also if its `__str__` raises or returns what no store can keep."""
    try:
        return safe_text(str(error))
    except ANY as broken:
        return f"<its text cannot be shown: {type(broken).__name__} in __str__>"


def shown(value: object) -> str:
    """Return a short repr of a value, also if its `__repr__` raises."""
    try:
        return safe_text(quoted(value))
    except ANY:
        return f"an object of {type(value).__qualname__}"


def _traceback(error: BaseException) -> str:
    try:
        # Each piece is cut before the next is made: one message may be a hundred megabytes.
        pieces = (safe_text(piece) for piece in traceback.TracebackException.from_exception(error).format())
        return safe_text("".join(pieces))
    except ANY as broken:
        return f"<its traceback cannot be shown: {type(broken).__name__}>"


def record_error(error: BaseException) -> ErrorRecord:
    """Return the record of an exception, with at most 16 KiB of text a field.

    A group with a single leaf is described by that leaf, and `Permanent` by what it wraps.
    """
    found = list(leaves(error))
    named = found[0] if len(found) == 1 else error
    if isinstance(named, Permanent) and isinstance(named.error, BaseException):
        named = named.error
    message = message_of(named)
    if len(found) > 1:
        each = "; ".join(f"{type(leaf).__qualname__}: {message_of(leaf)}" for leaf in found[:10])
        message = safe_text(f"{len(found)} errors: {each}")
    return ErrorRecord(safe_text(type(named).__qualname__), message, _traceback(error))
