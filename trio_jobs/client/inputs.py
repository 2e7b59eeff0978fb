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
from .._wire import requests
from .._wire.replies import Reply
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
        seq: The cursor of the last of them, once they are in the log.
        error: The error, if they are refused.
        left: Whether the caller does not wait any more.
    """

    values: Sequence[Any] | None
    key: str | None
    size: int = 0
    alone: bool = False
    seq: int | None = None
    error: Exception | None = None
    left: bool = False

    @classmethod
    def of(cls, values: Sequence[Any], key: str | None) -> Part:
        """Return the part for inputs. Raises `InvalidPayload` if they cannot be sent."""
        if len(values) > requests.MOST_INPUTS:
            raise InvalidPayload(
                f"a server takes {requests.MOST_INPUTS} inputs at once; got {len(values)}: send some later"
            )
        return cls(values, key, len(encode("the input", values)), alone=key is not None)


@attrs.define(eq=False)
class _Batch:
    """The parts that one request carries; asked again, it has the same key."""

    parts: Sequence[Part]
    key: str

    def request(self, re: int, job_id: str) -> requests.Send | requests.EndInputs:
        """Return the request."""
        if self.parts[0].values is None:
            return requests.EndInputs(id=re, job=job_id)
        values = [value for part in self.parts for value in part.values or ()]
        return requests.Send(id=re, job=job_id, values=values, input_id=self.key)

    def accepted(self, last: int) -> None:
        """Note the cursor of the last input of all."""
        for part in reversed(self.parts):
            part.seq = last
            last -= len(part.values or ())


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
        self._batch: _Batch | None = None  # the unanswered one
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
            while part.seq is None and part.error is None:
                await (self._bell.wait() if self._asking else self._ask())
        finally:
            self.calls -= 1
            part.left = True
            if part in self._line:
                self._line.remove(part)
        if part.error is not None:
            raise part.error
        return part.seq or 0

    async def _ask(self) -> None:
        if self._batch is None or all(part.left for part in self._batch.parts):
            self._batch = self._next()
        batch = self._batch
        self._asking = True
        try:
            request = batch.request(self._link.new_id(), self._job_id)
            batch.accepted(await self._link.call(request, self._job_id, _seq_in))
            self._batch = None
        except Exception as error:  # noqa: BLE001  # it is raised to those who sent the parts
            self._batch = None
            self._refuse(batch, error)
        finally:
            self._asking = False
            self._bell.ring()

    def _next(self) -> _Batch:
        parts = [self._line.popleft()]
        size, count = parts[0].size, len(parts[0].values or ())
        while self._line and not (parts[0].alone or self._line[0].alone):
            size, count = size + self._line[0].size, count + len(self._line[0].values or ())
            if size > JOINED or count > requests.MOST_INPUTS:
                break
            parts.append(self._line.popleft())
        return _Batch(parts, parts[0].key or new_id())

    def _refuse(self, batch: _Batch, error: Exception) -> None:
        of_these = isinstance(error, (InvalidPayload, KeyConflict))  # the values, and no others
        of_these |= isinstance(error, ServerError) and error.code == "too_large"
        if len(batch.parts) > 1 and (of_these or isinstance(error, InboxFull)):
            for part in reversed(batch.parts):  # each by itself: some of them may be taken
                part.alone = True
                if not part.left:
                    self._line.appendleft(part)
            return
        refused = list(batch.parts)
        if not of_these:
            refused += self._line
            self._line.clear()
        for part in refused:
            part.error = error


def _seq_in(reply: Reply) -> int | None:
    return reply.seq
