"""The metrics, parsed as Prometheus parses them."""

from __future__ import annotations

import re

import attrs

from trio_jobs import State, open_registry
from trio_jobs._registry.gauges import Gauges
from trio_jobs.telemetry.gauges import exposition, text_of

SAMPLE = re.compile(r'([a-z_]+)(?:\{state="([a-z]+)"\})? (\S+)')


def samples(text: str) -> dict[tuple[str, str | None], float]:
    """Return the samples; every other line must be a comment about the metric below it."""
    found: dict[tuple[str, str | None], float] = {}
    declared: set[str] = set()
    for line in text.removesuffix("\n").split("\n"):
        if line.startswith("# HELP "):
            name = line.split(" ")[2]
            assert name not in declared, "a metric has one HELP"
            declared.add(name)
        elif line.startswith("# TYPE "):
            assert line.split(" ")[2] in declared
            assert line.split(" ")[3] == "gauge"
        else:
            match = SAMPLE.fullmatch(line)
            assert match, line
            assert match[1] in declared
            found[match[1], match[2]] = float(match[3])
    return found


async def test_all_statistics_are_exposed() -> None:
    """Each figure is one sample, and so is each state, also one without jobs."""
    async with open_registry() as jobs:
        statistics = attrs.evolve(
            await jobs.statistics(),
            states={State.QUEUED: 3, State.COMPLETED: 7},
            running=2,
            capacity=5,
            paused=True,
            readers=4,
            all_paused=True,
            paused_handlers=("a", "b"),
        )
    found = samples(text_of(Gauges(statistics, lag=6, oldest_due=7.5, late=0.5)))
    states = {state: found.pop(("trio_jobs_jobs", str(state))) for state in State}
    assert states == {**dict.fromkeys(State, 0), State.QUEUED: 3, State.COMPLETED: 7}
    assert found == {
        ("trio_jobs_running", None): 2,
        ("trio_jobs_capacity", None): 5,
        ("trio_jobs_paused", None): 1,
        ("trio_jobs_readers", None): 4,
        ("trio_jobs_all_paused", None): 1,
        ("trio_jobs_paused_handlers", None): 2,
        ("trio_jobs_reader_lag_events", None): 6,
        ("trio_jobs_oldest_due_seconds", None): 7.5,
        ("trio_jobs_schedule_late_seconds", None): 0.5,
    }


async def test_the_text_ends_with_a_line_end() -> None:
    """The last line has an end, without which Prometheus refuses the text."""
    async with open_registry() as jobs:
        text = (await exposition(jobs)).decode()
    assert text.endswith("\n")
    assert "\n\n" not in text
