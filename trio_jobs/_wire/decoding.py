"""Decode what a client sends, by the grammar of `requests`; and write that as JSON Schema."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Final, TypeVar

import msgspec

from .._json.values import depth
from .requests import PROTOCOL, AnyRequest, BadRequest, Id

T = TypeVar("T")


class _OnlyId(msgspec.Struct):
    id: Id


_requests: Final[msgspec.json.Decoder[AnyRequest]] = msgspec.json.Decoder(AnyRequest)
_only_id: Final = msgspec.json.Decoder(_OnlyId)


def check_depth(data: bytes, most: int) -> None:
    """Raise `BadRequest` if lists and objects are nested deeper than that."""
    if data.count(b"[") + data.count(b"{") > most and depth(data) > most:
        raise BadRequest(f"the message is nested more than {most} deep")


def _decoded(decode: Callable[[bytes], T], data: bytes, deepest: int) -> T:
    check_depth(data, deepest)
    try:
        return decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise BadRequest(str(error)) from None


def decode_request(data: bytes, deepest: int) -> AnyRequest:
    """Decode a request. Raises `BadRequest` if the message is none."""
    try:
        return _decoded(_requests.decode, data, deepest)
    except BadRequest as error:
        with suppress(msgspec.MsgspecError, ValueError, RecursionError):
            error.re = _only_id.decode(data).id
        raise


def decode_body(kind: type[T], data: bytes, deepest: int) -> T:
    """Decode the body of an HTTP request. Raises `BadRequest` if it does not fit."""
    decode: Callable[[bytes], T] = partial(msgspec.json.decode, type=kind)
    return _decoded(decode, data, deepest)


def json_fields(fields: Mapping[str, bytes]) -> bytes:
    """Return fields, whose values are JSON, joined as in an object."""
    return b",".join(b'"%b":%b' % (name.encode(), value) for name, value in fields.items())


def schema() -> Mapping[str, Any]:
    """Return the JSON Schema (2020-12) of all messages of a client."""
    (request,), components = msgspec.json.schema_components([AnyRequest], ref_template="#/$defs/{name}")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": PROTOCOL,
        **request,
        "$defs": components,
    }
