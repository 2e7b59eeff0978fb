"""A log as the chunks of a streamed chat completion; no I/O.

The protocol has no cursor, and no way to take text back. So a stream that cannot go on, as another attempt
begins anew or pieces are gone, ends with an error.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import attrs

from ...._model.job import ENDS, Ended, Event, Job, Kind
from ...._wire.events import Large
from ..ends import Outcome, outcome_of, why
from ..said import Said, said_in

Chunk: TypeAlias = dict[str, Any]

_WANTED: Final = frozenset({Kind.TOKEN, Kind.COMPLETED})
_FIELDS: Final = {"text": "content", "reasoning": "reasoning_content"}


@attrs.define
class Completion:
    """The chat completion that a job is: `take` each event in order.

    Attributes:
        ended: Whether the last event has come.
        broken: Whether an error was told, behind which nothing comes.
    """

    _job: Job
    _with_usage: bool = False
    ended: bool = False
    broken: bool = False
    _seq: int = 0
    _said: bool = False
    _text: bool = False

    def take(self, event: Event) -> Sequence[Chunk]:  # noqa: PLR0911  # a table
        """Return the chunks that tell an event; none if the protocol has no word for it."""
        gap = event.seq != self._seq + 1
        self._seq = event.seq
        self.ended = event.kind in ENDS
        if self.broken:
            return ()
        if gap or (event.kind in _WANTED and isinstance(event.data, Large)):
            return self._break("stream_gap", "pieces of the answer are not kept any more")
        match event.kind:
            case Kind.SUBMITTED:
                return [self._chunk({"role": "assistant", "content": ""})]
            case Kind.STARTED if self._said:
                return self._break("stream_restarted", "the answer begins anew; ask again")
            case Kind.TOKEN:
                said = said_in(event.data)
                return () if said is None else [self._say(said)]
            case Kind.COMPLETED:
                return self._completed(outcome_of(event.data))
            case Kind.CANCELLED:
                return self._break("cancelled", "the job was cancelled")
            case Kind.FAILED | Kind.EXPIRED:
                ended: Ended = event.data
                return self._break("server_error", f"the job failed: {why(ended)}")
            case _:
                return ()

    def _say(self, said: Said) -> Chunk:
        self._said = True
        self._text |= said.kind == "text"
        return self._chunk({_FIELDS[said.kind]: said.text})

    def _completed(self, outcome: Outcome) -> Sequence[Chunk]:
        chunks: list[Chunk] = []
        if outcome.text and not self._text:
            chunks.append(self._say(Said("text", outcome.text)))  # of a handler that did not stream it
        calls: list[Chunk] = []
        for number, call in enumerate(outcome.calls):
            function = {"name": call.name, "arguments": call.arguments}
            calls.append({"index": number, "id": call.id, "type": "function", "function": function})
        if calls:
            chunks.append(self._chunk({"tool_calls": calls}))
        reason = "length" if outcome.cut_off else "tool_calls" if calls else "stop"
        chunks.append(self._chunk({}, reason))
        if self._with_usage:
            chunks.append({**self._chunk({}), "choices": [], "usage": outcome.usage or None})
        return chunks

    def _chunk(self, delta: Chunk, reason: str | None = None) -> Chunk:
        return {
            "id": self._job.id,
            "object": "chat.completion.chunk",
            "created": int(self._job.created_at.timestamp()),
            "model": self._job.handler,
            "choices": [{"index": 0, "delta": delta, "finish_reason": reason, "logprobs": None}],
        }

    def _break(self, code: str, message: str) -> Sequence[Chunk]:
        self.broken = True
        return [error(code, message)]


def error(code: str, message: str, kind: str = "server_error") -> Chunk:
    """Return an error as both protocols have it."""
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}
