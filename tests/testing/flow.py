"""One job, its senders and its readers, compared with a model of which of them may go on.

The rules control the handler. They send in tasks of its attempt, in each of the ways there are, and cancel
the sends at any checkpoint; they open readers of every kind, let them read, stop and leave; they end
attempts, and let time pass. After each step, when all tasks wait, the model says what must hold:

- exactly which calls wait for room, which depends on the slowest reader that blocks and has caught up, or for
  an unread job that pauses on the reader that has read furthest;
- the contents of the log: each sent value once, in order, and none of a call that was cancelled;
- the events of each reader, with every gap and new attempt, and that it waits only at the end of the log;
- how and when attempts end: the clocks between tokens stop while a send waits, and an unread job is
  cancelled if its options say so.

`python tests/testing/lives.py --of streams` lets Hypothesis draw many such lives.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Generator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import attrs
import trio
from hypothesis import strategies as st
from hypothesis.stateful import precondition

from tests.inside import store_of
from tests.stores.sqlite.parts import look_again, writer_of
from trio_jobs import (
    Event,
    JobCancelled,
    JobContext,
    JobFailed,
    JobHandle,
    JobRegistry,
    Kind,
    LeaseLost,
    Reason,
    Retention,
    Retry,
    StreamGap,
    StreamRestarted,
    Timeouts,
    handler,
    open_registry,
)
from trio_jobs.stores import Store
from trio_jobs.stores.memory import MemoryStore
from trio_jobs.stores.sqlite import SqliteStore
from trio_jobs.testing import Connection, TrioMachine, initialize, invariant, open_sqlite_in_lockstep, rule

KEPT, MOST = 16, 13  # what a log keeps, and how much may be on its way, so that the model sees every event
KEEP = Retention(events=KEPT)
SECONDS = st.sampled_from([0.5, 1.0, 2.0, 5.0])
AMOUNTS = st.sampled_from([1, 1, 2, 3, 5, 8, 12])
CUTS = st.sampled_from([None, None, 1, 2, 3, 4, 5, 7])
OPTIONS = st.fixed_dictionaries(
    {
        "unread": st.sampled_from(["continue", "continue", "continue", "pause", "pause", "cancel"]),
        "linger": st.sampled_from([3.0, 3.0, 1.0, 0.0]),
        "first": st.sampled_from([None, None, None, 2.0]),
        "idle": st.sampled_from([None, None, None, 2.0]),
        "retries": st.integers(0, 3),
        "delay": st.sampled_from([0.0, 0.0, 0.0, 0.0, 1.0]),
        "says": st.sampled_from([0, 1, 3, 6]),
    }
)
OWN = frozenset({Kind.STARTED, Kind.TOKEN, Kind.PROGRESS, Kind.SAVED})
GOES = frozenset({Kind.TOKEN, Kind.PROGRESS, Kind.SAVED})
ENDS = (trio.EndOfChannel, JobFailed, JobCancelled)
Fate = tuple[Kind, Reason | None]
_ALL = 10**6
HOW = st.sampled_from(["return", "raise", "raise", "cancelled", "asked"])
NEVER = 10**6  # seconds that no life takes


@attrs.define(eq=False)
class Attempt:
    """An attempt of the job, as the rules control it."""

    job: JobContext[str] = attrs.field(repr=False)
    channel: bool  # whether what it sends goes through one
    start: int = 0  # where it begins in the log
    how: str | None = None
    over: trio.Event = attrs.field(factory=trio.Event, repr=False)


@attrs.define(eq=False)
class Sender:
    """Values that are being sent by a task of their own."""

    number: int
    how: str
    amount: int
    attempt: Attempt = attrs.field(repr=False)
    before: frozenset[str] = attrs.field(repr=False)  # what had been sent when it began
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope, repr=False)
    direct: bool = False  # whether its last call goes by the channel, as it began before that was opened
    taken: int = 0  # values that were asked for
    sent: int = 0  # those of which a call has told that they were sent
    logged: int = 0
    end: str = ""

    @property
    def values(self) -> Generator[str]:
        for number in range(self.amount):
            self.taken = number + 1
            self.direct = not self.attempt.channel
            yield f"{self.number}.{number}"

    @property
    def channel(self) -> bool:
        """Whether the next value goes through the channel; `send_many` checks that each time it goes on."""
        return self.attempt.channel if self.how == "many" else not self.direct

    @property
    def notes(self) -> bool:
        return self.how in {"progress", "save"}


@attrs.define(eq=False)
class Reader:
    """An open stream, and its cursor."""

    stream: Any = attrs.field(repr=False)
    values: bool
    policy: str
    restarts: str
    here: bool
    cursor: int
    joined: int  # where the log ended when it came, if that was more than a window away
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope, repr=False)
    busy: bool = False
    got: list[tuple[Any, int]] = attrs.field(factory=list[Any], repr=False)

    def passes(self, event: Event) -> bool:
        """Return whether it skips an event."""
        begins = event.kind is Kind.STARTED and event.attempt > 1 and self.restarts == "raise"
        return self.values and not (event.kind is Kind.TOKEN or event.kind.ends or begins)


class Cuts(trio.abc.Instrument):
    """Cancels scopes when their tasks have run so many steps."""

    def __init__(self) -> None:
        self._left: dict[trio.lowlevel.Task, tuple[int, trio.CancelScope]] = {}

    def after(self, steps: int | None, scope: trio.CancelScope) -> None:
        """Cancel `scope` when the current task has run so many steps."""
        if steps is not None:
            self._left[trio.lowlevel.current_task()] = steps, scope

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        """Count the step."""
        if task in self._left:
            steps, scope = self._left[task]
            self._left[task] = steps - 1, scope
            if steps == 1:
                scope.cancel()


MACHINE: ContextVar[FlowMachine] = ContextVar("MACHINE")


@handler
async def puppet(job: JobContext[str]) -> None:
    """Run the commands of the machine."""
    await MACHINE.get().act(job)


class FlowMachine(TrioMachine):
    """Lives of a job that streams, in memory; see above."""

    in_memory: ClassVar[bool] = True

    folder: Path

    def open_store(self) -> AbstractAsyncContextManager[Store]:
        """Return the block in which the store is open."""
        return _memory()

    @property
    def beside(self) -> Store:
        """The store as another process has it."""
        return self.store

    async def hear(self) -> None:
        """Let each process know what the other has written."""

    # ------------------------------------------------------------ what there is

    def __init__(self) -> None:
        super().__init__()
        self.cuts = Cuts()
        self.sound = False  # whether nothing was found yet
        self.store: Store
        self.here: JobRegistry
        self.elsewhere: JobRegistry
        self.handle: JobHandle[str, None]
        self._begin()

    def _begin(self) -> None:
        """Reset the model for the next job."""
        self.log: list[Event] = []
        self.kept: set[int] = set()
        self.attempts: list[Attempt] = []
        self.senders: list[Sender] = []
        self.readers: list[Reader] = []
        self.tokens: set[str] = set()  # those that were in the log
        self.furthest = 0  # how far anybody here has read, for `pause`
        self.waits = False  # whether anything waits for room
        self.still_since: float | None = None  # since when that is so
        self.clocks: dict[Reason, float] = {}  # when the attempt is over because it sends nothing
        self.unread_at = math.inf  # when it is cancelled because nobody reads,
        self.asked_at = math.inf  # and when because somebody asked for that
        self.due = math.inf  # when the next attempt begins
        self.closing = False
        self.waiters: list[trio.CancelScope] = []  # who waits for the end

    @initialize(window=st.integers(1, 4), in_place=st.booleans(), options=OPTIONS)
    async def open(self, window: int, in_place: bool, options: dict[str, Any]) -> None:
        """Open a registry with the job in it, and one more that looks on from elsewhere.

        What a registry made itself, in memory, is read and written in place; any other store by its verbs.
        """
        self.window = window
        self.in_place = in_place and self.in_memory
        trio.lowlevel.add_instrument(self.cuts)
        await self.nursery.start(self._keep_open)
        await self._submit(**options)
        self.sound = True

    @precondition(lambda self: self.over)
    @rule(options=OPTIONS)
    async def again(self, options: dict[str, Any]) -> None:
        """Submit another job, once all readers have seen the end of the one before."""
        await self._end_all()
        self._begin()
        await self._submit(**options)

    async def _submit(
        self, unread: Any, linger: float, first: Any, idle: Any, retries: int, delay: float, says: int
    ) -> None:
        self.unread, self.linger, self.first, self.idle = unread, linger, first, idle
        self.retries, self.delay, self.says = retries, delay, says
        self.handle = await self.here.submit(
            puppet,
            timeouts=Timeouts(first_token=first, idle=idle),
            retry=Retry(attempts=retries + 1, initial=delay, factor=1, jitter=0),
            delay=delay,
            when_unread=unread,
            linger=linger,
        )
        self.due = trio.current_time() + delay
        for jobs in [self.here, self.elsewhere][: 1 + (self.beside is not self.store)]:
            self.nursery.start_soon(self._wait, jobs, None)

    async def _keep_open(self, task_status: trio.TaskStatus[None]) -> None:
        MACHINE.set(self)
        self.leaving, self.left = trio.Event(), trio.Event()
        with TemporaryDirectory(prefix="trio_jobs-") as folder:
            self.folder = Path(folder)
            async with self._open_here():
                elsewhere = open_registry(Connection(self.beside), window=1, capacity=0, handlers=[puppet])
                async with elsewhere as self.elsewhere:
                    task_status.started()
                    await self.leaving.wait()
        self.left.set()

    @asynccontextmanager
    async def _open_here(self) -> AsyncGenerator[None]:
        if self.in_place:
            made = open_registry("memory://", retention=KEEP, window=self.window, handlers=[puppet])
            async with made as self.here:
                self.store = store_of(self.here)
                yield
            return
        async with self.open_store() as self.store:
            async with open_registry(self.store, window=self.window, handlers=[puppet]) as self.here:
                yield

    async def _wait(self, jobs: JobRegistry, cut: int | None) -> None:
        scope = trio.CancelScope()
        self.waiters.append(scope)
        self.cuts.after(cut, scope)
        try:
            with scope:
                await (await jobs.get(self.handle.id)).wait()
        finally:
            self.waiters.remove(scope)

    async def act(self, job: JobContext[str]) -> None:
        """Run an attempt."""
        attempt = Attempt(job, channel=self.store.durable)
        self.attempts.append(attempt)
        if self.closing:
            return
        if self.says:
            self._send(attempt, "many", self.says, None)
        await attempt.over.wait()
        if attempt.how == "raise":
            raise ValueError("as drawn")

    @property
    def state(self) -> Kind | None:
        """The last event that changed the state."""
        stay = {*GOES, Kind.CANCEL_REQUESTED}
        return next((event.kind for event in reversed(self.log) if event.kind not in stay), None)

    @property
    def over(self) -> bool:
        """Whether the job has ended."""
        return self.state is not None and self.state.ends

    @property
    def running(self) -> Attempt | None:
        """The attempt that runs, if one does."""
        return self.attempts[self.log[-1].attempt - 1] if self.state is Kind.STARTED else None

    def _pending(self) -> int:
        return sum(sender.amount - sender.logged for sender in self.senders if sender.attempt is self.running)

    # ------------------------------------------------------------ who sends

    @precondition(lambda self: self._may_send)
    @rule(
        how=st.sampled_from(["send", "send", "send", "tokens", "tokens", "progress", "save"]),
        amount=AMOUNTS,
        cut=CUTS,
    )
    async def send(self, how: str, amount: int, cut: int | None) -> None:
        """Send some values one by one, maybe cancelled."""
        self._send(self.running, how, min(amount, MOST - self._pending()), cut)

    @precondition(lambda self: self._may_send)
    @rule(amount=AMOUNTS, cut=CUTS)
    async def send_many(self, amount: int, cut: int | None) -> None:
        """Send some values at once, maybe cancelled."""
        self._send(self.running, "many", min(amount, MOST - self._pending()), cut)

    @property
    def _may_send(self) -> bool:
        return self.running is not None and self.running.how is None and self._pending() < MOST

    def _send(self, attempt: Attempt | None, how: str, amount: int, cut: int | None) -> None:
        assert attempt is not None
        attempt.channel |= how == "tokens"
        before = frozenset(
            value
            for one in self.senders
            if one.attempt is attempt and not one.notes
            for value in [f"{one.number}.{number}" for number in range(one.sent)]
        )
        sender = Sender(len(self.senders), how, amount, attempt, before)
        self.senders.append(sender)
        attempt.job.nursery.start_soon(self._call, sender, cut)

    async def _call(self, sender: Sender, cut: int | None) -> None:
        self.cuts.after(cut, sender.scope)
        job = sender.attempt.job
        sender.end = "cancelled"
        with sender.scope:
            sender.end = ""
            try:
                await self._say(sender, job)
                sender.end = "done"
            except trio.Cancelled:
                sender.end = "cancelled"
                raise
            except (LeaseLost, trio.BrokenResourceError):
                sender.end = "lost"

    async def _say(self, sender: Sender, job: JobContext[str]) -> None:
        if sender.how == "many":
            await job.send_many(sender.values)
            sender.sent = sender.amount
            return
        for number, value in enumerate(sender.values):
            if sender.how == "progress":
                await job.progress(number, message=value)
            elif sender.how == "save":
                await job.save(value)
            else:
                await (job.send if sender.how == "send" else job.tokens.send)(value)
            sender.sent += 1

    # ------------------------------------------------------------ who reads

    @precondition(lambda self: len(self.readers) < 5)
    @rule(
        data=st.data(),
        values=st.booleans(),
        policy=st.sampled_from(["block", "block", "block", "gap"]),
        restarts=st.sampled_from(["raise", "continue"]),
        here=st.sampled_from([True, True, True, False]),
        amount=st.sampled_from([0, 1, 1, 2, 3, 5]),
        many=st.booleans(),
    )
    async def join(
        self,
        data: st.DataObject,
        values: bool,
        policy: Any,
        restarts: Any,
        here: bool,
        amount: int,
        many: bool,
    ) -> None:
        """Open a stream, at the beginning, at the end, anywhere or beyond; and begin to read."""
        end = len(self.log)
        after = data.draw(st.sampled_from([0, end]) | st.integers(0, end + 2), "after")
        handle = await (self.here if here else self.elsewhere).get(self.handle.id)
        stream: Any = handle.stream(after, policy=policy, restarts=restarts)
        if not values:
            stream = handle.events(after, policy=policy)
        try:
            await stream.__aenter__()
        except StreamGap as gap:
            assert (gap.first, gap.last, gap.oldest) == (end + 1, after, end), f"{gap!r} at the end, {end}"
            return
        assert after <= end, f"a reader may begin at {after}, behind the end of the log, {end}"
        joined = end if end - after > self.window else 0
        self.readers.append(Reader(stream, values, policy, restarts, here, after, joined))
        if amount and not self.waits:  # else it would race with what the joining may let go on
            self._start(self.readers[-1], amount, many=many and values)

    @precondition(lambda self: any(not reader.busy for reader in self.readers))
    @rule(data=st.data(), cut=CUTS)
    async def read(self, data: st.DataObject, cut: int | None) -> None:
        """Let a reader read on, most often to where something changes; maybe cancelled."""
        reader = data.draw(st.sampled_from([one for one in self.readers if not one.busy]), "reader")
        marks = [reader.joined + step for step in (-1, 0, 1)] + [len(self.log) + step for step in (-1, 0, 2)]
        ahead = [len(list(self._ahead(reader, mark))) for mark in marks]
        self._start(reader, data.draw(st.sampled_from([1, 2, *filter(None, ahead)]), "amount"), cut)

    def _ahead(self, reader: Reader, mark: int) -> Generator[int]:
        for seq in range(reader.cursor + 1, mark + 1):
            if seq > len(self.log) or not reader.passes(self.log[seq - 1]):
                yield seq

    @precondition(lambda self: any(not reader.busy and reader.values for reader in self.readers))
    @rule(data=st.data(), amount=st.sampled_from([1, 1, 1, 2, 4]), cut=CUTS)
    async def read_many(self, data: st.DataObject, amount: int, cut: int | None) -> None:
        """Let a reader read all events at hand; maybe cancelled."""
        readers = [one for one in self.readers if not one.busy and one.values]
        self._start(data.draw(st.sampled_from(readers), "reader"), amount, cut, many=True)

    def _start(self, reader: Reader, amount: int, cut: int | None = None, *, many: bool = False) -> None:
        reader.busy = True
        reader.scope = trio.CancelScope()
        self.nursery.start_soon(self._read, reader, amount, many, cut)

    async def _read(self, reader: Reader, amount: int, many: bool, cut: int | None) -> None:
        self.cuts.after(cut, reader.scope)
        receive = reader.stream.receive_many if many else reader.stream.receive
        try:
            with reader.scope:
                for _ in range(amount):
                    try:
                        got = await receive()
                    except (StreamGap, StreamRestarted, *ENDS) as error:
                        got = error
                    reader.got.append((got, reader.stream.cursor))
                    if isinstance(got, ENDS):
                        break
        finally:
            reader.busy = False

    @property
    def _waiting(self) -> list[trio.CancelScope]:
        calls = [sender.scope for sender in self.senders if not sender.end]
        return calls + [reader.scope for reader in self.readers if reader.busy]

    @precondition(lambda self: self._waiting)
    @rule(data=st.data())
    async def cut_off(self, data: st.DataObject) -> None:
        """Cancel a call that waits; a stream that is read stays open."""
        self._waiting[data.draw(st.integers(0, len(self._waiting) - 1), "which")].cancel()

    @precondition(lambda self: self.readers)
    @rule(data=st.data(), how=st.sampled_from(["closed", "left", "cancelled"]))
    async def leave(self, data: st.DataObject, how: str) -> None:
        """Close a stream, and cancel its reader."""
        reader = data.draw(st.sampled_from(self.readers), "reader")
        self.readers.remove(reader)
        reader.scope.cancel()
        with trio.CancelScope() as scope:
            if how == "left":
                await reader.stream.__aexit__(None, None, None)
            else:
                if how == "cancelled":
                    scope.cancel()
                await reader.stream.aclose()

    # ------------------------------------------------------------ how it ends

    @precondition(lambda self: not self.over and len(self.log) > 14)
    @rule(how=HOW)
    async def end(self, how: str) -> None:
        """Let the handler return, which waits for what it sends, or raise; or cancel the job."""
        await self._end_by(self.here, how)

    async def _end_by(self, jobs: JobRegistry, how: str) -> None:
        if how in {"cancelled", "asked"}:
            self.asked_at = min(self.asked_at, trio.current_time() + (how == "asked"))
            handle = await jobs.get(self.handle.id)
            await handle.request_cancel(grace=1.0 if how == "asked" else 0.0)
        elif self.running and self.running.how is None:
            self.running.how = how
            self.running.over.set()

    @rule(seconds=SECONDS)
    async def advance(self, seconds: float) -> None:
        """Let time pass, at most to the next deadline."""
        clocks = [] if self.waits else self.clocks.values()
        moments = [self.due, self.unread_at, self.asked_at, *clocks]
        await trio.sleep(min(seconds, *(at - trio.current_time() for at in moments)))

    # ------------------------------------------------------------ what must be true

    @invariant()
    async def all_is_as_it_must_be(self) -> None:
        """When all tasks wait, compare everything with the model."""
        self.sound, before, over = False, self.running, self.over
        await self.hear()
        grown = await self._look()
        if not over:
            self._check_life(before, grown)
        assert not over or not grown
        for event in grown:
            self._follow(event)
        for sender in self.senders:
            self._check_sender(sender)
        for reader in self.readers:
            self._check_reader(reader)
        self._check_room(grown)
        self._set_token_clocks(grown)
        assert not self.over or not self.waiters, "who waits for the end was not told"
        self.sound = True

    async def _look(self) -> list[Event]:
        """Read the new events of the log, and the remaining old ones."""
        grown = await self.store.read(self.handle.id, len(self.log), _ALL)
        assert [event.seq for event in grown] == [*range(len(self.log) + 1, len(self.log) + len(grown) + 1)]
        self.log += grown
        self.kept = {event.seq for event in await self.store.read(self.handle.id, 0, _ALL)}
        goes = [event.seq for event in self.log if event.kind in GOES]
        stays = [event.seq for event in self.log if event.kind not in GOES]
        assert self.kept.issuperset(stays), "an event of the lifecycle is gone"
        least, most = min(len(goes), KEPT - KEPT // 8), KEPT + 1
        assert least <= len(self.kept) - len(stays) <= most, f"{len(self.kept)} of {len(self.log)} are kept"
        return grown

    # ------------------------------------------------------------ what was sent

    def _follow(self, event: Event) -> None:
        """Check that an event of the log is the next one of a sender."""
        if event.kind is Kind.STARTED:
            self.attempts[event.attempt - 1].start = self.furthest = event.seq
        if event.kind not in GOES:
            return
        told = event.data.message if event.kind is Kind.PROGRESS else event.data
        number, value = map(int, told.split("."))
        sender = self.senders[number]
        assert sender.attempt.job.attempt == event.attempt, f"{event} is of another attempt"
        assert value == sender.logged, f"{event} is not number {sender.logged} of {sender}"
        assert sender.before <= self.tokens, f"{event} overtook {sender.before - self.tokens}"
        sender.logged += 1
        if not sender.notes:
            self.tokens.add(told)

    def _check_sender(self, sender: Sender) -> None:
        over = sender.attempt is not self.running
        assert sender.end or not over, f"{sender} still waits, although its attempt is over"
        written = over or not sender.channel
        if sender.notes:
            most = sender.sent + (sender.end != "done")  # a cancelled one may be on its way
            assert sender.sent <= sender.logged <= most, f"{sender} was told what is not so"
        elif sender.how == "many":
            assert sender.logged <= sender.taken, f"{sender}: more came than it took"
            if written and sender.end == "done":
                assert sender.logged == sender.amount, f"{sender}: some are lost"
        else:
            assert sender.logged <= sender.sent, f"{sender}: a call that did not return has sent something"
            if written:
                assert sender.logged == sender.sent, f"{sender}: some are lost"

    # ------------------------------------------------------------ what was read

    def _check_reader(self, reader: Reader) -> None:
        """Check the events of a reader, and that it does not wait for existing ones."""
        for got, cursor in reader.got:
            self._check_got(reader, got)
            assert cursor == reader.cursor, f"{reader} is at {cursor} after {got!r}, not at {reader.cursor}"
        at = reader.stream.cursor
        assert all(map(reader.passes, self.log[reader.cursor : at])), (
            f"{reader} dropped something before {at}"
        )
        if reader.here and (reader.got or at > reader.cursor):
            self.furthest = max(self.furthest, at)
        reader.cursor = at
        reader.got.clear()
        if reader.busy:
            assert at == len(self.log), f"{reader} waits, and the log ends at {len(self.log)}"
            assert not self.over, f"{reader} waits, and the job is over"

    def _check_got(self, reader: Reader, got: Any) -> None:
        """Check one result of a reader, and move on."""
        if isinstance(got, StreamGap):
            passed, gone = self.log[reader.cursor : got.first - 1], self.log[got.first - 1 : got.last]
            assert gone, f"{reader} is told of a gap of nothing"
            assert got.oldest == got.last
            assert all(map(reader.passes, passed)), f"{reader} dropped some before {got!r}"
            left = [event for event in gone if event.seq in self.kept or event.kind not in GOES]
            assert not left, f"{reader} is told that {left[0]} is gone"
            reader.cursor = got.last
            return
        while reader.cursor < len(self.log) and reader.passes(self.log[reader.cursor]):
            reader.cursor += 1
        if isinstance(got, ENDS) and reader.cursor == len(self.log):
            reader.cursor -= 1  # who asks at the end is told of it again
        event = self.log[reader.cursor]
        if isinstance(got, list):
            values = [one.data for one in self.log[reader.cursor :][: len(got)] if one.kind is Kind.TOKEN]
            assert got == values != [], f"{reader} got {got}, not {values}"
            reader.cursor += len(got)
            return
        assert self._fits(reader, got, event), f"{reader} got {got!r}, not {event}"
        reader.cursor += 1

    def _fits(self, reader: Reader, got: Any, event: Event) -> bool:
        """Return whether a result of a reader is right for its next event."""
        if isinstance(got, StreamRestarted):
            begun = event.kind is Kind.STARTED and event.attempt > 1 and reader.values
            return begun and (got.attempt, got.cursor) == (event.attempt, event.seq)
        if isinstance(got, trio.EndOfChannel):
            return event.kind is Kind.COMPLETED or (event.kind.ends and not reader.values)
        if isinstance(got, ENDS):
            failed = Kind.CANCELLED if isinstance(got, JobCancelled) else Kind.FAILED
            return reader.values and event.kind is failed
        return event.kind is Kind.TOKEN and got == event.data if reader.values else got == event

    # ------------------------------------------------------------ who waits

    def _floor(self) -> float:
        """Return the lowest cursor of the readers that may hold the handler."""
        here = [reader for reader in self.readers if reader.here]
        held = [one.cursor for one in here if one.policy == "block" and one.cursor >= one.joined]
        if held:
            return min(held)
        return self.furthest if self.unread == "pause" and not here else math.inf

    def _check_room(self, grown: list[Event]) -> None:
        """Check that exactly the calls wait that must."""
        attempt = self.running
        self.waits = False
        if attempt is None:
            return
        floor = self._floor()
        # That a cancellation was asked for is an event that an attempt learns of when it sends.
        most = floor + self.window + sum(e.kind is Kind.CANCEL_REQUESTED for e in self.log[attempt.start :])
        for event in grown:
            if event.kind is Kind.TOKEN or (event.kind in GOES and attempt.channel):
                assert event.attempt != attempt.job.attempt or event.seq <= most, f"{event} had no room"
        room = floor + self.window - max(event.seq for event in self.log if event.kind in OWN)
        calls = [one for one in self.senders if one.attempt is attempt and not one.end]
        under_way = self._check_channel(attempt, calls)
        self.waits = bool(under_way or [one for one in calls if one.how == "many" or not one.channel])
        assert room <= 0 or not (calls or under_way), f"room for {room}, but {under_way} and {calls} wait"
        assert not [one for one in calls if one.notes and not one.channel], (
            "progress and saves wait for nobody"
        )

    def _check_channel(self, attempt: Attempt, calls: list[Sender]) -> int:
        """Check the channel, and return how many values are under way in it."""
        mine = [one for one in self.senders if one.attempt is attempt and one.channel and one.taken]
        if not mine:
            return 0
        channel = attempt.job.tokens.statistics()
        under_way = channel.current_buffer_used + (not channel.tasks_waiting_receive)
        open_ended = [one for one in mine if one.end != "done" and one.how not in {"send", "tokens"}]
        sure = sum(one.sent - one.logged for one in mine if one not in open_ended)
        maybe = sum(one.taken - one.logged for one in open_ended)
        assert sure <= under_way <= sure + maybe, (
            f"{sure} to {sure + maybe} were sent, {under_way} are under way"
        )
        assert under_way <= self.window + 1, f"{under_way} under way are more than a window of {self.window}"
        if [one for one in calls if one.how in {"send", "tokens"} and one.channel]:
            assert under_way == self.window + 1, f"{calls} wait, although only {under_way} are under way"
        return under_way

    # ------------------------------------------------------------ what ends when

    def _check_life(self, before: Attempt | None, grown: list[Event]) -> None:
        """Check the starts and ends of attempts, and their reasons."""
        found = [
            (event.kind, getattr(event.data, "reason", None))
            for event in grown
            if event.kind not in {*GOES, Kind.CANCEL_REQUESTED, Kind.SUBMITTED}
        ]
        right: list[Fate] = []
        now, runs = trio.current_time(), before is not None
        how = None if before is None else before.how
        number = max((event.attempt for event in self.log[: len(self.log) - len(grown)]), default=0)
        if not runs and self.asked_at < math.inf:
            right.append((Kind.CANCELLED, Reason.USER))
            self.due = math.inf
        while runs or self.due <= now:
            if not runs:
                right.append((Kind.STARTED, None))
                runs, how, number, self.due, self.unread_at = True, None, number + 1, math.inf, math.inf
                self.still_since = None
                self.clocks = {} if self.first is None else {Reason.FIRST_TOKEN_TIMEOUT: now + self.first}
            read = any(reader.here for reader in self.readers)
            unread_at = now + self.linger if self.unread == "cancel" and not read else math.inf
            self.unread_at = math.inf if unread_at == math.inf else min(self.unread_at, unread_at)
            fates = self._fates(now, how, number)
            if not fates:
                break
            at = len(right)
            right.append(found[at] if at < len(found) and found[at] in fates else fates[0])
            runs = False
            if right[-1][0] is Kind.RETRIED:
                self.due = now + self.delay
        assert found == right, f"{found} in the log, not {right}"

    def _fates(self, now: float, how: str | None, number: int) -> list[Fate]:
        """Return how an attempt must have ended by now: the first if the times differ."""
        again = Kind.RETRIED if number <= self.retries else Kind.FAILED
        if again is Kind.RETRIED and self.asked_at < math.inf:
            again = Kind.CANCELLED
        moments: list[tuple[float, Fate]] = [
            (self.asked_at, (Kind.CANCELLED, Reason.USER)),
            (self.unread_at, (Kind.CANCELLED, Reason.UNREAD)),
        ]
        if self.still_since is None:
            for reason, at in self.clocks.items():
                moments.append((at, (again, Reason.USER if again is Kind.CANCELLED else reason)))
        if how == "raise":
            moments.append((now, (again, Reason.USER if again is Kind.CANCELLED else Reason.ERROR)))
        mine = [one for one in self.senders if one.attempt.job.attempt == number]
        if how == "return" and all(one.end for one in mine):
            moments.append((now, (Kind.COMPLETED, None)))
        first = min(at for at, _ in moments)
        return [fate for at, fate in moments if at == first and at <= now]

    def _set_token_clocks(self, grown: list[Event]) -> None:
        """Start the clocks that run between tokens, unless a send waits."""
        now = trio.current_time()
        if self.running is None:
            self.clocks, self.still_since = {}, None
            return
        if self.still_since is not None:
            self.clocks = {reason: at + now - self.still_since for reason, at in self.clocks.items()}
        if any(e.kind is Kind.TOKEN and e.attempt == self.running.job.attempt for e in grown):
            self.clocks = {} if self.idle is None else {Reason.IDLE_TIMEOUT: now + self.idle}
        self.still_since = now if self.waits else None

    async def finish(self) -> None:
        """Let the job end and all readers read up to that; then leave."""
        if self.sound:
            await self._end_all()
            self.leaving.set()
            with trio.fail_after(1000):
                await self.left.wait()

    async def _end_all(self) -> None:
        self.closing = True
        for reader in self.readers:
            reader.scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        last = self.handle.events(len(self.log), policy="gap")  # what pauses goes on for anybody
        await last.__aenter__()
        self.readers.append(Reader(last, False, "gap", "continue", True, len(self.log), 0))
        for reader in self.readers:
            self._start(reader, _ALL)
        for attempt in self.attempts:
            attempt.over.set()
        with trio.fail_after(1000):
            await self.handle.wait()
        await trio.testing.wait_all_tasks_blocked()
        await self.hear()
        for event in await self._look():
            self._follow(event)
        for sender in self.senders:
            self._check_sender(sender)
        for reader in self.readers:
            self._check_reader(reader)
            assert not reader.busy, f"{reader} still waits, and all is over"
            assert reader.cursor == len(self.log), f"{reader} has not seen the end"
            await reader.stream.aclose()


@asynccontextmanager
async def _memory() -> AsyncGenerator[Store]:
    store = MemoryStore(retention=KEEP)
    try:
        yield store
    finally:
        store.close(Reason.SHUTDOWN)


class FlowInAFile(FlowMachine):
    """Lives of a job that streams, in a file."""

    in_memory = False

    def open_store(self) -> AbstractAsyncContextManager[Store]:
        """See `FlowMachine.open_store`."""
        return open_sqlite_in_lockstep(self.folder / "jobs.db", handlers=[puppet], retention=KEEP)


class FlowBetweenProcesses(FlowMachine):
    """The same in a file that two processes have open, with concurrent steps."""

    in_memory = False

    def open_store(self) -> AbstractAsyncContextManager[Store]:
        """See `FlowMachine.open_store`."""
        return self._open_twice()

    @asynccontextmanager
    async def _open_twice(self) -> AsyncGenerator[Store]:
        path = self.folder / "jobs.db"
        async with (
            open_sqlite_in_lockstep(path, handlers=[puppet], retention=KEEP) as store,
            open_sqlite_in_lockstep(path, handlers=[puppet], retention=KEEP) as other,
        ):
            self.versions = dict.fromkeys([store, other], 0)
            yield store

    @property
    def beside(self) -> Store:
        """See `FlowMachine.beside`."""
        return [*self.versions][1]

    async def hear(self) -> None:
        """See `FlowMachine.hear`; what is heard may let others go on."""
        while any([await self._hear(store) for store in self.versions]):
            await trio.testing.wait_all_tasks_blocked()

    async def _hear(self, store: SqliteStore) -> bool:
        before, self.versions[store] = self.versions[store], await writer_of(store).version(0)
        if self.versions[store] != before:
            await look_again(store)
        return self.versions[store] != before

    @precondition(lambda self: not self.over and len(self.log) > 14)
    @rule(how=HOW, here=st.booleans())
    async def end(self, how: str, here: bool) -> None:  # type: ignore[override]  # one more is drawn
        """See `FlowMachine.end`; the job may be cancelled by the other process."""
        await self._end_by(self.here if here else self.elsewhere, how)

    @rule(data=st.data(), number=st.integers(2, 6))
    async def at_once(self, data: st.DataObject, number: int) -> None:
        """Let readers open, read and be cancelled, and both processes write and notice, all at once."""
        for _ in range(number):
            # One that draws level meanwhile may hold the handler in the middle of it, or not.
            idle = [reader for reader in self.readers if not reader.busy and reader.cursor >= reader.joined]
            ways = ["join", "join"] * (len(self.readers) < 6) + ["read", "read"] * bool(idle)
            ways += ["cut"] * bool(self._waiting) + ["send"] * 3 * self._may_send
            how = data.draw(st.sampled_from([*ways, "wait", "write", "hear"]), "how")
            here, cut = data.draw(st.booleans(), "here"), data.draw(CUTS, "cut")
            amount = data.draw(st.sampled_from([1, 3, _ALL, _ALL]), "amount")
            jobs = self.here if here else self.elsewhere
            if how == "join":
                after = max(0, len(self.log) - data.draw(st.sampled_from([0, 0, 1, 3]), "behind"))
                self.nursery.start_soon(self._join, jobs, after, amount, cut)
            elif how == "read":
                self._start(data.draw(st.sampled_from(idle), "reader"), amount, cut)
            elif how == "cut":
                data.draw(st.sampled_from(self._waiting), "who").cancel()
            elif how == "send":
                self._send(self.running, "many", min(amount, MOST - self._pending()), cut)
            elif how == "wait":
                self.nursery.start_soon(self._wait, jobs, cut)
            elif how == "write":
                self.nursery.start_soon(partial(jobs.submit, puppet, delay=NEVER))
            else:
                self.nursery.start_soon(self._hear, [*self.versions][not here])

    async def _join(self, jobs: JobRegistry, after: int, amount: int, cut: int | None) -> None:
        """Open a stream during other steps, without effect on them, and cancel it before or later."""
        here = jobs is self.here and self.unread == "continue"
        handle = await (self.here if here else self.elsewhere).get(self.handle.id)
        stream = handle.events(after, policy="gap")
        reader = Reader(stream, False, "gap", "continue", here, after, 0)
        self.cuts.after(cut, reader.scope)
        with reader.scope:
            await stream.__aenter__()
            self.readers.append(reader)
            self._start(reader, amount)
