"""The session's rules: every message has a step, an id belongs to one request at a time, and limits hold."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wire import Follow, Get, Wait
from trio_jobs import QueueFull, UnknownJob
from trio_jobs.serving.limits import Limits
from trio_jobs.serving.problems import to_problem
from trio_jobs.serving.subscription import Subscription
from trio_jobs.serving.websocket.session import (
    Close,
    Perform,
    Reply,
    ResumeFollow,
    Session,
    StartFollow,
    Step,
    Stop,
)

JOB = "0" * 32


def text(op: str, re: int = 1, **fields: Any) -> str:
    return json.dumps({"op": op, "id": re, **fields})


def said(step: Step) -> Any:
    """Return the reply of a step."""
    assert isinstance(step, Reply)
    return json.loads(step.frame)


def code(step: Step) -> str:
    return str(said(step)["error"]["code"])


def begun(session: Session, **fields: Any) -> Subscription:
    step = session.received(text("follow", job=JOB, **fields))
    assert isinstance(step, StartFollow)
    return step.subscription


@pytest.mark.parametrize(
    "message",
    [
        text("submit", handler="work"),
        text("get", job=JOB),
        text("find", state=["queued"], tags={"a": "b"}, newest=True),
        text("history", job=JOB),
        text("wait", job=JOB),
        text("cancel", job=JOB, grace=1),
        text("handlers"),
        text("statistics"),
        text("pause", handlers=["work"]),
        text("resume", handlers=None),
    ],
)
def test_a_request_is_a_call(message: str) -> None:
    """A request is passed on as it was decoded."""
    step = Session(Limits()).received(message)
    assert isinstance(step, Perform)
    assert step.request.id == 1


@pytest.mark.parametrize(
    ("message", "re"),
    [
        ("", None),
        ("[]", None),
        ("null", None),
        ("{", None),
        ('{"op": "get"}', None),
        ('{"id": 4}', 4),
        ('{"op": "fly", "id": 4}', 4),
        (text("get", 0, job=JOB), None),
        (text("get", 2**53, job=JOB), None),
        (text("get", 4, job=7), 4),
        (text("get", 4, job="x" * 65), 4),
        (text("get", 4, job=JOB, more=1), 4),
        (text("submit", 4, handler="work", options={"speed": 1}), 4),
        (text("submit", 4, handler="work", options={"timeout": -1}), 4),
        (text("follow", 4, job=JOB, after=-1), 4),
        (text("follow", 4, job=JOB, window=0), 4),
        (text("follow", 4, job=JOB, policy="drop"), 4),
        ('{"op": "get", "id": 4, "job": "\ud800"}', None),
        (text("submit", 4, handler="work", args=json.loads("[" * 40 + "]" * 40)), 4),
    ],
)
def test_what_is_no_request_is_told_so(message: str, re: int | None) -> None:
    """A message that does not fit the wire is refused, with its id if one could be decoded."""
    session = Session(Limits())
    step = session.received(message)
    assert code(step) == "bad_request"
    if "[[[[" not in message.replace(" ", ""):  # what is too deep is not read at all
        assert said(step)["re"] == re
    assert isinstance(session.received(text("get", 4, job=JOB)), Perform)


def test_binary_and_large_messages_end_the_connection() -> None:
    """Binary frames close with 1003, those over the limit of bytes with 1009."""
    session = Session(Limits(message=1024))
    assert session.received(b"{}") == Close(1003, "trio-jobs.v1 is text")
    step = session.received(text("get", job=JOB) + " " * 1024)
    assert isinstance(step, Close)
    assert step.code == 1009
    wide = json.dumps({"op": "submit", "id": 1, "handler": "é" * 600}, ensure_ascii=False)
    assert len(wide) < 1024
    assert isinstance(session.received(wide), Close)


@pytest.mark.parametrize("letter", ["x", "é"])
def test_a_message_of_exactly_the_limit(letter: str) -> None:
    """A message may have exactly the limit of bytes, and not one more."""
    message = json.dumps({"op": "ping", "id": 1, "more": letter * 2000}, ensure_ascii=False)
    size = len(message.encode())
    assert code(Session(Limits(message=size)).received(message)) == "bad_request"  # so it was read
    assert said(Session(Limits(message=size)).received(text("ping") + " " * (size - len(text("ping")))))[
        "pong"
    ]
    step = Session(Limits(message=size - 1)).received(message)
    assert isinstance(step, Close)
    assert step.code == 1009


def test_a_message_of_exactly_the_depth() -> None:
    """A message may be nested exactly to the limit, and no deeper."""
    message = text("submit", handler="work", args=[[[[[1]]]]])
    depths = [
        depth for depth in range(4, 10) if isinstance(Session(Limits(depth=depth)).received(message), Perform)
    ]
    assert depths == [6, 7, 8, 9]


def test_a_peer_that_makes_no_sense_is_left() -> None:
    """Ten bad messages in a row close the connection with 1008; a good one restarts the count."""
    session = Session(Limits())
    for _ in range(9):
        assert code(session.received("nonsense")) == "bad_request"
    assert said(session.received(text("ping"))) == {"re": 1, "pong": True}
    for _ in range(9):
        assert code(session.received("nonsense")) == "bad_request"
    step = session.received("nonsense")
    assert isinstance(step, Close)
    assert step.code == 1008


@pytest.mark.parametrize("first", ["get", "wait", "follow"])
@pytest.mark.parametrize("second", ["get", "wait", "follow"])
def test_an_id_means_one_thing_at_a_time(first: str, second: str) -> None:
    """The id of an unfinished request is refused; after its answer it can be used again."""
    session = Session(Limits())
    step = session.received(text(first, 5, job=JOB))
    assert isinstance(step, Perform | StartFollow)
    assert code(session.received(text(second, 5, job=JOB))) == "bad_request"
    if isinstance(step, StartFollow):
        session.ended(step.subscription.id)
    else:
        session.answered(5, {"job": b"{}"})
    assert isinstance(session.received(text(second, 5, job=JOB)), Perform | StartFollow)


def test_so_many_at_once() -> None:
    """Calls have a limit, and follows and waits another; each end makes room."""
    session = Session(Limits(calls=2, follows=2))
    assert isinstance(session.received(text("get", 1, job=JOB)), Perform)
    assert isinstance(session.received(text("handlers", 2)), Perform)
    assert code(session.received(text("get", 3, job=JOB))) == "too_many"
    assert isinstance(session.received(text("follow", 3, job=JOB)), StartFollow)
    assert isinstance(session.received(text("wait", 4, job=JOB)), Perform)
    assert code(session.received(text("follow", 5, job=JOB))) == "too_many"
    assert said(session.received(text("ping", 6)))["pong"]
    session.failed(1, to_problem("a test", UnknownJob(JOB)))
    assert isinstance(session.received(text("get", 7, job=JOB)), Perform)
    assert json.loads(session.unfollowed(4)) == {"re": 4, "unfollowed": True}
    assert isinstance(session.received(text("follow", 5, job=JOB)), StartFollow)


def test_a_follow_from_its_beginning_to_its_end() -> None:
    """Sent events move the cursor; the end is the last frame."""
    session = Session(Limits())
    follow = begun(session, after=3)
    assert (follow.sent, follow.cursor, follow.room, follow.policy) == (3, 3, None, "gap")
    follow.moved(5)
    assert (follow.sent, follow.cursor) == (5, 5)
    assert json.loads(session.ended(follow.id)) == {"re": 1, "end": True}
    assert session.received(text("unfollow")) is None  # it ended before that arrived


def test_a_window_opens_by_acks() -> None:
    """At most a window beyond the last ack may be sent; an ack of unsent events is refused."""
    session = Session(Limits())
    follow = begun(session, window=4, policy="block")
    assert follow.room == 4
    follow.moved(4)
    assert (follow.room, follow.cursor) == (0, 0)
    assert session.received(text("ack", cursor=3)) == ResumeFollow(follow)
    assert (follow.room, follow.cursor) == (3, 3)
    assert session.received(text("ack", cursor=2)) is None  # it came late
    assert code(session.received(text("ack", cursor=5))) == "bad_request"
    assert follow.cursor == 3
    assert session.received(text("ack", cursor=3)) is None  # nothing new
    assert said(session.received(text("ack", cursor=5)))["re"] == 1
    assert session.received(text("ack", cursor=4)) == ResumeFollow(follow)  # of all that was sent
    assert (follow.room, follow.cursor) == (4, 4)
    assert session.received(text("ack", 9, cursor=1)) is None  # of what ended, or never was


def test_an_ack_that_is_refused_is_a_request() -> None:
    """A refused ack is a request, and does not count as a bad message."""
    session = Session(Limits())
    begun(session, window=4)
    for _ in range(2):
        for _ in range(9):
            assert isinstance(session.received("nonsense"), Reply)
        assert said(session.received(text("ack", cursor=1)))["error"]["code"] == "bad_request"


def test_more_than_the_window() -> None:
    """If more than the window was sent, the room is 0, and not negative."""
    session = Session(Limits())
    follow = begun(session, window=2, after=5)
    assert (follow.sent, follow.cursor, follow.room) == (5, 5, 2)
    follow.moved(9)
    assert follow.room == 0
    assert session.received(text("ack", cursor=8)) == ResumeFollow(follow)
    assert follow.room == 1


def test_an_ack_without_a_window_changes_nothing() -> None:
    """A follow without a window needs no ack."""
    session = Session(Limits())
    follow = begun(session)
    follow.moved(4)
    for cursor in (2, 4, 9):
        assert session.received(text("ack", cursor=cursor)) is None
        assert follow.cursor == 4


def test_stopping() -> None:
    """A follow or wait can be stopped; another request cannot."""
    session = Session(Limits())
    begun(session)
    session.received(text("wait", 2, job=JOB))
    session.received(text("get", 3, job=JOB))
    assert session.received(text("unfollow", 1)) == Stop(1)
    assert session.received(text("unfollow", 2)) == Stop(2)
    assert session.received(text("unfollow", 3)) is None


def test_errors_carry_facts_and_no_more() -> None:
    """An error of the package is sent with its code and facts; an unexpected one as `internal` alone."""
    session = Session(Limits())
    assert json.loads(session.failed(1, to_problem("a test", QueueFull(7))))["error"] == {
        "code": "queue_full",
        "message": str(QueueFull(7)),
        "limit": 7,
        "name": None,
        "key": None,
    }
    secret = json.loads(session.failed(1, to_problem("a test", KeyError("the password"))))["error"]
    assert secret["code"] == "internal"
    assert "password" not in json.dumps(secret)


@given(st.data())
def test_limits_hold_whatever_is_asked(data: st.DataObject) -> None:
    """For any sequence of messages, no id is in use twice, and no limit is exceeded."""
    session = Session(Limits(calls=3, follows=2))
    active: dict[int, Perform | StartFollow] = {}
    for _ in range(data.draw(st.integers(1, 30))):
        if active and data.draw(st.sampled_from([True, False])):
            done = data.draw(st.sampled_from(sorted(active)))
            step = active.pop(done)
            frame = (
                session.ended(step.subscription.id)
                if isinstance(step, StartFollow)
                else session.answered(done, {"job": b"{}"})
            )
            assert json.loads(frame)["re"] == done
            continue
        re = data.draw(st.integers(1, 8))
        found = session.received(text(data.draw(st.sampled_from(["get", "wait", "follow"])), re, job=JOB))
        if isinstance(found, Perform | StartFollow):
            assert re not in active
            active[re] = found
        else:
            assert code(found) in {"bad_request", "too_many"}
        long = sum(isinstance(one, StartFollow) or isinstance(one.request, Wait) for one in active.values())
        assert long <= 2
        assert len(active) - long <= 3


def test_requests_are_what_they_say() -> None:
    """Each request is decoded with its type and defaults."""
    step = Session(Limits()).received(text("get", job=JOB))
    assert isinstance(step, Perform)
    assert step.request == Get(1, JOB)
    assert Follow(1, JOB).policy == "gap"
