"""Write what attempts do, and end them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs

from ..._common.errors import ErrorRecord, InvalidPayload
from ..._common.states import State, Transition
from ..._json.stored import encode_error, encode_event
from ..._json.values import encode
from ..._model.job import Ended, Kind
from ..contract import Outcome
from .calls import PostgresCalls, fitting


class WritingCalls(PostgresCalls):
    """Calls by which attempts write; see `Store`."""

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
        largest, most = max(map(len, encoded)), self._own["keep"]["token_bytes"]
        if kind is Kind.TOKEN and largest > most:
            raise InvalidPayload(f"a token of {largest} bytes is over Retention.token_bytes={most}")
        call: dict[str, Any] = {
            "job": job_id,
            "attempt": attempt,
            "claim": claim,
            "kind": kind,
            "data": (b"[" + b",".join(encoded) + b"]").decode(),
            "count": len(encoded),
            "offset": offset,
            "received": received,
        }
        newest: int = await self._write("append_events", call)
        return newest

    async def finish(self, job_id: str, attempt: int, outcome: Outcome, claim: str | None = None) -> State:
        """See `Store.finish`."""
        call: dict[str, Any] = {
            "job": job_id,
            "attempt": attempt,
            "claim": claim,
            "outcome": outcome_of(outcome),
        }
        return State(await self._write("finish_jobs", call))


def outcome_of(outcome: Outcome) -> dict[str, Any]:
    """Return an outcome as the functions of the schema take it.

    Raises:
        InvalidPayload: JSON cannot hold the result.
    """
    done = outcome.transition is Transition.COMPLETED
    return {
        "transition": outcome.transition,
        "result": encode("the result", outcome.result).decode() if done else None,
        "ended": None if outcome.ended is None else ended_of(outcome.ended),
        "received": outcome.received,
        "begun": outcome.begun,
        "appended": outcome.appended,
    }


def ended_of(ended: Ended) -> dict[str, Any]:
    """Return an end as the functions of the schema take it."""
    # No words may keep an attempt from ending.
    message, error = ended.message, ended.error
    error = None if error is None else ErrorRecord(*map(fitting, attrs.astuple(error)))
    data = encode_error(error)
    return {
        "reason": ended.reason,
        "message": None if message is None else fitting(message),
        "error": None if data is None else data.decode(),
        "delay": "inf" if ended.delay == float("inf") else ended.delay,
        "repeats": ended.repeats,
        "replaced_by": ended.replaced_by,
    }
