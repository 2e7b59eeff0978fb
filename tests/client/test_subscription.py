"""A follow at the client: what is at hand, what is dropped, and when the server is told how far was read."""

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
    """A follow that the server was asked for."""
    follow = RemoteSubscription("7", after, policy)
    follow.request()
    return follow


def seqs(events: list[Event]) -> list[int]:
    """The cursors of events."""
    return [event.seq for event in events]


def acked(follow: RemoteSubscription) -> int | None:
    """Up to where the server is told now, if it is."""
    ack = follow.ack()
    if ack is None:
        return None
    follow.acked(ack.cursor)
    return ack.cursor


def test_events_are_at_hand_once() -> None:
    """What has come is taken once; what comes twice is dropped, whole frames or parts of them."""
    follow = opened()
    follow.on_events(LOG[:4])
    follow.on_events(LOG[2:6])
    assert seqs(follow.drain()) == [1, 2, 3, 4, 5, 6]
    follow.on_events(LOG[:6])
    assert follow.drain() == []


def test_a_hole_that_was_not_told_is_noticed() -> None:
    """An event behind a hole of which the server said nothing is not delivered."""
    follow = opened()
    follow.on_events(LOG[:2])
    with pytest.raises(ProtocolViolation, match="event 4 follows 2"):
        follow.on_events(LOG[3:])
    assert seqs(follow.drain()) == [1, 2]


def test_a_hole_that_was_told_is_left() -> None:
    """Behind a gap the log goes on, also if it is told twice, or in part of what came before."""
    follow = opened()
    follow.on_events(LOG[:2])
    follow.on_gap(Gap(3, 5))
    follow.on_gap(Gap(1, 4))
    follow.on_events(LOG[5:7])
    assert seqs(follow.drain()) == [1, 2, 6, 7]
    with pytest.raises(ProtocolViolation, match="a gap from 9 on"):
        follow.on_gap(Gap(9, 10))


def test_more_than_a_window_is_not_taken() -> None:
    """A server that sends more than it was asked for is not believed, so memory is bounded."""
    follow = opened()
    follow.on_events(LOG[:WINDOW])
    with pytest.raises(ProtocolViolation, match="more than the window"):
        follow.on_events(LOG[WINDOW : WINDOW + 1])


def test_half_a_window_is_worth_an_ack() -> None:
    """The server is told how far was read each half window, and not before, if nobody waits for that."""
    follow = opened()
    follow.on_events(LOG[:WINDOW])
    follow.drain()
    follow.read(WINDOW // 2 - 1)
    assert acked(follow) is None
    follow.read(WINDOW // 2)
    assert acked(follow) == WINDOW // 2
    assert acked(follow) is None


def test_a_handler_that_waits_hears_of_all_that_was_read() -> None:
    """With `block`, the server is told as soon as the reader has read all that came: its handler may wait."""
    follow = opened("block")
    follow.on_events(LOG[:3])
    follow.drain()
    follow.read(2)
    assert acked(follow) is None
    follow.read(3)
    assert acked(follow) == 3


def test_a_gap_counts_as_read() -> None:
    """A gap that is wider than the window does not close it: nobody will ever read what is in it."""
    follow = opened()
    follow.on_events(LOG[:2])
    assert seqs(follow.drain()) == [1, 2]
    follow.read(2)
    follow.drain()
    follow.on_gap(Gap(3, 2 * WINDOW))
    assert acked(follow) == 2 * WINDOW


def test_a_gap_behind_what_is_unread_does_not() -> None:
    """While events before a gap are unread, the window is held to them."""
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
    """A new server knows nothing of what another one sent: it is told only of what it sent itself."""
    follow = opened()
    follow.on_events(LOG[:WINDOW])
    follow.drain()
    assert follow.request().after == 0
    follow.read(WINDOW)
    assert acked(follow) is None
    follow.on_events(LOG[: WINDOW - 10])
    assert acked(follow) == WINDOW - 10


def test_nothing_is_acked_while_the_server_was_not_asked() -> None:
    """A follow that is to be asked for on a new connection says how far it has read in that."""
    follow = opened()
    follow.on_events(LOG[:WINDOW])
    follow.drain()
    follow.read(WINDOW)
    follow.sent = False
    assert follow.ack() is None
    assert follow.request().after == WINDOW


def test_progress_forgives() -> None:
    """A follow that gets on was not what ended the connections before."""
    follow = opened()
    follow.strikes = 3
    follow.on_events(LOG[:1])
    assert follow.strikes == 0


def test_the_end_has_no_error() -> None:
    """A follow that ended by an error has not come to the job's end, and the other way round."""
    ended, failed = opened(), opened()
    ended.finish()
    failed.finish(ValueError("no"))
    assert (ended.ended, ended.error) == (True, None)
    assert not failed.ended
    failed.resume(4)
    assert (failed.error, failed.request().after) == (None, 4)


def test_events_may_come_that_are_no_tokens() -> None:
    """An empty frame does nothing."""
    follow = opened()
    follow.on_events([])
    follow.on_events([attrs.evolve(LOG[0])])
    assert seqs(follow.drain()) == [1]
