"""The verbs of the memory store that send inputs to a job, which may make it due."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .._common.errors import KeyConflict
from .._model.job import Retention
from . import rules
from ._queueing import QueueingVerbs
from ._row import Row, alike
from .log import weigh


class SendingVerbs(QueueingVerbs):
    """The verbs that send inputs."""

    _keep: Retention

    async def send(self, job_id: str, input_id: str, values: Sequence[Any]) -> int:
        """See `Store.send`."""
        row = self._row(job_id)
        log = row.log
        if (known := log.inputs.ids.get(input_id)) is not None:
            last, count = known
            kept = [entry.data for seq, entry in log.inputs_behind(last - count, count) if seq <= last]
            if len(values) != count or not alike([*values][count - len(kept) :], kept):
                raise KeyConflict(
                    input_id, job_id, "as the id of another input; use a new id for a new input"
                )
            return last
        sizes = [weigh(value) for value in values]
        rules.check_send(row.state, log.inputs.state(), sizes, self._keep)
        seq = log.add_inputs(row.attempt, self._time(), values, sizes)
        log.inputs.ids[input_id] = seq, len(values)
        self._hear(row)
        return seq

    async def end_inputs(self, job_id: str) -> int:
        """See `Store.end_inputs`."""
        row = self._row(job_id)
        if not row.log.inputs.ended:
            rules.check_end_inputs(row.state)
            row.log.end_inputs(row.attempt, self._time())
            self._hear(row)
        return row.log.inputs.ended

    def _hear(self, row: Row) -> None:
        """Make a job due that waits for an input, and wake the tasks that listen."""
        if row.reason is not None and rules.wakes(row.state, row.reason, row.due, now := self._time()):
            row.due = now
            self._dequeue(row)
            self._enqueue(row, now)
            self._work.ring()
        self._heard.ring()
