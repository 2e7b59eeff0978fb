"""What the demo knows of each job: the fold of the events that a reader of its log has seen."""

from __future__ import annotations

from collections import deque
from typing import Any

import attrs
from rich.cells import cell_len, set_cell_size

from .._common.states import TRANSITIONS, Reason, State
from .._model.job import KIND_OF, Event, Job, Kind, Progress
from .._watching.handle import JobHandle

NAME_WIDTH = 15
_RATE_WINDOW = 2.0
_RECENT = 64
_INTERRUPTIONS = frozenset({Reason.SHUTDOWN, Reason.WORKER_LOST})
_STATES = {KIND_OF[how]: after for row in TRANSITIONS.values() for how, after in row.items()}


def printable(text: str) -> str:
    """Return a text on one line, without anything that a terminal would obey."""
    return "".join(char if char.isprintable() else "?" for char in text)


@attrs.frozen
class End:
    """How a job ends: what the demo intends, or what became of it.

    Attributes:
        state: The job's last state.
        reason: Why, for those that did not complete.
        attempts: How many there were.
    """

    state: State
    reason: Reason | None = None
    attempts: int = 1

    def __str__(self) -> str:
        return self.state if self.reason is None else f"{self.state} ({self.reason})"


COMPLETED = End(State.COMPLETED)


@attrs.define(eq=False)
class Row:
    """One job as the demo shows it.

    Attributes:
        name: What the demo calls it.
        handle: The job.
        intended: How the demo means it to end.
        between: What to write between two of its tokens.
        state: Where it is.
        attempt: Which attempt runs or ran last.
        tokens: How many tokens it has sent.
        recent: The last of them.
        progress: How far it says it is.
        note: One line on the last thing that happened; empty while it streams.
        ended: Its snapshot once it is over.
        interrupted: Whether an attempt was reclaimed because its process went away.
    """

    name: str = attrs.field(converter=printable)
    handle: JobHandle[str, Any]
    intended: End = COMPLETED
    between: str = " "
    state: State = State.QUEUED
    attempt: int = 0
    tokens: int = 0
    recent: deque[str] = attrs.field(factory=lambda: deque(maxlen=_RECENT))
    progress: Progress | None = None
    note: str = ""
    ended: Job | None = None
    interrupted: bool = False
    _sent_at: deque[float] = attrs.field(factory=deque[float])
    _since: float = 0.0

    def apply(self, event: Event) -> None:
        """Take in the next event of the job's log."""
        self.state = _STATES.get(event.kind, self.state)
        self.attempt = max(self.attempt, event.attempt)
        match event.kind:
            case Kind.TOKEN:
                self.tokens += 1
                self.note = ""
                self.recent.append(printable(event.data))
                self._sent_at.append(event.timestamp)
                self._forget(event.timestamp)
            case Kind.STARTED:
                self.note = ""
                self.recent.clear()
                self._sent_at.clear()
                self._since = event.timestamp
            case Kind.PROGRESS:
                self.progress = event.data
            case Kind.RETRIED if event.data.reason in _INTERRUPTIONS:
                self.interrupted = True
                self.note = describe(event)
            case _:
                self.note = describe(event) or self.note

    def _forget(self, now: float) -> None:
        while self._sent_at and self._sent_at[0] < now - _RATE_WINDOW:
            self._sent_at.popleft()

    def rate(self, now: float) -> float:
        """Return how many tokens per second the job sends, over the last moments of its attempt."""
        if self.state is not State.RUNNING:
            return 0.0
        self._forget(now)
        return len(self._sent_at) / min(_RATE_WINDOW, max(now - self._since, 0.5))

    def last(self, width: int) -> str:
        """Return as many of the last tokens as go into `width` columns; at least a part of one."""
        text = self.recent[-1] if self.recent else ""
        for token in list(self.recent)[-2::-1]:
            longer = f"{token}{self.between}{text}"
            if cell_len(longer) > width:
                break
            text = longer
        return shorten(text, width)

    @property
    def end(self) -> End | None:
        """How the job ended, as its snapshot says; None if it has not."""
        if self.ended is None:
            return None
        return End(self.ended.state, self.ended.reason, self.ended.attempt)

    @property
    def as_intended(self) -> bool:
        """Whether it ended as the demo means it to; one that lost its process had more attempts."""
        end, meant = self.end, self.intended
        if end is None or (end.state, end.reason) != (meant.state, meant.reason):
            return False
        return end.attempts == meant.attempts or (self.interrupted and end.attempts > meant.attempts)

    @property
    def seconds(self) -> float:
        """How long the job took, from its submission to its end."""
        if self.ended is None or self.ended.finished_at is None:
            return 0.0
        return (self.ended.finished_at - self.ended.created_at).total_seconds()


def describe(event: Event) -> str:
    """Return one line on an event that is neither a token nor progress; empty if there is no more to say."""
    match event.kind:
        case Kind.CANCEL_REQUESTED:
            return printable(f"asked to stop: {event.data}" if event.data else "asked to stop")
        case Kind.RETRIED | Kind.FAILED | Kind.EXPIRED:
            return printable(str(event.data.message or event.data.error or event.data.reason))
        case Kind.CANCELLED:
            return printable(event.data.message or "")
        case Kind.STARTED if event.attempt > 1:
            return f"attempt {event.attempt}"
        case _:
            return ""


def shorten(text: str, width: int) -> str:
    """Return the beginning of a text, at most `width` columns of it."""
    return text if cell_len(text) <= width else set_cell_size(text, width)


def tail(text: str, width: int) -> str:
    """Return the end of a text, at most `width` columns of it; two dots say that there is more."""
    if cell_len(text) <= width:
        return text
    while cell_len(text) > width - 2:
        text = text[1:]
    return f"..{text}"
