"""Give handles access to the jobs of a server, see `JobAccess`, and read their logs there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import trio

from .._common.errors import StreamGap, check_cursor
from .._model.job import CancelReport, Event, Job
from .._watching.cursor import LogCursor
from .._watching.raised import Raised
from .._watching.readers import Policy
from .._wire import requests
from .._wire.replies import Reply, Seen, events_of, job_of
from .inputs import Part, Sender
from .link import Link
from .requests import options_of
from .subscription import RemoteSubscription
from .values import Changed, offset_in, whole, with_data


class RemoteJobs:
    """The jobs of a server, for their handles.

    Args:
        link: The connection to the server.

    Attributes:
        link: As given.
        raised: Empty: no handler runs here.
    """

    def __init__(self, link: Link) -> None:
        self.link = link
        self.raised = Raised()
        self._senders: dict[str, Sender] = {}

    async def look(self, job_id: str) -> Seen:
        """Return a job as it is now, without its large values."""
        return await self.link.call(requests.Get(id=self.link.new_id(), job=job_id), job_id, seen_in)

    async def snapshot(self, job_id: str) -> Job:
        """Return a job as it is now."""
        while True:
            seen = await self.look(job_id)
            try:
                return await whole(self.link, seen)
            except Changed:
                continue  # it has saved another value meanwhile

    async def explain(self, job_id: str) -> str:
        """Say why a job does not run, or what it is doing, as the server knows it."""
        request = requests.Explain(id=self.link.new_id(), job=job_id)
        return await self.link.call(request, job_id, lambda reply: reply.text)

    async def wait(self, job_id: str) -> Job:
        """Return a job once it has ended."""
        request = requests.Wait(id=self.link.new_id(), job=job_id)
        return await whole(self.link, await self.link.call(request, job_id, seen_in))

    async def end(self, job_id: str) -> Job:
        """Return how a job ended, once it has."""
        return await self.wait(job_id)

    async def history(self, job_id: str, after: int | None = 0) -> list[Event]:
        """Return a job's events but for tokens, progress and inputs."""
        found: list[Event] = []
        while after is not None:
            request = requests.History(id=self.link.new_id(), job=job_id, after=after)
            events, after = await self.link.call(request, job_id, _history_in)
            found += await with_data(self.link, job_id, events)
        return found

    def log(self, job_id: str, after: int, policy: Policy) -> LogCursor:
        """Return a cursor in a job's log."""
        self.link.check_open()
        return RemoteCursor(self, job_id, after, policy)

    async def resubmit(self, job_id: str, options: Mapping[str, Any]) -> str:
        """Submit a job that has ended again, and return the id of the new one."""
        request = requests.Resubmit(id=self.link.new_id(), job=job_id, options=options_of("", options))
        return (await self.link.call(request, job_id, seen_in)).job.id

    async def send(self, job_id: str, key: str | None, values: Sequence[Any]) -> int:
        """Send inputs to a job, and return the `seq` of the last."""
        return await self._send(job_id, Part.of(values, key))

    async def end_inputs(self, job_id: str) -> int:
        """End a job's inputs, and return the `seq` of that event."""
        return await self._send(job_id, Part(None, None, alone=True))

    async def _send(self, job_id: str, part: Part) -> int:
        sender = self._senders.setdefault(job_id, Sender(self.link, job_id))
        try:
            return await sender.send(part)
        finally:
            if not sender.calls:
                self._senders.pop(job_id, None)

    async def request_cancel(self, job_id: str, reason: str | None, grace: float) -> bool:
        """Ask for a job's cancellation."""
        return (await self._cancel(job_id, reason, grace, 0.0, wait=False)).outcome != "already_over"

    async def cancel(self, job_id: str, reason: str | None, grace: float, patience: float) -> CancelReport:
        """Ask for a job's cancellation, and report how it ended."""
        return await self._cancel(job_id, reason, grace, patience, wait=True)

    async def _cancel(
        self, job_id: str, reason: str | None, grace: float, patience: float, *, wait: bool
    ) -> CancelReport:
        request = requests.Cancel(
            id=self.link.new_id(), job=job_id, reason=reason, grace=grace, patience=patience, wait=wait
        )
        return await self.link.call(request, job_id, lambda reply: reply.report)


def seen_in(reply: Reply) -> Seen | None:
    """Return the job in a reply, if there is one."""
    return None if reply.job is None else job_of(reply.job)


def _history_in(reply: Reply) -> tuple[list[Event], int | None] | None:
    return None if reply.history is None else (events_of(reply.history), offset_in(reply))


class RemoteCursor(LogCursor):
    """A reader's place in a log that a server keeps; see `LogCursor`.

    Args:
        jobs: The jobs of the server.
        job_id: The job.
        after: The cursor to begin at.
        policy: What the handler does while this reader is slow.
    """

    def __init__(self, jobs: RemoteJobs, job_id: str, after: int, policy: Policy) -> None:
        super().__init__(job_id, after, policy, jobs.raised)
        self._jobs = jobs
        self._link = jobs.link
        self._table = jobs.link.table
        self._subscription: RemoteSubscription
        self._failed = False  # an error was raised to the reader; if it reads on, the log is followed again
        self._drained: list[Event] = []

    async def open(self) -> None:
        """See `LogCursor.open`."""
        self._link.check_open()
        self._subscription = self._table.follow(self.job_id, self.cursor, self.policy)
        self._open = True
        try:
            await self._find_place()
        except BaseException:
            self.close()
            raise

    async def _find_place(self) -> None:
        """Wait until the server has confirmed that the job exists, and that its log reaches the cursor."""
        subscription = self._subscription
        if self.cursor:  # a server does not answer while there is nothing behind a cursor
            check_cursor(self.job_id, self.cursor, (await self._jobs.look(self.job_id)).job.last_seq)
            return
        while not subscription.answered:
            with self._link.patience():
                await subscription.bell.wait()
        if subscription.error is not None:
            raise subscription.error

    async def last(self) -> Event:
        """See `LogCursor.last`."""
        return (await self._jobs.history(self.job_id, self.cursor - 1))[-1]

    async def _wait(self) -> bool:
        subscription = self._subscription
        self._link.check_open()
        await trio.lowlevel.checkpoint()
        if self._failed:
            self._failed = False
            self._table.refollow(subscription)
        while self._open:
            self._drained = self._drained or subscription.drain()
            if self._drained or subscription.ended:
                # Cancelled here, they come again.
                self._batch, self._next = await with_data(self._link, self.job_id, self._drained), 0
                self._drained = []
                if self._batch or subscription.ended:
                    return not self._batch
                continue
            self._table.was_read(subscription)
            if subscription.error is not None:
                self._fail(subscription.error)
            with self._link.patience():
                await subscription.bell.wait()
        return True

    def _fail(self, error: Exception) -> NoReturn:
        """Raise the error that ended the subscription; the next read begins again."""
        if isinstance(error, StreamGap):
            self.cursor = error.oldest
        self._subscription.resume(self.cursor)
        self._failed = True
        raise error

    def _moved(self) -> None:
        self._subscription.read(self.cursor)
        self._table.was_read(self._subscription)

    def _leave(self) -> None:
        self._table.drop(self._subscription)
        self._subscription.bell.ring()
