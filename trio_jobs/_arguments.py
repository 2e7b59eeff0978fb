"""A handler's arguments as JSON, and back with the types that its annotations say."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import msgspec
from msgspec import inspect

from ._codec import decode, whole, written
from ._errors import InvalidPayload
from ._handler import arity, mark_of
from ._handlers import Handler, parameter_types
from ._lost import Path, is_nested, lost, steps
from ._safe import ANY, message_of


class Arguments:
    """A handler's arguments on their way to a store and back.

    Args:
        fn: The handler.

    Raises:
        TypeError: An annotation cannot be resolved, or is of a type that cannot be made from JSON.
    """

    def __init__(self, fn: Handler) -> None:
        self.mark = mark_of(fn)
        self._named, self._rest = parameter_types(fn)
        self._least, self._most = arity(fn)
        self._decoders: dict[int, msgspec.json.Decoder[tuple[Any, ...]]] = {}
        self._decoder(len(self._named))

    def _decoder(self, count: int) -> msgspec.json.Decoder[tuple[Any, ...]]:
        decoder = self._decoders.get(count)
        if decoder is None:
            rest = [self._rest] * (count - len(self._named))
            types: Any = (*self._named[:count], *rest)
            try:
                decoder = msgspec.json.Decoder(tuple[types] if types else tuple[()])
            except TypeError as error:
                raise TypeError(
                    f"handler {self.mark.name} has an argument that cannot be made from JSON: {error}"
                ) from error
            self._decoders[count] = decoder
        return decoder

    def encode(self, args: tuple[Any, ...]) -> bytes:
        """Return arguments as JSON, after checking that they come back as they are.

        Raises:
            InvalidPayload: JSON cannot hold one, it does not fit its annotation, or would lose something.
        """
        return whole(args, partial(self._kept, args)) if args else b"[]"

    def _kept(self, args: tuple[Any, ...], form: Any) -> bytes:
        data = written(f"the arguments of {self.mark.name}", form, typed_keys=True)
        self._check(args, self.decode(data, len(args)))
        return data

    def convert(self, args: list[Any]) -> tuple[Any, ...]:
        """Return arguments that came as JSON as the annotations say, after checking that they hold no more.

        Raises:
            InvalidPayload: They do not fit.
        """
        found = self.decode(written(f"the arguments of {self.mark.name}", args))
        self._check(args, found)
        return found

    def _check(self, given: Sequence[Any], found: tuple[Any, ...]) -> None:
        try:
            loss = lost(given, found, self._may_become)
        except ANY as error:  # of the code of a value's class
            loss = message_of(error)
        if loss is not None:
            raise InvalidPayload(f"the arguments of {self.mark.name} do not fit: {loss}")

    def _may_become(self, path: Path, given: object) -> bool:
        """Return whether an argument is nested, and nothing is said of its type: then JSON's will do."""
        first, *places = steps(path) or [0]
        kind = self._named[first] if first < len(self._named) else self._rest
        return is_nested(given) and is_untyped(kind, places)

    def decode(self, data: bytes | str, count: int | None = None) -> tuple[Any, ...]:
        """Return the arguments that `encode` made `data` of, as the annotations say.

        Raises:
            InvalidPayload: They do not fit: the handler was another one then.
        """
        if count is None:
            count = len(decode(data))
            if not self._least <= count + 1 <= self._most:
                raise InvalidPayload(
                    f"the arguments of {self.mark.name} do not fit: it takes {max(0, self._least - 1):g} to "
                    f"{self._most - 1:g} now, and was given {count}"
                )
        try:
            return self._decoder(count).decode(data)
        except ANY as error:
            raise InvalidPayload(
                f"the arguments of {self.mark.name} do not fit: {message_of(error)}"
            ) from None


def is_untyped(kind: Any, places: Iterable[Any]) -> bool:
    """Return whether a type says nothing of what is at that place in it."""
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
    """Return what a type says of what is at a place in it."""
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
