"""A job's log as the stream of a UI message, as the AI SDK reads it (`x-vercel-ai-ui-message-stream: v1`).

`frames` is a pure function from events to frames. A message is a list of parts, and those that are open grow
where they stand; so a part is closed before another one begins, and what is read is in the order of the log.
A client gives up on a frame that it does not understand, or that speaks of a tool call which it has not seen.
So a token is passed on as a frame only if it is one; else it becomes a data part, as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias, cast

import attrs

from ...._model.job import Event, Kind
from ...._wire.events import Large
from ...problems import Problem
from ...sse import data_event
from ..ends import outcome_of, why
from ..said import Said, said_in

Frame: TypeAlias = dict[str, Any]
Restarts: TypeAlias = Literal["continue", "error"]

HEADERS: Final = ((b"x-vercel-ai-ui-message-stream", b"v1"),)
"""The headers by which clients know the protocol."""
DONE: Final = b"data: [DONE]\n\n"
_FIELDS: Final[Mapping[str, type]] = {
    **dict.fromkeys(("toolCallId", "toolName", "inputTextDelta", "errorText", "title", "id"), str),
    **dict.fromkeys(("sourceId", "url", "mediaType", "filename", "approvalId"), str),
    **dict.fromkeys(("input", "output", "data"), object),
    **dict.fromkeys(("dynamic", "providerExecuted", "preliminary", "transient"), bool),
}
"""The fields of a token that are passed on, and what they are."""
_NEEDS: Final[Mapping[str, frozenset[str]]] = {
    "tool-input-start": frozenset({"toolCallId", "toolName"}),
    "tool-input-delta": frozenset({"toolCallId", "inputTextDelta"}),
    "tool-input-available": frozenset({"toolCallId", "toolName", "input"}),
    "tool-input-error": frozenset({"toolCallId", "toolName", "input", "errorText"}),
    "tool-approval-request": frozenset({"toolCallId", "approvalId"}),
    "tool-output-available": frozenset({"toolCallId", "output"}),
    "tool-output-error": frozenset({"toolCallId", "errorText"}),
    "tool-output-denied": frozenset({"toolCallId"}),
    "source-url": frozenset({"sourceId", "url"}),
    "source-document": frozenset({"sourceId", "mediaType", "title"}),
    "file": frozenset({"url", "mediaType"}),
    "data-": frozenset({"data"}),
}
"""The frames that a token may be, by what their type begins with, and the fields that they need."""
_CALLS: Final = ("tool-input-start", "tool-input-available", "tool-input-error")
_FOLLOWS: Final[Mapping[str, Sequence[str]]] = {
    "tool-input-delta": ("tool-input-start",),
    "tool-approval-request": _CALLS,
    "tool-output-available": _CALLS,
    "tool-output-error": _CALLS,
    "tool-output-denied": _CALLS,
}
"""What the same tool call must have had before."""


@attrs.define
class MessageStream:
    """Writes the log of one job as the stream of one UI message.

    Args:
        job_id: The job; the message gets its id.
        restarts: What a new attempt is, once something was shown: `continue` says so in a `data-restart` and
            goes on in a second part, `error` ends the stream with an error.
        since: The first attempt whose tokens are shown.

    Attributes:
        over: Whether the stream has said all that it will say.
    """

    job_id: str
    restarts: Restarts = "continue"
    since: int = 0
    over: bool = attrs.field(default=False, init=False)
    _cursor: int = attrs.field(default=0, init=False)
    _open: tuple[str, str] | None = attrs.field(default=None, init=False)  # the kind and the id of a part
    _shown: bool = attrs.field(default=False, init=False)  # whether the attempt has sent something
    _text: bool = attrs.field(default=False, init=False)  # whether that was text of the answer
    _why: str = attrs.field(default="", init=False)  # how the attempt before has ended
    _calls: set[tuple[str, str]] = attrs.field(factory=set[tuple[str, str]], init=False)

    # ------------------------------------------------------------ as a `Dialect`

    def write(self, events: Sequence[Event], /) -> bytes:
        """Return events as they are sent."""
        frames = [*self.frames(events)]
        return "".join(map(data_event, frames)).encode() + DONE * (self.over and bool(frames))

    def fault(self, problem: Problem, /) -> bytes:
        """Return what says that the stream breaks off."""
        return data_event({"type": "error", "errorText": problem.message}).encode() + DONE

    # ------------------------------------------------------------ the frames

    def frames(self, events: Iterable[Event]) -> Iterator[Frame]:
        """Yield the frames of the next events."""
        for event in events:
            if self.over:
                return
            if event.seq > self._cursor + 1:
                yield from self._gap(self._cursor + 1, event.seq - 1)
            self._cursor = event.seq
            yield from self._said_of(event)

    def _said_of(self, event: Event) -> Iterator[Frame]:
        """Yield what is said of an event, by its kind; of most kinds that is nothing."""
        match event.kind:
            case Kind.SUBMITTED:
                yield {"type": "start", "messageId": self.job_id}
            case Kind.STARTED if self._shown:
                yield from self._began_anew(event.attempt)
            case Kind.RETRIED:
                self._why = str(event.data.reason)
            case Kind.TOKEN if event.attempt >= self.since:
                yield from self._token(event)
            case Kind.PROGRESS if event.attempt >= self.since:
                yield {"type": "data-progress", "data": event.data, "transient": True}
            case Kind.COMPLETED:
                yield from self._completed(event)
            case Kind.FAILED | Kind.EXPIRED:
                yield from self._end({"type": "error", "errorText": f"the job failed: {why(event.data)}"})
            case Kind.CANCELLED:
                yield from self._end({"type": "abort", "reason": str(event.data.reason)})
            case _:
                pass

    def _gap(self, first: int, last: int) -> Iterator[Frame]:
        yield from self._close()
        yield {"type": "data-gap", "data": {"first": first, "last": last}}

    def _close(self) -> Iterator[Frame]:
        if self._open is not None:
            kind, part = self._open
            self._open = None
            yield {"type": f"{kind}-end", "id": part}

    def _began_anew(self, attempt: int) -> Iterator[Frame]:
        yield from self._close()
        self._shown = self._text = False
        if self.restarts == "error":
            self.over = True
            yield {"type": "error", "errorText": "the answer began anew; resume the stream to read it"}
        else:
            yield {"type": "data-restart", "data": {"attempt": attempt, "reason": self._why}}

    def _token(self, event: Event) -> Iterator[Frame]:
        self._shown = True
        said = said_in(event.data)
        if said is not None:
            yield from self._say(said, event.seq)
        elif isinstance(event.data, Large):
            yield from self._gap(event.seq, event.seq)
        else:
            yield from self._close()
            yield self._passed_on(event.data) or {"type": "data-token", "data": event.data}

    def _say(self, said: Said, seq: int) -> Iterator[Frame]:
        self._text |= said.kind == "text"
        if self._open is None or self._open[0] != said.kind:
            yield from self._close()
            self._open = said.kind, str(seq)
            yield {"type": f"{said.kind}-start", "id": self._open[1]}
        yield {"type": f"{said.kind}-delta", "id": self._open[1], "delta": said.text}

    def _passed_on(self, token: Any) -> Frame | None:
        """Return the frame that a token is, if it is one that clients understand here."""
        frame = frame_of(token)
        if frame is not None and "toolCallId" in frame:
            kind, call = frame["type"], frame["toolCallId"]
            if kind in _FOLLOWS and not any((one, call) in self._calls for one in _FOLLOWS[kind]):
                return None
            self._calls.add((kind, call))
        return frame

    def _completed(self, event: Event) -> Iterator[Frame]:
        outcome = outcome_of(event.data)
        if outcome.text and not self._text:
            yield from self._say(Said("text", outcome.text), event.seq)  # of a handler that did not stream it
        elif isinstance(event.data, Large) and not self._text:
            yield from self._gap(event.seq, event.seq)
        reason = "length" if outcome.cut_off else "tool-calls" if outcome.calls else "stop"
        yield from self._end({"type": "finish", "finishReason": reason})

    def _end(self, last: Frame) -> Iterator[Frame]:
        self.over = True
        yield from self._close()
        yield last


def frame_of(token: object) -> Frame | None:
    """Return a token as the frame that it is; None if it is none, or lacks something, or has a wrong type."""
    if not isinstance(token, dict):
        return None
    given = cast("dict[str, Any]", token)
    kind = given.get("type")
    if not isinstance(kind, str):
        return None
    needs = _NEEDS.get("data-" if kind.startswith("data-") else kind)
    found = {name: value for name, value in given.items() if name in _FIELDS}
    if needs is None or not needs <= found.keys():
        return None
    if not all(isinstance(value, _FIELDS[name]) for name, value in found.items()):
        return None
    return {"type": kind, **found}
