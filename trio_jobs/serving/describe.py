"""What a handler takes, as JSON Schema: for forms, for OpenAPI, and for people."""

from __future__ import annotations

import inspect
from contextlib import suppress
from typing import Any

import msgspec

from .._handlers import Handler, parameter_types

_EMPTY = inspect.Parameter.empty


def describe(name: str, fn: Handler) -> dict[str, Any]:
    """Return a handler's name, what its docstring says first, and its parameters.

    Returns:
        `name`, `description`, `parameters` (each with `name`, `schema` and `required`, and `default` if it
        has one that JSON can hold), and `rest`: the schema of further arguments, or None.
    """
    taken = inspect.signature(fn).parameters.values()
    parameters = [one for one in taken if one.kind in {one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD}][1:]
    try:
        named, rest = parameter_types(fn)
    except TypeError:  # its own affair: it is said when it is submitted, and the others can be described
        named = [Any] * len(parameters)
        rest = Any if any(one.kind is one.VAR_POSITIONAL for one in taken) else None
    return {
        "name": name,
        "description": (inspect.getdoc(fn) or "").partition("\n\n")[0],
        "parameters": [_parameter(one, kind) for one, kind in zip(parameters, named, strict=True)],
        "rest": None if rest is None else _schema(rest),
    }


def _parameter(parameter: inspect.Parameter, kind: Any) -> dict[str, Any]:
    found: dict[str, Any] = {
        "name": parameter.name,
        "schema": _schema(kind),
        "required": parameter.default is _EMPTY,
    }
    if parameter.default is not _EMPTY:
        with suppress(TypeError, ValueError):
            found["default"] = msgspec.to_builtins(parameter.default)
    return found


def _schema(kind: Any) -> dict[str, Any]:
    try:
        return msgspec.json.schema(kind)
    except (TypeError, ValueError, RecursionError):
        return {}  # anything: what does not fit is said when it is submitted
