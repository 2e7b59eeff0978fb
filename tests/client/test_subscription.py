"""A follow at the client: which events are at hand, which are dropped, and when an ack is sent."""

from __future__ import annotations

from typing import Literal

import attrs
import pytest

from tests.client.peer import log
from tests.wire import Gap, ProtocolViolation
from trio_jobs import Event
from trio_jobs.client.subscription import WINDOW, RemoteSubscription

LOG = log(2 * WINDOW)


def opened(policy: Literal["gap", "block"] = "gap", after: int = 0) -> RemoteSubscription:
    """Return a follow whose request was sent."""
    follow = RemoteSubscription("7", after, policy)
    follow.request()
    return follow


def seqs(events: list[Event]) -> list[int]:
    """Return the cursors of events."""
    return [event.seq for event in events]


def acked(follow: RemoteSubscription) -> int | None:
    """Return the cursor of the ack that is due, if one is."""
    ack = follow.ack()
    if ack is None:
        return None
    follow.acked(ack.cursor)
    return ack.cursor


def test_events_are_at_hand_once() -> None:
    """Each event is returned once; repeated frames, or parts of them, are dropped."""
    follow = opened()
    follow.on_events(LOG[:4])
    follow.on_events(LOG[2:6])
    assert seqs(follow.drain()) == [1, 2, 3, 4, 5, 6]
    follow.on_events(LOG[:6])
    assert follow.drain() == []


def test_a_hole_that_was_not_told_is_noticed() -> None:
    """An event behind a hole that the server did not report is not delivered."""
    follow = opened()
    follow.on_events(LOG[:2])
    with pytest.raises(ProtocolViolation, match="event 4 follows 2"):
        follow.on_events(LOG[3:])
    assert seqs(follow.drain()) == [1, 2]


def test_a_hole_that_was_told_is_left() -> None:
    """Behind a gap the log continues, also if the gap is reported twice, or overlaps earlier events."""
    follow = opened()
    follow.on_events(LOG[:2])
    follow.on_gap(Gap(3, 5))
    follow.on_gap(Gap(1, 4))
    follow.on_events(LOG[5:7])
    assert seqs(follow.drain()) == [1, 2, 6, 7]
    with pytest.raises(ProtocolViolation, match="a gap from 9 on"):
        follow.on_gap(Gap(9, 10))


def test_more_than_a_window_is_not_taken() -> None:
    """A server that sends more than the window violates the protocol, so memory is bounded."""
    follow = opened()
    follow.on_events(LOG[:WINDOW])
    with pytest.raises(ProtocolViolation, match="more than the window"):
        follow.on_events(LOG[WINDOW : WINDOW + 1])


def test_half_a_window_is_worth_an_ack() -> None:
    """An ack is due each half window, and not before if no handler waits for it."""
    follow = opened()
    follow.on_events(LOG[:WINDOW])
    follow.drain()
    follow.read(WINDOW // 2 - 1)
    assert acked(follow) is None
    follow.read(WINDOW // 2)
    assert acked(follow) == WINDOW // 2
    assert acked(follow) is None


def test_a_handler_that_waits_hears_of_all_that_was_read() -> None:
    """With `block`, an ack is due as soon as all events at hand are read: the handler may wait."""
    follow = opened("block")
    follow.on_events(LOG[:3])
    follow.drain()
    follow.read(2)
    assert acked(follow) is None
    follow.read(3)
    assert acked(follow) == 3


def test_a_gap_counts_as_read() -> None:
    """A gap that is wider than the window does not close it, as its events cannot be read."""
    follow = opened()
    follow.on_events(LOG[:2])
    assert seqs(follow.drain()) == [1, 2]
    follow.read(2)
    follow.drain()
    follow.on_gap(Gap(3, 2 * WINDOW))
    assert acked(follow) == 2 * WINDOW


def test_a_gap_behind_what_is_unread_does_not() -> None:
    """While events before a gap are unread, the window counts from them."""
    follow = opened()
    follow.on_events(LOG[:2])
    follow.on_gap(Gap(3, 2 * WINDOW))
    assert acked(follow) is None
    follow.drain()
    follow.read(2)
    assert acked(follow) is None
    assert follow.drain() == []
    assert acked(follow) == 2 * WINDOW


def test_no_more_is_acked_than_this_connection_brought() -> None:
    """A server gets acks only for events that it sent itself."""
    follow = opened()
    follow.on_events(LOG[:WINDOW])
    follow.drain()
    assert follow.request().after == 0
    follow.read(WINDOW)
    assert acked(follow) is None
    follow.on_events(LOG[: WINDOW - 10])
    assert acked(follow) == WINDOW - 10


def test_nothing_is_acked_while_the_server_was_not_asked() -> None:
    """A follow that will be requested on a new connection has its cursor in that request."""
    follow = opened()
    follow.on_events(LOG[:WINDOW])
    follow.drain()
    follow.read(WINDOW)
    follow.sent = False
    assert follow.ack() is None
    assert follow.request().after == WINDOW


def test_progress_forgives() -> None:
    """A follow that gets events is not counted as the cause of the ends of connections before."""
    follow = opened()
    follow.strikes = 3
    follow.on_events(LOG[:1])
    assert follow.strikes == 0


def test_the_end_has_no_error() -> None:
    """A follow that ended by an error has not reached the job's end, and the other way round."""
    ended, failed = opened(), opened()
    ended.finish()
    failed.finish(ValueError("no"))
    assert (ended.ended, ended.error) == (True, None)
    assert not failed.ended
    failed.resume(4)
    assert (failed.error, failed.request().after) == (None, 4)


def test_events_may_come_that_are_no_tokens() -> None:
    """An empty frame has no effect."""
    follow = opened()
    follow.on_events([])
    follow.on_events([attrs.evolve(LOG[0])])
    assert seqs(follow.drain()) == [1]
