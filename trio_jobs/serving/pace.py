"""How often the feeds of a server send, so that handlers have most of the loop's time.

All feeds have the same rest between two sends. It is as long as all of them took to send: together they take
half of the time, however many feeds and followers there are. Where the loop has no room, which a late timer
shows, the rest is five times as long, and they take a sixth. If there is more to send, frames get larger, and
their number stays.

Resting tasks share one timer: the first of them sets it, and wakes the others. A timer each would cost more
than the sends.
"""

from __future__ import annotations

from heapq import heappop, heappush
from itertools import count
from typing import Final

import attrs
import trio

from .._common.bell import Bell

MANY: Final = 64
"""Events in one batch that are worth a frame of their own, with no lingering for more."""
_ROOM, _FULL = 2, 6
"""The time between two sends, in times of what all sends take: where the loop has room, and where not."""
_LATE: Final = 0.005
"""Seconds by which a timer is late in a loop that has no room."""
_TOGETHER: Final = 0.001
"""Seconds by which a task may be woken early, together with another one."""


@attrs.define(eq=False)
class _Turn:
    """The turn of one task: whether it has come, and whether the task has left without it."""

    bell: Bell = attrs.field(factory=Bell)
    come: bool = False
    gone: bool = False


class Pace:
    """The rest between two sends of a feed.

    Args:
        linger: Seconds that it lasts where there is time for everything.

    Attributes:
        linger: The same.
        rest: Seconds that it lasts now, where that is more.
    """

    def __init__(self, linger: float) -> None:
        self.linger = linger
        self.rest = 0.0
        self._work = 0.0
        self._until = 0.0
        self._waiting: list[tuple[float, int, _Turn]] = []
        self._numbers = count()
        self._alarm: trio.CancelScope | None = None
        self._alarm_at = 0.0
        self._share = _ROOM

    def next_turn(self, last: float, events: int) -> float:
        """Return when a feed may send again.

        Args:
            last: When it sent last.
            events: How many events it sent then.
        """
        return last + (self.rest if events >= MANY else max(self.rest, self.linger))

    def worked(self, seconds: float) -> None:
        """Note how long a feed took to send to all its followers."""
        self._work += seconds
        now = trio.current_time()
        if now + max(seconds, _TOGETHER) >= self._until:  # each feed had its turn since
            self.rest, self._work = self._share * self._work, 0.0
            self._until = now + max(self.rest, self.linger)

    # ------------------------------------------------------------ one timer for all

    async def sleep_until(self, when: float) -> None:
        """Wait until a time, or until a little before."""
        turn = _Turn()
        heappush(self._waiting, (when, next(self._numbers), turn))
        try:
            while not turn.come:
                if self._alarm is None:
                    await self._watch(turn)
                else:
                    if when < self._alarm_at:
                        self._alarm.deadline = self._alarm_at = when
                    await turn.bell.wait()
        finally:
            turn.gone = True
            if self._alarm is None:
                self._hand_over()

    async def _watch(self, mine: _Turn) -> None:
        try:
            while not mine.come:
                self._alarm_at = self._waiting[0][0]
                with trio.CancelScope(deadline=self._alarm_at) as self._alarm:
                    await trio.sleep_forever()
                now = trio.current_time()
                self._share = _FULL if now > self._alarm_at + _LATE else _ROOM
                due = now + _TOGETHER
                while self._waiting and self._waiting[0][0] <= due:
                    _, _, turn = heappop(self._waiting)
                    turn.come = True
                    turn.bell.ring()
        finally:
            self._alarm = None

    def _hand_over(self) -> None:
        """Let the next task set the timer."""
        while self._waiting and self._waiting[0][2].gone:
            heappop(self._waiting)
        if self._waiting:
            self._waiting[0][2].bell.ring()
