"""What is sent of a log to a client of OpenAI's protocols: the dialects of event streams."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from ...._model.job import Event
from ...problems import Problem
from ...sse import data_event, field
from .completions import Completion, error
from .responses import Response


@attrs.define
class ResponseStream:
    """The events of a response behind a cursor; the log is read from its beginning, as items go on.

    Attributes:
        over: See `Dialect`; such a stream says all of a log.
    """

    _response: Response
    _after: int
    _sent: int = 0
    over: bool = attrs.field(default=False, init=False)

    def write(self, events: Sequence[Event]) -> bytes:
        """See `Dialect.write`."""
        found: list[str] = []
        for event in events:
            frames = self._response.take(event)
            self._sent = event.seq
            if event.seq <= self._after:
                frames = frames[-1:] if self._response.ended else ()  # the end is told to everybody
            found.extend(f"event: {frame['type']}\n{data_event(frame)}" for frame in frames)
        return "".join(found).encode()

    def fault(self, problem: Problem) -> bytes:
        """See `Dialect.fault`."""
        fields = {"code": problem.code, "message": problem.message, "param": None}
        number = max(self._sent, self._after)  # never before what the client has
        return f"event: error\n{data_event({'type': 'error', **fields, 'sequence_number': number})}".encode()


@attrs.define
class CompletionStream:
    """The chunks of a chat completion, and `[DONE]` behind the last one.

    Attributes:
        completion: What was sent.
    """

    completion: Completion

    @property
    def over(self) -> bool:
        """See `Dialect`."""
        return self.completion.broken

    def write(self, events: Sequence[Event]) -> bytes:
        """See `Dialect.write`."""
        found = [data_event(chunk) for event in events for chunk in self.completion.take(event)]
        if self.completion.ended and not self.completion.broken:
            found.append(field("data", "[DONE]") + "\n")
        return "".join(found).encode()

    def fault(self, problem: Problem) -> bytes:
        """See `Dialect.fault`."""
        return data_event(error(problem.code, problem.message)).encode()
