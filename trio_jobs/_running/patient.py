"""Handles that a handler was given: while the store is unavailable they wait, as all that it calls does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from .._model.job import Event, new_id
from .._watching.readers import Policy
from .._watching.store_cursor import StoreCursor
from ..stores.retrying import retry_until_answered

if TYPE_CHECKING:
    from .worker import Worker

P = ParamSpec("P")
T = TypeVar("T")


def _patient(call: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
    """Return a method of the worker that is called until the store answers."""

    async def method(*args: P.args, **options: P.kwargs) -> T:
        return await retry_until_answered(lambda: call(*args, **options))

    return method


class Patient:
    """Gives the handles of handlers access to their jobs, see `JobAccess`.

    Args:
        worker: It gives this access too, and raises `StoreUnavailable`.
    """

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self.raised = worker.raised
        self.snapshot = _patient(worker.snapshot)
        self.explain = _patient(worker.explain)
        self.wait = _patient(worker.wait)
        self.end = _patient(worker.end)
        self.history = _patient(worker.history)
        self.request_cancel = _patient(worker.request_cancel)
        self.cancel = _patient(worker.cancel)
        self.end_inputs = _patient(worker.end_inputs)

    async def send(self, job_id: str, key: str | None, values: Sequence[Any]) -> int:
        """Send inputs, with the same key each time."""
        return await retry_until_answered(self._worker.send, job_id, key or new_id(), values)

    async def resubmit(self, job_id: str, options: Mapping[str, Any]) -> str:
        """Submit a job again, with the same id each time."""
        from ..stores.resubmitting import submit_again  # which few programs need

        self._worker.check_open(submits=True)
        new = await retry_until_answered(submit_again, self._worker.store, job_id, options)
        (submitted,) = await retry_until_answered(self._worker.submit, [new])
        return submitted

    def log(self, job_id: str, after: int, policy: Policy) -> StoreCursor:
        """Return a cursor in a job's log."""
        worker = self._worker
        worker.check_open()
        return _PatientCursor(worker.store, worker.readers, job_id, after, policy, raised=self.raised)


class _PatientCursor(StoreCursor):
    async def open(self) -> None:
        await retry_until_answered(super().open)

    async def last(self) -> Event:
        return await retry_until_answered(super().last)

    async def _follow(self) -> bool:
        return await retry_until_answered(super()._follow)
