"""Turn single values of a declared type into JSON, and back: inputs, and the results of steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from .._common.errors import InvalidPayload
from .._model.handler import mark_of
from .._model.handlers import Handler
from .arguments import Codec, Reader
from .values import decode

T = TypeVar("T")


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
        self._codec = Codec(what, [Reader(each, (kind,), 1)], single=True)

    def encode(self, value: object) -> bytes:
        """Return a value as JSON, after checking that it comes back as it is.

        Raises:
            InvalidPayload: JSON cannot hold it, it does not fit the type, or would lose something.
        """
        return self._codec.encode((value,))[1:-1]

    def plain(self, value: object) -> Any:
        """Return a value as JSON has it, in lists, dicts, text and numbers. Raises as `encode` does."""
        return decode(self.encode(value))

    def convert(self, value: object) -> Any:
        """Return a value that came as JSON in the type, if nothing is lost by that.

        Raises:
            InvalidPayload: It does not fit, or has keys that were chosen to be slow.
        """
        return self._codec.convert((value,))[0]

    def decode(self, value: object) -> Any:
        """Return a value in the type, of what a store returned for what `encode` made of it.

        Raises:
            InvalidPayload: It does not fit, as the type was changed since.
        """
        return self._codec.again((value,))[0]


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
