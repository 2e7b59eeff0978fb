"""Rows of the file as records, and back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import attrs

from ..._arguments import Arguments
from ..._codec import decode
from ..._errors import InvalidPayload, Permanent, UnknownHandler
from ..._job import DEFAULT, Job, Kind, Options, Priority
from ..._retry import Matcher, Retry
from ..._safe import shown
from ..._states import Reason, State
from ..._store import Claim, Submission
from ..._stored import DEFAULT_OPTIONS, decode_error, decode_event, decode_options, encode_options
from ..._summary import JobSummary, short_progress

_EVERY = Retry().on
_MOST = 2**63 - 1  # of a number in the file
_LAST = datetime.max.replace(tzinfo=UTC).timestamp() - 1  # what is due later is shown as due then


@attrs.frozen
class Written:
    """A submission as it is written.

    Attributes:
        submission: As it came.
        values: What `insert_job` takes of it.
    """

    submission: Submission
    values: Mapping[str, Any]


class Rows:
    """What the handlers of a registry know of rows.

    Args:
        handlers: The handlers by name.

    Raises:
        TypeError: An argument of a handler cannot be made from JSON.
    """

    def __init__(self, handlers: Mapping[str, Callable[..., Awaitable[Any]]]) -> None:
        self.handlers = handlers
        self._arguments = {name: Arguments(fn) for name, fn in handlers.items()}
        self._options = lru_cache(1000)(self._decode_options)

    def written(self, new: Submission, *, child: bool = False) -> Written:
        """Return a submission as it is to be written.

        Args:
            new: The submission.
            child: Whether it is a child job, which nobody else will run, so any function will do.

        Raises:
            UnknownHandler: No handler has this name.
            InvalidPayload: The function is not the handler of that name, the arguments do not fit it, or JSON
                cannot hold something.
        """
        arguments = Arguments(new.target) if child else self._known(new)
        options = new.options
        text = (
            DEFAULT_OPTIONS
            if options is DEFAULT
            else encode_options(options, arguments.mark.options.retry.on)
        )
        return Written(
            new,
            {
                "id": new.id,
                "handler": new.handler,
                "args": arguments.encode(new.args).decode(),
                "options": text.decode(),
                "priority": int(options.priority),
                "owner": options.owner,
                "key": new.key,
                "attempts": min(options.retry.attempts, _MOST),
            },
        )

    def _known(self, new: Submission) -> Arguments:
        arguments = self._arguments.get(new.handler)
        if arguments is None:
            raise UnknownHandler(new.handler, self.handlers)
        if self.handlers[new.handler] != new.target:  # else what it is bound to, or does, would be lost
            raise InvalidPayload(
                f"{shown(new.target)} is not the handler this registry was given as {new.handler!r}, and "
                "a store that outlives the process keeps names and arguments, no code; submit that handler "
                "with all its arguments, or give this one a name of its own and put it into handlers="
            )
        return arguments

    def options_of(self, text: str, priority: int, owner: str | None, handler: str) -> Options:
        """Return options as they were submitted."""
        return self._options(text, priority, owner, handler)

    def _decode_options(self, text: str, priority: int, owner: str | None, handler: str) -> Options:
        return decode_options(text, priority, owner, self._on(handler))

    def _on(self, handler: str) -> Matcher:
        arguments = self._arguments.get(handler)
        return _EVERY if arguments is None else arguments.mark.options.retry.on

    def claim_of(self, row: Sequence[Any]) -> Claim:
        """Return the claim that a row of `start` is; arguments that do not fit any more fail the job."""
        job_id, handler, args, options, priority, owner, key, attempt, spent, saved, seq = row
        target = self.handlers[handler]
        values: tuple[Any, ...] = ()
        try:
            values = self._arguments[handler].decode(args)
        except InvalidPayload as fault:
            target = _refusing(fault)
        submission = Submission(
            job_id, handler, target, values, self.options_of(options, priority, owner, handler), key
        )
        return Claim(submission, attempt, spent, None if saved is None else decode(saved), seq)

    def job_of(self, row: Sequence[Any]) -> Job:
        """Return the snapshot that a row of `job` is."""
        job_id, handler, state, reason, message, error, result, attempt, priority, options = row[:10]
        owner, key, spent, saved, created, started, finished, due, cancel_requested, seq, parent = row[10:]
        given = self.options_of(options, priority, owner, handler)
        waits = state in {State.QUEUED, State.RETRYING}
        return Job(
            id=job_id,
            handler=handler,
            state=State(state),
            reason=None if reason is None else Reason(reason),
            message=message,
            error=decode_error(error),
            result=None if result is None else decode(result),
            attempt=attempt,
            priority=given.priority,
            tags=given.tags,
            metadata=given.metadata,
            owner=owner,
            key=key,
            parent=parent,
            timeouts=given.timeouts,
            retry=given.retry,
            spent=spent,
            saved=None if saved is None else decode(saved),
            created_at=datetime.fromtimestamp(created, UTC),
            started_at=_wall(started),
            finished_at=_wall(finished),
            next_attempt_at=_wall(due) if waits else None,
            cancel_requested_at=_wall(cancel_requested),
            last_seq=seq,
        )

    def summary_of(self, row: Sequence[Any]) -> tuple[int, JobSummary]:
        """Return the number of a job and its summary, which a row of `SUMMARY` is."""
        number, job_id, handler, state, reason, message, attempt, priority, tags, owner, parent = row[:11]
        created, started, finished, due, cancel_requested, seq, args, result, size, progress = row[11:]
        waits = state in {State.QUEUED, State.RETRYING}
        said = None if progress is None else decode_event(Kind.PROGRESS, decode(progress)[-1])
        return number, JobSummary(
            id=job_id,
            handler=handler,
            state=State(state),
            reason=None if reason is None else Reason(reason),
            message=message,
            attempt=attempt,
            priority=Priority(priority),
            tags=decode(tags),
            owner=owner,
            parent=parent,
            progress=short_progress(said),
            created_at=datetime.fromtimestamp(created, UTC),
            started_at=_wall(started),
            finished_at=_wall(finished),
            next_attempt_at=_wall(due) if waits else None,
            cancel_requested_at=_wall(cancel_requested),
            last_seq=seq,
            args_bytes=args,
            result_bytes=result or 0,
            log_bytes=size,
        )


def _wall(when: float | None) -> datetime | None:
    return None if when is None else datetime.fromtimestamp(min(when, _LAST), UTC)


def _refusing(fault: InvalidPayload) -> Callable[..., Awaitable[Any]]:
    async def refuse(*_: object) -> None:  # noqa: ASYNC124  # in the place of a handler
        raise Permanent(fault)

    return refuse
