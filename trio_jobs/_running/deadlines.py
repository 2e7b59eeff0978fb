"""Cancel an attempt by one scope with several named deadlines: the earliest is the reason.

Timeouts, the grace of a cancellation, the linger time of an unread job and an immediate stop are all the
same thing: a time at which the attempt's scope is to be cancelled, and a reason. The scope's deadline is
the earliest of them, so no clock needs a task of its own, and "first writer wins" needs no flag:
once the scope has fired, no deadline can be set any more, and the earliest one is the cause.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from math import inf

import trio

from .._common.states import Reason
from .._model.job import Timeouts

# Most jobs ask for this one, and Python 3.11 finds the members of an enum slowly.
_TIMEOUT = Reason.TIMEOUT


class Deadlines:
    """The cancel scope of one attempt and the reasons it may fire for.

    Args:
        timeouts: The attempt's clocks; those without a limit cost nothing.

    Attributes:
        scope: The cancel scope.
        mind_tokens: Whether `token_sent` needs to be called.
        on_first: Is called once, by the first `token_sent`; who sets it sets `mind_tokens` too.
    """

    _left: dict[Reason, float | None]  # the seconds left on clocks that stand still, while they do
    _still = 0
    on_first: Callable[[], object] | None = None

    def __init__(self, timeouts: Timeouts) -> None:
        self._idle = timeouts.idle
        self.mind_tokens = timeouts.idle is not None or timeouts.first_token is not None
        self._at: dict[Reason, float] = {}
        first = inf
        if timeouts.run is not None:
            first = self._at[_TIMEOUT] = trio.current_time() + timeouts.run
        if timeouts.first_token is not None:
            self._at[Reason.FIRST_TOKEN_TIMEOUT] = trio.current_time() + timeouts.first_token
            first = min(self._at.values())
        self.scope = trio.CancelScope(deadline=first)

    def set(self, reason: Reason, seconds: float | None) -> None:
        """Let the scope fire for `reason` in `seconds`; None takes the deadline back."""
        if self.scope.cancel_called:
            return
        if seconds is not None:
            self._at[reason] = trio.current_time() + seconds
        elif self._at.pop(reason, None) is None:
            return
        self.scope.deadline = min(self._at.values(), default=inf)

    def bring_forward(self, reason: Reason, seconds: float) -> None:
        """Let the scope fire for `reason` in `seconds`, or when it would have fired for it before."""
        if trio.current_time() + seconds < self._at.get(reason, inf):
            self.set(reason, seconds)

    def stop(self, reason: Reason) -> None:
        """Fire now, unless it has fired already."""
        if not self.scope.cancel_called:
            self._at = {reason: trio.current_time()}
            self.scope.cancel(reason=reason)

    def token_sent(self) -> None:
        """Restart the clocks that run between tokens."""
        if self.on_first is not None:
            first, self.on_first = self.on_first, None
            first()
        if self._still:
            self._left.pop(Reason.FIRST_TOKEN_TIMEOUT, None)
            self._left[Reason.IDLE_TIMEOUT] = self._idle
            return
        self.set(Reason.FIRST_TOKEN_TIMEOUT, None)
        self.set(Reason.IDLE_TIMEOUT, self._idle)

    def unread(self, linger: float | None) -> None:
        """Fire in `linger` seconds, as the job has no reader; None when it has one again."""
        self.set(Reason.UNREAD, linger)

    @contextmanager
    def standing_still(self) -> Generator[None]:
        """Stop the clocks that run between tokens for as long as any task is in such a block."""
        if not self._still:
            now = trio.current_time()
            clocks = (Reason.FIRST_TOKEN_TIMEOUT, Reason.IDLE_TIMEOUT)
            self._left = {clock: self._at[clock] - now for clock in clocks if clock in self._at}
            for clock in self._left:
                self.set(clock, None)
        self._still += 1
        try:
            yield
        finally:
            self._still -= 1
            if not self._still:
                for clock, seconds in self._left.items():
                    self.set(clock, seconds)

    def left(self) -> dict[Reason, float]:
        """Return the seconds until each deadline, those of clocks that stand still left out."""
        return {reason: at - trio.current_time() for reason, at in self._at.items()}

    def cause(self) -> Reason | None:
        """Return why the scope fired, or None if it has not.

        A deadline that has passed counts as fired even if the attempt met no checkpoint since.
        """
        if not self.scope.cancel_called:
            return None
        return min(self._at, key=self._at.__getitem__)
