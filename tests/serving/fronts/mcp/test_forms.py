"""Schemas of tools and of forms, and what forms are filled in with."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any, Literal

import msgspec
import pytest

from trio_jobs import JobContext, TrioJobsError, handler
from trio_jobs.serving.describe import describe
from trio_jobs.serving.fronts.mcp.forms import filled_in, form_of, tool_of, whole


class Answer(msgspec.Struct):
    """A flat object."""

    go: bool
    size: Literal["s", "m"] = "s"


class Hen(msgspec.Struct):
    """An object that has another one inside, which has it inside."""

    egg: Egg | None = None


class Egg(msgspec.Struct):
    """What is inside of a hen."""

    hen: Hen


class Tree(msgspec.Struct):
    """An object that has itself inside."""

    name: str
    child: Tree | None = None


@handler
async def cut(job: JobContext[Any], tree: Tree, at: int, saw: str = "bow") -> None:
    """Cut a tree.

    Twice, if need be.
    """


def test_a_handler_is_a_tool() -> None:
    """Its name, the first paragraph of its docstring, and its parameters, with all that they refer to."""
    inner = {
        "title": "Tree",
        "type": "object",
        "description": "An object that has itself inside.",
        "properties": {
            "name": {"type": "string"},
            "child": {"anyOf": [{}, {"type": "null"}], "default": None},
        },
        "required": ["name"],
    }
    assert tool_of(describe("cut", cut)) == {
        "name": "cut",
        "description": "Cut a tree.",
        "inputSchema": {
            "type": "object",
            "properties": {
                "tree": inner,
                "at": {"type": "integer"},
                "saw": {"type": "string", "default": "bow"},
            },
            "required": ["tree", "at"],
            "additionalProperties": False,
        },
    }


@pytest.mark.parametrize(
    ("kind", "field", "content", "value"),
    [
        (bool, {"type": "boolean"}, True, True),
        (int, {"type": "integer"}, 3, 3),
        (float, {"type": "number"}, 0.5, 0.5),
        (Literal["a", "b"], {"type": "string", "enum": ["a", "b"]}, "a", "a"),
        (Any, {"type": "string"}, "as it is", "as it is"),
        (date, {"type": "string", "format": "date"}, "2026-01-31", "2026-01-31"),
        (timedelta, {"type": "string"}, "PT1M", "PT1M"),  # as the protocol has no word for its format
        (Literal[1, 2], {"type": "string"}, "2", 2),
        (list[int], {"type": "string"}, "[1, 2]", [1, 2]),
        (dict[str, int], {"type": "string"}, '{"a": 1}', {"a": 1}),
        (int | None, {"type": "string"}, "null", None),
    ],
)
def test_one_value_is_asked_for_in_one_field(kind: Any, field: Any, content: Any, value: Any) -> None:
    """What people can fill in is asked for as it is, and what they cannot, as a text of JSON."""
    schema = msgspec.json.schema(kind)
    form = form_of(schema)
    assert form["required"] == ["value"]
    shown = {name: one for name, one in form["properties"]["value"].items() if name != "description"}
    assert shown == field
    assert filled_in(schema, {"value": content}) == value


def test_a_flat_object_is_a_form() -> None:
    """Its fields are those of the form, each with a type, and the form is the value."""
    schema = msgspec.json.schema(Answer)
    size = {"type": "string", "enum": ["m", "s"], "default": "s"}
    fields = {"go": {"type": "boolean"}, "size": size}
    assert form_of(schema) == {"type": "object", "properties": fields, "required": ["go"]}
    assert filled_in(schema, {"go": True}) == {"go": True}


def test_an_object_in_an_object_is_a_text() -> None:
    """It cannot be a form, which is flat."""
    schema = msgspec.json.schema(Tree)
    [(name, field)] = form_of(schema)["properties"].items()
    assert name == "value"
    assert field["description"].startswith('JSON of this schema: {"')
    assert filled_in(schema, {"value": '{"name": "oak"}'}) == {"name": "oak"}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({}, "one field, 'value'"),
        ({"value": "{"}, "a text of JSON"),
        ({"value": 7}, "a text of JSON"),
        ({"value": "\ud800"}, "a text of JSON"),
        ({"value": "[" * 9999}, "a text of JSON"),
    ],
)
def test_what_is_not_filled_in_is_refused(content: dict[str, Any], told: str) -> None:
    """A missing field, and a text that is no JSON, name the field."""
    with pytest.raises(TrioJobsError, match=told):
        filled_in(msgspec.json.schema(list[int]), content)


def test_a_schema_refers_to_nothing() -> None:
    """Each definition is where it is referred to, and any value where that has no end; no other is left."""
    found = msgspec.json.encode(whole(msgspec.json.schema(list[Hen]))).decode()
    assert "$" not in found
    assert found.count('"Hen"') == found.count('"Egg"') == 1


def test_a_schema_without_references_stays_as_it_is() -> None:
    """Nothing of it is lost."""
    schema = msgspec.json.schema(dict[str, list[int]])
    assert whole(schema) == schema
