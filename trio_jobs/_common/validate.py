"""Check what callers pass in; each error names the fault and the fix."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from .errors import InvalidPayload, TrioJobsError, quoted

if TYPE_CHECKING:
    from collections.abc import Callable

    import attrs


TAGS, TAG_NAME, TAG_VALUE = 64, 100, 500
"""How many tags a job has at most, and how many characters the name and the value of one."""
INPUT_KEY = 256
"""How many characters the key of an input has at most."""
_BITS = 1000  # a float cannot hold a whole number with more


class RefusedAs:
    """Raise a `TypeError` or `ValueError` of a block, which refuses what a caller gave, as another error.

    Errors of the package are raised as they are, also those that are a `ValueError`.

    Args:
        kind: Makes the other error of a text.
    """

    def __init__(self, kind: Callable[[str], Exception]) -> None:
        self._kind = kind

    def __enter__(self) -> None:
        """Begin the block."""

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        """End it."""
        if isinstance(error, (TypeError, ValueError)) and not isinstance(error, TrioJobsError):
            raise self._kind(str(error)) from error


def number(name: str, value: object, least: float = 0, most: float = math.inf) -> None:
    """Raise unless `value` is a real number from `least` to `most`; `inf` passes where `most` is.

    Raises:
        TypeError: It is not a number.
        ValueError: It is NaN or out of range.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        hint = " of seconds, as its total_seconds() is" if hasattr(value, "total_seconds") else ""
        raise TypeError(f"{name} takes a number{hint}; got {quoted(value)}")
    if not least <= value <= most or (isinstance(value, int) and value.bit_length() > _BITS):
        upper = "" if most == math.inf else f" and at most {most:g}"
        raise ValueError(f"{name} must be at least {least:g}{upper}; got {value!r}")


def whole(name: str, value: object, least: int = 0) -> None:
    """Raise unless `value` is a whole number of at least `least`.

    Raises:
        TypeError: It is not a whole number.
        ValueError: It is too small.
    """
    if type(value) is int and least <= value <= sys.maxsize:  # the quick way to what comes out below
        return
    number(name, value, least)
    if not isinstance(value, int):
        raise TypeError(f"{name} takes a whole number; got {quoted(value)}")


def at_least(
    least: int, *, at_most: float | None = None
) -> Callable[[Any, attrs.Attribute[Any], object], None]:
    """Return an attrs validator for a number from `least` to `at_most`, or a whole one from `least` on."""

    def check(_: object, field: attrs.Attribute[Any], value: object) -> None:
        if at_most is None:
            whole(field.name, value, least)
        else:
            number(field.name, value, least, at_most)

    return check


def seconds(name: str, value: Any) -> float:
    """Return a number of seconds that is at least 0 and not infinite.

    Raises:
        TypeError: It is not a number.
        ValueError: It is out of range.
    """
    number(name, value)
    if value == math.inf:
        raise ValueError(f"{name} must be finite; got {value!r}")
    return float(value)


def finite(_: object, field: attrs.Attribute[Any], value: object) -> None:
    """Validate a number of seconds that is at least 0 and not infinite."""
    seconds(field.name, value)


def choice(name: str, value: Any, choices: tuple[str, ...]) -> Any:
    """Return `value` if it is one of `choices`. Raises `ValueError` if not."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}; got {quoted(value)}")
    return value


def seconds_or_none(_: object, field: attrs.Attribute[Any], value: object) -> None:
    """Validate a duration that may be left out."""
    if value is not None:
        number(field.name, value)


def text(name: str, value: object) -> str:
    """Return `value` if it is text that every store can hold.

    Raises:
        TypeError: It is not a `str`.
        InvalidPayload: It holds NUL or a lone surrogate, which not every store can keep.
    """
    if not isinstance(value, str):
        raise TypeError(f"{name} takes a str; got {quoted(value)}")
    if "\0" in value or any("\ud800" <= char <= "\udfff" for char in value):
        raise InvalidPayload(f"{name} holds NUL or a lone surrogate: {quoted(value)}; remove it")
    return value


def handler_names(names: tuple[str, ...]) -> frozenset[str]:
    """Return names of handlers. Raises `TypeError` if there are none, or one is no `str` or empty."""
    if not all(names) or not names:
        raise TypeError("it takes the names of handlers; pause_all() and resume_all() are for all of them")
    return frozenset(text("the name of a handler", name) for name in names)


def input_key(value: object) -> str:
    """Return the key of an input if it is text of 1 to 256 characters.

    Raises:
        TypeError: It is not a `str`.
        InvalidPayload: It holds NUL or a lone surrogate.
        ValueError: It is empty or too long.
    """
    key = text("key", value)
    if not 1 <= len(key) <= INPUT_KEY:
        raise ValueError(f"the key of an input has 1 to {INPUT_KEY} characters; got {len(key)}")
    return key


def tags(value: object) -> Mapping[str, str]:
    """Return a copy of `value` if it maps text to text.

    Raises:
        TypeError: It is not a mapping, or a name or value is not a `str`.
        InvalidPayload: A name or value holds NUL or a lone surrogate.
        ValueError: There are too many, or a name or value is too long.
    """
    if not isinstance(value, Mapping):
        raise TypeError(f"tags takes a mapping such as {{'user': '7'}}; got {quoted(value)}")
    items = cast("Mapping[object, object]", value).items()
    found = {text("tags", key): text(f"tags[{key!r}]", item) for key, item in items}
    if len(found) > TAGS:
        raise ValueError(f"a job has at most {TAGS} tags; got {len(found)}; put the rest into metadata")
    for key, item in found.items():
        if len(key) > TAG_NAME or len(item) > TAG_VALUE:
            raise ValueError(
                f"the name of a tag has at most {TAG_NAME} characters and its value {TAG_VALUE}; "
                f"got {len(key)} and {len(item)} for {quoted(key)}; put long texts into metadata"
            )
    return found
