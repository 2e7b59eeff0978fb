"""The store: it hands each verb to the connection that writes or the one that reads, and waits for signals.

The system reports that another process has written, or the version of the file's data shows it, which takes
microseconds to read. One query then finds which of the jobs that are waited for here have changed.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import trio

from ..._common.errors import InvalidPayload, StoreCorrupt, StoreUnavailable, TrioJobsError
from ..._common.states import Reason, State, Transition
from ..._json.stored import encode_event
from ..._json.values import decode, encode
from ..._model.job import Event, Job, JobEnd, Kind
from ..._model.summary import PAGE_JOBS, Page, page_of, place_of
from ..contract import CancelAnswer, Claim, Claimant, Heartbeat, Outcome, Submission, Where
from . import care, ends, listing, looking, verbs
from .clock import Clock, FileClock
from .files import check_there, damaged, identity
from .group import Group, Row, Transaction
from .notices import Notices
from .repair import DAMAGE, is_damage
from .rows import Rows
from .signals import Signals

T = TypeVar("T")
logger = logging.getLogger("trio_jobs")
POLL: Final = 0.05
"""Seconds between two looks at what other processes have written, by default."""
REST: Final = 0.002
"""Seconds from the end of one such look to the next one, at least;"""
_RESTS: Final = 3
"""and this many times as long as the look took, at least."""
_STILL: Final = 3.0
"""A look that is this many seconds late means that this process stood still, or the machine slept."""


_TRIES: Final = 3
"""How often a call is tried when damaged rows are in its way."""


class SqliteStore:
    """Keeps jobs in an SQLite file; `open_sqlite` makes one.

    Args:
        path: The file.
        rows: Converts rows to records and back, by the handlers.
        writer: The connection that writes.
        reader: The connection for reads that tasks wait for.
        searcher: The connection for searches by filters, which may take a while.
        now: The file's clock.
        token_bytes: How large a token may be.
    """

    durable = True

    def __init__(
        self,
        path: Path,
        rows: Rows,
        writer: Group,
        reader: Group,
        searcher: Group,
        *,
        now: Clock,
        token_bytes: int,
    ) -> None:
        self._path = path
        self._rows = rows
        self._token_bytes = token_bytes
        self._writer = writer
        self._reader = reader
        self._searcher = searcher
        self._now = now
        self._signals = Signals()
        self._more = -1  # the rings of `work` when a claim left due jobs behind
        self._process = os.getpid()
        self._identity = identity(path)
        self._closed = False
        self._fault: StoreCorrupt | None = None

    # ------------------------------------------------------------ calls to the file

    async def _write(
        self,
        work: Callable[[Transaction], T],
        mend: Callable[[Transaction, Exception], bool] = care.mend_counters,
        tries: int = _TRIES,
    ) -> T:
        """Do something in a transaction that writes.

        Args:
            work: The function to call.
            mend: Mends or fails the damaged jobs in its way, and returns whether there was any damage.
            tries: How often `mend` is called.
        """
        self._check()
        try:
            result, tx = await self._writer.call(work)
        except DAMAGE as error:
            if not is_damage(error):
                raise
            damage = error
        else:
            self._signals.on_transaction(tx)
            return result
        finally:
            if self._writer.in_doubt:  # what was written is unknown, and nothing will announce it
                self._writer.in_doubt = False
                self._signals.ring_all()
        if tries and await self._write(lambda tx: mend(tx, damage), tries=0):
            return await self._write(work, mend, tries - 1)
        raise damage if isinstance(damage, care.AMBIGUOUS) else damaged(self._path, damage) from damage

    async def _write_to(self, job_id: str, work: Callable[..., T], *args: Any, **named: Any) -> T:
        """Do something to one job in a transaction that writes; a job whose damaged row prevents it fails."""
        return await self._write(lambda tx: work(tx, job_id, *args, **named), partial(care.mend_one, job_id))

    async def _read(self, work: Callable[..., T], *args: Any, by: Group | None = None) -> T:
        """Read something by the connection for reads, or by another one."""
        self._check()
        try:
            result, _ = await (by or self._reader).call(lambda tx: work(tx, *args))
        except DAMAGE as error:
            if not is_damage(error):
                raise
            raise damaged(self._path, error) from error
        return result

    def _check(self) -> None:
        if os.getpid() != self._process:
            raise RuntimeError(
                f"{self._path} was opened before this process was forked off; open it again in the child"
            )
        if self._fault is not None:
            raise self._fault

    def _check_open(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError("the registry was left before the job had ended")

    async def poll(self, seconds: float, clock: FileClock, notices: Notices, version: int) -> None:
        """Wake tasks that wait for what others write: look at notices and at intervals until cancelled."""
        looked, rested = clock(), -math.inf
        while True:
            noticed = await notices.wait(seconds)
            if noticed and rested > trio.current_time():  # a timeout needs no rest
                await trio.sleep_until(rested)
                notices.clear()
            began = trio.current_time()
            try:
                check_there(self._path, self._identity)
            except StoreCorrupt as fault:
                self._fault = fault
                self._signals.ring_all()
                return
            if (when := clock()) - looked > seconds + _STILL:  # other workers may have stood still, too
                self._writer.outages.add(looked, when)
            if clock.is_off():
                with suppress(StoreUnavailable):
                    await self._write(lambda tx: clock.set_right(tx.db))
                    self._signals.ring_all()
            looked = clock()
            found = await self._writer.version(version)
            if found != version:
                version, noticed = found, True
                await self._look_for_news()
            if noticed:
                now = trio.current_time()
                rested = now + max(REST, _RESTS * (now - began))

    async def _look_for_news(self) -> None:
        """Read in one query which watched jobs other processes have changed, and wake their tasks."""
        asked = self._signals.watched()
        try:
            news = await self._read(looking.news, asked) if asked else {}
        except (TrioJobsError, trio.ClosedResourceError):  # each task meets it when it reads
            self._signals.ring_all()
        else:
            self._signals.on_news(news)

    # ------------------------------------------------------------ coming in

    async def submit(
        self, batch: Sequence[Submission], limit: int, worker: Claimant
    ) -> tuple[list[str], list[Claim]]:
        """See `Store.submit`."""
        new = [self._rows.written(one) for one in batch]
        began = self._now()
        handlers = self._rows.handlers
        ids, rows = await self._write(
            lambda tx: verbs.submit(tx, new, limit, handlers, worker),
            partial(care.mend_due, limit, handlers),
        )
        limits = [one.options.timeouts.queue for one in batch]
        soonest = min((limit for limit in limits if limit is not None), default=math.inf)
        self._signals.alarm.ring(began + min(soonest, worker.lease if rows else math.inf))
        if len(rows) < len(batch):
            self._signals.work.ring()
        return ids, [self._rows.claim_of(row) for row in rows]

    async def spawn(self, parent: str, attempt: int, child: Submission, worker: Claimant) -> Claim:
        """See `Store.spawn`."""
        new = self._rows.written(child, child=True)
        number, spent, saved, seq = await self._write_to(parent, verbs.spawn, attempt, new, worker)
        return Claim(child, number, spent, None if saved is None else decode(saved), seq)

    # ------------------------------------------------------------ attempts

    async def claim(self, limit: int, worker: Claimant) -> list[Claim]:
        """See `Store.claim`."""
        began, seen = self._now(), self._signals.work.count
        handlers = self._rows.handlers
        rows, more = await self._write(
            lambda tx: verbs.claim(tx, limit, handlers, worker),
            partial(care.mend_due, limit, handlers),
        )
        self._more = seen if more else -1
        if rows:
            self._signals.alarm.ring(began + worker.lease)
        return [self._rows.claim_of(row) for row in rows]

    async def heartbeat(self, held: Mapping[str, int], lease: float) -> Heartbeat:
        """See `Store.heartbeat`."""
        began = self._now()
        now_held = dict(held)
        answer = await self._write(
            lambda tx: verbs.heartbeat(tx, now_held, lease), partial(care.mend_held, now_held)
        )
        self._signals.alarm.ring(began + lease)
        return answer

    async def append(self, job_id: str, attempt: int, kind: Kind, values: Sequence[Any], offset: int) -> int:
        """See `Store.append`."""
        encoded = [encode_event(kind, value) for value in values]
        largest, most = max(map(len, encoded)), self._token_bytes
        if kind is Kind.TOKEN and largest > most:
            raise InvalidPayload(f"a token of {largest} bytes is over Retention.token_bytes={most}")
        return await self._write_to(job_id, verbs.append, attempt, kind, encoded, offset=offset)

    async def finish(self, job_id: str, attempt: int, outcome: Outcome) -> State:
        """See `Store.finish`."""
        done = outcome.transition is Transition.COMPLETED
        result = encode("the result", outcome.result) if done else None
        state = await self._write_to(job_id, ends.finish, attempt, outcome, result)
        if state is State.RETRYING:
            self._signals.work.ring()
        return state

    # ------------------------------------------------------------ ends

    async def request_cancel(self, job_id: str, message: str | None, grace: float = 0.0) -> CancelAnswer:
        """See `Store.request_cancel`."""
        answer = await self._write_to(job_id, ends.request_cancel, message, grace)
        self._signals.requests.ring()
        return answer

    async def sweep(self) -> None:
        """See `Store.sweep`."""
        swept = ends.BATCH
        while swept >= ends.BATCH:
            swept = await self._write(care.sweep)
            self._signals.work.ring()

    def close(self, reason: Reason) -> None:  # noqa: ARG002  # nothing ends: the file lives on
        """See `Store.close`."""
        self._closed = True
        self._signals.ring_all()

    # ------------------------------------------------------------ looking

    async def get(self, job_id: str) -> Job:
        """See `Store.get`."""
        return self._rows.job_of(await self._read(looking.job, job_id))

    async def find(self, where: Where, limit: int, *, after: str | None = None, newest: bool = False) -> Page:
        """See `Store.find`."""
        limit = min(limit, PAGE_JOBS)
        find = partial(listing.find, newest=newest, make=self._rows.summary_of)
        found, examined = await self._read(find, where, limit, place_of(after), by=self._searcher)
        return page_of(found, limit, examined)

    async def count(self, where: Where) -> Mapping[State, int]:
        """See `Store.count`."""
        return await self._read(listing.count, where, by=self._searcher)

    async def read(self, job_id: str, after: int, limit: int) -> list[Event]:
        """See `Store.read`."""
        events, *_ = await self._read(looking.page, job_id, after, limit)
        return events

    async def history(self, job_id: str) -> list[Event]:
        """See `Store.history`."""
        return await self._read(looking.history, job_id)

    # ------------------------------------------------------------ waiting

    async def follow(self, job_id: str, after: int, limit: int) -> list[Event]:
        """See `Store.follow`."""
        tails, waited = self._signals.tails, False
        with self._signals.events_of(job_id) as grown:
            while True:
                self._check()
                seen, over = grown.count, False
                if (known := tails.behind(job_id, after, limit)) is not None:
                    events, seq = known
                    if events and not waited:
                        await trio.lowlevel.checkpoint()
                else:
                    tail = tails.begin(job_id)
                    events, over, seq = await self._read(looking.page, job_id, after, limit)
                    tails.have_read(job_id, tail, seq, over=over)
                if events or over:
                    return events
                seen += grown.note(seq)
                self._check_open()
                await grown.wait_past(seen)
                waited = True

    async def ended(self, job_id: str) -> Job:
        """See `Store.ended`."""
        return self._rows.job_of(await self._end_of(job_id))

    async def end(self, job_id: str) -> JobEnd:
        """See `KnowsEnds.end`."""
        return self._rows.end_of(await self._end_of(job_id))

    async def _end_of(self, job_id: str) -> Row:
        """Return the row of a job's snapshot, once it has ended."""
        self._check()
        with self._signals.end_of(job_id) as end:
            seen, row = end.count, None
            if job_id not in self._signals.open:
                row = await self._read(looking.ended, job_id)
            while row is None:
                self._check_open()
                await end.wait_past(seen)
                seen, row = end.count, end.row or await self._read(looking.ended, job_id)
        return row

    async def due(self) -> None:
        """See `Store.due`."""
        work = self._signals.work
        while True:
            seen = work.count
            known, self._more = self._more, -1
            if known == seen:  # the last claim left due jobs
                return
            left = await self._read(looking.next_due, self._rows.handlers) - self._now()
            if left <= 0:
                return
            with trio.move_on_after(left):
                await work.wait_past(seen)

    async def overdue(self) -> None:
        """See `Store.overdue`."""
        alarm = self._signals.alarm
        while True:
            seen, alarm.moment = alarm.count, math.inf  # any moment that comes up during the read counts
            alarm.moment = self._writer.outages.judged_at(await self._read(looking.next_overdue))
            left = alarm.moment - self._now()
            if left <= 0:
                return
            with trio.move_on_after(left):
                await alarm.wait_past(seen)

    async def cancelling(self, heard: Mapping[str, float]) -> Mapping[str, float]:
        """See `Store.cancelling`."""
        while True:
            seen = self._signals.requests.count
            found = await self._read(looking.cancelling)
            if found.items() - heard.items():
                return found
            await self._signals.requests.wait_past(seen)

    # ------------------------------------------------------------ going

    async def remove(self, job_id: str) -> None:
        """See `Store.remove`."""
        await self._write_to(job_id, ends.remove)

    async def prune(self, older_than: float) -> int:
        """See `Store.prune`."""
        before = self._now() - older_than
        pruned, batch = 0, ends.BATCH
        while batch >= ends.BATCH:
            batch = await self._write(lambda tx: ends.prune(tx, before))
            pruned += batch
        return pruned
