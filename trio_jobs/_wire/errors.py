"""The codes of errors: one table, by which a server names an error, and a client raises it again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

import trio

from .._common.errors import (
    Busy,
    IllegalTransition,
    InboxFull,
    InvalidPayload,
    KeyConflict,
    QueueFull,
    StoreUnavailable,
    StreamGap,
    UnknownHandler,
    UnknownJob,
)
from ..stores.schedules import ScheduleDeclared, UnknownSchedule
from .requests import BadRequest


class Code(NamedTuple):
    """What a code of the wire stands for.

    Attributes:
        status: The HTTP status that goes with it.
        error: The error that a server answers with it; None if it is a refusal of the server's own.
        made_of: What a client makes that error of, in order: `about`, the job, handler or schedule that the
            request names; `message`; `conflict`, the end of the message of a `KeyConflict`; and attributes of
            the error, which a server sends as facts. None if a client raises `ServerError` in its place.
    """

    status: int
    error: type[Exception] | None = None
    made_of: tuple[str, ...] | None = None

    @property
    def facts(self) -> list[str]:
        """The attributes of the error that a server sends."""
        return [name for name in self.made_of or () if name not in {"about", "message", "conflict"}]


CODES: Final[Mapping[str, Code]] = {
    "bad_request": Code(400, BadRequest),
    "unauthenticated": Code(401),
    "forbidden": Code(403),
    "unknown_job": Code(404, UnknownJob, ("about",)),
    "not_found": Code(404),
    "unknown_schedule": Code(404, UnknownSchedule, ("about",)),
    "method_not_allowed": Code(405),
    "too_slow": Code(408),
    "key_conflict": Code(409, KeyConflict, ("key", "job_id", "conflict")),
    "busy": Code(409, Busy, ("job_id",)),
    "schedule_declared": Code(409, ScheduleDeclared, ("name",)),
    "illegal_transition": Code(409, IllegalTransition, ("state", "transition", "hint")),
    "no_inputs": Code(409),
    "stream_gap": Code(409, StreamGap, ("about", "first", "last", "oldest")),
    "changed": Code(409),
    "too_large": Code(413),
    "wrong_type": Code(415),
    "misdirected": Code(421),
    "unknown_handler": Code(422, UnknownHandler, ("about", "known")),
    "invalid_payload": Code(422, InvalidPayload, ("message",)),
    "upgrade_required": Code(426),
    "too_many": Code(429),
    "inbox_full": Code(429, InboxFull, ("unconsumed", "received", "limit")),
    "head_too_large": Code(431),
    "internal": Code(500),
    "queue_full": Code(503, QueueFull, ("limit", "name", "key")),
    "unavailable": Code(503, StoreUnavailable, ("message",)),
    "closing": Code(503, trio.ClosedResourceError),
}
