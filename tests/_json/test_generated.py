"""For drawn types: a value that a store returns equals the one it was given, or was refused with its place.

`test_lost.py` lists chosen cases. Here the types are drawn too, with private fields, aliases, converters,
defaults, and fields that `__init__` does not take.
"""

from __future__ import annotations

# Types are made while it runs, and a value may be of any of them.
# pyright: basic, reportAttributeAccessIssue=false, reportArgumentType=false
# pyright: reportCallIssue=false, reportInvalidTypeArguments=false
import dataclasses
import tempfile
from datetime import datetime, time
from decimal import Decimal
from typing import Any

import attrs
import msgspec
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from tests._json.coding import Arguments, decode, encode
from tests._json.shapes import shapes
from trio_jobs import InvalidPayload, JobContext, Kind, Reason, State, open_registry


def taking(kind: Any, seen: list[Any] | None = None) -> Any:
    async def take(job: JobContext[Any], one: Any) -> Any:
        if seen is not None:
            seen.append(one)
        await job.send(one)
        await job.save(one)
        return one

    take.__annotations__["one"] = kind
    return take


def parts(value: Any) -> dict[str, Any] | None:
    """Return all fields of a record by their JSON names, whatever its class defines."""
    if isinstance(value, msgspec.Struct):
        names = zip(value.__struct_encode_fields__, value.__struct_fields__, strict=True)
        return {shown: getattr(value, name) for shown, name in names}
    if attrs.has(type(value)):
        return {field.name: getattr(value, field.name) for field in attrs.fields(type(value))}
    if dataclasses.is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return None


def same(one: Any, other: Any) -> bool:  # noqa: PLR0911  # a list of cases
    """Return whether two values are equal, with their classes and fields; scalars are compared by value."""
    if isinstance(one, str) and not isinstance(other, str):  # plain JSON may become what is declared
        return True
    if isinstance(other, Decimal) and type(one) is float:
        return bool(other == Decimal(repr(one)))
    fields = parts(one)
    if fields is not None:
        return type(one) is type(other) and same(fields, parts(other))
    if isinstance(one, dict) and isinstance(other, list) and one.keys() == {"a set"}:
        other = {"a set": sorted(other, key=repr)}
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == {"sparse"}:
        one = {
            name: inner for name, inner in one["sparse"].items() if name in other
        }  # it says what is written
    if isinstance(one, dict):
        pairs = sorted(one.items(), key=repr), sorted(other.items(), key=repr)
        return type(other) is dict and same([*map(list, pairs[0])], [*map(list, pairs[1])])
    if isinstance(one, (list, tuple)):
        return type(one) is type(other) and len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, (set, frozenset)):
        return type(one) is type(other) and same(sorted(one, key=repr), sorted(other, key=repr))
    if isinstance(one, (datetime, time)):
        offset = one.utcoffset()
        return bool(
            one == other and (one.fold == other.fold if offset is None else offset == other.utcoffset())
        )
    return bool(one == other)


def as_json(value: Any) -> Any:
    """Return the JSON form of a value, with sets in a fixed order."""
    fields = parts(value)
    if fields is not None:
        if isinstance(value, msgspec.Struct):
            config = value.__struct_config__
            if config.array_like:
                return [*([config.tag] if config.tag else []), *map(as_json, fields.values())]
            fields = fields if config.tag is None else {str(config.tag_field): config.tag, **fields}
        found = {name: as_json(inner) for name, inner in fields.items()}
        return {"sparse": found} if isinstance(value, msgspec.Struct) and config.omit_defaults else found
    if isinstance(value, dict):
        return {key: as_json(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [*map(as_json, value)]
    if isinstance(value, (set, frozenset)):
        return {"a set": sorted(map(as_json, value), key=repr)}
    return msgspec.to_builtins(value)


def names_it(refusal: InvalidPayload) -> bool:
    """Return whether an error has the place of the value, or says that JSON has no such value."""
    return "$" in str(refusal) or "cannot be kept as JSON: " in str(refusal)


@given(st.data())
def test_an_argument_comes_back_or_is_refused(data: st.DataObject) -> None:
    """An argument comes back equal, or the error names its place; one of exactly its type is accepted."""
    shape = data.draw(shapes)
    exact = data.draw(st.booleans())
    value = data.draw(shape.exact if exact else shape.odd)
    codec = Arguments(taking(shape.kind))
    try:
        (found,) = codec.decode(codec.encode((value,)))[0]
    except InvalidPayload as refusal:
        assert names_it(refusal), refusal
        assert not (exact and shape.keeps), (shape.kind, value, refusal)
    else:
        assert same(value, found), (shape.kind, value, found)


@given(st.data())
def test_other_values_come_back_as_json_or_are_refused(data: st.DataObject) -> None:
    """A token, a result or a saved value comes back in JSON's form with all its fields, or is refused."""
    value = data.draw(data.draw(shapes).odd)
    try:
        found = decode(encode("a token", value))
    except InvalidPayload as refusal:
        assert names_it(refusal), refusal
    else:
        assert same(as_json(value), found), (value, found)


@settings(max_examples=5)
@given(st.data())
def test_both_stores_keep_it(data: st.DataObject) -> None:
    """Arguments, tokens, saved values and results come back equal from memory and from a file."""
    shape = data.draw(shapes)
    value = data.draw(shape.odd)

    async def main(url: str) -> None:
        async with open_registry(url, handlers=[fn]) as jobs:
            try:
                job = await jobs.submit(fn, value)
            except InvalidPayload as refusal:
                assert names_it(refusal), refusal
                return
            ended = await job.wait()
            if ended.state is State.FAILED:  # of a value that no annotation says how to read
                assert ended.reason in {Reason.LIMIT, Reason.BAD_RESULT, Reason.ERROR}
                assert ended.message is not None
                assert "cannot be kept as JSON" in ended.message
                return
            found = [ended.result, *[event.data for event in await job.history() if event.kind is Kind.SAVED]]
            async with job.stream() as tokens:
                found += [token async for token in tokens]
            assert len(found) == 3
            assert all(same(value if url == "memory://" else as_json(value), one) for one in found)
            assert same(value, seen.pop())

    seen: list[Any] = []
    fn = taking(shape.kind, seen)
    with tempfile.TemporaryDirectory() as folder:
        for url in ("memory://", f"sqlite:///{folder}/jobs.db"):
            trio.run(main, url)
