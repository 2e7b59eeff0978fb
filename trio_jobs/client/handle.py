"""A job on a server, as those see it who submitted it or looked it up there."""

from __future__ import annotations

from typing import TypeVar

from .._common.validate import number, text
from .._model.job import CancelReport, Event, Job
from .._watching.cursor import Place
from .._watching.handle import JobHandle
from .._watching.readers import Policy
from .._wire import requests
from .._wire.replies import Reply, report_of
from .link import Link
from .looking import ended, history_of, snapshot_of
from .reading import RemotePlace

T_co = TypeVar("T_co", covariant=True)
R_co = TypeVar("R_co", covariant=True)


class RemoteHandle(JobHandle[T_co, R_co]):
    """Watch and cancel one job on a server; to use, it is a `JobHandle` like any other.

    Every method may raise `Disconnected`, once the server was out of reach for too long, and `ServerError`;
    all of them may then be called again, and streams read on. Each raises `UnknownJob` once the job was
    removed, and `trio.ClosedResourceError` once the block of `connect` was left.

    Attributes:
        id: The job's id.
    """

    def __init__(self, link: Link, job_id: str) -> None:
        self.id = job_id
        self._home = link
        self._link = link

    async def snapshot(self) -> Job:
        """Return the job as it is now. A checkpoint."""
        return await snapshot_of(self._link, self.id)

    async def wait(self) -> Job:
        """Wait for the job's end, and return the job. A checkpoint.

        Never raises for how the job ended. Cancelling the wait does not touch the job.
        """
        return await ended(self._link, self.id)

    def _raised(self, attempt: int) -> None:
        """Return nothing: it was raised elsewhere."""

    async def history(self) -> list[Event]:
        """Return the job's events but for tokens and progress, as far as it has come. A checkpoint."""
        return await history_of(self._link, self.id)

    def _cursor(self, after: int, policy: Policy) -> Place:
        self._link.check_open()
        return RemotePlace(self._link, self.id, after, policy)

    async def request_cancel(self, reason: str | None = None, *, grace: float = 0.0) -> bool:
        """Ask for the job's cancellation, and do not wait for it. A checkpoint.

        See `JobHandle.request_cancel`. Cancelled, it may have been asked for.
        """
        report = await self._cancel(reason, grace, 0.0, wait=False)
        return report.outcome != "already_over"

    async def cancel(
        self, reason: str | None = None, *, grace: float = 0.0, patience: float = 10.0
    ) -> CancelReport:
        """Cancel the job, and wait for what becomes of it. A checkpoint.

        See `JobHandle.cancel`. If the connection was lost meanwhile, `already_over` may mean that this very
        call ended the job before.
        """
        return await self._cancel(reason, grace, patience, wait=True)

    async def _cancel(self, reason: str | None, grace: float, patience: float, *, wait: bool) -> CancelReport:
        number("grace", grace)
        number("patience", patience)
        if reason is not None:
            text("reason", reason)
        request = requests.Cancel(
            id=self._link.new_id(), job=self.id, reason=reason, grace=grace, patience=patience, wait=wait
        )
        return await self._link.call(request, self.id, _report_in)


def _report_in(reply: Reply) -> CancelReport | None:
    return None if reply.report is None else report_of(reply.report)
