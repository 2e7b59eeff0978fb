"""The messages of `trio-jobs.v1`, of which tests send and expect some."""

from __future__ import annotations

from trio_jobs._model.job import Statistics, Step
from trio_jobs._wire import requests
from trio_jobs._wire.decoding import check_depth, decode_body, decode_request, schema
from trio_jobs._wire.errors import CODES
from trio_jobs._wire.events import LARGE, Large, encode_event
from trio_jobs._wire.options import RetryOptions, SubmitOptions
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
    PROTOCOL,
    AnyRequest,
    BadRequest,
    BulkBody,
    Cancel,
    EndInputs,
    Find,
    Follow,
    Get,
    GetValue,
    History,
    List,
    NewJob,
    Pause,
    Resubmit,
    Resume,
    Send,
    Submit,
    Wait,
    WhereFields,
)

__all__ = [
    "CODES",
    "LARGE",
    "PROTOCOL",
    "STATUS",
    "AnyRequest",
    "BadRequest",
    "BulkBody",
    "Cancel",
    "EndInputs",
    "Find",
    "Follow",
    "Gap",
    "Get",
    "GetValue",
    "History",
    "Large",
    "List",
    "NewJob",
    "Pause",
    "ProtocolViolation",
    "Resubmit",
    "Resume",
    "RetryOptions",
    "Seen",
    "Send",
    "Statistics",
    "Step",
    "Submit",
    "SubmitOptions",
    "Wait",
    "WhereFields",
    "check_depth",
    "decode_body",
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
