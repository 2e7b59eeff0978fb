"""What a handler is given: the job it runs for, and how to speak."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Generic, TypeVar, TypeVarTuple, Unpack

import trio

from .._common.errors import InvalidPayload, LeaseLost
from .._common.states import Reason
from .._common.validate import number
from .._model.job import Kind, Progress
from ..stores.retrying import insist
from .channel import Entry, Pipe

if TYPE_CHECKING:
    from .._model.options import SpawnOptions
    from .._watching.handle import JobHandle
    from .attempt import Attempt

T = TypeVar("T")
R = TypeVar("R")
Ts = TypeVarTuple("Ts")


class JobContext(Generic[T]):
    """One attempt as its handler sees it. `T` is the type of the values it streams.

    Attributes:
        id: The job's id.
        attempt: The number of this attempt, from 1. It rises with every attempt, so it also fences writes
            to tables of the handler's own.
        tags: The job's tags.
        metadata: The job's metadata.
        saved: What was saved last, by this attempt or an earlier one; None if nothing was.
        nursery: A nursery that lives exactly as long as the attempt. A failure in it fails the attempt.
    """

    nursery: trio.Nursery

    def __init__(self, attempt: Attempt) -> None:
        claim = attempt.claim
        self.id: str = claim.submission.id
        self.attempt: int = claim.attempt
        self.tags: Mapping[str, str] = claim.submission.options.tags
        self.metadata: Mapping[str, Any] = claim.submission.options.metadata
        self.saved: Any = claim.saved
        self._attempt = attempt
        self._worker = attempt.worker
        self._store = attempt.worker.store
        self._readers = attempt.worker.readers
        self._deadlines = attempt.deadlines
        self._seq = claim.seq
        self._appended = 0
        self._pipe: Pipe | None = None
        self._told: trio.Event | None = None

    # ------------------------------------------------------------ stream

    async def send(self, value: T) -> None:
        """Append a token to the job's log, where every reader finds it.

        Waits while a reader that blocks is a full window behind; see `Timeouts` for the clocks meanwhile.
        Always a checkpoint. If it is cancelled, the token was not sent.

        Args:
            value: The token. A store in memory keeps the object itself; do not change it afterwards.

        Raises:
            InvalidPayload: The token is larger than `Retention.token_bytes`. The job fails, with reason
                `limit`, even if this is caught.
            LeaseLost: The attempt is over.
        """
        if (pipe := self._pipe or self._far_pipe()) is not None:
            await pipe.send(value)
            return
        await trio.lowlevel.checkpoint_if_cancelled()
        readers = self._readers.get(self.id)
        waited = readers is not None and not readers.room(self._seq) and await self._wait_room()
        await self._write_tokens((value,))
        if not waited:
            await trio.lowlevel.cancel_shielded_checkpoint()

    async def send_many(self, values: Iterable[T]) -> None:
        """Append tokens in bursts, which costs far less than one `send` each.

        Equal to `send` for each value in turn: at least one checkpoint, and a wait whenever a reader that
        blocks is a full window behind. If it is cancelled, a first part of the values was sent.

        Args:
            values: The tokens; taken from the iterable as the window has room.

        Raises:
            InvalidPayload: A token is too large; none of its burst was sent. The job fails.
            LeaseLost: The attempt is over.
        """
        iterator = iter(values)
        await trio.lowlevel.checkpoint()
        for value in iterator:
            await self._wait_room()
            burst, broken = [value], None
            try:
                burst.extend(islice(iterator, max(0, self._room() - 1)))
            except Exception as error:  # noqa: BLE001  # raised below, when what came before it was sent
                broken = error
            await self._send_burst(burst)
            if broken is not None:
                raise broken

    async def _send_burst(self, burst: list[T]) -> None:
        if (pipe := self._pipe or self._far_pipe()) is None:
            await self._write_tokens(burst)
            await trio.lowlevel.checkpoint()
        else:
            await pipe.send_many(burst)

    @property
    def tokens(self) -> trio.MemorySendChannel[T]:
        """The attempt's send channel, to clone and to hand to tasks and libraries that want one.

        What it carries comes in one order with `send`, `progress` and `save`. When the attempt's nursery
        closes, all that was sent is written and the channel is closed; clones then raise
        `trio.BrokenResourceError`. A token that is too large fails the job, as with `send`. A thread may ask
        for it too, and send with `trio.from_thread.run(job.tokens.send, value)`.

        Raises:
            LeaseLost: The attempt is over.
        """
        if self._pipe is not None:
            return self._pipe.tokens
        if trio.lowlevel.in_trio_run():
            return self._open().tokens
        # In a thread of the handler's: a library's callback, say, is what asks for it first.
        return trio.from_thread.run_sync(lambda: self._open().tokens, trio_token=self._worker.trio_token)

    def _far_pipe(self) -> Pipe | None:
        """Return the channel that stands between a handler and a store far away, which takes its time."""
        return self._open() if self._store.durable and self._attempt.open else None

    def _open(self) -> Pipe:
        """Send everything through a channel from now on."""
        if self._pipe is None:
            if not self._attempt.open:
                raise self._lost()
            pipe = Pipe(self._readers.window, self._find_room, self._carry, self._lost)
            self._worker.nursery.start_soon(pipe.run, name=f"tokens of job {self.id}")
            self._pipe = pipe  # only now that it runs: `close` waits for its end
        return self._pipe

    def _lost(self) -> LeaseLost:
        return LeaseLost(self.id, self.attempt)

    async def progress(self, done: float, total: float | None = None, message: str | None = None) -> None:
        """Tell readers how far the job is. Always a checkpoint.

        It waits for no reader, unless `tokens` was opened: then it comes behind what the channel holds.

        Args:
            done: How much is done, in any unit.
            total: How much there is in the same unit, if known.
            message: One line for people.

        Raises:
            ValueError: A number is negative or NaN.
            LeaseLost: The attempt is over.
        """
        number("done", done)
        if total is not None:
            number("total", total)
        await self._note(Kind.PROGRESS, Progress(done, total, message))

    async def save(self, value: object) -> None:
        """Keep a value for the next attempt, which finds it in `saved`. The last one counts.

        Always a checkpoint. If it is cancelled, the value may or may not have been saved.

        Args:
            value: The value. A store in memory keeps the object itself; do not change it afterwards.

        Raises:
            LeaseLost: The attempt is over.
            InvalidPayload: The store cannot keep it, as one that outlives the process keeps JSON.
        """
        await self._note(Kind.SAVED, value)
        self.saved = value

    async def _note(self, kind: Kind, data: object) -> None:
        if (pipe := self._pipe or self._far_pipe()) is not None:
            entry = Entry(kind, data)
            await pipe.send(entry)
            await entry.wait()
            return
        await trio.lowlevel.checkpoint_if_cancelled()
        await self._append(kind, (data,))
        await trio.lowlevel.cancel_shielded_checkpoint()

    def _room(self) -> int:
        """Return how many events may be sent now."""
        readers = self._readers.get(self.id)
        return self._readers.window if readers is None else readers.room(self._seq)

    async def _wait_room(self) -> bool:
        """Wait until an event may be sent, and return whether that took a wait."""
        waited = False
        while self._attempt.open and not self._room():
            await self._attempt.attend().wait_room(self._seq)
            waited = True
        return waited

    async def _find_room(self) -> int:
        await self._wait_room()
        return self._room()

    async def _carry(self, kind: Kind, values: Sequence[Any]) -> None:
        """Write what came through the channel."""
        try:
            if kind is Kind.TOKEN:
                await insist(partial(self._write_tokens, values))
            else:
                await insist(partial(self._append, kind, values))
        except LeaseLost:
            self._deadlines.stop(Reason.WORKER_LOST)
            raise

    async def _append(self, kind: Kind, values: Sequence[Any]) -> None:
        self._seq = await self._store.append(self.id, self.attempt, kind, values, self._appended)
        self._appended += len(values)

    async def _write_tokens(self, values: Sequence[Any]) -> None:
        try:
            await self._append(Kind.TOKEN, values)
        except InvalidPayload as refusal:
            self._attempt.refused = str(refusal)
            self._deadlines.stop(Reason.LIMIT)
            raise
        if self._deadlines.mind_tokens:
            self._deadlines.token_sent()

    async def close(self) -> None:
        """Write what is still in the channel; called once the nursery has closed."""
        if self._pipe is not None:
            try:
                await self._pipe.close()
            finally:
                self._pipe = None

    # ------------------------------------------------------------ the rest

    @property
    def cancel_requested(self) -> trio.Event:
        """Set when the job is asked to stop, by a cancellation or a shutdown that gives it grace.

        Wait for it, or look at it, to end well within the grace period; then the job is cancelled.
        """
        if self._told is None:
            self._told = trio.Event()
        return self._told

    async def spawn(
        self,
        fn: Callable[[JobContext[Any], Unpack[Ts]], Awaitable[R]],
        /,
        *args: *Ts,
        **options: Unpack[SpawnOptions],
    ) -> JobHandle[Any, R]:
        """Start a child job in this attempt's nursery, with an id, a log and a scope of its own.

        Nursery rules hold: the attempt does not end before the child; its cancellation cancels the
        child (reason `parent`); the child's failure fails the attempt. A child is not queued and not
        retried: the next attempt spawns anew. Cancelling only the child leaves the attempt running. It has
        the owner and the priority of this job, and the timeouts of its handler's mark.
        Always a checkpoint. If it is cancelled, no child was started.

        Args:
            fn: An async function that takes a `JobContext` and `args`.
            *args: Its arguments.
            **options: See `SpawnOptions`.

        Returns:
            A handle on the child.

        Raises:
            TypeError: `fn`, `args` or an option is not fit.
            ValueError: An option is out of range.
            RecursionError: Child jobs would lie more than 100 deep in each other.
            LeaseLost: The attempt is over.
        """
        return await self._attempt.spawn(fn, args, options)
