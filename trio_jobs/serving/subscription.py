"""Where one who follows a job over the wire is in the log, and how much may be sent."""

from __future__ import annotations

import attrs

from .._watching.readers import Policy


@attrs.define(eq=False)
class Subscription:
    """One follow: where it is in the log, and how much may be sent.

    It is one of the job's readers too, for which `cursor` is what the handler need not wait for.

    Attributes:
        id: The id of the request.
        job_id: Whose log it is.
        policy: Whether the handler waits for it.
        window: How many events may be sent beyond the last ack; None is any number.
        sent: The cursor of the last event sent.
        cursor: The last cursor acked; without a window, what was sent.
    """

    id: int
    job_id: str
    policy: Policy
    window: int | None
    sent: int
    cursor: int

    @property
    def room(self) -> int | None:
        """How many events may be sent now; None is any number."""
        return None if self.window is None else max(0, self.window - (self.sent - self.cursor))

    def moved(self, last: int) -> None:
        """Note that the event with the cursor `last` was sent."""
        self.sent = last
        if self.window is None:
            self.cursor = last
