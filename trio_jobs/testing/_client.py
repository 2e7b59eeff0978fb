"""A client of a state machine or of a simulation, which writes down what it asks, is told and reads."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any, Final, TypeVar

import attrs
import trio

from .._common.errors import (
    Busy,
    IllegalTransition,
    InboxFull,
    JobCancelled,
    JobFailed,
    KeyConflict,
    QueueFull,
    StoreUnavailable,
)
from ._history import Call, Reading

if TYPE_CHECKING:
    from .._registry.registry import JobRegistry
    from .._watching.handle import JobHandle
    from .._watching.readers import Policy
    from ._history import History
    from ._journal import Handler

T = TypeVar("T")
LOST: Final = (StoreUnavailable, trio.ClosedResourceError)
"""What a client is told if the process that it asked is gone."""

_REFUSED: Final[Mapping[type[Exception], str]] = {
    InboxFull: "full",
    IllegalTransition: "over",
    KeyConflict: "conflict",
}


@attrs.frozen
class Pace:
    """How a client reads a log.

    Attributes:
        policy: Whether the handler waits for this reader.
        seconds: How long each event takes.
        most: After how many events the reader leaves.
    """

    policy: Policy = "gap"
    seconds: float = 0.0
    most: float = inf


class SimulatedClient:
    """A client that asks processes, each time perhaps another one, and keeps its journal.

    Args:
        name: What the journal calls it.
        history: The journal.
    """

    def __init__(self, name: str, history: History) -> None:
        self.name = name
        self._history = history

    async def ask(self, call: Call, ask: Callable[[], Awaitable[T]]) -> T | None:
        """Ask once, and return the answer; None if it is lost, and with it whether the call took effect."""
        call.invoked = trio.current_time()
        with self._history.ask(call), suppress(*LOST):
            answer = await ask()
            call.returned = trio.current_time()
            return answer
        return None

    async def submit(
        self, jobs: JobRegistry, key: str, fn: Handler, args: tuple[Any, ...], options: Mapping[str, Any]
    ) -> str | None:
        """Submit one job under a key, and return the id; None if that is lost.

        Returns:
            The job's id, or that of one that has its exclusive name.
        """
        call = Call(self.name, "submit", key=key)
        self._history.asked[key] = options
        submit: Any = jobs.submit  # how the handler is typed is not known here
        try:
            handle: JobHandle[Any, Any] | None = await self.ask(
                call, partial(submit, fn, *args, key=key, **options)
            )
        except Busy as busy:
            call.returned, call.holder = trio.current_time(), busy.job_id
            return busy.job_id
        call.job_id = None if handle is None else handle.id
        return call.job_id

    async def submit_if_room(
        self, call: Call, submit: Callable[[], Awaitable[str]], options: Mapping[str, Any]
    ) -> None:
        """Submit one job for which there may be no room; the call has its id, or that the queue is full."""
        try:
            call.job_id = await self.ask(call, submit)
        except QueueFull:
            call.answer = "full"
            return
        if call.job_id is not None:
            call.answer = "accepted"
            self._history.options[call.job_id] = options

    async def submit_many(
        self,
        jobs: JobRegistry,
        key: str,
        fn: Handler,
        several: Sequence[tuple[Any, ...]],
        options: Mapping[str, Any],
        *,
        patience: float = inf,
    ) -> Call:
        """Submit several jobs at once, for as long as the patience lasts; the call has their ids."""
        call = Call(self.name, "submit_many", key=key, count=len(several))

        async def submit() -> list[str]:
            submit_many: Any = jobs.submit_many  # as above
            with trio.move_on_after(patience):
                return [handle.id for handle in await submit_many(fn, several, **options)]
            call.cancelled = True
            return []

        call.job_ids = await self.ask(call, submit) or []
        self._history.options |= dict.fromkeys(call.job_ids, options)
        return call

    async def cancel(
        self, jobs: JobRegistry, job_id: str, reason: str, *, grace: float, patience: float
    ) -> bool:
        """Cancel a job and wait for what becomes of it; return whether that was answered."""
        call = Call(self.name, "cancel", job_id, reason=reason, grace=grace)
        report = await self.ask(call, lambda: jobs.cancel(job_id, reason, grace=grace, patience=patience))
        call.answer = None if report is None else report.outcome
        return report is not None

    async def request_cancel(self, jobs: JobRegistry, job_id: str, reason: str, *, grace: float) -> None:
        """Ask for a job's cancellation."""

        async def request() -> None:
            handle: JobHandle[Any, Any] = await jobs.get(job_id)
            await handle.request_cancel(reason, grace=grace)

        await self.ask(Call(self.name, "request_cancel", job_id, reason=reason, grace=grace), request)

    async def send(self, jobs: JobRegistry, job_id: str, input_id: str, values: Sequence[Any]) -> str | None:
        """Send inputs to a job; return how that was answered, see `Call.answer`; None if that is lost."""
        call = Call(self.name, "send", job_id, input_id=input_id, values=values)

        async def send() -> int:
            handle: JobHandle[Any, Any] = await jobs.get(job_id)
            return await handle.send_many(values, key=input_id)

        return await self._put(call, send)

    async def end_inputs(self, jobs: JobRegistry, job_id: str) -> str | None:
        """End the inputs of a job; the answer is like that of `send`."""

        async def end() -> int:
            handle: JobHandle[Any, Any] = await jobs.get(job_id)
            return await handle.end_inputs()

        return await self._put(Call(self.name, "end_inputs", job_id), end)

    async def _put(self, call: Call, ask: Callable[[], Awaitable[int]]) -> str | None:
        try:
            call.seq = await self.ask(call, ask)
            call.answer = None if call.seq is None else "accepted"
        except tuple(_REFUSED) as refusal:
            call.returned = trio.current_time()
            call.answer = _REFUSED[type(refusal)]
            if isinstance(refusal, InboxFull) and refusal.limit.isdigit():
                self._history.box = int(refusal.limit)
        return call.answer

    async def wait(self, jobs: JobRegistry, job_id: str, *, result: bool) -> bool:
        """Wait for a job's end, or for its result; return whether it was answered."""
        call = Call(self.name, "wait", job_id)

        async def wait() -> str:
            handle: JobHandle[Any, Any] = await jobs.get(job_id)
            return await _outcome_of(handle) if result else str((await handle.wait()).state)

        call.answer = await self.ask(call, wait)
        return call.answer is not None

    async def read(self, jobs: JobRegistry, job_id: str, after: int, pace: Pace) -> Reading:
        """Read a job's log behind a cursor until it ends, the pace says so, or the process is gone."""
        reading = Reading(self.name, job_id, after)
        with self._history.read(reading), suppress(*LOST):
            handle: JobHandle[Any, Any] = await jobs.get(job_id)
            async with handle.events(after, policy=pace.policy) as events:
                async for event in events:
                    reading.events.append(event)
                    await trio.sleep(pace.seconds)
                    if len(reading.events) >= pace.most:
                        break
                else:
                    reading.ended = True
        return reading


async def _outcome_of(handle: JobHandle[Any, Any]) -> str:
    """Wait for a job's result, and return in which state the job ended, as `result` tells it."""
    try:
        await handle.result()
    except JobFailed:
        return "failed"
    except JobCancelled:
        return "cancelled"
    return "completed"
