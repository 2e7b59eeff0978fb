"""The journal of handlers: what each did, written down around it, not by the code that is under test."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Iterable
from contextvars import ContextVar
from typing import Any, Final

import trio

from .._common.errors import InvalidPayload
from .._running.context import JobContext
from ._connection import Connection
from ._history import HandlerRun, History

Handler = Callable[..., Awaitable[Any]]
CONNECTION: Final = ContextVar[Connection]("CONNECTION")
"""The connection of the worker in whose context a task runs."""


class _Recorded(JobContext[Any]):
    """A job's context that writes down what the handler sends, receives, and does in steps."""

    run: HandlerRun
    cut = False  # whether a `send_many` was cancelled: how much it sent is not known
    _inputs: _Inputs | None = None

    async def send(self, value: Any) -> None:
        self._set_out([value])
        try:
            await super().send(value)
        except trio.Cancelled:  # it was not sent: the handler may go on without it
            attempted = self.run.attempted
            del attempted[max(place for place, other in enumerate(attempted) if other is value)]
            raise
        self.run.sent.append(value)

    async def send_many(self, values: Iterable[Any]) -> None:
        several = list(values)
        self._set_out(several)
        try:
            await super().send_many(several)
        except trio.Cancelled:
            self.cut = True
            raise
        self.run.sent += several

    def _set_out(self, values: list[Any]) -> None:
        self.run.heard &= not self.cut
        self.run.attempted += values

    async def receive(self) -> Any:
        began = trio.current_time()
        try:
            value = await super().receive()
        except trio.Cancelled:
            self.run.in_vain.append((began, trio.current_time(), self.received))
            raise
        except InvalidPayload as error:  # it counts as received
            self.run.received.append((self.received, error))
            raise
        self.run.received.append((self.received, value))
        return value

    async def save(self, value: object, *, received: int | None = None) -> None:
        self.run.saves.append((value, self.received if received is None else received))
        await super().save(value, received=received)

    async def step(self, name: str, fn: Handler, /, *args: Any) -> Any:  # type: ignore[override]
        @functools.wraps(fn)
        async def called(*args: Any) -> Any:
            self.run.called[name] = ...
            self.run.called[name] = value = await fn(*args)
            return value

        self.run.steps[name] = value = await super().step(name, called, *args)
        return value

    @property
    def inputs(self) -> trio.abc.ReceiveChannel[Any]:
        if self._inputs is None:
            self._inputs = _Inputs(self, super().inputs)
        return self._inputs

    @property
    def tokens(self) -> trio.MemorySendChannel[Any]:
        self.run.heard = False  # what goes through the channel is not recorded
        return super().tokens


class _Inputs(trio.abc.ReceiveChannel[Any]):
    """The inputs of an attempt as a channel, which writes down what is received."""

    def __init__(self, job: _Recorded, channel: trio.abc.ReceiveChannel[Any]) -> None:
        self._job = job
        self._channel = channel

    async def receive(self) -> Any:
        return await self._job.receive()

    async def aclose(self) -> None:
        await self._channel.aclose()


def journalled(fn: Handler, history: History) -> Handler:
    """Return `fn` as a handler that adds each of its runs to `history.runs`."""

    @functools.wraps(fn)
    async def handler(job: JobContext[Any], *args: Any, **kwargs: Any) -> Any:
        connection = CONNECTION.get()
        run = HandlerRun(job.id, job.attempt, connection.name, trio.current_time(), timed_out=job.timed_out)
        history.runs.append(run)
        job.__class__ = _Recorded
        vars(job)["run"] = run
        try:
            return await fn(job, *args, **kwargs)
        except trio.Cancelled:
            run.stopped = True
            raise
        finally:
            run.severed, run.told = connection.severed, job.cancel_requested.is_set()
            run.ended = trio.current_time()

    return handler
