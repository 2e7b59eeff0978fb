"""Counters and times of the attempts of a process, for Prometheus; needs the extra `prometheus`."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from string import hexdigits
from typing import Any, Final

import attrs
import trio

from .._common.errors import UnknownJob
from .._common.states import Reason
from .._common.validate import whole
from .._model.job import Ended, Kind, Options
from .._registry.registry import JobRegistry
from .._running.context import JobContext
from .._running.counts import Counts, counts_of, options_of, waited
from .gauges import exposition as gauges

try:
    from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
except ModuleNotFoundError as error:
    raise ImportError(
        f"metrics need the extra 'prometheus': pip install 'trio-jobs[prometheus]' ({error})"
    ) from error

__all__ = ["Metrics"]
OTHERS: Final = "(others)"
"""The label of handlers beyond the bound; no function has this name."""
SECONDS: Final = (0.005, 0.02, 0.1, 0.5, 1, 5, 20, 60, 300, 1800, 7200)
"""The bounds of the histograms: from a token of a model to a render."""
DELAYS: Final = (0.001, 0.005, 0.02, 0.1, 0.5, 1, 5, 20)
_PAUSE: Final = 0.25
SAMPLED: Final = 200
"""Of how many jobs at most the wait is looked up at once."""
_NOTHING: Final = Counts(0, 0)
_ID: Final = 32
"""How long the ids of jobs are."""


@attrs.define
class _Run:
    """An attempt that runs: since when, and what of it is counted already."""

    began: float
    counted: Counts = _NOTHING


class Metrics:
    """Counts and measures the attempts that run in this process.

    Give `on_event` to `open_registry`, `exposition` to a server as `metrics=`, and start `measure_loop` in a
    nursery; give `on_block` to `watch_loop`, if there is one. Label sets are bounded: states and reasons are
    those of the library, and there are at most `handlers` names of handlers.

    Args:
        handlers: How many names of handlers become labels; those of more are counted as `(others)`.

    Raises:
        TypeError: `handlers` is no whole number.
        ValueError: It is below 1.
    """

    def __init__(self, *, handlers: int = 100) -> None:
        whole("handlers", handlers, 1)
        self._most = handlers
        self._names: set[str] = set()
        self._runs: dict[JobContext[Any], _Run] = {}
        self._begun: deque[tuple[str, str, Options]] = deque(maxlen=SAMPLED)
        own = self._own = CollectorRegistry()

        def counter(name: str, about: str, *more: str) -> Counter:
            return Counter(f"trio_jobs_{name}", about, ["handler", *more], registry=own)

        def times(name: str, about: str) -> Histogram:
            return Histogram(f"trio_jobs_{name}_seconds", about, ["handler"], registry=own, buckets=SECONDS)

        self._started = counter("attempts_started", "Attempts that began here.")
        self._ended = counter("ended", "Jobs whose last attempt ended here.", "state", "reason")
        self._retries = counter("retries", "Attempts here whose job is to run again.", "reason")
        self._lost = counter("leases_lost", "Attempts here whose end the store did not take.")
        self._tokens = counter("tokens", "Tokens that attempts here have sent.")
        self._inputs = counter("inputs", "Inputs that attempts here have received.")
        self._wait = times("queue_wait", "From when a job is due to its first start, of some of those here.")
        self._ran = times("run", "How long attempts ran here.")
        self._first_token = times("first_token", "From the start of an attempt to its first token.")
        self._blocks = counter("loop_blocks", "How often the event loop was blocked.")
        self._blocked = counter("loop_blocked_seconds", "For how long the event loop was blocked.")
        self._delay = Histogram(
            "trio_jobs_loop_delay_seconds", "How late the event loop woke.", registry=own, buckets=DELAYS
        )

    def on_event(self, job: JobContext[Any], kind: Kind, ended: Ended | None) -> None:
        """Count what `open_registry(on_event=…)` is told. No checkpoint."""
        name = self._label(job.handler)
        if kind is Kind.STARTED:
            self._runs[job] = _Run(trio.current_time())
            self._started.labels(name).inc()
            if job.attempt == 1:
                self._begun.append((job.id, name, options_of(job)))
        elif kind is Kind.TOKEN:
            self._first_token.labels(name).observe(trio.current_time() - self._runs[job].began)
        else:
            self._count(job, self._runs[job])
            self._ran.labels(name).observe(trio.current_time() - self._runs.pop(job).began)
            self._end(name, kind, ended)

    def on_block(self, tasks: Iterable[str], seconds: float) -> None:
        """Count what `watch_loop(on_block=…)` is told, in its thread.

        The label is the handler of the innermost task that is a job's, and empty if none is.
        """
        handler = next(
            (name for name, _, job_id in (one.rpartition(" ") for one in tasks) if _is_id(job_id)), ""
        )
        # Its attempt has begun here, so it has its label; only the loop's own thread gives new ones.
        name = handler if handler in self._names or not handler else OTHERS
        self._blocks.labels(name).inc()
        self._blocked.labels(name).inc(seconds)

    async def measure_loop(self) -> None:
        """Measure, four times a second, how late the event loop wakes a task, until cancelled."""
        while True:
            wake = trio.current_time() + _PAUSE
            await trio.sleep_until(wake)
            self._delay.observe(trio.current_time() - wake)

    async def exposition(self, jobs: JobRegistry) -> bytes:
        """Return all of it up to now in Prometheus' text format, with the gauges of a registry. A checkpoint.

        How long jobs waited is looked up for the newest 200 that began since this was called last.

        Args:
            jobs: The registry that was given `on_event`.

        Raises:
            Exception: What `JobRegistry.statistics` raises.
        """
        now = await gauges(jobs)
        await self._measure_waits(jobs)
        for job, run in self._runs.items():
            self._count(job, run)
        return generate_latest(self._own) + now

    async def _measure_waits(self, jobs: JobRegistry) -> None:
        begun = [*self._begun]
        self._begun.clear()
        for job_id, name, options in begun:
            try:
                seconds = waited(options, await (await jobs.get(job_id)).snapshot())
            except UnknownJob:  # it has ended and was removed
                continue
            if seconds is not None:
                self._wait.labels(name).observe(seconds)

    def _count(self, job: JobContext[Any], run: _Run) -> None:
        """Count what an attempt has sent and received since this was called last."""
        now, name = counts_of(job), self._label(job.handler)
        self._tokens.labels(name).inc(now.tokens - run.counted.tokens)
        self._inputs.labels(name).inc(now.inputs - run.counted.inputs)
        run.counted = now

    def _end(self, name: str, kind: Kind, ended: Ended | None) -> None:
        reason = "" if ended is None else str(ended.reason)
        if kind is not Kind.RETRIED:
            self._ended.labels(name, str(kind), reason).inc()
        elif reason == Reason.WORKER_LOST:
            self._lost.labels(name).inc()
        else:
            self._retries.labels(name, reason).inc()

    def _label(self, handler: str) -> str:
        if handler in self._names:
            return handler
        if len(self._names) >= self._most:
            return OTHERS
        self._names.add(handler)
        return handler


def _is_id(text: str) -> bool:
    return len(text) == _ID and set(text) <= set(hexdigits)
