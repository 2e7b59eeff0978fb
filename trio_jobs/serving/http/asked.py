"""What a request asks for: its body, its key, and the parameters of its URL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request

from ..._common.validate import TAGS
from ..._wire.decoding import decode_body
from ..._wire.options import LONGEST_KEY, SubmitOptions
from ..._wire.requests import BadRequest
from ..context import ServerContext
from ..problems import Refused
from .body import read_body
from .responses import JSON

T = TypeVar("T")


async def body_of(context: ServerContext, request: Request, kind: type[T]) -> T:
    """Return the body of a request; it must be JSON, and say so."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != JSON:
        raise Refused("wrong_type", f"the body must be JSON: send 'Content-Type: {JSON}'")
    return decode_body(kind, await read_body(request, context.limits), context.limits.depth)


def key_of(request: Request) -> str | None:
    """Return the idempotency key of a request, if it has one. Raises `BadRequest` if that is too long."""
    key = request.headers.get("idempotency-key")
    if key is not None and not 1 <= len(key) <= LONGEST_KEY:
        raise BadRequest(f"Idempotency-Key has 1 to {LONGEST_KEY} characters")
    return key


def with_key(options: SubmitOptions, key: str | None) -> SubmitOptions:
    """Return options with a key. Raises `BadRequest` if they have another one."""
    if key is None:
        return options
    if options.key not in (key, None, msgspec.UNSET):
        raise BadRequest("Idempotency-Key and options.key differ; give one of them")
    return msgspec.structs.replace(options, key=key)


def asked_of(request: Request, kind: type[Any], given: Mapping[str, Any], *apart: str) -> Any:
    """Return the request that the parameters of a URL make, checked as a message of the wire is."""
    query = {name: value for name, value in request.query_params.items() if name not in apart}
    for name in ("id", "job", "op"):
        if name in query:
            raise BadRequest(f"there is no parameter {name!r}")
    try:
        return msgspec.convert(
            {"op": kind.__struct_config__.tag, "id": 1, **query, **given}, kind, strict=False
        )
    except msgspec.ValidationError as error:
        raise BadRequest(str(error)) from None


def tags_of(texts: Sequence[str]) -> dict[str, str]:
    """Return tags that are written as name=value, by name. Raises `BadRequest` if they are not."""
    if len(texts) > TAGS:
        raise BadRequest(f"there may be at most {TAGS} tags; got {len(texts)}")
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise BadRequest(f"tag takes name=value, as in tag=user=7; got {text[:40]!r}")
        found[name] = value
    return found
