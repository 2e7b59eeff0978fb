"""The clocks of an attempt: the first to fire is the cause, and nothing after it changes that."""

from __future__ import annotations

from math import inf
from typing import Any

import attrs
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from tests.inside import Deadlines
from trio_jobs import Reason, Timeouts

REASONS = [Reason.TIMEOUT, Reason.USER, Reason.UNREAD, Reason.SHUTDOWN]
SECONDS = st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.0, 8.0])
COMMANDS = st.lists(
    st.one_of(
        st.tuples(st.just("set"), st.sampled_from(REASONS), st.one_of(st.none(), SECONDS)),
        st.tuples(st.just("bring_forward"), st.sampled_from(REASONS), SECONDS),
        st.tuples(st.just("stop"), st.sampled_from(REASONS), st.none()),
        st.tuples(st.just("jump"), st.none(), SECONDS),
        st.tuples(st.just("token"), st.none(), st.none()),
        st.tuples(st.just("unread"), st.none(), st.one_of(st.none(), SECONDS)),
    ),
    max_size=20,
)


@attrs.define
class Model:
    """Times by reason; the earliest one that has come fires, and nothing changes after that."""

    timeouts: Timeouts
    now: float = 0.0
    at: dict[Reason, float] = attrs.field(factory=dict)
    fired: set[Reason] = attrs.field(factory=set)  # those that tie

    def __attrs_post_init__(self) -> None:
        self.put(Reason.TIMEOUT, self.timeouts.run)
        self.put(Reason.FIRST_TOKEN_TIMEOUT, self.timeouts.first_token)

    def put(self, reason: Reason, seconds: float | None) -> None:
        if self.look():
            return
        self.at[reason] = inf if seconds is None else self.now + seconds

    def look(self) -> set[Reason]:
        first = min(self.at.values(), default=inf)
        if not self.fired and first <= self.now:
            self.fired = {reason for reason, when in self.at.items() if when == first}
        return self.fired

    def do(self, command: str, reason: Any, seconds: Any) -> None:
        if command == "set":
            self.put(reason, seconds)
        elif command == "bring_forward":
            self.put(reason, min(seconds, self.at.get(reason, inf) - self.now))
        elif command == "stop":
            if not self.look():
                self.fired = {reason}
        elif command == "jump":
            self.now += seconds
        elif command == "unread":
            self.put(Reason.UNREAD, seconds)
        else:
            self.put(Reason.FIRST_TOKEN_TIMEOUT, None)
            if self.timeouts.idle is not None:
                self.put(Reason.IDLE_TIMEOUT, self.timeouts.idle)


@given(
    commands=COMMANDS,
    timeouts=st.builds(
        Timeouts,
        run=st.one_of(st.none(), SECONDS),
        first_token=st.one_of(st.none(), SECONDS),
        idle=st.one_of(st.none(), SECONDS),
    ),
)
def test_what_fires_first_is_the_cause(commands: list[Any], timeouts: Timeouts) -> None:
    """Whatever is set, removed, stopped and let pass, the cause is the earliest time that came, and stays
    so."""
    clock = MockClock()

    async def scenario() -> None:
        deadlines = Deadlines(timeouts)
        model = Model(timeouts)
        with deadlines.scope:
            assert (deadlines.cause() in model.look()) == bool(model.look())
            for command, reason, seconds in commands:
                model.do(command, reason, seconds)
                if command == "jump":
                    clock.jump(seconds)
                elif command == "token":
                    deadlines.token_sent()
                elif command == "unread":
                    deadlines.unread(seconds)
                elif command == "stop":
                    deadlines.stop(reason)
                else:
                    getattr(deadlines, command)(reason, seconds)
                expected = model.look()
                cause = deadlines.cause()
                assert cause in expected if expected else cause is None
            await trio.lowlevel.checkpoint()
        assert deadlines.scope.cancelled_caught == bool(model.fired)

    trio.run(scenario, clock=clock)


@pytest.mark.parametrize("first_token", [None, 1])
@pytest.mark.parametrize("idle", [None, 1])
async def test_who_minds_tokens(first_token: float | None, idle: float | None) -> None:
    """`Deadlines` uses tokens only if it has a clock that runs between them."""
    deadlines = Deadlines(Timeouts(run=1, first_token=first_token, idle=idle))
    assert deadlines.mind_tokens is (first_token is not None or idle is not None)


async def test_bringing_forward(autojump_clock: MockClock) -> None:
    """A deadline is brought forward, and never postponed: a longer grace changes nothing."""
    for seconds in ([5, 3, 4], [3, 8], [4, 3]):
        deadlines = Deadlines(Timeouts())
        began = trio.current_time()
        with deadlines.scope:
            for each in seconds:
                deadlines.bring_forward(Reason.USER, each)
            await trio.sleep_forever()
        assert trio.current_time() - began == 3


async def test_a_stop_says_why() -> None:
    """A stop has its reason."""
    deadlines = Deadlines(Timeouts(run=5))
    with deadlines.scope:
        deadlines.stop(Reason.SHUTDOWN)
        with pytest.raises(trio.Cancelled) as caught:
            await trio.lowlevel.checkpoint()
        assert caught.value.reason == Reason.SHUTDOWN


async def test_nothing_is_set(autojump_clock: MockClock) -> None:
    """Without limits nothing fires, and removing a deadline that was never set has no effect."""
    deadlines = Deadlines(Timeouts())
    with deadlines.scope:
        deadlines.set(Reason.USER, None)
        deadlines.token_sent()
        await trio.sleep(80_000)
        assert deadlines.cause() is None
        assert deadlines.scope.deadline == inf
    assert not deadlines.scope.cancel_called


async def test_taking_back_the_last_deadline(autojump_clock: MockClock) -> None:
    """When the last deadline is removed, the scope has none."""
    deadlines = Deadlines(Timeouts(first_token=1))
    with deadlines.scope:
        deadlines.token_sent()
        assert deadlines.scope.deadline == inf
        deadlines.set(Reason.USER, 5)
        deadlines.set(Reason.UNREAD, 3)
        assert deadlines.scope.deadline == 3
        deadlines.set(Reason.UNREAD, None)
        assert deadlines.scope.deadline == 5
        await trio.sleep(10)
    assert trio.current_time() == 5
    assert deadlines.cause() is Reason.USER


async def test_stopped_before_it_is_entered(autojump_clock: MockClock) -> None:
    """A stop before the attempt runs is kept, with its cause."""
    deadlines = Deadlines(Timeouts(run=5))
    deadlines.stop(Reason.SHUTDOWN)
    deadlines.stop(Reason.USER)
    with deadlines.scope:
        await trio.lowlevel.checkpoint()
    assert deadlines.scope.cancelled_caught
    assert deadlines.cause() is Reason.SHUTDOWN


@pytest.mark.parametrize("clock", [Reason.FIRST_TOKEN_TIMEOUT, Reason.IDLE_TIMEOUT])
async def test_standing_still(clock: Reason, autojump_clock: MockClock) -> None:
    """While a send waits, the clocks between tokens stop, and have as much time left afterwards."""
    deadlines = Deadlines(Timeouts(run=100, first_token=5, idle=5))
    with deadlines.scope:
        if clock is Reason.IDLE_TIMEOUT:
            deadlines.token_sent()
        await trio.sleep(2)
        with deadlines.standing_still():
            await trio.sleep(50)
        await trio.sleep(2.9)
        with deadlines.standing_still():
            await trio.sleep(1)
        await trio.sleep_forever()
    assert deadlines.cause() is clock
    assert trio.current_time() == pytest.approx(56)


async def test_other_clocks_do_not_stand_still(autojump_clock: MockClock) -> None:
    """Only the clocks between tokens stop: the attempt's limit, a grace and a linger time run on."""
    for reason in (Reason.TIMEOUT, Reason.USER, Reason.UNREAD, Reason.SHUTDOWN):
        deadlines = Deadlines(Timeouts(first_token=1))
        began = trio.current_time()
        with deadlines.scope:
            deadlines.set(reason, 3)
            with deadlines.standing_still():
                await trio.sleep_forever()
        assert deadlines.cause() is reason
        assert trio.current_time() == began + 3


async def test_standing_still_without_clocks(autojump_clock: MockClock) -> None:
    """Without a clock between tokens a pause stops nothing, and sets nothing afterwards."""
    deadlines = Deadlines(Timeouts(idle=1))
    with deadlines.scope:
        with deadlines.standing_still():
            await trio.sleep(10)
        assert deadlines.scope.deadline == inf


async def test_standing_still_for_two(autojump_clock: MockClock) -> None:
    """While two sends wait, the clocks are stopped until the last of them is done, whichever that is."""

    async def wait(seconds: float) -> None:
        with deadlines.standing_still():
            await trio.sleep(seconds)

    for first, second in ((1, 50), (50, 1)):
        deadlines = Deadlines(Timeouts(first_token=5))
        began = trio.current_time()
        with deadlines.scope:
            await trio.sleep(2)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(wait, first)
                await trio.sleep(0.5)
                nursery.start_soon(wait, second)
            await trio.sleep_forever()
        ended = max(first, 0.5 + second)
        assert trio.current_time() - began == pytest.approx(2 + ended + 3)


async def test_a_token_sent_while_another_send_waits(autojump_clock: MockClock) -> None:
    """A task's first token counts as the first token, although another task's send waits meanwhile."""
    deadlines = Deadlines(Timeouts(first_token=5))

    async def wait() -> None:
        with deadlines.standing_still():
            await trio.sleep(2)

    with deadlines.scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.sleep(1)
            deadlines.token_sent()
        await trio.sleep(100)
    assert deadlines.cause() is None


async def test_a_token_gives_the_idle_clock_all_its_time(autojump_clock: MockClock) -> None:
    """A token sent while another task's send waits gives the idle clock its whole time once no send waits."""
    deadlines = Deadlines(Timeouts(first_token=5, idle=5))

    async def wait() -> None:
        with deadlines.standing_still():
            await trio.sleep(20)

    with deadlines.scope:
        await trio.sleep(4)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.sleep(10)
            deadlines.token_sent()
        await trio.sleep_forever()
    assert deadlines.cause() is Reason.IDLE_TIMEOUT
    assert trio.current_time() == 29
