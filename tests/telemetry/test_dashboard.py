"""The dashboard, the alert rules and the page about metrics speak of those that there are, and of all."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from trio_jobs import AwaitInput, JobContext, open_registry
from trio_jobs.telemetry.prometheus import Metrics

DOCS = Path(__file__).parents[2] / "docs"
NAME = re.compile(r"\btrio_jobs_[a-z_]+\b")
MATCHED = re.compile(r"\b(trio_jobs_[a-z_]+)\{([^}]*)\}")
LABEL = re.compile(r'([a-z]+)(?:=~|=)"([^"]*)"')
GROUPED = re.compile(r"\bby \(([^)]*)\)")
FROM_PROMETHEUS = {"instance"}
Known = dict[str, dict[str, set[str]]]


async def works(job: JobContext[str], end: str) -> None:
    """End in some way, so that each metric has a sample."""
    await job.send("a token")
    if end == "wait" and job.attempt == 1:
        raise AwaitInput(timeout=0)
    if end != "complete":
        raise ValueError(end)


@pytest.fixture
async def known() -> Known:
    """Each sample that there is, with its labels and their values."""
    metrics = Metrics()
    async with open_registry(on_event=metrics.on_event) as jobs:
        for end in ("complete", "wait", "fail"):
            await (await jobs.submit(works, end)).wait()
        text = (await metrics.exposition(jobs)).decode()
    found: Known = {}
    for family in text_string_to_metric_families(text):
        if not family.samples:  # a counter that nothing was counted with
            found[f"{family.name}_total"] = {"handler": set()}
        for sample in family.samples:
            if not sample.name.endswith("_created"):
                labels = found.setdefault(sample.name, {})
                for label, value in sample.labels.items():
                    labels.setdefault(label, set()).add(value)
    return found


def expressions() -> dict[str, str]:
    """The expressions of the dashboard by panel, and the text of the rules."""
    board = json.loads((DOCS / "grafana.json").read_text(encoding="utf-8"))
    queries = {
        f"{panel['title']} {target['refId']}": target["expr"]
        for panel in board["panels"]
        for target in panel["targets"]
    }
    assert queries
    return {**queries, "alerts.yml": (DOCS / "alerts.yml").read_text(encoding="utf-8")}


async def test_no_other_metric_is_named(known: Known) -> None:
    """Each name in the dashboard, in the rules and on the page is that of a metric."""
    texts = {**expressions(), "metrics.md": (DOCS / "howto" / "metrics.md").read_text(encoding="utf-8")}
    families = {re.sub("_(bucket|sum|count)$", "", name) for name in known}
    names = {(where, name) for where, text in texts.items() for name in NAME.findall(text)}
    assert {pair for pair in names if pair[1] not in known.keys() | families} == set()


async def test_labels_and_their_values_are_real(known: Known) -> None:
    """What an expression selects or groups by is a label of its metric; a bound of a bucket is one."""
    for where, text in expressions().items():
        assert text.count("(") == text.count(")"), where
        for name, matchers in MATCHED.findall(text):
            for label, value in LABEL.findall(matchers):
                assert label in known[name], (where, name, label)
                if label in {"state", "le"}:
                    values = set(value.split("|"))
                    assert values <= known[name][label], (where, name, value)
        labels = {label for name in NAME.findall(text) for label in known.get(name, {})} | FROM_PROMETHEUS
        for group in GROUPED.findall(text):
            assert {label.strip() for label in group.split(",")} <= labels, (where, group)


async def test_each_metric_is_shown_and_described(known: Known) -> None:
    """There is a panel and a row of a table for each metric."""
    families = {re.sub("_(bucket|sum|count)$", "", name) for name in known}
    shown = " ".join(expressions().values())
    described = (DOCS / "howto" / "metrics.md").read_text(encoding="utf-8")
    assert {name for name in families if not re.search(rf"\b{name}(_bucket)?\b", shown)} == set()
    assert {name for name in families if f"| `{name}` |" not in described} == set()
