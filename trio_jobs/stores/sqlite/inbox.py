"""The verbs by which jobs get inputs, each as a function over one transaction; see `verbs`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Any

from ..._common.errors import InboxFull, InvalidPayload, KeyConflict
from ..._common.states import Reason, State
from ..._model.job import Kind
from ..rules import Inbox, check_end_inputs, check_send, wakes
from . import chunks, looking
from .group import Row, Transaction
from .looking import Running

Encode = Callable[[str, Sequence[Any]], list[bytes]]


def send(
    tx: Transaction, job_id: str, input_id: str, values: Sequence[Any], encode: Encode
) -> tuple[int, bool]:
    """Add an input for each value; return the `seq` of the last, and whether the job was woken.

    Args:
        tx: The transaction.
        job_id: The job.
        input_id: See `Store.send`.
        values: The values.
        encode: Returns values as JSON for a job of a handler.
    """
    row = looking.known(tx, "inbox", job_id)
    number, _, handler, word, *_, ended, unconsumed, size, consumed, received = row
    known = tx.one("known_input", number=number, id=input_id)
    try:
        inputs = encode(handler, values)
    except InvalidPayload:
        if known is None:
            raise
        inputs = []
    digest = sha256(b"\0".join(inputs)).digest()
    if known is not None:
        if known[1] != digest:
            raise KeyConflict(input_id, job_id, "as the id of another input; use a new id for a new input")
        return known[0], False
    inbox = Inbox(unconsumed, 0, size, ended is not None)
    try:
        check_send(State(word), inbox, [len(value) for value in inputs], tx.limits.keep)
    except InboxFull as full:
        raise InboxFull(unconsumed, _between(tx, number, consumed, received)[0], full.limit) from None
    newest, woken = _put_in(tx, job_id, row, Kind.INPUT, inputs)
    tx.run("remember_input", number=number, id=input_id, digest=digest, seq=newest)
    return newest, woken


def end_inputs(tx: Transaction, job_id: str) -> tuple[int, bool]:
    """Record that no more inputs will come; return the `seq` of this event, and whether the job was woken."""
    row = looking.known(tx, "inbox", job_id)
    if (ended := row[7]) is not None:
        return ended, False
    check_end_inputs(State(row[3]))
    return _put_in(tx, job_id, row, Kind.INPUTS_ENDED, [b"null"])


def _put_in(tx: Transaction, job_id: str, row: Row, kind: Kind, values: Sequence[bytes]) -> tuple[int, bool]:
    """Add events to a log, and make its job due if it waits for them."""
    number, seq, _, state, reason, due, attempt, *_ = row
    rows = [
        chunks.add(tx, number, place, attempt, kind, value) for place, value in enumerate(values, seq + 1)
    ]
    newest = seq + len(values)
    is_input = kind is Kind.INPUT
    woken = wakes(State(state), _AWAITING.get(reason), due, tx.now)
    tx.run(
        "put_in",
        number=number,
        seq=newest,
        count=len(values) if is_input else 0,
        bytes=sum(map(len, values)) if is_input else 0,
        ended=None if is_input else newest,
        due=tx.now if woken else None,
    )
    tx.rows[len(tx.grown)] = rows
    tx.grown.append(job_id)
    tx.heard[job_id] = newest
    return newest, woken


_AWAITING = {str(Reason.AWAITING_INPUT): Reason.AWAITING_INPUT}


def consume(tx: Transaction, job: Running, received: int) -> tuple[int, int]:
    """Consume the inputs that an attempt received; return how many they are and the size of their rows.

    Consumed inputs count among what is kept of a log.
    """
    if received <= job.consumed:
        return 0, 0
    count, size = _between(tx, job.number, job.consumed, received)
    tx.run("consume", number=job.number, seq=received, count=count, bytes=size)
    return count, size


def _between(tx: Transaction, number: int, after: int, last: int) -> tuple[int, int]:
    """Return how many inputs lie behind one cursor and up to another, and the size of their rows."""
    tx.write_log()
    place = {**chunks.log_ids(number, after), "last": (number << chunks.SEQ_BITS) + last}
    count, size = tx.one("inputs_between", **place) or (0, 0)
    return count, size
