"""The OpenAPI document is complete in itself; that the server keeps to it is tried by openapi/run.py."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import httpx2
import pytest

import trio_jobs
from trio_jobs.serving import Caller, http_app
from trio_jobs.serving.openapi import openapi
from trio_jobs.serving.problems import STATUS


async def nobody(headers: Mapping[str, str]) -> Caller | None:
    return None


def references(part: Any) -> set[str]:
    """Return what a part of the document refers to."""
    if isinstance(part, list):
        return set().union(*map(references, part))
    if not isinstance(part, dict):
        return set()
    found = {part["$ref"]} if isinstance(part.get("$ref"), str) else set()
    return found.union(*map(references, part.values()))


def test_what_it_refers_to_is_there() -> None:
    """Each reference leads to a schema of the document."""
    document = openapi("http://localhost", guarded=False)
    there = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert references(document) <= there


@pytest.mark.parametrize("authenticate", [None, nobody])
async def test_it_says_whether_callers_are_asked_who_they_are(authenticate: Any) -> None:
    """It is for everybody, and demands a token exactly if the server does."""
    async with trio_jobs.open_registry() as jobs:
        app = http_app(jobs, authenticate=authenticate)
        async with httpx2.AsyncClient(
            transport=httpx2.ASGITransport(app), base_url="http://localhost"
        ) as client:
            document = (await client.get("/openapi.json")).json()
            status = (await client.get("/v1/jobs")).status_code
    assert (document["security"], status) == (([], 200) if authenticate is None else ([{"bearer": []}], 401))


async def test_it_has_every_path_of_the_interface() -> None:
    """No path under /v1 is left out, but for the WebSocket, which OpenAPI cannot say; and none is made up."""
    async with trio_jobs.open_registry() as jobs:
        routes = [getattr(route, "path", "") for route in http_app(jobs).routes]
    served = {path for path in routes if path.startswith("/v1/")} - {"/v1/ws"}
    assert set(openapi("", guarded=False)["paths"]) == served


def test_its_problems_have_a_code_of_the_wire() -> None:
    """What may be the code of a problem is what the server has, and each status is one of those."""
    document = openapi("", guarded=False)
    assert document["components"]["schemas"]["Problem"]["properties"]["code"] == {"enum": list(STATUS)}
    statuses = {
        int(status)
        for path in document["paths"].values()
        for name, operation in path.items()
        if name != "parameters"
        for status in operation["responses"]
        if re.match("[45]", status)
    }
    assert statuses <= set(STATUS.values())
