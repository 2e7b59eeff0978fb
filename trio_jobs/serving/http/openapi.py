"""The OpenAPI document, made from the endpoints and from the records that they answer with."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from datetime import datetime
from http import HTTPStatus
from importlib.metadata import version
from typing import Annotated, Any, Final, TypeAlias

import attrs
import msgspec
from msgspec import UNSET, Meta, UnsetType

from ..._model.job import CancelReport, Event, Job, Statistics
from ..._model.limits import Limit, LimitStatus
from ..._model.options import PriorityName
from ..._model.retry import Retry
from ..._model.schedule import Missed, ScheduleStatus
from ..._model.summary import JobSummary
from ..._registry.bulk import BulkReport
from ..._wire.errors import CODES
from ..._wire.requests import BulkBody, HandlerNames, NewInputs, NewJob, NewSchedule
from ..overview import Overview
from ..problems import PROBLEM_TYPE
from ..values import FIELDS
from .endpoints import ENDPOINTS, Endpoint, ref

_TEXT: Final = {"type": "string"}
_WHOLE: Final = {"type": "integer"}


_Aware: TypeAlias = Annotated[datetime, Meta(tz=True)]
_AwareOrNone: TypeAlias = _Aware | None
_TIMES: Final[Mapping[Any, Any]] = {datetime: _Aware, datetime | None: _AwareOrNone}


def _shape(kind: type[Any], name: str, *may_lack: str, **changed: Any) -> type[msgspec.Struct]:
    """Return the structure that JSON has in place of a record.

    Args:
        kind: The record.
        name: What the structure is called.
        *may_lack: The fields that may be left out.
        **changed: The types of fields that JSON has in another form, or besides; None if it has none.
    """
    types = {field.name: field.type for field in attrs.fields(kind)} | changed
    fields: list[Any] = [
        (one, of | UnsetType, UNSET) if one in may_lack else (one, _TIMES.get(of, of))
        for one, of in types.items()
        if of is not None
    ]
    return msgspec.defstruct(name, fields, kw_only=True)


_RETRY: Final = _shape(Retry, "Retry", on=None)
_STATISTICS: Final = _shape(Statistics, "Statistics")
_LIMIT_STATUS: Final[Any] = _shape(LimitStatus, "LimitStatus", limit=_shape(Limit, "Limit"))
_SHAPES: Final = (
    _shape(Job, "Job", *FIELDS, "large", priority=PriorityName, retry=_RETRY, large=dict[str, int]),
    _shape(JobSummary, "JobSummary", priority=PriorityName),
    _shape(Event, "Event", "data", "large", "received", large=int),
    _shape(CancelReport, "Report"),
    _shape(BulkReport, "BulkReport"),
    _STATISTICS,
    _shape(Overview, "Overview", statistics=_STATISTICS, limits=list[_LIMIT_STATUS]),
    _shape(ScheduleStatus, "Schedule", missed=Missed, last_tick=_Aware, next_tick=_AwareOrNone),
)


def _object(**properties: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _list_of(name: str) -> dict[str, Any]:
    return {"type": "array", "items": ref(name)}


_ENVELOPES: Final = {
    "Accepted": _object(job_id=_TEXT, sse_url=_TEXT, ws_url=_TEXT),
    "Seq": _object(seq=_WHOLE),
    "Explanation": _object(text=_TEXT),
    "JobPage": _object(jobs=_list_of("JobSummary"), next={"type": ["string", "null"]}),
    "HistoryPage": _object(history=_list_of("Event"), next={"type": ["integer", "null"]}),
    "Schedules": _object(schedules=_list_of("Schedule")),
    "Limits": _object(limits=_list_of("LimitStatus")),
    "Handlers": _object(handlers=_list_of("Handler"), may={"enum": ["read", "change"]}),
    "Handler": _object(
        name=_TEXT,
        description=_TEXT,
        parameters={"type": "array", "items": {"type": "object"}},
        rest={"type": ["object", "null"]},
        inputs={"type": ["object", "null"]},
        limit_key={"type": "boolean"},
    ),
    "Problem": _object(type=_TEXT, title=_TEXT, status=_WHOLE, code={"enum": list(CODES)}, detail=_TEXT),
}
_IN_PATHS: Final = {"id": _TEXT, "seq": {"type": "string", "pattern": "^[0-9]{1,16}$"}}
_ALWAYS: Final = (400, 401, 403, 421, 429, 500, 503)
_PROBLEM: Final = {"description": "A problem.", "content": {PROBLEM_TYPE: {"schema": ref("Problem")}}}


def openapi(server: str, *, guarded: bool) -> dict[str, Any]:
    """Return the document.

    Args:
        server: The URL that the paths begin with.
        guarded: Whether callers have to authenticate.
    """
    requests = [one.request for one in ENDPOINTS if one.request is not None]
    bodies = [NewJob, NewInputs, NewSchedule, HandlerNames, BulkBody]
    _, components = msgspec.json.schema_components(
        [*bodies, *requests, *_SHAPES], ref_template=ref("{name}")["$ref"]
    )
    components["NewInputs"] |= {"minProperties": 1, "maxProperties": 1}
    paths: dict[str, dict[str, Any]] = {}
    for one in ENDPOINTS:
        named = [name for name in _IN_PATHS if f"{{{name}}}" in one.path]
        parameters = [
            {"name": name, "in": "path", "required": True, "schema": _IN_PATHS[name]} for name in named
        ]
        item = paths.setdefault(one.path, {"parameters": parameters})
        item[one.method.lower()] = _operation(one, components)
    return {
        "openapi": "3.1.0",
        "info": {"title": "trio_jobs", "version": version("trio-jobs")},
        "servers": [{"url": server}],
        "security": [{"bearer": []}] if guarded else [],
        "paths": paths,
        "components": {
            "schemas": {**components, **_ENVELOPES},
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(endpoint: Endpoint, components: Mapping[str, Any]) -> dict[str, Any]:
    parameters = [*endpoint.parameters]
    if endpoint.request is not None:
        known = {"op", "id", "job", "tags", *(one["name"] for one in parameters)}
        asked = components[endpoint.request.__name__]
        parameters += [
            {"name": name, "in": "query", "schema": schema, "required": name in asked["required"]}
            for name, schema in asked["properties"].items()
            if name not in known
        ]
    answers = {
        str(status): {"description": HTTPStatus(status).phrase, "content": content}
        for status, content in endpoint.answers.items()
    }
    found: dict[str, Any] = {
        "summary": inspect.getdoc(endpoint.work),
        "parameters": parameters,
        "responses": {**answers, **{str(status): _PROBLEM for status in (*endpoint.problems, *_ALWAYS)}},
    }
    if endpoint.body is not None:
        found["requestBody"] = {"required": True, "content": endpoint.body}
    return found
