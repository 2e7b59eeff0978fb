"""The part of a `JobMachine` that sends inputs to its jobs."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import trio
from hypothesis import strategies as st
from hypothesis.stateful import precondition

from ._machine import TrioMachine
from ._rules import rule
from ._scripted import SECONDS

if TYPE_CHECKING:
    from .._model.job import Job
    from .._registry.registry import JobRegistry
    from ._client import SimulatedClient
    from ._journal import Handler


class SendingMachine(TrioMachine):
    """A machine whose jobs are sent inputs, whatever they do just then, and at some time the end of them."""

    inputs: ClassVar[Mapping[Handler, st.SearchStrategy[Any]]] = {}
    _client: SimulatedClient
    _clients: trio.Nursery
    _looked: dict[str, Job]

    def __init__(self) -> None:
        super().__init__()
        self._takes: dict[str, st.SearchStrategy[Any]] = {}  # what the inputs of a job are drawn from
        self._sent: list[tuple[str, str, list[Any]]] = []
        self._kept: set[str] = set()  # the ids of inputs that were accepted

    @abstractmethod
    def _somebody(self) -> JobRegistry | None:
        """Return a registry to ask, if there is one."""

    @abstractmethod
    def _listeners(self) -> Sequence[Handler]:
        """Return the handlers whose jobs are sent inputs."""

    @abstractmethod
    async def _submit_one(self, data: st.DataObject, handlers: Sequence[Handler]) -> None:
        """Submit a job of one of these handlers."""

    @precondition(lambda self: self._listeners() and self._somebody())
    @rule(data=st.data(), pauses=st.lists(st.sampled_from(SECONDS), max_size=3))
    async def send(self, data: st.DataObject, pauses: list[float]) -> None:
        """Send a job some inputs at once, perhaps one that is new, and more after each pause."""
        if data.draw(st.booleans(), "new"):
            await self._submit_one(data, self._listeners())
        if not self._takes:
            return
        job_id = self._drawn_listener(data)
        for pause in [0.0, *pauses]:
            values = data.draw(st.lists(self._takes[job_id], min_size=1, max_size=3), "inputs")
            self._sent.append((job_id, f"input{len(self._sent)}", values))
            if pause:
                self._clients.start_soon(self._send_later, pause, *self._sent[-1])
            else:
                await self._send(*self._sent[-1])

    async def _send_later(self, seconds: float, job_id: str, input_id: str, values: list[Any]) -> None:
        await trio.sleep(seconds)
        await self._send(job_id, input_id, values)

    def _drawn_listener(self, data: st.DataObject) -> str:
        """Draw a job that takes inputs, mostly one that was not over when it was last looked at."""
        lively = [one for one in self._takes if one not in self._looked or not self._looked[one].state.over]
        jobs = (
            lively if lively and data.draw(st.sampled_from([True, True, False]), "lively") else [*self._takes]
        )
        return jobs[-1 - data.draw(st.integers(0, len(jobs) - 1), "job, from the newest")]

    @precondition(lambda self: self._sent and self._somebody())
    @rule(data=st.data(), other=st.booleans())
    async def send_again(self, data: st.DataObject, other: bool) -> None:  # noqa: FBT001  # drawn
        """Send the same inputs again, as a client does whose answer was lost; or others with the same id."""
        job_id, input_id, values = data.draw(st.sampled_from(self._sent), "inputs")
        if not other:
            await self._send(job_id, input_id, values)
        elif input_id in self._kept and (jobs := self._somebody()) is not None:
            answer = await self._client.send(jobs, job_id, input_id, [*values, values[0]])
            assert answer in {"conflict", None}, f"one id stands for two lists of inputs: {answer}"

    async def _send(self, job_id: str, input_id: str, values: list[Any]) -> None:
        if (jobs := self._somebody()) is None:
            return
        answer = await self._client.send(jobs, job_id, input_id, values)
        if answer == "accepted":
            self._kept.add(input_id)
        else:
            assert answer is None or input_id not in self._kept, (
                f"what it has is not known any more: {answer}"
            )

    @precondition(lambda self: self._takes and self._somebody())
    @rule(data=st.data())
    async def end_inputs(self, data: st.DataObject) -> None:
        """Tell a job that no more inputs will come."""
        job_id = self._drawn_listener(data)
        if (jobs := self._somebody()) is not None:
            await self._client.end_inputs(jobs, job_id)
