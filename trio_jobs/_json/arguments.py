"""Turn a handler's arguments into JSON, and back into the types of its annotations.

They are a list. Only if some are given by name, it is an object: `{"args": […], "kwargs": {…}}`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property, partial
from typing import Any, Final

import msgspec
from msgspec import inspect

from .._common.error_text import ANY, message_of
from .._common.errors import InvalidPayload
from .._model.handler import arity, mark_of, misfit
from .._model.handlers import Handler, hinted, parameters_of, type_by_name
from .._model.job import NO_KWARGS
from .keys import check_keys, has_keys
from .lost import Path, is_nested, lost, steps
from .values import decode, whole, written

_PLACE: Final = "$[0]"
"""Where a value is in the tuple of one in which it is read, of which those who sent it know nothing."""


class _Both(msgspec.Struct):
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


_plain: Final[msgspec.json.Decoder[tuple[Any, ...] | _Both]] = msgspec.json.Decoder(tuple[Any, ...] | _Both)


def plain_arguments(data: bytes | str) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
    """Return the arguments that `Arguments.encode` made `data` of, by place and by name, as JSON has them.

    Raises:
        msgspec.MsgspecError: It was not made so.
    """
    found = _plain.decode(data)
    return (found.args, found.kwargs) if isinstance(found, _Both) else (found, NO_KWARGS)


class Arguments:
    """Encodes and decodes the arguments of one handler.

    Args:
        fn: The handler.

    Raises:
        TypeError: An annotation cannot be resolved, or is of a type that cannot be made from JSON.
    """

    def __init__(self, fn: Handler) -> None:
        self.mark = mark_of(fn)
        self._fn = fn
        self._each = f"handler {self.mark.name} has an argument"
        self._called = parameters_of(fn)
        self._hinted = hinted(fn, self._called)
        self._least, self._most = arity(fn)
        self._by_count: dict[int, Codec] = {}
        self._by_name: dict[str, list[Reader]] = {}
        self._by_place(len(self._called.named))
        if self._hinted is not None:
            self._by_place(len(self._hinted.named))

    def _by_place(self, count: int) -> Codec:
        """Return what reads so many arguments that are given by place."""
        found = self._by_count.get(count)
        if found is None:
            called, hints = self._called, self._hinted
            readers = [Reader(self._each, called.types(count), len(called.named) if hints else count)]
            if (
                hints is not None
                and hints.least <= count
                and (count <= len(hints.named) or hints.rest is not None)
            ):
                readers.insert(0, Reader(self._each, hints.types(count), count))
            found = self._by_count[count] = Codec(f"the arguments of {self.mark.name}", readers)
        return found

    def _named(self, name: str) -> Codec:
        """Return what reads the argument that is given by this name.

        Raises:
            InvalidPayload: Its annotation cannot be resolved, or is of a type that cannot be made from JSON.
        """
        own = name in self._called.names
        hint = not own and self._hinted is not None and name in self._hinted.names
        what = f"the keyword argument {name!r} of {self.mark.name}"
        kind = name if own or hint else ""  # all that `**` takes have one
        readers = self._by_name.get(kind)
        if readers is None:
            known = int(own or self._hinted is None)
            try:
                readers = [Reader(self._each, (type_by_name(self._fn, name),), known)]
                if hint:
                    hinted_as = type_by_name(self._fn, name, follow_wrapped=True)
                    readers.insert(0, Reader(self._each, (hinted_as,), 1))
            except TypeError as error:
                raise InvalidPayload(f"{what} cannot be given: {error}") from error
            self._by_name[kind] = readers
        return Codec(what, readers, single=True)

    def encode(self, args: tuple[Any, ...], kwargs: Mapping[str, Any] = NO_KWARGS) -> bytes:
        """Return arguments as JSON, after checking that they come back as they are.

        Raises:
            InvalidPayload: JSON cannot hold one, it does not fit its annotation, or would lose something.
        """
        data = self._by_place(len(args)).encode(args) if args else b"[]"
        if not kwargs:
            return data
        named = [
            written("the name of an argument", name) + b":" + self._named(name).encode((kwargs[name],))[1:-1]
            for name in sorted(kwargs)
        ]
        return b'{"args":%b,"kwargs":{%b}}' % (data, b",".join(named))

    def convert(
        self, args: Sequence[Any], kwargs: Mapping[str, Any] = NO_KWARGS
    ) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
        """Return arguments that came as JSON in the types of the annotations, if nothing is lost by that.

        Raises:
            InvalidPayload: They do not fit, or have keys that were chosen to be slow.
        """
        self._check_call(len(args), kwargs)
        found = self._by_place(len(args)).convert(args)
        return found, {name: self._named(name).convert([one])[0] for name, one in kwargs.items()}

    def decode(self, data: bytes | str) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
        """Return the arguments that `encode` made `data` of, in the types of the annotations.

        Raises:
            InvalidPayload: They do not fit, as the handler was changed since.
        """
        plain: Any = decode(data)
        count = len(plain)
        if not isinstance(plain, dict) and self._least <= count + 1 <= self._most:
            return self._by_place(count).read(data)[0], NO_KWARGS
        args, kwargs = plain_arguments(data)
        self._check_call(len(args), kwargs)
        return self._by_place(len(args)).again(args), {
            name: self._named(name).again([one])[0] for name, one in kwargs.items()
        }

    def _check_call(self, count: int, kwargs: Mapping[str, Any]) -> None:
        if not kwargs and self._least <= count + 1 <= self._most:
            return
        if kwargs or self._least == math.inf:
            why = misfit(self._fn, count, kwargs)
        else:
            least, most = max(0, self._least - 1), self._most - 1
            why = f"it takes {least:g} to {most:g} now, and was given {count}"
        if why is not None:
            raise InvalidPayload(f"the arguments of {self.mark.name} do not fit: {why}")


class Codec:
    """Encodes and decodes several values, as the arguments that are given by place; or a single one.

    Args:
        what: What they are, in errors.
        readers: The first that can read them counts.
        single: Whether it is one.
    """

    def __init__(self, what: str, readers: Sequence[Reader], *, single: bool = False) -> None:
        self._what = what
        self._readers = readers
        self._single = single

    def encode(self, given: tuple[Any, ...]) -> bytes:
        """Return values as JSON, after checking that they come back as they are."""
        return whole(given, partial(self._kept, given))

    def _kept(self, given: Sequence[Any], form: Any) -> bytes:
        data = written(self._what, form, typed_keys=True)
        found, reader = self.read(data)
        self._check(given, found, reader, spelled=form is not given)
        return data

    def convert(self, given: Sequence[Any]) -> tuple[Any, ...]:
        """Return values that came as JSON in their types, if nothing is lost by that."""
        if any(reader.keyed for reader in self._readers):
            check_keys(self._what, [*given])
        found, reader = self.read(written(self._what, given))
        self._check(given, found, reader, spelled=True)
        return found

    def again(self, plain: Sequence[Any]) -> tuple[Any, ...]:
        """Return values in their types, of what JSON had in their place."""
        return self.read(written(self._what, plain))[0]

    def read(self, data: bytes | str) -> tuple[tuple[Any, ...], Reader]:
        """Return the values in JSON, and the reader that could read them."""
        why = ""
        for reader in self._readers:
            try:
                return reader.read(data), reader
            except ANY as error:
                why = why or message_of(error)
        raise self._unfit(why)

    def _check(self, given: Sequence[Any], found: tuple[Any, ...], reader: Reader, *, spelled: bool) -> None:
        if (loss := reader.loss(given, found, spelled=spelled)) is not None:
            raise self._unfit(loss)

    def _unfit(self, why: str) -> InvalidPayload:
        said = f"does not fit: {_as_sent(why)}" if self._single else f"do not fit: {why}"
        return InvalidPayload(f"{self._what} {said}")


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

    @cached_property
    def keyed(self) -> bool:
        """Whether they hold sets or typed keys."""
        return has_keys(self.types)

    def loss(self, given: Sequence[Any], found: tuple[Any, ...], *, spelled: bool) -> str | None:
        """Return what arguments lose that come back as `found`, in words; see `lost`."""
        try:
            return lost(given, found, self.may_become, spelled=spelled)
        except ANY as error:  # of the code of a value's class
            return message_of(error)

    def may_become(self, path: Path, given: object) -> bool:
        """Return whether an argument is nested and has no type: it may come back as JSON has it."""
        first, *places = steps(path) or [0]
        return first < self._known and is_nested(given) and is_untyped(self.types[first], places)


def _as_sent(why: str) -> str:
    """Return an error with the place in the value, not in the tuple; it stands first there, or last."""
    if why.startswith(_PLACE):
        return f"${why.removeprefix(_PLACE)}"
    text, found, inside = why.rpartition(f" - at `{_PLACE}")
    return f"{text} - at `${inside}" if found and inside.find("`") == len(inside) - 1 else why


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
