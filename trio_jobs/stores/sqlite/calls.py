"""Hand calls to the connections of a file, mend what is in their way, and see what other processes write.

The system reports that another process has written, or the version of the file's data shows it, which takes
microseconds to read. One query then finds which of the jobs that are waited for here have changed.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import trio

from ..._common.errors import StoreCorrupt, StoreUnavailable, TrioJobsError
from . import care, looking
from .clock import Clock, FileClock
from .files import check_there, damaged, identity
from .group import Group, Transaction
from .notices import Notices
from .repair import DAMAGE, is_damage
from .signals import FileSignals

T = TypeVar("T")
logger = logging.getLogger("trio_jobs")
POLL: Final = 0.05
"""Seconds between two looks at what other processes have written, by default."""
REST: Final = 0.002
"""Seconds from the end of one such look to the next one, at least;"""
_RESTS: Final = 3
"""and this many times as long as the look took, at least."""
_STILL: Final = 3.0
"""A look that is this many seconds late means that this process stood still, or the machine slept."""


_TRIES: Final = 3
"""How often a call is tried when damaged rows are in its way."""


class FileCalls:
    """Calls the connections of a file.

    Args:
        path: The file.
        writer: The connection that writes.
        reader: The connection for reads that tasks wait for.
        now: The file's clock.
    """

    def __init__(self, path: Path, writer: Group, reader: Group, *, now: Clock) -> None:
        self._path = path
        self._writer = writer
        self._reader = reader
        self._now = now
        self._signals = FileSignals()
        self._process = os.getpid()
        self._identity = identity(path)
        self._closed = False
        self._fault: StoreCorrupt | None = None

    async def _write(
        self,
        work: Callable[[Transaction], T],
        mend: Callable[[Transaction, Exception], bool] = care.mend_counters,
        tries: int = _TRIES,
    ) -> T:
        """Do something in a transaction that writes.

        Args:
            work: The function to call.
            mend: Mends or fails the damaged jobs in its way, and returns whether there was any damage.
            tries: How often `mend` is called.
        """
        self._check()
        try:
            result, tx = await self._writer.call(work)
        except DAMAGE as error:
            if not is_damage(error):
                raise
            damage = error
        else:
            self._signals.on_transaction(tx)
            return result
        finally:
            if self._writer.in_doubt:  # what was written is unknown, and nothing will announce it
                self._writer.in_doubt = False
                self._signals.ring_all()
        if tries and await self._write(lambda tx: mend(tx, damage), tries=0):
            return await self._write(work, mend, tries - 1)
        raise damage if isinstance(damage, care.AMBIGUOUS) else damaged(self._path, damage) from damage

    async def _write_to(self, job_id: str, work: Callable[..., T], *args: Any, **named: Any) -> T:
        """Do something to one job in a transaction that writes; a job whose damaged row prevents it fails."""
        return await self._write(lambda tx: work(tx, job_id, *args, **named), partial(care.mend_one, job_id))

    async def _read(self, work: Callable[..., T], *args: Any, by: Group | None = None) -> T:
        """Read something by the connection for reads, or by another one."""
        self._check()
        try:
            result, _ = await (by or self._reader).call(lambda tx: work(tx, *args))
        except DAMAGE as error:
            if not is_damage(error):
                raise
            raise damaged(self._path, error) from error
        return result

    def _check(self) -> None:
        if os.getpid() != self._process:
            raise RuntimeError(
                f"{self._path} was opened before this process was forked off; open it again in the child"
            )
        if self._fault is not None:
            raise self._fault

    def _check_open(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError("the registry was left before the job had ended")

    async def poll(self, seconds: float, clock: FileClock, notices: Notices, version: int) -> None:
        """Wake tasks that wait for what others write: look at notices and at intervals until cancelled."""
        looked, rested = clock(), -math.inf
        while True:
            noticed = await notices.wait(seconds)
            if noticed and rested > trio.current_time():  # a timeout needs no rest
                await trio.sleep_until(rested)
                notices.clear()
            began = trio.current_time()
            try:
                check_there(self._path, self._identity)
            except StoreCorrupt as fault:
                self._fault = fault
                self._signals.ring_all()
                return
            if (when := clock()) - looked > seconds + _STILL:  # other workers may have stood still, too
                self._writer.outages.add(looked, when)
            if clock.is_off():
                with suppress(StoreUnavailable):
                    await self._write(lambda tx: clock.set_right(tx.db))
                    self._signals.ring_all()
            looked = clock()
            found = await self._writer.version(version)
            if found != version:
                version, noticed = found, True
                await self._look_for_news()
            if noticed:
                now = trio.current_time()
                rested = now + max(REST, _RESTS * (now - began))

    async def _look_for_news(self) -> None:
        """Read in one query which watched jobs other processes have changed, and wake their tasks."""
        asked = self._signals.watched()
        try:
            news = await self._read(looking.news, asked) if asked else {}
        except (TrioJobsError, trio.ClosedResourceError):  # each task meets it when it reads
            self._signals.ring_all()
        else:
            self._signals.on_news(news)
