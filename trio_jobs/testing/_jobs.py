"""A state machine that lives the lives of jobs: of yours, on your store."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from math import inf
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import trio
from hypothesis import strategies as st
from hypothesis.stateful import precondition

from .._common.states import Reason, State
from .._model.exclusive import Debounce
from .._model.handler import mark_of
from .._model.job import Event, Job, Retention
from .._model.limits import Limit, limits_of
from .._model.summary import JobSummary
from .._registry.filter import Filter, every
from .._registry.inside import submit_with_room
from .._registry.registry import JobRegistry
from ..stores.contract import Store, Where
from ..stores.limits import KeepsLimits
from ..stores.memory import MemoryStore
from ._client import Pace, SimulatedClient
from ._drawn_lives import HEARING, INPUTS, KEYS, LISTS, NAMED, OPTIONS, PACES, WHERES
from ._history import Call, History
from ._journal import Handler, journalled
from ._judge import check_history
from ._mishaps import SteeredConnection, note_troubles
from ._order import TRAVELS
from ._process import SimulatedProcess
from ._rules import initialize, invariant, rule
from ._scripted import ENDS, SECONDS, SHARED, listening, one_each, scripted
from ._sending import SendingMachine
from ._troubled import TroubledMachine, Worker
from .fold import check_agrees

_ALL = 10**6


class JobMachine(SendingMachine, TroubledMachine):
    """Random lives of jobs, on workers that crash and come back, with readers of every kind.

    Subclass it, say what your handlers are, and run its `TestCase`. After each step every job's snapshot
    must be the fold of its log; at the end every job must end, every reader must have seen the same, and
    `check_history` must find nothing.

    Attributes:
        handlers: Your handlers, and for each what its arguments are drawn from, as tuples.
        inputs: Those of your handlers whose jobs are sent inputs, and for each what an input is drawn from.
            At the end they are told that no more will come; a job of another one that waits for an input
            waits for ever.
        limits: The limits that handlers share, by name. What has limits is left out if the store keeps none.
        capacity: How many attempts a worker runs at once.
        window: How many events a handler may be ahead of a reader.
        lease: In seconds; a crashed worker's jobs come back after that.
        patience: Virtual seconds in which all jobs must end once nothing disturbs them any more.
        folder: A folder of the example's own, for a store that lives in files; it goes with the example.
    """

    handlers: ClassVar[Mapping[Handler, st.SearchStrategy[tuple[Any, ...]]]] = {
        scripted: st.tuples(LISTS, st.sampled_from(ENDS)),
        listening: st.tuples(HEARING, st.sampled_from(ENDS)),
        one_each: st.tuples(LISTS, st.sampled_from(ENDS)),
    }
    inputs: ClassVar[Mapping[Handler, st.SearchStrategy[Any]]] = {listening: INPUTS}
    limits: ClassVar[Mapping[str, Limit]] = SHARED
    capacity: ClassVar[int] = 2
    window: ClassVar[int] = 4
    patience: ClassVar[float] = 3000.0

    folder: Path

    def open_store(self) -> AbstractAsyncContextManager[Store]:
        """Return the block in which the store of one example is open; by default one in memory.

        All workers of the example use it, each through a connection of its own that can be cut. It has to
        tell the time by Trio's clock, which jumps when every task waits. For a file there is
        `open_sqlite_in_lockstep`, with `journalled` as its handlers and a path in `folder`.
        """
        return _memory()

    @property
    def journalled(self) -> Collection[Handler]:
        """The handlers as they are submitted, each with its journal, for a store that knows them by name."""
        return self._journalled.values()

    def check_job(self, job: Job, log: list[Event]) -> None:
        """Check a job that has ended. Does nothing by default; override it with what you know of your jobs.

        Args:
            job: The job.
            log: Its whole log.

        Raises:
            AssertionError: The job did something wrong.
        """

    # ------------------------------------------------------------ what there is

    def __init__(self) -> None:
        super().__init__()
        self._history = History(cut=set(), soon=self.lease, prompt=self.lease)
        self._journalled = {fn: journalled(fn, self._history) for fn in self.handlers}
        for mark in (mark_of(fn) for fn in self.handlers):
            if mark.limits:
                self._history.limits[mark.name] = limits_of(mark.name, mark.limits, self.limits)
        self._inputs = {self._journalled[fn]: self.inputs[fn] for fn in self._listeners()}
        self._client = SimulatedClient("client", self._history)
        self._clients: trio.Nursery
        self._dispersed, self._gone = trio.Event(), trio.Event()
        self._ids: list[str] = []
        self._drains = True
        self._looked: dict[str, Job] = {}
        self._epoch = -inf  # what the clock of the store shows when that of the run shows 0
        self._submitted: dict[str, tuple[Any, ...]] = {}
        self._store: Store

    @initialize()
    async def open(self) -> None:
        """Open the store, and bring a first worker up."""
        await self.nursery.start(self._wait_for_clients)
        self._store = await self.nursery.start(self._keep_open)
        await self.start_worker()

    async def _wait_for_clients(self, task_status: trio.TaskStatus[None]) -> None:  # noqa: ASYNC114  # in open()
        async with trio.open_nursery() as self._clients:
            task_status.started()
            await self._dispersed.wait()
        self._gone.set()

    async def _keep_open(self, task_status: trio.TaskStatus[Store]) -> None:
        with TemporaryDirectory(prefix="trio_jobs-") as folder:
            self.folder = Path(folder)
            # The workers are within the block: what is cancelled still has ends to write.
            async with self.open_store() as store, trio.open_nursery() as self._users:
                task_status.started(store)
                await trio.sleep_forever()

    async def start_worker(self) -> None:
        """Bring a worker up."""
        connection = SteeredConnection(self._store, f"worker{len(self._workers) + 1}")
        worker = SimulatedProcess(connection, self._history, drains=self._drains)
        self._workers.append(worker)
        options: dict[str, Any] = {"capacity": self.capacity, "window": self.window}
        await self._users.start(partial(worker.live, self.lease, limits=self.limits, **options))

    # ------------------------------------------------------------ what happens

    @precondition(lambda self: self._up())
    @rule(data=st.data())
    async def submit(self, data: st.DataObject) -> None:
        """Submit a job with some of the options."""
        await self._submit_one(data, [*self.handlers])

    def _listeners(self) -> list[Handler]:
        return [fn for fn in self.inputs if fn in self.handlers]

    async def _submit_one(self, data: st.DataObject, handlers: Sequence[Handler]) -> None:
        fn, (args,), options = self._drawn_work(data, handlers, 1)
        await self._submit(f"key{len(self._history.calls)}", fn, args, options)

    @precondition(lambda self: self._up())
    @rule(data=st.data(), named=NAMED)
    async def submit_exclusive(self, data: st.DataObject, named: dict[str, Any]) -> None:
        """Submit a job with an exclusive name that others may have."""
        fn, (args,), options = self._drawn_work(data, [*self.handlers], 1)
        if isinstance(named["on_busy"], Debounce):
            options.pop("delay", None)  # it is one
        await self._submit(f"key{len(self._history.calls)}", fn, args, {**options, **named})

    def _drawn_work(
        self, data: st.DataObject, handlers: Sequence[Handler], count: int
    ) -> tuple[Handler, list[tuple[Any, ...]], dict[str, Any]]:
        limits, keeps = self._history.limits, isinstance(self._store, KeepsLimits)
        able = [fn for fn in handlers if keeps or mark_of(fn).name not in limits]
        fn = data.draw(st.sampled_from(able), "handler")
        several = [data.draw(self.handlers[fn], "arguments") for _ in range(count)]
        options = data.draw(OPTIONS, "options")
        if any(limit.keyed for limit in limits.get(mark_of(fn).name, {}).values()):
            options |= {"limit_key": data.draw(KEYS, "limit_key")}
        return self._journalled[fn], several, options

    def _somebody(self) -> JobRegistry | None:
        return next((worker.jobs for worker in self._up()), None)

    async def _submit(self, key: str, fn: Handler, args: tuple[Any, ...], options: dict[str, Any]) -> None:
        job_id = await self._client.submit(self._up()[0].jobs, key, fn, args, options)
        if job_id is None or job_id in self._ids:  # it is known by its key, or has the exclusive name
            return
        assert key not in self._submitted, "the same key made another job"
        self._submitted[key] = (fn, args, options)
        self._accepted(job_id, fn)

    def _accepted(self, job_id: str, fn: Handler) -> None:
        self._ids.append(job_id)
        if (inputs := self._inputs.get(fn)) is not None:
            self._takes[job_id] = inputs
        for number, worker in enumerate(self._up()):
            wait = partial(self._client.wait, worker.jobs, job_id, result=bool(number % 2))
            self._clients.start_soon(wait)

    @precondition(lambda self: self._up())
    @rule(data=st.data(), count=st.integers(1, 5))
    async def submit_many(self, data: st.DataObject, count: int) -> None:
        """Submit several jobs at once, perhaps more than there are slots for."""
        fn, several, options = self._drawn_work(data, [*self.handlers], count)
        key = f"many{len(self._ids)}"
        call = await self._client.submit_many(self._up()[0].jobs, key, fn, several, options)
        for job_id in call.job_ids:
            self._accepted(job_id, fn)

    @precondition(lambda self: self._up())
    @rule(data=st.data(), count=st.integers(2, 6), room=st.integers(1, 4), delay=st.sampled_from([0.0, 0.5]))
    async def submit_at_once(self, data: st.DataObject, count: int, room: int, delay: float) -> None:
        """Submit jobs of an owner who may not have so many wait, all at once; as many get in as may."""
        fn, several, options = self._drawn_work(data, [*self.handlers], count)
        options |= {"owner": "crowd", "delay": delay}
        waiting = Where(frozenset({State.QUEUED, State.RETRYING}), owner="crowd")
        before = {one.id: one.attempt for one in await every(self._store, waiting) if _counts(one)}
        began, up, calls = trio.current_time(), self._up(), list[Call]()
        async with trio.open_nursery() as nursery:
            for number, args in enumerate(several):
                calls.append(Call("client", "submit", key=f"once{len(self._ids)}.{number}"))
                submit = partial(submit_with_room, up[number % len(up)].jobs, fn, args, options, room)
                nursery.start_soon(self._client.submit_if_room, calls[-1], submit, options)
        ids = [call.job_id for call in calls if call.job_id is not None]
        for job_id in ids:
            self._accepted(job_id, fn)
        if trio.current_time() > began:
            return
        these = [await self._store.get(job_id) for job_id in (*before, *ids)]
        still = sum(job.attempt == before.get(job.id, 0) and _counts(job) for job in these)
        told = sum(call.answer is not None for call in calls)
        assert len(ids) >= min(told, room - len(before)), "one was refused although there was room"
        most = max(room, len(before))  # of which a limit may hold more, while a new one starts at once
        assert not ids or still <= most, f"{still} jobs wait where {most} may"

    @precondition(lambda self: self._up() and self._submitted)
    @rule(data=st.data())
    async def submit_again(self, data: st.DataObject) -> None:
        """Submit the same again with the same key, as a client does whose answer was lost."""
        key = data.draw(st.sampled_from([*self._submitted]), "key")
        fn, args, options = self._submitted[key]
        await self._submit(key, fn, args, options)

    @precondition(lambda self: self._up() and self._ids)
    @rule(data=st.data(), grace=st.sampled_from([0.0, 1.0]), patience=st.sampled_from([None, 1.0, 60.0]))
    async def cancel(self, data: st.DataObject, grace: float, patience: float | None) -> None:
        """Ask for a job's cancellation; with patience, wait for what becomes of it."""
        job_id, worker = self._drawn(data)
        if patience is None:
            await self._client.request_cancel(worker.jobs, job_id, "as drawn", grace=grace)
        else:
            cancel = partial(self._client.cancel, grace=grace, patience=patience)
            self._clients.start_soon(cancel, worker.jobs, job_id, "as drawn")

    @precondition(lambda self: self._up())
    @rule(where=WHERES)
    async def cancel_where(self, where: Filter) -> None:
        """Ask for the cancellation of all jobs that match."""
        reason = f"drawn, the {len(self._history.calls)}th"
        call = Call("client", "cancel_where", where=where, reason=reason, grace=0.0)
        cancel_where = partial(self._up()[0].jobs.cancel_where, reason, **where)
        call.count = await self._client.ask(call, cancel_where) or 0

    @precondition(lambda self: self._up() and self._ids)
    @rule(data=st.data(), after=st.sampled_from([0, 0, 2]), pace=PACES, vanishes=st.booleans())
    async def read(self, data: st.DataObject, after: int, pace: Pace, vanishes: bool) -> None:  # noqa: FBT001
        """Follow a job: from the beginning or later, slowly, in pieces, or only for a while."""
        job_id, _ = self._drawn(data)
        if (await self._store.get(job_id)).last_seq >= after:
            read = partial(self._read, vanishes=vanishes)
            self._clients.start_soon(read, self._up()[0], job_id, pace, after)

    async def _read(
        self, worker: Worker, job_id: str, pace: Pace, after: int = 0, *, vanishes: bool = False
    ) -> None:
        """Read to the end, each time from where the last reading stopped, unless the reader vanishes."""
        while True:
            reading = await self._client.read(worker.jobs, job_id, after, pace)
            if reading.ended:
                return
            after = reading.cursor
            if len(reading.events) < pace.most:
                await trio.sleep(0.5)
            if vanishes or not self._up():
                return
            if pace.most < inf or not worker.runs_jobs:  # a job that pauses is to be read where it runs
                worker = self._up()[0]

    def _drawn(self, data: st.DataObject) -> tuple[str, Worker]:
        number = data.draw(st.integers(0, len(self._ids) - 1), "job")
        return self._ids[number], data.draw(st.sampled_from(self._up()), "asked of")

    @rule(seconds=st.sampled_from(SECONDS) | st.sampled_from([5.0, 30.0, 400.0, 2000.0]))
    async def advance(self, seconds: float) -> None:
        """Let time pass."""
        await trio.sleep(seconds)

    @precondition(lambda self: self._up())
    @rule(paused=st.sampled_from([True, False, False]))
    async def pause(self, paused: bool) -> None:  # noqa: FBT001  # drawn
        """Pause the first worker, or let it go on."""
        worker = self._up()[0]
        worker.paused = paused
        worker.jobs.pause() if paused else worker.jobs.resume()

    @precondition(lambda self: len(self._up()) < 3)
    @rule(drains=st.booleans())
    async def start(self, drains: bool) -> None:  # noqa: FBT001  # drawn
        """Bring another worker up."""
        self._drains = drains
        await self.start_worker()

    # ------------------------------------------------------------ what must hold

    @invariant()
    async def snapshots_are_folds(self) -> None:
        """Each job is what its log says, and no worker runs more than it may."""
        for job_id in self._ids:
            if self._looked.get(job_id) != (job := await self._store.get(job_id)):
                check_agrees(job, await self._store.read(job_id, 0, _ALL))
                self._looked[job_id] = job
                self._epoch = max(self._epoch, job.created_at.timestamp() - trio.current_time())
        self._check_idle()
        for worker, count in Counter(run.worker for run in self._history.runs if run.ended is None).items():
            assert count <= self.capacity, f"{worker} runs {count} handlers at once"

    def _check_idle(self) -> None:
        """Check that what is due runs, if a worker has a free slot that nothing kept from claiming it."""
        calm = [one for one in self._up() if not one.paused and one.name not in self._history.mute]
        running = sum(job.state is State.RUNNING and job.parent is None for job in self._looked.values())
        before = self._epoch + trio.current_time() - TRAVELS
        for job in self._looked.values() if calm and running < self.capacity else ():
            due = job.next_attempt_at
            free = (
                job.behind is None and job.timeouts.queue is None and job.handler not in self._history.limits
            )
            late = due is not None and free and due.timestamp() < before
            assert not late, f"{calm[0]} runs {running} jobs, and job {job.id} has been due since {due}"

    async def finish(self) -> None:
        """Let everything come to its end, and judge it."""
        if not self._workers:
            return
        if not self._up():
            await self.start_worker()
        for worker in self._up():
            worker.jobs.resume()
            worker.connection.be_well()
        for job_id in self._takes:
            await self._client.end_inputs(self._up()[0].jobs, job_id)
        # A job that pauses goes on only while it is read where it runs, and holds a slot until then.
        for job_id in self._ids:
            for worker in [one for one in self._workers if one.runs_jobs]:
                self._clients.start_soon(self._read, worker, job_id, Pace())
        with trio.move_on_after(self.patience):  # noqa: ASYNC912  # waits for each job there is
            for job_id in self._ids:
                await self._store.ended(job_id)
            self._dispersed.set()
            await self._gone.wait()
        self._history.settled = True
        await trio.testing.wait_all_tasks_blocked()
        await self._judge()
        for worker in self._up():
            worker.leave()
        with trio.move_on_after(self.patience):  # noqa: ASYNC912  # waits for each worker there was
            for worker in self._workers:
                await worker.over.wait()
        left = sum(run.ended is None for run in self._history.runs)
        assert not left, f"{left} handlers still run although every worker is down"

    async def _judge(self) -> None:
        await self._history.collect(self._store)
        note_troubles(self._history, [worker.connection for worker in self._workers], self.lease)
        check_history(self._history)
        for job in self._history.jobs.values():
            if job.parent is None and job.state.over:
                self.check_job(job, self._history.logs[job.id])


def _counts(job: Job | JobSummary) -> bool:
    """Return whether a job that has not been started since counts as one that waits."""
    return not job.state.over and job.reason is not Reason.AWAITING_INPUT


@asynccontextmanager
async def _memory() -> AsyncGenerator[Store]:
    store = MemoryStore(retention=Retention(inputs=6))  # few, so that some are refused
    try:
        yield store
    finally:
        store.close(Reason.SHUTDOWN)
