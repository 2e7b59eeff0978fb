"""A reader's cursor: what it returns, in which order, and how it reports missing events."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from trio_jobs import Event, Kind, StreamGap
from trio_jobs._watching import cursor, raised

RAISED = raised.Raised()


class Given(cursor.LogCursor):
    """A cursor over given batches of events."""

    def __init__(self, *batches: list[Event], after: int = 0) -> None:
        super().__init__("job", after, "block", RAISED)
        self.batches = [*batches]
        self.moves: list[int] = []
        self.left = 0
        self.more = trio.Event()

    async def open(self) -> None:
        """Open it."""
        self._open = True

    async def last(self) -> Event:
        """Return the last event."""
        return self.batches[-1][-1]

    async def _wait(self) -> bool:
        if not self.batches:
            await self.more.wait()
            return True
        await trio.lowlevel.checkpoint()
        self._batch, self._next = self.batches.pop(0), 0
        return not self._batch

    def _moved(self) -> None:
        self.moves.append(self.cursor)

    def _leave(self) -> None:
        self.left += 1


def event(seq: int, kind: Kind = Kind.TOKEN) -> Event:
    """Return an event."""
    return Event(seq, 1, kind, 0.0, f"data {seq}")


EVENTS = st.lists(
    st.tuples(st.sampled_from([1, 1, 1, 2, 3]), st.sampled_from([Kind.TOKEN, Kind.TOKEN, Kind.PROGRESS])),
    max_size=12,
)


def log_of(steps: list[tuple[int, Kind]], after: int) -> list[Event]:
    """Return a log with holes, behind a cursor."""
    found = list[Event]()
    for step, kind in steps:
        after += step
        found.append(event(after, kind))
    return found


@given(EVENTS, st.integers(0, 3), st.lists(st.booleans(), max_size=30), st.booleans())
def test_one_by_one_and_many_at_once(
    steps: list[tuple[int, Kind]], after: int, many: list[bool], values: bool
) -> None:
    """However it is read, a cursor returns every event once and in order, reports the range of each hole,
    returns many tokens up to a hole or another kind, and reports each move."""
    log = log_of(steps, after)
    place = Given(after=after)
    place._batch = [*log]
    expected = after
    for at_once in [*many, *[False] * 30]:
        rest = [one for one in log if one.seq > expected]
        place.moves.clear()
        assert place.at_hand() == bool(rest)
        if at_once:
            wanted = list[object]()
            for one in rest:
                if one.kind is not Kind.TOKEN or one.seq != expected + 1:
                    break
                wanted.append(one.data)
                expected = one.seq
            assert place.pull_tokens() == wanted
            assert place.moves == [expected] * bool(wanted)
        elif not rest:
            assert place.take() is cursor.NOTHING
        elif rest[0].seq == expected + 1:
            expected += 1
            if rest[0].kind is Kind.TOKEN and values:
                assert place.take() == rest[0].data
            elif values:
                note = place.take()
                assert (note.attempt, note.kind, note.data) == (1, rest[0].kind, rest[0].data)
            else:
                assert place.pull() == rest[0]
            assert place.moves == [expected]
        else:
            with pytest.raises(StreamGap) as caught:
                (place.take if values else place.pull)()
            gap = caught.value
            assert (gap.job_id, gap.first, gap.last) == ("job", expected + 1, rest[0].seq - 1)
            expected = rest[0].seq - 1
            assert gap.oldest == expected
            assert place.moves == [expected]
        assert place.cursor == expected
    assert expected == (log[-1].seq if log else after)


async def test_waiting() -> None:
    """Events that arrive are read from the first; an empty batch means that the log has ended."""
    place = Given([event(1), event(2)], [event(3)], [])
    await place.open()
    assert place.cursor == 0
    assert not place.at_hand()
    for wanted in ([1, 2], [3]):
        assert await place.ready() is True
        assert place.pull_tokens() == [f"data {seq}" for seq in wanted]
        assert not place.at_hand()
    assert await place.ready() is False


async def test_a_checkpoint() -> None:
    """Each wait for events is a checkpoint, whether they are at hand or not."""
    place = Given([event(1), event(2)])
    await place.open()
    for _ in range(2):
        with trio.testing.assert_checkpoints():
            assert await place.ready()
    place.pull()
    with trio.testing.assert_checkpoints():
        assert await place.ready()


async def test_two_tasks_on_one_place() -> None:
    """While one task waits for events another is refused; after that wait, or its cancellation, it is not."""
    place = Given()
    await place.open()
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(place.ready)
            await wait_all_tasks_blocked()
            with pytest.raises(trio.BusyResourceError):
                await place.ready()
            scope.cancel()
    place.batches = [[event(1)], [event(2)]]
    for seq in (1, 2):
        assert await place.ready()
        assert place.pull() == event(seq)


async def test_closed() -> None:
    """A cursor that is not open returns nothing, not even to a task that waits; closing it drops the events
    at hand, and counts the reader out once."""
    place = Given([event(1), event(2)])
    place.close()
    assert place.left == 0
    with pytest.raises(trio.ClosedResourceError):
        await place.ready()
    await place.open()
    await place.ready()
    assert place.pull() is not None
    place.close()
    place.close()
    assert place.left == 1
    assert not place.at_hand()
    assert place.pull_tokens() == []
    with pytest.raises(trio.ClosedResourceError):
        await place.ready()

    await place.open()
    refused = list[trio.ClosedResourceError]()

    async def wait() -> None:
        with pytest.raises(trio.ClosedResourceError) as caught:
            await place.ready()
        refused.append(caught.value)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await wait_all_tasks_blocked()
        place.close()
        place.more.set()
    assert len(refused) == 1
    assert place.left == 2


def test_what_is_no_place() -> None:
    """A cursor must be a whole number and a policy one of two; the error names which is wrong."""
    place = Given(after=3)
    assert (place.job_id, place.cursor, place.policy) == ("job", 3, "block")
    assert place.raised is RAISED
    with pytest.raises(ValueError, match="after"):
        Given(after=-1)
    for policy in ("block", "gap"):
        cursor.LogCursor.__init__(Given(), "job", 0, policy, RAISED)
    with pytest.raises(ValueError, match=r"policy.*'block', 'gap'"):
        cursor.LogCursor.__init__(Given(), "job", 0, "drop", RAISED)  # type: ignore[arg-type]


async def test_nothing_is_taken_where_nothing_is() -> None:
    """A cursor with nothing at hand says so, and stays where it is."""
    place = Given([event(1)])
    await place.open()
    assert place.take() is cursor.NOTHING
    assert await place.ready()
    assert place.take() == "data 1"
    assert place.take() is cursor.NOTHING
    assert place.cursor == 1
