"""Convert the rows of a database to records, and back."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from hashlib import sha256
from types import FunctionType
from typing import Any, Final
from weakref import WeakKeyDictionary

import attrs
import msgspec

from .._common.error_text import shown
from .._common.errors import InvalidPayload, Permanent, StoreCorrupt, UnknownHandler
from .._common.states import State
from .._json.arguments import Arguments, plain_arguments
from .._json.inputs import Inputs
from .._json.stored import (
    DEFAULT_OPTIONS,
    decode_error,
    decode_event,
    decode_options,
    encode_metadata,
    encode_options,
    reason_of,
)
from .._json.values import decode, encode
from .._model.handler import mark_of
from .._model.job import DEFAULT, NO_KWARGS, Event, Job, Kind, Options, Priority, Progress
from .._model.retry import Matcher, Retry
from .._model.summary import JobSummary, short_progress, shortened
from .contract import Claim, Submission
from .records import JobEnd
from .rules import WAITING, date_of

UNREADABLE: Final = (msgspec.MsgspecError, ValueError, TypeError)
"""Errors of reading what another program, or another version, has written."""
_EVERY = Retry().on
_MOST = 2**63 - 1  # of a number in the file
_CACHED = 1000  # options, each of
_LONG = 1000  # characters at most
STATES, _PRIORITIES = frozenset(map(str, State)), frozenset(map(int, Priority))


def text(data: bytes | str | None) -> str | None:
    """Return bytes as text, with U+FFFD for each byte that is none."""
    return data.decode(errors="replace") if isinstance(data, bytes) else data


def whole(value: object) -> int:
    """Return a number, or 0 for anything else."""
    return value if isinstance(value, int) else 0


@attrs.frozen
class Written:
    """A submission, ready to be written.

    Attributes:
        submission: The submission.
        values: The values that `insert_job` takes.
    """

    submission: Submission
    values: Mapping[str, Any]


class Rows:
    """Converts rows to records and back, by the handlers of a registry.

    Args:
        handlers: The handlers by name.

    Attributes:
        services: The names of those that are services.
        claimed: The names of the others.

    Raises:
        TypeError: An argument of a handler cannot be made from JSON.
    """

    def __init__(self, handlers: Mapping[str, Callable[..., Awaitable[Any]]]) -> None:
        self.handlers = handlers
        self.services = [name for name, fn in handlers.items() if mark_of(fn).options.restart is not None]
        self.claimed = [name for name in handlers if name not in self.services]
        self._arguments = {name: Arguments(fn) for name, fn in handlers.items()}
        self._inputs = {name: Inputs(fn) for name, fn in handlers.items()}
        self._children: WeakKeyDictionary[Callable[..., Any], Arguments] = WeakKeyDictionary()
        self._options = lru_cache(_CACHED)(self._decode_options)

    def written(self, new: Submission, *, child: bool = False) -> Written:
        """Return a submission, ready to be written.

        Args:
            new: The submission.
            child: Whether it is a child job, which only this process runs, so it needs no registered handler.

        Raises:
            UnknownHandler: No handler has this name.
            InvalidPayload: The function is not the handler of that name, the arguments do not fit it, or JSON
                cannot hold something.
        """
        arguments = self._of_child(new.target) if child else self._known(new)
        options, on = new.options, arguments.mark.options.retry.on
        text = DEFAULT_OPTIONS if options is DEFAULT else encode_options(options, on)
        args, metadata = arguments.encode(new.args, new.kwargs), encode_metadata(options)
        return Written(
            new,
            {
                "id": new.id,
                "handler": new.handler,
                "args": args.decode(),
                "options": text.decode(),
                "metadata": None if metadata is None else metadata.decode(),
                "given": None if new.key is None else _digest(new, args),
                "priority": int(options.priority),
                "owner": options.owner,
                "key": new.key,
                "exclusive": options.exclusive,
                "resubmitted_from": None if new.again is None else new.again.job_id,
                "attempts": min(options.retry.attempts or 0, _MOST),
            },
        )

    def _of_child(self, target: Callable[..., Awaitable[Any]]) -> Arguments:
        """Return the arguments of any function, cached, as inspecting one takes longer than a spawn."""
        if not isinstance(target, FunctionType):
            return Arguments(target)
        known = self._children.get(target)
        if known is None:
            known = self._children[target] = Arguments(target)
        return known

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

    def inputs_of(self, handler: str, values: Sequence[Any]) -> list[bytes]:
        """Return inputs for a job of a handler as JSON, of the declared type if the handler is known here.

        Raises:
            InvalidPayload: They do not fit the type, or JSON cannot hold one.
        """
        inputs = self._inputs.get(handler)
        if inputs is None:
            return [encode("an input", value) for value in values]
        return inputs.each(inputs.encode, values)

    def options_of(self, data: str | bytes, priority: int, owner: str | None, handler: str) -> Options:
        """Return options as they were submitted, without the metadata."""
        if len(data) > _LONG:  # else the cache could grow large
            return self._decode_options(data, priority, owner, handler)
        return self._options(data, priority, owner, handler)

    def _readable(
        self, data: str | bytes, priority: int, owner: str | None, handler: str
    ) -> tuple[Options, str]:
        """Return options and "", or, if they cannot be read, default ones and the message about it."""
        try:
            return self.options_of(data, priority, owner, handler), ""
        except UNREADABLE as error:
            return attrs.evolve(DEFAULT, owner=owner), f"its stored options cannot be read: {error}"

    def _decode_options(self, data: str | bytes, priority: int, owner: str | None, handler: str) -> Options:
        return decode_options(data, priority, owner, self._on(handler))

    def _on(self, handler: str) -> Matcher:
        arguments = self._arguments.get(handler)
        return _EVERY if arguments is None else arguments.mark.options.retry.on

    def claim_of(self, row: Sequence[Any], claim: str | None = None) -> Claim:
        """Return a row of `start` as a claim; the job fails if a value is unreadable or does not fit."""
        attempt, spent, saved, seq, consumed, waited = row[8:]
        new, kept, fault = self._submitted(row[:8], saved)
        if fault:
            new.target = _refusing(InvalidPayload(fault))
        return Claim(new, attempt, spent, kept, seq, consumed, waited, claim)

    def submission_of(self, row: Sequence[Any]) -> Submission:
        """Return a row of `submission` as a record.

        Raises:
            UnknownHandler: The handler is not known here.
            InvalidPayload: A value cannot be read, or does not fit.
        """
        if row[1] not in self.handlers:
            raise UnknownHandler(str(row[1]), self.handlers)
        new, _, fault = self._submitted(row)
        if fault:
            raise InvalidPayload(f"what job {row[0]} was submitted with cannot be used: {fault}")
        return new

    def _submitted(self, row: Sequence[Any], saved: str | None = None) -> tuple[Submission, Any, str]:
        """Return what a job was submitted with, what it saved, and what is wrong with them, if anything."""
        job_id, handler, args, options, metadata, priority, owner, key = row
        values: tuple[Any, ...] = ()
        named, kept = NO_KWARGS, None
        given, fault = self._readable(options, priority, owner, handler)
        try:
            values, named = self._arguments[handler].decode(args)
            kept = None if saved is None else decode(saved)
            given = given if metadata is None else attrs.evolve(given, metadata=decode(metadata))
        except InvalidPayload as error:
            fault = fault or str(error)
        except UNREADABLE as error:
            fault = fault or f"what is stored of it cannot be read: {error}"
        new = Submission(job_id, handler, self.handlers[handler], values, given, key, kwargs=named)
        return new, kept, fault

    def job_of(self, row: Sequence[Any]) -> Job:
        """Return a row of `job` as a snapshot.

        Raises:
            StoreCorrupt: A value of this job cannot be read. That concerns no other job.
        """
        job_id, handler, state, reason, message = map(text, row[:5])
        error, result, attempt, priority, options, metadata = row[5:11]
        owner, key, parent, exclusive, replaced_by, again, behind = map(
            text, (*row[11:13], *row[22:26], row[28])
        )
        spent, saved, created, started, finished, due, cancel_requested, seq, unconsumed = row[13:22]
        given, fault = self._readable(options, priority, owner, handler or "")
        try:
            why, message = reason_of(reason, message)
            args, kwargs, damage = _told(row[27])
            fault = fault or damage
            hidden = fault or given.hide_args  # what cannot be read may say so
            return Job(
                id=job_id or "",
                handler=handler or "",
                state=State(state or ""),
                reason=why,
                message=f"{message} ({fault})" if message and fault else fault or message,
                error=decode_error(error),
                result=None if result is None else decode(result),
                attempt=whole(attempt),
                priority=Priority(priority),
                tags=given.tags,
                metadata={} if metadata is None else decode(metadata),
                owner=owner,
                key=key,
                parent=parent,
                timeouts=given.timeouts,
                retry=given.retry,
                spent=whole(spent),
                saved=None if saved is None else decode(saved),
                created_at=date_of(created or 0.0),
                started_at=_wall(started),
                finished_at=_wall(finished),
                next_attempt_at=_wall(due) if state in WAITING else None,
                cancel_requested_at=_wall(cancel_requested),
                last_seq=whole(seq),
                unconsumed=whole(unconsumed),
                exclusive=exclusive,
                behind=behind,
                replaced_by=replaced_by,
                limit_key=given.limit_key,
                resubmitted_from=again,
                ready_at=_wall(row[26]),
                args=None if hidden else args,
                kwargs=None if hidden else kwargs,
            )
        except UNREADABLE as error_:
            raise _damaged(job_id, error_) from error_

    def end_of(self, row: Sequence[Any]) -> JobEnd:
        """Return a row of `job` as the end of a job; see `job_of`."""
        state, reason, message = map(text, row[2:5])
        error, result, attempt = row[5:8]
        try:
            why, message = reason_of(reason, message)
            value = None if result is None else decode(result)
            return JobEnd(
                State(state or ""), why, message, decode_error(error), value, whole(attempt), text(row[24])
            )
        except UNREADABLE as error_:
            raise _damaged(text(row[0]), error_) from error_

    def summary_of(self, row: Sequence[Any]) -> tuple[int, JobSummary]:
        """Return the number of a job and its summary, as far as a row of `SUMMARY` can be read."""
        number, (job_id, handler, state, reason, message) = row[0], map(text, row[1:6])
        attempt, priority, options, owner, parent, created, *times, seq = row[6:17]
        args, result, size, progress, args_text = row[17:]
        owner, parent = text(owner), text(parent)
        started, finished, due, cancel_requested = map(_wall, times)
        given, fault = self._readable(options, priority, owner, handler or "")
        if not job_id or "\ufffd" in job_id:
            job_id, fault = f"number-{number}", f"its stored id cannot be read: {job_id}"
        if state not in STATES:
            state, fault = State.FAILED, f"its stored state is not known: {state}"
        if priority not in _PRIORITIES:
            priority, fault = Priority.NORMAL, f"its stored priority is not known: {priority}"
        why, message = reason_of(reason, message)
        return number, JobSummary(
            id=job_id,
            handler=handler or "",
            state=State(state),
            reason=why,
            message=shortened(fault or message),
            attempt=whole(attempt),
            priority=Priority(priority),
            tags=given.tags,
            owner=owner,
            parent=parent,
            progress=_progress_of(progress),
            created_at=date_of(created or 0.0),
            started_at=started,
            finished_at=finished,
            next_attempt_at=due if state in WAITING else None,
            cancel_requested_at=cancel_requested,
            last_seq=whole(seq),
            args_bytes=args or 0,
            result_bytes=result or 0,
            log_bytes=whole(size),
            args_text=None if fault or given.hide_args else text(args_text),
        )


def events_of(row: Sequence[Any]) -> Iterator[Event]:
    """Return the events that were appended together; their row begins with the cursor of the last."""
    last, count, attempt, word, at, received, data = row
    kind = Kind(word)
    for seq, value in enumerate(decode(data), last - count + 1):
        yield Event(seq, attempt, kind, at, decode_event(kind, value), received)


def worker_in(data: bytes | str | None) -> str:
    """Return the name in the row of a `started` event; "" if it cannot be read."""
    try:
        return str(decode(data or b"")[0])
    except (*UNREADABLE, LookupError):
        return ""


def _damaged(job_id: str | None, error: Exception) -> StoreCorrupt:
    return StoreCorrupt(
        f"what is stored of job {job_id} is damaged: {error}. No other job is concerned; cancel it, or "
        "remove it once it is over"
    )


def _told(data: bytes | str | None) -> tuple[tuple[Any, ...] | None, Mapping[str, Any] | None, str]:
    """Return stored arguments as JSON has them, and ""; or None, and the message about it."""
    try:
        return *plain_arguments(data or b""), ""
    except UNREADABLE as error:
        return None, None, f"its stored arguments cannot be read: {error}"


def _progress_of(data: bytes | None) -> Progress | None:
    try:
        return None if data is None else short_progress(decode_event(Kind.PROGRESS, decode(data)))
    except UNREADABLE:
        return None


def _digest(new: Submission, args: bytes) -> str:
    """Return a digest of what the submitter gave, which differs for different submissions under one key.

    Which errors are retried is left out: the handler decides that, and it may change with the handler.
    """
    given = new.given or new.options
    plain = attrs.evolve(given, retry=attrs.evolve(given.retry, on=_EVERY))
    parts = [new.handler.encode(), args, encode_options(plain, _EVERY), encode_metadata(given) or b""]
    parts.append(str(int(given.priority)).encode())
    return sha256(b"\0".join(parts)).hexdigest()


def _wall(when: float | None) -> datetime | None:
    return None if when is None or when == math.inf else date_of(when)


def _refusing(fault: InvalidPayload) -> Callable[..., Awaitable[Any]]:
    async def refuse(*_: object, **__: object) -> None:  # noqa: ASYNC124  # in the place of a handler
        raise Permanent(fault)

    return refuse
