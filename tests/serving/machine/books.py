"""The records of a peer: jobs, and its requests; a wrong answer raises `AssertionError`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import attrs

from trio_jobs import Job, State

HOST: Final = "127.0.0.1"
OWNERS: Final = ("anna", "bert")
EVERYBODY: Final = "root"
"""Who sees all jobs."""
SHAPES: Final[Mapping[str, frozenset[str]]] = {
    "submit": frozenset({"job"}),
    "get": frozenset({"job"}),
    "wait": frozenset({"job"}),
    "list": frozenset({"jobs", "next"}),
    "find": frozenset({"jobs"}),
    "history": frozenset({"history", "next"}),
    "value": frozenset({"text", "next"}),
    "cancel": frozenset({"report"}),
    "send": frozenset({"seq"}),
    "end_inputs": frozenset({"seq"}),
    "handlers": frozenset({"handlers", "may"}),
    "statistics": frozenset({"statistics"}),
    "ping": frozenset({"pong"}),
}
"""What the last answer to each request holds."""


def mark(who: str) -> str:
    """Return the text that is in everything that only `who` may read."""
    return f"of-{who}"


@attrs.define(eq=False)
class Work:
    """A job in the model.

    Attributes:
        number: Its number.
        owner: Its owner; `EVERYBODY` without one.
        id: Its id, once a peer has received it.
        exclusive: Its exclusive name.
        slow: Seconds that its handler goes on after it was cancelled.
        log: The events that readers got, by `seq`: the same for all.
        was_full: Whether an input was refused because there were too many.
        sent: The inputs, in the order in which they were sent, and over which connection.
    """

    number: int
    owner: str
    id: str = ""
    exclusive: str | None = None
    slow: float = 0.0
    log: dict[int, tuple[str, Any]] = attrs.field(factory=dict[int, "tuple[str, Any]"])
    was_full: bool = False
    sent: dict[str, object] = attrs.field(factory=dict[str, object])

    def new_input(self, by: object) -> str:
        """Return an input that is about to be sent over a connection."""
        value = f"{mark(self.owner)} {self.number} input {len(self.sent)}"
        self.sent[value] = by
        return value

    def check_order(self, log: Mapping[int, tuple[str, Any]]) -> None:
        """Check that the inputs of each connection are in a log in their order, each once."""
        order = list(self.sent)
        last: dict[object, int] = {}
        for _, (kind, value) in sorted(log.items()):
            if kind == "input":
                place, by = order.index(value), self.sent[value]
                assert last.get(by, -1) < place, f"the input {value} was overtaken"
                last[by] = place

    def seen_by(self, who: str) -> bool:
        """Return whether `who` may see the job."""
        return who in (EVERYBODY, self.owner)


@attrs.define(eq=False)
class Asked:
    """A request, until its last answer has arrived.

    Attributes:
        op: Its operation.
        want: The possible answers: `ok`, or codes of errors.
        number: Its id; 0 over HTTP.
        work: Its job.
        until: When it must be answered even if its job goes on.
        sent: The cursor of the last event that arrived, if it follows.
        acked: The cursor of the peer's last ack.
        window: How many events may be sent beyond that.
        policy: Whether the job waits for this reader.
        outcome: The answer's kind.
        fields: The whole answer.
    """

    op: str
    want: frozenset[str]
    number: int = 0
    work: Work | None = None
    until: float = math.inf
    sent: int = 0
    acked: int = 0
    window: int | None = None
    policy: str = "gap"
    outcome: str | None = None
    fields: Any = None
    gaps: list[tuple[int, int]] = attrs.field(factory=list[tuple[int, int]])
    method: str = "GET"

    def check(self, job: Job) -> None:
        """Compare what was answered with the job as it is a little later."""
        if self.follows and self.outcome == "ok" and self.method == "GET":
            assert job.state.over, f"{self.op} was told of the end, and the job is {job.state}"
            assert self.sent == job.last_seq, f"{self.op} ended at {self.sent} of {job.last_seq}"
        found = (self.fields.get("job") or self.fields) if isinstance(self.fields, dict) else {}
        if self.outcome == "ok" and "last_seq" in found:
            assert found["last_seq"] <= job.last_seq
            assert found["last_seq"] < job.last_seq or found["state"] == job.state
            assert self.op != "wait" or State(found["state"]).over, "it waited for nothing"

    @property
    def follows(self) -> bool:
        """Return whether events are sent for it."""
        return self.op in {"follow", "stream"}

    @property
    def waits(self) -> bool:
        """Return whether it may take any time."""
        return self.follows or self.op == "wait"

    def end(self, outcome: str, fields: Any = None) -> None:
        """Record the last answer."""
        assert self.outcome is None, f"{self.op} is answered twice: {self.outcome}, {outcome}"
        assert outcome in self.want, f"{self.op} is answered {outcome} and not {set(self.want)}: {fields}"
        self.outcome, self.fields = outcome, fields
        if outcome == "inbox_full" and self.work is not None:
            self.work.was_full = True

    # ------------------------------------------------------------ events

    def event(self, seq: int, kind: str, data: Any) -> None:
        """Record an event."""
        assert self.work is not None
        assert seq == self.sent + 1, f"event {seq} comes behind {self.sent}"
        assert self.window is None or seq <= self.acked + self.window, f"event {seq} is beyond the window"
        self.sent = seq
        if kind in {"token", "input"}:
            told = self.work.log.setdefault(seq, (kind, data))
            assert told == (kind, data), f"event {seq} was {told}, and is {(kind, data)}"
            others = [number for number, other in self.work.log.items() if other[1] == data]
            assert others == [seq], f"the {kind} {data} is there as events {others}"
            self.work.check_order(self.work.log)

    def gap(self, first: int, last: int) -> None:
        """Record missing events."""
        assert first == self.sent + 1 <= last, f"a gap of {first} to {last} behind {self.sent}"
        self.gaps.append((first, last))
        self.sent = last
