"""How jobs of the memory store begin and cease to wait: in a queue, or in lanes, under limits and pauses."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from .._common.states import Reason, State
from .._model.job import PENALTY
from .._model.limits import Limit, LimitStatus
from . import rules
from ._lanes import Lanes
from ._looking import LookingVerbs
from ._row import Row
from .contract import Submission

if TYPE_CHECKING:  # few programs pause
    from .pauses import Pauses

logger = logging.getLogger("trio_jobs")


class QueueingVerbs(LookingVerbs):
    """What waits, and the verbs that set limits and pause."""

    def _enqueue(self, row: Row, now: float) -> None:
        new = row.submission
        options = new.options
        penalty = PENALTY[options.priority]
        if options.restart is not None:
            self._services[new.id] = None
        elif self._lanes is None or new.handler not in self._lanes:
            if row.line is None or row.behind is None:
                self._waiting.add(new.id, row.due, penalty, now, row.number)
        elif row.behind is not None:
            self._lanes.count(new.handler, options.limit_key, new.id)
        else:
            counts = row.before is None or row.before.reason is not Reason.AWAITING_INPUT
            ranked = row.due, penalty, now, row.number
            self._lanes.add(new.handler, options.limit_key, new.id, ranked, counts=counts)
        expires = rules.expires_at(options, row.due)
        if expires is not None and row.state is State.QUEUED:
            self._expiring.add(new.id, expires, 0, now)
            self._alarm.ring()

    def _dequeue(self, row: Row) -> None:
        new = row.submission
        self._waiting.discard(new.id)
        self._services.pop(new.id, None)
        if self._lanes is not None:
            self._lanes.discard(new.handler, new.options.limit_key, new.id, self._time())

    def _leave_queue(self, row: Row) -> None:
        self._dequeue(row)
        self._expiring.discard(row.submission.id)
        self._leases.discard(row.submission.id)

    def _next(self, lanes: Lanes, now: float) -> str | None:
        """Take the next job to be started out of the queue or the lanes, and return its id."""
        return lanes.take(now, self._waiting.best(now)[0]) or self._waiting.pop(now)

    def _for_sure(
        self, lanes: Lanes, coming: Sequence[Submission], limit: int, now: float, gone: Collection[str]
    ) -> int:
        """Check that a batch may wait under its limits, and return how many jobs are sure to start with it.

        What starts under limits is known only once it has started, so none is sure to with such jobs in the
        batch, or ready.

        Raises:
            QueueFull: It may not.
        """
        lanes.check_waiting([(new.handler, new.options.limit_key) for new in coming], gone)
        limited = any(new.handler in lanes for new in coming)
        return 0 if limited or lanes.next_start(now) <= now else limit

    async def limit(self, handler: str, limits: Mapping[str, Limit]) -> None:
        """See `limits.KeepsLimits`."""
        now = self._time()
        lanes = Lanes() if self._lanes is None else self._lanes
        fresh = handler not in lanes
        if fresh and not limits:
            return
        self._lanes, before = lanes, lanes.limits(handler)
        lanes.define(handler, limits, now)
        if before and before != (after := lanes.limits(handler)):
            logger.info("the limits of %s are %s now; they were %s", handler, after, before)
        if fresh:
            self._rehouse(handler, lanes, now)
        self._work.ring()

    async def pin_limit(self, name: str, limit: Limit | None) -> None:
        """See `limits.KeepsLimits`."""
        self._lanes = self._lanes or Lanes()
        self._lanes.pin(name, limit, self._time())
        self._work.ring()

    async def limits(self) -> Sequence[LimitStatus]:
        """See `limits.KeepsLimits`."""
        return [] if self._lanes is None else self._lanes.status()

    def _rehouse(self, handler: str, lanes: Lanes, now: float) -> None:
        """Put the jobs of a handler where they wait now: it has got lanes, or has none any more."""
        for row in self._rows.values():
            new = row.submission
            if new.handler != handler or row.parent is not None:
                continue
            if row.state is State.RUNNING:
                if handler in lanes:
                    lanes.hold(handler, new.options.limit_key, new.id, now)
            elif not row.state.over:
                self._waiting.discard(new.id)
                self._expiring.discard(new.id)
                self._enqueue(row, now)

    async def pause_handlers(self, names: Collection[str] | None, *, paused: bool) -> None:
        """See `pauses.KeepsPauses`."""
        now = self._time()
        self._lanes = Lanes() if self._lanes is None else self._lanes
        lanes = self._lanes
        if names is None:
            self._all_paused, names = paused, () if paused else lanes.paused
        for handler in names:
            if handler not in lanes:
                if not paused:
                    continue
                lanes.define(handler, {}, now)
                self._rehouse(handler, lanes, now)
            lanes.pause(handler, paused=paused)
            if not paused and not lanes.limits(handler):
                lanes.forget(handler)
                self._rehouse(handler, lanes, now)
        self._work.ring()

    async def paused_handlers(self) -> Pauses:
        """See `pauses.KeepsPauses`."""
        from .pauses import Pauses

        return Pauses(self._all_paused, frozenset() if self._lanes is None else self._lanes.paused)
