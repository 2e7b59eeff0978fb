"""The events of a response over a connection that is cut: what is sent when a client comes back."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from tests.serving.fronts.logs import Told, ended, job, log
from trio_jobs import Kind, Reason
from trio_jobs.serving.fronts.openai.responses import Response
from trio_jobs.serving.fronts.openai.streams import ResponseStream
from trio_jobs.serving.http.event_stream import CUT_OFF

HM, HEL, LO = (Kind.TOKEN, {"reasoning": "Hm"}), (Kind.TOKEN, "Hel"), (Kind.TOKEN, "lo")
CALLS = [{"id": "a", "name": "look", "arguments": "{}"}, {"id": "b", "name": "see", "arguments": "[1]"}]


def sent(after: int, events: Sequence[Told]) -> list[Any]:
    """Return the frames of a whole log that a client is sent behind a cursor."""
    text = ResponseStream(Response(job()), after).write(log(*events)).decode()
    return [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: ")]


def texts(frames: Sequence[Any]) -> Mapping[str, str]:
    """Return the deltas of each item, joined."""
    found: defaultdict[str, str] = defaultdict(str)
    for frame in frames:
        if frame["type"].endswith(".delta"):
            found[frame["item_id"]] += frame["delta"]
    return found


@pytest.mark.parametrize(
    "events",
    [
        (HM, HEL, LO, (Kind.COMPLETED, None)),
        (HEL, HM, LO, (Kind.CANCELLED, ended(Reason.USER))),
        (HEL, (Kind.RETRIED, ended(Reason.ERROR)), (Kind.STARTED, "w", 2), LO, (Kind.COMPLETED, None)),
        (HM, (Kind.COMPLETED, "not streamed")),
        (HEL, (Kind.COMPLETED, {"content": "Hel", "tool_calls": CALLS})),
    ],
)
def test_two_cuts_anywhere_repeat_and_lose_nothing(events: Sequence[Told]) -> None:
    """Wherever a client is cut off, twice, each text is whole and sent once, and the end is told with all."""
    uncut = sent(0, events)
    for first in range(len(uncut)):
        seen = uncut[:first]
        cursor = seen[-1]["sequence_number"] if seen else 0
        again = sent(cursor, events)
        for second in range(len(again)):
            had = [*seen, *again[:second]]
            last = had[-1]["sequence_number"] if had else 0
            had += sent(last, events)
            assert had[-1] == uncut[-1]
            numbers = [frame["sequence_number"] for frame in had]
            assert numbers == sorted(numbers)
            found, whole = texts(had), texts(uncut)
            assert found == {item: text for item, text in whole.items() if item in found}
            assert all(item.startswith("fc_") for item in whole.keys() - found.keys())  # the end has these


@pytest.mark.parametrize(("after", "number"), [(0, 3), (2, 3), (9, 9)])
def test_a_fault_takes_nobody_back(after: int, number: int) -> None:
    """Its number is a cursor as any other: of what was sent, and never before what the client had."""
    stream = ResponseStream(Response(job()), after)
    stream.write(log(HEL))
    assert json.loads(stream.fault(CUT_OFF).partition(b"data: ")[2])["sequence_number"] == number
