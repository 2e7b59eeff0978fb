"""What happened in a simulated run, in order, as text that is the same in every process."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, cast

import attrs
import trio

from .._model.job import Event, Job
from .._model.summary import JobSummary
from ..stores.contract import Claim, Heartbeat
from ..stores.schedules import ScheduleRow

_ID: Final = re.compile("[0-9a-f]{32}")


@attrs.define
class Trace:
    """The steps of one run.

    Job ids are random; here each gets a number, in the order in which they come.

    Attributes:
        seed: The seed of the run.
        faults: The kinds of fault it had.
        steps: When, who, what, and what came of it.
    """

    seed: int
    faults: frozenset[str] = frozenset()
    steps: list[tuple[float, str, str, str]] = attrs.field(factory=list[Any], repr=False)
    _numbers: dict[str, str] = attrs.field(factory=dict[str, str], repr=False)

    def note(self, who: str, what: str, outcome: object = None) -> None:
        """Add a step."""
        self.steps.append((round(trio.current_time(), 6), who, what, self._text(outcome)))

    def number(self, job_id: str) -> str:
        """Return what a job is called here."""
        return self._numbers.setdefault(job_id, f"job{len(self._numbers) + 1}")

    @property
    def digest(self) -> str:
        """What two runs have in common that took the same course, and no others."""
        return hashlib.sha256(repr((sorted(self.faults), self.steps)).encode()).hexdigest()

    def __str__(self) -> str:
        lines = [f"seed {self.seed}, faults: {', '.join(sorted(self.faults)) or 'none'}"]
        lines += [f"{at:10.3f}  {who:<10} {what:<14} {outcome}" for at, who, what, outcome in self.steps]
        return "\n".join(lines)

    def _text(self, value: object) -> str:  # noqa: PLR0911  # one for each kind of answer
        if isinstance(value, str):
            return self.number(value) if _ID.fullmatch(value) else value
        if isinstance(value, Claim):
            return f"{self.number(value.submission.id)}#{value.attempt}"
        if isinstance(value, Event):
            return f"{value.seq}:{value.kind}"
        if isinstance(value, (Job, JobSummary)):
            return f"{self.number(value.id)} {value.state}"
        if isinstance(value, Heartbeat):
            return f"lost {self._text(sorted(map(self.number, value.lost)))}, cancel {len(value.cancels)}"
        if isinstance(value, ScheduleRow):
            return f"{value.schedule.name} after {value.last_tick:.3f}"
        if isinstance(value, Mapping):
            return f"{len(cast('Mapping[Any, Any]', value))} entries"
        if isinstance(value, Iterable):
            return f"[{', '.join(map(self._text, cast('Iterable[Any]', value)))}]"
        return str(value)
