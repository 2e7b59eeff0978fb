"""End a worker by force, from a thread: a handler that does not stop may hold up the event loop too."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from types import FrameType
from typing import Final

import trio

from .escape import one_line
from .faults import BY_SIGNAL
from .signals import SIGNALS

MARGIN: Final = 1.5
"""Seconds that a worker may take beyond its grace, for its last calls to the store."""

_BLOCK_LEFT: Final = 0
_TWICE: Final = 1.0  # seconds: some programs pass on a signal that the terminal has sent already


class Watchdog:
    """Sets `stopping` at a signal, and ends the process if the block is not left in time.

    Another signal, a second or more after the first, ends it at once.

    Args:
        grace: Seconds that handlers have to end by themselves.
        left: Returns the handlers of the jobs that run, by job id.

    Attributes:
        signal: The signal that came first.
        stopping: Set when that signal came.
    """

    def __init__(self, grace: float, left: Callable[[], Mapping[str, str]]) -> None:
        self.signal: int | None = None
        self.stopping = trio.Event()
        self._grace = grace
        self._left = left
        self._token = trio.lowlevel.current_trio_token()
        self._signals: SimpleQueue[int] = SimpleQueue()  # may be put to from a signal handler at any point

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        self._signals.put(number)
        if self.signal is None:
            self.signal = number
            try:
                self._token.run_sync_soon(self.stopping.set)
            except trio.RunFinishedError:
                return

    @contextmanager
    def on_guard(self) -> Generator[None]:
        """Watch over a block."""
        before = {number: signal.signal(number, self._on_signal) for number in SIGNALS}
        thread = threading.Thread(target=self._watch, name="trio_jobs watchdog", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._signals.put(_BLOCK_LEFT)
            thread.join()
            for number, handler in before.items():
                signal.signal(number, handler)

    def _watch(self) -> None:
        first = self._signals.get()
        if first == _BLOCK_LEFT:
            return
        began = time.monotonic()
        ends = began + self._grace + MARGIN
        while (left := ends - time.monotonic()) > 0:
            try:
                found = self._signals.get(timeout=left)
            except Empty:
                break
            if found == _BLOCK_LEFT:
                return
            if time.monotonic() - began > _TWICE:
                self._force(BY_SIGNAL + first, "still ran at a second signal")
        self._force(BY_SIGNAL + first, f"did not stop within {self._grace:g}s")

    def _force(self, status: int, why: str) -> None:
        left = self._left()
        texts = [f"job {job_id} ({handler}) {why}; its lease will lapse" for job_id, handler in left.items()]
        try:
            for text in texts or [f"the worker {why}"]:
                data = one_line(f"trio-jobs: {text}; ended by force").encode("utf-8", "backslashreplace")
                os.write(2, data + b"\n")
        finally:
            os._exit(status)
