"""Write the events of an attempt into its job's log, in one order and no faster than its readers allow."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import trio

from .._common.errors import InvalidPayload, LeaseLost
from .._common.states import Reason
from .._model.job import Kind, Step
from .._watching.readers import Readers, ReadersByJob
from ..stores.contract import Claim, Store
from ..stores.retrying import LAST_WORDS, retry_until_answered
from .channel import Entry, TokenChannel
from .deadlines import Deadlines

if TYPE_CHECKING:
    from ..stores.memory import MemoryStore
    from .inbox import Inbox
    from .listener import Listener
    from .steps import Steps

_TOKEN: Final = Kind.TOKEN  # bound once: Python 3.11 finds the members of an enum slowly


class Resources(NamedTuple):
    """What the attempts of one worker share.

    Attributes:
        store: Where the jobs are.
        readers: The readers of jobs in this process.
        nursery: It runs the tasks that empty the attempts' channels.
        trio_token: With it a thread calls into the run.
        local: The same store, if its logs may be written in place: `open_registry` made it, in memory.
        listener: It hears whether inputs came to jobs.
    """

    store: Store
    readers: ReadersByJob
    nursery: trio.Nursery
    trio_token: trio.lowlevel.TrioToken
    local: MemoryStore | None
    listener: Listener


class Writer:
    """Writes the events of one attempt.

    Args:
        claim: The right to run the attempt.
        resources: What the attempts of the worker share.
        deadlines: The attempt's clocks: a token restarts some, and a token that is refused stops the attempt.

    Attributes:
        claim: As given.
        open: Whether the attempt's nursery is open.
        refused: The message of the store about a token that was too large.
        appended: How many events the store has said that it has of the attempt; a log in this process knows.
        inbox: The inputs that the attempt receives; None until it asks for them, as most never do.
    """

    open = True
    refused: str | None = None
    inbox: Inbox | None = None
    appended = 0
    _others = 0  # of what was appended, the events that are no tokens
    _channel: TokenChannel | None = None

    def __init__(self, claim: Claim, resources: Resources, deadlines: Deadlines) -> None:
        self.claim = claim
        self._id = claim.submission.id
        self._resources = resources
        self._store = resources.store
        self._readers = resources.readers
        self._log = None if resources.local is None else resources.local.log(self._id)
        self._deadlines = deadlines
        self._seq = claim.seq

    # ------------------------------------------------------------ what the handler sends

    def send_now(self, value: object) -> bool:
        """Write a token into a log in this process, unless it has to wait; return whether it was written."""
        log, readers = self._log, self._readers.get(self._id)
        if log is None or self._channel is not None:
            return False
        if readers is not None and self._seq >= readers.until and not readers.room(self._seq):
            return False
        if log.writer != self.claim.attempt:
            raise self._lost()
        try:
            log.send(value)
        except InvalidPayload as refusal:
            self._refuse(refusal)
            raise
        self._seq = log.last_seq
        if self._deadlines.mind_tokens:
            self._deadlines.token_sent()
        return True

    async def send(self, value: object) -> None:
        """Write a token that `send_now` did not write."""
        if (channel := self._channel or self._far_channel()) is not None:
            await channel.send(value)
            return
        waited = await self._wait_room()
        await self._write_tokens((value,))
        if not waited:
            await trio.lowlevel.cancel_shielded_checkpoint()

    async def send_many(self, values: Iterable[object]) -> None:
        """Write tokens in bursts; see `JobContext.send_many`."""
        iterator = iter(values)
        await trio.lowlevel.checkpoint()
        rested = True  # one checkpoint a burst: a wait for room is one
        for value in iterator:
            if not await self._wait_room() and not rested:
                await trio.lowlevel.checkpoint()
                await self._wait_room()
            rested = False
            burst, broken = [value], None
            try:
                burst.extend(islice(iterator, max(0, self._room() - 1)))
            except Exception as error:  # noqa: BLE001  # raised below, when what came before it was sent
                broken = error
            await self._send_burst(burst)
            if broken is not None:
                await trio.lowlevel.checkpoint()
                raise broken
        if not rested:
            await trio.lowlevel.checkpoint()

    async def _send_burst(self, burst: list[object]) -> None:
        if (channel := self._channel or self._far_channel()) is None:
            await self._write_tokens(burst)
        else:
            await channel.send_many(burst)

    async def note(self, kind: Kind, data: object, received: int | None = None) -> None:
        """Write an event that is no token; see `Store.append`. A checkpoint."""
        if (channel := self._channel or self._far_channel()) is not None:
            await channel.deliver(Entry(kind, data, received))
            return
        await trio.lowlevel.checkpoint_if_cancelled()
        await self._append(kind, (data,), received)
        await trio.lowlevel.cancel_shielded_checkpoint()

    async def keep(self, step: Step) -> None:
        """Write the result of a step. A checkpoint; if it is cancelled, it writes the result first."""
        channel = self._channel or self._far_channel()
        entry = Entry(Kind.STEP, step)
        try:
            if channel is None:
                await self._append(Kind.STEP, (step,))
                await trio.lowlevel.checkpoint()
            else:
                await channel.deliver(entry)
        except trio.Cancelled:
            if channel is not None:  # else a store in this process
                with trio.move_on_after(LAST_WORDS, shield=True):
                    await channel.deliver(entry)
            raise
        except InvalidPayload as refusal:
            self._refuse(refusal)
            raise

    # ------------------------------------------------------------ the channel

    @property
    def tokens(self) -> trio.MemorySendChannel[Any]:
        """The sending end of the attempt's channel; see `JobContext.tokens`."""
        if self._channel is not None:
            return self._channel.tokens
        if trio.lowlevel.in_trio_run():
            return self._open().tokens
        # In a thread of the handler: the first to use it may be a callback of a library.
        trio_token = self._resources.trio_token
        return trio.from_thread.run_sync(lambda: self._open().tokens, trio_token=trio_token)

    def _far_channel(self) -> TokenChannel | None:
        """Return the channel through which an attempt on a durable store sends, while it is open."""
        return self._open() if self._store.durable and self.open else None

    def _open(self) -> TokenChannel:
        """Send everything through a channel from now on."""
        if self._channel is None:
            if not self.open:
                raise self._lost()
            channel = TokenChannel(self._readers.window, self._find_room, self._carry, self._lost)
            self._resources.nursery.start_soon(channel.run, name=f"tokens of job {self._id}")
            self._channel = channel  # only now that it runs: `close` waits for its end
        return self._channel

    def _lost(self) -> LeaseLost:
        return LeaseLost(self._id, self.claim.attempt)

    async def _find_room(self) -> int:
        await self._wait_room()
        return self._room()

    async def _carry(self, kind: Kind, values: Sequence[Any], received: int | None) -> None:
        """Write what came through the channel."""
        try:
            if kind is Kind.TOKEN:
                await retry_until_answered(self._write_tokens, values)
            else:
                await retry_until_answered(self._append, kind, values, received)
        except LeaseLost:
            self._deadlines.stop(Reason.WORKER_LOST)
            raise

    async def close(self) -> None:
        """Write what is still in the channel; called once the nursery has closed."""
        if self._channel is not None:
            try:
                await self._channel.close()
            finally:
                self._channel = None

    # ------------------------------------------------------------ room, and the log

    def open_inbox(self) -> Inbox:
        """Make the inbox of the attempt, and return it."""
        if not self.open:
            raise self._lost()
        from .inbox import LocalInbox, StoreInbox  # which most programs do not need

        if self._log is not None:
            self.inbox = LocalInbox(self.claim, self._log)
        else:
            self.inbox = StoreInbox(self.claim, self._store, self._resources.listener)
        return self.inbox

    @property
    def received(self) -> int:
        """The `seq` of the last input that the attempt received; at first that of the last consumed one."""
        return self.claim.consumed if self.inbox is None else self.inbox.received

    @property
    def seq(self) -> int:
        """The newest cursor of the job's log, as far as this attempt knows."""
        return self._seq if self._log is None else self._log.last_seq

    @property
    def sent(self) -> int:
        """How many tokens the attempt has written, so far or until its end."""
        return (self.appended if self._log is None else self._log.appended) - self._others

    def steps(self) -> Steps:
        """Return what runs the steps of this attempt."""
        from .steps import Steps  # which most programs do not need

        return Steps(self.claim, self._store, self.keep)

    def attend(self) -> Readers:
        """Return the readers of the job, which may make this attempt wait from now on."""
        readers = self._readers[self._id]
        readers.attend(self._deadlines, self.claim.submission.options, self.claim.seq)
        return readers

    def _room(self) -> int:
        """Return how many events may be sent now."""
        readers = self._readers.get(self._id)
        return self._readers.window if readers is None else readers.room(self._seq)

    async def _wait_room(self) -> bool:
        """Wait until an event may be sent, and return whether that took a wait."""
        waited = False
        while self.open and not self._room():
            await self.attend().wait_room(self._seq)
            waited = True
        return waited

    async def _append(self, kind: Kind, values: Sequence[Any], received: int | None = None) -> None:
        offset = self.appended if self._log is None else self._log.appended
        self._seq = await self._store.append(
            self._id, self.claim.attempt, kind, values, offset, received=received, claim=self.claim.id
        )
        self.appended += len(values)
        if kind is not _TOKEN:
            self._others += len(values)

    async def _write_tokens(self, values: Sequence[Any]) -> None:
        try:
            await self._append(Kind.TOKEN, values)
        except InvalidPayload as refusal:
            self._refuse(refusal)
            raise
        if self._deadlines.mind_tokens:
            self._deadlines.token_sent()

    def _refuse(self, refusal: InvalidPayload) -> None:
        self.refused = str(refusal)
        self._deadlines.stop(Reason.LIMIT)
