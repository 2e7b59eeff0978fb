"""The encoding of a batch for each protocol, parsed by other libraries."""

from __future__ import annotations

import json

import h11
import pytest
from wsproto.connection import Connection, ConnectionType
from wsproto.events import TextMessage

from trio_jobs import Event, Kind
from trio_jobs.serving.batch import EventBatch, cut, gap, text_frame


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, 65_536, 300_000])
def test_a_frame_of_each_length(size: int) -> None:
    """A frame is a whole text message for any client."""
    client = Connection(ConnectionType.CLIENT)
    client.receive_data(text_frame(b"x" * size) + text_frame(b"y"))
    messages = [event for event in client.events() if isinstance(event, TextMessage)]
    assert [(len(event.data), event.message_finished) for event in messages if event.data[:1] != "y"] == [
        (size, True)
    ]
    assert messages[-1].data == "y"


def one() -> EventBatch:
    (batch,) = cut(4, [Event(n, 1, Kind.TOKEN, 1.5, f"é{n}") for n in (5, 6)], tracebacks=False)
    return batch


def test_messages() -> None:
    """Events and gaps have the id of their request; each id has a frame of its own."""
    batch = one()
    assert [event["data"] for event in json.loads(batch.message(7))["events"]] == ["é5", "é6"]
    assert json.loads(gap(4, 9).message(7)) == {"re": 7, "gap": {"first": 5, "last": 9}}
    assert batch.frame(7) is batch.frame(7)
    assert [batch.frame(re) for re in (8, 7)] == [text_frame(batch.message(re)) for re in (8, 7)]


def test_a_chunk() -> None:
    """A chunk of a body has the batch as server-sent events."""
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="GET", target="/", headers=[("host", "x")]))
    client.receive_data(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + one().chunk)
    client.next_event()
    data = client.next_event()
    assert isinstance(data, h11.Data)
    assert bytes(data.data) == one().sse
