"""The OpenAPI document of the HTTP interface."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any, Final

import attrs
import msgspec

from ..._common.states import Reason, State
from ..._common.validate import TAGS
from ..._model.job import Kind
from ..._model.summary import JobSummary
from ..._wire.requests import LONGEST_KEY, Cancel, History, List, NewJob
from ..problems import STATUS
from ..values import FIELDS

_REF: Final = "#/components/schemas/{name}"
_TEXT: Final = {"type": "string"}
_NUMBER: Final = {"type": "number"}
_WHOLE: Final = {"type": "integer"}
_TIME: Final = {"type": ["string", "null"], "format": "date-time"}
_ANY: Final[Mapping[str, Any]] = {}


def _or_null(kind: str) -> dict[str, Any]:
    return {"type": [kind, "null"]}


def _object(properties: Mapping[str, Any], left_out: Mapping[str, Any] = _ANY) -> dict[str, Any]:
    """Return the schema of an object; what may be left out is told apart."""
    return {"type": "object", "properties": {**properties, **left_out}, "required": list(properties)}


_ERROR: Final = {"anyOf": [_object({"type": _TEXT, "message": _TEXT, "traceback": _TEXT}), {"type": "null"}]}

_JOB: Final = _object(
    {
        "id": _TEXT,
        "handler": _TEXT,
        "state": {"enum": [str(state) for state in State]},
        "reason": {"enum": [*(str(reason) for reason in Reason), None]},
        "message": _or_null("string"),
        "error": _ERROR,
        "attempt": _WHOLE,
        "priority": {"enum": ["urgent", "high", "normal", "low"]},
        "tags": {"type": "object", "additionalProperties": _TEXT},
        "owner": _or_null("string"),
        "key": _or_null("string"),
        "parent": _or_null("string"),
        "timeouts": {"type": "object"},
        "retry": {"type": "object"},
        "spent": _WHOLE,
        "created_at": {"type": "string", "format": "date-time"},
        "started_at": _TIME,
        "finished_at": _TIME,
        "next_attempt_at": _TIME,
        "cancel_requested_at": _TIME,
        "last_seq": _WHOLE,
    },
    left_out={
        "result": _ANY,
        "saved": _ANY,
        "metadata": {"type": "object"},
        "large": {"type": "object", "additionalProperties": _WHOLE},
    },
)
_PROGRESS: Final = _object({"done": _NUMBER, "total": _or_null("number"), "message": _or_null("string")})
_IN_LISTS: Final = frozenset(field.name for field in attrs.fields(JobSummary))
_SUMMARY: Final = _object(
    {
        **{name: schema for name, schema in _JOB["properties"].items() if name in _IN_LISTS},
        "progress": {"anyOf": [_PROGRESS, {"type": "null"}]},
        **dict.fromkeys(("args_bytes", "result_bytes", "log_bytes"), _WHOLE),
    }
)
_EVENT: Final = _object(
    {
        "seq": _WHOLE,
        "attempt": _WHOLE,
        "kind": {"enum": [str(kind) for kind in Kind]},
        "timestamp": _NUMBER,
    },
    left_out={"data": _ANY, "large": _WHOLE},
)
_RECORDS: Final = {
    "Job": _JOB,
    "JobSummary": _SUMMARY,
    "Event": _EVENT,
    "Accepted": _object({"job_id": _TEXT, "sse_url": _TEXT, "ws_url": _TEXT}),
    "Report": _object(
        {
            "outcome": {"enum": ["cancelled", "finished_first", "already_over", "stuck", "requested"]},
            "took": _NUMBER,
            "stack": _or_null("string"),
        }
    ),
    "Problem": _object(
        {"type": _TEXT, "title": _TEXT, "status": _WHOLE, "code": {"enum": list(STATUS)}, "detail": _TEXT}
    ),
    "Handler": _object(
        {
            "name": _TEXT,
            "description": _TEXT,
            "parameters": {"type": "array", "items": {"type": "object"}},
            "rest": _or_null("object"),
        }
    ),
    "Statistics": _object(
        {
            "states": {"type": "object", "additionalProperties": _WHOLE},
            "running": _WHOLE,
            "capacity": _WHOLE,
            "paused": {"type": "boolean"},
            "readers": _WHOLE,
        }
    ),
}


def openapi(server: str, *, guarded: bool) -> dict[str, Any]:
    """Return the document.

    Args:
        server: The URL that the paths begin with.
        guarded: Whether callers have to say who they are.
    """
    _, components = msgspec.json.schema_components([NewJob, List, History, Cancel], ref_template=_REF)
    return {
        "openapi": "3.1.0",
        "info": {"title": "trio_jobs", "version": version("trio-jobs")},
        "servers": [{"url": server}],
        "security": [{"bearer": []}] if guarded else [],
        "paths": _paths(components),
        "components": {
            "schemas": {**components, **_RECORDS},
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


def _ref(name: str) -> dict[str, str]:
    return {"$ref": _REF.format(name=name)}


def _json(schema: Mapping[str, Any], description: str) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _answers(*statuses: int, **found: Any) -> dict[str, Any]:
    """Return responses: those given, and a problem for each status."""
    problem = {"application/problem+json": {"schema": _ref("Problem")}}
    always = (400, 401, 403, 421, 429, 500, 503)
    return {
        **{name.removeprefix("_"): answer for name, answer in found.items()},
        **{str(status): {"description": "A problem.", "content": problem} for status in (*statuses, *always)},
    }


def _parameters(struct: Mapping[str, Any], left_out: frozenset[str]) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "query", "schema": schema}
        for name, schema in struct["properties"].items()
        if name not in left_out
    ]


_JOB_ID: Final = {"name": "id", "in": "path", "required": True, "schema": _TEXT}
_KEY: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "schema": {"type": "string", "minLength": 1, "maxLength": LONGEST_KEY},
}
_SEQ: Final = {
    "name": "seq",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "pattern": "^[0-9]{1,16}$"},
}
_NEXT: Final = {"type": "string", "pattern": "^[0-9]{1,18}$", "description": "The `next` of the page before."}
_CURSOR: Final = {"type": "string", "pattern": "^[0-9]{0,16}$"}
_STATES: Final = {"type": "array", "minItems": 1, "items": {"enum": [str(state) for state in State]}}
_TAG: Final = {"type": "string", "pattern": r"^[^=\u0000]{0,100}=[^\u0000]{0,500}$"}
_TAGS: Final = {"type": "array", "minItems": 1, "maxItems": TAGS, "items": _TAG}


def _list_of(items: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


_JOBS: Final = _object({"jobs": _list_of(_ref("JobSummary")), "next": _or_null("string")})
_HISTORY: Final = _object({"history": _list_of(_ref("Event")), "next": _or_null("integer")})


def _paths(components: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "/v1/jobs": {"post": _submit(), "get": _list(components["List"])},
        "/v1/jobs/{id}": {
            "parameters": [_JOB_ID],
            "get": {
                "summary": "Look a job up.",
                "responses": _answers(404, _200=_json(_ref("Job"), "The job.")),
            },
            "delete": _cancel(components["Cancel"]),
        },
        "/v1/jobs/{id}/history": {
            "parameters": [_JOB_ID],
            "get": {
                "summary": "Read a job's events but for tokens and progress.",
                "parameters": _parameters(components["History"], frozenset({"op", "id", "job"})),
                "responses": _answers(400, 404, 422, _200=_json(_HISTORY, "The events.")),
            },
        },
        "/v1/jobs/{id}/history/{seq}": _value("Read the data of one event, however large it is.", _SEQ),
        **{
            f"/v1/jobs/{{id}}/{name}": _value(f"Read a job's {name}, however large it is.") for name in FIELDS
        },
        "/v1/jobs/{id}/stream": {"parameters": [_JOB_ID], "get": _stream()},
        "/v1/handlers": {
            "get": {
                "summary": "Ask what can be submitted.",
                "responses": _answers(
                    _200=_json(_object({"handlers": _list_of(_ref("Handler"))}), "The handlers.")
                ),
            }
        },
        "/v1/statistics": {
            "get": {
                "summary": "Ask what the server is doing.",
                "responses": _answers(_200=_json(_ref("Statistics"), "The statistics.")),
            }
        },
        "/v1/metrics": {
            "get": {
                "summary": "The same for Prometheus.",
                "responses": _answers(
                    _200={"description": "The metrics.", "content": {"text/plain": {"schema": _TEXT}}}
                ),
            }
        },
    }


def _submit() -> dict[str, Any]:
    body = {"required": True, "content": {"application/json": {"schema": _ref("NewJob")}}}
    accepted = _json(_ref("Accepted"), "It is in the store.")
    return {
        "summary": "Submit a job.",
        "parameters": [_KEY],
        "requestBody": body,
        "responses": _answers(400, 408, 409, 413, 415, 422, _202=accepted),
    }


def _value(summary: str, *parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "parameters": [_JOB_ID, *parameters],
        "get": {"summary": summary, "responses": _answers(400, 404, 409, _200=_json(_ANY, "The value."))},
    }


def _list(struct: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "summary": "List jobs, page by page.",
        "parameters": [
            {"name": "state", "in": "query", "schema": _STATES, "explode": True},
            {"name": "tag", "in": "query", "schema": _TAGS, "explode": True},
            {"name": "cursor", "in": "query", "schema": _NEXT},
            *_parameters(struct, frozenset({"op", "id", "state", "tags", "cursor"})),
        ],
        "responses": _answers(
            400, 422, _200=_json(_JOBS, "Some that match; `next` is the cursor of the next page.")
        ),
    }


def _cancel(struct: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "summary": "Cancel a job.",
        "parameters": _parameters(struct, frozenset({"op", "id", "job"})),
        "responses": _answers(
            400,
            404,
            422,
            _200=_json(_ref("Report"), "What became of it."),
            _202=_json(_ref("Report"), "It was asked, and has not stopped yet."),
        ),
    }


def _stream() -> dict[str, Any]:
    return {
        "summary": "Read a job's log behind a cursor, and then live, as server-sent events.",
        "parameters": [
            {"name": "after", "in": "query", "schema": _CURSOR},
            {"name": "policy", "in": "query", "schema": {"enum": ["gap", "block"]}},
            {"name": "Last-Event-ID", "in": "header", "schema": _CURSOR},
        ],
        "responses": _answers(
            400,
            404,
            409,
            _200={"description": "The log.", "content": {"text/event-stream": {}}},
            _204={"description": "The end was told; do not come back."},
        ),
    }
