"""What a handler takes, as JSON Schema, for forms and for people."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import msgspec

from .._model.handler import bound_names, mark_of
from .._model.handlers import Handler, parameters_of, type_by_name

_EMPTY = inspect.Parameter.empty
_ANYTHING = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}


def describe(name: str, fn: Handler) -> dict[str, Any]:
    """Return the name, the first paragraph of the docstring, and the parameters of a handler.

    Returns:
        `name`, `description`, `parameters` (each with `name`, `schema` and `required`, and `default` if it
        has one that JSON can hold), `rest`: the schema of further arguments, or None, `keyword_only`: the
        parameters that can be given by name only, `inputs`: the schema of its jobs' inputs, or None if it
        does not say that it takes any, and `limit_key`: whether its jobs take one.
    """
    # If the handler names no parameters itself, those of the function that it wraps are shown.
    says_nothing = all(one.kind in _ANYTHING for one in _parameters(fn, follow_wrapped=False))
    taken = _parameters(fn, follow_wrapped=says_nothing)
    parameters = [one for one in taken if one.kind in {one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD}][1:]
    keyword_only = [one for one in taken if one.kind is one.KEYWORD_ONLY and one.name not in bound_names(fn)]
    try:
        found = parameters_of(fn, follow_wrapped=says_nothing)
        named, rest = found.named, found.rest
    except TypeError:  # an annotation cannot be resolved: a submit fails by it, a form need not
        named = [Any] * len(parameters)
        rest = Any if any(one.kind is one.VAR_POSITIONAL for one in taken) else None
    mark = mark_of(fn)
    return {
        "name": name,
        "description": (inspect.getdoc(fn) or "").partition("\n\n")[0],
        "parameters": [_parameter(one, kind) for one, kind in zip(parameters, named, strict=True)],
        "rest": None if rest is None else _schema(rest),
        "keyword_only": [_parameter(one, _type_of(fn, one.name, says_nothing)) for one in keyword_only],
        "inputs": None if mark.inputs is None else _schema(mark.inputs),
        "limit_key": mark.keyed,
    }


def _parameters(fn: Handler, *, follow_wrapped: bool) -> Sequence[inspect.Parameter]:
    return [*inspect.signature(fn, follow_wrapped=follow_wrapped).parameters.values()]


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


def _type_of(fn: Handler, name: str, follow_wrapped: bool) -> Any:  # noqa: FBT001  # as it is there
    try:
        return type_by_name(fn, name, follow_wrapped=follow_wrapped)
    except TypeError:  # as above
        return Any


def _schema(kind: Any) -> dict[str, Any]:
    try:
        return msgspec.json.schema(kind)
    except (NameError, TypeError, ValueError, RecursionError):
        return {}  # any value: a submit checks it
