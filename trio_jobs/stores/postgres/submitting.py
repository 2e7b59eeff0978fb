"""Submit jobs: what a call of `submit_jobs` and `spawn_jobs` holds, and what their answers mean."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ..._common.errors import InvalidPayload, LeaseLost
from ..._json.values import decode
from ..._model.exclusive import Debounce
from ..contract import Claim, Claimant, Submission
from ..rows import Written
from ..rules import rooms
from .calls import PostgresCalls, holds_nul, is_text


class SubmitCalls(PostgresCalls):
    """Calls that bring jobs in; see `Store` and `resubmitting.KeepsSubmissions`."""

    async def submit(
        self, batch: Sequence[Submission], limit: int, worker: Claimant
    ) -> tuple[list[str], list[Claim]]:
        """See `Store.submit`."""
        new = [self._rows.written(one) for one in batch]
        call = {**call_of(new), "limit": min(limit, _MOST)}
        if limit:
            call |= {"handlers": self._rows.claimed, **_of(worker)}
            call["at_once"] = 0 < len(batch) <= limit and all(map(self._starts, batch))
        answer = await self._write("submit_jobs", call, alone=not call["plain"])
        ids = answer.get("ids") or [one.id for one in batch]
        claims = answer.get("claims")
        if claims is None and limit:  # they run from the start
            claims = [(*(one.values[name] for name in _COLUMNS), 1, 1, None, 2, 0, None) for one in new]
        return ids, [self._rows.claim_of(row, worker.claim) for row in claims or ()]

    def _starts(self, new: Submission) -> bool:
        """Return whether a job may start in the step that accepts it."""
        return not new.options.delay and new.options.run_at is None and new.handler in self._rows.claimed

    async def spawn(self, parent: str, attempt: int, child: Submission, worker: Claimant) -> Claim:
        """See `Store.spawn`."""
        new = self._rows.written(child, child=True)
        call = {
            "parent": parent,
            "attempt": attempt,
            "jobs": [job_of(new)],
            "at_once": True,
            **_of(worker),
            "lease": None,
        }
        number, spent, saved, seq, consumed = await self._write("spawn_jobs", call)
        kept = None if saved is None else decode(saved)
        return Claim(child, number, spent, kept, seq, consumed, id=worker.claim)


_MOST = 2**31 - 2
_COLUMNS = ("id", "handler", "args", "options", "metadata", "priority", "owner", "key")


def _of(worker: Claimant) -> dict[str, Any]:
    return {
        "worker": worker.name,
        "lease": None if worker.lease == math.inf else worker.lease,
        "claim": worker.claim,
    }


def call_of(batch: Sequence[Written]) -> dict[str, Any]:
    """Return a call that submits a batch."""
    given = [one.submission for one in batch]
    call: dict[str, Any] = {
        "jobs": [job_of(one) for one in batch],
        "plain": all(
            one.key is None and one.again is None and one.options.exclusive is None for one in given
        ),
        "submitted": any(one.submitter is not None for one in given),
    }
    if limits := rooms(given):
        call["rooms"] = limits
    return call


def job_of(new: Written) -> Mapping[str, Any]:
    """Return a job as a call has it, without what is null."""
    one, options = new.submission, new.submission.options
    if one.submitter is not None and not is_text(one.submitter[0] + (one.submitter[2] or "")):
        raise LeaseLost(*one.submitter[:2])
    if holds_nul(new.values["options"].encode()):
        raise InvalidPayload("an option holds NUL, which PostgreSQL cannot store")
    job = {
        **new.values,
        "delay": options.delay,
        "run_at": None if options.run_at is None else options.run_at.timestamp(),
        "queue": None if options.timeouts.queue == math.inf else options.timeouts.queue,
        "tags": dict(options.tags) or None,
        "submitter": one.submitter,
    }
    if options.exclusive is not None:
        policy = options.on_busy
        job["policy"] = "debounce" if isinstance(policy, Debounce) else policy
        job["at_most"] = policy.at_most if isinstance(policy, Debounce) else None
        job["service"] = options.restart is not None
    if one.again is not None:
        job["once"] = one.again.once
    return {name: value for name, value in job.items() if value is not None}
