"""The job context of a handler: its job, and the methods to send, receive, save and start child jobs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Concatenate, Generic, Protocol, TypeVar, TypeVarTuple, Unpack, overload

import trio

from .._common.validate import number, whole
from .._model.job import Kind, Progress
from .writer import Writer

if TYPE_CHECKING:
    from .._model.options import SpawnOptions, SubmitOptions
    from .._watching.handle import JobHandle
    from ..stores.contract import Claim
    from .attempt import Attempt
    from .steps import Steps

T = TypeVar("T")
V = TypeVar("V")
R = TypeVar("R")
Ts = TypeVarTuple("Ts")


class Starts(Protocol):
    """Starts other jobs for the handler of an attempt; each takes a function, its arguments and options."""

    async def spawn(
        self,
        parent: Attempt,
        fn: Callable[..., Awaitable[Any]],
        args: tuple[Any, ...],
        given: Mapping[str, Any],
    ) -> JobHandle[Any, Any]:
        """See `JobContext.spawn`."""
        ...

    async def submit_by(
        self,
        attempt: Attempt,
        fn: Callable[..., Awaitable[Any]],
        args: tuple[Any, ...],
        given: Mapping[str, Any],
    ) -> JobHandle[Any, Any]:
        """See `JobContext.submit`."""
        ...


class JobContext(Generic[T]):
    """The handler's view of its attempt. `T` is the type of the values it streams.

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
    _ready = False
    _steps: Steps | None = None  # made by the first one
    _cancel_requested: trio.Event | None = None  # made when it is asked for

    def __init__(self, claim: Claim, writer: Writer, attempt: Attempt, starts: Starts) -> None:
        new = claim.submission
        self.id: str = new.id
        self.attempt: int = claim.attempt
        self.tags: Mapping[str, str] = new.options.tags
        self.metadata: Mapping[str, Any] = new.options.metadata
        self.saved: Any = claim.saved
        self._writer = writer
        self._attempt = attempt
        self._starts = starts

    @property
    def handler(self) -> str:
        """The name of the job's handler."""
        return self._attempt.claim.submission.handler

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
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._writer.send_now(value):
            await trio.lowlevel.cancel_shielded_checkpoint()
        else:
            await self._writer.send(value)

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
        await self._writer.send_many(values)

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
        return self._writer.tokens

    async def progress(self, done: float, total: float | None = None, message: str | None = None) -> None:
        """Report how far the job is. Always a checkpoint.

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
        await self._writer.note(Kind.PROGRESS, Progress(done, total, message))

    async def save(self, value: object, *, received: int | None = None) -> None:
        """Keep a value for the next attempt, which finds it in `saved`. The last one counts.

        The inputs that were received are consumed by it, in the same step: the next attempt does not receive
        them again. `save(job.saved)` does only that.

        Always a checkpoint. If it is cancelled, the value may or may not have been saved.

        Args:
            value: The value. A store in memory keeps the object itself; do not change it afterwards.
            received: Up to where inputs are consumed; by default up to `JobContext.received` as it is when
                this is called.

        Raises:
            LeaseLost: The attempt is over.
            InvalidPayload: The store cannot keep it, as one that outlives the process keeps JSON.
            ValueError: `received` is negative, or beyond what was received.
        """
        if received is None:
            received = self.received
        else:
            whole("received", received)
            if received > self.received:
                raise ValueError(
                    f"received={received} is beyond the inputs that were received, {self.received}"
                )
        await self._writer.note(Kind.SAVED, value, received)
        self.saved = value
        if (inbox := self._writer.inbox) is not None:
            inbox.saved(received)

    async def ready(self) -> None:
        """Say that the job is ready, as a service is that listens: see `Job.ready_at`. Always a checkpoint.

        It holds until the attempt ends. To say it again changes nothing.

        Raises:
            LeaseLost: The attempt is over.
        """
        if self._ready:
            await trio.lowlevel.checkpoint()
        else:
            await self._writer.note(Kind.READY, None)
            self._ready = True

    # ------------------------------------------------------------ inputs

    async def receive(self) -> Any:
        """Wait for the job's next input, which `JobHandle.send` sent, and return it.

        Any number of tasks may wait; each input goes to one of them, in the order in which they began to. An
        attempt receives each input once, in the order in which they were sent, and first those again that
        earlier attempts received without consuming them, see `save`; a job that completes consumes what it
        received. No clock stands still meanwhile, and no input restarts one. To wait long without a slot,
        raise `AwaitInput`.

        Always a checkpoint. If it is cancelled, no input was received.

        Raises:
            trio.EndOfChannel: All inputs were received, and no more will come; see `JobHandle.end_inputs`.
            trio.ClosedResourceError: `inputs` was closed.
            InvalidPayload: The input no longer fits the type that the handler declares. It counts as
                received.
            RuntimeError: This was called in a step.
            LeaseLost: The attempt is over.
        """
        return await (self._writer.inbox or self._writer.open_inbox()).receive()

    @property
    def inputs(self) -> trio.abc.ReceiveChannel[Any]:
        """The job's inputs as a channel, the same one each time; it shares its place with `receive`.

        To close it ends receiving for this attempt. It may be asked for once the attempt has begun.

        Raises:
            LeaseLost: The attempt is over.
        """
        return self._writer.inbox or self._writer.open_inbox()

    @property
    def received(self) -> int:
        """The cursor of the last input that was received; of the last consumed one before the first."""
        return self._writer.received

    @property
    def timed_out(self) -> bool:
        """Whether the attempt before raised `AwaitInput`, and no input came within its time limit."""
        return self._writer.claim.waited == "timeout"

    # ------------------------------------------------------------ steps

    async def step(self, name: str, fn: Callable[[Unpack[Ts]], Awaitable[R]], /, *args: *Ts) -> R:
        """Call a function once for the job, and return what it returned, in this and all later attempts.

        The result is kept in the job's log when `fn` has returned; a later attempt gets the kept one, and
        does not call `fn`. If `fn` raises, nothing is kept. If the process dies after `fn` had its effect and
        before its result was kept, the next attempt calls it again. Where that matters, let `fn` pass on a
        key under which its effect happens once, made of `id` and the step's name, as in
        `f"{job.id} charge"`; `attempt` tells the calls apart.

        A step consumes no input, and cannot receive one. In a name, `received` tells the answers of a
        conversation apart, as in `f"answer {job.received}"`.

        Always a checkpoint. If it is cancelled while `fn` runs, nothing is kept; later, the result is kept
        first, if the store can do that within a few seconds.

        Args:
            name: A name that no other step of the job has.
            fn: An async function. In a store that outlives the process what it returns is kept as JSON, and
                comes back, in the first attempt too, as its annotation says.
            *args: Its arguments; a digest of them is kept.

        Raises:
            Exception: Whatever `fn` raises.
            ValueError: The name was used before in this attempt.
            KeyConflict: An earlier attempt used the name with other arguments.
            TypeError: `fn` is not an async function, or returns what cannot be made from JSON.
            InvalidPayload: The store cannot keep the result or the arguments; or there are more steps than
                `Retention.steps`, or larger ones, and the job fails, with reason `limit`, even if this is
                caught.
            LeaseLost: The attempt is over.
        """
        if self._steps is None:
            self._steps = self._writer.steps()
        return await self._steps.run(name, fn, args)  # type: ignore[no-any-return]  # or a kept one

    # ------------------------------------------------------------ the rest

    @property
    def cancel_requested(self) -> trio.Event:
        """Set when the job is asked to stop, by a cancellation or a shutdown that gives it grace.

        Wait for it, or look at it, to end well within the grace period; then the job is cancelled.
        """
        if self._cancel_requested is None:
            self._cancel_requested = trio.Event()
        return self._cancel_requested

    @overload
    async def spawn(
        self,
        fn: Callable[[JobContext[Any], Unpack[Ts]], Awaitable[R]],
        /,
        *args: *Ts,
        **options: Unpack[SpawnOptions],
    ) -> JobHandle[Any, R]: ...
    @overload
    async def spawn(
        self,
        fn: Callable[Concatenate[JobContext[Any], ...], Awaitable[R]],
        /,
        *args: Any,
        kwargs: Mapping[str, Any],
        **options: Unpack[SpawnOptions],
    ) -> JobHandle[Any, R]: ...
    async def spawn(  # type: ignore[misc]  # mypy does not see that `*args` takes `*Ts`
        self, fn: Any, /, *args: Any, **options: Any
    ) -> JobHandle[Any, Any]:
        """Start a child job in this attempt's nursery, with an id, a log and a scope of its own.

        Nursery rules hold: the attempt does not end before the child; its cancellation cancels the
        child (reason `parent`); the child's failure fails the attempt. A child is not queued and not
        retried: the next attempt spawns anew. Cancelling only the child leaves the attempt running. It has
        the owner and the priority of this job, and the timeouts of its handler's mark.
        Always a checkpoint. If it is cancelled, no child was started.

        Args:
            fn: An async function that takes a `JobContext` and `args`.
            *args: Its arguments.
            kwargs: Its keyword arguments.
            **options: See `SpawnOptions`.

        Returns:
            A handle on the child.

        Raises:
            TypeError: `fn` is not an async function, does not take `args`, or an option has a wrong type.
            ValueError: An option is out of range.
            RecursionError: Child jobs would be nested more than 100 deep.
            LeaseLost: The attempt is over.
        """
        return await self._starts.spawn(self._attempt, fn, args, options)

    @overload
    async def submit(
        self,
        fn: Callable[[JobContext[V], Unpack[Ts]], Awaitable[R]],
        /,
        *args: *Ts,
        **options: Unpack[SubmitOptions],
    ) -> JobHandle[V, R]: ...
    @overload
    async def submit(
        self,
        fn: Callable[Concatenate[JobContext[V], ...], Awaitable[R]],
        /,
        *args: Any,
        kwargs: Mapping[str, Any],
        **options: Unpack[SubmitOptions],
    ) -> JobHandle[V, R]: ...
    async def submit(  # type: ignore[misc]  # mypy does not see that `*args` takes `*Ts`
        self, fn: Any, /, *args: Any, **options: Any
    ) -> JobHandle[Any, Any]:
        """Submit a job of its own, to the same store; see `JobRegistry.submit`.

        It is no child: it waits, runs and is retried by itself, and is not taken back if this attempt fails.
        The next attempt submits it anew, unless a `key` says that it is the same. Its owner is that of this
        job. It is accepted only while the job runs this attempt.

        Always a checkpoint. If it is cancelled while the store is unavailable, it may have been accepted.

        Args:
            fn: An async function that takes a `JobContext` and `args`.
            *args: Its arguments.
            kwargs: Its keyword arguments.
            **options: See `SubmitOptions`; no `owner`.

        Returns:
            A handle on the job; see `JobRegistry.submit`.

        Raises:
            Exception: What `JobRegistry.submit` raises; but while the store is unavailable this waits.
            TypeError: An `owner` was given.
            LeaseLost: The attempt is over.
        """
        return await self._starts.submit_by(self._attempt, fn, args, options)
