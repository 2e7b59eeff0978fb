"""Send inputs to jobs."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

from ..._common.errors import InvalidPayload, UnknownJob
from .calls import PostgresCalls


class InputCalls(PostgresCalls):
    """Calls by which jobs get inputs; see `Store`."""

    async def send(self, job_id: str, input_id: str, values: Sequence[Any]) -> int:
        """See `Store.send`."""
        found = await self._read("handler_of", job_id)
        if not found:
            raise UnknownJob(job_id)
        fault, inputs = None, list[bytes]()
        try:
            inputs = self._rows.inputs_of(found[0][0] or "", values)
        except InvalidPayload as error:  # unless the id is known
            fault = str(error)
        call: dict[str, Any] = {
            "job": job_id,
            "id": input_id,
            "values": [value.decode() for value in inputs],
            "digest": sha256(b"\0".join(inputs)).hexdigest(),
            "fault": fault,
        }
        newest: int = await self._write("send_inputs", call)
        return newest

    async def end_inputs(self, job_id: str) -> int:
        """See `Store.end_inputs`."""
        newest: int = await self._write("end_inputs", {"job": job_id})
        return newest
