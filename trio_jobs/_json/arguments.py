"""Turn a handler's arguments into JSON, and back into the types of its annotations."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import msgspec
from msgspec import inspect

from .._common.error_text import ANY, message_of
from .._common.errors import InvalidPayload
from .._model.handler import arity, mark_of
from .._model.handlers import Handler, hinted, parameters_of
from .keys import check_keys, has_keys
from .lost import Path, is_nested, lost, steps
from .values import decode, whole, written


class Arguments:
    """Encodes and decodes the arguments of one handler.

    Args:
        fn: The handler.

    Raises:
        TypeError: An annotation cannot be resolved, or is of a type that cannot be made from JSON.
    """

    def __init__(self, fn: Handler) -> None:
        self.mark = mark_of(fn)
        self._each = f"handler {self.mark.name} has an argument"
        self._called = parameters_of(fn)
        self._hinted = hinted(fn, self._called)
        self._least, self._most = arity(fn)
        self._readers: dict[int, Sequence[Reader]] = {}
        self._readers_of(len(self._called.named))
        if self._hinted is not None:
            self._readers_of(len(self._hinted.named))
        self._keyed: dict[int, bool] = {}  # by number of arguments: whether they hold sets or typed keys

    def _readers_of(self, count: int) -> Sequence[Reader]:
        """Return the readers for so many arguments; the first that can read them counts."""
        found = self._readers.get(count)
        if found is None:
            called, hints = self._called, self._hinted
            found = [Reader(self._each, called.types(count), len(called.named) if hints else count)]
            if (
                hints is not None
                and hints.least <= count
                and (count <= len(hints.named) or hints.rest is not None)
            ):
                found.insert(0, Reader(self._each, hints.types(count), count))
            self._readers[count] = found
        return found

    def encode(self, args: tuple[Any, ...]) -> bytes:
        """Return arguments as JSON, after checking that they come back as they are.

        Raises:
            InvalidPayload: JSON cannot hold one, it does not fit its annotation, or would lose something.
        """
        return whole(args, partial(self._kept, args)) if args else b"[]"

    def _kept(self, args: tuple[Any, ...], form: Any) -> bytes:
        data = written(f"the arguments of {self.mark.name}", form, typed_keys=True)
        found, reader = self._read(data, len(args))
        self._check(args, found, reader)
        return data

    def convert(self, args: list[Any]) -> tuple[Any, ...]:
        """Return arguments that came as JSON in the types of the annotations, if nothing is lost by that.

        Raises:
            InvalidPayload: They do not fit, or have keys that were chosen to be slow.
        """
        if len(args) not in self._keyed:
            self._keyed[len(args)] = any(has_keys(one.types) for one in self._readers_of(len(args)))
        if self._keyed[len(args)]:
            check_keys(f"the arguments of {self.mark.name}", args)
        found, reader = self._read(written(f"the arguments of {self.mark.name}", args))
        self._check(args, found, reader)
        return found

    def _check(self, given: Sequence[Any], found: tuple[Any, ...], reader: Reader) -> None:
        if (loss := reader.loss(given, found)) is not None:
            raise InvalidPayload(f"the arguments of {self.mark.name} do not fit: {loss}")

    def decode(self, data: bytes | str) -> tuple[Any, ...]:
        """Return the arguments that `encode` made `data` of, in the types of the annotations.

        Raises:
            InvalidPayload: They do not fit, as the handler was changed since.
        """
        found, _ = self._read(data)
        return found

    def _read(self, data: bytes | str, count: int | None = None) -> tuple[tuple[Any, ...], Reader]:
        if count is None:
            count = len(decode(data))
            if not self._least <= count + 1 <= self._most:
                raise InvalidPayload(
                    f"the arguments of {self.mark.name} do not fit: it takes {max(0, self._least - 1):g} to "
                    f"{self._most - 1:g} now, and was given {count}"
                )
        why = ""
        for reader in self._readers_of(count):
            try:
                return reader.read(data), reader
            except ANY as error:
                why = why or message_of(error)
        raise InvalidPayload(f"the arguments of {self.mark.name} do not fit: {why}")


class Reader:
    """Reads arguments, or an input, from JSON by types.

    Args:
        each: What they are of, as the subject of a sentence.
        types: The types.
        known: How many of the types, the first ones, are certain. An argument of another one has to come back
            from JSON as it was given.

    Raises:
        TypeError: A value of such a type cannot be made from JSON.
    """

    def __init__(self, each: str, types: tuple[Any, ...], known: int) -> None:
        self.types = types
        self._known = known
        kind: Any = tuple[types] if types else tuple[()]  # type: ignore[valid-type]  # made as it runs
        try:
            self.read = msgspec.json.Decoder[tuple[Any, ...]](kind).decode
        except TypeError as error:
            raise TypeError(f"{each} that cannot be made from JSON: {error}") from error

    def loss(self, given: Sequence[Any], found: tuple[Any, ...]) -> str | None:
        """Return what arguments lose that come back as `found`, in words; None if nothing is lost."""
        try:
            return lost(given, found, self.may_become)
        except ANY as error:  # of the code of a value's class
            return message_of(error)

    def may_become(self, path: Path, given: object) -> bool:
        """Return whether an argument is nested and has no type: it may come back as JSON has it."""
        first, *places = steps(path) or [0]
        return first < self._known and is_nested(given) and is_untyped(self.types[first], places)


def is_untyped(kind: Any, places: Iterable[Any]) -> bool:
    """Return whether a type leaves open what is at that place in it."""
    found = _alternatives(inspect.type_info(kind))
    for place in places:
        found = [one for outer in found for inner in _inside(outer, place) for one in _alternatives(inner)]
    return any(isinstance(one, inspect.AnyType) for one in found)


def _alternatives(kind: inspect.Type) -> list[inspect.Type]:
    if isinstance(kind, inspect.Metadata):
        return _alternatives(kind.type)
    if isinstance(kind, inspect.UnionType):
        return [one for inner in kind.types for one in _alternatives(inner)]
    if isinstance(kind, inspect.CustomType) and kind.cls is object:
        return [inspect.AnyType()]
    return [kind]


def _inside(kind: inspect.Type, place: Any) -> list[inspect.Type]:
    """Return the types that a type has for what is at a place in it."""
    match kind:
        case inspect.AnyType():
            return [kind]
        case inspect.DictType():
            return [kind.value_type]
        case inspect.TupleType():
            return list(kind.item_types[place : place + 1]) if isinstance(place, int) else []
        case inspect.NamedTupleType():
            return [field.type for field in kind.fields[place : place + 1]] if isinstance(place, int) else []
        case inspect.DataclassType() | inspect.StructType() | inspect.TypedDictType():
            return [field.type for field in kind.fields if place in {field.name, field.encode_name}]
        case _:
            item = getattr(kind, "item_type", None)
            return [] if item is None else [item]
