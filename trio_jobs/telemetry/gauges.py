"""Gauges in Prometheus' text format (https://prometheus.io/docs/instrumenting/exposition_formats/)."""

from __future__ import annotations

from .._common.states import State
from .._registry.gauges import Gauges, gauges_of
from .._registry.registry import JobRegistry


async def exposition(jobs: JobRegistry) -> bytes:
    """Return the gauges of a registry; a checkpoint. Raises what `JobRegistry.statistics` raises."""
    return text_of(await gauges_of(jobs)).encode()


def text_of(gauges: Gauges) -> str:
    """Return gauges as text."""
    now = gauges.statistics
    lines = [
        "# HELP trio_jobs_jobs Jobs in each state.",
        "# TYPE trio_jobs_jobs gauge",
        *(f'trio_jobs_jobs{{state="{state}"}} {now.states.get(state, 0)}' for state in State),
    ]
    for name, help_, value in (
        ("running", "Attempts that run in this process.", now.running),
        ("capacity", "Attempts that may run in this process.", now.capacity),
        ("paused", "Whether claiming is paused in this process.", int(now.paused)),
        ("all_paused", "Whether all handlers are paused in the store.", int(now.all_paused)),
        ("paused_handlers", "Handlers that are paused in the store.", len(now.paused_handlers)),
        ("readers", "Readers in this process.", now.readers),
        ("reader_lag_events", "Events that the slowest reader of an attempt here is behind.", gauges.lag),
        ("oldest_due_seconds", "For how long the job that is due longest has been due.", gauges.oldest_due),
        ("schedule_late_seconds", "For how long a tick has been due and has not fired.", gauges.late),
    ):
        lines += [
            f"# HELP trio_jobs_{name} {help_}",
            f"# TYPE trio_jobs_{name} gauge",
            f"trio_jobs_{name} {value}",
        ]
    return "\n".join([*lines, ""])
