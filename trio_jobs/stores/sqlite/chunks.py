"""Keep logs in chunks: events appended together share a row, and the oldest are dropped for the newest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from ..._json.stored import decode_event
from ..._json.values import decode, encode
from ..._model.job import REPEATED, SNOOZES, Event, Kind
from .. import rows
from ..rules import folds
from .group import Row, Transaction

SEQ_BITS = 32
MOST: Final = 2**31 - 1
"""The largest number that a job can have, as the ids of its events begin with it."""


def log_ids(number: int, after: int = 0) -> dict[str, int]:
    """Return the first and the last id that the rows of a job's log behind a cursor can have."""
    start = number << SEQ_BITS
    return {"first": start + after + 1, "last": start + (1 << SEQ_BITS) - 1}


def add(
    tx: Transaction,
    number: int,
    seq: int,
    attempt: int,
    kind: Kind,
    *values: bytes,
    received: int | None = None,
) -> Row:
    """Add events in one row, and return it; `seq` is that of the last one."""
    if not (0 < seq < 1 << SEQ_BITS and 0 < number <= MOST):  # its id would be that of another job's event
        raise ValueError(f"no event has the number {seq}, of the job with the number {number}")
    data = (b"[" + b",".join(values) + b"]").decode()
    row = len(values), attempt, kind, tx.now, received, data
    tx.log.append((number, seq, *row))
    if kind is Kind.RETRIED and folds(attempt):
        _fold(tx, number)
    return number << SEQ_BITS | seq, *row


def _fold(tx: Transaction, number: int) -> None:
    """Drop all but the newest snoozes and waits: the end of one attempt and the beginning of the next."""
    tx.write_log()
    place = log_ids(number)
    *before, _ = tx.run("retries", **place)  # after the last one no attempt has begun yet
    repeated = [row for row, data in before if decode_event(Kind.RETRIED, *decode(data)).reason in REPEATED]
    for row in repeated[:-SNOOZES]:
        tx.run("drop_wait", id=row, last=place["last"])


def read(tx: Transaction, number: int, after: int, limit: int) -> list[Event]:
    """Return up to `limit` events behind a cursor."""
    events: list[Event] = []
    for row in tx.run("chunks", **log_ids(number, after)):
        events += (event for event in events_of(row) if event.seq > after)
        if len(events) >= limit:
            break
    return events[:limit]


def history(tx: Transaction, number: int) -> list[Event]:
    """Return all events except tokens and progress."""
    return [event for row in tx.run("history", **log_ids(number)) for event in events_of(row)]


def last_seq(row: Sequence[Any]) -> int:
    """Return the `seq` of the last event in a row."""
    return int(row[0] & (1 << SEQ_BITS) - 1)


def events_of(row: Sequence[Any]) -> Iterator[Event]:
    """Return the events in a row."""
    return rows.events_of((last_seq(row), *row[1:]))


def trim(tx: Transaction, number: int, kept: int, size: int) -> bool:
    """Drop the oldest events that may go if there are too many or they are too large.

    These are tokens, progress, saved values and consumed inputs. An eighth of the bound is dropped at a time,
    which makes the cost per event constant. The row of the job counts the last saved value with the others,
    but it is neither dropped nor a cause to drop others.

    Returns:
        Whether any were dropped.
    """
    keep = tx.limits.keep
    if kept <= keep.events and size <= keep.bytes:
        return False
    saved, consumed = tx.one("kept_for_good", number=number) or (None, 0)
    stays = (0, 0) if saved is None else (1, saved + 2)
    kept, size = kept - stays[0], size - stays[1]
    if kept <= keep.events and size <= keep.bytes:
        return False
    tx.write_log()
    last = tx.one("last_saved", **log_ids(number)) or (None,)
    most, largest = keep.events - keep.events // 8, keep.bytes - keep.bytes // 8
    place, stop = log_ids(number), (number << SEQ_BITS) + consumed
    for chunk, count, length in tx.run("oldest_chunks", saved=last[0], consumed=stop, **place):
        if kept - count >= most or size - length >= largest:  # drop all of it
            kept, size, place["first"] = kept - count, size - length, chunk + 1
            continue
        if kept > most or size > largest:
            fewer, smaller = _cut(tx, chunk, kept - most, size - largest)
            kept, size = kept - fewer, size - smaller
            newer = kept - (count - fewer)
            if newer and (kept > keep.events or size > keep.bytes):  # what is left of it is too large
                kept, size, place["first"] = newer, size - (length - smaller), chunk + 1
                continue
        break
    gone = place["first"] - 1
    tx.run("drop_chunks", first=log_ids(number)["first"], last=gone, saved=last[0], consumed=stop)
    if consumed:
        tx.run("forget_inputs", number=number, seq=min(gone & (1 << SEQ_BITS) - 1, consumed))
    tx.run("set_kept", number=number, kept=kept + stays[0], bytes=size + stays[1])
    return True


def _cut(tx: Transaction, chunk: int, events: int, size: int) -> tuple[int, int]:
    """Drop at least so many events and bytes from the start of a row; return how many were dropped."""
    (text,) = tx.one("chunk_data", id=chunk) or ("[]",)
    values = [encode("a value", value) for value in decode(text)]
    fewer = smaller = 0
    while fewer < len(values) - 1 and (fewer < events or smaller < size):
        smaller += len(values[fewer]) + 1
        fewer += 1
    data = b"[" + b",".join(values[fewer:]) + b"]"
    tx.run("shorten_chunk", id=chunk, count=len(values) - fewer, data=data.decode())
    return fewer, smaller
