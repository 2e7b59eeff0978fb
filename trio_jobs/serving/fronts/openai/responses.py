"""A log as a response of OpenAI's Responses, and as the events of its stream; no I/O.

An event of a log becomes frames, of which the last has its `seq` as `sequence_number`. What the protocol has
before the event's piece of text, such as the beginning of an item, has the number before: a client that is
cut off in between and resumes is sent it again. What it has behind a piece, as when a result brings the text,
has the number of the event: a client that is cut off there is sent the last frame, with the whole answer. So
no piece is sent twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import attrs

from ...._model.job import ENDS, Ended, Event, Job, Kind
from ...._wire.events import Large
from ..ends import Call, Outcome, outcome_of, why
from ..said import Said, said_in

Frame: TypeAlias = dict[str, Any]

MOST: Final = 2**20
"""Characters of an answer that a response has, as an object; the pieces in a stream are not bounded."""
ITEMS: Final = 4096
"""Items of text and reasoning that a response has, as an object."""
_PARTS: Final = {"text": ("message", "output_text"), "reasoning": ("reasoning", "reasoning_text")}
_ENDS: Final = {
    Kind.COMPLETED: ("response.completed", "completed"),
    Kind.FAILED: ("response.failed", "failed"),
    Kind.EXPIRED: ("response.failed", "failed"),
    Kind.CANCELLED: ("response.incomplete", "cancelled"),  # for which the protocol has no event of its own
}
_CUT_OFF: Final = "max_output_tokens"


@attrs.define
class _Item:
    """An item of the output that text is added to."""

    said: str
    id: str
    index: int
    pieces: list[str] = attrs.field(factory=list[str])

    @property
    def place(self) -> Frame:
        return {"item_id": self.id, "output_index": self.index, "content_index": 0}

    def part(self, text: str) -> Frame:
        kind = _PARTS[self.said][1]
        more: Frame = {"annotations": [], "logprobs": []} if self.said == "text" else {}
        return {"type": kind, "text": text, **more}

    def whole(self, status: str) -> Frame:
        return self.bare(status, [self.part("".join(self.pieces))])

    def bare(self, status: str, content: list[Frame]) -> Frame:
        kind = _PARTS[self.said][0]
        more: Frame = {"role": "assistant"} if self.said == "text" else {"summary": []}
        return {"id": self.id, "type": kind, "status": status, "content": content, **more}


@attrs.define
class Response:
    """The response that a job is, up to a place in its log: `take` each event in order.

    Attributes:
        ended: Whether the last event has come.
    """

    _job: Job
    ended: bool = False
    _seq: int = 0
    _status: str = "queued"
    _error: Frame | None = None
    _usage: Frame | None = None
    _output: list[Frame] = attrs.field(factory=list[Frame])
    _open: _Item | None = None
    _items: int = 0
    _room: int = MOST
    _cut_off: bool = False

    def take(self, event: Event) -> Sequence[Frame]:
        """Return the frames that tell an event; none if the protocol has no word for it."""
        self._cut_off |= event.seq != self._seq + 1  # more was written than the store keeps
        self._seq = event.seq
        match event.kind:
            case Kind.SUBMITTED:
                frames = [self._lifecycle("response.created")]
            case Kind.STARTED:
                frames = self._started()
            case Kind.TOKEN:
                frames = self._token(event.data)
            case kind if kind in ENDS:
                frames = self._end(event)
            case _:
                return ()
        number = event.seq - 1
        for frame in frames:
            if frame is frames[-1] or frame["type"].endswith(".delta"):
                number = event.seq
            frame["sequence_number"] = number
        return frames

    def shown(self) -> Frame:
        """Return the response as it is now."""
        item = self._open
        return {
            "id": self._job.id,
            "object": "response",
            "created_at": int(self._job.created_at.timestamp()),
            "status": self._status,
            "background": True,
            "error": self._error,
            "incomplete_details": {"reason": _CUT_OFF} if self._status == "incomplete" else None,
            "instructions": None,
            "metadata": {name: one for name, one in self._job.metadata.items() if isinstance(one, str)},
            "model": self._job.handler,
            "output": self._output if item is None else [*self._output, item.whole("in_progress")],
            "parallel_tool_calls": True,
            "temperature": None,
            "tool_choice": "auto",
            "tools": [],
            "top_p": None,
            "usage": self._usage,
        }

    # ------------------------------------------------------------ events

    def _lifecycle(self, kind: str) -> Frame:
        return {"type": kind, "response": self.shown()}

    def _started(self) -> list[Frame]:
        """Begin an attempt: what the one before wrote ends incomplete, and leaves the output."""
        frames = self._close("incomplete")
        self._output, self._room, self._cut_off = [], MOST, False
        self._status = "in_progress"
        return [*frames, self._lifecycle("response.in_progress")]

    def _token(self, token: object) -> list[Frame]:
        self._cut_off |= isinstance(token, Large)  # which a stream is not given
        said = said_in(token)
        return [] if said is None else self._say(said)

    def _say(self, said: Said) -> list[Frame]:
        frames: list[Frame] = []
        item = self._open
        if item is None or item.said != said.kind:
            frames = self._close("completed")
            item = self._open = _Item(
                said.kind, self._new_id("msg" if said.kind == "text" else "rs"), self._items
            )
            self._items += 1
            bare = item.bare("in_progress", [])
            frames += [
                {"type": "response.output_item.added", "output_index": item.index, "item": bare},
                {"type": "response.content_part.added", **item.place, "part": item.part("")},
            ]
        kept = said.text[: self._room]
        self._cut_off |= len(kept) < len(said.text)
        self._room -= len(kept)
        item.pieces.append(kept)
        kind = f"response.{_PARTS[said.kind][1]}.delta"
        more: Frame = {"logprobs": []} if said.kind == "text" else {}
        return [*frames, {"type": kind, **item.place, "delta": said.text, **more}]

    def _close(self, status: str) -> list[Frame]:
        """End the item that is open."""
        item, self._open = self._open, None
        if item is None:
            return []
        text = "".join(item.pieces)
        whole = item.whole(status)
        if len(self._output) < ITEMS:
            self._output.append(whole)
        else:
            self._cut_off = True
        kind = f"response.{_PARTS[item.said][1]}.done"
        more: Frame = {"logprobs": []} if item.said == "text" else {}
        return [
            {"type": kind, **item.place, "text": text, **more},
            {"type": "response.content_part.done", **item.place, "part": item.part(text)},
            {"type": "response.output_item.done", "output_index": item.index, "item": whole},
        ]

    def _new_id(self, what: str) -> str:
        return f"{what}_{self._job.id}_{self._items}"

    # ------------------------------------------------------------ the end

    def _end(self, event: Event) -> list[Frame]:
        self.ended = True
        kind, status = _ENDS[event.kind]
        frames: list[Frame] = []
        if isinstance(event.data, Ended):
            frames = self._close("incomplete")
            if status == "failed":
                message = f"the job failed: {why(event.data)}"
                self._error = {"code": "server_error", "message": message}
        else:
            outcome = outcome_of(event.data)
            frames = self._completed(outcome)
            if outcome.cut_off or self._cut_off or isinstance(event.data, Large):
                kind, status = "response.incomplete", "incomplete"
        self._status = status
        return [*frames, self._lifecycle(kind)]

    def _completed(self, outcome: Outcome) -> list[Frame]:
        frames: list[Frame] = []
        texts = [item for item in self._output if item["type"] == "message"]
        if outcome.text and not texts and (self._open is None or self._open.said != "text"):
            frames += self._say(Said("text", outcome.text))  # of a handler that did not stream it
        frames += self._close("completed")
        for call in outcome.calls:
            frames += self._call(call)
        self._usage = _usage(outcome)
        return frames

    def _call(self, call: Call) -> list[Frame]:
        index, item_id = self._items, self._new_id("fc")
        self._items += 1
        item = {"id": item_id, "type": "function_call", "call_id": call.id, "name": call.name}
        done = {**item, "status": "completed", "arguments": call.arguments}
        self._output.append(done)
        place = {"item_id": item_id, "output_index": index}
        added = {**item, "status": "in_progress", "arguments": ""}
        arguments = "response.function_call_arguments"
        return [
            {"type": "response.output_item.added", "output_index": index, "item": added},
            {"type": f"{arguments}.delta", **place, "delta": call.arguments},
            {"type": f"{arguments}.done", **place, "name": call.name, "arguments": call.arguments},
            {"type": "response.output_item.done", "output_index": index, "item": done},
        ]


def _usage(outcome: Outcome) -> Frame | None:
    numbers = outcome.usage
    if not numbers:
        return None
    taken, written = numbers.get("prompt_tokens", 0), numbers.get("completion_tokens", 0)
    return {
        "input_tokens": taken,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": written,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": numbers.get("total_tokens", taken + written),
    }
