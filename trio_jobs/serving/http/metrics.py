"""A registry's statistics in Prometheus' text format (https://prometheus.io/docs/instrumenting/exposition_formats/)."""

from __future__ import annotations

from ..._common.states import State
from ..._model.job import Statistics


def exposition(statistics: Statistics) -> str:
    """Return the metrics."""
    lines = [
        "# HELP trio_jobs_jobs Jobs in each state.",
        "# TYPE trio_jobs_jobs gauge",
        *(f'trio_jobs_jobs{{state="{state}"}} {statistics.states.get(state, 0)}' for state in State),
    ]
    for name, help_, value in (
        ("running", "Attempts that run in this process.", statistics.running),
        ("capacity", "Attempts that may run in this process.", statistics.capacity),
        ("paused", "Whether claiming is paused in this process.", int(statistics.paused)),
        ("all_paused", "Whether all handlers are paused in the store.", int(statistics.all_paused)),
        ("paused_handlers", "Handlers that are paused in the store.", len(statistics.paused_handlers)),
        ("readers", "Readers in this process.", statistics.readers),
    ):
        lines += [
            f"# HELP trio_jobs_{name} {help_}",
            f"# TYPE trio_jobs_{name} gauge",
            f"trio_jobs_{name} {value}",
        ]
    return "\n".join([*lines, ""])
