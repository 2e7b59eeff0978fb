"""The schedules of a server."""

from __future__ import annotations

from typing import Any, cast

from msgspec import UNSET
from msgspec.structs import replace

from .._common.errors import quoted
from .._common.validate import text
from .._model.schedule import Schedule, ScheduleStatus
from .._watching.handle import JobHandle
from .._wire import requests
from .jobs import RemoteJobs, seen_in
from .link import Link
from .requests import called, options_of


class RemoteSchedules:
    """The schedules of a server, for callers who may see all jobs; `RemoteRegistry.schedules` is one."""

    def __init__(self, link: Link, jobs: RemoteJobs) -> None:
        self._link = link
        self._jobs = jobs

    async def find(self) -> list[ScheduleStatus]:
        """Return all schedules, by name."""
        request = requests.ListSchedules(id=self._link.new_id())
        return await self._link.call(request, "", lambda reply: reply.schedules)

    async def add(self, schedule: Schedule) -> None:
        """Add a schedule, as `Schedules.add` does; its handler is sent by name.

        Raises:
            TypeError: It is no `Schedule`.
            ScheduleDeclared: A running program declares one of this name.
            InvalidPayload: An argument does not fit its annotation, or cannot be made into JSON.
            UnknownHandler: The server has no handler of that name.
        """
        if not isinstance(cast("object", schedule), Schedule):
            raise TypeError(f"add takes a Schedule record; got {quoted(schedule)}")
        job = called(schedule.handler, schedule.args, schedule.kwargs)
        fields = {name: getattr(schedule, name) for name in requests.RULE}
        fields["options"] = replace(options_of(schedule.handler, schedule.options), key=UNSET)
        what = requests.NewSchedule(**job, **fields)
        request = requests.AddSchedule(id=self._link.new_id(), what=what)
        await self._link.call(request, what.handler, lambda reply: reply.schedules)

    async def remove(self, name: str) -> None:
        """Delete a schedule that was added, or that no running program declares any more. Its jobs stay.

        Raises:
            UnknownSchedule: No schedule has this name.
            ScheduleDeclared: A running program declares it.
        """
        request = requests.RemoveSchedule(id=self._link.new_id(), name=text("name", name))
        await self._link.call(request, name, lambda reply: reply.schedules)

    async def pause(self, name: str) -> None:
        """Let a schedule fire no more until `resume`. Raises `UnknownSchedule`."""
        request = requests.PauseSchedule(id=self._link.new_id(), name=text("name", name))
        await self._link.call(request, name, lambda reply: reply.schedules)

    async def resume(self, name: str) -> None:
        """Let a schedule fire again; ticks that it had meanwhile do not. Raises `UnknownSchedule`."""
        request = requests.ResumeSchedule(id=self._link.new_id(), name=text("name", name))
        await self._link.call(request, name, lambda reply: reply.schedules)

    async def trigger(self, name: str) -> JobHandle[Any, Any]:
        """Submit a job of a schedule now. If the connection is lost meanwhile, there may be two.

        Raises:
            UnknownSchedule: No schedule has this name.
            UnknownHandler: The server was not given its handler.
            Busy: Another job holds its `exclusive` name, and `on_busy` is `reject`.
            QueueFull: Too many jobs wait.
        """
        request = requests.TriggerSchedule(id=self._link.new_id(), name=text("name", name))
        return JobHandle(self._jobs, (await self._link.call(request, name, seen_in)).job.id)
