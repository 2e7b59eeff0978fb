"""The place of one follower in the log of a job, and how much may be sent to it."""

from __future__ import annotations

import attrs

from .._watching.readers import Policy


@attrs.define(eq=False)
class Subscription:
    """The place of one follower in the log of a job, and how much may be sent to it.

    It is one of the job's readers, too: the handler may be a window ahead of its `cursor`.

    Attributes:
        id: The id of the request.
        job_id: The job.
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
