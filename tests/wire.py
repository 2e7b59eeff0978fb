"""The messages of `trio-jobs.v1`, of which tests send and expect some."""

from __future__ import annotations

from trio_jobs._model.job import Statistics
from trio_jobs._wire import requests
from trio_jobs._wire.errors import CODES
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
    "CODES",
    "LARGE",
    "PROTOCOL",
    "STATUS",
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

STATUS = {word: code.status for word, code in CODES.items()}
"""Every code of the wire, and the status that goes with it over HTTP."""
