"""What a handler takes, as the schemas of tools and of forms, and what a person has filled in; no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias, cast

import msgspec

from ...._common.errors import quoted
from ...._wire.requests import BadRequest
from ..models import parameters_of

Schema: TypeAlias = Mapping[str, Any]

FIELD: Final = "value"
"""The only field of a form that asks for one value."""
_SIMPLE: Final = frozenset({"string", "number", "integer", "boolean"})
_FORMATS: Final = frozenset({"date", "date-time", "email", "uri"})
"""Those of a text for which the protocol has a word; clients refuse a form with another."""
_TEXT: Final[Schema] = {"type": "string"}
_REFERENCE: Final = "#/$defs/"


def tool_of(described: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tool that a handler is, given what `describe` returns of it."""
    properties: dict[str, Any] = {}
    parameters = parameters_of(described)
    for one in parameters:
        default = {"default": one["default"]} if "default" in one else {}
        properties[one["name"]] = {**whole(one["schema"]), **default}
    return {
        "name": described["name"],
        "description": described["description"],
        "inputSchema": {
            "type": "object",
            "properties": properties,
            "required": [one["name"] for one in parameters if one["required"]],
            "additionalProperties": False,
        },
    }


def whole(schema: Schema) -> dict[str, Any]:
    """Return a schema with each definition where it is referred to; inside of itself it is any value."""
    return cast("dict[str, Any]", _whole(schema, schema.get("$defs", {}), frozenset()))


def _whole(part: object, definitions: Schema, inside: frozenset[str]) -> object:
    if isinstance(part, list):
        return [_whole(one, definitions, inside) for one in cast("list[object]", part)]
    if not isinstance(part, Mapping):
        return part
    fields = cast("Mapping[str, Any]", part)
    name = str(fields.get("$ref", "")).removeprefix(_REFERENCE)
    if name in inside:
        return {}
    if name in definitions:
        return _whole(definitions[name], definitions, inside | {name})
    return {key: _whole(one, definitions, inside) for key, one in fields.items() if key != "$defs"}


def form_of(inputs: Schema) -> dict[str, Any]:
    """Return the schema of a form that asks for an input, as flat as the protocol wants it.

    An object whose fields are simple is such a form. Any other input is asked for in one field: as it is if
    it is simple, else as a text of JSON.

    Args:
        inputs: The schema of the input.
    """
    schema = whole(inputs)
    if _is_flat(schema):
        fields = {name: _simple(one) for name, one in schema["properties"].items()}
        return {"type": "object", "properties": fields, "required": schema.get("required", [])}
    field = _simple(schema) or {**_TEXT, "description": f"JSON of this schema: {_json(schema)}"}
    return {"type": "object", "properties": {FIELD: field}, "required": [FIELD]}


def filled_in(inputs: Schema, content: Mapping[str, Any]) -> Any:
    """Return the input that a form has got; whether it fits is seen when it is sent.

    Args:
        inputs: The schema of the input.
        content: The content of the form.

    Raises:
        BadRequest: The form lacks its only field, or that is no JSON.
    """
    schema = whole(inputs)
    if _is_flat(schema):
        return content
    if FIELD not in content:
        raise BadRequest(f"the content of this answer has one field, {quoted(FIELD)}")
    if _simple(schema) is not None:
        return content[FIELD]
    try:
        return msgspec.json.decode(content[FIELD])
    except (msgspec.DecodeError, TypeError, ValueError, RecursionError) as error:
        raise BadRequest(f"{quoted(FIELD)} is a text of JSON: {error}") from None


def _is_flat(schema: Schema) -> bool:
    fields: Schema = schema.get("properties", {})
    return schema.get("type") == "object" and bool(fields) and all(map(_simple, fields.values()))


def _simple(schema: Schema) -> Schema | None:
    """Return the schema of a field that people can fill in; None if it is none. Any value is a text."""
    if schema.get("type") in _SIMPLE:
        if (form := schema.get("format")) is None or form in _FORMATS:
            return schema
        return {"description": str(form), **{name: schema[name] for name in schema if name != "format"}}
    choices: list[object] = schema.get("enum", [])
    if not schema or (choices and all(isinstance(one, str) for one in choices)):
        return {**_TEXT, **schema}
    return None


def _json(schema: Schema) -> str:
    return msgspec.json.encode(schema).decode()
