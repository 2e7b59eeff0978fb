"""Turn single values of a declared type into JSON, and back: inputs, and the results of steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, TypeVar

from .._common.error_text import ANY, message_of
from .._common.errors import InvalidPayload
from .._model.handler import mark_of
from .._model.handlers import Handler
from .arguments import Reader
from .keys import check_keys, has_keys
from .values import decode, whole, written

T = TypeVar("T")
_PLACE: Final = "$[0]"
"""Where a value is in the tuple of one in which it is read, of which those who sent it know nothing."""


class Typed:
    """Encodes and decodes single values of one type.

    Args:
        what: What a value is, for errors.
        kind: The type.
        each: What has such a value, as the subject of a sentence.

    Raises:
        TypeError: The type cannot be made from JSON.
    """

    def __init__(self, what: str, kind: Any, each: str) -> None:
        self._what = what
        self._reader = Reader(each, (kind,), 1)
        self._keyed = has_keys((kind,))

    def encode(self, value: object) -> bytes:
        """Return a value as JSON, after checking that it comes back as it is.

        Raises:
            InvalidPayload: JSON cannot hold it, it does not fit the type, or would lose something.
        """
        return whole((value,), partial(self._kept, value))[1:-1]

    def _kept(self, value: object, form: Any) -> bytes:
        data = written(self._what, form, typed_keys=True)
        self._check(value, self._read(data))
        return data

    def plain(self, value: object) -> Any:
        """Return a value as JSON has it, in lists, dicts, text and numbers. Raises as `encode` does."""
        return decode(self.encode(value))

    def convert(self, value: object) -> Any:
        """Return a value that came as JSON in the type, if nothing is lost by that.

        Raises:
            InvalidPayload: It does not fit, or has keys that were chosen to be slow.
        """
        if self._keyed:
            check_keys(self._what, [value])
        found = self._read(written(self._what, (value,)))
        self._check(value, found)
        return found[0]

    def decode(self, value: object) -> Any:
        """Return a value in the type, of what a store returned for what `encode` made of it.

        Raises:
            InvalidPayload: It does not fit, as the type was changed since.
        """
        return self._read(written(self._what, (value,)))[0]

    def _read(self, data: bytes) -> tuple[Any, ...]:
        try:
            found: tuple[Any, ...] = self._reader.read(data)
        except ANY as error:
            raise self._unfit(message_of(error)) from None
        return found

    def _check(self, value: object, found: tuple[Any, ...]) -> None:
        if (loss := self._reader.loss((value,), found)) is not None:
            raise self._unfit(loss)

    def _unfit(self, why: str) -> InvalidPayload:
        return InvalidPayload(f"{self._what} does not fit: {_as_sent(why)}")


def _as_sent(why: str) -> str:
    """Return an error with the place in the value, not in the tuple; it stands first there, or last."""
    if why.startswith(_PLACE):
        return f"${why.removeprefix(_PLACE)}"
    text, found, inside = why.rpartition(f" - at `{_PLACE}")
    return f"{text} - at `${inside}" if found and inside.find("`") == len(inside) - 1 else why


class Inputs(Typed):
    """Encodes and decodes the inputs of the jobs of one handler.

    Args:
        fn: The handler.

    Raises:
        TypeError: Its inputs are of a type that cannot be made from JSON.
    """

    def __init__(self, fn: Handler) -> None:
        mark = mark_of(fn)
        kind = Any if mark.inputs is None else mark.inputs
        super().__init__(f"an input of {mark.name}", kind, f"handler {mark.name} has an input")

    def each(self, take: Callable[[object], T], values: Sequence[object]) -> list[T]:
        """Return what a method of this makes of each value; an error says which of several values it is."""
        made: list[T] = []
        for value in values:
            try:
                made.append(take(value))
            except InvalidPayload as error:
                which = f"value {len(made) + 1} of {len(values)}: " if len(values) > 1 else ""
                raise InvalidPayload(f"{which}{error}") from None
        return made
