"""docs/wire.md and its schema describe exactly what the server accepts and sends."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

import trio_jobs
from tests.wire import STATUS, AnyRequest, decode_request, schema

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "wire.md").read_text(encoding="utf-8")
MESSAGES = [json.loads(block) for block in re.findall(r"^```json\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)]
REQUESTS = [message for message in MESSAGES if "op" in message]
OPS = [op for kind in AnyRequest.__args__ for op in [kind.__struct_config__.tag]]


def rows(head: str) -> dict[str, str]:
    """Return the rows of the table with that head: the name in the first cell, and the rest."""
    table = PAGE.partition(f"\n| {head}")[2].partition("\n\n")[0]
    found: dict[str, str] = {}
    for line in table.splitlines()[2:]:
        first, _, rest = line.removeprefix("| ").partition(" |")
        found |= dict.fromkeys(re.findall(r"`(\w+)`", first), rest)
    return found


def test_the_schema_is_the_one_that_the_code_makes() -> None:
    """docs/wire.schema.json is up to date; `python docs/write_schema.py` writes it anew."""
    assert json.loads((DOCS / "wire.schema.json").read_text(encoding="utf-8")) == json.loads(
        json.dumps(schema())
    )


@pytest.mark.parametrize("message", REQUESTS, ids=lambda message: message["op"])
def test_the_requests_on_the_page_are_requests(message: dict[str, Any]) -> None:
    """The server decodes each request on the page as the request it is meant to be."""
    request = decode_request(json.dumps(message).encode(), 32)
    assert msgspec.to_builtins(request).items() >= {"op": message["op"], "id": message["id"]}.items()


def test_every_operation_is_told() -> None:
    """The page has a row for exactly each operation, with the names of its fields."""
    told = rows("`op` |")
    assert list(told) == OPS
    for kind in AnyRequest.__args__:
        fields = set(kind.__struct_fields__) - {"id"}
        assert {name for name in fields if f"`{name}`" not in told[kind.__struct_config__.tag]} == set()


def test_every_code_is_told_with_its_status() -> None:
    """The page has a row for exactly each code, with its HTTP status."""
    told = rows("`code` |")
    assert set(told) == set(STATUS)
    assert {
        code for code, status in STATUS.items() if str(status) not in told[code].partition("|")[0]
    } == set()


def test_every_kind_of_event_is_told() -> None:
    """The page has a row for exactly each kind of event."""
    assert set(rows("`kind` |")) == set(trio_jobs.Kind)
