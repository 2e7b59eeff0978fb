"""The store: it hands each verb to a connection that writes or one that reads, and waits for signals."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import trio

from ..._common.errors import InvalidPayload
from ..._common.states import Reason, State, Transition
from ..._json.stored import encode_event
from ..._json.values import decode, encode
from ..._model.job import Event, Job, Kind
from ..._model.summary import Page, page_of, place_of
from ..contract import (
    NO_CLAIMS,
    CancelAnswer,
    Claim,
    Claimant,
    Heartbeat,
    Outcome,
    Reclaimed,
    Submission,
    Where,
)
from ..pauses import Pauses
from ..records import PAGE_JOBS
from ..rows import Rows
from ..waits import Found, Waits
from ..workers import WorkerStatus
from . import care, ends, inbox, lanes, listing, looking, pauses, verbs
from .clock import Clock
from .group import Group, Row, Transaction
from .limits import LimitCalls
from .schedules import ScheduleCalls
from .signals import FileSignals


class SqliteStore(ScheduleCalls, LimitCalls, Waits[FileSignals]):
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
        super().__init__(path, rows, writer, reader, now=now)
        self._token_bytes = token_bytes
        self._searcher = searcher

    # ------------------------------------------------------------ coming in

    async def submit(
        self, batch: Sequence[Submission], limit: int, worker: Claimant
    ) -> tuple[list[str], list[Claim]]:
        """See `Store.submit`."""
        new = [self._rows.written(one) for one in batch]
        began = self._now()
        handlers = self._rows.claimed
        ids, rows = await self._write(
            lambda tx: verbs.submit(tx, new, limit, pauses.startable(tx, handlers), worker),
            partial(care.mend_due, limit, handlers),
        )
        limits = [one.options.timeouts.queue for one in batch]
        soonest = min((limit for limit in limits if limit is not None), default=math.inf)
        self._signals.alarm.ring(began + min(soonest, worker.lease if rows else math.inf))
        if len(rows) < len(batch):
            self._signals.work.ring()
        return ids, [self._rows.claim_of(row, worker.claim) for row in rows]

    async def spawn(self, parent: str, attempt: int, child: Submission, worker: Claimant) -> Claim:
        """See `Store.spawn`."""
        new = self._rows.written(child, child=True)
        number, spent, saved, seq, consumed = await self._write_to(parent, verbs.spawn, attempt, new, worker)
        kept = None if saved is None else decode(saved)
        return Claim(child, number, spent, kept, seq, consumed, id=worker.claim)

    # ------------------------------------------------------------ attempts

    async def _claim(
        self, limit: int, handlers: Collection[str], worker: Claimant
    ) -> tuple[list[Claim], bool]:
        began = self._now()
        rows, more = await self._write(
            lambda tx: verbs.claim(tx, limit, pauses.startable(tx, handlers), worker),
            partial(care.mend_due, limit, handlers),
        )
        if rows:
            self._signals.alarm.ring(began + worker.lease)
        return [self._rows.claim_of(row, worker.claim) for row in rows], more

    async def heartbeat(
        self, held: Mapping[str, int], lease: float, claims: Mapping[str, str | None] = NO_CLAIMS
    ) -> Heartbeat:
        """See `Store.heartbeat`."""
        began = self._now()
        now_held, of = dict(held), dict(claims)
        answer = await self._write(
            lambda tx: verbs.heartbeat(tx, now_held, lease, of), partial(care.mend_held, now_held, of)
        )
        self._signals.alarm.ring(began + lease)
        return answer

    async def append(
        self,
        job_id: str,
        attempt: int,
        kind: Kind,
        values: Sequence[Any],
        offset: int,
        *,
        received: int | None = None,
        claim: str | None = None,
    ) -> int:
        """See `Store.append`."""
        encoded = [encode_event(kind, value) for value in values]
        largest, most = max(map(len, encoded)), self._token_bytes
        if kind is Kind.TOKEN and largest > most:
            raise InvalidPayload(f"a token of {largest} bytes is over Retention.token_bytes={most}")
        given = (attempt, kind, encoded)
        options = {"offset": offset, "received": received, "claim": claim}
        return await self._write_to(job_id, verbs.append, *given, **options)

    async def finish(self, job_id: str, attempt: int, outcome: Outcome, claim: str | None = None) -> State:
        """See `Store.finish`."""
        done = outcome.transition is Transition.COMPLETED
        result = encode("the result", outcome.result) if done else None
        state = await self._write_to(job_id, ends.finish, attempt, outcome, result, claim=claim)
        if state is State.RETRYING:
            self._signals.work.ring()
        return state

    async def pause_handlers(self, names: Collection[str] | None, *, paused: bool) -> None:
        """See `KeepsPauses.pause_handlers`."""
        given = None if names is None else [*names]
        await self._write(lambda tx: pauses.pause(tx, given, paused=paused))
        self._signals.work.ring()

    async def paused_handlers(self) -> Pauses:
        """See `KeepsPauses.paused_handlers`."""
        return await self._read(pauses.paused)

    async def workers(self) -> list[WorkerStatus]:
        """See `KnowsWorkers.workers`."""
        return await self._read(looking.workers)

    # ------------------------------------------------------------ inputs

    async def send(self, job_id: str, input_id: str, values: Sequence[Any]) -> int:
        """See `Store.send`."""
        given = (input_id, list(values), self._rows.inputs_of)
        return self._sent(await self._write_to(job_id, inbox.send, *given))

    async def end_inputs(self, job_id: str) -> int:
        """See `Store.end_inputs`."""
        return self._sent(await self._write_to(job_id, inbox.end_inputs))

    def _sent(self, answer: tuple[int, bool]) -> int:
        seq, woken = answer
        if woken:
            self._signals.work.ring()
        return seq

    async def inputs(self, job_id: str, after: int, limit: int) -> list[Event]:
        """See `Store.inputs`."""
        return await self._read(looking.inputs, job_id, after, limit)

    # ------------------------------------------------------------ ends

    async def request_cancel(self, job_id: str, message: str | None, grace: float = 0.0) -> CancelAnswer:
        """See `Store.request_cancel`."""
        return await self._write_to(job_id, ends.request_cancel, message, grace)

    async def sweep(self) -> list[Reclaimed]:
        """See `Store.sweep`."""
        swept, reclaimed = ends.BATCH, list[Reclaimed]()
        while swept >= ends.BATCH:
            swept, some = await self._write(care.sweep)
            reclaimed += some
            self._signals.work.ring()
        return reclaimed

    def close(self, reason: Reason) -> None:  # noqa: ARG002  # nothing ends: the file lives on
        """See `Store.close`."""
        self._closed = True
        self._signals.ring_all()

    # ------------------------------------------------------------ looking

    async def get(self, job_id: str) -> Job:
        """See `Store.get`."""
        return await self._read(lanes.job_now, job_id, self._rows.job_of)

    async def submission(self, job_id: str) -> Submission:
        """See `KeepsSubmissions.submission`."""
        return self._rows.submission_of(await self._read(looking.known, "submission", job_id))

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

    # ------------------------------------------------------------ waiting; see `Waits`

    async def _page(self, job_id: str, after: int, limit: int, *, waited: bool) -> Found:
        if (known := self._signals.tails.behind(job_id, after, limit)) is not None:
            if known[0] and not waited:
                await trio.lowlevel.checkpoint()
            return known[0], False, known[1]
        tail = self._signals.tails.begin(job_id)
        events, over, seq = await self._read(looking.page, job_id, after, limit)
        self._signals.tails.have_read(job_id, tail, seq, over=over)
        return events, over, seq

    async def _end_row(self, job_id: str) -> Row | None:
        return await self._read(looking.ended, job_id)

    async def _find_heard(self, places: Mapping[str, int]) -> set[str]:
        return await self._read(looking.heard, places)

    async def _next_due(self, handlers: Collection[str]) -> tuple[float, float]:
        return await self._read(_next_due, handlers), self._now()

    async def _next_overdue(self) -> tuple[float, float]:
        return self._writer.outages.judged_at(await self._read(looking.next_overdue)), self._now()

    async def _find_cancelling(self) -> dict[str, float]:
        return await self._read(looking.cancelling)

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


def _next_due(tx: Transaction, handlers: Collection[str]) -> float:
    return lanes.next_due(tx, pauses.unpaused(tx, handlers))
