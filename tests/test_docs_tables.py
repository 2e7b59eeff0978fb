"""The tables and files of the documentation say what the code says: of reasons, limits, errors, commands."""

from __future__ import annotations

import inspect
import json
import re
import shlex
from contextlib import suppress
from pathlib import Path
from typing import Any

import attrs
import pytest
from cyclopts import MissingArgumentError

import trio_jobs
from trio_jobs import JobHandle, JobRegistry, Priority, Reason, Retention, State, SubmitOptions
from trio_jobs.cli.app import program
from trio_jobs.serving import Limits
from trio_jobs.stores import PENALTY
from trio_jobs.stores.memory import MemoryStore
from trio_jobs.stores.sqlite import open_sqlite

DOCS = Path(__file__).parents[1] / "docs"
UNITS = {"": 1, "ms": 0.001, "s": 1, "KiB": 2**10, "MiB": 2**20}


def rows(page: str, head: str) -> dict[str, list[str]]:
    """Return the rows below a table's head: the first cell, without backticks, and the others."""
    text = (DOCS / page).read_text(encoding="utf-8")
    table = text.partition(f"\n| {head} |")[2].partition("\n\n")[0]
    cells = [
        [cell.strip() for cell in line.removeprefix("| ").removesuffix("|").split(" |")]
        for line in table.splitlines()[2:]
    ]
    assert cells, f"{page} has no table {head!r}"
    return {first.replace("`", ""): others for first, *others in cells}


def amounts(cell: str) -> list[float]:
    """Return the numbers in a cell, in seconds and bytes where a unit follows."""
    found = re.findall(r"(\d+(?:,\d{3})*)(?: (ms|s|KiB|MiB)\b)?", cell)
    return [int(number.replace(",", "")) * UNITS[unit] for number, unit in found]


def defaults(kind: type[Any]) -> dict[str, float]:
    """Return the defaults of an attrs class."""
    return {field.name: field.default for field in attrs.fields(kind)}


def test_the_reasons_are_those_of_the_code() -> None:
    """The lifecycle has a row for exactly each reason, and each leads to states that a job can get into."""
    told = rows("lifecycle.md", "reason | state it leads to")
    assert set(told) == set(Reason)
    words = {word for cells in told.values() for word in re.findall(r"[A-Z]{3,}", cells[0])}
    assert words == {"FAILED", "RETRYING", "CANCELLED"}
    assert {reason for reason, cells in told.items() if not re.match("[A-Z]{3,}", cells[0])} == set()


def test_the_states_are_those_of_the_code() -> None:
    """The lifecycle has a row for exactly each state."""
    assert list(rows("lifecycle.md", "state")) == [state.name for state in State]


def test_the_priorities_are_those_of_the_code() -> None:
    """The page on priorities has a row for each, with the seconds by which jobs of it stand back."""
    told = rows("howto/priorities-and-queues.md", "priority")
    assert {name.removesuffix(" (default)"): int(cells[0]) for name, cells in told.items()} == {
        f'"{one.name.lower()}", Priority.{one.name}': PENALTY[one] for one in Priority
    }


@pytest.mark.parametrize(
    ("page", "head"),
    [("security.md", "limit | default"), ("deployment.md", "what | limit"), ("howto/serving.md", "`Limits`")],
)
def test_the_limits_are_those_of_the_code(page: str, head: str) -> None:
    """Each row that names fields of `Retention` or `Limits` has their defaults, in the same order."""
    known = {
        f"{kind.__name__}.{name}": value
        for kind in (Retention, Limits)
        for name, value in defaults(kind).items()
    }
    checked = set()
    for first, (limit, *others) in rows(page, head).items():
        names = re.findall(r"(?:Retention|Limits)\.\w+", others[-1])
        if head == "`Limits`":
            names = [f"Limits.{name}" for name in first.split(", ")]
        if names:
            assert amounts(limit)[: len(names)] == [known[name] for name in names], first
        checked |= set(names)
    assert checked if head != "`Limits`" else checked == {f"Limits.{name}" for name in defaults(Limits)}


def test_the_bounds_of_the_queue_are_those_of_the_code() -> None:
    """How many jobs run and wait by default is what two pages say, in memory and in a file."""
    told = rows("security.md", "limit | default")
    memory, file = inspect.signature(MemoryStore), inspect.signature(open_sqlite)
    opened = inspect.signature(trio_jobs.open_registry)
    assert amounts(told["jobs that wait"][0]) == [memory.parameters["queue_limit"].default]
    assert amounts(told["attempts at once"][0]) == [opened.parameters["capacity"].default]
    assert file.parameters["queue_limit"].default == 1_000_000
    assert rows("deployment.md", "what | limit")["jobs that wait"][0] == "a million in a file"


def test_each_error_has_its_place() -> None:
    """The reference of errors, and that of handlers, has each exception of the package, and no other."""
    named = [
        name
        for page in ("errors", "handlers")
        for name in re.findall(
            r"autoexception:: trio_jobs\.(\w+)", (DOCS / f"reference/{page}.md").read_text()
        )
    ]
    public = {name: getattr(trio_jobs, name) for name in trio_jobs.__all__}
    errors = [name for name, kind in public.items() if isinstance(kind, type) and issubclass(kind, Exception)]
    assert sorted(named) == sorted(errors)


SERVICES = sorted((DOCS / "deploy").glob("*.service"))


def commands(file: Path) -> list[list[str]]:
    """Return the `trio-jobs` commands that a systemd unit or a container file starts, without the program."""
    text = file.read_text(encoding="utf-8").replace("\\\n", " ")
    if file.name == "Dockerfile":
        found = [json.loads(line) for line in re.findall(r"^CMD (.*)", text, re.MULTILINE)]
    else:
        found = [shlex.split(line) for line in re.findall(r"^ExecStart=(.*)", text, re.MULTILINE)]
    return [words[1:] for words in found if words[0].endswith("trio-jobs")]


@pytest.mark.parametrize("file", [*SERVICES, DOCS / "deploy" / "Dockerfile"], ids=lambda file: file.name)
def test_the_commands_of_a_file_are_commands(file: Path) -> None:
    """The program's own parser takes what a file of the handbook starts, with each of its options."""
    assert commands(file)
    for words in commands(file):
        program().parse_args(words, print_error=False, exit_on_error=False)


def test_the_commands_of_the_pages_are_commands() -> None:
    """Each `trio-jobs` command of a page is one with these options, though an argument may be left out."""
    parse, count = program().parse_args, 0
    for page in DOCS.rglob("*.md"):
        text = page.read_text(encoding="utf-8")
        for shown in re.findall(r"(?:^\$ (?:\S*/)?|`)trio-jobs ([^`\n…]+)(?:`|$)", text, re.MULTILINE):
            words = shlex.split(shown, comments=True)
            words = words[: words.index("|")] if "|" in words else words
            with suppress(MissingArgumentError):
                parse(words, print_error=False, exit_on_error=False)
            count += 1
    assert count > 80


def test_each_alert_has_a_line_in_the_runbook() -> None:
    """The handbook says for exactly each alert rule what to do."""
    rules = re.findall(r"- alert: (\w+)", (DOCS / "alerts.yml").read_text(encoding="utf-8"))
    assert list(rows("deployment.md", "alert | look at")) == rules


def parameters(name: str) -> set[str] | None:
    """Return the names of the parameters of what is public under a name, or None if nothing is."""
    for place in (trio_jobs, JobRegistry, JobHandle):
        if (found := getattr(place, name, None)) is not None:
            names = set(inspect.signature(found).parameters)
            return names | SubmitOptions.__annotations__.keys() if "options" in names else names
    return None


def test_what_others_are_mapped_to_is_there() -> None:
    """Each call in the last column of a table for who comes from elsewhere is one, with these options."""
    text = (DOCS / "coming-from.md").read_text(encoding="utf-8")
    cells = re.findall(r"^\|.*\| (.*) \|$", text, re.MULTILINE)
    calls = [
        call for cell in cells for call in re.findall(r"(\w+)\(([^()`]*)\)", re.sub(r"\]\([^)]*\)", "", cell))
    ]
    wrong = [
        f"{name}({given})"
        for name, given in calls
        if (known := parameters(name)) is None or not known >= set(re.findall(r"(\w+)=", given))
    ]
    assert len(calls) > 30
    assert wrong == []
