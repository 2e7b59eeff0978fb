"""A state machine that lives the lives of jobs: of yours, on your store."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Collection, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import trio
from hypothesis import strategies as st
from hypothesis.stateful import precondition

from .._common.states import Reason, State
from .._model.job import Event, Job
from .._registry.filter import Filter, every, where_of
from .._registry.registry import submit_with_room
from .._watching.handle import JobHandle
from ..stores.contract import Store, Where
from ..stores.memory import MemoryStore
from ._crowd import LISTS, OPTIONS, PACES, VERBS, WHERES, Crowd, Pace
from ._fold import check_agrees
from ._history import Call, History
from ._journal import Handler, journalled
from ._judge import check_history
from ._machine import TrioMachine
from ._order import Wait, check_capacity, check_child, check_limits, check_order, waits
from ._rules import initialize, invariant, rule
from ._scripted import ENDS, SECONDS, scripted
from ._workers import LOST, Mishap, Worker, note_leases

_ALL = 10**6


class JobMachine(TrioMachine):
    """Random lives of jobs, on workers that crash and come back, before readers of every kind.

    Subclass it, say what your handlers are, and run its `TestCase`. After each step every job's snapshot
    must be the fold of its log; at the end every job must end, every reader must have seen the same, and
    `check_history` must find nothing.

    Attributes:
        handlers: Your handlers, and for each what its arguments are drawn from, as tuples.
        capacity: How many attempts a worker runs at once.
        window: How many events a handler may be ahead of a reader.
        lease: In seconds; a crashed worker's jobs come back after that.
        patience: Virtual seconds in which all jobs must end once nothing disturbs them any more.
        folder: A folder of the example's own, for a store that lives in files; it goes with the example.
    """

    handlers: ClassVar[Mapping[Handler, st.SearchStrategy[tuple[Any, ...]]]] = {
        scripted: st.tuples(LISTS, st.sampled_from(ENDS))
    }
    capacity: ClassVar[int] = 2
    window: ClassVar[int] = 4
    lease: ClassVar[float] = 10.0
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
        self._history = History(cut=set(), soon=self.lease)
        self._journalled = {fn: journalled(fn, self._history) for fn in self.handlers}
        self._workers: list[Worker] = []
        self._crowd = Crowd(self._history, self._up)
        self._handles: list[JobHandle[Any, Any]] = []
        self._drains = True
        self._options: dict[str, Mapping[str, Any]] = {}
        self._looked: dict[str, Job] = {}
        self._submitted: dict[str, tuple[Any, ...]] = {}
        self._store: Store

    @initialize()
    async def open(self) -> None:
        """Open the store, and bring a first worker up."""
        await self.nursery.start(self._crowd.live)
        self._store = await self.nursery.start(self._keep_open)
        await self.start_worker()

    async def _keep_open(self, task_status: trio.TaskStatus[Store]) -> None:
        with TemporaryDirectory(prefix="trio_jobs-") as folder:
            self.folder = Path(folder)
            # The workers are within the block: what is cancelled still has ends to write.
            async with self.open_store() as store, trio.open_nursery() as self._users:
                task_status.started(store)
                await trio.sleep_forever()

    async def start_worker(self) -> None:
        """Bring a worker up."""
        worker = Worker(self._store, f"worker{len(self._workers) + 1}", drains=self._drains)
        self._workers.append(worker)
        await self._users.start(worker.live, self.capacity, self.window, self.lease)

    def _up(self) -> list[Worker]:
        return [worker for worker in self._workers if worker.up]

    def _cut(self, worker: Worker) -> None:
        """Note that a worker may lose its leases, and not be heard, from now on."""
        worker.line.be_troubled()
        self._history.mute.add(worker.name)

    # ------------------------------------------------------------ what happens

    @precondition(lambda self: self._up())
    @rule(data=st.data())
    async def submit(self, data: st.DataObject) -> None:
        """Submit a job with some of the options."""
        fn, (args,), options = self._drawn_work(data, 1)
        await self._submit(f"key{len(self._handles)}", fn, args, options)

    def _drawn_work(
        self, data: st.DataObject, count: int
    ) -> tuple[Handler, list[tuple[Any, ...]], dict[str, Any]]:
        fn = data.draw(st.sampled_from([*self.handlers]), "handler")
        several = [data.draw(self.handlers[fn], "arguments") for _ in range(count)]
        return self._journalled[fn], several, data.draw(OPTIONS, "options")

    async def _submit(self, key: str, fn: Handler, args: tuple[Any, ...], options: dict[str, Any]) -> None:
        call = Call("client", "submit", key=key, invoked=trio.current_time())
        submit: Any = self._up()[0].jobs.submit  # how the handler is typed is not known here
        handle: Any = None
        with self._history.ask(call), suppress(*LOST):
            handle = await submit(fn, *args, key=key, **options)
            call.returned, call.job_id = trio.current_time(), handle.id
        if handle is None:
            return
        if key in self._submitted:
            assert handle.id in self._options, "the same key made another job"
            return
        self._submitted[key] = (fn, args, options)
        self._accepted(handle, options)

    def _accepted(self, handle: JobHandle[Any, Any], options: Mapping[str, Any]) -> None:
        self._handles.append(handle)
        self._options[handle.id] = options
        for number, worker in enumerate(self._up()):
            wait = partial(self._crowd.wait, result=bool(number % 2))
            self._crowd.nursery.start_soon(wait, worker, handle.id)

    @precondition(lambda self: self._up())
    @rule(data=st.data(), count=st.integers(1, 5))
    async def submit_many(self, data: st.DataObject, count: int) -> None:
        """Submit several jobs at once, perhaps more than there are slots for."""
        fn, several, options = self._drawn_work(data, count)
        calls = [Call("client", "submit", key=f"many{len(self._handles)}.{n}") for n in range(count)]
        submit_many: Any = self._up()[0].jobs.submit_many
        with suppress(*LOST):
            handles: list[JobHandle[Any, Any]] = await submit_many(fn, several, **options)
            for call, handle in zip(calls, handles, strict=True):
                call.returned, call.job_id = trio.current_time(), handle.id
                self._history.calls.append(call)
                self._accepted(handle, options)

    @precondition(lambda self: self._up())
    @rule(data=st.data(), count=st.integers(2, 6), room=st.integers(1, 4), delay=st.sampled_from([0.0, 0.5]))
    async def submit_at_once(self, data: st.DataObject, count: int, room: int, delay: float) -> None:
        """Submit jobs of an owner who may not have so many wait, all at once; as many get in as may."""
        fn, several, options = self._drawn_work(data, count)
        options |= {"owner": "crowd", "delay": delay}
        waiting = Where(frozenset({State.QUEUED, State.RETRYING}), owner="crowd")
        before = {one.id: one.attempt for one in await every(self._store, waiting)}
        began, up, calls = trio.current_time(), self._up(), list[Call]()
        async with trio.open_nursery() as nursery:
            for number, args in enumerate(several):
                calls.append(Call("client", "submit", key=f"once{len(self._handles)}.{number}"))
                submit = partial(submit_with_room, up[number % len(up)].jobs, fn, args, options, room)
                nursery.start_soon(self._crowd.submit, calls[-1], submit)
        ids = [call.job_id for call in calls if call.job_id is not None]
        for job_id in ids:
            self._accepted(up[0].handle(job_id), options)
        if trio.current_time() > began:
            return
        these = [await self._store.get(job_id) for job_id in (*before, *ids)]
        still = sum(job.attempt == before.get(job.id, 0) and not job.state.over for job in these)
        told = sum(call.answer is not None for call in calls)
        assert len(ids) >= min(told, room - len(before)), "one was refused although there was room"
        assert not ids or still <= room, f"{still} jobs wait where {room} may"

    @precondition(lambda self: self._up() and self._submitted)
    @rule(data=st.data())
    async def submit_again(self, data: st.DataObject) -> None:
        """Submit the same again with the same key, as a client does who has not heard the answer."""
        key = data.draw(st.sampled_from([*self._submitted]), "key")
        fn, args, options = self._submitted[key]
        await self._submit(key, fn, args, options)

    @precondition(lambda self: self._up() and self._handles)
    @rule(data=st.data(), grace=st.sampled_from([0.0, 1.0]), patience=st.sampled_from([None, 1.0, 60.0]))
    async def cancel(self, data: st.DataObject, grace: float, patience: float | None) -> None:
        """Ask for a job's cancellation; with patience, wait for what becomes of it."""
        handle = self._drawn(data)
        if patience is None:
            with suppress(*LOST):
                await handle.request_cancel("as drawn", grace=grace)
            return
        self._crowd.nursery.start_soon(self._crowd.cancel, handle, grace, patience)

    @precondition(lambda self: self._up())
    @rule(where=WHERES)
    async def cancel_where(self, where: Filter) -> None:
        """Ask for the cancellation of all jobs that match; of those it is requested, and of no other one."""
        before = [await self._store.get(one.id) for one in await every(self._store, Where())]
        meant = {one.id for one in await every(self._store, where_of(where)) if not one.state.over}
        try:
            asked = await self._up()[0].jobs.cancel_where("as drawn", **where)
        except LOST:
            return
        assert asked <= len(meant), f"{asked} were asked, and only {len(meant)} match"
        for old in before:
            new = await self._store.get(old.id)
            if old.id in meant:
                assert new.state.over or new.cancel_requested_at is not None, "one was passed over"
            elif old.cancel_requested_at is None:
                assert new.cancel_requested_at is None, "one was asked that does not match"

    @precondition(lambda self: self._up() and self._handles)
    @rule(data=st.data(), after=st.sampled_from([0, 0, 2]), pace=PACES)
    async def read(self, data: st.DataObject, after: int, pace: Pace) -> None:
        """Follow a job: from the beginning or later, leaving and resuming, dawdling, or going for good."""
        handle = self._drawn(data)
        if (await self._store.get(handle.id)).last_seq >= after:
            self._crowd.nursery.start_soon(self._crowd.read, self._up()[0], handle.id, pace, after)

    def _drawn(self, data: st.DataObject) -> JobHandle[Any, Any]:
        number = data.draw(st.integers(0, len(self._handles) - 1), "job")
        worker = data.draw(st.sampled_from(self._up()), "asked of")
        return worker.handle(self._handles[number].id)

    @rule(seconds=st.sampled_from(SECONDS) | st.sampled_from([5.0, 30.0, 400.0, 2000.0]))
    async def advance(self, seconds: float) -> None:
        """Let time pass."""
        await trio.sleep(seconds)

    @precondition(lambda self: self._up())
    @rule(paused=st.sampled_from([True, False, False]))
    async def pause(self, paused: bool) -> None:  # noqa: FBT001  # drawn
        """Pause the first worker, or let it go on."""
        jobs = self._up()[0].jobs
        jobs.pause() if paused else jobs.resume()

    @precondition(lambda self: len(self._up()) < 3)
    @rule(drains=st.booleans())
    async def start(self, drains: bool) -> None:  # noqa: FBT001  # drawn
        """Bring another worker up."""
        self._drains = drains
        await self.start_worker()

    @precondition(lambda self: self._up())
    @rule(data=st.data())
    async def crash(self, data: st.DataObject) -> None:
        """Let a worker die: nothing that it still does reaches the store."""
        worker = data.draw(st.sampled_from(self._up()), "worker")
        self._cut(worker)
        worker.crash()

    @precondition(lambda self: self._up())
    @rule(data=st.data(), interrupted=st.booleans())
    async def stop(self, data: st.DataObject, interrupted: bool) -> None:  # noqa: FBT001  # drawn
        """Leave a worker's registry, or cancel what is around it."""
        worker = data.draw(st.sampled_from(self._up()), "worker")
        if worker.line.busy or worker.line.troubled:  # nobody waits for ever for an answer
            self._cut(worker)
        self._history.leaving[worker.name] = trio.current_time()
        worker.interrupt() if interrupted else worker.leave()
        if worker.drained:
            self._history.drained.add(worker.name)

    @precondition(lambda self: self._up())
    @rule(data=st.data(), verbs=VERBS, heard=st.booleans(), leases=st.sampled_from([0.5, 2.5]))
    async def slow_down(self, data: st.DataObject, verbs: set[str], heard: bool, leases: float) -> None:  # noqa: FBT001
        """Let a worker's next call of some verbs take long, before it reaches the store or after that."""
        self._meet(data, verbs, Mishap(heard, seconds=leases * self.lease))

    @precondition(lambda self: self._up())
    @rule(data=st.data(), verbs=VERBS, heard=st.booleans())
    async def lose(self, data: st.DataObject, verbs: set[str], heard: bool) -> None:  # noqa: FBT001  # drawn
        """Let a worker's next call of some verbs be lost, or the answer to it."""
        self._meet(data, verbs, Mishap(heard, lost=True))

    def _meet(self, data: st.DataObject, verbs: set[str], mishap: Mishap) -> None:
        worker = data.draw(st.sampled_from(self._up()), "worker")
        self._history.mute.add(worker.name)
        if "claim" in verbs and mishap.heard and mishap.lost:
            self._cut(worker)  # of what was claimed it knows nothing
        worker.line.meet(verbs, mishap)

    @rule(leases=st.sampled_from([0.05, 2.5]))
    async def lose_the_store(self, leases: float) -> None:
        """Let the store be away for a moment, or for longer than a lease."""
        for worker in self._workers:
            if not worker.over.is_set():
                self._history.mute.add(worker.name)
                worker.line.be_away(leases * self.lease, long=leases > 1)
                if leases > 1 and not worker.up:
                    self._cut(worker)

    # ------------------------------------------------------------ what must hold

    @invariant()
    async def snapshots_are_folds(self) -> None:
        """Each job is what its log says, and no worker runs more than it may."""
        for handle in self._handles:
            if self._looked.get(handle.id) != (job := await self._store.get(handle.id)):
                check_agrees(job, await self._log(handle.id))
                self._looked[handle.id] = job
        live = Counter(run.worker for run in self._history.runs if run.ended is None)
        check_capacity(live, self.capacity)

    async def _log(self, job_id: str) -> list[Event]:
        return await self._store.read(job_id, 0, _ALL)

    async def finish(self) -> None:
        """Let everything come to its end, and judge it."""
        if not self._workers:
            return
        if not self._up():
            await self.start_worker()
        for worker in self._up():
            worker.jobs.resume()
            worker.line.be_well()
        # A job that pauses goes on only while it is read where it runs, and holds a slot until then.
        for handle in self._handles:
            for worker in [one for one in self._workers if one.up or one.drained]:
                self._crowd.nursery.start_soon(self._crowd.read, worker, handle.id, Pace())
        with trio.move_on_after(self.patience):  # noqa: ASYNC912  # waits for each job there is
            for handle in self._handles:
                await self._store.ended(handle.id)
            await self._crowd.disperse()
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
        stays: list[Wait] = []
        for one in await every(self._store, Where()):
            job = await self._store.get(one.id)
            log = self._history.logs[job.id] = await self._log(job.id)
            check_agrees(job, log)
            options = self._options.get(job.id, {"when_unread": "cancel"} if job.parent is None else {})
            unread = options.get("when_unread") == "cancel"
            check_limits(job, log, {*self._history.mute, *self._history.leaving}, unread=unread)
            self._history.jobs[job.id] = job
            if job.parent is not None:
                check_child(log)
            else:
                stays += waits(job, log, options.get("delay", 0.0))
                if job.state.over:
                    self.check_job(job, log)
        check_order(stays)
        note_leases(self._history, self._workers, self.lease)
        check_history(self._history)


@asynccontextmanager
async def _memory() -> AsyncGenerator[Store]:
    store = MemoryStore()
    try:
        yield store
    finally:
        store.close(Reason.SHUTDOWN)
