"""A server without sockets: the protocol of the real one over logs that are lists.

It decodes what it gets with `serving.websocket.session.Session`, so a message that is not of the wire raises
an error. The test chooses when and in which parts it answers.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import attrs
import msgspec

from tests.wire import AnyRequest, Cancel, Get, Submit, Wait
from trio_jobs import Event, Job, Kind, Priority, Retry, State, Timeouts, UnknownJob
from trio_jobs.serving.batch import cut
from trio_jobs.serving.limits import Limits
from trio_jobs.serving.problems import to_problem
from trio_jobs.serving.subscription import Subscription
from trio_jobs.serving.values import encode_job
from trio_jobs.serving.websocket.session import Perform, Reply, ResumeFollow, Session, StartFollow, Stop

AT = datetime(2026, 1, 1, tzinfo=UTC)


def job(job_id: str, *, state: State = State.RUNNING, last_seq: int = 0, **changes: Any) -> Job:
    """Return a job as a server may have it."""
    plain = Job(
        id=job_id,
        handler="work",
        state=state,
        reason=None,
        message=None,
        error=None,
        result=None,
        attempt=1,
        priority=Priority.NORMAL,
        tags={},
        metadata={},
        owner=None,
        key=None,
        parent=None,
        timeouts=Timeouts(),
        retry=Retry(),
        spent=1,
        saved=None,
        created_at=AT,
        started_at=AT,
        finished_at=None,
        next_attempt_at=None,
        cancel_requested_at=None,
        last_seq=last_seq,
    )
    return attrs.evolve(plain, **changes)


def log(tokens: int) -> list[Event]:
    """Return the log of a job that sends so many tokens and completes."""
    kinds = [Kind.SUBMITTED, Kind.STARTED, *[Kind.TOKEN] * tokens, Kind.COMPLETED]
    return [Event(seq, 1, kind, 1.0, f"data {seq}") for seq, kind in enumerate(kinds, 1)]


class Peer:
    """A server, and the connection there is to it at the moment.

    Args:
        logs: The logs, by job.

    Attributes:
        keys: The jobs that were submitted, by key.
        pending: Calls that are not answered yet.
        ahead: The most that was sent of a log beyond the last ack, ever.
    """

    def __init__(self, logs: dict[str, list[Event]], *, limits: Limits | None = None) -> None:
        self.logs = logs
        self.keys: dict[str, str] = {}
        self.pending: dict[int, AnyRequest] = {}
        self.ahead = 0
        self.refused: list[str] = []
        self._limits = limits or Limits()
        self.follows: dict[int, Subscription] = {}
        self.connect()

    def connect(self) -> None:
        """Begin a new connection. Calls of the old one are dropped; their effects stay."""
        self._session = Session(self._limits)
        self.pending.clear()
        self.follows.clear()

    def take(self, message: str) -> list[str]:
        """Take a message, and return the immediate replies."""
        match self._session.received(message):
            case Reply(frame):
                if '"error"' in frame:
                    self.refused.append(frame)
                return [frame]
            case Perform(request):
                self._do(request)
                self.pending[request.id] = request
            case StartFollow(follow):
                self.follows[follow.id] = follow
            case Stop(id=re):
                self.pending.pop(re, None)
                self.follows.pop(re, None)
                return [self._session.unfollowed(re)]
            case None | ResumeFollow():
                pass
            case other:
                raise AssertionError(other)
        return []

    def _do(self, request: AnyRequest) -> None:
        if isinstance(request, Submit):
            assert isinstance(request.options.key, str)
            self.keys.setdefault(request.options.key, f"job {len(self.keys)}")

    def answer(self, re: int) -> str:
        """Answer a call."""
        request = self.pending.pop(re)
        match request:
            case Submit():
                assert isinstance(request.options.key, str)
                return self._job(re, self.keys[request.options.key])
            case Get() | Wait() if request.job in self.logs:
                return self._job(re, request.job)
            case Cancel():
                report = {"outcome": "cancelled", "took": 0.0, "stack": None}
                return self._session.answered(re, {"report": msgspec.json.encode(report)})
            case _:
                return self._session.failed(re, to_problem("a test", UnknownJob("?")))

    def _job(self, re: int, job_id: str) -> str:
        last_seq = len(self.logs.get(job_id, ()))
        return self._session.answered(
            re, {"job": encode_job(job(job_id, last_seq=last_seq), tracebacks=True)}
        )

    def send_on(self, re: int, most: int) -> str | None:
        """Return the next frame of a follow with at most so many events; None if it may not send."""
        follow = self.follows[re]
        events = self.logs[follow.job_id]
        rest = [event for event in events if event.seq > follow.sent]
        if not rest:
            del self.follows[re]
            return self._session.ended(follow.id)
        room = most if follow.room is None else min(most, follow.room)
        if room == 0:
            return None
        piece = next(cut(follow.sent, rest[:room], tracebacks=True))
        follow.moved(piece.last)
        if piece.events:
            self.ahead = max(self.ahead, follow.sent - follow.cursor)
        return piece.message(re).decode()

    def flush(self, deliver: Callable[[str], None], outgoing: Callable[[], str | None]) -> None:
        """Exchange messages until neither side has any."""
        moved = True
        while moved:
            moved = False
            while (message := outgoing()) is not None:
                moved = True
                for frame in self.take(message):
                    deliver(frame)
            for re in list(self.pending):
                moved = True
                deliver(self.answer(re))
            for re in list(self.follows):
                if (sent := self.send_on(re, 100)) is not None:
                    moved = True
                    deliver(sent)
