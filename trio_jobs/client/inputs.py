"""Send inputs to a job of a server: one request at a time, so that they keep their order."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any, Final

import attrs

from .._common.bell import Bell
from .._common.errors import InboxFull, InvalidPayload, KeyConflict
from .._json.values import encode
from .._model.job import new_id
from .._wire.requests import MOST_INPUTS, EndInputs, Send
from .errors import ServerError
from .link import Link

JOINED: Final = 64 * 1024
"""How many bytes of values are joined to one request; what a server does not take joined is sent apart."""


@attrs.define(eq=False)
class Part:
    """What one call sends, and what became of it.

    Attributes:
        values: The inputs; None is their end.
        key: Their key, if the caller gave one.
        size: How many bytes of JSON they have.
        alone: Whether they are in a request of their own.
        end: The cursor of the last of them, once they are in the log; or the error, if they are refused.
        left: Whether the caller does not wait any more.
    """

    values: Sequence[Any] | None
    key: str | None
    size: int = 0
    alone: bool = False
    end: int | Exception | None = None
    left: bool = False

    @classmethod
    def of(cls, values: Sequence[Any], key: str | None) -> Part:
        """Return the part for inputs. Raises `InvalidPayload` if they cannot be sent."""
        if len(values) > MOST_INPUTS:
            raise InvalidPayload(
                f"a server takes {MOST_INPUTS} inputs at once; got {len(values)}: send some later"
            )
        return cls(values, key, len(encode("the input", values)), alone=key is not None)


class Sender:
    """Sends the inputs of one job, in the order of the calls.

    One request is unanswered at a time, and one of the calls that wait carries it out; the others go with the
    next one. If that call is cancelled, another one asks the same again, with the same key.

    Args:
        link: The connection to the server.
        job_id: The job.

    Attributes:
        calls: How many calls wait.
    """

    def __init__(self, link: Link, job_id: str) -> None:
        self.calls = 0
        self._link = link
        self._job_id = job_id
        self._line: deque[Part] = deque()
        self._batch: list[Part] = []  # the unanswered ones
        self._key = ""  # theirs
        self._asking = False
        self._bell = Bell()

    async def send(self, part: Part) -> int:
        """Send a part, and return its `seq`.

        If the job has too many inputs, or an answer is lost, that is the end of all that
        wait behind it, too: they were sent later, and are not to come first.
        """
        self._line.append(part)
        self.calls += 1
        try:
            while part.end is None:
                await (self._bell.wait() if self._asking else self._ask())
        finally:
            self.calls -= 1
            part.left = True
            if part in self._line:
                self._line.remove(part)
        if isinstance(part.end, Exception):
            raise part.end
        return part.end

    async def _ask(self) -> None:
        if all(part.left for part in self._batch):
            self._next()
        batch, values = self._batch, [value for part in self._batch for value in part.values or ()]
        request: Send | EndInputs = EndInputs(self._link.new_id(), self._job_id)
        if batch[0].values is not None:
            request = Send(request.id, self._job_id, values, self._key)
        self._asking = True
        try:
            seq = await self._link.call(request, self._job_id, lambda reply: reply.seq)
            self._batch = []
            for part in reversed(batch):
                part.end = seq
                seq -= len(part.values or ())
        except Exception as error:  # noqa: BLE001  # it is raised to those who sent the parts
            self._batch = []
            self._refuse(batch, error)
        finally:
            self._asking = False
            self._bell.ring()

    def _next(self) -> None:
        first = self._line.popleft()
        self._batch, self._key = [first], first.key or new_id()
        size, count = first.size, len(first.values or ())
        while self._line and not (first.alone or self._line[0].alone):
            size, count = size + self._line[0].size, count + len(self._line[0].values or ())
            if size > JOINED or count > MOST_INPUTS:
                return
            self._batch.append(self._line.popleft())

    def _refuse(self, batch: Sequence[Part], error: Exception) -> None:
        of_these = isinstance(error, (InvalidPayload, KeyConflict))  # the values, and no others
        of_these |= isinstance(error, ServerError) and error.code in {"too_large", "bad_request"}
        if len(batch) > 1 and (of_these or isinstance(error, InboxFull)):
            for part in reversed(batch):  # each by itself: some of them may be taken
                part.alone = True
                if not part.left:
                    self._line.appendleft(part)
            return
        for part in [*batch, *(() if of_these else self._line)]:
            part.end = error
        if not of_these:
            self._line.clear()
