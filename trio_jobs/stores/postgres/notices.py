"""Tell other processes what this one has done, and wake tasks for what they did.

What transactions have changed is collected, and told by one NOTIFY for many, on a connection that does not
write. What is told is a hint: who waits for one of these jobs then reads it. If they are too many to tell,
one query finds which of the jobs that are waited for here have changed. As hints can get lost, that is also
looked at in intervals; these are short while none can come.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

import msgspec
import psycopg
import trio

from ..._common.errors import TrioJobsError
from ..signals import Signal
from .answers import Changes
from .looking import LookingCalls
from .statements import quote

_ALONE: Final = 0.2
"""Seconds between two looks at what other processes have written while hints ought to come and do not."""
_REST: Final = 0.01
"""Seconds between two hints on average, and between two looks at least;"""
_RESTS: Final = 3
"""and between two looks so many times what one takes."""
_AT_ONCE: Final = 3
"""Hints that may follow each other after a pause: a job is submitted, starts and ends within one rest."""
_QUIET: Final = 4.0
"""Seconds without a hint after which one is sent, to find out whether any come."""
_SILENT: Final = 10.0
"""Seconds without a hint after which none come any more."""
_AGAIN: Final = 1.0
"""Seconds between two connections."""
_FOLD: Final = 0.1
"""Seconds between two times that the counters are added up."""
_IDS: Final = 100
_BYTES: Final = 7000  # a server takes 8000
_FAILED: Final = (OSError, ValueError, RuntimeError, psycopg.Error, TrioJobsError, trio.ClosedResourceError)


class Notice(msgspec.Struct, omit_defaults=True):
    """What a process has done since its last notice.

    Attributes:
        by: The process.
        jobs: The jobs whose logs have grown, with whether each has ended; None if they are too many.
        heard: The jobs that got inputs, with the newest cursor of these; None for a removed job.
        work: Whether there may be work to claim.
        asked: Whether a cancellation was requested, or a grace shortened.
        alarm: When a lease may lapse, or a job expire.
    """

    by: str
    jobs: dict[str, bool] | None = msgspec.field(default_factory=dict[str, bool])
    heard: dict[str, int | None] = msgspec.field(default_factory=dict[str, "int | None"])
    work: bool = False
    asked: bool = False
    alarm: float | None = None

    def add(self, changes: Changes | None) -> None:
        """Add what a transaction changed; None if that is not known."""
        if changes is None or self.jobs is None or len(self.jobs) > _IDS:
            self.jobs = None  # others look at all there is
            return
        self.jobs = {**dict.fromkeys(changes.grown, False), **self.jobs, **dict.fromkeys(changes.ended, True)}
        for job_id, seq in changes.heard.items():
            self.heard[job_id] = None if seq == math.inf else int(seq)
        self.work |= changes.handed_on
        self.asked |= changes.asked
        if changes.alarm < math.inf:
            self.alarm = min(changes.alarm, math.inf if self.alarm is None else self.alarm)

    def encoded(self) -> str:
        """Return it as a text that a notification can hold."""
        if self.jobs is not None and len(self.jobs) + len(self.heard) <= _IDS:
            text = msgspec.json.encode(self)
            if len(text) <= _BYTES:
                return text.decode()
        return msgspec.json.encode(Notice(self.by, None)).decode()


class NoticeCalls(LookingCalls):
    """Announces what the calls of this process changed, and looks at what others did."""

    _listens = False
    _heard_at = -math.inf

    def tasks(self) -> list[Callable[[], Awaitable[None]]]:
        """Return the tasks that serve the store while it is open."""
        self._me = f"{self._process}-{id(self):x}"
        self._outgoing = Notice(self._me)
        self._told, self._looks = Signal(), Signal()
        own: list[Callable[[], Awaitable[None]]] = [self._announce, self._fold, self._look]
        return [*super().tasks(), *own, *([self._listen] if self._database.listens else [])]

    def _changed(self, changes: Changes | None) -> None:
        super()._changed(changes)
        if changes == Changes():
            return
        self._outgoing.add(changes)
        self._told.ring()

    async def _announce(self) -> None:
        """Tell others what has changed, and sometimes that nothing has."""
        told, rested = 0, -math.inf
        while True:
            with trio.move_on_after(_QUIET) as waited:
                await self._told.wait_past(told)
            told = self._told.count
            heard = trio.current_time() < self._heard_at + _QUIET
            if waited.cancelled_caught and (heard or not self._listens):
                continue
            notice, self._outgoing = self._outgoing, Notice(self._me)
            with suppress(*_FAILED):  # then they see it when they look
                await self._read("notify", self._database.schema, notice.encoded())
            rested = max(rested, trio.current_time() - _AT_ONCE * _REST) + _REST
            await trio.sleep_until(rested)

    async def _fold(self) -> None:
        """Add up the counters after what this process has changed."""
        told = 0
        while True:
            await self._told.wait_past(told)
            await trio.sleep(_FOLD)
            told = self._told.count
            with suppress(*_FAILED):  # a sweep does it, too
                await self._read("fold_news")

    # ------------------------------------------------------------ what others do

    async def _listen(self) -> None:
        """Take in the hints of other processes, on a connection of its own, until cancelled."""
        while True:
            with suppress(*_FAILED):
                connection = await self._database.connect()
                try:
                    await connection.script(f"LISTEN {quote(self._database.schema)}")
                    self._listens = True
                    self._looks.ring()  # what happened before was not told
                    with trio.move_on_after(_SILENT) as quiet:
                        while True:
                            texts = await connection.listen()
                            self._heard_at = trio.current_time()
                            quiet.deadline = self._heard_at + _SILENT
                            for text in texts:
                                self._take(text)
                finally:
                    self._listens = False
                    connection.close()
            await trio.sleep(_AGAIN)

    def _take(self, text: str) -> None:
        """Wake the tasks that wait for what another process tells."""
        try:
            notice = msgspec.json.decode(text, type=Notice)
        except msgspec.MsgspecError:  # of another version, or another program
            notice = Notice("", None)
        if notice.by == self._me:
            return
        if notice.jobs is None:
            self._looks.ring()
            return
        ended = dict.fromkeys(job_id for job_id, over in notice.jobs.items() if over)
        heard = {job_id: math.inf if seq is None else seq for job_id, seq in notice.heard.items()}
        self._signals.on_changes(
            Changes(grown=[*notice.jobs], ended=ended, heard=heard, asked=notice.asked, handed_on=notice.work)
        )
        if notice.alarm is not None:
            self._signals.alarm.ring(notice.alarm)

    async def _look(self) -> None:
        """Look at all that other processes have done, when a hint says so, and in intervals."""
        rung = 0
        while True:
            broken = self._database.listens and not self._listens
            with trio.move_on_after(min(self._poll, _ALONE) if broken else self._poll):
                await self._looks.wait_past(rung)
            rung = self._looks.count
            began = trio.current_time()
            watched = self._signals.watched()
            try:
                news = await self._news(watched) if watched else {}
            except _FAILED:  # each task meets it when it reads
                self._signals.ring_all()
            else:
                self._signals.on_news(news)
            await trio.sleep(max(_REST, _RESTS * (trio.current_time() - began)))
