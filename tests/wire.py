"""The messages of `trio-jobs.v1`, of which tests send and expect some."""

from __future__ import annotations

from trio_jobs._model.job import Statistics
from trio_jobs._wire import requests
from trio_jobs._wire.replies import (
    Gap,
    ProtocolViolation,
    Seen,
    decode_reply,
    events_of,
    job_of,
    record_of,
)
from trio_jobs._wire.requests import (
    LARGE,
    PROTOCOL,
    AnyRequest,
    BadRequest,
    Cancel,
    Find,
    Follow,
    Get,
    GetValue,
    History,
    Large,
    List,
    NewJob,
    Submit,
    SubmitOptions,
    Wait,
    decode_request,
    encode_event,
    schema,
)

__all__ = [
    "LARGE",
    "PROTOCOL",
    "AnyRequest",
    "BadRequest",
    "Cancel",
    "Find",
    "Follow",
    "Gap",
    "Get",
    "GetValue",
    "History",
    "Large",
    "List",
    "NewJob",
    "ProtocolViolation",
    "Seen",
    "Statistics",
    "Submit",
    "SubmitOptions",
    "Wait",
    "decode_reply",
    "decode_request",
    "encode_event",
    "events_of",
    "job_of",
    "record_of",
    "requests",
    "schema",
]
