"""The benchmark of serving runs, and reports no speed of wrong tokens."""

from __future__ import annotations

import json
import resource
import socket
import sys

import attrs
import pytest

from benchmarks.durable.checks import WrongResult
from benchmarks.serving import __main__ as script
from benchmarks.serving import load, measure, speed, tls
from benchmarks.serving.frames import Reading, WrongBytes, read_events, read_websocket
from benchmarks.serving.measure import listen
from benchmarks.serving.peers.protocol import Plan, event, message, token
from benchmarks.serving.scale import BURSTS, EACH, Scale
from benchmarks.serving.sides import (
    BARE,
    EVENTS,
    HTTP,
    IN_A_FILE,
    LIBRARY,
    LOOP,
    OURS,
    PEERS,
    STARLETTE,
    WEBSOCKET,
    Side,
    serving,
)

BARE_SIDE = PEERS[BARE]
TINY = Scale(
    {1: 70, 3: 70},
    {EACH: 1, BURSTS: 2},
    singles=3,
    pause=0.001,
    followers={2: 3},
    streams=(3, 4, 2),
    connections=5,
    rounds=1,
)
LIAR = """
import trio
from benchmarks.serving.peers import protocol, trio_websocket
right = protocol.token
protocol.token = lambda n: right(max(n, 1))
trio.run(trio_websocket.main)
"""


@pytest.mark.deep
def test_it_runs_and_measures_everything() -> None:
    """Without any peer, every section has its rows, and each of our servers its figures, more than 0."""
    rows = list(script.rows(TINY, list(OURS.values())))
    assert {row.section for row in rows} == {"speed", "pace", "latency", "paced", "memory"}
    assert len([row for row in rows if row.section == "speed"]) == 6
    assert [row.name for row in rows if row.section != "memory" and min(row.figures.values()) <= 0] == []
    assert {frozenset(row.figures) for row in rows} == {
        frozenset(OURS),
        frozenset(OURS | IN_A_FILE),
        frozenset({WEBSOCKET, HTTP}),
    }


def test_bare_trio_websocket_is_measured_the_same_way() -> None:
    """The peer without an environment of its own delivers a frame per token, and one for the end."""
    with serving(BARE_SIDE) as server:
        assert listen(server, Plan(3, 10), 3).per_frame == 10 / 11


@pytest.mark.parametrize("jobs", [1, 3])
def test_a_bare_loop_is_measured_the_same_way(jobs: int) -> None:
    """A plain Trio program delivers a chunk per event, one for the end, and its delays."""
    with serving(PEERS[LOOP]) as server:
        heard = listen(server, Plan(jobs, 10, pause=0.001), 3)
    assert heard.per_frame == 10 / 11
    assert heard.late > 0


@pytest.mark.deep
def test_what_tls_costs_is_measured() -> None:
    """Each client gets all tokens through TLS."""
    for row in tls.rows(1, {1: 70, 3: 70}):
        assert len(row.figures) == 4
        assert min(check.value for check in row.checks) > 0


def test_a_stream_that_is_held_is_heard_to_its_last_token() -> None:
    """The clients of a stream without an end wait for its last token."""
    with serving(BARE_SIDE) as server, measure.load() as clients:
        plan = Plan(1, 10, hold=True)
        measure.connect(clients, server, plan, 2)
        assert measure.go(clients, server, plan, 2).per_frame == 1


def test_tokens_that_arrive_changed_have_no_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that sends a wrong token is found, and the token is shown."""
    monkeypatch.setattr(Side, "command", [sys.executable, "-c", LIAR])
    wrong = "'token 000001' where 'token 000000' should be"
    with serving(BARE_SIDE) as server, pytest.raises(WrongResult, match=wrong):
        listen(server, Plan(1, 3), 1)


def test_a_client_that_is_refused_is_not_counted() -> None:
    """A server that refuses a request has no speed, and its answer is shown."""
    side = attrs.evolve(BARE_SIDE, websocket=False)
    with serving(side) as server, pytest.raises(WrongResult, match="refused: .*HTTP/1.1 400"):
        listen(server, Plan(1, 3), 1)


def test_no_file_is_wanted_that_the_system_does_not_allow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hard limit that is too low ends the benchmark and is named; a soft one is raised as needed."""
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "setrlimit", lambda _what, limits: asked.append(limits))
    monkeypatch.setattr(resource, "getrlimit", lambda _what: (256, 5000))
    with pytest.raises(SystemExit, match="5001 open files are needed, and 5000 allowed"):
        script.allow_files(5001)
    script.allow_files(1200)
    script.allow_files(256)
    assert asked == [(1200, 5000)]


# ---------------------------------------------------------------- the clients


@pytest.mark.parametrize(
    ("numbers", "ended", "fault"),
    [
        ([0, 1, 2], True, None),
        ([0, 1, 2], False, "no end"),
        ([0, 1], True, "2 tokens, and not 3"),
        ([0, 1, 2, 3], True, "4 tokens, and not 3"),
        ([0, 2, 1], True, "'token 000002' where 'token 000001' should be"),
        ([0, 1, 1, 2], True, "'token 000001' where 'token 000002' should be"),
        ([1, 2, 3], True, "'token 000001' where 'token 000000' should be"),
    ],
)
def test_each_token_has_to_come_once_and_in_order(numbers: list[int], ended: bool, fault: str | None) -> None:
    """A token that is lost, repeated, swapped or extra, or a missing end, is reported as that."""
    reading = Reading([(token(n), 0) for n in numbers], ended=ended)
    assert load.fault(reading, 3, ends=True) == fault


def frame(payload: str, head: int = 0x81) -> bytes:
    """Return a frame as a server sends it."""
    size = len(payload)
    if size < 126:
        return bytes([head, size]) + payload.encode()
    if size < 1 << 16:
        return bytes([head, 126]) + size.to_bytes(2, "big") + payload.encode()
    return bytes([head, 127]) + size.to_bytes(8, "big") + payload.encode()


def events_message(*numbers: int, pad: int = 0) -> str:
    events = [{"seq": n + 2, "kind": "token", "data": token(n) + "x" * pad} for n in numbers]
    return json.dumps({"re": 1, "events": [{"seq": 1, "kind": "started", "data": None}, *events]})


@pytest.mark.parametrize("pad", [0, 100, 70_000])
def test_frames_of_every_length_are_read(pad: int) -> None:
    """Frames of every length are parsed, pings are skipped, and parts are joined."""
    whole = events_message(2, pad=pad)
    data = (
        frame(events_message(0, 1, pad=pad))
        + frame("", 0x89)
        + frame(whole[:9], 0x01)
        + frame(whole[9:], 0x80)
        + frame('{"re":1,"end":true}')
    )
    reading = read_websocket(data)
    assert load.fault(reading, 3, ends=True) is None
    assert (reading.frames, reading.tokens[-1][1]) == (3, len(data) - 21)


def test_a_close_and_a_gap_are_no_stream() -> None:
    """A server that closes the connection, or drops events, has no speed."""
    with pytest.raises(WrongBytes, match="closed the connection"):
        read_websocket(frame("\x03\xe9", 0x88))
    with pytest.raises(WrongBytes, match="gap"):
        read_websocket(frame('{"re":1,"gap":{"first":1,"last":2}}'))
    with pytest.raises(WrongBytes, match="gap"):
        read_events(chunk('event: gap\ndata: {"first":1,"last":2}\n\n'))


def chunk(text: str) -> bytes:
    return b"%x\r\n%s\r\n" % (len(text), text.encode())


def test_events_are_read_however_they_are_written() -> None:
    """Events are parsed from writes with many of them, or with a part of one; comments are skipped."""
    both = event(0, token(0)) + event(1, token(1))
    for data in (chunk(both), chunk(both[:30]) + chunk(both[30:])):
        reading = read_events(chunk(": ping\n\n") + data + chunk("event: completed\ndata: [DONE]\n\n"))
        assert load.fault(reading, 2, ends=True) is None
    assert reading.frames == 4


def test_a_token_is_as_old_as_the_end_of_its_frame() -> None:
    """The age of a token is from its send to the arrival of the last byte of its frame."""
    data = frame(message(0, "token 000000 1.5")) + frame(message(1, "token 000001 2.5"))
    half = len(data) // 2
    with socket.socket() as unused:
        marks = [(10, 1.6), (half, 1.75), (len(data), 3.0)]
        connection = load.Connection(unused, [data], len(data), marks)
        assert load.delays(connection, read_websocket(data)) == [0.25, 0.5]


@pytest.mark.parametrize(("clients", "judged"), [(1, False), (100, True)])
def test_each_server_is_compared_with_who_speaks_as_it_does(clients: int, judged: bool) -> None:
    """WebSockets are compared with WebSockets; the target of events is for 100 clients only."""
    speeds = {name: [6.0] for name in OURS} | {BARE: [3.0], LIBRARY: [2.0], STARLETTE: [1.0]}
    checks = list(speed.compare(speeds, speed.Case(clients, 1, EACH)))
    assert {check.name: check.value for check in checks} == {
        f"{WEBSOCKET} / {BARE}": 2.0,
        f"{WEBSOCKET} / {LIBRARY}": 3.0,
        f"{HTTP} / {BARE}": 2.0,
        f"{HTTP} / {LIBRARY}": 3.0,
        f"{EVENTS} / {STARLETTE}": 6.0,
    }
    assert [check.mark for check in checks] == ["met"] * 4 + ["met" if judged else "for reference"]
