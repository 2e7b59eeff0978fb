"""`StoreMachine`: the same program of verbs on a `MemoryStore` and on another store, and equal observations.

What the contract leaves open is not compared: which of two jobs of equal rank starts first, how the store
words that a worker was lost or a queue timeout has passed, and the moment at which a job was submitted.
"""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from operator import methodcaller
from pathlib import Path
from typing import Any, ClassVar

import attrs
import trio
from hypothesis import strategies as st
from hypothesis.stateful import precondition
from trio.testing import MockClock

from .._common.states import State
from .._model.job import PENALTY, Job, Kind, Priority, Progress, Timeouts
from .._registry.filter import every
from ..stores.contract import Claim, Claimant, Outcome, Reclaimed, Store, Submission, Where
from ..stores.memory import MemoryStore
from . import _drawn as draw
from ._agreement_inputs import InputRules
from ._observed import TICK, observed
from ._rules import initialize, invariant, rule
from .checks.kit import ALL, completed, failed, make, other_work, retried, work
from .fold import check_agrees


class StoreMachine(InputRules):
    """Runs drawn programs of verbs on a `MemoryStore` and on the store under test, and compares what comes.

    Subclass it, override `open_store`, and run it as a test. After each step all jobs and logs are compared,
    and each job with the fold of its log. A durable store is used through two connections at a time, each of
    which may be closed and opened again at any moment.

    The store has to tell the time by `trio.current_time()`, as both stores must be at the same moment. The
    clock stands still in each step; override `make_clock` if the store sleeps.

    Attributes:
        queue_limit: How many jobs may wait in the store that is opened.
    """

    queue_limit: ClassVar[int] = 100_000

    def open_store(self, folder: Path) -> AbstractAsyncContextManager[Store]:
        """Open the store that lives in a folder, as for `check_store`. Override it."""
        raise NotImplementedError

    def make_clock(self) -> MockClock:
        """Return a clock that is moved by the rules only."""
        return MockClock()

    # ------------------------------------------------------------ opening

    def __init__(self) -> None:
        self._hasty = False
        self._known: dict[str, Submission] = {}
        self._states: dict[str, State] = {}
        self._running: list[tuple[str, int]] = []
        self._claimed: list[tuple[str, int]] = [("nobody", 1)]
        self._appended: dict[tuple[str, int], int] = {}
        self._folder = Path(tempfile.mkdtemp(prefix="trio_jobs-"))
        self._lines: list[_Line] = []
        super().__init__()
        self._model = MemoryStore(queue_limit=self.queue_limit)

    @initialize(hasty=st.booleans(), settled=st.booleans())
    async def begin(self, *, hasty: bool, settled: bool) -> None:
        """Open the store under test.

        Args:
            hasty: Whether jobs may have queue timeouts; they are swept before each claim then.
            settled: Whether there are jobs in several states to begin with.
        """
        self._hasty = hasty
        for _ in range(2):
            line = _Line(self)
            await line.open()
            self._lines.append(line)
            if not line.store.durable:
                break
        if settled:
            await self._settle()

    async def _settle(self) -> None:
        """Make four jobs: one ended, one runs its second attempt, one runs its first, and one waits."""
        batch = [make(0, priority=one, key="k" if not one else None, tags={"a": "0"}) for one in Priority]
        batch = [attrs.evolve(new, id=f"{place:032x}") for place, new in enumerate(batch)]
        await self._submit(0, batch, 3, 5.0)
        ended, twice = batch[0].id, batch[1].id
        await self.both(0, "finish", lambda store: store.finish(ended, 1, completed()))
        await self.both(0, "finish", lambda store: store.finish(twice, 1, retried()))
        await self.both(0, "claim", lambda store: store.claim(1, Claimant("w", 5.0)))

    async def finish(self) -> None:
        """Close the store and delete its folder."""
        for line in self._lines:
            await line.close()
        shutil.rmtree(self._folder)

    @precondition(lambda self: self._lines[0].store.durable)
    @rule(line=draw.LINES)
    async def reopen(self, line: int) -> None:
        """Close one connection and open another one."""
        await self._lines[line].close()
        await self._lines[line].open()

    # ------------------------------------------------------------ comparing

    async def both(self, line: int, verb: str, call: Callable[[Store], Awaitable[object]]) -> Any:
        """Do the same to both stores, compare what comes, and return what the model gave.

        Returns:
            What the model returned; None if it raised.

        Raises:
            AssertionError: The stores differ.
        """
        other = self._lines[line % len(self._lines)].store
        (wanted, result), (came, _) = await observed(call(self._model)), await observed(call(other))
        if came != wanted:  # no `assert`, whose text pytest would rewrite
            raise AssertionError(f"{verb}: MemoryStore gives\n  {wanted!r}\nand the other store\n  {came!r}")
        return result

    def _tick(self, seconds: float = 0.0) -> None:
        self.clock.jump(seconds + TICK)

    @invariant()
    async def the_stores_agree(self) -> None:
        """Every job and every log is the same in both stores, and each job is the fold of its log."""
        self._tick()
        self._running, self._states = [], {}
        for job_id in self._known:
            await self._compare(job_id)

    async def _compare(self, job_id: str) -> None:
        job: Job | None = await self.both(0, "get", lambda store: store.get(job_id))
        log = await self.both(1, "read", lambda store: store.read(job_id, 0, ALL))
        if job is not None:
            check_agrees(job, log)
            self._states[job_id] = job.state
            if job.state is State.RUNNING:
                self._running.append((job_id, job.attempt))

    # ------------------------------------------------------------ what the rules draw from

    def ids(self) -> list[str]:
        """Return the ids of all jobs, of those that run more than once, and one that no job has."""
        return [*(job_id for job_id, _ in self._running), *self._known, "nobody"]

    def attempts(self) -> list[tuple[str, int]]:
        """Return the attempts that run, some of them more than once, and all that ever did."""
        return [*self._running, *self._running, *self._running, *self._claimed]

    # ------------------------------------------------------------ coming in

    @rule(
        line=draw.LINES,
        calls=draw.CALLS,
        options=draw.OPTIONS,
        queue=st.sampled_from([None, 7.0]),
        slots=draw.SLOTS,
    )
    async def submit(
        self,
        line: int,
        calls: list[tuple[str | None, int, Priority]],
        options: dict[str, Any],
        queue: float | None,
        slots: tuple[int, float],
    ) -> None:
        """Submit up to three jobs in one batch. Under a key they are much alike, and some are the same."""
        timeouts = Timeouts(queue=queue if self._hasty else None)
        batch = [
            attrs.evolve(
                make(
                    arg,
                    target=other_work if arg else work,
                    key=key,
                    priority=Priority.NORMAL if key else priority,
                    tags={"a": str(arg)},
                    timeouts=timeouts,
                    **options,
                ),
                id=f"{len(self._known) + place:032x}",
            )
            for place, (key, arg, priority) in enumerate(calls)
        ]
        await self._submit(line, batch, *slots)

    async def _submit(self, line: int, batch: list[Submission], slots: int, lease: float) -> None:
        """Submit, and claim something, if it is determined what."""
        priorities = {new.options.priority for new in batch}
        limit = slots if len(priorities) == len(batch) and not await self._is_tied(line) else 0
        worker = Claimant("w", lease)
        answer = await self.both(line, "submit", lambda store: store.submit(batch, limit, worker))
        if answer is not None:
            self._known |= {new.id: new for new in batch}
            self._claimed += [(claim.submission.id, claim.attempt) for claim in answer[1]]

    @precondition(lambda self: self._known)
    @rule(line=draw.LINES, job_id=draw.IDS)
    async def submit_again(self, line: int, job_id: str) -> None:
        """Submit what was submitted before, as if the answer had been lost."""
        if job_id in self._known and not await self._is_child(job_id):
            await self._submit(line, [self._known[job_id]], 0, math.inf)

    async def _is_child(self, job_id: str) -> bool:
        return all(job.id != job_id or job.parent is not None for job in await every(self._model, Where()))

    @precondition(lambda self: self._running)
    @rule(line=draw.LINES, parent=draw.ATTEMPTS)
    async def spawn(self, line: int, parent: tuple[str, int]) -> None:
        """Spawn a child, twice, as if the first answer had been lost."""
        child = attrs.evolve(make(0, tags={"a": "0"}), id=f"{len(self._known):032x}")
        worker, answer = Claimant("w", 5.0), None
        for _ in range(2):
            answer = await self.both(line, "spawn", lambda store: store.spawn(*parent, child, worker))
        if answer is not None:
            self._known[child.id] = child
            self._claimed.append((child.id, 1))

    # ------------------------------------------------------------ attempts

    async def _is_tied(self, line: int) -> bool:
        """Return whether jobs of equal rank wait, so that it is open which of them is claimed first."""
        if self._hasty:
            await self._sweep(line)
        waiting = await self._model.find(Where(states=draw.WAITING), ALL)
        ranks = {
            (job.next_attempt_at or job.created_at).timestamp() + PENALTY[job.priority] for job in waiting
        }
        return len(ranks) < len(waiting)

    @precondition(lambda self: not draw.WAITING.isdisjoint(self._states.values()))
    @rule(line=draw.LINES, limit=st.integers(1, 3), lease=draw.LEASES | st.just(math.inf))
    async def claim(self, line: int, limit: int, lease: float) -> None:
        """Claim a few jobs; all that are due, if it is open which come first."""
        tied = await self._is_tied(line)
        worker = Claimant("w", lease)

        async def claim(store: Store) -> list[Claim]:
            claims = await store.claim(ALL if tied else limit, worker)
            return sorted(claims, key=lambda one: one.submission.id) if tied else claims

        claims: list[Claim] = await self.both(line, "claim", claim)
        self._claimed += [(one.submission.id, one.attempt) for one in claims]

    @precondition(lambda self: self._running)
    @rule(line=draw.LINES, held=st.lists(draw.ATTEMPTS, max_size=4), lease=draw.LEASES)
    async def heartbeat(self, line: int, held: list[tuple[str, int]], lease: float) -> None:
        """Renew some leases."""
        await self.both(line, "heartbeat", lambda store: store.heartbeat(dict(held), lease))

    @precondition(lambda self: self._running)
    @rule(line=draw.LINES, attempt=draw.ATTEMPTS, write=draw.WRITES, back=st.sampled_from([0, 0, 1, 2]))
    async def append(
        self, line: int, attempt: tuple[str, int], write: tuple[Kind, list[Any]], back: int
    ) -> None:
        """Append a few events; with `back`, some that were appended before."""
        kind, values = write
        before = self._appended.get(attempt, 0)
        offset = max(0, before - back)
        if kind is Kind.PROGRESS:
            values = [Progress(number) for number in range(len(values))]
        answer = await self.both(line, "append", lambda store: store.append(*attempt, kind, values, offset))
        if answer is not None:
            self._appended[attempt] = max(before, offset + len(values))

    @precondition(lambda self: self._running)
    @rule(line=draw.LINES, attempt=draw.ATTEMPTS, outcome=draw.OUTCOMES)
    async def end(self, line: int, attempt: tuple[str, int], outcome: Outcome) -> None:
        """Finish an attempt. A child is not retried."""
        if outcome.transition == "retried" and await self._is_child(attempt[0]):
            outcome = failed()
        await self.both(line, "finish", lambda store: store.finish(*attempt, outcome))

    @precondition(lambda self: self._known)
    @rule(line=draw.LINES, job_id=draw.IDS, message=draw.MESSAGES, graces=draw.GRACES)
    async def cancel(self, line: int, job_id: str, message: str | None, graces: list[float]) -> None:
        """Request that a job is cancelled, perhaps twice, and let its worker hear of it."""
        for grace in graces:
            cancel = methodcaller("request_cancel", job_id, message, grace)
            await self.both(line, "request_cancel", cancel)
        attempts = {one: attempt for one, attempt in self._running if one == job_id}
        await self.both(line, "heartbeat", lambda store: store.heartbeat(attempts, 5.0))

    # ------------------------------------------------------------ time

    @rule(line=draw.LINES, seconds=draw.STEPS | st.just(0.0), sweeps=st.booleans())
    async def let_time_pass(self, line: int, seconds: float, sweeps: bool) -> None:  # noqa: FBT001
        """Let leases lapse and jobs become due, and perhaps sweep."""
        self._tick(seconds)
        if sweeps:
            await self._sweep(line)

    async def _sweep(self, line: int) -> None:
        async def sweep(store: Store) -> list[Reclaimed]:
            return sorted(await store.sweep())

        await self.both(line, "sweep", sweep)
        self._tick()  # what is submitted next has a rank of its own

    # ------------------------------------------------------------ looking and forgetting

    @precondition(lambda self: self._known)
    @rule(line=draw.LINES, where=draw.WHERES, parent=st.none() | draw.IDS, limit=st.integers(0, 3))
    async def look(self, line: int, where: Where, parent: str | None, limit: int) -> None:
        """Find and count; with a limit it is open which of a batch come first."""
        where = where._replace(parent=parent)

        async def find(store: Store) -> list[Any]:
            return sorted(await every(store, where), key=lambda job: job.id)

        async def first(store: Store) -> int:
            return len(await store.find(where, limit))

        await self.both(line, "find", find)
        await self.both(line, "find, with a limit: the number of jobs", first)
        await self.both(line, "count", lambda store: store.count(where))

    @precondition(lambda self: self._known)
    @rule(line=draw.LINES, job_id=draw.IDS, after=st.integers(0, 6), limit=st.integers(1, 3))
    async def read(self, line: int, job_id: str, after: int, limit: int) -> None:
        """Read a page, the history, and the end, if it has come."""
        page = await self.both(line, "read", lambda store: store.read(job_id, after, limit))
        await self.both(line, "history", lambda store: store.history(job_id))
        job = await self.both(line, "get", lambda store: store.get(job_id))
        over = job is None or job.state.over
        if page or over:
            await self.both(line, "follow", lambda store: store.follow(job_id, after, limit))
        if over:
            await self.both(line, "ended", lambda store: store.ended(job_id))

    @precondition(lambda self: any(state.over for state in self._states.values()))
    @rule(line=draw.LINES, job_id=draw.IDS, older_than=st.sampled_from([None, None, 0.0, 3.0, 31.0]))
    async def forget(self, line: int, job_id: str, older_than: float | None) -> None:
        """Remove a job, if it has ended, or prune."""
        if older_than is None:
            await self.both(line, "remove", lambda store: store.remove(job_id))
        else:
            await self.both(line, "prune", lambda store: store.prune(older_than))
        # A job that is submitted again after it was removed counts its attempts from 1.
        self._appended.clear()


class _Line:
    """One connection to the store under test, which a task of its own opens and closes."""

    store: Store

    def __init__(self, machine: StoreMachine) -> None:
        self._machine = machine
        self._leave, self._left = trio.Event(), trio.Event()

    async def open(self) -> None:
        self._leave, self._left = trio.Event(), trio.Event()
        self.store = await self._machine.nursery.start(self._hold)

    async def close(self) -> None:
        self._leave.set()
        await self._left.wait()

    async def _hold(self, task_status: trio.TaskStatus[Store]) -> None:  # noqa: ASYNC114  # started in open()
        folder = self._machine._folder  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        async with self._machine.open_store(folder) as store:
            task_status.started(store)
            await self._leave.wait()
        self._left.set()
