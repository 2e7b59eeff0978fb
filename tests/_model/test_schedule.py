"""The record of a schedule: what it refuses, and what it fills in."""

from __future__ import annotations

import math
import subprocess
import sys
from datetime import UTC, datetime
from typing import Any, get_type_hints

import attrs
import pytest

import trio_jobs
from trio_jobs import Debounce, JobContext, Schedule, handler


async def work(job: JobContext[str], *args: object) -> None:
    """Take anything."""


@handler(name="report")
async def report(job: JobContext[str], name: str) -> None:
    """Take one argument."""


def test_a_schedule_has_the_name_of_its_handler() -> None:
    """The name is that of the handler's mark, unless another one is given."""
    assert Schedule(report, ("daily",), every=60).name == "report"
    assert Schedule(report, ("daily",), every=60, name="mine").name == "mine"


def test_the_types_of_a_status_can_be_read() -> None:
    """What reads the types of fields, as a decoder does, finds them also under the class's public name."""
    assert get_type_hints(trio_jobs.ScheduleStatus)["last_tick"] is datetime


def test_a_schedule_cannot_be_changed() -> None:
    """The record is frozen, and equal to one that says the same."""
    one = Schedule(work, cron="0 7 * * 1-5", timezone="Europe/Berlin")
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        one.late = 5.0  # type: ignore[misc]
    assert one == Schedule(work, cron="0 7 * * 1-5", timezone="Europe/Berlin")


@pytest.mark.parametrize("cron", ["0 0 30 2 *", "0 0 31 2,4,6 *", "* * */20 * 1L", "30 2-3/2 * 3 7L"])
def test_a_rule_that_never_fires_is_refused(cron: str) -> None:
    """A rule that no day fits, or only times that the clocks skip, is refused, and the error shows it."""
    with pytest.raises(ValueError, match="never fires") as caught:
        Schedule(work, cron=cron, timezone="Europe/Berlin")
    assert repr(cron) in str(caught.value)


@pytest.mark.parametrize("cron", ["30 2-3/2 * 3 7L", "0 0 29 2 *", "0 0 29 2 MON#5"])
def test_a_rule_that_fires_rarely_is_taken(cron: str) -> None:
    """A rule that fires some day is taken, however rare the day is."""
    Schedule(work, cron=cron)


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        ({}, ValueError, "got neither"),
        ({"cron": "* * * * *", "every": 5}, ValueError, "got both"),
        ({"cron": "@daily"}, ValueError, "takes five fields: .* got 1 in '@daily'"),
        ({"cron": "0 0 7 * * *"}, ValueError, "got 6 in"),
        ({"cron": ""}, ValueError, "got 0 in ''"),
        ({"cron": "60 * * * *"}, ValueError, "Bad minute in '60"),
        ({"cron": "a b c d e"}, ValueError, "Bad minute"),
        ({"cron": f"{'9' * 5000} * * * *"}, ValueError, "cron is wrong"),
        ({"cron": 5}, TypeError, "cron takes a str such as '0 7 . . 1-5'; got 5"),
        ({"cron": "* * * * *", "timezone": "Europe/Berlim"}, ValueError, "^there is no time zone 'Europe/B"),
        ({"cron": "* * * * *", "timezone": "Europe"}, ValueError, "^there is no time zone"),
        ({"cron": "* * * * *", "timezone": ""}, ValueError, "^there is no time zone"),
        ({"cron": "* * * * *", "timezone": "../../etc/passwd"}, ValueError, "^there is no time zone"),
        ({"cron": "* * * * *", "timezone": "a\0b"}, ValueError, "^there is no time zone"),
        ({"cron": "* * * * *", "timezone": UTC}, TypeError, "timezone takes a str such as 'Europe/Berlin'"),
        ({"every": 0.99}, ValueError, "every must be at least 1; got 0.99"),
        ({"every": math.inf}, ValueError, "every must be finite"),
        ({"every": math.nan}, ValueError, "every must be at least 1"),
        ({"every": "5"}, TypeError, "every takes a number"),
        ({"every": True}, TypeError, "every takes a number"),
        ({"every": 5, "timezone": "UTC"}, ValueError, "every takes no timezone"),
        ({"every": 5, "missed": "all"}, ValueError, "missed must be one of 'skip', 'latest'; got 'all'"),
        ({"every": 5, "late": 0.5}, ValueError, "late must be at least 1"),
        ({"every": 5, "late": math.inf}, ValueError, "late must be finite"),
        ({"every": 5, "jitter": -1}, ValueError, "jitter must be at least 0"),
        ({"every": 5, "jitter": math.inf}, ValueError, "jitter must be finite"),
        ({"every": 5, "name": 5}, TypeError, "name takes a str"),
        ({"every": 5, "name": "a" * 201}, ValueError, "has at most 200 characters; got 201"),
        ({"every": 5, "args": [1]}, TypeError, "args takes a tuple"),
        ({"every": 5, "options": ["key"]}, TypeError, "options takes a mapping"),
        ({"every": 5, "options": {"key": "k"}}, TypeError, "take no key: that is decided by the tick"),
        ({"every": 5, "options": {"delay": 5}}, TypeError, "take no delay: that is decided by jitter="),
        ({"every": 5, "options": {"run_at": datetime(2026, 1, 1, tzinfo=UTC)}}, TypeError, "take no run_at"),
        (
            {"every": 5, "jitter": 1, "options": {"exclusive": "x", "on_busy": Debounce(1, 2)}},
            ValueError,
            "a Debounce says when",
        ),
        ({"every": 5, "options": {"on_busy": "after"}}, ValueError, "on_busy needs exclusive="),
        ({"every": 5, "options": {"prio": 1}}, TypeError, "there is no option 'prio'"),
        ({"every": 5, "options": {"timeout": -1}}, ValueError, "timeout must be at least 0"),
        ({"every": 5, "options": {"limit_key": "a"}}, TypeError, "has no keyed limit: leave out limit_key"),
    ],
    ids=lambda value: repr(value)[:70] if isinstance(value, dict) else "",
)
def test_what_is_wrong_is_refused_at_once(given: dict[str, Any], error: type[Exception], text: str) -> None:
    """Each wrong value is refused when the schedule is written, and the error says what and why."""
    with pytest.raises(error, match=text):
        Schedule(work, **given)


def test_arguments_are_checked() -> None:
    """A handler that does not take the arguments is refused, and so is what is no handler."""
    with pytest.raises(TypeError, match="takes 1 arguments after the job context; got 0"):
        Schedule(report, every=5)
    with pytest.raises(TypeError):
        Schedule(print, every=5)  # type: ignore[arg-type]


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without cronsim `cron` raises an error that says what to install, and `every` works."""
    monkeypatch.setitem(sys.modules, "cronsim", None)
    with pytest.raises(ImportError, match=r"pip install 'trio-jobs\[cron\]'"):
        Schedule(work, cron="* * * * *")
    Schedule(work, every=5)


def test_what_reads_time_zones_is_loaded_late() -> None:
    """A schedule of `every` loads neither cronsim nor zoneinfo."""
    code = (
        "import sys; from trio_jobs import Schedule\n"
        "async def work(job): pass\n"
        "Schedule(work, every=5); print(*sys.modules.keys() & {'cronsim', 'zoneinfo'})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not done.stdout.strip()
