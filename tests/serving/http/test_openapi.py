"""The OpenAPI document describes the server: its paths, its parameters and its answers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import trio
from starlette.routing import Route

from tests.serving.served import Site, served
from tests.wire import STATUS
from trio_jobs import Retry, Timeouts, handler, open_registry
from trio_jobs.serving import Caller, Limits, http_app
from trio_jobs.serving.http.openapi import openapi
from trio_jobs.serving.values import FIELDS

NOT_DESCRIBED = {"/openapi.json", "/healthz", "/readyz", "/"}
TYPES: dict[str, Any] = {
    "string": str,
    "number": (int, float),
    "integer": int,
    "boolean": bool,
    "object": dict,
    "array": list,
    "null": type(None),
}


def faults(value: Any, schema: dict[str, Any], document: Any, where: str = "$") -> Iterator[str]:
    """Return where a value violates a schema, for the keywords of JSON Schema that the document uses."""
    if "$ref" in schema:
        yield from faults(value, found(schema["$ref"], document), document, where)
    if "anyOf" in schema and not any(not list(faults(value, one, document)) for one in schema["anyOf"]):
        yield f"{where}: none of anyOf"
    if "enum" in schema and value not in schema["enum"]:
        yield f"{where}: {value!r} is none of {schema['enum']}"
    kinds = schema.get("type", list(TYPES))
    allowed = [kinds] if isinstance(kinds, str) else kinds
    is_flag = isinstance(value, bool) and "boolean" not in allowed
    if is_flag or not any(isinstance(value, TYPES[kind]) for kind in allowed):
        yield f"{where}: {value!r} is no {kinds}"
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        yield from (f"{where}: no {name}" for name in schema.get("required", ()) if name not in value)
        for name, one in value.items():
            yield from faults(
                one, properties.get(name, schema.get("additionalProperties", {})), document, f"{where}.{name}"
            )
    if isinstance(value, list):
        for number, one in enumerate(value):
            yield from faults(one, schema.get("items", {}), document, f"{where}[{number}]")


def found(ref: str, document: Any) -> Any:
    """Return the target of a `$ref`; a KeyError if there is none."""
    assert ref.startswith("#/")
    for name in ref[2:].split("/"):
        document = document[name]
    return document


def refs(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from (one for name, one in value.items() if name == "$ref")
        for one in value.values():
            yield from refs(one)
    elif isinstance(value, list):
        for one in value:
            yield from refs(one)


def test_every_reference_leads_somewhere() -> None:
    """No `$ref` is dangling, and every component is used."""
    document = openapi("http://x", guarded=False)
    used = set(refs(document))
    for ref in used:
        assert found(ref, document)
    schemas = set(document["components"]["schemas"])
    in_urls = {"List", "History", "Cancel", "SetLimit", "UnsetLimit"}
    in_urls |= {f"{verb}Schedule" for verb in ("Remove", "Pause", "Resume", "Trigger")}
    assert schemas - {ref.rpartition("/")[2] for ref in used} <= in_urls


def test_the_document_is_json_of_its_version() -> None:
    """The document is JSON, and has its version, its server and how to authenticate."""
    document = json.loads(json.dumps(openapi("https://x/jobs", guarded=False)))
    assert document["openapi"].startswith("3.1.")
    assert document["servers"] == [{"url": "https://x/jobs"}]
    assert set(document["info"]) == {"title", "version"}
    (scheme,) = document["components"]["securitySchemes"].values()
    assert scheme == {"type": "http", "scheme": "bearer"}


async def test_paths_and_methods_are_those_of_the_routes() -> None:
    """The paths and methods are those of the routes, except the page and what needs no description."""
    async with open_registry() as jobs:
        routes = {
            route.path: {method.lower() for method in route.methods or ()} - {"head"}
            for route in http_app(jobs).routes
            if isinstance(route, Route)
            and route.path not in NOT_DESCRIBED
            and not route.path.startswith("/page/")
        }
    described = {
        path: set(item) & {"get", "post", "delete", "put", "patch"}
        for path, item in openapi("http://x", guarded=False)["paths"].items()
    }
    assert described == routes


def test_path_parameters_are_declared() -> None:
    """Each name in braces is a required parameter of its path."""
    for path, item in openapi("http://x", guarded=False)["paths"].items():
        declared = [one["name"] for one in item.get("parameters", ()) if one["in"] == "path"]
        assert declared == re.findall(r"{(\w+)}", path)


def test_a_problems_codes_and_statuses_are_those_of_the_table() -> None:
    """Each code of the table may be in a problem; each status of a path is in the table."""
    document = openapi("http://x", guarded=False)
    assert document["components"]["schemas"]["Problem"]["properties"]["code"]["enum"] == list(STATUS)
    for item in document["paths"].values():
        for method in set(item) - {"parameters"}:
            for status, response in item[method]["responses"].items():
                if "application/problem+json" in response.get("content", {}):
                    assert int(status) in STATUS.values()


@handler(retry=Retry(attempts=2, initial=0, jitter=0), timeouts=Timeouts(run=5))
async def twice(job: Any) -> dict[str, Any]:
    """Fail in the first attempt; then send a value."""
    await job.save({"at": job.attempt})
    await job.progress(job.attempt, 2)
    if job.attempt == 1:
        raise OSError("again")
    return {"any": ["value", None, 1.5]}


@handler
async def hang(job: Any, of: list[int], *more: str) -> None:
    """Wait."""
    await trio.sleep_forever()


@handler
async def fail(job: Any) -> None:
    """Fail."""
    raise ValueError("no")


async def checked(site: Site, document: Any, method: str, path: str, template: str, **more: Any) -> Any:
    """Send a request, and check the answer against the document's entry for its path, method and status."""
    answer = await site.http.request(method, path, **more)
    item = document["paths"][template][method.lower()]
    described = item["responses"][str(answer.status_code)]
    kind = answer.headers["content-type"].partition(";")[0]
    schema = described["content"][kind].get("schema", {})  # OpenAPI cannot describe event streams
    value = answer.json() if kind.endswith("json") else answer.text
    assert list(faults(value, schema, document)) == [], (method, path)
    return value


async def test_real_answers_are_as_described() -> None:
    """Jobs and events of every kind, reports, handlers, statistics and problems fit their schemas."""
    async with served([twice, hang, fail]) as site:
        document = (await site.http.get("/openapi.json")).json()
        assert document["servers"] == [{"url": site.url}]
        ids = []
        for body in (
            {"handler": "twice", "options": {"tags": {"a": "b"}, "metadata": {"x": [1]}, "key": "k"}},
            {"handler": "fail", "options": {"owner": "ann", "priority": "urgent"}},
            {"handler": "hang", "args": [[1]], "options": {"timeout": 60, "delay": 0}},
        ):
            assert list(faults(body, document["components"]["schemas"]["NewJob"], document)) == []
            accepted = await checked(site, document, "POST", "/v1/jobs", "/v1/jobs", json=body)
            ids.append(accepted["job_id"])
        for job_id in ids[:2]:
            await (await site.jobs.get(job_id)).wait()
        await checked(site, document, "DELETE", f"/v1/jobs/{ids[2]}?reason=x", "/v1/jobs/{id}")
        for job_id in ids:
            await checked(site, document, "GET", f"/v1/jobs/{job_id}", "/v1/jobs/{id}")
            await checked(site, document, "GET", f"/v1/jobs/{job_id}/history", "/v1/jobs/{id}/history")
            why = f"/v1/jobs/{job_id}/explanation"
            assert job_id in (await checked(site, document, "GET", why, "/v1/jobs/{id}/explanation"))["text"]
            data = f"/v1/jobs/{job_id}/history/1"
            await checked(site, document, "GET", data, "/v1/jobs/{id}/history/{seq}")
            for name in FIELDS:
                await checked(site, document, "GET", f"/v1/jobs/{job_id}/{name}", f"/v1/jobs/{{id}}/{name}")
            await checked(site, document, "GET", f"/v1/jobs/{job_id}/stream", "/v1/jobs/{id}/stream")
            again, key = f"/v1/jobs/{job_id}/resubmit", {"idempotency-key": f"again-{job_id}"}
            options: list[Any] = [{"priority": "low"}, {"priority": "low"}, {"delay": -1}]
            for body in options:
                template = "/v1/jobs/{id}/resubmit"
                await checked(site, document, "POST", again, template, json=body, headers=key)
        unknown = {"handler": "echo", "args": [1], "again": "0" * 32}
        await checked(site, document, "POST", "/v1/jobs", "/v1/jobs", json=unknown)
        assert len((await checked(site, document, "GET", "/v1/jobs", "/v1/jobs"))["jobs"]) == 6
        where: Any = {"state": ["failed"], "older_than": 0}
        for action, wanted in (("cancel", 0), ("retry", 1), ("remove", 1)):
            bulk = {"action": action, "where": where, "dry_run": action == "remove"}
            done = await checked(site, document, "POST", "/v1/jobs/bulk", "/v1/jobs/bulk", json=bulk)
            assert (done["count"] > 0) == wanted
        wrong = {"action": "remove", "where": {"state": "nope"}}
        await checked(site, document, "POST", "/v1/jobs/bulk", "/v1/jobs/bulk", json=wrong)
        for path in ("/v1/handlers", "/v1/statistics", "/v1/metrics"):
            await checked(site, document, "GET", path, path)
        for path in ("/v1/pause", "/v1/resume"):
            await checked(site, document, "POST", path, path, json={"handlers": ["twice"]})


async def test_real_problems_are_as_described() -> None:
    """A refusal is a problem, with a status that the document has for its path."""
    async with served(limits=Limits(message=1024)) as site:
        document = (await site.http.get("/openapi.json")).json()
        new = {"handler": "count", "args": [1]}
        for body, headers in (
            ({}, {}),
            ({"handler": "x"}, {}),
            (new, {"host": "evil.example"}),
            (new, {"origin": "https://evil.example"}),
            (new, {"content-type": "text/plain"}),
            ({**new, "args": ["x" * 2000]}, {}),
        ):
            problem = await checked(
                site, document, "POST", "/v1/jobs", "/v1/jobs", json=body, headers=headers
            )
            assert problem["code"] in STATUS
        for path, template in (
            ("/v1/jobs?limit=0", "/v1/jobs"),
            ("/v1/jobs/x", "/v1/jobs/{id}"),
            ("/v1/jobs/x/history", "/v1/jobs/{id}/history"),
            ("/v1/jobs/x/history?after=x", "/v1/jobs/{id}/history"),
            ("/v1/jobs/x/result", "/v1/jobs/{id}/result"),
            ("/v1/jobs/x/history/x", "/v1/jobs/{id}/history/{seq}"),
            ("/v1/jobs?cursor=x", "/v1/jobs"),
            ("/v1/jobs/x/stream", "/v1/jobs/{id}/stream"),
            ("/v1/jobs/x/stream?after=x", "/v1/jobs/{id}/stream"),
        ):
            await checked(site, document, "GET", path, template)
        job_id = await site.submit("count", 1)
        await (await site.jobs.get(job_id)).wait()
        await checked(site, document, "GET", f"/v1/jobs/{job_id}/stream?after=99", "/v1/jobs/{id}/stream")
        data = f"/v1/jobs/{job_id}/history/99"
        await checked(site, document, "GET", data, "/v1/jobs/{id}/history/{seq}")


def test_the_check_of_schemas_finds_faults() -> None:
    """The validator of these tests refuses wrong values."""
    document = openapi("http://x", guarded=False)
    report = {"outcome": "cancelled", "took": 1.0, "stack": None}
    schema = {"$ref": "#/components/schemas/Report"}
    assert list(faults(report, schema, document)) == []
    wrongs: list[Any] = [{**report, "outcome": "x"}, {**report, "took": "x"}, {"outcome": "stuck"}, [], None]
    for wrong in wrongs:
        assert list(faults(wrong, schema, document)) != []


async def _nobody(_: Mapping[str, str]) -> Caller | None:
    return None


@pytest.mark.parametrize("authenticate", [None, _nobody])
async def test_it_says_whether_callers_are_asked_who_they_are(authenticate: Any) -> None:
    """The document is public, and requires a token exactly if the server does."""
    async with served(authenticate=authenticate) as site:
        document = (await site.http.get(f"{site.url}/openapi.json")).json()
        status = (await site.http.get(f"{site.url}/v1/jobs")).status_code
    assert (document["security"], status) == (([], 200) if authenticate is None else ([{"bearer": []}], 401))
