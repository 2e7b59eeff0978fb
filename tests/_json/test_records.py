"""Records on the wire and on the command line: the same fields, with the program's values unchanged."""

from __future__ import annotations

import json

import attrs
import msgspec

from tests._json.coding import plain
from tests.client.peer import job
from tests.wire import encode_event
from trio_jobs import Ended, ErrorRecord, Event, Kind, Priority, Progress, Reason
from trio_jobs.serving.values import encode_job

ENDED = Ended(Reason.ERROR, "no", ErrorRecord("ValueError", "no", "Traceback"), 2.5)


@attrs.frozen
class Lamp:
    on: bool
    priority: str


def test_a_value_of_a_program_is_left_as_it_is() -> None:
    """A result that is a record keeps all its fields, whatever their names are."""
    one = job("7", result=Lamp(on=True, priority="first"), priority=Priority.LOW)
    assert plain(one)["result"] is one.result
    shown = json.loads(encode_job(one, tracebacks=False))
    assert shown["result"] == {"on": True, "priority": "first"}
    assert shown["priority"] == "low"
    assert "on" not in shown["retry"]


def test_the_command_line_says_the_same_as_the_wire() -> None:
    """Each event is the same JSON on both."""
    for event in (
        Event(1, 0, Kind.SUBMITTED, 1.5, "work"),
        Event(2, 1, Kind.TOKEN, 1.5, {"a": [1, None]}),
        Event(3, 1, Kind.PROGRESS, 1.5, Progress(1, 2, "half")),
        Event(4, 1, Kind.FAILED, 1.5, ENDED),
    ):
        assert json.loads(json.dumps(plain(event))) == msgspec.json.decode(
            encode_event(event, tracebacks=True)
        )
