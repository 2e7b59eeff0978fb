"""What only a client can meet, and which error of the package each code of the wire is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from .._common.errors import (
    InvalidPayload,
    KeyConflict,
    QueueFull,
    StoreUnavailable,
    StreamGap,
    TrioJobsError,
    UnknownHandler,
    UnknownJob,
)


class ServerError(TrioJobsError):
    """The server did not do what it was asked, for a reason that no other error of the package stands for.

    Attributes:
        code: Why, as a word of the wire: `unauthenticated`, `forbidden`, `too_many`, `bad_request`,
            `internal` …
        message: What the server said of it, in one line.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"the server answered {code}: {message}")
        self.code = code
        self.message = message


class Disconnected(TrioJobsError, ConnectionError):
    """The server could not be reached. Whether what was asked has happened is not known.

    The client goes on trying: the call may be made again, and a stream read on.

    Attributes:
        url: Where the server was looked for.
        why: What stood in the way last, in one line.
    """

    def __init__(self, url: str, why: str) -> None:
        super().__init__(f"{url} cannot be reached: {why}")
        self.url = url
        self.why = why


CLOSING: Final = "closing"
"""The code of a server that is about to stop: what it says is no answer, the next one will give it."""

_Fact = Mapping[str, Any]
_OURS: Final[Mapping[str, Callable[[str, _Fact], TrioJobsError]]] = {
    "unknown_job": lambda about, _: UnknownJob(about),
    "unknown_handler": lambda about, facts: UnknownHandler(about, facts["known"]),
    "invalid_payload": lambda _, facts: InvalidPayload(facts["message"]),
    "key_conflict": lambda _, facts: KeyConflict(facts["key"], facts["job_id"]),
    "queue_full": lambda _, facts: QueueFull(facts["limit"]),
    "stream_gap": lambda about, facts: StreamGap(about, facts["first"], facts["last"], facts["oldest"]),
    "unavailable": lambda _, facts: StoreUnavailable(facts["message"]),
}


def error_of(about: str, facts: _Fact) -> TrioJobsError:
    """Return the error that a server told.

    Args:
        about: The job, or the handler, that was asked about.
        facts: What the reply says: `code`, `message`, and more by code.
    """
    code, message = str(facts.get("code", "internal")), str(facts.get("message", ""))
    try:
        return _OURS[code](about, facts)
    except (KeyError, TypeError):  # a code that has no class of ours, or another server's idea of one
        return ServerError(code, message)
