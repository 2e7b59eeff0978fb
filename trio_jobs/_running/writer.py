"""Write what an attempt says into its job's log: in one order, and no faster than its readers allow."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

import attrs
import trio

from .._common.errors import InvalidPayload, LeaseLost
from .._common.states import Reason
from .._model.job import Kind
from .._watching.readers import Readers, ReadersByJob
from ..stores.contract import Claim, Store
from ..stores.retrying import retry_until_answered
from .channel import Entry, Pipe
from .deadlines import Deadlines


@attrs.frozen(eq=False)
class Resources:
    """What the attempts of one worker share.

    Attributes:
        store: Where the jobs are.
        readers: Who reads them in this process.
        nursery: Where the tasks run that empty the attempts' channels.
        trio_token: What lets a thread call into the run.
    """

    store: Store
    readers: ReadersByJob
    nursery: trio.Nursery
    trio_token: trio.lowlevel.TrioToken


class Writer:
    """Writes what one attempt says.

    Args:
        claim: The right to run the attempt.
        resources: What it shares with others.
        deadlines: The attempt's clocks: a token restarts some, and a token that is refused stops the attempt.

    Attributes:
        open: Whether the attempt's nursery is open.
        refused: What the store said of a token that was too large.
    """

    def __init__(self, claim: Claim, resources: Resources, deadlines: Deadlines) -> None:
        self.open = True
        self.refused: str | None = None
        self._claim = claim
        self._id = claim.submission.id
        self._resources = resources
        self._store = resources.store
        self._readers = resources.readers
        self._deadlines = deadlines
        self._seq = claim.seq
        self._appended = 0
        self._pipe: Pipe | None = None

    # ------------------------------------------------------------ what the handler asks

    async def send(self, value: object) -> None:
        """Write a token; see `JobContext.send`."""
        if (pipe := self._pipe or self._far_pipe()) is not None:
            await pipe.send(value)
            return
        await trio.lowlevel.checkpoint_if_cancelled()
        readers = self._readers.get(self._id)
        waited = readers is not None and not readers.room(self._seq) and await self._wait_room()
        await self._write_tokens((value,))
        if not waited:
            await trio.lowlevel.cancel_shielded_checkpoint()

    async def send_many(self, values: Iterable[object]) -> None:
        """Write tokens in bursts; see `JobContext.send_many`."""
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

    async def _send_burst(self, burst: list[object]) -> None:
        if (pipe := self._pipe or self._far_pipe()) is None:
            await self._write_tokens(burst)
            await trio.lowlevel.checkpoint()
        else:
            await pipe.send_many(burst)

    async def note(self, kind: Kind, data: object) -> None:
        """Write an event that is no token. A checkpoint."""
        if (pipe := self._pipe or self._far_pipe()) is not None:
            entry = Entry(kind, data)
            await pipe.send(entry)
            await entry.wait()
            return
        await trio.lowlevel.checkpoint_if_cancelled()
        await self._append(kind, (data,))
        await trio.lowlevel.cancel_shielded_checkpoint()

    # ------------------------------------------------------------ the channel

    @property
    def tokens(self) -> trio.MemorySendChannel[Any]:
        """The sending end of the attempt's channel; see `JobContext.tokens`."""
        if self._pipe is not None:
            return self._pipe.tokens
        if trio.lowlevel.in_trio_run():
            return self._open().tokens
        # In a thread of the handler's: a library's callback, say, is what asks for it first.
        trio_token = self._resources.trio_token
        return trio.from_thread.run_sync(lambda: self._open().tokens, trio_token=trio_token)

    def _far_pipe(self) -> Pipe | None:
        """Return the channel that stands between a handler and a store that takes its time."""
        return self._open() if self._store.durable and self.open else None

    def _open(self) -> Pipe:
        """Send everything through a channel from now on."""
        if self._pipe is None:
            if not self.open:
                raise self._lost()
            pipe = Pipe(self._readers.window, self._find_room, self._carry, self._lost)
            self._resources.nursery.start_soon(pipe.run, name=f"tokens of job {self._id}")
            self._pipe = pipe  # only now that it runs: `close` waits for its end
        return self._pipe

    def _lost(self) -> LeaseLost:
        return LeaseLost(self._id, self._claim.attempt)

    async def _find_room(self) -> int:
        await self._wait_room()
        return self._room()

    async def _carry(self, kind: Kind, values: Sequence[Any]) -> None:
        """Write what came through the channel."""
        try:
            if kind is Kind.TOKEN:
                await retry_until_answered(self._write_tokens, values)
            else:
                await retry_until_answered(self._append, kind, values)
        except LeaseLost:
            self._deadlines.stop(Reason.WORKER_LOST)
            raise

    async def close(self) -> None:
        """Write what is still in the channel; called once the nursery has closed."""
        if self._pipe is not None:
            try:
                await self._pipe.close()
            finally:
                self._pipe = None

    # ------------------------------------------------------------ room, and the log

    def attend(self) -> Readers:
        """Return the readers of the job, which may make this attempt wait from now on."""
        readers = self._readers[self._id]
        readers.attend(self._deadlines, self._claim.submission.options, self._claim.seq)
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

    async def _append(self, kind: Kind, values: Sequence[Any]) -> None:
        self._seq = await self._store.append(self._id, self._claim.attempt, kind, values, self._appended)
        self._appended += len(values)

    async def _write_tokens(self, values: Sequence[Any]) -> None:
        try:
            await self._append(Kind.TOKEN, values)
        except InvalidPayload as refusal:
            self.refused = str(refusal)
            self._deadlines.stop(Reason.LIMIT)
            raise
        if self._deadlines.mind_tokens:
            self._deadlines.token_sent()
