"""The schedules of a server."""

from __future__ import annotations

from typing import Any

from .._common.validate import text
from .._model.schedule import ScheduleStatus
from .._watching.handle import JobHandle
from .._wire import requests
from .jobs import RemoteJobs, seen_in
from .link import Link


class RemoteSchedules:
    """The schedules of a server, for callers who may see all jobs; `RemoteRegistry.schedules` is one."""

    def __init__(self, link: Link, jobs: RemoteJobs) -> None:
        self._link = link
        self._jobs = jobs

    async def find(self) -> list[ScheduleStatus]:
        """Return all schedules, by name."""
        request = requests.ListSchedules(id=self._link.new_id())
        return await self._link.call(request, "", lambda reply: reply.schedules)

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
