"""How often the feeds of a server send, so that handlers have most of the loop's time.

There is one rest between two sends, the same for all feeds. It is as long as it took all of them to send:
what they take together is half of the time, however many there are and however many follow. Where the loop
has no room, which a timer that is late shows, it is five times as long, and they take a sixth. When there is
more to send than fits in there, frames get larger, not more.

Resting tasks have one timer together: the first of them has it, and wakes the others. A timer each would cost
more than what is sent then.
"""

from __future__ import annotations

from heapq import heappop, heappush
from itertools import count
from typing import Final

import trio

from .._common.bell import Bell

MANY: Final = 64
"""Events in one batch that are worth a frame of their own, with no lingering for more."""
_ROOM, _FULL = 2, 6
"""So many times as long as all sends take it is to the next: where the loop has room, and where not."""
_LATE: Final = 0.005
"""Seconds by which a timer is late in a loop that has no room."""
_TOGETHER: Final = 0.001
"""Seconds by which one is woken too early, if another one is."""


class _Turn:
    """One task's: whether it has come, and whether the task still waits for it."""

    __slots__ = ("bell", "come", "gone")

    def __init__(self) -> None:
        self.bell = Bell()
        self.come = False
        self.gone = False


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
        """Return when a feed may send again, that sent so many events last."""
        return last + (self.rest if events >= MANY else max(self.rest, self.linger))

    def worked(self, seconds: float) -> None:
        """Note that a feed took so long to send to all who follow."""
        self._work += seconds
        now = trio.current_time()
        if now + max(seconds, _TOGETHER) >= self._until:  # each feed had its turn since
            self.rest, self._work = self._share * self._work, 0.0
            self._until = now + max(self.rest, self.linger)

    # ------------------------------------------------------------ one timer for all

    async def sleep_until(self, when: float) -> None:
        """Wait until a time, or a little less."""
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
        """Let the next one watch the time."""
        while self._waiting and self._waiting[0][2].gone:
            heappop(self._waiting)
        if self._waiting:
            self._waiting[0][2].bell.ring()
