"""The description of a handler's parameters for clients."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest
import trio

from trio_jobs import handler
from trio_jobs.serving.describe import describe


@dataclass
class Size:
    """A pair."""

    width: int
    height: int = 1


class Strange:
    """A type that JSON does not have."""


async def render(
    job: Any, name: str, size: Size, mode: Literal["a", "b"] = "a", *others: int, level: int = 3
) -> None:
    """Render a picture.

    At some length.
    """


async def bare(job: Any, x, y=Strange(), z=b"\0") -> None:  # type: ignore[no-untyped-def]  # noqa: B008
    pass


async def strange(
    job: Any, where: Strange, path: Path | None = None, until: trio.Event | None = None
) -> None:
    """Take arguments without a schema; an event has fields of types imported for type checkers only."""


async def nothing(job: Any) -> None:
    """Take nothing."""


def test_a_handler_is_described() -> None:
    """The description has the name, the docstring's first paragraph, the parameters, and whether more fit."""
    found = describe("paint", render)
    assert (found["name"], found["description"]) == ("paint", "Render a picture.")
    assert [one["name"] for one in found["parameters"]] == ["name", "size", "mode"]
    assert [one["required"] for one in found["parameters"]] == [True, True, False]
    assert found["parameters"][0]["schema"] == {"type": "string"}
    assert found["parameters"][2]["schema"] == {"enum": ["a", "b"]}
    assert found["parameters"][2]["default"] == "a"
    assert found["rest"] == {"type": "integer"}
    assert found["keyword_only"] == [
        {"name": "level", "schema": {"type": "integer"}, "required": False, "default": 3}
    ]


def test_what_a_partial_has_bound_is_not_described() -> None:
    """What a partial has bound by name is none of a caller's business; what it thereby puts behind is."""
    assert describe("paint", partial(render, level=7))["keyword_only"] == []
    found = describe("paint", partial(render, size=Size(1)))
    assert [one["name"] for one in found["parameters"]] == ["name"]
    assert [one["name"] for one in found["keyword_only"]] == ["mode", "level"]


def test_a_schema_holds_all_that_it_refers_to() -> None:
    """The schema of a structure has the schemas of its fields: it alone is enough for a form."""
    schema = describe("render", render)["parameters"][1]["schema"]
    assert schema["$ref"] == "#/$defs/Size"
    assert set(schema["$defs"]["Size"]["properties"]) == {"width", "height"}


def test_what_has_no_annotation_is_anything() -> None:
    """Without annotations any value fits, and a default that JSON cannot hold is left out."""
    x, y, z = describe("bare", bare)["parameters"]
    assert (x["schema"], x["required"], "default" in x) == ({}, True, False)
    assert (y["schema"], y["required"], "default" in y) == ({}, False, False)
    assert z["default"] == "AA=="
    assert describe("bare", bare)["description"] == ""


def test_what_has_no_schema_is_anything() -> None:
    """A type without a JSON Schema is described as any value, without an error."""
    where, path, until = describe("strange", strange)["parameters"]
    assert where["schema"] == path["schema"] == until["schema"] == {}
    assert path["default"] is None


def test_a_handler_without_parameters() -> None:
    """A handler of the job alone has no parameters."""
    found = describe("nothing", nothing)
    assert found["parameters"] == found["keyword_only"] == []
    assert found["rest"] is None


def test_an_annotation_that_cannot_be_resolved() -> None:
    """A handler with unresolvable annotations is described without schemas; others are unaffected."""

    class Local:
        pass

    async def local(job: Any, x: Local, *rest: Local, y: Local) -> None:
        """Refer to a name that only this function has."""

    found = describe("local", local)
    assert found["parameters"] == [{"name": "x", "schema": {}, "required": True}]
    assert found["keyword_only"] == [{"name": "y", "schema": {}, "required": True}]
    assert found["rest"] == {}


@pytest.mark.parametrize("fn", [render, bare, strange, nothing])
def test_a_description_is_json(fn: Any) -> None:
    """Every description can be encoded."""
    assert msgspec.json.decode(msgspec.json.encode(describe("x", fn)))["name"] == "x"


@pytest.mark.parametrize(
    ("inputs", "schema"), [(None, None), (int, {"type": "integer"}), (Any, {}), (Strange, {})]
)
def test_the_inputs_are_described(inputs: Any, schema: Any) -> None:
    """A handler that declares inputs is described with their schema, which allows all if there is none."""

    async def listen(job: Any) -> None:
        """Listens."""

    assert describe("listen", handler(inputs=inputs)(listen))["inputs"] == schema
